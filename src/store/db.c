/* Connections, statements and transactions; what SQLite says in our words. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "store/store_int.h"

#define BUSY_MS 5000

static const char setup[] = "PRAGMA foreign_keys = ON;"
                            "PRAGMA temp_store = MEMORY;"
                            "PRAGMA cache_size = -16384;"
                            "PRAGMA synchronous = FULL;"
                            "PRAGMA journal_size_limit = 67108864;";

int db_fail(struct conn *c, int sqlite_code, sp_error *err)
{
    const char *what = c->db ? sqlite3_errmsg(c->db) : sqlite3_errstr(sqlite_code);
    switch (sqlite_code & 0xff) {
    case SQLITE_NOMEM:
        return sp_fail(err, SP_ENOMEM, "%s: out of memory", c->path);
    case SQLITE_FULL:
        return sp_fail(err, SP_ENOSPACE, "%s: the disk is full: make room on it", c->path);
    case SQLITE_READONLY:
    case SQLITE_PERM:
        return sp_fail(err, SP_EIO,
                       "%s: can't be written: %s: look at the rights of the file and its folder",
                       c->path, what);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return sp_fail(err, SP_EBUSY, "%s: another program has locked it: try again", c->path);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return sp_fail(err, SP_EFORMAT,
                       "%s: it is damaged or no history: %s: `sampan db check` tells more", c->path,
                       what);
    case SQLITE_INTERRUPT:
        return sp_fail(err, SP_ETIMEDOUT, "%s: it took too long", c->path);
    default:
        return sp_fail(err, SP_EIO, "%s: %s", c->path, what);
    }
}

int db_exec(struct conn *c, const char *sql, sp_error *err)
{
    int code = sqlite3_exec(c->db, sql, NULL, NULL, NULL);
    return code == SQLITE_OK ? 0 : db_fail(c, code, err);
}

int db_open(struct conn *c, const char *path, bool writes, sp_error *err)
{
    int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE |
                (writes ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READWRITE);
    c->path = path;
    int code = sqlite3_open_v2(path, &c->db, flags, NULL);
    if (code != SQLITE_OK)
        return db_fail(c, code, err);
    sqlite3_busy_timeout(c->db, BUSY_MS);
    sqlite3_db_config(c->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_limit(c->db, SQLITE_LIMIT_LENGTH, 256 << 20);
    int failed = db_exec(c, setup, err);
    return failed ? failed : words_register(c, err);
}

void db_close(struct conn *c)
{
    for (size_t i = 0; i < c->n_cache; i++) {
        sqlite3_finalize(c->cache[i].st);
        sp_free(c->cache[i].sql);
    }
    c->n_cache = 0;
    sqlite3_close(c->db);
    c->db = NULL;
}

/* ---- statements ---- */

static sqlite3_stmt *prepare(struct conn *c, const char *sql, sp_error *err)
{
    sqlite3_stmt *st = NULL;
    for (size_t i = 0; i < c->n_cache; i++)
        if (strcmp(c->cache[i].sql, sql) == 0)
            return c->cache[i].st;
    if (c->n_cache == STATEMENTS_MOST) {
        sp_fail(err, SP_EINTERNAL, "the history has more than %d kinds of question",
                STATEMENTS_MOST);
        return NULL;
    }
    int code = sqlite3_prepare_v3(c->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &st, NULL);
    if (code != SQLITE_OK) {
        (void)db_fail(c, code, err);
        return NULL;
    }
    char *copy = sp_strdup(sql);
    if (!copy) {
        sqlite3_finalize(st);
        sp_fail(err, SP_ENOMEM, "out of memory");
        return NULL;
    }
    c->cache[c->n_cache].sql = copy;
    c->cache[c->n_cache++].st = st;
    return st;
}

static int bind_text(sqlite3_stmt *st, int at, const char *text, size_t n)
{
    return text ? sqlite3_bind_text64(st, at, text, n, SQLITE_STATIC, SQLITE_UTF8)
                : sqlite3_bind_null(st, at);
}

static void free_json_text(void *p)
{
    free(p); /* lib-owned: jansson's */
}

static int bind_json(sqlite3_stmt *st, int at, const json_t *j)
{
    if (!j || json_is_null(j))
        return sqlite3_bind_null(st, at);
    char *text = json_dumps(j, JSON_COMPACT | JSON_ENCODE_ANY);
    return text ? sqlite3_bind_text64(st, at, text, strlen(text), free_json_text, SQLITE_UTF8)
                : SQLITE_NOMEM;
}

static int bind_all(sqlite3_stmt *st, const char *kinds, va_list ap)
{
    int code = SQLITE_OK;
    for (int at = 1; *kinds && code == SQLITE_OK; kinds++, at++) {
        switch (*kinds) {
        case 'i':
            code = sqlite3_bind_int64(st, at, va_arg(ap, int64_t));
            break;
        case 'k': {
            int64_t key = va_arg(ap, int64_t);
            code = key ? sqlite3_bind_int64(st, at, key) : sqlite3_bind_null(st, at);
            break;
        }
        case 's': {
            const char *s = va_arg(ap, const char *);
            code = bind_text(st, at, s, s ? strlen(s) : 0);
            break;
        }
        case 't': {
            const char *s = va_arg(ap, const char *);
            size_t n = va_arg(ap, size_t);
            code = bind_text(st, at, s ? s : "", n);
            break;
        }
        default:
            code = bind_json(st, at, va_arg(ap, const json_t *));
        }
    }
    return code;
}

static sqlite3_stmt *query(struct conn *c, sp_error *err, const char *sql, const char *kinds,
                           va_list ap)
{
    sqlite3_stmt *st = prepare(c, sql, err);
    if (!st)
        return NULL;
    int code = bind_all(st, kinds, ap);
    if (code == SQLITE_OK)
        return st;
    (void)db_fail(c, code, err);
    db_done(st);
    return NULL;
}

sqlite3_stmt *db_query(struct conn *c, sp_error *err, const char *sql, const char *kinds, ...)
{
    va_list ap;
    va_start(ap, kinds);
    sqlite3_stmt *st = query(c, err, sql, kinds, ap);
    va_end(ap);
    return st;
}

int db_step(struct conn *c, sqlite3_stmt *st, sp_error *err)
{
    int code = sqlite3_step(st);
    return code == SQLITE_ROW ? 1 : code == SQLITE_DONE ? 0 : db_fail(c, code, err);
}

void db_done(sqlite3_stmt *st)
{
    if (!st)
        return;
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
}

int db_failed(const sp_error *err)
{
    return err && err->code ? err->code : SP_EIO;
}

/* Up to the first row, whose first column goes to *out if that is given. 1: there is one, 0: there is none. */
static int first_row(struct conn *c, int64_t *out, sp_error *err, const char *sql,
                     const char *kinds, va_list ap)
{
    sp_error own = {0};
    sp_error *e = err ? err : &own;
    sqlite3_stmt *st = query(c, e, sql, kinds, ap);
    if (!st)
        return db_failed(e);
    int code = db_step(c, st, e);
    if (code == 1 && out)
        *out = sqlite3_column_int64(st, 0);
    db_done(st);
    return code;
}

int db_run(struct conn *c, sp_error *err, const char *sql, const char *kinds, ...)
{
    va_list ap;
    va_start(ap, kinds);
    int code = first_row(c, NULL, err, sql, kinds, ap);
    va_end(ap);
    return code > 0 ? 0 : code;
}

int db_number(struct conn *c, int64_t *out, sp_error *err, const char *sql, const char *kinds, ...)
{
    va_list ap;
    va_start(ap, kinds);
    int code = first_row(c, out, err, sql, kinds, ap);
    va_end(ap);
    return code == 1 ? 0 : code == 0 ? SP_ENOTFOUND : code;
}

/* ---- transactions ---- */

int db_begin(struct conn *c, sp_error *err)
{
    return db_run(c, err, "BEGIN IMMEDIATE", "");
}

int db_end(struct conn *c, int code, sp_error *err)
{
    if (code == 0)
        code = db_run(c, err, "COMMIT", "");
    if (code < 0 && !sqlite3_get_autocommit(c->db))
        (void)db_run(c, NULL, "ROLLBACK", "");
    return code;
}

struct conn *db_take_reader(struct store *s)
{
    pthread_mutex_lock(&s->reader.lock);
    return &s->reader;
}

void db_give(struct conn *c)
{
    pthread_mutex_unlock(&c->lock);
}

int db_write(struct store *s, struct conn **out, sp_error *err)
{
    *out = NULL;
    if (!s->writes)
        return sp_fail(err, SP_EINVAL, "%s: it was opened for reading only", s->path);
    pthread_mutex_lock(&s->writer.lock);
    int code = db_begin(&s->writer, err);
    if (code < 0)
        db_give(&s->writer);
    else
        *out = &s->writer;
    return code;
}

int db_written(struct conn *c, int code, sp_error *err)
{
    if (!c)
        return code;
    code = db_end(c, code, err);
    db_give(c);
    return code;
}
