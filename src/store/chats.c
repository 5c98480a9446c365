/* Chats: made, read, changed, marked as deleted, removed; and the list of them by time. Searching is in search.c. */
#include <stdio.h>
#include <string.h>
#include "store/store_int.h"

#define FOLDER_MOST 200
#define NAME_MOST 300
#define SYSTEM_MOST ((size_t)1 << 20)

/* ---- fields ---- */

static int bad(sp_error *err, const char *name, const char *want)
{
    return sp_fail(err, SP_EINVAL, "%s: must be %s", name, want);
}

static bool text_ok(const json_t *j, bool or_null, size_t most)
{
    return (or_null && json_is_null(j)) || (json_is_string(j) && json_string_length(j) <= most);
}

static int check_field(const char *name, const json_t *j, bool change, sp_error *err)
{
    if (strcmp(name, "title") == 0)
        return text_ok(j, false, STORE_TITLE_MOST)
                   ? 0
                   : bad(err, name, "a string of at most 400 bytes");
    if (strcmp(name, "folder") == 0)
        return text_ok(j, true, FOLDER_MOST) && !(json_is_string(j) && json_string_length(j) == 0)
                   ? 0
                   : bad(err, name, "null or a string of 1 to 200 bytes");
    if (strcmp(name, "pinned") == 0)
        return json_is_boolean(j) ? 0 : bad(err, name, "true or false");
    if (strcmp(name, "model") == 0)
        return text_ok(j, true, NAME_MOST)
                   ? 0
                   : bad(err, name, "null or a string of at most 300 bytes");
    if (strcmp(name, "system") == 0)
        return text_ok(j, false, SYSTEM_MOST) ? 0 : bad(err, name, "a string of at most 1 MiB");
    if (strcmp(name, "params") == 0)
        return json_is_object(j) ? 0 : bad(err, name, "an object");
    if (strcmp(name, "head") == 0 && change)
        return json_is_null(j) || store_id_sound(json_string_value(j), 'm')
                   ? 0
                   : bad(err, name, "null or a message's id");
    return sp_fail(err, SP_EINVAL, "%.64s: a chat has no such field", name);
}

static int check_fields(const json_t *fields, bool change, sp_error *err)
{
    const char *name;
    json_t *j;
    int code = 0;
    json_object_foreach((json_t *)(uintptr_t)fields, name, j)
    {
        if (code == 0)
            code = check_field(name, j, change, err);
    }
    return code;
}

int store_chat_add(store *s, int64_t owner, const json_t *fields, json_t **out, sp_error *err)
{
    char id[STORE_ID_BYTES];
    int64_t seq = 0, now = now_micros();
    const char *title = json_string_value(json_object_get(fields, "title"));
    struct new_chat n = {.id = id,
                         .title = title,
                         .titled = title && *title,
                         .folder = json_string_value(json_object_get(fields, "folder")),
                         .pinned = json_is_true(json_object_get(fields, "pinned")),
                         .model = json_string_value(json_object_get(fields, "model")),
                         .system = json_string_value(json_object_get(fields, "system")),
                         .params = json_object_get(fields, "params"),
                         .at = now,
                         .updated = now};
    struct conn *c = NULL;
    int code = check_fields(fields, false, err);
    store_id_new('c', id);
    if (code == 0)
        code = db_write(s, &c, err);
    if (code == 0)
        code = chat_insert(c, owner, &n, &seq, err);
    if (code == 0)
        code = chat_by_seq(c, seq, out, err);
    return db_written(c, code, err);
}

static int set_head(struct conn *c, int64_t owner, int64_t chat, const json_t *j, sp_error *err)
{
    int64_t head = 0, its_chat = chat;
    int code =
        json_is_string(j) ? message_find(c, owner, json_string_value(j), &head, &its_chat, err) : 0;
    if (code == 0 && its_chat != chat)
        code = sp_fail(err, SP_EINVAL, "head: this message is in another chat");
    return code == 0 ? db_run(c, err, "UPDATE chats SET head = ?1 WHERE seq = ?2", "ki", head, chat)
                     : code;
}

static int set_field(struct conn *c, int64_t owner, int64_t chat, const char *name, const json_t *j,
                     sp_error *err)
{
    const char *text = json_string_value(j);
    if (strcmp(name, "title") == 0)
        return db_run(c, err, "UPDATE chats SET title = ?1, titled = ?2 WHERE seq = ?3", "sii",
                      text, (int64_t)(text[0] != '\0'), chat);
    if (strcmp(name, "folder") == 0)
        return db_run(c, err, "UPDATE chats SET folder = ?1 WHERE seq = ?2", "si", text, chat);
    if (strcmp(name, "pinned") == 0)
        return db_run(c, err, "UPDATE chats SET pinned = ?1 WHERE seq = ?2", "ii",
                      (int64_t)json_is_true(j), chat);
    if (strcmp(name, "model") == 0)
        return db_run(c, err, "UPDATE chats SET model = ?1 WHERE seq = ?2", "si", text, chat);
    if (strcmp(name, "system") == 0)
        return db_run(c, err, "UPDATE chats SET system = ?1 WHERE seq = ?2", "si", text, chat);
    if (strcmp(name, "params") == 0)
        return db_run(c, err, "UPDATE chats SET params = ?1 WHERE seq = ?2", "ji", j, chat);
    return set_head(c, owner, chat, j, err);
}

static int change_fields(struct conn *c, int64_t owner, const char *id, const json_t *fields,
                         json_t **out, sp_error *err)
{
    int64_t seq = 0;
    const char *name;
    json_t *j;
    int code = chat_find(c, owner, id, &seq, err);
    json_object_foreach((json_t *)(uintptr_t)fields, name, j)
    {
        if (code == 0)
            code = set_field(c, owner, seq, name, j, err);
    }
    return code == 0 ? chat_by_seq(c, seq, out, err) : code;
}

int store_chat_change(store *s, int64_t owner, const char *id, const json_t *fields, json_t **out,
                      sp_error *err)
{
    struct conn *c = NULL;
    int code = check_fields(fields, true, err);
    *out = NULL;
    if (code == 0)
        code = db_write(s, &c, err);
    if (code == 0)
        code = change_fields(c, owner, id, fields, out, err);
    code = db_written(c, code, err);
    if (code < 0) {
        json_decref(*out);
        *out = NULL;
    }
    return code;
}

int store_chat(store *s, int64_t owner, const char *id, bool messages, json_t **out, sp_error *err)
{
    int64_t seq = 0;
    json_t *list = NULL;
    struct conn *c = db_take_reader(s);
    *out = NULL;
    int code = db_run(c, err, "BEGIN", ""); /* chat and messages of one moment */
    if (code == 0)
        code = chat_find(c, owner, id, &seq, err);
    if (code == 0)
        code = chat_by_seq(c, seq, out, err);
    if (code == 0 && messages)
        code = messages_of(c, seq, &list, err);
    if (code == 0 && messages && json_object_set_new(*out, "messages", list) != 0)
        code = sp_fail(err, SP_ENOMEM, "out of memory");
    code = db_end(c, code, err);
    db_give(c);
    if (code < 0) {
        json_decref(*out);
        *out = NULL;
    }
    return code;
}

int store_chat_mark(store *s, int64_t owner, const char *id, bool deleted, json_t **out,
                    sp_error *err)
{
    int64_t seq = 0;
    struct conn *c;
    int code = db_write(s, &c, err);
    if (code == 0)
        code = chat_find(c, owner, id, &seq, err);
    if (code == 0 && deleted)
        code = db_run(c, err, "UPDATE chats SET deleted = ?1 WHERE seq = ?2 AND deleted IS NULL",
                      "ii", now_micros(), seq);
    else if (code == 0)
        code = db_run(c, err, "UPDATE chats SET deleted = NULL WHERE seq = ?1", "i", seq);
    if (code == 0)
        code = chat_by_seq(c, seq, out, err);
    return db_written(c, code, err);
}

int store_chat_remove(store *s, int64_t owner, const char *id, sp_error *err)
{
    int64_t seq = 0;
    struct conn *c;
    int code = db_write(s, &c, err);
    if (code == 0)
        code = chat_find(c, owner, id, &seq, err);
    if (code == 0)
        code = db_run(c, err, "DELETE FROM chats WHERE seq = ?1", "i", seq);
    return db_written(c, code, err);
}

int store_purge(store *s, double seconds, json_t **gone, sp_error *err)
{
    struct conn *c;
    int code = db_write(s, &c, err);
    json_t *list = json_array();
    int64_t before = now_micros() - (int64_t)(seconds * 1e6);
    sqlite3_stmt *st =
        code < 0
            ? NULL
            : db_query(c, err,
                       "DELETE FROM chats WHERE seq IN (SELECT seq FROM chats WHERE deleted < ?1"
                       " ORDER BY deleted LIMIT ?2) RETURNING id, owner",
                       "ii", before, (int64_t)STORE_PURGED_AT_ONCE);
    if (code == 0)
        code = st ? 0 : db_failed(err);
    while (st && (code = db_step(c, st, err)) == 1)
        json_array_append_new(list,
                              json_pack("{s:s,s:I}", "id", (const char *)sqlite3_column_text(st, 0),
                                        "owner", (json_int_t)sqlite3_column_int64(st, 1)));
    db_done(st);
    code = db_written(c, code, err);
    if (code == 0)
        *gone = list;
    else
        json_decref(list);
    return code;
}

int store_folders(store *s, int64_t owner, json_t **out, sp_error *err)
{
    struct conn *c = db_take_reader(s);
    json_t *list = json_array();
    sqlite3_stmt *st =
        db_query(c, err,
                 "SELECT DISTINCT folder FROM chats WHERE owner = ?1 AND deleted IS NULL"
                 " AND folder IS NOT NULL ORDER BY folder",
                 "i", owner);
    int code = st ? 0 : db_failed(err);
    while (st && (code = db_step(c, st, err)) == 1)
        json_array_append_new(list, json_string((const char *)sqlite3_column_text(st, 0)));
    db_done(st);
    db_give(c);
    if (code == 0)
        *out = list;
    else
        json_decref(list);
    return code;
}
