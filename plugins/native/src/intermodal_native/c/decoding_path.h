/* What `decoding.c` asks of the path that the processor has. */
#pragma once

#include "vector.h"

enum { MOST_KEYS = 256 }; /* that are attended to at a time: their scores stay in the first cache */

struct norm {
    const float *x;
    const void *weight;
    float *y;
    int64_t width;
    int dtype, offset;
    float epsilon;
};

/* At most MOST_KEYS keys of one head, with their values, and the queries that attend to them; each `width` floats. */
struct keys {
    const float *queries, *keys, *values;
    const uint8_t *seen; /* a byte a key, or NULL where all are seen */
    float *found;        /* a query: its highest score, the sum of its weights, and its sum of weighted values */
    int64_t queries_count, keys_count, width;
    int64_t step; /* from what is found of one query to that of the next */
    float scale;
};

#define DECLARE(path) \
    void norm_##path(struct norm s, int64_t first, int64_t last); \
    void rotate_##path(const float *x, const float *cosines, const float *sines, float *y, int64_t rows, int64_t width); \
    void gate_##path(int activation, const float *gate, const float *up, float *y, int64_t count); \
    void attend_##path(struct keys s); \
    void merge_##path(const float *found, int64_t parts, int64_t width, float *y);
DECLARE(baseline)
DECLARE(avx2)
DECLARE(avx512)
