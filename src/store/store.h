/* What is kept of people's chats: one SQLite file (write-ahead log) with chats, their messages as trees, and a
 * full-text index that finds two-character Chinese words. It is the only reader and writer of that file; what it hands
 * out are JSON objects as the page's API has them ("chat" and "message" in openapi.json), since all who ask (API,
 * export, command line) hand them on so.
 *
 * Ownership: objects that come out are the caller's (json_decref); what goes in stays the caller's.
 * Threads: any thread may call; two connections, one that writes and one that reads, each used by one thread at a time,
 * so a search doesn't wait for a write. Calls block on the disk: the server's loop never makes one.
 * A process that writes chats holds `FILE.lock`: a second one is told so (SP_EBUSY). Readers (`sampan db check`,
 * `backup`, `export`) need no lock.
 * Every row has an owner; whoever asks for another one's row gets SP_ENOTFOUND.
 * Whatever returned 0 is on the disk: it outlives kill -9 and a power cut (synchronous=FULL, so each transaction is
 * synced; texts that grow are saved together, a few times a second, so that costs one sync for all of them).
 *
 *     store *s;
 *     struct store_opts o = {.path = "history.db", .writes = true};
 *     store_open(&o, &s, &err);
 *     json_t *chat, *message, *fields = json_pack("{s:s}", "title", "Rivers");
 *     store_chat_add(s, 0, fields, &chat, &err);
 *     fields = json_pack("{s:s,s:s}", "role", "user", "content", "长江有多长？");
 *     store_message_add(s, 0, json_string_value(json_object_get(chat, "id")), fields, &message, NULL, &err);
 *     struct store_query q = {.text = "长江", .limit = 50, .pinned = -1};
 *     json_t *page;                                   // {"data": [chat...], "next": null or a cursor}
 *     store_chats(s, 0, &q, &page, &err);
 *     store_close(s);
 */
#ifndef SP_STORE_STORE_H
#define SP_STORE_STORE_H

#include <jansson.h>
#include "base/base.h"

typedef struct store store;

#define STORE_VERSION 10    /* of the file: PRAGMA user_version */
#define STORE_ID_BYTES 29   /* "c_", "m_", "f_", "j_", "t_" or "k_", 26 characters of base32, NUL */
#define STORE_SHA_BYTES 65  /* SHA-256 in lower-case hex, NUL */
#define STORE_PAGE_MOST 200 /* chats of one page */
#define STORE_QUERY_MOST 400                   /* bytes of a search */
#define STORE_TITLE_MOST 400                   /* bytes */
#define STORE_TEXT_MOST ((size_t)32 << 20)     /* bytes of a message, and of a file */
#define STORE_FILES_MOST 32                    /* of one message */
#define STORE_FILE_SECONDS 86400               /* that a file stays which no message has */
#define STORE_UNSENT_FILES 200                 /* of an owner: such files */
#define STORE_UNSENT_BYTES ((size_t)256 << 20) /* of their texts, unless the options say else */
#define STORE_TEMPLATES_MOST 1000              /* of an owner */
#define STORE_JOBS_MOST 10000                  /* jobs of an owner */
#define STORE_RESULTS_MOST ((size_t)256 << 20) /* bytes of the results of a job's parts */

struct store_opts {
    const char *path;
    bool
        writes; /* makes the file and brings an older one up to date; without it a file must be there */
    bool
        beside; /* with `writes`: while another process writes, too; for accounts (accounts.h) only */
    size_t unsent_bytes; /* of an owner's files that no message has; 0: STORE_UNSENT_BYTES */
};
/* SP_EBUSY: another process has it open; SP_EFORMAT: it is no history of ours, or of a newer version; SP_EIO and
 * SP_ENOSPACE say what the disk says. With `writes`, answers and jobs that a crash left
 * unfinished become "interrupted". */
int store_open(const struct store_opts *o, store **out, sp_error *err);
void store_close(store *s);
const char *store_file(const store *s);

/* ---- ids ---- */

/* kind: 'c', 'm', 'f', 'j', 't' or 'k'; 128 random bits */
void store_id_new(char kind, char out[STORE_ID_BYTES]);
/* The same for the same bytes: what is imported twice is known. 0 or SP_ENOMEM. */
int store_id_from(char kind, const void *bytes, size_t n, char out[STORE_ID_BYTES]);
bool store_id_sound(const char *id, char kind);

/* The first line of a text, cut at a word. */
void store_title_from(const char *text, size_t n, char out[STORE_TITLE_MOST + 1]);

/* ---- chats ---- */

struct store_query {
    const char *text;   /* search in titles, messages and their files; NULL or "": all chats */
    const char *folder; /* NULL: any */
    const char *cursor; /* `next` of the page before; NULL: the first */
    int limit;          /* 1 .. STORE_PAGE_MOST */
    int pinned;         /* 1: only those, 0: only others, -1: all */
    bool deleted;       /* those that are marked so, else the others */
};
/* {"data": [chat...], "next"}: last changed first; of a search newest match first, one entry a chat, with "snippet"
 * (\2 and \3 around what matched), "message" (null: the title matched) and "file" ({"id", "name"} of the message's file
 * that matched, or null). */
int store_chats(store *s, int64_t owner, const struct store_query *q, json_t **out, sp_error *err);
int store_folders(store *s, int64_t owner, json_t **out, sp_error *err); /* ["name"...], sorted */
/* fields of a new chat or of a change: title, folder, pinned, model, system, params, head (a change only). Unknown
 * names and wrong types: SP_EINVAL, which names the field. */
int store_chat_add(store *s, int64_t owner, const json_t *fields, json_t **out, sp_error *err);
int store_chat_change(store *s, int64_t owner, const char *id, const json_t *fields, json_t **out,
                      sp_error *err);
/* messages: with "messages": all of them, in order of creation. */
int store_chat(store *s, int64_t owner, const char *id, bool messages, json_t **out, sp_error *err);
/* Marked as deleted, or not any more. */
int store_chat_mark(store *s, int64_t owner, const char *id, bool deleted, json_t **out,
                    sp_error *err);
int store_chat_remove(store *s, int64_t owner, const char *id, sp_error *err); /* for ever */
/* Removes for ever what was marked as deleted more than `seconds` ago, whoever's: at most STORE_PURGED_AT_ONCE chats in
 * one transaction, the oldest first. gone: [{"id", "owner"}...], the caller's. */
int store_purge(store *s, double seconds, json_t **gone, sp_error *err);
#define STORE_PURGED_AT_ONCE 64

/* ---- messages ---- */

/* fields: role, content, parent (null: a root), id (made if missing), state ("complete" if missing), model, files (ids;
 * what they are stands in the message's "attachments" then). The chat's head moves to it, and a chat without a title
 * gets one from its first user message. A message with that id that is the same is handed back (*added false); another
 * one: SP_EFULL. */
int store_message_add(store *s, int64_t owner, const char *chat, const json_t *fields, json_t **out,
                      bool *added, sp_error *err);
int store_message(store *s, int64_t owner, const char *id, json_t **out, sp_error *err);
int store_message_edit(store *s, int64_t owner, const char *id, const char *content, json_t **out,
                       sp_error *err);
/* [message...] from its root to it. */
int store_branch(store *s, int64_t owner, const char *id, json_t **out, sp_error *err);
/* An answer that ended begins again: state "queued", no error, no finish_reason. SP_EFULL: it has not ended. */
int store_message_reopen(store *s, int64_t owner, const char *id, json_t **out, sp_error *err);

/* ---- files.c: what was dropped into messages, as text ---- */

struct store_file {
    const char *name, *type;
    int64_t bytes; /* of the file as it came, which is not kept */
    str text;      /* UTF-8 without NUL */
};
/* {"id", "name", "type", "bytes", "characters", "created"}. SP_EFULL: the owner has too many that no message has. */
int store_file_add(store *s, int64_t owner, const struct store_file *f, json_t **out,
                   sp_error *err);
int store_file_get(store *s, int64_t owner, const char *id, json_t **out, sp_error *err);
/* *text: NUL-terminated, of *n bytes; the caller's (sp_free). */
int store_file_text(store *s, int64_t owner, const char *id, char **text, size_t *n, sp_error *err);
/* SP_EFULL: a message has it. */
int store_file_remove(store *s, int64_t owner, const char *id, sp_error *err);
/* Those that no message has had for STORE_FILE_SECONDS go, whoever's; so they do when the store is opened, and when a
 * file is added. */
int store_files_expire(store *s, sp_error *err);

/* ---- texts that grow ---- */

/* A text as it is now. Of all of them in one transaction. */
struct store_text {
    char message[STORE_ID_BYTES];
    str content, reasoning;
    const char *state;
    bool ended;                            /* what follows counts, and the chat is as new as this */
    const char *finish_reason;             /* NULL: none */
    const json_t *error, *usage, *timings; /* NULL: none */
    bool lost;                             /* out: there is no such message any more */
};
int store_texts(store *s, struct store_text *texts, size_t n, sp_error *err);

/* ---- jobs (jobs/jobs.h runs them) ---- */

/* A job may consist of numbered parts: a source each, and a result once it has one, both JSON. */
struct store_new_job {
    const char *kind, *title, *unit;
    const json_t *params; /* object */
    str input;            /* what it works on, until its parts are known; p NULL: none */
    const json_t *parts;  /* [source...], their numbers from 0; NULL: not known yet */
    int64_t total;        /* in `unit` */
    const char *key;      /* hash of the key it is asked for with; NULL: none */
};
struct store_job_query {
    const char *state, *kind; /* NULL: any */
    const char *cursor;       /* `next` of the page before; NULL: the first */
    int limit;                /* 1 .. STORE_PAGE_MOST */
};
struct store_job_change {
    const char *state;
    bool starts, ends; /* now */
    int64_t done, total;
    const json_t *result, *error; /* NULL: none */
    bool asked;                   /* anew, with this key */
    const char *key;
};
/* State "queued". SP_EFULL: there are STORE_JOBS_MOST. */
int store_job_add(store *s, int64_t owner, const struct store_new_job *n, json_t **out,
                  sp_error *err);
/* job: {"id", "kind", "title", "state", "progress": {"done", "total", "unit"}, "params", "result", "error",
 * "created", "started", "finished"} */
int store_job(store *s, int64_t owner, const char *id, json_t **out, sp_error *err);
/* {"data": [job...], "next"}: newest first. */
int store_jobs(store *s, int64_t owner, const struct store_job_query *q, json_t **out,
               sp_error *err);
/* [{"id", "owner"}...] of those that are queued, whoever owns them, oldest first. */
int store_jobs_queued(store *s, json_t **out, sp_error *err);
int store_job_change(store *s, int64_t owner, const char *id, const struct store_job_change *to,
                     json_t **out, sp_error *err);
/* Of one that is running; of any other, nothing is done. */
int store_job_progress(store *s, const char *id, int64_t done, int64_t total, sp_error *err);
int store_job_remove(store *s, int64_t owner, const char *id, sp_error *err);
/* Of the key that it was asked for with, last; "": none. It is in no job's object. */
int store_job_key(store *s, const char *id, char out[STORE_SHA_BYTES], sp_error *err);
/* SP_ENOTFOUND: it has none (any more). *text is the caller's (sp_free). */
int store_job_input(store *s, const char *id, char **text, size_t *n, sp_error *err);

/* Appends parts with these sources, and lets go of the input. */
int store_parts_add(store *s, const char *job, const json_t *sources, sp_error *err);
/* SP_EFULL: its results have STORE_RESULTS_MOST. */
int store_part_done(store *s, const char *job, int64_t number, const json_t *result, sp_error *err);
struct store_part_query {
    int64_t from; /* number */
    int limit;    /* 1 .. STORE_PAGE_MOST */
    bool open;    /* those without a result only */
};
/* [{"number", "source", "result"}...] in order of their numbers. */
int store_parts(store *s, const char *job, const struct store_part_query *q, json_t **out,
                sp_error *err);
/* How many there are, and how many of these have a result. */
int store_parts_count(store *s, const char *job, int64_t *all, int64_t *done, sp_error *err);

/* ---- templates: tasks that people make ---- */

/* template: its body, an object, and "id", "created", "updated". */
int store_templates(store *s, int64_t owner, json_t **out, sp_error *err); /* oldest first */
/* id NULL: a new one. SP_EFULL: there are STORE_TEMPLATES_MOST. */
int store_template_put(store *s, int64_t owner, const char *id, const json_t *body, json_t **out,
                       sp_error *err);
int store_template_remove(store *s, int64_t owner, const char *id, sp_error *err);

/* ---- in and out (transfer.c, import*.c) ---- */

/* One chat a call with its messages: {"sampan": 1, "chat", "messages"}, and "files" with their texts where a message
 * has some. id NULL: all, oldest first. */
typedef int (*store_chat_fn)(void *arg, const json_t *chat, sp_error *err);
int store_each(store *s, int64_t owner, const char *id, store_chat_fn each, void *arg,
               sp_error *err);
/* Of one such object: a line of JSON, or Markdown of the branch that is shown. */
int store_write_jsonl(const json_t *chat, buf *out);
int store_write_markdown(const json_t *chat, buf *out);

struct store_imported {
    size_t chats, messages, n_skipped;
    json_t *skipped; /* [{"reason": ...}...], the first STORE_SKIPPED_MOST; the caller's */
};
#define STORE_SKIPPED_MOST 100
/* Reads our JSONL, OpenAI's conversations.json or Open WebUI's export, whichever it is. What can't be used is skipped
 * and told; a chat is taken as a whole or not at all, and one that is here already is not taken again
 * (but no longer marked as deleted, if it was). */
int store_import(store *s, int64_t owner, const char *text, size_t n, struct store_imported *out,
                 sp_error *err);

/* ---- care ---- */

struct store_health {
    int64_t chats, messages, bytes;
    int version;
    json_t *problems; /* ["..."...]; none: it is sound; the caller's */
};
int store_check(store *s, struct store_health *out, sp_error *err);
/* A copy of it as it is now, made while others go on writing. `to` must not be there. */
int store_backup(store *s, const char *to, sp_error *err);

#endif
