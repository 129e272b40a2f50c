/* Products with whole weights: divides their rows between the threads, and gives each to the processor's own path. */
#include "products_path.h"

enum { CHUNK_BYTES = 256 << 10 }; /* of weights: long enough for the prefetcher, short enough to share out evenly */

struct product {
    const float *x;
    const struct matrix *weights;
    float *const *y;
    int64_t m;
    int count;
};

static int64_t rows_of_chunk(const struct matrix *w)
{
    int64_t rows = CHUNK_BYTES / (w->columns * BYTES[w->dtype] + 1);
    return rows < 4 ? 4 : rows / 4 * 4;
}

static int64_t chunks_of(const struct matrix *w)
{
    int64_t rows = rows_of_chunk(w);
    return (w->rows + rows - 1) / rows;
}

static void multiply_chunk(void *context, int64_t chunk)
{
    const struct product *p = context;
    int i = 0;
    for (; chunk >= chunks_of(&p->weights[i]); i++)
        chunk -= chunks_of(&p->weights[i]);
    const struct matrix *w = &p->weights[i];
    int64_t rows = rows_of_chunk(w), first = chunk * rows;
    struct span s = {p->x, w->data, w->scale, p->y[i], p->m, w->rows, w->columns, first, first + rows};
    if (s.last > w->rows)
        s.last = w->rows;
    switch (native_path()) {
#if defined(__x86_64__)
    case AVX512: product_avx512(w->dtype, s); break;
    case AVX2: product_avx2(w->dtype, s); break;
#endif
    default: product_baseline(w->dtype, s);
    }
}

EXPORT void native_product(const float *x, int64_t m, const struct matrix *w, int count, float *const *y)
{
    struct product p = {x, w, y, m, count};
    int64_t chunks = 0;
    for (int i = 0; i < count; i++)
        chunks += chunks_of(&w[i]);
    native_parallel(multiply_chunk, &p, chunks);
}
