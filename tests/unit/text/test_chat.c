/* Where a model keeps its chat template, and what messages become before it sees them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "text/chat.h"
#include "../tiny_model.h"

struct model {
    char *dir;
    checkpoint *c;
    tokenizer *t;
};

static void put(const char *dir, const char *name, const char *text)
{
    char *path = path_join(dir, name);
    sp_error err;
    assert_int_equal(file_write_atomic(path, text, strlen(text), &err), 0);
    sp_free(path);
}

static int set_up(void **state)
{
    static struct model m;
    sp_error err;
    m.dir = tiny_model_make();
    assert_int_equal(checkpoint_open(m.dir, &m.c, &err), 0);
    assert_int_equal(tokenizer_load(m.c, &m.t, &err), 0);
    put(m.dir, "tokenizer_config.json", "{\"eos_token\": \"<|im_end|>\"}");
    *state = &m;
    return 0;
}

static int tear_down(void **state)
{
    struct model *m = *state;
    tokenizer_free(m->t);
    checkpoint_close(m->c);
    tiny_model_remove(m->dir);
    return 0;
}

/* What the model's template makes of the messages (JSON), or "error: ..."; the caller frees it. */
static char *rendered(const struct model *m, const char *messages, const json_t *tools)
{
    chat_format *f = NULL;
    struct rendered r = {0};
    sp_error err = {0};
    struct chat_opts opts = {.add_generation_prompt = true, .tools = tools};
    json_t *list = json_loads(messages, 0, NULL);
    buf b;
    buf_init(&b, 1 << 20);
    int code = chat_format_load(m->c, m->t, &f, &err);
    if (code == 0)
        code = chat_render(f, list, &opts, &r, &err);
    if (code == 0)
        buf_add(&b, r.text.data ? r.text.data : "", r.text.len);
    else
        buf_printf(&b, "error: %s", err.message);
    rendered_free(&r);
    chat_format_free(f);
    json_decref(list);
    buf_puts(&b, "");
    return buf_steal(&b);
}

static void renders(const struct model *m, const char *messages, bool tools, const char *want)
{
    json_t *list = tools ? json_pack("[{s:s}]", "name", "f") : NULL;
    char *got = rendered(m, messages, list);
    if (strncmp(want, "error", 5) == 0 ? !strstr(got, want + 7) : strcmp(got, want) != 0)
        fail_msg("%s: %s, wanted %s", messages, got, want);
    sp_free(got);
    json_decref(list);
}

static const char hi[] = "[{\"role\": \"user\", \"content\": \"hi\"}]";

/* Each later place wins over those before it. */
static void templates_are_found_where_transformers_looks(void **state)
{
    const struct model *m = *state;
    renders(m, hi, false, "error: it has no chat template");
    assert_null(checkpoint_chat_template_where(m->c));
    put(m->dir, "tokenizer_config.json", "{\"chat_template\": \"one\"}");
    renders(m, hi, false, "one");
    put(m->dir, "tokenizer_config.json",
        "{\"chat_template\": [{\"name\": \"tool_use\", \"template\": \"t\"}, {\"name\": "
        "\"default\", "
        "\"template\": \"d\"}]}");
    renders(m, hi, false, "d");
    renders(m, hi, true, "t");
    assert_string_equal(checkpoint_chat_template_where(m->c), "tokenizer_config.json");
    put(m->dir, "tokenizer_config.json", "{\"chat_template\": 7}");
    renders(m, hi, false, "error: chat_template is no text");
    put(m->dir, "chat_template.json", "{\"chat_template\": \"from json\"}");
    renders(m, hi, true, "from json");
    put(m->dir, "chat_template.jinja", "from {{ messages[0].content }}");
    renders(m, hi, false, "from hi");
    char *folder = path_join(m->dir, "additional_chat_templates");
    assert_int_equal(mkdir(folder, 0700), 0);
    put(folder, "tool_use.jinja", "with {{ tools[0].name }}");
    renders(m, hi, true, "with f");
    renders(m, hi, false, "from hi");
    assert_string_equal(checkpoint_chat_template_where(m->c), "chat_template.jinja");
    char *file = path_join(folder, "tool_use.jinja");
    assert_int_equal(unlink(file) | rmdir(folder), 0);
    sp_free(file);
    sp_free(folder);
}

/* The format of QwenLM/Qwen's code. */
static void the_first_qwen_has_a_built_in_chatml(void **state)
{
    const struct model *m = *state;
    put(m->dir, "generation_config.json", "{\"chat_format\": \"raw\"}");
    renders(m, hi, false, "error: it has no chat template");
    put(m->dir, "generation_config.json", "{\"chat_format\": \"chatml\"}");
    renders(
        m, hi, false,
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nhi<|im_end|>"
        "\n<|im_start|>assistant\n");
    renders(
        m,
        "[{\"role\": \"system\", \"content\": \"S\"}, {\"role\": \"user\", \"content\": \"a\"}, "
        "{\"role\": \"assistant\", \"content\": \"b\"}, {\"role\": \"user\", \"content\": \"c\"}]",
        false,
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n"
        "b<|im_end|>\n<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n");
    renders(m, hi, true, "error: no chat format for tools");
    assert_non_null(strstr(checkpoint_chat_template_where(m->c), "built in"));
}

static void messages_are_made_ready(void **state)
{
    const struct model *m = *state;
    put(m->dir, "chat_template.jinja",
        "{% for m in messages %}{{ m.content }}|{{ m.reasoning_content }}|{{ m.thinking }}|{% for "
        "t in "
        "m.tool_calls %}{{ t.function.arguments | tojson }}{% endfor %};{% endfor %}");
    renders(m,
            "[{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"a\"}, {\"type\": "
            "\"text\", \"text\": \"b\"}]}]",
            false, "ab|||;");
    renders(m, "[{\"role\": \"user\", \"content\": [{\"type\": \"image_url\"}]}]", false,
            "error: messages[0].content[0]: must be");
    renders(m, "[{\"role\": \"assistant\", \"content\": \"x\", \"reasoning\": \"r\"}]", false,
            "x|r|r|;");
    renders(m, "[{\"role\": \"assistant\", \"content\": \"x\", \"thinking\": \"t\"}]", false,
            "x|t|t|;");
    renders(
        m,
        "[{\"role\": \"assistant\", \"content\": \"\", \"tool_calls\": [{\"function\": {\"name\": "
        "\"f\", \"arguments\": \"{\\\"b\\\": 1, \\\"a\\\": 2}\"}}, {\"function\": {\"arguments\": "
        "\"[1\"}}]}]",
        false, "|||{\"b\": 1, \"a\": 2}\"[1\";");
    renders(m, "[]", false, "error: at least one message");
    renders(m, "[7]", false, "error: an object with a role");
}

static void failing_allocations(void **state)
{
    const struct model *m = *state;
    int code = -1;
    for (long nth = 1; code < 0 && nth < 3000; nth++) {
        chat_format *f = NULL;
        struct rendered r = {0};
        sp_error err = {0};
        struct chat_opts opts = {.add_generation_prompt = true};
        json_t *list = json_pack("[{s:s,s:[{s:s}],s:s}]", "role", "user", "content", "text", "x",
                                 "reasoning", "y");
        put(m->dir, "chat_template.jinja", "{{ messages }}");
        sp_alloc_fail_nth(nth);
        code = chat_format_load(m->c, m->t, &f, &err);
        if (code == 0)
            code = chat_render(f, list, &opts, &r, &err);
        sp_alloc_fail_nth(0);
        rendered_free(&r);
        chat_format_free(f);
        json_decref(list);
    }
    assert_int_equal(code, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(templates_are_found_where_transformers_looks, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_first_qwen_has_a_built_in_chatml, set_up, tear_down),
        cmocka_unit_test_setup_teardown(messages_are_made_ready, set_up, tear_down),
        cmocka_unit_test_setup_teardown(failing_allocations, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
