/* Running one test: requests into the engine, times out of its events, limits between repetitions. */
#include "bench/bench.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "base/rng.h"
#include "bench/stats.h"

#define STEP_ROWS 256   /* of prefill beside all that decode */
#define WARM_PROMPT 256 /* tokens of the warm-up at most */
#define WARM_GEN 8
#define SEEDS_A_REP 1024 /* the largest batch: no two sequences of a test share one */
#define TEST_TOKENS_MOST ((int64_t)1 << 24)
#define TESTS_MOST 4096

/* ---- what to run ---- */

static int add_test(struct bench_test *out, size_t *n, struct bench_test t, sp_error *err)
{
    if (*n == TESTS_MOST)
        return sp_fail(err, SP_EUSAGE, "bench: more than %d tests: give shorter lists", TESTS_MOST);
    out[(*n)++] = t;
    return 0;
}

static int check_list(const char *name, const int64_t *v, size_t n, int64_t min, int64_t max,
                      sp_error *err)
{
    for (size_t i = 0; i < n; i++)
        if (v[i] < min || v[i] > max)
            return sp_fail(err, SP_EUSAGE, "bench: --%s %lld: it must be from %lld to %lld", name,
                           (long long)v[i], (long long)min, (long long)max);
    return n ? 0 : sp_fail(err, SP_EUSAGE, "bench: --%s is empty", name);
}

static int check_plan(const struct bench_plan *p, sp_error *err)
{
    int code = check_list("prompt", p->prompts, p->n_prompts, 0, TEST_TOKENS_MOST, err);
    if (code == 0)
        code = check_list("gen", p->gens, p->n_gens, 0, TEST_TOKENS_MOST, err);
    if (code == 0)
        code = check_list("depth", p->depths, p->n_depths, 0, TEST_TOKENS_MOST, err);
    return code ? code : check_list("batch", p->batches, p->n_batches, 1, 1024, err);
}

static int fill_tests(const struct bench_plan *p, struct bench_test *out, size_t *n, sp_error *err)
{
    int code = 0;
    for (size_t d = 0; d < p->n_depths && code == 0; d++) {
        for (size_t i = 0; i < p->n_prompts && code == 0; i++)
            if (p->prompts[i])
                code =
                    add_test(out, n, (struct bench_test){p->prompts[i], 0, p->depths[d], 1}, err);
        for (size_t b = 0; b < p->n_batches; b++)
            for (size_t i = 0; i < p->n_gens && code == 0; i++)
                if (p->gens[i])
                    code = add_test(
                        out, n,
                        (struct bench_test){0, p->gens[i], p->depths[d], (int)p->batches[b]}, err);
    }
    if (code == 0 && *n == 0)
        code = sp_fail(err, SP_EUSAGE, "bench: --prompt and --gen are both 0: nothing to measure");
    return code;
}

int bench_tests(const struct bench_plan *p, struct bench_test **out, size_t *n, sp_error *err)
{
    int code = check_plan(p, err);
    if (code < 0)
        return code;
    struct bench_test *tests = sp_calloc(TESTS_MOST, sizeof *tests);
    if (!tests)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    *n = 0;
    code = fill_tests(p, tests, n, err);
    if (code < 0) {
        sp_free(tests);
        return code;
    }
    *out = tests;
    return 0;
}

/* Tokens that the first sequence of a batch may write before the last one writes its first: a step feeds
 * at least STEP_ROWS / 2 prompt tokens. */
static int64_t head_start(const struct bench_test *t)
{
    int64_t prompt = t->depth ? t->depth : 1;
    return t->batch == 1 ? 0 : t->batch * prompt / (STEP_ROWS / 2) + 2;
}

static int64_t answer_tokens(const struct bench_test *t)
{
    return t->prompt ? 1 : t->gen + 1 + head_start(t);
}

static int64_t prompt_tokens(const struct bench_test *t)
{
    int64_t n = t->depth + t->prompt;
    return n ? n : 1;
}

static int64_t positions(const struct bench_test *t)
{
    return prompt_tokens(t) + answer_tokens(t);
}

/* With one to spare for each sequence, or the engine would not run all of them at once. */
static int64_t pages(const struct bench_test *t)
{
    return ((positions(t) + KV_PAGE - 1) / KV_PAGE + 1) * t->batch;
}

void bench_needs(const struct bench_test *tests, size_t n, struct engine_opts *eo)
{
    eo->max_context = 0;
    eo->max_seqs = 1;
    for (size_t i = 0; i < n; i++) {
        if (positions(&tests[i]) + KV_PAGE > eo->max_context) /* see pages() */
            eo->max_context = positions(&tests[i]) + KV_PAGE;
        if (tests[i].batch > eo->max_seqs)
            eo->max_seqs = tests[i].batch;
    }
    eo->prefix_cache = false; /* what is timed is computed */
    if (eo->max_queue < eo->max_seqs)
        eo->max_queue = eo->max_seqs;
    if (eo->max_seqs > STEP_ROWS / 2)
        eo->step_rows = eo->max_seqs + STEP_ROWS / 2;
}

void bench_name(const struct bench_test *t, char out[48])
{
    int n = t->prompt ? snprintf(out, 48, "pp%lld", (long long)t->prompt)
                      : snprintf(out, 48, "tg%lld", (long long)t->gen);
    if (t->batch > 1)
        n += snprintf(out + n, 48 - (size_t)n, "x%d", t->batch);
    if (t->depth)
        (void)snprintf(out + n, 48 - (size_t)n, "@d%lld", (long long)t->depth);
}

static int check_room(engine *e, const struct bench_test *t, sp_error *err)
{
    struct engine_info info;
    engine_get_info(e, &info);
    if (positions(t) > engine_context(e))
        return sp_fail(err, SP_EUSAGE,
                       "bench: the test takes %lld positions of context, here are %lld: give a "
                       "smaller --prompt, --gen or --depth, or a larger --max-context if the "
                       "model has it",
                       (long long)positions(t), (long long)engine_context(e));
    if (pages(t) > info.kv_pages)
        return sp_fail(err, SP_EUSAGE,
                       "bench: %d sequences of %lld positions take %.0f MB of KV cache, there are "
                       "%.0f: give a smaller --batch, or a larger --kv-memory",
                       t->batch, (long long)positions(t),
                       (double)pages(t) * (double)info.kv_bytes / (double)info.kv_pages / 1e6,
                       (double)info.kv_bytes / 1e6);
    return 0;
}

/* ---- one repetition ---- */

/* Requests that run together. Prompts are timed by the engine; tokens by the clock here: from the moment
 * when all sequences have their first token until each has `gen` more. */
struct crowd {
    pthread_mutex_t lock;
    pthread_cond_t change;
    const struct bench_test *test;
    bool all_in;       /* under lock: every request has been submitted */
    int over;          /* under lock: requests that had their DONE */
    bool complete;     /* under lock: the window below is closed */
    bool failed;       /* under lock */
    sp_error error;    /* under lock: of the first that failed */
    double prefill;    /* under lock: seconds, of the last request that told */
    int started;       /* the engine thread's: sequences with a first token */
    int64_t tokens;    /* the engine thread's: in the window */
    double begin, end; /* the engine thread's until complete */
};

/* The engine thread waits here until all requests are in, so that none runs ahead while others are still
 * being submitted; nobody else uses this engine. */
static void wait_for_all(struct crowd *c)
{
    pthread_mutex_lock(&c->lock);
    while (!c->all_in)
        pthread_cond_wait(&c->change, &c->lock);
    pthread_mutex_unlock(&c->lock);
}

static void on_token(struct crowd *c, const struct engine_event *ev)
{
    if (c->complete)
        return;
    if (c->started < c->test->batch) {
        if (ev->index == 0 && c->started++ == 0)
            wait_for_all(c);
        c->begin = clock_seconds();
        return;
    }
    c->tokens++;
    c->end = clock_seconds();
    if (c->tokens == c->test->gen * c->test->batch) {
        pthread_mutex_lock(&c->lock);
        c->complete = true;
        pthread_cond_broadcast(&c->change);
        pthread_mutex_unlock(&c->lock);
    }
}

static void on_event(const struct engine_event *ev)
{
    struct crowd *c = ev->user;
    if (ev->kind == EVENT_TOKEN && c->test->gen)
        on_token(c, ev);
    if (ev->kind != EVENT_DONE)
        return;
    pthread_mutex_lock(&c->lock);
    c->over++;
    c->prefill = ev->prefill_seconds;
    if (ev->reason == FINISH_ERROR && !c->failed) {
        c->failed = true;
        c->error = ev->error;
    }
    pthread_cond_broadcast(&c->change);
    pthread_mutex_unlock(&c->lock);
}

static int random_tokens(engine *e, int64_t n, uint64_t seed, struct token_list *out, sp_error *err)
{
    double vocab = (double)tokenizer_vocab(engine_tokenizer(e));
    for (int64_t i = 0; i < n; i++)
        if (token_list_add(out, (int32_t)(rng_uniform(seed, (uint64_t)i, 0) * vocab)) < 0)
            return sp_fail(err, SP_ENOMEM, "out of memory");
    return 0;
}

static int submit(engine *e, struct crowd *c, uint64_t seed, uint64_t *id, sp_error *err)
{
    struct token_list ids = {0};
    struct engine_request r = engine_request_default(e);
    int code = random_tokens(e, prompt_tokens(c->test), seed, &ids, err);
    r.prompt = ids.ids;
    r.n_prompt = ids.n;
    r.timed_from = c->test->prompt ? c->test->depth : 0;
    r.max_tokens = answer_tokens(c->test);
    r.ignore_end = true;
    r.sampling.temperature = 0;
    r.speculate =
        0; /* random tokens have no text to look up in, and a test is of one token a step */
    r.sink = on_event;
    r.user = c;
    if (code == 0)
        code = engine_submit(e, &r, id, err);
    token_list_free(&ids);
    return code;
}

/* Waits until the window is closed or a request is over, then ends what still runs. */
static void finish(engine *e, struct crowd *c, const uint64_t *ids, int n)
{
    pthread_mutex_lock(&c->lock);
    c->all_in = true;
    pthread_cond_broadcast(&c->change);
    while (c->over == 0 && !c->complete && n > 0)
        pthread_cond_wait(&c->change, &c->lock);
    pthread_mutex_unlock(&c->lock);
    for (int i = 0; i < n; i++)
        engine_cancel(e, ids[i]);
    pthread_mutex_lock(&c->lock);
    while (c->over < n)
        pthread_cond_wait(&c->change, &c->lock);
    pthread_mutex_unlock(&c->lock);
}

/* Tokens/s of one repetition. Its sequences take the seeds from `seed` on. */
static int run_once(engine *e, const struct bench_test *t, uint64_t seed, double *rate,
                    sp_error *err)
{
    struct crowd c = {.test = t};
    uint64_t *ids = sp_calloc((size_t)t->batch, sizeof *ids);
    int n = 0, code = ids ? 0 : sp_fail(err, SP_ENOMEM, "out of memory");
    pthread_mutex_init(&c.lock, NULL);
    pthread_cond_init(&c.change, NULL);
    for (; n < t->batch && code == 0; n += code == 0)
        code = submit(e, &c, seed + (uint64_t)n, &ids[n], err);
    if (n)
        finish(e, &c, ids, n);
    if (code == 0 && c.failed)
        code = sp_fail(err, c.error.code, "%s", c.error.message);
    if (code == 0 && t->gen && !c.complete)
        code =
            sp_fail(err, SP_EINTERNAL, "bench: a sequence ended before the others were measured");
    if (code == 0)
        *rate = t->prompt ? (double)t->prompt / c.prefill
                          : (double)(t->gen * t->batch) / (c.end - c.begin);
    pthread_cond_destroy(&c.change);
    pthread_mutex_destroy(&c.lock);
    sp_free(ids);
    return code;
}

/* ---- what a test reads and computes ---- */

/* Weights of the layers when rows are multiplied with `experts` of a layer's experts. */
static double layer_weights(const struct model_config *c, double experts)
{
    double hidden = (double)c->hidden, sum = 0;
    double attention = hidden * (double)((2 * c->heads + 2 * c->kv_heads) * c->head_dim);
    double moe = experts * (double)c->moe.ffn + (double)c->moe.shared;
    for (int64_t i = 0; i < c->layers; i++)
        sum += attention + 3 * hidden * (config_is_moe(c, i) ? moe : (double)c->ffn);
    return sum;
}

static double head_weights(const struct model_config *c)
{
    return (double)c->hidden * (double)c->vocab;
}

/* Experts that at least one of n rows goes to, when routing is even. */
static double experts_met(const struct model_config *c, int n)
{
    double all = (double)c->moe.experts;
    return all > 0 ? all * (1 - pow(1 - (double)c->moe.used / all, n)) : 0;
}

/* Positions whose keys and values one token reads in all layers, at the middle of a decode test. */
static double kv_positions(const struct model_config *c, const struct bench_test *t)
{
    double here = (double)prompt_tokens(t) + (double)t->gen / 2, sum = 0;
    for (int64_t i = 0; i < c->layers; i++) {
        int64_t window = config_window(c, i);
        sum += window ? fmin(here, (double)window) : here;
    }
    return sum;
}

/* Bytes that one step of a decode test reads: weights once, keys and values of each sequence. */
static double step_bytes(engine *e, const struct bench_test *t)
{
    const struct model_config *c = checkpoint_config(engine_checkpoint(e));
    struct engine_info info;
    engine_get_info(e, &info);
    double head = head_weights(c), all = layer_weights(c, (double)c->moe.experts) + head;
    double met = layer_weights(c, experts_met(c, t->batch)) + head;
    double position = (double)info.kv_bytes / info.kv_pages / KV_PAGE / (double)c->layers;
    return (double)info.weight_bytes * met / all + t->batch * position * kv_positions(c, t);
}

static double token_operations(engine *e, const struct bench_test *t)
{
    const struct model_config *c = checkpoint_config(engine_checkpoint(e));
    return 2 * (layer_weights(c, (double)c->moe.used) + (t->gen ? head_weights(c) : 0));
}

/* Which of the multiplying loops the model's products are made of (kernel.h, compute modes). */
static double peak_of(engine *e, const char *compute, const struct rates *best)
{
    const struct model_config *c = checkpoint_config(engine_checkpoint(e));
    bool wide = c->dtype == DT_F32 || c->dtype == DT_F16;
    if (strcmp(compute, "f32") == 0 || wide || (c->dtype == DT_BF16 && best->bf16 <= 0))
        return best->f32;
    return c->dtype == DT_BF16 ? best->bf16 : best->int8;
}

static void summarize(engine *e, const struct rates *best, struct bench_result *r)
{
    double sorted[BENCH_REPS_MOST], steps;
    memcpy(sorted, r->samples, (size_t)r->reps * sizeof *sorted);
    struct stats s = stats_of(sorted, (size_t)r->reps);
    r->tokens_per_second = s.mean;
    r->deviation = s.deviation;
    r->median = s.median;
    r->gops = 1e-9 * s.mean * token_operations(e, &r->test);
    steps = s.mean / r->test.batch;
    r->gb_per_second = r->test.gen ? 1e-9 * steps * step_bytes(e, &r->test) : 0;
    r->limit_gb_per_second = 1e-9 * best->read;
    r->limit_gops = 1e-9 * peak_of(e, r->compute, best);
    double reading = r->gb_per_second / r->limit_gb_per_second;
    double computing = r->gops / r->limit_gops;
    r->bound = reading > computing ? BOUND_READ : BOUND_OPERATIONS;
    r->share = fmax(reading, computing);
}

/* ---- a test ---- */

static struct bench_test warm_up(const struct bench_test *t)
{
    struct bench_test w = *t;
    w.prompt = w.prompt < WARM_PROMPT ? w.prompt : WARM_PROMPT;
    w.gen = w.gen < WARM_GEN ? w.gen : WARM_GEN;
    w.depth = 0;
    return w;
}

static int open_limits(engine *e, const struct bench_test *t, limits **out, sp_error *err)
{
    struct engine_info info;
    struct limits_opts lo = {0};
    int code = kernel_pick(&lo.isa, err);
    engine_get_info(e, &info);
    lo.threads = info.threads;
    lo.pin = info.pinned ? POOL_PIN_ON : POOL_PIN_OFF;
    /* A model that a cache holds is read as fast as the cache allows. */
    double bytes = step_bytes(e, t);
    lo.bytes = bytes < (double)limits_cold_bytes() ? (uint64_t)bytes + 1 : 0;
    return code < 0 ? code : limits_open(&lo, out, err);
}

static int repeat(engine *e, const struct bench_opts *o, limits *l, struct bench_result *r,
                  sp_error *err)
{
    struct bench_test warm = warm_up(&r->test);
    double unused;
    int code = run_once(e, &warm, o->seed, &unused, err);
    for (int i = 0; i < o->reps && code == 0; i++) {
        if (o->progress)
            o->progress(o->progress_arg, r->name, i, o->reps);
        limits_measure(l);
        code =
            run_once(e, &r->test, o->seed + (uint64_t)(i + 1) * SEEDS_A_REP, &r->samples[i], err);
    }
    limits_measure(l);
    return code;
}

int bench_run(engine *e, const char *name, const struct bench_test *t, const struct bench_opts *o,
              struct bench_result *out, sp_error *err)
{
    struct engine_info info;
    limits *l = NULL;
    if (o->reps < 1 || o->reps > BENCH_REPS_MOST)
        return sp_fail(err, SP_EUSAGE, "bench: --reps must be from 1 to %d", BENCH_REPS_MOST);
    int code = check_room(e, t, err);
    if (code < 0)
        return code;
    engine_get_info(e, &info);
    *out = (struct bench_result){.test = *t,
                                 .threads = info.threads,
                                 .isa = info.isa,
                                 .compute = info.compute,
                                 .kv_type = info.kv_type,
                                 .weight_bytes = info.weight_bytes,
                                 .reps = o->reps};
    (void)snprintf(out->model, sizeof out->model, "%s", name);
    bench_name(t, out->name);
    code = open_limits(e, t, &l, err);
    if (code == 0)
        code = repeat(e, o, l, out, err);
    if (code == 0)
        summarize(e, limits_best(l), out);
    limits_close(l);
    return code;
}
