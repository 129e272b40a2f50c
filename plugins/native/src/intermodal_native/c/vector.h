/* Vectors of float32, as wide as the instructions that this file is compiled for: 4, 8 or 16 elements.

   They are the compiler's own vector types, so that one source serves every processor; only float16 needs an instruction
   by name. Products and sums of vectors are contracted to fused multiply-adds where there are such. */
#pragma once

#include <stdint.h>
#include <string.h>

#include "native.h"

#if defined(__AVX512F__)
#define LANES 16
#define NAME(name) name##_avx512
#include <immintrin.h>
#elif defined(__AVX2__)
#define LANES 8
#define NAME(name) name##_avx2
#include <immintrin.h>
#else
#define LANES 4
#define NAME(name) name##_baseline
#endif

#define INLINE static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef uint32_t bits32 __attribute__((vector_size(4 * LANES)));
typedef int32_t ints32 __attribute__((vector_size(4 * LANES)));
typedef uint16_t bits16 __attribute__((vector_size(2 * LANES)));
typedef int8_t ints8 __attribute__((vector_size(LANES)));

static const int BYTES[DTYPES] = {[FLOAT32] = 4, [BFLOAT16] = 2, [FLOAT16] = 2, [INT8] = 1};

/* float16 to float32, exactly. */
INLINE vec widen_float16(bits16 half)
{
#if defined(__AVX512F__)
    return _mm512_cvtph_ps((__m256i)half);
#elif defined(__AVX2__)
    return _mm256_cvtph_ps((__m128i)half);
#else
    bits32 wide = __builtin_convertvector(half, bits32), sign = (wide & 0x8000) << 16, size = wide & 0x7fff;
    bits32 normal = (size << 13) + ((127 - 15) << 23), special = (size << 13) | 0x7f800000;
    vec tiny = __builtin_convertvector((ints32)size, vec) * 0x1p-24f; /* below 2**10: a subnormal number */
    bits32 is_tiny = (bits32)(size < 0x400), is_special = (bits32)(size >= 0x7c00);
    return (vec)(sign | (is_tiny & (bits32)tiny) | (is_special & special) | (~is_tiny & ~is_special & normal));
#endif
}

/* Elements `at` to `at + LANES - 1` of stored values, in float32. */
INLINE vec load(int dtype, const void *data, int64_t at)
{
    const char *start = (const char *)data + at * BYTES[dtype];
    if (dtype == FLOAT32) {
        vec value;
        memcpy(&value, start, sizeof value);
        return value;
    }
    if (dtype == INT8) {
        ints8 value;
        memcpy(&value, start, sizeof value);
        return __builtin_convertvector(__builtin_convertvector(value, ints32), vec);
    }
    bits16 value;
    memcpy(&value, start, sizeof value);
    return dtype == FLOAT16 ? widen_float16(value) : (vec)(__builtin_convertvector(value, bits32) << 16);
}

/* The same where only `left` elements, fewer than LANES, are there: zeros stand for the others. */
INLINE vec load_part(int dtype, const void *data, int64_t at, int64_t left)
{
    char buffer[4 * LANES] = {0};
    memcpy(buffer, (const char *)data + at * BYTES[dtype], (size_t)(left * BYTES[dtype]));
    return load(dtype, buffer, 0);
}

INLINE float sum(vec values)
{
#if defined(__AVX512F__)
    return _mm512_reduce_add_ps(values);
#else
    float total = 0;
    for (int i = 0; i < LANES; i++)
        total += values[i];
    return total;
#endif
}
