/* A pool of threads for work of microseconds: they wait awake for a moment, then sleep.

   One job runs at a time. Its chunks are handed out one by one to whoever asks, the calling thread among them, so that a
   thread that the system does not let run delays nobody. `ticket` holds the job's number in its upper half and the next
   chunk in the lower: a thread that wakes up late cannot take a chunk of a job that it has not read. */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <time.h>

#include "native.h"

enum { MOST_THREADS = 256, AWAKE_MICROSECONDS = 100 };

#define CHUNK_BITS 32
#define CHUNK_MASK ((UINT64_C(1) << CHUNK_BITS) - 1)

static struct {
    _Atomic(native_work *) work;
    _Atomic(void *) context;
    _Atomic uint64_t chunks;
} job;
static _Atomic uint64_t ticket; /* job number and next chunk */
static _Atomic uint64_t done;   /* chunks of this job that are finished */
static _Atomic int sleepers;
static atomic_flag busy = ATOMIC_FLAG_INIT;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
static _Atomic int wanted = 1; /* threads, the calling one included */
static int started = 1;        /* of these are running; guarded by `busy` */

static inline void pause_briefly(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int64_t microseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Take chunks of the running job until there are no more. */
static void take_chunks(void)
{
    for (;;) {
        uint64_t seen = atomic_load(&ticket);
        if ((seen & CHUNK_MASK) >= atomic_load(&job.chunks))
            return;
        native_work *work = atomic_load(&job.work);
        void *context = atomic_load(&job.context);
        if (atomic_compare_exchange_strong(&ticket, &seen, seen + 1)) { /* so what was read belongs to this job */
            work(context, (int64_t)(seen & CHUNK_MASK));
            atomic_fetch_add(&done, 1);
        }
    }
}

static int is_work(void)
{
    return (atomic_load(&ticket) & CHUNK_MASK) < atomic_load(&job.chunks);
}

static void *serve(void *index)
{
    for (;;) {
        int64_t until = microseconds() + AWAKE_MICROSECONDS;
        while (!is_work()) {
            for (int i = 0; i < 32 && !is_work(); i++)
                pause_briefly();
            if (microseconds() > until || (intptr_t)index >= atomic_load(&wanted)) {
                pthread_mutex_lock(&mutex);
                atomic_fetch_add(&sleepers, 1);
                while (!is_work() || (intptr_t)index >= atomic_load(&wanted))
                    pthread_cond_wait(&wake, &mutex);
                atomic_fetch_sub(&sleepers, 1);
                pthread_mutex_unlock(&mutex);
            } else {
                sched_yield(); /* whoever else wants this core gets it */
            }
        }
        take_chunks();
    }
    return NULL;
}

/* A child of fork has none of its parent's threads, and starts its own. */
static void forget(void)
{
    started = 1;
    atomic_store(&sleepers, 0);
    atomic_store(&job.chunks, 0);
    atomic_flag_clear(&busy);
    pthread_mutex_init(&mutex, NULL);
    pthread_cond_init(&wake, NULL);
}

static void start_threads(int threads)
{
    static int registered;
    if (!registered)
        registered = pthread_atfork(NULL, NULL, forget) == 0;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before); /* signals, Ctrl-C among them, are for Python's own threads */
    for (; started < threads; started++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, serve, (void *)(intptr_t)started) != 0)
            break;
        pthread_detach(thread);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

EXPORT void native_parallel(native_work *work, void *context, int64_t chunks)
{
    int threads = atomic_load_explicit(&wanted, memory_order_relaxed);
    if (chunks < 2 || threads < 2 || atomic_flag_test_and_set(&busy)) {
        for (int64_t chunk = 0; chunk < chunks; chunk++)
            work(context, chunk);
        return;
    }
    if (started < threads)
        start_threads(threads);
    uint64_t number = (atomic_load(&ticket) >> CHUNK_BITS) + 1;
    atomic_store(&ticket, (number << CHUNK_BITS) | CHUNK_MASK); /* nothing to take while the job is written down */
    atomic_store(&done, 0);
    atomic_store(&job.work, work);
    atomic_store(&job.context, context);
    atomic_store(&job.chunks, (uint64_t)chunks);
    atomic_store(&ticket, number << CHUNK_BITS);
    if (atomic_load(&sleepers)) {
        pthread_mutex_lock(&mutex);
        pthread_cond_broadcast(&wake);
        pthread_mutex_unlock(&mutex);
    }
    take_chunks();
    for (int turn = 0; atomic_load(&done) < (uint64_t)chunks; turn++) {
        pause_briefly();
        if (turn % 1024 == 1023)
            sched_yield();
    }
    atomic_flag_clear(&busy);
}

EXPORT int native_threads(void)
{
    return atomic_load(&wanted);
}

EXPORT void native_use_threads(int threads)
{
    atomic_store(&wanted, threads < 1 ? 1 : threads > MOST_THREADS ? MOST_THREADS : threads);
}
