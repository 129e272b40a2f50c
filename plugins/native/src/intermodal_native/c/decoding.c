/* What a token needs beside its products and attention: norms, on several threads where that pays, and rotation. */
#include "decoding_path.h"
#include "dispatch.h"

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
