#include "text/chat.h"

#include <string.h>

struct chat_format {
    const tokenizer *tokenizer;
    template *plain, *with_tools; /* with_tools: NULL when the model has one template for both */
};

static int compile(const checkpoint *c, bool tools, template **out, sp_error *err)
{
    char *source = NULL;
    int code = checkpoint_chat_template(c, tools, &source, err);
    if (code == 0)
        code = template_compile(source, strlen(source), out, err);
    sp_free(source);
    return code;
}

int chat_format_load(const checkpoint *c, const tokenizer *t, chat_format **out, sp_error *err)
{
    chat_format *f = sp_calloc(1, sizeof *f);
    if (!f)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    f->tokenizer = t;
    int code = compile(c, false, &f->plain, err);
    if (code == 0)
        code = compile(c, true, &f->with_tools, err);
    if (code < 0) {
        chat_format_free(f);
        return code;
    }
    *out = f;
    return 0;
}

void chat_format_free(chat_format *f)
{
    if (!f)
        return;
    template_free(f->plain);
    template_free(f->with_tools);
    sp_free(f);
}

/* A list of {"type": "text", "text": ...} parts becomes one string. Parts of other kinds are refused: what
 * a model cannot see must not be left out silently. */
static int join_content(json_t *copy, const json_t *parts, size_t message, sp_error *err)
{
    size_t i;
    const json_t *part;
    int code = 0;
    buf b;
    buf_init(&b, (size_t)1 << 30);
    json_array_foreach((json_t *)(uintptr_t)parts, i, part)
    {
        const json_t *text = json_object_get(part, "text");
        if (code == 0 && !json_is_string(text))
            code = sp_fail(err, SP_EINVAL,
                           "messages[%zu].content[%zu]: must be {\"type\": \"text\", \"text\": "
                           "\"...\"}: other parts are not read by this model",
                           message, i);
        if (code == 0)
            buf_add(&b, json_string_value(text), json_string_length(text));
    }
    if (code == 0 &&
        (b.failed ||
         json_object_set_new(copy, "content", json_stringn(b.data ? b.data : "", b.len)) < 0))
        code = sp_fail(err, SP_ENOMEM, "out of memory");
    buf_free(&b);
    return code;
}

/* What a model thought has had three names; templates read "reasoning_content", a few "thinking". */
static int alias_reasoning(json_t *copy, sp_error *err)
{
    static const char *const names[] = {"reasoning_content", "thinking", "reasoning"};
    json_t *said = NULL;
    for (size_t i = 0; i < SP_COUNT(names) && (!said || json_is_null(said)); i++)
        said = json_object_get(copy, names[i]);
    if (!said || json_is_null(said))
        return 0;
    json_incref(said);
    int failed = json_object_set(copy, "reasoning_content", said);
    if (!json_object_get(copy, "thinking"))
        failed |= json_object_set(copy, "thinking", said);
    json_decref(said);
    return failed ? sp_fail(err, SP_ENOMEM, "out of memory") : 0;
}

/* OpenAI's API gives the arguments of a call as JSON in a string; templates want the object that it is. What
 * is no object stays a string. */
static int open_arguments(json_t *copy, sp_error *err)
{
    json_t *calls = json_object_get(copy, "tool_calls"), *call;
    size_t i;
    if (!json_is_array(calls))
        return 0;
    calls = json_deep_copy(calls);
    if (!calls || json_object_set_new(copy, "tool_calls", calls) < 0)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    json_array_foreach(calls, i, call)
    {
        json_t *function = json_object_get(call, "function");
        const json_t *text = json_object_get(function, "arguments");
        json_t *object = json_is_string(text) ? json_loadb(json_string_value(text),
                                                           json_string_length(text), 0, NULL)
                                              : NULL;
        if (json_is_object(object) && json_object_set(function, "arguments", object) < 0) {
            json_decref(object);
            return sp_fail(err, SP_ENOMEM, "out of memory");
        }
        json_decref(object);
    }
    return 0;
}

static int copy_message(json_t *out, const json_t *m, size_t i, sp_error *err)
{
    if (!json_is_object(m) || !json_is_string(json_object_get(m, "role")))
        return sp_fail(err, SP_EINVAL, "messages[%zu]: must be an object with a role", i);
    json_t *copy = json_copy((json_t *)(uintptr_t)m);
    json_t *content = json_object_get(m, "content");
    int code = copy ? 0 : sp_fail(err, SP_ENOMEM, "out of memory");
    if (code == 0 && json_is_array(content))
        code = join_content(copy, content, i, err);
    if (code == 0)
        code = alias_reasoning(copy, err);
    if (code == 0)
        code = open_arguments(copy, err);
    if (code == 0 && json_array_append(out, copy) < 0)
        code = sp_fail(err, SP_ENOMEM, "out of memory");
    json_decref(copy);
    return code;
}

static int make_messages(const json_t *messages, json_t **out, sp_error *err)
{
    size_t i;
    const json_t *m;
    int code = 0;
    if (!json_is_array(messages) || json_array_size(messages) == 0)
        return sp_fail(err, SP_EINVAL, "messages: must be a list of at least one message");
    json_t *list = json_array();
    if (!list)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    json_array_foreach((json_t *)(uintptr_t)messages, i, m)
    {
        if (code == 0)
            code = copy_message(list, m, i, err);
    }
    if (code < 0)
        json_decref(list);
    else
        *out = list;
    return code;
}

static json_t *text_json(str s)
{
    return json_stringn(s.p ? s.p : "", s.n);
}

int chat_render(const chat_format *f, const json_t *messages, const struct chat_opts *opts,
                struct rendered *out, sp_error *err)
{
    static const char *const trusted[] = {"bos_token", "eos_token", NULL};
    json_t *list = NULL;
    bool tools = opts->tools && json_array_size(opts->tools) > 0;
    *out = (struct rendered){0};
    int code = make_messages(messages, &list, err);
    if (code < 0)
        return code;
    json_t *vars = json_pack("{s:o,s:O,s:n,s:b}", "messages", list, "tools",
                             tools ? (json_t *)(uintptr_t)opts->tools : json_null(), "documents",
                             "add_generation_prompt", (int)opts->add_generation_prompt);
    if (!vars)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    json_object_set_new(vars, "bos_token", text_json(tokenizer_bos_text(f->tokenizer)));
    json_object_set_new(vars, "eos_token", text_json(tokenizer_eos_text(f->tokenizer)));
    if (opts->extra)
        json_object_update_missing(vars, (json_t *)(uintptr_t)opts->extra);
    code =
        template_render(tools && f->with_tools ? f->with_tools : f->plain, vars, trusted, out, err);
    json_decref(vars);
    return code;
}

int chat_encode(const chat_format *f, const json_t *messages, const struct chat_opts *opts,
                struct token_list *out, sp_error *err)
{
    struct rendered r;
    int code = chat_render(f, messages, opts, &r, err);
    if (code < 0)
        return code;
    struct encode_opts eo = {.special = opts->allow_special ? SPECIAL_ALL : SPECIAL_SPANS,
                             .spans = r.spans,
                             .n_spans = r.n_spans};
    code =
        tokenizer_encode(f->tokenizer, r.text.data ? r.text.data : "", r.text.len, &eo, out, err);
    rendered_free(&r);
    return code;
}
