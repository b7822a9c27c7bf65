/* Sweep the kernels of src/kernels/utf8.h, transcode.h and mask.h against references written plainly.
 *
 *   sweep DEPTH [KERNEL]    sequences of up to DEPTH bytes or code points; all kernels, or one
 *
 * Texts, and what is made of them, lie between pages that may not be touched, flush with either: a read or write out
 * of bounds is a crash there, and a write into what is left of the page is found by its contents. Ends with 1 and a
 * line about the first difference, else prints what each kernel has been through.
 *
 * With SWEEP_EMULATE_AVX512 it sweeps the kernels for AVX-512, and no others, on any x86-64 processor with AVX2.
 */
#define _GNU_SOURCE
#define _DARWIN_C_SOURCE

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef SWEEP_EMULATE_AVX512
#include "avx512.h"
#endif
#include "mask.h"
#include "transcode.h"

#include "reference.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The most that any text here has. */
#define LONGEST 1024

/* What is around a result must stay as it was. */
#define MARGIN 128
#define UNTOUCHED 0xA5

typedef struct {
    unsigned char *begin, *end;
} region;

static region texts, results;
static const char *kernel_name;
static unsigned long checks;

static region new_region(void) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), size = (8 * LONGEST / page + 1) * page;
    unsigned char *pages = mmap(NULL, size + 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
    if (pages == MAP_FAILED || mprotect(pages, page, PROT_NONE) || mprotect(pages + page + size, page, PROT_NONE)) {
        perror("mmap");
        exit(2);
    }
    return (region){pages + page, pages + page + size};
}

static void fail(const char *what, const unsigned char *text, size_t size, size_t first, size_t second) {
    printf("%s: %s, %zu bytes, cut at %zu and %zu:", kernel_name, what, size, first, second);
    for (size_t i = 0; i < size; i++)
        printf(" %02x", text[i]);
    printf("\n");
    exit(1);
}

/* Bytes at each end of every class that RFC 3629 §4 makes; and one byte of each. */
static const unsigned char EDGES[] = {0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF,
                                      0xE0, 0xE1, 0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF};
static const unsigned char CLASSES[] = {0x41, 0x80, 0x9F, 0xBF, 0xC1, 0xC2, 0xE0, 0xE1, 0xED, 0xF0, 0xF1, 0xF4, 0xF5};

static const uint32_t FILLERS[] = {'x', 0xE9, 0x436, 0x6F22, 0x1F600};

/* What precedes a sequence: so much that it begins or ends about where a block of some kernel does. */
static const size_t BLOCKS[] = {16, 32, 64, 128, 256};
static size_t offsets[64], offset_count;

static void find_offsets(void) {
    for (size_t i = 0; i < 4; i++)
        offsets[offset_count++] = i;
    for (size_t i = 0; i < COUNT(BLOCKS); i++)
        for (size_t offset = BLOCKS[i] - 6; offset <= BLOCKS[i] + 2; offset++)
            offsets[offset_count++] = offset;
}

/* Fill size bytes with whole characters, and with ASCII what is too short for one. */
static void fill(unsigned char *out, size_t size, uint32_t filler) {
    unsigned char character[4];
    const size_t length = reference_write(filler, character);
    for (; size % length; size--)
        *out++ = '.';
    for (; size; size -= length, out += length)
        memcpy(out, character, length);
}

/* The number-th sequence of so many out of a set; return 0 behind the last one. */
static int choose(unsigned char *out, size_t length, const unsigned char *set, size_t size, size_t number) {
    for (size_t i = 0; i < length; i++, number /= size)
        out[i] = set[number % size];
    return number == 0;
}

/* Validation */

typedef struct {
    reference_verdict verdict;
    size_t missing;
} expectation;

static void expect(const char *what, const transcode_kernel *kernel, utf8_state *state, const unsigned char *text,
                   size_t from, size_t to, expectation expected, const size_t *shown) {
    const int valid = utf8_take(state, text + from, to - from, kernel->validate);
    checks++;
    if (valid != (expected.verdict != INVALID) || (valid && state->missing != expected.missing))
        fail(what, text, shown[0], shown[1], shown[2]);
}

/* A sequence of length bytes, offset bytes into text, that tail bytes follow: as it is, and cut within the sequence. */
static void validate_sequence(const transcode_kernel *kernel, const unsigned char *text, size_t offset, size_t length,
                              size_t tail) {
    const size_t size = offset + length + tail;
    expectation expected[8], whole;
    size_t count;
    for (size_t i = 0; i <= length; i++)
        expected[i].verdict = reference_check(text + offset, i, NULL, &count, &expected[i].missing);
    whole = expected[length];
    if (tail && whole.verdict == CUT)
        whole = (expectation){INVALID, 0};
    checks++;
    if (kernel->validate(text, size) != (whole.verdict == WHOLE))
        fail("the kernel's verdict", text, size, 0, 0);
    for (size_t i = 0; i <= length; i++) {
        const size_t first = offset + i;
        utf8_state begun = {0, 0, 0};
        if (expected[i].verdict == INVALID)
            break;
        expect("the first piece", kernel, &begun, text, 0, first, expected[i], (size_t[]){size, first, size});
        for (size_t j = i; j <= length; j++) {
            const size_t second = offset + j;
            utf8_state state = begun;
            expect("the second of three pieces", kernel, &state, text, first, second, expected[j],
                   (size_t[]){size, first, second});
            if (expected[j].verdict == INVALID)
                break;
            expect("the third of three pieces", kernel, &state, text, second, size, whole,
                   (size_t[]){size, first, second});
        }
        expect("the second of two pieces", kernel, &begun, text, first, size, whole, (size_t[]){size, first, size});
    }
    {
        utf8_state state = {0, 0, 0};
        expect("one piece", kernel, &state, text, 0, size, whole, (size_t[]){size, 0, size});
    }
}

static void validate_sequences(const transcode_kernel *kernel, size_t depth) {
    static const size_t tails[] = {0, 67, 1};
    for (size_t length = 1; length <= depth; length++) {
        /* Of long ones there are many: one byte of each class, and fewer surroundings. */
        const unsigned char *set = length > 3 || (length > 2 && length == depth) ? CLASSES : EDGES;
        const size_t size = set == CLASSES ? COUNT(CLASSES) : COUNT(EDGES);
        const size_t filler_step = length > 3 ? 3 : 1;
        const size_t tail_count = length > 4 ? 1 : length > 3 ? 2 : COUNT(tails);
        for (size_t filler = 0; filler < COUNT(FILLERS); filler += filler_step)
            for (size_t at = 0; at < offset_count; at++)
                for (size_t i = 0; i < tail_count; i++) {
                    const size_t offset = offsets[at], tail = tails[i];
                    unsigned char *const text = texts.end - offset - length - tail;
                    fill(text, offset, FILLERS[filler]);
                    fill(texts.end - tail, tail, FILLERS[filler]);
                    for (size_t n = 0; choose(text + offset, length, set, size, n); n++)
                        validate_sequence(kernel, text, offset, length, tail);
                }
    }
}

static const char *const CHARACTERS[] = {"\xC2\x80",         "\xDF\xBF",         "\xE0\xA0\x80",     "\xE1\x80\xBF",
                                         "\xED\x9F\xBF",     "\xEE\x80\x80",     "\xEF\xBF\xBF",     "\xF0\x90\x80\x80",
                                         "\xF1\x80\x80\x80", "\xF3\xBF\xBF\xBF", "\xF4\x8F\xBF\xBF"};

/* Each character, and each beginning of one, at the end of texts of each length. */
static void validate_ends(const transcode_kernel *kernel) {
    for (size_t filler = 0; filler < COUNT(FILLERS); filler++)
        for (size_t c = 0; c < COUNT(CHARACTERS); c++)
            for (size_t length = 1; length <= strlen(CHARACTERS[c]); length++)
                for (size_t offset = 0; offset < 600; offset++) {
                    unsigned char *const text = texts.end - offset - length;
                    fill(text, offset, FILLERS[filler]);
                    memcpy(text + offset, CHARACTERS[c], length);
                    validate_sequence(kernel, text, offset, length, 0);
                }
}

/* A piece that begins with the end of a character, so that the kernel's blocks begin anywhere in it. */
static void validate_behind_a_cut(const transcode_kernel *kernel, size_t depth) {
    for (size_t c = 0; c < COUNT(CHARACTERS); c++) {
        const size_t character = strlen(CHARACTERS[c]);
        for (size_t cut = 1; cut < character; cut++)
            for (size_t at = 0; at < offset_count; at++)
                for (size_t length = 1; length <= (depth > 3 ? 3 : 2); length++) {
                    const unsigned char *set = length > 1 ? CLASSES : EDGES;
                    const size_t set_size = length > 1 ? COUNT(CLASSES) : COUNT(EDGES);
                    const size_t begin = 70 + character, size = begin + offsets[at] + length;
                    unsigned char *const text = texts.end - size;
                    fill(text, 70, 0x6F22);
                    memcpy(text + 70, CHARACTERS[c], character);
                    fill(text + begin, offsets[at], c & 1 ? 0xE9 : 'x');
                    for (size_t n = 0; choose(text + size - length, length, set, set_size, n); n++) {
                        const size_t shown[] = {size, 70 + cut, size};
                        utf8_state state = {0, 0, 0};
                        expectation whole;
                        size_t count;
                        expect("a piece that ends in a character", kernel, &state, text, 0, 70 + cut,
                               (expectation){CUT, character - cut}, shown);
                        whole.verdict = reference_check(text, size, NULL, &count, &whole.missing);
                        expect("a piece that begins in a character", kernel, &state, text, 70 + cut, size, whole,
                               shown);
                    }
                }
    }
}

/* Whole texts, cut into three pieces at every two places. */
static void validate_cuts(const transcode_kernel *kernel) {
    static const char *const sequences[] = {
        "", "\xF0\xC2\x80", "\xF4\xDF\xBF", "\xE2\xE2\x82\xAC", "\xE2\x82\xF0\x90\x80\x80", "\xC3\xC3\xA9", "\xC0\x80",
        "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xF0\x90\x80",
        "\xF0\x9F\x98\x80\x80", "\xE2\x82", "\x80", "\xFF"};
    for (size_t s = 0; s < COUNT(sequences); s++)
        for (size_t filler = 0; filler < COUNT(FILLERS); filler++)
            for (size_t tail = 0; tail < 2; tail++) {
                const size_t length = strlen(sequences[s]), size = 65 + length + tail * 67;
                unsigned char *const text = texts.end - size;
                expectation expected[LONGEST];
                size_t count;
                fill(text, 65, FILLERS[filler]);
                memcpy(text + 65, sequences[s], length);
                fill(text + 65 + length, tail * 67, FILLERS[filler]);
                for (size_t i = 0; i <= size; i++)
                    expected[i].verdict = reference_check(text, i, NULL, &count, &expected[i].missing);
                for (size_t first = 0; first <= size && expected[first].verdict != INVALID; first++)
                    for (size_t second = first; second <= size; second++) {
                        const size_t shown[] = {size, first, second};
                        utf8_state state = {0, 0, 0};
                        expect("the first piece", kernel, &state, text, 0, first, expected[first], shown);
                        expect("the second piece", kernel, &state, text, first, second, expected[second], shown);
                        if (expected[second].verdict == INVALID)
                            break;
                        expect("the third piece", kernel, &state, text, second, size, expected[size], shown);
                    }
            }
}

/* UTF-8 to code points */

/* A place for size bytes at either end of the region, in a margin that nobody may touch. */
static unsigned char *new_result(size_t size, int at_end) {
    unsigned char *const result = at_end ? results.end - size : results.begin;
    memset(at_end ? result - MARGIN : result, UNTOUCHED, size + MARGIN);
    return result;
}

static int is_margin_untouched(const unsigned char *result, size_t size, int at_end) {
    const unsigned char *const margin = at_end ? result - MARGIN : result + size;
    for (size_t i = 0; i < MARGIN; i++)
        if (margin[i] != UNTOUCHED)
            return 0;
    return 1;
}

static uint32_t unit_at(const unsigned char *units, size_t index, size_t width) {
    uint16_t half;
    uint32_t word;
    if (width == 1)
        return units[index];
    if (width == 2)
        return memcpy(&half, units + 2 * index, 2), half;
    return memcpy(&word, units + 4 * index, 4), word;
}

static void decode_text(const transcode_kernel *kernel, const unsigned char *text, size_t size, int at_end) {
    static uint32_t points[LONGEST];
    const transcode_shape shape = kernel->measure(text, size);
    const transcode_shape same = transcode_measure(text, size, kernel->measure);
    size_t count, missing, firsts = 0;
    const reference_verdict verdict = reference_check(text, size, points, &count, &missing);
    uint32_t widest = 0;
    int narrowest = 1;
    for (size_t i = 0; i < size; i++)
        firsts += text[i] < 0x80 || text[i] > 0xBF;
    if (shape.length != firsts || same.length != shape.length || same.width != shape.width)
        fail("the length measured", text, size, 0, 0);
    if (verdict == WHOLE) {
        for (size_t i = 0; i < count; i++)
            widest = points[i] > widest ? points[i] : widest;
        narrowest = widest < 0x80 ? 0 : widest < 0x100 ? 1 : widest < 0x10000 ? 2 : 4;
        if (shape.width != narrowest || shape.length != count)
            fail("the width measured", text, size, 0, 0);
    }
    for (int width = 1; width <= 4; width *= 2) {
        const size_t room = shape.length * (size_t)width;
        unsigned char *const out = new_result(room, at_end);
        if (verdict == WHOLE && width < narrowest)
            continue;
        if (width == 1)
            kernel->decode1(text, size, out, shape.length);
        else if (width == 2)
            kernel->decode2(text, size, (uint16_t *)(void *)out, shape.length);
        else
            kernel->decode4(text, size, (uint32_t *)(void *)out, shape.length);
        checks++;
        if (!is_margin_untouched(out, room, at_end))
            fail("code points out of bounds", text, size, 0, 0);
        for (size_t i = 0; verdict == WHOLE && i < count; i++)
            if (unit_at(out, i, (size_t)width) != points[i])
                fail("a wrong code point", text, size, i, (size_t)width);
    }
}

/* Any bytes may be given to decoders, which then give nonsense, but touch nothing else. */
static void decode_sequences(const transcode_kernel *kernel, size_t depth) {
    static const size_t tails[] = {0, 3, 69};
    for (size_t length = 1; length <= depth; length++) {
        const unsigned char *set = length > 1 ? CLASSES : EDGES;
        const size_t set_size = length > 1 ? COUNT(CLASSES) : COUNT(EDGES);
        for (size_t filler = 0; filler < COUNT(FILLERS); filler++)
            for (size_t at = 0; at < offset_count; at++)
                for (size_t i = 0; i < COUNT(tails); i++)
                    for (int at_end = 0; at_end < 2; at_end++) {
                        const size_t size = offsets[at] + length + tails[i];
                        unsigned char *const text = at_end ? texts.end - size : texts.begin;
                        fill(text, offsets[at], FILLERS[filler]);
                        fill(text + size - tails[i], tails[i], FILLERS[filler]);
                        for (size_t n = 0; choose(text + offsets[at], length, set, set_size, n); n++)
                            decode_text(kernel, text, size, at_end);
                    }
    }
}

/* Each character at each place, and texts of each length of each kind. */
static void decode_characters(const transcode_kernel *kernel) {
    for (size_t filler = 0; filler < COUNT(FILLERS); filler++)
        for (size_t c = 0; c < COUNT(CHARACTERS); c++) {
            const size_t character = strlen(CHARACTERS[c]);
            for (size_t offset = 0; offset < 300; offset++) {
                unsigned char *const text = texts.end - offset - character;
                fill(text, offset, FILLERS[filler]);
                memcpy(text + offset, CHARACTERS[c], character);
                decode_text(kernel, text, offset, 1);
                decode_text(kernel, text, offset + character, 1);
            }
        }
}

/* Code points to UTF-8 */

static const uint32_t POINTS[] = {0x00,   0x7F,   0x80,   0xFF,    0x100,   0x7FF,   0x800,   0xD7FF,   0xD800,  0xDBFF,
                                  0xDC00, 0xDFFF, 0xE000, 0xFFFF,  0x10000, 0x1D800, 0x1FFFF, 0x10D800, 0x10FFFF};

static void encode_text(const transcode_kernel *kernel, const uint32_t *points, size_t length, size_t width,
                        int at_end) {
    static unsigned char expected[4 * LONGEST];
    static const size_t more[] = {0, 1, 17, 64, 200};
    unsigned char *const text = at_end ? texts.end - length * width : texts.begin;
    size_t size = 0, counted;
    int has_surrogate = 0;
    for (size_t i = 0; i < length; i++) {
        const uint16_t half = (uint16_t)points[i];
        size += reference_write(points[i], expected + size);
        has_surrogate |= points[i] >= 0xD800 && points[i] <= 0xDFFF;
        if (width == 1)
            text[i] = (unsigned char)points[i];
        else if (width == 2)
            memcpy(text + 2 * i, &half, 2);
        else
            memcpy(text + 4 * i, &points[i], 4);
    }
    counted = width == 1   ? kernel->size1(text, length)
              : width == 2 ? kernel->size2((const uint16_t *)(void *)text, length)
                           : kernel->size4((const uint32_t *)(void *)text, length);
    if (counted != (has_surrogate ? TRANSCODE_SURROGATE : size))
        fail("the size counted", text, length * width, width, 0);
    for (size_t i = 0; i < COUNT(more); i++) {
        const size_t room = size + more[i];
        unsigned char *const out = new_result(room, at_end);
        const size_t written =
            width == 1   ? kernel->encode1(text, length, out, room)
            : width == 2 ? kernel->encode2((const uint16_t *)(void *)text, length, out, room)
                         : kernel->encode4((const uint32_t *)(void *)text, length, out, room);
        checks++;
        if (!is_margin_untouched(out, room, at_end))
            fail("UTF-8 out of bounds", text, length * width, width, more[i]);
        if (written != counted || (!has_surrogate && memcmp(out, expected, size) != 0))
            fail("wrong UTF-8", text, length * width, width, more[i]);
    }
}

static void encode_sequences(const transcode_kernel *kernel, size_t depth) {
    static const size_t tails[] = {0, 1, 40};
    static uint32_t points[LONGEST];
    for (size_t width = 1; width <= 4; width *= 2) {
        const uint32_t limit = width == 1 ? 0x100 : width == 2 ? 0x10000 : 0x110000;
        size_t fitting = 0;
        while (fitting < COUNT(POINTS) && POINTS[fitting] < limit)
            fitting++;
        for (size_t filler = 0; filler < COUNT(FILLERS) && FILLERS[filler] < limit; filler++)
            for (size_t length = 1; length <= (depth > 3 ? 2 : 1); length++)
                for (size_t at = 0; at < offset_count; at++)
                    for (size_t i = 0; i < COUNT(tails); i++)
                        for (size_t n = 0; n < (length == 1 ? fitting : fitting * fitting); n++) {
                            const size_t size = offsets[at] + length + tails[i];
                            for (size_t j = 0; j < size; j++)
                                points[j] = FILLERS[filler];
                            points[offsets[at]] = POINTS[n % fitting];
                            if (length > 1)
                                points[offsets[at] + 1] = POINTS[n / fitting];
                            encode_text(kernel, points, size, width, n & 1);
                        }
        for (size_t filler = 0; filler < COUNT(FILLERS) && FILLERS[filler] < limit; filler++)
            for (size_t length = 0; length < 300; length++) {
                for (size_t j = 0; j < length; j++)
                    points[j] = FILLERS[filler];
                encode_text(kernel, points, length, width, length & 1);
            }
    }
}

/* Masks */

static void check_mask(mask_kernel kernel, unsigned char *dst, unsigned char *src, size_t length, const char *what) {
    static const unsigned char key[4] = {0x37, 0xFA, 0x21, 0x3D};
    static unsigned char source[LONGEST], before[MARGIN], behind[MARGIN];
    const size_t front = dst - results.begin < MARGIN ? (size_t)(dst - results.begin) : MARGIN;
    const size_t back = results.end - dst - (ptrdiff_t)length < MARGIN
                            ? (size_t)(results.end - dst) - length
                            : MARGIN;
    for (size_t phase = 0; phase < 4; phase++) {
        for (size_t i = 0; i < length; i++)
            source[i] = src[i] = (unsigned char)(i * 7 + length + phase);
        memcpy(before, dst - front, front);
        memcpy(behind, dst + length, back);
        if (kernel)
            kernel(dst, src, length, mask_load_key(key, phase));
        else
            mask_copy(dst, src, length, mask_turn_key(mask_load_key(key, 0), phase), mask_kernel_at(0)->run);
        checks++;
        for (size_t i = 0; i < length; i++)
            if (dst[i] != (source[i] ^ key[(i + phase) & 3]))
                fail(what, source, length, i, phase);
        if (memcmp(before, dst - front, front) != 0 || memcmp(behind, dst + length, back) != 0)
            fail("masked out of bounds", source, length, 0, phase);
    }
}

static void sweep_mask(mask_kernel kernel, size_t shortest) {
    for (size_t length = shortest; length <= 600; length += length < 330 ? 1 : 9)
        for (size_t shift = 0; shift < 64; shift += length < 140 || shift < 4 ? 1 : 20) {
            check_mask(kernel, results.end - shift - length, results.end - shift - length, length, "masked in place");
            check_mask(kernel, results.begin + shift, results.begin + shift, length, "masked in place");
            check_mask(kernel, results.end - length, texts.end - shift - length, length, "masked from an odd place");
            check_mask(kernel, results.end - shift - length, texts.end - length, length, "masked to an odd place");
            check_mask(kernel, results.begin + shift, texts.begin, length, "masked to an odd place");
        }
}

static const transcode_kernel *kernel_at(size_t index) {
#ifdef SWEEP_EMULATE_AVX512
    static transcode_kernel kernel;
    kernel = TRANSCODE_KERNEL(avx512);
    transcode_kernel_at(0);
    return index ? NULL : &kernel;
#else
    return transcode_kernel_at(index);
#endif
}

static const mask_kernel_entry *mask_at(size_t index) {
#ifdef SWEEP_EMULATE_AVX512
    static const mask_kernel_entry entry = {"avx512", mask_avx512};
    return index ? NULL : &entry;
#else
    return mask_kernel_at(index);
#endif
}

static void done(const char *what) {
    printf("%s: %s: %lu checks\n", kernel_name, what, checks);
    fflush(stdout);
    checks = 0;
}

int main(int argc, char **argv) {
    const size_t depth = argc > 1 ? (size_t)strtoul(argv[1], NULL, 10) : 0;
    int found = 0;
    if (depth < 1 || depth > 5) {
        fprintf(stderr, "usage: %s DEPTH [KERNEL]\n", argv[0]);
        return 2;
    }
    texts = new_region();
    results = new_region();
    find_offsets();
    for (size_t i = 0; kernel_at(i); i++) {
        const transcode_kernel *const kernel = kernel_at(i);
        utf8_state state = {0, 0, 0};
        kernel_name = kernel->name;
        if (argc > 2 && strcmp(argv[2], kernel_name) != 0)
            continue;
        found = 1;
        if (!utf8_take(&state, NULL, 0, kernel->validate) || !kernel->validate(texts.end, 0))
            fail("no text is valid text", texts.end, 0, 0, 0);
        validate_sequences(kernel, depth);
        validate_ends(kernel);
        validate_behind_a_cut(kernel, depth);
        validate_cuts(kernel);
        done("validated");
        decode_sequences(kernel, depth > 3 ? 3 : depth > 2 ? 2 : depth);
        decode_characters(kernel);
        done("decoded");
        encode_sequences(kernel, depth);
        done("encoded");
    }
    for (size_t i = 0; mask_at(i); i++) {
        kernel_name = mask_at(i)->name;
        if (argc > 2 && strcmp(argv[2], kernel_name) != 0)
            continue;
        found = 1;
        sweep_mask(mask_at(i)->run, MASK_KERNEL_FROM);
        done("masked");
    }
    if (argc < 3) {
        kernel_name = "any";
        sweep_mask(NULL, 0);
        done("masked");
    }
    if (!found)
        fprintf(stderr, "no kernel %s\n", argc > 2 ? argv[2] : "");
    return !found;
}
