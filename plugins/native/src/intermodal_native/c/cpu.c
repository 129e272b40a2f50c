/* What this library was compiled from, and which instructions this processor has, asked once. */
#include <stdatomic.h>

#include "native.h"

EXPORT uint32_t native_fingerprint(void)
{
    return FINGERPRINT;
}

EXPORT int native_best_path(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")
        && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("fma"))
        return AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) /* all that have these have f16c */
        return AVX2;
#endif
    return BASELINE;
}

static _Atomic int chosen = -1;

EXPORT int native_path(void)
{
    int path = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (path < 0) {
        path = native_best_path();
        atomic_store_explicit(&chosen, path, memory_order_relaxed);
    }
    return path;
}

EXPORT int native_use_path(int path)
{
    if (path < BASELINE || path > native_best_path())
        return 0;
    atomic_store_explicit(&chosen, path, memory_order_relaxed);
    return 1;
}
