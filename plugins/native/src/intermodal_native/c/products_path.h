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

/* Rows of x above which `panels` is the faster one; `multiply_span` chooses. */
enum { MANY = 96 };
enum { PANEL_ROWS = 48 }; /* a multiple of what every path puts into a panel */
void multiply_span(int dtype, struct span s);

/* Rows `first` to `last - 1` of a weight in groups times x (m, columns), into those columns of y (m, rows). */
void multiply_groups(const float *x, int64_t m, const struct matrix *w, float *y, int64_t first, int64_t last);

/* One row of a weight in groups: times x (columns), and in float32. */
float dot_groups_baseline(const float *x, const struct matrix *w, int64_t row);
float dot_groups_avx2(const float *x, const struct matrix *w, int64_t row);
float dot_groups_avx512(const float *x, const struct matrix *w, int64_t row);
void widen_groups_baseline(float *to, const struct matrix *w, int64_t row);
void widen_groups_avx2(float *to, const struct matrix *w, int64_t row);
void widen_groups_avx512(float *to, const struct matrix *w, int64_t row);
