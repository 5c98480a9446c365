/* The file's shape, step by step: step n brings version n - 1 to n. A step that has been released never changes.
 *
 * A row's number is when it was made, in microseconds since 1970, made unique: so numbers of chats and messages compare
 * with each other, "newest first" is their order, and it costs no column. */
#include <string.h>
#include "store/store_int.h"

#define APPLICATION_ID 0x53414d50 /* "SAMP" */

static const char *const steps[STORE_VERSION] = {
    /* 1: chats and messages */
    "CREATE TABLE chats ("
    "  seq INTEGER PRIMARY KEY,"
    "  id TEXT NOT NULL UNIQUE,"
    "  owner INTEGER NOT NULL,"
    "  title TEXT NOT NULL,"
    "  titled INTEGER NOT NULL," /* somebody gave the title */
    "  folder TEXT,"
    "  pinned INTEGER NOT NULL DEFAULT 0,"
    "  model TEXT,"
    "  system TEXT NOT NULL DEFAULT '',"
    "  params TEXT NOT NULL DEFAULT '{}'," /* JSON */
    "  head INTEGER REFERENCES messages(seq) ON DELETE SET NULL,"
    "  updated INTEGER NOT NULL," /* microseconds, as deleted */
    "  deleted INTEGER);"
    "CREATE INDEX chats_by_head ON chats(head);"
    "CREATE INDEX chats_by_time ON chats(owner, updated) WHERE deleted IS NULL;"
    "CREATE INDEX chats_pinned ON chats(owner, updated) WHERE deleted IS NULL AND pinned = 1;"
    "CREATE INDEX chats_by_folder ON chats(owner, folder, updated) WHERE deleted IS NULL AND "
    "folder IS NOT NULL;"
    "CREATE INDEX chats_deleted ON chats(owner, updated) WHERE deleted IS NOT NULL;"
    "CREATE TABLE messages ("
    "  seq INTEGER PRIMARY KEY,"
    "  id TEXT NOT NULL UNIQUE,"
    "  owner INTEGER NOT NULL,"
    "  chat INTEGER NOT NULL REFERENCES chats(seq) ON DELETE CASCADE,"
    "  parent INTEGER REFERENCES messages(seq) ON DELETE CASCADE,"
    "  role TEXT NOT NULL,"
    "  content TEXT NOT NULL,"
    "  reasoning TEXT NOT NULL DEFAULT '',"
    "  state TEXT NOT NULL,"
    "  error TEXT," /* JSON, as usage, timings and attachments */
    "  model TEXT,"
    "  finish_reason TEXT,"
    "  usage TEXT,"
    "  timings TEXT,"
    "  attachments TEXT NOT NULL DEFAULT '[]');"
    "CREATE INDEX messages_by_chat ON messages(chat, seq);"
    "CREATE INDEX messages_by_parent ON messages(parent) WHERE parent IS NOT NULL;"
    "CREATE INDEX messages_running ON messages(seq) WHERE state IN ('queued', 'streaming');",

    /* 2: the search. A text that still grows is not in it. */
    "CREATE VIEW ended_messages AS SELECT seq, content FROM messages WHERE state NOT IN ('queued', "
    "'streaming');"
    "CREATE VIRTUAL TABLE message_search USING fts5(content, content = 'ended_messages', "
    "content_rowid = 'seq',"
    "  tokenize = 'sampan');"
    "CREATE VIRTUAL TABLE chat_search USING fts5(title, content = 'chats', content_rowid = 'seq',"
    "  tokenize = 'sampan');"
    "CREATE TRIGGER message_added AFTER INSERT ON messages WHEN new.state NOT IN ('queued', "
    "'streaming') BEGIN"
    "  INSERT INTO message_search(rowid, content) VALUES (new.seq, new.content); END;"
    "CREATE TRIGGER message_removed AFTER DELETE ON messages WHEN old.state NOT IN ('queued', "
    "'streaming') BEGIN"
    "  INSERT INTO message_search(message_search, rowid, content) VALUES ('delete', old.seq, "
    "old.content); END;"
    "CREATE TRIGGER message_changes BEFORE UPDATE OF content, state ON messages"
    "  WHEN old.state NOT IN ('queued', 'streaming') BEGIN"
    "  INSERT INTO message_search(message_search, rowid, content) VALUES ('delete', old.seq, "
    "old.content); END;"
    "CREATE TRIGGER message_changed AFTER UPDATE OF content, state ON messages"
    "  WHEN new.state NOT IN ('queued', 'streaming') BEGIN"
    "  INSERT INTO message_search(rowid, content) VALUES (new.seq, new.content); END;"
    "CREATE TRIGGER chat_added AFTER INSERT ON chats BEGIN"
    "  INSERT INTO chat_search(rowid, title) VALUES (new.seq, new.title); END;"
    "CREATE TRIGGER chat_removed AFTER DELETE ON chats BEGIN"
    "  INSERT INTO chat_search(chat_search, rowid, title) VALUES ('delete', old.seq, old.title); "
    "END;"
    "CREATE TRIGGER chat_changes BEFORE UPDATE OF title ON chats BEGIN"
    "  INSERT INTO chat_search(chat_search, rowid, title) VALUES ('delete', old.seq, old.title); "
    "END;"
    "CREATE TRIGGER chat_changed AFTER UPDATE OF title ON chats BEGIN"
    "  INSERT INTO chat_search(rowid, title) VALUES (new.seq, new.title); END;"
    "INSERT INTO message_search(message_search) VALUES ('rebuild');"
    "INSERT INTO chat_search(chat_search) VALUES ('rebuild');",

    /* 3: who may use it. Times are seconds. */
    "CREATE TABLE accounts ("
    "  id INTEGER PRIMARY KEY AUTOINCREMENT," /* owner of rows; 0 is nobody */
    "  name TEXT NOT NULL UNIQUE COLLATE NOCASE,"
    "  password TEXT NOT NULL," /* argon2id */
    "  created INTEGER NOT NULL);"
    "CREATE TABLE sessions ("
    "  hash TEXT PRIMARY KEY," /* SHA-256 of the cookie */
    "  account INTEGER NOT NULL REFERENCES accounts(id) ON DELETE CASCADE,"
    "  created INTEGER NOT NULL,"
    "  used INTEGER NOT NULL,"
    "  expires INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX sessions_by_account ON sessions(account, used);"
    "CREATE TABLE api_keys ("
    "  id TEXT PRIMARY KEY,"
    "  owner INTEGER NOT NULL,"
    "  name TEXT NOT NULL UNIQUE,"
    "  hash TEXT NOT NULL UNIQUE,"            /* SHA-256 of the secret */
    "  models TEXT,"                          /* JSON; null: all */
    "  requests_per_minute INTEGER NOT NULL," /* 0: no limit, as the next two */
    "  tokens_per_minute INTEGER NOT NULL,"
    "  concurrent INTEGER NOT NULL,"
    "  page INTEGER NOT NULL,"
    "  created INTEGER NOT NULL,"
    "  used INTEGER NOT NULL DEFAULT 0,"
    "  requests INTEGER NOT NULL DEFAULT 0,"
    "  tokens INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;"
    "CREATE TABLE access_state ("
    "  version INTEGER NOT NULL,"
    "  checking INTEGER NOT NULL);" /* one row */
    "INSERT INTO access_state VALUES (0, 0);",
};

static int pragma(struct conn *c, const char *sql, int64_t *out, sp_error *err)
{
    int code = db_number(c, out, err, sql, "");
    return code == SP_ENOTFOUND ? sp_fail(err, SP_EIO, "%s: %s gave nothing", c->path, sql) : code;
}

/* Whether it is ours, or empty, and of which version. */
static int look(struct conn *c, int64_t *version, sp_error *err)
{
    int64_t application = 0, tables = 0;
    int code = pragma(c, "PRAGMA user_version", version, err);
    if (code == 0)
        code = pragma(c, "PRAGMA application_id", &application, err);
    if (code == 0)
        code = pragma(c, "SELECT count(*) FROM sqlite_schema", &tables, err);
    if (code < 0)
        return code;
    if (application != APPLICATION_ID && (tables > 0 || *version > 0))
        return sp_fail(err, SP_EFORMAT,
                       "%s: it is a database of another program: name another file", c->path);
    if (*version > STORE_VERSION)
        return sp_fail(
            err, SP_EFORMAT,
            "%s: it was written by a newer Sampan (version %lld, this one knows %d): use that one",
            c->path, (long long)*version, STORE_VERSION);
    return 0;
}

static int step(struct conn *c, int n, sp_error *err)
{
    char note[96];
    (void)snprintf(note, sizeof note, "PRAGMA application_id = %d; PRAGMA user_version = %d",
                   APPLICATION_ID, n);
    int code = db_begin(c, err);
    if (code == 0)
        code = db_exec(c, steps[n - 1], err);
    if (code == 0)
        code = db_exec(c, note, err);
    return db_end(c, code, err);
}

int migrate_to(struct conn *c, int version, sp_error *err)
{
    int64_t now = 0;
    int code = look(c, &now, err);
    for (int n = (int)now + 1; code == 0 && n <= version; n++)
        code = step(c, n, err);
    return code;
}

int migrate_known(struct conn *c, sp_error *err)
{
    int64_t version = 0;
    int code = look(c, &version, err);
    if (code == 0 && version < STORE_VERSION)
        code = sp_fail(err, SP_EFORMAT,
                       "%s: it is of an older version (%lld of %d): a server that opens it brings "
                       "it up to date",
                       c->path, (long long)version, STORE_VERSION);
    return code;
}
