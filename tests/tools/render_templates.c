/* Renders templates, for tests/reference/template_parity.py.
 *
 * Each line of the standard input is {"template": "...", "vars": {...}}; without "template" the last one
 * is used again. Each line of the output is {"text": "...", "trusted": [[begin, end], ...]} (bytes) or
 * {"error": "..."}. Trusted variables: bos_token and eos_token. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/template.h"

static json_t *spans_json(const struct rendered *r)
{
    json_t *list = json_array();
    for (size_t i = 0; i < r->n_spans; i++)
        json_array_append_new(
            list, json_pack("[I,I]", (json_int_t)r->spans[i].begin, (json_int_t)r->spans[i].end));
    return list;
}

static json_t *answer(template **t, const json_t *request)
{
    static const char *const trusted[] = {"bos_token", "eos_token", NULL};
    const json_t *source = json_object_get(request, "template");
    struct rendered r;
    sp_error err = {0};
    int code = 0;
    if (source) {
        template_free(*t);
        *t = NULL;
        code = template_compile(json_string_value(source), json_string_length(source), t, &err);
    } else if (!*t) {
        code = sp_fail(&err, SP_ETEMPLATE, "the template does not compile");
    }
    if (code == 0)
        code = template_render(*t, json_object_get(request, "vars"), trusted, &r, &err);
    if (code < 0)
        return json_pack("{s:s}", "error", err.message);
    json_t *out = json_pack("{s:s#,s:o}", "text", r.text.data ? r.text.data : "", r.text.len,
                            "trusted", spans_json(&r));
    rendered_free(&r);
    return out;
}

int main(void)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    template *t = NULL;
    int code = 0;
    while (code == 0 && (n = getline(&line, &room, stdin)) > 0) {
        json_error_t je;
        json_t *request = json_loadb(line, (size_t)n, JSON_ALLOW_NUL, &je);
        json_t *reply = request ? answer(&t, request) : NULL;
        code = !reply || json_dumpf(reply, stdout, JSON_COMPACT) < 0 || putchar('\n') == EOF;
        if (code)
            fprintf(stderr, "render_templates: %s\n", request ? "no answer" : je.text);
        json_decref(request);
        json_decref(reply);
    }
    free(line);
    template_free(t);
    return code;
}
