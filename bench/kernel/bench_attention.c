/* Speed of attention over KV pages on one thread, beside what the machine can do.
 *
 *     bench_attention [-y f16] [-g 7] [-d 64] [-k 8192] [-s 0.5] [-p]
 *
 * -y type of keys and values (f16, bf16, f32), -g query heads of a KV head, -d head_dim, -k keys that a row
 * sees, -s seconds per measurement, -p pages of 4 KB; SAMPAN_ISA picks the kernels. Prints a Markdown table for 1 row
 * (decode) and for 24 rows (a piece of prefill): GFLOPS (4 x rows x group x head_dim x keys / time) with the share of
 * the measured float32 peak, and GB/s of keys and values with the share of the measured read bandwidth. Times are the
 * best tenth of those seen, in processor time of the thread. The pages are those of a model of 24 layers and 2 KV
 * heads, layer after layer, so no cache holds what is read again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include "base/base.h"
#include "base/clock.h"
#include "bench/limits.h"
#include "bench/stats.h"
#include "kernel/kernel.h"

#define LAYERS 24
#define KV_HEADS 2
#define MAX_ROWS 24
#define MAX_REPS 4096
#define PROBES 10 /* measurements of the limits */

struct setup {
    const struct kernel_ops *ops;
    enum cpu_isa isa;
    enum kv_type type;
    int group, head_dim;
    int64_t keys;
    double seconds;
    bool small_pages;
};

struct job {
    const struct setup *setup;
    struct kv_layer kv;
    uint8_t *memory;
    size_t bytes;
    int32_t *pages, pos[MAX_ROWS];
    float *q, *out, *scratch;
};

static double thread_seconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int64_t pages_of(const struct setup *s)
{
    return (s->keys + KV_PAGE - 1) / KV_PAGE;
}

static void job_close(struct job *j)
{
    if (j->memory)
        munmap(j->memory, j->bytes);
    sp_free(j->pages);
    sp_free(j->q);
    sp_free(j->out);
    sp_free(j->scratch);
}

static int job_open(struct job *j, const struct setup *s, sp_error *err)
{
    size_t head = 2 * (size_t)s->head_dim * KV_PAGE * kv_value_bytes(s->type);
    size_t n = (size_t)pages_of(s), q = MAX_ROWS * (size_t)(s->group * s->head_dim);
    j->setup = s;
    j->bytes = n * LAYERS * KV_HEADS * head;
    j->memory = mmap(NULL, j->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (j->memory == MAP_FAILED)
        j->memory = NULL;
    j->pages = sp_calloc(n, sizeof *j->pages);
    j->q = sp_calloc(q, sizeof *j->q);
    j->out = sp_calloc(q, sizeof *j->out);
    j->scratch = sp_calloc(attention_scratch(s->group, s->head_dim), sizeof *j->scratch);
    if (!j->memory || !j->pages || !j->q || !j->out || !j->scratch)
        return sp_fail(err, SP_ENOMEM, "no memory for %lld keys", (long long)s->keys);
    (void)madvise(j->memory, j->bytes, s->small_pages ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
    for (size_t i = 0; i < j->bytes; i += 2) /* small numbers in every type */
        memcpy(j->memory + i, &(uint16_t){(uint16_t)(0x2c00 + i % 1021)}, 2);
    for (size_t i = 0; i < q; i++)
        j->q[i] = (float)(int)(i * 2654435761u % 1000) * 1e-3f - 0.5f;
    for (size_t i = 0; i < n; i++)
        j->pages[i] = (int32_t)i;
    j->kv = (struct kv_layer){NULL, LAYERS * KV_HEADS * head, head, s->type, KV_HEADS, s->head_dim};
    return 0;
}

/* One KV head of one layer. */
static void run(struct job *j, int64_t i, int64_t rows)
{
    const struct setup *s = j->setup;
    int64_t ld = s->group * s->head_dim;
    j->kv.base = j->memory + (size_t)(i / KV_HEADS % LAYERS) * KV_HEADS * j->kv.head_stride;
    for (int64_t r = 0; r < rows; r++)
        j->pos[r] = (int32_t)(s->keys - rows + r);
    struct attention_args a = {.kv = &j->kv,
                               .pages = j->pages,
                               .pos = j->pos,
                               .q = j->q,
                               .ldq = ld,
                               .out = j->out,
                               .ldo = ld,
                               .rows = rows,
                               .kv_head = (int)(i % KV_HEADS),
                               .group = s->group,
                               .scale = 0.125f,
                               .scratch = j->scratch};
    s->ops->attention(&a);
}

static void measure(struct job *j, int64_t rows, const struct rates *best)
{
    static double v[MAX_REPS];
    const struct setup *s = j->setup;
    double stop = clock_seconds() + s->seconds;
    size_t n = 0;
    for (; n < MAX_REPS && (n < 10 || clock_seconds() < stop); n++) {
        double start = thread_seconds();
        run(j, (int64_t)n, rows);
        v[n] = thread_seconds() - start;
    }
    (void)stats_of(v, n); /* sorts */
    double time = v[n / 10];
    double ops = 4.0 * (double)(rows * s->group * s->head_dim * s->keys) / time;
    double rate = (double)((size_t)pages_of(s) * j->kv.head_stride) / time;
    printf("| %lld | %.1f | %.1f | %.0f%% | %.2f | %.0f%% |\n", (long long)rows, 1e6 * time,
           1e-9 * ops, 100 * ops / best->f32, 1e-9 * rate, 100 * rate / best->read);
}

static int read_arguments(int argc, char **argv, struct setup *s, sp_error *err)
{
    for (int c; (c = getopt(argc, argv, "y:g:d:k:s:p")) != -1;) {
        if (c == 'y')
            s->type = *optarg == 'b' ? KV_BF16 : strcmp(optarg, "f32") == 0 ? KV_F32 : KV_F16;
        else if (c == 'g')
            s->group = (int)strtol(optarg, NULL, 10);
        else if (c == 'd')
            s->head_dim = (int)strtol(optarg, NULL, 10);
        else if (c == 'k')
            s->keys = strtol(optarg, NULL, 10);
        else if (c == 's')
            s->seconds = strtod(optarg, NULL);
        else if (c == 'p')
            s->small_pages = true;
        else
            return sp_fail(err, SP_EINVAL, "usage: see the top of bench_attention.c");
    }
    s->ops = s->isa == ISA_REF ? NULL : kernel_get(s->isa);
    if (!s->ops || s->group < 1 || s->head_dim < 1 || s->keys < MAX_ROWS)
        return sp_fail(err, SP_EINVAL, "needs AVX2 and at least %d keys", MAX_ROWS);
    return 0;
}

int main(int argc, char **argv)
{
    struct setup s = {.isa = ISA_AVX2, .group = 7, .head_dim = 64, .keys = 8192, .seconds = 0.5};
    struct job j = {0};
    limits *l = NULL;
    sp_error err;
    int rc = cpu_pick_isa(&s.isa, &err);
    if (rc == 0)
        rc = read_arguments(argc, argv, &s, &err);
    if (rc == 0)
        rc = job_open(&j, &s, &err);
    if (rc == 0)
        rc = limits_open(&(struct limits_opts){.isa = s.isa, .threads = 1}, &l, &err);
    for (int i = 0; i < PROBES && rc == 0; i++)
        limits_measure(l);
    if (rc == 0) {
        printf(
            "%s, group %d, head_dim %d, %lld keys: float32 peak %.0f GFLOPS, read %.1f GB/s\n\n"
            "| rows | us | GFLOPS | of peak | GB/s | of bandwidth |\n|--:|--:|--:|--:|--:|--:|\n",
            s.ops->name, s.group, s.head_dim, (long long)s.keys, 1e-9 * limits_best(l)->f32,
            1e-9 * limits_best(l)->read);
        measure(&j, 1, limits_best(l));
        measure(&j, MAX_ROWS, limits_best(l));
    } else {
        fprintf(stderr, "bench_attention: %s\n", err.message);
    }
    limits_close(l);
    job_close(&j);
    return rc == 0 ? 0 : 1;
}
