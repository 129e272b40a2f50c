/* Rows of weights in groups, widened in registers: exactly the values that they stand for. Compiled once for each set of
   instructions. */
#include "products_path.h"

enum { MOST = 32 / LANES }; /* vectors in a group */
enum { STRIP = 64 };        /* groups whose scales are widened at a time */
enum { AHEAD = 8192, CACHE_LINE = 64 }; /* bytes; as in products_path.c */

#if defined(__AVX512F__)
INLINE ints32 widen_uint8(const void *from)
{
    return (ints32)_mm512_cvtepu8_epi32(_mm_loadu_si128(from));
}
#elif defined(__AVX2__)
INLINE ints32 widen_uint8(const void *from)
{
    return (ints32)_mm256_cvtepu8_epi32(_mm_loadl_epi64(from));
}
#else
INLINE ints32 widen_uint8(const void *from)
{
    uint8_t value __attribute__((vector_size(LANES)));
    memcpy(&value, from, sizeof value);
    return __builtin_convertvector(value, ints32);
}
#endif

/* A group of `width` columns in float32. */
INLINE void widen_group(const int dtype, const int width, const int has_minimum, vec *out, const char *from, float scale,
                        float minimum)
{
    if (dtype == INT8) {
#pragma GCC unroll 8
        for (int i = 0; i < width / LANES; i++) {
            out[i] = widen_int8(from + i * LANES) * scale;
            if (has_minimum)
                out[i] += minimum;
        }
        return;
    }
#if defined(__AVX512F__)
    /* What each of 16 numbers stands for is a vector, which the low four bits of each lane choose from. */
    const vec numbers = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    vec table = has_minimum ? numbers * scale + minimum : (numbers - 8) * scale;
    __m512i bytes = (__m512i)widen_uint8(from);
    out[0] = _mm512_permutexvar_ps(bytes, table);
    out[1] = _mm512_permutexvar_ps(_mm512_srli_epi32(bytes, 4), table);
#else
#pragma GCC unroll 8
    for (int i = 0; i < MOST / 2; i++) {
        ints32 bytes = widen_uint8(from + i * LANES), low = bytes & 15, high = bytes >> 4;
        if (!has_minimum)
            low -= 8, high -= 8;
        out[i] = __builtin_convertvector(low, vec) * scale;
        out[i + MOST / 2] = __builtin_convertvector(high, vec) * scale;
        if (has_minimum)
            out[i] += minimum, out[i + MOST / 2] += minimum;
    }
#endif
}

/* Up to STRIP scales or minima from `at` on; those that are float32 are used where they are. */
INLINE const float *strip_of(int dtype, const void *scales, int64_t at, int64_t count, float *wide)
{
    if (dtype == FLOAT32 || !scales)
        return scales ? (const float *)scales + at : NULL;
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        store(wide + i, load(FLOAT16, scales, at + i));
    if (i < count) {
        float rest[LANES];
        store(rest, load_part(FLOAT16, scales, at + i, count - i));
        memcpy(wide + i, rest, (size_t)(count - i) * sizeof *rest);
    }
    return wide;
}

/* A row of the weight: times x, or written to `to`. */
INLINE float each_group(const int dtype, const int width, const int has_minimum, const struct matrix *w, int64_t row,
                        const float *x, float *to)
{
    const int64_t bytes = dtype == INT4 ? width / 2 : width, groups = w->groups, ends = w->rows * groups * bytes - 1;
    float some_scales[STRIP], some_minima[STRIP];
    vec sums[2 * MOST], values[MOST];
#pragma GCC unroll 16
    for (int i = 0; i < 2 * MOST; i++)
        sums[i] = (vec){0};
    for (int64_t from = 0; from < groups; from += STRIP) {
        const int64_t count = groups - from < STRIP ? groups - from : STRIP, at = row * groups + from;
        const char *data = w->data;
        const float *scales = strip_of(w->scale_dtype, w->scale, at, count, some_scales);
        const float *minima = has_minimum ? strip_of(w->scale_dtype, w->minimum, at, count, some_minima) : scales;
        for (int64_t i = 0; i < count; i += 2) {
            const int64_t next = (at + i) * bytes + AHEAD;
            __builtin_prefetch(data + (next < ends ? next : ends), 0, 2);
#pragma GCC unroll 2
            for (int odd = 0; odd < 2; odd++) {
                if (i + odd == count)
                    break;
                widen_group(dtype, width, has_minimum, values, data + (at + i + odd) * bytes, scales[i + odd],
                            minima[i + odd]);
                const int64_t column = (from + i + odd) * width;
#pragma GCC unroll 8
                for (int j = 0; j < width / LANES; j++)
                    if (to)
                        store(to + column + j * LANES, values[j]);
                    else
                        sums[odd * MOST + j] += values[j] * load(FLOAT32, x, column + j * LANES);
            }
        }
    }
    vec total = sums[0];
#pragma GCC unroll 16
    for (int i = 1; i < 2 * MOST; i++)
        total += sums[i];
    return sum(total);
}

INLINE float each_kind(const struct matrix *w, int64_t row, const float *x, float *to)
{
    const int narrow = w->columns / w->groups == 16;
    if (w->dtype == INT4)
        return w->minimum ? each_group(INT4, 32, 1, w, row, x, to) : each_group(INT4, 32, 0, w, row, x, to);
    if (narrow)
        return w->minimum ? each_group(INT8, 16, 1, w, row, x, to) : each_group(INT8, 16, 0, w, row, x, to);
    return w->minimum ? each_group(INT8, 32, 1, w, row, x, to) : each_group(INT8, 32, 0, w, row, x, to);
}

float NAME(dot_groups)(const float *x, const struct matrix *w, int64_t row)
{
    return each_kind(w, row, x, NULL);
}

void NAME(widen_groups)(float *to, const struct matrix *w, int64_t row)
{
    each_kind(w, row, NULL, to);
}
