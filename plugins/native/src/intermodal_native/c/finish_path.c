/* Bias, activation, gate and residual of sums that are in the caches still. Compiled once for each set of instructions;
   everything is computed in float32. */
#include "finish_path.h"

#include "functions.h"

INLINE void finish(const int activation, struct finish f)
{
    for (int64_t row = 0; row < f.m; row++)
        for (int64_t at = 0; at < f.count; at += LANES) {
            float *y = f.y + row * f.step;
            vec values = take(FLOAT32, y, at, f.count);
            if (f.bias)
                values += take(f.bias_dtype, f.bias, at, f.count);
            values = activated(activation, values);
            if (f.times)
                values *= take(FLOAT32, f.times + row * f.count, at, f.count);
            if (f.residual)
                values += take(FLOAT32, f.residual + row * f.step, at, f.count);
            put(y, at, f.count, values);
        }
}

void NAME(finish)(struct finish f)
{
    switch (f.activation) {
    case SILU: finish(SILU, f); break;
    case GELU: finish(GELU, f); break;
    case GELU_TANH: finish(GELU_TANH, f); break;
    case RELU: finish(RELU, f); break;
    default: finish(NO_ACTIVATION, f);
    }
}
