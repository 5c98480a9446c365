/* The file's shape, step by step: step n brings version n - 1 to n. A step that has been released never changes.
 *
 * A row's number is when it was made, in microseconds since 1970, made unique: so numbers of chats and messages compare
 * with each other, "newest first" is their order, and it costs no column. */
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "base/log.h"
#include "store/store_int.h"

#define APPLICATION_ID 0x53414d50 /* "SAMP" */
#define PIECE 5000                /* messages that go into an index at once */
#define TELL_SECONDS 5.0          /* between two lines of the log */

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

    /* 3: files of messages, as text. One lives as long as a message has it; nobody's are removed after a while. */
    "CREATE TABLE files ("
    "  seq INTEGER PRIMARY KEY,"
    "  id TEXT NOT NULL UNIQUE,"
    "  owner INTEGER NOT NULL,"
    "  name TEXT NOT NULL,"
    "  type TEXT NOT NULL,"
    "  bytes INTEGER NOT NULL," /* of the file as it came */
    "  characters INTEGER NOT NULL,"
    "  text TEXT NOT NULL);"
    "CREATE TABLE message_files ("
    "  message INTEGER NOT NULL REFERENCES messages(seq) ON DELETE CASCADE,"
    "  place INTEGER NOT NULL,"
    "  file INTEGER NOT NULL REFERENCES files(seq),"
    "  PRIMARY KEY (message, place)) WITHOUT ROWID;"
    "CREATE INDEX message_files_by_file ON message_files(file);"
    "CREATE TRIGGER file_left AFTER DELETE ON message_files"
    "  WHEN NOT EXISTS (SELECT 1 FROM message_files WHERE file = old.file) BEGIN"
    "  DELETE FROM files WHERE seq = old.file; END;",

    /* 4: jobs. What a job works on goes into its parts, once it knows them. */
    "CREATE TABLE jobs ("
    "  seq INTEGER PRIMARY KEY,"
    "  id TEXT NOT NULL UNIQUE,"
    "  owner INTEGER NOT NULL,"
    "  kind TEXT NOT NULL,"
    "  title TEXT NOT NULL,"
    "  state TEXT NOT NULL,"
    "  unit TEXT NOT NULL,"
    "  done INTEGER NOT NULL DEFAULT 0,"
    "  total INTEGER NOT NULL DEFAULT 0,"
    "  params TEXT NOT NULL," /* JSON, as result and error */
    "  result TEXT,"
    "  error TEXT,"
    "  started INTEGER," /* microseconds, as finished */
    "  finished INTEGER,"
    "  bytes INTEGER NOT NULL DEFAULT 0," /* of the results of its parts */
    "  input TEXT);"
    "CREATE INDEX jobs_by_time ON jobs(owner, seq);"
    "CREATE INDEX jobs_live ON jobs(seq) WHERE state IN ('queued', 'running');"
    "CREATE TABLE job_parts ("
    "  job INTEGER NOT NULL REFERENCES jobs(seq) ON DELETE CASCADE,"
    "  number INTEGER NOT NULL,"
    "  source TEXT NOT NULL," /* JSON, as result */
    "  result TEXT,"          /* not yet: null */
    "  PRIMARY KEY (job, number));"
    "CREATE INDEX job_parts_open ON job_parts(job, number) WHERE result IS NULL;",

    /* 5: tasks that people make */
    "CREATE TABLE templates ("
    "  seq INTEGER PRIMARY KEY,"
    "  id TEXT NOT NULL UNIQUE,"
    "  owner INTEGER NOT NULL,"
    "  body TEXT NOT NULL," /* JSON */
    "  updated INTEGER NOT NULL);"
    "CREATE INDEX templates_by_owner ON templates(owner, seq);",

    /* 6: who may use it. Times are seconds. */
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

    /* 7: the same search, with lists of their own for the beginnings of words: each of them costs as much as one word
     * then, not as much as all words that begin so. index_messages fills it. */
    "DROP TABLE message_search;"
    "DROP TABLE chat_search;"
    "CREATE VIRTUAL TABLE message_search USING fts5(content, content = 'ended_messages', "
    "content_rowid = 'seq', tokenize = 'sampan', prefix = '4 5');"
    "CREATE VIRTUAL TABLE chat_search USING fts5(title, content = 'chats', content_rowid = 'seq',"
    "  tokenize = 'sampan', prefix = '4 5');"
    "INSERT INTO chat_search(chat_search) VALUES ('rebuild');",

    /* 8: the files of messages are searched, too: the one at `place` of a message is number message * 32 + place. */
    "CREATE VIEW file_texts AS SELECT m.message * 32 + m.place AS number, f.name, f.text FROM "
    "message_files m JOIN files f ON f.seq = m.file;"
    "CREATE VIRTUAL TABLE file_search USING fts5(name, text, content = 'file_texts', "
    "content_rowid = 'number', tokenize = 'sampan', prefix = '4 5');"
    "CREATE TRIGGER file_taken AFTER INSERT ON message_files BEGIN"
    "  INSERT INTO file_search(rowid, name, text) SELECT new.message * 32 + new.place, name, text "
    "FROM files WHERE seq = new.file; END;"
    "CREATE TRIGGER file_leaves BEFORE DELETE ON message_files BEGIN"
    "  INSERT INTO file_search(file_search, rowid, name, text) SELECT 'delete', old.message * 32 + "
    "old.place, name, text FROM files WHERE seq = old.file; END;"
    "INSERT INTO file_search(file_search) VALUES ('rebuild');",

    /* 9: files that no message has had yet */
    "CREATE TABLE unsent_files ("
    "  file INTEGER PRIMARY KEY REFERENCES files(seq) ON DELETE CASCADE,"
    "  bytes INTEGER NOT NULL);" /* of its text */
    "CREATE TRIGGER file_added AFTER INSERT ON files BEGIN"
    "  INSERT INTO unsent_files VALUES (new.seq, length(CAST(new.text AS BLOB))); END;"
    "CREATE TRIGGER file_sent AFTER INSERT ON message_files BEGIN"
    "  DELETE FROM unsent_files WHERE file = new.file; END;"
    "INSERT INTO unsent_files SELECT seq, length(CAST(text AS BLOB)) FROM files"
    "  WHERE seq NOT IN (SELECT file FROM message_files);",

    /* 10: hash of the key that a job was asked for with; null: none */
    "ALTER TABLE jobs ADD COLUMN key TEXT;",
};
_Static_assert(STORE_FILES_MOST <= FILE_PLACES, "each file of a message needs a number");

/* A million messages take a minute: piece by piece, so that the log can say how far it is. */
static int index_messages(struct conn *c, sp_error *err)
{
    int64_t all = 0, from = 0, to = 0, done = 0;
    double told = clock_seconds();
    int code = db_number(c, &all, err, "SELECT count(*) FROM messages", "");
    while (code == 0 && done < all) {
        code = db_number(c, &to, err,
                         "SELECT max(seq) FROM (SELECT seq FROM messages WHERE seq > ?1 ORDER BY "
                         "seq LIMIT ?2)",
                         "ii", from, (int64_t)PIECE);
        if (code == 0)
            code = db_run(c, err,
                          "INSERT INTO message_search(rowid, content) SELECT seq, content FROM "
                          "ended_messages WHERE seq > ?1 AND seq <= ?2",
                          "ii", from, to);
        from = to;
        done += PIECE;
        if (done < all && clock_seconds() > told + TELL_SECONDS) {
            told = clock_seconds();
            log_info("store", "%s: the search index is made anew: %.0f%% of %lld messages", c->path,
                     100 * (double)done / (double)all, (long long)all);
        }
    }
    return code;
}

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
    if (code == 0 && n == 7)
        code = index_messages(c, err);
    if (code == 0)
        code = db_exec(c, note, err);
    return db_end(c, code, err);
}

int migrate_to(struct conn *c, int version, sp_error *err)
{
    int64_t now = 0;
    double began = clock_seconds();
    int code = look(c, &now, err);
    bool older = now > 0 && now < version;
    if (code == 0 && older)
        log_info("store", "%s: of version %lld: it is brought to version %d", c->path,
                 (long long)now, version);
    for (int n = (int)now + 1; code == 0 && n <= version; n++)
        code = step(c, n, err);
    if (code == 0 && older)
        log_info("store", "%s: is of version %d now: it took %.1f s", c->path, version,
                 clock_seconds() - began);
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
