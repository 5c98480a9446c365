/* A job is open while pieces may be left. Workers that come in time join it; a worker that sleeps or
 * waits for a core is not waited for, since the others do its pieces. Everything hangs on one word:
 *
 *   state = generation << 11 | open << 10 | workers inside
 *
 * Workers join by compare-and-swap only while `open` is set and read the job's fields only inside; the
 * caller writes them only when the job is closed and nobody is inside. The generation (21 bits) wraps;
 * a worker that slept through exactly one turn misses one job, which is then done by the others. */
#include "base/pool.h"

#include <assert.h>
#include <errno.h>
#include <fenv.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#ifdef __x86_64__
#include <xmmintrin.h>
#endif
#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/machine.h"

#define INSIDE 0x3ffu /* mask of the count of workers inside */
#define OPEN 0x400u
#define GENERATION 0x800u /* one step of the generation */
#define THREADS_MAX ((int)INSIDE)
#define CACHE_LINE 64

#define SPIN_SECONDS 50e-6 /* a step's serial stretches are shorter than this */
#define LOOKS_A_CLOCK 16   /* looks between readings of the clock: 0.2 to 0.7 microseconds */
#define LOOKS_BEFORE_YIELD 512

struct worker {
    pool *p;
    pthread_t thread;
    int id;
};

struct pool {
    _Alignas(CACHE_LINE) atomic_uint state;
    _Alignas(CACHE_LINE) atomic_size_t next; /* piece to hand out */
    _Alignas(CACHE_LINE) atomic_int sleepers;
    atomic_bool stop;
    /* The job: see above for who may touch it when. */
    _Alignas(CACHE_LINE) pool_fn fn;
    void *arg;
    size_t n, grain, pieces;
    bool busy;
    /* Fixed from start to end. */
    int n_threads, started;
    bool crowded; /* more threads than cores: spinning would take the core from who has work */
    struct worker *workers;
    int caller_cpu; /* -1: not pinned */
    /* Turns: each caller draws a number, and waits until it is called. */
    pthread_mutex_t turns;
    pthread_cond_t called;
    uint64_t drawn, calling; /* under turns */
};

/* Where the thread might run before pool_caller_enter. */
static _Thread_local struct {
    bool inside;
    cpu_set_t before;
} caller;

static void relax(void)
{
#ifdef __x86_64__
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Between two looks at the state: a short pause at first, later the core goes to others. */
static void back_off(const pool *p, unsigned looks)
{
    if (p->crowded || looks >= LOOKS_BEFORE_YIELD)
        (void)sched_yield();
    else
        relax();
}

static unsigned generation_of(unsigned state)
{
    return state / GENERATION;
}

static void work(pool *p, int worker)
{
    for (;;) {
        size_t i = atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed);
        if (i >= p->pieces)
            return;
        size_t begin = i * p->grain;
        size_t end = p->n - begin > p->grain ? begin + p->grain : p->n;
        p->fn(p->arg, worker, begin, end);
    }
}

static bool join(pool *p, unsigned generation)
{
    unsigned s = atomic_load_explicit(&p->state, memory_order_relaxed);
    do {
        if (generation_of(s) != generation || !(s & OPEN))
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&p->state, &s, s + 1, memory_order_acquire,
                                                    memory_order_relaxed));
    return true;
}

/* Sleeps until the generation is another than `seen`. The order "count myself, look again, sleep" and
 * the caller's "publish, count sleepers, wake" leave no gap to miss a job in. */
static void park(pool *p, unsigned seen)
{
    atomic_fetch_add(&p->sleepers, 1);
    unsigned s = atomic_load(&p->state);
    while (generation_of(s) == seen) {
        (void)syscall(SYS_futex, &p->state, FUTEX_WAIT_PRIVATE, s, NULL, NULL, 0);
        s = atomic_load(&p->state);
    }
    atomic_fetch_sub(&p->sleepers, 1);
}

/* Returns the generation that follows `seen`. */
static unsigned wait_for_job(pool *p, unsigned seen)
{
    double until = clock_seconds() + SPIN_SECONDS;
    for (unsigned looks = 1;; looks++) {
        unsigned s = atomic_load_explicit(&p->state, memory_order_acquire);
        if (generation_of(s) != seen)
            return generation_of(s);
        if (looks % LOOKS_A_CLOCK == 0 && clock_seconds() > until)
            break;
        back_off(p, looks);
    }
    park(p, seen);
    return generation_of(atomic_load_explicit(&p->state, memory_order_acquire));
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    pool *p = w->p;
    unsigned seen = 0;
    (void)fesetenv(FE_DFL_ENV);
    (void)pthread_setname_np(pthread_self(), "sampan-pool");
    for (;;) {
        seen = wait_for_job(p, seen);
        if (atomic_load_explicit(&p->stop, memory_order_relaxed))
            return NULL;
        if (!join(p, seen))
            continue;
        work(p, w->id);
        (void)atomic_fetch_sub_explicit(&p->state, 1, memory_order_release);
    }
}

/* Opens the next generation and wakes at most `wake` sleepers. */
static void publish(pool *p, unsigned open, size_t wake)
{
    unsigned s = atomic_load_explicit(&p->state, memory_order_relaxed);
    atomic_store(&p->state, ((s & ~(OPEN | INSIDE)) + GENERATION) | open);
    if (atomic_load(&p->sleepers) > 0)
        (void)syscall(SYS_futex, &p->state, FUTEX_WAKE_PRIVATE,
                      wake < INT_MAX ? (int)wake : INT_MAX, NULL, NULL, 0);
}

/* No new workers get in; then waits for those inside. */
static void close_job(pool *p)
{
    (void)atomic_fetch_and_explicit(&p->state, ~OPEN, memory_order_relaxed);
    for (unsigned looks = 1;; looks++) {
        unsigned s = atomic_load_explicit(&p->state, memory_order_acquire);
        if ((s & INSIDE) == 0)
            return;
        back_off(p, looks);
    }
}

/* Whether this thread rounds and treats tiny numbers as every C program expects. */
static bool env_is_default(void)
{
#ifdef __x86_64__
    return (_mm_getcsr() & ~(unsigned)_MM_EXCEPT_MASK) == _MM_MASK_MASK;
#else
    return fegetround() == FE_TONEAREST;
#endif
}

static void run_job(pool *p)
{
    if (p->n_threads == 1 || p->pieces == 1) {
        work(p, 0);
        return;
    }
    publish(p, OPEN, p->pieces - 1);
    work(p, 0);
    close_job(p);
}

void pool_run(pool *p, size_t n, size_t grain, pool_fn fn, void *arg)
{
    if (n == 0)
        return;
    assert(!p->busy && "pool_run inside pool_run");
    p->busy = true;
    p->fn = fn;
    p->arg = arg;
    p->n = n;
    p->grain = grain ? grain : 1;
    p->pieces = n / p->grain + (n % p->grain != 0);
    atomic_store_explicit(&p->next, 0, memory_order_relaxed);
    if (env_is_default()) {
        run_job(p);
    } else {
        fenv_t before;
        (void)fegetenv(&before);
        (void)fesetenv(FE_DFL_ENV);
        run_job(p);
        (void)fesetenv(&before);
    }
    p->busy = false;
}

int pool_threads(const pool *p)
{
    return p->n_threads;
}

void pool_free(pool *p)
{
    if (!p)
        return;
    atomic_store_explicit(&p->stop, true, memory_order_relaxed);
    publish(p, 0, INT_MAX);
    for (int i = 0; i < p->started; i++)
        (void)pthread_join(p->workers[i].thread, NULL);
    pthread_cond_destroy(&p->called);
    pthread_mutex_destroy(&p->turns);
    sp_free(p->workers);
    sp_free(p);
}

/* ---- pinning ---- */

static int put_on(pthread_t thread, int cpu)
{
    cpu_set_t one;
    if (cpu < 0 || cpu >= CPU_SETSIZE)
        return EINVAL;
    CPU_ZERO(&one);
    CPU_SET((size_t)cpu, &one);
    return pthread_setaffinity_np(thread, sizeof one, &one);
}

static int pin_workers(pool *p, const struct machine_topology *t, sp_error *err)
{
    for (int i = 0; i < p->n_threads - 1; i++) {
        int rc = put_on(p->workers[i].thread, t->order[i + 1]);
        if (rc)
            return sp_fail(err, SP_EFULL,
                           "--pin on: a thread can't be kept on CPU %d: %s: use "
                           "--pin off",
                           t->order[i + 1], strerror(rc));
    }
    p->caller_cpu = t->order[0];
    return 0;
}

int pool_pin(pool *p, enum pool_pin how, sp_error *err)
{
    struct machine_topology t;
    sp_error why;
    machine_topology(&t);
    if (how == POOL_PIN_OFF || (how == POOL_PIN_AUTO && (t.nodes < 2 || p->n_threads > t.cpus)))
        return 0;
    if (p->n_threads > t.cpus)
        return sp_fail(err, SP_EINVAL,
                       "--pin on: %d threads, but this process may use %d CPUs: use fewer with "
                       "--threads, or --pin off",
                       p->n_threads, t.cpus);
    int code = pin_workers(p, &t, &why);
    if (code < 0 && how == POOL_PIN_ON)
        return sp_fail(err, code, "%s", why.message);
    if (code < 0)
        log_warn("base", "%s", why.message);
    return 0;
}

bool pool_pinned(const pool *p)
{
    return p->caller_cpu >= 0;
}

void pool_caller_enter(pool *p)
{
    if (!pool_pinned(p) || caller.inside ||
        pthread_getaffinity_np(pthread_self(), sizeof caller.before, &caller.before) != 0)
        return;
    caller.inside = put_on(pthread_self(), p->caller_cpu) == 0;
}

void pool_caller_leave(pool *p)
{
    (void)p;
    if (caller.inside)
        (void)pthread_setaffinity_np(pthread_self(), sizeof caller.before, &caller.before);
    caller.inside = false;
}

/* ---- turns ---- */

void pool_take_turn(pool *p)
{
    pthread_mutex_lock(&p->turns);
    uint64_t mine = p->drawn++;
    while (p->calling != mine)
        pthread_cond_wait(&p->called, &p->turns);
    pthread_mutex_unlock(&p->turns);
}

void pool_end_turn(pool *p)
{
    pthread_mutex_lock(&p->turns);
    p->calling++;
    if (p->calling != p->drawn)
        pthread_cond_broadcast(&p->called);
    pthread_mutex_unlock(&p->turns);
}

size_t pool_turns_waiting(pool *p)
{
    pthread_mutex_lock(&p->turns);
    uint64_t all = p->drawn - p->calling; /* with the one whose turn it is */
    pthread_mutex_unlock(&p->turns);
    return all > 0 ? (size_t)all - 1 : 0;
}

struct round {
    pool_fn fn;
    void *arg;
    size_t from;
};

static void run_round(void *arg, int worker, size_t begin, size_t end)
{
    const struct round *r = arg;
    r->fn(r->arg, worker, r->from + begin, r->from + end);
}

void pool_run_in_turns(pool *p, size_t n, size_t round, pool_fn fn, void *arg)
{
    for (size_t from = 0; from < n; from += round) {
        struct round r = {fn, arg, from};
        pool_take_turn(p);
        pool_run(p, n - from < round ? n - from : round, 1, run_round, &r);
        pool_end_turn(p);
    }
}

/* ---- start ---- */

/* Workers take no signals: those are for the thread that waits for them. */
static int start_workers(pool *p)
{
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = 0;
    for (int i = 0; i < p->n_threads - 1 && rc == 0; i++) {
        p->workers[i] = (struct worker){.p = p, .id = i + 1};
        rc = pthread_create(&p->workers[i].thread, NULL, worker_main, &p->workers[i]);
        if (rc == 0)
            p->started++;
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

int pool_new(int n_threads, pool **out, sp_error *err)
{
    *out = NULL;
    if (n_threads < 1 || n_threads > THREADS_MAX)
        return sp_fail(err, SP_EINVAL, "can't start %d threads: out of range: use 1 to %d",
                       n_threads, THREADS_MAX);
    pool *p = sp_alloc_aligned(CACHE_LINE, sizeof *p);
    if (!p)
        goto no_memory;
    memset(p, 0, sizeof *p);
    p->n_threads = n_threads;
    p->caller_cpu = -1;
    pthread_mutex_init(&p->turns, NULL);
    pthread_cond_init(&p->called, NULL);
    p->crowded = n_threads > machine_cores();
    p->workers = sp_calloc((size_t)n_threads, sizeof *p->workers);
    if (!p->workers)
        goto no_memory;
    int rc = start_workers(p);
    if (rc) {
        rc = sp_fail(err, SP_EFULL, "can't start thread %d of %d: %s: use fewer with --threads",
                     p->started + 2, n_threads, rc == EAGAIN ? "no more allowed" : "refused");
        pool_free(p);
        return rc;
    }
    *out = p;
    return 0;
no_memory:
    sp_free(p);
    return sp_fail(err, SP_ENOMEM, "can't start %d threads: out of memory: close other programs",
                   n_threads);
}
