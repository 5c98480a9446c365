/* Pages of chats: all of them by the time of their last change, or those that a search finds.
 *
 * A search walks the matches in messages and titles from the newest down (both are numbered by time), takes each chat
 * once, and stops when the page is full; so common words cost as little as rare ones. A page's cursor is the number of
 * the last match that was looked at. A chat that an earlier page had is known without remembering it: it has a newer
 * match. */
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

struct match {
    sqlite3_stmt *st; /* number of the match, number of its chat, id of its message */
    int code;         /* of the last step */
    int64_t seq;
};

static void step_match(struct search *s, struct match *m, sp_error *err)
{
    m->code = m->st ? db_step(s->c, m->st, err) : db_failed(err);
    m->seq = m->code == 1 ? sqlite3_column_int64(m->st, 0) : INT64_MIN;
}

/* With the conditions on its chat that a page asks for. */
static void open_match(struct search *s, struct match *m, bool titles, sp_error *err)
{
    char sql[700];
    const struct store_query *q = s->q;
    (void)snprintf(
        sql, sizeof sql,
        "SELECT s.rowid, c.seq, %s FROM %s WHERE %s MATCH ?1 AND s.rowid < ?2 AND c.owner = ?3"
        " AND c.deleted IS %s%s%s ORDER BY s.rowid DESC",
        titles ? "NULL" : "m.id",
        titles ? "chat_search s CROSS JOIN chats c ON c.seq = s.rowid"
               : "message_search s CROSS JOIN messages m ON m.seq = s.rowid"
                 " CROSS JOIN chats c ON c.seq = m.chat",
        titles ? "chat_search" : "message_search", q->deleted ? "NOT NULL" : "NULL",
        q->pinned < 0    ? ""
        : q->pinned == 0 ? " AND c.pinned = 0"
                         : " AND c.pinned = 1",
        q->folder ? " AND c.folder = ?4" : " AND ?4 IS NULL");
    m->st = db_query(s->c, err, sql, "siis", terms_match(s->terms), s->from, s->owner, q->folder);
    step_match(s, m, err);
}

static bool seen(const struct search *s, int64_t chat)
{
    for (size_t i = 0; i < s->n_seen; i++)
        if (s->seen[i] == chat)
            return true;
    return false;
}

/* 1: an earlier page had it; 0: not; negative: failed. */
static int had_before(struct search *s, int64_t chat, sp_error *err)
{
    int64_t there = 0;
    if (s->from == INT64_MAX)
        return 0;
    sqlite3_stmt *st = db_query(s->c, err, "SELECT seq FROM messages WHERE chat = ?1 AND seq >= ?2",
                                "ii", chat, s->from);
    int code = st ? 0 : db_failed(err), found = 0;
    while (st && !found && (code = db_step(s->c, st, err)) == 1) {
        int one =
            db_number(s->c, &there, err,
                      "SELECT 1 FROM message_search WHERE message_search MATCH ?1 AND rowid = ?2",
                      "si", terms_match(s->terms), sqlite3_column_int64(st, 0));
        if (one < 0 && one != SP_ENOTFOUND)
            code = one;
        if (code < 0)
            break;
        found = one == 0;
    }
    db_done(st);
    return code < 0 ? code : found;
}

/* The text that matched: of a message, or with message 0 the chat's title. */
static int put_snippet(struct search *s, int64_t message, json_t *chat, sp_error *err)
{
    buf out;
    buf_init(&out, 4096);
    const json_t *title = json_object_get(chat, "title");
    sqlite3_stmt *st =
        message ? db_query(s->c, err, "SELECT content FROM messages WHERE seq = ?1", "i", message)
                : NULL;
    int code = !message ? 0 : st ? db_step(s->c, st, err) : db_failed(err);
    if (code == 1) {
        const char *text = (const char *)sqlite3_column_text(st, 0);
        code = terms_snippet(s->terms, text ? text : "", (size_t)sqlite3_column_bytes(st, 0), &out);
    } else if (code == 0) {
        code = terms_snippet(s->terms, json_string_value(title), json_string_length(title), &out);
    }
    db_done(st);
    if (code == 0 &&
        json_object_set_new(chat, "snippet", json_stringn(out.data ? out.data : "", out.len)) != 0)
        code = SP_ENOMEM;
    buf_free(&out);
    return code == SP_ENOMEM ? sp_fail(err, SP_ENOMEM, "out of memory") : code;
}

static int take_match(struct search *s, const struct match *m, bool title, sp_error *err)
{
    int64_t chat = sqlite3_column_int64(m->st, 1);
    json_t *j = NULL;
    int had = seen(s, chat) ? 1 : had_before(s, chat, err);
    if (had != 0)
        return had < 0 ? had : 0;
    int code = chat_by_seq(s->c, chat, &j, err);
    if (code == 0)
        code = put_snippet(s, title ? 0 : m->seq, j, err);
    if (code == 0) {
        const char *id = title ? NULL : (const char *)sqlite3_column_text(m->st, 2);
        json_object_set_new(j, "message", id ? json_string(id) : json_null());
        json_array_append(s->list, j);
        s->seen[s->n_seen++] = chat;
    }
    json_decref(j);
    return code;
}

static int walk(struct search *s, bool *more, sp_error *err)
{
    struct match words = {0}, titles = {0};
    open_match(s, &words, false, err);
    open_match(s, &titles, true, err);
    int code = words.code < 0 ? words.code : titles.code < 0 ? titles.code : 0;
    while (code == 0 && (words.code == 1 || titles.code == 1)) {
        if (s->n_seen == (size_t)s->q->limit || s->looked_at == LOOKED_AT_MOST) {
            *more = true;
            break;
        }
        bool title = titles.seq > words.seq;
        struct match *m = title ? &titles : &words;
        s->looked_at++;
        s->last = m->seq;
        code = take_match(s, m, title, err);
        if (code == 0) {
            step_match(s, m, err);
            code = m->code < 0 ? m->code : 0;
        }
    }
    db_done(words.st);
    db_done(titles.st);
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
