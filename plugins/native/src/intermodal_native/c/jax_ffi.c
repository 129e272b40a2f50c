/* Products as XLA calls them, through the C interface for foreign functions.

   The structures are declared here as far as they are read, so that building takes no copy of XLA. They are those of
   versions 0.1 to 0.3 of the interface; XLA asks for the version when the handler is registered, and refuses another. */
#include <stddef.h>

#include "native.h"

enum { MOST_WEIGHTS = 8, FIRST_MINOR = 1, LAST_MINOR = 3, INVALID_ARGUMENT = 3, METADATA = 1 };

/* XLA's numbers of the dtypes. */
enum { S8 = 2, F16 = 10, F32 = 11, BF16 = 16 };

struct extension {
    size_t size;
    int type;
    struct extension *next;
};

struct version {
    size_t size;
    struct extension *extensions;
    int major, minor;
};

struct metadata_extension {
    struct extension base;
    struct {
        size_t size;
        struct version version;
    } *metadata;
};

struct error_arguments {
    size_t size;
    struct extension *extensions;
    const char *message;
    int code;
};

struct api {
    size_t size;
    struct extension *extensions;
    struct version version;
    const void *internal;
    void *(*create_error)(struct error_arguments *);
};

struct buffer {
    size_t size;
    struct extension *extensions;
    int dtype;
    void *data;
    int64_t rank;
    int64_t *shape;
};

struct buffers {
    size_t size;
    struct extension *extensions;
    int64_t count;
    int *types;
    struct buffer **items;
};

struct call {
    size_t size;
    struct extension *extensions;
    const struct api *api;
    void *context;
    int stage;
    struct buffers arguments, results;
};

static void *refuse(const struct call *call, const char *message)
{
    struct error_arguments arguments = {sizeof arguments, NULL, message, INVALID_ARGUMENT};
    return call->api->create_error(&arguments);
}

static int dtype_of(const struct buffer *buffer)
{
    switch (buffer->dtype) {
    case F32: return FLOAT32;
    case BF16: return BFLOAT16;
    case F16: return FLOAT16;
    case S8: return INT8;
    default: return -1;
    }
}

static int64_t elements(const struct buffer *buffer)
{
    int64_t product = 1;
    for (int64_t i = 0; i < buffer->rank; i++)
        product *= buffer->shape[i];
    return product;
}

/* Arguments: x (…, k), then weights (n, k), then as many scales: (n, 1), or empty where there is none.
   Results: (…, n) for each weight. */
EXPORT void *native_jax_product(struct call *call)
{
    if (call->extensions && call->extensions->type == METADATA) {
        struct version *answer = &((struct metadata_extension *)call->extensions)->metadata->version;
        int minor = call->api ? call->api->version.minor : LAST_MINOR;
        answer->major = 0;
        answer->minor = minor >= FIRST_MINOR && minor <= LAST_MINOR ? minor : LAST_MINOR;
        return NULL;
    }
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
