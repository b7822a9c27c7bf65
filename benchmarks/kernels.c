/* What the machine needs for the bytes alone, measured from within C, in CPU time: floors for the codec. */
#include <stdlib.h>
#include <time.h>

#include "unmask.h"

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Nanoseconds to copy size bytes and then to XOR the copy with a key, on average over a number of times. */
double copy_and_xor(size_t size, long times)
{
    static const unsigned char key[4] = {0x37, 0xFA, 0x21, 0x3D};
    unsigned char *from = calloc(size, 1), *to = malloc(size);
    if (!from || !to) abort();
    double start = now_ns();
    for (long i = 0; i < times; i++) {
        memcpy(to, from, size);
        unmask(to, to, size, key);
        /* Nothing may be left out because nobody looks at it. */
        __asm__ volatile("" : : "r"(to) : "memory");
    }
    double end = now_ns();
    free(from);
    free(to);
    return (end - start) / (double)times;
}

/* Nanoseconds to XOR size bytes in place. */
double xor_in_place(size_t size, long times)
{
    static const unsigned char key[4] = {0x37, 0xFA, 0x21, 0x3D};
    unsigned char *data = calloc(size, 1);
    if (!data) abort();
    double start = now_ns();
    for (long i = 0; i < times; i++) {
        unmask(data, data, size, key);
        __asm__ volatile("" : : "r"(data) : "memory");
    }
    double end = now_ns();
    free(data);
    return (end - start) / (double)times;
}
