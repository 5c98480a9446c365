/* Looking after the file: is it sound, and a copy of it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/file.h"
#include "store/store_int.h"

#define PROBLEMS_MOST 100

static void add_problem(json_t *list, const char *what, const char *text)
{
    if (json_array_size(list) < PROBLEMS_MOST)
        json_array_append_new(list, json_sprintf("%s: %s", what, text ? text : "?"));
}

/* Each row of sql is a problem, but for "ok". */
static int ask(struct conn *c, const char *what, const char *sql, json_t *problems, sp_error *err)
{
    sqlite3_stmt *st = db_query(c, err, sql, "");
    int code = st ? 0 : db_failed(err);
    while (st && (code = db_step(c, st, err)) == 1) {
        const char *text = (const char *)sqlite3_column_text(st, 0);
        if (!text || strcmp(text, "ok") != 0)
            add_problem(problems, what, text);
    }
    db_done(st);
    return code;
}

/* What the rows must be to each other, beyond what keys can say. */
static const char *const rules[][2] = {
    {"a message whose parent is in another chat",
     "SELECT m.id FROM messages m JOIN messages p ON p.seq = m.parent WHERE p.chat <> m.chat LIMIT "
     "100"},
    {"a message older than its parent", "SELECT id FROM messages WHERE parent >= seq LIMIT 100"},
    {"a chat whose shown message is another chat's",
     "SELECT c.id FROM chats c JOIN messages m ON m.seq = c.head WHERE m.chat <> c.seq LIMIT 100"},
    {"a message of another owner than its chat",
     "SELECT m.id FROM messages m JOIN chats c ON c.seq = m.chat WHERE c.owner <> m.owner LIMIT "
     "100"},
    {"a chat of an account that is not there",
     "SELECT id FROM chats WHERE owner <> 0 AND owner NOT IN (SELECT id FROM accounts) LIMIT 100"},
    {"a key of an account that is not there",
     "SELECT id FROM api_keys WHERE owner <> 0 AND owner NOT IN (SELECT id FROM accounts) LIMIT "
     "100"},
    {"a message in an unknown state", "SELECT id FROM messages WHERE state NOT IN ('complete', "
                                      "'streaming', 'queued', 'stopped', 'failed',"
                                      " 'interrupted') LIMIT 100"},
};

/* The index against the texts: FTS5 says it as an error of this statement. */
static int check_index(struct conn *c, const char *table, json_t *problems, sp_error *err)
{
    char sql[128];
    sp_error own = {0};
    (void)snprintf(sql, sizeof sql, "INSERT INTO %s(%s, rank) VALUES ('integrity-check', 1)", table,
                   table);
    int code = db_run(c, &own, sql, "");
    if (code == SP_EFORMAT)
        add_problem(problems, "the search index differs from the texts", table);
    else if (code < 0)
        return sp_fail(err, code, "%s", own.message);
    return 0;
}

int store_check(store *s, struct store_health *out, sp_error *err)
{
    struct conn *c = db_take_reader(s);
    int64_t version = 0;
    *out = (struct store_health){.problems = json_array()};
    int code = ask(c, "the file", "PRAGMA integrity_check", out->problems, err);
    if (code == 0)
        code = ask(c, "a reference to nothing", "SELECT \"table\" FROM pragma_foreign_key_check",
                   out->problems, err);
    for (size_t i = 0; i < SP_COUNT(rules) && code == 0; i++)
        code = ask(c, rules[i][0], rules[i][1], out->problems, err);
    if (code == 0)
        code = check_index(c, "message_search", out->problems, err);
    if (code == 0)
        code = check_index(c, "chat_search", out->problems, err);
    if (code == 0)
        code = check_index(c, "file_search", out->problems, err);
    if (code == 0)
        code = db_number(c, &out->chats, err, "SELECT count(*) FROM chats", "");
    if (code == 0)
        code = db_number(c, &out->messages, err, "SELECT count(*) FROM messages", "");
    if (code == 0)
        code = db_number(c, &version, err, "PRAGMA user_version", "");
    db_give(c);
    if (code == SP_EFORMAT) { /* so damaged that it can't be read: that is the finding */
        add_problem(out->problems, "the file", err ? err->message : "damaged");
        code = 0;
    }
    out->version = (int)version;
    out->bytes = file_size(s->path);
    if (code < 0) {
        json_decref(out->problems);
        out->problems = NULL;
    }
    return code;
}

int store_backup(store *s, const char *to, sp_error *err)
{
    char part[4096];
    if ((size_t)snprintf(part, sizeof part, "%s.part", to) >= sizeof part)
        return sp_fail(err, SP_EINVAL, "%.64s...: this path is too long", to);
    if (file_exists(to))
        return sp_fail(err, SP_EINVAL, "%s: it is there already: name another file", to);
    (void)unlink(part);
    struct conn *c = db_take_reader(s);
    int code = db_run(c, err, "VACUUM INTO ?1", "s", part);
    db_give(c);
    int fd = code == 0 ? open(part, O_RDWR | O_CLOEXEC) : -1;
    if (code == 0 && (fd < 0 || fchmod(fd, 0600) != 0))
        code = sp_fail(err, SP_EIO, "%s: %s", part, strerror(errno));
    if (code == 0)
        code = file_publish(fd, part, to, err);
    if (fd >= 0)
        close(fd);
    if (code < 0)
        (void)unlink(part);
    return code;
}
