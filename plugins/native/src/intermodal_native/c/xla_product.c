/* Products as XLA calls them. */
#include "xla.h"

enum { MOST_WEIGHTS = 8 };

static int is_float(const struct buffer *buffer)
{
    int dtype = dtype_of(buffer);
    return dtype == FLOAT32 || dtype == BFLOAT16 || dtype == FLOAT16;
}

/* Fills in a weight (n, k), or (n, k / 2) of INT4, with its scale and minimum; whether they fit each other.
   A scale is empty, or (n, 1) float32, or one for each group: (n, groups) float32 or float16. A minimum is empty or as the
   scale. */
static int matrix_of(struct matrix *matrix, const struct buffer *w, const struct buffer *scale,
                     const struct buffer *minimum, int64_t k)
{
    int dtype = dtype_of(w), scale_dtype = dtype_of(scale), least = elements(minimum) > 0;
    if (dtype < 0 || w->rank != 2 || w->shape[1] != (dtype == INT4 ? k / 2 : k))
        return 0;
    *matrix = (struct matrix){w->data, NULL, w->shape[0], k, dtype, scale_dtype, NULL, 0, NULL, FLOAT32};
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

/* Adds a bias, empty or (n,) of some float; whether it fits. */
static int add_bias(struct matrix *matrix, const struct buffer *bias)
{
    int64_t count = elements(bias);
    matrix->bias = count ? bias->data : NULL;
    matrix->bias_dtype = dtype_of(bias);
    return is_float(bias) && (!count || count == matrix->rows);
}

/* Fills in what is around `count` products of x (m, k); whether it fits. `numbers` are activation, gated, offset, epsilon. */
static int around_of(struct around *around, const struct buffer *residual, const struct buffer *norm,
                     const struct buffer *numbers, int64_t count, int64_t m, int64_t k, const struct matrix *first)
{
    if (dtype_of(residual) != FLOAT32 || !is_float(norm) || dtype_of(numbers) != FLOAT32 || elements(numbers) != 4)
        return 0;
    const float *number = numbers->data;
    int added = elements(residual) > 0, normed = elements(norm) > 0;
    *around = (struct around){
        .norm = normed ? norm->data : NULL,
        .residual = added ? residual->data : NULL,
        .norm_dtype = dtype_of(norm),
        .activation = (int)number[0],
        .gated = (int)number[1],
        .norm_offset = (int)number[2],
        .epsilon = number[3],
    };
    return (!added || ((count == 1 || around->gated) && elements(residual) == m * first->rows))
           && (!normed || elements(norm) == k) && around->activation >= 0 && around->activation < ACTIVATIONS
           && (!around->gated || (count == 2 && first[0].rows == first[1].rows));
}

/* Arguments: x (…, k), then weights, then as many scales, minima and biases, as above, then a residual shaped as the result
   or empty, the weight of a norm (k,) or empty, and four numbers.
   Results: (…, n) for each weight, or one of two weights where they are gate and up. */
EXPORT void *native_xla_product(struct call *call)
{
    if (is_question(call))
        return NULL;
    enum { X = 1, AROUND = 3, PARTS = 4 };
    struct buffer **given = call->arguments.items, *x = given[0];
    int64_t count = (call->arguments.count - X - AROUND) / PARTS;
    if (count < 1 || count > MOST_WEIGHTS || call->arguments.count != X + PARTS * count + AROUND || x->rank < 1
        || dtype_of(x) != FLOAT32)
        return refuse(call, "a product takes float32 and up to 8 weights, each with a scale, a minimum and a bias");
    struct matrix weights[MOST_WEIGHTS];
    struct around around;
    float *y[MOST_WEIGHTS];
    struct buffer **parts = given + X, **rest = parts + PARTS * count;
    int64_t k = x->shape[x->rank - 1], m = k ? elements(x) / k : 0;
    for (int64_t i = 0; i < count; i++)
        if (!matrix_of(&weights[i], parts[i], parts[count + i], parts[2 * count + i], k)
            || !add_bias(&weights[i], parts[3 * count + i]))
            return refuse(call, "a weight of a product does not fit its input, its scale or its bias");
    if (!around_of(&around, rest[0], rest[1], rest[2], count, m, k, weights)
        || call->results.count != (around.gated ? 1 : count))
        return refuse(call, "a product does not fit the norm before it or what comes after it");
    for (int64_t i = 0; i < call->results.count; i++) {
        const struct buffer *out = call->results.items[i];
        if (elements(out) != m * weights[i].rows || dtype_of(out) != FLOAT32)
            return refuse(call, "a weight of a product does not fit its result");
        y[i] = out->data;
    }
    if (!native_product(x->data, m, weights, (int)count, y, &around))
        return refuse(call, "there is no memory for the rows of a product");
    return NULL;
}
