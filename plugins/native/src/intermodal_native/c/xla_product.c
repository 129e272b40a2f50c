/* Products as XLA calls them. */
#include "xla.h"

enum { MOST_WEIGHTS = 8 };

/* Fills in a weight (n, k), or (n, k / 2) of INT4, with its scale and minimum; whether they fit each other.
   A scale is empty, or (n, 1) float32, or one for each group: (n, groups) float32 or float16. A minimum is empty or as the
   scale. */
static int matrix_of(struct matrix *matrix, const struct buffer *w, const struct buffer *scale,
                     const struct buffer *minimum, int64_t k)
{
    int dtype = dtype_of(w), scale_dtype = dtype_of(scale), least = elements(minimum) > 0;
    if (dtype < 0 || w->rank != 2 || w->shape[1] != (dtype == INT4 ? k / 2 : k))
        return 0;
    *matrix = (struct matrix){w->data, NULL, w->shape[0], k, dtype, scale_dtype, NULL, 0};
    if (!elements(scale))
        return dtype != INT4 && !least;
    matrix->scale = scale->data;
    if (scale->rank != 2 || scale->shape[0] != matrix->rows)
        return 0;
    if (scale->shape[1] == 1 && scale_dtype == FLOAT32 && dtype != INT4 && !least)
        return 1;
    matrix->groups = scale->shape[1];
    matrix->minimum = least ? minimum->data : NULL;
    int64_t width = k / matrix->groups;
    return width * matrix->groups == k && (width == 32 || (width == 16 && dtype == INT8))
           && (dtype == INT8 || dtype == INT4) && (scale_dtype == FLOAT32 || scale_dtype == FLOAT16)
           && (!least || (dtype_of(minimum) == scale_dtype && elements(minimum) == elements(scale)));
}

/* Arguments: x (…, k), then weights, then as many scales, then as many minima, as `matrix_of` takes them.
   Results: (…, n) for each weight. */
EXPORT void *native_xla_product(struct call *call)
{
    if (is_question(call))
        return NULL;
    struct buffer **given = call->arguments.items, *x = given[0];
    int64_t count = call->results.count;
    if (count > MOST_WEIGHTS || call->arguments.count != 1 + 3 * count || x->rank < 1 || dtype_of(x) != FLOAT32)
        return refuse(call, "a product takes float32 and up to 8 weights, each with a scale and a minimum");
    struct matrix weights[MOST_WEIGHTS];
    float *y[MOST_WEIGHTS];
    int64_t k = x->shape[x->rank - 1], m = k ? elements(x) / k : 0;
    for (int64_t i = 0; i < count; i++) {
        const struct buffer *w = given[1 + i], *scale = given[1 + count + i], *minimum = given[1 + 2 * count + i];
        const struct buffer *out = call->results.items[i];
        if (!matrix_of(&weights[i], w, scale, minimum, k) || elements(out) != m * w->shape[0]
            || dtype_of(out) != FLOAT32)
            return refuse(call, "a weight of a product does not fit its input, its scale or its result");
        y[i] = out->data;
    }
    native_product(x->data, m, weights, (int)count, y);
    return NULL;
}
