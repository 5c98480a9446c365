#include <stdio.h>
#include <string.h>
#include "server/access_int.h"
#include "server/ask_int.h"
#include "server/models_int.h"
#include "server/stats_int.h"

/* ---- on a worker ---- */

/* From here on who asked works with the model, too. */
static void hold(struct call *c)
{
    struct ask *a = c->ask;
    const struct loaded_model *m = models_take(c, a->model[0] ? a->model : NULL);
    if (!m)
        return;
    pthread_mutex_lock(&c->lock);
    c->pending++;
    pthread_mutex_unlock(&c->lock);
    a->o.ready(a->o.arg, m->engine);
}

static void work(struct call *c)
{
    if (atomic_load(&c->stopped)) {
        reply_set_error(c, 503, "server_error", NULL, "cancelled", "the request was cancelled");
        return;
    }
    if (!c->ask->o.request)
        hold(c);
    else if (chat_start_ask(c) == 0 && atomic_load(&c->stopped))
        call_stop(c);
}

void ask_refused(struct call *c, int status, const char *code, const char *message)
{
    struct ask *a = c->ask;
    if (!a)
        return;
    const char *rest = status < 500 ? "invalid_request" : "server_error";
    (void)snprintf(a->code, sizeof a->code, "%s", code ? code : rest);
    (void)snprintf(a->message, sizeof a->message, "%s", message);
}

/* ---- on the loop ---- */

bool ask_let_in(struct call *c)
{
    struct ask *a = c->ask;
    a->kept_out = a->key[0] && !access_ask(c, a->key, a->o.request != NULL);
    return !a->kept_out;
}

static void add_text(void *arg, bool reasoning, const char *text, size_t n)
{
    struct ask *a = arg;
    if (!reasoning)
        a->o.text(a->o.arg, text, n);
}

static const char *state_of(const struct ask_end *e)
{
    return !e->code ? "complete" : strcmp(e->code, "cancelled") == 0 ? "cancelled" : "failed";
}

static void end(struct ask *a, const struct ask_end *e)
{
    if (a->ended)
        return;
    a->ended = true;
    if (a->o.request && !a->kept_out)
        stats_ended(a->call, state_of(e), e->code);
    a->o.end(a->o.arg, e);
}

static void end_badly(struct ask *a, const char *code, const char *message)
{
    const struct ask_end e = {
        .code = code, .message = message, .retry_after = a->call->retry_after};
    end(a, &e);
}

void ask_event(struct call *c, const struct call_event *e)
{
    struct ask *a = c->ask;
    const struct engine_event *ev = &e->ev;
    const struct generation *g = c->gen;
    if (a->ended)
        return;
    if (ev->n_text > 0)
        reasoning_feed(&a->split, ev->text, ev->n_text, add_text, a);
    if (ev->kind != EVENT_DONE)
        return;
    reasoning_end(&a->split, add_text, a);
    if (ev->reason == FINISH_CANCELLED) {
        end_badly(a, "cancelled", "the request was cancelled");
        return;
    }
    if (ev->reason == FINISH_ERROR) {
        const char *code = reply_code_of(g->error.code);
        end_badly(a, code ? code : "server_error", g->error.message);
        return;
    }
    const struct ask_end well = {.finish_reason = ev->reason == FINISH_STOP ? "stop" : "length",
                                 .prompt_tokens = g->prompt_tokens,
                                 .answer_tokens = g->answer_tokens};
    end(a, &well);
}

void ask_over(struct call *c)
{
    struct ask *a = c->ask;
    const struct ask_end well = {.finish_reason = "stop"};
    if (a->code[0])
        end_badly(a, a->code, a->message);
    else if (!a->o.request)
        end(a, &well);
    else
        end_badly(a, "server_error", "out of memory");
}

/* ---- from outside ---- */

int ask_begin(struct server *s, const struct ask_opts *o, struct ask **out, sp_error *err)
{
    static const struct route route = {"(job)", EVHTTP_REQ_POST, false, work, NULL};
    struct ask *a = sp_calloc(1, sizeof *a);
    struct call *c = a ? call_make(s, &route) : NULL;
    if (!c) {
        sp_free(a);
        return sp_fail(err, SP_ENOMEM, "out of memory");
    }
    a->call = c;
    a->o = *o;
    json_incref(a->o.request);
    (void)snprintf(a->key, sizeof a->key, "%s", o->key);
    (void)snprintf(a->model, sizeof a->model, "%s", o->model ? o->model : "");
    c->ask = a;
    *out = a;
    return call_post(c) ? 0 : sp_fail(err, SP_ECANCELLED, "the server is shutting down");
}

void ask_free(struct ask *a)
{
    if (!a)
        return;
    json_decref(a->o.request);
    sp_free(a);
}

void ask_stop(struct ask *a)
{
    call_stop(a->call);
}

void ask_release(struct ask *a)
{
    struct call *c = a->call;
    pthread_mutex_lock(&c->lock);
    c->pending--;
    call_wake(c); /* under the lock: see call_unused */
    pthread_mutex_unlock(&c->lock);
}
