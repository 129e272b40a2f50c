/* Products with whole weights: divides their rows between the threads, and gives each to the processor's own path. */
#include "products_path.h"

enum { SHARES = 2 };              /* chunks for each thread, so that one that is held up has less to do */
enum { LEAST_BYTES = 16 << 10 };  /* of weights in a chunk: long enough for the prefetcher */
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
    int64_t chunk_bytes;
};

/* Rows of a weight that one thread multiplies at a time. */
static int64_t rows_of_chunk(const struct product *p, const struct matrix *w)
{
    if (p->m >= MANY)
        return PANEL_ROWS;
    int64_t rows = p->chunk_bytes / (w->columns * BYTES[w->dtype] + 1);
    return rows / 4 * 4 + 4;
}

static int64_t chunks_of(const struct product *p, const struct matrix *w)
{
    int64_t rows = rows_of_chunk(p, w);
    return (w->rows + rows - 1) / rows;
}

static void multiply_chunk(void *context, int64_t chunk)
{
    const struct product *p = context;
    const struct matrix *w = p->weights;
    for (; chunk >= chunks_of(p, w); w++)
        chunk -= chunks_of(p, w);
    int64_t rows = rows_of_chunk(p, w), first = chunk * rows;
    struct span s = {p->x, w->data, w->scale, p->y[w - p->weights], p->m, w->rows, w->columns, first, first + rows};
    if (s.last > w->rows)
        s.last = w->rows;
    (p->m >= MANY ? PANELS : PRODUCT)[native_path()](w->dtype, s);
}

EXPORT void native_product(const float *x, int64_t m, const struct matrix *w, int count, float *const *y)
{
    struct product p = {x, w, y, m, 0};
    int64_t bytes = 0, chunks = 0;
    for (int i = 0; i < count; i++)
        bytes += w[i].rows * w[i].columns * BYTES[w[i].dtype];
    p.chunk_bytes = bytes / (SHARES * native_threads());
    if (p.chunk_bytes < LEAST_BYTES)
        p.chunk_bytes = LEAST_BYTES;
    for (int i = 0; i < count; i++)
        chunks += chunks_of(&p, &w[i]);
    native_parallel(multiply_chunk, &p, chunks);
}
