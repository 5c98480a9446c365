/* Prefill and decode speed of one request alone, timed by the engine itself. */
#include "bench/bench.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include "base/rng.h"

struct run {
    pthread_mutex_t lock;
    pthread_cond_t over;
    bool done;
    struct engine_event end;
};

static void on_event(const struct engine_event *ev)
{
    struct run *r = ev->user;
    if (ev->kind != EVENT_DONE)
        return;
    pthread_mutex_lock(&r->lock);
    r->end = *ev;
    r->done = true;
    pthread_cond_signal(&r->over);
    pthread_mutex_unlock(&r->lock);
}

static int random_prompt(engine *e, int64_t n, uint64_t seed, struct token_list *out)
{
    double vocab = (double)tokenizer_vocab(engine_tokenizer(e));
    for (int64_t i = 0; i < n; i++)
        if (token_list_add(out, (int32_t)(rng_uniform(seed, (uint64_t)i, 0) * vocab)) < 0)
            return SP_ENOMEM;
    return 0;
}

/* One request of `prompt` tokens and `answer` more; *end is its DONE event. */
static int run_once(engine *e, int64_t prompt, int64_t answer, uint64_t seed,
                    struct engine_event *end, sp_error *err)
{
    struct run run = {0};
    struct token_list ids = {0};
    struct engine_request r = engine_request_default(e);
    uint64_t id;
    int code =
        random_prompt(e, prompt, seed, &ids) < 0 ? sp_fail(err, SP_ENOMEM, "out of memory") : 0;
    r.prompt = ids.ids;
    r.n_prompt = ids.n;
    r.max_tokens = answer;
    r.ignore_end = true;
    r.sampling.temperature = 0;
    r.sink = on_event;
    r.user = &run;
    pthread_mutex_init(&run.lock, NULL);
    pthread_cond_init(&run.over, NULL);
    if (code == 0)
        code = engine_submit(e, &r, &id, err);
    if (code == 0) {
        pthread_mutex_lock(&run.lock);
        while (!run.done)
            pthread_cond_wait(&run.over, &run.lock);
        pthread_mutex_unlock(&run.lock);
        if (run.end.reason == FINISH_ERROR)
            code = sp_fail(err, run.end.error.code, "%s", run.end.error.message);
    }
    *end = run.end;
    pthread_cond_destroy(&run.over);
    pthread_mutex_destroy(&run.lock);
    token_list_free(&ids);
    return code;
}

/* Weights that a token is multiplied with: all matrices but the embedding, which is only looked up. With `all`,
 * the experts that it does not go to are counted too. */
static double product_weights(const struct model_config *c, bool all)
{
    double hidden = (double)c->hidden, sum = 0;
    double attention = hidden * (double)((2 * c->heads + 2 * c->kv_heads) * c->head_dim);
    double experts = (double)((all ? c->moe.experts : c->moe.used) * c->moe.ffn + c->moe.shared);
    for (int64_t i = 0; i < c->layers; i++)
        sum += attention + 3 * hidden * (config_is_moe(c, i) ? experts : (double)c->ffn);
    return sum;
}

static double head_weights(const struct model_config *c)
{
    return (double)c->hidden * (double)c->vocab;
}

static void summarize(engine *e, const double *rates, int n, bool decode, struct bench_result *out)
{
    struct engine_info info;
    double sum = 0, squares = 0;
    for (int i = 0; i < n; i++) {
        sum += rates[i];
        squares += rates[i] * rates[i];
    }
    const struct model_config *c = checkpoint_config(engine_checkpoint(e));
    double head = head_weights(c), used = product_weights(c, false);
    double read =
        (used + head) / (product_weights(c, true) + head); /* of all weights, by a token */
    engine_get_info(e, &info);
    out->reps = n;
    out->tokens_per_second = sum / n;
    out->deviation = n > 1 ? sqrt(fmax(squares - sum * sum / n, 0) / (n - 1)) : 0;
    out->gops = 2e-9 * out->tokens_per_second * (used + (decode ? head : 0));
    out->gb_per_second =
        decode ? out->tokens_per_second * read * (double)info.weight_bytes / 1e9 : 0;
}

static int measure(engine *e, const struct bench_opts *o, bool decode, struct bench_result *out,
                   sp_error *err)
{
    double rates[1000] = {0};
    struct engine_event end;
    int64_t prompt = decode ? 1 : o->prompt, answer = decode ? o->gen + 1 : 1;
    int code = 0;
    for (int i = -1; i < o->reps && code == 0; i++) { /* -1: warm-up */
        code = run_once(e, prompt, answer, o->seed + (uint64_t)i + 1, &end, err);
        if (code == 0 && i >= 0)
            rates[i] =
                decode ? (double)o->gen / end.decode_seconds : (double)prompt / end.prefill_seconds;
    }
    if (code < 0)
        return code;
    snprintf(out->test, sizeof out->test, "%s%lld", decode ? "tg" : "pp",
             (long long)(decode ? o->gen : o->prompt));
    summarize(e, rates, o->reps, decode, out);
    return 0;
}

int bench_model(engine *e, const struct bench_opts *o, struct bench_result out[2], size_t *n,
                sp_error *err)
{
    int64_t room = engine_context(e) - 2;
    int code = 0;
    *n = 0;
    if (o->reps < 1 || o->reps > 1000 || o->prompt < 0 || o->gen < 0 ||
        (o->prompt == 0 && o->gen == 0))
        return sp_fail(
            err, SP_EUSAGE,
            "bench: --reps from 1 to 1000, --prompt and --gen not negative and not both 0");
    if (o->prompt > room || o->gen > room)
        return sp_fail(
            err, SP_EUSAGE,
            "bench: --prompt and --gen may be %lld at most at this context: raise --max-context",
            (long long)room);
    if (o->prompt)
        code = measure(e, o, false, &out[(*n)++], err);
    if (code == 0 && o->gen)
        code = measure(e, o, true, &out[(*n)++], err);
    return code;
}
