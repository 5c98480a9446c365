/* Chats going out: one after the other, each read at one moment, as lines of JSON or as Markdown. */
#include <stdlib.h>
#include <string.h>
#include "store/store_int.h"

static int whole_chat(struct conn *c, int64_t seq, json_t **out, sp_error *err)
{
    json_t *chat = NULL, *messages = NULL;
    int code = chat_by_seq(c, seq, &chat, err);
    if (code == 0)
        code = messages_of(c, seq, &messages, err);
    if (code < 0) {
        json_decref(chat);
        return code;
    }
    *out = json_pack("{s:i,s:o,s:o}", "sampan", 1, "chat", chat, "messages", messages);
    return *out ? files_of_chat(c, seq, *out, err) : sp_fail(err, SP_ENOMEM, "out of memory");
}

/* The chat after `seq`, whole; *end: there is none. */
static int next_chat(struct conn *c, int64_t owner, int64_t *seq, bool *end, json_t **out,
                     sp_error *err)
{
    int code = db_number(c, seq, err,
                         "SELECT seq FROM chats WHERE owner = ?1 AND seq > ?2 AND deleted IS NULL "
                         "ORDER BY seq LIMIT 1",
                         "ii", owner, *seq);
    *end = code == SP_ENOTFOUND;
    return *end || code < 0 ? (*end ? 0 : code) : whole_chat(c, *seq, out, err);
}

/* The one with that id, or the next one after `seq`, as it is at one moment. The caller's, also on failure. */
static int read_chat(store *s, int64_t owner, const char *id, int64_t *seq, bool *end, json_t **out,
                     sp_error *err)
{
    struct conn *c = db_take_reader(s);
    *out = NULL;
    *end = false;
    int code = db_run(c, err, "BEGIN", "");
    if (code == 0 && id)
        code = chat_find(c, owner, id, seq, err);
    if (code == 0)
        code = id ? whole_chat(c, *seq, out, err) : next_chat(c, owner, seq, end, out, err);
    code = db_end(c, code, err);
    db_give(c);
    return code;
}

int store_each(store *s, int64_t owner, const char *id, store_chat_fn each, void *arg,
               sp_error *err)
{
    int64_t seq = INT64_MIN;
    bool end = false;
    int code = 0;
    while (code == 0 && !end) {
        json_t *chat = NULL;
        code = read_chat(s, owner, id, &seq, &end, &chat, err);
        if (code == 0 && !end)
            code = each(arg, chat, err);
        json_decref(chat);
        end |= id != NULL;
    }
    return code;
}

int store_write_jsonl(const json_t *chat, buf *out)
{
    char *text = json_dumps(chat, JSON_COMPACT);
    if (!text)
        return SP_ENOMEM;
    buf_puts(out, text);
    buf_putc(out, '\n');
    free(text); /* lib-owned: jansson's */
    return out->failed ? out->code : 0;
}

static const json_t *message_called(const json_t *messages, const char *id)
{
    size_t i;
    const json_t *m;
    json_array_foreach(messages, i, m)
    {
        const char *its = json_string_value(json_object_get(m, "id"));
        if (id && its && strcmp(its, id) == 0)
            return m;
    }
    return NULL;
}

/* The branch that is shown, from its root. The caller's. */
static json_t *branch_shown(const json_t *chat, const json_t *messages)
{
    json_t *branch = json_array();
    size_t n = json_array_size(messages);
    const json_t *m = message_called(messages, json_string_value(json_object_get(chat, "head")));
    for (; m && json_array_size(branch) < n;
         m = message_called(messages, json_string_value(json_object_get(m, "parent"))))
        json_array_insert(branch, 0, (json_t *)(uintptr_t)m);
    return branch;
}

/* Their names: the texts are in lines of JSON. */
static void put_files(const json_t *files, buf *out)
{
    size_t i;
    const json_t *f;
    json_array_foreach(files, i, f)
    {
        buf_printf(out, "%s%s",
                   i ? ", " : "*Files: ", json_string_value(json_object_get(f, "name")));
    }
    if (json_array_size(files) > 0)
        buf_puts(out, "*\n\n");
}

int store_write_markdown(const json_t *whole, buf *out)
{
    const json_t *chat = json_object_get(whole, "chat");
    const char *title = json_string_value(json_object_get(chat, "title")),
               *system = json_string_value(json_object_get(chat, "system"));
    json_t *branch = branch_shown(chat, json_object_get(whole, "messages"));
    size_t i;
    const json_t *m;
    buf_printf(out, "# %s\n\n", title && *title ? title : "(no title)");
    if (system && *system)
        buf_printf(out, "**System**\n\n%s\n\n", system);
    json_array_foreach(branch, i, m)
    {
        const char *model = json_string_value(json_object_get(m, "model"));
        bool user = strcmp(json_string_value(json_object_get(m, "role")), "user") == 0;
        buf_printf(out, "**%s%s%s%s**\n\n", user ? "User" : "Assistant", model ? " (" : "",
                   model ? model : "", model ? ")" : "");
        put_files(json_object_get(m, "attachments"), out);
        buf_puts(out, json_string_value(json_object_get(m, "content")));
        buf_puts(out, "\n\n");
    }
    json_decref(branch);
    return out->failed ? out->code : 0;
}
