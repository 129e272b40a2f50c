/* Dequantise GGUF's packed types: blocks of integers with their scales become float32, float16 or bfloat16.

   The arithmetic is that of ggml-quants.c and of the gguf package, rounding for rounding: products and sums are not
   contracted in this file. Its loops are written for the compiler to vectorise: short ones would rather be unrolled, and
   then they are not. Compiled once for each set of instructions. */
#include "dequantize_path.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "GGUF is little-endian, and is read here as it is"
#endif

#define EACH(i, count) _Pragma("GCC unroll 1") for (int i = 0; i < (count); i++)

typedef uint8_t u8;

INLINE uint16_t u16_at(const u8 *p) { uint16_t x; memcpy(&x, p, 2); return x; }
INLINE uint32_t u32_at(const u8 *p) { uint32_t x; memcpy(&x, p, 4); return x; }
INLINE float from_bits(uint32_t bits) { float x; memcpy(&x, &bits, 4); return x; }
INLINE uint32_t bits_of(float x) { uint32_t bits; memcpy(&bits, &x, 4); return bits; }

INLINE float of_half(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, rest = h & 0x7fff;
    if (rest < 0x0400) return from_bits(sign | bits_of((float)rest * 0x1p-24f));
    uint32_t exponent = rest < 0x7c00 ? 112u << 23 : 224u << 23; /* the second for infinity and not a number */
    return from_bits(sign | ((rest << 13) + exponent));
}

INLINE float half_at(const u8 *p) { return of_half(u16_at(p)); }

/* float32 to 16 bits, rounding half to even. */
INLINE uint16_t to_bfloat16(float x) {
    uint32_t bits = bits_of(x);
    uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16, nan = (bits >> 16 & 0x8000) | 0x7fc0;
    return (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? nan : rounded);
}

INLINE uint16_t to_float16(float x) {
    int32_t bits = (int32_t)bits_of(x), sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
    int32_t normal = (size - (112 << 23) + 0x0fff + (size >> 13 & 1)) >> 13;
    int32_t small = (int32_t)(bits_of(from_bits((uint32_t)size) + 0.5f) - bits_of(0.5f)); /* in steps of 2**-24 */
    int32_t found = size < 0x38800000 ? small : normal;
    found = size >= 0x477ff000 ? 0x7c00 : found; /* 65520, which rounds to 65536, and beyond */
    found = size > 0x7f800000 ? 0x7e00 : found;
    return (uint16_t)(sign | found);
}

/* Blocks of 32 values. */

INLINE void q4_0(const u8 *restrict b, float *restrict y) {
    float d = half_at(b);
    EACH(i, 16) y[i] = d * (float)((b[2 + i] & 15) - 8);
    EACH(i, 16) y[16 + i] = d * (float)((b[2 + i] >> 4) - 8);
}

INLINE void q4_1(const u8 *restrict b, float *restrict y) {
    float d = half_at(b), m = half_at(b + 2);
    EACH(i, 16) y[i] = d * (float)(b[4 + i] & 15) + m;
    EACH(i, 16) y[16 + i] = d * (float)(b[4 + i] >> 4) + m;
}

INLINE void q5_0(const u8 *restrict b, float *restrict y) {
    float d = half_at(b);
    uint32_t fifth = u32_at(b + 2);
    EACH(i, 16) y[i] = d * (float)((int)((b[6 + i] & 15) | (fifth >> i & 1) << 4) - 16);
    EACH(i, 16) y[16 + i] = d * (float)((int)((b[6 + i] >> 4) | (fifth >> (16 + i) & 1) << 4) - 16);
}

INLINE void q5_1(const u8 *restrict b, float *restrict y) {
    float d = half_at(b), m = half_at(b + 2);
    uint32_t fifth = u32_at(b + 4);
    EACH(i, 16) y[i] = d * (float)(int)((b[8 + i] & 15) | (fifth >> i & 1) << 4) + m;
    EACH(i, 16) y[16 + i] = d * (float)(int)((b[8 + i] >> 4) | (fifth >> (16 + i) & 1) << 4) + m;
}

INLINE void q8_0(const u8 *restrict b, float *restrict y) {
    float d = half_at(b);
    EACH(i, 32) y[i] = (float)(int8_t)b[2 + i] * d;
}

/* What 4 bits stand for in IQ4_NL and IQ4_XS (kvalues_iq4nl), and twice what they stand for in MXFP4 and NVFP4. */
static const int8_t NON_LINEAR[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
static const int8_t E2M1_DOUBLED[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* `count` bytes give 2 × count values: those of all low halves, then those of all high ones. */
INLINE void look_up(const int8_t *table, const u8 *packed, int count, float scale, float *y) {
    int8_t found[32];
    EACH(i, count) found[i] = table[packed[i] & 15];
    EACH(i, count) found[count + i] = table[packed[i] >> 4];
    EACH(i, 2 * count) y[i] = scale * (float)found[i];
}

INLINE void iq4_nl(const u8 *restrict b, float *restrict y) { look_up(NON_LINEAR, b + 2, 16, half_at(b), y); }

INLINE void mxfp4(const u8 *restrict b, float *restrict y) {
    uint32_t exponent = b[0];
    float halved = from_bits(exponent < 2 ? 0x00200000u << exponent : (exponent - 1) << 23);
    look_up(E2M1_DOUBLED, b + 1, 16, halved, y);
}

INLINE void nvfp4(const u8 *restrict b, float *restrict y) {
    EACH(part, 4) {
        int code = b[part], exponent = code >> 3 & 15, mantissa = code & 7;
        float value = exponent ? (float)(8 + mantissa) * from_bits((uint32_t)(exponent - 10 + 127) << 23)
                               : (float)mantissa * 0x1p-9f;
        float halved = code == 0 || code == 0x7f ? 0.0f : value * 0.5f;
        look_up(E2M1_DOUBLED, b + 4 + 8 * part, 8, halved, y + 16 * part);
    }
}

/* Blocks of 256 values, in parts with a scale of their own. */

INLINE void q2_k(const u8 *restrict b, float *restrict y) {
    float d = half_at(b + 80), m = half_at(b + 82);
    EACH(part, 16) {
        const u8 *q = b + 16 + part / 8 * 32 + part % 2 * 16;
        int shift = part / 2 % 4 * 2;
        float scale = d * (float)(b[part] & 15), minimum = m * (float)(b[part] >> 4);
        EACH(i, 16) y[16 * part + i] = scale * (float)(q[i] >> shift & 3) - minimum;
    }
}

INLINE void q3_k(const u8 *restrict b, float *restrict y) {
    float d = half_at(b + 108);
    EACH(part, 16) {
        const u8 *q = b + 32 + part / 8 * 32 + part % 2 * 16, *third = b + part % 2 * 16;
        int shift = part / 2 % 4 * 2, bit = part / 2;
        int low = part < 8 ? b[96 + part] & 15 : b[96 + part - 8] >> 4, high = b[104 + part % 4] >> part / 4 * 2 & 3;
        float scale = d * (float)((low | high << 4) - 32);
        EACH(i, 16) y[16 * part + i] = scale * (float)((q[i] >> shift & 3) + (third[i] >> bit & 1) * 4 - 4);
    }
}

/* The 8 scales and minima of Q4_K and Q5_K: 6 bits each in 12 bytes, the last four of each in two pieces. */
INLINE void scale_and_minimum(const u8 *b, int part, float *scale, float *minimum) {
    const u8 *packed = b + 4;
    int s, m;
    if (part < 4) {
        s = packed[part] & 63;
        m = packed[part + 4] & 63;
    } else {
        s = (packed[part + 4] & 15) | (packed[part - 4] >> 6) << 4;
        m = packed[part + 4] >> 4 | (packed[part] >> 6) << 4;
    }
    *scale = half_at(b) * (float)s;
    *minimum = half_at(b + 2) * (float)m;
}

INLINE void q4_k(const u8 *restrict b, float *restrict y) {
    EACH(part, 8) {
        const u8 *q = b + 16 + part / 2 * 32;
        int shift = part % 2 * 4;
        float scale, minimum;
        scale_and_minimum(b, part, &scale, &minimum);
        EACH(i, 32) y[32 * part + i] = scale * (float)(q[i] >> shift & 15) - minimum;
    }
}

INLINE void q5_k(const u8 *restrict b, float *restrict y) {
    EACH(part, 8) {
        const u8 *q = b + 48 + part / 2 * 32, *fifth = b + 16;
        int shift = part % 2 * 4;
        float scale, minimum;
        scale_and_minimum(b, part, &scale, &minimum);
        EACH(i, 32) y[32 * part + i] = scale * (float)((q[i] >> shift & 15) | (fifth[i] >> part & 1) << 4) - minimum;
    }
}

INLINE void q6_k(const u8 *restrict b, float *restrict y) {
    float d = half_at(b + 208);
    EACH(part, 16) {
        int quarter = part / 2 % 4, half = part / 8, side = part % 2 * 16;
        const u8 *low = b + half * 64 + quarter % 2 * 32 + side, *high = b + 128 + half * 32 + side;
        int shift = quarter / 2 * 4;
        float scale = d * (float)(int8_t)b[192 + part];
        EACH(i, 16) {
            int quant = (low[i] >> shift & 15) | (high[i] >> 2 * quarter & 3) << 4;
            y[16 * part + i] = scale * (float)(quant - 32);
        }
    }
}

INLINE void iq4_xs(const u8 *restrict b, float *restrict y) {
    float d = half_at(b);
    uint32_t high = u16_at(b + 2);
    EACH(part, 8) {
        int scale = (b[4 + part / 2] >> part % 2 * 4 & 15) | (int)(high >> 2 * part & 3) << 4;
        look_up(NON_LINEAR, b + 8 + 16 * part, 16, d * (float)(scale - 32), y + 32 * part);
    }
}

/* The base-3 digit of each byte that stands behind `power`, minus 1. */
INLINE void trits(const u8 *packed, int count, int power, float d, float *y) {
    EACH(i, count) y[i] = d * (float)(((packed[i] * power & 255) * 3 >> 8) - 1);
}

INLINE void tq1_0(const u8 *restrict b, float *restrict y) {
    static const int POWERS[5] = {1, 3, 9, 27, 81};
    float d = half_at(b + 52);
    EACH(k, 5) trits(b, 32, POWERS[k], d, y + 32 * k);
    EACH(k, 5) trits(b + 32, 16, POWERS[k], d, y + 160 + 16 * k);
    EACH(k, 4) trits(b + 48, 4, POWERS[k], d, y + 240 + 4 * k);
}

INLINE void tq2_0(const u8 *restrict b, float *restrict y) {
    float d = half_at(b + 64);
    EACH(part, 8) {
        const u8 *q = b + part / 4 * 32;
        int shift = part % 4 * 2;
        EACH(i, 32) y[32 * part + i] = d * (float)((q[i] >> shift & 3) - 1);
    }
}

/* Types whose values stand in code books: a code finds eight or four signed bytes. */

/* Eight bytes of 0 or 255, one for each bit of a byte, the lowest first. */
INLINE uint64_t flips(uint64_t signs) {
    uint64_t bits = signs * 0x0101010101010101u & 0x8040201008040201u;
    return ((bits + 0x7f7f7f7f7f7f7f7fu) >> 7 & 0x0101010101010101u) * 255;
}

/* Seven signs; an eighth makes the number of minus signs even. */
INLINE uint64_t even_flips(uint32_t signs) { return flips(signs | (uint32_t)__builtin_parity(signs) << 7); }

INLINE uint64_t eight(const u8 *book, uint32_t code) { uint64_t x; memcpy(&x, book + 8 * code, 8); return x; }

INLINE uint64_t four_and_four(const u8 *book, uint32_t first, uint32_t second) {
    return u32_at(book + 4 * first) | (uint64_t)u32_at(book + 4 * second) << 32;
}

/* `parts` scales, each for 256 / parts values, which stand as signed bytes, negated where `minus` has 255. */
INLINE void write_signed(const uint64_t *words, const uint64_t *minus, const float *scales, int parts, float *y) {
    int8_t values[256], flip[256];
    int width = 256 / parts;
    memcpy(values, words, 256);
    memcpy(flip, minus, 256);
    EACH(i, 256) values[i] = (int8_t)((values[i] ^ flip[i]) - flip[i]);
    EACH(part, parts) EACH(i, width) y[width * part + i] = scales[part] * (float)values[width * part + i];
}

INLINE float quarters(uint32_t scale) { return 0.5f + (float)scale; }

INLINE void iq2_xxs(const u8 *restrict b, float *restrict y, const u8 *restrict book) {
    uint64_t words[32], minus[32];
    float d = half_at(b), scales[8];
    EACH(part, 8) {
        const u8 *codes = b + 2 + 8 * part;
        uint32_t rest = u32_at(codes + 4);
        scales[part] = d * quarters(rest >> 28) * 0.25f;
        EACH(k, 4) words[4 * part + k] = eight(book, codes[k]);
        EACH(k, 4) minus[4 * part + k] = even_flips(rest >> 7 * k & 127);
    }
    write_signed(words, minus, scales, 8, y);
}

INLINE void iq2_xs(const u8 *restrict b, float *restrict y, const u8 *restrict book) {
    uint64_t words[32], minus[32];
    float d = half_at(b), scales[16];
    EACH(part, 16) scales[part] = d * quarters(b[66 + part / 2] >> part % 2 * 4 & 15) * 0.25f;
    EACH(k, 32) {
        uint32_t code = u16_at(b + 2 + 2 * k);
        words[k] = eight(book, code & 511);
        minus[k] = even_flips(code >> 9);
    }
    write_signed(words, minus, scales, 16, y);
}

INLINE void iq2_s(const u8 *restrict b, float *restrict y, const u8 *restrict book) {
    uint64_t words[32], minus[32];
    float d = half_at(b), scales[16];
    EACH(part, 16) scales[part] = d * quarters(b[74 + part / 2] >> part % 2 * 4 & 15) * 0.25f;
    EACH(k, 32) words[k] = eight(book, b[2 + k] | (b[66 + k / 4] >> k % 4 * 2 & 3) << 8);
    EACH(k, 32) minus[k] = flips(b[34 + k]);
    write_signed(words, minus, scales, 16, y);
}

INLINE void iq3_xxs(const u8 *restrict b, float *restrict y, const u8 *restrict book) {
    uint64_t words[32], minus[32];
    float d = half_at(b), scales[8];
    EACH(part, 8) {
        uint32_t rest = u32_at(b + 66 + 4 * part);
        scales[part] = d * quarters(rest >> 28) * 0.5f;
        EACH(k, 4) minus[4 * part + k] = even_flips(rest >> 7 * k & 127);
    }
    EACH(k, 32) words[k] = four_and_four(book, b[2 + 2 * k], b[3 + 2 * k]);
    write_signed(words, minus, scales, 8, y);
}

INLINE void iq3_s(const u8 *restrict b, float *restrict y, const u8 *restrict book) {
    uint64_t words[32], minus[32];
    float d = half_at(b), scales[8];
    EACH(part, 8) scales[part] = d * (float)(1 + 2 * (b[106 + part / 2] >> part % 2 * 4 & 15));
    EACH(k, 32) {
        uint32_t ninth = (uint32_t)b[66 + k / 4] >> k % 4 * 2;
        words[k] = four_and_four(book, b[2 + 2 * k] | (ninth & 1) << 8, b[3 + 2 * k] | (ninth >> 1 & 1) << 8);
        minus[k] = flips(b[74 + k]);
    }
    write_signed(words, minus, scales, 8, y);
}

/* 32 words of −1, 0 and 1, to each value of which an eighth is added or, where `less` is set, taken off. */
INLINE void write_eighths(const uint64_t *words, const u8 *less, const float *scales, float *y) {
    int8_t values[256];
    memcpy(values, words, 256);
    EACH(k, 32) {
        float eighth = less[k] ? -0.125f : 0.125f;
        EACH(i, 8) y[8 * k + i] = scales[k] * ((float)values[8 * k + i] + eighth);
    }
}

INLINE void iq1_s(const u8 *restrict b, float *restrict y, const u8 *restrict book) {
    uint64_t words[32];
    u8 less[32];
    float d = half_at(b), scales[32];
    EACH(k, 32) {
        uint32_t high = u16_at(b + 34 + k / 4 * 2);
        words[k] = eight(book, b[2 + k] | (high >> k % 4 * 3 & 7) << 8);
        less[k] = (u8)(high >> 15);
        scales[k] = d * (float)(2 * (high >> 12 & 7) + 1);
    }
    write_eighths(words, less, scales, y);
}

INLINE void iq1_m(const u8 *restrict b, float *restrict y, const u8 *restrict book) {
    uint64_t words[32];
    u8 less[32];
    float scales[32];
    uint32_t spread = 0;
    EACH(k, 4) spread |= (uint32_t)(u16_at(b + 48 + 2 * k) >> 12) << 4 * k;
    float d = of_half((uint16_t)spread);
    EACH(k, 32) {
        uint32_t high = (uint32_t)b[32 + k / 2] >> k % 2 * 4;
        words[k] = eight(book, b[k] | (high & 7) << 8);
        less[k] = (u8)(high >> 3 & 1);
        scales[k] = d * (float)(2 * (u16_at(b + 48 + k / 8 * 2) >> k / 2 % 4 * 3 & 7) + 1);
    }
    write_eighths(words, less, scales, y);
}

/* For each type: ggml's number, name, values of a block, its bytes, and the bytes of its code book. */
#define PLAIN_TYPES(OF) \
    OF(2, q4_0, 32, 18, 0) OF(3, q4_1, 32, 20, 0) OF(6, q5_0, 32, 22, 0) OF(7, q5_1, 32, 24, 0) \
    OF(8, q8_0, 32, 34, 0) OF(10, q2_k, 256, 84, 0) OF(11, q3_k, 256, 110, 0) OF(12, q4_k, 256, 144, 0) \
    OF(13, q5_k, 256, 176, 0) OF(14, q6_k, 256, 210, 0) OF(20, iq4_nl, 32, 18, 0) OF(23, iq4_xs, 256, 136, 0) \
    OF(34, tq1_0, 256, 54, 0) OF(35, tq2_0, 256, 66, 0) OF(39, mxfp4, 32, 17, 0) OF(40, nvfp4, 64, 36, 0)
#define BOOK_TYPES(OF) \
    OF(16, iq2_xxs, 256, 66, 256 * 8) OF(17, iq2_xs, 256, 74, 512 * 8) OF(18, iq3_xxs, 256, 98, 256 * 4) \
    OF(19, iq1_s, 256, 50, 2048 * 8) OF(21, iq3_s, 256, 110, 512 * 4) OF(22, iq2_s, 256, 82, 1024 * 8) \
    OF(29, iq1_m, 256, 56, 2048 * 8)

INLINE void narrow(int dtype, const float *y, int count, uint16_t *out)
{
    if (dtype == FLOAT16)
        EACH(i, count) out[i] = to_float16(y[i]);
    else
        EACH(i, count) out[i] = to_bfloat16(y[i]);
}

#define BLOCKS(name, values, size, decode) \
    static void blocks_of_##name(struct blocks s) \
    { \
        const u8 *b = s.packed, *book = s.book; \
        (void)book; \
        if (s.dtype == FLOAT32) { \
            float *y = s.out; \
            for (int64_t n = 0; n < s.count; n++, b += size, y += values) \
                decode; \
            return; \
        } \
        uint16_t *out = s.out; \
        for (int64_t n = 0; n < s.count; n++, b += size, out += values) { \
            float y[values]; \
            decode; \
            narrow(s.dtype, y, values, out); \
        } \
    }
#define PLAIN_BLOCKS(number, name, values, size, book_size) BLOCKS(name, values, size, name(b, y))
#define BOOK_BLOCKS(number, name, values, size, book_size) BLOCKS(name, values, size, name(b, y, book))
PLAIN_TYPES(PLAIN_BLOCKS)
BOOK_TYPES(BOOK_BLOCKS)

#define ENTRY(number, name, values, size, book_size) {number, values, size, book_size, blocks_of_##name},
static const struct {
    int type, values, size, book_size;
    void (*decode)(struct blocks);
} TYPES[] = {PLAIN_TYPES(ENTRY) BOOK_TYPES(ENTRY)};

int NAME(dequantize)(int type, struct blocks s, int64_t size, int64_t book_size, int64_t values)
{
    for (size_t k = 0; k < sizeof TYPES / sizeof *TYPES; k++) {
        if (TYPES[k].type != type)
            continue;
        s.count = size / TYPES[k].size;
        if (size % TYPES[k].size || values != s.count * TYPES[k].values || book_size != TYPES[k].book_size)
            return 0;
        TYPES[k].decode(s);
        return 1;
    }
    return 0;
}
