/* What `products.c` asks of the path that the processor has. */
#pragma once

#include "vector.h"

/* Rows `first` to `last - 1` of a weight (n, k), times x (m, k), into those columns of y (m, n). */
struct span {
    const float *x;
    const void *weight;
    const float *scale;
    float *y;
    int64_t m, n, k, first, last;
};

void product_baseline(int dtype, struct span s);
void product_avx2(int dtype, struct span s);
void product_avx512(int dtype, struct span s);

/* The same, faster where x has many rows. */
void panels_baseline(int dtype, struct span s);
void panels_avx2(int dtype, struct span s);
void panels_avx512(int dtype, struct span s);
