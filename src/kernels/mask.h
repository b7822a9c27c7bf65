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

static inline void mask_portable(unsigned char *dst, const unsigned char *src, size_t length, uint32_t key) {
    const uint64_t key64 = mask_repeat64(key);
    const size_t last = length - 8;
    const uint64_t tail = mask_load64(src + last) ^ mask_repeat64(mask_turn_key(key, last));
    size_t i = 0;
    for (; i + 32 <= length; i += 32) {
        const uint64_t a = mask_load64(src + i) ^ key64;
        const uint64_t b = mask_load64(src + i + 8) ^ key64;
        const uint64_t c = mask_load64(src + i + 16) ^ key64;
        const uint64_t d = mask_load64(src + i + 24) ^ key64;
        memcpy(dst + i, &a, 8);
        memcpy(dst + i + 8, &b, 8);
        memcpy(dst + i + 16, &c, 8);
        memcpy(dst + i + 24, &d, 8);
    }
    for (; i < last; i += 8) {
        const uint64_t a = mask_load64(src + i) ^ key64;
        memcpy(dst + i, &a, 8);
    }
    memcpy(dst + last, &tail, 8);
}

#if defined(MASK_X86_DISPATCH) || defined(MASK_SSE2_ALWAYS)

#ifdef MASK_X86_DISPATCH
__attribute__((target("sse2")))
#endif
static inline void mask_sse2(unsigned char *dst, const unsigned char *src, size_t length, uint32_t key) {
    const __m128i keys = _mm_set1_epi32((int)key);
    const size_t last = length - 16;
    const __m128i tail = _mm_xor_si128(_mm_loadu_si128((const __m128i *)(src + last)),
                                       _mm_set1_epi32((int)mask_turn_key(key, last)));
    size_t i = 0;
    for (; i + 64 <= length; i += 64) {
        const __m128i a = _mm_xor_si128(_mm_loadu_si128((const __m128i *)(src + i)), keys);
        const __m128i b = _mm_xor_si128(_mm_loadu_si128((const __m128i *)(src + i + 16)), keys);
        const __m128i c = _mm_xor_si128(_mm_loadu_si128((const __m128i *)(src + i + 32)), keys);
        const __m128i d = _mm_xor_si128(_mm_loadu_si128((const __m128i *)(src + i + 48)), keys);
        _mm_storeu_si128((__m128i *)(dst + i), a);
        _mm_storeu_si128((__m128i *)(dst + i + 16), b);
        _mm_storeu_si128((__m128i *)(dst + i + 32), c);
        _mm_storeu_si128((__m128i *)(dst + i + 48), d);
    }
    for (; i < last; i += 16)
        _mm_storeu_si128((__m128i *)(dst + i),
                         _mm_xor_si128(_mm_loadu_si128((const __m128i *)(src + i)), keys));
    _mm_storeu_si128((__m128i *)(dst + last), tail);
}

#endif

#ifdef MASK_X86_DISPATCH

__attribute__((target("avx2")))
static inline void mask_avx2(unsigned char *dst, const unsigned char *src, size_t length, uint32_t key) {
    const __m256i keys = _mm256_set1_epi32((int)key);
    const size_t last = length - 32;
    const __m256i tail = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(src + last)),
                                          _mm256_set1_epi32((int)mask_turn_key(key, last)));
    size_t i = 0;
    for (; i + 128 <= length; i += 128) {
        const __m256i a = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(src + i)), keys);
        const __m256i b = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(src + i + 32)), keys);
        const __m256i c = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(src + i + 64)), keys);
        const __m256i d = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(src + i + 96)), keys);
        _mm256_storeu_si256((__m256i *)(dst + i), a);
        _mm256_storeu_si256((__m256i *)(dst + i + 32), b);
        _mm256_storeu_si256((__m256i *)(dst + i + 64), c);
        _mm256_storeu_si256((__m256i *)(dst + i + 96), d);
    }
    for (; i < last; i += 32)
        _mm256_storeu_si256((__m256i *)(dst + i),
                            _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(src + i)), keys));
    _mm256_storeu_si256((__m256i *)(dst + last), tail);
}

MASK_AVX512
static inline void mask_avx512(unsigned char *dst, const unsigned char *src, size_t length, uint32_t key) {
    const __m512i keys = _mm512_set1_epi32((int)key);
    const size_t last = length - 64;
    const __m512i tail = _mm512_xor_si512(_mm512_loadu_si512((const void *)(src + last)),
                                          _mm512_set1_epi32((int)mask_turn_key(key, last)));
    size_t i = 0;
    for (; i + 256 <= length; i += 256) {
        const __m512i a = _mm512_xor_si512(_mm512_loadu_si512((const void *)(src + i)), keys);
        const __m512i b = _mm512_xor_si512(_mm512_loadu_si512((const void *)(src + i + 64)), keys);
        const __m512i c = _mm512_xor_si512(_mm512_loadu_si512((const void *)(src + i + 128)), keys);
        const __m512i d = _mm512_xor_si512(_mm512_loadu_si512((const void *)(src + i + 192)), keys);
        _mm512_storeu_si512((void *)(dst + i), a);
        _mm512_storeu_si512((void *)(dst + i + 64), b);
        _mm512_storeu_si512((void *)(dst + i + 128), c);
        _mm512_storeu_si512((void *)(dst + i + 192), d);
    }
    for (; i < last; i += 64)
        _mm512_storeu_si512((void *)(dst + i),
                            _mm512_xor_si512(_mm512_loadu_si512((const void *)(src + i)), keys));
    _mm512_storeu_si512((void *)(dst + last), tail);
}

#endif

#ifdef MASK_NEON

static inline void mask_neon(unsigned char *dst, const unsigned char *src, size_t length, uint32_t key) {
    const uint8x16_t keys = vreinterpretq_u8_u32(vdupq_n_u32(key));
    const size_t last = length - 16;
    const uint8x16_t tail = veorq_u8(vld1q_u8(src + last), vreinterpretq_u8_u32(vdupq_n_u32(mask_turn_key(key, last))));
    size_t i = 0;
    for (; i + 64 <= length; i += 64) {
        const uint8x16_t a = veorq_u8(vld1q_u8(src + i), keys);
        const uint8x16_t b = veorq_u8(vld1q_u8(src + i + 16), keys);
        const uint8x16_t c = veorq_u8(vld1q_u8(src + i + 32), keys);
        const uint8x16_t d = veorq_u8(vld1q_u8(src + i + 48), keys);
        vst1q_u8(dst + i, a);
        vst1q_u8(dst + i + 16, b);
        vst1q_u8(dst + i + 32, c);
        vst1q_u8(dst + i + 48, d);
    }
    for (; i < last; i += 16)
        vst1q_u8(dst + i, veorq_u8(vld1q_u8(src + i), keys));
    vst1q_u8(dst + last, tail);
}

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
