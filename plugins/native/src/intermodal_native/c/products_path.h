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

/* The same, faster where x has many rows, which `pack` has put into panels before: as many rows as there are, rounded
   up to PACK_ROUND, and PACK_UNIT of them on their own. They take up to CHUNK_ROWS rows of a weight. */
enum { PACK_UNIT = 96, PACK_ROUND = 16, CHUNK_ROWS = 48 };
void pack_baseline(const float *x, int64_t m, int64_t k, float *packed);
void pack_avx2(const float *x, int64_t m, int64_t k, float *packed);
void pack_avx512(const float *x, int64_t m, int64_t k, float *packed);
void panels_baseline(int dtype, struct span s);
void panels_avx2(int dtype, struct span s);
void panels_avx512(int dtype, struct span s);
