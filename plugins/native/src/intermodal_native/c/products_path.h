/* What `products.c` asks of the path that the processor has. */
#pragma once

#include "vector.h"

/* Rows `first` to `last - 1` of a weight (…, k), times x (m, k), into as many columns of y (m, n). */
struct span {
    const float *x;
    const void *weight;
    const float *scale;
    float *y; /* where the first of them goes */
    int64_t m, n, k, first, last;
    const struct matrix *groups; /* the weight and its scale, where it is in groups, or NULL */
    int packed;                  /* x is in panels */
};

void product_baseline(int dtype, struct span s);
void product_avx2(int dtype, struct span s);
void product_avx512(int dtype, struct span s);

/* The same for up to PANEL_ROWS rows of a weight, in groups or not, and an x in panels: faster where x has many rows. */
enum { PANEL_ROWS = 48 };
void panels_baseline(int dtype, struct span s);
void panels_avx2(int dtype, struct span s);
void panels_avx512(int dtype, struct span s);

/* Puts x (m, k) into panels: as many rows as there are, up to a multiple of PACK_ROUND, and PACK_UNIT of them apart. */
enum { PACK_UNIT = 96, PACK_ROUND = 16 };
void pack_baseline(const float *x, int64_t m, int64_t k, float *packed);
void pack_avx2(const float *x, int64_t m, int64_t k, float *packed);
void pack_avx512(const float *x, int64_t m, int64_t k, float *packed);

/* One of the two, by the processor's own path. */
void multiply_span(int dtype, struct span s);

/* Rows `first` to `last - 1` of a weight in groups times x (m, columns), into as many columns of y (m, n). */
void multiply_groups(const float *x, int64_t m, const struct matrix *w, float *y, int64_t n, int64_t first, int64_t last);

/* One row of a weight in groups: times x (columns), and in float32. */
float dot_groups_baseline(const float *x, const struct matrix *w, int64_t row);
float dot_groups_avx2(const float *x, const struct matrix *w, int64_t row);
float dot_groups_avx512(const float *x, const struct matrix *w, int64_t row);
void widen_groups_baseline(float *to, const struct matrix *w, int64_t row);
void widen_groups_avx2(float *to, const struct matrix *w, int64_t row);
void widen_groups_avx512(float *to, const struct matrix *w, int64_t row);
