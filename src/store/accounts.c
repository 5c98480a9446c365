/* Accounts and sessions, and all that may open the page at one moment. Keys are in keys.c. */
#include "store/accounts.h"

#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "store/store_int.h"

/* ---- what all of it has in common ---- */

int access_changed(struct conn *c, sp_error *err)
{
    return db_run(c, err, "UPDATE access_state SET version = version + 1", "");
}

static void copy_text(char *out, size_t room, sqlite3_stmt *st, int at)
{
    const char *text = (const char *)sqlite3_column_text(st, at);
    (void)snprintf(out, room, "%s", text ? text : "");
}

bool store_account_name_sound(const char *name)
{
    size_t n = name ? strlen(name) : 0;
    if (n == 0 || n > STORE_NAME_MOST || !utf8_valid(name, n) || name[0] == ' ' ||
        name[n - 1] == ' ')
        return false;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)name[i] < ' ' || name[i] == 0x7f)
            return false;
    return true;
}

/* ---- accounts ---- */

static int count(struct conn *c, int64_t *out, sp_error *err)
{
    return db_number(c, out, err, "SELECT count(*) FROM accounts", "");
}

static int change_owner(struct conn *c, int64_t from, int64_t to, sp_error *err)
{
    int code = db_run(c, err, "UPDATE chats SET owner = ?2 WHERE owner = ?1", "ii", from, to);
    if (code == 0)
        code = db_run(c, err, "UPDATE messages SET owner = ?2 WHERE owner = ?1", "ii", from, to);
    if (code == 0)
        code = db_run(c, err, "UPDATE api_keys SET owner = ?2 WHERE owner = ?1", "ii", from, to);
    return code;
}

static int add_account(struct conn *c, const char *name, const char *password, bool first,
                       struct store_account *out, sp_error *err)
{
    int64_t n = 0, there = 0;
    int code = count(c, &n, err);
    if (code == 0 && first && n > 0)
        return sp_fail(err, SP_EFULL, "there is an account already: sign in with it");
    if (code == 0)
        code = db_number(c, &there, err, "SELECT 1 FROM accounts WHERE name = ?1", "s", name);
    if (code == 0)
        return sp_fail(err, SP_EFULL, "name: there is an account %s already", name);
    if (code != SP_ENOTFOUND)
        return code;
    out->created = clock_unix();
    (void)snprintf(out->name, sizeof out->name, "%s", name);
    code = db_run(c, err, "INSERT INTO accounts (name, password, created) VALUES (?1, ?2, ?3)",
                  "ssi", name, password, out->created);
    out->id = sqlite3_last_insert_rowid(c->db);
    if (code == 0 && n == 0)
        code = change_owner(c, 0, out->id, err);
    return code == 0 ? access_changed(c, err) : code;
}

int store_account_add(store *s, const char *name, const char *password, bool first,
                      struct store_account *out, sp_error *err)
{
    struct conn *c = NULL;
    int code = store_account_name_sound(name)
                   ? db_write(s, &c, err)
                   : sp_fail(err, SP_EINVAL,
                             "name: must have 1 to %d bytes, none of them a control character, and "
                             "no blank at its ends",
                             STORE_NAME_MOST);
    if (code == 0)
        code = add_account(c, name, password, first, out, err);
    return db_written(c, code, err);
}

int store_account_password(store *s, const char *name, struct store_account *out,
                           char password[STORE_PASSWORD_BYTES], sp_error *err)
{
    struct conn *c = db_take_reader(s);
    sqlite3_stmt *st = db_query(
        c, err, "SELECT id, name, created, password FROM accounts WHERE name = ?1", "s", name);
    int code = st ? db_step(c, st, err) : db_failed(err);
    if (code == 1) {
        out->id = sqlite3_column_int64(st, 0);
        copy_text(out->name, sizeof out->name, st, 1);
        out->created = sqlite3_column_int64(st, 2);
        copy_text(password, STORE_PASSWORD_BYTES, st, 3);
        code = 0;
    } else if (code == 0) {
        code = sp_fail(err, SP_ENOTFOUND, "there is no account %s", name);
    }
    db_done(st);
    db_give(c);
    return code;
}

int store_account_set_password(store *s, int64_t id, const char *password, const char *keep,
                               sp_error *err)
{
    struct conn *c = NULL;
    int code = db_write(s, &c, err);
    if (code == 0)
        code =
            db_run(c, err, "UPDATE accounts SET password = ?2 WHERE id = ?1", "is", id, password);
    if (code == 0)
        code = db_run(c, err, "DELETE FROM sessions WHERE account = ?1 AND hash <> ?2", "is", id,
                      keep ? keep : "");
    if (code == 0)
        code = access_changed(c, err);
    return db_written(c, code, err);
}

static int remove_account(struct conn *c, int64_t id, sp_error *err)
{
    int64_t n = 0;
    int code = count(c, &n, err);
    if (code == 0)
        code = db_run(c, err, "DELETE FROM api_keys WHERE owner = ?1", "i", id);
    if (code == 0 && n == 1)
        code = change_owner(c, id, 0, err);
    else if (code == 0)
        code = db_run(c, err, "DELETE FROM chats WHERE owner = ?1", "i", id);
    if (code == 0) /* and by reference its sessions */
        code = db_run(c, err, "DELETE FROM accounts WHERE id = ?1", "i", id);
    return code == 0 ? access_changed(c, err) : code;
}

int store_account_remove(store *s, const char *name, sp_error *err)
{
    struct conn *c = NULL;
    int64_t id = 0;
    int code = db_write(s, &c, err);
    if (code == 0)
        code = db_number(c, &id, err, "SELECT id FROM accounts WHERE name = ?1", "s", name);
    if (code == 0)
        code = remove_account(c, id, err);
    else if (code == SP_ENOTFOUND)
        code = sp_fail(err, SP_ENOTFOUND, "there is no account %.64s", name);
    return db_written(c, code, err);
}

/* ---- sessions ---- */

static int trim_sessions(struct conn *c, int64_t account, sp_error *err)
{
    int code = db_run(c, err, "DELETE FROM sessions WHERE expires <= ?1", "i", clock_unix());
    return code == 0
               ? db_run(c, err,
                        "DELETE FROM sessions WHERE account = ?1 AND hash NOT IN (SELECT hash FROM "
                        "sessions WHERE account = ?1 ORDER BY used DESC, created DESC LIMIT ?2)",
                        "ii", account, (int64_t)STORE_SESSIONS_MOST)
               : code;
}

int store_session_add(store *s, const struct store_session *n, sp_error *err)
{
    struct conn *c = NULL;
    int code = db_write(s, &c, err);
    if (code == 0)
        code = db_run(
            c, err,
            "INSERT INTO sessions (hash, account, created, used, expires) VALUES (?1, ?2, ?3, ?4, "
            "?5)",
            "siiii", n->hash, n->account, n->created, n->used, n->expires);
    if (code == 0)
        code = trim_sessions(c, n->account, err);
    if (code == 0)
        code = access_changed(c, err);
    return db_written(c, code, err);
}

int store_session_end(store *s, int64_t account, const char *hash, sp_error *err)
{
    struct conn *c = NULL;
    int code = db_write(s, &c, err);
    if (code == 0)
        code =
            db_run(c, err, "DELETE FROM sessions WHERE account = ?1 AND (?2 IS NULL OR hash = ?2)",
                   "is", account, hash);
    if (code == 0)
        code = access_changed(c, err);
    return db_written(c, code, err);
}

/* ---- all of it ---- */

/* One more row in *list of n, each of `size` bytes; NULL: out of memory. */
static void *more(void **list, size_t n, size_t size)
{
    bool full = (n & (n - 1)) == 0; /* room doubles at powers of two */
    void *grown = full ? sp_realloc_array(*list, n ? 2 * n : 1, size) : *list;
    if (!grown)
        return NULL;
    *list = grown;
    void *row = (char *)grown + n * size;
    memset(row, 0, size);
    return row;
}

typedef bool (*take_row)(struct store_access *a, sqlite3_stmt *st);

static bool take_account(struct store_access *a, sqlite3_stmt *st)
{
    void *list = a->accounts;
    struct store_account *row = more(&list, a->n_accounts, sizeof *row);
    a->accounts = list;
    if (!row)
        return false;
    row->id = sqlite3_column_int64(st, 0);
    copy_text(row->name, sizeof row->name, st, 1);
    row->created = sqlite3_column_int64(st, 2);
    a->n_accounts++;
    return true;
}

static bool take_session(struct store_access *a, sqlite3_stmt *st)
{
    void *list = a->sessions;
    struct store_session *row = more(&list, a->n_sessions, sizeof *row);
    a->sessions = list;
    if (!row)
        return false;
    copy_text(row->hash, sizeof row->hash, st, 0);
    row->account = sqlite3_column_int64(st, 1);
    row->created = sqlite3_column_int64(st, 2);
    row->used = sqlite3_column_int64(st, 3);
    row->expires = sqlite3_column_int64(st, 4);
    a->n_sessions++;
    return true;
}

static bool take_key(struct store_access *a, sqlite3_stmt *st)
{
    void *list = a->keys;
    struct store_key *row = more(&list, a->n_keys, sizeof *row);
    a->keys = list;
    if (!row)
        return false;
    copy_text(row->id, sizeof row->id, st, 0);
    row->owner = sqlite3_column_int64(st, 1);
    copy_text(row->name, sizeof row->name, st, 2);
    copy_text(row->hash, sizeof row->hash, st, 3);
    const char *models = (const char *)sqlite3_column_text(st, 4);
    row->models = models ? json_loads(models, 0, NULL) : NULL;
    row->requests_per_minute = sqlite3_column_int64(st, 5);
    row->tokens_per_minute = sqlite3_column_int64(st, 6);
    row->concurrent = sqlite3_column_int64(st, 7);
    row->page = sqlite3_column_int(st, 8) != 0;
    row->created = sqlite3_column_int64(st, 9);
    row->used = sqlite3_column_int64(st, 10);
    row->requests = sqlite3_column_int64(st, 11);
    row->tokens = sqlite3_column_int64(st, 12);
    a->n_keys++;
    return !models || json_is_array(row->models); /* a list that can't be read is not "all" */
}

static int take_all(struct conn *c, struct store_access *a, take_row take, const char *sql,
                    sp_error *err)
{
    sqlite3_stmt *st = db_query(c, err, sql, "i", clock_unix());
    int code = st ? 0 : db_failed(err);
    while (st && (code = db_step(c, st, err)) == 1)
        if (!take(a, st)) {
            code = sp_fail(err, SP_ENOMEM, "accounts and keys: out of memory");
            break;
        }
    db_done(st);
    return code;
}

static int load(struct conn *c, struct store_access *out, sp_error *err)
{
    int64_t checking = 0;
    int code = db_number(c, &out->version, err, "SELECT version FROM access_state", "");
    if (code == 0)
        code = db_number(c, &checking, err, "SELECT checking FROM access_state", "");
    out->checking = checking != 0;
    if (code == 0)
        code = take_all(c, out, take_account,
                        "SELECT id, name, created FROM accounts WHERE ?1 > 0 ORDER BY id", err);
    if (code == 0)
        code =
            take_all(c, out, take_session,
                     "SELECT hash, account, created, used, expires FROM sessions WHERE expires > "
                     "?1",
                     err);
    if (code == 0)
        code = take_all(c, out, take_key,
                        "SELECT id, owner, name, hash, models, requests_per_minute, "
                        "tokens_per_minute, concurrent, page, created, used, requests, tokens FROM "
                        "api_keys WHERE ?1 > 0 ORDER BY created, name",
                        err);
    return code;
}

int store_access_load(store *s, struct store_access *out, sp_error *err)
{
    struct conn *c = db_take_reader(s);
    *out = (struct store_access){0};
    int code = db_run(c, err, "BEGIN", ""); /* all of one moment */
    if (code == 0)
        code = db_end(c, load(c, out, err), err);
    db_give(c);
    if (code < 0)
        store_access_free(out);
    return code;
}

void store_access_free(struct store_access *a)
{
    for (size_t i = 0; i < a->n_keys; i++)
        json_decref(a->keys[i].models);
    sp_free(a->accounts);
    sp_free(a->sessions);
    sp_free(a->keys);
    *a = (struct store_access){0};
}

int store_access_version(store *s, int64_t *out, sp_error *err)
{
    struct conn *c = db_take_reader(s);
    int code = db_number(c, out, err, "SELECT version FROM access_state", "");
    db_give(c);
    return code;
}

int store_access_used(store *s, const struct store_session *sessions, size_t n_sessions,
                      const struct store_key *keys, size_t n_keys, sp_error *err)
{
    struct conn *c = NULL;
    int code = db_write(s, &c, err);
    for (size_t i = 0; i < n_sessions && code == 0; i++)
        code = db_run(c, err, "UPDATE sessions SET used = ?2, expires = ?3 WHERE hash = ?1", "sii",
                      sessions[i].hash, sessions[i].used, sessions[i].expires);
    for (size_t i = 0; i < n_keys && code == 0; i++)
        code = db_run(c, err,
                      "UPDATE api_keys SET used = ?2, requests = ?3, tokens = ?4 WHERE id = ?1",
                      "siii", keys[i].id, keys[i].used, keys[i].requests, keys[i].tokens);
    return db_written(c, code, err);
}
