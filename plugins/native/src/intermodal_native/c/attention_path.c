/* Attention of some queries to some keys of one head. Compiled once for each set of instructions.

   Many queries lie side by side in a vector, and so do their scores, weights and values: an element of a key or value is
   spread over a vector and meets the same element of every query. So nothing is summed across a vector, keys and values
   are read as they lie in the cache, and one that is read serves all heads of its group and all neighbouring tokens.
   Few queries, as those of one token, would leave most of a vector empty: there it holds elements of one of them. */
#include "attention_path.h"

#include <math.h>

#include "functions.h"

#if LANES == 16
enum { VECTORS = 3, TALL = 8 }; /* 24 sums, 3 vectors of queries, 1 of a key: 28 of 32 registers */
#else
enum { VECTORS = 3, TALL = 4 }; /* 12 + 3 + 1 of 16 */
#endif
enum { KEYS = 64 }; /* whose scores are kept at a time, in the first cache */
enum { FEW = 4 };   /* queries that meet a key together where they are few */

/* x (width,), rotated where there are tables of half its width, times a factor. */
INLINE void turn(const float *x, const float *cosines, const float *sines, float factor, float *y, int64_t width)
{
    if (!cosines) {
        for (int64_t at = 0; at < width; at += LANES)
            put(y, at, width, take(FLOAT32, x, at, width) * factor);
        return;
    }
    int64_t half = width / 2;
    for (int64_t at = 0; at < half; at += LANES) {
        vec a = take(FLOAT32, x, at, half), b = take(FLOAT32, x + half, at, half);
        vec cosine = take(FLOAT32, cosines, at, half) * factor, sine = take(FLOAT32, sines, at, half) * factor;
        put(y, at, half, a * cosine - b * sine);
        put(y + half, at, half, b * cosine + a * sine);
    }
}

/* Writes a token's keys and values, of all groups, to its place in the cache. */
void NAME(append)(const struct attention *a, int64_t token)
{
    int64_t slot = a->slots[token], table = token * a->table_step;
    if (slot < 0)
        return;
    for (int64_t group = 0; group < a->groups; group++) {
        int64_t from = (token * a->groups + group) * a->width;
        int64_t to = ((row_of(a, token) * a->groups + group) * a->capacity + slot) * a->width;
        memcpy(a->values + to, a->v + from, (size_t)a->width * sizeof(float));
        turn(a->k + from, a->cosines ? a->cosines + table : NULL, a->sines + table, 1, a->keys + to, a->width);
    }
}

/* Rows `row` to `row + tall - 1` of c (·, VECTORS' width): a times b, or added to what is there. An element of a is at
   `a[row * a_row + column * a_column]`; b and c are vectors of queries, row after row. */
INLINE void tile(const int tall, const int vectors, const int add, const float *a, int64_t a_row, int64_t a_column,
                 const float *b, int64_t depth, float *c)
{
    vec sums[8][VECTORS];
#pragma GCC unroll 8
    for (int i = 0; i < tall; i++)
#pragma GCC unroll 3
        for (int j = 0; j < vectors; j++)
            sums[i][j] = add ? load(FLOAT32, c, (i * vectors + j) * LANES) : (vec){0};
    for (; depth; depth--, a += a_column, b += vectors * LANES) {
        vec columns[VECTORS];
#pragma GCC unroll 3
        for (int j = 0; j < vectors; j++)
            columns[j] = load(FLOAT32, b, j * LANES);
#pragma GCC unroll 8
        for (int i = 0; i < tall; i++)
#pragma GCC unroll 3
            for (int j = 0; j < vectors; j++)
                sums[i][j] += a[i * a_row] * columns[j];
    }
#pragma GCC unroll 8
    for (int i = 0; i < tall; i++)
#pragma GCC unroll 3
        for (int j = 0; j < vectors; j++)
            store(c + (i * vectors + j) * LANES, sums[i][j]);
}

/* Scores (keys, queries) of `count` keys; the last tile may repeat some of the one before. */
INLINE void score(const int vectors, const float *keys, int64_t width, const float *queries, int64_t count, float *scores)
{
    const int tall = vectors == 1 ? 8 : TALL, wide = vectors * LANES;
    int64_t key = 0;
    for (; key + tall <= count; key += tall)
        tile(tall, vectors, 0, keys + key * width, width, 1, queries, width, scores + key * wide);
    if (key < count && count > tall) {
        key = count - tall;
        tile(tall, vectors, 0, keys + key * width, width, 1, queries, width, scores + key * wide);
    } else {
        for (; key < count; key++)
            tile(1, vectors, 0, keys + key * width, width, 1, queries, width, scores + key * wide);
    }
}

/* Adds values, times weights (keys, queries), to the sums (width, queries). */
INLINE void gather(const int vectors, const float *values, int64_t width, const float *weights, int64_t count, float *sums)
{
    const int tall = vectors == 1 ? 8 : TALL, wide = vectors * LANES;
    int64_t at = 0;
    for (; at + tall <= width; at += tall)
        tile(tall, vectors, 1, values + at, 1, width, weights, count, sums + at * wide);
    for (; at < width; at++)
        tile(1, vectors, 1, values + at, 1, width, weights, count, sums + at * wide);
}

/* What a vector of queries has seen so far, and may see. */
struct seen {
    vec highest, total;
    ints32 first, last;
};

/* Makes weights of a vector's scores of keys `key` to `key + count - 1`, `wide` floats apart; `sums` follow. */
INLINE void weigh(struct seen *s, int masked, int64_t key, int64_t count, float *scores, int wide, float *sums,
                  int64_t width)
{
    const vec none = all(-INFINITY);
    vec highest = s->highest, total;
    for (int64_t i = 0; i < count; i++) {
        vec value = load(FLOAT32, scores, i * wide);
        if (masked) {
            ints32 number = (ints32){0} + (int32_t)(key + i);
            value = choose((number >= s->first) & (number <= s->last), value, none);
            store(scores + i * wide, value);
        }
        highest = choose(value > highest, value, highest);
    }
    vec base = choose(highest == none, all(0), highest); /* where nothing is seen yet */
    vec factor = exponential(s->highest - base);
    total = s->total * factor;
    for (int64_t i = 0; i < count; i++) {
        vec value = load(FLOAT32, scores, i * wide), weight = exponential(value - base);
        if (masked)
            weight = choose(value == none, all(0), weight);
        store(scores + i * wide, weight);
        total += weight;
    }
    for (int64_t at = 0; at < width; at++)
        store(sums + at * wide, load(FLOAT32, sums, at * wide) * factor);
    s->highest = highest, s->total = total;
}

/* One query, rotated and scaled. */
static void take_query(const struct part *p, int64_t query, float *strip)
{
    const struct attention *a = p->a;
    int64_t shared = a->heads / a->groups, token = query / shared, table = token * a->table_step;
    const float *x = a->q + (token * a->heads + p->group * shared + query % shared) * a->width;
    turn(x, a->cosines ? a->cosines + table : NULL, a->sines + table, a->scale, strip, a->width);
}

/* What one query found, to where it belongs. */
static void give_query(const struct part *p, int64_t query, float highest, float total, const float *sums)
{
    const struct attention *a = p->a;
    int64_t shared = a->heads / a->groups, head = p->group * shared + query % shared;
    float *y = a->y + (query / shared * a->heads + head) * a->width, factor = 1;
    if (p->found) {
        y = p->found + (query - p->from) * p->step;
        *y++ = highest;
        *y++ = total;
    } else {
        factor = total == 0 ? 0 : 1 / total; /* a query that sees nothing gives zeros */
    }
    for (int64_t at = 0; at < a->width; at += LANES)
        put(y, at, a->width, take(FLOAT32, sums, at, a->width) * factor);
}

/* Queries `from` to `from + count - 1` side by side: (deep, wide), zeros where there are none. */
static void take_queries(const struct part *p, int64_t from, int64_t count, int64_t wide, float *strips, float *queries)
{
    int64_t deep = deep_of(p->a->width);
    memset(strips, 0, (size_t)(4 * deep) * sizeof *strips);
    for (int64_t lane = 0; lane < wide; lane += 4) {
        for (int64_t i = 0; i < 4; i++)
            if (lane + i < count)
                take_query(p, from + lane + i, strips + i * deep);
            else
                memset(strips + i * deep, 0, (size_t)deep * sizeof *strips);
        for (int64_t at = 0; at < deep; at += 4)
            transpose4(strips + at, deep, queries + at * wide + lane, wide);
    }
}

/* The sums of queries that lie side by side, to where they belong. */
static void give_queries(const struct part *p, int64_t from, int64_t count, int64_t wide, const struct seen *seen,
                         float *strips, const float *sums)
{
    int64_t deep = deep_of(p->a->width);
    for (int64_t lane = 0; lane < count; lane += 4) {
        for (int64_t at = 0; at < deep; at += 4)
            transpose4(sums + at * wide + lane, wide, strips + at, deep);
        for (int64_t i = lane; i < lane + 4 && i < count; i++) {
            const struct seen *s = &seen[i / LANES];
            give_query(p, from + i, s->highest[i % LANES], s->total[i % LANES], strips + (i - lane) * deep);
        }
    }
}

/* `count` queries from `from` on, which fill `vectors` vectors. */
INLINE void attend_with(const int vectors, const struct part *p, int64_t from, int64_t count)
{
    const struct attention *a = p->a;
    const int wide = vectors * LANES;
    int64_t width = a->width, deep = deep_of(width), shared = a->heads / a->groups;
    float scores[KEYS * VECTORS * LANES] __attribute__((aligned(64)));
    float *queries = p->memory, *sums = queries + deep * QUERIES, *strips = sums + deep * QUERIES;
    struct seen seen[VECTORS];
    int64_t low = p->high, high = p->low, all_from = p->low, all_to = p->high; /* keys that some see, that all see */
    take_queries(p, from, count, wide, strips, queries);
    memset(sums, 0, (size_t)(deep * wide) * sizeof *sums);
    for (int lane = 0; lane < wide; lane++) {
        struct seen *s = &seen[lane / LANES];
        int64_t token = (from + (lane < count ? lane : 0)) / shared, first = a->first[token], last = last_of(a, token);
        s->first[lane % LANES] = (int32_t)first, s->last[lane % LANES] = (int32_t)last;
        s->highest[lane % LANES] = -INFINITY, s->total[lane % LANES] = 0;
        all_from = first > all_from ? first : all_from;
        all_to = last + 1 < all_to ? last + 1 : all_to;
        if (first <= last) {
            low = first < low ? first : low;
            high = last + 1 > high ? last + 1 : high;
        }
    }
    low = low < p->low ? p->low : low, high = high > p->high ? p->high : high;
    for (int64_t key = low; key < high; key += KEYS) {
        int64_t keys = high - key < KEYS ? high - key : KEYS;
        int64_t at = ((p->row * a->groups + p->group) * a->capacity + key) * width;
        score(vectors, a->keys + at, width, queries, keys, scores);
        for (int j = 0; j < vectors; j++)
            weigh(&seen[j], key < all_from || key + keys > all_to, key, keys, scores + j * LANES, wide, sums + j * LANES,
                  width);
        gather(vectors, a->values + at, width, scores, keys, sums);
    }
    give_queries(p, from, count, wide, seen, strips, sums);
}

/* Functions of their own, so that the compiler keeps each one's sums in registers. */
static __attribute__((noinline)) void attend_1(const struct part *p, int64_t from, int64_t count)
{
    attend_with(1, p, from, count);
}

static __attribute__((noinline)) void attend_2(const struct part *p, int64_t from, int64_t count)
{
    attend_with(2, p, from, count);
}

static __attribute__((noinline)) void attend_3(const struct part *p, int64_t from, int64_t count)
{
    attend_with(3, p, from, count);
}

/* Asks the memory for `count` rows of keys or values. */
INLINE void fetch(const float *rows, int64_t count, int64_t width)
{
    for (const char *line = (const char *)rows, *end = (const char *)(rows + count * width); line < end; line += 64)
        __builtin_prefetch(line, 0, 3);
}

/* Scores of `tall` keys from `key` on, for `wide` queries. */
INLINE void score_few(const int wide, const int tall, const float *keys, int64_t width, const float *queries,
                      int64_t deep, int64_t key, float scores[][KEYS])
{
    vec sums[FEW][4] = {{{0}}};
    for (int64_t at = 0; at < width; at += LANES) {
        vec values[4];
#pragma GCC unroll 4
        for (int i = 0; i < tall; i++)
            values[i] = take(FLOAT32, keys + (key + i) * width, at, width);
#pragma GCC unroll 4
        for (int j = 0; j < wide; j++) {
            vec query = take(FLOAT32, queries + j * deep, at, width);
#pragma GCC unroll 4
            for (int i = 0; i < tall; i++)
                sums[j][i] += values[i] * query;
        }
    }
#pragma GCC unroll 4
    for (int j = 0; j < wide; j++)
        if (tall == 4)
            sum4(&scores[j][key], sums[j][0], sums[j][1], sums[j][2], sums[j][3]);
        else
            scores[j][key] = sum(sums[j][0]);
}

/* Makes weights of one query's scores of `count` keys, of which it sees those from `low` to `high - 1`; `sums` follow. */
INLINE void weigh_few(float *highest, float *total, int64_t low, int64_t high, int64_t count, float *scores, float *sums,
                      int64_t width)
{
    float before = *highest;
    for (int64_t key = 0; key < (count + LANES - 1) / LANES * LANES; key++)
        scores[key] = key >= low && key < high ? scores[key] : -INFINITY;
    for (int64_t key = low; key < high; key++)
        *highest = scores[key] > *highest ? scores[key] : *highest;
    vec base = all(*highest == -INFINITY ? 0 : *highest), totals = {0}, factor = exponential(all(before) - base);
    for (int64_t at = 0; at < count; at += LANES) {
        vec score = load(FLOAT32, scores, at), weight = choose(score == all(-INFINITY), all(0), exponential(score - base));
        store(scores + at, weight);
        totals += weight;
    }
    *total = *total * factor[0] + sum(totals);
    for (int64_t at = 0; at < width; at += LANES)
        put(sums, at, width, take(FLOAT32, sums, at, width) * factor);
}

/* Queries `from` to `from + wide - 1`, at most FEW. */
INLINE void attend_few(const int wide, const struct part *p, int64_t from)
{
    const struct attention *a = p->a;
    int64_t width = a->width, deep = deep_of(width), shared = a->heads / a->groups, row = p->row * a->groups + p->group;
    float scores[FEW][KEYS], highest[FEW], total[FEW] = {0}, *queries = p->memory, *sums = queries + FEW * deep;
    memset(sums, 0, (size_t)(wide * deep) * sizeof *sums);
    for (int j = 0; j < wide; j++) {
        highest[j] = -INFINITY;
        take_query(p, from + j, queries + j * deep);
    }
    for (int64_t first = p->low; first < p->high; first += KEYS) {
        int64_t count = p->high - first < KEYS ? p->high - first : KEYS, key = 0;
        const float *keys = a->keys + (row * a->capacity + first) * width;
        const float *values = a->values + (row * a->capacity + first) * width;
        for (; key + 4 <= count; key += 4) {
            fetch(values + key * width, 4, width);
            fetch(keys + (key + KEYS) * width, 4, width);
            score_few(wide, 4, keys, width, queries, deep, key, scores);
        }
        for (; key < count; key++)
            score_few(wide, 1, keys, width, queries, deep, key, scores);
        for (int j = 0; j < wide; j++) {
            int64_t token = (from + j) / shared, low = a->first[token] - first, high = last_of(a, token) + 1 - first;
            low = low < 0 ? 0 : low, high = high > count ? count : high;
            weigh_few(&highest[j], &total[j], low, high, count, scores[j], sums + j * deep, width);
        }
        for (int64_t at = 0; at < width; at += LANES) {
            vec found[FEW];
#pragma GCC unroll 4
            for (int j = 0; j < wide; j++)
                found[j] = take(FLOAT32, sums + j * deep, at, width);
            for (key = 0; key < count; key++) {
                vec value = take(FLOAT32, values + key * width, at, width);
#pragma GCC unroll 4
                for (int j = 0; j < wide; j++)
                    found[j] += value * scores[j][key];
            }
#pragma GCC unroll 4
            for (int j = 0; j < wide; j++)
                put(sums + j * deep, at, width, found[j]);
        }
    }
    for (int j = 0; j < wide; j++)
        give_query(p, from + j, highest[j], total[j], sums + j * deep);
}

void NAME(attend)(const struct part *p)
{
    int64_t from = p->from;
    while (p->to - from > LANES / 2) {
        int64_t count = p->to - from < VECTORS * LANES ? p->to - from : VECTORS * LANES;
        (count <= LANES ? attend_1 : count <= 2 * LANES ? attend_2 : attend_3)(p, from, count);
        from += count;
    }
    for (; from < p->to; from += FEW)
        switch (p->to - from) {
        case 1: attend_few(1, p, from); break;
        case 2: attend_few(2, p, from); break;
        case 3: attend_few(3, p, from); break;
        default: attend_few(FEW, p, from);
        }
}

/* The values of one query from what was found in several parts of the keys. */
void NAME(merge)(const float *found, int64_t parts, int64_t width, float *y)
{
    int64_t step = width + 2;
    float highest = -INFINITY, total = 0;
    for (int64_t part = 0; part < parts; part++)
        highest = found[part * step] > highest ? found[part * step] : highest;
    memset(y, 0, (size_t)width * sizeof *y);
    for (int64_t part = 0; part < parts; part++) {
        const float *one = found + part * step;
        if (one[1] == 0)
            continue; /* nothing of this part is seen */
        float weight = exponential(all(one[0] - highest))[0];
        total += weight * one[1];
        for (int64_t at = 0; at < width; at += LANES)
            put(y, at, width, take(FLOAT32, y, at, width) + take(FLOAT32, one + 2, at, width) * weight);
    }
    for (int64_t at = 0; total != 0 && at < width; at += LANES)
        put(y, at, width, take(FLOAT32, y, at, width) / total);
}
