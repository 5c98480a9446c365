/* Engine events as OpenAI's objects: chunks of a stream and whole answers, for chat and for text. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "server/server_int.h"

#define LOGPROB_FLOOR (-9999.0) /* JSON has no minus infinity */

static const char *finish_text(enum finish_reason r)
{
    return r == FINISH_STOP ? "stop" : r == FINISH_LENGTH ? "length" : "abort";
}

static double finite_logprob(float lp)
{
    return isfinite(lp) ? (double)lp : LOGPROB_FLOOR;
}

/* A token as text; bytes that are no whole characters stand as "bytes:\xe4\xbd", as OpenAI writes them. */
static json_t *token_json(const struct generation *g, int32_t token)
{
    str bytes = tokenizer_bytes(engine_tokenizer(g->engine), token);
    if (utf8_valid(bytes.p, bytes.n))
        return json_stringn(bytes.p ? bytes.p : "", bytes.n);
    char text[6 + 4 * 64 + 1] = "bytes:";
    size_t at = 6;
    for (size_t i = 0; i < bytes.n && i < 64; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "\\x%02x", (unsigned char)bytes.p[i]);
    return json_string(text);
}

static json_t *bytes_json(const struct generation *g, int32_t token)
{
    str bytes = tokenizer_bytes(engine_tokenizer(g->engine), token);
    json_t *list = json_array();
    for (size_t i = 0; i < bytes.n; i++)
        json_array_append_new(list, json_integer((unsigned char)bytes.p[i]));
    return list;
}

static json_t *chat_token(const struct generation *g, int32_t token, float logprob)
{
    return json_pack("{s:o,s:f,s:o}", "token", token_json(g, token), "logprob",
                     finite_logprob(logprob), "bytes", bytes_json(g, token));
}

static json_t *chat_logprob(const struct generation *g, const struct engine_event *ev)
{
    json_t *entry = chat_token(g, ev->token, ev->logprob);
    json_t *top = json_array();
    for (int i = 0; i < ev->n_top; i++)
        json_array_append_new(top, chat_token(g, ev->top[i].token, ev->top[i].logprob));
    json_object_set_new(entry, "top_logprobs", top);
    return entry;
}

/* The token's own logprob is always among the alternatives, as OpenAI has it. */
static json_t *text_top(const struct generation *g, const struct engine_event *ev)
{
    if (!ev->has_logprob)
        return json_null();
    json_t *top = json_object();
    for (int i = 0; i <= ev->n_top; i++) {
        bool own = i == ev->n_top;
        json_t *name = token_json(g, own ? ev->token : ev->top[i].token);
        const char *key = json_string_value(name);
        if (key && !json_object_get(top, key))
            json_object_set_new(top, key,
                                json_real(finite_logprob(own ? ev->logprob : ev->top[i].logprob)));
        json_decref(name);
    }
    return top;
}

static int64_t characters(str s)
{
    int64_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
    return n;
}

static void add_text_logprob(const struct generation *g, struct choice *ch,
                             const struct engine_event *ev)
{
    if (!ch->lp_tokens) {
        ch->lp_tokens = json_array();
        ch->lp_values = json_array();
        ch->lp_tops = json_array();
        ch->lp_offsets = json_array();
    }
    json_array_append_new(ch->lp_tokens, token_json(g, ev->token));
    json_array_append_new(ch->lp_values,
                          ev->has_logprob ? json_real(finite_logprob(ev->logprob)) : json_null());
    json_array_append_new(ch->lp_tops, text_top(g, ev));
    json_array_append_new(ch->lp_offsets, json_integer(ch->offset));
    ch->offset += characters(tokenizer_bytes(engine_tokenizer(g->engine), ev->token));
}

/* Takes what was collected out of the choice. */
static json_t *text_logprobs(const struct generation *g, struct choice *ch)
{
    if (g->logprobs < 0)
        return json_null();
    json_t *j =
        json_pack("{s:o,s:o,s:o,s:o}", "tokens", ch->lp_tokens ? ch->lp_tokens : json_array(),
                  "token_logprobs", ch->lp_values ? ch->lp_values : json_array(), "top_logprobs",
                  ch->lp_tops ? ch->lp_tops : json_array(), "text_offset",
                  ch->lp_offsets ? ch->lp_offsets : json_array());
    ch->lp_tokens = ch->lp_values = ch->lp_tops = ch->lp_offsets = NULL;
    return j;
}

static json_t *chat_logprobs(const struct generation *g, struct choice *ch)
{
    if (g->logprobs < 0)
        return json_null();
    json_t *content = ch->lp_content ? ch->lp_content : json_array();
    ch->lp_content = NULL;
    return json_pack("{s:o}", "content", content);
}

static void collect_logprob(const struct generation *g, struct choice *ch,
                            const struct engine_event *ev)
{
    bool counts = ev->kind == EVENT_TOKEN || (ev->kind == EVENT_PROMPT && g->echo);
    if (g->logprobs < 0 || !counts)
        return;
    if (!g->chat) {
        add_text_logprob(g, ch, ev);
        return;
    }
    if (!ch->lp_content)
        ch->lp_content = json_array();
    json_array_append_new(ch->lp_content, chat_logprob(g, ev));
}

void choice_collect(const struct generation *g, struct choice *ch, const struct engine_event *ev)
{
    collect_logprob(g, ch, ev);
    if (ev->kind != EVENT_PROMPT && ev->n_text)
        buf_add(&ch->text, ev->text, ev->n_text);
}

json_t *role_chunk(const struct generation *g, const struct choice *ch)
{
    (void)g;
    return json_pack("{s:i,s:{s:s,s:s},s:n,s:n}", "index", (int)ch->index, "delta", "role",
                     "assistant", "content", "", "logprobs", "finish_reason");
}

/* One event as a streamed choice; NULL when there is nothing to tell yet. */
json_t *choice_chunk(const struct generation *g, const struct choice *ch,
                     const struct engine_event *ev)
{
    struct choice *own = (struct choice *)(uintptr_t)ch;
    collect_logprob(g, own, ev);
    bool done = ev->kind == EVENT_DONE;
    bool echo = g->echo && ch->text.len > 0; /* the prompt, before the first of the answer */
    if (ev->kind == EVENT_PROMPT)
        return NULL;
    bool logprobs = g->logprobs >= 0 && (g->chat ? ch->lp_content != NULL : ch->lp_tokens != NULL);
    if (!done && ev->n_text == 0 && !logprobs && !echo)
        return NULL;
    if (echo)
        buf_add(&own->text, ev->text, ev->n_text);
    json_t *text =
        echo ? json_stringn(ch->text.data, ch->text.len) : json_stringn(ev->text, ev->n_text);
    if (echo)
        buf_clear(&own->text);
    json_t *lp = !logprobs ? json_null() : g->chat ? chat_logprobs(g, own) : text_logprobs(g, own);
    json_t *finish = done ? json_string(finish_text(ev->reason)) : json_null();
    if (!g->chat)
        return json_pack("{s:i,s:o,s:o,s:o}", "index", (int)ch->index, "text", text, "logprobs", lp,
                         "finish_reason", finish);
    json_t *delta = json_object();
    if (ev->n_text || !done)
        json_object_set(delta, "content", text);
    json_decref(text);
    return json_pack("{s:i,s:o,s:o,s:o}", "index", (int)ch->index, "delta", delta, "logprobs", lp,
                     "finish_reason", finish);
}

json_t *usage_json(const struct generation *g)
{
    return json_pack("{s:I,s:I,s:I,s:{s:I}}", "prompt_tokens", (json_int_t)g->prompt_tokens,
                     "completion_tokens", (json_int_t)g->answer_tokens, "total_tokens",
                     (json_int_t)(g->prompt_tokens + g->answer_tokens), "prompt_tokens_details",
                     "cached_tokens", (json_int_t)g->cached_tokens);
}

static json_t *head_json(const struct generation *g, bool chunk)
{
    const char *object = !g->chat ? "text_completion"
                         : chunk  ? "chat.completion.chunk"
                                  : "chat.completion";
    return json_pack("{s:s,s:s,s:I,s:s,s:s}", "id", g->id, "object", object, "created",
                     (json_int_t)g->created, "model", g->model, "system_fingerprint",
                     "sampan-" SAMPAN_VERSION);
}

/* choice NULL: the last chunk, which carries the usage alone. */
json_t *generation_chunk(const struct generation *g, json_t *choice)
{
    json_t *j = head_json(g, true);
    json_t *choices = json_array();
    if (choice)
        json_array_append_new(choices, choice);
    json_object_set_new(j, "choices", choices);
    if (g->include_usage)
        json_object_set_new(j, "usage",
                            choice && !g->continuous_usage ? json_null() : usage_json(g));
    return j;
}

json_t *progress_chunk(const struct generation *g, struct choice *ch, const struct engine_event *ev)
{
    json_t *choice = g->chat
                         ? json_pack("{s:i,s:{s:s,s:n},s:n,s:n}", "index", (int)ch->index, "delta",
                                     "role", "assistant", "content", "logprobs", "finish_reason")
                         : json_pack("{s:i,s:s,s:n,s:n}", "index", (int)ch->index, "text", "",
                                     "logprobs", "finish_reason");
    json_t *j = generation_chunk(g, choice);
    if (ch->n_cached < 0)
        ch->n_cached = ev->index;
    json_object_set_new(j, "prompt_progress",
                        json_pack("{s:I,s:I,s:I,s:I}", "total", (json_int_t)ev->prompt_tokens,
                                  "cache", (json_int_t)ch->n_cached, "processed",
                                  (json_int_t)ev->index, "time_ms",
                                  (json_int_t)(ev->prefill_seconds * 1e3)));
    return j;
}

static json_t *whole_choice(const struct generation *g, struct choice *ch)
{
    json_t *text = json_stringn(ch->text.data ? ch->text.data : "", ch->text.len);
    json_t *finish = json_string(finish_text(ch->reason));
    if (g->chat)
        return json_pack("{s:i,s:{s:s,s:o,s:n},s:o,s:o}", "index", (int)ch->index, "message",
                         "role", "assistant", "content", text, "refusal", "logprobs",
                         chat_logprobs(g, ch), "finish_reason", finish);
    return json_pack("{s:i,s:o,s:o,s:o}", "index", (int)ch->index, "text", text, "logprobs",
                     text_logprobs(g, ch), "finish_reason", finish);
}

json_t *generation_json(const struct generation *g)
{
    json_t *j = head_json(g, false);
    json_t *choices = json_array();
    for (size_t i = 0; i < g->n_choices; i++) {
        if (g->choices[i].text.failed) {
            json_decref(choices);
            json_decref(j);
            return NULL;
        }
        json_array_append_new(choices, whole_choice(g, &g->choices[i]));
    }
    json_object_set_new(j, "choices", choices);
    json_object_set_new(j, "usage", usage_json(g));
    return j;
}
