/* The transcoding kernel of transcode.h for AVX2. */
#ifndef WSFRAME_TRANSCODE_AVX2_H
#define WSFRAME_TRANSCODE_AVX2_H

#define TRANSCODE_AVX2 __attribute__((target("avx2,popcnt")))

/* Return a bit mask of the bytes that begin a character. */
TRANSCODE_AVX2
static inline unsigned transcode_first_avx2(__m256i bytes) {
    return (unsigned)_mm256_movemask_epi8(_mm256_cmpgt_epi8(bytes, _mm256_set1_epi8((char)0xBF)));
}

TRANSCODE_AVX2
static inline transcode_shape transcode_measure_avx2(const unsigned char *text, size_t size) {
    transcode_count count = {0, 0, 0, 0};
    size_t i = 0;
    for (; i + 128 <= size; i += 128) {
        const __m256i a = _mm256_loadu_si256((const __m256i *)(text + i));
        const __m256i b = _mm256_loadu_si256((const __m256i *)(text + i + 32));
        const __m256i c = _mm256_loadu_si256((const __m256i *)(text + i + 64));
        const __m256i d = _mm256_loadu_si256((const __m256i *)(text + i + 96));
        if (_mm256_movemask_epi8(_mm256_or_si256(_mm256_or_si256(a, b), _mm256_or_si256(c, d))))
            break;
    }
    count.length = i;
    if (size >= 32) {
        __m256i above_c3, above_ef, widest = _mm256_setzero_si256();
        for (; i + 32 <= size; i += 32) {
            const __m256i bytes = _mm256_loadu_si256((const __m256i *)(text + i));
            count.length += (size_t)_mm_popcnt_u32(transcode_first_avx2(bytes));
            widest = _mm256_max_epu8(widest, bytes);
        }
        if (i < size) {
            /* The last 32 bytes, of which some are counted. */
            const __m256i bytes = _mm256_loadu_si256((const __m256i *)(text + size - 32));
            count.length += (size_t)_mm_popcnt_u32(transcode_first_avx2(bytes) >> (32 - (size - i)));
            widest = _mm256_max_epu8(widest, bytes);
        }
        above_c3 = _mm256_subs_epu8(widest, _mm256_set1_epi8((char)0xC3));
        above_ef = _mm256_subs_epu8(widest, _mm256_set1_epi8((char)0xEF));
        count.not_ascii = (uint64_t)(uint32_t)_mm256_movemask_epi8(widest);
        count.above_c3 = !_mm256_testz_si256(above_c3, above_c3);
        count.above_ef = !_mm256_testz_si256(above_ef, above_ef);
    } else {
        transcode_count_bytes(&count, text, size);
    }
    return transcode_shape_of(&count);
}

/* x and y are adjacent bytes of a character. Return their bits in the lowest byte of its code point, ... */
TRANSCODE_AVX2
static inline __m256i transcode_low_avx2(__m256i x, __m256i y) {
    return _mm256_or_si256(_mm256_and_si256(_mm256_slli_epi16(x, 6), _mm256_set1_epi8((char)0xC0)),
                           _mm256_and_si256(y, _mm256_set1_epi8(0x3F)));
}

/* ... and their bits in the byte above. */
TRANSCODE_AVX2
static inline __m256i transcode_middle_avx2(__m256i x, __m256i y) {
    return _mm256_or_si256(_mm256_and_si256(_mm256_slli_epi16(x, 4), _mm256_set1_epi8((char)0xF0)),
                           _mm256_and_si256(_mm256_srli_epi16(y, 2), _mm256_set1_epi8(0x0F)));
}

TRANSCODE_AVX2
static inline uint8_t *transcode_keep1_avx2(uint8_t *out, __m128i points, unsigned first) {
    const __m128i shuffle = _mm_unpacklo_epi64(
        _mm_loadl_epi64((const __m128i *)transcode_table.lanes8[first & 0xFF]),
        _mm_or_si128(_mm_loadl_epi64((const __m128i *)transcode_table.lanes8[first >> 8]), _mm_set1_epi8(8)));
    const __m128i kept = _mm_shuffle_epi8(points, shuffle);
    _mm_storel_epi64((__m128i *)out, kept);
    _mm_storel_epi64((__m128i *)(out + _mm_popcnt_u32(first & 0xFF)), _mm_unpackhi_epi64(kept, kept));
    return out + _mm_popcnt_u32(first);
}

TRANSCODE_AVX2
static inline uint8_t *transcode_block1_avx2(const unsigned char *text, uint8_t *out) {
    const __m256i a = _mm256_loadu_si256((const __m256i *)text);
    const __m256i b = _mm256_loadu_si256((const __m256i *)(text + 1));
    const unsigned first = transcode_first_avx2(a);
    __m256i points;
    if (_mm256_movemask_epi8(a) == 0) {
        _mm256_storeu_si256((__m256i *)out, a);
        return out + 32;
    }
    points = _mm256_blendv_epi8(a, transcode_low_avx2(a, b), a);
    out = transcode_keep1_avx2(out, _mm256_castsi256_si128(points), first & 0xFFFF);
    return transcode_keep1_avx2(out, _mm256_extracti128_si256(points, 1), first >> 16);
}

TRANSCODE_AVX2
static inline void transcode_keep2_avx2(uint16_t *out, __m128i points, unsigned first) {
    const __m128i shuffle = _mm_loadu_si128((const __m128i *)transcode_table.lanes16[first & 0xFF]);
    _mm_storeu_si128((__m128i *)out, _mm_shuffle_epi8(points, shuffle));
}

TRANSCODE_AVX2
static inline uint16_t *transcode_block2_avx2(const unsigned char *text, uint16_t *out) {
    const __m256i a = _mm256_loadu_si256((const __m256i *)text);
    const unsigned first = transcode_first_avx2(a);
    if (_mm256_movemask_epi8(a) == 0) {
        _mm256_storeu_si256((__m256i *)out, _mm256_cvtepu8_epi16(_mm256_castsi256_si128(a)));
        _mm256_storeu_si256((__m256i *)(out + 16), _mm256_cvtepu8_epi16(_mm256_extracti128_si256(a, 1)));
        return out + 32;
    } else {
        const __m256i b = _mm256_loadu_si256((const __m256i *)(text + 1));
        const __m256i c = _mm256_loadu_si256((const __m256i *)(text + 2));
        /* Also true for ASCII, which the blend with a undoes. */
        const __m256i three = _mm256_cmpgt_epi8(a, _mm256_set1_epi8((char)0xDF));
        const __m256i x = _mm256_blendv_epi8(a, b, three);
        const __m256i y = _mm256_blendv_epi8(b, c, three);
        const __m256i low = _mm256_blendv_epi8(a, transcode_low_avx2(x, y), a);
        const __m256i middle = _mm256_and_si256(transcode_middle_avx2(_mm256_and_si256(a, three), x),
                                                _mm256_cmpgt_epi8(_mm256_setzero_si256(), a));
        /* Lanes 0 to 7 and 16 to 23; 8 to 15 and 24 to 31. */
        const __m256i even = _mm256_unpacklo_epi8(low, middle);
        const __m256i odd = _mm256_unpackhi_epi8(low, middle);
        transcode_keep2_avx2(out, _mm256_castsi256_si128(even), first);
        transcode_keep2_avx2(out + _mm_popcnt_u32(first & 0xFF), _mm256_castsi256_si128(odd), first >> 8);
        transcode_keep2_avx2(out + _mm_popcnt_u32(first & 0xFFFF), _mm256_extracti128_si256(even, 1), first >> 16);
        transcode_keep2_avx2(out + _mm_popcnt_u32(first & 0xFFFFFF), _mm256_extracti128_si256(odd, 1), first >> 24);
        return out + _mm_popcnt_u32(first);
    }
}

TRANSCODE_AVX2
static inline void transcode_keep4_avx2(uint32_t *out, __m256i points, unsigned first) {
    const __m128i lanes = _mm_loadl_epi64((const __m128i *)transcode_table.lanes8[first & 0xFF]);
    _mm256_storeu_si256((__m256i *)out, _mm256_permutevar8x32_epi32(points, _mm256_cvtepu8_epi32(lanes)));
}

TRANSCODE_AVX2
static inline uint32_t *transcode_block4_avx2(const unsigned char *text, uint32_t *out) {
    const __m256i a = _mm256_loadu_si256((const __m256i *)text);
    const unsigned first = transcode_first_avx2(a);
    if (_mm256_movemask_epi8(a) == 0) {
        for (int i = 0; i < 32; i += 8)
            _mm256_storeu_si256((__m256i *)(out + i),
                                _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(text + i))));
        return out + 32;
    } else {
        const __m256i zero = _mm256_setzero_si256();
        const __m256i b = _mm256_loadu_si256((const __m256i *)(text + 1));
        const __m256i c = _mm256_loadu_si256((const __m256i *)(text + 2));
        const __m256i d = _mm256_loadu_si256((const __m256i *)(text + 3));
        const __m256i many = _mm256_cmpgt_epi8(zero, a);
        /* These are also true for ASCII, which the blend with a and many undo. */
        const __m256i three = _mm256_cmpgt_epi8(a, _mm256_set1_epi8((char)0xDF));
        const __m256i four = _mm256_cmpgt_epi8(a, _mm256_set1_epi8((char)0xEF));
        /* The third-to-last, second-to-last and last bytes of each character. */
        const __m256i w = _mm256_and_si256(_mm256_blendv_epi8(a, b, four), three);
        const __m256i x = _mm256_blendv_epi8(_mm256_blendv_epi8(a, b, three), c, four);
        const __m256i y = _mm256_blendv_epi8(_mm256_blendv_epi8(b, c, three), d, four);
        const __m256i low = _mm256_blendv_epi8(a, transcode_low_avx2(x, y), a);
        const __m256i middle = _mm256_and_si256(transcode_middle_avx2(w, x), many);
        const __m256i high = _mm256_and_si256(
            _mm256_or_si256(_mm256_and_si256(_mm256_slli_epi16(a, 2), _mm256_set1_epi8(0x1C)),
                            _mm256_and_si256(_mm256_srli_epi16(b, 4), _mm256_set1_epi8(0x03))),
            _mm256_and_si256(many, four));
        const __m256i even = _mm256_unpacklo_epi8(low, middle);
        const __m256i odd = _mm256_unpackhi_epi8(low, middle);
        const __m256i even_high = _mm256_unpacklo_epi8(high, zero);
        const __m256i odd_high = _mm256_unpackhi_epi8(high, zero);
        const __m256i e = _mm256_unpacklo_epi16(even, even_high);
        const __m256i f = _mm256_unpackhi_epi16(even, even_high);
        const __m256i g = _mm256_unpacklo_epi16(odd, odd_high);
        const __m256i h = _mm256_unpackhi_epi16(odd, odd_high);
        transcode_keep4_avx2(out, _mm256_permute2x128_si256(e, f, 0x20), first);
        transcode_keep4_avx2(out + _mm_popcnt_u32(first & 0xFF), _mm256_permute2x128_si256(g, h, 0x20), first >> 8);
        transcode_keep4_avx2(out + _mm_popcnt_u32(first & 0xFFFF), _mm256_permute2x128_si256(e, f, 0x31),
                             first >> 16);
        transcode_keep4_avx2(out + _mm_popcnt_u32(first & 0xFFFFFF), _mm256_permute2x128_si256(g, h, 0x31),
                             first >> 24);
        return out + _mm_popcnt_u32(first);
    }
}

TRANSCODE_DECODERS(avx2, TRANSCODE_AVX2, 32)

TRANSCODE_AVX2
static inline size_t transcode_size1_avx2(const uint8_t *text, size_t length) {
    size_t i = 0, more = 0;
    for (; i + 32 <= length; i += 32)
        more += (size_t)_mm_popcnt_u32(
            (unsigned)_mm256_movemask_epi8(_mm256_loadu_si256((const __m256i *)(text + i))));
    return i + more + transcode_size1_portable(text + i, length - i);
}

TRANSCODE_AVX2
static inline int transcode_is_zero_avx2(__m256i vector) {
    return _mm256_testz_si256(vector, vector);
}

TRANSCODE_AVX2
static inline size_t transcode_count2_avx2(const uint16_t *text, size_t count, __m256i *surrogates) {
    const __m256i zero = _mm256_setzero_si256();
    const __m256i points = _mm256_loadu_si256((const __m256i *)text);
    const __m256i one = _mm256_cmpeq_epi16(_mm256_and_si256(points, _mm256_set1_epi16((short)0xFF80)), zero);
    const __m256i top = _mm256_and_si256(points, _mm256_set1_epi16((short)0xF800));
    const __m256i two = _mm256_cmpeq_epi16(top, zero);
    *surrogates = _mm256_or_si256(*surrogates, _mm256_cmpeq_epi16(top, _mm256_set1_epi16((short)0xD800)));
    return count - (size_t)_mm_popcnt_u32((unsigned)_mm256_movemask_epi8(_mm256_packs_epi16(one, two)));
}

TRANSCODE_AVX2
static inline size_t transcode_count4_avx2(const uint32_t *text, size_t count, __m256i *surrogates) {
    const __m256i zero = _mm256_setzero_si256();
    const __m256i points = _mm256_loadu_si256((const __m256i *)text);
    const __m256i top = _mm256_srli_epi32(points, 11);
    const __m256i one = _mm256_cmpeq_epi32(_mm256_srli_epi32(points, 7), zero);
    const __m256i two = _mm256_cmpeq_epi32(top, zero);
    const __m256i three = _mm256_cmpeq_epi32(_mm256_srli_epi32(points, 16), zero);
    *surrogates = _mm256_or_si256(*surrogates, _mm256_cmpeq_epi32(top, _mm256_set1_epi32(0xD800 >> 11)));
    return count - (size_t)_mm_popcnt_u32((unsigned)_mm256_movemask_epi8(
        _mm256_packs_epi16(_mm256_packs_epi32(one, two), _mm256_packs_epi32(three, zero))));
}

TRANSCODE_SIZE(2, avx2, TRANSCODE_AVX2, __m256i, size_t, 16, 3, (size_t))
TRANSCODE_SIZE(4, avx2, TRANSCODE_AVX2, __m256i, size_t, 8, 4, (size_t))

TRANSCODE_AVX2
static inline unsigned char *transcode_drop16_avx2(unsigned char *out, __m128i spread, unsigned many) {
    const __m128i shuffle = _mm_loadu_si128((const __m128i *)transcode_table.bytes16[many]);
    _mm_storeu_si128((__m128i *)out, _mm_shuffle_epi8(spread, shuffle));
    return out + 8 + _mm_popcnt_u32(many);
}

/* Write 16 code points below 0x800; ascii marks those below 0x80. */
TRANSCODE_AVX2
static inline unsigned char *transcode_write16_avx2(__m256i points, __m256i ascii, unsigned char *out) {
    const __m256i last = _mm256_slli_epi16(points, 8);
    const __m256i two = _mm256_or_si256(
        _mm256_or_si256(_mm256_srli_epi16(points, 6), _mm256_and_si256(last, _mm256_set1_epi16(0x3F00))),
        _mm256_set1_epi16((short)0x80C0));
    const __m256i spread = _mm256_blendv_epi8(two, last, ascii);
    const unsigned many = 0xFFFF ^ (unsigned)_mm_movemask_epi8(
        _mm_packs_epi16(_mm256_castsi256_si128(ascii), _mm256_extracti128_si256(ascii, 1)));
    out = transcode_drop16_avx2(out, _mm256_castsi256_si128(spread), many & 0xFF);
    return transcode_drop16_avx2(out, _mm256_extracti128_si256(spread, 1), many >> 8);
}

TRANSCODE_AVX2
static inline unsigned char *transcode_from1_avx2(const uint8_t *text, unsigned char *out, __m256i *surrogates) {
    const __m128i bytes = _mm_loadu_si128((const __m128i *)text);
    __m256i points;
    (void)surrogates;
    if (_mm_movemask_epi8(bytes) == 0) {
        _mm_storeu_si128((__m128i *)out, bytes);
        return out + 16;
    }
    points = _mm256_cvtepu8_epi16(bytes);
    return transcode_write16_avx2(points, _mm256_cmpgt_epi16(_mm256_set1_epi16(0x80), points), out);
}

/* Drop the bytes, without tags, that 8 spread code points do not need; more has two bits for each: the number of bytes
 * that it needs, less one. */
TRANSCODE_AVX2
static inline unsigned char *transcode_drop32_avx2(unsigned char *out, __m256i spread, unsigned more) {
    const unsigned low = more & 0xFF, high = more >> 8;
    const __m256i shuffle = _mm256_inserti128_si256(
        _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)transcode_table.bytes32[low])),
        _mm_loadu_si128((const __m128i *)transcode_table.bytes32[high]), 1);
    const __m256i kept = _mm256_shuffle_epi8(spread, shuffle);
    _mm_storeu_si128((__m128i *)out, _mm256_castsi256_si128(kept));
    out += transcode_table.bytes32_size[low];
    _mm_storeu_si128((__m128i *)out, _mm256_extracti128_si256(kept, 1));
    return out + transcode_table.bytes32_size[high];
}

/* Spread 8 code points below 0x10000, without tags; those below 0x80 have their seventh bit in the wrong byte. */
TRANSCODE_AVX2
static inline __m256i transcode_spread32_avx2(__m256i points) {
    return _mm256_or_si256(
        _mm256_or_si256(_mm256_slli_epi32(_mm256_and_si256(points, _mm256_set1_epi32(0x3F)), 24),
                        _mm256_and_si256(_mm256_slli_epi32(points, 10), _mm256_set1_epi32(0x3F0000))),
        _mm256_and_si256(_mm256_srli_epi32(points, 4), _mm256_set1_epi32(0x3F00)));
}

TRANSCODE_AVX2
static inline __m256i transcode_tag32_avx2(__m256i points, __m256i spread, __m256i tags, __m256i ascii) {
    return _mm256_blendv_epi8(_mm256_or_si256(spread, tags), _mm256_slli_epi32(points, 24), ascii);
}

TRANSCODE_AVX2
static inline __m256i transcode_tags3_avx2(__m256i three) {
    return _mm256_blendv_epi8(_mm256_set1_epi32((int)0x80C00000), _mm256_set1_epi32((int)0x8080E000), three);
}

TRANSCODE_AVX2
static inline unsigned char *transcode_write32_avx2(__m128i words, unsigned more, unsigned char *out) {
    const __m256i points = _mm256_cvtepu16_epi32(words);
    const __m256i ascii = _mm256_cmpgt_epi32(_mm256_set1_epi32(0x80), points);
    const __m256i three = _mm256_cmpgt_epi32(points, _mm256_set1_epi32(0x7FF));
    const __m256i spread = transcode_spread32_avx2(points);
    return transcode_drop32_avx2(out, transcode_tag32_avx2(points, spread, transcode_tags3_avx2(three), ascii), more);
}

TRANSCODE_AVX2
static inline unsigned char *transcode_from2_avx2(const uint16_t *text, unsigned char *out, __m256i *surrogates) {
    const __m256i zero = _mm256_setzero_si256();
    const __m256i points = _mm256_loadu_si256((const __m256i *)text);
    const __m256i top = _mm256_and_si256(points, _mm256_set1_epi16((short)0xF800));
    const __m256i ascii = _mm256_cmpeq_epi16(_mm256_and_si256(points, _mm256_set1_epi16((short)0xFF80)), zero);
    const __m256i upto_two = _mm256_cmpeq_epi16(top, zero);
    if ((unsigned)_mm256_movemask_epi8(upto_two) == 0xFFFFFFFF) {
        if ((unsigned)_mm256_movemask_epi8(ascii) == 0xFFFFFFFF) {
            _mm_storeu_si128((__m128i *)out, _mm_packus_epi16(_mm256_castsi256_si128(points),
                                                              _mm256_extracti128_si256(points, 1)));
            return out + 16;
        }
        return transcode_write16_avx2(points, ascii, out);
    } else {
        /* Two bits for each word: the lower for two bytes, the upper for three. */
        const __m256i two = _mm256_andnot_si256(ascii, _mm256_and_si256(upto_two, _mm256_set1_epi16(0x0080)));
        const __m256i three = _mm256_andnot_si256(upto_two, _mm256_set1_epi16((short)0x8000));
        const unsigned more = (unsigned)_mm256_movemask_epi8(_mm256_or_si256(two, three));
        *surrogates = _mm256_or_si256(*surrogates, _mm256_cmpeq_epi16(top, _mm256_set1_epi16((short)0xD800)));
        out = transcode_write32_avx2(_mm256_castsi256_si128(points), more & 0xFFFF, out);
        return transcode_write32_avx2(_mm256_extracti128_si256(points, 1), more >> 16, out);
    }
}

TRANSCODE_AVX2
static inline unsigned char *transcode_write4_avx2(__m256i points, unsigned char *out) {
    const __m256i ascii = _mm256_cmpgt_epi32(_mm256_set1_epi32(0x80), points);
    const __m256i three = _mm256_cmpgt_epi32(points, _mm256_set1_epi32(0x7FF));
    const __m256i four = _mm256_cmpgt_epi32(points, _mm256_set1_epi32(0xFFFF));
    const __m256i tags =
        _mm256_blendv_epi8(transcode_tags3_avx2(three), _mm256_set1_epi32((int)0x808080F0), four);
    const __m256i spread = _mm256_or_si256(transcode_spread32_avx2(points), _mm256_srli_epi32(points, 18));
    /* Two bits for each lane: 1 for two bytes, 2 for three, 3 for four. */
    const __m256i low = _mm256_xor_si256(_mm256_cmpeq_epi32(ascii, three), four);
    const __m256i bits = _mm256_or_si256(_mm256_and_si256(low, _mm256_set1_epi32(0x0080)),
                                         _mm256_and_si256(three, _mm256_set1_epi32(0x8000)));
    const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(bits), _mm256_extracti128_si256(bits, 1));
    return transcode_drop32_avx2(out, transcode_tag32_avx2(points, spread, tags, ascii),
                                 (unsigned)_mm_movemask_epi8(words));
}

TRANSCODE_AVX2
static inline unsigned char *transcode_from4_avx2(const uint32_t *text, unsigned char *out, __m256i *surrogates) {
    const __m256i below = _mm256_loadu_si256((const __m256i *)text);
    const __m256i above = _mm256_loadu_si256((const __m256i *)(text + 8));
    const __m256i surrogate = _mm256_set1_epi32(0xD800 >> 11);
    if (_mm256_testz_si256(_mm256_or_si256(below, above), _mm256_set1_epi32(~0x7F))) {
        const __m256i words = _mm256_permute4x64_epi64(_mm256_packus_epi32(below, above), 0xD8);
        _mm_storeu_si128((__m128i *)out, _mm_packus_epi16(_mm256_castsi256_si128(words),
                                                          _mm256_extracti128_si256(words, 1)));
        return out + 16;
    }
    *surrogates = _mm256_or_si256(
        *surrogates, _mm256_or_si256(_mm256_cmpeq_epi32(_mm256_srli_epi32(below, 11), surrogate),
                                     _mm256_cmpeq_epi32(_mm256_srli_epi32(above, 11), surrogate)));
    return transcode_write4_avx2(above, transcode_write4_avx2(below, out));
}

TRANSCODE_ENCODERS(avx2, TRANSCODE_AVX2, __m256i, 16, 32, 16, 64, 16, 64)

#endif
