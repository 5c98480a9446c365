#include "bench/limits.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include "base/base.h"
#include "base/clock.h"
#include "base/machine.h"
#include "base/pool.h"

#define HUGE_PAGE ((uint64_t)2 << 20)
#define COLD_LEAST ((uint64_t)192 << 20)
#define PIECE ((uint64_t)512)     /* what a probe reads at least */
#define TURN ((uint64_t)64 << 20) /* bytes of one timing at least: some milliseconds */
#define LOOP_SECONDS 0.001        /* of one timing of a multiplying loop: mostly undisturbed */
#define LOOP_TIMINGS 16
#define LOOP_ITEMS 4 /* for each thread, so that a slow one leaves some to others */
#define THREADS_MOST 1024

struct limits {
    const struct probe_ops *ops;
    pool *threads;
    uint8_t *data;
    uint64_t bytes, huge;
    struct rates best;
    probe_loop loop; /* of the timing that runs */
    int64_t rounds;
    uint64_t grain;
    double done[THREADS_MOST][8]; /* operations of each thread, a cache line apart */
};

uint64_t limits_cold_bytes(void)
{
    struct machine_cache caches[MACHINE_CACHES_MOST];
    uint64_t bytes = COLD_LEAST;
    for (size_t i = machine_caches(caches); i-- > 0;)
        if (4 * caches[i].bytes > bytes)
            bytes = 4 * caches[i].bytes;
    return bytes;
}

/* Bytes of the mapping around p that lie in 2 MB pages (proc(5), smaps: AnonHugePages). */
static uint64_t huge_bytes(const void *p)
{
    char line[512];
    bool inside = false;
    unsigned long long from, to, kib = 0, sum = 0, at = (unsigned long long)(uintptr_t)p;
    FILE *f = fopen("/proc/self/smaps", "re");
    if (!f)
        return 0;
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "%llx-%llx ", &from, &to) == 2)
            inside = at >= from && at < to;
        else if (inside && sscanf(line, "AnonHugePages: %llu", &kib) == 1)
            sum += kib << 10;
    }
    (void)fclose(f);
    return sum;
}

static int get_memory(limits *l, const struct limits_opts *o, sp_error *err)
{
    uint64_t want = o->bytes ? o->bytes : limits_cold_bytes();
    uint64_t most = machine_memory_free() / 2;
    l->bytes = (want + PIECE - 1) / PIECE * PIECE;
    uint64_t whole = (l->bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    if (most && whole > most)
        return sp_fail(err, SP_ENOMEM,
                       "measuring the memory's speed takes %.0f MB, half of the free memory is "
                       "%.0f MB: end other programs",
                       (double)whole / 1e6, (double)most / 1e6);
    l->data = sp_alloc_aligned(HUGE_PAGE, whole);
    if (!l->data)
        return sp_fail(err, SP_ENOMEM, "no memory for %.0f MB to read", (double)whole / 1e6);
    /* Advice: where the system does not take it, limits_huge_bytes tells. */
    (void)madvise(l->data, whole, o->pages == PAGES_HUGE ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    memset(l->data, 1, whole);
    l->huge = huge_bytes(l->data);
    if (l->huge > l->bytes)
        l->huge = l->bytes;
    return 0;
}

int limits_open(const struct limits_opts *o, limits **out, sp_error *err)
{
    const struct probe_ops *ops = probe_get(o->isa);
    if (!ops)
        return sp_fail(err, SP_EUNSUPPORTED, "this build can't measure %s", cpu_isa_name(o->isa));
    limits *l = sp_calloc(1, sizeof *l);
    int code = l ? 0 : sp_fail(err, SP_ENOMEM, "out of memory");
    if (code == 0) {
        l->ops = ops;
        code = pool_new(o->threads, &l->threads, err);
    }
    if (code == 0)
        code = pool_pin(l->threads, o->pin, err);
    if (code == 0)
        pool_caller_enter(l->threads);
    if (code == 0)
        code = get_memory(l, o, err);
    if (code < 0) {
        limits_close(l);
        return code;
    }
    *out = l;
    return 0;
}

void limits_close(limits *l)
{
    if (!l)
        return;
    if (l->threads)
        pool_caller_leave(l->threads);
    pool_free(l->threads);
    sp_free(l->data);
    sp_free(l);
}

/* ---- reading ---- */

static void raise_to(double *best, double v)
{
    if (v > *best)
        *best = v;
}

/* Items are pieces of all turns, one turn after the other. */
static void read_part(void *arg, int worker, size_t begin, size_t end)
{
    limits *l = arg;
    (void)worker;
    uint64_t at = (uint64_t)begin * l->grain % l->bytes, left = (uint64_t)(end - begin) * l->grain;
    while (left) {
        uint64_t n = l->bytes - at < left ? l->bytes - at : left;
        l->ops->read(l->data + at, n);
        left -= n;
        at = 0;
    }
}

/* Bytes/s when `grain` bytes are handed out at a time. */
static double read_rate(limits *l, uint64_t grain)
{
    uint64_t turns = l->bytes < TURN ? TURN / l->bytes : 1;
    l->grain = grain / PIECE * PIECE;
    size_t items = (size_t)(turns * l->bytes / l->grain);
    double start = clock_seconds();
    pool_run(l->threads, items, 1, read_part, l);
    return (double)items * (double)l->grain / (clock_seconds() - start);
}

/* Small pieces even out a slow thread; one long run for each is what a prefetcher likes best. */
double limits_measure_read(limits *l)
{
    uint64_t whole = l->bytes < TURN ? TURN : l->bytes;
    uint64_t share = whole / (uint64_t)pool_threads(l->threads);
    double rate = read_rate(l, share < HUGE_PAGE ? share : HUGE_PAGE);
    raise_to(&rate, read_rate(l, share));
    raise_to(&l->best.read, rate);
    return rate;
}

/* ---- multiplying ---- */

static void loop_part(void *arg, int worker, size_t begin, size_t end)
{
    limits *l = arg;
    for (size_t i = begin; i < end; i++)
        l->done[worker][0] += l->loop(l->rounds);
}

/* Operations/s of all threads together. */
static double loop_rate(limits *l, probe_loop loop)
{
    double total = 0, start = clock_seconds();
    l->loop = loop;
    l->rounds = 1000;
    (void)loop(l->rounds); /* wakes the unit; then enough rounds for LOOP_SECONDS */
    double once = (clock_seconds() - start) / (double)l->rounds;
    l->rounds = (int64_t)(LOOP_SECONDS / LOOP_ITEMS / (once > 1e-10 ? once : 1e-10)) + 1;
    memset(l->done, 0, sizeof l->done);
    start = clock_seconds();
    pool_run(l->threads, LOOP_ITEMS * (size_t)pool_threads(l->threads), 1, loop_part, l);
    double seconds = clock_seconds() - start;
    for (int i = 0; i < pool_threads(l->threads); i++)
        total += l->done[i][0];
    return total / seconds;
}

void limits_measure(limits *l)
{
    (void)limits_measure_read(l);
    for (int i = 0; i < LOOP_TIMINGS; i++) {
        for (size_t k = 0; k < SP_COUNT(l->ops->int8); k++)
            if (l->ops->int8[k])
                raise_to(&l->best.int8, loop_rate(l, l->ops->int8[k]));
        if (l->ops->bf16)
            raise_to(&l->best.bf16, loop_rate(l, l->ops->bf16));
        raise_to(&l->best.f32, loop_rate(l, l->ops->f32));
    }
}

const struct rates *limits_best(const limits *l)
{
    return &l->best;
}

uint64_t limits_bytes(const limits *l)
{
    return l->bytes;
}

uint64_t limits_huge_bytes(const limits *l)
{
    return l->huge;
}
