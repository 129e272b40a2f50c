/* Products as XLA calls them. */
#include "xla.h"

enum { MOST_WEIGHTS = 8 };

/* Arguments: x (…, k), then weights (n, k), then as many scales: (n, 1), or empty where there is none.
   Results: (…, n) for each weight. */
EXPORT void *native_jax_product(struct call *call)
{
    if (is_question(call))
        return NULL;
    struct buffer **given = call->arguments.items, *x = given[0];
    int64_t count = call->results.count;
    if (count > MOST_WEIGHTS || call->arguments.count != 1 + 2 * count || x->rank < 1 || dtype_of(x) != FLOAT32)
        return refuse(call, "a product takes float32 and up to 8 weights, each with a scale");
    struct matrix weights[MOST_WEIGHTS];
    float *y[MOST_WEIGHTS];
    int64_t k = x->shape[x->rank - 1], m = k ? elements(x) / k : 0;
    for (int64_t i = 0; i < count; i++) {
        const struct buffer *w = given[1 + i], *scale = given[1 + count + i], *out = call->results.items[i];
        int dtype = dtype_of(w);
        if (dtype < 0 || w->rank != 2 || w->shape[1] != k || elements(out) != m * w->shape[0] || dtype_of(out) != FLOAT32
            || (elements(scale) && (elements(scale) != w->shape[0] || dtype_of(scale) != FLOAT32)))
            return refuse(call, "a weight of a product does not fit its input, its scale or its result");
        weights[i] = (struct matrix){w->data, elements(scale) ? scale->data : NULL, w->shape[0], k, dtype};
        y[i] = out->data;
    }
    native_product(x->data, m, weights, (int)count, y);
    return NULL;
}
