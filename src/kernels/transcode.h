/* UTF-8 to code points of 1, 2 or 4 bytes and back: one small set of functions per instruction set.
 *
 * From UTF-8: at each first byte of a character, a code point is built from that byte and the three bytes after it, in
 * all lanes of a vector at once; then the lanes that are not first bytes are dropped. So the number of code points
 * written is the number of bytes that are not continuation bytes, whatever the text, and transcode_measure counts
 * exactly those: invalid text gives nonsense, but never an out-of-bounds read or write.
 *
 * To UTF-8: each code point is spread over the bytes of the longest form, its last byte in the highest byte of the
 * lane; then the bytes of shorter forms are tagged, and the lower bytes, which those forms do not have, are dropped.
 *
 * Dropping lanes by tables of shuffles is the method of D. Lemire and W. Mula, "Transcoding billions of Unicode
 * characters per second with SIMD instructions", Software: Practice and Experience 52(2), 2022, who apply it to 16-bit
 * words.
 */
#ifndef WSFRAME_TRANSCODE_H
#define WSFRAME_TRANSCODE_H

#include "utf8.h"

/* Returned for text with a surrogate, which UTF-8 cannot represent. */
#define TRANSCODE_SURROGATE ((size_t)-1)

/* The number of code points in UTF-8 text, and the width of the widest in bytes; 0 if all are ASCII. */
typedef struct {
    size_t length;
    int width;
} transcode_shape;

typedef struct {
    const char *name;
    utf8_kernel validate;
    transcode_shape (*measure)(const unsigned char *text, size_t size);
    /* Decode size bytes at text to length code points at out. */
    void (*decode1)(const unsigned char *text, size_t size, uint8_t *out, size_t length);
    void (*decode2)(const unsigned char *text, size_t size, uint16_t *out, size_t length);
    void (*decode4)(const unsigned char *text, size_t size, uint32_t *out, size_t length);
    /* Return the size of length code points as UTF-8, in bytes. */
    size_t (*size1)(const uint8_t *text, size_t length);
    size_t (*size2)(const uint16_t *text, size_t length);
    size_t (*size4)(const uint32_t *text, size_t length);
    /* Write their UTF-8 to out, whose room is at least this size; return the size. */
    size_t (*encode1)(const uint8_t *text, size_t length, unsigned char *out, size_t room);
    size_t (*encode2)(const uint16_t *text, size_t length, unsigned char *out, size_t room);
    size_t (*encode4)(const uint32_t *text, size_t length, unsigned char *out, size_t room);
} transcode_kernel;

/* The counts that all kernels take of short text, and of the rest after the last whole vector: a length, and bits that
 * show which kinds of bytes occur. */
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

static inline transcode_shape transcode_shape_of(const transcode_count *count) {
    const int width = !count->not_ascii ? 0 : !count->above_c3 ? 1 : !count->above_ef ? 2 : 4;
    return (transcode_shape){count->length, width};
}

static inline void transcode_count_bytes(transcode_count *count, const unsigned char *text, size_t size) {
    uint64_t word;
    for (; size >= 32 && utf8_is_ascii64(text) && utf8_is_ascii64(text + 8) && utf8_is_ascii64(text + 16) &&
           utf8_is_ascii64(text + 24);
         text += 32, size -= 32)
        count->length += 32;
    for (; size >= 8; text += 8, size -= 8) {
        memcpy(&word, text, 8);
        transcode_count_word(count, word, 8);
    }
    if (size) {
        /* Copies of fixed size are faster than one of variable size; the order of the bytes does not matter. */
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
    return transcode_shape_of(&count);
}

/* Valid text fills out exactly; for invalid text, the rest of out is cleared. */
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

/* above_ascii masks, in 8 bytes of code points, the bits that are clear in every code point below 0x80. */
#define TRANSCODE_ENCODE_PORTABLE(name, unit, above_ascii) \
    static inline size_t name(const unit *text, size_t length, unsigned char *out, size_t room) { \
        const unsigned char *const begin = out; \
        int surrogate = 0; \
        (void)room; \
        for (size_t i = 0; i < length; i++) { \
            const size_t many = 8 / sizeof(unit); \
            const uint32_t point = text[i]; \
            if (point < 0x80) { \
                *out++ = (unsigned char)point; \
                for (uint64_t word; length - i > many; i += many) { \
                    memcpy(&word, text + i + 1, 8); \
                    if (word & (above_ascii)) \
                        break; \
                    for (size_t j = 1; j <= many; j++) \
                        *out++ = (unsigned char)text[i + j]; \
                } \
            } else if (point < 0x800) { \
                out[0] = (unsigned char)(0xC0 | point >> 6); \
                out[1] = (unsigned char)(0x80 | (point & 0x3F)); \
                out += 2; \
            } else if (point < 0x10000) { \
                surrogate |= (point & 0xF800) == 0xD800; \
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
        return surrogate ? TRANSCODE_SURROGATE : (size_t)(out - begin); \
    }

TRANSCODE_ENCODE_PORTABLE(transcode_encode1_portable, uint8_t, UINT64_C(0x8080808080808080))
TRANSCODE_ENCODE_PORTABLE(transcode_encode2_portable, uint16_t, UINT64_C(0xFF80FF80FF80FF80))
TRANSCODE_ENCODE_PORTABLE(transcode_encode4_portable, uint32_t, UINT64_C(0xFFFFFF80FFFFFF80))

#if defined(UTF8_X86_DISPATCH) || defined(UTF8_NEON)

/* Shuffles for instruction sets that cannot drop lanes by a mask, indexed by a byte with one bit for each of 8 lanes,
 * or two bits for each of 4. The contents of a shuffle after the kept lanes do not matter. */
typedef struct {
    uint8_t lanes8[256][8];   /* the 8-bit lanes to keep */
    uint8_t lanes8_count[256];
    uint8_t lanes16[256][16]; /* both bytes of the 16-bit lanes to keep */
    uint8_t bytes16[256][16]; /* the last byte of each 16-bit lane, and the first byte where its bit is set */
    uint8_t bytes32[256][16]; /* the last bytes of each 32-bit lane, one more than its two bits say */
    uint8_t bytes32_size[256];
} transcode_shuffles;

static transcode_shuffles transcode_table;

/* 32-bit lanes are kept as pairs of 16-bit lanes. */
static const uint8_t transcode_pairs[16] = {0x00, 0x03, 0x0C, 0x0F, 0x30, 0x33, 0x3C, 0x3F,
                                            0xC0, 0xC3, 0xCC, 0xCF, 0xF0, 0xF3, 0xFC, 0xFF};

static inline void transcode_fill_table(void) {
    for (unsigned mask = 0; mask < 256; mask++) {
        uint8_t kept = 0, half = 0, word = 0;
        for (unsigned lane = 0; lane < 8; lane++) {
            const int set = mask >> lane & 1;
            if (set) {
                transcode_table.lanes8[mask][kept] = (uint8_t)lane;
                transcode_table.lanes16[mask][2 * kept] = (uint8_t)(2 * lane);
                transcode_table.lanes16[mask][2 * kept + 1] = (uint8_t)(2 * lane + 1);
                kept++;
            }
            if (set)
                transcode_table.bytes16[mask][half++] = (uint8_t)(2 * lane);
            transcode_table.bytes16[mask][half++] = (uint8_t)(2 * lane + 1);
        }
        for (unsigned lane = 0; lane < 4; lane++)
            for (unsigned byte = 3 - (mask >> 2 * lane & 3); byte < 4; byte++)
                transcode_table.bytes32[mask][word++] = (uint8_t)(4 * lane + byte);
        transcode_table.lanes8_count[mask] = kept;
        transcode_table.bytes32_size[mask] = word;
    }
}

#endif

/* Build a decoder from a function for one block of step bytes. That function reads 3 bytes more, may write step units
 * whatever the input, and returns where the next unit belongs. At the end of the text, the block is copied to a buffer
 * where those bytes may be read, followed by continuation bytes, which produce no unit. At the end of out, the units go
 * to a buffer first. */
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

/* Build the decoders of a kernel from its functions for blocks. */
#define TRANSCODE_DECODERS(kernel, attributes, step) \
    TRANSCODE_DECODER(transcode_decode1_##kernel, attributes, uint8_t, transcode_block1_##kernel, step) \
    TRANSCODE_DECODER(transcode_decode2_##kernel, attributes, uint16_t, transcode_block2_##kernel, step) \
    TRANSCODE_DECODER(transcode_decode4_##kernel, attributes, uint32_t, transcode_block4_##kernel, step)

/* Build a function that returns the size of code points as UTF-8: least bytes for each of them, and what a function for
 * one block of step units adds to counts, modulo 2**64. That function collects the positions of surrogates too. */
#define TRANSCODE_SIZE(bits, kernel, attributes, vector, counter, step, least, sum) \
    attributes \
    static inline size_t transcode_size##bits##_##kernel(const TRANSCODE_UNIT##bits *text, size_t length) { \
        vector surrogates = {0}; \
        counter counts = {0}; \
        size_t i = 0, rest; \
        for (; i + (step) <= length; i += (step)) \
            counts = transcode_count##bits##_##kernel(text + i, counts, &surrogates); \
        rest = transcode_size##bits##_portable(text + i, length - i); \
        return rest == TRANSCODE_SURROGATE || !transcode_is_zero_##kernel(surrogates) \
                   ? TRANSCODE_SURROGATE \
                   : (least) * i + sum(counts) + rest; \
    }

#define TRANSCODE_UNIT2 uint16_t
#define TRANSCODE_UNIT4 uint32_t

/* Build an encoder from a function for one block of step units. That function may write most bytes whatever the input,
 * returns where the next byte belongs, and collects the positions of surrogates in a vector. Units missing at the end
 * of the text are 0, and produce one byte each. */
#define TRANSCODE_ENCODER(name, attributes, unit, vector, block, step, most, is_zero) \
    attributes \
    static inline size_t name(const unit *text, size_t length, unsigned char *out, size_t room) { \
        const unit *const stop = text + length; \
        const unsigned char *const begin = out, *const end = out + room; \
        vector surrogates = {0}; \
        unit padded[step]; \
        unsigned char bytes[most]; \
        while (stop - text >= (step) && end - out >= (most)) { \
            out = block(text, out, &surrogates); \
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
            count = (size_t)(block(source, bytes, &surrogates) - bytes) - missing; \
            memcpy(out, bytes, count); \
            out += count; \
            text += (size_t)(step) - missing; \
        } \
        return is_zero(surrogates) ? (size_t)(out - begin) : TRANSCODE_SURROGATE; \
    }

/* Build the encoders of a kernel; each pair is step and most, for units of 1, 2 and 4 bytes. */
#define TRANSCODE_ENCODERS(kernel, attributes, vector, step1, most1, step2, most2, step4, most4) \
    TRANSCODE_ENCODER(transcode_encode1_##kernel, attributes, uint8_t, vector, \
                      transcode_from1_##kernel, step1, most1, transcode_is_zero_##kernel) \
    TRANSCODE_ENCODER(transcode_encode2_##kernel, attributes, uint16_t, vector, \
                      transcode_from2_##kernel, step2, most2, transcode_is_zero_##kernel) \
    TRANSCODE_ENCODER(transcode_encode4_##kernel, attributes, uint32_t, vector, \
                      transcode_from4_##kernel, step4, most4, transcode_is_zero_##kernel)

#ifdef UTF8_X86_DISPATCH
#include "transcode_avx2.h"
#include "transcode_ssse3.h"
#ifdef UTF8_AVX512
#include "transcode_avx512.h"
#endif
#elif defined(UTF8_NEON)
#include "transcode_neon.h"
#endif

/* Below this many bytes, ASCII is detected without a call to the kernel. */
#define TRANSCODE_KERNEL_FROM 64

static inline transcode_shape transcode_measure(const unsigned char *text, size_t size,
                                                transcode_shape (*measure)(const unsigned char *text, size_t size)) {
    if (size >= 8 && size < TRANSCODE_KERNEL_FROM && utf8_is_ascii(text, size))
        return (transcode_shape){size, 0};
    return measure(text, size);
}

#define TRANSCODE_KERNEL(kernel) \
    (transcode_kernel){ \
        #kernel, utf8_##kernel, transcode_measure_##kernel, \
        transcode_decode1_##kernel, transcode_decode2_##kernel, transcode_decode4_##kernel, \
        transcode_size1_##kernel, transcode_size2_##kernel, transcode_size4_##kernel, \
        transcode_encode1_##kernel, transcode_encode2_##kernel, transcode_encode4_##kernel, \
    }

/* Return the index-th kernel that this processor can run, best first, or NULL after the last one. */
static inline const transcode_kernel *transcode_kernel_at(size_t index) {
    static transcode_kernel usable[5];
    static size_t count = 0;
    if (count == 0) {
#ifdef UTF8_X86_DISPATCH
        __builtin_cpu_init();
        transcode_fill_table();
#ifdef UTF8_AVX512
        if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
            __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi") &&
            __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("popcnt"))
            usable[count++] = TRANSCODE_KERNEL(avx512);
#endif
        if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt"))
            usable[count++] = TRANSCODE_KERNEL(avx2);
        if (__builtin_cpu_supports("ssse3"))
            usable[count++] = TRANSCODE_KERNEL(ssse3);
#elif defined(UTF8_NEON)
        transcode_fill_table();
        usable[count++] = TRANSCODE_KERNEL(neon);
#endif
        usable[count++] = TRANSCODE_KERNEL(portable);
    }
    return index < count ? &usable[index] : NULL;
}

#endif
