/* Attention, to a cache or of tokens to each other, as XLA calls it. */
#include "xla.h"

static const struct buffer *of(const struct buffers *buffers, int64_t index, int dtype)
{
    const struct buffer *buffer = buffers->items[index];
    return buffer->dtype == dtype ? buffer : NULL;
}

/* Arguments: q (…, N·D), k and v (…, K·D), keys and values (B, K, C, D), all float32, for as many tokens in all as there
   are slots; rows, slots, first and last, each (tokens,) int32, rows empty where each has as many tokens, last where it
   is the slot; cosines and sines (…, D/2) float32 of each token, or empty; the scale () float32.
   Results: y as q, keys and values, which are those given: the new ones are written to them. Without a cache, where C
   is 0, B rows of tokens attend to each other, and keys and values are memory of k's and v's size. */
EXPORT void *native_xla_attend(struct call *call)
{
    if (is_question(call))
        return NULL;
    enum { Q, K, V, KEYS, VALUES, ROWS, SLOTS, FIRST, LAST, COSINES, SINES, SCALE, COUNT };
    static const int DTYPE[COUNT] = {F32, F32, F32, F32, F32, S32, S32, S32, S32, F32, F32, F32};
    struct buffer **results = call->results.items;
    const struct buffer *given[COUNT];
    if (call->arguments.count != COUNT || call->results.count != 3)
        return refuse(call, "attention takes twelve arguments");
    for (int i = 0; i < COUNT; i++)
        if (!(given[i] = of(&call->arguments, i, DTYPE[i])))
            return refuse(call, "attention is of float32, and its rows, slots, first and last keys of int32");
    if (given[KEYS]->rank != 4 || elements(given[KEYS]) != elements(given[VALUES]))
        return refuse(call, "the cache of an attention has four axes");
    const int64_t *shape = given[KEYS]->shape, tokens = elements(given[SLOTS]), width = shape[3];
    int has_rows = elements(given[ROWS]) > 0, has_last = elements(given[LAST]) > 0;
    int has_table = elements(given[COSINES]) > 0, has_cache = shape[2] > 0;
    if (!tokens || !shape[0])
        return NULL;
    struct attention a = {
        .q = given[Q]->data,
        .k = given[K]->data,
        .v = given[V]->data,
        .keys = results[1]->data,
        .values = results[2]->data,
        .y = results[0]->data,
        .rows = has_rows ? given[ROWS]->data : NULL,
        .slots = given[SLOTS]->data,
        .first = given[FIRST]->data,
        .last = has_last ? given[LAST]->data : NULL,
        .cosines = has_table ? given[COSINES]->data : NULL,
        .sines = has_table ? given[SINES]->data : NULL,
        .tokens = tokens,
        .batch = shape[0],
        .heads = width ? elements(given[Q]) / (tokens * width) : 0,
        .groups = shape[1],
        .width = width,
        .capacity = has_cache ? shape[2] : tokens / shape[0],
        .table_step = has_table ? width / 2 : 0,
        .scale = *(float *)given[SCALE]->data,
    };
    if (elements(given[Q]) != tokens * a.heads * width || elements(given[K]) != tokens * a.groups * width
        || elements(given[V]) != tokens * a.groups * width || elements(given[FIRST]) != tokens
        || (has_rows && elements(given[ROWS]) != tokens) || (has_last && elements(given[LAST]) != tokens)
        || elements(given[SINES]) != elements(given[COSINES])
        || (has_table && elements(given[COSINES]) != tokens * (width / 2)))
        return refuse(call, "the tensors of an attention do not fit each other");
    if (!has_cache && (elements(results[1]) != elements(given[K]) || elements(results[2]) != elements(given[V])))
        return refuse(call, "an attention without a cache has no memory for its keys and values");
    if (has_cache && (a.keys != given[KEYS]->data || a.values != given[VALUES]->data))
        return refuse(call, "the cache of an attention was not given to be written to");
    const char *fault = native_attend(&a);
    return fault ? refuse(call, fault) : NULL;
}
