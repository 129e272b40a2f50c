/* What the C files of this library share. Everything named `native_…` is called from Python or by XLA. */
#pragma once

#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))

/* How the elements of a weight are stored. `library.py` has the same numbers. INT4 is two columns in a byte: a run of 32
   is 16 bytes, the first 16 columns in their low halves. */
enum { FLOAT32, BFLOAT16, FLOAT16, INT8, INT4, DTYPES };

/* A weight (rows, columns), row after row without gaps, and the bias that belongs to it, or NULL. Without groups `scale`
   has one float32 factor for each row, or is NULL. With groups each row has as many factors, and what is added behind
   them in `minimum` unless that is NULL; INT4 is 0 to 15 then with a minimum, and -8 to 7 without, stored 8 higher. */
struct matrix {
    const void *data;
    const void *scale;
    int64_t rows, columns;
    int32_t dtype, scale_dtype; /* the latter of scale and minimum of groups: FLOAT32 or FLOAT16 */
    const void *minimum;
    int64_t groups; /* of a row, each of 16 or 32 columns; or 0 */
    const void *bias; /* (rows,) */
    int64_t bias_dtype;
};

/* A number that changes with these files, of the compiler's command. */
EXPORT uint32_t native_fingerprint(void);

/* Which instructions the processor has, from the least to the most. */
enum { BASELINE, AVX2, AVX512, PATHS };

EXPORT int native_best_path(void);
EXPORT int native_path(void);
/* Force a path that the processor has, for tests; returns whether it has it. */
EXPORT int native_use_path(int path);

/* Calls `work(context, chunk)` for each chunk from 0 to chunks - 1, on several threads, and waits for all of them.
   Where another caller has the threads, or there is one chunk only, the calling thread does it all. */
typedef void native_work(void *context, int64_t chunk);
EXPORT void native_parallel(native_work *work, void *context, int64_t chunks);
EXPORT int native_threads(void);
EXPORT void native_use_threads(int threads);

/* Root-mean-square norms of x (rows, width): times weight, or times 1 + weight where `offset`. */
EXPORT void native_norm(const float *x, const void *weight, int dtype, int offset, float epsilon, float *y,
                        int64_t rows, int64_t width);

/* Rotary embedding of one position in x (batch, heads, width); the sines of a head's first half are negative. */
EXPORT void native_rotate(const float *x, const float *cosines, const float *sines, int64_t table_step, float *y,
                          int64_t batch, int64_t heads, int64_t width);

/* Attention of new tokens, of any rows, to a cache and to each other; `for_torch.py` packs this structure.

   A token's key and value are written to its row of the cache, at its slot, and it sees the keys of its row from `first`
   to `last`. Keys that some token sees have to be written: in the cache before, or by a token of this call. A token
   whose last key is before its first sees nothing and gives zeros; one whose slot is -1 is not written either. */
struct attention {
    const float *q, *k, *v;   /* (tokens, heads, width) of q, (tokens, groups, width) of k and v */
    float *keys, *values, *y; /* the cache (batch, groups, capacity, width), and the result, as q */
    /* Of each token. Rows may be NULL: each has as many tokens, one after the other; last too: a token's own slot. */
    const int32_t *rows, *slots, *first, *last;
    const float *cosines, *sines; /* of half a head, by which q and k are rotated first, or NULL */
    int64_t tokens, batch, heads, groups, width, capacity;
    int64_t table_step; /* from a token's cosines and sines to the next one's */
    float scale;
};
/* Returns NULL, or what is wrong; then nothing was written. */
EXPORT const char *native_attend(const struct attention *a);

/* Values of GGUF's packed blocks of ggml's number `type`, in float32, float16 or bfloat16; `book` is the type's code book,
   signed bytes, where it has one. Returns 0, and writes nothing, where the sizes (bytes, values) do not go together. */
EXPORT int native_dequantize(int type, const uint8_t *packed, int64_t size, const uint8_t *book, int64_t book_size,
                             void *out, int64_t values, int dtype);

/* What is computed with x before products, and with their sums; `for_torch.py` packs this structure. */
enum { NO_ACTIVATION, SILU, GELU, GELU_TANH, RELU, ACTIVATIONS };
struct around {
    const void *norm;      /* x is normed first, as by `native_norm` with this weight (columns,); or NULL */
    const float *residual; /* shaped as y[0], added to it last; or NULL */
    int32_t norm_dtype, norm_offset;
    float epsilon;
    int32_t activation; /* of the products, with their biases */
    int32_t gated;      /* of two weights of one shape there is one y, activation(the first's) * the second's */
};

/* y[i] (m, w[i].rows) = x (m, columns) times the transpose of w[i], summed in float32, plus its bias, and what is `around`
   unless that is NULL; all weights have x's columns. No y may be x or a residual. Returns 0 where memory is missing. */
EXPORT int native_product(const float *x, int64_t m, const struct matrix *w, int count, float *const *y,
                          const struct around *around);
