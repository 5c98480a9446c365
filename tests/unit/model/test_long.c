/* Contexts of several spans: the same bits in chunks of any size, token by token, among other sequences and
 * with any number of threads, though decode shares a sequence's spans out where a prompt does not. */
#include "model/cpu_int.h"
#include "model_test.h"

#define CONTEXT 5056
#define PAGES (CONTEXT / KV_PAGE)
#define CHUNK 256

static const int lengths[] = {KV_SPAN - 1, KV_SPAN, KV_SPAN + 1, 2 * KV_SPAN, 5000};

/* A model and two sequences in it. */
struct long_run {
    checkpoint *ckpt;
    pool *pool;
    model *m;
    kv_pool *kv;
    int64_t vocab;
    int32_t pages[2][PAGES];
    int at[2];
};

static int32_t token_at(const struct long_run *l, int seq, int pos)
{
    return (int32_t)((pos * 7919 + pos * pos % 1009 + seq * 31) % l->vocab);
}

struct kind {
    const char *name;
    enum compute_mode compute;
    enum kv_type type;
    size_t lengths; /* how many of them: the long one takes most of the time */
};

static void long_open(struct long_run *l, const struct kind *k, int threads)
{
    char path[512];
    sp_error err = {0};
    snprintf(path, sizeof path, "%s/%s", MODELS, k->name);
    *l = (struct long_run){0};
    expect_ok(checkpoint_open(path, &l->ckpt, &err), &err);
    expect_ok(pool_new(threads, &l->pool, &err), &err);
    struct model_opts o = model_opts_default();
    o.compute = k->compute;
    o.kv_type = k->type;
    o.kv_given = true;
    o.max_rows = CHUNK;
    o.max_context = CONTEXT;
    o.pool = l->pool;
    expect_ok(model_load(l->ckpt, &o, &l->m, &err), &err);
    expect_ok(kv_pool_new(l->m, 2 * PAGES, &l->kv, &err), &err);
    l->vocab = model_get_config(l->m)->vocab;
    for (int i = 0; i < 2 * PAGES; i++)
        l->pages[i % 2][i / 2] = i;
}

static void long_close(struct long_run *l)
{
    kv_pool_free(l->kv);
    model_free(l->m);
    pool_free(l->pool);
    checkpoint_close(l->ckpt);
}

/* The next n[s] tokens of each sequence; logits of the last row of sequence 0 to out [vocab]. */
static void step(struct long_run *l, const int n[2], float *out)
{
    struct model_row rows[CHUNK];
    const struct model_seq seqs[] = {{l->pages[0], PAGES}, {l->pages[1], PAGES}};
    struct model_batch b = {.rows = rows, .seqs = seqs, .n_seqs = 2};
    sp_error err = {0};
    for (int s = 0; s < 2; s++)
        for (int i = 0; i < n[s]; i++, l->at[s]++)
            rows[b.n_rows++] =
                (struct model_row){token_at(l, s, l->at[s]), l->at[s], s, i == n[s] - 1};
    expect_ok(model_forward(l->m, &b, l->kv, &err), &err);
    model_logits(l->m, 0, 1, out);
}

/* Sequence 0 up to each of the first n lengths, in chunks that end there; want [n, vocab]. */
static void prefill(struct long_run *l, size_t n, int chunk, float *want)
{
    for (size_t i = 0; i < n; i++)
        while (l->at[0] < lengths[i]) {
            int left = lengths[i] - l->at[0];
            step(l, (int[]){left < chunk ? left : chunk, 0}, want + (int64_t)i * l->vocab);
        }
}

/* The same with a few rows at a time near the lengths, alone and beside rows of another sequence. */
static void decode(struct long_run *l, size_t n, float *got)
{
    for (size_t i = 0; i < n; i++)
        for (int turn = 0; l->at[0] < lengths[i]; turn++) {
            int left = lengths[i] - l->at[0];
            int most = left > 9 ? left - 9 < 200 ? left - 9 : 200 : turn % 3 ? 1 : 2;
            step(l, (int[]){most < left ? most : left, turn % 2 ? 0 : 1 + turn % 5},
                 got + (int64_t)i * l->vocab);
        }
}

static void expect_same(const struct kind *k, int threads, const float *want, const float *got,
                        int64_t vocab)
{
    for (size_t i = 0; i < k->lengths; i++)
        for (int64_t t = 0; t < vocab; t++)
            if (memcmp(&want[(int64_t)i * vocab + t], &got[(int64_t)i * vocab + t], sizeof *want) !=
                0)
                fail_msg("%s, %d threads: logit %lld after %d tokens is %a, expected %a", k->name,
                         threads, (long long)t, lengths[i], (double)got[(int64_t)i * vocab + t],
                         (double)want[(int64_t)i * vocab + t]);
}

static void check_model(const struct kind *k)
{
    static const int threads[] = {1, 2, 3, 7};
    struct long_run l;
    long_open(&l, k, 1);
    int64_t vocab = l.vocab;
    size_t n = k->lengths * (size_t)vocab;
    float *want = sp_calloc(n, sizeof *want), *got = sp_calloc(n, sizeof *got);
    assert_non_null(want);
    assert_non_null(got);
    prefill(&l, k->lengths, CHUNK, want);
    for (size_t i = 0; i < n; i++)
        assert_true(isfinite(want[i]));
    long_close(&l);
    for (size_t i = 0; i < SP_COUNT(threads); i++) {
        long_open(&l, k, threads[i]);
        memset(got, 0, n * sizeof *got);
        decode(&l, k->lengths, got);
        expect_same(k, threads[i], want, got, vocab);
        long_close(&l);
    }
    long_open(&l, k, 2);
    memset(got, 0, n * sizeof *got);
    prefill(&l, k->lengths, 37, got);
    expect_same(k, 2, want, got, vocab);
    long_close(&l);
    sp_free(want);
    sp_free(got);
}

static void test_long_contexts(void **state)
{
    (void)state;
    static const struct kind kinds[] = {{"qwen2-tied", COMPUTE_FAST, KV_F16, 5},
                                        {"qwen2-tied", COMPUTE_F32, KV_F32, 4},
                                        {"qwen2-window", COMPUTE_FAST, KV_BF16, 4},
                                        {"gemma3", COMPUTE_FAST, KV_F16, 4}};
    for (size_t i = 0; i < SP_COUNT(kinds); i++)
        check_model(&kinds[i]);
}

static const struct attention_plan *plan_of(const struct long_run *l)
{
    return &((const struct cpu_backend *)(const void *)l->m->backend)->attention;
}

/* One row in a long context has a piece for each span, a chunk has none to share; the plan never needs
 * more room than it has, whatever the step. */
static void test_what_is_shared(void **state)
{
    (void)state;
    const struct kind kind = {"qwen2-tied", COMPUTE_FAST, KV_F16, 0};
    struct long_run l;
    float out[4096];
    long_open(&l, &kind, 3);
    assert_true(l.vocab <= 4096);
    const struct attention_plan *p = plan_of(&l);
    size_t heads = (size_t)l.m->config.kv_heads;
    step(&l, (int[]){CHUNK, 0}, out);
    assert_int_equal(p->n_parts, 0);
    while (l.at[0] < 3 * KV_SPAN)
        step(&l, (int[]){CHUNK, 0}, out);
    step(&l, (int[]){1, 0}, out);
    assert_int_equal(p->n_pieces, 4 * heads);
    assert_true(p->n_parts > 0 && p->n_parts <= p->most_parts);
    step(&l, (int[]){1, 1}, out); /* the short one needs no sharing */
    assert_int_equal(p->n_pieces, 5 * heads);
    for (int i = 0; i < 40; i++) {
        step(&l, (int[]){1 + i, i % 7}, out);
        assert_true(p->n_parts <= p->most_parts && p->n_pieces <= p->most_pieces);
    }
    long_close(&l);
    long_open(&l, &kind, 1);
    assert_int_equal(plan_of(&l)->most_parts, 0);
    long_close(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_long_contexts),
                                       cmocka_unit_test(test_what_is_shared)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
