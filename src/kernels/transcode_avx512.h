/* The transcoding kernel of transcode.h for AVX-512 with VBMI2. */
#ifndef WSFRAME_TRANSCODE_AVX512_H
#define WSFRAME_TRANSCODE_AVX512_H

UTF8_AVX512
static inline transcode_shape transcode_measure_avx512(const unsigned char *text, size_t size) {
    const __m512i last_continuation = _mm512_set1_epi8((char)0xBF);
    __m512i widest = _mm512_setzero_si512();
    transcode_shape shape = {0, 0};
    size_t i = 0;
    for (; i + 256 <= size; i += 256) {
        const __m512i a = _mm512_loadu_si512((const void *)(text + i));
        const __m512i b = _mm512_loadu_si512((const void *)(text + i + 64));
        const __m512i c = _mm512_loadu_si512((const void *)(text + i + 128));
        const __m512i d = _mm512_loadu_si512((const void *)(text + i + 192));
        if (_mm512_movepi8_mask(_mm512_or_si512(_mm512_or_si512(a, b), _mm512_or_si512(c, d))))
            break;
    }
    shape.length = i;
    for (; i + 64 <= size; i += 64) {
        const __m512i bytes = _mm512_loadu_si512((const void *)(text + i));
        shape.length += (size_t)_mm_popcnt_u64(_mm512_cmpgt_epi8_mask(bytes, last_continuation));
        widest = _mm512_max_epu8(widest, bytes);
    }
    if (i < size) {
        const __mmask64 rest = utf8_lowest_avx512(size - i);
        const __m512i bytes = _mm512_maskz_loadu_epi8(rest, (const void *)(text + i));
        shape.length += (size_t)_mm_popcnt_u64(_mm512_mask_cmpgt_epi8_mask(rest, bytes, last_continuation));
        widest = _mm512_max_epu8(widest, bytes);
    }
    if (_mm512_cmpgt_epu8_mask(widest, _mm512_set1_epi8((char)0xEF)))
        shape.width = 4;
    else if (_mm512_cmpgt_epu8_mask(widest, _mm512_set1_epi8((char)0xC3)))
        shape.width = 2;
    else if (_mm512_movepi8_mask(widest))
        shape.width = 1;
    return shape;
}

/* As for AVX2. 0xD8: the second operand's bit where the third's is set, else the first's. */
UTF8_AVX512
static inline __m512i transcode_low_avx512(__m512i x, __m512i y) {
    return _mm512_ternarylogic_epi64(_mm512_slli_epi16(x, 6), y, _mm512_set1_epi8(0x3F), 0xD8);
}

UTF8_AVX512
static inline __m512i transcode_middle_avx512(__m512i x, __m512i y) {
    return _mm512_ternarylogic_epi64(_mm512_slli_epi16(x, 4), _mm512_srli_epi16(y, 2), _mm512_set1_epi8(0x0F), 0xD8);
}

UTF8_AVX512
static inline __mmask64 transcode_first_avx512(__m512i bytes) {
    return _mm512_cmpgt_epi8_mask(bytes, _mm512_set1_epi8((char)0xBF));
}

/* a is 64 bytes; b, c and d are the bytes from one, two and three places further on. Store the code points of the
 * characters that begin in a in units, and return their number. */
UTF8_AVX512
static inline size_t transcode_units1_avx512(__m512i a, __m512i b, __m512i c, __m512i d, __m512i *units) {
    const __mmask64 first = transcode_first_avx512(a);
    (void)c;
    (void)d;
    *units = _mm512_maskz_compress_epi8(
        first, _mm512_mask_blend_epi8(_mm512_movepi8_mask(a), a, transcode_low_avx512(a, b)));
    return (size_t)_mm_popcnt_u64(first);
}

UTF8_AVX512
static inline size_t transcode_units2_avx512(__m512i a, __m512i b, __m512i c, __m512i d, __m512i *units) {
    const __m512i order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
    const __mmask64 first = transcode_first_avx512(a);
    const __mmask64 many = _mm512_movepi8_mask(a);
    const __mmask64 three = _mm512_cmpgt_epu8_mask(a, _mm512_set1_epi8((char)0xDF));
    const __m512i x = _mm512_mask_blend_epi8(three, a, b);
    const __m512i y = _mm512_mask_blend_epi8(three, b, c);
    const __m512i low = _mm512_mask_blend_epi8(many, a, transcode_low_avx512(x, y));
    const __m512i middle = transcode_middle_avx512(_mm512_maskz_mov_epi8(three, a), x);
    /* Unpacking uses the lower or upper half of each 128 bits. */
    const __m512i lows = _mm512_permutexvar_epi64(order, _mm512_maskz_compress_epi8(first, low));
    const __m512i middles = _mm512_permutexvar_epi64(
        order, _mm512_maskz_compress_epi8(first, _mm512_maskz_mov_epi8(many, middle)));
    (void)d;
    units[0] = _mm512_unpacklo_epi8(lows, middles);
    units[1] = _mm512_unpackhi_epi8(lows, middles);
    return (size_t)_mm_popcnt_u64(first);
}

UTF8_AVX512
static inline size_t transcode_units4_avx512(__m512i a, __m512i b, __m512i c, __m512i d, __m512i *units) {
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __mmask64 first = transcode_first_avx512(a);
    const __mmask64 many = _mm512_movepi8_mask(a);
    const __mmask64 three = _mm512_cmpgt_epu8_mask(a, _mm512_set1_epi8((char)0xDF));
    const __mmask64 four = _mm512_cmpgt_epu8_mask(a, _mm512_set1_epi8((char)0xEF));
    const __m512i w = _mm512_maskz_mov_epi8(three, _mm512_mask_blend_epi8(four, a, b));
    const __m512i x = _mm512_mask_blend_epi8(four, _mm512_mask_blend_epi8(three, a, b), c);
    const __m512i y = _mm512_mask_blend_epi8(four, _mm512_mask_blend_epi8(three, b, c), d);
    const __m512i low = _mm512_mask_blend_epi8(many, a, transcode_low_avx512(x, y));
    const __m512i middle = _mm512_maskz_mov_epi8(many, transcode_middle_avx512(w, x));
    const __m512i high = _mm512_ternarylogic_epi64(_mm512_slli_epi16(a, 2), _mm512_srli_epi16(b, 4),
                                                   _mm512_set1_epi8(0x03), 0xD8);
    const __m512i lows = _mm512_permutexvar_epi32(order, _mm512_maskz_compress_epi8(first, low));
    const __m512i middles = _mm512_permutexvar_epi32(order, _mm512_maskz_compress_epi8(first, middle));
    const __m512i highs = _mm512_permutexvar_epi32(
        order,
        _mm512_maskz_compress_epi8(first, _mm512_and_si512(_mm512_maskz_mov_epi8(four, high), _mm512_set1_epi8(0x1F))));
    const __m512i even = _mm512_unpacklo_epi8(lows, middles);
    const __m512i odd = _mm512_unpackhi_epi8(lows, middles);
    const __m512i even_high = _mm512_unpacklo_epi8(highs, _mm512_setzero_si512());
    const __m512i odd_high = _mm512_unpackhi_epi8(highs, _mm512_setzero_si512());
    units[0] = _mm512_unpacklo_epi16(even, even_high);
    units[1] = _mm512_unpackhi_epi16(even, even_high);
    units[2] = _mm512_unpacklo_epi16(odd, odd_high);
    units[3] = _mm512_unpackhi_epi16(odd, odd_high);
    return (size_t)_mm_popcnt_u64(first);
}

/* Runs of characters of one size, which are common in texts of wide characters, need no dropping of lanes, which takes
 * longer than everything else. Each of these functions writes 16 code points if the text begins with 16 characters of
 * its size, and returns their size in bytes; otherwise it returns 0. */
UTF8_AVX512
static inline size_t transcode_run1_avx512(__mmask64 first, __m512i bytes, uint8_t *out) {
    return (void)first, (void)bytes, (void)out, 0;
}

/* Join the six bits of each of four bytes, the first byte's at the top. */
UTF8_AVX512
static inline __m512i transcode_join_avx512(__m512i sixes) {
    return _mm512_madd_epi16(_mm512_maddubs_epi16(sixes, _mm512_set1_epi16(0x0140)), _mm512_set1_epi32(0x00011000));
}

UTF8_AVX512
static inline size_t transcode_run2_avx512(__mmask64 first, __m512i bytes, uint16_t *out) {
    /* The three bytes of each character, in the upper bytes of 32 bits. */
    const __m512i spread = _mm512_setr_epi32(0x02010000, 0x05040300, 0x08070600, 0x0B0A0900, 0x0E0D0C00, 0x11100F00,
                                             0x14131200, 0x17161500, 0x1A191800, 0x1D1C1B00, 0x201F1E00, 0x23222100,
                                             0x26252400, 0x29282700, 0x2C2B2A00, 0x2F2E2D00);
    if ((first & UINT64_C(0xFFFFFFFFFFFF)) != UINT64_C(0x249249249249))
        return 0;
    bytes = _mm512_and_si512(_mm512_permutexvar_epi8(spread, bytes), _mm512_set1_epi32(0x3F3F0F00));
    _mm256_storeu_si256((__m256i *)out, _mm512_cvtepi32_epi16(transcode_join_avx512(bytes)));
    return 48;
}

UTF8_AVX512
static inline size_t transcode_run4_avx512(__mmask64 first, __m512i bytes, uint32_t *out) {
    if (first != UINT64_C(0x1111111111111111))
        return 0;
    bytes = _mm512_and_si512(bytes, _mm512_set1_epi32(0x3F3F3F07));
    _mm512_storeu_si512((void *)out, transcode_join_avx512(bytes));
    return 64;
}

/* Bytes after the end of the text are not read, but treated as continuation bytes. */
UTF8_AVX512
static inline __m512i transcode_load_avx512(const unsigned char *text, const unsigned char *stop) {
    return stop - text >= 64 ? _mm512_loadu_si512((const void *)text)
                             : _mm512_mask_loadu_epi8(_mm512_set1_epi8((char)0x80),
                                                      utf8_lowest_avx512(text < stop ? (size_t)(stop - text) : 0),
                                                      (const void *)text);
}

#define TRANSCODE_DECODE_AVX512(name, unit, width, block) \
    UTF8_AVX512 \
    static inline void name(const unsigned char *text, size_t size, unit *out, size_t length) { \
        const unsigned char *const stop = text + size; \
        unit *const end = out + length; \
        __m512i units[width]; \
        while (stop - text >= 67 && end - out >= 64) { \
            const __m512i a = _mm512_loadu_si512((const void *)text); \
            const size_t run = transcode_run##width##_avx512(transcode_first_avx512(a), a, out); \
            if (run) { \
                out += 16; \
                text += run; \
                continue; \
            } \
            if (_mm512_movepi8_mask(a) == 0) { \
                TRANSCODE_WIDEN##width##_AVX512(a, out); \
                out += 64; \
            } else { \
                const size_t count = block(a, _mm512_loadu_si512((const void *)(text + 1)), \
                                           _mm512_loadu_si512((const void *)(text + 2)), \
                                           _mm512_loadu_si512((const void *)(text + 3)), units); \
                for (size_t i = 0; i < (width); i++) \
                    if (i < ((width) + 1) / 2 || count > 32) \
                        _mm512_storeu_si512((void *)(out + i * (64 / (width))), units[i]); \
                out += count; \
            } \
            text += 64; \
        } \
        while (text < stop) { \
            const size_t count = block(transcode_load_avx512(text, stop), transcode_load_avx512(text + 1, stop), \
                                       transcode_load_avx512(text + 2, stop), transcode_load_avx512(text + 3, stop), \
                                       units); \
            const size_t room = (size_t)(end - out) < count ? (size_t)(end - out) : count; \
            for (size_t i = 0; i < (width); i++) \
                if (room > i * (64 / (width))) \
                    _mm512_mask_storeu_epi8((void *)(out + i * (64 / (width))), \
                                            utf8_lowest_avx512(room * (width)-i * 64), units[i]); \
            out += room; \
            if (stop - text <= 64) \
                break; \
            text += 64; \
        } \
    }

#define TRANSCODE_WIDEN1_AVX512(bytes, out) _mm512_storeu_si512((void *)(out), bytes)
#define TRANSCODE_WIDEN2_AVX512(bytes, out) \
    _mm512_storeu_si512((void *)(out), _mm512_cvtepu8_epi16(_mm512_castsi512_si256(bytes))); \
    _mm512_storeu_si512((void *)((out) + 32), _mm512_cvtepu8_epi16(_mm512_extracti64x4_epi64(bytes, 1)))
#define TRANSCODE_WIDEN4_AVX512(bytes, out) \
    _mm512_storeu_si512((void *)(out), _mm512_cvtepu8_epi32(_mm512_castsi512_si128(bytes))); \
    _mm512_storeu_si512((void *)((out) + 16), _mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32(bytes, 1))); \
    _mm512_storeu_si512((void *)((out) + 32), _mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32(bytes, 2))); \
    _mm512_storeu_si512((void *)((out) + 48), _mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32(bytes, 3)))

TRANSCODE_DECODE_AVX512(transcode_decode1_avx512, uint8_t, 1, transcode_units1_avx512)
TRANSCODE_DECODE_AVX512(transcode_decode2_avx512, uint16_t, 2, transcode_units2_avx512)
TRANSCODE_DECODE_AVX512(transcode_decode4_avx512, uint32_t, 4, transcode_units4_avx512)

UTF8_AVX512
static inline size_t transcode_size1_avx512(const uint8_t *text, size_t length) {
    size_t i = 0, size = length;
    for (; i + 64 <= length; i += 64)
        size += (size_t)_mm_popcnt_u64(_mm512_movepi8_mask(_mm512_loadu_si512((const void *)(text + i))));
    if (i < length)
        size += (size_t)_mm_popcnt_u64(_mm512_movepi8_mask(
            _mm512_maskz_loadu_epi8(utf8_lowest_avx512(length - i), (const void *)(text + i))));
    return size;
}

UTF8_AVX512
static inline size_t transcode_size2_avx512(const uint16_t *text, size_t length) {
    size_t size = length;
    __mmask32 surrogate = 0;
    for (size_t i = 0; i < length; i += 32) {
        const __m512i points =
            length - i >= 32 ? _mm512_loadu_si512((const void *)(text + i))
                             : _mm512_maskz_loadu_epi16((__mmask32)utf8_lowest_avx512(length - i),
                                                        (const void *)(text + i));
        const __m512i top = _mm512_and_si512(points, _mm512_set1_epi16((short)0xF800));
        size += (size_t)_mm_popcnt_u32(_mm512_test_epi16_mask(points, _mm512_set1_epi16((short)0xFF80)));
        size += (size_t)_mm_popcnt_u32(_mm512_test_epi16_mask(top, top));
        surrogate |= _mm512_cmpeq_epi16_mask(top, _mm512_set1_epi16((short)0xD800));
    }
    return surrogate ? TRANSCODE_SURROGATE : size;
}

UTF8_AVX512
static inline size_t transcode_size4_avx512(const uint32_t *text, size_t length) {
    /* The size of a code point in bytes, by its number of leading zeros in 32 bits; 0 for index 0, since the other
     * three bytes of a word look it up too. */
    static const uint8_t sizes[64] = {0, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 3,
                                      3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1};
    const __m512i table = _mm512_loadu_si512((const void *)sizes);
    __m512i sums = _mm512_setzero_si512();
    __mmask16 surrogate = 0;
    size_t missing = 0;
    for (size_t i = 0; i < length; i += 16) {
        __m512i points, zeros;
        if (length - i >= 16) {
            points = _mm512_loadu_si512((const void *)(text + i));
        } else {
            /* They count as U+0000. */
            missing = 16 - (length - i);
            points = _mm512_maskz_loadu_epi32((__mmask16)(0xFFFF >> missing), (const void *)(text + i));
        }
        zeros = _mm512_lzcnt_epi32(points);
        sums = _mm512_add_epi64(sums, _mm512_sad_epu8(_mm512_permutexvar_epi8(zeros, table), _mm512_setzero_si512()));
        surrogate |= _mm512_cmpeq_epi32_mask(_mm512_and_si512(points, _mm512_set1_epi32(~0x7FF)),
                                             _mm512_set1_epi32(0xD800));
    }
    return surrogate ? TRANSCODE_SURROGATE : (size_t)_mm512_reduce_add_epi64(sums) - missing;
}

/* Spread words of 16 or 32 bits: multishift selects 8 bits for each byte, the topmost first, from the given places
 * within 64 bits. Tags are set, and bits of the next byte cleared, except in the words that are ASCII. */
UTF8_AVX512
static inline __m512i transcode_spread_avx512(__m512i points, uint64_t places, __m512i tags) {
    const __m512i bits = _mm512_multishift_epi64_epi8(_mm512_set1_epi64((long long)places), points);
    /* 0xEA: (first & second) | third. */
    return _mm512_ternarylogic_epi64(bits, _mm512_set1_epi8(0x3F), tags, 0xEA);
}

/* Spread 32 code points below 0x800, in words of 16 bits. */
UTF8_AVX512
static inline __m512i transcode_spread16_avx512(__m512i points, __mmask32 many) {
    const __m512i two =
        transcode_spread_avx512(points, UINT64_C(0x3036202610160006), _mm512_set1_epi16((short)0x80C0));
    return _mm512_mask_slli_epi16(two, (__mmask32)~many, points, 8);
}

#define TRANSCODE_PLACES32 UINT64_C(0x20262C3200060C12)

/* Spread 16 code points, in words of 32 bits. */
UTF8_AVX512
static inline __m512i transcode_spread32_avx512(__m512i points, __mmask16 many, __m512i tags) {
    const __m512i all = transcode_spread_avx512(points, TRANSCODE_PLACES32, tags);
    return _mm512_mask_slli_epi32(all, (__mmask16)~many, points, 24);
}

UTF8_AVX512
static inline __m512i transcode_tags3_avx512(__mmask16 three) {
    return _mm512_mask_mov_epi32(_mm512_set1_epi32((int)0x80C00000), three, _mm512_set1_epi32((int)0x8080E000));
}

/* Drop the bytes without a tag, except the last one of each word; return the number of bytes left in bytes. */
UTF8_AVX512
static inline size_t transcode_drop_avx512(__m512i spread, uint64_t last, __m512i *bytes) {
    const __mmask64 kept = _mm512_movepi8_mask(spread) | last;
    *bytes = _mm512_maskz_compress_epi8(kept, spread);
    return (size_t)_mm_popcnt_u64(kept);
}

/* Write one vector, without its last missing words. */
UTF8_AVX512
static inline unsigned char *transcode_write_avx512(__m512i spread, uint64_t last, size_t missing, unsigned char *out,
                                                    const unsigned char *end) {
    __m512i bytes;
    const size_t count = transcode_drop_avx512(spread, last, &bytes) - missing;
    if (end - out >= 64)
        _mm512_storeu_si512((void *)out, bytes);
    else
        _mm512_mask_storeu_epi8((void *)out, utf8_lowest_avx512(count), bytes);
    return out + count;
}

#define TRANSCODE_LAST16 UINT64_C(0xAAAAAAAAAAAAAAAA)
#define TRANSCODE_LAST32 UINT64_C(0x8888888888888888)

UTF8_AVX512
static inline size_t transcode_encode1_avx512(const uint8_t *text, size_t length, unsigned char *out, size_t room) {
    const unsigned char *const begin = out, *const end = out + room;
    for (size_t i = 0; i < length; i += 32) {
        const size_t missing = length - i < 32 ? 32 - (length - i) : 0;
        const __m256i bytes = missing ? _mm256_maskz_loadu_epi8(~(__mmask32)0 >> missing, (const void *)(text + i))
                                      : _mm256_loadu_si256((const __m256i *)(text + i));
        const __m512i spread =
            transcode_spread16_avx512(_mm512_cvtepu8_epi16(bytes), (__mmask32)_mm256_movemask_epi8(bytes));
        out = transcode_write_avx512(spread, TRANSCODE_LAST16, missing, out, end);
    }
    return (size_t)(out - begin);
}

UTF8_AVX512
static inline size_t transcode_encode2_avx512(const uint16_t *text, size_t length, unsigned char *out, size_t room) {
    const unsigned char *const begin = out, *const end = out + room;
    __mmask32 surrogates = 0;
    for (size_t i = 0; i < length; i += 32) {
        const size_t missing = length - i < 32 ? 32 - (length - i) : 0;
        const __m512i points = missing
                                   ? _mm512_maskz_loadu_epi16(~(__mmask32)0 >> missing, (const void *)(text + i))
                                   : _mm512_loadu_si512((const void *)(text + i));
        const __m512i top = _mm512_and_si512(points, _mm512_set1_epi16((short)0xF800));
        const __mmask32 many = _mm512_test_epi16_mask(points, _mm512_set1_epi16((short)0xFF80));
        const __mmask32 three = _mm512_test_epi16_mask(top, top);
        if (many == 0 && end - out >= 32) {
            _mm256_storeu_si256((__m256i *)out, _mm512_cvtepi16_epi8(points));
            out += 32 - missing;
        } else if (three == 0xFFFFFFFF && end - out >= 112) {
            /* A run, as for decoding: bytes 1 to 3 of each 32 bits. */
            const __m512i bytes = _mm512_setr_epi32(0x05030201, 0x0A090706, 0x0F0E0D0B, 0x15131211, 0x1A191716,
                                                    0x1F1E1D1B, 0x25232221, 0x2A292726, 0x2F2E2D2B, 0x35333231,
                                                    0x3A393736, 0x3F3E3D3B, 0, 0, 0, 0);
            const __m512i tags = _mm512_set1_epi32((int)0x8080E000);
            const __m512i below = transcode_spread_avx512(
                _mm512_cvtepu16_epi32(_mm512_castsi512_si256(points)), TRANSCODE_PLACES32, tags);
            const __m512i above = transcode_spread_avx512(
                _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(points, 1)), TRANSCODE_PLACES32, tags);
            surrogates |= _mm512_cmpeq_epi16_mask(top, _mm512_set1_epi16((short)0xD800));
            _mm512_storeu_si512((void *)out, _mm512_permutexvar_epi8(bytes, below));
            _mm512_storeu_si512((void *)(out + 48), _mm512_permutexvar_epi8(bytes, above));
            out += 96;
        } else if (three == 0) {
            out = transcode_write_avx512(transcode_spread16_avx512(points, many), TRANSCODE_LAST16, missing, out, end);
        } else {
            const __m512i below = transcode_spread32_avx512(
                _mm512_cvtepu16_epi32(_mm512_castsi512_si256(points)), (__mmask16)many,
                transcode_tags3_avx512((__mmask16)three));
            const __m512i above = transcode_spread32_avx512(
                _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(points, 1)), (__mmask16)(many >> 16),
                transcode_tags3_avx512((__mmask16)(three >> 16)));
            surrogates |= _mm512_cmpeq_epi16_mask(top, _mm512_set1_epi16((short)0xD800));
            out = transcode_write_avx512(below, TRANSCODE_LAST32, missing > 16 ? missing - 16 : 0, out, end);
            if (missing < 16)
                out = transcode_write_avx512(above, TRANSCODE_LAST32, missing, out, end);
        }
    }
    return surrogates ? TRANSCODE_SURROGATE : (size_t)(out - begin);
}

UTF8_AVX512
static inline size_t transcode_encode4_avx512(const uint32_t *text, size_t length, unsigned char *out, size_t room) {
    const unsigned char *const begin = out, *const end = out + room;
    __mmask16 surrogates = 0;
    for (size_t i = 0; i < length; i += 16) {
        const size_t missing = length - i < 16 ? 16 - (length - i) : 0;
        const __m512i points =
            missing ? _mm512_maskz_loadu_epi32((__mmask16)(0xFFFF >> missing), (const void *)(text + i))
                    : _mm512_loadu_si512((const void *)(text + i));
        const __m512i top = _mm512_and_si512(points, _mm512_set1_epi32(~0x7FF));
        const __mmask16 many = _mm512_test_epi32_mask(points, _mm512_set1_epi32(~0x7F));
        const __mmask16 three = _mm512_test_epi32_mask(top, top);
        const __mmask16 four = _mm512_test_epi32_mask(points, _mm512_set1_epi32(~0xFFFF));
        const __m512i tags4 = _mm512_set1_epi32((int)0x808080F0);
        const __m512i tags = _mm512_mask_mov_epi32(transcode_tags3_avx512(three), four, tags4);
        if (many == 0 && end - out >= 16) {
            _mm_storeu_si128((__m128i *)out, _mm512_cvtepi32_epi8(points));
            out += 16 - missing;
            continue;
        }
        if (four == 0xFFFF && end - out >= 64) {
            _mm512_storeu_si512((void *)out, transcode_spread_avx512(points, TRANSCODE_PLACES32, tags4));
            out += 64;
            continue;
        }
        surrogates |= _mm512_cmpeq_epi32_mask(top, _mm512_set1_epi32(0xD800));
        out = transcode_write_avx512(transcode_spread32_avx512(points, many, tags), TRANSCODE_LAST32, missing, out,
                                     end);
    }
    return surrogates ? TRANSCODE_SURROGATE : (size_t)(out - begin);
}

#endif
