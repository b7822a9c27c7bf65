/* AVX-512 for processors that have none: what the kernels use of it, in plain C.
 *
 * Include this before the kernels' headers. Each vector is 64 bytes in memory, each function a loop over its lanes, as
 * Intel's "Intrinsics Guide" defines the operation. Masked loads and stores touch only the lanes whose bit is set.
 */
#ifndef WSFRAME_TESTS_AVX512_H
#define WSFRAME_TESTS_AVX512_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define EMULATED_TARGET __attribute__((target("avx2,popcnt")))

/* The kernels' own attributes would let the compiler use AVX-512 for anything. */
#define UTF8_AVX512 EMULATED_TARGET
#define MASK_AVX512 EMULATED_TARGET

typedef union {
    uint8_t b[64];
    int8_t sb[64];
    uint16_t w[32];
    int16_t sw[32];
    uint32_t d[16];
    int32_t sd[16];
    uint64_t q[8];
} emulated;

/* A function of two vectors, or of one and a number, lane by lane. */
#define EMULATE_LANES(name, field, count, expression) \
    static inline emulated name(emulated x, emulated y) { \
        emulated result; \
        for (int i = 0; i < (count); i++) \
            result.field[i] = expression; \
        return result; \
    }

#define EMULATE_SHIFT(name, field, count, operator) \
    static inline emulated name(emulated x, unsigned bits) { \
        for (int i = 0; i < (count); i++) \
            x.field[i] = bits < 512 / (count) ? x.field[i] operator bits : 0; \
        return x; \
    }

/* One bit for each lane of which something is true. */
#define EMULATE_MASK(name, type, count, expression) \
    static inline type name(emulated x, emulated y) { \
        uint64_t mask = 0; \
        for (int i = 0; i < (count); i++) \
            mask |= (uint64_t)(expression) << i; \
        return (type)mask; \
    }

#define EMULATE_SET1(name, field, count, type) \
    static inline emulated name(type value) { \
        emulated result; \
        for (int i = 0; i < (count); i++) \
            memcpy(&result.field[i], &value, sizeof(value)); \
        return result; \
    }

/* Zero-extension of each lane of a shorter vector. */
#define EMULATE_WIDEN(name, vector, from, to, count) \
    EMULATED_TARGET \
    static inline emulated name(vector x) { \
        emulated narrow, result; \
        memcpy(&narrow, &x, sizeof(x)); \
        for (int i = 0; i < (count); i++) \
            result.to[i] = narrow.from[i]; \
        return result; \
    }

/* The low bits of each lane, in a shorter vector. */
#define EMULATE_NARROW(name, vector, from, to, type, count) \
    EMULATED_TARGET \
    static inline vector name(emulated x) { \
        emulated narrow; \
        vector result; \
        for (int i = 0; i < (count); i++) \
            narrow.to[i] = (type)x.from[i]; \
        memcpy(&result, &narrow, sizeof(result)); \
        return result; \
    }

static inline emulated emulated_zero(void) {
    return (emulated){{0}};
}

static inline emulated emulated_load(const void *source) {
    emulated result;
    memcpy(&result, source, 64);
    return result;
}

static inline void emulated_store(void *target, emulated x) {
    memcpy(target, &x, 64);
}

EMULATE_LANES(emulated_and, q, 8, x.q[i] & y.q[i])
EMULATE_LANES(emulated_or, q, 8, x.q[i] | y.q[i])
EMULATE_LANES(emulated_xor, q, 8, x.q[i] ^ y.q[i])
EMULATE_LANES(emulated_add64, q, 8, x.q[i] + y.q[i])
EMULATE_LANES(emulated_max8, b, 64, x.b[i] > y.b[i] ? x.b[i] : y.b[i])
EMULATE_LANES(emulated_subs8, b, 64, (uint8_t)(x.b[i] > y.b[i] ? x.b[i] - y.b[i] : 0))
EMULATE_LANES(emulated_unpacklo8, b, 64, (i & 1 ? y : x).b[(i & ~15) + (i & 15) / 2])
EMULATE_LANES(emulated_unpackhi8, b, 64, (i & 1 ? y : x).b[(i & ~15) + 8 + (i & 15) / 2])
EMULATE_LANES(emulated_unpacklo16, w, 32, (i & 1 ? y : x).w[(i & ~7) + (i & 7) / 2])
EMULATE_LANES(emulated_unpackhi16, w, 32, (i & 1 ? y : x).w[(i & ~7) + 4 + (i & 7) / 2])
/* The first is the index, the second the table. */
EMULATE_LANES(emulated_permute8, b, 64, y.b[x.b[i] & 63])
EMULATE_LANES(emulated_permute32, d, 16, y.d[x.d[i] & 15])
EMULATE_LANES(emulated_permute64, q, 8, y.q[x.q[i] & 7])

EMULATE_SHIFT(emulated_slli16, w, 32, <<)
EMULATE_SHIFT(emulated_srli16, w, 32, >>)
EMULATE_SHIFT(emulated_slli32, d, 16, <<)

EMULATE_MASK(emulated_gt8, __mmask64, 64, x.sb[i] > y.sb[i])
EMULATE_MASK(emulated_gtu8, __mmask64, 64, x.b[i] > y.b[i])
EMULATE_MASK(emulated_eq16, __mmask32, 32, x.w[i] == y.w[i])
EMULATE_MASK(emulated_eq32, __mmask16, 16, x.d[i] == y.d[i])
EMULATE_MASK(emulated_test8, __mmask64, 64, (x.b[i] & y.b[i]) != 0)
EMULATE_MASK(emulated_test16, __mmask32, 32, (x.w[i] & y.w[i]) != 0)
EMULATE_MASK(emulated_test32, __mmask16, 16, (x.d[i] & y.d[i]) != 0)

EMULATE_SET1(emulated_all8, b, 64, char)
EMULATE_SET1(emulated_all16, w, 32, short)
EMULATE_SET1(emulated_all32, d, 16, int)
EMULATE_SET1(emulated_all64, q, 8, long long)

static inline __mmask64 emulated_top8(emulated x) {
    return emulated_test8(x, emulated_all8((char)0x80));
}

/* The lanes of yes where a bit is set, else those of no; a lane is size bytes. */
static inline emulated emulated_select(emulated no, uint64_t mask, emulated yes, size_t size) {
    for (size_t i = 0; i < 64 / size; i++)
        if (mask >> i & 1)
            memcpy(no.b + i * size, yes.b + i * size, size);
    return no;
}

static inline emulated emulated_load_some(emulated otherwise, uint64_t mask, const void *source, size_t size) {
    for (size_t i = 0; i < 64 / size; i++)
        if (mask >> i & 1)
            memcpy(otherwise.b + i * size, (const unsigned char *)source + i * size, size);
    return otherwise;
}

static inline void emulated_store_some(void *target, uint64_t mask, emulated x) {
    for (size_t i = 0; i < 64; i++)
        if (mask >> i & 1)
            ((unsigned char *)target)[i] = x.b[i];
}

static inline emulated emulated_compress8(uint64_t mask, emulated x) {
    emulated result = emulated_zero();
    for (int i = 0, kept = 0; i < 64; i++)
        if (mask >> i & 1)
            result.b[kept++] = x.b[i];
    return result;
}

/* Both one behind the other, of which 64 bytes from some place on: of each 16, or of all. */
static inline emulated emulated_alignr8(emulated upper, emulated lower, int bytes) {
    emulated result;
    for (int i = 0; i < 64; i++) {
        const int from = (i & 15) + bytes;
        result.b[i] = from < 16 ? lower.b[(i & ~15) + from] : upper.b[(i & ~15) + from - 16];
    }
    return result;
}

static inline emulated emulated_alignr64(emulated upper, emulated lower, int words) {
    emulated result;
    for (int i = 0; i < 8; i++)
        result.q[i] = i + words < 8 ? lower.q[i + words] : upper.q[i + words - 8];
    return result;
}

/* Each bit is that of table which the bits of x, y and z, read as a number, point at. */
static inline emulated emulated_ternary(emulated x, emulated y, emulated z, unsigned table) {
    emulated result = emulated_zero();
    for (unsigned index = 0; index < 8; index++)
        for (int i = 0; table >> index & 1 && i < 8; i++)
            result.q[i] |= (index & 4 ? x.q[i] : ~x.q[i]) & (index & 2 ? y.q[i] : ~y.q[i]) &
                           (index & 1 ? z.q[i] : ~z.q[i]);
    return result;
}

static inline emulated emulated_multishift(emulated places, emulated x) {
    emulated result;
    for (int i = 0; i < 64; i++) {
        const unsigned from = places.b[i] & 63;
        const uint64_t word = x.q[i / 8];
        result.b[i] = (uint8_t)(word >> from | (from ? word << (64 - from) : 0));
    }
    return result;
}

/* Unsigned bytes of the first by signed ones of the second, in pairs, saturated. */
static inline emulated emulated_maddubs(emulated x, emulated y) {
    emulated result;
    for (int i = 0; i < 32; i++) {
        const int sum = x.b[2 * i] * y.sb[2 * i] + x.b[2 * i + 1] * y.sb[2 * i + 1];
        result.sw[i] = (int16_t)(sum > 32767 ? 32767 : sum < -32768 ? -32768 : sum);
    }
    return result;
}

static inline emulated emulated_madd16(emulated x, emulated y) {
    emulated result;
    for (int i = 0; i < 16; i++)
        result.sd[i] = x.sw[2 * i] * y.sw[2 * i] + x.sw[2 * i + 1] * y.sw[2 * i + 1];
    return result;
}

static inline emulated emulated_sad8(emulated x, emulated y) {
    emulated result = emulated_zero();
    for (int i = 0; i < 64; i++)
        result.q[i / 8] += x.b[i] > y.b[i] ? (uint64_t)(x.b[i] - y.b[i]) : (uint64_t)(y.b[i] - x.b[i]);
    return result;
}

static inline emulated emulated_lzcnt32(emulated x) {
    for (int i = 0; i < 16; i++) {
        uint32_t zeros = 0;
        while (zeros < 32 && !(x.d[i] >> (31 - zeros) & 1))
            zeros++;
        x.d[i] = zeros;
    }
    return x;
}

static inline long long emulated_sum64(emulated x) {
    uint64_t sum = 0;
    for (int i = 0; i < 8; i++)
        sum += x.q[i];
    return (long long)sum;
}

EMULATED_TARGET
static inline __m128i emulated_quarter(emulated x, int index) {
    return _mm_loadu_si128((const __m128i *)(x.b + 16 * index));
}

EMULATED_TARGET
static inline __m256i emulated_half(emulated x, int index) {
    return _mm256_loadu_si256((const __m256i *)(x.b + 32 * index));
}

EMULATED_TARGET
static inline emulated emulated_repeat(__m128i x) {
    emulated result;
    for (int i = 0; i < 4; i++)
        _mm_storeu_si128((__m128i *)(result.b + 16 * i), x);
    return result;
}

EMULATE_WIDEN(emulated_widen8_16, __m256i, b, w, 32)
EMULATE_WIDEN(emulated_widen8_32, __m128i, b, d, 16)
EMULATE_WIDEN(emulated_widen16_32, __m256i, w, d, 16)

EMULATE_NARROW(emulated_narrow16_8, __m256i, w, b, uint8_t, 32)
EMULATE_NARROW(emulated_narrow32_16, __m256i, d, w, uint16_t, 16)
EMULATE_NARROW(emulated_narrow32_8, __m128i, d, b, uint8_t, 16)

EMULATED_TARGET
static inline __m256i emulated_load_half(uint32_t mask, const void *source) {
    return emulated_half(emulated_load_some(emulated_zero(), mask, source, 1), 0);
}

/* Some are macros, depending on the compiler and its options. */
#undef _mm512_add_epi64
#undef _mm512_alignr_epi64
#undef _mm512_alignr_epi8
#undef _mm512_and_si512
#undef _mm512_broadcast_i32x4
#undef _mm512_castsi512_si128
#undef _mm512_castsi512_si256
#undef _mm512_cmpeq_epi16_mask
#undef _mm512_cmpeq_epi32_mask
#undef _mm512_cmpgt_epi8_mask
#undef _mm512_cmpgt_epu8_mask
#undef _mm512_cvtepi16_epi8
#undef _mm512_cvtepi32_epi16
#undef _mm512_cvtepi32_epi8
#undef _mm512_cvtepu16_epi32
#undef _mm512_cvtepu8_epi16
#undef _mm512_cvtepu8_epi32
#undef _mm512_extracti32x4_epi32
#undef _mm512_extracti64x4_epi64
#undef _mm512_loadu_si512
#undef _mm512_lzcnt_epi32
#undef _mm512_madd_epi16
#undef _mm512_maddubs_epi16
#undef _mm512_mask_blend_epi8
#undef _mm512_mask_cmpgt_epi8_mask
#undef _mm512_mask_loadu_epi8
#undef _mm512_mask_mov_epi32
#undef _mm512_mask_slli_epi16
#undef _mm512_mask_slli_epi32
#undef _mm512_mask_storeu_epi8
#undef _mm512_maskz_compress_epi8
#undef _mm512_maskz_loadu_epi16
#undef _mm512_maskz_loadu_epi32
#undef _mm512_maskz_loadu_epi8
#undef _mm512_maskz_mov_epi8
#undef _mm512_max_epu8
#undef _mm512_movepi8_mask
#undef _mm512_multishift_epi64_epi8
#undef _mm512_or_si512
#undef _mm512_permutexvar_epi32
#undef _mm512_permutexvar_epi64
#undef _mm512_permutexvar_epi8
#undef _mm512_reduce_add_epi64
#undef _mm512_sad_epu8
#undef _mm512_set1_epi16
#undef _mm512_set1_epi32
#undef _mm512_set1_epi64
#undef _mm512_set1_epi8
#undef _mm512_setr_epi32
#undef _mm512_setr_epi64
#undef _mm512_setzero_si512
#undef _mm512_slli_epi16
#undef _mm512_srli_epi16
#undef _mm512_storeu_si512
#undef _mm512_subs_epu8
#undef _mm512_ternarylogic_epi64
#undef _mm512_test_epi16_mask
#undef _mm512_test_epi32_mask
#undef _mm512_test_epi8_mask
#undef _mm512_unpackhi_epi16
#undef _mm512_unpackhi_epi8
#undef _mm512_unpacklo_epi16
#undef _mm512_unpacklo_epi8
#undef _mm512_xor_si512
#undef _mm256_maskz_loadu_epi8

#define __m512i emulated
#define _mm512_add_epi64 emulated_add64
#define _mm512_alignr_epi64 emulated_alignr64
#define _mm512_alignr_epi8 emulated_alignr8
#define _mm512_and_si512 emulated_and
#define _mm512_broadcast_i32x4 emulated_repeat
#define _mm512_castsi512_si128(x) emulated_quarter(x, 0)
#define _mm512_castsi512_si256(x) emulated_half(x, 0)
#define _mm512_cmpeq_epi16_mask emulated_eq16
#define _mm512_cmpeq_epi32_mask emulated_eq32
#define _mm512_cmpgt_epi8_mask emulated_gt8
#define _mm512_cmpgt_epu8_mask emulated_gtu8
#define _mm512_cvtepi16_epi8 emulated_narrow16_8
#define _mm512_cvtepi32_epi16 emulated_narrow32_16
#define _mm512_cvtepi32_epi8 emulated_narrow32_8
#define _mm512_cvtepu16_epi32 emulated_widen16_32
#define _mm512_cvtepu8_epi16 emulated_widen8_16
#define _mm512_cvtepu8_epi32 emulated_widen8_32
#define _mm512_extracti32x4_epi32 emulated_quarter
#define _mm512_extracti64x4_epi64 emulated_half
#define _mm512_loadu_si512 emulated_load
#define _mm512_lzcnt_epi32 emulated_lzcnt32
#define _mm512_madd_epi16 emulated_madd16
#define _mm512_maddubs_epi16 emulated_maddubs
#define _mm512_mask_blend_epi8(mask, no, yes) emulated_select(no, mask, yes, 1)
#define _mm512_mask_cmpgt_epi8_mask(mask, x, y) ((mask) & emulated_gt8(x, y))
#define _mm512_mask_loadu_epi8(otherwise, mask, source) emulated_load_some(otherwise, mask, source, 1)
#define _mm512_mask_mov_epi32(no, mask, yes) emulated_select(no, mask, yes, 4)
#define _mm512_mask_slli_epi16(no, mask, x, bits) emulated_select(no, mask, emulated_slli16(x, bits), 2)
#define _mm512_mask_slli_epi32(no, mask, x, bits) emulated_select(no, mask, emulated_slli32(x, bits), 4)
#define _mm512_mask_storeu_epi8 emulated_store_some
#define _mm512_maskz_compress_epi8 emulated_compress8
#define _mm512_maskz_loadu_epi16(mask, source) emulated_load_some(emulated_zero(), mask, source, 2)
#define _mm512_maskz_loadu_epi32(mask, source) emulated_load_some(emulated_zero(), mask, source, 4)
#define _mm512_maskz_loadu_epi8(mask, source) emulated_load_some(emulated_zero(), mask, source, 1)
#define _mm512_maskz_mov_epi8(mask, x) emulated_select(emulated_zero(), mask, x, 1)
#define _mm512_max_epu8 emulated_max8
#define _mm512_movepi8_mask emulated_top8
#define _mm512_multishift_epi64_epi8 emulated_multishift
#define _mm512_or_si512 emulated_or
#define _mm512_permutexvar_epi32 emulated_permute32
#define _mm512_permutexvar_epi64 emulated_permute64
#define _mm512_permutexvar_epi8 emulated_permute8
#define _mm512_reduce_add_epi64 emulated_sum64
#define _mm512_sad_epu8 emulated_sad8
#define _mm512_set1_epi16 emulated_all16
#define _mm512_set1_epi32 emulated_all32
#define _mm512_set1_epi64 emulated_all64
#define _mm512_set1_epi8 emulated_all8
#define _mm512_setr_epi32(...) ((emulated){.d = {__VA_ARGS__}})
#define _mm512_setr_epi64(...) ((emulated){.q = {__VA_ARGS__}})
#define _mm512_setzero_si512 emulated_zero
#define _mm512_slli_epi16 emulated_slli16
#define _mm512_srli_epi16 emulated_srli16
#define _mm512_storeu_si512 emulated_store
#define _mm512_subs_epu8 emulated_subs8
#define _mm512_ternarylogic_epi64 emulated_ternary
#define _mm512_test_epi16_mask emulated_test16
#define _mm512_test_epi32_mask emulated_test32
#define _mm512_test_epi8_mask emulated_test8
#define _mm512_unpackhi_epi16 emulated_unpackhi16
#define _mm512_unpackhi_epi8 emulated_unpackhi8
#define _mm512_unpacklo_epi16 emulated_unpacklo16
#define _mm512_unpacklo_epi8 emulated_unpacklo8
#define _mm512_xor_si512 emulated_xor
#define _mm256_maskz_loadu_epi8 emulated_load_half

#endif
