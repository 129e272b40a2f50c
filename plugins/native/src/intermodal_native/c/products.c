/* Products with whole weights: divides their rows between the threads, and gives each to the processor's own path. */
#include "products_path.h"
#include "dispatch.h"

#include <stdlib.h>

enum { SHARES = 2 };             /* chunks for each thread, so that one that is held up has less to do */
enum { LEAST_BYTES = 16 << 10 }; /* of weights in a chunk: long enough for the prefetcher */
enum { MANY = 20 };              /* rows of x from which on it is worth putting them into panels */
enum { PART = 4 * PACK_UNIT };   /* of these that one thread multiplies at a time */
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

void multiply_span(int dtype, struct span s)
{
    (s.packed ? PANELS : PRODUCT)[native_path()](dtype, s);
}

struct product {
    const float *x;
    float *packed; /* some of x's rows in panels, or NULL */
    const struct matrix *weights;
    float *const *y;
    int64_t m, line; /* rows of x, and the first of them */
    int64_t chunk_bytes;
};

static int64_t bytes_of_row(const struct matrix *w)
{
    return w->dtype == INT4 ? w->columns / 2 : w->columns * BYTES[w->dtype];
}

/* Rows of a weight that one thread multiplies at a time. */
static int64_t rows_of_chunk(const struct product *p, const struct matrix *w)
{
    if (p->packed)
        return PANEL_ROWS;
    int64_t rows = p->chunk_bytes / (bytes_of_row(w) + 1);
    return rows / 4 * 4 + 4;
}

/* In how many parts it multiplies them by the rows of x. */
static int64_t parts_of(const struct product *p)
{
    return p->packed ? (p->m + PART - 1) / PART : 1;
}

static int64_t chunks_of(const struct product *p, const struct matrix *w)
{
    int64_t rows = rows_of_chunk(p, w);
    return (w->rows + rows - 1) / rows * parts_of(p);
}

static void multiply_chunk(void *context, int64_t chunk)
{
    const struct product *p = context;
    const struct matrix *w = p->weights;
    for (; chunk >= chunks_of(p, w); w++)
        chunk -= chunks_of(p, w);
    int64_t rows = rows_of_chunk(p, w), parts = parts_of(p), first = chunk / parts * rows, line = chunk % parts * PART;
    struct span s = {
        .x = (p->packed ? p->packed : p->x) + line * w->columns,
        .weight = w->data,
        .scale = w->groups ? NULL : w->scale,
        .y = p->y[w - p->weights] + (p->line + line) * w->rows,
        .m = p->packed ? at_most(PART, p->m - line) : p->m,
        .n = w->rows,
        .k = w->columns,
        .first = first,
        .last = at_most(first + rows, w->rows),
        .groups = w->groups ? w : NULL,
        .packed = p->packed != NULL,
    };
    if (w->groups && !p->packed)
        multiply_groups(p->x, p->m, w, s.y, s.first, s.last);
    else
        multiply_span(w->dtype, s);
}

static void multiply_all(struct product *p, int count)
{
    int64_t chunks = 0;
    for (int i = 0; i < count; i++)
        chunks += chunks_of(p, &p->weights[i]);
    native_parallel(multiply_chunk, p, chunks);
}

static void pack_chunk(void *context, int64_t chunk)
{
    const struct product *p = context;
    int64_t k = p->weights->columns, line = chunk * PACK_UNIT;
    PACK[native_path()](p->x + (p->line + line) * k, at_most(PACK_UNIT, p->m - line), k, p->packed + line * k);
}

/* Some of x's rows at a time; returns 0 where there is no memory for their panels. */
static int multiply_panels(struct product p, int count)
{
    int64_t k = p.weights->columns, m = p.m;
    int64_t most = at_most(m, MOST_PACKED / (k + 1) / PACK_UNIT * PACK_UNIT + PACK_UNIT);
    size_t bytes = (size_t)((most + PACK_ROUND) * k) * sizeof *p.packed;
    p.packed = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!p.packed)
        return 0;
    for (; p.line < m; p.line += p.m) {
        p.m = at_most(most, m - p.line);
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
        bytes += w[i].rows * bytes_of_row(&w[i]);
    p.chunk_bytes = bytes / (SHARES * native_threads());
    if (p.chunk_bytes < LEAST_BYTES)
        p.chunk_bytes = LEAST_BYTES;
    multiply_all(&p, count);
}
