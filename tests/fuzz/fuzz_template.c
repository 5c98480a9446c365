/* A chat template, compiled and rendered with a fixed conversation. */
#include "fuzz.h"
#include "text/template.h"

static json_t *vars;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    vars = json_pack(
        "{s:[{s:s,s:s},{s:s,s:s},{s:s,s:n,s:[{s:s,s:{s:s,s:{s:s,s:[i,f,b,n]}}}]},{s:s,s:s}],"
        "s:[{s:s,s:{s:s,s:s,s:{s:s,s:{s:{s:s}}}}}],s:b,s:s,s:s,s:b,s:n}",
        "messages", "role", "system", "content", "Be \"short\" & <plain>.", "role", "user",
        "content", " \xe4\xbd\xa0\xe5\xa5\xbd\n<think>x</think>{{ 1 }} ", "role", "assistant",
        "content", "tool_calls", "type", "function", "function", "name", "get", "arguments", "city",
        "Z\xc3\xbcrich", "list", 1, 2.5, 1, "role", "tool", "content", "{\"t\": 21}", "tools",
        "type", "function", "function", "name", "get", "description", "Gets.", "parameters", "type",
        "object", "properties", "city", "type", "string", "add_generation_prompt", 1, "bos_token",
        "<s>", "eos_token", "</s>", "enable_thinking", 0, "documents");
    fuzz_check(vars != NULL, "the conversation is made");
    return 0;
}

static void check_spans(const struct rendered *r)
{
    size_t last = 0;
    for (size_t i = 0; i < r->n_spans; i++) {
        fuzz_check(r->spans[i].begin >= last && r->spans[i].end >= r->spans[i].begin &&
                       r->spans[i].end <= r->text.len,
                   "spans ascend within the text");
        last = r->spans[i].end;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const trusted[] = {"bos_token", "eos_token", NULL};
    template *t = NULL;
    struct rendered out = {0};
    sp_error err = {0};
    int code = template_compile((const char *)data, n, &t, &err);
    fuzz_check_error(code, &err);
    if (code == 0) {
        code = template_render(t, vars, trusted, &out, &err);
        fuzz_check_error(code, &err);
        if (code == 0)
            check_spans(&out);
        rendered_free(&out);
    }
    template_free(t);
    return 0;
}
