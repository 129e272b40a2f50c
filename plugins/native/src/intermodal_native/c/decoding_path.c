/* What a token needs beside its products and attention: norms and rotation. Compiled once for each set of
   instructions; everything is computed in float32. */
#include "decoding_path.h"

#include <math.h>

#include "functions.h"

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
