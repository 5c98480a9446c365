#include <pthread.h>
#include "eval/eval_int.h"

struct waiter {
    pthread_mutex_t lock;
    pthread_cond_t over;
    bool done;
    enum finish_reason reason;
    sp_error error;
    window_fn fn;
    void *arg;
};

static void on_event(const struct engine_event *ev)
{
    struct waiter *w = ev->user;
    if (ev->kind == EVENT_PROMPT && ev->index > 0)
        w->fn(w->arg, ev);
    if (ev->kind != EVENT_DONE)
        return;
    pthread_mutex_lock(&w->lock);
    w->done = true;
    w->reason = ev->reason;
    w->error = ev->error;
    pthread_cond_signal(&w->over);
    pthread_mutex_unlock(&w->lock);
}

int window_score(engine *e, const int32_t *tokens, size_t n, bool logits, window_fn fn, void *arg,
                 sp_error *err)
{
    struct waiter w = {.fn = fn, .arg = arg};
    struct engine_request r = engine_request_default(e);
    uint64_t id;
    r.prompt = tokens;
    r.n_prompt = n;
    r.max_tokens = 0;
    r.logprobs = 0;
    r.prompt_logprobs = true;
    r.prompt_logits = logits;
    r.sink = on_event;
    r.user = &w;
    pthread_mutex_init(&w.lock, NULL);
    pthread_cond_init(&w.over, NULL);
    int code = engine_submit(e, &r, &id, err);
    if (code == 0) {
        pthread_mutex_lock(&w.lock);
        while (!w.done)
            pthread_cond_wait(&w.over, &w.lock);
        pthread_mutex_unlock(&w.lock);
    }
    if (code == 0 && w.reason == FINISH_ERROR) {
        code = w.error.code;
        if (err)
            *err = w.error;
    } else if (code == 0 && w.reason == FINISH_CANCELLED) {
        code = sp_fail(err, SP_ECANCELLED, "stopped");
    }
    pthread_cond_destroy(&w.over);
    pthread_mutex_destroy(&w.lock);
    return code;
}

int window_tokens(engine *e, const struct perplexity_opts *o, struct token_list *out, sp_error *err)
{
    struct encode_opts eo = {.special = SPECIAL_NONE, .add_bos = true};
    if (o->context < 2 || o->context > engine_context(e))
        return sp_fail(err, SP_EINVAL, "--context %lld: windows of 2 to %lld tokens are possible",
                       (long long)o->context, (long long)engine_context(e));
    if (o->skip < 0 || o->skip >= o->context)
        return sp_fail(err, SP_EINVAL, "--skip %lld: windows of %lld tokens leave nothing to score",
                       (long long)o->skip, (long long)o->context);
    int code = tokenizer_encode(engine_tokenizer(e), o->text, o->n_text, &eo, out, err);
    if (code == 0 && o->max_tokens > 0 && (int64_t)out->n > o->max_tokens)
        out->n = (size_t)o->max_tokens;
    if (code == 0 && out->n <= window_first(o))
        code =
            sp_fail(err, SP_EINVAL, "the text has %zu tokens: at least %zu are needed to score one",
                    out->n, window_first(o) + 1);
    return code;
}
