/* Inside the store: connections, statements, the tokenizer of the search. Lock order: writer before reader. */
#ifndef SP_STORE_STORE_INT_H
#define SP_STORE_STORE_INT_H

#include <pthread.h>
#include <sqlite3.h>
#include "store/store.h"

#define STATEMENTS_MOST 96 /* kept prepared, by their text */

struct conn {
    sqlite3 *db;
    pthread_mutex_t lock;
    const char *path; /* the store's */
    struct {
        char *sql;
        sqlite3_stmt *st;
    } cache[STATEMENTS_MOST];
    size_t n_cache;
};

struct store {
    char *path;
    int lock_fd; /* -1: none */
    bool writes;
    size_t unsent_bytes;
    struct conn writer, reader; /* without `writes` there is only the reader */
};

/* ---- db.c ---- */

/* What SQLite said of conn, as our code and one sentence. */
int db_fail(struct conn *c, int sqlite_code, sp_error *err);
int db_open(struct conn *c, const char *path, bool writes, sp_error *err);
void db_close(struct conn *c);
int db_exec(struct conn *c, const char *sql, sp_error *err);
/* A statement with its parameters bound, in order, by `kinds`: i int64_t, k the same (0: null), s const char * (NULL:
 * null), t (const char *, size_t), j const json_t * as text (NULL: null). Texts are not copied: they live until
 * db_done. NULL: *err says why. */
sqlite3_stmt *db_query(struct conn *c, sp_error *err, const char *sql, const char *kinds, ...);
/* 1: a row; 0: no more; negative: failed. */
int db_step(struct conn *c, sqlite3_stmt *st, sp_error *err);
void db_done(sqlite3_stmt *st);     /* NULL is fine */
int db_failed(const sp_error *err); /* the code of what has just filled *err */
/* Runs a statement that gives no rows. */
int db_run(struct conn *c, sp_error *err, const char *sql, const char *kinds, ...);
/* The first column of the first row; SP_ENOTFOUND without filling *err when there is none. */
int db_number(struct conn *c, int64_t *out, sp_error *err, const char *sql, const char *kinds, ...);
int db_begin(struct conn *c, sp_error *err);
int db_end(struct conn *c, int code,
           sp_error *err); /* commits when code is 0, else rolls back; the code */

struct conn *db_take_reader(struct store *s);
void db_give(struct conn *c);
/* The writer, in a transaction; *out is NULL when that failed. And its end, with c NULL nothing: committed when code
 * is 0, else rolled back; the code. */
int db_write(struct store *s, struct conn **out, sp_error *err);
int db_written(struct conn *c, int code, sp_error *err);

/* ---- migrate.c ---- */
int migrate_to(struct conn *c, int version, sp_error *err);
int migrate_known(struct conn *c, sp_error *err); /* it is ours, and up to date */

/* ---- accounts.c ---- */
int access_changed(struct conn *c, sp_error *err); /* in a transaction */

/* ---- words.c: the tokenizer ---- */

/* A token: where it stands among the others, its folded text, and the bytes of the text that it came from. In CJK
 * each character begins a pair with the next and is a token of its own in the same place. */
struct word {
    int place;
    const char *text;
    size_t n;
    size_t begin, end;
};
enum words_mode { WORDS_TEXT, WORDS_QUERY };
/* each: a non-zero answer ends it and is returned. */
int words_each(const char *text, size_t n, enum words_mode mode,
               int (*each)(void *arg, const struct word *w), void *arg);
int words_register(struct conn *c, sp_error *err); /* as FTS5's tokenizer "sampan" */

/* ---- snippet.c ---- */

/* Words of a search, as it is asked. */
struct terms;
int terms_new(const char *query, struct terms **out, sp_error *err);
void terms_free(struct terms *t);
const char *terms_match(const struct terms *t); /* FTS5's expression; NULL: no word in it */
#define SNIPPET_TEXT_MOST ((size_t)256 << 10)   /* bytes of a text that a snippet comes from */
/* A piece of text with \2 and \3 around what matches, on one line; whole when short. */
int terms_snippet(const struct terms *t, const char *text, size_t n, buf *out);

/* ---- rows.c ---- */

int64_t now_micros(void);
/* Columns as JSON. Time: microseconds as seconds. */
json_t *column_text(sqlite3_stmt *st, int at);
json_t *column_json(sqlite3_stmt *st, int at);
json_t *column_time(sqlite3_stmt *st, int at);
/* A free number for a row of `table` (a literal), not before `at` and after `after`. */
int row_number(struct conn *c, const char *table, int64_t at, int64_t after, int64_t *out,
               sp_error *err);

#define CHAT_COLUMNS                                                                               \
    "c.id, c.title, c.folder, c.pinned, c.model, c.system, c.params, h.id, c.seq, c.updated, "     \
    "c.deleted, "                                                                                  \
    "(SELECT count(*) FROM messages n WHERE n.chat = c.seq)"
#define CHAT_FROM " FROM chats c LEFT JOIN messages h ON h.seq = c.head "
json_t *chat_json(sqlite3_stmt *st); /* of a row with CHAT_COLUMNS first */
int chat_find(struct conn *c, int64_t owner, const char *id, int64_t *seq, sp_error *err);
int chat_by_seq(struct conn *c, int64_t seq, json_t **out, sp_error *err);

#define MESSAGE_COLUMNS                                                                            \
    "m.id, mc.id, mp.id, m.role, m.content, m.reasoning, m.state, m.error, m.model, "              \
    "m.finish_reason, m.usage, "                                                                   \
    "m.timings, m.seq, m.attachments"
#define MESSAGE_FROM                                                                               \
    " FROM messages m JOIN chats mc ON mc.seq = m.chat LEFT JOIN messages mp ON mp.seq = "         \
    "m.parent "
json_t *message_json(sqlite3_stmt *st); /* of a row with MESSAGE_COLUMNS first */
int message_find(struct conn *c, int64_t owner, const char *id, int64_t *seq, int64_t *chat,
                 sp_error *err);
int messages_of(struct conn *c, int64_t chat, json_t **out, sp_error *err);

/* ---- files.c ---- */

/* In file_search the file at `place` of a message has the number message * FILE_PLACES + place. */
#define FILE_PLACES 32
/* Of such a number: {"id", "name"}, and as much of the text (sp_free) as a snippet looks at. */
int file_at(struct conn *c, int64_t number, json_t **file, char **text, size_t *n, sp_error *err);
int file_find(struct conn *c, int64_t owner, const char *id, int64_t *seq, sp_error *err);
int file_insert(struct conn *c, int64_t owner, const char *id, const struct store_file *f,
                int64_t at, int64_t *seq, sp_error *err);
/* A list of a message's files as it shows them: {"id", "name", "type", "bytes", "characters"} each. */
int files_json(struct conn *c, const int64_t *files, size_t n, json_t **out, sp_error *err);
int files_attach(struct conn *c, int64_t message, const int64_t *files, size_t n, sp_error *err);
int files_expire(struct conn *c, sp_error *err);
/* Puts "files", with their texts, into a chat that goes out, if it has any. */
int files_of_chat(struct conn *c, int64_t chat, json_t *whole, sp_error *err);

/* What a chat's or message's row is made of; checked already. */
struct new_chat {
    const char *id, *title, *folder, *model, *system;
    const json_t *params;
    bool pinned, titled;
    int64_t at, updated; /* microseconds */
};
int chat_insert(struct conn *c, int64_t owner, const struct new_chat *n, int64_t *seq,
                sp_error *err);
struct new_message {
    const char *id, *role, *state, *model, *finish_reason;
    str content, reasoning;
    const json_t *error, *usage, *timings, *attachments;
    int64_t chat, parent; /* parent 0: a root */
    int64_t at;
};
int message_insert(struct conn *c, int64_t owner, const struct new_message *n, int64_t *seq,
                   sp_error *err);
bool state_sound(const char *state);

/* ---- import_foreign.c: others' exports as ours ---- */
/* {"sampan": 1, "chat", "messages"} of one conversation; NULL: *why says what is wrong with it (a literal). */
json_t *import_openai(const json_t *conversation, const char **why);
json_t *import_open_webui(const json_t *chat, const char **why);

#endif
