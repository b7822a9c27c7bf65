/* UTF-8 to code points of 1, 2 or 4 bytes and back: one small set of functions per instruction set.
 *
 * From UTF-8: a code point is made at each first byte of a character, from it and the three bytes behind it, in all
 * lanes of a vector at once; then the lanes that are no first bytes are dropped. So as many code points are written
 * as the text has bytes that are no continuation bytes, which is what transcode_measure counts, whatever the text is:
 * invalid text gives nonsense, but never a read or a write out of bounds.
 *
 * To UTF-8: each code point is spread over the bytes that the longest form would need; then the unused ones are
 * dropped. Transcoding by tables of shuffles is due to D. Lemire and W. Mula, "Transcoding billions of Unicode
 * characters per second with SIMD instructions", Software: Practice and Experience 52(2), 2022.
 */
#ifndef WSFRAME_TRANSCODE_H
#define WSFRAME_TRANSCODE_H

#include "utf8.h"

/* What transcode_size2 and transcode_size4 return for text with a surrogate. */
#define TRANSCODE_SURROGATE ((size_t)-1)

/* Of UTF-8 text: how many code points it has, and how many bytes the widest of them takes; 0 if all is ASCII. */
typedef struct {
    size_t length;
    int width;
} transcode_shape;

typedef struct {
    const char *name;
    transcode_shape (*measure)(const unsigned char *text, size_t size);
    /* Write the length code points of size bytes at text. */
    void (*decode1)(const unsigned char *text, size_t size, uint8_t *out, size_t length);
    void (*decode2)(const unsigned char *text, size_t size, uint16_t *out, size_t length);
    void (*decode4)(const unsigned char *text, size_t size, uint32_t *out, size_t length);
    /* How many bytes length code points have as UTF-8. */
    size_t (*size1)(const uint8_t *text, size_t length);
    size_t (*size2)(const uint16_t *text, size_t length);
    size_t (*size4)(const uint32_t *text, size_t length);
    /* Write them to out, which has room for as many and no more. */
    void (*encode1)(const uint8_t *text, size_t length, unsigned char *out, size_t size);
    void (*encode2)(const uint16_t *text, size_t length, unsigned char *out, size_t size);
    void (*encode4)(const uint32_t *text, size_t length, unsigned char *out, size_t size);
} transcode_kernel;

/* What all kernels count of short text, and of what remains behind the last whole vector: a length, and bits that
 * tell which bytes there are. */
typedef struct {
    size_t length;
    uint64_t not_ascii;
    uint64_t above_c3;
    uint64_t above_ef;
} transcode_count;

static inline void transcode_count_word(transcode_count *count, uint64_t word, unsigned bytes) {
    const uint64_t top = UINT64_C(0x8080808080808080);
    const uint64_t first = word & word << 1 & top;
    const uint64_t continuation = (word & ~(word << 1) & top) >> 7;
    count->length += bytes - (size_t)(continuation * UINT64_C(0x0101010101010101) >> 56);
    count->not_ascii |= word & top;
    count->above_c3 |= first & (word << 2 | word << 3 | word << 4 | word << 5);
    count->above_ef |= first & word << 2 & word << 3;
}

static inline int transcode_width(const transcode_count *count) {
    return !count->not_ascii ? 0 : !count->above_c3 ? 1 : !count->above_ef ? 2 : 4;
}

static inline void transcode_count_bytes(transcode_count *count, const unsigned char *text, size_t size) {
    uint64_t word;
    for (; size >= 8; text += 8, size -= 8) {
        memcpy(&word, text, 8);
        transcode_count_word(count, word, 8);
    }
    if (size) {
        /* Copies of fixed sizes are faster than one of any size; the order of the bytes does not matter. */
        word = 0;
        if (size & 4) {
            uint32_t part;
            memcpy(&part, text, 4);
            word = part;
        }
        if (size & 2) {
            uint16_t part;
            memcpy(&part, text + (size & 4), 2);
            word = word << 16 | part;
        }
        if (size & 1)
            word = word << 8 | text[size - 1];
        transcode_count_word(count, word, (unsigned)size);
    }
}

static inline transcode_shape transcode_measure_portable(const unsigned char *text, size_t size) {
    transcode_count count = {0, 0, 0, 0};
    transcode_count_bytes(&count, text, size);
    return (transcode_shape){count.length, transcode_width(&count)};
}

/* Valid text fills out exactly; for invalid text the rest is cleared. */
#define TRANSCODE_DECODE_PORTABLE(name, unit) \
    static inline void name(const unsigned char *text, size_t size, unit *out, size_t length) { \
        const unsigned char *const stop = text + size; \
        unit *const end = out + length; \
        while (text < stop && out < end) { \
            const uint32_t first = *text; \
            if (first < 0x80) { \
                if (stop - text >= 8 && end - out >= 8 && utf8_is_ascii64(text)) { \
                    for (int i = 0; i < 8; i++) \
                        out[i] = text[i]; \
                    text += 8; \
                    out += 8; \
                } else { \
                    *out++ = (unit)first; \
                    text++; \
                } \
            } else if (first < 0xC0) { \
                text++; \
            } else if (first < 0xE0) { \
                if (stop - text < 2) \
                    break; \
                *out++ = (unit)((first & 0x1F) << 6 | (text[1] & 0x3F)); \
                text += 2; \
            } else if (first < 0xF0) { \
                if (stop - text < 3) \
                    break; \
                *out++ = (unit)((first & 0x0F) << 12 | (uint32_t)(text[1] & 0x3F) << 6 | (text[2] & 0x3F)); \
                text += 3; \
            } else { \
                if (stop - text < 4) \
                    break; \
                *out++ = (unit)((first & 0x07) << 18 | (uint32_t)(text[1] & 0x3F) << 12 | \
                                (uint32_t)(text[2] & 0x3F) << 6 | (text[3] & 0x3F)); \
                text += 4; \
            } \
        } \
        while (out < end) \
            *out++ = 0; \
    }

TRANSCODE_DECODE_PORTABLE(transcode_decode1_portable, uint8_t)
TRANSCODE_DECODE_PORTABLE(transcode_decode2_portable, uint16_t)
TRANSCODE_DECODE_PORTABLE(transcode_decode4_portable, uint32_t)

static inline size_t transcode_size1_portable(const uint8_t *text, size_t length) {
    size_t size = length;
    for (size_t i = 0; i < length; i++)
        size += text[i] >> 7;
    return size;
}

static inline size_t transcode_size2_portable(const uint16_t *text, size_t length) {
    size_t size = length;
    int surrogate = 0;
    for (size_t i = 0; i < length; i++) {
        size += (size_t)(text[i] >= 0x80) + (text[i] >= 0x800);
        surrogate |= (text[i] & 0xF800) == 0xD800;
    }
    return surrogate ? TRANSCODE_SURROGATE : size;
}

static inline size_t transcode_size4_portable(const uint32_t *text, size_t length) {
    size_t size = length;
    int surrogate = 0;
    for (size_t i = 0; i < length; i++) {
        size += (size_t)(text[i] >= 0x80) + (text[i] >= 0x800) + (text[i] >= 0x10000);
        surrogate |= (text[i] & 0xFFFFF800) == 0xD800;
    }
    return surrogate ? TRANSCODE_SURROGATE : size;
}

#define TRANSCODE_ENCODE_PORTABLE(name, unit) \
    static inline void name(const unit *text, size_t length, unsigned char *out, size_t size) { \
        (void)size; \
        for (size_t i = 0; i < length; i++) { \
            const uint32_t point = text[i]; \
            if (point < 0x80) { \
                *out++ = (unsigned char)point; \
            } else if (point < 0x800) { \
                out[0] = (unsigned char)(0xC0 | point >> 6); \
                out[1] = (unsigned char)(0x80 | (point & 0x3F)); \
                out += 2; \
            } else if (point < 0x10000) { \
                out[0] = (unsigned char)(0xE0 | point >> 12); \
                out[1] = (unsigned char)(0x80 | (point >> 6 & 0x3F)); \
                out[2] = (unsigned char)(0x80 | (point & 0x3F)); \
                out += 3; \
            } else { \
                out[0] = (unsigned char)(0xF0 | point >> 18); \
                out[1] = (unsigned char)(0x80 | (point >> 12 & 0x3F)); \
                out[2] = (unsigned char)(0x80 | (point >> 6 & 0x3F)); \
                out[3] = (unsigned char)(0x80 | (point & 0x3F)); \
                out += 4; \
            } \
        } \
    }

TRANSCODE_ENCODE_PORTABLE(transcode_encode1_portable, uint8_t)
TRANSCODE_ENCODE_PORTABLE(transcode_encode2_portable, uint16_t)
TRANSCODE_ENCODE_PORTABLE(transcode_encode4_portable, uint32_t)

#ifdef UTF8_X86_DISPATCH

/* Shuffles for instruction sets that cannot drop lanes by a mask: by a byte with one bit for each of 8 lanes, or with
 * two for each of 4. What a shuffle brings behind the lanes that are kept does not matter. */
typedef struct {
    uint8_t lanes8[256][8];   /* the lanes of 8 bits to keep */
    uint8_t lanes16[256][16]; /* both bytes of the lanes of 16 bits to keep */
    uint8_t bytes16[256][16]; /* the first byte of each lane of 16 bits, and the second of those whose bit is set */
    uint8_t bytes32[256][16]; /* one more byte than the two bits say of each lane of 32 bits */
    uint8_t bytes32_size[256];
} transcode_shuffles;

static transcode_shuffles transcode_table;

static inline void transcode_fill_table(void) {
    for (unsigned mask = 0; mask < 256; mask++) {
        unsigned kept = 0, half = 0, word = 0;
        for (unsigned lane = 0; lane < 8; lane++) {
            const int set = mask >> lane & 1;
            if (set) {
                transcode_table.lanes8[mask][kept] = (uint8_t)lane;
                transcode_table.lanes16[mask][2 * kept] = (uint8_t)(2 * lane);
                transcode_table.lanes16[mask][2 * kept + 1] = (uint8_t)(2 * lane + 1);
                kept++;
            }
            transcode_table.bytes16[mask][half++] = (uint8_t)(2 * lane);
            if (set)
                transcode_table.bytes16[mask][half++] = (uint8_t)(2 * lane + 1);
        }
        for (unsigned lane = 0; lane < 4; lane++)
            for (unsigned byte = 0; byte <= (mask >> 2 * lane & 3); byte++)
                transcode_table.bytes32[mask][word++] = (uint8_t)(4 * lane + byte);
        transcode_table.bytes32_size[mask] = (uint8_t)word;
    }
}

#endif

/* Make a decoder of a function for one block of step bytes, which reads 3 bytes more, may write step units whatever
 * it finds, and returns where the next unit belongs. At the end of the text the block is copied to where those bytes
 * may be read, and has continuation bytes behind it, which make no unit; at the end of out its units are copied. */
#define TRANSCODE_DECODER(name, attributes, unit, block, step) \
    attributes \
    static inline void name(const unsigned char *text, size_t size, unit *out, size_t length) { \
        const unsigned char *const stop = text + size; \
        unit *const end = out + length; \
        unsigned char padded[(step) + 3]; \
        unit units[step]; \
        while (stop - text >= (step) + 3 && end - out >= (step)) { \
            out = block(text, out); \
            text += (step); \
        } \
        while (text < stop && out < end) { \
            const unsigned char *source = text; \
            size_t count; \
            if (stop - text < (step) + 3) { \
                memset(padded, 0x80, sizeof(padded)); \
                memcpy(padded, text, (size_t)(stop - text)); \
                source = padded; \
            } \
            count = (size_t)(block(source, units) - units); \
            if (count > (size_t)(end - out)) \
                count = (size_t)(end - out); \
            memcpy(out, units, count * sizeof(unit)); \
            out += count; \
            if (stop - text <= (step)) \
                break; \
            text += (step); \
        } \
    }

/* Make an encoder of a function for one block of step units, which may write room bytes whatever it finds, and
 * returns where the next byte belongs. Units missing at the end of the text are 0 and give a byte each. */
#define TRANSCODE_ENCODER(name, attributes, unit, block, step, room) \
    attributes \
    static inline void name(const unit *text, size_t length, unsigned char *out, size_t size) { \
        const unit *const stop = text + length; \
        unsigned char *const end = out + size; \
        unit padded[step]; \
        unsigned char bytes[room]; \
        while (stop - text >= (step) && end - out >= (room)) { \
            out = block(text, out); \
            text += (step); \
        } \
        while (text < stop) { \
            const unit *source = text; \
            size_t missing = 0, count; \
            if (stop - text < (step)) { \
                missing = (size_t)((step) - (stop - text)); \
                memset(padded, 0, sizeof(padded)); \
                memcpy(padded, text, (size_t)(stop - text) * sizeof(unit)); \
                source = padded; \
            } \
            count = (size_t)(block(source, bytes) - bytes) - missing; \
            if (count > (size_t)(end - out)) \
                count = (size_t)(end - out); \
            memcpy(out, bytes, count); \
            out += count; \
            text += (size_t)(step) - missing; \
        } \
    }

#ifdef UTF8_X86_DISPATCH

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
    return (transcode_shape){count.length, transcode_width(&count)};
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
static inline unsigned char *transcode_drop16_avx2(unsigned char *out, __m128i spread, unsigned two) {
    const __m128i shuffle = _mm_loadu_si128((const __m128i *)transcode_table.bytes16[two]);
    _mm_storeu_si128((__m128i *)out, _mm_shuffle_epi8(spread, shuffle));
    return out + 8 + _mm_popcnt_u32(two);
}

/* 16 code points below 0x800, of which one tells those below 0x80, as words with both bytes. */
TRANSCODE_AVX2
static inline __m256i transcode_spread16_avx2(__m256i points, __m256i one) {
    const __m256i two = _mm256_or_si256(
        _mm256_or_si256(_mm256_srli_epi16(points, 6),
                        _mm256_and_si256(_mm256_slli_epi16(points, 8), _mm256_set1_epi16(0x3F00))),
        _mm256_set1_epi16((short)0x80C0));
    return _mm256_blendv_epi8(two, points, one);
}

/* Which of 16 words are not set in one. */
TRANSCODE_AVX2
static inline unsigned transcode_clear16_avx2(__m256i one) {
    const __m128i packed = _mm_packs_epi16(_mm256_castsi256_si128(one), _mm256_extracti128_si256(one, 1));
    return (unsigned)_mm_movemask_epi8(packed) ^ 0xFFFF;
}

TRANSCODE_AVX2
static inline unsigned char *transcode_upto_7ff_avx2(__m256i points, __m256i one, unsigned char *out) {
    const __m256i spread = transcode_spread16_avx2(points, one);
    const unsigned two = transcode_clear16_avx2(one);
    out = transcode_drop16_avx2(out, _mm256_castsi256_si128(spread), two & 0xFF);
    return transcode_drop16_avx2(out, _mm256_extracti128_si256(spread, 1), two >> 8);
}

TRANSCODE_AVX2
static inline unsigned char *transcode_from1_avx2(const uint8_t *text, unsigned char *out) {
    const __m128i bytes = _mm_loadu_si128((const __m128i *)text);
    __m256i points;
    if (_mm_movemask_epi8(bytes) == 0) {
        _mm_storeu_si128((__m128i *)out, bytes);
        return out + 16;
    }
    points = _mm256_cvtepu8_epi16(bytes);
    return transcode_upto_7ff_avx2(points, _mm256_cmpgt_epi16(_mm256_set1_epi16(0x80), points), out);
}

/* 8 code points as words of 4 bytes; lengths has two bits for each, one less than how many of them to keep. */
TRANSCODE_AVX2
static inline unsigned char *transcode_drop32_avx2(unsigned char *out, __m256i spread, unsigned lengths) {
    const unsigned low = lengths & 0xFF, high = lengths >> 8;
    const __m256i shuffle = _mm256_inserti128_si256(
        _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)transcode_table.bytes32[low])),
        _mm_loadu_si128((const __m128i *)transcode_table.bytes32[high]), 1);
    const __m256i kept = _mm256_shuffle_epi8(spread, shuffle);
    _mm_storeu_si128((__m128i *)out, _mm256_castsi256_si128(kept));
    out += transcode_table.bytes32_size[low];
    _mm_storeu_si128((__m128i *)out, _mm256_extracti128_si256(kept, 1));
    return out + transcode_table.bytes32_size[high];
}

/* 8 code points below 0x10000 with all three bytes, those below 0x800 with both, those below 0x80 as they are. */
TRANSCODE_AVX2
static inline __m256i transcode_spread32_avx2(__m256i points) {
    const __m256i three = _mm256_or_si256(
        _mm256_or_si256(_mm256_srli_epi32(points, 12),
                        _mm256_and_si256(_mm256_slli_epi32(points, 2), _mm256_set1_epi32(0x3F00))),
        _mm256_or_si256(_mm256_and_si256(_mm256_slli_epi32(points, 16), _mm256_set1_epi32(0x3F0000)),
                        _mm256_set1_epi32(0x8080E0)));
    const __m256i two = _mm256_or_si256(
        _mm256_or_si256(_mm256_srli_epi32(points, 6),
                        _mm256_and_si256(_mm256_slli_epi32(points, 8), _mm256_set1_epi32(0x3F00))),
        _mm256_set1_epi32(0x80C0));
    const __m256i most = _mm256_blendv_epi8(two, three, _mm256_cmpgt_epi32(points, _mm256_set1_epi32(0x7FF)));
    return _mm256_blendv_epi8(points, most, _mm256_cmpgt_epi32(points, _mm256_set1_epi32(0x7F)));
}

TRANSCODE_AVX2
static inline unsigned char *transcode_from2_avx2(const uint16_t *text, unsigned char *out) {
    const __m256i zero = _mm256_setzero_si256();
    const __m256i points = _mm256_loadu_si256((const __m256i *)text);
    const __m256i one = _mm256_cmpeq_epi16(_mm256_and_si256(points, _mm256_set1_epi16((short)0xFF80)), zero);
    const __m256i upto_two = _mm256_cmpeq_epi16(_mm256_and_si256(points, _mm256_set1_epi16((short)0xF800)), zero);
    const unsigned upto = (unsigned)_mm256_movemask_epi8(upto_two);
    if (upto == 0xFFFFFFFF) {
        if ((unsigned)_mm256_movemask_epi8(one) == 0xFFFFFFFF) {
            _mm_storeu_si128((__m128i *)out, _mm_packus_epi16(_mm256_castsi256_si128(points),
                                                              _mm256_extracti128_si256(points, 1)));
            return out + 16;
        }
        return transcode_upto_7ff_avx2(points, one, out);
    } else {
        /* Of each word's two bits the lower for two bytes, the upper for three. */
        const __m256i low = _mm256_andnot_si256(one, _mm256_and_si256(upto_two, _mm256_set1_epi16(0x0080)));
        const __m256i high = _mm256_andnot_si256(upto_two, _mm256_set1_epi16((short)0x8000));
        const unsigned lengths = (unsigned)_mm256_movemask_epi8(_mm256_or_si256(low, high));
        out = transcode_drop32_avx2(
            out, transcode_spread32_avx2(_mm256_cvtepu16_epi32(_mm256_castsi256_si128(points))), lengths & 0xFFFF);
        return transcode_drop32_avx2(
            out, transcode_spread32_avx2(_mm256_cvtepu16_epi32(_mm256_extracti128_si256(points, 1))), lengths >> 16);
    }
}

TRANSCODE_AVX2
static inline unsigned char *transcode_from4_avx2(const uint32_t *text, unsigned char *out) {
    const __m256i points = _mm256_loadu_si256((const __m256i *)text);
    const __m256i many = _mm256_cmpgt_epi32(points, _mm256_set1_epi32(0x7F));
    const __m256i three = _mm256_cmpgt_epi32(points, _mm256_set1_epi32(0x7FF));
    const __m256i four = _mm256_cmpgt_epi32(points, _mm256_set1_epi32(0xFFFF));
    __m256i spread;
    if (_mm256_testz_si256(many, many)) {
        const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(points), _mm256_extracti128_si256(points, 1));
        _mm_storel_epi64((__m128i *)out, _mm_packus_epi16(words, words));
        return out + 8;
    }
    spread = transcode_spread32_avx2(points);
    if (!_mm256_testz_si256(four, four)) {
        const __m256i all = _mm256_or_si256(
            _mm256_or_si256(
                _mm256_or_si256(_mm256_srli_epi32(points, 18),
                                _mm256_and_si256(_mm256_srli_epi32(points, 4), _mm256_set1_epi32(0x3F00))),
                _mm256_or_si256(_mm256_and_si256(_mm256_slli_epi32(points, 10), _mm256_set1_epi32(0x3F0000)),
                                _mm256_and_si256(_mm256_slli_epi32(points, 24), _mm256_set1_epi32(0x3F000000)))),
            _mm256_set1_epi32((int)0x808080F0));
        spread = _mm256_blendv_epi8(spread, all, four);
    }
    {
        /* Two bits for each lane: 1 for two bytes, 2 for three, 3 for four. */
        const __m256i low = _mm256_xor_si256(_mm256_xor_si256(many, three), four);
        const __m256i bits = _mm256_or_si256(_mm256_and_si256(low, _mm256_set1_epi32(0x0080)),
                                             _mm256_and_si256(three, _mm256_set1_epi32(0x8000)));
        /* Unsaturated, since no word is above 0x8080 nor has another half. */
        const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(bits), _mm256_extracti128_si256(bits, 1));
        return transcode_drop32_avx2(out, spread, (unsigned)_mm_movemask_epi8(words));
    }
}

TRANSCODE_ENCODER(transcode_encode1_avx2, TRANSCODE_AVX2, uint8_t, transcode_from1_avx2, 16, 32)
TRANSCODE_ENCODER(transcode_encode2_avx2, TRANSCODE_AVX2, uint16_t, transcode_from2_avx2, 16, 64)
TRANSCODE_ENCODER(transcode_encode4_avx2, TRANSCODE_AVX2, uint32_t, transcode_from4_avx2, 8, 32)

#endif

#define TRANSCODE_KERNEL(kernel) \
    (transcode_kernel){ \
        #kernel, transcode_measure_##kernel, \
        transcode_decode1_##kernel, transcode_decode2_##kernel, transcode_decode4_##kernel, \
        transcode_size1_##kernel, transcode_size2_##kernel, transcode_size4_##kernel, \
        transcode_encode1_##kernel, transcode_encode2_##kernel, transcode_encode4_##kernel, \
    }

/* The kernels that this processor can run, best first: the index-th, or NULL behind the last one. */
static inline const transcode_kernel *transcode_kernel_at(size_t index) {
    static transcode_kernel usable[5];
    static size_t count = 0;
    if (count == 0) {
#ifdef UTF8_X86_DISPATCH
        __builtin_cpu_init();
        transcode_fill_table();
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt"))
            usable[count++] = TRANSCODE_KERNEL(avx2);
#endif
        usable[count++] = TRANSCODE_KERNEL(portable);
    }
    return index < count ? &usable[index] : NULL;
}

#endif
