#include "bench/client_int.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/http.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#define ADDRESSES_MOST 8

struct address {
    struct sockaddr_storage at;
    socklen_t n;
};

/* A connection is either at work for a call or idle in its client's list. */
struct line {
    client *c;
    struct bufferevent *bev;
    client_call *call; /* NULL: idle */
    bool connected;
    bool used;                /* it has carried an answer before */
    size_t address;           /* that is tried */
    struct line *next, *prev; /* idle ones */
};

struct client {
    struct event_base *base;
    char *host;   /* for TLS */
    char *head;   /* fields that every request has: Host, Authorization */
    char *prefix; /* path before "/models": "/v1" */
    SSL_CTX *tls; /* NULL: plain */
    bool insecure;
    bool literal; /* the host is an address, not a name */
    struct address addresses[ADDRESSES_MOST];
    size_t n_addresses, good; /* good: the one that answered last */
    struct line *idle;
};

struct client_call {
    client *c;
    struct line *line;
    struct client_sink sink;
    struct response response;
    char *request; /* bytes that are sent */
    size_t n;
    bool heard; /* a byte of the answer has come */
};

/* ---- connections ---- */

static void read_some(struct bufferevent *bev, void *arg);
static void on_event(struct bufferevent *bev, short what, void *arg);
static int call_on_new_line(client_call *call);

static void line_unlist(struct line *l)
{
    if (l->prev)
        l->prev->next = l->next;
    else if (l->c->idle == l)
        l->c->idle = l->next;
    if (l->next)
        l->next->prev = l->prev;
    l->next = l->prev = NULL;
}

static void line_close(struct line *l)
{
    if (!l)
        return;
    line_unlist(l);
    if (l->bev)
        bufferevent_free(l->bev);
    sp_free(l);
}

static void line_rest(struct line *l)
{
    l->call = NULL;
    l->used = true;
    l->prev = NULL;
    l->next = l->c->idle;
    if (l->next)
        l->next->prev = l;
    l->c->idle = l;
}

static SSL *new_tls(client *c)
{
    SSL *ssl = SSL_new(c->tls);
    bool ok = ssl != NULL;
    if (ok && !c->literal)
        ok = SSL_set_tlsext_host_name(ssl, c->host) == 1;
    if (ok && !c->insecure)
        ok = c->literal ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), c->host) == 1
                        : SSL_set1_host(ssl, c->host) == 1;
    if (!ok)
        SSL_free(ssl);
    return ok ? ssl : NULL;
}

static struct bufferevent *new_bufferevent(client *c)
{
    if (!c->tls)
        return bufferevent_socket_new(c->base, -1, BEV_OPT_CLOSE_ON_FREE);
    SSL *ssl = new_tls(c);
    struct bufferevent *bev =
        ssl ? bufferevent_openssl_socket_new(c->base, -1, ssl, BUFFEREVENT_SSL_CONNECTING,
                                             BEV_OPT_CLOSE_ON_FREE)
            : NULL;
    if (!bev)
        SSL_free(ssl);
    else
        bufferevent_openssl_set_allow_dirty_shutdown(bev, 1); /* our framing tells what is whole */
    return bev;
}

static void no_delay(struct bufferevent *bev)
{
    int one = 1, fd = bufferevent_getfd(bev);
    if (fd >= 0)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

/* Begins to connect to the line's address. */
static int line_connect(struct line *l)
{
    const struct address *a = &l->c->addresses[l->address];
    if (l->bev)
        bufferevent_free(l->bev);
    l->bev = new_bufferevent(l->c);
    if (!l->bev)
        return SP_ENOMEM;
    bufferevent_setcb(l->bev, read_some, NULL, on_event, l);
    (void)bufferevent_enable(l->bev, EV_READ | EV_WRITE);
    if (bufferevent_socket_connect(l->bev, (const struct sockaddr *)&a->at, (int)a->n) < 0)
        return SP_ENETWORK;
    no_delay(l->bev);
    return 0;
}

static struct line *line_new(client *c, client_call *call)
{
    struct line *l = sp_calloc(1, sizeof *l);
    if (!l)
        return NULL;
    *l = (struct line){.c = c, .call = call, .address = c->good};
    return l;
}

/* ---- a call ---- */

static void call_free(client_call *call)
{
    response_free(&call->response);
    sp_free(call->request);
    sp_free(call);
}

/* The call's last word; its line is kept if it may be. */
static void call_end(client_call *call, enum client_end end, const char *why)
{
    struct line *l = call->line;
    bool keep = end == CLIENT_DONE && call->response.keep_alive && l &&
                evbuffer_get_length(bufferevent_get_input(l->bev)) == 0;
    if (keep)
        line_rest(l);
    else
        line_close(l);
    call->line = NULL;
    call->sink.end(call->sink.arg, end, &call->response, why);
    call_free(call);
}

static int send_request(client_call *call)
{
    return bufferevent_write(call->line->bev, call->request, call->n) < 0 ? SP_ENOMEM : 0;
}

static int call_on_new_line(client_call *call)
{
    struct line *l = line_new(call->c, call);
    call->line = l;
    if (!l)
        return SP_ENOMEM;
    int code = line_connect(l);
    return code ? code : send_request(call);
}

static void hand_on(void *arg, const char *p, size_t n)
{
    client_call *call = arg;
    call->sink.body(call->sink.arg, &call->response, p, n);
}

static void read_some(struct bufferevent *bev, void *arg)
{
    struct line *l = arg;
    client_call *call = l->call;
    struct evbuffer *in = bufferevent_get_input(bev);
    enum response_part part = RESPONSE_MORE;
    if (!call) { /* a server that talks unasked is not asked again */
        line_close(l);
        return;
    }
    struct evbuffer_iovec v;
    while (part == RESPONSE_MORE && evbuffer_peek(in, -1, NULL, &v, 1) > 0 && v.iov_len > 0) {
        size_t used = 0;
        call->heard = true;
        part = response_feed(&call->response, v.iov_base, v.iov_len, hand_on, call, &used);
        (void)evbuffer_drain(in, used);
    }
    if (part == RESPONSE_DONE)
        call_end(call, CLIENT_DONE, NULL);
    else if (part == RESPONSE_BAD)
        call_end(call, CLIENT_MALFORMED, call->response.why);
}

/* What the system or TLS says about a connection that failed. */
static void failure_text(const struct line *l, char out[160])
{
    int system = EVUTIL_SOCKET_ERROR();
    unsigned long tls = bufferevent_get_openssl_error(l->bev);
    SSL *ssl = bufferevent_openssl_get_ssl(l->bev);
    long verified = ssl && !l->c->insecure ? SSL_get_verify_result(ssl) : X509_V_OK;
    if (verified != X509_V_OK)
        (void)snprintf(out, 160, "the certificate is not accepted: %s",
                       X509_verify_cert_error_string(verified));
    else if (tls)
        ERR_error_string_n(tls, out, 160);
    else
        (void)snprintf(out, 160, "%s",
                       system ? evutil_socket_error_to_string(system) : "connection closed");
}

/* An idle connection had been closed, and the request met that: a new one, once. */
static void try_again(client_call *call)
{
    line_close(call->line);
    call->line = NULL;
    if (call_on_new_line(call) < 0)
        call_end(call, CLIENT_CONNECT, strerror(errno));
}

/* The next address of the server, if it has one. */
static bool connect_elsewhere(struct line *l)
{
    client *c = l->c;
    l->address = (l->address + 1) % c->n_addresses;
    return l->address != c->good && line_connect(l) == 0 && send_request(l->call) == 0;
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    struct line *l = arg;
    client_call *call = l->call;
    char why[160];
    (void)bev;
    if (what & BEV_EVENT_CONNECTED) {
        l->connected = true;
        l->c->good = l->address;
        return;
    }
    if (!call) {
        line_close(l);
        return;
    }
    failure_text(l, why);
    if (!l->connected) {
        if (!connect_elsewhere(l))
            call_end(call, CLIENT_CONNECT, why);
        return;
    }
    if (call->heard && response_end(&call->response) == RESPONSE_DONE)
        call_end(call, CLIENT_DONE, NULL);
    else if (call->heard || !l->used)
        call_end(call, CLIENT_CLOSED,
                 call->heard ? "the connection was closed before the answer's end"
                             : "the connection was closed without an answer");
    else
        try_again(call);
}

client_call *client_start(client *c, const char *path, const char *body, size_t n,
                          const struct client_sink *sink)
{
    client_call *call = sp_calloc(1, sizeof *call);
    buf b;
    if (!call)
        return NULL;
    *call = (client_call){.c = c, .sink = *sink};
    response_init(&call->response);
    buf_init(&b, SIZE_MAX - 1);
    (void)buf_printf(&b, "%s %s%s HTTP/1.1\r\n%s", body ? "POST" : "GET", c->prefix, path, c->head);
    if (body)
        (void)buf_printf(&b, "Content-Type: application/json\r\nContent-Length: %zu\r\n", n);
    (void)buf_puts(&b, "\r\n");
    if (body)
        (void)buf_add(&b, body, n);
    call->n = b.len;
    call->request = buf_steal(&b);
    buf_free(&b);
    call->line = call->request ? c->idle : NULL;
    int code = call->request ? 0 : SP_ENOMEM;
    if (call->line) {
        line_unlist(call->line);
        call->line->call = call;
        code = send_request(call);
    } else if (code == 0) {
        code = call_on_new_line(call);
    }
    if (code == 0)
        return call;
    line_close(call->line);
    call_free(call);
    return NULL;
}

void client_cancel(client_call *call)
{
    line_close(call->line);
    call_free(call);
}

/* ---- a server ---- */

static int look_up(client *c, const char *url, int port, sp_error *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    char service[16];
    (void)snprintf(service, sizeof service, "%d", port);
    int code = getaddrinfo(c->host, service, &hints, &list);
    if (code != 0)
        return sp_fail(err, SP_ENETWORK, "%s: the host can't be found: %s", url,
                       gai_strerror(code));
    for (struct addrinfo *a = list; a && c->n_addresses < ADDRESSES_MOST; a = a->ai_next) {
        if (a->ai_addrlen > sizeof c->addresses[0].at)
            continue;
        struct address *to = &c->addresses[c->n_addresses++];
        memcpy(&to->at, a->ai_addr, a->ai_addrlen);
        to->n = a->ai_addrlen;
    }
    freeaddrinfo(list);
    return c->n_addresses ? 0 : sp_fail(err, SP_ENETWORK, "%s: the host has no address", url);
}

static int open_tls(client *c, const char *url, sp_error *err)
{
    c->tls = SSL_CTX_new(TLS_client_method());
    if (!c->tls || SSL_CTX_set_default_verify_paths(c->tls) != 1)
        return sp_fail(err, SP_EINTERNAL, "%s: TLS can't be set up", url);
    SSL_CTX_set_verify(c->tls, c->insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    return 0;
}

/* Fields of every request. The key must not end the line early. */
static int make_head(client *c, const struct client_opts *o, const char *host, int port,
                     sp_error *err)
{
    buf b;
    for (const char *k = o->key; k && *k; k++)
        if ((unsigned char)*k < 0x20 || *k == 0x7f)
            return sp_fail(err, SP_EUSAGE, "the key for %s has a control character", o->url);
    buf_init(&b, 65536);
    (void)buf_printf(&b, strchr(host, ':') ? "Host: [%s]:%d\r\n" : "Host: %s:%d\r\n", host, port);
    (void)buf_puts(&b, "User-Agent: sampan-bench/" SAMPAN_VERSION "\r\nAccept: */*\r\n");
    if (o->key)
        (void)buf_printf(&b, "Authorization: Bearer %s\r\n", o->key);
    c->head = buf_steal(&b);
    buf_free(&b);
    return c->head ? 0 : sp_fail(err, SP_ENOMEM, "out of memory");
}

static int wrong_url(const char *url, sp_error *err)
{
    return sp_fail(err, SP_EUSAGE,
                   "%.200s: no address of a server: write http://HOST:PORT or https://HOST", url);
}

/* "/prefix/v1" of "/prefix/" as well as of "/prefix/v1". */
static char *make_prefix(const char *path)
{
    size_t n = strlen(path);
    while (n && path[n - 1] == '/')
        n--;
    bool has_v1 = n >= 3 && memcmp(path + n - 3, "/v1", 3) == 0;
    buf b;
    buf_init(&b, 65536);
    (void)buf_add(&b, path, n);
    (void)buf_puts(&b, has_v1 ? "" : "/v1");
    char *prefix = buf_steal(&b);
    buf_free(&b);
    return prefix;
}

static int take_url(client *c, const struct client_opts *o, const struct evhttp_uri *u,
                    sp_error *err)
{
    const char *scheme = evhttp_uri_get_scheme(u), *host = evhttp_uri_get_host(u);
    bool tls = scheme && strcmp(scheme, "https") == 0;
    bool plain = scheme && strcmp(scheme, "http") == 0;
    if ((!tls && !plain) || !host || !*host || evhttp_uri_get_query(u) ||
        evhttp_uri_get_fragment(u) || evhttp_uri_get_userinfo(u))
        return wrong_url(o->url, err);
    size_t brackets = host[0] == '[';
    struct in6_addr any;
    c->prefix = make_prefix(evhttp_uri_get_path(u));
    c->host = sp_strndup(host + brackets, strlen(host) - 2 * brackets);
    if (!c->prefix || !c->host)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    c->literal = evutil_inet_pton(AF_INET, c->host, &any) == 1 ||
                 evutil_inet_pton(AF_INET6, c->host, &any) == 1;
    int port = evhttp_uri_get_port(u);
    if (port < 0)
        port = tls ? 443 : 80;
    int code = make_head(c, o, c->host, port, err);
    if (code == 0 && tls)
        code = open_tls(c, o->url, err);
    return code ? code : look_up(c, o->url, port, err);
}

int client_new(struct event_base *base, const struct client_opts *o, client **out, sp_error *err)
{
    client *c = sp_calloc(1, sizeof *c);
    if (!c)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    c->base = base;
    c->insecure = o->insecure;
    struct evhttp_uri *u = evhttp_uri_parse(o->url);
    int code = u ? take_url(c, o, u, err) : wrong_url(o->url, err);
    if (u)
        evhttp_uri_free(u);
    if (code < 0)
        client_free(c);
    else
        *out = c;
    return code;
}

void client_free(client *c)
{
    if (!c)
        return;
    while (c->idle)
        line_close(c->idle);
    SSL_CTX_free(c->tls);
    sp_free(c->host);
    sp_free(c->head);
    sp_free(c->prefix);
    sp_free(c);
}

void client_raise_limits(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
}
