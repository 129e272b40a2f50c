/* Products of a weight with many rows of float32. Compiled once for each set of instructions.

   The rows of x are transposed into panels, once for all weights and threads: a panel has the first elements of some
   rows side by side, then their second ones. Each element of TALL rows of the weight is spread over a vector and meets
   a column of a panel, which stays in the second cache. Nothing is summed across a vector, which is what makes the
   products of `products_path.c` slow where there are many. */
#include "products_path.h"

#include <stddef.h>

#if LANES == 16
enum { VECTORS = 2, TALL = 12 }; /* 24 sums, 2 of the panel, 1 of the weight: 27 of 32 registers */
#else
enum { VECTORS = 3, TALL = 4 }; /* 12 + 3 + 1 of 16 */
#endif
enum { PANEL = VECTORS * LANES, LOW = 4, DEEP = 2048 };
enum { CACHE_LINE = 64, BLOCK = 16 }; /* bytes, and as many elements */

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* The vectors of a panel that begins with row `line` of m. */
static int vectors_of(int64_t line, int64_t m)
{
    return (int)least(VECTORS, (m - line + LANES - 1) / LANES);
}

/* Up to four rows transposed into four neighbouring places of a panel; zeros stand for rows that there are not. */
static void pack4(const float *x, int64_t rows, int64_t k, float *panel, int64_t width, int64_t columns)
{
    int64_t at = 0;
    if (rows >= 4)
        for (; at + 4 <= columns; at += 4)
            transpose4(x + at, k, panel + at * width, width);
    for (; at < columns; at++)
        for (int64_t i = 0; i < 4; i++)
            panel[at * width + i] = i < rows ? x[i * k + at] : 0;
}

void NAME(pack)(const float *x, int64_t m, int64_t k, float *packed)
{
    for (int64_t line = 0; line < m; line += PANEL) {
        int64_t width = vectors_of(line, m) * LANES;
        for (int64_t at = 0; at < k; at += BLOCK) /* so that a panel's cache lines are filled at once */
            for (int64_t i = 0; i < width; i += 4)
                pack4(x + (line + i) * k + at, m - line - i, k, packed + line * k + at * width + i, width,
                      least(BLOCK, k - at));
    }
}

/* Elements `from` to `from + depth - 1` of a row, in float32. */
INLINE void widen(const int dtype, float *to, const void *row, int64_t from, int64_t depth)
{
    int64_t at = 0;
    for (; at + LANES <= depth; at += LANES)
        store(to + at, load(dtype, row, from + at));
    if (at < depth) {
        vec rest = load_part(dtype, row, from + at, depth - at);
        memcpy(to + at, &rest, (size_t)(depth - at) * sizeof *to);
    }
}

/* The same of a row in groups; DEEP is a multiple of what any group has. */
static void widen_in_groups(const struct matrix *w, float *to, int64_t row, int64_t from, int64_t depth)
{
    struct matrix part = *w;
    int64_t group = w->columns / w->groups, first = row * w->groups + from / group;
    part.data = (const char *)w->data + first * (w->dtype == INT4 ? group / 2 : group);
    part.scale = (const char *)w->scale + first * BYTES[w->scale_dtype];
    part.minimum = w->minimum ? (const char *)w->minimum + first * BYTES[w->scale_dtype] : NULL;
    part.rows = 1, part.columns = depth, part.groups = depth / group;
    NAME(widen_groups)(to, &part, 0);
}

static void widen_row(int dtype, struct span s, float *to, int64_t row, int64_t from, int64_t depth)
{
    const char *line = (const char *)s.weight + row * s.k * BYTES[dtype];
    if (s.groups)
        widen_in_groups(s.groups, to, row, from, depth);
    else
        switch (dtype) {
        case FLOAT32: widen(FLOAT32, to, line, from, depth); break;
        case BFLOAT16: widen(BFLOAT16, to, line, from, depth); break;
        case FLOAT16: widen(FLOAT16, to, line, from, depth); break;
        case INT8: widen(INT8, to, line, from, depth); break;
        }
}

/* What is asked of memory while a tile is computed, of the weight and of x: cache lines from there on for every BLOCK
   columns. The processor itself would only ask for it when it is needed at once. */
struct ahead {
    const char *weight, *x;
    int64_t weight_lines, x_lines;
};

/* `tall` rows of a weight, `step` apart, times a panel of `wide` vectors. */
INLINE void tile(const int tall, const int wide, float *out, const float *weight, int64_t step, const float *panel,
                 int64_t depth, struct ahead next)
{
    vec sums[TALL][VECTORS];
#pragma GCC unroll 12
    for (int i = 0; i < tall; i++)
#pragma GCC unroll 3
        for (int j = 0; j < wide; j++)
            sums[i][j] = (vec){0};
    for (int64_t block; depth; depth -= block) {
        block = least(depth, BLOCK);
        for (int64_t i = 0; i < next.weight_lines; i++, next.weight += CACHE_LINE)
            __builtin_prefetch(next.weight, 0, 2);
        for (int64_t i = 0; i < next.x_lines; i++, next.x += CACHE_LINE)
            __builtin_prefetch(next.x, 0, 2);
        for (const float *end = weight + block; weight < end; weight++, panel += wide * LANES) {
            vec columns[VECTORS];
#pragma GCC unroll 3
            for (int j = 0; j < wide; j++)
                columns[j] = load(FLOAT32, panel, j * LANES);
#pragma GCC unroll 12
            for (int i = 0; i < tall; i++)
#pragma GCC unroll 3
                for (int j = 0; j < wide; j++)
                    sums[i][j] += weight[i * step] * columns[j];
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < tall; i++)
#pragma GCC unroll 3
        for (int j = 0; j < wide; j++)
            store(out + i * PANEL + j * LANES, sums[i][j]);
}

/* Functions of their own, so that the compiler keeps each one's sums in registers. */
#define ARGUMENTS float *out, const float *weight, int64_t step, const float *panel, int64_t depth, struct ahead next
#define TILE(name, tall, wide) \
    static __attribute__((noinline)) void name(ARGUMENTS) \
    { \
        tile(tall, wide, out, weight, step, panel, depth, next); \
    }
typedef void multiply(ARGUMENTS);
TILE(low_1, LOW, 1)
TILE(low_2, LOW, 2)
#if LANES == 16
TILE(tall_1, TALL, 1)
TILE(tall_2, TALL, 2)
static multiply *const LOW_TILES[] = {NULL, low_1, low_2}, *const TALL_TILES[] = {NULL, tall_1, tall_2}; /* by vectors */
#else
TILE(low_3, LOW, 3)
static multiply *const LOW_TILES[] = {NULL, low_1, low_2, low_3}, *const *TALL_TILES = LOW_TILES; /* by vectors */
#endif

/* Sums of `rows` rows of a weight and `lines` rows of x into y, or added to what is there. */
static void put(const float *sums, struct span s, int64_t row, int64_t rows, int64_t line, int64_t lines, int first)
{
    for (int64_t j = 0; j < lines; j += 4)
        for (int64_t i = 0; i < rows; i += 4) {
            const float *from = sums + i * PANEL + j;
            float *y = s.y + (line + j) * s.n + row - s.first + i, block[4][4];
            if (first && i + 4 <= rows && j + 4 <= lines) {
                transpose4(from, PANEL, y, s.n);
                continue;
            }
            transpose4(from, PANEL, block[0], 4);
            for (int64_t b = 0; b < least(4, lines - j); b++)
                for (int64_t a = 0; a < least(4, rows - i); a++)
                    y[b * s.n + a] = first ? block[b][a] : y[b * s.n + a] + block[b][a];
        }
}

/* Columns `from` on of the weight's rows, times the panel with row `line` of x. Rows to be widened are, for the first. */
static void times_panel(int dtype, struct span s, float *wide, int64_t line, int64_t from, int64_t depth)
{
    float sums[TALL * PANEL] __attribute__((aligned(64)));
    int vectors = vectors_of(line, s.m);
    int64_t lines = least(PANEL, s.m - line), bytes = s.k * BYTES[dtype];
    const float *panel = s.x + line * s.k + from * vectors * LANES;
    /* The panel behind this one, or the first again, of which each tile asks for a share of the columns. */
    int64_t line_behind = line + PANEL < s.m ? line + PANEL : 0, after = vectors_of(line_behind, s.m);
    const float *behind = s.x + line_behind * s.k + from * after * LANES;
    int64_t tiles = (s.last - s.first + TALL - 1) / TALL, share = (depth + tiles - 1) / tiles;
    for (int64_t j = 0; j < lines; j++)
        for (int64_t at = 0; at < s.last - s.first; at += CACHE_LINE / 4)
            __builtin_prefetch(s.y + (line + j) * s.n + at, 1, 2);
    for (int64_t row = s.first, rows; row < s.last; row += rows) {
        rows = s.last - row < TALL ? least(LOW, s.last - row) : TALL;
        const char *stored = (const char *)s.weight + row * bytes;
        const float *weight = (const float *)stored + from;
        if (wide) {
            weight = wide + (row - s.first) * DEEP;
            for (int64_t i = 0; i < rows && line == 0; i++)
                widen_row(dtype, s, wide + (row - s.first + i) * DEEP, row + i, from, depth);
        }
        int64_t group = (row - s.first) / TALL * share;
        struct ahead next = {
            stored + rows * bytes,
            (const char *)(behind + least(group, depth) * after * LANES),
            line == 0 && row + rows < s.last ? rows * BYTES[dtype] / 4 : 0,
            (after * share * LANES * 4 + CACHE_LINE - 1) / CACHE_LINE * BLOCK / depth,
        };
        (rows > LOW ? TALL_TILES : LOW_TILES)[vectors](sums, weight, wide ? DEEP : s.k, panel, depth, next);
        if (s.scale)
            for (int64_t i = 0; i < rows; i++)
                for (int64_t j = 0; j < PANEL; j++)
                    sums[i * PANEL + j] *= s.scale[row + i];
        put(sums, s, row, rows, line, lines, from == 0);
    }
}

void NAME(panels)(int dtype, struct span s)
{
    static _Thread_local float wide[PANEL_ROWS * DEEP] __attribute__((aligned(64)));
    int as_stored = dtype == FLOAT32 && !s.groups && (s.last - s.first) % LOW == 0; /* tiles read no row that there is not */
    for (int64_t from = 0; from < s.k; from += DEEP)
        for (int64_t line = 0; line < s.m; line += PANEL)
            times_panel(dtype, s, as_stored ? NULL : wide, line, from, least(DEEP, s.k - from));
}
