/* Checking and copying a request. */
#include <math.h>
#include <string.h>
#include "base/clock.h"
#include "engine/draft_int.h"

#define TEXT_MAX ((size_t)1 << 24) /* bytes of text in one event */

static int check_float(const char *name, float v, double min, double max, sp_error *err)
{
    if ((double)v >= min && (double)v <= max)
        return 0;
    return sp_fail(err, SP_EINVAL, "%s: %g is not from %g to %g", name, (double)v, min, max);
}

static int check_sampling(const engine *e, const struct sampling *s, sp_error *err)
{
    const struct {
        const char *name;
        float v;
        double min, max;
    } floats[] = {{"temperature", s->temperature, 0, 100},
                  {"top_p", s->top_p, 0, 1},
                  {"min_p", s->min_p, 0, 1},
                  {"repetition_penalty", s->repetition_penalty, 0.01, 100},
                  {"presence_penalty", s->presence_penalty, -2, 2},
                  {"frequency_penalty", s->frequency_penalty, -2, 2}};
    int code = s->top_k >= 0 ? 0 : sp_fail(err, SP_EINVAL, "top_k: %d is negative", s->top_k);
    for (size_t i = 0; i < SP_COUNT(floats) && code == 0; i++)
        code = check_float(floats[i].name, floats[i].v, floats[i].min, floats[i].max, err);
    for (size_t i = 0; i < s->n_bias && code == 0; i++) {
        if (s->bias[i].token < 0 || s->bias[i].token >= e->vocab)
            code = sp_fail(err, SP_EINVAL, "logit_bias: no token %d in the vocabulary of %lld",
                           s->bias[i].token, (long long)e->vocab);
        else
            code = check_float("logit_bias", s->bias[i].bias, -100, 100, err);
    }
    return code;
}

static int check_prompt(const engine *e, const struct engine_request *r, sp_error *err)
{
    /* A prompt alone may fill the context when nothing is to follow. */
    int64_t room = e->context - (r->max_tokens == 0 ? 0 : 1);
    if (r->n_prompt == 0)
        return sp_fail(err, SP_EINVAL, "prompt: it is empty");
    if ((int64_t)r->n_prompt > room)
        return sp_fail(err, SP_EINVAL,
                       "the prompt has %zu tokens, but the context has %lld, prompt and answer "
                       "together: shorten it or serve with a larger --max-context",
                       r->n_prompt, (long long)e->context);
    for (size_t i = 0; i < r->n_prompt; i++)
        if (r->prompt[i] < 0 || r->prompt[i] >= e->vocab)
            return sp_fail(err, SP_EINVAL, "prompt: no token %d in the vocabulary of %lld",
                           r->prompt[i], (long long)e->vocab);
    return 0;
}

static int check_request(const engine *e, const struct engine_request *r, sp_error *err)
{
    int code = check_sampling(e, &r->sampling, err);
    if (code == 0)
        code = check_prompt(e, r, err);
    if (code < 0)
        return code;
    if (r->max_tokens < -1 || (r->max_tokens == 0 && !r->prompt_logprobs && !r->prompt_logits))
        return sp_fail(err, SP_EINVAL, "max_tokens: %lld: it must be at least 1",
                       (long long)r->max_tokens);
    if (r->min_tokens < 0 || (r->max_tokens >= 0 && r->min_tokens > r->max_tokens))
        return sp_fail(err, SP_EINVAL, "min_tokens: %lld is not from 0 to max_tokens",
                       (long long)r->min_tokens);
    if (r->logprobs < -1 || r->logprobs > LOGPROBS_MAX)
        return sp_fail(err, SP_EINVAL, "logprobs: %d is not from 0 to %d", r->logprobs,
                       LOGPROBS_MAX);
    if (r->timed_from < 0 || r->timed_from >= (int64_t)r->n_prompt)
        return sp_fail(err, SP_EINVAL, "timed_from: %lld is not in the prompt of %zu tokens",
                       (long long)r->timed_from, r->n_prompt);
    if (r->speculate < -1 || r->speculate > 0)
        return sp_fail(err, SP_EINVAL, "speculate: %d: it is -1 (as the engine does) or 0 (off)",
                       r->speculate);
    if (r->priority < -ENGINE_PRIORITY_MOST || r->priority > ENGINE_PRIORITY_MOST)
        return sp_fail(err, SP_EINVAL, "priority: %d is not from %d to %d", r->priority,
                       -ENGINE_PRIORITY_MOST, ENGINE_PRIORITY_MOST);
    if (!(r->queue_seconds_max >= 0) || !(r->total_seconds_max >= 0))
        return sp_fail(err, SP_EINVAL, "a request's time limit is negative");
    if (r->n_stop > STOPS_MAX)
        return sp_fail(err, SP_EINVAL, "stop: %zu strings, at most %d are taken", r->n_stop,
                       STOPS_MAX);
    for (size_t i = 0; i < r->n_stop; i++)
        if (!r->stop[i] || !r->stop[i][0] || !utf8_valid(r->stop[i], strlen(r->stop[i])))
            return sp_fail(err, SP_EINVAL, "stop: string %zu is empty or not UTF-8", i);
    return r->sink ? 0 : sp_fail(err, SP_EINVAL, "a request without a sink");
}

static int copy_tokens(struct request *q, const struct engine_request *r)
{
    for (size_t i = 0; i < r->n_prompt; i++)
        if (token_list_add(&q->tokens, r->prompt[i]) < 0)
            return SP_ENOMEM;
    return 0;
}

/* Counts for the penalties that are on, with room for all tokens that may come. */
static int make_counts(const engine *e, struct request *q)
{
    const struct sampling *s = &q->r.sampling;
    struct token_counts *c = &q->counts;
    bool seen = s->repetition_penalty != 1.0f;
    bool answer = s->presence_penalty != 0.0f || s->frequency_penalty != 0.0f;
    int64_t most = q->n_prompt + q->n_max < e->vocab ? q->n_prompt + q->n_max : e->vocab;
    if (!seen && !answer)
        return 0;
    c->ids = sp_calloc((size_t)most, sizeof *c->ids);
    c->seen = seen ? sp_calloc((size_t)e->vocab, sizeof *c->seen) : NULL;
    c->answer = answer ? sp_calloc((size_t)e->vocab, sizeof *c->answer) : NULL;
    if (!c->ids || (seen && !c->seen) || (answer && !c->answer))
        return SP_ENOMEM;
    for (size_t i = 0; i < q->tokens.n; i++)
        token_counts_add(c, q->tokens.ids[i], false);
    return 0;
}

/* An answer of one token has no use for guesses. */
static int make_drafts(const engine *e, struct request *q)
{
    if (e->opts.speculate == SPECULATE_OFF || q->r.speculate == 0 || q->n_max < 2)
        return 0;
    q->drafts = ngram_new(q->n_prompt + q->n_max);
    return q->drafts ? 0 : SP_ENOMEM;
}

static int copy_request(engine *e, struct request *q, const struct engine_request *r)
{
    q->r = *r;
    q->r.prompt = NULL;
    q->r.stop = NULL;
    if (copy_tokens(q, r) < 0 || stopper_init(&q->stop, r->stop, r->n_stop) < 0)
        return SP_ENOMEM;
    if (r->sampling.n_bias) {
        q->bias = sp_calloc(r->sampling.n_bias, sizeof *q->bias);
        if (!q->bias)
            return SP_ENOMEM;
        memcpy(q->bias, r->sampling.bias, r->sampling.n_bias * sizeof *q->bias);
        q->r.sampling.bias = q->bias;
    }
    q->n_prompt = (int64_t)r->n_prompt;
    int64_t room = e->context - q->n_prompt;
    q->n_max = r->max_tokens < 0 || r->max_tokens > room ? room : r->max_tokens;
    q->pages = sp_calloc((size_t)request_pages(q), sizeof *q->pages);
    detok_init(&q->detok, e->tok, r->skip_special);
    buf_init(&q->text, TEXT_MAX);
    if (!q->pages || make_drafts(e, q) < 0)
        return SP_ENOMEM;
    return make_counts(e, q);
}

/* The last token of an answer is never fed back, so its position needs no page. */
int32_t request_pages(const struct request *q)
{
    return request_pages_for(q->n_prompt + (q->n_max > 0 ? q->n_max - 1 : 0));
}

int32_t request_pages_for(int64_t positions)
{
    return (int32_t)((positions + KV_PAGE - 1) / KV_PAGE);
}

int64_t request_rows_left(const struct request *q)
{
    return (int64_t)q->tokens.n - q->n_cached;
}

bool request_decodes(const struct request *q)
{
    return request_rows_left(q) == 1 && q->n_cached > 0;
}

bool request_wants_prompt(const struct request *q)
{
    return q->r.prompt_logprobs || q->r.prompt_logits;
}

bool request_overdue(const struct request *q, double now)
{
    return q->r.total_seconds_max > 0 && now >= q->submitted + q->r.total_seconds_max;
}

/* The last page first: see struct page. */
void request_release(engine *e, struct request *q)
{
    while (q->n_pages > 0)
        pages_give(&e->pages, q->pages[--q->n_pages]);
    q->n_cached = q->n_step = 0;
    q->n_kept = q->draft.rows = 0;
}

int request_new(engine *e, const struct engine_request *r, struct request **out, sp_error *err)
{
    int code = check_request(e, r, err);
    if (code < 0)
        return code;
    struct request *q = sp_calloc(1, sizeof *q);
    if (!q)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    atomic_init(&q->cancelled, false);
    if (copy_request(e, q, r) < 0) {
        request_free(q);
        return sp_fail(err, SP_ENOMEM, "out of memory");
    }
    if (request_pages(q) > e->info.kv_pages) {
        code = sp_fail(err, SP_EINVAL,
                       "the request may need %d pages of KV cache, there are %d: ask for fewer "
                       "tokens or serve with a larger --kv-memory",
                       request_pages(q), e->info.kv_pages);
        request_free(q);
        return code;
    }
    q->submitted = clock_seconds();
    *out = q;
    return 0;
}

void request_free(struct request *q)
{
    if (!q)
        return;
    token_list_free(&q->tokens);
    stopper_done(&q->stop);
    buf_free(&q->text);
    if (q->drafts)
        q->drafts->ops->free(q->drafts);
    sp_free(q->bias);
    sp_free(q->counts.seen);
    sp_free(q->counts.answer);
    sp_free(q->counts.ids);
    sp_free(q->pages);
    sp_free(q);
}
