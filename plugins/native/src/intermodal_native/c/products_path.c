/* Products of some rows of a weight with rows of float32. Compiled once for each set of instructions.

   A tile of TALL rows of the weight and WIDE rows of x is summed at a time, each sum in a vector of its own: a weight is
   read and widened once for WIDE rows of x, and what is read again lies in the caches. */
#include "products_path.h"

#if LANES == 16
enum { TALL = 4, WIDE = 6 }; /* 24 sums, 4 weights and a row of x: 29 of 32 registers */
#else
enum { TALL = 4, WIDE = 2 }; /* 8 + 4 + 1 of 16 */
#endif

enum { CACHE_LINE = 64 };

/* LANES columns of a tile, added to its sums. */
INLINE void add_columns(const int dtype, const int tall, const int wide, vec sums[TALL][WIDE], struct span s,
                        const char *w, const float *x, int64_t at)
{
    vec weights[TALL];
#pragma GCC unroll 8
    for (int i = 0; i < tall; i++)
        weights[i] = load(dtype, w + i * s.k * BYTES[dtype], at);
#pragma GCC unroll 8
    for (int j = 0; j < wide; j++) {
        vec values = load(FLOAT32, x + j * s.k, at);
#pragma GCC unroll 8
        for (int i = 0; i < tall; i++)
            sums[i][j] += weights[i] * values;
    }
}

INLINE void tile(const int dtype, const int tall, const int wide, struct span s, int64_t row, int64_t column)
{
    vec sums[TALL][WIDE];
    const int bytes = BYTES[dtype];
    const char *w = (const char *)s.weight + row * s.k * bytes;
    const float *x = s.x + column * s.k;
    const int LINE = CACHE_LINE / bytes > LANES ? CACHE_LINE / bytes : LANES;
    int64_t at = 0;
#pragma GCC unroll 8
    for (int i = 0; i < tall; i++)
#pragma GCC unroll 8
        for (int j = 0; j < wide; j++)
            sums[i][j] = (vec){0};
    for (; at + LINE <= s.k; at += LINE) {
#pragma GCC unroll 8
        for (int i = 0; i < tall; i++) /* The next tile's. The processor itself follows one stream in a page of memory,
                                          and a page may hold all rows. */
            __builtin_prefetch(w + ((tall + i) * s.k + at) * bytes, 0, 2);
#pragma GCC unroll 4
        for (int step = 0; step < LINE; step += LANES)
            add_columns(dtype, tall, wide, sums, s, w, x, at + step);
    }
    for (; at + LANES <= s.k; at += LANES)
        add_columns(dtype, tall, wide, sums, s, w, x, at);
    if (at < s.k) {
#pragma GCC unroll 8
        for (int j = 0; j < wide; j++) {
            vec values = load_part(FLOAT32, x + j * s.k, at, s.k - at);
#pragma GCC unroll 8
            for (int i = 0; i < tall; i++)
                sums[i][j] += load_part(dtype, w + i * s.k * bytes, at, s.k - at) * values;
        }
    }
#pragma GCC unroll 8
    for (int j = 0; j < wide; j++) {
        float totals[TALL], *y = s.y + (column + j) * s.n + row - s.first;
        if (tall == TALL)
            sum4(totals, sums[0][j], sums[1][j], sums[2][j], sums[3][j]);
        else
            totals[0] = sum(sums[0][j]);
        for (int i = 0; i < tall; i++)
            y[i] = s.scale ? totals[i] * s.scale[row + i] : totals[i];
    }
}

/* All rows of x, in tiles of nearly the same width. */
INLINE void rows_of(const int dtype, struct span s, int64_t row)
{
    for (int64_t column = 0, tiles = (s.m + WIDE - 1) / WIDE; tiles; tiles--) {
        int64_t width = (s.m - column + tiles - 1) / tiles;
        switch (width) {
#if LANES == 16
        case 6: tile(dtype, TALL, 6, s, row, column); break;
        case 5: tile(dtype, TALL, 5, s, row, column); break;
        case 4: tile(dtype, TALL, 4, s, row, column); break;
        case 3: tile(dtype, TALL, 3, s, row, column); break;
#endif
        case 2: tile(dtype, TALL, 2, s, row, column); break;
        case 1: tile(dtype, TALL, 1, s, row, column); break;
        }
        column += width;
    }
}

INLINE void all_rows(const int dtype, struct span s)
{
    int64_t row = s.first;
    for (; row + TALL <= s.last; row += TALL)
        rows_of(dtype, s, row);
    for (; row < s.last; row++)
        for (int64_t column = 0; column < s.m; column++)
            tile(dtype, 1, 1, s, row, column);
}

enum { AHEAD = 8192 }; /* bytes, in which the memory answers; the processor by itself asks too late for narrow weights */

/* The same for one row of x: rows of the weight one after the other, so that all that is read is one stream. */
INLINE void one_row(const int dtype, struct span s, int64_t row, const char *end)
{
    enum { SUMS = 4 };
    const int64_t step = SUMS * LANES;
    const char *w = (const char *)s.weight + row * s.k * BYTES[dtype];
    vec sums[SUMS] = {{0}};
    int64_t at = 0;
    for (; at + step <= s.k; at += step) {
        for (int64_t next = at * BYTES[dtype]; next < (at + step) * BYTES[dtype]; next += CACHE_LINE) {
            const char *line = w + next + AHEAD;
            __builtin_prefetch(line < end ? line : end, 0, 2);
        }
#pragma GCC unroll 4
        for (int i = 0; i < SUMS; i++)
            sums[i] += load(dtype, w, at + i * LANES) * load(FLOAT32, s.x, at + i * LANES);
    }
    for (; at + LANES <= s.k; at += LANES)
        sums[0] += load(dtype, w, at) * load(FLOAT32, s.x, at);
    if (at < s.k)
        sums[1] += load_part(dtype, w, at, s.k - at) * load_part(FLOAT32, s.x, at, s.k - at);
    float total = sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
    s.y[row - s.first] = s.scale ? total * s.scale[row] : total;
}

INLINE void multiply(const int dtype, struct span s)
{
    if (s.m > 1) {
        all_rows(dtype, s);
        return;
    }
    const char *start = (const char *)s.weight + s.first * s.k * BYTES[dtype];
    const char *end = (const char *)s.weight + s.last * s.k * BYTES[dtype] - 1; /* what is behind is another thread's */
    for (const char *line = start; line < start + AHEAD && line < end; line += CACHE_LINE)
        __builtin_prefetch(line, 0, 2);
    for (int64_t row = s.first; row < s.last; row++)
        one_row(dtype, s, row, end);
}

void NAME(product)(int dtype, struct span s)
{
    switch (dtype) {
    case FLOAT32: multiply(FLOAT32, s); break;
    case BFLOAT16: multiply(BFLOAT16, s); break;
    case FLOAT16: multiply(FLOAT16, s); break;
    case INT8: multiply(INT8, s); break;
    }
}
