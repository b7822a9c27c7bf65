/* XOR with a repeated 4-byte masking key (RFC 6455 §5.3): one small function per instruction set.
 *
 * dst[i] = src[i] ^ key[i & 3]. dst and src are either the same or do not overlap; neither needs any alignment.
 * A key is passed as the uint32_t whose bytes in memory are the key's, so byte order does not matter here.
 *
 * Every kernel's last vector overlaps bytes that its loop has already written. That vector is computed before the
 * loop begins, since in place the loop overwrites its source.
 *
 * All stores are ordinary: streaming stores would evict the payload from the cache that its next reader needs.
 */
#ifndef WSFRAME_MASK_H
#define WSFRAME_MASK_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if (defined(__GNUC__) || defined(__clang__)) && (defined(__x86_64__) || defined(__i386__))
#define MASK_X86_DISPATCH 1
#include <immintrin.h>
#ifndef MASK_AVX512
#define MASK_AVX512 __attribute__((target("avx512f")))
#endif
#elif defined(_M_X64)
#define MASK_SSE2_ALWAYS 1
#include <emmintrin.h>
#elif defined(__aarch64__) || defined(_M_ARM64)
#define MASK_NEON 1
#include <arm_neon.h>
#endif

/* Minimum length, in bytes, for calling a kernel; all kernels rely on it. */
#define MASK_KERNEL_FROM 64

typedef void (*mask_kernel)(unsigned char *dst, const unsigned char *src, size_t length, uint32_t key);

typedef struct {
    const char *name;
    mask_kernel run;
} mask_kernel_entry;

/* Rotate the key for the bytes from index phase on. */
static inline uint32_t mask_turn_key(uint32_t key, size_t phase) {
    const unsigned bits = (unsigned)(phase & 3) * 8;
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return key << bits | key >> ((32 - bits) & 31);
#else
    return key >> bits | key << ((32 - bits) & 31);
#endif
}

static inline uint32_t mask_load_key(const unsigned char *key, size_t phase) {
    uint32_t word;
    memcpy(&word, key, 4);
    return mask_turn_key(word, phase);
}

static inline uint64_t mask_load64(const unsigned char *src) {
    uint64_t word;
    memcpy(&word, src, 8);
    return word;
}

static inline uint64_t mask_repeat64(uint32_t key) {
    return (uint64_t)key << 32 | key;
}

static inline void mask_store64(unsigned char *dst, uint64_t word) {
    memcpy(dst, &word, 8);
}

/* Build a kernel from four operations on vectors: to load one, to store one, XOR, and to fill one with a key. */
#define MASK_KERNEL(name, attributes, vector, load, store, xor, repeat) \
    attributes \
    static inline void name(unsigned char *dst, const unsigned char *src, size_t length, uint32_t key) { \
        const size_t size = sizeof(vector), last = length - size; \
        const vector keys = repeat(key); \
        const vector tail = xor(load(src + last), repeat(mask_turn_key(key, last))); \
        size_t i = 0; \
        for (; i + 4 * size <= length; i += 4 * size) { \
            const vector a = xor(load(src + i), keys); \
            const vector b = xor(load(src + i + size), keys); \
            const vector c = xor(load(src + i + 2 * size), keys); \
            const vector d = xor(load(src + i + 3 * size), keys); \
            store(dst + i, a); \
            store(dst + i + size, b); \
            store(dst + i + 2 * size, c); \
            store(dst + i + 3 * size, d); \
        } \
        for (; i < last; i += size) \
            store(dst + i, xor(load(src + i), keys)); \
        store(dst + last, tail); \
    }

#define MASK_XOR64(one, other) ((one) ^ (other))
MASK_KERNEL(mask_portable, , uint64_t, mask_load64, mask_store64, MASK_XOR64, mask_repeat64)

#if defined(MASK_X86_DISPATCH) || defined(MASK_SSE2_ALWAYS)

#ifdef MASK_X86_DISPATCH
#define MASK_SSE2 __attribute__((target("sse2")))
#else
#define MASK_SSE2
#endif
#define MASK_LOAD128(src) _mm_loadu_si128((const __m128i *)(src))
#define MASK_STORE128(dst, bytes) _mm_storeu_si128((__m128i *)(dst), bytes)
#define MASK_REPEAT128(key) _mm_set1_epi32((int)(key))
MASK_KERNEL(mask_sse2, MASK_SSE2, __m128i, MASK_LOAD128, MASK_STORE128, _mm_xor_si128, MASK_REPEAT128)

#endif

#ifdef MASK_X86_DISPATCH

#define MASK_AVX2 __attribute__((target("avx2")))
#define MASK_LOAD256(src) _mm256_loadu_si256((const __m256i *)(src))
#define MASK_STORE256(dst, bytes) _mm256_storeu_si256((__m256i *)(dst), bytes)
#define MASK_REPEAT256(key) _mm256_set1_epi32((int)(key))
MASK_KERNEL(mask_avx2, MASK_AVX2, __m256i, MASK_LOAD256, MASK_STORE256, _mm256_xor_si256, MASK_REPEAT256)

#define MASK_LOAD512(src) _mm512_loadu_si512((const void *)(src))
#define MASK_STORE512(dst, bytes) _mm512_storeu_si512((void *)(dst), bytes)
#define MASK_REPEAT512(key) _mm512_set1_epi32((int)(key))
MASK_KERNEL(mask_avx512, MASK_AVX512, __m512i, MASK_LOAD512, MASK_STORE512, _mm512_xor_si512, MASK_REPEAT512)

#endif

#ifdef MASK_NEON
#define MASK_REPEAT_NEON(key) vreinterpretq_u8_u32(vdupq_n_u32(key))
MASK_KERNEL(mask_neon, , uint8x16_t, vld1q_u8, vst1q_u8, veorq_u8, MASK_REPEAT_NEON)
#endif

/* Return the index-th kernel that this processor can run, best first, or NULL after the last one. */
static inline const mask_kernel_entry *mask_kernel_at(size_t index) {
    static mask_kernel_entry usable[5];
    static size_t count = 0;
    if (count == 0) {
#ifdef MASK_X86_DISPATCH
        __builtin_cpu_init();
        if (__builtin_cpu_supports("avx512f"))
            usable[count++] = (mask_kernel_entry){"avx512", mask_avx512};
        if (__builtin_cpu_supports("avx2"))
            usable[count++] = (mask_kernel_entry){"avx2", mask_avx2};
        if (__builtin_cpu_supports("sse2"))
            usable[count++] = (mask_kernel_entry){"sse2", mask_sse2};
#elif defined(MASK_SSE2_ALWAYS)
        usable[count++] = (mask_kernel_entry){"sse2", mask_sse2};
#elif defined(MASK_NEON)
        usable[count++] = (mask_kernel_entry){"neon", mask_neon};
#endif
        usable[count++] = (mask_kernel_entry){"portable", mask_portable};
    }
    return index < count ? &usable[index] : NULL;
}

/* Mask length bytes; short payloads without a call to the kernel. */
static inline void mask_copy(unsigned char *dst, const unsigned char *src, size_t length, uint32_t key,
                             mask_kernel kernel) {
    if (length >= MASK_KERNEL_FROM) {
        kernel(dst, src, length, key);
    } else if (length >= 8) {
        const uint64_t key64 = mask_repeat64(key);
        const size_t last = length - 8;
        const uint64_t tail = mask_load64(src + last) ^ mask_repeat64(mask_turn_key(key, last));
        for (size_t i = 0; i < last; i += 8) {
            const uint64_t word = mask_load64(src + i) ^ key64;
            memcpy(dst + i, &word, 8);
        }
        memcpy(dst + last, &tail, 8);
    } else {
        unsigned char bytes[4];
        memcpy(bytes, &key, 4);
        for (size_t i = 0; i < length; i++)
            dst[i] = src[i] ^ bytes[i & 3];
    }
}

#endif
