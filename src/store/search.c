/* Pages of chats: all of them by the time of their last change, or those that a search finds.
 *
 * A search walks the matches in messages, titles and files of messages from the newest down (all are numbered by
 * time), takes each chat once, and stops when the page is full; so common words cost as little as rare ones. A page's
 * cursor is the number of the last match that was looked at. A chat that an earlier page had is known without
 * remembering it: it has a newer match. */
#include <stdio.h>
#include <string.h>
#include "store/store_int.h"

#define LOOKED_AT_MOST                                                                             \
    20000 /* matches of one page: then it ends where it is, and the next goes on */

static int page_json(json_t *list, const char *next, json_t **out, sp_error *err)
{
    *out = json_pack("{s:o,s:s?}", "data", list, "next", next);
    return *out ? 0 : sp_fail(err, SP_ENOMEM, "out of memory");
}

static int bad_cursor(sp_error *err)
{
    return sp_fail(err, SP_EINVAL, "cursor: must be the `next` of a page");
}

/* ---- by time ---- */

/* "UPDATED.SEQ" of the last chat of the page before. */
static bool read_place(const char *cursor, int64_t *updated, int64_t *seq)
{
    str s = str_of(cursor);
    *updated = *seq = INT64_MAX;
    if (!cursor)
        return true;
    const char *dot = memchr(s.p, '.', s.n);
    size_t n = dot ? (size_t)(dot - s.p) : 0;
    return dot && str_to_i64((str){s.p, n}, updated) &&
           str_to_i64((str){s.p + n + 1, s.n - n - 1}, seq);
}

static sqlite3_stmt *by_time(struct conn *c, int64_t owner, const struct store_query *q,
                             int64_t updated, int64_t seq, sp_error *err)
{
    char sql[900];
    (void)snprintf(sql, sizeof sql,
                   "SELECT " CHAT_COLUMNS ", c.updated, c.seq" CHAT_FROM
                   "WHERE c.owner = ?1 AND c.deleted IS %s AND (c.updated, c.seq) < (?2, ?3)%s%s"
                   " ORDER BY c.updated DESC, c.seq DESC LIMIT ?5",
                   q->deleted ? "NOT NULL" : "NULL",
                   q->pinned < 0    ? ""
                   : q->pinned == 0 ? " AND c.pinned = 0"
                                    : " AND c.pinned = 1",
                   q->folder ? " AND c.folder IS NOT NULL AND c.folder = ?4" : " AND ?4 IS NULL");
    return db_query(c, err, sql, "iiisi", owner, updated, seq, q->folder, (int64_t)q->limit + 1);
}

static int list_by_time(struct conn *c, int64_t owner, const struct store_query *q, json_t **out,
                        sp_error *err)
{
    int64_t updated, seq, last_updated = 0, last_seq = 0;
    char next[64];
    bool more = false;
    if (!read_place(q->cursor, &updated, &seq))
        return bad_cursor(err);
    json_t *list = json_array();
    sqlite3_stmt *st = by_time(c, owner, q, updated, seq, err);
    int code = st ? 0 : db_failed(err);
    while (st && !more && (code = db_step(c, st, err)) == 1) {
        more = json_array_size(list) == (size_t)q->limit;
        if (more)
            break;
        last_updated = sqlite3_column_int64(st, 12);
        last_seq = sqlite3_column_int64(st, 13);
        if (json_array_append_new(list, chat_json(st)) != 0) {
            code = sp_fail(err, SP_ENOMEM, "out of memory");
            break;
        }
    }
    db_done(st);
    (void)snprintf(next, sizeof next, "%lld.%lld", (long long)last_updated, (long long)last_seq);
    if (code >= 0)
        return page_json(list, more ? next : NULL, out, err);
    json_decref(list);
    return code;
}

/* ---- by words ---- */

struct search {
    struct conn *c;
    int64_t owner;
    const struct store_query *q;
    struct terms *terms;
    int64_t from;                  /* matches below this one are this page's */
    int64_t last;                  /* the last that was looked at */
    int64_t seen[STORE_PAGE_MOST]; /* chats of this page */
    size_t n_seen, looked_at;
    json_t *list;
};

enum where { IN_MESSAGES, IN_FILES, IN_TITLES, PLACES };

/* The index, and how its rows come to the messages m and chats c. 32: FILE_PLACES. */
static const struct {
    const char *index, *from, *message;
} places[PLACES] = {
    [IN_MESSAGES] = {"message_search",
                     "message_search s CROSS JOIN messages m ON m.seq = s.rowid CROSS JOIN chats c "
                     "ON c.seq = m.chat",
                     "m.id"},
    [IN_FILES] = {"file_search",
                  "file_search s CROSS JOIN messages m ON m.seq = s.rowid / 32 CROSS JOIN chats c "
                  "ON c.seq = m.chat",
                  "m.id"},
    [IN_TITLES] = {"chat_search", "chat_search s CROSS JOIN chats c ON c.seq = s.rowid", "NULL"},
};

struct match {
    enum where where;
    sqlite3_stmt *st; /* number of the match, number of its chat, id of its message */
    int code;         /* of the last step */
    int64_t row;      /* in the index */
    int64_t seq;      /* of the message or chat */
};

static void step_match(struct search *s, struct match *m, sp_error *err)
{
    m->code = m->st ? db_step(s->c, m->st, err) : db_failed(err);
    m->row = m->code == 1 ? sqlite3_column_int64(m->st, 0) : INT64_MIN;
    m->seq = m->where == IN_FILES && m->code == 1 ? m->row / FILE_PLACES : m->row;
}

/* The number in an index that the rows of messages or chats below `seq` are below, whatever a cursor says. */
static int64_t row_of(enum where where, int64_t seq)
{
    if (where != IN_FILES)
        return seq;
    return seq < 0 ? 0 : seq < INT64_MAX / FILE_PLACES ? seq * FILE_PLACES : INT64_MAX;
}

/* With the conditions on its chat that a page asks for. */
static void open_match(struct search *s, struct match *m, enum where where, sp_error *err)
{
    char sql[700];
    const struct store_query *q = s->q;
    (void)snprintf(sql, sizeof sql,
                   "SELECT s.rowid, c.seq, %s FROM %s WHERE %s MATCH ?1 AND s.rowid < ?2 AND "
                   "c.owner = ?3 AND c.deleted IS %s%s%s ORDER BY s.rowid DESC",
                   places[where].message, places[where].from, places[where].index,
                   q->deleted ? "NOT NULL" : "NULL",
                   q->pinned < 0    ? ""
                   : q->pinned == 0 ? " AND c.pinned = 0"
                                    : " AND c.pinned = 1",
                   q->folder ? " AND c.folder = ?4" : " AND ?4 IS NULL");
    m->where = where;
    m->st = db_query(s->c, err, sql, "siis", terms_match(s->terms), row_of(where, s->from),
                     s->owner, q->folder);
    step_match(s, m, err);
}

static bool seen(const struct search *s, int64_t chat)
{
    for (size_t i = 0; i < s->n_seen; i++)
        if (s->seen[i] == chat)
            return true;
    return false;
}

/* 1: the index has a match from row `from` to before `to`; 0: none. */
static int any_match(struct search *s, const char *sql, int64_t from, int64_t to, sp_error *err)
{
    int64_t there = 0;
    int code = db_number(s->c, &there, err, sql, "sii", terms_match(s->terms), from, to);
    return code == SP_ENOTFOUND ? 0 : code < 0 ? code : 1;
}

/* 1: an earlier page had it; 0: not; negative: failed. */
static int had_before(struct search *s, int64_t chat, sp_error *err)
{
    if (s->from == INT64_MAX)
        return 0;
    sqlite3_stmt *st = db_query(s->c, err,
                                "SELECT m.seq, EXISTS (SELECT 1 FROM message_files f WHERE "
                                "f.message = m.seq) FROM messages m WHERE chat = ?1 AND seq >= ?2",
                                "ii", chat, s->from);
    int code = st ? 0 : db_failed(err), found = 0;
    while (st && found == 0 && (code = db_step(s->c, st, err)) == 1) {
        int64_t seq = sqlite3_column_int64(st, 0);
        found = any_match(s,
                          "SELECT 1 FROM message_search WHERE message_search MATCH ?1 AND rowid >= "
                          "?2 AND rowid < ?3",
                          seq, seq + 1, err);
        if (found == 0 && sqlite3_column_int(st, 1))
            found = any_match(s,
                              "SELECT 1 FROM file_search WHERE file_search MATCH ?1 AND rowid >= "
                              "?2 AND rowid < ?3",
                              row_of(IN_FILES, seq), row_of(IN_FILES, seq + 1), err);
    }
    db_done(st);
    return code < 0 ? code : found;
}

static int put_snippet(const struct search *s, str text, buf *out, sp_error *err)
{
    return terms_snippet(s->terms, text.p, text.n, out) == 0
               ? 0
               : sp_fail(err, SP_ENOMEM, "out of memory");
}

static int snippet_of_message(struct search *s, int64_t seq, buf *out, sp_error *err)
{
    sqlite3_stmt *st = db_query(s->c, err, "SELECT content FROM messages WHERE seq = ?1", "i", seq);
    int code = st ? db_step(s->c, st, err) : db_failed(err);
    const char *text = code == 1 ? (const char *)sqlite3_column_text(st, 0) : NULL;
    if (code >= 0)
        code = put_snippet(
            s, (str){text ? text : "", text ? (size_t)sqlite3_column_bytes(st, 0) : 0}, out, err);
    db_done(st);
    return code;
}

/* Of its text, or of its name if only that matches. */
static int snippet_of_file(struct search *s, int64_t row, json_t **file, buf *out, sp_error *err)
{
    char *text = NULL;
    size_t n = 0;
    int code = file_at(s->c, row, file, &text, &n, err);
    const char *name = json_string_value(json_object_get(*file, "name"));
    if (code == 0)
        code = put_snippet(s, (str){text, n}, out, err);
    if (code == 0 && !memchr(out->data ? out->data : "", '\2', out->len)) {
        buf of_name;
        buf_init(&of_name, 4096);
        code = put_snippet(s, str_of(name), &of_name, err);
        if (code == 0 && memchr(of_name.data ? of_name.data : "", '\2', of_name.len)) {
            buf_clear(out);
            (void)buf_add(out, of_name.data, of_name.len);
        }
        buf_free(&of_name);
    }
    sp_free(text);
    return code;
}

/* What a page says of a match beside its chat: "snippet", "message" and "file". */
static int put_match(struct search *s, const struct match *m, json_t *chat, sp_error *err)
{
    const json_t *title = json_object_get(chat, "title");
    json_t *file = NULL;
    buf out;
    buf_init(&out, 4096);
    int code =
        m->where == IN_MESSAGES ? snippet_of_message(s, m->seq, &out, err)
        : m->where == IN_FILES
            ? snippet_of_file(s, m->row, &file, &out, err)
            : put_snippet(s, (str){json_string_value(title), json_string_length(title)}, &out, err);
    const char *id = (const char *)sqlite3_column_text(m->st, 2);
    json_t *fields = code == 0 ? json_pack("{s:s%,s:s?,s:O?}", "snippet", out.data ? out.data : "",
                                           out.len, "message", id, "file", file)
                               : NULL;
    if (code == 0 && (!fields || json_object_update(chat, fields) != 0))
        code = sp_fail(err, SP_ENOMEM, "out of memory");
    json_decref(fields);
    json_decref(file);
    buf_free(&out);
    return code;
}

static int take_match(struct search *s, const struct match *m, sp_error *err)
{
    int64_t chat = sqlite3_column_int64(m->st, 1);
    json_t *j = NULL;
    int had = seen(s, chat) ? 1 : had_before(s, chat, err);
    if (had != 0)
        return had < 0 ? had : 0;
    int code = chat_by_seq(s->c, chat, &j, err);
    if (code == 0)
        code = put_match(s, m, j, err);
    if (code == 0) {
        json_array_append(s->list, j);
        s->seen[s->n_seen++] = chat;
    }
    json_decref(j);
    return code;
}

/* The newest; NULL: there is none any more. */
static struct match *newest(struct match *list)
{
    struct match *found = NULL;
    for (int i = 0; i < PLACES; i++)
        if (list[i].code == 1 && (!found || list[i].seq > found->seq))
            found = &list[i];
    return found;
}

static int walk(struct search *s, bool *more, sp_error *err)
{
    struct match list[PLACES] = {{.code = 0}}, *m;
    int code = 0;
    for (int i = 0; i < PLACES && code == 0; i++) {
        open_match(s, &list[i], (enum where)i, err);
        code = list[i].code < 0 ? list[i].code : 0;
    }
    while (code == 0 && (m = newest(list)) != NULL) {
        if (s->n_seen == (size_t)s->q->limit || s->looked_at == LOOKED_AT_MOST) {
            *more = true;
            break;
        }
        s->looked_at++;
        s->last = m->seq;
        code = take_match(s, m, err);
        if (code == 0) {
            step_match(s, m, err);
            code = m->code < 0 ? m->code : 0;
        }
    }
    for (int i = 0; i < PLACES; i++)
        db_done(list[i].st);
    return code;
}

static int list_by_words(struct conn *c, int64_t owner, const struct store_query *q, json_t **out,
                         sp_error *err)
{
    struct search s = {.c = c, .owner = owner, .q = q, .from = INT64_MAX, .list = json_array()};
    char next[32];
    bool more = false;
    int code = 0;
    if (q->cursor && !str_to_i64(str_of(q->cursor), &s.from))
        code = bad_cursor(err);
    if (code == 0)
        code = terms_new(q->text, &s.terms, err);
    if (code == 0 && terms_match(s.terms))
        code = walk(&s, &more, err);
    terms_free(s.terms);
    (void)snprintf(next, sizeof next, "%lld", (long long)s.last);
    if (code == 0)
        return page_json(s.list, more ? next : NULL, out, err);
    json_decref(s.list);
    return code;
}

int store_chats(store *s, int64_t owner, const struct store_query *q, json_t **out, sp_error *err)
{
    if (q->limit < 1 || q->limit > STORE_PAGE_MOST)
        return sp_fail(err, SP_EINVAL, "limit: must be from 1 to %d", STORE_PAGE_MOST);
    struct conn *c = db_take_reader(s);
    int code = db_run(c, err, "BEGIN", "");
    if (code == 0)
        code = q->text && *q->text ? list_by_words(c, owner, q, out, err)
                                   : list_by_time(c, owner, q, out, err);
    code = db_end(c, code, err);
    db_give(c);
    return code;
}
