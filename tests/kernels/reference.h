/* UTF-8 as RFC 3629 §3 defines it, by arithmetic on code points: no tables, no states, nothing of the kernels. */
#ifndef WSFRAME_TESTS_REFERENCE_H
#define WSFRAME_TESTS_REFERENCE_H

#include <stddef.h>
#include <stdint.h>

typedef enum { INVALID, WHOLE, CUT } reference_verdict;

typedef struct {
    reference_verdict verdict;
    size_t size;    /* of the character, be it cut */
    uint32_t point; /* if it is whole */
} reference_character;

/* Read the character that text begins with; length is at least 1. */
static reference_character reference_read(const unsigned char *text, size_t length) {
    /* By size: the bits of the first byte that give it, what they are then, and the smallest code point. */
    static const struct {
        unsigned char mask, bits;
        uint32_t smallest;
    } forms[5] = {{0, 0, 0}, {0x80, 0x00, 0}, {0xE0, 0xC0, 0x80}, {0xF0, 0xE0, 0x800}, {0xF8, 0xF0, 0x10000}};
    for (size_t size = 1; size <= 4; size++) {
        if ((text[0] & forms[size].mask) == forms[size].bits) {
            /* Of all code points that these bytes can still become. */
            uint32_t lowest = text[0] - (uint32_t)forms[size].bits;
            uint32_t highest = lowest;
            for (size_t i = 1; i < size; i++) {
                if (i < length && (text[i] < 0x80 || text[i] > 0xBF))
                    return (reference_character){INVALID, 0, 0};
                lowest = 64 * lowest + (i < length ? text[i] - 0x80u : 0);
                highest = 64 * highest + (i < length ? text[i] - 0x80u : 63);
            }
            if (lowest < forms[size].smallest)
                lowest = forms[size].smallest;
            if (highest > 0x10FFFF)
                highest = 0x10FFFF;
            if (lowest > highest || (lowest >= 0xD800 && highest <= 0xDFFF))
                return (reference_character){INVALID, 0, 0};
            return (reference_character){size <= length ? WHOLE : CUT, size, lowest};
        }
    }
    return (reference_character){INVALID, 0, 0};
}

/* Judge a text; put its code points to points unless NULL, and how many bytes are missing at its end to missing. */
static reference_verdict reference_check(const unsigned char *text, size_t length, uint32_t *points, size_t *count,
                                         size_t *missing) {
    *count = 0;
    *missing = 0;
    for (size_t i = 0; i < length;) {
        const reference_character character = reference_read(text + i, length - i);
        if (character.verdict == INVALID)
            return INVALID;
        if (character.verdict == CUT) {
            *missing = i + character.size - length;
            return CUT;
        }
        if (points)
            points[*count] = character.point;
        ++*count;
        i += character.size;
    }
    return WHOLE;
}

/* Write one code point, surrogates too; return how many bytes it takes. */
static size_t reference_write(uint32_t point, unsigned char *out) {
    if (point < 0x80) {
        out[0] = (unsigned char)point;
        return 1;
    }
    if (point < 0x800) {
        out[0] = (unsigned char)(0xC0 + point / 64);
        out[1] = (unsigned char)(0x80 + point % 64);
        return 2;
    }
    if (point < 0x10000) {
        out[0] = (unsigned char)(0xE0 + point / 4096);
        out[1] = (unsigned char)(0x80 + point / 64 % 64);
        out[2] = (unsigned char)(0x80 + point % 64);
        return 3;
    }
    out[0] = (unsigned char)(0xF0 + point / 262144);
    out[1] = (unsigned char)(0x80 + point / 4096 % 64);
    out[2] = (unsigned char)(0x80 + point / 64 % 64);
    out[3] = (unsigned char)(0x80 + point % 64);
    return 4;
}

#endif
