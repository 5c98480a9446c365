/* `sampan bench model`: speed through the engine's public header: what users get.
 *
 * A test is a prompt of so many tokens (pp512: prefill tokens/s) or an answer of so many (tg128: decode
 * tokens/s). `depth` tokens are in the context before the timed ones (tg128@d8192); `batch` sequences decode
 * at once and their tokens are counted together (tg128x16). Between the repetitions the machine's limits are
 * measured by bare loops; a result says which of them binds it and what share of it was reached. */
#ifndef SP_BENCH_BENCH_H
#define SP_BENCH_BENCH_H

#include <jansson.h>
#include "bench/limits.h"
#include "engine/engine.h"

#define BENCH_REPS_MOST 1000

struct bench_test {
    int64_t prompt, gen; /* one of them is 0 */
    int64_t depth;
    int batch; /* 1 for a prompt */
};

/* Lists of what to measure; every depth is combined with every prompt, and with every answer and batch. */
struct bench_plan {
    const int64_t *prompts, *gens, *depths, *batches; /* 0 among prompts or gens: none */
    size_t n_prompts, n_gens, n_depths, n_batches;
};
/* The tests of a plan in a new array (sp_free). SP_EUSAGE: there is none, or a number is out of range. */
int bench_tests(const struct bench_plan *p, struct bench_test **out, size_t *n, sp_error *err);
/* Sets what an engine must have for all of them: positions of a context, sequences at once, rows of a step. */
void bench_needs(const struct bench_test *tests, size_t n, struct engine_opts *eo);
void bench_name(const struct bench_test *t, char out[48]); /* "pp512@d8192", "tg128x16" */

enum bench_bound { BOUND_READ, BOUND_OPERATIONS };

struct bench_result {
    char model[128];
    char name[48];
    struct bench_test test;
    int threads;
    const char *isa, *compute, *kv_type;
    uint64_t weight_bytes;
    int reps;
    double tokens_per_second, deviation, median; /* over repetitions */
    double samples[BENCH_REPS_MOST]; /* [reps] tokens/s in the order they were measured */
    double gb_per_second;            /* decode: weights, keys and values read; 0 for a prompt */
    double gops;                     /* 2 x weights x tokens: attention is not counted */
    double limit_gb_per_second, limit_gops; /* the best loop's, between these repetitions */
    enum bench_bound bound;                 /* the limit that allows less */
    double share;                           /* of that limit. Over 1: the limit is wrong, say so */
};

struct bench_opts {
    int reps; /* after a warm-up that is not counted */
    uint64_t seed;
    void (*progress)(void *arg, const char *test, int rep, int reps); /* may be NULL */
    void *progress_arg;
};
/* `name`: the model's, for the result. SP_EUSAGE when the engine has no room for the test. */
int bench_run(engine *e, const char *name, const struct bench_test *t, const struct bench_opts *o,
              struct bench_result *out, sp_error *err);

/* report.c: results as they come. Table: for people; its columns fit names up to model_width. */
enum bench_format { BENCH_TABLE, BENCH_MARKDOWN, BENCH_CSV, BENCH_JSON };
void bench_print_head(enum bench_format f, int model_width, buf *out);
void bench_print(enum bench_format f, int model_width, const struct bench_result *r, buf *out);
/* Bars of tokens/s for a terminal `width` columns wide. */
void bench_chart(const struct bench_result *r, size_t n, int width, buf *out);
/* report_html.c: one page with table and charts that loads nothing else. */
void bench_html(const struct bench_result *r, size_t n, buf *out);

#endif
