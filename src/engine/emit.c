/* Events: what a request's sink is told. All on the engine thread. */
#include <math.h>
#include <string.h>
#include "base/clock.h"
#include "engine/engine_int.h"

static void put_logprob(const struct request *q, const struct choice *choice, int32_t token,
                        struct engine_event *ev)
{
    if (q->r.logprobs < 0)
        return;
    ev->has_logprob = true;
    ev->logprob = choice->logits[token] - choice->log_sum_exp;
    ev->n_top = choice->n_top;
    ev->top = choice->top;
}

void emit_prompt(engine *e, struct request *q, int64_t index, const struct choice *choice)
{
    struct engine_event ev = {
        .kind = EVENT_PROMPT, .id = q->id, .user = q->r.user, .index = index, .text = ""};
    ev.token = q->tokens.ids[index];
    if (choice)
        put_logprob(q, choice, ev.token, &ev);
    if (q->r.prompt_logits) {
        ev.logits = choice ? choice->logits : NULL;
        ev.vocab = e->vocab;
    }
    q->r.sink(&ev);
}

void emit_progress(struct request *q)
{
    struct engine_event ev = {.kind = EVENT_PROGRESS, .id = q->id, .user = q->r.user, .text = ""};
    ev.index = q->n_told = q->n_cached < q->n_prompt ? q->n_cached : q->n_prompt;
    ev.prompt_tokens = q->n_prompt;
    ev.prefill_seconds = clock_seconds() - q->admitted;
    q->r.sink(&ev);
}

void emit_done(engine *e, struct request *q, enum finish_reason reason, const char *stop,
               const sp_error *err)
{
    struct engine_event ev = {
        .kind = EVENT_DONE, .id = q->id, .user = q->r.user, .reason = reason, .stop = stop};
    double now = clock_seconds();
    size_t release;
    pthread_mutex_lock(&e->lock);
    stats_publish(e);
    pthread_mutex_unlock(&e->lock);
    buf_clear(&q->text);
    if (reason != FINISH_ERROR && !stop) {
        /* What was held back is certain now, unless the last bytes complete a stop string after all. */
        detok_end(&q->detok, &q->text);
        ev.stop = stopper_add(&q->stop, q->text.data, q->text.len, &release);
        ev.text = q->stop.held.data;
        ev.n_text = ev.stop ? release : q->stop.held.len;
        if (ev.stop && reason == FINISH_LENGTH)
            ev.reason = FINISH_STOP;
    }
    if (!ev.text)
        ev.text = "";
    if (err)
        ev.error = *err;
    ev.prompt_tokens = q->n_prompt;
    ev.answer_tokens = q->n_answer;
    ev.draft_tokens = q->draft.tokens;
    ev.accepted_tokens = q->draft.accepted;
    ev.cached_tokens = q->n_prompt_cached;
    ev.queue_seconds = (q->admitted > 0 ? q->admitted : now) - q->submitted;
    ev.prefill_seconds = q->first > 0 ? q->first - q->timed : 0;
    ev.decode_seconds = q->first > 0 ? q->last - q->first : 0;
    q->r.sink(&ev);
}

static bool is_end(const engine *e, int32_t token)
{
    for (size_t i = 0; i < e->n_ends; i++)
        if (e->ends[i] == token)
            return true;
    return false;
}

static void count_token(engine *e, struct request *q)
{
    double now = clock_seconds();
    if (q->n_answer == 0) {
        q->first = now;
        count_prompt(e, q);
    }
    e->tally.answer_tokens++;
    q->last = now;
    q->n_answer++;
}

static bool out_of_memory(engine *e, struct request *q)
{
    sp_error err;
    sp_fail(&err, SP_ENOMEM, "out of memory for the answer's text");
    emit_done(e, q, FINISH_ERROR, NULL, &err);
    return true;
}

bool emit_token(engine *e, struct request *q, const struct choice *choice)
{
    const int32_t token = choice->token;
    struct engine_event ev = {.kind = EVENT_TOKEN, .id = q->id, .user = q->r.user, .token = token};
    size_t release = 0;
    count_token(e, q);
    if (!q->r.ignore_end && is_end(e, token)) {
        emit_done(e, q, FINISH_STOP, NULL, NULL);
        return true;
    }
    ev.index = q->n_answer - 1;
    put_logprob(q, choice, token, &ev);
    buf_clear(&q->text);
    if (token_list_add(&q->tokens, token) < 0 || detok_add(&q->detok, token, &q->text) < 0)
        return out_of_memory(e, q);
    q->stop.blind = q->n_answer <= q->r.min_tokens;
    const char *stop = stopper_add(&q->stop, q->text.data, q->text.len, &release);
    if (q->stop.held.failed)
        return out_of_memory(e, q);
    ev.text = q->stop.held.data ? q->stop.held.data : "";
    ev.n_text = release;
    q->r.sink(&ev);
    stopper_drop(&q->stop, release);
    if (!stop && q->n_answer < q->n_max)
        return false;
    emit_done(e, q, stop ? FINISH_STOP : FINISH_LENGTH, stop, NULL);
    return true;
}
