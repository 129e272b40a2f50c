/* XLA's C interface for foreign functions, as far as it is read here, so that building takes no copy of XLA.

   The structures are those of versions 0.1 to 0.3; XLA asks for the version when a handler is registered, and refuses
   another. */
#pragma once

#include <stddef.h>

#include "native.h"

enum { FIRST_MINOR = 1, LAST_MINOR = 3, INVALID_ARGUMENT = 3, METADATA = 1 };

/* XLA's numbers of the dtypes. */
enum { S8 = 2, S32 = 4, U8 = 6, F16 = 10, F32 = 11, BF16 = 16 };

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

static inline void *refuse(const struct call *call, const char *message)
{
    struct error_arguments arguments = {sizeof arguments, NULL, message, INVALID_ARGUMENT};
    return call->api->create_error(&arguments);
}

static inline int dtype_of(const struct buffer *buffer)
{
    switch (buffer->dtype) {
    case F32: return FLOAT32;
    case BF16: return BFLOAT16;
    case F16: return FLOAT16;
    case S8: return INT8;
    case U8: return INT4;
    default: return -1;
    }
}

static inline int64_t elements(const struct buffer *buffer)
{
    int64_t product = 1;
    for (int64_t i = 0; i < buffer->rank; i++)
        product *= buffer->shape[i];
    return product;
}

/* Whether XLA only asks for the version of its interface that a handler is written for; the answer is then given. */
static inline int is_question(const struct call *call)
{
    if (!call->extensions || call->extensions->type != METADATA)
        return 0;
    struct version *answer = &((struct metadata_extension *)call->extensions)->metadata->version;
    int minor = call->api ? call->api->version.minor : LAST_MINOR;
    answer->major = 0;
    answer->minor = minor >= FIRST_MINOR && minor <= LAST_MINOR ? minor : LAST_MINOR;
    return 1;
}
