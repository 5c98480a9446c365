#include <event2/bufferevent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "server/page_int.h"
#include "server/stats_int.h"
#include "server/ask_int.h"

static const char oom_reply[] = "{\"error\":{\"message\":\"out of "
                                "memory\",\"type\":\"server_error\",\"param\":null,\"code\":null}}";

void reply_set_json(struct call *c, int status, json_t *j)
{
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    json_decref(j);
    sp_free(c->reply);
    c->reply = sp_strdup(text ? text : oom_reply);
    c->status = text ? status : 500;
    free(text); /* lib-owned: jansson's */
}

void reply_set_text(struct call *c, const char *type, char *text)
{
    sp_free(c->reply);
    c->reply = text;
    c->reply_type = type;
    c->status = text ? 200 : 500;
}

void reply_set_empty(struct call *c)
{
    sp_free(c->reply);
    c->reply = sp_strdup("");
    c->status = c->reply ? 204 : 500;
}

json_t *reply_error_object(const char *type, const char *param, const char *code,
                           const char *message)
{
    return json_pack("{s:{s:s,s:s,s:s?,s:s?}}", "error", "message", message, "type", type, "param",
                     param, "code", code);
}

static void set_error(struct call *c, int status, const char *type, const char *param,
                      const char *code, const char *message)
{
    if (kept_refused(c, code, message))
        return;
    ask_refused(c, status, code, message);
    c->error_code = code;
    reply_set_json(c, status, reply_error_object(type, param, code, message));
}

void reply_set_error(struct call *c, int status, const char *type, const char *param,
                     const char *code, const char *fmt, ...)
{
    sp_error e;
    char text[SP_ERROR_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    sp_fail(&e, SP_EINVAL, "%s", text); /* makes it valid UTF-8 */
    set_error(c, status, type, param, code, e.message);
}

int reply_status_of(int code)
{
    switch (code) {
    case SP_EINVAL:
    case SP_ETEMPLATE:
    case SP_EFORMAT:
    case SP_EUNSUPPORTED:
        return 400;
    case SP_ENOTFOUND:
        return 404;
    case SP_EFULL:
        return 429;
    case SP_ECANCELLED: /* for others than a client that left: the server is shutting down */
    case SP_EBUSY:      /* waited too long in the queue */
        return 503;
    case SP_ETIMEDOUT:
        return 504;
    default:
        return 500;
    }
}

const char *reply_code_of(int code)
{
    return code == SP_EFULL        ? "queue_full"
           : code == SP_EBUSY      ? "queue_timeout"
           : code == SP_ETIMEDOUT  ? "request_timeout"
           : code == SP_ECANCELLED ? "draining"
                                   : NULL;
}

void reply_set_sp_error(struct call *c, const sp_error *err, const char *param)
{
    int status = reply_status_of(err->code);
    const char *type = status == 429  ? "rate_limit_error"
                       : status < 500 ? "invalid_request_error"
                                      : "server_error";
    set_error(c, status, type, param, reply_code_of(err->code), err->message);
}

void reply_set_model_error(struct call *c, const sp_error *err)
{
    switch (err->code) {
    case SP_EFULL:
    case SP_ECANCELLED:
        reply_set_sp_error(c, err, "model");
        return;
    case SP_EBUSY:
        reply_set_error(c, 409, "invalid_request_error", "model", "model_state", "%s",
                        err->message);
        return;
    case SP_ENOMEM:
        reply_set_error(c, 507, "server_error", "model", "insufficient_memory", "%s", err->message);
        return;
    default:
        reply_set_error(c, 500, "server_error", "model", "model_load_failed", "%s", err->message);
    }
}

static const char *reason_of(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 201:
        return "Created";
    case 202:
        return "Accepted";
    case 204:
        return "No Content";
    case 304:
        return "Not Modified";
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 406:
        return "Not Acceptable";
    case 408:
        return "Request Timeout";
    case 409:
        return "Conflict";
    case 413:
        return "Content Too Large";
    case 415:
        return "Unsupported Media Type";
    case 417:
        return "Expectation Failed";
    case 429:
        return "Too Many Requests";
    case 431:
        return "Request Header Fields Too Large";
    case 501:
        return "Not Implemented";
    case 503:
        return "Service Unavailable";
    case 504:
        return "Gateway Timeout";
    case 505:
        return "HTTP Version Not Supported";
    case 507:
        return "Insufficient Storage";
    default:
        return "Internal Server Error";
    }
}

/* What is to be known of every call, once: when its answer is out. */
static void note_call(const struct call *c, int status)
{
    if (c->ask)
        return;
    if (atomic_load(&c->gone) && !c->streaming)
        status = STATUS_CLIENT_LEFT;
    metrics_answer(c, status);
    stats_answered(c, status);
    request_log(c, status);
}

/* A kept answer's client may have left without its call being over: its request has no connection then. */
static bool has_client(const struct call *c)
{
    return c->req && !atomic_load(&c->gone) && evhttp_request_get_connection(c->req);
}

static void set_head(struct call *c, const char *name, const char *value)
{
    evhttp_add_header(evhttp_request_get_output_headers(c->req), name, value);
}

/* Takes out. The request is libevent's from here. */
static void send_whole(struct call *c, struct evbuffer *out)
{
    evhttp_connection_set_closecb(evhttp_request_get_connection(c->req), NULL, NULL);
    evhttp_send_reply(c->req, c->status, reason_of(c->status), out);
    c->req = NULL;
    if (out)
        evbuffer_free(out);
}

static void stream_text(struct call *c, const char *before, const char *text)
{
    c->wrote_at = clock_seconds();
    if (!has_client(c))
        return;
    struct evbuffer *out = evbuffer_new();
    if (!out)
        return;
    evbuffer_add_printf(out, "%s%s\n\n", before, text);
    evhttp_send_reply_chunk(c->req, out);
    evbuffer_free(out);
    struct bufferevent *bev =
        evhttp_connection_get_bufferevent(evhttp_request_get_connection(c->req));
    if (evbuffer_get_length(bufferevent_get_output(bev)) > UNSENT_MAX) {
        log_warn("server", "a stream is cut: its reader left %zu MB unread", UNSENT_MAX >> 20);
        evhttp_connection_free(evhttp_request_get_connection(c->req)); /* on_close cancels */
    }
}

/* An error that comes when the head of a stream is out already. */
static void end_stream_with_reply(struct call *c)
{
    stream_text(c, "data: ", c->reply ? c->reply : oom_reply);
    reply_stream_end(c);
}

void reply_send(struct call *c)
{
    if (c->answered)
        return;
    if (c->streaming) {
        end_stream_with_reply(c);
        return;
    }
    c->answered = true;
    note_call(c, c->status);
    if (!has_client(c))
        return;
    const char *body = c->reply ? c->reply : c->status == 204 ? "" : oom_reply;
    bool page = body[0] == '<';
    char seconds[16];
    (void)snprintf(seconds, sizeof seconds, "%d", c->retry_after ? c->retry_after : 1);
    if (page)
        set_head(c, "Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'");
    if (body[0])
        set_head(c, "Content-Type",
                 c->reply_type ? c->reply_type
                 : page        ? "text/html; charset=utf-8"
                               : "application/json");
    if (c->route && strncmp(c->route->path, "/api/", 5) == 0) {
        set_head(c, "X-Content-Type-Options", "nosniff");
        set_head(c, "Cache-Control", "no-store");
    }
    if (c->cookie[0])
        set_head(c, "Set-Cookie", c->cookie);
    if (c->reply_name && c->status == 200)
        set_head(c, "Content-Disposition", c->reply_name);
    if (c->status == 429 || c->status == 503)
        set_head(c, "Retry-After", seconds);
    if (c->status == 401)
        set_head(c, "WWW-Authenticate", "Bearer");
    struct evbuffer *out = evbuffer_new();
    if (out)
        evbuffer_add(out, body, strlen(body));
    send_whole(c, out);
}

static bool client_says(const struct call *c, const char *field, const char *word)
{
    const char *value = evhttp_find_header(evhttp_request_get_input_headers(c->req), field);
    return value && strstr(value, word);
}

const char page_policy[] =
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self'; connect-src 'self'; worker-src 'self'; "
    "manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/* Takes out. */
static void send_guarded(struct call *c, const char *type, const char *policy, const char *kept,
                         struct evbuffer *out)
{
    c->answered = true;
    note_call(c, c->status);
    set_head(c, "Content-Type", type);
    set_head(c, "Cache-Control", kept);
    set_head(c, "X-Content-Type-Options", "nosniff");
    set_head(c, "Referrer-Policy", "no-referrer");
    set_head(c, "Content-Security-Policy", policy);
    send_whole(c, out);
}

static void send_file(struct call *c, const struct server_file *f, const char *policy,
                      const char *kept)
{
    if (f->gzip && !client_says(c, "Accept-Encoding", "gzip")) {
        reply_set_error(c, 406, "invalid_request_error", NULL, NULL,
                        "%s is kept compressed: ask with Accept-Encoding: gzip", f->name);
        return;
    }
    c->status = client_says(c, "If-None-Match", f->etag) ? 304 : 200;
    struct evbuffer *out = c->status == 200 ? evbuffer_new() : NULL;
    if (out)
        evbuffer_add_reference(out, f->data, f->n, NULL, NULL);
    set_head(c, "ETag", f->etag);
    if (f->gzip) {
        set_head(c, "Content-Encoding", "gzip");
        set_head(c, "Vary", "Accept-Encoding");
    }
    send_guarded(c, f->type, policy, kept, out);
}

void reply_page_bytes(struct call *c, const char *type, char *data, size_t n)
{
    struct evbuffer *out = evbuffer_new();
    if (out)
        evbuffer_add(out, data, n);
    sp_free(data);
    c->status = out ? 200 : 500;
    send_guarded(c, type, page_policy, "no-cache", out);
}

/* no-cache: kept, but asked after: a new version may serve next. */
void reply_file(struct call *c, const struct server_file *f)
{
    send_file(c, f,
              "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
              "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
              "no-cache");
}

void reply_page_file(struct call *c, const struct server_file *f, bool for_ever)
{
    send_file(c, f, page_policy, for_ever ? "public, max-age=31536000, immutable" : "no-cache");
}

void reply_refuse(struct call *c, int status, const char *why)
{
    c->refused = true;
    reply_set_error(c, status, status == 503 ? "server_error" : "invalid_request_error", NULL, NULL,
                    "%s", why ? why : "the server is out of memory");
    evhttp_add_header(evhttp_request_get_output_headers(c->req), "Connection", "close");
    reply_send(c);
}

void reply_stream_begin(struct call *c)
{
    c->streaming = true;
    c->wrote_at = clock_seconds();
    if (!has_client(c))
        return;
    struct evkeyvalq *head = evhttp_request_get_output_headers(c->req);
    evhttp_add_header(head, "Content-Type", "text/event-stream; charset=utf-8");
    evhttp_add_header(head, "Cache-Control", "no-cache");
    evhttp_add_header(head, "X-Accel-Buffering", "no");
    evhttp_send_reply_start(c->req, 200, "OK");
}

void reply_stream_json(struct call *c, json_t *j)
{
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    json_decref(j);
    stream_text(c, "data: ", text ? text : oom_reply);
    free(text); /* lib-owned: jansson's */
}

void reply_stream_comment(struct call *c)
{
    stream_text(c, ": ", "waiting");
}

void reply_stream_end(struct call *c)
{
    if (c->answered)
        return;
    stream_text(c, "data: ", "[DONE]");
    reply_stream_close(c);
}

void reply_stream_close(struct call *c)
{
    if (c->answered)
        return;
    c->answered = true;
    note_call(c, 200);
    if (!has_client(c))
        return;
    evhttp_connection_set_closecb(evhttp_request_get_connection(c->req), NULL, NULL);
    evhttp_send_reply_end(c->req);
    c->req = NULL;
}
