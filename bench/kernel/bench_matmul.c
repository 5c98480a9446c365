/* Speed of the matrix products, beside what the machine can do.
 *
 *     bench_matmul [-i avx512] [-w Q5_0] [-r 256] [-t 2] [-s 0.3] [-f]
 *
 * -i ISA, -w one dtype, -r one number of rows, -t one number of threads, -s seconds per measurement,
 * -f the float32 products. Prints a Markdown table: medians of GOPS (2 x weights x rows / time) with
 * the share of the measured int8 dot product peak, and of GB/s of packed weights read with the share of
 * the measured read bandwidth. Enough copies of each matrix are taken in turn that no cache holds them. */
#include <immintrin.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/pool.h"
#include "kernel/kernel.h"

#define COLD_BYTES ((size_t)192 << 20) /* more than any cache here */
#define HUGE_PAGE ((size_t)2 << 20)
#define MAX_REPS 4096
#define MAX_THREADS 64
#define PROBES 15

#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

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

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, compare_doubles);
    return v[n / 2];
}

static double most(const double *v, int n)
{
    double best = v[0];
    for (int i = 1; i < n; i++)
        best = v[i] > best ? v[i] : best;
    return best;
}

/* --- what the machine can do: the best of PROBES runs, since neighbours only take away --- */

static volatile int32_t sink;

__attribute__((target("avx512f,avx512bw,avx512vnni"))) static double vnni_operations(int64_t n)
{
    __m512i acc[12], u = _mm512_set1_epi8(3), s = _mm512_set1_epi8(-5);
    UNROLL
    for (int i = 0; i < 12; i++)
        acc[i] = _mm512_set1_epi32(i);
    for (int64_t k = 0; k < n; k++) {
        UNROLL
        for (int i = 0; i < 12; i++) {
            acc[i] = _mm512_dpbusd_epi32(acc[i], u, s);
            __asm__ volatile("" : "+v"(acc[i]));
        }
    }
    __m512i sum = acc[0];
    UNROLL
    for (int i = 1; i < 12; i++)
        sum = _mm512_add_epi32(sum, acc[i]);
    sink = _mm512_reduce_add_epi32(sum);
    return (double)n * 12 * 64 * 2;
}

/* The same with 256 bits, in either encoding. */
#define VNNI_256(name, instructions, dpbusd)                                                       \
    __attribute__((target(instructions))) static double name(int64_t n)                            \
    {                                                                                              \
        __m256i acc[12], u = _mm256_set1_epi8(3), s = _mm256_set1_epi8(-5);                        \
        for (int i = 0; i < 12; i++)                                                               \
            acc[i] = _mm256_set1_epi32(i);                                                         \
        for (int64_t k = 0; k < n; k++) {                                                          \
            UNROLL                                                                                 \
            for (int i = 0; i < 12; i++) {                                                         \
                acc[i] = dpbusd(acc[i], u, s);                                                     \
                __asm__ volatile("" : "+x"(acc[i]));                                               \
            }                                                                                      \
        }                                                                                          \
        __m256i sum = acc[0];                                                                      \
        for (int i = 1; i < 12; i++)                                                               \
            sum = _mm256_add_epi32(sum, acc[i]);                                                   \
        sink = _mm256_extract_epi32(sum, 0);                                                       \
        return (double)n * 12 * 32 * 2;                                                            \
    }
VNNI_256(vex_vnni_operations, "avx2,avxvnni", _mm256_dpbusd_avx_epi32)
VNNI_256(evex_vnni_operations, "avx512f,avx512vl,avx512vnni", _mm256_dpbusd_epi32)

/* Without VNNI: pairs to 16 bits, pairs of those to 32 bits, added. */
__attribute__((target("avx2"))) static double avx2_operations(int64_t n)
{
    __m256i acc[8], u = _mm256_set1_epi8(3), s = _mm256_set1_epi8(-5), one = _mm256_set1_epi16(1);
    UNROLL
    for (int i = 0; i < 8; i++)
        acc[i] = _mm256_set1_epi32(i);
    for (int64_t k = 0; k < n; k++) {
        UNROLL
        for (int i = 0; i < 8; i++) {
            __asm__ volatile("" : "+x"(u));
            __m256i p = _mm256_madd_epi16(_mm256_maddubs_epi16(u, s), one);
            acc[i] = _mm256_add_epi32(acc[i], p);
            __asm__ volatile("" : "+x"(acc[i]));
        }
    }
    __m256i sum = acc[0];
    UNROLL
    for (int i = 1; i < 8; i++)
        sum = _mm256_add_epi32(sum, acc[i]);
    int32_t lanes[8];
    memcpy(lanes, &sum, sizeof lanes);
    sink = lanes[0];
    return (double)n * 8 * 32 * 2;
}

__attribute__((target("avx2"))) static void read_bytes(const uint8_t *p, size_t n)
{
    __m256i s[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(),
                    _mm256_setzero_si256()};
    for (size_t i = 0; i < n; i += 128) {
        _mm_prefetch((const char *)p + i + 2048, _MM_HINT_T0);
        _mm_prefetch((const char *)p + i + 2112, _MM_HINT_T0);
        for (size_t j = 0; j < 4; j++)
            s[j] = _mm256_xor_si256(
                s[j], _mm256_load_si256((const __m256i *)(const void *)(p + i + 32 * j)));
    }
    __m256i sum = _mm256_xor_si256(_mm256_xor_si256(s[0], s[1]), _mm256_xor_si256(s[2], s[3]));
    sink = _mm256_extract_epi32(sum, 0);
}

struct probe {
    enum cpu_isa isa;
    const uint8_t *data;
    double done[MAX_THREADS][8];
};

static double peak_operations(enum cpu_isa isa, int64_t n)
{
    if (isa == ISA_AVX512)
        return vnni_operations(n);
    if (isa == ISA_AVXVNNI)
        return cpu_get()->avx_vnni ? vex_vnni_operations(n) : evex_vnni_operations(n);
    return avx2_operations(n);
}

static void probe_peak(void *arg, int worker, size_t begin, size_t end)
{
    struct probe *p = arg;
    for (size_t i = begin; i < end; i++)
        p->done[worker][0] += peak_operations(p->isa, 20000);
}

static void probe_read(void *arg, int worker, size_t begin, size_t end)
{
    struct probe *p = arg;
    (void)worker;
    read_bytes(p->data + (begin << 20), (end - begin) << 20);
}

/* Operations per second of the int8 dot product, all threads together. */
static double measure_peak(pool *threads, const struct setup *s)
{
    double v[PROBES];
    for (int i = 0; i < PROBES; i++) {
        static struct probe p;
        memset(&p, 0, sizeof p);
        p.isa = s->isa;
        double start = clock_seconds(), total = 0;
        pool_run(threads, 400 * (size_t)pool_threads(threads), 1, probe_peak, &p);
        double t = clock_seconds() - start;
        for (int w = 0; w < MAX_THREADS; w++)
            total += p.done[w][0];
        v[i] = total / t;
    }
    return most(v, PROBES);
}

static double measure_read(pool *threads, const uint8_t *data)
{
    double v[PROBES];
    for (int i = 0; i < PROBES; i++) {
        static struct probe p;
        p.data = data;
        double start = clock_seconds();
        pool_run(threads, COLD_BYTES >> 20, 1, probe_read, &p);
        v[i] = (double)COLD_BYTES / (clock_seconds() - start);
    }
    return most(v, PROBES);
}

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
    return median(v, n);
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

static int bench_threads(const struct setup *s, int n, uint8_t *data, sp_error *err)
{
    static const enum dtype types[] = {DT_Q4_0,   DT_Q4_1,   DT_Q5_0, DT_Q5_1, DT_Q8_0,
                                       DT_Q2_K,   DT_Q3_K,   DT_Q4_K, DT_Q5_K, DT_Q6_K,
                                       DT_IQ4_NL, DT_IQ4_XS, DT_F16,  DT_BF16, DT_F32};
    struct machine m = {.data = data};
    int rc = pool_new(n, &m.threads, err);
    if (rc != 0)
        return rc;
    m.peak = measure_peak(m.threads, s);
    m.read = measure_read(m.threads, data);
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

/* The ISA of that name that this processor can run. */
static int read_isa(const char *name, enum cpu_isa *isa, sp_error *err)
{
    if (setenv("SAMPAN_ISA", name, 1) != 0)
        return sp_fail(err, SP_ENOMEM, "no memory for the environment");
    return cpu_pick_isa(isa, err);
}

/* Fills s from the command line; SP_EINVAL when it makes no sense. */
static int read_arguments(int argc, char **argv, struct setup *s, sp_error *err)
{
    for (int c, rc; (c = getopt(argc, argv, "i:w:r:t:s:f")) != -1;) {
        if (c == 'i') {
            if ((rc = read_isa(optarg, &s->isa, err)))
                return rc;
        } else if (c == 'w')
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
        return sp_fail(err, SP_EINVAL,
                       "needs AVX2, AVX-VNNI or AVX-512, at most %d threads, rows >= 1",
                       MAX_THREADS);
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
