/* Tasks that people make: a prompt with fields, examples, language and length. */
#include <stdio.h>
#include <string.h>
#include "server/task_int.h"

#define INVALID "invalid_request_error"
#define FIELDS_MOST 32
#define EXAMPLES_MOST 16
#define CHOICES_MOST 64
#define PROMPT_MOST ((size_t)64 << 10) /* bytes */
#define NAME_MOST 64
#define TEMPLATE_MOST ((size_t)256 << 10) /* bytes of all of it: each event of its jobs has it */

static bool bad(struct call *c, const char *param, const char *why)
{
    reply_set_error(c, 400, INVALID, param, NULL, "%s: %s", param, why);
    return false;
}

static const char *text_of(const json_t *j, const char *name)
{
    const char *text = json_string_value(json_object_get(j, name));
    return text ? text : "";
}

/* ---- checks ---- */

/* Missing or null: fine. */
static bool check_text(struct call *c, const json_t *t, const char *name, size_t most)
{
    char why[64];
    const json_t *j = json_object_get(t, name);
    if (!j || json_is_null(j) || (json_is_string(j) && json_string_length(j) <= most))
        return true;
    (void)snprintf(why, sizeof why, "must be a string of at most %zu bytes", most);
    return bad(c, name, why);
}

static bool check_enum(struct call *c, const json_t *t, const char *name, const char *const *list)
{
    const json_t *j = json_object_get(t, name);
    const char *text = json_string_value(j);
    if (!j || json_is_null(j))
        return true;
    for (; text && *list; list++)
        if (strcmp(text, *list) == 0)
            return true;
    return bad(c, name, "has none of its values");
}

static bool name_sound(const char *name)
{
    size_t n = name ? strlen(name) : 0;
    if (n == 0 || n > NAME_MOST)
        return false;
    for (const char *p = name; *p; p++)
        if (strchr("{}\n\r\t", *p))
            return false;
    return name[0] != ' ' && name[n - 1] != ' ';
}

static bool check_choices(struct call *c, const json_t *field)
{
    size_t i;
    const json_t *list = json_object_get(field, "choices"), *choice;
    bool needed = strcmp(text_of(field, "type"), "choice") == 0;
    if (!needed)
        return !list || json_is_null(list) || json_is_array(list) ||
               bad(c, "fields", "choices must be a list");
    if (json_array_size(list) == 0 || json_array_size(list) > CHOICES_MOST)
        return bad(c, "fields", "a choice needs from 1 to 64 choices");
    json_array_foreach((json_t *)(uintptr_t)list, i, choice)
    {
        if (!json_is_string(choice) || json_string_length(choice) == 0)
            return bad(c, "fields", "choices must be strings that are not empty");
    }
    return true;
}

static bool check_field(struct call *c, const json_t *field)
{
    static const char *const types[] = {"text", "long", "choice", "number", NULL};
    const json_t *required = json_object_get(field, "required");
    if (!json_is_object(field))
        return bad(c, "fields", "must be a list of objects");
    if (!name_sound(text_of(field, "name")))
        return bad(c, "fields", "a name has from 1 to 64 bytes and none of { and }");
    if (!json_is_string(json_object_get(field, "type")))
        return bad(c, "fields", "each needs a type");
    if (required && !json_is_boolean(required))
        return bad(c, "fields", "required must be true or false");
    return check_enum(c, field, "type", types) && check_text(c, field, "label", 200) &&
           check_text(c, field, "default", PROMPT_MOST) && check_choices(c, field);
}

static const json_t *find_field(const json_t *t, const char *name)
{
    size_t i;
    const json_t *field;
    json_array_foreach(json_object_get(t, "fields"), i, field)
    {
        if (strcmp(text_of(field, "name"), name) == 0)
            return field;
    }
    return NULL;
}

static bool check_fields(struct call *c, const json_t *t)
{
    size_t i;
    const json_t *list = json_object_get(t, "fields"), *field;
    if (!json_is_array(list) || json_array_size(list) > FIELDS_MOST)
        return bad(c, "fields", "must be a list of at most 32 fields");
    json_array_foreach((json_t *)(uintptr_t)list, i, field)
    {
        if (!check_field(c, field))
            return false;
        if (find_field(t, text_of(field, "name")) != field)
            return bad(c, "fields", "two have the same name");
    }
    return true;
}

struct lookup {
    const json_t *t;
    char missing[NAME_MOST + 1];
};

static int look_up(void *arg, str name)
{
    struct lookup *l = arg;
    (void)snprintf(l->missing, sizeof l->missing, "%.*s", (int)name.n, name.p);
    return name.n <= NAME_MOST && find_field(l->t, l->missing) ? 0 : SP_ENOTFOUND;
}

static bool check_prompt(struct call *c, const json_t *t)
{
    struct lookup l = {.t = t};
    sp_error err = {0};
    const char *prompt = text_of(t, "prompt");
    if (!*prompt)
        return bad(c, "prompt", "must be a string that is not empty");
    int code = task_names(prompt, look_up, &l, &err);
    if (code == SP_EINVAL)
        return bad(c, "prompt", "a {{ has no }}");
    if (code == 0)
        return true;
    reply_set_error(c, 400, INVALID, "prompt", NULL, "prompt: there is no field %s", l.missing);
    return false;
}

/* ---- values ---- */

static int check_value(const json_t *field, json_t *values, sp_error *err)
{
    const char *name = text_of(field, "name"), *type = text_of(field, "type");
    json_t *v = json_object_get(values, name);
    const json_t *fallback = json_object_get(field, "default");
    size_t i;
    const json_t *choice;
    double number;
    bool empty = !v || json_is_null(v) || (json_is_string(v) && json_string_length(v) == 0);
    if (empty && json_is_string(fallback)) {
        json_object_set(values, name, (json_t *)(uintptr_t)fallback);
        v = json_object_get(values, name);
        empty = json_string_length(v) == 0;
    }
    if (empty && json_is_true(json_object_get(field, "required")))
        return sp_fail(err, SP_EINVAL, "%s: must be filled in", name);
    if (empty) {
        json_object_set_new(values, name, json_string(""));
        return 0;
    }
    if (!json_is_string(v) && !json_is_number(v))
        return sp_fail(err, SP_EINVAL, "%s: must be a string or a number", name);
    if (strcmp(type, "number") == 0 && json_is_string(v) &&
        !str_to_f64(str_of(json_string_value(v)), &number))
        return sp_fail(err, SP_EINVAL, "%s: must be a number", name);
    if (strcmp(type, "choice") != 0)
        return 0;
    json_array_foreach(json_object_get(field, "choices"), i, choice)
    {
        if (json_equal(choice, v))
            return 0;
    }
    return sp_fail(err, SP_EINVAL, "%s: is none of its choices", name);
}

int template_values(const json_t *t, json_t *values, sp_error *err)
{
    size_t i;
    const json_t *field;
    const char *key;
    json_t *value;
    int code = 0;
    json_array_foreach(json_object_get(t, "fields"), i, field)
    {
        if (code == 0)
            code = check_value(field, values, err);
    }
    json_object_foreach(values, key, value)
    {
        if (code == 0 && !find_field(t, key))
            code = sp_fail(err, SP_EINVAL, "%.64s: the template has no such field", key);
    }
    return code;
}

const char *template_long_field(const json_t *t)
{
    size_t i;
    const json_t *field;
    json_array_foreach(json_object_get(t, "fields"), i, field)
    {
        if (strcmp(text_of(field, "type"), "long") == 0)
            return text_of(field, "name");
    }
    return NULL;
}

/* ---- the whole ---- */

static bool check_example(struct call *c, const json_t *t, const json_t *example)
{
    sp_error err = {0};
    json_t *values = json_object_get(example, "values");
    if (!json_is_object(values) || !json_is_string(json_object_get(example, "output")))
        return bad(c, "examples", "each is {\"values\": {field: value}, \"output\": \"...\"}");
    json_t *full = json_copy(values);
    int code = full ? template_values(t, full, &err) : sp_fail(&err, SP_ENOMEM, "out of memory");
    json_decref(full);
    return code == 0 || bad(c, "examples", err.message);
}

static bool check_examples(struct call *c, const json_t *t)
{
    size_t i;
    const json_t *list = json_object_get(t, "examples"), *example;
    if (!list || json_is_null(list))
        return true;
    if (!json_is_array(list) || json_array_size(list) > EXAMPLES_MOST)
        return bad(c, "examples", "must be a list of at most 16");
    json_array_foreach((json_t *)(uintptr_t)list, i, example)
    {
        if (!check_example(c, t, example))
            return false;
    }
    return true;
}

bool template_check(struct call *c, const json_t *t)
{
    static const char *const known[] = {"name",     "description", "system", "prompt", "fields",
                                        "examples", "language",    "length", "mode",   "params"};
    static const char *const lengths[] = {"short", "medium", "long", NULL};
    static const char *const modes[] = {"each", "merge", NULL};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)t, key, value)
    {
        size_t i = 0;
        while (i < SP_COUNT(known) && strcmp(known[i], key) != 0)
            i++;
        if (i == SP_COUNT(known)) {
            reply_set_error(c, 400, INVALID, NULL, NULL, "a template has no %.64s", key);
            return false;
        }
    }
    if (!*text_of(t, "name"))
        return bad(c, "name", "must be a string that is not empty");
    if (json_dumpb(t, NULL, 0, JSON_COMPACT) > TEMPLATE_MOST) {
        reply_set_error(c, 400, INVALID, NULL, NULL, "a template has at most %zu KiB",
                        TEMPLATE_MOST >> 10);
        return false;
    }
    return check_text(c, t, "name", 200) && check_text(c, t, "description", 2000) &&
           check_text(c, t, "system", PROMPT_MOST) && check_text(c, t, "prompt", PROMPT_MOST) &&
           check_text(c, t, "language", 100) && check_enum(c, t, "length", lengths) &&
           check_enum(c, t, "mode", modes) && check_fields(c, t) && check_prompt(c, t) &&
           check_examples(c, t) && page_params(c, json_object_get(t, "params")) == 0;
}

/* ---- messages ---- */

static void add_wishes(const json_t *t, buf *out)
{
    static const char *const sizes[][2] = {
        {"short", "about 50 words"}, {"medium", "about 150 words"}, {"long", "about 400 words"}};
    if (*text_of(t, "language"))
        buf_printf(out, "\n\nAnswer in %s.", text_of(t, "language"));
    for (size_t i = 0; i < SP_COUNT(sizes); i++)
        if (strcmp(text_of(t, "length"), sizes[i][0]) == 0)
            buf_printf(out, "%s%s.", *text_of(t, "language") ? " Use " : "\n\nUse ", sizes[i][1]);
}

static int add_prompt(json_t *list, const json_t *t, const json_t *values, sp_error *err)
{
    buf b;
    buf_init(&b, STORE_TEXT_MOST);
    int code = task_fill(text_of(t, "prompt"), values, &b, err);
    add_wishes(t, &b);
    if (code == 0 && b.failed)
        code = sp_fail(err, SP_ENOMEM, "out of memory");
    if (code == 0)
        json_array_append_new(list,
                              json_pack("{s:s,s:s%}", "role", "user", "content", b.data, b.len));
    buf_free(&b);
    return code;
}

json_t *template_messages(const json_t *t, const json_t *values, sp_error *err)
{
    size_t i;
    const json_t *example;
    json_t *list = json_array();
    int code = 0;
    if (*text_of(t, "system"))
        json_array_append_new(list, json_pack("{s:s,s:O}", "role", "system", "content",
                                              json_object_get(t, "system")));
    json_array_foreach(json_object_get(t, "examples"), i, example)
    {
        json_t *full = json_deep_copy(json_object_get(example, "values"));
        if (code == 0)
            code = template_values(t, full, err);
        if (code == 0)
            code = add_prompt(list, t, full, err);
        json_array_append_new(list, json_pack("{s:s,s:O}", "role", "assistant", "content",
                                              json_object_get(example, "output")));
        json_decref(full);
    }
    if (code == 0)
        code = add_prompt(list, t, values, err);
    if (code == 0)
        return list;
    json_decref(list);
    return NULL;
}
