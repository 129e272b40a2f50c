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

/* Φ, the normal distribution, by Φ(-|x|) = e**(-x²/2) t R(t) with t = 1 / (1 + |x| / √8), where R is the polynomial that
   is off by least for all x, 4.4e-8 of its value (it was fitted to scipy.special.erfcx). */
INLINE vec normal_distribution(vec x)
{
    vec t = 1.0f / (choose(x < 0, -x, x) * 0.35355339059327373f + 1.0f);
    vec tail = t * -0.029693248890596848f + 0.1430620953397757f;
    tail = tail * t - 0.24520346559246395f;
    tail = tail * t + 0.1408670134818239f;
    tail = tail * t - 0.014574556466573378f;
    tail = tail * t + 0.10187640012213409f;
    tail = tail * t + 0.12141751974169161f;
    tail = tail * t + 0.14120605482432033f;
    tail = tail * t + 0.14104216535460992f;
    tail = tail * t * exponential(x * x * -0.5f);
    return choose(x < 0, tail, 1.0f - tail);
}

/* x / (1 + e**-x); x Φ(x); its approximation by tanh, which is x / (1 + e**-2u) with its u; and what is above 0. */
INLINE vec activated(const int activation, vec x)
{
    switch (activation) {
    case SILU: return x / (exponential(-x) + 1.0f);
    case GELU: return x * normal_distribution(x);
    case GELU_TANH: return x / (exponential((x + x * x * x * 0.044715f) * -1.5957691216057308f) + 1.0f);
    case RELU: return choose(x < 0, all(0), x);
    default: return x;
    }
}
