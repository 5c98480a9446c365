/* GET /api/export and POST /api/import: chats as files. On a worker. */
#include <string.h>
#include "server/page_int.h"

#define INVALID "invalid_request_error"
#define EXPORT_MAX ((size_t)256 << 20)

struct export
{
    buf out;
    int (*write)(const json_t *chat, buf *out);
};

static int put_chat(void *arg, const json_t *chat, sp_error *err)
{
    struct export *e = arg;
    int code = e->write(chat, &e->out);
    if (code == SP_EFULL)
        return sp_fail(
            err, SP_EINVAL,
            "all: the chats have more than %zu MiB: `sampan db export` writes them to a file",
            EXPORT_MAX >> 20);
    return code < 0 ? sp_fail(err, code, "out of memory") : 0;
}

static bool read_query(struct call *c, const char **chat, bool *markdown)
{
    const char *format = page_query(c, "format");
    int64_t all = 0;
    *chat = page_query(c, "chat");
    *markdown = format && strcmp(format, "md") == 0;
    if (!page_query_int(c, "all", 0, 1, &all))
        return false;
    if (format && !*markdown && strcmp(format, "jsonl") != 0) {
        reply_set_error(c, 400, INVALID, "format", NULL, "format: must be jsonl or md");
        return false;
    }
    if ((*chat != NULL) == (all == 1)) {
        reply_set_error(c, 400, INVALID, "chat", NULL, "chat: give the id of a chat, or all=1");
        return false;
    }
    return true;
}

void api_export(struct call *c)
{
    const char *chat;
    bool markdown;
    sp_error err = {0};
    store *s = history_of(c);
    if (!s || !read_query(c, &chat, &markdown))
        return;
    struct export e = {.write = markdown ? store_write_markdown : store_write_jsonl};
    buf_init(&e.out, EXPORT_MAX);
    buf_puts(&e.out, "");
    int code = store_each(s, c->owner, chat, put_chat, &e, &err);
    if (code < 0) {
        page_fail(c, &err);
    } else {
        c->reply_name = markdown ? "attachment; filename=\"sampan-chats.md\""
                                 : "attachment; filename=\"sampan-chats.jsonl\"";
        reply_set_text(
            c, markdown ? "text/markdown; charset=utf-8" : "application/jsonl; charset=utf-8",
            buf_steal(&e.out));
    }
    buf_free(&e.out);
}

void api_import(struct call *c)
{
    struct store_imported in = {0};
    sp_error err = {0};
    store *s = history_of(c);
    if (!s)
        return;
    if (store_import(s, c->owner, c->body, c->n_body, &in, &err) < 0) {
        page_fail(c, &err);
        json_decref(in.skipped);
        return;
    }
    if (in.chats > 0)
        events_publish(c->s, c->owner, "reset", json_object());
    reply_set_json(c, 200,
                   json_pack("{s:I,s:I,s:o}", "chats", (json_int_t)in.chats, "messages",
                             (json_int_t)in.messages, "skipped",
                             in.skipped ? in.skipped : json_array()));
}
