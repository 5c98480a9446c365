/* GET /api/events: what changes, as one stream for each browser. Events lie as text in one ring, bounded in number and
 * bytes; every listener has its place in it and is given what comes after, so a slow one costs nobody anything: while
 * it leaves LISTENER_UNSENT unread it gets no more, and when the ring has gone past its place it is told to begin anew
 * ("reset"). Ids rise over restarts, too: they begin at the time of the start, in microseconds. */
#include <event2/bufferevent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "server/accounts_int.h"
#include "server/page_int.h"

#define RING_MOST 16384
#define RING_BYTES ((size_t)16 << 20)
#define LISTENERS_MOST 256
#define LISTENER_UNSENT ((size_t)512 << 10)
#define STUCK_SECONDS 60 /* a listener that takes nothing for so long is cut */

struct item {
    char *text;
    size_t n;
    int64_t owner; /* whose listeners get it; or EVERYBODY */
};

struct listener {
    struct listener *next;
    struct call *call;
    uint64_t at;     /* the last event that it has been given */
    double taken_at; /* when its buffer was below LISTENER_UNSENT last */
    bool stats;      /* it asked for them */
};

struct events {
    pthread_mutex_t lock; /* of all up to `flushing` */
    struct item ring[RING_MOST];
    uint64_t first, next; /* ids: those in the ring are first .. next - 1 */
    size_t bytes;
    bool flushing; /* the loop has been woken and has not come yet */

    struct listener *listeners; /* loop */
    size_t n_listeners;
};

int events_open(struct server *s, sp_error *err)
{
    s->events = sp_calloc(1, sizeof *s->events);
    if (!s->events)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    pthread_mutex_init(&s->events->lock, NULL);
    s->events->first = s->events->next = (uint64_t)clock_unix() * 1000000;
    return 0;
}

static void drop_first(struct events *e)
{
    struct item *i = &e->ring[e->first++ % RING_MOST];
    e->bytes -= i->n;
    sp_free(i->text);
    i->text = NULL;
}

void events_close(struct server *s)
{
    struct events *e = s->events;
    if (!e)
        return;
    while (e->first < e->next)
        drop_first(e);
    pthread_mutex_destroy(&e->lock);
    sp_free(e);
    s->events = NULL;
}

/* ---- publishing ---- */

/* Under lock. */
static void append(struct events *e, int64_t owner, const char *name, const char *data)
{
    buf b;
    buf_init(&b, RING_BYTES / 2);
    buf_printf(&b, "id: %llu\nevent: %s\ndata: %s\n\n", (unsigned long long)e->next, name, data);
    size_t n = b.len;
    char *text = buf_steal(&b);
    buf_free(&b);
    if (!text) { /* a gap: everybody begins anew */
        while (e->first < e->next)
            drop_first(e);
        e->first = ++e->next;
        return;
    }
    while (e->first < e->next && (e->next - e->first == RING_MOST || e->bytes + n > RING_BYTES))
        drop_first(e);
    e->ring[e->next++ % RING_MOST] = (struct item){text, n, owner};
    e->bytes += n;
}

void events_publish(struct server *s, int64_t owner, const char *name, json_t *data)
{
    struct events *e = s->events;
    char *text = data ? json_dumps(data, JSON_COMPACT) : NULL;
    json_decref(data);
    pthread_mutex_lock(&e->lock);
    append(e, text ? owner : EVERYBODY, text ? name : "reset", text ? text : "{}");
    bool wake = !e->flushing;
    e->flushing = true;
    pthread_mutex_unlock(&e->lock);
    free(text); /* lib-owned: jansson's */
    if (wake)
        server_wake(s);
}

void events_publish_chat(struct server *s, int64_t owner, const char *id)
{
    json_t *chat = NULL;
    sp_error err = {0};
    if (store_chat(s->history->store, owner, id, false, &chat, &err) == 0)
        events_publish(s, owner, "chat", chat);
    else if (err.code != SP_ENOTFOUND)
        log_warn("server", "a change of a chat is not told: %s", err.message);
}

/* ---- listening ---- */

static struct bufferevent *bev_of(const struct call *c)
{
    return c->req && !atomic_load(&c->gone)
               ? evhttp_connection_get_bufferevent(evhttp_request_get_connection(c->req))
               : NULL;
}

static size_t unsent(const struct call *c)
{
    struct bufferevent *bev = bev_of(c);
    return bev ? evbuffer_get_length(bufferevent_get_output(bev)) : 0;
}

/* Under lock. */
static bool is_for(const struct events *e, const struct listener *l, uint64_t id)
{
    int64_t owner = e->ring[id % RING_MOST].owner;
    return owner == l->call->owner || owner == EVERYBODY;
}

/* What has come after l->at, up to some size. NULL: nothing. */
static struct evbuffer *news(struct events *e, struct listener *l)
{
    struct evbuffer *out = NULL;
    pthread_mutex_lock(&e->lock);
    while (l->at + 1 >= e->first && l->at + 1 < e->next && !is_for(e, l, l->at + 1))
        l->at++;
    if (l->at + 1 < e->next)
        out = evbuffer_new();
    if (out && (l->at + 1 < e->first || l->at >= e->next)) {
        l->at = e->next - 1;
        evbuffer_add_printf(out, "id: %llu\nevent: reset\ndata: {}\n\n", (unsigned long long)l->at);
    }
    while (out && l->at + 1 < e->next && evbuffer_get_length(out) < LISTENER_UNSENT) {
        const struct item *i = &e->ring[++l->at % RING_MOST];
        if (is_for(e, l, l->at))
            evbuffer_add(out, i->text, i->n);
    }
    pthread_mutex_unlock(&e->lock);
    return out;
}

static void give(struct events *e, struct listener *l)
{
    if (!bev_of(l->call) || unsent(l->call) > LISTENER_UNSENT)
        return;
    l->taken_at = clock_seconds();
    struct evbuffer *out = news(e, l);
    if (!out)
        return;
    l->call->wrote_at = l->taken_at;
    evhttp_send_reply_chunk(l->call->req, out);
    evbuffer_free(out);
}

void events_flush(struct server *s)
{
    struct events *e = s->events;
    pthread_mutex_lock(&e->lock);
    e->flushing = false;
    pthread_mutex_unlock(&e->lock);
    for (struct listener *l = e->listeners; l; l = l->next)
        give(e, l);
}

void events_tick(struct server *s, double now)
{
    struct listener *next;
    for (struct listener *l = s->events->listeners; l; l = next) {
        next = l->next;
        give(s->events, l);
        if (bev_of(l->call) && now - l->taken_at > STUCK_SECONDS) {
            log_warn("server", "an event stream is cut: its reader has taken nothing for %d s",
                     STUCK_SECONDS);
            evhttp_connection_free(
                evhttp_request_get_connection(l->call->req)); /* on_close ends the call */
        } else if (now - l->call->wrote_at >= SILENCE_SECONDS && unsent(l->call) == 0) {
            reply_stream_comment(l->call);
        }
    }
}

bool events_want_stats(const struct server *s)
{
    const struct listener *l = s->events->listeners;
    while (l && !l->stats)
        l = l->next;
    return l != NULL;
}

/* Without an id: they are of the moment, and whoever comes back gets new ones. */
void events_tell_stats(struct server *s, json_t *data)
{
    char *text = data ? json_dumps(data, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(data);
    for (struct listener *l = s->events->listeners; l && text; l = l->next) {
        if (!l->stats || !bev_of(l->call) || unsent(l->call) > LISTENER_UNSENT)
            continue;
        struct evbuffer *out = evbuffer_new();
        if (!out)
            continue;
        evbuffer_add_printf(out, "event: stats\ndata: %s\n\n", text);
        l->call->wrote_at = clock_seconds();
        evhttp_send_reply_chunk(l->call->req, out);
        evbuffer_free(out);
    }
    free(text); /* lib-owned: jansson's */
}

size_t events_listeners(const struct server *s)
{
    return s->events ? s->events->n_listeners : 0;
}

void events_end(struct server *s)
{
    struct listener *next;
    for (struct listener *l = s->events->listeners; l; l = next) {
        next = l->next;
        reply_stream_close(l->call);
        call_wake(l->call);
    }
}

void events_leave(struct call *c)
{
    struct events *e = c->s->events;
    struct listener **at = e ? &e->listeners : NULL;
    while (at && *at && (*at)->call != c)
        at = &(*at)->next;
    if (!at || !*at)
        return;
    struct listener *l = *at;
    *at = l->next;
    e->n_listeners--;
    sp_free(l);
}

void events_recheck(struct server *s)
{
    struct listener *next;
    for (struct listener *l = s->events->listeners; l; l = next) {
        next = l->next;
        if (!bev_of(l->call) || access_page_still(l->call))
            continue;
        reply_stream_close(l->call);
        call_wake(l->call);
    }
}

/* Last-Event-ID, as browsers send it when they come again, or ?last=. */
static bool read_last(struct call *c, uint64_t *last)
{
    const char *text =
        evhttp_find_header(evhttp_request_get_input_headers(c->req), "Last-Event-ID");
    int64_t n = 0;
    if (!text)
        text = page_query(c, "last");
    if (!text || !*text)
        return true;
    if (!str_to_i64(str_of(text), &n) || n < 0) {
        reply_set_error(c, 400, "invalid_request_error", "last", NULL,
                        "last: must be the id of an event");
        return false;
    }
    *last = (uint64_t)n;
    return true;
}

/* One that comes for the first time begins with what comes next. */
static void say_hello(struct events *e, struct listener *l, uint64_t last, bool told)
{
    struct evbuffer *out = evbuffer_new();
    pthread_mutex_lock(&e->lock);
    l->at = told ? last : e->next - 1;
    bool reset = l->at + 1 < e->first || l->at >= e->next;
    if (reset)
        l->at = e->next - 1;
    pthread_mutex_unlock(&e->lock);
    if (!out)
        return;
    unsigned long long at = (unsigned long long)l->at;
    evbuffer_add_printf(out, "id: %llu\nevent: hello\ndata: {\"last\":%llu}\n\n", at, at);
    if (reset && told)
        evbuffer_add_printf(out, "id: %llu\nevent: reset\ndata: {}\n\n", at);
    evhttp_send_reply_chunk(l->call->req, out);
    evbuffer_free(out);
}

void api_events(struct call *c)
{
    struct events *e = c->s->events;
    uint64_t last = UINT64_MAX;
    int64_t stats = 0;
    if (!page_prepare(c) || !read_last(c, &last) || !page_query_int(c, "stats", 0, 1, &stats))
        return;
    if (c->s->draining) {
        reply_set_error(c, 503, "server_error", NULL, "draining", "the server is shutting down");
        return;
    }
    if (c->method == EVHTTP_REQ_HEAD) {
        reply_set_text(c, "text/event-stream; charset=utf-8", sp_strdup(""));
        return;
    }
    struct listener *l = e->n_listeners < LISTENERS_MOST ? sp_calloc(1, sizeof *l) : NULL;
    if (!l) {
        reply_set_error(c, 503, "server_error", NULL, "too_many_listeners",
                        "%d pages listen already", (int)e->n_listeners);
        return;
    }
    l->call = c;
    l->stats = stats == 1 && c->manages; /* they tell of everybody's requests */
    l->taken_at = clock_seconds();
    l->next = e->listeners;
    e->listeners = l;
    e->n_listeners++;
    reply_stream_begin(c);
    say_hello(e, l, last, last != UINT64_MAX);
    give(e, l);
}
