/* Shared by the tests of the model: a tiny model of tests/data/models with what transformers computed for
 * it, and ways to run sequences through it. */
#ifndef SP_TESTS_MODEL_TEST_H
#define SP_TESTS_MODEL_TEST_H

#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/base.h"
#include "model/model.h"

#define MODELS TEST_DATA "/models"
#define TOKENS_MAX 256
#define SEQ_PAGES 4 /* pages that every sequence of a test has */

struct golden {
    char model[64];  /* the folder that has it */
    int64_t context; /* that it must be loaded for; 0: any */
    int64_t vocab;
    int n, n_positions;
    int32_t tokens[TOKENS_MAX], positions[TOKENS_MAX];
    float *logits; /* [n_positions, vocab] */
};

/* A sequence on its way: its logits at every position. */
struct feed {
    int32_t tokens[TOKENS_MAX], pages[SEQ_PAGES];
    int n, at;     /* at: tokens that went through */
    float *logits; /* [n, vocab] */
};

/* Everything to run one tiny model. */
struct bench {
    checkpoint *ckpt;
    pool *pool;
    model *m;
    kv_pool *kv;
};

static inline void expect_ok(int code, const sp_error *err)
{
    if (code < 0)
        fail_msg("%s", err->message);
}

static inline int read_ids(const json_t *list, int32_t *out)
{
    size_t i, n = json_array_size(list);
    assert_true(n > 0 && n <= TOKENS_MAX);
    for (i = 0; i < n; i++)
        out[i] = (int32_t)json_integer_value(json_array_get(list, i));
    return (int)n;
}

static inline void golden_open(struct golden *g, const char *name)
{
    char path[512], *data = NULL;
    size_t size = 0;
    sp_error err = {0};
    snprintf(path, sizeof path, "%s/%s/golden.json", MODELS, name);
    json_t *j = json_load_file(path, 0, NULL);
    assert_non_null(j);
    g->n = read_ids(json_object_get(j, "tokens"), g->tokens);
    g->n_positions = read_ids(json_object_get(j, "positions"), g->positions);
    const char *of = json_string_value(json_object_get(j, "of"));
    snprintf(g->model, sizeof g->model, "%s", of ? of : name);
    g->context = json_integer_value(json_object_get(j, "context"));
    json_decref(j);
    snprintf(path, sizeof path, "%s/%s/golden.bin", MODELS, name);
    expect_ok(file_read(path, 1 << 22, &data, &size, &err), &err);
    g->vocab = (int64_t)(size / sizeof(float)) / g->n_positions;
    assert_int_equal(size, (size_t)(g->vocab * g->n_positions) * sizeof(float));
    g->logits = (float *)(void *)data;
}

static inline void golden_close(struct golden *g)
{
    sp_free(g->logits);
}

struct bench_opts {
    const char *name;
    enum compute_mode compute;
    const enum cpu_isa *isa; /* NULL: the best */
    int threads;
    int64_t max_rows;
    int64_t context; /* 0: as many positions as the pages of a sequence have */
};

/* False when this machine or this build can't, or when SAMPAN_ISA names another, which must run. */
static inline bool isa_runs(enum cpu_isa isa)
{
    enum cpu_isa picked = ISA_REF;
    sp_error err = {0};
    const char *only = getenv("SAMPAN_ISA");
    if (only && *only) {
        expect_ok(kernel_pick(&picked, &err), &err);
        return picked == isa;
    }
    setenv("SAMPAN_ISA", cpu_isa_name(isa), 1);
    bool runs = cpu_pick_isa(&picked, NULL) == 0 && kernel_get(isa) != NULL;
    unsetenv("SAMPAN_ISA");
    return runs;
}

static inline void bench_open(struct bench *b, const struct bench_opts *want)
{
    char path[512];
    sp_error err = {0};
    snprintf(path, sizeof path, "%s/%s%s", MODELS, want->name,
             strstr(want->name, "-gguf") ? "/model.gguf" : "");
    expect_ok(checkpoint_open(path, &b->ckpt, &err), &err);
    expect_ok(pool_new(want->threads, &b->pool, &err), &err);
    struct model_opts o = model_opts_default();
    o.compute = want->compute;
    o.max_rows = want->max_rows;
    o.max_context = want->context ? want->context : SEQ_PAGES * KV_PAGE;
    o.pool = b->pool;
    o.isa_given = want->isa != NULL;
    o.isa = want->isa ? *want->isa : ISA_REF;
    expect_ok(model_load(b->ckpt, &o, &b->m, &err), &err);
    expect_ok(kv_pool_new(b->m, 4 * SEQ_PAGES, &b->kv, &err), &err);
}

static inline void bench_close(struct bench *b)
{
    kv_pool_free(b->kv);
    model_free(b->m);
    pool_free(b->pool);
    checkpoint_close(b->ckpt);
}

/* Pages of sequence `slot` (0..3), strewn over the pool. */
static inline void feed_start(struct feed *f, int slot, const int32_t *tokens, int n, int64_t vocab)
{
    memcpy(f->tokens, tokens, (size_t)n * sizeof *tokens);
    for (int i = 0; i < SEQ_PAGES; i++)
        f->pages[i] = (SEQ_PAGES - 1 - i) * 4 + (slot + i) % 4;
    f->n = n;
    f->at = 0;
    f->logits = sp_calloc((size_t)(n * vocab), sizeof(float));
    assert_non_null(f->logits);
}

/* Logits of the rows of a step to their feeds. */
static inline void keep_logits(const struct bench *b, struct feed *feeds,
                               const struct model_row *rows, int64_t n)
{
    int64_t vocab = model_get_config(b->m)->vocab;
    float *block = sp_malloc((size_t)(MODEL_LOGIT_ROWS * vocab) * sizeof(float));
    assert_non_null(block);
    for (int64_t first = 0; first < n; first += MODEL_LOGIT_ROWS) {
        int64_t count = n - first < MODEL_LOGIT_ROWS ? n - first : MODEL_LOGIT_ROWS;
        model_logits(b->m, first, count, block);
        for (int64_t i = 0; i < count; i++) {
            const struct model_row *r = &rows[first + i];
            memcpy(feeds[r->seq].logits + r->pos * vocab, block + i * vocab,
                   (size_t)vocab * sizeof(float));
        }
    }
    sp_free(block);
}

/* One step: the next take[i] tokens (or as many as are left) of each feed. False: nothing is left. */
static inline bool feeds_step(const struct bench *b, struct feed *feeds, const int *take, int n)
{
    struct model_row rows[4 * TOKENS_MAX];
    struct model_seq seqs[4];
    struct model_batch batch = {.rows = rows, .seqs = seqs, .n_seqs = n};
    sp_error err = {0};
    for (int i = 0; i < n; i++) {
        struct feed *f = &feeds[i];
        seqs[i] = (struct model_seq){f->pages, SEQ_PAGES};
        for (int k = 0; k < take[i] && f->at < f->n; k++, f->at++)
            rows[batch.n_rows++] = (struct model_row){f->tokens[f->at], f->at, i, true};
    }
    if (batch.n_rows == 0)
        return false;
    expect_ok(model_forward(b->m, &batch, b->kv, &err), &err);
    keep_logits(b, feeds, rows, batch.n_rows);
    return true;
}

/* One sequence in chunks; the caller frees the logits [n, vocab]. */
static inline float *run_chunks(const struct bench *b, const int32_t *tokens, int n, int chunk)
{
    struct feed f;
    feed_start(&f, 0, tokens, n, model_get_config(b->m)->vocab);
    while (feeds_step(b, &f, &chunk, 1))
        continue;
    return f.logits;
}

/* Mean over rows of KL(softmax(p) || softmax(q)); p, q: [rows, n] logits. */
static inline double mean_kl(const float *p, const float *q, int64_t rows, int64_t n)
{
    double total = 0;
    for (int64_t r = 0; r < rows; r++, p += n, q += n) {
        double zp = 0, zq = 0, mp = p[0], mq = q[0];
        for (int64_t i = 0; i < n; i++) {
            mp = fmax(mp, p[i]);
            mq = fmax(mq, q[i]);
        }
        for (int64_t i = 0; i < n; i++) {
            zp += exp(p[i] - mp);
            zq += exp(q[i] - mq);
        }
        for (int64_t i = 0; i < n; i++)
            total += exp(p[i] - mp) / zp * ((p[i] - mp - log(zp)) - (q[i] - mq - log(zq)));
    }
    return total / (double)rows;
}

#endif
