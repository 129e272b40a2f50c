/* Products with whole weights: divides their rows between the threads, and gives each to the processor's own path. */
#include "products_path.h"

enum { CHUNK_BYTES = 256 << 10 }; /* of weights: long enough for the prefetcher, short enough to share out evenly */
enum { MANY = 48 };               /* rows of x from which on a weight is worth rewriting into panels */
enum { PANEL_ROWS = 48 };         /* a multiple of what every path puts into a panel */

typedef void multiply(int dtype, struct span s);

#if defined(__x86_64__)
static multiply *const PRODUCT[PATHS] = {product_baseline, product_avx2, product_avx512};
static multiply *const PANELS[PATHS] = {panels_baseline, panels_avx2, panels_avx512};
#else
static multiply *const PRODUCT[PATHS] = {product_baseline};
static multiply *const PANELS[PATHS] = {panels_baseline};
#endif

struct product {
    const float *x;
    const struct matrix *weights;
    float *const *y;
    int64_t m;
    int count;
};

/* Rows of a weight that one thread multiplies at a time. */
static int64_t rows_of_chunk(const struct matrix *w, int64_t m)
{
    if (m >= MANY)
        return PANEL_ROWS;
    int64_t rows = CHUNK_BYTES / (w->columns * BYTES[w->dtype] + 1);
    return rows < 4 ? 4 : rows / 4 * 4;
}

static int64_t chunks_of(const struct matrix *w, int64_t m)
{
    int64_t rows = rows_of_chunk(w, m);
    return (w->rows + rows - 1) / rows;
}

static void multiply_chunk(void *context, int64_t chunk)
{
    const struct product *p = context;
    int i = 0;
    for (; chunk >= chunks_of(&p->weights[i], p->m); i++)
        chunk -= chunks_of(&p->weights[i], p->m);
    const struct matrix *w = &p->weights[i];
    int64_t rows = rows_of_chunk(w, p->m), first = chunk * rows;
    struct span s = {p->x, w->data, w->scale, p->y[i], p->m, w->rows, w->columns, first, first + rows};
    if (s.last > w->rows)
        s.last = w->rows;
    (p->m >= MANY ? PANELS : PRODUCT)[native_path()](w->dtype, s);
}

EXPORT void native_product(const float *x, int64_t m, const struct matrix *w, int count, float *const *y)
{
    struct product p = {x, w, y, m, count};
    int64_t chunks = 0;
    for (int i = 0; i < count; i++)
        chunks += chunks_of(&w[i], m);
    native_parallel(multiply_chunk, &p, chunks);
}
