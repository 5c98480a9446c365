/* POST /tokenize and /detokenize, in vLLM's shape (prompt or messages -> tokens, count, max_model_len) and
 * in llama.cpp's (content -> tokens). The model may be left out: the first one served. */
#include <string.h>
#include "server/models_int.h"

#define INVALID "invalid_request_error"

static const struct loaded_model *model_or_first(struct call *c, const json_t *body)
{
    const json_t *j = json_object_get(body, "model");
    return j && !json_is_null(j) ? request_model(c, body) : models_take(c, NULL);
}

static json_t *ids_json(const struct token_list *ids)
{
    json_t *list = json_array();
    for (size_t i = 0; i < ids->n; i++)
        json_array_append_new(list, json_integer(ids->ids[i]));
    return list;
}

static int encode_text(struct call *c, const json_t *body, const struct loaded_model *m,
                       bool llama_cpp, struct token_list *ids)
{
    const char *field = llama_cpp ? "content" : "prompt";
    const json_t *text = json_object_get(body, field);
    struct encode_opts eo = {0};
    bool parse_special;
    sp_error err = {0};
    if (!json_is_string(text)) {
        reply_set_error(c, 400, INVALID, field, NULL, "%s: must be a string", field);
        return SP_EINVAL;
    }
    if (request_bool(c, body, llama_cpp ? "add_special" : "add_special_tokens", !llama_cpp,
                     &eo.add_bos) < 0 ||
        request_bool(c, body, "parse_special", true, &parse_special) < 0)
        return SP_EINVAL;
    eo.special = parse_special ? SPECIAL_ALL : SPECIAL_NONE;
    int code = tokenizer_encode(engine_tokenizer(m->engine), json_string_value(text),
                                json_string_length(text), &eo, ids, &err);
    if (code < 0)
        reply_set_sp_error(c, &err, field);
    return code;
}

static int encode_messages(struct call *c, const json_t *body, const struct loaded_model *m,
                           struct token_list *ids)
{
    sp_error err = {0};
    struct chat_opts co = {.allow_special = c->s->opts.allow_special,
                           .tools = json_object_get(body, "tools")};
    if (!engine_chat(m->engine)) {
        reply_set_error(c, 400, INVALID, "messages", NULL,
                        "this model has no chat template: give prompt");
        return SP_EINVAL;
    }
    if (request_messages(c, json_object_get(body, "messages")) < 0 ||
        request_bool(c, body, "add_generation_prompt", true, &co.add_generation_prompt) < 0)
        return SP_EINVAL;
    int code =
        chat_encode(engine_chat(m->engine), json_object_get(body, "messages"), &co, ids, &err);
    if (code < 0)
        reply_set_sp_error(c, &err, "messages");
    return code;
}

/* Those of the form that is not used, too: a wrong type is a mistake in either. */
static int check_types(struct call *c, const json_t *body)
{
    static const char *const texts[] = {"prompt", "content"};
    const json_t *tools = json_object_get(body, "tools");
    bool b;
    for (size_t i = 0; i < SP_COUNT(texts); i++) {
        const json_t *text = json_object_get(body, texts[i]);
        if (text && !json_is_null(text) && !json_is_string(text)) {
            reply_set_error(c, 400, INVALID, texts[i], NULL, "%s: must be a string", texts[i]);
            return SP_EINVAL;
        }
    }
    if (tools && !json_is_null(tools) && !json_is_array(tools)) {
        reply_set_error(c, 400, INVALID, "tools", NULL, "tools: must be a list");
        return SP_EINVAL;
    }
    if (request_bool(c, body, "add_special", false, &b) < 0 ||
        request_bool(c, body, "add_special_tokens", false, &b) < 0 ||
        request_bool(c, body, "parse_special", false, &b) < 0 ||
        request_bool(c, body, "add_generation_prompt", false, &b) < 0)
        return SP_EINVAL;
    return 0;
}

void api_tokenize(struct call *c)
{
    json_t *body = request_parse(c);
    if (!body)
        return;
    const struct loaded_model *m = model_or_first(c, body);
    struct token_list ids = {0};
    bool llama_cpp = json_object_get(body, "content") != NULL;
    int code = !m                                  ? SP_ENOTFOUND
               : check_types(c, body) < 0          ? SP_EINVAL
               : json_object_get(body, "messages") ? encode_messages(c, body, m, &ids)
                                                   : encode_text(c, body, m, llama_cpp, &ids);
    if (code == 0) {
        json_t *j = json_pack("{s:o}", "tokens", ids_json(&ids));
        if (!llama_cpp) {
            json_object_set_new(j, "count", json_integer((json_int_t)ids.n));
            json_object_set_new(j, "max_model_len", json_integer(engine_context(m->engine)));
        }
        reply_set_json(c, 200, j);
    }
    token_list_free(&ids);
    json_decref(body);
}

void api_detokenize(struct call *c)
{
    json_t *body = request_parse(c);
    if (!body)
        return;
    const struct loaded_model *m = model_or_first(c, body);
    const json_t *tokens = json_object_get(body, "tokens"), *id;
    struct token_list ids = {0};
    sp_error err = {0};
    buf text;
    size_t i;
    int code = m ? 0 : SP_ENOTFOUND;
    buf_init(&text, REPLY_MAX);
    if (code == 0 && !json_is_array(tokens)) {
        code = SP_EINVAL;
        reply_set_error(c, 400, INVALID, "tokens", NULL, "tokens: must be a list of token ids");
    }
    json_array_foreach((json_t *)(uintptr_t)tokens, i, id)
    {
        json_int_t v = json_is_integer(id) ? json_integer_value(id) : -1;
        if (code == 0 && (v < 0 || (uint64_t)v >= tokenizer_vocab(engine_tokenizer(m->engine)))) {
            code = SP_EINVAL;
            reply_set_error(c, 400, INVALID, "tokens", NULL,
                            "tokens: entry %zu is no token id of this model", i);
        }
        if (code == 0 && token_list_add(&ids, (int32_t)v) < 0) {
            code = SP_ENOMEM;
            reply_set_error(c, 500, "server_error", NULL, NULL, "out of memory");
        }
    }
    if (code == 0) {
        code = tokenizer_decode(engine_tokenizer(m->engine), ids.ids, ids.n, false, &text, &err);
        if (code < 0)
            reply_set_sp_error(c, &err, "tokens");
    }
    if (code == 0)
        reply_set_json(c, 200,
                       json_pack("{s:s%,s:s%}", "prompt", text.data ? text.data : "", text.len,
                                 "content", text.data ? text.data : "", text.len));
    buf_free(&text);
    token_list_free(&ids);
    json_decref(body);
}
