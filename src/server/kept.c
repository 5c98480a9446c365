/* Answers that are kept: what their calls do with the engine's events instead of writing them to a client. */
#include <stdio.h>
#include <string.h>
#include "base/log.h"
#include "server/page_int.h"
#include "server/stats_int.h"

#define TEXT_MAX STORE_TEXT_MOST

struct kept *kept_new(struct call *c, const char *chat, str content, str reasoning)
{
    struct kept *k = sp_calloc(1, sizeof *k);
    if (!k)
        return NULL;
    k->call = c;
    k->state = "queued";
    k->dropped = true;
    (void)snprintf(k->chat, sizeof k->chat, "%s", chat);
    buf_init(&k->content, TEXT_MAX);
    buf_init(&k->reasoning, TEXT_MAX);
    buf_init(&k->before, 2 * TEXT_MAX + 64);
    buf_add(&k->content, content.p, content.n);
    buf_add(&k->reasoning, reasoning.p, reasoning.n);
    if (content.n || reasoning.n)
        k->split.where = content.n ? REASONING_OVER : REASONING_INSIDE;
    if (!k->content.failed && !k->reasoning.failed)
        return k;
    kept_free(k);
    return NULL;
}

void kept_free(struct kept *k)
{
    if (!k)
        return;
    json_decref(k->request);
    json_decref(k->files);
    json_decref(k->row);
    json_decref(k->error);
    json_decref(k->usage);
    json_decref(k->timings);
    buf_free(&k->content);
    buf_free(&k->reasoning);
    buf_free(&k->before);
    sp_free(k);
}

void kept_begin(struct kept *k, json_t *row)
{
    struct history *h = k->call->s->history;
    k->row = row;
    (void)snprintf(k->message, sizeof k->message, "%s",
                   json_string_value(json_object_get(row, "id")));
    pthread_mutex_lock(&h->lock);
    k->linked = true;
    k->dropped = false;
    k->next = h->live;
    h->live = k;
    pthread_mutex_unlock(&h->lock);
}

/* ---- what is told ---- */

static json_t *text_of(const buf *b)
{
    return json_stringn(b->data ? b->data : "", b->len);
}

static void put(json_t *message, const char *name, json_t *value)
{
    if (value)
        json_object_set(message, name, value);
}

/* Under lock. Puts what is so now into a message's object. An end is told when it is on the disk, or is known not to
 * get there. */
static void fill(const struct kept *k, json_t *message)
{
    bool over = k->ended && (k->saved || k->save_error.code);
    json_object_set_new(message, "content", text_of(&k->content));
    json_object_set_new(message, "reasoning", text_of(&k->reasoning));
    json_object_set_new(message, "state", json_string(over ? k->end : k->state));
    if (over) {
        put(message, "error", k->error);
        put(message, "usage", k->usage);
        put(message, "timings", k->timings);
        json_object_set_new(message, "finish_reason",
                            k->finish_reason ? json_string(k->finish_reason) : json_null());
    }
    if (k->save_error.code)
        json_object_set_new(
            message, "error",
            json_pack("{s:s,s:s}", "code",
                      k->save_error.code == SP_ENOSPACE ? "history_full" : "history_failed",
                      "message", k->save_error.message));
}

/* The whole message as it is now. */
static json_t *message_of(struct server *s, const struct kept *k)
{
    json_t *m = json_copy(k->row);
    pthread_mutex_lock(&s->history->lock);
    fill(k, m);
    pthread_mutex_unlock(&s->history->lock);
    return m;
}

static void begin_streaming(struct server *s, struct kept *k)
{
    pthread_mutex_lock(&s->history->lock);
    bool first = strcmp(k->state, "queued") == 0;
    if (first) {
        k->state = "streaming";
        k->dirty = true;
        pthread_cond_signal(&s->history->more);
    }
    pthread_mutex_unlock(&s->history->lock);
    if (first)
        events_publish(s, k->call->owner, "message", message_of(s, k));
}

static void add_text(void *arg, bool reasoning, const char *text, size_t n)
{
    struct kept *k = arg;
    struct server *s = k->call->s;
    const struct generation *g = k->call->gen;
    buf *b = reasoning ? &k->reasoning : &k->content;
    pthread_mutex_lock(&s->history->lock);
    size_t at = b->len;
    bool taken = !k->stopping && buf_add(b, text, n) == 0;
    k->dirty |= taken;
    pthread_cond_signal(&s->history->more);
    pthread_mutex_unlock(&s->history->lock);
    if (!taken)
        return;
    json_t *delta =
        json_pack("{s:s,s:s,s:I,s:s%,s:I}", "message", k->message, "chat", k->chat, "offset",
                  (json_int_t)at, "text", text, n, "tokens", (json_int_t)g->answer_tokens);
    if (!k->first_told && g->first_at > 0)
        json_object_set_new(delta, "ttft_ms", json_real((g->first_at - k->call->started) * 1e3));
    k->first_told = true;
    if (reasoning)
        json_object_set_new(delta, "reasoning", json_true());
    events_publish(s, k->call->owner, "delta", delta);
}

/* ---- the end ---- */

static const char *end_state(const struct kept *k, const struct engine_event *ev)
{
    switch (ev->reason) {
    case FINISH_STOP:
    case FINISH_LENGTH:
        return "complete";
    case FINISH_CANCELLED:
        return !k->stopping && atomic_load(&k->call->s->cutting) ? "interrupted" : "stopped";
    default:
        return "failed";
    }
}

static void finish(struct call *c, struct kept *k, const struct engine_event *ev)
{
    const struct generation *g = c->gen;
    struct history *h = c->s->history;
    bool well = ev->reason == FINISH_STOP || ev->reason == FINISH_LENGTH;
    double speed = ev->decode_seconds > 0 ? (double)(g->answer_tokens - 1) / ev->decode_seconds : 0;
    k->finish_reason = ev->reason == FINISH_STOP     ? "stop"
                       : ev->reason == FINISH_LENGTH ? "length"
                                                     : NULL;
    k->usage = json_pack("{s:I,s:I,s:I}", "prompt_tokens", (json_int_t)g->prompt_tokens,
                         "completion_tokens", (json_int_t)g->answer_tokens, "cached_tokens",
                         (json_int_t)g->cached_tokens);
    k->timings =
        json_pack("{s:o,s:o}", "ttft_ms",
                  g->first_at > 0 ? json_real((g->first_at - c->started) * 1e3) : json_null(),
                  "tokens_per_second", speed > 0 ? json_real(speed) : json_null());
    const char *code = reply_code_of(g->error.code);
    if (!well && ev->reason != FINISH_CANCELLED) {
        k->error = json_pack("{s:s,s:s}", "code", code ? code : "server_error", "message",
                             g->error.message);
    }
    pthread_mutex_lock(&h->lock);
    k->end = end_state(k, ev);
    k->ended = k->dirty = true;
    pthread_cond_signal(&h->more);
    pthread_mutex_unlock(&h->lock);
    answer_log(c, k->message, k->end);
    stats_ended(c, k->end, k->error ? code : NULL);
}

bool kept_refused(struct call *c, const char *code, const char *message)
{
    struct kept *k = c->told ? c->kept : NULL;
    if (!k)
        return false;
    struct history *h = c->s->history;
    bool cancelled = atomic_load(&c->stopped) || (code && strcmp(code, "cancelled") == 0);
    bool cut = atomic_load(&c->s->cutting);
    pthread_mutex_lock(&h->lock);
    k->end = atomic_load(&c->stopped) ? "stopped"
             : cut                    ? "interrupted"
             : cancelled              ? "stopped"
                                      : "failed";
    if (strcmp(k->end, "failed") == 0)
        k->error = json_pack("{s:s,s:s}", "code", code ? code : "server_error", "message", message);
    k->ended = k->dirty = true;
    pthread_cond_signal(&h->more);
    pthread_mutex_unlock(&h->lock);
    answer_log(c, k->message, k->end);
    stats_ended(c, k->end, k->error ? code : NULL);
    return true;
}

void kept_event(struct call *c, const struct call_event *e)
{
    struct kept *k = c->kept;
    const struct engine_event *ev = &e->ev;
    if (k->dropped)
        return;
    if (ev->kind != EVENT_DONE || ev->n_text > 0)
        begin_streaming(c->s, k);
    if (ev->kind == EVENT_PROGRESS)
        events_publish(c->s, c->owner, "progress",
                       json_pack("{s:s,s:s,s:I,s:I}", "message", k->message, "chat", k->chat,
                                 "processed", (json_int_t)ev->index, "total",
                                 (json_int_t)ev->prompt_tokens));
    if (ev->n_text > 0)
        reasoning_feed(&k->split, ev->text, ev->n_text, add_text, k);
    if (ev->kind != EVENT_DONE)
        return;
    reasoning_end(&k->split, add_text, k);
    finish(c, k, ev);
}

/* Under lock: those who pressed stop. */
static struct call *take_stoppers(struct kept *k)
{
    struct call *list = k->stoppers;
    k->stoppers = NULL;
    return list;
}

/* Returns those who pressed stop: from here on it can't be stopped, but begun again. */
static struct call *unlink_kept(struct history *h, struct kept *k)
{
    pthread_mutex_lock(&h->lock);
    struct kept **at = &h->live;
    while (*at && *at != k)
        at = &(*at)->next;
    if (*at)
        *at = k->next;
    k->linked = false;
    struct call *stoppers = take_stoppers(k);
    pthread_mutex_unlock(&h->lock);
    return stoppers;
}

static void answer_stoppers(struct server *s, const struct kept *k, struct call *list, bool lost)
{
    for (struct call *c = list, *next; c; c = next) {
        next = c->next_stop;
        if (lost)
            reply_set_error(c, 404, "invalid_request_error", NULL, "not_found",
                            "the message was deleted while it was being written");
        else
            reply_set_json(c, 200, message_of(s, k));
        pthread_mutex_lock(&c->lock);
        c->pending--;
        call_wake(c); /* under the lock: see call_unused */
        pthread_mutex_unlock(&c->lock);
    }
}

bool kept_over(struct call *c)
{
    struct kept *k = c->kept;
    if (!k || k->dropped)
        return true;
    struct history *h = c->s->history;
    pthread_mutex_lock(&h->lock);
    bool saved = k->saved, lost = k->lost, failed = k->ended && k->save_error.code != 0;
    struct call *stoppers = failed ? take_stoppers(k) : NULL;
    pthread_mutex_unlock(&h->lock);
    bool given_up = failed && atomic_load(&c->s->cutting);
    if ((saved && !lost) || (failed && !k->failure_told))
        events_publish(c->s, c->owner, "message", message_of(c->s, k));
    k->failure_told = failed;
    answer_stoppers(c->s, k, stoppers, false);
    if (given_up)
        log_error("server", "the last text of message %s is lost: it could not be saved",
                  k->message);
    if (!saved && !given_up)
        return false;
    answer_stoppers(c->s, k, unlink_kept(h, k), lost);
    k->dropped = true;
    return true;
}

/* ---- from outside ---- */

static struct kept *find(const struct history *h, const char *message)
{
    struct kept *k = h->live;
    while (k && strcmp(k->message, message) != 0)
        k = k->next;
    return k;
}

void kept_overlay(struct server *s, json_t *messages)
{
    struct history *h = s->history;
    size_t i;
    json_t *m;
    pthread_mutex_lock(&h->lock);
    json_array_foreach(messages, i, m)
    {
        const struct kept *k =
            h->live ? find(h, json_string_value(json_object_get(m, "id"))) : NULL;
        if (k)
            fill(k, m);
    }
    pthread_mutex_unlock(&h->lock);
}

bool kept_runs(struct server *s, const char *message)
{
    pthread_mutex_lock(&s->history->lock);
    bool runs = find(s->history, message) != NULL;
    pthread_mutex_unlock(&s->history->lock);
    return runs;
}

/* Under lock. */
static void stop(struct kept *k)
{
    if (k->ended)
        return;
    k->stopping = true;
    call_stop(k->call);
}

bool kept_stop(struct call *c, const char *message)
{
    struct history *h = c->s->history;
    pthread_mutex_lock(&h->lock);
    struct kept *k = find(h, message);
    if (k) {
        stop(k);
        pthread_mutex_lock(&c->lock);
        c->pending++;
        pthread_mutex_unlock(&c->lock);
        c->next_stop = k->stoppers;
        k->stoppers = c;
    }
    pthread_mutex_unlock(&h->lock);
    return k != NULL;
}

void kept_stop_chat(struct server *s, const char *chat)
{
    pthread_mutex_lock(&s->history->lock);
    for (struct kept *k = s->history->live; k; k = k->next)
        if (strcmp(k->chat, chat) == 0)
            stop(k);
    pthread_mutex_unlock(&s->history->lock);
}

static void tell_place(struct server *s, struct kept *k)
{
    const struct generation *g = k->call->gen;
    int place = engine_place_in_line(g->engine, g->choices[0].id);
    if (place == 0 || place == k->place)
        return;
    k->place = place;
    events_publish(
        s, k->call->owner, "progress",
        json_pack("{s:s,s:s,s:i}", "message", k->message, "chat", k->chat, "position", place));
}

void kept_tick(struct server *s)
{
    for (struct call *c = s->calls; c; c = c->next) {
        pthread_mutex_lock(&c->lock);
        struct kept *k = c->worked && c->gen ? c->kept : NULL;
        pthread_mutex_unlock(&c->lock);
        if (k && !k->dropped &&
            strcmp(k->state, "queued") == 0) /* the loop is who changes the state */
            tell_place(s, k);
    }
}
