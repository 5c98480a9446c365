/* What came of a job of texts as a file: the texts of its parts joined, or source and result side by side. */
#include <string.h>
#include "server/task_int.h"

#define FILE_MAX ((size_t)300 << 20)

static str field(const json_t *j, const char *name)
{
    const json_t *text = json_object_get(j, name);
    return (str){json_string_value(text), json_string_length(text)};
}

static void add(buf *out, str text)
{
    for (size_t i = 0; i < text.n; i++) /* what is sent ends at a NUL */
        if (text.p[i])
            buf_putc(out, text.p[i]);
}

static bool is_role(const json_t *part, const char *role)
{
    return str_eqz(field(json_object_get(part, "source"), "role"), role);
}

/* A part that has nothing yet stands as its source, marked. */
static void add_part(buf *out, const json_t *part)
{
    const json_t *source = json_object_get(part, "source"),
                 *result = json_object_get(part, "result");
    add(out, field(source, "before"));
    if (json_is_null(result))
        buf_printf(out, "[... %lld ...]",
                   (long long)json_integer_value(json_object_get(part, "number")) + 1);
    else
        add(out, task_trim(field(result, "text")));
    add(out, field(source, "after"));
}

static void add_quoted(buf *out, str text)
{
    buf_puts(out, "> ");
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i])
            buf_putc(out, text.p[i]);
        if (text.p[i] == '\n')
            buf_puts(out, "> ");
    }
    buf_puts(out, "\n\n");
}

/* Each source as a quotation before what came of it. */
static void add_side(buf *out, const json_t *part)
{
    const json_t *source = json_object_get(part, "source");
    str text = field(source, "text");
    if (text.n)
        add_quoted(out, text);
    add(out, task_trim(field(json_object_get(part, "result"), "text")));
    buf_puts(out, "\n\n");
}

struct reader {
    buf *out;
    void (*each)(buf *out, const json_t *part);
    const char *role; /* NULL: all */
};

static int each_part(struct call *c, const char *id, const struct reader *r, sp_error *err)
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
            if (!r->role || is_role(part, r->role))
                r->each(r->out, part);
        }
        q.from += (int64_t)n;
        json_decref(list);
    }
    return code == 0 && r->out->failed ? sp_fail(err, SP_ENOMEM, "out of memory") : code;
}

static void add_title(buf *out, const json_t *job)
{
    buf_puts(out, "# ");
    add(out, field(job, "title"));
    buf_puts(out, "\n\n");
}

void task_download(struct call *c, const json_t *job)
{
    const char *format = page_query(c, "format");
    const char *id = json_string_value(json_object_get(job, "id"));
    bool side = format && strcmp(format, "md") == 0;
    sp_error err = {0};
    buf out;
    if (format && !side && strcmp(format, "txt") != 0) {
        reply_set_error(c, 400, "invalid_request_error", "format", NULL,
                        "format: must be txt or md");
        return;
    }
    buf_init(&out, FILE_MAX);
    buf_puts(&out, "");
    if (side)
        add_title(&out, job);
    struct reader r = {.out = &out, .each = side ? add_side : add_part, .role = "final"};
    size_t before = out.len;
    int code = each_part(c, id, &r, &err);
    r.role = "segment";
    if (code == 0 && out.len == before)
        code = each_part(c, id, &r, &err);
    if (code < 0) {
        page_fail(c, &err);
    } else if (out.len == before) {
        reply_set_error(c, 409, "invalid_request_error", NULL, "conflict",
                        "this job has no result yet");
    } else {
        c->reply_name = side ? "attachment; filename=\"sampan-result.md\""
                             : "attachment; filename=\"sampan-result.txt\"";
        reply_set_text(c, side ? "text/markdown; charset=utf-8" : "text/plain; charset=utf-8",
                       buf_steal(&out));
    }
    buf_free(&out);
}
