/* POST /v1/chat/completions */
#include <string.h>
#include "server/ask_int.h"
#include "server/models_int.h"

#define INVALID "invalid_request_error"
#define THINK "<think>"

static const char *const unsupported[] = {"tools",
                                          "functions",
                                          "audio",
                                          "modalities",
                                          "prediction",
                                          "best_of",
                                          "web_search_options",
                                          "echo",
                                          "continue_final_message",
                                          "store",
                                          NULL};

static int check_response_format(struct call *c, const json_t *body)
{
    const json_t *f = json_object_get(body, "response_format");
    const char *type = json_string_value(json_object_get(f, "type"));
    if (!f || json_is_null(f) || (type && strcmp(type, "text") == 0))
        return 0;
    reply_set_error(c, 400, INVALID, "response_format", "unsupported_parameter",
                    "response_format: only {\"type\": \"text\"} is done here");
    return SP_EUNSUPPORTED;
}

/* max_completion_tokens is the newer name of max_tokens. */
static int read_max_tokens(struct call *c, const json_t *body, struct engine_request *r)
{
    int64_t n = -1;
    if (request_int(c, body, "max_tokens", 1, INT32_MAX, &n) < 0 ||
        request_int(c, body, "max_completion_tokens", 1, INT32_MAX, &n) < 0)
        return SP_EINVAL;
    r->max_tokens = n;
    return 0;
}

static int read_logprobs(struct call *c, const json_t *body, struct engine_request *r)
{
    bool want;
    int64_t top = 0;
    if (request_bool(c, body, "logprobs", false, &want) < 0 ||
        request_int(c, body, "top_logprobs", 0, 20, &top) < 0)
        return SP_EINVAL;
    if (top > 0 && !want) {
        reply_set_error(c, 400, INVALID, "top_logprobs", NULL,
                        "top_logprobs: needs logprobs: true");
        return SP_EINVAL;
    }
    r->logprobs = want ? (int)top : -1;
    return 0;
}

static int encode(struct call *c, const json_t *body, const struct loaded_model *m,
                  struct token_list *ids)
{
    sp_error err = {0};
    struct chat_opts co = {.allow_special = c->s->opts.allow_special};
    if (!engine_chat(m->engine)) {
        reply_set_error(c, 400, INVALID, "model", NULL,
                        "this model has no chat template: use /v1/completions");
        return SP_EINVAL;
    }
    if (request_bool(c, body, "add_generation_prompt", true, &co.add_generation_prompt) < 0)
        return SP_EINVAL;
    const json_t *extra = json_object_get(body, "chat_template_kwargs");
    if (extra && !json_is_null(extra) && !json_is_object(extra)) {
        reply_set_error(c, 400, INVALID, "chat_template_kwargs", NULL,
                        "chat_template_kwargs: must be an object");
        return SP_EINVAL;
    }
    co.extra = json_is_object(extra) ? extra : NULL;
    int code =
        chat_encode(engine_chat(m->engine), json_object_get(body, "messages"), &co, ids, &err);
    if (code < 0)
        reply_set_sp_error(c, &err, "messages");
    return code;
}

/* Everything but the prompt, from the body into g and r. */
static int read_request(struct call *c, const json_t *body, struct generation *g,
                        struct engine_request *r, struct stops *stops)
{
    if (request_sampling(c, body, r) < 0 || request_stops(c, body, stops) < 0 ||
        read_max_tokens(c, body, r) < 0 || read_logprobs(c, body, r) < 0 ||
        request_stream(c, body, g) < 0 || request_user(c, body, g) < 0)
        return SP_EINVAL;
    r->stop = stops->text;
    r->n_stop = stops->n;
    g->logprobs = r->logprobs;
    return 0;
}

/* Whether the prompt ends with the tag that begins the reasoning, as some templates have it. */
static int opens_reasoning(const struct generation *g, bool *opens, sp_error *err)
{
    const struct token_list *ids = &g->choices[0].prompt;
    size_t n = ids->n < 4 ? ids->n : 4;
    buf end;
    buf_init(&end, 4096);
    int code =
        tokenizer_decode(engine_tokenizer(g->engine), ids->ids + ids->n - n, n, false, &end, err);
    str last = {end.data, end.len};
    while (last.n && (last.p[last.n - 1] == '\n' || last.p[last.n - 1] == ' '))
        last.n--;
    *opens = code == 0 && str_ends(last, THINK);
    buf_free(&end);
    return code;
}

/* The answer goes on where it was left: its text stands at the end of the prompt, as the model wrote it. */
static int go_on_from(struct call *c, struct generation *g, str text)
{
    struct encode_opts eo = {.special = SPECIAL_NONE};
    sp_error err = {0};
    bool opens;
    int code = opens_reasoning(g, &opens, &err);
    if (code == 0 && opens && text.n == 0)
        c->kept->split.where = REASONING_INSIDE;
    if (code == 0 && opens && str_starts(text, THINK)) {
        text.p += strlen(THINK);
        text.n -= strlen(THINK);
    }
    if (code == 0 && text.n > 0)
        code = tokenizer_encode(engine_tokenizer(g->engine), text.p, text.n, &eo,
                                &g->choices[0].prompt, &err);
    if (code < 0)
        reply_set_sp_error(c, &err, "messages");
    return code;
}

/* An answer that nobody shows: its reasoning is told from its text. */
static int tell_reasoning(struct call *c, const struct generation *g)
{
    sp_error err = {0};
    bool opens;
    int code = opens_reasoning(g, &opens, &err);
    if (code < 0)
        reply_set_sp_error(c, &err, "messages");
    else if (opens)
        c->ask->split.where = REASONING_INSIDE;
    return code;
}

static int start(struct call *c, const json_t *body)
{
    request_note_stream(c, body);
    const struct loaded_model *m = request_model(c, body);
    struct stops stops;
    int64_t n = 1;
    if (!m || request_refuse_unsupported(c, body, unsupported) < 0 ||
        check_response_format(c, body) < 0 ||
        request_messages(c, json_object_get(body, "messages")) < 0 ||
        request_int(c, body, "n", 1, CHOICES_MAX, &n) < 0)
        return SP_EINVAL;
    struct generation *g = generation_new(c, 1, n);
    if (!g)
        return SP_EINVAL;
    struct engine_request r = engine_request_default(m->engine);
    g->chat = true;
    int code = read_request(c, body, g, &r, &stops);
    if (code == 0)
        code = encode(c, body, m, &g->choices[0].prompt);
    if (code == 0 && c->kept)
        code = go_on_from(c, g, (str){c->kept->before.data, c->kept->before.len});
    if (code == 0 && c->ask)
        code = tell_reasoning(c, g);
    if (code == 0)
        code = generation_share_prompts(c, g);
    if (code == 0)
        code = generation_start(c, g, &r);
    else
        generation_free(g);
    sp_free((void *)(uintptr_t)r.sampling.bias);
    return code;
}

int chat_start_kept(struct call *c)
{
    return start(c, c->kept->request);
}

int chat_start_ask(struct call *c)
{
    return start(c, c->ask->o.request);
}

void api_chat(struct call *c)
{
    json_t *body = request_parse(c);
    if (body)
        (void)start(c, body);
    json_decref(body);
}
