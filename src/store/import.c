/* Chats coming in. Every file is read one conversation at a time, so that a large one needs no more memory than its
 * largest conversation; what another program wrote is made into our form first (import_foreign.c), then all is checked
 * in one place. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/map.h"
#include "store/store_int.h"

#define FILE_NAME_MOST 255          /* bytes */
#define SECONDS_MOST 253402300799.0 /* the end of the year 9999 */

enum { SKIPPED = 1, RESTORED }; /* beside 0 and errors */

struct importing {
    store *s;
    int64_t owner;
    struct store_imported *out;
    size_t n;   /* conversations so far */
    map *files; /* of the chat at hand: their ids there, and their rows' numbers */
};

static void skip(struct importing *in, const char *what, const char *why)
{
    in->out->n_skipped++;
    if (json_array_size(in->out->skipped) < STORE_SKIPPED_MOST)
        json_array_append_new(
            in->out->skipped,
            json_pack("{s:o}", "reason",
                      json_sprintf("chat %zu%s%.80s: %s", in->n, *what ? ", " : "", what, why)));
}

/* ---- one chat of ours ---- */

static int64_t micros_of(const json_t *object, const char *name, int64_t fallback)
{
    const json_t *j = json_object_get(object, name);
    double t = json_is_number(j) ? json_number_value(j) : NAN;
    return t > 0 && t < SECONDS_MOST ? (int64_t)(t * 1e6 + 0.5) : fallback;
}

static const char *text(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

static str whole_text(const json_t *object, const char *name)
{
    const json_t *j = json_object_get(object, name);
    return (str){json_string_value(j), json_string_length(j)};
}

/* ---- its files ---- */

static bool is_file(const json_t *f)
{
    const char *name = text(f, "name"), *type = text(f, "type");
    const json_t *its = json_object_get(f, "text");
    return store_id_sound(text(f, "id"), 'f') && name && *name && strlen(name) <= FILE_NAME_MOST &&
           type && strlen(type) <= FILE_NAME_MOST && json_is_string(its) &&
           json_string_length(its) <= STORE_TEXT_MOST &&
           !memchr(json_string_value(its), '\0', json_string_length(its));
}

/* One that is here already, with the same text, is taken; an id that is another file's here is not. */
static int put_file(struct importing *in, struct conn *c, const json_t *f, sp_error *err)
{
    char made[STORE_ID_BYTES];
    const char *id = text(f, "id");
    const struct store_file file = {.name = text(f, "name"),
                                    .type = text(f, "type"),
                                    .bytes = json_integer_value(json_object_get(f, "bytes")),
                                    .text = whole_text(f, "text")};
    int64_t seq = 0, taken = 0;
    int code = db_number(c, &seq, err,
                         "SELECT seq FROM files WHERE id = ?1 AND owner = ?2 AND name = ?3 AND "
                         "text = ?4",
                         "sist", id, in->owner, file.name, file.text.p, file.text.n);
    if (code == SP_ENOTFOUND) {
        store_id_new('f', made);
        code = db_number(c, &taken, err, "SELECT 1 FROM files WHERE id = ?1", "s", id);
        if (code == 0 || code == SP_ENOTFOUND)
            code = file_insert(c, in->owner, code == 0 ? made : id, &file, now_micros(), &seq, err);
    }
    if (code == 0 && map_set(in->files, id, strlen(id), seq) < 0)
        code = sp_fail(err, SP_ENOMEM, "out of memory");
    return code;
}

static int put_files(struct importing *in, struct conn *c, const json_t *files, const char **why,
                     sp_error *err)
{
    size_t i;
    const json_t *f;
    int code = 0;
    json_array_foreach(files, i, f)
    {
        if (!is_file(f)) {
            *why = "a file without an id, a name or text";
            return SKIPPED;
        }
        if ((code = put_file(in, c, f, err)) < 0)
            return code;
    }
    return 0;
}

/* The rows' numbers of a message's files; false: one of them did not come along. */
static bool find_files(const struct importing *in, const json_t *attachments,
                       int64_t files[STORE_FILES_MOST])
{
    size_t i;
    const json_t *f;
    if (json_array_size(attachments) > STORE_FILES_MOST)
        return false;
    json_array_foreach(attachments, i, f)
    {
        const char *id = text(f, "id");
        if (!id || !map_get(in->files, id, strlen(id), &files[i]))
            return false;
    }
    return true;
}

/* ---- its messages ---- */

/* NULL: it is sound. */
static const char *check_message(const struct importing *in, const json_t *m, const map *seen)
{
    int64_t at, files[STORE_FILES_MOST];
    const char *role = text(m, "role"), *state = text(m, "state"), *id = text(m, "id"),
               *parent = text(m, "parent");
    if (!role || (strcmp(role, "user") != 0 && strcmp(role, "assistant") != 0))
        return "a message without a role of user or assistant";
    if (!store_id_sound(id, 'm') || map_get(seen, id, strlen(id), &at))
        return "a message without an id of its own";
    if (!text(m, "content"))
        return "a message without content";
    if (state && !state_sound(state))
        return "a message in an unknown state";
    if (parent && !map_get(seen, parent, strlen(parent), &at))
        return "a message before its parent";
    if (!find_files(in, json_object_get(m, "attachments"), files))
        return "a message with a file that did not come along";
    return NULL;
}

static int put_message(struct importing *in, struct conn *c, int64_t chat, const json_t *m,
                       map *seen, sp_error *err)
{
    const char *parent = text(m, "parent"), *state = text(m, "state"), *id = text(m, "id");
    bool ended = state && strcmp(state, "queued") != 0 && strcmp(state, "streaming") != 0;
    int64_t files[STORE_FILES_MOST];
    size_t n_files = json_array_size(json_object_get(m, "attachments"));
    json_t *attachments = NULL;
    struct new_message n = {.id = id,
                            .role = text(m, "role"),
                            .state = !state  ? "complete"
                                     : ended ? state
                                             : "interrupted",
                            .model = text(m, "model"),
                            .finish_reason = text(m, "finish_reason"),
                            .content = whole_text(m, "content"),
                            .reasoning = whole_text(m, "reasoning"),
                            .error = json_object_get(m, "error"),
                            .usage = json_object_get(m, "usage"),
                            .timings = json_object_get(m, "timings"),
                            .chat = chat,
                            .at = micros_of(m, "created", chat)};
    int64_t seq = 0;
    if (parent)
        (void)map_get(seen, parent, strlen(parent), &n.parent);
    (void)find_files(in, json_object_get(m, "attachments"), files);
    int code = n_files > 0 ? files_json(c, files, n_files, &attachments, err) : 0;
    n.attachments = attachments;
    if (code == 0)
        code = message_insert(c, in->owner, &n, &seq, err);
    if (code == 0)
        code = files_attach(c, seq, files, n_files, err);
    json_decref(attachments);
    if (code == 0 && map_set(seen, id, strlen(id), seq) < 0)
        code = sp_fail(err, SP_ENOMEM, "out of memory");
    return code;
}

/* 1: *why says what is wrong with it. */
static int put_messages(struct importing *in, struct conn *c, int64_t chat, const json_t *messages,
                        map *seen, const char **why, sp_error *err)
{
    size_t i;
    const json_t *m;
    int code = 0;
    json_array_foreach(messages, i, m)
    {
        *why = check_message(in, m, seen);
        if (*why)
            return SKIPPED;
        if ((code = put_message(in, c, chat, m, seen, err)) < 0)
            return code;
    }
    return 0;
}

static int set_head(struct conn *c, int64_t chat, const json_t *j, const map *seen, sp_error *err)
{
    int64_t seq = 0, last = 0;
    const char *head = text(j, "head");
    if (head && map_get(seen, head, strlen(head), &seq))
        return db_run(c, err, "UPDATE chats SET head = ?1 WHERE seq = ?2", "ii", seq, chat);
    int code = db_number(c, &last, err, "SELECT max(seq) FROM messages WHERE chat = ?1", "i", chat);
    return code == 0 && last
               ? db_run(c, err, "UPDATE chats SET head = ?1 WHERE seq = ?2", "ii", last, chat)
               : code;
}

static const char *check_chat(struct conn *c, const json_t *j, const json_t *messages,
                              sp_error *err, int *code)
{
    int64_t there = 0;
    const char *id = text(j, "id"), *title = text(j, "title");
    *code = 0;
    if (!json_is_object(j) || !json_is_array(messages))
        return "no chat of ours";
    if (!store_id_sound(id, 'c'))
        return "a chat without an id";
    if (title && strlen(title) > STORE_TITLE_MOST)
        return "its title is too long";
    *code = db_number(c, &there, err, "SELECT 1 FROM chats WHERE id = ?1", "s", id);
    if (*code == 0)
        return "it is here already";
    *code = *code == SP_ENOTFOUND ? 0 : *code;
    return NULL;
}

/* Whether it was here, marked as deleted. */
static int bring_back(struct importing *in, struct conn *c, const char *id, bool *was,
                      sp_error *err)
{
    int code = db_run(
        c, err,
        "UPDATE chats SET deleted = NULL WHERE id = ?1 AND owner = ?2 AND deleted IS NOT NULL",
        "si", id, in->owner);
    *was = code == 0 && sqlite3_changes(c->db) > 0;
    return code;
}

/* SKIPPED: for *why. */
static int put_chat(struct importing *in, struct conn *c, const json_t *whole, const char **why,
                    sp_error *err)
{
    const json_t *j = json_object_get(whole, "chat"),
                 *messages = json_object_get(whole, "messages");
    int64_t now = now_micros(), seq = 0;
    bool was_deleted = false;
    int code = store_id_sound(text(j, "id"), 'c')
                   ? bring_back(in, c, text(j, "id"), &was_deleted, err)
                   : 0;
    if (code < 0 || was_deleted)
        return code < 0 ? code : RESTORED;
    *why = check_chat(c, j, messages, err, &code);
    if (*why || code < 0)
        return code < 0 ? code : SKIPPED;
    const json_t *params = json_object_get(j, "params");
    struct new_chat n = {.id = text(j, "id"),
                         .title = text(j, "title"),
                         .titled = true,
                         .folder = text(j, "folder"),
                         .pinned = json_is_true(json_object_get(j, "pinned")),
                         .model = text(j, "model"),
                         .system = text(j, "system"),
                         .params = json_is_object(params) ? params : NULL,
                         .at = micros_of(j, "created", now)};
    n.updated = micros_of(j, "updated", n.at);
    const json_t *files = json_object_get(whole, "files");
    map *seen = map_new(json_array_size(messages));
    in->files = map_new(json_array_size(files));
    code = seen && in->files ? chat_insert(c, in->owner, &n, &seq, err)
                             : sp_fail(err, SP_ENOMEM, "out of memory");
    if (code == 0)
        code = put_files(in, c, files, why, err);
    if (code == 0)
        code = put_messages(in, c, seq, messages, seen, why, err);
    if (code == 0)
        code = set_head(c, seq, j, seen, err);
    map_free(seen);
    map_free(in->files);
    return code;
}

/* A message's id that another chat has can't be taken again: the database says so. */
static bool is_taken(struct conn *c, int code)
{
    return code < 0 && sqlite3_extended_errcode(c->db) == SQLITE_CONSTRAINT_UNIQUE;
}

static int take(struct importing *in, const json_t *whole, sp_error *err)
{
    const char *why = NULL, *title = text(json_object_get(whole, "chat"), "title");
    struct conn *c;
    int code = db_write(in->s, &c, err);
    if (code < 0)
        return code;
    code = put_chat(in, c, whole, &why, err);
    if (is_taken(c, code)) {
        why = "a message of it is here already, in another chat";
        code = SKIPPED;
    }
    int ended = db_written(c, code == SKIPPED ? SP_ECANCELLED : code == RESTORED ? 0 : code, err);
    if (code == SKIPPED) {
        skip(in, title ? title : "", why);
        return 0;
    }
    if (ended < 0)
        return ended;
    in->out->chats++;
    if (code == 0)
        in->out->messages += json_array_size(json_object_get(whole, "messages"));
    return 0;
}

/* ---- whichever it is ---- */

static int take_any(struct importing *in, json_t *j, sp_error *err)
{
    const char *why = NULL;
    json_t *whole = json_object_get(j, "sampan")    ? json_incref(j)
                    : json_object_get(j, "mapping") ? import_openai(j, &why)
                    : json_object_get(j, "chat")    ? import_open_webui(j, &why)
                                                    : NULL;
    int code = 0;
    in->n++;
    if (whole)
        code = take(in, whole, err);
    else
        skip(in, "", why ? why : "neither a chat of Sampan nor one of OpenAI or Open WebUI");
    json_decref(whole);
    return code;
}

static size_t blanks(const char *p, size_t n)
{
    size_t i = 0;
    while (i < n && (p[i] == ' ' || p[i] == '\n' || p[i] == '\r' || p[i] == '\t'))
        i++;
    return i;
}

/* One value at p; *used: its bytes. A line that is no JSON is passed over as a whole, in a list all ends there. */
static int take_next(struct importing *in, const char *p, size_t n, bool list, size_t *used,
                     sp_error *err)
{
    json_error_t je;
    json_t *j = json_loadb(p, n, JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, &je);
    const char *end = j || list ? NULL : memchr(p, '\n', n);
    int code = 0;
    *used = j ? (size_t)je.position : end ? (size_t)(end - p) + 1 : n;
    if (j) {
        code = take_any(in, j, err);
    } else {
        in->n++;
        skip(in, "", je.text);
    }
    json_decref(j);
    return code;
}

int store_import(store *s, int64_t owner, const char *p, size_t n, struct store_imported *out,
                 sp_error *err)
{
    *out = (struct store_imported){.skipped = json_array()};
    struct importing in = {.s = s, .owner = owner, .out = out};
    size_t at = n >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0 ? 3 : 0; /* a byte order mark */
    at += blanks(p + at, n - at);
    bool list = at < n && p[at] == '[';
    if (at == n)
        return sp_fail(err, SP_EINVAL, "there is nothing in it");
    if (p[at] != '[' && p[at] != '{')
        return sp_fail(err, SP_EINVAL,
                       "it is neither JSON nor lines of JSON: Sampan's export, OpenAI's "
                       "conversations.json and Open WebUI's export are read");
    int code = 0;
    for (at += list; code == 0;) {
        at += blanks(p + at, n - at);
        while (at < n && p[at] == ',' && list)
            at += 1 + blanks(p + at + 1, n - at - 1);
        if (at >= n && list) {
            in.n++;
            skip(&in, "", "the list has no end");
        }
        if (at >= n || (list && p[at] == ']'))
            break;
        size_t used = 0;
        code = take_next(&in, p + at, n - at, list, &used, err);
        at += used;
    }
    return code;
}
