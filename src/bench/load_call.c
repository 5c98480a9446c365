/* One question to a server: its body, and what the pieces of the answer say and when they came. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "bench/load_int.h"

#define TEXT_MAX ((size_t)16 << 20)
#define SAMPLE_MAX 4096 /* bytes of an answer that is no stream, to tell what it says */

struct load_call {
    struct load_call_opts o;
    client_call *call;
    struct load_record *rec;
    struct events events;
    buf text;   /* of the answer */
    buf sample; /* of a body that is no stream */
    double now; /* when the bytes at hand came */
    bool ended; /* [DONE] or a reason to finish has come */
};

void load_history_clear(struct load_history *h)
{
    json_decref(h->messages);
    buf_free(&h->text);
    h->messages = NULL;
}

/* ---- the body ---- */

/* The list of messages with this question at its end; NULL: out of memory. */
static json_t *messages_with(const struct load_history *h, str said)
{
    json_t *list = h->messages ? json_copy(h->messages) : json_array();
    json_t *own = json_pack("{s:s,s:s%}", "role", "user", "content", said.p, said.n);
    if (list && own && json_array_append(list, own) == 0) {
        json_decref(own);
        return list;
    }
    json_decref(own);
    json_decref(list);
    return NULL;
}

static json_t *prompt_with(const struct load_history *h, str said)
{
    buf b;
    buf_init(&b, SIZE_MAX - 1);
    (void)buf_add(&b, h->text.data, h->text.len);
    (void)buf_add(&b, said.p, said.n);
    json_t *prompt = b.failed ? NULL : json_stringn(b.data, b.len);
    buf_free(&b);
    return prompt;
}

static char *make_body(const struct load_call_opts *o, const struct load_history *h, str said,
                       const json_t *messages, int64_t max_tokens)
{
    const struct load_prompts *p = o->prompts;
    json_t *asked = messages  ? json_deep_copy(messages)
                    : p->chat ? messages_with(h, said)
                              : prompt_with(h, said);
    json_t *body =
        json_pack("{s:s,s:o,s:I,s:f,s:b,s:{s:b}}", "model", o->model,
                  p->chat ? "messages" : "prompt", asked, "max_tokens", (json_int_t)max_tokens,
                  "temperature", p->temperature, "stream", 1, "stream_options", "include_usage", 1);
    if (body && p->ignore_eos)
        (void)json_object_set_new(body, "ignore_eos", json_true());
    if (body && p->extra)
        (void)json_object_update(body, p->extra);
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    json_decref(body);
    return text;
}

/* ---- the answer ---- */

/* Keeps the first thing that went wrong. */
static void went_wrong(struct load_call *c, enum load_outcome outcome, const char *why, size_t n)
{
    sp_error clean; /* takes out what would upset a terminal */
    if (c->rec->outcome != LOAD_OK)
        return;
    c->rec->outcome = outcome;
    (void)sp_fail_set(&clean, SP_ENETWORK, "%.*s", (int)(n < 400 ? n : 400), why);
    c->rec->why = sp_strdup(clean.message);
}

static bool add_gap(struct load_record *r, double gap)
{
    if (r->n_gaps == r->cap_gaps) {
        size_t cap = r->cap_gaps ? 2 * r->cap_gaps : 64;
        double *more = sp_realloc_array(r->gaps, cap, sizeof *more);
        if (!more)
            return false;
        r->gaps = more;
        r->cap_gaps = cap;
    }
    r->gaps[r->n_gaps++] = gap;
    return true;
}

static void token_came(struct load_call *c, double last)
{
    struct load_record *r = c->rec;
    double at = c->now - c->o.epoch;
    if (r->first <= 0)
        r->first = at;
    else if (!add_gap(r, at - last))
        went_wrong(c, LOAD_EVENT, "out of memory", strlen("out of memory"));
}

/* The text of a piece, of whichever field it stands in; empty: none. It may hold U+0000. */
static str piece_text(const json_t *choice, const json_t *delta)
{
    static const char *const fields[] = {"content", "reasoning_content", "reasoning"};
    const json_t *text = json_object_get(choice, "text");
    for (size_t i = 0; i < SP_COUNT(fields) && json_string_length(text) == 0; i++)
        text = json_object_get(delta, fields[i]);
    return (str){json_string_value(text), json_string_length(text)};
}

/* A piece is a token, also one without text (a part of a character), unless it only tells the role or the end. */
static void take_choice(struct load_call *c, const json_t *choice)
{
    const json_t *delta = json_object_get(choice, "delta");
    const json_t *finish = json_object_get(choice, "finish_reason");
    str text = piece_text(choice, delta);
    bool ends = finish && !json_is_null(finish);
    bool says = text.n > 0 || json_object_get(delta, "tool_calls");
    bool role_only = !says && json_object_get(delta, "role");
    double last = c->rec->last;
    c->ended |= ends;
    if (role_only && !ends)
        return;
    c->rec->last = c->now - c->o.epoch;
    if (!says && ends)
        return;
    token_came(c, last);
    if (text.n && c->o.keep_text)
        (void)buf_add(&c->text, text.p, text.n);
}

static void take_usage(struct load_record *r, const json_t *usage)
{
    const json_t *in = json_object_get(usage, "prompt_tokens");
    const json_t *out = json_object_get(usage, "completion_tokens");
    if (!json_is_integer(out) || json_integer_value(out) < 0)
        return;
    r->has_usage = true;
    r->tokens_out = json_integer_value(out);
    r->tokens_in = json_integer_value(in) > 0 ? json_integer_value(in) : 0;
}

/* The words of {"error": {"message": "..."}}, {"error": "..."} or {"message": "..."}; NULL: it has none. */
static const char *error_words(const json_t *j)
{
    const json_t *error = json_object_get(j, "error");
    const char *words = json_string_value(json_object_get(error, "message"));
    if (!words)
        words = json_string_value(error);
    return words ? words : json_string_value(json_object_get(j, "message"));
}

static void on_event(void *arg, const char *data, size_t n)
{
    struct load_call *c = arg;
    if (c->rec->outcome != LOAD_OK)
        return;
    if (n == 6 && memcmp(data, "[DONE]", 6) == 0) {
        c->ended = true;
        return;
    }
    json_t *j = json_loadb(data, n, JSON_ALLOW_NUL, NULL);
    const json_t *error = json_object_get(j, "error");
    if (!json_is_object(j)) {
        went_wrong(c, LOAD_EVENT, data, n);
    } else if (error && !json_is_null(error)) {
        const char *words = error_words(j);
        went_wrong(c, LOAD_ERROR, words ? words : data, words ? strlen(words) : n);
    } else {
        if (json_array_size(json_object_get(j, "choices")))
            take_choice(c, json_array_get(json_object_get(j, "choices"), 0));
        take_usage(c->rec, json_object_get(j, "usage"));
    }
    json_decref(j);
}

static void on_body(void *arg, const struct response *head, const char *p, size_t n)
{
    struct load_call *c = arg;
    if (head->status != 200 || !head->event_stream) {
        size_t room = SAMPLE_MAX - c->sample.len;
        (void)buf_add(&c->sample, p, n < room ? n : room);
        return;
    }
    c->now = clock_seconds();
    int code = c->rec->outcome == LOAD_OK ? events_feed(&c->events, p, n, on_event, c) : 0;
    if (code < 0)
        went_wrong(c, LOAD_EVENT, sp_code_text(code), strlen(sp_code_text(code)));
}

/* An answer that is no stream: what its body says. */
static void wrong_answer(struct load_call *c, enum load_outcome outcome)
{
    json_t *j = json_loadb(c->sample.data ? c->sample.data : "", c->sample.len, 0, NULL);
    const char *words = error_words(j);
    if (words)
        went_wrong(c, outcome, words, strlen(words));
    else
        went_wrong(c, outcome, c->sample.data ? c->sample.data : "", c->sample.len);
    json_decref(j);
}

static void judge(struct load_call *c, enum client_end end, const struct response *head,
                  const char *why)
{
    static const char no_end[] = "the stream has no end: neither [DONE] nor a finish_reason";
    struct load_record *r = c->rec;
    r->status = head->status;
    if (head->status && head->status != 200)
        wrong_answer(c, LOAD_STATUS);
    else if (end != CLIENT_DONE)
        went_wrong(c,
                   end == CLIENT_CONNECT  ? LOAD_CONNECT
                   : end == CLIENT_CLOSED ? LOAD_CLOSED
                                          : LOAD_HTTP,
                   why, strlen(why));
    else if (!head->event_stream)
        wrong_answer(c, LOAD_NO_STREAM);
    else if (!c->ended)
        went_wrong(c, LOAD_CLOSED, no_end, sizeof no_end - 1);
    else if (r->first <= 0)
        went_wrong(c, LOAD_EMPTY, "", 0);
    if (!r->has_usage)
        r->tokens_out = r->first > 0 ? (int64_t)r->n_gaps + 1 : 0;
}

static void on_end(void *arg, enum client_end end, const struct response *head, const char *why)
{
    struct load_call *c = arg;
    c->call = NULL;
    judge(c, end, head, why ? why : "");
    c->o.done(c->o.arg, c);
}

/* ---- calls ---- */

struct load_call *load_call_start(const struct load_call_opts *o, const struct load_history *h,
                                  str said, const json_t *messages, int64_t max_tokens,
                                  struct load_record *rec)
{
    struct load_call *c = sp_calloc(1, sizeof *c);
    char *body = c ? make_body(o, h, said, messages, max_tokens) : NULL;
    if (!body) {
        sp_free(c);
        return NULL;
    }
    c->o = *o;
    c->rec = rec;
    events_init(&c->events);
    buf_init(&c->text, TEXT_MAX);
    buf_init(&c->sample, SAMPLE_MAX);
    struct client_sink sink = {on_body, on_end, c};
    rec->start = clock_seconds() - o->epoch;
    c->call = client_start(o->client, o->prompts->chat ? "/chat/completions" : "/completions", body,
                           strlen(body), &sink);
    if (!c->call)
        went_wrong(c, LOAD_CONNECT, strerror(errno), strlen(strerror(errno)));
    free(body); /* lib-owned */
    return c;
}

bool load_call_is_over(const struct load_call *c)
{
    return c->call == NULL;
}

void load_call_give_up(struct load_call *c, enum load_outcome outcome, const char *why)
{
    went_wrong(c, outcome, why, strlen(why));
}

str load_call_text(const struct load_call *c)
{
    return (str){c->text.data ? c->text.data : "", c->text.len};
}

void load_call_free(struct load_call *c)
{
    if (!c)
        return;
    if (c->call)
        client_cancel(c->call);
    events_free(&c->events);
    buf_free(&c->text);
    buf_free(&c->sample);
    sp_free(c);
}
