/* Rows as JSON, and what chats and messages need both. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "base/rng.h"
#include "base/sha256.h"
#include "store/store_int.h"

#define ID_BYTES 16

/* ---- ids ---- */

static void spell(char kind, const uint8_t bytes[ID_BYTES], char out[STORE_ID_BYTES])
{
    static const char digits[] = "abcdefghijklmnopqrstuvwxyz234567";
    uint32_t bits = 0;
    int n_bits = 0;
    size_t at = 0;
    out[at++] = kind;
    out[at++] = '_';
    for (size_t i = 0; i < ID_BYTES; i++) {
        bits = bits << 8 | bytes[i];
        for (n_bits += 8; n_bits >= 5; n_bits -= 5)
            out[at++] = digits[bits >> (n_bits - 5) & 31];
    }
    out[at++] = digits[bits << (5 - n_bits) & 31];
    out[at] = '\0';
}

void store_id_new(char kind, char out[STORE_ID_BYTES])
{
    uint64_t words[ID_BYTES / 8];
    uint8_t bytes[ID_BYTES];
    for (size_t i = 0; i < SP_COUNT(words); i++)
        words[i] = rng_seed();
    memcpy(bytes, words, sizeof bytes);
    spell(kind, bytes, out);
}

int store_id_from(char kind, const void *bytes, size_t n, char out[STORE_ID_BYTES])
{
    uint8_t half[ID_BYTES];
    char hex[65] = "";
    sha256 *h = sha256_new();
    if (h) {
        sha256_add(h, bytes, n);
        sha256_hex(h, hex);
    }
    sha256_free(h);
    if (!hex[0])
        return SP_ENOMEM;
    for (size_t i = 0; i < ID_BYTES; i++) {
        unsigned two = 0;
        (void)sscanf(hex + 2 * i, "%2x", &two);
        half[i] = (uint8_t)two;
    }
    spell(kind, half, out);
    return 0;
}

bool store_id_sound(const char *id, char kind)
{
    if (!id || strlen(id) != STORE_ID_BYTES - 1 || id[0] != kind || id[1] != '_')
        return false;
    for (const char *p = id + 2; *p; p++)
        if (!(*p >= 'a' && *p <= 'z') && !(*p >= '2' && *p <= '7'))
            return false;
    return true;
}

/* ---- numbers ---- */

int64_t now_micros(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int row_number(struct conn *c, const char *table, int64_t at, int64_t after, int64_t *out,
               sp_error *err)
{
    char sql[64];
    int64_t seq = at > after ? at : after + 1, there = 0;
    int code;
    (void)snprintf(sql, sizeof sql, "SELECT 1 FROM %s WHERE seq = ?1", table);
    if (seq < 1)
        seq = 1;
    while ((code = db_number(c, &there, err, sql, "i", seq)) == 0)
        seq++;
    *out = seq;
    return code == SP_ENOTFOUND ? 0 : code;
}

/* ---- JSON ---- */

json_t *column_text(sqlite3_stmt *st, int at)
{
    if (sqlite3_column_type(st, at) == SQLITE_NULL)
        return json_null();
    const char *text = (const char *)sqlite3_column_text(st, at);
    return json_stringn(text ? text : "", (size_t)sqlite3_column_bytes(st, at));
}

json_t *column_json(sqlite3_stmt *st, int at)
{
    const char *text = (const char *)sqlite3_column_text(st, at);
    json_t *j = text ? json_loadb(text, (size_t)sqlite3_column_bytes(st, at),
                                  JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL)
                     : NULL;
    return j ? j : json_null();
}

json_t *column_time(sqlite3_stmt *st, int at)
{
    if (sqlite3_column_type(st, at) == SQLITE_NULL)
        return json_null();
    return json_real((double)sqlite3_column_int64(st, at) / 1e6);
}

json_t *chat_json(sqlite3_stmt *st)
{
    return json_pack(
        "{s:o,s:o,s:o,s:b,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:I}", "id", column_text(st, 0), "title",
        column_text(st, 1), "folder", column_text(st, 2), "pinned", sqlite3_column_int(st, 3),
        "model", column_text(st, 4), "system", column_text(st, 5), "params", column_json(st, 6),
        "head", column_text(st, 7), "created", column_time(st, 8), "updated", column_time(st, 9),
        "deleted", column_time(st, 10), "messages_count", (json_int_t)sqlite3_column_int64(st, 11));
}

json_t *message_json(sqlite3_stmt *st)
{
    return json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "id",
                     column_text(st, 0), "chat", column_text(st, 1), "parent", column_text(st, 2),
                     "role", column_text(st, 3), "content", column_text(st, 4), "reasoning",
                     column_text(st, 5), "state", column_text(st, 6), "error", column_json(st, 7),
                     "model", column_text(st, 8), "finish_reason", column_text(st, 9), "usage",
                     column_json(st, 10), "timings", column_json(st, 11), "created",
                     column_time(st, 12), "attachments", column_json(st, 13));
}

/* ---- finding ---- */

int chat_find(struct conn *c, int64_t owner, const char *id, int64_t *seq, sp_error *err)
{
    int code = db_number(c, seq, err, "SELECT seq FROM chats WHERE id = ?1 AND owner = ?2", "si",
                         id, owner);
    return code == SP_ENOTFOUND ? sp_fail(err, SP_ENOTFOUND, "there is no chat %.64s", id) : code;
}

int chat_by_seq(struct conn *c, int64_t seq, json_t **out, sp_error *err)
{
    sqlite3_stmt *st =
        db_query(c, err, "SELECT " CHAT_COLUMNS CHAT_FROM "WHERE c.seq = ?1", "i", seq);
    int code = st ? db_step(c, st, err) : db_failed(err);
    if (code == 1) {
        *out = chat_json(st);
        code = *out ? 0 : sp_fail(err, SP_ENOMEM, "out of memory");
    } else if (code == 0) {
        code = sp_fail(err, SP_ENOTFOUND, "there is no such chat");
    }
    db_done(st);
    return code;
}

int message_find(struct conn *c, int64_t owner, const char *id, int64_t *seq, int64_t *chat,
                 sp_error *err)
{
    sqlite3_stmt *st = db_query(
        c, err, "SELECT seq, chat FROM messages WHERE id = ?1 AND owner = ?2", "si", id, owner);
    int code = st ? db_step(c, st, err) : db_failed(err);
    if (code == 1) {
        *seq = sqlite3_column_int64(st, 0);
        *chat = sqlite3_column_int64(st, 1);
        code = 0;
    } else if (code == 0) {
        code = sp_fail(err, SP_ENOTFOUND, "there is no message %.64s", id);
    }
    db_done(st);
    return code;
}

int messages_of(struct conn *c, int64_t chat, json_t **out, sp_error *err)
{
    sqlite3_stmt *st =
        db_query(c, err, "SELECT " MESSAGE_COLUMNS MESSAGE_FROM "WHERE m.chat = ?1 ORDER BY m.seq",
                 "i", chat);
    json_t *list = json_array();
    int code = st ? 0 : db_failed(err);
    while (st && (code = db_step(c, st, err)) == 1)
        if (json_array_append_new(list, message_json(st)) != 0) {
            code = sp_fail(err, SP_ENOMEM, "out of memory");
            break;
        }
    db_done(st);
    if (code == 0)
        *out = list;
    else
        json_decref(list);
    return code;
}

/* ---- inserting ---- */

int chat_insert(struct conn *c, int64_t owner, const struct new_chat *n, int64_t *seq,
                sp_error *err)
{
    json_t *none = n->params ? NULL : json_object();
    int code = row_number(c, "chats", n->at, 0, seq, err);
    if (code == 0)
        code = db_run(c, err,
                      "INSERT INTO chats (seq, id, owner, title, titled, folder, pinned, model, "
                      "system, params, updated)"
                      " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
                      "isisisissji", *seq, n->id, owner, n->title ? n->title : "",
                      (int64_t)n->titled, n->folder, (int64_t)n->pinned, n->model,
                      n->system ? n->system : "", n->params ? n->params : none, n->updated);
    json_decref(none);
    return code;
}

int message_insert(struct conn *c, int64_t owner, const struct new_message *n, int64_t *seq,
                   sp_error *err)
{
    json_t *none = n->attachments ? NULL : json_array();
    int code = row_number(c, "messages", n->at, n->parent ? n->parent : n->chat - 1, seq, err);
    if (code == 0)
        code = db_run(c, err,
                      "INSERT INTO messages (seq, id, owner, chat, role, content, reasoning, "
                      "state, error, model,"
                      " finish_reason, usage, timings, attachments, parent)"
                      " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
                      "isiisttsjssjjjk", *seq, n->id, owner, n->chat, n->role, n->content.p,
                      n->content.n, n->reasoning.p, n->reasoning.n, n->state, n->error, n->model,
                      n->finish_reason, n->usage, n->timings,
                      n->attachments ? n->attachments : none, n->parent);
    json_decref(none);
    return code;
}

bool state_sound(const char *state)
{
    static const char *const states[] = {"complete", "streaming", "queued",
                                         "stopped",  "failed",    "interrupted"};
    for (size_t i = 0; i < SP_COUNT(states); i++)
        if (strcmp(state, states[i]) == 0)
            return true;
    return false;
}

#define TITLE_CHARACTERS 60

void store_title_from(const char *content, size_t n, char out[STORE_TITLE_MOST + 1])
{
    size_t begin = 0, at, word = 0, characters = 0;
    while (begin < n && (unsigned char)content[begin] <= ' ')
        begin++;
    for (at = begin;
         at < n && content[at] != '\n' && content[at] != '\r' && characters < TITLE_CHARACTERS;) {
        uint32_t cp = 0;
        size_t bytes = utf8_decode(content + at, n - at, &cp);
        if (cp == ' ' || cp == '\t')
            word = at;
        at += bytes ? bytes : 1;
        characters++;
    }
    bool cut = at < n && content[at] != '\n' && content[at] != '\r' && content[at] != ' ';
    if (cut && word > begin)
        at = word; /* at a word; where there are no blanks, at a character */
    while (at > begin && (unsigned char)content[at - 1] <= ' ')
        at--;
    size_t bytes = at - begin < STORE_TITLE_MOST ? at - begin : STORE_TITLE_MOST;
    memcpy(out, content + begin, bytes);
    out[bytes] = '\0';
}
