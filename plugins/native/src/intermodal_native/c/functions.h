/* Vectors of values of which there may be fewer, and functions of vectors. */
#pragma once

#include "vector.h"

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
