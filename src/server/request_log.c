/* Who a request is in logs, and the line that each one leaves there when it is over. */
#include <stdio.h>
#include <string.h>
#include "base/log.h"
#include "base/rng.h"
#include "server/access_int.h"

#define BODY_LOGGED 4096 /* bytes of a body with --log-prompts */

static bool is_hex(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!(s[i] >= '0' && s[i] <= '9') && !(s[i] >= 'a' && s[i] <= 'f'))
            return false;
    return true;
}

static bool is_zero(const char *s, size_t n)
{
    return strspn(s, "0") >= n;
}

bool trace_parse(const char *s, struct trace *out)
{
    size_t n = strlen(s);
    if (n < 55 || s[2] != '-' || s[35] != '-' || s[52] != '-' || !is_hex(s, 2) ||
        !is_hex(s + 3, 32) || !is_hex(s + 36, 16) || !is_hex(s + 53, 2))
        return false;
    bool first = s[0] == '0' && s[1] == '0'; /* later versions may say more behind */
    if ((s[0] == 'f' && s[1] == 'f') || (n > 55 && (first || s[55] != '-')) || is_zero(s + 3, 32) ||
        is_zero(s + 36, 16))
        return false;
    memcpy(out->trace, s + 3, 32);
    memcpy(out->parent, s + 36, 16);
    memcpy(out->flags, s + 53, 2);
    out->trace[32] = out->parent[16] = out->flags[2] = '\0';
    (void)snprintf(out->span, sizeof out->span, "%016llx", (unsigned long long)(rng_seed() | 1));
    return true;
}

/* Printable, without spaces and quotes, of a length that fits into a log: else the client's id is not taken. */
static bool id_is_sound(const char *s)
{
    size_t n = strlen(s);
    if (n == 0 || n >= REQUEST_ID_MAX)
        return false;
    for (size_t i = 0; i < n; i++)
        if (s[i] <= ' ' || s[i] > '~' || s[i] == '"' || s[i] == '\\')
            return false;
    return true;
}

void call_identify(struct call *c)
{
    struct evkeyvalq *in = evhttp_request_get_input_headers(c->req),
                     *out = evhttp_request_get_output_headers(c->req);
    const char *id = evhttp_find_header(in, "X-Request-Id");
    const char *parent = evhttp_find_header(in, "traceparent");
    if (id && id_is_sound(id))
        (void)snprintf(c->id, sizeof c->id, "%s", id);
    else
        (void)snprintf(c->id, sizeof c->id, "req-%016llx%016llx", (unsigned long long)rng_seed(),
                       (unsigned long long)rng_seed());
    evhttp_add_header(out, "X-Request-Id", c->id);
    char *peer = NULL;
    ev_uint16_t port;
    evhttp_connection_get_peer(evhttp_request_get_connection(c->req), &peer, &port);
    forwarded_client(&c->s->opts, peer ? peer : "", evhttp_find_header(in, "X-Forwarded-For"),
                     c->client);
    c->secure = c->s->tls || forwarded_https(&c->s->opts, peer ? peer : "",
                                             evhttp_find_header(in, "X-Forwarded-Proto"));
    if (parent && trace_parse(parent, &c->trace)) {
        char back[64];
        (void)snprintf(back, sizeof back, "00-%s-%s-%s", c->trace.trace, c->trace.span,
                       c->trace.flags);
        evhttp_add_header(out, "traceresponse", back);
    }
}

static const char *method_text(const struct call *c)
{
    switch (c->method) {
    case EVHTTP_REQ_GET:
        return "GET";
    case EVHTTP_REQ_POST:
        return "POST";
    case EVHTTP_REQ_PATCH:
        return "PATCH";
    case EVHTTP_REQ_DELETE:
        return "DELETE";
    case EVHTTP_REQ_HEAD:
        return "HEAD";
    case EVHTTP_REQ_OPTIONS:
        return "OPTIONS";
    default:
        return "(other)";
    }
}

struct fields {
    struct log_field list[32];
    size_t n;
};

static void add_text(struct fields *f, const char *name, const char *text)
{
    if (text && text[0])
        f->list[f->n++] = (struct log_field){.name = name, .kind = FIELD_TEXT, .text = text};
}

static void add_integer(struct fields *f, const char *name, int64_t v)
{
    f->list[f->n++] = (struct log_field){.name = name, .kind = FIELD_INTEGER, .integer = v};
}

static void add_seconds(struct fields *f, const char *name, double v)
{
    f->list[f->n++] = (struct log_field){.name = name, .kind = FIELD_SECONDS, .seconds = v};
}

static void add_generation(struct fields *f, const struct call *c, const struct generation *g)
{
    static const char *const reasons[] = {"stop", "length", "abort", "error"};
    enum finish_reason worst = FINISH_STOP;
    for (size_t i = 0; i < g->n_choices; i++)
        if (g->choices[i].reason > worst)
            worst = g->choices[i].reason;
    add_text(f, "completion_id", g->id);
    add_text(f, "model", g->model);
    add_integer(f, "stream", g->stream);
    add_integer(f, "choices", (int64_t)g->n_choices);
    add_integer(f, "prompt_tokens", g->prompt_tokens);
    add_integer(f, "cached_tokens", g->cached_tokens);
    add_integer(f, "answer_tokens", g->answer_tokens);
    if (g->n_done == g->n_choices)
        add_text(f, "finish_reason", reasons[worst]);
    add_seconds(f, "queue_seconds", g->queue_seconds);
    add_seconds(f, "prefill_seconds", g->prefill_seconds);
    add_seconds(f, "decode_seconds", g->decode_seconds);
    if (g->first_at > 0)
        add_seconds(f, "first_token_seconds", g->first_at - c->started);
}

/* Health checks and scrapes come all the time. */
static bool is_probe(const struct call *c)
{
    return c->route && (c->route->reply == api_health || c->route->reply == api_livez ||
                        c->route->reply == api_metrics);
}

static bool holds_password(const struct route *r)
{
    return r->work == api_session_begin || r->work == api_account_add ||
           r->work == api_account_change;
}

void request_log(const struct call *c, int status)
{
    struct fields f = {.n = 0};
    char msg[256], body[BODY_LOGGED + 1];
    double total = clock_seconds() - c->started;
    const char *path = c->route ? c->route->path : "(unknown)";
    (void)snprintf(msg, sizeof msg, "%s %s %d, %.3f s", method_text(c), path, status, total);
    add_text(&f, "request_id", c->id);
    add_text(&f, "trace_id", c->trace.trace);
    add_text(&f, "span_id", c->trace.span);
    add_text(&f, "parent_id", c->trace.parent);
    add_text(&f, "client", c->client);
    add_text(&f, "key", access_key_name(c));
    add_text(&f, "method", method_text(c));
    add_text(&f, "path", path);
    add_integer(&f, "status", status);
    add_text(&f, "error", c->error_code);
    if (!c->told && c->gen) /* else a worker may be at it again */
        add_generation(&f, c, c->gen);
    add_seconds(&f, "total_seconds", total);
    if (c->s->opts.log_prompts && c->route && c->route->work && !holds_password(c->route)) {
        size_t n = c->n_body < BODY_LOGGED ? c->n_body : utf8_complete(c->body, BODY_LOGGED);
        memcpy(body, c->body, n);
        body[n] = '\0';
        add_integer(&f, "body_bytes", (int64_t)c->n_body);
        add_text(&f, "body", body);
    }
    log_fields(is_probe(c) ? LOG_DEBUG : LOG_INFO, "server", msg, f.list, f.n);
}

void answer_log(const struct call *c, const char *message, const char *state)
{
    struct fields f = {.n = 0};
    char msg[128];
    double total = clock_seconds() - c->started;
    (void)snprintf(msg, sizeof msg, "answer %s: %s, %.3f s", message, state, total);
    add_text(&f, "request_id", c->id);
    add_text(&f, "client", c->client);
    add_text(&f, "key", access_key_name(c));
    add_text(&f, "message", message);
    add_text(&f, "state", state);
    if (c->gen)
        add_generation(&f, c, c->gen);
    add_seconds(&f, "total_seconds", total);
    log_fields(LOG_INFO, "server", msg, f.list, f.n);
}
