/* What `attention.c` asks of the path that the processor has. */
#pragma once

#include "vector.h"

enum { QUERIES = 48 }; /* that attend together: a multiple of what every path holds in its vectors */

/* Queries `from` to `to - 1` of one row and group, numbered token by token, head by head; and the keys `low` to `high - 1`,
   outside of which none of them sees any that this part is about. */
struct part {
    const struct attention *a;
    int64_t row, group, from, to, low, high;
    float *memory; /* of `part_memory` floats, at a multiple of 64 bytes */
    float *found;  /* a query: its highest score, the sum of its weights, and its sum of weighted values; NULL: its
                      values go to y, divided by that sum */
    int64_t step;  /* from what is found of one query to that of the next */
};

/* Elements of a head, and zeros up to a multiple of four. */
static inline int64_t deep_of(int64_t width)
{
    return (width + 3) / 4 * 4;
}

static inline int64_t part_memory(int64_t width)
{
    return deep_of(width) * (2 * QUERIES + 4);
}

/* The row of a token. */
static inline int64_t row_of(const struct attention *a, int64_t token)
{
    return a->rows ? a->rows[token] : token / (a->tokens / a->batch);
}

/* The last key that a token sees. */
static inline int64_t last_of(const struct attention *a, int64_t token)
{
    return a->last ? a->last[token] : a->slots[token];
}

#define DECLARE(path) \
    void attend_##path(const struct part *p); \
    void append_##path(const struct attention *a, int64_t token); \
    void merge_##path(const float *found, int64_t parts, int64_t width, float *y);
DECLARE(baseline)
DECLARE(avx2)
DECLARE(avx512)
#undef DECLARE
