/* What a token needs beside its products: norms, rotation, gates, and attention to a cache, on several threads where
   that pays. */
#include "decoding_path.h"

#include <stdlib.h>

#if defined(__x86_64__)
#define PATH(function, arguments) \
    switch (native_path()) { \
    case AVX512: function##_avx512 arguments; break; \
    case AVX2: function##_avx2 arguments; break; \
    default: function##_baseline arguments; \
    }
#else
#define PATH(function, arguments) function##_baseline arguments;
#endif

enum { SHARE = 1 << 14 }; /* elements that are worth a thread's while */
enum { ALONE = 1 << 16 }; /* products of attention that are done before another thread has woken up */

static int64_t at_most(int64_t value, int64_t limit)
{
    return value < limit ? value : limit;
}

struct norms {
    struct norm norm;
    int64_t rows, share;
};

static void norm_share(void *context, int64_t chunk)
{
    const struct norms *n = context;
    int64_t first = chunk * n->share;
    PATH(norm, (n->norm, first, at_most(first + n->share, n->rows)))
}

EXPORT void native_norm(const float *x, const void *weight, int dtype, int offset, float epsilon, float *y,
                        int64_t rows, int64_t width)
{
    struct norms n = {{x, weight, y, width, dtype, offset, epsilon}, rows, SHARE / (width + 1) + 1};
    native_parallel(norm_share, &n, (rows + n.share - 1) / n.share);
}

EXPORT void native_rotate(const float *x, const float *cosines, const float *sines, int64_t table_step, float *y,
                          int64_t batch, int64_t heads, int64_t width)
{
    for (int64_t row = 0; row < batch; row++) {
        int64_t at = row * heads * width, table = row * table_step;
        PATH(rotate, (x + at, cosines + table, sines + table, y + at, heads, width))
    }
}

struct gates {
    const float *gate, *up;
    float *y;
    int64_t count;
    int activation;
};

static void gate_share(void *context, int64_t chunk)
{
    const struct gates *g = context;
    int64_t at = chunk * SHARE, count = at_most(SHARE, g->count - at);
    PATH(gate, (g->activation, g->gate + at, g->up + at, g->y + at, count))
}

EXPORT void native_gate(int activation, const float *gate, const float *up, float *y, int64_t count)
{
    struct gates g = {gate, up, y, count, activation};
    native_parallel(gate_share, &g, (count + SHARE - 1) / SHARE);
}

struct attending {
    const struct attention *a;
    const float *q;
    float *found;
    int64_t keys, parts;
};

static void attend_share(void *context, int64_t chunk)
{
    const struct attending *t = context;
    const struct attention *a = t->a;
    int64_t part = chunk % t->parts, head = chunk / t->parts; /* of all key-value heads of the batch */
    int64_t queries = a->heads / a->groups, step = a->width + 2, first = part * MOST_KEYS;
    const uint8_t *seen = a->seen ? a->seen + head / a->groups * a->seen_step + first : NULL;
    int64_t at = (head * a->capacity + first) * a->width;
    struct keys s = {
        t->q + head * queries * a->width,
        a->keys + at,
        a->values + at,
        seen,
        t->found + (head * queries * t->parts + part) * step,
        queries,
        at_most(MOST_KEYS, t->keys - first),
        a->width,
        t->parts * step,
        a->scale,
    };
    PATH(attend, (s))
}

static void merge_parts(const struct attending *t, int64_t head)
{
    int64_t width = t->a->width;
    PATH(merge, (t->found + head * t->parts * (width + 2), t->parts, width, t->a->y + head * width))
}

/* The new key and value of each row and head, behind those in the cache. */
static void append(const struct attention *a)
{
    size_t bytes = (size_t)a->width * sizeof(float);
    for (int64_t head = 0; head < a->batch * a->groups; head++) {
        int64_t from = head * a->width, to = (head * a->capacity + a->offset) * a->width;
        int64_t table = head / a->groups * a->table_step;
        memcpy(a->values + to, a->v + from, bytes);
        if (a->cosines)
            native_rotate(a->k + from, a->cosines + table, a->sines + table, 0, a->keys + to, 1, 1, a->width);
        else
            memcpy(a->keys + to, a->k + from, bytes);
    }
}

EXPORT int native_attend(const struct attention *a)
{
    struct attending t = {a, a->q, NULL, a->offset + 1, (a->offset + MOST_KEYS) / MOST_KEYS};
    int64_t between = a->batch * a->heads * t.parts * (a->width + 2), queries = a->batch * a->heads * a->width;
    float *memory = malloc((size_t)(between + queries) * sizeof *memory);
    if (!memory)
        return 0;
    t.found = memory;
    if (a->cosines) {
        native_rotate(a->q, a->cosines, a->sines, a->table_step, memory + between, a->batch, a->heads, a->width);
        t.q = memory + between;
    }
    append(a);
    int64_t chunks = a->batch * a->groups * t.parts;
    if (t.keys * a->batch * a->heads * a->width > ALONE)
        native_parallel(attend_share, &t, chunks);
    else
        for (int64_t chunk = 0; chunk < chunks; chunk++)
            attend_share(&t, chunk);
    for (int64_t head = 0; head < a->batch * a->heads; head++)
        merge_parts(&t, head);
    free(memory);
    return 1;
}
