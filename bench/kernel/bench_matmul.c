/* Speed of the matrix products, beside what the machine can do.
 *
 *     bench_matmul [-w Q5_0] [-r 256] [-t 2] [-s 0.3] [-f]
 *
 * -w one dtype, -r one number of rows, -t one number of threads, -s seconds per measurement, -f the float32
 * products; SAMPAN_ISA picks the kernels. Prints a Markdown table: medians of GOPS (2 x weights x rows / time) with
 * the share of the measured int8 dot product peak, and of GB/s of packed weights read with the share of
 * the measured read bandwidth. Enough copies of each matrix are taken in turn that no cache holds them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/base.h"
#include "base/clock.h"
#include "base/pool.h"
#include "bench/limits.h"
#include "bench/stats.h"
#include "kernel/kernel.h"

#define COLD_BYTES ((size_t)192 << 20) /* more than any cache here */
#define HUGE_PAGE ((size_t)2 << 20)
#define MAX_REPS 4096
#define MAX_THREADS 64
#define PROBES 10 /* measurements of the limits */

struct setup {
    const struct kernel_ops *ops;
    enum cpu_isa isa;
    int threads; /* 0: 1 and 2 */
    double seconds;
    const char *dtype; /* NULL: all */
    int64_t rows;      /* 0: all */
    bool f32;
};

struct job {
    const struct setup *setup;
    struct packed w;
    struct activations a;
    int64_t rows;
    float *x, *out;
    uint8_t *scratch; /* [threads][scratch_bytes] */
    size_t scratch_bytes;
};

/* What the products are measured on and against. */
struct machine {
    pool *threads;
    uint8_t *data;     /* room for COLD_BYTES of matrices */
    double peak, read; /* operations/s, bytes/s */
};

/* --- products --- */

/* Random quants and scales that are ordinary numbers. */
static void fill_tile(const struct packed *w, uint8_t *tile)
{
    uint32_t seed = 1;
    for (size_t i = 0; i < w->tile_bytes; i++) {
        seed = seed * 1664525u + 1013904223u;
        tile[i] = (uint8_t)(seed >> 24);
        if (w->group == 1 && i % 2 == 1)
            tile[i] = 0x3c;
    }
    for (int64_t s = 0; w->group > 1 && s < w->cols / w->super; s++) {
        uint8_t *super = tile + (size_t)s * w->super_bytes;
        for (int r = 0; r < PACK_ROWS; r++) {
            super[2 * r + 1] = 0x24; /* f16 about 1/60 */
            if (w->has_min)
                super[w->off_min + (size_t)(2 * r + 1)] = 0x24;
        }
    }
}

static void work(void *arg, int worker, size_t begin, size_t end)
{
    struct job *j = arg;
    (j->setup->f32 ? j->setup->ops->matmul_f32 : j->setup->ops->matmul)(
        &j->w, &j->a, j->rows, j->out, j->w.rows, (int64_t)begin, (int64_t)end,
        j->scratch + (size_t)worker * j->scratch_bytes);
}

/* Median seconds of one product. */
static double measure(pool *threads, struct job *j, const uint8_t *data, size_t copies)
{
    static double v[MAX_REPS];
    size_t bytes = (size_t)j->w.tiles * j->w.tile_bytes;
    size_t grain = (size_t)j->w.tiles / (8 * (size_t)pool_threads(threads)); /* as a model does */
    double stop = clock_seconds() + j->setup->seconds;
    int n = 0;
    for (size_t i = 0; n < MAX_REPS && (n < 3 || clock_seconds() < stop); i++) {
        j->w.data = data + i % copies * bytes;
        double start = clock_seconds();
        pool_run(threads, (size_t)j->w.tiles, grain, work, j);
        v[n++] = clock_seconds() - start;
    }
    return stats_of(v, (size_t)n).median;
}

/* Fills `data` with copies of the matrix until no cache holds them all; returns how many. */
static size_t fill_copies(const struct packed *w, uint8_t *data)
{
    size_t bytes = (size_t)w->tiles * w->tile_bytes;
    size_t copies = COLD_BYTES / bytes > 0 ? COLD_BYTES / bytes : 1;
    fill_tile(w, data);
    for (size_t i = 1; i < copies * (size_t)w->tiles; i++)
        memcpy(data + i * w->tile_bytes, data, w->tile_bytes);
    return copies;
}

static void job_close(struct job *j)
{
    sp_free(j->x);
    sp_free(j->a.q);
    sp_free(j->a.d);
    sp_free(j->a.sum);
    sp_free(j->a.bf16);
    sp_free(j->out);
    sp_free(j->scratch);
}

/* Activations, output and scratch for up to max_rows rows. */
static int job_open(struct job *j, int64_t max_rows, int threads, sp_error *err)
{
    size_t rows = (size_t)max_rows, n = rows * (size_t)j->w.cols;
    const struct kernel_ops *ops = j->setup->ops;
    j->scratch_bytes = (matmul_scratch(&j->w) + 63) / 64 * 64;
    j->x = sp_malloc(n * sizeof *j->x);
    j->a = (struct activations){.cols = j->w.cols, .f32 = j->x, .ldf = j->w.cols};
    j->a.q = sp_malloc(n);
    j->a.d = sp_malloc(n / 32 * sizeof(float));
    j->a.sum = sp_malloc(n / 16 * sizeof(int32_t));
    j->a.bf16 = ops->act_bf16 ? sp_malloc(n * sizeof(uint16_t)) : NULL;
    j->out = sp_malloc(rows * (size_t)j->w.rows * sizeof *j->out);
    j->scratch = sp_alloc_aligned(64, j->scratch_bytes * (size_t)threads);
    if (!j->x || !j->a.q || !j->a.d || !j->a.sum || (ops->act_bf16 && !j->a.bf16) || !j->out ||
        !j->scratch)
        return sp_fail(err, SP_ENOMEM, "no memory for %lld rows", (long long)max_rows);
    for (size_t i = 0; i < n; i++)
        j->x[i] = (float)(int)(i * 2654435761u % 1000) - 500.0f;
    ops->act_quantize(j->x, j->w.cols, j->w.cols, &j->a, 0, max_rows);
    if (ops->act_bf16)
        ops->act_bf16(j->x, j->w.cols, j->w.cols, &j->a, 0, max_rows);
    return 0;
}

static int bench_shape(const struct setup *s, const struct machine *m, enum dtype t,
                       int64_t outputs, int64_t cols, sp_error *err)
{
    static const int64_t all[] = {1, 8, 16, 64, 256, 512};
    struct job j = {.setup = s};
    int rc = pack_plan(t, outputs, cols, &j.w, err);
    if (rc != 0)
        return rc;
    size_t bytes = (size_t)j.w.tiles * j.w.tile_bytes, copies = fill_copies(&j.w, m->data);
    rc = job_open(&j, s->rows ? s->rows : 512, pool_threads(m->threads), err);
    for (size_t i = 0; rc == 0 && i < SP_COUNT(all) && (i == 0 || !s->rows); i++) {
        j.rows = s->rows ? s->rows : all[i];
        double time = measure(m->threads, &j, m->data, copies);
        double ops = 2.0 * (double)outputs * (double)cols * (double)j.rows / time;
        double rate = (double)bytes / time;
        printf("| %s | %lld x %lld | %d | %lld | %.1f | %.0f%% | %.2f | %.0f%% |\n",
               dtype_get(t)->name, (long long)outputs, (long long)cols, pool_threads(m->threads),
               (long long)j.rows, 1e-9 * ops, 100 * ops / m->peak, 1e-9 * rate,
               100 * rate / m->read);
        fflush(stdout);
    }
    job_close(&j);
    return rc;
}

/* The matrices of a 0.5B model (K-quants: the nearest that their blocks divide), and one that is too
 * large for any cache. */
static int bench_dtype(const struct setup *s, const struct machine *m, enum dtype t, sp_error *err)
{
    int rc = bench_shape(s, m, t, 4864, dtype_get(t)->block == 256 ? 1024 : 896, err);
    return rc ? rc : bench_shape(s, m, t, 896, 4864, err);
}

static int measure_limits(const struct setup *s, int threads, struct machine *m, sp_error *err)
{
    limits *l = NULL;
    int rc = limits_open(&(struct limits_opts){.isa = s->isa, .threads = threads}, &l, err);
    for (int i = 0; i < PROBES && rc == 0; i++)
        limits_measure(l);
    if (rc == 0) {
        m->peak = limits_best(l)->int8;
        m->read = limits_best(l)->read;
    }
    limits_close(l);
    return rc;
}

static int bench_threads(const struct setup *s, int n, uint8_t *data, sp_error *err)
{
    static const enum dtype types[] = {DT_Q4_0,   DT_Q4_1,   DT_Q5_0, DT_Q5_1, DT_Q8_0,
                                       DT_Q2_K,   DT_Q3_K,   DT_Q4_K, DT_Q5_K, DT_Q6_K,
                                       DT_IQ4_NL, DT_IQ4_XS, DT_F16,  DT_BF16, DT_F32};
    struct machine m = {.data = data};
    int rc = pool_new(n, &m.threads, err);
    if (rc != 0)
        return rc;
    rc = measure_limits(s, n, &m, err);
    if (rc != 0) {
        pool_free(m.threads);
        return rc;
    }
    printf("\n%s%s, %d thread%s: int8 peak %.0f GOPS, read bandwidth %.1f GB/s\n\n", s->ops->name,
           s->f32 ? ", float32 products" : "", n, n > 1 ? "s" : "", m.peak * 1e-9, m.read * 1e-9);
    printf(
        "| weights | outputs x columns | threads | rows | GOPS | of peak | GB/s | of bandwidth |\n"
        "|---|---|---|---|---|---|---|---|\n");
    for (size_t i = 0; rc == 0 && i < SP_COUNT(types); i++)
        if (!s->dtype || strcmp(dtype_get(types[i])->name, s->dtype) == 0)
            rc = bench_dtype(s, &m, types[i], err);
    pool_free(m.threads);
    return rc;
}

/* Fills s from the command line; SP_EINVAL when it makes no sense. */
static int read_arguments(int argc, char **argv, struct setup *s, sp_error *err)
{
    for (int c; (c = getopt(argc, argv, "w:r:t:s:f")) != -1;) {
        if (c == 'w')
            s->dtype = optarg;
        else if (c == 'r')
            s->rows = strtol(optarg, NULL, 10);
        else if (c == 't')
            s->threads = (int)strtol(optarg, NULL, 10);
        else if (c == 's')
            s->seconds = strtod(optarg, NULL);
        else if (c == 'f')
            s->f32 = true;
        else
            return sp_fail(err, SP_EINVAL, "usage: see the top of bench_matmul.c");
    }
    s->ops = s->isa == ISA_REF ? NULL : kernel_get(s->isa);
    if (!s->ops || s->rows < 0 || s->threads < 0 || s->threads > MAX_THREADS)
        return sp_fail(err, SP_EINVAL, "needs AVX2, at most %d threads, rows >= 1", MAX_THREADS);
    return 0;
}

int main(int argc, char **argv)
{
    struct setup s = {.isa = ISA_AVX2, .seconds = 0.3};
    sp_error err;
    uint8_t *data = NULL;
    const size_t n =
        COLD_BYTES + ((size_t)32 << 20); /* the greatest matrix fits behind COLD_BYTES */
    int rc = cpu_pick_isa(&s.isa, &err);
    if (rc == 0)
        rc = read_arguments(argc, argv, &s, &err);
    if (rc == 0 && !(data = sp_alloc_aligned(HUGE_PAGE, n)))
        rc = sp_fail(&err, SP_ENOMEM, "no memory for %zu bytes", n);
    if (rc == 0) {
        madvise(data, n, MADV_HUGEPAGE);
        memset(data, 1, n);
    }
    for (int t = s.threads ? s.threads : 1; rc == 0 && t <= (s.threads ? s.threads : 2); t++)
        rc = bench_threads(&s, t, data, &err);
    if (rc != 0)
        fprintf(stderr, "bench_matmul: %s\n", err.message);
    sp_free(data);
    return rc == 0 ? 0 : 1;
}
