/* What a job is to work on: the first byte picks a whole body of POST /api/jobs, a batch (JSONL, CSV, text; with a
 * template or without) or a text that is cut. Every line of a batch becomes a request or an error that names it; the
 * pieces of a text are the text. */
#include "fuzz_model.h"
#include "server/task_int.h"
#include "text/cut.h"

static server *s;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    s = fuzz_server();
    return 0;
}

static void check_refusal(const struct call *c)
{
    if (fuzz_state.failing)
        return;
    json_t *j = fuzz_json(c->reply ? c->reply : "", c->reply ? strlen(c->reply) : 0);
    fuzz_check(json_is_object(json_object_get(j, "error")), "what is refused says why");
    fuzz_check(c->status >= 400 && c->status < 500, "no input makes the server fail");
    json_decref(j);
}

static void check_work(const struct call *c, const struct job_work *w, const json_t *params)
{
    size_t i;
    const json_t *part;
    fuzz_check(!c->reply || fuzz_state.failing, "what is taken is not answered yet");
    fuzz_check(utf8_valid(w->title, strlen(w->title)), "the title is UTF-8");
    fuzz_check((w->input != NULL) != (w->parts != NULL), "there is a text or there are parts");
    fuzz_check(json_object_get(params, "text") == NULL, "the text is not told with the job");
    json_array_foreach(w->parts, i, part)
    {
        const json_t *request = json_object_get(part, "request");
        fuzz_check(!request || json_array_size(json_object_get(request, "messages")) > 0,
                   "a line has messages");
    }
}

static void prepare(const struct page_kind *kind, json_t *params)
{
    struct call c = {.s = s, .started = clock_seconds()};
    struct job_work w = {.title = ""};
    if (kind->prepare(&c, params, &w))
        check_work(&c, &w, params);
    else
        check_refusal(&c);
    sp_free(w.input);
    json_decref(w.parts);
    sp_free(c.reply);
}

static void prepare_body(str body)
{
    static const struct page_kind *const kinds[] = {&translate_kind, &summary_kind, &answer_kind,
                                                    &template_kind, &batch_kind};
    json_t *j = json_loadb(body.p, body.n, JSON_REJECT_DUPLICATES, NULL);
    json_t *params = json_object_get(j, "params");
    const char *name = json_string_value(json_object_get(j, "kind"));
    for (size_t i = 0; name && json_is_object(params) && i < SP_COUNT(kinds); i++)
        if (strcmp(kinds[i]->job.name, name) == 0)
            prepare(kinds[i], params);
    json_decref(j);
}

static void prepare_batch(str text, const char *format, bool with_template)
{
    json_t *params = json_pack("{s:s,s:s%}", "format", format, "text", text.p, text.n);
    if (!params) /* it is not UTF-8: no body could bring it */
        return;
    if (with_template)
        json_object_set_new(params, "template",
                            json_pack("{s:s,s:s,s:[{s:s,s:s,s:b},{s:s,s:s}]}", "name", "t",
                                      "prompt", "{{a}} {{ b }}", "fields", "name", "a", "type",
                                      "text", "required", 1, "name", "b", "type", "number"));
    prepare(&batch_kind, params);
    json_decref(params);
}

static int count(void *arg, str part, int64_t *tokens, sp_error *err)
{
    (void)arg;
    (void)err;
    *tokens = 0;
    for (size_t i = 0; i < part.n; i++)
        *tokens += ((unsigned char)part.p[i] & 0xc0) != 0x80;
    return 0;
}

static void cut(str text, const struct cut_opts *o)
{
    struct cut_piece *pieces = NULL;
    sp_error err = {0};
    size_t n = 0, at = 0;
    int code = text_cut(text, o, &pieces, &n, &err);
    fuzz_check_error(code, &err);
    for (size_t i = 0; i < n; i++) {
        fuzz_check(pieces[i].begin == at && pieces[i].end > at, "each begins where one ends");
        at = pieces[i].end;
    }
    fuzz_check(code < 0 || at == text.n, "nothing is lost");
    sp_free(pieces);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const formats[] = {"jsonl", "csv", "txt"};
    if (n < 2)
        return 0;
    str rest = {(const char *)data + 2, n - 2};
    unsigned what = data[0] % 4;
    if (what == 0)
        prepare_body(rest);
    else if (what == 1)
        cut(rest,
            &(struct cut_opts){.most = 1 + data[1] / 2, .paragraphs = data[1] & 1, .count = count});
    else
        prepare_batch(rest, formats[data[1] % SP_COUNT(formats)], what == 3);
    return 0;
}
