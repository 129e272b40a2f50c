/* What `dequantize.c` asks of the path that the processor has. */
#pragma once

#include "vector.h"

/* Packed blocks, how many, and where their values go, in one of three dtypes; some types have a code book. */
struct blocks {
    const uint8_t *packed, *book;
    void *out;
    int64_t count;
    int dtype;
};

int dequantize_baseline(int type, struct blocks s, int64_t size, int64_t book_size, int64_t values);
int dequantize_avx2(int type, struct blocks s, int64_t size, int64_t book_size, int64_t values);
int dequantize_avx512(int type, struct blocks s, int64_t size, int64_t book_size, int64_t values);
