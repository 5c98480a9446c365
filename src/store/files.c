/* Files as text: added on their own, then taken by messages. The trigger file_left removes one when the last message
 * that had it goes; one that no message ever took goes when it is a day old. */
#include <string.h>
#include "store/store_int.h"

#define NAME_MOST 255

static int64_t characters_of(str text)
{
    int64_t n = 0;
    for (size_t i = 0; i < text.n; i++)
        n += ((unsigned char)text.p[i] & 0xc0) != 0x80;
    return n;
}

int file_find(struct conn *c, int64_t owner, const char *id, int64_t *seq, sp_error *err)
{
    int code = db_number(c, seq, err, "SELECT seq FROM files WHERE id = ?1 AND owner = ?2", "si",
                         id, owner);
    return code == SP_ENOTFOUND ? sp_fail(err, SP_ENOTFOUND, "there is no file %.64s", id) : code;
}

int file_insert(struct conn *c, int64_t owner, const char *id, const struct store_file *f,
                int64_t at, int64_t *seq, sp_error *err)
{
    int code = row_number(c, "files", at, 0, seq, err);
    return code < 0 ? code
                    : db_run(c, err,
                             "INSERT INTO files (seq, id, owner, name, type, bytes, characters, "
                             "text) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                             "isissiit", *seq, id, owner, f->name, f->type, f->bytes,
                             characters_of(f->text), f->text.p, f->text.n);
}

int files_expire(struct conn *c, sp_error *err)
{
    return db_run(c, err,
                  "DELETE FROM files WHERE seq IN (SELECT file FROM unsent_files WHERE file < ?1)",
                  "i", now_micros() - (int64_t)STORE_FILE_SECONDS * 1000000);
}

/* ---- as JSON ---- */

static json_t *file_json(sqlite3_stmt *st)
{
    return json_pack("{s:s,s:s,s:s,s:I,s:I}", "id", sqlite3_column_text(st, 0), "name",
                     sqlite3_column_text(st, 1), "type", sqlite3_column_text(st, 2), "bytes",
                     (json_int_t)sqlite3_column_int64(st, 3), "characters",
                     (json_int_t)sqlite3_column_int64(st, 4));
}

static int file_by_seq(struct conn *c, int64_t seq, json_t **out, sp_error *err)
{
    sqlite3_stmt *st = db_query(
        c, err, "SELECT id, name, type, bytes, characters FROM files WHERE seq = ?1", "i", seq);
    int code = st ? db_step(c, st, err) : db_failed(err);
    if (code == 1) {
        *out = file_json(st);
        code = *out ? 0 : sp_fail(err, SP_ENOMEM, "out of memory");
    } else if (code == 0) {
        code = sp_fail(err, SP_ENOTFOUND, "there is no such file");
    }
    db_done(st);
    return code;
}

static int shown_by_seq(struct conn *c, int64_t seq, json_t **out, sp_error *err)
{
    int code = file_by_seq(c, seq, out, err);
    if (code == 0 && json_object_set_new(*out, "created", json_real((double)seq / 1e6)) != 0)
        code = sp_fail(err, SP_ENOMEM, "out of memory");
    return code;
}

int files_json(struct conn *c, const int64_t *files, size_t n, json_t **out, sp_error *err)
{
    json_t *list = json_array();
    int code = 0;
    for (size_t i = 0; i < n && code == 0; i++) {
        json_t *file = NULL;
        code = file_by_seq(c, files[i], &file, err);
        if (code == 0 && json_array_append_new(list, file) != 0)
            code = sp_fail(err, SP_ENOMEM, "out of memory");
    }
    if (code == 0)
        *out = list;
    else
        json_decref(list);
    return code;
}

int files_attach(struct conn *c, int64_t message, const int64_t *files, size_t n, sp_error *err)
{
    int code = 0;
    for (size_t i = 0; i < n && code == 0; i++)
        code =
            db_run(c, err, "INSERT INTO message_files (message, place, file) VALUES (?1, ?2, ?3)",
                   "iii", message, (int64_t)i, files[i]);
    return code;
}

/* Only as much as is wanted is read: a text can have 32 MiB. */
static int read_head(struct conn *c, int64_t seq, char **text, size_t *n, sp_error *err)
{
    sqlite3_blob *blob = NULL;
    int code = sqlite3_blob_open(c->db, "main", "files", "text", seq, 0, &blob);
    if (code != SQLITE_OK)
        return db_fail(c, code, err);
    size_t all = (size_t)sqlite3_blob_bytes(blob);
    *n = all < SNIPPET_TEXT_MOST ? all : SNIPPET_TEXT_MOST;
    *text = sp_malloc(*n + 1); /* an empty one is one, too */
    code = *text ? sqlite3_blob_read(blob, *text, (int)*n, 0) : SQLITE_NOMEM;
    sqlite3_blob_close(blob);
    if (code == SQLITE_OK && *n < all)
        *n = utf8_complete(*text, *n);
    return code == SQLITE_OK ? 0 : db_fail(c, code, err);
}

int file_at(struct conn *c, int64_t number, json_t **file, char **text, size_t *n, sp_error *err)
{
    int64_t seq = 0;
    sqlite3_stmt *st = db_query(c, err,
                                "SELECT f.id, f.name, f.seq FROM message_files m JOIN files f ON "
                                "f.seq = m.file WHERE m.message = ?1 AND m.place = ?2",
                                "ii", number / FILE_PLACES, number % FILE_PLACES);
    int code = st ? db_step(c, st, err) : db_failed(err);
    if (code == 1) {
        seq = sqlite3_column_int64(st, 2);
        *file = json_pack("{s:s,s:s}", "id", sqlite3_column_text(st, 0), "name",
                          sqlite3_column_text(st, 1));
        code = *file ? 0 : sp_fail(err, SP_ENOMEM, "out of memory");
    } else if (code == 0) {
        code = sp_fail(err, SP_ENOTFOUND, "there is no such file");
    }
    db_done(st);
    return code == 0 ? read_head(c, seq, text, n, err) : code;
}

static int add_with_text(json_t *list, sqlite3_stmt *st)
{
    json_t *file = file_json(st);
    const char *text = (const char *)sqlite3_column_text(st, 5);
    json_object_set_new(file, "text",
                        json_stringn(text ? text : "", (size_t)sqlite3_column_bytes(st, 5)));
    return json_array_append_new(list, file);
}

int files_of_chat(struct conn *c, int64_t chat, json_t *whole, sp_error *err)
{
    json_t *list = json_array();
    sqlite3_stmt *st =
        db_query(c, err,
                 "SELECT id, name, type, bytes, characters, text FROM files WHERE seq IN (SELECT "
                 "mf.file FROM message_files mf JOIN messages m ON m.seq = mf.message WHERE m.chat "
                 "= ?1) ORDER BY seq",
                 "i", chat);
    int code = st ? 0 : db_failed(err);
    while (st && (code = db_step(c, st, err)) == 1)
        if (add_with_text(list, st) != 0) {
            code = sp_fail(err, SP_ENOMEM, "out of memory");
            break;
        }
    db_done(st);
    if (code == 0 && json_array_size(list) > 0 && json_object_set(whole, "files", list) != 0)
        code = sp_fail(err, SP_ENOMEM, "out of memory");
    json_decref(list);
    return code;
}

/* ---- for all ---- */

/* For one more, of n bytes of text. */
static int check_unsent(struct conn *c, int64_t owner, size_t most, size_t n, sp_error *err)
{
    int64_t files = 0, bytes = 0;
    int code = db_number(c, &files, err,
                         "SELECT count(*) FROM unsent_files u JOIN files f ON f.seq = u.file WHERE "
                         "f.owner = ?1",
                         "i", owner);
    if (code == 0)
        code = db_number(c, &bytes, err,
                         "SELECT total(u.bytes) FROM unsent_files u JOIN files f ON f.seq = u.file "
                         "WHERE f.owner = ?1",
                         "i", owner);
    if (code == 0 && files >= STORE_UNSENT_FILES)
        return sp_fail(err, SP_EFULL,
                       "%lld files that are in no message are kept already, which is the most: "
                       "send or remove some; each goes by itself a day after it came",
                       (long long)files);
    if (code == 0 && (size_t)bytes + n > most)
        return sp_fail(err, SP_EFULL,
                       "with this file those that are in no message would have %.1f MB of text, "
                       "and the most is %.1f MB (--max-unsent): send or remove some; each goes by "
                       "itself a day after it came",
                       (double)((size_t)bytes + n) / (1 << 20), (double)most / (1 << 20));
    return code;
}

int store_file_add(store *s, int64_t owner, const struct store_file *f, json_t **out, sp_error *err)
{
    char id[STORE_ID_BYTES];
    int64_t seq = 0;
    struct conn *c = NULL;
    int code = 0;
    *out = NULL;
    if (!f->name[0] || strlen(f->name) > NAME_MOST)
        code = sp_fail(err, SP_EINVAL, "name: must be a string of 1 to %d bytes", NAME_MOST);
    else if (f->text.n > STORE_TEXT_MOST)
        code = sp_fail(err, SP_EINVAL, "the file has more than 32 MiB of text");
    store_id_new('f', id);
    if (code == 0)
        code = db_write(s, &c, err);
    if (code == 0)
        code = files_expire(c, err);
    if (code == 0)
        code = check_unsent(c, owner, s->unsent_bytes, f->text.n, err);
    if (code == 0)
        code = file_insert(c, owner, id, f, now_micros(), &seq, err);
    if (code == 0)
        code = shown_by_seq(c, seq, out, err);
    code = db_written(c, code, err);
    if (code < 0) {
        json_decref(*out);
        *out = NULL;
    }
    return code;
}

int store_file_get(store *s, int64_t owner, const char *id, json_t **out, sp_error *err)
{
    int64_t seq = 0;
    struct conn *c = db_take_reader(s);
    *out = NULL;
    int code = file_find(c, owner, id, &seq, err);
    if (code == 0)
        code = shown_by_seq(c, seq, out, err);
    db_give(c);
    return code;
}

int store_file_text(store *s, int64_t owner, const char *id, char **text, size_t *n, sp_error *err)
{
    struct conn *c = db_take_reader(s);
    sqlite3_stmt *st =
        db_query(c, err, "SELECT text FROM files WHERE id = ?1 AND owner = ?2", "si", id, owner);
    int code = st ? db_step(c, st, err) : db_failed(err);
    if (code == 1) {
        const char *p = (const char *)sqlite3_column_text(st, 0);
        *n = (size_t)sqlite3_column_bytes(st, 0);
        *text = sp_strndup(p ? p : "", *n);
        code = *text ? 0 : sp_fail(err, SP_ENOMEM, "out of memory");
    } else if (code == 0) {
        code = sp_fail(err, SP_ENOTFOUND, "there is no file %.64s", id);
    }
    db_done(st);
    db_give(c);
    return code;
}

int store_file_remove(store *s, int64_t owner, const char *id, sp_error *err)
{
    int64_t seq = 0, had = 0;
    struct conn *c;
    int code = db_write(s, &c, err);
    if (code == 0)
        code = file_find(c, owner, id, &seq, err);
    if (code == 0)
        code =
            db_number(c, &had, err, "SELECT count(*) FROM message_files WHERE file = ?1", "i", seq);
    if (code == 0 && had > 0)
        code = sp_fail(err, SP_EFULL, "a message has this file: it goes when the chat is deleted");
    if (code == 0)
        code = db_run(c, err, "DELETE FROM files WHERE seq = ?1", "i", seq);
    return db_written(c, code, err);
}

int store_files_expire(store *s, sp_error *err)
{
    struct conn *c;
    int code = db_write(s, &c, err);
    if (code == 0)
        code = files_expire(c, err);
    return db_written(c, code, err);
}
