/* What `products.c` does with sums as soon as they are there, by the path that the processor has. */
#pragma once

#include "vector.h"

/* Columns of y (m, n), `count` of them; each row is `step` behind the one before. The order is that of the fields. */
struct finish {
    float *y;
    int64_t m, count, step;
    const void *bias; /* (count,), or NULL */
    int bias_dtype, activation;
    const float *times; /* (m, count) without gaps, or NULL */
    const float *residual; /* as y, or NULL */
};

#define DECLARE(path) void finish_##path(struct finish f);
DECLARE(baseline)
DECLARE(avx2)
DECLARE(avx512)
#undef DECLARE
