/* Vectors of float32, as wide as the instructions that this file is compiled for: 4, 8 or 16 elements.

   They are the compiler's own vector types, so that one source serves every processor; only float16 needs an instruction
   by name. Products and sums of vectors are contracted to fused multiply-adds where there are such. */
#pragma once

#include <stdint.h>
#include <string.h>
#if defined(__SSE__)
#include <immintrin.h>
#endif

#include "native.h"

#if defined(__AVX512F__)
#define LANES 16
#define NAME(name) name##_avx512
#elif defined(__AVX2__)
#define LANES 8
#define NAME(name) name##_avx2
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

static const int BYTES[DTYPES] = {[FLOAT32] = 4, [BFLOAT16] = 2, [FLOAT16] = 2, [INT8] = 1}; /* of an element */

/* LANES stored values to float32, exactly. Compilers do not find these instructions by themselves. */
#if defined(__AVX512F__)
INLINE vec widen_bfloat16(const void *from)
{
    return (vec)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(from)), 16);
}

INLINE vec widen_float16(const void *from)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256(from));
}

INLINE vec widen_int8(const void *from)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from)));
}
#elif defined(__AVX2__)
INLINE vec widen_bfloat16(const void *from)
{
    return (vec)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(from)), 16);
}

INLINE vec widen_float16(const void *from)
{
    return _mm256_cvtph_ps(_mm_loadu_si128(from));
}

INLINE vec widen_int8(const void *from)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from)));
}
#else
INLINE bits32 widen_bits(const void *from)
{
    bits16 value;
    memcpy(&value, from, sizeof value);
    return __builtin_convertvector(value, bits32);
}

INLINE vec widen_bfloat16(const void *from)
{
    return (vec)(widen_bits(from) << 16);
}

INLINE vec widen_float16(const void *from)
{
    bits32 half = widen_bits(from), sign = (half & 0x8000) << 16, size = half & 0x7fff;
    bits32 normal = (size << 13) + ((127 - 15) << 23), special = (size << 13) | 0x7f800000;
    vec tiny = __builtin_convertvector((ints32)size, vec) * 0x1p-24f; /* below 2**10: a subnormal number */
    bits32 is_tiny = (bits32)(size < 0x400), is_special = (bits32)(size >= 0x7c00);
    return (vec)(sign | (is_tiny & (bits32)tiny) | (is_special & special) | (~is_tiny & ~is_special & normal));
}

INLINE vec widen_int8(const void *from)
{
    ints8 value;
    memcpy(&value, from, sizeof value);
    return __builtin_convertvector(__builtin_convertvector(value, ints32), vec);
}
#endif

/* Elements `at` to `at + LANES - 1` of stored values, in float32. */
INLINE vec load(int dtype, const void *data, int64_t at)
{
    const char *start = (const char *)data + at * BYTES[dtype];
    vec value;
    switch (dtype) {
    case BFLOAT16: return widen_bfloat16(start);
    case FLOAT16: return widen_float16(start);
    case INT8: return widen_int8(start);
    default: memcpy(&value, start, sizeof value); return value;
    }
}

INLINE void store(float *to, vec value)
{
    memcpy(to, &value, sizeof value);
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

/* The sums of four vectors, side by side. */
INLINE void sum4(float *to, vec a, vec b, vec c, vec d)
{
#if defined(__SSE__)
    __m128 rows[4];
    const vec *given[4] = {&a, &b, &c, &d};
    for (int i = 0; i < 4; i++) {
#if LANES == 16
        __m256 half = _mm256_add_ps(_mm512_castps512_ps256(*given[i]), _mm512_extractf32x8_ps(*given[i], 1));
        rows[i] = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
#elif LANES == 8
        rows[i] = _mm_add_ps(_mm256_castps256_ps128(*given[i]), _mm256_extractf128_ps(*given[i], 1));
#else
        rows[i] = *given[i];
#endif
    }
    _MM_TRANSPOSE4_PS(rows[0], rows[1], rows[2], rows[3]);
    _mm_storeu_ps(to, _mm_add_ps(_mm_add_ps(rows[0], rows[1]), _mm_add_ps(rows[2], rows[3])));
#else
    to[0] = sum(a), to[1] = sum(b), to[2] = sum(c), to[3] = sum(d);
#endif
}

/* Transposes 4 rows of 4 elements; the strides are in elements. */
INLINE void transpose4(const float *from, int64_t stride, float *to, int64_t to_stride)
{
#if defined(__SSE__)
    __m128 a = _mm_loadu_ps(from), b = _mm_loadu_ps(from + stride);
    __m128 c = _mm_loadu_ps(from + 2 * stride), d = _mm_loadu_ps(from + 3 * stride);
    _MM_TRANSPOSE4_PS(a, b, c, d);
    _mm_storeu_ps(to, a);
    _mm_storeu_ps(to + to_stride, b);
    _mm_storeu_ps(to + 2 * to_stride, c);
    _mm_storeu_ps(to + 3 * to_stride, d);
#else
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++)
            to[j * to_stride + i] = from[i * stride + j];
#endif
}
