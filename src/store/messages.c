/* Messages: a tree in each chat, and texts that grow. */
#include <string.h>
#include "store/store_int.h"

static int check_message(const json_t *fields, sp_error *err)
{
    const json_t *role = json_object_get(fields, "role"),
                 *content = json_object_get(fields, "content"), *id = json_object_get(fields, "id"),
                 *parent = json_object_get(fields, "parent");
    const char *r = json_string_value(role);
    if (!r || (strcmp(r, "user") != 0 && strcmp(r, "assistant") != 0))
        return sp_fail(err, SP_EINVAL, "role: must be user or assistant");
    if (!json_is_string(content) || json_string_length(content) > STORE_TEXT_MOST)
        return sp_fail(err, SP_EINVAL, "content: must be a string of at most 32 MiB");
    if (id && !json_is_null(id) && !store_id_sound(json_string_value(id), 'm'))
        return sp_fail(err, SP_EINVAL,
                       "id: must be m_ and 26 characters of a-z and 2-7, or left out");
    if (parent && !json_is_null(parent) && !store_id_sound(json_string_value(parent), 'm'))
        return sp_fail(err, SP_EINVAL, "parent: must be null or a message's id");
    return 0;
}

static int message_by_seq(struct conn *c, int64_t seq, json_t **out, sp_error *err)
{
    sqlite3_stmt *st =
        db_query(c, err, "SELECT " MESSAGE_COLUMNS MESSAGE_FROM "WHERE m.seq = ?1", "i", seq);
    int code = st ? db_step(c, st, err) : db_failed(err);
    if (code == 1) {
        *out = message_json(st);
        code = *out ? 0 : sp_fail(err, SP_ENOMEM, "out of memory");
    } else if (code == 0) {
        code = sp_fail(err, SP_ENOTFOUND, "there is no such message");
    }
    db_done(st);
    return code;
}

/* ---- adding ---- */

/* *parent: 0 for none. */
static int find_parent(struct conn *c, int64_t owner, int64_t chat, const json_t *j,
                       int64_t *parent, sp_error *err)
{
    int64_t its_chat = chat;
    *parent = 0;
    if (!json_is_string(j))
        return 0;
    int code = message_find(c, owner, json_string_value(j), parent, &its_chat, err);
    if (code == SP_ENOTFOUND)
        return sp_fail(err, SP_EINVAL, "parent: there is no message %.64s", json_string_value(j));
    if (code == 0 && its_chat != chat)
        return sp_fail(err, SP_EINVAL, "parent: this message is in another chat");
    return code;
}

static bool same_text(const json_t *a, const json_t *b)
{
    return json_is_null(a) || !a ? json_is_null(b) || !b : json_equal(a, b);
}

/* The message with the id that fields ask for, when there is one: it must be what would be added now. */
static int already(struct conn *c, int64_t owner, const char *chat, const json_t *fields,
                   json_t **out, sp_error *err)
{
    int64_t seq = 0, its_chat = 0;
    int code = message_find(c, owner, json_string_value(json_object_get(fields, "id")), &seq,
                            &its_chat, err);
    if (code == 0)
        code = message_by_seq(c, seq, out, err);
    if (code < 0)
        return code;
    bool user = strcmp(json_string_value(json_object_get(fields, "role")), "user") == 0;
    bool same =
        strcmp(json_string_value(json_object_get(*out, "chat")), chat) == 0 &&
        same_text(json_object_get(fields, "parent"), json_object_get(*out, "parent")) &&
        same_text(json_object_get(fields, "role"), json_object_get(*out, "role")) &&
        (!user || same_text(json_object_get(fields, "content"), json_object_get(*out, "content")));
    if (same)
        return 0;
    json_decref(*out);
    *out = NULL;
    return sp_fail(err, SP_EFULL, "id: another message has it already");
}

static int id_taken(struct conn *c, const char *id, sp_error *err)
{
    int64_t there = 0;
    int code = id ? db_number(c, &there, err, "SELECT 1 FROM messages WHERE id = ?1", "s", id)
                  : SP_ENOTFOUND;
    return code == SP_ENOTFOUND ? 0 : code < 0 ? code : 1;
}

/* A chat that nobody gave a title has that of its first question. */
static int give_title(struct conn *c, int64_t chat, const json_t *content, sp_error *err)
{
    char title[STORE_TITLE_MOST + 1];
    store_title_from(json_string_value(content), json_string_length(content), title);
    return db_run(c, err,
                  "UPDATE chats SET title = ?1 WHERE seq = ?2 AND titled = 0 AND title = ''", "si",
                  title, chat);
}

static int add(struct conn *c, int64_t owner, const char *chat, const json_t *fields, json_t **out,
               sp_error *err)
{
    char made[STORE_ID_BYTES];
    const char *id = json_string_value(json_object_get(fields, "id")),
               *state = json_string_value(json_object_get(fields, "state"));
    const json_t *content = json_object_get(fields, "content");
    int64_t seq = 0, now = now_micros();
    struct new_message n = {.id = id ? id : made,
                            .role = json_string_value(json_object_get(fields, "role")),
                            .state = state ? state : "complete",
                            .model = json_string_value(json_object_get(fields, "model")),
                            .content = {json_string_value(content), json_string_length(content)},
                            .at = now};
    store_id_new('m', made);
    int code = chat_find(c, owner, chat, &n.chat, err);
    if (code == 0)
        code = find_parent(c, owner, n.chat, json_object_get(fields, "parent"), &n.parent, err);
    if (code == 0)
        code = message_insert(c, owner, &n, &seq, err);
    if (code == 0 && strcmp(n.role, "user") == 0)
        code = give_title(c, n.chat, content, err);
    if (code == 0)
        code = db_run(c, err, "UPDATE chats SET head = ?1, updated = ?2 WHERE seq = ?3", "iii", seq,
                      now, n.chat);
    return code == 0 ? message_by_seq(c, seq, out, err) : code;
}

int store_message_add(store *s, int64_t owner, const char *chat, const json_t *fields, json_t **out,
                      bool *added, sp_error *err)
{
    struct conn *c = NULL;
    int code = check_message(fields, err);
    *out = NULL;
    if (code == 0)
        code = db_write(s, &c, err);
    int taken =
        code == 0 ? id_taken(c, json_string_value(json_object_get(fields, "id")), err) : code;
    if (taken != 0)
        code = taken < 0 ? taken : already(c, owner, chat, fields, out, err);
    else
        code = add(c, owner, chat, fields, out, err);
    code = db_written(c, code, err);
    if (added)
        *added = taken == 0;
    if (code < 0) {
        json_decref(*out);
        *out = NULL;
    }
    return code;
}

/* ---- reading ---- */

int store_message(store *s, int64_t owner, const char *id, json_t **out, sp_error *err)
{
    int64_t seq = 0, chat = 0;
    struct conn *c = db_take_reader(s);
    int code = message_find(c, owner, id, &seq, &chat, err);
    if (code == 0)
        code = message_by_seq(c, seq, out, err);
    db_give(c);
    return code;
}

int store_branch(store *s, int64_t owner, const char *id, json_t **out, sp_error *err)
{
    int64_t seq = 0, chat = 0;
    struct conn *c = db_take_reader(s);
    json_t *list = json_array();
    int code = message_find(c, owner, id, &seq, &chat, err);
    sqlite3_stmt *st =
        code < 0 ? NULL
                 : db_query(c, err,
                            "WITH RECURSIVE up(seq) AS (SELECT ?1 UNION ALL SELECT m.parent FROM up"
                            " JOIN messages m ON m.seq = up.seq WHERE m.parent IS NOT NULL)"
                            "SELECT " MESSAGE_COLUMNS MESSAGE_FROM
                            "WHERE m.seq IN (SELECT seq FROM up) ORDER BY m.seq",
                            "i", seq);
    if (code == 0)
        code = st ? 0 : db_failed(err);
    while (st && (code = db_step(c, st, err)) == 1)
        if (json_array_append_new(list, message_json(st)) != 0) {
            code = sp_fail(err, SP_ENOMEM, "out of memory");
            break;
        }
    db_done(st);
    db_give(c);
    if (code == 0)
        *out = list;
    else
        json_decref(list);
    return code;
}

/* ---- changing ---- */

static int touch(struct conn *c, int64_t chat, sp_error *err)
{
    return db_run(c, err, "UPDATE chats SET updated = ?1 WHERE seq = ?2", "ii", now_micros(), chat);
}

int store_message_edit(store *s, int64_t owner, const char *id, const char *content, json_t **out,
                       sp_error *err)
{
    int64_t seq = 0, chat = 0;
    if (strlen(content) > STORE_TEXT_MOST)
        return sp_fail(err, SP_EINVAL, "content: must be a string of at most 32 MiB");
    struct conn *c;
    int code = db_write(s, &c, err);
    if (code == 0)
        code = message_find(c, owner, id, &seq, &chat, err);
    if (code == 0)
        code =
            db_run(c, err, "UPDATE messages SET content = ?1 WHERE seq = ?2", "si", content, seq);
    if (code == 0)
        code = touch(c, chat, err);
    if (code == 0)
        code = message_by_seq(c, seq, out, err);
    return db_written(c, code, err);
}

int store_message_reopen(store *s, int64_t owner, const char *id, json_t **out, sp_error *err)
{
    int64_t seq = 0, chat = 0, running = 0;
    struct conn *c;
    int code = db_write(s, &c, err);
    if (code == 0)
        code = message_find(c, owner, id, &seq, &chat, err);
    if (code == 0)
        code = db_number(c, &running, err,
                         "SELECT state IN ('queued', 'streaming') FROM messages WHERE seq = ?1",
                         "i", seq);
    if (code == 0 && running)
        code = sp_fail(err, SP_EFULL, "this message is being written already");
    if (code == 0)
        code = db_run(c, err,
                      "UPDATE messages SET state = 'queued', error = NULL, finish_reason = NULL, "
                      "usage = NULL,"
                      " timings = NULL WHERE seq = ?1",
                      "i", seq);
    if (code == 0)
        code = db_run(c, err, "UPDATE chats SET head = ?1, updated = ?2 WHERE seq = ?3", "iii", seq,
                      now_micros(), chat);
    if (code == 0)
        code = message_by_seq(c, seq, out, err);
    return db_written(c, code, err);
}

/* ---- texts that grow ---- */

static int save_text(struct conn *c, struct store_text *t, sp_error *err)
{
    int code =
        t->ended
            ? db_run(c, err,
                     "UPDATE messages SET content = ?1, reasoning = ?2, state = ?3, finish_reason "
                     "= ?4,"
                     " error = ?5, usage = ?6, timings = ?7 WHERE id = ?8",
                     "ttssjjjs", t->content.p, t->content.n, t->reasoning.p, t->reasoning.n,
                     t->state, t->finish_reason, t->error, t->usage, t->timings, t->message)
            : db_run(c, err,
                     "UPDATE messages SET content = ?1, reasoning = ?2, state = ?3 WHERE id = ?4",
                     "ttss", t->content.p, t->content.n, t->reasoning.p, t->reasoning.n, t->state,
                     t->message);
    if (code < 0)
        return code;
    t->lost = sqlite3_changes(c->db) == 0;
    if (!t->ended || t->lost)
        return 0;
    return db_run(
        c, err,
        "UPDATE chats SET updated = ?1 WHERE seq = (SELECT chat FROM messages WHERE id = ?2)", "is",
        now_micros(), t->message);
}

int store_texts(store *s, struct store_text *texts, size_t n, sp_error *err)
{
    struct conn *c;
    int code = db_write(s, &c, err);
    for (size_t i = 0; i < n && code == 0; i++)
        code = save_text(c, &texts[i], err);
    return db_written(c, code, err);
}
