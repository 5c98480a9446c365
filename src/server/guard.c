#include "server/guard_int.h"

#include <errno.h>
#include <event2/bufferevent.h>
#include <event2/listener.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include "base/log.h"
#include "base/map.h"
#include "server/framing_int.h"

#define RAW_MAX 262144 /* bytes held back before reading rests */
#define SWEEP_MS 250

enum guard_state {
    AT_HEAD,
    AT_BODY,
    AT_CHUNK,
    AT_CHUNK_DATA,
    AT_CHUNK_END,
    AT_TRAILER,
    AT_WORK,   /* a whole request has been handed on */
    AT_REFUSED /* what comes now is thrown away */
};

static _Thread_local struct server *looping; /* whose loop this thread runs */

struct guard {
    struct server *s;
    struct guard *prev, *next; /* s->guards: in the order of `since` */
    struct bufferevent *bev;   /* one reference is the guard's */
    struct evbuffer *raw;      /* what has come and is not handed on */
    enum guard_state state;
    size_t scanned; /* of raw, by framing_head */
    uint64_t left;  /* bytes of the body or the chunk */
    uint64_t body;  /* bytes of all chunks so far */
    double since;   /* the state, and with a first byte the head, began */
    double moved;   /* the last byte came */
    size_t held;    /* bytes of the request's body, until it is answered */
    bool moving;    /* the guard itself changes the input */
    bool doomed;    /* the next sweep drops it */
    bool served;    /* had a request before */
    bool closed;    /* libevent has let go, `since` then */
    int status;     /* refused */
    const char *why;
};

static void on_input(struct evbuffer *in, const struct evbuffer_cb_info *info, void *arg);

/* ---- the list ---- */

static void list_remove(struct guard *g)
{
    struct server *s = g->s;
    *(g->prev ? &g->prev->next : &s->guards) = g->next;
    *(g->next ? &g->next->prev : &s->guards_last) = g->prev;
    s->n_guards--;
}

static void list_append(struct guard *g)
{
    struct server *s = g->s;
    g->next = NULL;
    g->prev = s->guards_last;
    *(g->prev ? &g->prev->next : &s->guards) = g;
    s->guards_last = g;
    s->n_guards++;
}

static void enter(struct guard *g, enum guard_state state)
{
    g->state = state;
    g->since = g->moved = clock_seconds();
    list_remove(g);
    list_append(g);
}

static void set_listening(struct server *s, bool on)
{
    struct evconnlistener *l = s->socket ? evhttp_bound_socket_get_listener(s->socket) : NULL;
    if (l && s->resting == on) {
        s->resting = !on;
        (void)(on ? evconnlistener_enable(l) : evconnlistener_disable(l));
    }
}

static void release(struct guard *g)
{
    g->s->bodies -= g->held;
    g->held = 0;
}

static void guard_free(struct guard *g)
{
    release(g);
    list_remove(g);
    map_remove(g->s->guard_map, &g->bev, sizeof g->bev);
    evbuffer_remove_cb(bufferevent_get_input(g->bev), on_input, g);
    evbuffer_free(g->raw);
    if (g->s->tls)
        tls_goodbye(g->bev);
    bufferevent_decref(g->bev);
    sp_free(g);
}

/* libevent takes its callbacks away when it lets go of a connection; there is no other sign. */
static bool is_let_go(const struct guard *g)
{
    bufferevent_event_cb on_event = NULL;
    bufferevent_getcb(g->bev, NULL, NULL, &on_event, NULL);
    return on_event == NULL;
}

/* As if the client had left: libevent ends its side, and there is no answer to linger for. */
static void drop(struct guard *g)
{
    g->state = AT_REFUSED;
    bufferevent_trigger_event(g->bev, BEV_EVENT_EOF | BEV_EVENT_READING, 0);
    if (is_let_go(g))
        guard_free(g);
}

/* ---- handing on ---- */

static void refuse(struct guard *g, int status, const char *why)
{
    static const char empty[] = "GET / HTTP/1.1\r\nConnection: close\r\n\r\n";
    struct evbuffer *in = bufferevent_get_input(g->bev);
    log_info("server", "a request is refused: %d: %s", status, why);
    g->status = status;
    g->why = why;
    if (g->state == AT_HEAD)
        evbuffer_add(in, empty, sizeof empty - 1);
    else if (g->state == AT_CHUNK_END) /* the body that has been begun is brought to an end */
        evbuffer_add(in, "\r\n0\r\n\r\n", 7);
    else
        evbuffer_add(in, "0\r\n\r\n", 5);
    enter(g, AT_REFUSED);
}

/* The first n bytes of what has come, in one piece; NULL: none or out of memory. */
static const char *look(struct guard *g, size_t most, size_t *n)
{
    *n = evbuffer_get_length(g->raw);
    if (*n > most)
        *n = most;
    return *n ? (const char *)evbuffer_pullup(g->raw, (ev_ssize_t)*n) : NULL;
}

static bool do_head(struct guard *g)
{
    struct http_head h;
    struct evbuffer *in = bufferevent_get_input(g->bev);
    size_t n;
    const size_t most = g->s->opts.limits.head_bytes;
    const char *p = look(g, most + 1, &n);
    while (p && g->scanned == 0 && n >= 2 && p[0] == '\r' && p[1] == '\n') { /* RFC 9112, 2.2 */
        evbuffer_drain(g->raw, 2);
        p = look(g, most + 1, &n);
    }
    if (!p || (n == 1 && p[0] == '\r'))
        return false;
    switch (framing_head(p, n, &g->scanned, &h)) {
    case FRAMING_MORE:
        if (n > most)
            refuse(g, 431, "the header fields are too long");
        return n > most;
    case FRAMING_REFUSED:
        refuse(g, h.status, h.why);
        return true;
    case FRAMING_DONE:
        break;
    }
    if (!h.chunked && h.body > g->s->opts.limits.body_bytes) {
        refuse(g, 413, "the body is larger than this server takes");
        return true;
    }
    evbuffer_add_printf(in, "%.*s %.*s", (int)h.method.n, h.method.p, (int)h.target.n, h.target.p);
    evbuffer_add(in, h.rest.p, h.rest.n);
    g->left = h.body;
    g->body = 0;
    g->scanned = 0;
    enter(g, h.chunked ? AT_CHUNK : h.body ? AT_BODY : AT_WORK);
    evbuffer_drain(g->raw, h.bytes);
    return true;
}

/* n bytes of a body have been handed on. */
static void take_data(struct guard *g, size_t n)
{
    g->left -= n;
    g->held += n;
    g->s->bodies += n;
    if (g->s->bodies > BODIES_MAX) {
        log_warn("server", "a connection is closed: bodies of requests fill %zu MB already",
                 BODIES_MAX >> 20);
        g->doomed = true;
        enter(g, AT_REFUSED);
    } else if (g->left == 0 && g->state == AT_BODY) {
        enter(g, AT_WORK);
    } else if (g->left == 0) {
        g->state = AT_CHUNK_END;
    }
}

static bool do_data(struct guard *g)
{
    size_t n = evbuffer_get_length(g->raw);
    if (n > g->left)
        n = (size_t)g->left;
    if (n == 0)
        return false;
    evbuffer_remove_buffer(g->raw, bufferevent_get_input(g->bev), n);
    take_data(g, n);
    return true;
}

/* Written anew: libevent stumbles over extensions. */
static bool do_chunk(struct guard *g)
{
    uint64_t size = 0;
    size_t n, used = 0;
    const char *p = look(g, CHUNK_LINE_MAX, &n);
    enum framing f = p ? framing_chunk(p, n, &size, &used) : FRAMING_MORE;
    if (f == FRAMING_MORE)
        return false;
    if (f == FRAMING_REFUSED) {
        refuse(g, 400, "a chunk's size is malformed");
    } else if (size > g->s->opts.limits.body_bytes - g->body) {
        refuse(g, 413, "the body is larger than this server takes");
    } else {
        evbuffer_drain(g->raw, used);
        g->left = size;
        g->body += size;
        g->state = size ? AT_CHUNK_DATA : AT_TRAILER;
        if (size)
            evbuffer_add_printf(bufferevent_get_input(g->bev), "%llx\r\n",
                                (unsigned long long)size);
    }
    return true;
}

static bool do_chunk_end(struct guard *g)
{
    size_t n;
    const char *p = look(g, 2, &n);
    if (!p || (n == 1 && p[0] == '\r'))
        return false;
    if (n < 2 || p[0] != '\r' || p[1] != '\n') {
        refuse(g, 400, "a chunk is longer than its size");
        return true;
    }
    evbuffer_remove_buffer(g->raw, bufferevent_get_input(g->bev), 2);
    g->state = AT_CHUNK;
    return true;
}

static bool do_trailer(struct guard *g)
{
    size_t n, used = 0;
    const char *p = look(g, TRAILER_MAX, &n);
    enum framing f = p ? framing_trailer(p, n, &used) : FRAMING_MORE;
    if (f == FRAMING_MORE)
        return false;
    if (f == FRAMING_REFUSED) {
        refuse(g, 400, "the fields after the last chunk are malformed");
        return true;
    }
    evbuffer_drain(g->raw, used);
    evbuffer_add(bufferevent_get_input(g->bev), "0\r\n\r\n", 5);
    enter(g, AT_WORK);
    return true;
}

/* One step of what can be handed on now; false: nothing can. */
static bool step(struct guard *g)
{
    switch (g->state) {
    case AT_HEAD:
        return do_head(g);
    case AT_BODY:
    case AT_CHUNK_DATA:
        return do_data(g);
    case AT_CHUNK:
        return do_chunk(g);
    case AT_CHUNK_END:
        return do_chunk_end(g);
    case AT_TRAILER:
        return do_trailer(g);
    case AT_WORK:
        break;
    case AT_REFUSED:
        evbuffer_drain(g->raw, evbuffer_get_length(g->raw));
        break;
    }
    return false;
}

/* A plain socket's input is closed to all but its own reading; one of TLS never is. */
static void set_frozen(const struct guard *g, struct evbuffer *in, bool frozen)
{
    if (!g->s->tls)
        (void)(frozen ? evbuffer_freeze(in, 0) : evbuffer_unfreeze(in, 0));
}

static void hand_on(struct guard *g)
{
    struct evbuffer *in = bufferevent_get_input(g->bev);
    g->moving = true;
    set_frozen(g, in, false);
    while (step(g))
        ;
    set_frozen(g, in, true);
    g->moving = false;
}

/* What needs no look, and would make a large body costly if it were moved away and back: the middle of a body stays,
 * and what comes after the end of all is thrown away. */
static bool needs_no_look(struct guard *g, struct evbuffer *in, size_t n)
{
    bool data = g->state == AT_BODY || g->state == AT_CHUNK_DATA;
    if (g->state == AT_REFUSED && (g->doomed || g->closed || is_let_go(g)))
        evbuffer_drain(in, evbuffer_get_length(in));
    else if (data && n <= g->left && evbuffer_get_length(g->raw) == 0)
        take_data(g, n);
    else
        return false;
    return true;
}

/* Takes what the socket brought out of libevent's sight. It stands behind what was handed on earlier. */
static void on_input(struct evbuffer *in, const struct evbuffer_cb_info *info, void *arg)
{
    struct guard *g = arg;
    if (g->moving || info->n_added == 0)
        return;
    g->moving = true;
    g->moved = clock_seconds();
    if (needs_no_look(g, in, info->n_added)) {
        g->moving = false;
        return;
    }
    if (g->state == AT_HEAD && evbuffer_get_length(g->raw) == 0)
        enter(g, AT_HEAD); /* the clock of a head runs from its first byte */
    struct evbuffer *all = evbuffer_new();
    if (!all || evbuffer_add_buffer(all, in) < 0 ||
        evbuffer_remove_buffer(all, in, info->orig_size) != (int)info->orig_size ||
        evbuffer_add_buffer(g->raw, all) < 0) {
        evbuffer_drain(in, evbuffer_get_length(in));
        g->state = AT_REFUSED; /* out of memory: nothing sound can follow */
    }
    if (all)
        evbuffer_free(all);
    hand_on(g);
    if (evbuffer_get_length(g->raw) > RAW_MAX)
        bufferevent_disable(g->bev, EV_READ); /* libevent enables it for the next request */
}

/* ---- connections ---- */

/* Ends the one that has waited longest for a head; false: all are at work. */
static bool evict(struct server *s)
{
    for (struct guard *g = s->guards; g; g = g->next)
        if (g->state == AT_HEAD && !g->closed) {
            drop(g);
            return true;
        }
    return false;
}

/* libevent asks for the bufferevent of a connection that it has just accepted. */
static struct bufferevent *on_connection(struct event_base *base, void *arg)
{
    struct server *s = arg;
    struct guard *g = sp_calloc(1, sizeof *g);
    struct bufferevent *bev =
        s->tls ? tls_bufferevent(s) : bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
    struct evbuffer *raw = evbuffer_new();
    if (!g || !bev || !raw || map_set(s->guard_map, &bev, sizeof bev, (int64_t)(intptr_t)g) < 0 ||
        !evbuffer_add_cb(bufferevent_get_input(bev), on_input, g)) {
        /* Without a guard nothing may be read, and on_request refuses what comes all the same. */
        log_warn("server", "a connection has no guard: out of memory");
        if (bev)
            map_remove(s->guard_map, &bev, sizeof bev);
        if (raw)
            evbuffer_free(raw);
        sp_free(g);
        return bev;
    }
    if (s->n_guards >= s->connections_max && !evict(s))
        set_listening(s, false);
    bufferevent_incref(bev);
    *g = (struct guard){.s = s, .bev = bev, .raw = raw, .since = clock_seconds()};
    g->moved = g->since;
    list_append(g);
    return bev;
}

/* What a connection has waited too long for, or NULL. */
static const char *overdue(const struct guard *g, double now)
{
    const struct server_limits *l = &g->s->opts.limits;
    double since = now - g->since;
    bool begun = evbuffer_get_length(g->raw) > 0;
    switch (g->state) {
    case AT_HEAD:
        return begun && since > l->head_seconds                                  ? "a head"
               : !begun && since > (g->served ? l->keep_seconds : FIRST_SECONDS) ? "a request"
                                                                                 : NULL;
    case AT_WORK:
    case AT_REFUSED:
        return NULL;
    default:
        return now - g->moved > BODY_STALL_SECONDS || since > l->body_seconds ? "a body" : NULL;
    }
}

/* What libevent has closed is read and thrown away until the client closes too, or for a moment. */
static void sweep_closed(struct guard *g, double now)
{
    if (!g->closed) {
        release(g);
        enter(g, AT_REFUSED);
        g->closed = true;
        evbuffer_drain(g->raw, evbuffer_get_length(g->raw));
    }
    bool open = bufferevent_get_enabled(g->bev) & EV_READ; /* off after an end or an error */
    if (!open || now - g->since > LINGER_SECONDS)
        guard_free(g);
}

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
    struct server *s = arg;
    double now = clock_seconds();
    (void)fd;
    (void)what;
    for (struct guard *g = s->guards, *next; g; g = next) {
        next = g->next;
        const char *missing = is_let_go(g) ? NULL : overdue(g, now);
        if (!is_let_go(g) && g->doomed) {
            drop(g);
            continue;
        }
        if (is_let_go(g)) {
            sweep_closed(g, now);
        } else if (missing && g->state == AT_HEAD && evbuffer_get_length(g->raw) > 0) {
            struct evbuffer *in = bufferevent_get_input(g->bev);
            g->moving = true;
            set_frozen(g, in, false);
            refuse(g, 408, "the head did not come in time");
            set_frozen(g, in, true);
            g->moving = false;
            bufferevent_trigger(g->bev, EV_READ, BEV_TRIG_IGNORE_WATERMARKS);
        } else if (missing) {
            log_info("server", "a connection is closed: it was too slow with %s", missing);
            drop(g);
        }
    }
    if (s->n_guards < s->connections_max)
        set_listening(s, true);
}

/* accept failed, most likely because the process has no descriptor left. arg is libevent's. */
static void on_accept_error(struct evconnlistener *l, void *arg)
{
    struct server *s = looping;
    (void)l;
    (void)arg;
    if (!s)
        return;
    log_warn("server", "no connection can be accepted: %s: the next try comes soon",
             strerror(errno));
    (void)evict(s);
    set_listening(s, false); /* until the next sweep: trying at once would only burn time */
}

struct guard *guard_of(struct server *s, struct evhttp_request *req)
{
    int64_t g = 0;
    struct bufferevent *bev = evhttp_connection_get_bufferevent(evhttp_request_get_connection(req));
    return map_get(s->guard_map, &bev, sizeof bev, &g) ? (struct guard *)(intptr_t)g : NULL;
}

static void on_answered(struct evhttp_request *req, void *arg)
{
    struct guard *g = arg;
    (void)req;
    if (g->state != AT_WORK)
        return;
    g->served = true;
    release(g);
    enter(g, AT_HEAD);
    hand_on(g); /* libevent looks at its input again when it is done with this request */
}

int guard_request(struct guard *g, struct evhttp_request *req, const char **why)
{
    evhttp_request_set_on_complete_cb(req, on_answered, g);
    *why = g->why;
    return g->status;
}

void guard_loop(struct server *s)
{
    looping = s;
}

void guard_listen(struct server *s)
{
    evconnlistener_set_error_cb(evhttp_bound_socket_get_listener(s->socket), on_accept_error);
}

/* As many connections as there are descriptors for. */
static size_t connections_that_fit(rlim_t most)
{
    struct rlimit lim;
    if (getrlimit(RLIMIT_NOFILE, &lim) != 0)
        return most < 512 ? most : 512;
    rlim_t want = most + FDS_RESERVED;
    if (lim.rlim_cur < want) {
        lim.rlim_cur = lim.rlim_max < want ? lim.rlim_max : want;
        (void)setrlimit(RLIMIT_NOFILE, &lim);
        (void)getrlimit(RLIMIT_NOFILE, &lim);
    }
    if (lim.rlim_cur >= want)
        return most;
    return lim.rlim_cur > 2 * FDS_RESERVED ? (size_t)lim.rlim_cur - FDS_RESERVED
                                           : (size_t)lim.rlim_cur / 2 + 1;
}

int guard_open(struct server *s, sp_error *err)
{
    const struct timeval every = {0, SWEEP_MS * 1000};
    s->connections_max = connections_that_fit((rlim_t)s->opts.limits.connections);
    s->guard_map = map_new(64);
    s->sweep = event_new(s->base, -1, EV_PERSIST, on_sweep, s);
    if (!s->guard_map || !s->sweep || event_add(s->sweep, &every) < 0)
        return sp_fail(err, SP_ENOMEM, "the server's event loop could not be made: out of memory");
    evhttp_set_bevcb(s->http, on_connection, s);
    return 0;
}

void guard_close(struct server *s)
{
    while (s->guards)
        guard_free(s->guards);
    if (s->sweep)
        event_free(s->sweep);
    map_free(s->guard_map);
}
