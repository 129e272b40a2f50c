/* What a token needs beside its products: norms, rotation, gates, and attention to a cache. Compiled once for each set
   of instructions; everything is computed in float32. */
#include "decoding_path.h"

#include <math.h>

/* A vector of values from `at` on, of which there are `end`; zeros stand for what is beyond. */
INLINE vec take(int dtype, const void *data, int64_t at, int64_t end)
{
    return at + LANES <= end ? load(dtype, data, at) : load_part(dtype, data, at, end - at);
}

INLINE void put(float *to, int64_t at, int64_t end, vec values)
{
    int64_t count = at + LANES <= end ? LANES : end - at;
    memcpy(to + at, &values, (size_t)count * sizeof *to);
}

INLINE vec all(float value) { return (vec){0} + value; }

INLINE vec choose(ints32 condition, vec yes, vec no)
{
    return (vec)((condition & (ints32)yes) | (~condition & (ints32)no));
}

/* e to the power of x, to two units in the last place; beyond -87 and 88 it stays at what these give. */
INLINE vec exponential(vec x)
{
    const vec magic = all(0x1.8p23f);
    x = choose(x > all(88.0f), all(88.0f), x);
    x = choose(x < all(-87.0f), all(-87.0f), x);
    vec shifted = x * 0x1.715476p0f + magic; /* this sum has no room for fractions */
    vec whole = shifted - magic;
    vec rest = x - whole * 0x1.62e4p-1f - whole * 0x1.7f7d1cp-20f;
    vec power = rest * (1.0f / 5040) + 1.0f / 720;
    power = power * rest + 1.0f / 120;
    power = power * rest + 1.0f / 24;
    power = power * rest + 1.0f / 6;
    power = power * rest + 0.5f;
    power = power * rest * rest + rest + 1.0f;
    bits32 exponent = (bits32)(__builtin_convertvector(whole, ints32) + 127);
    return power * (vec)(exponent << 23);
}

void NAME(norm)(struct norm s, int64_t first, int64_t last)
{
    for (int64_t row = first; row < last; row++) {
        const float *x = s.x + row * s.width;
        vec squares = {0};
        for (int64_t at = 0; at < s.width; at += LANES) {
            vec values = take(FLOAT32, x, at, s.width);
            squares += values * values;
        }
        float scale = 1 / sqrtf(sum(squares) / (float)s.width + s.epsilon);
        for (int64_t at = 0; at < s.width; at += LANES) {
            vec weights = take(s.dtype, s.weight, at, s.width) + (s.offset ? 1.0f : 0.0f);
            put(s.y + row * s.width, at, s.width, take(FLOAT32, x, at, s.width) * scale * weights);
        }
    }
}

void NAME(rotate)(const float *x, const float *cosines, const float *sines, float *y, int64_t rows, int64_t width)
{
    int64_t half = width / 2;
    for (int64_t row = 0; row < rows; row++, x += width, y += width)
        for (int64_t at = 0; at < half; at += LANES) {
            vec a = take(FLOAT32, x, at, half), b = take(FLOAT32, x + half, at, half);
            vec low = a * take(FLOAT32, cosines, at, half) + b * take(FLOAT32, sines, at, half);
            vec high = b * take(FLOAT32, cosines + half, at, half) + a * take(FLOAT32, sines + half, at, half);
            put(y, at, half, low);
            put(y + half, at, half, high);
        }
}

/* x / (1 + e**-x), and the approximation of x Φ(x) by tanh, which is x / (1 + e**-2u) with its u. */
INLINE vec activated(int activation, vec x)
{
    vec u = activation == SILU ? x : (x + x * x * x * 0.044715f) * 1.5957691216057308f;
    return x / (exponential(-u) + 1.0f);
}

void NAME(gate)(int activation, const float *gate, const float *up, float *y, int64_t count)
{
    for (int64_t at = 0; at < count; at += LANES)
        put(y, at, count, activated(activation, take(FLOAT32, gate, at, count)) * take(FLOAT32, up, at, count));
}

INLINE void scores_of(struct keys s, const int wide, const int tall, int64_t key, float scores[][MOST_KEYS])
{
    vec sums[4][4] = {{{0}}};
    for (int64_t at = 0; at < s.width; at += LANES) {
        vec keys[4];
#pragma GCC unroll 4
        for (int i = 0; i < tall; i++)
            keys[i] = take(FLOAT32, s.keys + (key + i) * s.width, at, s.width);
#pragma GCC unroll 4
        for (int j = 0; j < wide; j++) {
            vec query = take(FLOAT32, s.queries + j * s.width, at, s.width);
#pragma GCC unroll 4
            for (int i = 0; i < tall; i++)
                sums[j][i] += keys[i] * query;
        }
    }
#pragma GCC unroll 4
    for (int j = 0; j < wide; j++)
#pragma GCC unroll 4
        for (int i = 0; i < tall; i++)
            scores[j][key + i] = sum(sums[j][i]) * s.scale;
}

/* The weights of keys from their scores, in place; returns the highest score of a key that is seen. */
INLINE float weigh(struct keys s, float *scores, float *total)
{
    float highest = -INFINITY;
    for (int64_t key = 0; key < s.keys_count; key++)
        if (!s.seen || s.seen[key])
            highest = scores[key] > highest || scores[key] != scores[key] ? scores[key] : highest;
    vec sums = {0};
    for (int64_t key = s.keys_count; key % LANES; key++)
        scores[key] = -INFINITY;
    for (int64_t at = 0; at < s.keys_count; at += LANES)
        put(scores, at, MOST_KEYS, exponential(load(FLOAT32, scores, at) - highest));
    for (int64_t key = 0; key < s.keys_count; key++)
        if (s.seen && !s.seen[key])
            scores[key] = 0;
    for (int64_t at = 0; at < s.keys_count; at += LANES)
        sums += take(FLOAT32, scores, at, s.keys_count);
    *total = sum(sums);
    return highest;
}

INLINE void attend_with(struct keys s, const int wide)
{
    float scores[4][MOST_KEYS];
    int64_t key = 0;
    for (; key + 4 <= s.keys_count; key += 4)
        scores_of(s, wide, 4, key, scores);
    for (; key < s.keys_count; key++)
        scores_of(s, wide, 1, key, scores);
    for (int j = 0; j < wide; j++)
        s.found[j * s.step] = weigh(s, scores[j], &s.found[j * s.step + 1]);
    for (int64_t at = 0; at < s.width; at += LANES) {
        vec sums[4] = {{0}};
        for (key = 0; key < s.keys_count; key++) {
            vec values = take(FLOAT32, s.values + key * s.width, at, s.width);
#pragma GCC unroll 4
            for (int j = 0; j < wide; j++)
                sums[j] += values * scores[j][key];
        }
        for (int j = 0; j < wide; j++)
            put(s.found + j * s.step + 2, at, s.width, sums[j]);
    }
}

void NAME(attend)(struct keys s)
{
    for (int64_t left = s.queries_count; left > 0; left -= 4) {
        switch (left) {
        case 1: attend_with(s, 1); break;
        case 2: attend_with(s, 2); break;
        case 3: attend_with(s, 3); break;
        default: attend_with(s, 4);
        }
        s.queries += 4 * s.width;
        s.found += 4 * s.step;
    }
}

/* The values of one query from what was found in several parts of the cache. */
void NAME(merge)(const float *found, int64_t parts, int64_t width, float *y)
{
    int64_t step = width + 2;
    float highest = -INFINITY, total = 0;
    for (int64_t part = 0; part < parts; part++) {
        float score = found[part * step];
        highest = score > highest || score != score ? score : highest;
    }
    for (int64_t at = 0; at < width; at += LANES)
        put(y, at, width, (vec){0});
    if (highest == -INFINITY)
        return; /* padding before a text sees nothing: zeros, for what is not a number would stay in the cache */
    for (int64_t part = 0; part < parts; part++) {
        const float *one = found + part * step;
        if (one[0] == -INFINITY)
            continue; /* nothing of this part is seen */
        float weight = exponential(all(one[0] - highest))[0];
        total += weight * one[1];
        for (int64_t at = 0; at < width; at += LANES)
            put(y, at, width, take(FLOAT32, y, at, width) + take(FLOAT32, one + 2, at, width) * weight);
    }
    for (int64_t at = 0; at < width; at += LANES)
        put(y, at, width, take(FLOAT32, y, at, width) / total);
}
