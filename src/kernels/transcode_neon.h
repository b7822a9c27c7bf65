/* The transcoding kernel of transcode.h for NEON, little-endian. */
#ifndef WSFRAME_TRANSCODE_NEON_H
#define WSFRAME_TRANSCODE_NEON_H

/* Add up bytes. */
static inline uint64x2_t transcode_add_neon(uint64x2_t sums, uint8x16_t bytes) {
    return vpadalq_u32(sums, vpaddlq_u16(vpaddlq_u8(bytes)));
}

static inline size_t transcode_sum_neon(uint64x2_t sums) {
    return (size_t)(vgetq_lane_u64(sums, 0) + vgetq_lane_u64(sums, 1));
}

static inline uint8x16_t transcode_first_neon(uint8x16_t bytes) {
    return vcgtq_s8(vreinterpretq_s8_u8(bytes), vdupq_n_s8(-65));
}

static inline transcode_shape transcode_measure_neon(const unsigned char *text, size_t size) {
    transcode_count count = {0, 0, 0, 0};
    uint8x16_t widest = vdupq_n_u8(0);
    uint64x2_t firsts = vdupq_n_u64(0);
    size_t i = 0;
    for (; i + 16 <= size; i += 16) {
        const uint8x16_t bytes = vld1q_u8(text + i);
        firsts = transcode_add_neon(firsts, vshrq_n_u8(transcode_first_neon(bytes), 7));
        widest = vmaxq_u8(widest, bytes);
    }
    if (i) {
        const uint8_t byte = vmaxvq_u8(widest);
        count.length = transcode_sum_neon(firsts);
        count.not_ascii = byte > 0x7F;
        count.above_c3 = byte > 0xC3;
        count.above_ef = byte > 0xEF;
    }
    transcode_count_bytes(&count, text + i, size - i);
    return transcode_shape_of(&count);
}

/* As for AVX2. */
static inline uint8x16_t transcode_low_neon(uint8x16_t x, uint8x16_t y) {
    return vsliq_n_u8(y, x, 6);
}

static inline uint8x16_t transcode_middle_neon(uint8x16_t x, uint8x16_t y) {
    return vsliq_n_u8(vshrq_n_u8(y, 2), x, 4);
}

/* Return a bit for each byte set in half a vector. */
static inline unsigned transcode_mask_neon(uint8x8_t set) {
    static const uint8_t bits[8] = {0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80};
    return vaddv_u8(vand_u8(set, vld1_u8(bits)));
}

static inline uint8_t *transcode_keep1_neon(uint8_t *out, uint8x8_t points, unsigned first) {
    vst1_u8(out, vtbl1_u8(points, vld1_u8(transcode_table.lanes8[first])));
    return out + transcode_table.lanes8_count[first];
}

static inline uint8_t *transcode_block1_neon(const unsigned char *text, uint8_t *out) {
    const uint8x16_t a = vld1q_u8(text), b = vld1q_u8(text + 1);
    const uint8x16_t first = transcode_first_neon(a);
    const uint8x16_t points = vbslq_u8(vcgeq_u8(a, vdupq_n_u8(0x80)), transcode_low_neon(a, b), a);
    out = transcode_keep1_neon(out, vget_low_u8(points), transcode_mask_neon(vget_low_u8(first)));
    return transcode_keep1_neon(out, vget_high_u8(points), transcode_mask_neon(vget_high_u8(first)));
}

static inline uint16_t *transcode_keep2_neon(uint16_t *out, uint8x16_t points, unsigned first) {
    const uint8x16_t kept = vqtbl1q_u8(points, vld1q_u8(transcode_table.lanes16[first]));
    vst1q_u16(out, vreinterpretq_u16_u8(kept));
    return out + transcode_table.lanes8_count[first];
}

static inline uint16_t *transcode_block2_neon(const unsigned char *text, uint16_t *out) {
    const uint8x16_t a = vld1q_u8(text), b = vld1q_u8(text + 1), c = vld1q_u8(text + 2);
    const uint8x16_t first = transcode_first_neon(a);
    const uint8x16_t many = vcgeq_u8(a, vdupq_n_u8(0x80)), three = vcgeq_u8(a, vdupq_n_u8(0xE0));
    const uint8x16_t x = vbslq_u8(three, b, a);
    const uint8x16_t y = vbslq_u8(three, c, b);
    const uint8x16_t low = vbslq_u8(many, transcode_low_neon(x, y), a);
    const uint8x16_t middle = vandq_u8(transcode_middle_neon(vandq_u8(a, three), x), many);
    out = transcode_keep2_neon(out, vzip1q_u8(low, middle), transcode_mask_neon(vget_low_u8(first)));
    return transcode_keep2_neon(out, vzip2q_u8(low, middle), transcode_mask_neon(vget_high_u8(first)));
}

/* Write those of 4 code points, as words of 32 bits, that first selects. */
static inline uint32_t *transcode_keep4_neon(uint32_t *out, uint16x8_t points, unsigned first) {
    const uint8x16_t shuffle = vld1q_u8(transcode_table.lanes16[transcode_pairs[first]]);
    const uint8x16_t kept = vqtbl1q_u8(vreinterpretq_u8_u16(points), shuffle);
    vst1q_u32(out, vreinterpretq_u32_u8(kept));
    return out + transcode_table.lanes8_count[first];
}

static inline uint32_t *transcode_block4_neon(const unsigned char *text, uint32_t *out) {
    const uint8x16_t zero = vdupq_n_u8(0);
    const uint8x16_t a = vld1q_u8(text), b = vld1q_u8(text + 1), c = vld1q_u8(text + 2), d = vld1q_u8(text + 3);
    const uint8x16_t first = transcode_first_neon(a);
    const unsigned below = transcode_mask_neon(vget_low_u8(first)), above = transcode_mask_neon(vget_high_u8(first));
    const uint8x16_t many = vcgeq_u8(a, vdupq_n_u8(0x80));
    const uint8x16_t three = vcgeq_u8(a, vdupq_n_u8(0xE0)), four = vcgeq_u8(a, vdupq_n_u8(0xF0));
    const uint8x16_t w = vandq_u8(vbslq_u8(four, b, a), three);
    const uint8x16_t x = vbslq_u8(four, c, vbslq_u8(three, b, a));
    const uint8x16_t y = vbslq_u8(four, d, vbslq_u8(three, c, b));
    const uint8x16_t low = vbslq_u8(many, transcode_low_neon(x, y), a);
    const uint8x16_t middle = vandq_u8(transcode_middle_neon(w, x), many);
    const uint8x16_t high =
        vandq_u8(vsliq_n_u8(vshrq_n_u8(b, 4), a, 2), vandq_u8(four, vdupq_n_u8(0x1F)));
    const uint16x8_t even = vreinterpretq_u16_u8(vzip1q_u8(low, middle));
    const uint16x8_t odd = vreinterpretq_u16_u8(vzip2q_u8(low, middle));
    const uint16x8_t even_high = vreinterpretq_u16_u8(vzip1q_u8(high, zero));
    const uint16x8_t odd_high = vreinterpretq_u16_u8(vzip2q_u8(high, zero));
    out = transcode_keep4_neon(out, vzip1q_u16(even, even_high), below & 0xF);
    out = transcode_keep4_neon(out, vzip2q_u16(even, even_high), below >> 4);
    out = transcode_keep4_neon(out, vzip1q_u16(odd, odd_high), above & 0xF);
    return transcode_keep4_neon(out, vzip2q_u16(odd, odd_high), above >> 4);
}

TRANSCODE_DECODERS(neon, , 16)

static inline size_t transcode_size1_neon(const uint8_t *text, size_t length) {
    uint64x2_t more = vdupq_n_u64(0);
    size_t i = 0;
    for (; i + 16 <= length; i += 16)
        more = transcode_add_neon(more, vshrq_n_u8(vld1q_u8(text + i), 7));
    return i + transcode_sum_neon(more) + transcode_size1_portable(text + i, length - i);
}

static inline int transcode_is_zero_neon(uint32x4_t vector) {
    return vmaxvq_u32(vector) == 0;
}

static inline uint64x2_t transcode_count2_neon(const uint16_t *text, uint64x2_t count, uint32x4_t *surrogates) {
    const uint16x8_t points = vld1q_u16(text);
    const uint16x8_t many = vcgeq_u16(points, vdupq_n_u16(0x80)), three = vcgeq_u16(points, vdupq_n_u16(0x800));
    const uint8x16_t bytes = vcombine_u8(vshrn_n_u16(many, 8), vshrn_n_u16(three, 8));
    *surrogates = vorrq_u32(*surrogates, vreinterpretq_u32_u16(vceqq_u16(vshrq_n_u16(points, 11),
                                                                         vdupq_n_u16(0xD800 >> 11))));
    return transcode_add_neon(count, vshrq_n_u8(bytes, 7));
}

static inline uint64x2_t transcode_count4_neon(const uint32_t *text, uint64x2_t count, uint32x4_t *surrogates) {
    const uint32x4_t points = vld1q_u32(text);
    const uint32x4_t many = vcgeq_u32(points, vdupq_n_u32(0x80)), three = vcgeq_u32(points, vdupq_n_u32(0x800));
    const uint32x4_t four = vcgeq_u32(points, vdupq_n_u32(0x10000));
    *surrogates = vorrq_u32(*surrogates, vceqq_u32(vshrq_n_u32(points, 11), vdupq_n_u32(0xD800 >> 11)));
    return vpadalq_u32(count, vaddq_u32(vaddq_u32(vshrq_n_u32(many, 31), vshrq_n_u32(three, 31)),
                                        vshrq_n_u32(four, 31)));
}

TRANSCODE_SIZE(2, neon, , uint32x4_t, uint64x2_t, 8, 1, transcode_sum_neon)
TRANSCODE_SIZE(4, neon, , uint32x4_t, uint64x2_t, 4, 1, transcode_sum_neon)

static inline unsigned char *transcode_drop16_neon(unsigned char *out, uint16x8_t points) {
    const uint16x8_t many = vcgeq_u16(points, vdupq_n_u16(0x80));
    const uint16x8_t last = vshlq_n_u16(points, 8);
    const uint16x8_t payload = vorrq_u16(vshrq_n_u16(points, 6), vandq_u16(last, vdupq_n_u16(0x3F00)));
    const uint16x8_t spread = vbslq_u16(many, vorrq_u16(payload, vdupq_n_u16(0x80C0)), last);
    const unsigned mask = transcode_mask_neon(vmovn_u16(many));
    const uint8x16_t shuffle = vld1q_u8(transcode_table.bytes16[mask]);
    vst1q_u8(out, vqtbl1q_u8(vreinterpretq_u8_u16(spread), shuffle));
    return out + 8 + transcode_table.lanes8_count[mask];
}

static inline unsigned char *transcode_from1_neon(const uint8_t *text, unsigned char *out, uint32x4_t *surrogates) {
    const uint8x16_t bytes = vld1q_u8(text);
    (void)surrogates;
    if (vmaxvq_u8(bytes) < 0x80) {
        vst1q_u8(out, bytes);
        return out + 16;
    }
    out = transcode_drop16_neon(out, vmovl_u8(vget_low_u8(bytes)));
    return transcode_drop16_neon(out, vmovl_u8(vget_high_u8(bytes)));
}

static inline unsigned char *transcode_drop32_neon(unsigned char *out, uint32x4_t points) {
    static const uint32_t low_bits[4] = {0x01, 0x04, 0x10, 0x40};
    static const uint32_t high_bits[4] = {0x02, 0x08, 0x20, 0x80};
    const uint32x4_t many = vcgeq_u32(points, vdupq_n_u32(0x80)), three = vcgeq_u32(points, vdupq_n_u32(0x800));
    const uint32x4_t four = vcgeq_u32(points, vdupq_n_u32(0x10000));
    const uint32x4_t last = vshlq_n_u32(points, 24);
    const uint32x4_t payload = vorrq_u32(
        vorrq_u32(vandq_u32(last, vdupq_n_u32(0x3F000000)),
                  vandq_u32(vshlq_n_u32(points, 10), vdupq_n_u32(0x3F0000))),
        vorrq_u32(vandq_u32(vshrq_n_u32(points, 4), vdupq_n_u32(0x3F00)), vshrq_n_u32(points, 18)));
    const uint32x4_t tags = vbslq_u32(four, vdupq_n_u32(0x808080F0),
                                      vbslq_u32(three, vdupq_n_u32(0x8080E000), vdupq_n_u32(0x80C00000)));
    const uint32x4_t spread = vbslq_u32(many, vorrq_u32(payload, tags), last);
    /* Two bits for each lane: 1 for two bytes, 2 for three, 3 for four. */
    const uint32x4_t low = veorq_u32(veorq_u32(many, three), four);
    const unsigned more =
        vaddvq_u32(vorrq_u32(vandq_u32(low, vld1q_u32(low_bits)), vandq_u32(three, vld1q_u32(high_bits))));
    const uint8x16_t shuffle = vld1q_u8(transcode_table.bytes32[more]);
    vst1q_u8(out, vqtbl1q_u8(vreinterpretq_u8_u32(spread), shuffle));
    return out + transcode_table.bytes32_size[more];
}

static inline unsigned char *transcode_from2_neon(const uint16_t *text, unsigned char *out, uint32x4_t *surrogates) {
    const uint16x8_t points = vld1q_u16(text);
    if (vmaxvq_u16(points) < 0x800)
        return transcode_drop16_neon(out, points);
    *surrogates = vorrq_u32(*surrogates, vreinterpretq_u32_u16(vceqq_u16(vshrq_n_u16(points, 11),
                                                                         vdupq_n_u16(0xD800 >> 11))));
    out = transcode_drop32_neon(out, vmovl_u16(vget_low_u16(points)));
    return transcode_drop32_neon(out, vmovl_u16(vget_high_u16(points)));
}

static inline unsigned char *transcode_from4_neon(const uint32_t *text, unsigned char *out, uint32x4_t *surrogates) {
    const uint32x4_t points = vld1q_u32(text);
    *surrogates = vorrq_u32(*surrogates, vceqq_u32(vshrq_n_u32(points, 11), vdupq_n_u32(0xD800 >> 11)));
    return transcode_drop32_neon(out, points);
}

TRANSCODE_ENCODERS(neon, , uint32x4_t, 16, 32, 8, 32, 4, 16)

#endif
