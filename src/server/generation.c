/* A generation's life: choices are submitted by a worker, their events come from engine threads into the
 * call's list, and the loop thread turns them into an event stream or one object. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/rng.h"
#include "server/access_int.h"
#include "server/ask_int.h"
#include "server/models_int.h"
#include "server/page_int.h"

#define RETRY_SECONDS_MOST 60

struct generation *generation_new(struct call *c, size_t n_prompts, int64_t n)
{
    struct generation *g = NULL;
    if (n_prompts == 0 || n < 1 || n_prompts * (size_t)n > CHOICES_MAX) {
        reply_set_error(c, 400, "invalid_request_error", "n", NULL,
                        "n: prompts times n must be from 1 to %d, not %zu", CHOICES_MAX,
                        n_prompts * (size_t)n);
        return NULL;
    }
    g = sp_calloc(1, sizeof *g);
    struct choice *choices = sp_calloc(n_prompts * (size_t)n, sizeof *choices);
    if (!g || !choices) {
        sp_free(choices);
        sp_free(g);
        reply_set_error(c, 500, "server_error", NULL, NULL, "out of memory");
        return NULL;
    }
    g->choices = choices;
    g->n_choices = n_prompts * (size_t)n;
    g->per_prompt = (size_t)n;
    g->engine = c->model->engine;
    g->max_tokens = -1;
    g->logprobs = -1;
    g->created = clock_unix();
    snprintf(g->model, sizeof g->model, "%s", c->model_name);
    snprintf(g->id, sizeof g->id, "%s-%016llx%08llx",
             c->route->work == api_completions ? "cmpl" : "chatcmpl",
             (unsigned long long)rng_seed(), (unsigned long long)(rng_seed() & 0xffffffff));
    for (size_t i = 0; i < g->n_choices; i++) {
        g->choices[i].call = c;
        g->choices[i].index = i;
        g->choices[i].n_cached = -1;
        buf_init(&g->choices[i].text, REPLY_MAX);
    }
    return g;
}

void generation_free(struct generation *g)
{
    if (!g)
        return;
    for (size_t i = 0; i < g->n_choices; i++) {
        struct choice *ch = &g->choices[i];
        token_list_free(&ch->prompt);
        buf_free(&ch->text);
        json_decref(ch->lp_tokens);
        json_decref(ch->lp_values);
        json_decref(ch->lp_tops);
        json_decref(ch->lp_offsets);
        json_decref(ch->lp_content);
    }
    sp_free(g->choices);
    sp_free(g->user);
    sp_free(g);
}

int generation_share_prompts(struct call *c, struct generation *g)
{
    for (size_t i = 0; i < g->n_choices; i++) {
        const struct token_list *from = &g->choices[i - i % g->per_prompt].prompt;
        struct token_list *to = &g->choices[i].prompt;
        if (from == to || from->n == 0 || from->n > (size_t)engine_context(g->engine))
            continue;
        to->ids = sp_malloc(from->n * sizeof *to->ids);
        if (!to->ids) {
            reply_set_error(c, 500, "server_error", NULL, NULL, "out of memory");
            return SP_ENOMEM;
        }
        memcpy(to->ids, from->ids, from->n * sizeof *to->ids);
        to->n = to->cap = from->n;
    }
    return 0;
}

static struct call_event *copy_event(const struct engine_event *ev)
{
    size_t top = (size_t)ev->n_top * sizeof *ev->top;
    struct call_event *e = sp_malloc(sizeof *e + top + ev->n_text + 1);
    if (!e)
        return NULL;
    e->next = NULL;
    e->at = clock_seconds();
    e->ev = *ev;
    char *behind = (char *)(e + 1);
    if (top)
        memcpy(behind, ev->top, top);
    e->ev.top = (const struct token_logprob *)(const void *)behind;
    if (ev->n_text)
        memcpy(behind + top, ev->text, ev->n_text);
    behind[top + ev->n_text] = '\0';
    e->ev.text = behind + top;
    e->ev.stop = NULL;
    return e;
}

/* On the engine's thread. A DONE that can't be copied for want of memory still takes `pending` down: call_progress
 * answers with an error then. */
static void sink(const struct engine_event *ev)
{
    struct choice *ch = ev->user;
    struct call *c = ch->call;
    struct call_event *e = atomic_load(&c->gone) && ev->kind != EVENT_DONE ? NULL : copy_event(ev);
    pthread_mutex_lock(&c->lock);
    if (e) {
        e->choice = ch->index;
        if (c->last)
            c->last->next = e;
        else
            c->first = e;
        c->last = e;
    }
    if (ev->kind == EVENT_DONE) {
        ch->done = true;
        c->pending--;
    }
    if (e || ev->kind == EVENT_DONE)
        call_wake(c); /* under the lock: the loop may free the call once it has it */
    pthread_mutex_unlock(&c->lock);
}

/* Of a limit in seconds (0: none, as for the server's own), when the call has waited for its model. */
static double rest_of(const struct call *c, double limit)
{
    double rest = limit - (c->waited ? clock_seconds() - c->started : 0);
    return limit <= 0 || c->ask ? 0 : rest > 1e-3 ? rest : 1e-3;
}

static int submit_choice(struct call *c, struct generation *g, struct choice *ch,
                         const struct engine_request *pattern, sp_error *err)
{
    struct engine_request r = *pattern;
    r.prompt = ch->prompt.ids;
    r.n_prompt = ch->prompt.n;
    r.sampling.seed = pattern->sampling.seed + ch->index % g->per_prompt;
    r.progress = g->progress && ch->index % g->per_prompt == 0; /* the others share it */
    r.tenant = access_tenant(c);
    r.queue_seconds_max = rest_of(c, c->s->opts.queue_seconds);
    r.total_seconds_max = rest_of(c, c->s->opts.request_seconds);
    r.sink = sink;
    r.user = ch;
    pthread_mutex_lock(&c->lock);
    int code = atomic_load(&c->gone)         ? sp_fail(err, SP_ECANCELLED, "the client left")
               : atomic_load(&c->s->cutting) ? sp_fail(err, SP_ECANCELLED, SHUTTING_DOWN)
                                             : engine_submit(g->engine, &r, &ch->id, err);
    if (code == 0) {
        ch->submitted = true;
        c->pending++;
    }
    pthread_mutex_unlock(&c->lock);
    return code;
}

/* Who comes back when what waits has been served finds room. */
static void set_error(struct call *c, const struct generation *g, const sp_error *err,
                      const char *param)
{
    double wait = ceil(engine_wait_seconds(g->engine));
    c->retry_after = wait < 1 ? 1 : wait < RETRY_SECONDS_MOST ? (int)wait : RETRY_SECONDS_MOST;
    reply_set_sp_error(c, err, param);
}

/* The engine's messages begin with the parameter's name, but for a prompt that is too long. */
static void refused(struct call *c, const struct generation *g, const sp_error *err)
{
    char param[32];
    if (err->code == SP_EINVAL && strstr(err->message, "the context has")) {
        buf files;
        buf_init(&files, SP_ERROR_MAX);
        if (c->kept)
            files_tell_tokens(c, g->engine, &files);
        reply_set_error(c, 400, "invalid_request_error", g->chat ? "messages" : "prompt",
                        "context_length_exceeded", "%s%s", err->message,
                        files.data ? files.data : "");
        buf_free(&files);
        return;
    }
    bool named = err->code == SP_EINVAL && sscanf(err->message, "%31[a-z_]:", param) == 1 &&
                 err->message[strlen(param)] == ':';
    set_error(c, g, err, named ? param : NULL);
}

int generation_start(struct call *c, struct generation *g, const struct engine_request *r)
{
    sp_error err = {0};
    int code = 0;
    g->max_tokens = r->max_tokens;
    pthread_mutex_lock(&c->lock);
    c->gen = g; /* before the first event can come */
    pthread_mutex_unlock(&c->lock);
    for (size_t i = 0; i < g->n_choices; i += g->per_prompt)
        g->prompt_tokens += (int64_t)g->choices[i].prompt.n;
    for (size_t i = 0; i < g->n_choices && code == 0; i++)
        code = submit_choice(c, g, &g->choices[i], r, &err);
    if (code == 0)
        return 0;
    /* One was refused: the others stop, and the answer is the error. They may still be running, so the
     * generation stays with the call until their DONE has come. */
    for (size_t k = 0; k < g->n_choices; k++)
        if (g->choices[k].submitted)
            engine_cancel(g->engine, g->choices[k].id);
    g->error = err;
    refused(c, g, &err);
    return code;
}

/* An end token counts, too, but has no event of its own. */
static void count_tokens(struct call *c, struct choice *ch, const struct engine_event *ev)
{
    int64_t now = ev->kind == EVENT_DONE    ? ev->answer_tokens
                  : ev->kind == EVENT_TOKEN ? ch->n_tokens + 1
                                            : ch->n_tokens;
    c->gen->answer_tokens += now - ch->n_tokens;
    access_charge(c, now - ch->n_tokens);
    ch->n_tokens = now;
}

/* The times of the choice that took longest. */
static void keep_times(struct generation *g, const struct engine_event *ev)
{
    if (ev->queue_seconds + ev->prefill_seconds + ev->decode_seconds <
        g->queue_seconds + g->prefill_seconds + g->decode_seconds)
        return;
    g->queue_seconds = ev->queue_seconds;
    g->prefill_seconds = ev->prefill_seconds;
    g->decode_seconds = ev->decode_seconds;
}

static void finish_one(struct generation *g, struct choice *ch, const struct engine_event *ev)
{
    ch->reason = ev->reason;
    g->n_done++;
    if (ch->index % g->per_prompt == 0)
        g->cached_tokens += ev->cached_tokens;
    if (ev->reason == FINISH_ERROR && g->error.code == 0)
        g->error = ev->error;
    if (ev->reason == FINISH_CANCELLED && g->error.code == 0 && atomic_load(&ch->call->s->cutting))
        sp_fail(&g->error, SP_ECANCELLED, SHUTTING_DOWN);
    keep_times(g, ev);
}

/* A choice that failed or was cut has no last chunk: the first of them tells why, and the stream ends with the
 * others. */
static void stream_event(struct call *c, struct generation *g, struct choice *ch,
                         const struct engine_event *ev, bool first_error)
{
    if (ev->kind == EVENT_DONE && g->error.code && ev->reason >= FINISH_CANCELLED) {
        c->error_code = reply_code_of(g->error.code);
        if (first_error)
            reply_stream_json(
                c, reply_error_object("server_error", NULL, c->error_code, g->error.message));
        return;
    }
    if (ev->kind == EVENT_PROGRESS) {
        reply_stream_json(c, progress_chunk(g, ch, ev));
        return;
    }
    json_t *chunk = choice_chunk(g, ch, ev);
    if (chunk)
        reply_stream_json(c, generation_chunk(g, chunk));
}

static void stream_begin(struct call *c, struct generation *g)
{
    if (!c->streaming) /* else it has waited for its model for long */
        reply_stream_begin(c);
    g->begun = true;
    for (size_t i = 0; g->chat && i < g->n_choices; i++)
        reply_stream_json(c, generation_chunk(g, role_chunk(g, &g->choices[i])));
}

static void whole_answer(struct call *c, struct generation *g)
{
    if (g->error.code)
        set_error(c, g, &g->error, NULL);
    else
        reply_set_json(c, 200, generation_json(g));
    reply_send(c);
}

void generation_event(struct call *c, const struct call_event *e)
{
    struct generation *g = c->gen;
    struct choice *ch = &g->choices[e->choice];
    bool well = g->error.code == 0;
    metrics_event(c, ch, e);
    if (e->ev.kind == EVENT_TOKEN && g->first_at <= 0)
        g->first_at = e->at;
    count_tokens(c, ch, &e->ev);
    if (c->answered && !c->kept)
        return;
    if (e->ev.kind == EVENT_DONE)
        finish_one(g, ch, &e->ev);
    if (c->kept) {
        kept_event(c, e);
        return;
    }
    if (c->ask) {
        ask_event(c, e);
        return;
    }
    if (g->stream && !g->begun) {
        /* A failure before the first token still gets a plain error with its status. */
        if (g->error.code && !c->streaming) {
            set_error(c, g, &g->error, NULL);
            reply_send(c);
            return;
        }
        stream_begin(c, g);
    }
    if (g->stream)
        stream_event(c, g, ch, &e->ev, well);
    else
        choice_collect(g, ch, &e->ev);
    if (g->n_done < g->n_choices)
        return;
    if (!g->stream) {
        whole_answer(c, g);
        return;
    }
    if (g->include_usage && !g->error.code)
        reply_stream_json(c, generation_chunk(g, NULL));
    reply_stream_end(c);
}

/* The head goes out at the latest now: what fails from here on is told by an event. */
void generation_keep_alive(struct call *c, double now)
{
    if (c->answered || atomic_load(&c->gone) || now - c->wrote_at < SILENCE_SECONDS)
        return;
    pthread_mutex_lock(&c->lock);
    struct generation *g = c->worked ? c->gen : NULL;
    pthread_mutex_unlock(&c->lock);
    if (g && g->stream && !c->reply && !g->begun)
        stream_begin(c, g);
    else if (!g && models_waits(c) && c->wants_stream && !c->streaming)
        reply_stream_begin(c);
    if (c->streaming && c->route->work)
        reply_stream_comment(c);
}
