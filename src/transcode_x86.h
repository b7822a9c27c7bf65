/* The transcoding kernels of transcode.h for x86. */
#ifndef WSFRAME_TRANSCODE_X86_H
#define WSFRAME_TRANSCODE_X86_H

#define TRANSCODE_SSSE3 __attribute__((target("ssse3")))

TRANSCODE_SSSE3
static inline size_t transcode_sum_ssse3(__m128i sums) {
    uint64_t parts[2];
    _mm_storeu_si128((__m128i *)parts, sums);
    return (size_t)(parts[0] + parts[1]);
}

/* How many bytes are 0xFF, the others being 0. */
TRANSCODE_SSSE3
static inline __m128i transcode_count_ssse3(__m128i set) {
    return _mm_sad_epu8(_mm_sub_epi8(_mm_setzero_si128(), set), _mm_setzero_si128());
}

TRANSCODE_SSSE3
static inline int transcode_is_zero_ssse3(__m128i vector) {
    return _mm_movemask_epi8(_mm_cmpeq_epi8(vector, _mm_setzero_si128())) == 0xFFFF;
}

TRANSCODE_SSSE3
static inline transcode_shape transcode_measure_ssse3(const unsigned char *text, size_t size) {
    const __m128i zero = _mm_setzero_si128();
    transcode_count count = {0, 0, 0, 0};
    __m128i widest = zero, continuations = zero;
    size_t i = 0;
    for (; i + 16 <= size; i += 16) {
        const __m128i bytes = _mm_loadu_si128((const __m128i *)(text + i));
        const __m128i continuation = _mm_cmpgt_epi8(_mm_set1_epi8((char)0xC0), bytes);
        continuations = _mm_add_epi64(continuations, transcode_count_ssse3(continuation));
        widest = _mm_max_epu8(widest, bytes);
    }
    if (i) {
        count.length = i - transcode_sum_ssse3(continuations);
        count.not_ascii = (uint64_t)_mm_movemask_epi8(widest);
        count.above_c3 = 0xFFFF ^ (uint64_t)_mm_movemask_epi8(
            _mm_cmpeq_epi8(_mm_subs_epu8(widest, _mm_set1_epi8((char)0xC3)), zero));
        count.above_ef = 0xFFFF ^ (uint64_t)_mm_movemask_epi8(
            _mm_cmpeq_epi8(_mm_subs_epu8(widest, _mm_set1_epi8((char)0xEF)), zero));
    }
    transcode_count_bytes(&count, text + i, size - i);
    return transcode_shape_of(&count);
}

/* Where mask is set those of yes, else those of no. */
TRANSCODE_SSSE3
static inline __m128i transcode_select_ssse3(__m128i mask, __m128i yes, __m128i no) {
    return _mm_or_si128(_mm_and_si128(mask, yes), _mm_andnot_si128(mask, no));
}

/* As for AVX2. */
TRANSCODE_SSSE3
static inline __m128i transcode_low_ssse3(__m128i x, __m128i y) {
    return transcode_select_ssse3(_mm_set1_epi8(0x3F), y, _mm_slli_epi16(x, 6));
}

TRANSCODE_SSSE3
static inline __m128i transcode_middle_ssse3(__m128i x, __m128i y) {
    return transcode_select_ssse3(_mm_set1_epi8(0x0F), _mm_srli_epi16(y, 2), _mm_slli_epi16(x, 4));
}

TRANSCODE_SSSE3
static inline unsigned transcode_first_ssse3(__m128i bytes) {
    return (unsigned)_mm_movemask_epi8(_mm_cmpgt_epi8(bytes, _mm_set1_epi8((char)0xBF)));
}

TRANSCODE_SSSE3
static inline uint8_t *transcode_block1_ssse3(const unsigned char *text, uint8_t *out) {
    const __m128i a = _mm_loadu_si128((const __m128i *)text);
    const __m128i b = _mm_loadu_si128((const __m128i *)(text + 1));
    const unsigned first = transcode_first_ssse3(a);
    const __m128i many = _mm_cmpgt_epi8(_mm_setzero_si128(), a);
    const __m128i shuffle = _mm_unpacklo_epi64(
        _mm_loadl_epi64((const __m128i *)transcode_table.lanes8[first & 0xFF]),
        _mm_or_si128(_mm_loadl_epi64((const __m128i *)transcode_table.lanes8[first >> 8]), _mm_set1_epi8(8)));
    const __m128i kept = _mm_shuffle_epi8(transcode_select_ssse3(many, transcode_low_ssse3(a, b), a), shuffle);
    _mm_storel_epi64((__m128i *)out, kept);
    out += transcode_table.lanes8_count[first & 0xFF];
    _mm_storel_epi64((__m128i *)out, _mm_srli_si128(kept, 8));
    return out + transcode_table.lanes8_count[first >> 8];
}

TRANSCODE_SSSE3
static inline uint16_t *transcode_keep2_ssse3(uint16_t *out, __m128i points, unsigned first) {
    const __m128i shuffle = _mm_loadu_si128((const __m128i *)transcode_table.lanes16[first]);
    _mm_storeu_si128((__m128i *)out, _mm_shuffle_epi8(points, shuffle));
    return out + transcode_table.lanes8_count[first];
}

TRANSCODE_SSSE3
static inline uint16_t *transcode_block2_ssse3(const unsigned char *text, uint16_t *out) {
    const __m128i a = _mm_loadu_si128((const __m128i *)text);
    const __m128i b = _mm_loadu_si128((const __m128i *)(text + 1));
    const __m128i c = _mm_loadu_si128((const __m128i *)(text + 2));
    const unsigned first = transcode_first_ssse3(a);
    const __m128i many = _mm_cmpgt_epi8(_mm_setzero_si128(), a);
    const __m128i three = _mm_cmpgt_epi8(a, _mm_set1_epi8((char)0xDF));
    const __m128i x = transcode_select_ssse3(three, b, a);
    const __m128i y = transcode_select_ssse3(three, c, b);
    const __m128i low = transcode_select_ssse3(many, transcode_low_ssse3(x, y), a);
    const __m128i middle = _mm_and_si128(transcode_middle_ssse3(_mm_and_si128(a, three), x), many);
    out = transcode_keep2_ssse3(out, _mm_unpacklo_epi8(low, middle), first & 0xFF);
    return transcode_keep2_ssse3(out, _mm_unpackhi_epi8(low, middle), first >> 8);
}

TRANSCODE_SSSE3
static inline uint32_t *transcode_keep4_ssse3(uint32_t *out, __m128i points, unsigned first) {
    const __m128i shuffle = _mm_loadu_si128((const __m128i *)transcode_table.lanes16[transcode_pairs[first]]);
    _mm_storeu_si128((__m128i *)out, _mm_shuffle_epi8(points, shuffle));
    return out + transcode_table.lanes8_count[first];
}

TRANSCODE_SSSE3
static inline uint32_t *transcode_block4_ssse3(const unsigned char *text, uint32_t *out) {
    const __m128i zero = _mm_setzero_si128();
    const __m128i a = _mm_loadu_si128((const __m128i *)text);
    const __m128i b = _mm_loadu_si128((const __m128i *)(text + 1));
    const __m128i c = _mm_loadu_si128((const __m128i *)(text + 2));
    const __m128i d = _mm_loadu_si128((const __m128i *)(text + 3));
    const unsigned first = transcode_first_ssse3(a);
    const __m128i many = _mm_cmpgt_epi8(zero, a);
    const __m128i three = _mm_cmpgt_epi8(a, _mm_set1_epi8((char)0xDF));
    const __m128i four = _mm_cmpgt_epi8(a, _mm_set1_epi8((char)0xEF));
    const __m128i w = _mm_and_si128(transcode_select_ssse3(four, b, a), three);
    const __m128i x = transcode_select_ssse3(four, c, transcode_select_ssse3(three, b, a));
    const __m128i y = transcode_select_ssse3(four, d, transcode_select_ssse3(three, c, b));
    const __m128i low = transcode_select_ssse3(many, transcode_low_ssse3(x, y), a);
    const __m128i middle = _mm_and_si128(transcode_middle_ssse3(w, x), many);
    const __m128i high = _mm_and_si128(
        transcode_select_ssse3(_mm_set1_epi8(0x03), _mm_srli_epi16(b, 4), _mm_slli_epi16(a, 2)),
        _mm_and_si128(_mm_and_si128(many, four), _mm_set1_epi8(0x1F)));
    const __m128i even = _mm_unpacklo_epi8(low, middle), even_high = _mm_unpacklo_epi8(high, zero);
    const __m128i odd = _mm_unpackhi_epi8(low, middle), odd_high = _mm_unpackhi_epi8(high, zero);
    out = transcode_keep4_ssse3(out, _mm_unpacklo_epi16(even, even_high), first & 0xF);
    out = transcode_keep4_ssse3(out, _mm_unpackhi_epi16(even, even_high), first >> 4 & 0xF);
    out = transcode_keep4_ssse3(out, _mm_unpacklo_epi16(odd, odd_high), first >> 8 & 0xF);
    return transcode_keep4_ssse3(out, _mm_unpackhi_epi16(odd, odd_high), first >> 12);
}

TRANSCODE_DECODER(transcode_decode1_ssse3, TRANSCODE_SSSE3, uint8_t, transcode_block1_ssse3, 16)
TRANSCODE_DECODER(transcode_decode2_ssse3, TRANSCODE_SSSE3, uint16_t, transcode_block2_ssse3, 16)
TRANSCODE_DECODER(transcode_decode4_ssse3, TRANSCODE_SSSE3, uint32_t, transcode_block4_ssse3, 16)

TRANSCODE_SSSE3
static inline size_t transcode_size1_ssse3(const uint8_t *text, size_t length) {
    __m128i more = _mm_setzero_si128();
    size_t i = 0;
    for (; i + 16 <= length; i += 16) {
        const __m128i bytes = _mm_loadu_si128((const __m128i *)(text + i));
        more = _mm_add_epi64(more, transcode_count_ssse3(_mm_cmpgt_epi8(_mm_setzero_si128(), bytes)));
    }
    return i + transcode_sum_ssse3(more) + transcode_size1_portable(text + i, length - i);
}

TRANSCODE_SSSE3
static inline size_t transcode_size2_ssse3(const uint16_t *text, size_t length) {
    const __m128i zero = _mm_setzero_si128();
    __m128i surrogates = zero, less = zero;
    size_t i = 0, rest;
    for (; i + 8 <= length; i += 8) {
        const __m128i points = _mm_loadu_si128((const __m128i *)(text + i));
        const __m128i top = _mm_and_si128(points, _mm_set1_epi16((short)0xF800));
        const __m128i ascii = _mm_cmpeq_epi16(_mm_and_si128(points, _mm_set1_epi16((short)0xFF80)), zero);
        less = _mm_add_epi64(less, transcode_count_ssse3(_mm_packs_epi16(ascii, _mm_cmpeq_epi16(top, zero))));
        surrogates = _mm_or_si128(surrogates, _mm_cmpeq_epi16(top, _mm_set1_epi16((short)0xD800)));
    }
    rest = transcode_size2_portable(text + i, length - i);
    return rest == TRANSCODE_SURROGATE || !transcode_is_zero_ssse3(surrogates)
               ? TRANSCODE_SURROGATE
               : 3 * i - transcode_sum_ssse3(less) + rest;
}

TRANSCODE_SSSE3
static inline size_t transcode_size4_ssse3(const uint32_t *text, size_t length) {
    const __m128i zero = _mm_setzero_si128();
    __m128i surrogates = zero, more = zero;
    size_t i = 0, rest;
    for (; i + 4 <= length; i += 4) {
        const __m128i points = _mm_loadu_si128((const __m128i *)(text + i));
        const __m128i many = _mm_cmpgt_epi32(points, _mm_set1_epi32(0x7F));
        const __m128i three = _mm_cmpgt_epi32(points, _mm_set1_epi32(0x7FF));
        const __m128i four = _mm_cmpgt_epi32(points, _mm_set1_epi32(0xFFFF));
        more = _mm_add_epi64(more, transcode_count_ssse3(
            _mm_packs_epi16(_mm_packs_epi32(many, three), _mm_packs_epi32(four, zero))));
        surrogates = _mm_or_si128(
            surrogates, _mm_cmpeq_epi32(_mm_srli_epi32(points, 11), _mm_set1_epi32(0xD800 >> 11)));
    }
    rest = transcode_size4_portable(text + i, length - i);
    return rest == TRANSCODE_SURROGATE || !transcode_is_zero_ssse3(surrogates)
               ? TRANSCODE_SURROGATE
               : i + transcode_sum_ssse3(more) + rest;
}

TRANSCODE_SSSE3
static inline unsigned char *transcode_drop16_ssse3(unsigned char *out, __m128i points) {
    const __m128i many = _mm_cmpgt_epi16(points, _mm_set1_epi16(0x7F));
    const __m128i last = _mm_slli_epi16(points, 8);
    const __m128i two = _mm_or_si128(
        _mm_or_si128(_mm_srli_epi16(points, 6), _mm_and_si128(last, _mm_set1_epi16(0x3F00))),
        _mm_set1_epi16((short)0x80C0));
    const unsigned mask = (unsigned)_mm_movemask_epi8(_mm_packs_epi16(many, _mm_setzero_si128()));
    const __m128i shuffle = _mm_loadu_si128((const __m128i *)transcode_table.bytes16[mask]);
    _mm_storeu_si128((__m128i *)out, _mm_shuffle_epi8(transcode_select_ssse3(many, two, last), shuffle));
    return out + 8 + transcode_table.lanes8_count[mask];
}

TRANSCODE_SSSE3
static inline unsigned char *transcode_from1_ssse3(const uint8_t *text, unsigned char *out, __m128i *surrogates) {
    const __m128i bytes = _mm_loadu_si128((const __m128i *)text);
    (void)surrogates;
    if (_mm_movemask_epi8(bytes) == 0) {
        _mm_storeu_si128((__m128i *)out, bytes);
        return out + 16;
    }
    out = transcode_drop16_ssse3(out, _mm_unpacklo_epi8(bytes, _mm_setzero_si128()));
    return transcode_drop16_ssse3(out, _mm_unpackhi_epi8(bytes, _mm_setzero_si128()));
}

TRANSCODE_SSSE3
static inline unsigned char *transcode_drop32_ssse3(unsigned char *out, __m128i points) {
    const __m128i many = _mm_cmpgt_epi32(points, _mm_set1_epi32(0x7F));
    const __m128i three = _mm_cmpgt_epi32(points, _mm_set1_epi32(0x7FF));
    const __m128i four = _mm_cmpgt_epi32(points, _mm_set1_epi32(0xFFFF));
    const __m128i last = _mm_slli_epi32(points, 24);
    const __m128i payload = _mm_or_si128(
        _mm_or_si128(_mm_and_si128(last, _mm_set1_epi32(0x3F000000)),
                     _mm_and_si128(_mm_slli_epi32(points, 10), _mm_set1_epi32(0x3F0000))),
        _mm_or_si128(_mm_and_si128(_mm_srli_epi32(points, 4), _mm_set1_epi32(0x3F00)), _mm_srli_epi32(points, 18)));
    const __m128i tags = transcode_select_ssse3(
        four, _mm_set1_epi32((int)0x808080F0),
        transcode_select_ssse3(three, _mm_set1_epi32((int)0x8080E000), _mm_set1_epi32((int)0x80C00000)));
    const __m128i spread = transcode_select_ssse3(many, _mm_or_si128(payload, tags), last);
    /* Two bits for each lane: 1 for two bytes, 2 for three, 3 for four. Negative, lest packing saturate. */
    const __m128i low = _mm_xor_si128(_mm_xor_si128(many, three), four);
    const __m128i bits = _mm_or_si128(_mm_and_si128(low, _mm_set1_epi32(0x0080)),
                                      _mm_and_si128(three, _mm_set1_epi32(-0x8000)));
    const unsigned more = (unsigned)_mm_movemask_epi8(_mm_packs_epi32(bits, bits)) & 0xFF;
    const __m128i shuffle = _mm_loadu_si128((const __m128i *)transcode_table.bytes32[more]);
    _mm_storeu_si128((__m128i *)out, _mm_shuffle_epi8(spread, shuffle));
    return out + transcode_table.bytes32_size[more];
}

TRANSCODE_SSSE3
static inline unsigned char *transcode_from2_ssse3(const uint16_t *text, unsigned char *out, __m128i *surrogates) {
    const __m128i zero = _mm_setzero_si128();
    const __m128i points = _mm_loadu_si128((const __m128i *)text);
    const __m128i top = _mm_and_si128(points, _mm_set1_epi16((short)0xF800));
    if (transcode_is_zero_ssse3(top))
        return transcode_drop16_ssse3(out, points);
    *surrogates = _mm_or_si128(*surrogates, _mm_cmpeq_epi16(top, _mm_set1_epi16((short)0xD800)));
    out = transcode_drop32_ssse3(out, _mm_unpacklo_epi16(points, zero));
    return transcode_drop32_ssse3(out, _mm_unpackhi_epi16(points, zero));
}

TRANSCODE_SSSE3
static inline unsigned char *transcode_from4_ssse3(const uint32_t *text, unsigned char *out, __m128i *surrogates) {
    const __m128i points = _mm_loadu_si128((const __m128i *)text);
    *surrogates = _mm_or_si128(
        *surrogates, _mm_cmpeq_epi32(_mm_srli_epi32(points, 11), _mm_set1_epi32(0xD800 >> 11)));
    return transcode_drop32_ssse3(out, points);
}

TRANSCODE_ENCODER(transcode_encode1_ssse3, TRANSCODE_SSSE3, uint8_t, __m128i, transcode_from1_ssse3, 16, 32,
                  transcode_is_zero_ssse3)
TRANSCODE_ENCODER(transcode_encode2_ssse3, TRANSCODE_SSSE3, uint16_t, __m128i, transcode_from2_ssse3, 8, 32,
                  transcode_is_zero_ssse3)
TRANSCODE_ENCODER(transcode_encode4_ssse3, TRANSCODE_SSSE3, uint32_t, __m128i, transcode_from4_ssse3, 4, 16,
                  transcode_is_zero_ssse3)

#define TRANSCODE_AVX2 __attribute__((target("avx2,popcnt")))

TRANSCODE_AVX2
static inline transcode_shape transcode_measure_avx2(const unsigned char *text, size_t size) {
    transcode_count count = {0, 0, 0, 0};
    size_t i = 0;
    if (size >= 32) {
        const __m256i last_continuation = _mm256_set1_epi8((char)0xBF);
        __m256i above_c3, above_ef, any = _mm256_setzero_si256();
        for (; i + 32 <= size; i += 32) {
            const __m256i bytes = _mm256_loadu_si256((const __m256i *)(text + i));
            const __m256i first = _mm256_cmpgt_epi8(bytes, last_continuation);
            count.length += (size_t)_mm_popcnt_u32((unsigned)_mm256_movemask_epi8(first));
            any = _mm256_max_epu8(any, bytes);
        }
        above_c3 = _mm256_subs_epu8(any, _mm256_set1_epi8((char)0xC3));
        above_ef = _mm256_subs_epu8(any, _mm256_set1_epi8((char)0xEF));
        count.not_ascii = (uint64_t)(uint32_t)_mm256_movemask_epi8(any);
        count.above_c3 = !_mm256_testz_si256(above_c3, above_c3);
        count.above_ef = !_mm256_testz_si256(above_ef, above_ef);
    }
    transcode_count_bytes(&count, text + i, size - i);
    return transcode_shape_of(&count);
}

/* x and y are neighbouring bytes of a character: the bits that the lowest byte of its code point has of them, ... */
TRANSCODE_AVX2
static inline __m256i transcode_low_avx2(__m256i x, __m256i y) {
    return _mm256_or_si256(_mm256_and_si256(_mm256_slli_epi16(x, 6), _mm256_set1_epi8((char)0xC0)),
                           _mm256_and_si256(y, _mm256_set1_epi8(0x3F)));
}

/* ... and those that the byte above has. */
TRANSCODE_AVX2
static inline __m256i transcode_middle_avx2(__m256i x, __m256i y) {
    return _mm256_or_si256(_mm256_and_si256(_mm256_slli_epi16(x, 4), _mm256_set1_epi8((char)0xF0)),
                           _mm256_and_si256(_mm256_srli_epi16(y, 2), _mm256_set1_epi8(0x0F)));
}

/* The bytes that begin a character. */
TRANSCODE_AVX2
static inline unsigned transcode_first_avx2(__m256i bytes) {
    return (unsigned)_mm256_movemask_epi8(_mm256_cmpgt_epi8(bytes, _mm256_set1_epi8((char)0xBF)));
}

TRANSCODE_AVX2
static inline uint8_t *transcode_keep1_avx2(uint8_t *out, __m128i points, unsigned first) {
    const __m128i shuffle = _mm_unpacklo_epi64(
        _mm_loadl_epi64((const __m128i *)transcode_table.lanes8[first & 0xFF]),
        _mm_or_si128(_mm_loadl_epi64((const __m128i *)transcode_table.lanes8[first >> 8]), _mm_set1_epi8(8)));
    const __m128i kept = _mm_shuffle_epi8(points, shuffle);
    _mm_storel_epi64((__m128i *)out, kept);
    _mm_storeh_pd((double *)(void *)(out + _mm_popcnt_u32(first & 0xFF)), _mm_castsi128_pd(kept));
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
        /* True of ASCII, too, which the blend with a then undoes. */
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
        /* These are true of ASCII, too, which is undone by the blend with a and by many. */
        const __m256i three = _mm256_cmpgt_epi8(a, _mm256_set1_epi8((char)0xDF));
        const __m256i four = _mm256_cmpgt_epi8(a, _mm256_set1_epi8((char)0xEF));
        /* The last bytes but two, but one, and the last. */
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

TRANSCODE_DECODER(transcode_decode1_avx2, TRANSCODE_AVX2, uint8_t, transcode_block1_avx2, 32)
TRANSCODE_DECODER(transcode_decode2_avx2, TRANSCODE_AVX2, uint16_t, transcode_block2_avx2, 32)
TRANSCODE_DECODER(transcode_decode4_avx2, TRANSCODE_AVX2, uint32_t, transcode_block4_avx2, 32)

TRANSCODE_AVX2
static inline size_t transcode_size1_avx2(const uint8_t *text, size_t length) {
    size_t i = 0, more = 0;
    for (; i + 32 <= length; i += 32)
        more += (size_t)_mm_popcnt_u32(
            (unsigned)_mm256_movemask_epi8(_mm256_loadu_si256((const __m256i *)(text + i))));
    return i + more + transcode_size1_portable(text + i, length - i);
}

TRANSCODE_AVX2
static inline size_t transcode_size2_avx2(const uint16_t *text, size_t length) {
    const __m256i zero = _mm256_setzero_si256();
    __m256i surrogate = zero;
    size_t i = 0, less = 0, rest;
    for (; i + 16 <= length; i += 16) {
        const __m256i points = _mm256_loadu_si256((const __m256i *)(text + i));
        const __m256i one = _mm256_cmpeq_epi16(_mm256_and_si256(points, _mm256_set1_epi16((short)0xFF80)), zero);
        const __m256i top = _mm256_and_si256(points, _mm256_set1_epi16((short)0xF800));
        const __m256i two = _mm256_cmpeq_epi16(top, zero);
        surrogate = _mm256_or_si256(surrogate, _mm256_cmpeq_epi16(top, _mm256_set1_epi16((short)0xD800)));
        less += (size_t)_mm_popcnt_u32((unsigned)_mm256_movemask_epi8(_mm256_packs_epi16(one, two)));
    }
    rest = transcode_size2_portable(text + i, length - i);
    return !_mm256_testz_si256(surrogate, surrogate) || rest == TRANSCODE_SURROGATE ? TRANSCODE_SURROGATE
                                                                                    : 3 * i - less + rest;
}

TRANSCODE_AVX2
static inline size_t transcode_size4_avx2(const uint32_t *text, size_t length) {
    const __m256i zero = _mm256_setzero_si256();
    __m256i surrogate = zero;
    size_t i = 0, less = 0, rest;
    for (; i + 8 <= length; i += 8) {
        const __m256i points = _mm256_loadu_si256((const __m256i *)(text + i));
        const __m256i top = _mm256_srli_epi32(points, 11);
        const __m256i one = _mm256_cmpeq_epi32(_mm256_srli_epi32(points, 7), zero);
        const __m256i two = _mm256_cmpeq_epi32(top, zero);
        const __m256i three = _mm256_cmpeq_epi32(_mm256_srli_epi32(points, 16), zero);
        surrogate = _mm256_or_si256(surrogate, _mm256_cmpeq_epi32(top, _mm256_set1_epi32(0xD800 >> 11)));
        less += (size_t)_mm_popcnt_u32((unsigned)_mm256_movemask_epi8(
            _mm256_packs_epi16(_mm256_packs_epi32(one, two), _mm256_packs_epi32(three, zero))));
    }
    rest = transcode_size4_portable(text + i, length - i);
    return !_mm256_testz_si256(surrogate, surrogate) || rest == TRANSCODE_SURROGATE ? TRANSCODE_SURROGATE
                                                                                    : 4 * i - less + rest;
}

TRANSCODE_AVX2
static inline unsigned char *transcode_drop16_avx2(unsigned char *out, __m128i spread, unsigned many) {
    const __m128i shuffle = _mm_loadu_si128((const __m128i *)transcode_table.bytes16[many]);
    _mm_storeu_si128((__m128i *)out, _mm_shuffle_epi8(spread, shuffle));
    return out + 8 + _mm_popcnt_u32(many);
}

/* 16 code points below 0x800, of which ascii tells those below 0x80. */
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

/* 8 code points, spread but without tags where three and four have no top bits; more has two bits for each, which are
 * one less than how many bytes it needs. */
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

/* 8 code points below 0x10000 as words without tags; those below 0x80 have their seventh bit in the wrong byte. */
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
        /* Of each word's two bits the lower for two bytes, the upper for three. */
        const __m256i two = _mm256_andnot_si256(ascii, _mm256_and_si256(upto_two, _mm256_set1_epi16(0x0080)));
        const __m256i three = _mm256_andnot_si256(upto_two, _mm256_set1_epi16((short)0x8000));
        const unsigned more = (unsigned)_mm256_movemask_epi8(_mm256_or_si256(two, three));
        *surrogates = _mm256_or_si256(*surrogates, _mm256_cmpeq_epi16(top, _mm256_set1_epi16((short)0xD800)));
        out = transcode_write32_avx2(_mm256_castsi256_si128(points), more & 0xFFFF, out);
        return transcode_write32_avx2(_mm256_extracti128_si256(points, 1), more >> 16, out);
    }
}

TRANSCODE_AVX2
static inline unsigned char *transcode_from4_avx2(const uint32_t *text, unsigned char *out, __m256i *surrogates) {
    const __m256i points = _mm256_loadu_si256((const __m256i *)text);
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
    *surrogates = _mm256_or_si256(
        *surrogates, _mm256_cmpeq_epi32(_mm256_srli_epi32(points, 11), _mm256_set1_epi32(0xD800 >> 11)));
    return transcode_drop32_avx2(out, transcode_tag32_avx2(points, spread, tags, ascii),
                                 (unsigned)_mm_movemask_epi8(words));
}

TRANSCODE_AVX2
static inline int transcode_is_zero_avx2(__m256i vector) {
    return _mm256_testz_si256(vector, vector);
}

TRANSCODE_ENCODER(transcode_encode1_avx2, TRANSCODE_AVX2, uint8_t, __m256i, transcode_from1_avx2, 16, 32,
                  transcode_is_zero_avx2)
TRANSCODE_ENCODER(transcode_encode2_avx2, TRANSCODE_AVX2, uint16_t, __m256i, transcode_from2_avx2, 16, 64,
                  transcode_is_zero_avx2)
TRANSCODE_ENCODER(transcode_encode4_avx2, TRANSCODE_AVX2, uint32_t, __m256i, transcode_from4_avx2, 8, 32,
                  transcode_is_zero_avx2)

#ifdef UTF8_AVX512

/* The count lowest of 64 bits. */
UTF8_AVX512
static inline __mmask64 transcode_lowest_avx512(size_t count) {
    return count < 64 ? (UINT64_C(1) << count) - 1 : ~UINT64_C(0);
}

UTF8_AVX512
static inline transcode_shape transcode_measure_avx512(const unsigned char *text, size_t size) {
    const __m512i last_continuation = _mm512_set1_epi8((char)0xBF);
    __m512i widest = _mm512_setzero_si512();
    transcode_shape shape = {0, 0};
    size_t i = 0;
    for (; i + 64 <= size; i += 64) {
        const __m512i bytes = _mm512_loadu_si512((const void *)(text + i));
        shape.length += (size_t)_mm_popcnt_u64(_mm512_cmpgt_epi8_mask(bytes, last_continuation));
        widest = _mm512_max_epu8(widest, bytes);
    }
    if (i < size) {
        const __mmask64 rest = transcode_lowest_avx512(size - i);
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

/* As for AVX2. 0xD8: where the third has a bit, that of the second, else that of the first. */
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

/* a is 64 bytes, b, c and d those from one, two and three places behind on. Put the code points of the characters that
 * begin in a into units, and return how many there are. */
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
    /* Unpacking takes the lower or upper half of each 128 bits. */
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

/* Bytes behind the end of the text are not read, but taken for continuation bytes. */
UTF8_AVX512
static inline __m512i transcode_load_avx512(const unsigned char *text, const unsigned char *stop) {
    return stop - text >= 64 ? _mm512_loadu_si512((const void *)text)
                             : _mm512_mask_loadu_epi8(_mm512_set1_epi8((char)0x80),
                                                      transcode_lowest_avx512(text < stop ? (size_t)(stop - text) : 0),
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
                                            transcode_lowest_avx512(room * (width)-i * 64), units[i]); \
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
            _mm512_maskz_loadu_epi8(transcode_lowest_avx512(length - i), (const void *)(text + i))));
    return size;
}

UTF8_AVX512
static inline size_t transcode_size2_avx512(const uint16_t *text, size_t length) {
    size_t size = length;
    __mmask32 surrogate = 0;
    for (size_t i = 0; i < length; i += 32) {
        const __m512i points =
            length - i >= 32 ? _mm512_loadu_si512((const void *)(text + i))
                             : _mm512_maskz_loadu_epi16((__mmask32)transcode_lowest_avx512(length - i),
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
    size_t size = length;
    __mmask16 surrogate = 0;
    for (size_t i = 0; i < length; i += 16) {
        const __m512i points =
            length - i >= 16 ? _mm512_loadu_si512((const void *)(text + i))
                             : _mm512_maskz_loadu_epi32((__mmask16)transcode_lowest_avx512(length - i),
                                                        (const void *)(text + i));
        const __m512i top = _mm512_and_si512(points, _mm512_set1_epi32(~0x7FF));
        size += (size_t)_mm_popcnt_u32(_mm512_test_epi32_mask(points, _mm512_set1_epi32(~0x7F)));
        size += (size_t)_mm_popcnt_u32(_mm512_test_epi32_mask(top, top));
        size += (size_t)_mm_popcnt_u32(_mm512_test_epi32_mask(points, _mm512_set1_epi32(~0xFFFF)));
        surrogate |= _mm512_cmpeq_epi32_mask(top, _mm512_set1_epi32(0xD800));
    }
    return surrogate ? TRANSCODE_SURROGATE : size;
}

/* Words of 16 or 32 bits, of which multishift takes 8 bits each from some places on, the topmost first; the places are
 * those of a word of 64 bits. Tags are set, and bits of the next byte cleared, except in the words that are ASCII. */
UTF8_AVX512
static inline __m512i transcode_spread_avx512(__m512i points, uint64_t places, __m512i tags) {
    const __m512i bits = _mm512_multishift_epi64_epi8(_mm512_set1_epi64((long long)places), points);
    /* 0xEA: the first and the second, or the third. */
    return _mm512_ternarylogic_epi64(bits, _mm512_set1_epi8(0x3F), tags, 0xEA);
}

/* 32 code points below 0x800, in words of 16 bits. */
UTF8_AVX512
static inline __m512i transcode_spread16_avx512(__m512i points, __mmask32 many) {
    const __m512i two =
        transcode_spread_avx512(points, UINT64_C(0x3036202610160006), _mm512_set1_epi16((short)0x80C0));
    return _mm512_mask_slli_epi16(two, (__mmask32)~many, points, 8);
}

/* 16 code points in words of 32 bits. */
UTF8_AVX512
static inline __m512i transcode_spread32_avx512(__m512i points, __mmask16 many, __m512i tags) {
    const __m512i all = transcode_spread_avx512(points, UINT64_C(0x20262C3200060C12), tags);
    return _mm512_mask_slli_epi32(all, (__mmask16)~many, points, 24);
}

UTF8_AVX512
static inline __m512i transcode_tags3_avx512(__mmask16 three) {
    return _mm512_mask_mov_epi32(_mm512_set1_epi32((int)0x80C00000), three, _mm512_set1_epi32((int)0x8080E000));
}

/* Drop the bytes without a tag, but for the last one of each word; return how many bytes are left in bytes. */
UTF8_AVX512
static inline size_t transcode_drop_avx512(__m512i spread, uint64_t last, __m512i *bytes) {
    const __mmask64 kept = _mm512_movepi8_mask(spread) | last;
    *bytes = _mm512_maskz_compress_epi8(kept, spread);
    return (size_t)_mm_popcnt_u64(kept);
}

/* Write one vector, of which missing words are not there. */
UTF8_AVX512
static inline unsigned char *transcode_write_avx512(__m512i spread, uint64_t last, size_t missing, unsigned char *out,
                                                    const unsigned char *end) {
    __m512i bytes;
    const size_t count = transcode_drop_avx512(spread, last, &bytes) - missing;
    if (end - out >= 64)
        _mm512_storeu_si512((void *)out, bytes);
    else
        _mm512_mask_storeu_epi8((void *)out, transcode_lowest_avx512(count), bytes);
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
        if (three == 0) {
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
        const __m512i tags =
            _mm512_mask_mov_epi32(transcode_tags3_avx512(three), four, _mm512_set1_epi32((int)0x808080F0));
        surrogates |= _mm512_cmpeq_epi32_mask(top, _mm512_set1_epi32(0xD800));
        out = transcode_write_avx512(transcode_spread32_avx512(points, many, tags), TRANSCODE_LAST32, missing, out,
                                     end);
    }
    return surrogates ? TRANSCODE_SURROGATE : (size_t)(out - begin);
}

#endif

#endif
