/* Batches: a file of prompts, checked before anything runs, each line a request. Parameters: "model", "params" (of
 * sampling), "name" (of the file), "format" (jsonl, csv, txt; else by what it looks like), "system", "template" (the
 * whole of it: the lines are its fields), "text": the file.
 *
 * A line of JSON has "messages", or "prompt" (and "system"), or the template's fields; or is one of OpenAI's batches
 * ("custom_id", "method", "url", "body"), and then its result is as OpenAI's, too. A CSV has a header: prompt, system,
 * custom_id, or the template's fields. Of a text each line that is not empty is a prompt. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "server/task_int.h"

#define INVALID "invalid_request_error"
#define LINES_MOST 50000 /* as OpenAI */
#define ERRORS_TOLD 20
#define COLUMNS_MOST 64
#define FILE_MAX ((size_t)400 << 20)

struct batch {
    struct call *c;
    json_t *params;
    const json_t *template;
    json_t *parts;  /* sources */
    json_t *errors; /* [{"line", "message"}], the first ERRORS_TOLD */
    size_t n_errors;
};

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

static void line_error(struct batch *b, int64_t line, const char *message)
{
    if (b->n_errors++ < ERRORS_TOLD)
        json_array_append_new(b->errors,
                              json_pack("{s:I,s:s}", "line", (json_int_t)line, "message", message));
}

/* The checks of requests set the call's answer: it becomes the line's error. */
static void line_refused(struct batch *b, int64_t line)
{
    json_t *reply = json_loads(b->c->reply ? b->c->reply : "{}", 0, NULL);
    const char *message = text_of(json_object_get(reply, "error"), "message");
    line_error(b, line, *message ? message : "it can't be used");
    json_decref(reply);
    sp_free(b->c->reply);
    b->c->reply = NULL;
    b->c->status = 0;
}

/* ---- one line ---- */

/* Takes request (with "messages") and more, which may be NULL. */
static void add_line(struct batch *b, int64_t line, json_t *request, const json_t *custom_id,
                     bool openai)
{
    const json_t *n = json_object_get(request, "n");
    if (n && !json_is_null(n) && json_integer_value(n) != 1) {
        line_error(b, line, "n: a line has one answer");
        json_decref(request);
        return;
    }
    if (request_messages(b->c, json_object_get(request, "messages")) < 0) {
        line_refused(b, line);
        json_decref(request);
        return;
    }
    json_t *source = json_pack("{s:s,s:I,s:o,s:O*}", "role", "line", "line", (json_int_t)line,
                               "request", request, "custom_id", custom_id);
    if (openai)
        json_object_set_new(source, "openai", json_true());
    json_array_append_new(b->parts, source);
}

static json_t *prompt_messages(const char *system, const json_t *prompt)
{
    json_t *list = json_array();
    if (*system)
        json_array_append_new(list, json_pack("{s:s,s:s}", "role", "system", "content", system));
    json_array_append_new(list, json_pack("{s:s,s:O}", "role", "user", "content", prompt));
    return list;
}

/* Sampling that a line brings; takes nothing. */
static bool line_params(struct batch *b, int64_t line, const json_t *from, json_t *request)
{
    const json_t *params = json_object_get(from, "params");
    if (!params || json_is_null(params))
        return true;
    if (page_params(b->c, params) < 0) {
        line_refused(b, line);
        return false;
    }
    json_object_update(request, (json_t *)(uintptr_t)params);
    return true;
}

static void add_openai(struct batch *b, int64_t line, const json_t *j)
{
    const json_t *body = json_object_get(j, "body");
    const char *url = text_of(j, "url"), *method = text_of(j, "method");
    if (!json_is_string(json_object_get(j, "custom_id")))
        line_error(b, line, "custom_id: must be a string");
    else if (strcmp(method, "POST") != 0)
        line_error(b, line, "method: must be POST");
    else if (strcmp(url, "/v1/chat/completions") != 0)
        line_error(b, line, "url: only /v1/chat/completions is done here");
    else if (!json_is_object(body))
        line_error(b, line, "body: must be an object");
    else if (json_is_true(json_object_get(body, "stream")))
        line_error(b, line, "stream: a batch has no streams: leave it out");
    else {
        json_t *request = json_copy((json_t *)(uintptr_t)body);
        json_object_del(request, "model");
        add_line(b, line, request, json_object_get(j, "custom_id"), true);
    }
}

static void add_fields(struct batch *b, int64_t line, json_t *values, const json_t *custom_id)
{
    sp_error err = {0};
    json_t *messages = template_values(b->template, values, &err) == 0
                           ? template_messages(b->template, values, &err)
                           : NULL;
    if (!messages) {
        line_error(b, line, err.message);
        return;
    }
    json_t *request = json_pack("{s:o}", "messages", messages);
    json_object_update(request, json_object_get(b->template, "params"));
    add_line(b, line, request, custom_id, false);
}

static void add_object(struct batch *b, int64_t line, json_t *j)
{
    const json_t *prompt = json_object_get(j, "prompt"), *messages = json_object_get(j, "messages");
    json_t *custom_id = json_object_get(j, "custom_id");
    if (json_object_get(j, "body")) {
        add_openai(b, line, j);
    } else if (b->template && !messages) {
        json_t *values = json_copy(j);
        json_object_del(values, "custom_id");
        add_fields(b, line, values, custom_id);
        json_decref(values);
    } else if (messages || json_is_string(prompt)) {
        const char *system = text_of(j, "system");
        json_t *request =
            messages ? json_pack("{s:O}", "messages", messages)
                     : json_pack("{s:o}", "messages",
                                 prompt_messages(*system ? system : text_of(b->params, "system"),
                                                 prompt));
        if (line_params(b, line, j, request))
            add_line(b, line, request, custom_id, false);
        else
            json_decref(request);
    } else {
        line_error(b, line, "it has neither \"prompt\" nor \"messages\" nor a \"body\"");
    }
}

/* ---- files ---- */

/* Without a byte order mark. */
static str whole(const json_t *text)
{
    str s = {json_string_value(text), json_string_length(text)};
    if (str_starts(s, "\xef\xbb\xbf")) {
        s.p += 3;
        s.n -= 3;
    }
    return s;
}

static str next_line(str *rest)
{
    const char *end = memchr(rest->p, '\n', rest->n);
    str line = {rest->p, end ? (size_t)(end - rest->p) : rest->n};
    size_t taken = line.n + (end != NULL);
    rest->p += taken;
    rest->n -= taken;
    if (line.n && line.p[line.n - 1] == '\r')
        line.n--;
    return line;
}

static void read_jsonl(struct batch *b, str rest)
{
    for (int64_t line = 1; rest.n > 0; line++) {
        json_error_t je;
        str s = next_line(&rest);
        if (str_trim(s).n == 0)
            continue;
        json_t *j = json_loadb(s.p, s.n, JSON_REJECT_DUPLICATES, &je);
        char why[256];
        (void)snprintf(why, sizeof why, "no valid JSON: column %d: %s", je.column, je.text);
        if (!j)
            line_error(b, line, why);
        else if (!json_is_object(j))
            line_error(b, line, "it is no JSON object");
        else
            add_object(b, line, j);
        json_decref(j);
    }
}

static void read_txt(struct batch *b, str rest)
{
    for (int64_t line = 1; rest.n > 0; line++) {
        str s = next_line(&rest);
        if (str_trim(s).n == 0)
            continue;
        const char *field = b->template ? template_long_field(b->template) : "prompt";
        if (b->template && !field)
            field = text_of(json_array_get(json_object_get(b->template, "fields"), 0), "name");
        json_t *j = json_pack("{s:s%}", field, s.p, s.n);
        if (j)
            add_object(b, line, j);
        else
            line_error(b, line, "it is not UTF-8");
        json_decref(j);
    }
}

/* A row of a CSV (RFC 4180): cells with commas between, in quotes where they have commas, quotes or line breaks.
 * False: a quote isn't closed. *lines: how many it has. */
static bool next_row(str *rest, json_t *cells, int64_t *lines)
{
    buf cell;
    bool quoted = false, ends = false;
    buf_init(&cell, STORE_TEXT_MOST);
    *lines = 0;
    while (!ends) {
        char ch = rest->n ? rest->p[0] : '\n';
        bool last = rest->n == 0;
        if (!last) {
            rest->p++;
            rest->n--;
        }
        *lines += ch == '\n';
        if (quoted && last)
            break;
        if (quoted && ch == '"' && rest->n && rest->p[0] == '"') {
            buf_putc(&cell, '"');
            rest->p++;
            rest->n--;
        } else if (ch == '"' && (quoted || cell.len == 0)) {
            quoted = !quoted;
        } else if (quoted || (ch != ',' && ch != '\n')) {
            if (quoted || ch != '\r')
                buf_putc(&cell, ch);
        } else {
            json_array_append_new(cells, json_stringn(cell.data ? cell.data : "", cell.len));
            buf_clear(&cell);
            ends = ch == '\n';
        }
    }
    ends = ends && !cell.failed;
    buf_free(&cell);
    return ends;
}

static bool is_blank(const json_t *cells)
{
    return json_array_size(cells) == 0 ||
           (json_array_size(cells) == 1 && json_string_length(json_array_get(cells, 0)) == 0);
}

static void add_row(struct batch *b, int64_t line, const json_t *header, const json_t *cells)
{
    char why[128];
    size_t i;
    const json_t *name;
    json_t *j = json_object();
    if (json_array_size(cells) != json_array_size(header)) {
        (void)snprintf(why, sizeof why, "it has %zu cells, the header has %zu",
                       json_array_size(cells), json_array_size(header));
        line_error(b, line, why);
        json_decref(j);
        return;
    }
    json_array_foreach((json_t *)(uintptr_t)header, i, name)
    {
        json_object_set(j, json_string_value(name), json_array_get(cells, i));
    }
    if (!b->template && !json_is_string(json_object_get(j, "prompt")))
        line_error(b, line, "the header has no column prompt");
    else
        add_object(b, line, j);
    json_decref(j);
}

static void read_csv(struct batch *b, str rest)
{
    json_t *header = NULL;
    int64_t line = 1, lines = 0;
    while (rest.n > 0) {
        json_t *cells = json_array();
        bool whole_row = next_row(&rest, cells, &lines);
        if (!whole_row)
            line_error(b, line, "a quote is not closed, or a cell is too long");
        else if (!header && json_array_size(cells) <= COLUMNS_MOST)
            header = json_incref(cells);
        else if (!header)
            line_error(b, line, "more than 64 columns");
        else if (!is_blank(cells))
            add_row(b, line, header, cells);
        json_decref(cells);
        line += lines;
        if (!whole_row || !header)
            break;
    }
    json_decref(header);
}

static const char *format_of(const json_t *params)
{
    const char *format = text_of(params, "format"), *name = text_of(params, "name");
    const char *dot = strrchr(name, '.');
    if (*format)
        return format;
    if (dot && (strcmp(dot, ".csv") == 0 || strcmp(dot, ".txt") == 0 || strcmp(dot, ".jsonl") == 0))
        return dot + 1;
    str first = str_trim(whole(json_object_get(params, "text")));
    return first.n && first.p[0] == '{' ? "jsonl" : "txt";
}

/* ---- the job ---- */

static bool check(struct call *c, json_t *params)
{
    static const char *const known[] = {"model",  "params",   "name", "format",
                                        "system", "template", "text"};
    static const char *const texts[] = {"name", "format", "system"};
    static const size_t texts_most[] = {STORE_TITLE_MOST, 16, 64 << 10}; /* bytes */
    const char *key;
    json_t *value;
    json_object_foreach(params, key, value)
    {
        size_t i = 0;
        while (i < SP_COUNT(known) && strcmp(known[i], key) != 0)
            i++;
        if (i == SP_COUNT(known)) {
            reply_set_error(c, 400, INVALID, "params", NULL, "params: there is no %.64s", key);
            return false;
        }
    }
    for (size_t i = 0; i < SP_COUNT(texts); i++) {
        const json_t *j = json_object_get(params, texts[i]);
        if (j && !json_is_null(j) && (!json_is_string(j) || json_string_length(j) > texts_most[i]))
            return bad(c, texts[i], "must be a string, and not so long");
    }
    const json_t *t = json_object_get(params, "template");
    if (t && !json_is_null(t) && !json_is_object(t))
        return bad(c, "template", "must be an object");
    if (!json_is_string(json_object_get(params, "text")))
        return bad(c, "text", "must be a string");
    return task_common(c, params) && (!json_is_object(t) || template_check(c, t));
}

static bool tell_errors(struct batch *b)
{
    const json_t *first = json_array_get(b->errors, 0);
    char message[SP_ERROR_MAX];
    (void)snprintf(message, sizeof message, "%zu lines can't be used: line %lld: %.300s",
                   b->n_errors, (long long)json_integer_value(json_object_get(first, "line")),
                   text_of(first, "message"));
    json_t *reply = reply_error_object(INVALID, "text", "batch_invalid", message);
    json_object_set(json_object_get(reply, "error"), "lines", b->errors);
    b->c->error_code = "batch_invalid";
    reply_set_json(b->c, 400, reply);
    return false;
}

static bool read_lines(struct batch *b, struct job_work *w)
{
    const char *format = format_of(b->params);
    str text = whole(json_object_get(b->params, "text"));
    if (strcmp(format, "jsonl") == 0)
        read_jsonl(b, text);
    else if (strcmp(format, "csv") == 0)
        read_csv(b, text);
    else if (strcmp(format, "txt") == 0)
        read_txt(b, text);
    else
        return bad(b->c, "format", "must be jsonl, csv or txt");
    if (b->n_errors > 0)
        return tell_errors(b);
    size_t n = json_array_size(b->parts);
    if (n == 0)
        return bad(b->c, "text", "it has no line");
    if (n > LINES_MOST)
        return bad(b->c, "text", "it has more than 50000 lines: cut it into several");
    w->parts = json_incref(b->parts);
    w->total = (int64_t)n;
    json_object_set_new(b->params, "format", json_string(format));
    return true;
}

static bool prepare(struct call *c, json_t *params, struct job_work *w)
{
    struct batch b = {.c = c, .params = params, .parts = json_array(), .errors = json_array()};
    bool ok = check(c, params);
    const json_t *t = json_object_get(params, "template");
    b.template = json_is_object(t) ? t : NULL;
    if (ok)
        ok = read_lines(&b, w);
    if (ok && !w->title[0])
        (void)snprintf(w->title, sizeof w->title, "%.*s", STORE_TITLE_MOST,
                       text_of(params, "name"));
    json_decref(b.parts);
    json_decref(b.errors);
    json_object_del(params, "text");
    return ok;
}

static json_t *request(struct task *t, const json_t *part, sp_error *err)
{
    const json_t *params = job_params(t->j);
    const json_t *source = json_object_get(part, "source");
    json_t *r = json_copy(json_object_get(source, "request"));
    (void)err;
    if (json_is_object(json_object_get(params, "params")))
        json_object_update_missing(r, json_object_get(params, "params"));
    json_object_set(r, "model", json_object_get(params, "model"));
    return r;
}

static int run(void *arg, job_run *j, json_t **result, sp_error *err)
{
    struct task t = {
        .at_once = TASK_AT_ONCE, .priority = BATCH_PRIORITY, .tolerant = true, .request = request};
    task_open(&t, arg, j);
    int code = task_do_parts(&t, err);
    if (code == 0)
        code = task_totals(&t, result, err);
    task_close(&t);
    return code;
}

const struct page_kind batch_kind = {
    .job = {.name = "batch", .unit = "items", .at_once = 2, .resumes = true, .run = run},
    .prepare = prepare,
    .download = batch_download};

/* ---- results ---- */

static json_t *openai_result(const char *job, const json_t *part)
{
    const json_t *source = json_object_get(part, "source"),
                 *result = json_object_get(part, "result"),
                 *error = json_object_get(result, "error");
    char id[64];
    (void)snprintf(id, sizeof id, "%s-%lld", job,
                   (long long)json_integer_value(json_object_get(part, "number")));
    if (error)
        return json_pack("{s:s,s:O,s:n,s:O}", "id", id, "custom_id",
                         json_object_get(source, "custom_id"), "response", "error", error);
    json_int_t prompt = json_integer_value(json_object_get(result, "prompt_tokens")),
               answer = json_integer_value(json_object_get(result, "completion_tokens"));
    json_t *body =
        json_pack("{s:s,s:s,s:[{s:i,s:{s:s,s:O},s:O}],s:{s:I,s:I,s:I}}", "id", id, "object",
                  "chat.completion", "choices", "index", 0, "message", "role", "assistant",
                  "content", json_object_get(result, "text"), "finish_reason",
                  json_object_get(result, "finish_reason"), "usage", "prompt_tokens", prompt,
                  "completion_tokens", answer, "total_tokens", prompt + answer);
    return json_pack("{s:s,s:O,s:{s:i,s:s,s:o},s:n}", "id", id, "custom_id",
                     json_object_get(source, "custom_id"), "response", "status_code", 200,
                     "request_id", id, "body", body, "error");
}

static const json_t *last_prompt(const json_t *part)
{
    const json_t *messages =
        json_object_get(json_object_get(json_object_get(part, "source"), "request"), "messages");
    size_t n = json_array_size(messages);
    return n ? json_object_get(json_array_get(messages, n - 1), "content") : NULL;
}

static json_t *plain_result(const json_t *part)
{
    const json_t *source = json_object_get(part, "source"),
                 *result = json_object_get(part, "result");
    return json_pack(
        "{s:O,s:O*,s:O*,s:O*,s:O*,s:O*,s:O*,s:O*}", "line", json_object_get(source, "line"),
        "custom_id", json_object_get(source, "custom_id"), "prompt", last_prompt(part), "response",
        json_object_get(result, "text"), "finish_reason", json_object_get(result, "finish_reason"),
        "prompt_tokens", json_object_get(result, "prompt_tokens"), "completion_tokens",
        json_object_get(result, "completion_tokens"), "error", json_object_get(result, "error"));
}

static void add_json(buf *out, const char *job, const json_t *part)
{
    bool openai = json_object_get(json_object_get(part, "source"), "openai") != NULL;
    json_t *j = openai ? openai_result(job, part) : plain_result(part);
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    buf_puts(out, text ? text : "{}");
    buf_puts(out, "\n");
    free(text); /* lib-owned: jansson's */
    json_decref(j);
}

/* Always in quotes; what a spreadsheet would take for a formula stays text. */
static void add_cell(buf *out, const json_t *value, const char *end)
{
    const char *p = json_string_value(value);
    size_t n = json_string_length(value);
    buf_putc(out, '"');
    if (json_is_integer(value))
        buf_printf(out, "%lld", (long long)json_integer_value(value));
    if (n && strchr("=+-@\t\r", p[0]))
        buf_putc(out, '\'');
    for (size_t i = 0; i < n; i++) {
        if (p[i] == '"')
            buf_putc(out, '"');
        if (p[i])
            buf_putc(out, p[i]);
    }
    buf_printf(out, "\"%s", end);
}

static void add_csv(buf *out, const char *job, const json_t *part)
{
    const json_t *source = json_object_get(part, "source"),
                 *result = json_object_get(part, "result");
    (void)job;
    add_cell(out, json_object_get(source, "line"), ",");
    add_cell(out, json_object_get(source, "custom_id"), ",");
    add_cell(out, last_prompt(part), ",");
    add_cell(out, json_object_get(result, "text"), ",");
    add_cell(out, json_object_get(result, "finish_reason"), ",");
    add_cell(out, json_object_get(json_object_get(result, "error"), "message"), "\r\n");
}

static int write_lines(struct call *c, const char *id, bool csv, buf *out, sp_error *err)
{
    struct store_part_query q = {.limit = STORE_PAGE_MOST};
    size_t n = STORE_PAGE_MOST;
    int code = 0;
    while (code == 0 && n == STORE_PAGE_MOST) {
        json_t *list = NULL, *part;
        size_t i;
        code = store_parts(c->s->history->store, id, &q, &list, err);
        n = json_array_size(list);
        json_array_foreach(list, i, part)
        {
            if (!json_is_null(json_object_get(part, "result")))
                (csv ? add_csv : add_json)(out, id, part);
        }
        q.from += (int64_t)n;
        json_decref(list);
    }
    return code == 0 && out->failed ? sp_fail(err, SP_ENOMEM, "out of memory") : code;
}

void batch_download(struct call *c, const json_t *job)
{
    const char *format = page_query(c, "format");
    bool csv = format && strcmp(format, "csv") == 0;
    sp_error err = {0};
    buf out;
    if (format && !csv && strcmp(format, "jsonl") != 0) {
        (void)bad(c, "format", "must be jsonl or csv");
        return;
    }
    buf_init(&out, FILE_MAX);
    buf_puts(&out, csv ? "line,custom_id,prompt,response,finish_reason,error\r\n" : "");
    int code = write_lines(c, json_string_value(json_object_get(job, "id")), csv, &out, &err);
    if (code < 0) {
        page_fail(c, &err);
    } else {
        c->reply_name = csv ? "attachment; filename=\"sampan-batch.csv\""
                            : "attachment; filename=\"sampan-batch.jsonl\"";
        reply_set_text(c, csv ? "text/csv; charset=utf-8" : "application/jsonl; charset=utf-8",
                       buf_steal(&out));
    }
    buf_free(&out);
}
