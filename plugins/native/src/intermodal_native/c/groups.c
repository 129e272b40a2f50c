/* Products of weights in groups: a row of x meets them as they are stored, several rows meet a few of them widened. Where
   x is in panels, `panels_path.c` widens them. */
#include <stdlib.h>

#include "products_path.h"

enum { FEW_ROWS = 16 }; /* of a weight that are widened at a time for few rows of x: they stay in the caches */

typedef float dot(const float *x, const struct matrix *w, int64_t row);
typedef void widen(float *to, const struct matrix *w, int64_t row);

#if defined(__x86_64__)
static dot *const DOT[PATHS] = {dot_groups_baseline, dot_groups_avx2, dot_groups_avx512};
static widen *const WIDEN[PATHS] = {widen_groups_baseline, widen_groups_avx2, widen_groups_avx512};
#else
static dot *const DOT[PATHS] = {dot_groups_baseline};
static widen *const WIDEN[PATHS] = {widen_groups_baseline};
#endif

void multiply_groups(const float *x, int64_t m, const struct matrix *w, float *y, int64_t n, int64_t first, int64_t last)
{
    const int path = native_path();
    const int64_t k = w->columns;
    float *wide = m > 1 ? aligned_alloc(64, (size_t)(FEW_ROWS * k) * sizeof *wide) : NULL;
    if (!wide) { /* nor is it needed: each row of x by itself is only slower */
        for (int64_t row = first; row < last; row++)
            for (int64_t line = 0; line < m; line++)
                y[line * n + row - first] = DOT[path](x + line * k, w, row);
        return;
    }
    for (int64_t row = first; row < last; row += FEW_ROWS) {
        int64_t count = last - row < FEW_ROWS ? last - row : FEW_ROWS;
        for (int64_t i = 0; i < count; i++)
            WIDEN[path](wide + i * k, w, row + i);
        struct span s = {.x = x, .weight = wide, .y = y + row - first, .m = m, .n = n, .k = k, .last = count};
        multiply_span(FLOAT32, s);
    }
    free(wide);
}
