/* What `decoding.c` asks of the path that the processor has. */
#pragma once

#include "vector.h"

struct norm {
    const float *x;
    const void *weight;
    float *y;
    int64_t width;
    int dtype, offset;
    float epsilon;
};

#define DECLARE(path) \
    void norm_##path(struct norm s, int64_t first, int64_t last); \
    void rotate_##path(const float *x, const float *cosines, const float *sines, float *y, int64_t rows, int64_t width);
DECLARE(baseline)
DECLARE(avx2)
DECLARE(avx512)
