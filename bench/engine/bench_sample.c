/* Time of choosing tokens, by the settings of a request.
 *
 *     bench_sample MODEL [-t seconds per figure] [-j threads]
 *
 * MODEL is a GGUF file or a folder. Logits are the model's own for a text of some 200 tokens, taken in turn,
 * and flat ones (uniform in [0, 1): nearly every token stays in a nucleus). Prints two Markdown tables of medians: of
 * one token, in microseconds, and of a step's ROWS tokens of as many requests, in milliseconds, in blocks and on the
 * compute pool as the engine draws them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/rng.h"
#include "engine/engine_int.h"

#define ROWS 64
#define SAMPLES_MOST 4096
#define COUNTED 500 /* tokens that penalties know */
#define LAST_POS 1000

static const char text[] =
    "The sea was calm that morning. def quicksort(values):\n    if len(values) < 2:\n        "
    "return "
    "values\n    pivot = values[0]\n    less = [v for v in values[1:] if v < pivot]\n"
    "Once upon a time there lived a king who had three daughters, and the youngest was so clever "
    "that the sun itself, who has seen so much, was astonished whenever it shone in her face. "
    "int main(void)\n{\n    for (int i = 0; i < 10; i++)\n        printf(\"%d\\n\", i);\n"
    "In 1687 Newton published the three laws of motion; they hold for bodies that are not too "
    "fast, not too small and not too heavy. ";

struct rows {
    float *x; /* [n, vocab] */
    int64_t n, vocab;
    pthread_mutex_t lock;
    pthread_cond_t over;
    bool done;
};

static void keep_row(const struct engine_event *ev)
{
    struct rows *r = ev->user;
    if (ev->kind == EVENT_PROMPT && ev->logits && ev->index >= 8 && r->n < ROWS)
        memcpy(r->x + r->n++ * r->vocab, ev->logits, (size_t)r->vocab * sizeof(float));
    if (ev->kind != EVENT_DONE)
        return;
    pthread_mutex_lock(&r->lock);
    r->done = true;
    pthread_cond_signal(&r->over);
    pthread_mutex_unlock(&r->lock);
}

static int real_rows(engine *e, struct rows *r, sp_error *err)
{
    struct token_list ids = {0};
    struct engine_request q = engine_request_default(e);
    const struct encode_opts eo = {.special = SPECIAL_NONE};
    uint64_t id;
    int code = tokenizer_encode(engine_tokenizer(e), text, sizeof text - 1, &eo, &ids, err);
    if (code < 0)
        return code;
    q.prompt = ids.ids, q.n_prompt = ids.n;
    q.max_tokens = 0, q.prompt_logits = true;
    q.sink = keep_row, q.user = r;
    code = engine_submit(e, &q, &id, err);
    token_list_free(&ids);
    pthread_mutex_lock(&r->lock);
    while (code == 0 && !r->done)
        pthread_cond_wait(&r->over, &r->lock);
    pthread_mutex_unlock(&r->lock);
    return code;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

enum what { TOKEN, TOP, LSE };

static volatile float sink; /* so that nothing is left out as unused */

/* The median, in microseconds. */
static double measure(engine *e, const struct rows *r, enum what what, const struct sampling *p,
                      const struct token_counts *counts, double seconds)
{
    static double took[SAMPLES_MOST];
    struct token_logprob top[LOGPROBS_MAX];
    double until = clock_seconds() + seconds;
    int n = 0;
    while (n < SAMPLES_MOST && (n < 5 || clock_seconds() < until)) {
        const float *x = r->x + n % r->n * r->vocab;
        double start = clock_seconds();
        if (what == TOKEN)
            sink = (float)sample_token(&e->chooser.samplers[0], x, p, counts, n);
        else if (what == LSE)
            sink = model_ops(e->model)->log_sum_exp(x, r->vocab);
        else
            sink = (float)sample_top(&e->chooser.samplers[0], x, 0, LOGPROBS_MAX, top);
        took[n++] = clock_seconds() - start;
    }
    qsort(took, (size_t)n, sizeof *took, by_value);
    return took[n / 2] * 1e6;
}

struct setting {
    const char *name;
    enum what what;
    bool counts;
    struct sampling p;
};

static void print_tokens(engine *e, const struct rows *real, const struct rows *flat,
                         const struct token_counts *counts, double seconds)
{
#define S .top_p = 1, .repetition_penalty = 1
    const struct setting cases[] = {
        {"greedy", TOKEN, false, {S}},
        {"greedy, repetition penalty 1.1", TOKEN, true, {.top_p = 1, .repetition_penalty = 1.1f}},
        {"greedy, presence and frequency penalty",
         TOKEN,
         true,
         {S, .presence_penalty = 0.5f, .frequency_penalty = 0.5f}},
        {"temperature 1", TOKEN, false, {S, .temperature = 1}},
        {"temperature 0.7, top_k 20, top_p 0.8",
         TOKEN,
         false,
         {.temperature = 0.7f, .top_k = 20, .top_p = 0.8f, .repetition_penalty = 1}},
        {"temperature 1, top_k 1000", TOKEN, false, {S, .temperature = 1, .top_k = 1000}},
        {"temperature 1, top_p 0.9",
         TOKEN,
         false,
         {.temperature = 1, .top_p = 0.9f, .repetition_penalty = 1}},
        {"temperature 1.5, top_p 0.99",
         TOKEN,
         false,
         {.temperature = 1.5f, .top_p = 0.99f, .repetition_penalty = 1}},
        {"temperature 1, min_p 0.05", TOKEN, false, {S, .temperature = 1, .min_p = 0.05f}},
        {"logprobs: log_sum_exp", LSE, false, {S}},
        {"logprobs: the best 20", TOP, false, {S}},
    };
    printf(
        "| choosing a token of %lld | real logits, us | flat logits, us |\n| --- | ---: | ---: |\n",
        (long long)e->vocab);
    const struct token_counts none = {0};
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        const struct token_counts *c = cases[i].counts ? counts : &none;
        double a = measure(e, real, cases[i].what, &cases[i].p, c, seconds);
        double b = measure(e, flat, cases[i].what, &cases[i].p, c, seconds);
        printf("| %s | %.0f | %.0f |\n", cases[i].name, a, b);
        fflush(stdout);
    }
}

/* ---- a step ---- */

/* As after an answer of some hundred tokens; room for one more. */
static int make_counts(struct token_counts *c, int64_t vocab, sp_error *err)
{
    c->seen = sp_calloc((size_t)vocab, sizeof *c->seen);
    c->answer = sp_calloc((size_t)vocab, sizeof *c->answer);
    c->ids = sp_calloc(COUNTED + 1, sizeof *c->ids);
    if (!c->seen || !c->answer || !c->ids)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    for (int64_t i = 0; i < COUNTED; i++)
        token_counts_add(c, (int32_t)(i * i * 7 % vocab), i % 2);
    return 0;
}

static void free_counts(struct token_counts *c)
{
    sp_free(c->seen);
    sp_free(c->answer);
    sp_free(c->ids);
}

static void choose_step(engine *e, const struct rows *r, struct request *requests)
{
    struct chooser *c = &e->chooser;
    for (int at = 0; at < ROWS; at += c->n) {
        for (c->n = 0; c->n < MODEL_LOGIT_ROWS && at + c->n < ROWS; c->n++)
            c->choices[c->n] = (struct choice){.q = &requests[at + c->n],
                                               .seq = at + c->n,
                                               .pos = LAST_POS,
                                               .logits = r->x + (at + c->n) % r->n * r->vocab};
        chooser_run(c, e->pool);
    }
}

/* The median, in milliseconds. */
static double measure_step(engine *e, const struct rows *r, const struct setting *s,
                           struct request *requests, const struct token_counts *counts,
                           double seconds)
{
    static double took[SAMPLES_MOST];
    double until = clock_seconds() + seconds;
    int n = 0;
    while (n < SAMPLES_MOST && (n < 5 || clock_seconds() < until)) {
        for (int i = 0; i < ROWS; i++) {
            requests[i] = (struct request){
                .r = {.sampling = s->p, .logprobs = s->what == TOP ? LOGPROBS_MAX : -1},
                .n_prompt = 1,
                .n_cached = LAST_POS + 1};
            requests[i].r.sampling.seed = (uint64_t)i;
            if (s->counts)
                requests[i].counts = counts[i];
        }
        double start = clock_seconds();
        choose_step(e, r, requests);
        took[n++] = clock_seconds() - start;
    }
    qsort(took, (size_t)n, sizeof *took, by_value);
    return took[n / 2] * 1e3;
}

static int print_steps(engine *e, const struct rows *real, const struct rows *flat, double seconds,
                       sp_error *err)
{
    const struct setting cases[] = {
        {"greedy", TOKEN, false, {S}},
        {"temperature 0.7, top_k 20, top_p 0.8",
         TOKEN,
         false,
         {.temperature = 0.7f, .top_k = 20, .top_p = 0.8f, .repetition_penalty = 1}},
        {"the same, repetition penalty 1.1",
         TOKEN,
         true,
         {.temperature = 0.7f, .top_k = 20, .top_p = 0.8f, .repetition_penalty = 1.1f}},
        {"the same, 20 logprobs",
         TOP,
         true,
         {.temperature = 0.7f, .top_k = 20, .top_p = 0.8f, .repetition_penalty = 1.1f}},
        {"temperature 1", TOKEN, false, {S, .temperature = 1}},
        {"temperature 1, top_p 0.95",
         TOKEN,
         false,
         {.temperature = 1, .top_p = 0.95f, .repetition_penalty = 1}},
        {"temperature 1, top_p 0.95, presence and frequency penalty",
         TOKEN,
         true,
         {.temperature = 1,
          .top_p = 0.95f,
          .repetition_penalty = 1,
          .presence_penalty = 0.5f,
          .frequency_penalty = 0.5f}},
        {"temperature 1, min_p 0.05", TOKEN, false, {S, .temperature = 1, .min_p = 0.05f}},
    };
    struct token_counts *counts = sp_calloc(ROWS, sizeof *counts);
    struct request *requests = sp_calloc(ROWS, sizeof *requests);
    int code = counts && requests ? 0 : sp_fail(err, SP_ENOMEM, "out of memory");
    for (int i = 0; i < ROWS && code == 0; i++)
        code = make_counts(&counts[i], e->vocab, err);
    if (code == 0)
        printf("\n| a step's %d tokens, %d threads | real logits, ms | flat logits, ms |\n"
               "| --- | ---: | ---: |\n",
               ROWS, pool_threads(e->pool));
    for (size_t i = 0; i < SP_COUNT(cases) && code == 0; i++) {
        double a = measure_step(e, real, &cases[i], requests, counts, seconds);
        double b = measure_step(e, flat, &cases[i], requests, counts, seconds);
        printf("| %s | %.2f | %.2f |\n", cases[i].name, a, b);
        fflush(stdout);
    }
    for (int i = 0; i < ROWS && counts; i++)
        free_counts(&counts[i]);
    sp_free(counts);
    sp_free(requests);
    return code;
}

static int run(const char *path, double seconds, int threads, sp_error *err)
{
    engine *e = NULL;
    struct engine_opts eo = engine_opts_default();
    struct token_counts counts = {0};
    struct rows real = {.lock = PTHREAD_MUTEX_INITIALIZER, .over = PTHREAD_COND_INITIALIZER};
    eo.threads = threads;
    int code = engine_open(path, &eo, &e, err);
    if (code < 0)
        return code;
    size_t bytes = (size_t)(ROWS * e->vocab) * sizeof(float);
    struct rows flat = {.x = sp_alloc_aligned(64, bytes), .n = ROWS, .vocab = e->vocab};
    real.x = sp_alloc_aligned(64, bytes);
    real.vocab = e->vocab;
    if (!flat.x || !real.x)
        code = sp_fail(err, SP_ENOMEM, "out of memory for the logits");
    if (code == 0)
        code = make_counts(&counts, e->vocab, err);
    if (code == 0)
        code = real_rows(e, &real, err);
    for (int64_t i = 0; code == 0 && i < ROWS * e->vocab; i++)
        flat.x[i] = (float)rng_uniform(1, (uint64_t)i, 0);
    if (code == 0)
        print_tokens(e, &real, &flat, &counts, seconds);
    if (code == 0)
        code = print_steps(e, &real, &flat, seconds, err);
    sp_free(real.x);
    sp_free(flat.x);
    free_counts(&counts);
    engine_close(e);
    return code;
}

int main(int argc, char **argv)
{
    double seconds = 0.5;
    int threads = 0;
    bool right = true;
    sp_error err;
    for (int c; (c = getopt(argc, argv, "t:j:")) != -1;) {
        if (c == 't')
            right &= (seconds = strtod(optarg, NULL)) > 0;
        else
            right &= c == 'j' && (threads = (int)strtol(optarg, NULL, 10)) > 0;
    }
    if (!right || optind != argc - 1) {
        (void)fprintf(stderr, "usage: bench_sample [-t seconds] [-j threads] MODEL\n");
        return 2;
    }
    if (run(argv[optind], seconds, threads, &err) < 0) {
        (void)fprintf(stderr, "bench_sample: %s\n", err.message);
        return 1;
    }
    return 0;
}
