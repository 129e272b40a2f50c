/* Attention to a cache: divides the queries, and where these are few the keys too, between the threads. */
#include "attention_path.h"
#include "dispatch.h"

#include <stdatomic.h>
#include <stdlib.h>

enum { ALONE = 1 << 16 };   /* products that are done before another thread has woken up */
enum { ENOUGH = 64 };       /* chunks of queries, so that keys need not be divided */
enum { PART_KEYS = 256 };   /* of a chunk where they are */

static const char NO_MEMORY[] = "there is no memory for an attention";

/* Queries of one row that attend together, numbered token by token, head by head of a group. */
struct block {
    int64_t from, to;
};

struct attending {
    const struct attention *a;
    struct block *blocks;
    int64_t count, parts; /* blocks, and parts of the keys */
    float *found;         /* (groups, queries, parts) as `struct part` says, where there are several parts */
    atomic_int failed;
};

static const char *fault_of(const struct attention *a)
{
    if (a->groups < 1 || a->heads % a->groups || (!a->rows && a->tokens % a->batch) || (a->cosines && a->width % 2))
        return "the heads, tokens or rows of an attention do not fit each other";
    for (int64_t token = 0; token < a->tokens; token++) {
        if (a->rows && (a->rows[token] < 0 || a->rows[token] >= a->batch))
            return "a token of an attention is of no row of its cache";
        if (a->slots[token] < -1 || a->slots[token] >= a->capacity || a->first[token] < 0
            || last_of(a, token) >= a->capacity)
            return "a token of an attention is beyond its cache";
    }
    return NULL;
}

/* Whether a token and the one before it may attend together: they are of one row, and some keys may be seen by both. */
static int is_next(const struct attention *a, int64_t token)
{
    return row_of(a, token) == row_of(a, token - 1) && (!a->last || a->first[token] <= a->last[token - 1]);
}

/* Divides the queries of a group into blocks of one row each, and of one text, of nearly the same size. */
static int64_t divide(const struct attention *a, struct block *blocks)
{
    int64_t count = 0, shared = a->heads / a->groups;
    for (int64_t first = 0, last; first < a->tokens; first = last) {
        for (last = first + 1; last < a->tokens && is_next(a, last);)
            last++;
        int64_t from = first * shared, queries = (last - first) * shared, pieces = (queries + QUERIES - 1) / QUERIES;
        for (int64_t piece = 0; piece < pieces; piece++)
            blocks[count++] = (struct block){from + queries * piece / pieces, from + queries * (piece + 1) / pieces};
    }
    return count;
}

/* The keys that queries of a block see lie between `low` and `high`, excluded; returns how many there are. */
static int64_t reach(const struct attention *a, struct block block, int64_t *low, int64_t *high)
{
    int64_t shared = a->heads / a->groups;
    *low = a->capacity, *high = 0;
    for (int64_t token = block.from / shared; token <= (block.to - 1) / shared; token++)
        if (a->first[token] <= last_of(a, token)) {
            *low = at_most(a->first[token], *low);
            *high = last_of(a, token) < *high ? *high : last_of(a, token) + 1;
        }
    return *high > *low ? *high - *low : 0;
}

static void attend_chunk(void *context, int64_t chunk)
{
    struct attending *t = context;
    const struct attention *a = t->a;
    int64_t number = t->count - 1 - chunk / (a->groups * t->parts); /* the last ones have the most keys to see */
    int64_t group = chunk / t->parts % a->groups, part = chunk % t->parts, step = a->width + 2;
    int64_t shared = a->heads / a->groups, low, high;
    struct block block = t->blocks[number];
    reach(a, block, &low, &high);
    if (t->parts > 1) {
        low += part * PART_KEYS;
        high = at_most(low + PART_KEYS, high);
    }
    size_t bytes = ((size_t)part_memory(a->width) * sizeof(float) + 63) / 64 * 64;
    float *memory = aligned_alloc(64, bytes);
    if (!memory) {
        atomic_store(&t->failed, 1);
        return;
    }
    struct part p = {a, row_of(a, block.from / shared), group, block.from, block.to, low, high, memory, NULL, 0};
    if (t->parts > 1) {
        p.found = t->found + ((group * a->tokens * shared + block.from) * t->parts + part) * step;
        p.step = t->parts * step;
    }
    PATH(attend, (&p))
    free(memory);
}

static void merge_token(const struct attending *t, int64_t token)
{
    const struct attention *a = t->a;
    int64_t shared = a->heads / a->groups;
    for (int64_t head = 0; head < a->heads; head++) {
        int64_t query = (head / shared * a->tokens + token) * shared + head % shared;
        const float *found = t->found + query * t->parts * (a->width + 2);
        PATH(merge, (found, t->parts, a->width, a->y + (token * a->heads + head) * a->width))
    }
}

struct appending {
    const struct attention *a;
    int64_t share; /* tokens of a chunk */
};

static void append_chunk(void *context, int64_t chunk)
{
    const struct appending *t = context;
    int64_t last = at_most((chunk + 1) * t->share, t->a->tokens);
    for (int64_t token = chunk * t->share; token < last; token++)
        PATH(append, (t->a, token))
}

static void append(const struct attention *a)
{
    struct appending t = {a, SHARE / (a->groups * a->width + 1) + 1};
    native_parallel(append_chunk, &t, (a->tokens + t.share - 1) / t.share);
}

EXPORT const char *native_attend(const struct attention *a)
{
    const char *fault = fault_of(a);
    if (fault || !a->tokens)
        return fault;
    int64_t queries = a->tokens * (a->heads / a->groups), longest = 0, products = 0;
    struct attending t = {.a = a, .parts = 1};
    t.blocks = malloc((size_t)(a->tokens + queries / QUERIES + 1) * sizeof *t.blocks);
    if (!t.blocks)
        return NO_MEMORY;
    t.count = divide(a, t.blocks);
    for (int64_t number = 0; number < t.count; number++) {
        int64_t low, high, keys = reach(a, t.blocks[number], &low, &high);
        longest = keys > longest ? keys : longest;
        products += keys * (t.blocks[number].to - t.blocks[number].from) * a->groups * a->width;
    }
    if (t.count * a->groups < ENOUGH && longest > PART_KEYS) {
        t.parts = (longest + PART_KEYS - 1) / PART_KEYS;
        t.found = malloc((size_t)(queries * a->groups * t.parts * (a->width + 2)) * sizeof *t.found);
        if (!t.found) {
            free(t.blocks);
            return NO_MEMORY;
        }
    }
    append(a);
    int64_t chunks = t.count * a->groups * t.parts;
    if (products > ALONE)
        native_parallel(attend_chunk, &t, chunks);
    else
        for (int64_t chunk = 0; chunk < chunks; chunk++)
            attend_chunk(&t, chunk);
    for (int64_t token = 0; t.parts > 1 && !t.failed && token < a->tokens; token++)
        merge_token(&t, token);
    free(t.found);
    free(t.blocks);
    return t.failed ? NO_MEMORY : NULL;
}
