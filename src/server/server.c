/* The server's start and end, its loop, and requests until they are calls: what can be answered at once is answered,
 * the rest goes to a worker (work.c), then to engines; call.c has it meanwhile. */
#include <arpa/inet.h>
#include <errno.h>
#include <event2/bufferevent.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/log.h"
#include "server/access_int.h"
#include "server/accounts_int.h"
#include "server/framing_int.h"
#include "server/guard_int.h"
#include "server/jobs_int.h"
#include "server/models_int.h"
#include "server/page_int.h"
#include "server/stats_int.h"

#define PORTS_TRIED 50

/* ---- requests ---- */

static struct call *call_new(struct server *s, struct evhttp_request *req)
{
    struct call *c = sp_calloc(1, sizeof *c);
    struct evbuffer *in = evhttp_request_get_input_buffer(req);
    if (!c)
        return NULL;
    c->n_body = evbuffer_get_length(in);
    c->body = sp_malloc(c->n_body + 1);
    if (!c->body) {
        sp_free(c);
        return NULL;
    }
    evbuffer_remove(in, c->body, c->n_body);
    c->body[c->n_body] = '\0';
    call_init(c, s);
    c->req = req;
    c->method = evhttp_request_get_command(req);
    call_identify(c);
    call_link(c);
    return c;
}

static void on_close(struct evhttp_connection *conn, void *arg)
{
    struct call *c = arg;
    bool kept = c->route->work == api_generate; /* goes on without its client */
    (void)conn;
    if (!kept)
        atomic_store(&c->gone, true);
    /* Still attached: libevent frees the request together with the connection. */
    if (c->req && evhttp_request_get_connection(c->req))
        c->req = NULL;
    if (!kept)
        call_cancel(c);
    call_wake(c);
}

/* Notices a client that leaves while its prompt is still worked on: libevent stops reading after the
 * body and looks again only once it writes. No read callback: the guard keeps bytes that come early. */
static void watch_connection(struct call *c)
{
    bufferevent_data_cb on_write;
    bufferevent_event_cb on_event;
    void *arg;
    struct evhttp_connection *conn = evhttp_request_get_connection(c->req);
    struct bufferevent *bev = evhttp_connection_get_bufferevent(conn);
    evhttp_connection_set_closecb(conn, on_close, c);
    bufferevent_getcb(bev, NULL, &on_write, &on_event, &arg);
    bufferevent_setcb(bev, NULL, on_write, on_event, arg);
    bufferevent_enable(bev, EV_READ);
}

/* A proxy may hand paths on with its prefix or without. */
static const char *path_of(const struct call *c)
{
    const char *path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(c->req));
    const char *root = c->s->opts.root_path;
    size_t n = root ? strlen(root) : 0;
    if (n && path && strncmp(path, root, n) == 0 && (path[n] == '/' || !path[n]))
        path += n;
    return path && *path ? path : "/";
}

static const struct route *find_route(struct call *c)
{
    char allow[ALLOW_MAX];
    const char *path = c->path = path_of(c);
    enum evhttp_cmd_type method = c->method;
    const struct route *r = route_find(path, method, allow);
    if (strncmp(path, "/admin/", 7) == 0 && !access_admin(c->s)) {
        r = NULL;
        allow[0] = '\0';
    }
    if (!r && !allow[0] && (method == EVHTTP_REQ_GET || method == EVHTTP_REQ_HEAD))
        r = page_file_route(c->s, path);
    if (r)
        return r;
    if (!allow[0]) {
        reply_set_error(c, 404, "invalid_request_error", NULL, NULL,
                        "no such path: %.128s: GET / lists what there is", path);
        return NULL;
    }
    evhttp_add_header(evhttp_request_get_output_headers(c->req), "Allow", allow);
    if (method == EVHTTP_REQ_OPTIONS)
        c->status = 204;
    else
        reply_set_error(c, 405, "invalid_request_error", NULL, NULL,
                        "%.128s: not with this method: %s", path, allow);
    return NULL;
}

/* Each write is a token or the end of an answer, and there is nothing to wait for: with Nagle's algorithm a piece waits
 * until the client has acknowledged the one before, which it may put off for 40 ms. */
static void send_at_once(struct evhttp_request *req)
{
    int on = 1;
    struct bufferevent *bev = evhttp_connection_get_bufferevent(evhttp_request_get_connection(req));
    (void)setsockopt(bufferevent_getfd(bev), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static bool needs_models(const struct route *r)
{
    return (r->work && !is_page_plain(r)) || r->reply == api_models || r->reply == api_model ||
           r->reply == api_version;
}

/* What can be answered at once sets the status; what needs a worker leaves it 0. */
static void route_call(struct call *c)
{
    if (access_origin(c))
        c->route = find_route(c);
    if (!c->route || !access_key(c))
        return;
    if (c->s->loading && needs_models(c->route))
        reply_set_error(c, 503, "server_error", NULL, "loading", STILL_LOADING);
    else if (c->route->reply)
        c->route->reply(c);
    else if (is_page_api(c->route) && !page_prepare(c))
        return;
    else if (c->s->draining && !is_page_plain(c->route))
        reply_set_error(c, 503, "server_error", NULL, "draining", "the server is shutting down");
    else if (!is_page_plain(c->route))
        (void)access_take(c);
}

static void on_request(struct evhttp_request *req, void *arg)
{
    struct server *s = arg;
    const char *why = NULL;
    struct guard *g = guard_of(s, req);
    int refused = g ? guard_request(g, req, &why) : 503;
    struct call *c = call_new(s, req);
    send_at_once(req);
    if (!c) {
        evhttp_send_error(req, 503, "out of memory");
        return;
    }
    if (refused) {
        reply_refuse(c, refused, why);
        call_free(c);
        return;
    }
    route_call(c);
    if (c->status) {
        reply_send(c);
        call_free(c);
        return;
    }
    watch_connection(c);
    if (c->streaming) { /* it listens, until it leaves */
        c->worked = true;
        return;
    }
    c->pending = 1;
    if (!work_push(s, c)) {
        c->pending = 0;
        reply_set_error(c, 503, "server_error", NULL, "overloaded",
                        "too many requests wait: try again in a second");
        reply_send(c);
        call_free(c);
    }
}

/* ---- start and end ---- */

static int bound_port(struct evhttp_bound_socket *socket)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } a = {.v6 = {0}};
    socklen_t n = sizeof a;
    if (getsockname(evhttp_bound_socket_get_fd(socket), &a.any, &n) < 0)
        return 0;
    return ntohs(a.any.sa_family == AF_INET6 ? a.v6.sin6_port : a.v4.sin_port);
}

static int bind_port(struct server *s, sp_error *err)
{
    const struct server_opts *o = &s->opts;
    int tries = o->next_port && o->port != 0 ? PORTS_TRIED : 1;
    for (int i = 0; i < tries && o->port + i <= 65535; i++) {
        s->socket = evhttp_bind_socket_with_handle(s->http, o->host, (ev_uint16_t)(o->port + i));
        if (s->socket) {
            guard_listen(s);
            s->port = bound_port(s->socket);
            if (i > 0)
                log_warn("server", "port %d is taken: using %d", o->port, s->port);
            return 0;
        }
    }
    return sp_fail(err, SP_EIO, "%s port %d: cannot listen: %s: choose another with --port",
                   o->host, o->port, strerror(errno));
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    struct server *s = arg;
    uint64_t count;
    (void)what;
    while (read(fd, &count, sizeof count) < 0 && errno == EINTR)
        ;
    calls_take_posted(s);
    calls_progress(s);
    access_refresh(s);
    events_flush(s);
    lifecycle_on_wake(s);
}

static int make_loop(struct server *s, sp_error *err)
{
    s->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    s->base = event_base_new();
    s->http = s->base ? evhttp_new(s->base) : NULL;
    s->work = sp_calloc(WAITING_MAX, sizeof(struct call *));
    if (s->wake_fd < 0 || !s->http || !s->work)
        return sp_fail(err, SP_ENOMEM, "the server's event loop could not be made: out of memory");
    s->wake = event_new(s->base, s->wake_fd, EV_READ | EV_PERSIST, on_wake, s);
    if (!s->wake || lifecycle_init(s) < 0)
        return sp_fail(err, SP_ENOMEM, "the server's event loop could not be made: out of memory");
    event_add(s->wake, NULL);
    evhttp_set_allowed_methods(s->http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD | EVHTTP_REQ_POST |
                                            EVHTTP_REQ_PUT | EVHTTP_REQ_DELETE |
                                            EVHTTP_REQ_OPTIONS | EVHTTP_REQ_PATCH);
    evhttp_set_max_body_size(s->http, (ev_ssize_t)s->opts.limits.body_bytes);
    evhttp_set_max_headers_size(s->http, HEADERS_MAX);
    evhttp_set_timeout(s->http, IDLE_SECONDS);
    evhttp_set_gencb(s->http, on_request, s);
    return guard_open(s, err);
}

static int set_limits(struct server_limits *l, sp_error *err)
{
    const struct server_limits most = {.body_bytes = BODY_MAX,
                                       .upload_bytes = UPLOAD_MAX,
                                       .head_bytes = HEADERS_MAX,
                                       .head_seconds = HEAD_SECONDS,
                                       .body_seconds = BODY_SECONDS,
                                       .keep_seconds = KEEP_SECONDS,
                                       .connections = CONNECTIONS_MOST};
    l->body_bytes = l->body_bytes ? l->body_bytes : most.body_bytes;
    l->head_bytes = l->head_bytes ? l->head_bytes : most.head_bytes;
    l->head_seconds = l->head_seconds ? l->head_seconds : most.head_seconds;
    l->body_seconds = l->body_seconds ? l->body_seconds : most.body_seconds;
    l->keep_seconds = l->keep_seconds ? l->keep_seconds : most.keep_seconds;
    l->connections = l->connections ? l->connections : most.connections;
    if (l->body_bytes < 1024 || l->body_bytes > BODIES_MAX)
        return sp_fail(err, SP_EUSAGE, "--max-body: %zu bytes are not from 1K to %zuM",
                       l->body_bytes, BODIES_MAX >> 20);
    if (l->upload_bytes == 0)
        l->upload_bytes = most.upload_bytes < l->body_bytes ? most.upload_bytes : l->body_bytes;
    if (l->upload_bytes < 1024 || l->upload_bytes > l->body_bytes)
        return sp_fail(err, SP_EUSAGE,
                       "--max-upload: %zu bytes are not from 1K to --max-body (%zu)",
                       l->upload_bytes, l->body_bytes);
    if (l->unsent_bytes && l->unsent_bytes < 1024)
        return sp_fail(err, SP_EUSAGE, "--max-unsent: %zu bytes are less than 1K", l->unsent_bytes);
    if (l->head_bytes < 1024 || l->head_bytes > HEADERS_MAX)
        return sp_fail(err, SP_EUSAGE, "--max-header: %zu bytes are not from 1K to %dK",
                       l->head_bytes, HEADERS_MAX >> 10);
    return 0;
}

/* It goes into the page and into cookies as it is. */
static bool root_path_sound(const char *path)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~-/";
    size_t n = path ? strlen(path) : 0;
    return n == 0 || (path[0] == '/' && path[n - 1] != '/' && n < 100 && !strstr(path, "//") &&
                      strspn(path, allowed) == n);
}

int server_new(const struct server_opts *opts, server **out, sp_error *err)
{
    if (opts->n_models == 0 || !opts->open)
        return sp_fail(err, SP_EINVAL, "a server needs a model");
    if (!root_path_sound(opts->root_path))
        return sp_fail(err, SP_EUSAGE,
                       "--root-path %s: it must begin with / and not end with it, and consist of "
                       "letters, digits, '.', '_', '~', '-' and single '/'",
                       opts->root_path);
    if (forwarded_check(opts, err) < 0)
        return err ? err->code : SP_EUSAGE;
    struct server *s = sp_calloc(1, sizeof *s);
    if (!s)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    s->opts = *opts;
    s->wake_fd = -1;
    s->started = clock_seconds();
    pthread_mutex_init(&s->work_lock, NULL);
    pthread_cond_init(&s->work_more, NULL);
    pthread_cond_init(&s->upload_more, NULL);
    pthread_mutex_init(&s->ready_lock, NULL);
    pthread_mutex_init(&s->tasks_lock, NULL);
    atomic_init(&s->stop, false);
    atomic_init(&s->cutting, false);
    atomic_init(&s->load_over, false);
    int code = set_limits(&s->opts.limits, err);
    if (code == 0)
        code = access_open(s, err);
    if (code == 0)
        code = tls_load(s, err);
    if (code == 0)
        code = make_loop(s, err);
    if (code == 0)
        code = models_open(s, err);
    if (code == 0)
        code = metrics_init(s, err);
    if (code == 0)
        code = stats_open(s, err);
    if (code == 0)
        code = bind_port(s, err);
    if (code == 0)
        code = events_open(s, err);
    if (code == 0)
        code = history_open(s, err);
    if (code == 0)
        code = accounts_open(s, err);
    if (code == 0)
        code = page_open(s, err);
    if (code == 0)
        code = workers_start(s, err);
    if (code < 0) {
        server_free(s);
        return code;
    }
    *out = s;
    return 0;
}

void server_loop_begins(struct server *s)
{
    guard_loop(s);
}

int server_reload_keys(server *s, sp_error *err)
{
    int code = access_reload(s, err);
    if (code == 0)
        log_info("server", "the keys have been read again");
    return code;
}

int server_reload_tls(server *s, sp_error *err)
{
    int code = tls_load(s, err);
    if (code == 0 && s->tls)
        log_info("server", "the certificate has been read again");
    return code;
}

int server_set_models(server *s, const struct server_model *models, size_t n, sp_error *err)
{
    return models_set(s, models, n, err);
}

void server_stop(server *s)
{
    atomic_store(&s->stop, true);
    server_wake(s);
}

void server_free(server *s)
{
    if (!s)
        return;
    workers_stop(s);
    calls_end_asks(s);
    page_jobs_close(s); /* what it runs uses models */
    models_close(s);    /* while its threads can still wake the loop, and end kept answers */
    accounts_close(s);
    history_close(s);
    if (s->http)
        evhttp_free(s->http);
    events_close(s);
    guard_close(s);
    access_close(s);
    page_close(s);
    tls_close(s);
    struct event *events[] = {s->wake,     s->sigint,   s->sigterm, s->sighup,
                              s->deadline, s->watchdog, s->second};
    for (size_t i = 0; i < SP_COUNT(events); i++)
        if (events[i])
            event_free(events[i]);
    if (s->base)
        event_base_free(s->base);
    if (s->wake_fd >= 0)
        close(s->wake_fd);
    pthread_mutex_destroy(&s->tasks_lock);
    pthread_mutex_destroy(&s->ready_lock);
    pthread_cond_destroy(&s->work_more);
    pthread_cond_destroy(&s->upload_more);
    pthread_mutex_destroy(&s->work_lock);
    metrics_done(s);
    stats_close(s);
    sp_free(s->work);
    sp_free(s);
}
