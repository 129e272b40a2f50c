/* Products with whole weights: divides their rows between the threads, and gives each to the processor's own path. */
#include "products_path.h"

#include <stdlib.h>

enum { SHARES = 2 };             /* chunks for each thread, so that one that is held up has less to do */
enum { LEAST_BYTES = 16 << 10 }; /* of weights in a chunk: long enough for the prefetcher */
enum { MANY = 16 };              /* rows of x from which on it is worth rewriting into panels */
enum { PART = 192 };             /* rows of them that one thread multiplies at a time; a multiple of PACK_UNIT */
enum { MOST_PACKED = 1 << 21 };  /* elements of x that are in panels at a time */

typedef void multiply(int dtype, struct span s);
typedef void pack(const float *x, int64_t m, int64_t k, float *packed);

#if defined(__x86_64__)
static multiply *const PRODUCT[PATHS] = {product_baseline, product_avx2, product_avx512};
static multiply *const PANELS[PATHS] = {panels_baseline, panels_avx2, panels_avx512};
static pack *const PACK[PATHS] = {pack_baseline, pack_avx2, pack_avx512};
#else
static multiply *const PRODUCT[PATHS] = {product_baseline};
static multiply *const PANELS[PATHS] = {panels_baseline};
static pack *const PACK[PATHS] = {pack_baseline};
#endif

struct product {
    const float *x; /* in panels where `packed` is there */
    float *packed;
    const struct matrix *weights;
    float *const *y;
    int64_t m, line; /* rows of x, and where they begin in y */
    int64_t chunk_bytes;
};

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Rows of a weight that one thread multiplies at a time. */
static int64_t rows_of_chunk(const struct product *p, const struct matrix *w)
{
    if (p->packed)
        return CHUNK_ROWS;
    int64_t rows = p->chunk_bytes / (w->columns * BYTES[w->dtype] + 1);
    return rows / 4 * 4 + 4;
}

/* Rows of x at that time. */
static int64_t lines_of_chunk(const struct product *p)
{
    return p->packed ? PART : p->m;
}

static int64_t chunks_of(const struct product *p, const struct matrix *w)
{
    int64_t rows = rows_of_chunk(p, w), lines = lines_of_chunk(p);
    return (w->rows + rows - 1) / rows * ((p->m + lines - 1) / lines);
}

static void multiply_chunk(void *context, int64_t chunk)
{
    const struct product *p = context;
    const struct matrix *w = p->weights;
    for (; chunk >= chunks_of(p, w); w++)
        chunk -= chunks_of(p, w);
    int64_t rows = rows_of_chunk(p, w), lines = lines_of_chunk(p), parts = (p->m + lines - 1) / lines;
    int64_t first = chunk / parts * rows, line = chunk % parts * lines;
    struct span s = {
        (p->packed ? p->packed : p->x) + line * w->columns,
        w->data,
        w->scale,
        p->y[w - p->weights] + (p->line + line) * w->rows,
        least(lines, p->m - line),
        w->rows,
        w->columns,
        first,
        least(first + rows, w->rows),
    };
    (p->packed ? PANELS : PRODUCT)[native_path()](w->dtype, s);
}

static void pack_chunk(void *context, int64_t chunk)
{
    const struct product *p = context;
    int64_t k = p->weights->columns, line = chunk * PACK_UNIT;
    PACK[native_path()](p->x + (p->line + line) * k, least(PACK_UNIT, p->m - line), k, p->packed + line * k);
}

static void multiply_all(struct product *p, int count)
{
    int64_t chunks = 0;
    for (int i = 0; i < count; i++)
        chunks += chunks_of(p, &p->weights[i]);
    native_parallel(multiply_chunk, p, chunks);
}

/* Some of x's rows at a time; returns 0 where there is no memory for their panels. */
static int multiply_panels(struct product p, int count)
{
    int64_t k = p.weights->columns, m = p.m;
    int64_t most = least(m, MOST_PACKED / (k + 1) / PACK_UNIT * PACK_UNIT + PACK_UNIT);
    size_t bytes = (size_t)((most + PACK_ROUND) * k) * sizeof *p.packed;
    p.packed = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!p.packed)
        return 0;
    for (; p.line < m; p.line += p.m) {
        p.m = least(most, m - p.line);
        native_parallel(pack_chunk, &p, (p.m + PACK_UNIT - 1) / PACK_UNIT);
        multiply_all(&p, count);
    }
    free(p.packed);
    return 1;
}

EXPORT void native_product(const float *x, int64_t m, const struct matrix *w, int count, float *const *y)
{
    struct product p = {.x = x, .weights = w, .y = y, .m = m};
    if (m >= MANY && multiply_panels(p, count))
        return;
    int64_t bytes = 0;
    for (int i = 0; i < count; i++)
        bytes += w[i].rows * w[i].columns * BYTES[w[i].dtype];
    p.chunk_bytes = bytes / (SHARES * native_threads());
    if (p.chunk_bytes < LEAST_BYTES)
        p.chunk_bytes = LEAST_BYTES;
    multiply_all(&p, count);
}
