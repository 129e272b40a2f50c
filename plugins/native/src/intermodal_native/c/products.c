/* Products with whole weights: divides their rows between the threads, and gives each to the processor's own path. */
#include "products_path.h"

enum { SHARES = 2 };              /* chunks for each thread, so that one that is held up has less to do */
enum { LEAST_BYTES = 16 << 10 };  /* of weights in a chunk: long enough for the prefetcher */

typedef void multiply(int dtype, struct span s);

#if defined(__x86_64__)
static multiply *const PRODUCT[PATHS] = {product_baseline, product_avx2, product_avx512};
static multiply *const PANELS[PATHS] = {panels_baseline, panels_avx2, panels_avx512};
#else
static multiply *const PRODUCT[PATHS] = {product_baseline};
static multiply *const PANELS[PATHS] = {panels_baseline};
#endif

void multiply_span(int dtype, struct span s)
{
    (s.m >= MANY ? PANELS : PRODUCT)[native_path()](dtype, s);
}

struct product {
    const float *x;
    const struct matrix *weights;
    float *const *y;
    int64_t m;
    int64_t chunk_bytes;
};

static int64_t bytes_of_row(const struct matrix *w)
{
    return w->dtype == INT4 ? w->columns / 2 : w->columns * BYTES[w->dtype];
}

/* Rows of a weight that one thread multiplies at a time. */
static int64_t rows_of_chunk(const struct product *p, const struct matrix *w)
{
    if (p->m >= MANY)
        return PANEL_ROWS;
    int64_t rows = p->chunk_bytes / (bytes_of_row(w) + 1);
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
    int64_t rows = rows_of_chunk(p, w), first = chunk * rows, last = first + rows < w->rows ? first + rows : w->rows;
    float *y = p->y[w - p->weights];
    if (w->groups)
        multiply_groups(p->x, p->m, w, y, first, last);
    else
        multiply_span(w->dtype, (struct span){p->x, w->data, w->scale, y, p->m, w->rows, w->columns, first, last});
}

EXPORT void native_product(const float *x, int64_t m, const struct matrix *w, int count, float *const *y)
{
    struct product p = {x, w, y, m, 0};
    int64_t bytes = 0, chunks = 0;
    for (int i = 0; i < count; i++)
        bytes += w[i].rows * bytes_of_row(&w[i]);
    p.chunk_bytes = bytes / (SHARES * native_threads());
    if (p.chunk_bytes < LEAST_BYTES)
        p.chunk_bytes = LEAST_BYTES;
    for (int i = 0; i < count; i++)
        chunks += chunks_of(&p, &w[i]);
    native_parallel(multiply_chunk, &p, chunks);
}
