/* The transcoding kernel of transcode.h for SSSE3. */
#ifndef WSFRAME_TRANSCODE_SSSE3_H
#define WSFRAME_TRANSCODE_SSSE3_H

#define TRANSCODE_SSSE3 __attribute__((target("ssse3")))

TRANSCODE_SSSE3
static inline size_t transcode_sum_ssse3(__m128i sums) {
    uint64_t parts[2];
    _mm_storeu_si128((__m128i *)parts, sums);
    return (size_t)(parts[0] + parts[1]);
}

/* Count the bytes that are 0xFF; the others are 0. */
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

/* Select the bits of yes where mask is set, else those of no. */
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

TRANSCODE_DECODERS(ssse3, TRANSCODE_SSSE3, 16)

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
static inline __m128i transcode_count2_ssse3(const uint16_t *text, __m128i count, __m128i *surrogates) {
    const __m128i zero = _mm_setzero_si128();
    const __m128i points = _mm_loadu_si128((const __m128i *)text);
    const __m128i top = _mm_and_si128(points, _mm_set1_epi16((short)0xF800));
    const __m128i ascii = _mm_cmpeq_epi16(_mm_and_si128(points, _mm_set1_epi16((short)0xFF80)), zero);
    *surrogates = _mm_or_si128(*surrogates, _mm_cmpeq_epi16(top, _mm_set1_epi16((short)0xD800)));
    return _mm_sub_epi64(count, transcode_count_ssse3(_mm_packs_epi16(ascii, _mm_cmpeq_epi16(top, zero))));
}

TRANSCODE_SSSE3
static inline __m128i transcode_count4_ssse3(const uint32_t *text, __m128i count, __m128i *surrogates) {
    const __m128i points = _mm_loadu_si128((const __m128i *)text);
    const __m128i many = _mm_cmpgt_epi32(points, _mm_set1_epi32(0x7F));
    const __m128i three = _mm_cmpgt_epi32(points, _mm_set1_epi32(0x7FF));
    const __m128i four = _mm_cmpgt_epi32(points, _mm_set1_epi32(0xFFFF));
    *surrogates = _mm_or_si128(
        *surrogates, _mm_cmpeq_epi32(_mm_srli_epi32(points, 11), _mm_set1_epi32(0xD800 >> 11)));
    return _mm_add_epi64(count, transcode_count_ssse3(_mm_packs_epi16(
        _mm_packs_epi32(many, three), _mm_packs_epi32(four, _mm_setzero_si128()))));
}

TRANSCODE_SIZE(2, ssse3, TRANSCODE_SSSE3, __m128i, __m128i, 8, 3, transcode_sum_ssse3)
TRANSCODE_SIZE(4, ssse3, TRANSCODE_SSSE3, __m128i, __m128i, 4, 1, transcode_sum_ssse3)

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
    /* Two bits for each lane: 1 for two bytes, 2 for three, 3 for four. Negative, so that packing does not saturate. */
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

TRANSCODE_ENCODERS(ssse3, TRANSCODE_SSSE3, __m128i, 16, 32, 8, 32, 4, 16)

#endif
