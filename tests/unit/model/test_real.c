/* The starter model against transformers in float32, and the fast mode against float32, over 2,000
 * teacher-forced tokens of Chinese, English and code (tests/reference/dump_real.py). Needs the model's file in
 * $SAMPAN_TEST_MODELS. */
#include "model_test.h"
#include "base/clock.h"
#include "base/machine.h"

#define FILE_NAME "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
#define TEXTS 3
#define TOP 8
#define REAL_MAX 1024
#define REAL_PAGES (REAL_MAX / KV_PAGE)
#define STEP_ROWS 256

struct top {
    int32_t ids[TOP];
    float logprobs[TOP];
};

struct text {
    int n;
    int32_t tokens[REAL_MAX];
    struct top top[REAL_MAX];
};

static struct {
    struct text texts[TEXTS];
    char path[1024];
    pool *pool;
} real;

struct running {
    checkpoint *ckpt;
    model *m;
    kv_pool *kv;
    int64_t vocab;
    float *logits; /* [MODEL_LOGIT_ROWS, vocab] */
};

static const char *take(const char **p, size_t n, void *out)
{
    memcpy(out, *p, n);
    return *p += n;
}

static void read_texts(void)
{
    char *data = NULL;
    size_t size = 0;
    sp_error err = {0};
    expect_ok(file_read(TEST_DATA "/real/teacher.bin", 1 << 24, &data, &size, &err), &err);
    const char *p = data;
    for (int i = 0; i < TEXTS; i++) {
        struct text *t = &real.texts[i];
        take(&p, sizeof(uint32_t), &t->n);
        assert_true(t->n > 0 && t->n <= REAL_MAX);
        take(&p, (size_t)t->n * sizeof *t->tokens, t->tokens);
        take(&p, (size_t)t->n * sizeof *t->top, t->top);
    }
    assert_ptr_equal(p, data + size);
    sp_free(data);
}

static void start(struct running *r, enum compute_mode compute)
{
    sp_error err = {0};
    struct model_opts o = model_opts_default();
    o.pool = real.pool;
    o.compute = compute;
    o.max_rows = STEP_ROWS;
    o.max_context = REAL_MAX;
    uint64_t before = machine_rss();
    double from = clock_seconds();
    expect_ok(checkpoint_open(real.path, &r->ckpt, &err), &err);
    expect_ok(model_load(r->ckpt, &o, &r->m, &err), &err);
    double seconds = clock_seconds() - from;
    uint64_t rss = machine_rss() - before;
    print_message("%s, %s: loaded in %.2f s, %.0f MB\n", model_isa(r->m),
                  compute == COMPUTE_F32 ? "f32" : "fast", seconds, (double)rss / 1e6);
    assert_true((double)rss <= 1.1 * (double)checkpoint_tensor_bytes(r->ckpt) + 150e6);
    expect_ok(kv_pool_new(r->m, REAL_PAGES, &r->kv, &err), &err);
    r->vocab = model_get_config(r->m)->vocab;
    r->logits = sp_malloc((size_t)(MODEL_LOGIT_ROWS * r->vocab) * sizeof(float));
    assert_non_null(r->logits);
}

static void stop(struct running *r)
{
    sp_free(r->logits);
    kv_pool_free(r->kv);
    model_free(r->m);
    checkpoint_close(r->ckpt);
}

/* Rows [first, first + n) of a text; all want logits. */
static void forward(const struct running *r, const struct text *t, int first, int n)
{
    struct model_row rows[STEP_ROWS];
    int32_t pages[REAL_PAGES];
    sp_error err = {0};
    for (int i = 0; i < REAL_PAGES; i++)
        pages[i] = REAL_PAGES - 1 - i;
    for (int i = 0; i < n; i++)
        rows[i] = (struct model_row){t->tokens[first + i], first + i, 0, true};
    const struct model_seq seq = {pages, REAL_PAGES};
    const struct model_batch b = {rows, n, &seq, 1};
    expect_ok(model_forward(r->m, &b, r->kv, &err), &err);
}

static int64_t argmax(const float *x, int64_t n)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        best = x[i] > x[best] ? i : best;
    return best;
}

struct score {
    int n, same_f32, same_fast;
    double kl, worst; /* sum of KL(f32 || fast); greatest difference of logprobs to transformers */
};

static double log_sum(const float *x, int64_t n)
{
    double max = x[argmax(x, n)], sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += exp(x[i] - max);
    return max + log(sum);
}

static void score_row(struct score *s, const struct top *want, const float *f32, const float *fast,
                      int64_t vocab)
{
    double zp = log_sum(f32, vocab), zq = log_sum(fast, vocab);
    s->n++;
    s->same_f32 += argmax(f32, vocab) == want->ids[0];
    s->same_fast += argmax(fast, vocab) == want->ids[0];
    for (int64_t i = 0; i < vocab; i++)
        s->kl += exp(f32[i] - zp) * ((f32[i] - zp) - (fast[i] - zq));
    for (int k = 0; k < TOP; k++)
        s->worst = fmax(s->worst, fabs(f32[want->ids[k]] - zp - (double)want->logprobs[k]));
}

static void score_text(struct score *s, const struct text *t, const struct running *f32,
                       const struct running *fast)
{
    for (int first = 0; first < t->n; first += STEP_ROWS) {
        int n = t->n - first < STEP_ROWS ? t->n - first : STEP_ROWS;
        forward(f32, t, first, n);
        forward(fast, t, first, n);
        for (int at = 0; at < n; at += MODEL_LOGIT_ROWS) {
            int count = n - at < MODEL_LOGIT_ROWS ? n - at : MODEL_LOGIT_ROWS;
            model_logits(f32->m, at, count, f32->logits);
            model_logits(fast->m, at, count, fast->logits);
            for (int i = 0; i < count; i++)
                score_row(s, &t->top[first + at + i], f32->logits + i * f32->vocab,
                          fast->logits + i * f32->vocab, f32->vocab);
        }
    }
}

static void test_agrees_with_transformers(void **state)
{
    (void)state;
    struct running f32, fast;
    struct score s = {0};
    if (!real.path[0])
        skip();
    start(&f32, COMPUTE_F32);
    start(&fast, COMPUTE_FAST);
    for (int i = 0; i < TEXTS; i++)
        score_text(&s, &real.texts[i], &f32, &fast);
    stop(&fast);
    stop(&f32);
    print_message("%d positions: same top token as transformers f32: %.2f%% f32, %.2f%% fast; "
                  "logprobs of the top %d off by %.1e at most (f32); mean KL(f32 || fast) %.5f\n",
                  s.n, 100.0 * s.same_f32 / s.n, 100.0 * s.same_fast / s.n, TOP, s.worst,
                  s.kl / s.n);
    assert_true(s.same_f32 >= 0.995 * s.n);
    assert_true(s.worst <= 0.01);
    assert_true(s.kl / s.n <= 0.002);
}

static void test_chunks_change_nothing(void **state)
{
    (void)state;
    struct running r;
    const struct text *t = &real.texts[0];
    if (!real.path[0])
        skip();
    start(&r, COMPUTE_FAST);
    size_t bytes = (size_t)r.vocab * sizeof(float);
    float *whole = sp_malloc(bytes);
    assert_non_null(whole);
    forward(&r, t, 0, 70);
    model_logits(r.m, 69, 1, whole);
    for (int first = 0; first < 70; first += 7)
        forward(&r, t, first, 7);
    model_logits(r.m, 6, 1, r.logits);
    assert_memory_equal(whole, r.logits, bytes);
    forward(&r, t, 69, 1);
    model_logits(r.m, 0, 1, r.logits);
    assert_memory_equal(whole, r.logits, bytes);
    sp_free(whole);
    stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_agrees_with_transformers),
                                       cmocka_unit_test(test_chunks_change_nothing)};
    const char *folder = getenv("SAMPAN_TEST_MODELS");
    snprintf(real.path, sizeof real.path, "%s/%s", folder ? folder : TEST_MODELS, FILE_NAME);
    if (!file_exists(real.path))
        real.path[0] = '\0';
    read_texts();
    if (pool_new(machine_cores(), &real.pool, NULL) < 0)
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    pool_free(real.pool);
    return failed;
}
