/* Products with whole weights: divides their rows between the threads, gives each to the processor's own path, and
   finishes what comes out while it is in the caches. */
#include "products_path.h"
#include "dispatch.h"
#include "finish_path.h"

#include <stdlib.h>

enum { SHARES = 2 };             /* chunks for each thread, so that one that is held up has less to do */
enum { LEAST_BYTES = 16 << 10 }; /* of weights in a chunk: long enough for the prefetcher */
enum { MANY = 20 };              /* rows of x from which on it is worth putting them into panels */
enum { PART = 4 * PACK_UNIT };   /* of these that one thread multiplies at a time */
enum { MOST_PACKED = 1 << 21 };  /* elements of x that are in panels at a time */

enum { UP = PART * PANEL_ROWS };   /* elements of the second product of a gate that one thread has at a time */

typedef void multiply(int dtype, struct span s);
typedef void pack(const float *x, int64_t m, int64_t k, float *packed);
typedef void finish(struct finish f);

#if defined(__x86_64__)
static multiply *const PRODUCT[PATHS] = {product_baseline, product_avx2, product_avx512};
static multiply *const PANELS[PATHS] = {panels_baseline, panels_avx2, panels_avx512};
static pack *const PACK[PATHS] = {pack_baseline, pack_avx2, pack_avx512};
static finish *const FINISH[PATHS] = {finish_baseline, finish_avx2, finish_avx512};
#else
static multiply *const PRODUCT[PATHS] = {product_baseline};
static multiply *const PANELS[PATHS] = {panels_baseline};
static pack *const PACK[PATHS] = {pack_baseline};
static finish *const FINISH[PATHS] = {finish_baseline};
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
    const struct around *around;
    int64_t m, line; /* rows of x, and the first of them */
    int64_t chunk_bytes;
};

static const struct around NOTHING;

static int64_t bytes_of_row(const struct matrix *w)
{
    return w->dtype == INT4 ? w->columns / 2 : w->columns * BYTES[w->dtype];
}

/* Rows of a weight that one thread multiplies at a time. */
static int64_t rows_of_chunk(const struct product *p, const struct matrix *w)
{
    if (p->packed)
        return PANEL_ROWS;
    int64_t rows = p->chunk_bytes / (bytes_of_row(w) * (p->around->gated ? 2 : 1) + 1);
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

/* Some rows of x times rows `first` to `last - 1` of a weight, into as many columns of y (m, n). */
static void multiply_rows(const struct product *p, const struct matrix *w, const float *x, int64_t m, float *y, int64_t n,
                          int64_t first, int64_t last)
{
    struct span s = {
        .x = x,
        .weight = w->data,
        .scale = w->groups ? NULL : w->scale,
        .y = y,
        .m = m,
        .n = n,
        .k = w->columns,
        .first = first,
        .last = last,
        .groups = w->groups ? w : NULL,
        .packed = p->packed != NULL,
    };
    if (w->groups && !p->packed)
        multiply_groups(x, m, w, y, n, first, last);
    else
        multiply_span(w->dtype, s);
}

static const void *bias_from(const struct matrix *w, int64_t row)
{
    return w->bias ? (const char *)w->bias + row * BYTES[w->bias_dtype] : NULL;
}

/* The second product of a gate, with its bias, into `up`; the first waits in y for it. */
static void multiply_up(const struct product *p, const struct matrix *w, const float *x, int64_t m, float *up,
                        int64_t first, int64_t last)
{
    const int64_t count = last - first;
    multiply_rows(p, w, x, m, up, count, first, last);
    if (w->bias)
        FINISH[native_path()]((struct finish){
            .y = up, .m = m, .count = count, .step = count, .bias = bias_from(w, first), .bias_dtype = (int)w->bias_dtype});
}

static void multiply_chunk(void *context, int64_t chunk)
{
    static _Thread_local float up[UP];
    const struct product *p = context;
    const struct around *around = p->around;
    const struct matrix *w = p->weights;
    for (; chunk >= chunks_of(p, w); w++)
        chunk -= chunks_of(p, w);
    const int64_t rows = rows_of_chunk(p, w), parts = parts_of(p), line = chunk % parts * PART;
    const int64_t m = p->packed ? at_most(PART, p->m - line) : p->m, end = at_most((chunk / parts + 1) * rows, w->rows);
    const int64_t most = around->gated ? UP / m : rows, start = (p->line + line) * w->rows;
    const float *x = p->packed ? p->packed + line * w->columns : p->x + p->line * w->columns;
    for (int64_t first = chunk / parts * rows, last; first < end; first = last) {
        last = at_most(first + most, end);
        struct finish f = {
            .y = p->y[w - p->weights] + start + first,
            .m = m,
            .count = last - first,
            .step = w->rows,
            .bias = bias_from(w, first),
            .bias_dtype = (int)w->bias_dtype,
            .activation = around->activation,
            .times = around->gated ? up : NULL,
            .residual = around->residual ? around->residual + start + first : NULL,
        };
        multiply_rows(p, w, x, m, f.y, f.step, first, last);
        if (around->gated)
            multiply_up(p, w + 1, x, m, up, first, last);
        if (f.bias || f.activation || f.times || f.residual)
            FINISH[native_path()](f);
    }
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

static float *floats(int64_t count)
{
    return aligned_alloc(64, ((size_t)count * sizeof(float) + 63) / 64 * 64);
}

/* Some of x's rows at a time; returns 0 where there is no memory for their panels. */
static int multiply_panels(struct product p, int count)
{
    int64_t k = p.weights->columns, m = p.m;
    int64_t most = at_most(m, MOST_PACKED / (k + 1) / PACK_UNIT * PACK_UNIT + PACK_UNIT);
    p.packed = floats((most + PACK_ROUND) * k);
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

/* Weights as streams, read once: for few rows of x. */
static void multiply_streams(struct product p, int count)
{
    int64_t bytes = 0;
    for (int i = 0; i < count; i++)
        bytes += p.weights[i].rows * bytes_of_row(&p.weights[i]) * (p.around->gated ? 2 : 1);
    p.chunk_bytes = bytes / (SHARES * native_threads());
    if (p.chunk_bytes < LEAST_BYTES)
        p.chunk_bytes = LEAST_BYTES;
    multiply_all(&p, count);
}

EXPORT int native_product(const float *x, int64_t m, const struct matrix *w, int count, float *const *y,
                          const struct around *around)
{
    struct product p = {.x = x, .weights = w, .y = y, .around = around ? around : &NOTHING, .m = m};
    float *normed = NULL;
    if (!m)
        return 1;
    if (p.around->norm) {
        if (!(p.x = normed = floats(m * w->columns)))
            return 0;
        native_norm(x, around->norm, around->norm_dtype, around->norm_offset, around->epsilon, normed, m, w->columns);
    }
    count = p.around->gated ? 1 : count;
    int done = 1;
    if (m < MANY)
        multiply_streams(p, count);
    else
        done = multiply_panels(p, count);
    free(normed);
    return done;
}
