/* What divides work between threads and gives it to the path that the processor has. */
#pragma once

#include "native.h"

#if defined(__x86_64__)
#define PATH(function, arguments) \
    switch (native_path()) { \
    case AVX512: function##_avx512 arguments; break; \
    case AVX2: function##_avx2 arguments; break; \
    default: function##_baseline arguments; \
    }
#else
#define PATH(function, arguments) function##_baseline arguments;
#endif

enum { SHARE = 1 << 14 }; /* elements that are worth a thread's while */

static inline int64_t at_most(int64_t value, int64_t limit)
{
    return value < limit ? value : limit;
}
