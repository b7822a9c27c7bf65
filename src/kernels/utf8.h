/* Incremental UTF-8 validation (RFC 3629): a scalar state machine, and one small kernel per instruction set.
 *
 * The kernels follow J. Keiser and D. Lemire, "Validating UTF-8 in less than one instruction per byte", Software:
 * Practice and Experience 51(5), 2021. Every error but one shows in two adjacent bytes. Three table look-ups, by the
 * high and the low nibble of the first byte and the high nibble of the second, give the set of errors that each nibble
 * allows; an error that all three allow is present. The exception, whether a third or fourth byte of a character is
 * present, is found by comparison with the lead bytes two and three places back.
 *
 * A kernel validates text that consists of whole characters, and refuses text that ends within a character. The state
 * machine handles characters split between pieces, and all short text.
 */
#ifndef WSFRAME_UTF8_H
#define WSFRAME_UTF8_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if (defined(__GNUC__) || defined(__clang__)) && (defined(__x86_64__) || defined(__i386__))
#define UTF8_X86_DISPATCH 1
#include <immintrin.h>
#if defined(__x86_64__) && !defined(UTF8_AVX512)
/* The parts of AVX-512 that processors since 2019 have: on earlier ones, its use slowed down everything else. */
#define UTF8_AVX512 __attribute__((target("avx512f,avx512bw,avx512cd,avx512vl,avx512vbmi,avx512vbmi2,popcnt")))
#endif
#elif (defined(__aarch64__) && !defined(__AARCH64EB__)) || defined(_M_ARM64)
#define UTF8_NEON 1
#include <arm_neon.h>
#endif

/* Bytes that a kernel processes at a time; the last block is padded with zeros. */
#define UTF8_BLOCK 64

/* Minimum length, in bytes, for calling a kernel. */
#define UTF8_KERNEL_FROM 16

/* Position within a character: the number of bytes missing, and the bounds of the next one. */
typedef struct {
    uint8_t missing;
    uint8_t low;
    uint8_t high;
} utf8_state;

/* Check text of any length, including 0; return 1 if it consists of whole characters, else 0. Text that ends within a
 * character is refused, whatever precedes that character. */
typedef int (*utf8_kernel)(const unsigned char *text, size_t length);

/* Enter a character by its first byte, 0x80 or above; return 0 if no character begins with it. */
static inline int utf8_enter(utf8_state *state, unsigned char lead) {
    state->low = 0x80;
    state->high = 0xBF;
    if (lead < 0xC2)
        return 0; /* A continuation byte, or the overlong form of an ASCII character. */
    if (lead < 0xE0) {
        state->missing = 1;
    } else if (lead < 0xF0) {
        state->missing = 2;
        if (lead == 0xE0)
            state->low = 0xA0; /* Lower bytes are overlong. */
        else if (lead == 0xED)
            state->high = 0x9F; /* Higher bytes are surrogates. */
    } else if (lead < 0xF5) {
        state->missing = 3;
        if (lead == 0xF0)
            state->low = 0x90; /* Lower bytes are overlong. */
        else if (lead == 0xF4)
            state->high = 0x8F; /* Higher bytes are beyond U+10FFFF. */
    } else {
        return 0;
    }
    return 1;
}

static inline int utf8_is_ascii64(const unsigned char *text) {
    uint64_t word;
    memcpy(&word, text, 8);
    return (word & UINT64_C(0x8080808080808080)) == 0;
}

/* Return whether length bytes, at least 8, are all ASCII; the last 8 may be checked twice. */
static inline int utf8_is_ascii(const unsigned char *text, size_t length) {
    for (size_t i = 0; i + 8 < length; i += 8)
        if (!utf8_is_ascii64(text + i))
            return 0;
    return utf8_is_ascii64(text + length - 8);
}

/* Validate length bytes; return 0 as soon as they cannot be UTF-8. */
static inline int utf8_scalar(utf8_state *state, const unsigned char *text, size_t length) {
    while (length) {
        size_t taken = 1;
        if (state->missing) {
            if (*text < state->low || *text > state->high)
                return 0;
            state->low = 0x80;
            state->high = 0xBF;
            state->missing--;
        } else if (*text >= 0x80) {
            if (!utf8_enter(state, *text))
                return 0;
        } else if (length >= 8 && utf8_is_ascii64(text)) {
            taken = 8;
        }
        text += taken;
        length -= taken;
    }
    return 1;
}

static inline int utf8_portable(const unsigned char *text, size_t length) {
    utf8_state state = {0, 0, 0};
    return utf8_scalar(&state, text, length) && !state.missing;
}

/* Return whether text of at least 3 bytes, without other errors, ends with a whole character. */
static inline int utf8_ends_whole(const unsigned char *text, size_t length) {
    return text[length - 1] < 0xC0 && text[length - 2] < 0xE0 && text[length - 3] < 0xF0;
}

/* The errors visible in two adjacent bytes, one bit each. */
enum {
    UTF8_TOO_SHORT = 1 << 0,      /* 11______ 0_______   11______ 11______ */
    UTF8_TOO_LONG = 1 << 1,       /* 0_______ 10______ */
    UTF8_OVERLONG_3 = 1 << 2,     /* 11100000 100_____ */
    UTF8_TOO_LARGE = 1 << 3,      /* 11110100 1001____   11110100 101_____   11110101 and above, likewise */
    UTF8_SURROGATE = 1 << 4,      /* 11101101 101_____ */
    UTF8_OVERLONG_2 = 1 << 5,     /* 1100000_ 10______ */
    UTF8_TOO_LARGE_80 = 1 << 6,   /* 11110101 1000____   and above */
    UTF8_OVERLONG_4 = 1 << 6,     /* 11110000 1000____: the low nibble distinguishes it from the line above */
    UTF8_TWO_FOLLOWING = 1 << 7,  /* 10______ 10______: an error unless a lead byte two or three back requires it */
    UTF8_ANY_LOW = UTF8_TOO_SHORT | UTF8_TOO_LONG | UTF8_TWO_FOLLOWING
};

#define UTF8_ABOVE_F4 (UTF8_ANY_LOW | UTF8_TOO_LARGE | UTF8_TOO_LARGE_80)
#define UTF8_FOLLOWING (UTF8_TOO_LONG | UTF8_OVERLONG_2 | UTF8_TWO_FOLLOWING)

#define UTF8_FIRST_HIGH \
    UTF8_TOO_LONG, UTF8_TOO_LONG, UTF8_TOO_LONG, UTF8_TOO_LONG, \
    UTF8_TOO_LONG, UTF8_TOO_LONG, UTF8_TOO_LONG, UTF8_TOO_LONG, \
    UTF8_TWO_FOLLOWING, UTF8_TWO_FOLLOWING, UTF8_TWO_FOLLOWING, UTF8_TWO_FOLLOWING, \
    UTF8_TOO_SHORT | UTF8_OVERLONG_2, UTF8_TOO_SHORT, \
    UTF8_TOO_SHORT | UTF8_OVERLONG_3 | UTF8_SURROGATE, \
    UTF8_TOO_SHORT | UTF8_TOO_LARGE | UTF8_TOO_LARGE_80 | UTF8_OVERLONG_4

#define UTF8_FIRST_LOW \
    UTF8_ANY_LOW | UTF8_OVERLONG_2 | UTF8_OVERLONG_3 | UTF8_OVERLONG_4, \
    UTF8_ANY_LOW | UTF8_OVERLONG_2, UTF8_ANY_LOW, UTF8_ANY_LOW, UTF8_ANY_LOW | UTF8_TOO_LARGE, \
    UTF8_ABOVE_F4, UTF8_ABOVE_F4, UTF8_ABOVE_F4, UTF8_ABOVE_F4, UTF8_ABOVE_F4, UTF8_ABOVE_F4, UTF8_ABOVE_F4, \
    UTF8_ABOVE_F4, UTF8_ABOVE_F4 | UTF8_SURROGATE, UTF8_ABOVE_F4, UTF8_ABOVE_F4

#define UTF8_SECOND_HIGH \
    UTF8_TOO_SHORT, UTF8_TOO_SHORT, UTF8_TOO_SHORT, UTF8_TOO_SHORT, \
    UTF8_TOO_SHORT, UTF8_TOO_SHORT, UTF8_TOO_SHORT, UTF8_TOO_SHORT, \
    UTF8_FOLLOWING | UTF8_OVERLONG_3 | UTF8_OVERLONG_4 | UTF8_TOO_LARGE_80, \
    UTF8_FOLLOWING | UTF8_OVERLONG_3 | UTF8_TOO_LARGE, \
    UTF8_FOLLOWING | UTF8_SURROGATE | UTF8_TOO_LARGE, \
    UTF8_FOLLOWING | UTF8_SURROGATE | UTF8_TOO_LARGE, \
    UTF8_TOO_SHORT, UTF8_TOO_SHORT, UTF8_TOO_SHORT, UTF8_TOO_SHORT

/* A kernel may skip a block if it and the previous block are ASCII: then no character extends into it.
 *
 * A character cut by the end of the text shows as an error in the zeros that pad the last block. If the text fills
 * that block, there are no zeros, and its last bytes are checked instead. */

/* Build a kernel from a function that checks one block, given the end of the previous one. */
#define UTF8_KERNEL(name, attributes, vector, zero, check) \
    attributes \
    static inline int name(const unsigned char *text, size_t length) { \
        unsigned char last[UTF8_BLOCK]; \
        vector before = zero; \
        int was_ascii = 1; \
        size_t i = 0; \
        for (; i + UTF8_BLOCK <= length; i += UTF8_BLOCK) \
            if (!check(text + i, &before, &was_ascii)) \
                return 0; \
        if (i == length) \
            return was_ascii || utf8_ends_whole(text, length); \
        memset(last, 0, UTF8_BLOCK); \
        memcpy(last, text + i, length - i); \
        return check(last, &before, &was_ascii); \
    }

#ifdef UTF8_X86_DISPATCH

#define UTF8_SSSE3 __attribute__((target("ssse3")))
#define UTF8_AVX2 __attribute__((target("avx2")))

static const unsigned char utf8_first_high[16] __attribute__((unused)) = {UTF8_FIRST_HIGH};
static const unsigned char utf8_first_low[16] __attribute__((unused)) = {UTF8_FIRST_LOW};
static const unsigned char utf8_second_high[16] __attribute__((unused)) = {UTF8_SECOND_HIGH};

UTF8_SSSE3
static inline __m128i utf8_errors_ssse3(__m128i now, __m128i before) {
    const __m128i nibble = _mm_set1_epi8(0x0F);
    const __m128i back1 = _mm_alignr_epi8(now, before, 15);
    const __m128i back2 = _mm_alignr_epi8(now, before, 14);
    const __m128i back3 = _mm_alignr_epi8(now, before, 13);
    const __m128i pairs = _mm_and_si128(
        _mm_and_si128(
            _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)utf8_first_high),
                             _mm_and_si128(_mm_srli_epi16(back1, 4), nibble)),
            _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)utf8_first_low), _mm_and_si128(back1, nibble))),
        _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)utf8_second_high),
                         _mm_and_si128(_mm_srli_epi16(now, 4), nibble)));
    /* The subtractions keep the top bit only for bytes from 0xE0 and 0xF0 on: a third or fourth byte is due here. */
    const __m128i due = _mm_or_si128(_mm_subs_epu8(back2, _mm_set1_epi8(0xE0 - 0x80)),
                                     _mm_subs_epu8(back3, _mm_set1_epi8(0xF0 - 0x80)));
    return _mm_xor_si128(_mm_and_si128(due, _mm_set1_epi8((char)0x80)), pairs);
}

/* Check one block; before is the end of the previous block, unless both are ASCII. */
UTF8_SSSE3
static inline int utf8_check_ssse3(const unsigned char *block, __m128i *before, int *was_ascii) {
    const __m128i a = _mm_loadu_si128((const __m128i *)block);
    const __m128i b = _mm_loadu_si128((const __m128i *)(block + 16));
    const __m128i c = _mm_loadu_si128((const __m128i *)(block + 32));
    const __m128i d = _mm_loadu_si128((const __m128i *)(block + 48));
    const int is_ascii = _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(a, b), _mm_or_si128(c, d))) == 0;
    if (!is_ascii || !*was_ascii) {
        const __m128i errors = _mm_or_si128(
            _mm_or_si128(utf8_errors_ssse3(a, *before), utf8_errors_ssse3(b, a)),
            _mm_or_si128(utf8_errors_ssse3(c, b), utf8_errors_ssse3(d, c)));
        if (_mm_movemask_epi8(_mm_cmpeq_epi8(errors, _mm_setzero_si128())) != 0xFFFF)
            return 0;
    }
    *was_ascii = is_ascii;
    *before = d;
    return 1;
}

UTF8_KERNEL(utf8_ssse3, UTF8_SSSE3, __m128i, _mm_setzero_si128(), utf8_check_ssse3)

UTF8_AVX2
static inline __m256i utf8_errors_avx2(__m256i now, __m256i before) {
    const __m256i nibble = _mm256_set1_epi8(0x0F);
    /* alignr works within 128-bit lanes, so it needs the upper lane of one and the lower lane of the other. */
    const __m256i between = _mm256_permute2x128_si256(before, now, 0x21);
    const __m256i back1 = _mm256_alignr_epi8(now, between, 15);
    const __m256i back2 = _mm256_alignr_epi8(now, between, 14);
    const __m256i back3 = _mm256_alignr_epi8(now, between, 13);
    const __m256i first_high = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)utf8_first_high));
    const __m256i first_low = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)utf8_first_low));
    const __m256i second_high = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)utf8_second_high));
    const __m256i pairs = _mm256_and_si256(
        _mm256_and_si256(
            _mm256_shuffle_epi8(first_high, _mm256_and_si256(_mm256_srli_epi16(back1, 4), nibble)),
            _mm256_shuffle_epi8(first_low, _mm256_and_si256(back1, nibble))),
        _mm256_shuffle_epi8(second_high, _mm256_and_si256(_mm256_srli_epi16(now, 4), nibble)));
    /* As in utf8_errors_ssse3. */
    const __m256i due = _mm256_or_si256(_mm256_subs_epu8(back2, _mm256_set1_epi8(0xE0 - 0x80)),
                                        _mm256_subs_epu8(back3, _mm256_set1_epi8(0xF0 - 0x80)));
    return _mm256_xor_si256(_mm256_and_si256(due, _mm256_set1_epi8((char)0x80)), pairs);
}

/* Check one block; before is the end of the previous block, unless both are ASCII. */
UTF8_AVX2
static inline int utf8_check_avx2(const unsigned char *block, __m256i *before, int *was_ascii) {
    const __m256i a = _mm256_loadu_si256((const __m256i *)block);
    const __m256i b = _mm256_loadu_si256((const __m256i *)(block + 32));
    const int is_ascii = _mm256_movemask_epi8(_mm256_or_si256(a, b)) == 0;
    if (!is_ascii || !*was_ascii) {
        const __m256i errors = _mm256_or_si256(utf8_errors_avx2(a, *before), utf8_errors_avx2(b, a));
        if (!_mm256_testz_si256(errors, errors))
            return 0;
    }
    *was_ascii = is_ascii;
    *before = b;
    return 1;
}

UTF8_KERNEL(utf8_avx2, UTF8_AVX2, __m256i, _mm256_setzero_si256(), utf8_check_avx2)

#ifdef UTF8_AVX512

/* The tables repeat every 16 entries, and a look-up takes the lowest 6 bits: no need to clear those above a nibble. */
UTF8_AVX512
static inline __m512i utf8_errors_avx512(__m512i now, __m512i before) {
    /* alignr works within 128-bit lanes, so each lane needs the one before it. */
    const __m512i between = _mm512_alignr_epi64(now, before, 6);
    const __m512i back1 = _mm512_alignr_epi8(now, between, 15);
    const __m512i back2 = _mm512_alignr_epi8(now, between, 14);
    const __m512i back3 = _mm512_alignr_epi8(now, between, 13);
    const __m512i first_high = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)utf8_first_high));
    const __m512i first_low = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)utf8_first_low));
    const __m512i second_high = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)utf8_second_high));
    /* As in utf8_errors_ssse3. */
    const __m512i due = _mm512_or_si512(_mm512_subs_epu8(back2, _mm512_set1_epi8(0xE0 - 0x80)),
                                        _mm512_subs_epu8(back3, _mm512_set1_epi8(0xF0 - 0x80)));
    /* 0x80: first & second & third. 0x6A: (first & second) ^ third. */
    const __m512i pairs = _mm512_ternarylogic_epi64(
        _mm512_permutexvar_epi8(_mm512_srli_epi16(back1, 4), first_high),
        _mm512_permutexvar_epi8(back1, first_low),
        _mm512_permutexvar_epi8(_mm512_srli_epi16(now, 4), second_high), 0x80);
    return _mm512_ternarylogic_epi64(due, _mm512_set1_epi8((char)0x80), pairs, 0x6A);
}

/* Return a mask of the count lowest of 64 bits. */
UTF8_AVX512
static inline __mmask64 utf8_lowest_avx512(size_t count) {
    return count < 64 ? (UINT64_C(1) << count) - 1 : ~UINT64_C(0);
}

/* Process four blocks at a time: testing for errors takes as long as looking for them in half a block. */
UTF8_AVX512
static inline int utf8_avx512(const unsigned char *text, size_t length) {
    __m512i before = _mm512_setzero_si512();
    int was_ascii = 1;
    size_t i = 0;
    for (; i + 4 * UTF8_BLOCK <= length; i += 4 * UTF8_BLOCK) {
        const __m512i a = _mm512_loadu_si512((const void *)(text + i));
        const __m512i b = _mm512_loadu_si512((const void *)(text + i + UTF8_BLOCK));
        const __m512i c = _mm512_loadu_si512((const void *)(text + i + 2 * UTF8_BLOCK));
        const __m512i d = _mm512_loadu_si512((const void *)(text + i + 3 * UTF8_BLOCK));
        const __m512i all = _mm512_or_si512(_mm512_or_si512(a, b), _mm512_or_si512(c, d));
        const int is_ascii = _mm512_movepi8_mask(all) == 0;
        if (!is_ascii || !was_ascii) {
            const __m512i errors = _mm512_or_si512(
                _mm512_or_si512(utf8_errors_avx512(a, before), utf8_errors_avx512(b, a)),
                _mm512_or_si512(utf8_errors_avx512(c, b), utf8_errors_avx512(d, c)));
            if (_mm512_test_epi8_mask(errors, errors))
                return 0;
        }
        was_ascii = is_ascii;
        before = d;
    }
    for (; i < length; i += UTF8_BLOCK) {
        const __m512i now = _mm512_maskz_loadu_epi8(utf8_lowest_avx512(length - i), (const void *)(text + i));
        const int is_ascii = _mm512_movepi8_mask(now) == 0;
        if (!is_ascii || !was_ascii) {
            const __m512i errors = utf8_errors_avx512(now, before);
            if (_mm512_test_epi8_mask(errors, errors))
                return 0;
        }
        was_ascii = is_ascii;
        before = now;
    }
    return i != length || was_ascii || utf8_ends_whole(text, length);
}

#endif

#endif

#ifdef UTF8_NEON

static inline uint8x16_t utf8_errors_neon(uint8x16_t now, uint8x16_t before) {
    static const unsigned char first_high[16] = {UTF8_FIRST_HIGH};
    static const unsigned char first_low[16] = {UTF8_FIRST_LOW};
    static const unsigned char second_high[16] = {UTF8_SECOND_HIGH};
    const uint8x16_t back1 = vextq_u8(before, now, 15);
    const uint8x16_t back2 = vextq_u8(before, now, 14);
    const uint8x16_t back3 = vextq_u8(before, now, 13);
    const uint8x16_t pairs = vandq_u8(
        vandq_u8(vqtbl1q_u8(vld1q_u8(first_high), vshrq_n_u8(back1, 4)),
                 vqtbl1q_u8(vld1q_u8(first_low), vandq_u8(back1, vdupq_n_u8(0x0F)))),
        vqtbl1q_u8(vld1q_u8(second_high), vshrq_n_u8(now, 4)));
    /* The subtractions keep the top bit only for bytes from 0xE0 and 0xF0 on: a third or fourth byte is due here. */
    const uint8x16_t due = vorrq_u8(vqsubq_u8(back2, vdupq_n_u8(0xE0 - 0x80)),
                                    vqsubq_u8(back3, vdupq_n_u8(0xF0 - 0x80)));
    return veorq_u8(vandq_u8(due, vdupq_n_u8(0x80)), pairs);
}

/* Check one block; before is the end of the previous block, unless both are ASCII. */
static inline int utf8_check_neon(const unsigned char *block, uint8x16_t *before, int *was_ascii) {
    const uint8x16_t a = vld1q_u8(block);
    const uint8x16_t b = vld1q_u8(block + 16);
    const uint8x16_t c = vld1q_u8(block + 32);
    const uint8x16_t d = vld1q_u8(block + 48);
    const int is_ascii = vmaxvq_u8(vorrq_u8(vorrq_u8(a, b), vorrq_u8(c, d))) < 0x80;
    if (!is_ascii || !*was_ascii) {
        const uint8x16_t errors = vorrq_u8(
            vorrq_u8(utf8_errors_neon(a, *before), utf8_errors_neon(b, a)),
            vorrq_u8(utf8_errors_neon(c, b), utf8_errors_neon(d, c)));
        if (vmaxvq_u8(errors) != 0)
            return 0;
    }
    *was_ascii = is_ascii;
    *before = d;
    return 1;
}

UTF8_KERNEL(utf8_neon, , uint8x16_t, vdupq_n_u8(0), utf8_check_neon)

#endif

/* Return where the last character begins if length bytes, at least 3, cut it; else length. The text before that may
 * still end within a character; a kernel refuses it. */
static inline size_t utf8_last_border(const unsigned char *text, size_t length) {
    for (size_t back = 1; back <= 3; back++) {
        const unsigned char byte = text[length - back];
        if (byte >= 0xC0) {
            const size_t size = byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
            return size > back ? length - back : length;
        }
        if (byte < 0x80)
            break;
    }
    return length;
}

/* Validate the next length bytes of a text, NULL if none; return 0 as soon as the text cannot be UTF-8. */
static inline int utf8_take(utf8_state *state, const unsigned char *text, size_t length, utf8_kernel kernel) {
    size_t border;
    for (; state->missing && length; text++, length--)
        if (!utf8_scalar(state, text, 1))
            return 0;
    if (length >= 8 && length < UTF8_BLOCK) {
        /* Short text is usually ASCII: check all of it, the last 8 bytes possibly twice. */
        size_t i = 0;
        while (i + 8 < length && utf8_is_ascii64(text + i))
            i += 8;
        if (i + 8 >= length && utf8_is_ascii64(text + length - 8))
            return 1;
        text += i;
        length -= i;
    }
    if (length < UTF8_KERNEL_FROM)
        return utf8_scalar(state, text, length);
    border = utf8_last_border(text, length);
    return kernel(text, border) && utf8_scalar(state, text + border, length - border);
}

#endif
