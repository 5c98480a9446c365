/* POST /v1/completions: strings, lists of strings, token arrays and lists of them; echo with logprobs of
 * the prompt, as lm-evaluation-harness asks for. */
#include <string.h>
#include "server/models_int.h"

#define INVALID "invalid_request_error"

static const char *const unsupported[] = {"response_format", NULL};

static int prompt_bad(struct call *c)
{
    reply_set_error(c, 400, INVALID, "prompt", NULL,
                    "prompt: must be a string, a list of strings, a list of token ids or a list of "
                    "such lists, none empty");
    return SP_EINVAL;
}

static bool is_tokens(const json_t *j)
{
    return json_is_array(j) && json_array_size(j) > 0 && json_is_integer(json_array_get(j, 0));
}

/* How many prompts there are; 0: malformed. */
static size_t count_prompts(const json_t *j)
{
    if (json_is_string(j) || is_tokens(j))
        return 1;
    return json_is_array(j) ? json_array_size(j) : 0;
}

static int read_tokens(struct call *c, const json_t *j, const tokenizer *t, struct token_list *out)
{
    size_t i;
    const json_t *id;
    json_array_foreach((json_t *)(uintptr_t)j, i, id)
    {
        json_int_t v = json_is_integer(id) ? json_integer_value(id) : -1;
        if (v < 0 || (uint64_t)v >= tokenizer_vocab(t)) {
            reply_set_error(c, 400, INVALID, "prompt", NULL,
                            "prompt: entry %zu is no token id from 0 to %zu", i,
                            tokenizer_vocab(t) - 1);
            return SP_EINVAL;
        }
        if (token_list_add(out, (int32_t)v) < 0) {
            reply_set_error(c, 500, "server_error", NULL, NULL, "out of memory");
            return SP_ENOMEM;
        }
    }
    return 0;
}

static int read_prompt(struct call *c, const json_t *j, const tokenizer *t, struct token_list *out)
{
    sp_error err = {0};
    if (is_tokens(j))
        return read_tokens(c, j, t, out);
    if (!json_is_string(j))
        return prompt_bad(c);
    struct encode_opts eo = {.special = SPECIAL_ALL, .add_bos = true};
    int code = tokenizer_encode(t, json_string_value(j), json_string_length(j), &eo, out, &err);
    if (code < 0)
        reply_set_sp_error(c, &err, "prompt");
    else if (out->n == 0)
        code = prompt_bad(c);
    return code;
}

static int read_prompts(struct call *c, const json_t *prompt, struct generation *g)
{
    const tokenizer *t = engine_tokenizer(g->engine);
    bool single = json_is_string(prompt) || is_tokens(prompt);
    for (size_t i = 0; i < g->n_choices; i += g->per_prompt) {
        const json_t *one = single ? prompt : json_array_get(prompt, i / g->per_prompt);
        if (read_prompt(c, one, t, &g->choices[i].prompt) < 0)
            return SP_EINVAL;
    }
    return generation_share_prompts(c, g);
}

static int read_request(struct call *c, const json_t *body, struct generation *g,
                        struct engine_request *r, struct stops *stops)
{
    int64_t max_tokens = 16, logprobs = -1, best_of = (int64_t)g->per_prompt;
    if (request_sampling(c, body, r) < 0 || request_stops(c, body, stops) < 0 ||
        request_int(c, body, "max_tokens", 0, INT32_MAX, &max_tokens) < 0 ||
        request_int(c, body, "logprobs", 0, 20, &logprobs) < 0 ||
        request_bool(c, body, "echo", false, &g->echo) < 0 || request_stream(c, body, g) < 0 ||
        request_user(c, body, g) < 0 ||
        request_int(c, body, "best_of", 1, CHOICES_MAX, &best_of) < 0)
        return SP_EINVAL;
    if (best_of != (int64_t)g->per_prompt) {
        reply_set_error(c, 400, INVALID, "best_of", "unsupported_parameter",
                        "best_of: must equal n here");
        return SP_EINVAL;
    }
    if (max_tokens == 0 && !g->echo) {
        reply_set_error(c, 400, INVALID, "max_tokens", NULL,
                        "max_tokens: 0 makes sense with echo: true only");
        return SP_EINVAL;
    }
    r->max_tokens = max_tokens;
    r->logprobs = (int)logprobs;
    r->prompt_logprobs = g->echo && (logprobs >= 0 || max_tokens == 0);
    r->stop = stops->text;
    r->n_stop = stops->n;
    g->logprobs = (int)logprobs;
    return 0;
}

/* echo: the answer's text begins with the prompt's. */
static int echo_prompts(struct call *c, struct generation *g)
{
    sp_error err = {0};
    for (size_t i = 0; g->echo && i < g->n_choices; i++) {
        struct choice *ch = &g->choices[i];
        if (tokenizer_decode(engine_tokenizer(g->engine), ch->prompt.ids, ch->prompt.n, false,
                             &ch->text, &err) < 0) {
            reply_set_sp_error(c, &err, "prompt");
            return err.code;
        }
    }
    return 0;
}

static void answer(struct call *c, const json_t *body)
{
    request_note_stream(c, body);
    const struct loaded_model *m = request_model(c, body);
    const json_t *prompt = json_object_get(body, "prompt");
    struct stops stops;
    int64_t n = 1;
    if (!m || request_refuse_unsupported(c, body, unsupported) < 0 ||
        request_int(c, body, "n", 1, CHOICES_MAX, &n) < 0)
        return;
    size_t prompts = count_prompts(prompt);
    if (prompts == 0) {
        prompt_bad(c);
        return;
    }
    struct generation *g = generation_new(c, prompts, n);
    if (!g)
        return;
    struct engine_request r = engine_request_default(m->engine);
    int code = read_request(c, body, g, &r, &stops);
    if (code == 0)
        code = read_prompts(c, prompt, g);
    if (code == 0)
        code = echo_prompts(c, g);
    if (code == 0)
        (void)generation_start(c, g, &r);
    else
        generation_free(g);
    sp_free((void *)(uintptr_t)r.sampling.bias);
}

void api_completions(struct call *c)
{
    json_t *body = request_parse(c);
    if (body)
        answer(c, body);
    json_decref(body);
}
