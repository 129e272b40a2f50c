/* Values of GGUF's packed blocks, by the processor's own path. */
#include "dequantize_path.h"

EXPORT int native_dequantize(int type, const uint8_t *packed, int64_t size, const uint8_t *book, int64_t book_size,
                             void *out, int64_t values, int dtype)
{
    struct blocks s = {packed, book, out, 0, dtype};
    if (dtype != FLOAT32 && dtype != FLOAT16 && dtype != BFLOAT16)
        return 0;
    switch (native_path()) {
#if defined(__x86_64__)
    case AVX512: return dequantize_avx512(type, s, size, book_size, values);
    case AVX2: return dequantize_avx2(type, s, size, book_size, values);
#endif
    default: return dequantize_baseline(type, s, size, book_size, values);
    }
}
