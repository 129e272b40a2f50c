/* Products of a weight with many rows of float32. Compiled once for each set of instructions.

   PANEL rows of the weight are widened and transposed into a panel that stays in the caches while all rows of x go by,
   TALL at a time: each element of x is spread over a vector and meets a column of the panel. Nothing is summed across a
   vector, which is what makes the products of `products_path.c` slow where there are many. */
#include "products_path.h"

#if LANES == 16
enum { VECTORS = 3, TALL = 8 }; /* 24 sums, 3 of the panel, 1 of x: 28 of 32 registers */
#else
enum { VECTORS = 2, TALL = 6 }; /* 12 + 2 + 1 of 16 */
#endif
enum { PANEL = VECTORS * LANES, DEEP = 1024, STRIP = 64 };

/* Up to STRIP elements of a row, from `at` on, in float32. */
INLINE void widen(const int dtype, float *strip, const void *line, int64_t at, int64_t width)
{
    int64_t i = 0;
    for (; i + LANES <= width; i += LANES)
        store(strip + i, load(dtype, line, at + i));
    if (i < width)
        store(strip + i, load_part(dtype, line, at + i, width - i));
}

/* Columns `from` to `from + depth - 1` of `count` rows, one after the other: PANEL elements each. */
static void fill(int dtype, float *panel, struct span s, int64_t row, int64_t count, int64_t from, int64_t depth)
{
    static const float NONE[PANEL][STRIP];
    float strip[PANEL][STRIP];
    memcpy(strip, NONE, sizeof strip);
    for (int64_t at = from; at < from + depth; at += STRIP) {
        int64_t width = from + depth - at < STRIP ? from + depth - at : STRIP;
        for (int64_t i = 0; i < count; i++) {
            const char *line = (const char *)s.weight + (row + i) * s.k * BYTES[dtype];
            switch (dtype) {
            case FLOAT32: widen(FLOAT32, strip[i], line, at, width); break;
            case BFLOAT16: widen(BFLOAT16, strip[i], line, at, width); break;
            case FLOAT16: widen(FLOAT16, strip[i], line, at, width); break;
            case INT8: widen(INT8, strip[i], line, at, width); break;
            }
        }
        for (int64_t j = 0; j < width; j += 4, panel += 4 * PANEL)
            for (int64_t i = 0; i < PANEL; i += 4)
                transpose4(&strip[i][j], STRIP, panel + i, PANEL);
    }
}

/* Rows `line` to `line + tall - 1` of x, columns `from` on, times a panel: PANEL sums for each row. */
INLINE void tile(const int tall, float *out, struct span s, const float *panel, int64_t line, int64_t from, int64_t depth)
{
    vec sums[TALL][VECTORS];
    const float *x = s.x + line * s.k + from;
#pragma GCC unroll 8
    for (int i = 0; i < tall; i++)
#pragma GCC unroll 3
        for (int j = 0; j < VECTORS; j++)
            sums[i][j] = (vec){0};
    for (; depth; depth--, x++, panel += PANEL) {
        vec columns[VECTORS];
#pragma GCC unroll 3
        for (int j = 0; j < VECTORS; j++)
            columns[j] = load(FLOAT32, panel, j * LANES);
#pragma GCC unroll 8
        for (int i = 0; i < tall; i++)
#pragma GCC unroll 3
            for (int j = 0; j < VECTORS; j++)
                sums[i][j] += x[i * s.k] * columns[j];
    }
#pragma GCC unroll 8
    for (int i = 0; i < tall; i++)
#pragma GCC unroll 3
        for (int j = 0; j < VECTORS; j++)
            store(out + i * PANEL + j * LANES, sums[i][j]);
}

/* Functions of their own, so that the compiler keeps each one's sums in registers. */
static __attribute__((noinline)) void tall_tile(float *out, struct span s, const float *panel, int64_t line,
                                                int64_t from, int64_t depth)
{
    tile(TALL, out, s, panel, line, from, depth);
}

static __attribute__((noinline)) void flat_tile(float *out, struct span s, const float *panel, int64_t line,
                                                int64_t from, int64_t depth)
{
    tile(1, out, s, panel, line, from, depth);
}

/* Sums of `tall` rows into y, or added to what is there. */
static void put(const float *sums, int tall, struct span s, int64_t line, int64_t row, int64_t count, int first, int last)
{
    for (int i = 0; i < tall; i++, sums += PANEL) {
        float *y = s.y + (line + i) * s.n + row;
        for (int64_t j = 0; j < count; j++) {
            float total = first ? sums[j] : y[j] + sums[j];
            y[j] = s.scale && last ? total * s.scale[row + j] : total;
        }
    }
}

void NAME(panels)(int dtype, struct span s)
{
    static _Thread_local float panel[PANEL * (DEEP + 4)] __attribute__((aligned(64)));
    float sums[TALL * PANEL] __attribute__((aligned(64)));
    for (int64_t row = s.first; row < s.last; row += PANEL) {
        int64_t count = s.last - row < PANEL ? s.last - row : PANEL;
        for (int64_t from = 0; from < s.k; from += DEEP) {
            int64_t depth = s.k - from < DEEP ? s.k - from : DEEP;
            fill(dtype, panel, s, row, count, from, depth);
            for (int64_t line = 0; line < s.m;) {
                int tall = s.m - line < TALL ? 1 : TALL;
                (tall == 1 ? flat_tile : tall_tile)(sums, s, panel, line, from, depth);
                put(sums, tall, s, line, row, count, from == 0, from + depth == s.k);
                line += tall;
            }
        }
    }
}
