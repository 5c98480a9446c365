/* Where a model keeps its chat template. In a folder, as transformers looks for it: for tools
 * additional_chat_templates/tool_use.jinja, then chat_template.jinja, chat_template.json and
 * tokenizer_config.json. In GGUF: tokenizer.chat_template, and with a name after a dot. */
#include <stdio.h>
#include <string.h>
#include "base/base.h"
#include "format/checkpoint.h"

#define TEMPLATE_MAX ((size_t)4 << 20)

/* The first Qwen has its format in code (QwenLM/Qwen, qwen_generation_utils.py), and says "chatml" in
 * generation_config.json. */
static const char chatml[] =
    "{% if tools %}{{ raise_exception('this model has no chat format for tools') }}{% endif %}"
    "{% if messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' }}"
    "{% if not loop.last or add_generation_prompt %}{{ '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

struct found {
    char *text;
    const char *where;
};

static int keep(struct found *f, const char *text, size_t n, const char *where, sp_error *err)
{
    f->text = sp_strndup(text, n);
    f->where = where;
    return f->text ? 0 : sp_fail(err, SP_ENOMEM, "out of memory");
}

static int no_template(const checkpoint *c, sp_error *err)
{
    return sp_fail(err, SP_ENOTFOUND, "%.200s: it has no chat template", checkpoint_path(c));
}

static int of_gguf(const checkpoint *c, bool tools, struct found *f, sp_error *err)
{
    const gguf *g = checkpoint_gguf(c);
    str s = {0}, arch = {0};
    if (tools && gguf_get_str(g, "tokenizer.chat_template.tool_use", &s) == 0)
        return keep(f, s.p, s.n, "GGUF tokenizer.chat_template.tool_use", err);
    if (gguf_get_str(g, "tokenizer.chat_template", &s) == 0)
        return keep(f, s.p, s.n, "GGUF tokenizer.chat_template", err);
    if (gguf_get_str(g, "tokenizer.chat_template.default", &s) == 0)
        return keep(f, s.p, s.n, "GGUF tokenizer.chat_template.default", err);
    if (gguf_get_str(g, "general.architecture", &arch) == 0 && str_eqz(arch, "qwen") &&
        strcasestr(checkpoint_config(c)->name, "chat"))
        return keep(f, chatml, sizeof chatml - 1, "ChatML, built in for the first Qwen", err);
    return no_template(c, err);
}

/* SP_ENOTFOUND: no such file. */
static int of_file(const checkpoint *c, const char *name, struct found *f, sp_error *err)
{
    char *path = path_join(checkpoint_path(c), name);
    size_t n;
    f->where = name;
    int code = !path                ? sp_fail(err, SP_ENOMEM, "out of memory")
               : !file_exists(path) ? no_template(c, err)
                                    : file_read(path, TEMPLATE_MAX, &f->text, &n, err);
    sp_free(path);
    return code;
}

/* A list of {"name", "template"}: "tool_use" when tools are given and it is there, else "default". */
static const json_t *named_template(const json_t *list, bool tools)
{
    const json_t *fallback = NULL, *e;
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)list, i, e)
    {
        const char *name = json_string_value(json_object_get(e, "name"));
        const json_t *text = json_object_get(e, "template");
        if (name && tools && strcmp(name, "tool_use") == 0)
            return text;
        if (name && strcmp(name, "default") == 0)
            fallback = text;
    }
    return fallback;
}

/* The member `chat_template` of a JSON file: a string, or a list of named ones. */
static int of_json(const checkpoint *c, const char *name, bool tools, struct found *f,
                   sp_error *err)
{
    json_t *config = NULL;
    int code = checkpoint_json(c, name, &config, err);
    if (code < 0)
        return code;
    const json_t *t = json_object_get(config, "chat_template");
    if (json_is_array(t))
        t = named_template(t, tools);
    code = json_is_string(t) ? keep(f, json_string_value(t), json_string_length(t), name, err)
           : !t || json_is_null(t)
               ? no_template(c, err)
               : sp_fail(err, SP_EFORMAT, "%.200s: %s: chat_template is no text",
                         checkpoint_path(c), name);
    json_decref(config);
    return code;
}

static int of_generation_config(const checkpoint *c, struct found *f, sp_error *err)
{
    json_t *config = NULL;
    int code = checkpoint_json(c, "generation_config.json", &config, err);
    if (code < 0)
        return code;
    const char *format = json_string_value(json_object_get(config, "chat_format"));
    code = format && strcmp(format, "chatml") == 0
               ? keep(f, chatml, sizeof chatml - 1,
                      "ChatML, built in (generation_config.json: chat_format)", err)
               : no_template(c, err);
    json_decref(config);
    return code;
}

static int find(const checkpoint *c, bool tools, struct found *f, sp_error *err)
{
    int code = SP_ENOTFOUND;
    if (checkpoint_gguf(c))
        return of_gguf(c, tools, f, err);
    if (tools)
        code = of_file(c, "additional_chat_templates/tool_use.jinja", f, err);
    if (code == SP_ENOTFOUND)
        code = of_file(c, "chat_template.jinja", f, err);
    if (code == SP_ENOTFOUND)
        code = of_json(c, "chat_template.json", tools, f, err);
    if (code == SP_ENOTFOUND)
        code = of_json(c, "tokenizer_config.json", tools, f, err);
    if (code == SP_ENOTFOUND)
        code = of_generation_config(c, f, err);
    return code == SP_ENOTFOUND ? no_template(c, err) : code;
}

int checkpoint_chat_template(const checkpoint *c, bool tools, char **out, sp_error *err)
{
    struct found f = {0};
    int code = find(c, tools, &f, err);
    if (code == 0)
        *out = f.text;
    return code;
}

const char *checkpoint_chat_template_where(const checkpoint *c)
{
    struct found f = {0};
    sp_error ignored;
    int code = find(c, false, &f, &ignored);
    sp_free(f.text);
    return code == 0 ? f.where : NULL;
}
