/* XOR with a masking key while copying, in a form that compilers turn into vector instructions. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* to may be from. */
static inline void unmask(unsigned char *to, const unsigned char *from, size_t size, const unsigned char key[4])
{
    uint32_t key4;
    uint64_t key8, chunk;
    memcpy(&key4, key, 4);
    key8 = (uint64_t)key4 << 32 | key4;
    size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        memcpy(&chunk, from + i, 8);
        chunk ^= key8;
        memcpy(to + i, &chunk, 8);
    }
    for (; i < size; i++) to[i] = from[i] ^ key[i & 3];
}
