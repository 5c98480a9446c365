/* Time that the engine's thread takes between two steps for everything but the model and the choice of tokens: plan,
 * pages, prefix cache, events, text, admission.
 *
 *     bench_schedule MODEL [running] [queued]
 *
 * MODEL is a GGUF file or a folder. 64 requests run and 1,000 wait unless told otherwise; all begin with the same 256
 * tokens. Prints median, 99th percentile and maximum in microseconds, over the steps before the first request ends. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/clock.h"
#include "engine/engine_int.h"

#define STEPS_MOST 4096
#define SHARED 256
#define ANSWER 128

int __real_model_forward(model *m, const struct model_batch *b, kv_pool *kv, sp_error *err);
int __wrap_model_forward(model *m, const struct model_batch *b, kv_pool *kv, sp_error *err);
void __real_model_logits(model *m, int64_t first, int64_t n, float *out);
void __wrap_model_logits(model *m, int64_t first, int64_t n, float *out);
void __real_chooser_run(struct chooser *c, pool *p);
void __wrap_chooser_run(struct chooser *c, pool *p);

/* The engine's thread. */
static double between[STEPS_MOST]; /* seconds before each step */
static int n_steps;
static double last_end, elsewhere;
static atomic_int ended;

int __wrap_model_forward(model *m, const struct model_batch *b, kv_pool *kv, sp_error *err)
{
    if (last_end > 0 && n_steps < STEPS_MOST && atomic_load(&ended) == 0)
        between[n_steps++] = clock_seconds() - last_end - elsewhere;
    int code = __real_model_forward(m, b, kv, err);
    elsewhere = 0;
    last_end = clock_seconds();
    return code;
}

void __wrap_model_logits(model *m, int64_t first, int64_t n, float *out)
{
    double begin = clock_seconds();
    __real_model_logits(m, first, n, out);
    elsewhere += clock_seconds() - begin;
}

void __wrap_chooser_run(struct chooser *c, pool *p)
{
    double begin = clock_seconds();
    __real_chooser_run(c, p);
    elsewhere += clock_seconds() - begin;
}

static void on_event(const struct engine_event *ev)
{
    if (ev->kind == EVENT_DONE)
        atomic_fetch_add(&ended, 1);
}

static int submit_all(engine *e, int n, sp_error *err)
{
    int32_t prompt[SHARED + 1];
    int code = 0;
    for (int i = 0; i < n && code == 0; i++) {
        struct engine_request q = engine_request_default(e);
        uint64_t id;
        for (int k = 0; k < SHARED; k++)
            prompt[k] = 100 + k;
        prompt[SHARED] = 100 + i;
        q.prompt = prompt;
        q.n_prompt = SHARED + 1;
        q.max_tokens = ANSWER;
        q.ignore_end = true;
        q.sink = on_event;
        code = engine_submit(e, &q, &id, err);
    }
    return code;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
    struct engine_opts o = engine_opts_default();
    engine *e = NULL;
    sp_error err = {0};
    o.max_seqs = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 64;
    o.max_queue = argc > 3 ? (int)strtol(argv[3], NULL, 10) : 1000;
    o.max_context = 1024;
    int code = argc > 1 ? engine_open(argv[1], &o, &e, &err)
                        : sp_fail(&err, SP_EUSAGE, "bench_schedule MODEL [running] [queued]");
    /* The queue has room for max_queue, and what runs has left it. */
    for (int sent = 0; code == 0 && sent < 2; sent++) {
        struct engine_info info = {0};
        code = submit_all(e, sent ? o.max_queue : o.max_seqs, &err);
        while (code == 0 && !sent && info.running < o.max_seqs) {
            clock_sleep(0.01);
            engine_get_info(e, &info);
        }
    }
    while (code == 0 && atomic_load(&ended) == 0)
        clock_sleep(0.01);
    engine_close(e);
    if (code == 0 && n_steps == 0)
        code = sp_fail(&err, SP_EINTERNAL, "no step was measured");
    if (code < 0) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    qsort(between, (size_t)n_steps, sizeof *between, ascending);
    printf("%d running, %d queued, %d steps: median %.0f, 99%% %.0f, most %.0f us between steps\n",
           o.max_seqs, o.max_queue, n_steps, 1e6 * between[n_steps / 2],
           1e6 * between[n_steps * 99 / 100], 1e6 * between[n_steps - 1]);
    return 0;
}
