/* Jobs, their parts and what came of them. */
#include <stdio.h>
#include <string.h>
#include "store/store_int.h"

#define JOB_COLUMNS                                                                                \
    "id, kind, title, state, done, total, unit, params, result, error, seq, started, finished"
#define JOB_BY_ID "(SELECT seq FROM jobs WHERE id = ?1)"

static json_t *job_json(sqlite3_stmt *st)
{
    return json_pack(
        "{s:o,s:o,s:o,s:o,s:{s:I,s:I,s:o},s:o,s:o,s:o,s:o,s:o,s:o}", "id", column_text(st, 0),
        "kind", column_text(st, 1), "title", column_text(st, 2), "state", column_text(st, 3),
        "progress", "done", (json_int_t)sqlite3_column_int64(st, 4), "total",
        (json_int_t)sqlite3_column_int64(st, 5), "unit", column_text(st, 6), "params",
        column_json(st, 7), "result", column_json(st, 8), "error", column_json(st, 9), "created",
        column_time(st, 10), "started", column_time(st, 11), "finished", column_time(st, 12));
}

static int read_job(struct conn *c, int64_t owner, const char *id, json_t **out, sp_error *err)
{
    sqlite3_stmt *st = db_query(
        c, err, "SELECT " JOB_COLUMNS " FROM jobs WHERE id = ?1 AND owner = ?2", "si", id, owner);
    int code = st ? db_step(c, st, err) : db_failed(err);
    if (code == 1) {
        *out = job_json(st);
        code = *out ? 0 : sp_fail(err, SP_ENOMEM, "out of memory");
    } else if (code == 0) {
        code = sp_fail(err, SP_ENOTFOUND, "there is no job %.64s", id);
    }
    db_done(st);
    return code;
}

/* Of a write: what was read is nobody's if the write failed. */
static int written(struct conn *c, int code, json_t **out, sp_error *err)
{
    code = db_written(c, code, err);
    if (code < 0) {
        json_decref(*out);
        *out = NULL;
    }
    return code;
}

/* ---- making ---- */

/* first: the number of the first of them. */
static int insert_parts(struct conn *c, const char *job, const json_t *sources, int64_t first,
                        sp_error *err)
{
    size_t i;
    const json_t *source;
    int code = 0;
    json_array_foreach((json_t *)(uintptr_t)sources, i, source)
    {
        if (code == 0)
            code =
                db_run(c, err,
                       "INSERT INTO job_parts (job, number, source) VALUES (" JOB_BY_ID ", ?2, ?3)",
                       "sij", job, first + (int64_t)i, source);
    }
    return code;
}

static int check_room(struct conn *c, int64_t owner, sp_error *err)
{
    int64_t n = 0;
    int code = db_number(c, &n, err, "SELECT count(*) FROM jobs WHERE owner = ?1", "i", owner);
    if (code == 0 && n >= STORE_JOBS_MOST)
        return sp_fail(err, SP_EFULL, "%lld jobs are kept already: delete some", (long long)n);
    return code;
}

static int insert(struct conn *c, int64_t owner, const char *id, const struct store_new_job *n,
                  sp_error *err)
{
    int64_t seq = 0;
    int code = check_room(c, owner, err);
    if (code == 0)
        code = row_number(c, "jobs", now_micros(), 0, &seq, err);
    if (code == 0)
        code = db_run(c, err,
                      "INSERT INTO jobs (seq, id, owner, kind, title, state, unit, total, params, "
                      "key) VALUES (?1, ?2, ?3, ?4, ?5, 'queued', ?6, ?7, ?8, ?9)",
                      "isisssijs", seq, id, owner, n->kind, n->title, n->unit, n->total, n->params,
                      n->key);
    if (code == 0 && n->input.p)
        code = db_run(c, err, "UPDATE jobs SET input = ?1 WHERE seq = ?2", "ti", n->input.p,
                      n->input.n, seq);
    return code == 0 && n->parts ? insert_parts(c, id, n->parts, 0, err) : code;
}

int store_job_add(store *s, int64_t owner, const struct store_new_job *n, json_t **out,
                  sp_error *err)
{
    char id[STORE_ID_BYTES];
    struct conn *c;
    store_id_new('j', id);
    *out = NULL;
    int code = db_write(s, &c, err);
    if (code == 0)
        code = insert(c, owner, id, n, err);
    if (code == 0)
        code = read_job(c, owner, id, out, err);
    return written(c, code, out, err);
}

/* ---- asking ---- */

int store_job(store *s, int64_t owner, const char *id, json_t **out, sp_error *err)
{
    struct conn *c = db_take_reader(s);
    *out = NULL;
    int code = read_job(c, owner, id, out, err);
    db_give(c);
    return code;
}

static int read_cursor(const char *cursor, int64_t *before, sp_error *err)
{
    *before = INT64_MAX;
    if (!cursor || !*cursor)
        return 0;
    if (!str_to_i64(str_of(cursor), before) || *before < 0)
        return sp_fail(err, SP_EINVAL, "cursor: it is not one of this list");
    return 0;
}

/* One more than the page has tells that there is a next one. */
static int read_page(struct conn *c, sqlite3_stmt *st, int limit, json_t **out, sp_error *err)
{
    json_t *list = json_array();
    int64_t last = 0;
    bool more = false;
    int code = 0;
    while (!more && (code = db_step(c, st, err)) == 1) {
        more = json_array_size(list) == (size_t)limit;
        if (!more && json_array_append_new(list, job_json(st)) != 0) {
            code = sp_fail(err, SP_ENOMEM, "out of memory");
            break;
        }
        if (!more)
            last = sqlite3_column_int64(st, 10);
    }
    if (code < 0) {
        json_decref(list);
        return code;
    }
    char next[32];
    (void)snprintf(next, sizeof next, "%lld", (long long)last);
    *out = json_pack("{s:o,s:s?}", "data", list, "next", more ? next : NULL);
    return *out ? 0 : sp_fail(err, SP_ENOMEM, "out of memory");
}

int store_jobs(store *s, int64_t owner, const struct store_job_query *q, json_t **out,
               sp_error *err)
{
    int64_t before;
    int code = read_cursor(q->cursor, &before, err);
    if (code < 0)
        return code;
    struct conn *c = db_take_reader(s);
    sqlite3_stmt *st = db_query(c, err,
                                "SELECT " JOB_COLUMNS " FROM jobs WHERE owner = ?1 AND seq < ?2"
                                " AND (?3 IS NULL OR state = ?3) AND (?4 IS NULL OR kind = ?4)"
                                " ORDER BY seq DESC LIMIT ?5",
                                "iissi", owner, before, q->state, q->kind, (int64_t)q->limit + 1);
    code = st ? read_page(c, st, q->limit, out, err) : db_failed(err);
    db_done(st);
    db_give(c);
    return code;
}

int store_jobs_queued(store *s, json_t **out, sp_error *err)
{
    struct conn *c = db_take_reader(s);
    json_t *list = json_array();
    sqlite3_stmt *st =
        db_query(c, err, "SELECT id, owner FROM jobs WHERE state = 'queued' ORDER BY seq", "");
    int code = st ? 0 : db_failed(err);
    while (st && (code = db_step(c, st, err)) == 1)
        json_array_append_new(list, json_pack("{s:o,s:I}", "id", column_text(st, 0), "owner",
                                              (json_int_t)sqlite3_column_int64(st, 1)));
    db_done(st);
    db_give(c);
    if (code == 0)
        *out = list;
    else
        json_decref(list);
    return code;
}

int store_job_key(store *s, const char *id, char out[STORE_SHA_BYTES], sp_error *err)
{
    struct conn *c = db_take_reader(s);
    sqlite3_stmt *st = db_query(c, err, "SELECT key FROM jobs WHERE id = ?1", "s", id);
    int code = st ? db_step(c, st, err) : db_failed(err);
    const char *key = code == 1 ? (const char *)sqlite3_column_text(st, 0) : NULL;
    (void)snprintf(out, STORE_SHA_BYTES, "%s", key ? key : "");
    db_done(st);
    db_give(c);
    return code == 0  ? sp_fail(err, SP_ENOTFOUND, "there is no job %.64s", id)
           : code < 0 ? code
                      : 0;
}

int store_job_input(store *s, const char *id, char **text, size_t *n, sp_error *err)
{
    struct conn *c = db_take_reader(s);
    sqlite3_stmt *st =
        db_query(c, err, "SELECT input FROM jobs WHERE id = ?1 AND input IS NOT NULL", "s", id);
    int code = st ? db_step(c, st, err) : db_failed(err);
    if (code == 1) {
        const char *from = (const char *)sqlite3_column_text(st, 0);
        *n = (size_t)sqlite3_column_bytes(st, 0);
        *text = sp_strndup(from ? from : "", *n);
        code = *text ? 0 : sp_fail(err, SP_ENOMEM, "out of memory");
    } else if (code == 0) {
        code = sp_fail(err, SP_ENOTFOUND, "job %.64s has no input", id);
    }
    db_done(st);
    db_give(c);
    return code;
}

/* ---- changing ---- */

int store_job_change(store *s, int64_t owner, const char *id, const struct store_job_change *to,
                     json_t **out, sp_error *err)
{
    struct conn *c;
    *out = NULL;
    int code = db_write(s, &c, err);
    if (code == 0)
        code = db_run(c, err,
                      "UPDATE jobs SET state = ?1, done = ?2, total = ?3, result = ?4, error = ?5,"
                      " started = CASE WHEN ?6 THEN ?8 ELSE started END,"
                      " finished = CASE WHEN ?7 THEN ?8 END,"
                      " key = CASE WHEN ?11 THEN ?12 ELSE key END WHERE id = ?9 AND owner = ?10",
                      "siijjiiisiis", to->state, to->done, to->total, to->result, to->error,
                      (int64_t)to->starts, (int64_t)to->ends, now_micros(), id, owner,
                      (int64_t)to->asked, to->key);
    if (code == 0)
        code = read_job(c, owner, id, out, err);
    return written(c, code, out, err);
}

int store_job_progress(store *s, const char *id, int64_t done, int64_t total, sp_error *err)
{
    struct conn *c;
    int code = db_write(s, &c, err);
    if (code == 0)
        code = db_run(c, err,
                      "UPDATE jobs SET done = ?1, total = ?2 WHERE id = ?3 AND state = 'running'",
                      "iis", done, total, id);
    return db_written(c, code, err);
}

int store_job_remove(store *s, int64_t owner, const char *id, sp_error *err)
{
    json_t *job = NULL;
    struct conn *c;
    int code = db_write(s, &c, err);
    if (code == 0)
        code = read_job(c, owner, id, &job, err);
    if (code == 0)
        code = db_run(c, err, "DELETE FROM jobs WHERE id = ?1", "s", id);
    json_decref(job);
    return db_written(c, code, err);
}

/* ---- parts ---- */

int store_parts_add(store *s, const char *job, const json_t *sources, sp_error *err)
{
    struct conn *c;
    int64_t first = 0;
    int code = db_write(s, &c, err);
    if (code == 0)
        code = db_number(c, &first, err,
                         "SELECT ifnull(max(number) + 1, 0) FROM job_parts WHERE job = " JOB_BY_ID,
                         "s", job);
    if (code == 0)
        code = insert_parts(c, job, sources, first, err);
    if (code == 0)
        code = db_run(c, err, "UPDATE jobs SET input = NULL WHERE id = ?1", "s", job);
    return db_written(c, code, err);
}

static int add_bytes(struct conn *c, const char *job, int64_t more, sp_error *err)
{
    int64_t bytes = 0;
    int code = db_number(c, &bytes, err, "SELECT bytes FROM jobs WHERE id = ?1", "s", job);
    if (code == SP_ENOTFOUND)
        return sp_fail(err, SP_ENOTFOUND, "there is no job %.64s", job);
    if (code == 0 && bytes + more > (int64_t)STORE_RESULTS_MOST)
        return sp_fail(err, SP_EFULL, "the results of this job have more than %zu MiB",
                       STORE_RESULTS_MOST >> 20);
    return code == 0
               ? db_run(c, err, "UPDATE jobs SET bytes = bytes + ?1 WHERE id = ?2", "is", more, job)
               : code;
}

int store_part_done(store *s, const char *job, int64_t number, const json_t *result, sp_error *err)
{
    struct conn *c;
    size_t n = json_dumpb(result, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY);
    int code = db_write(s, &c, err);
    if (code == 0)
        code = add_bytes(c, job, (int64_t)n, err);
    if (code == 0)
        code = db_run(c, err,
                      "UPDATE job_parts SET result = ?2 WHERE job = " JOB_BY_ID " AND number = ?3",
                      "sji", job, result, number);
    return db_written(c, code, err);
}

static sqlite3_stmt *ask_parts(struct conn *c, const char *job, const struct store_part_query *q,
                               sp_error *err)
{
    return q->open ? db_query(c, err,
                              "SELECT number, source, result FROM job_parts WHERE job = " JOB_BY_ID
                              " AND number >= ?2 AND result IS NULL ORDER BY number LIMIT ?3",
                              "sii", job, q->from, (int64_t)q->limit)
                   : db_query(c, err,
                              "SELECT number, source, result FROM job_parts WHERE job = " JOB_BY_ID
                              " AND number >= ?2 ORDER BY number LIMIT ?3",
                              "sii", job, q->from, (int64_t)q->limit);
}

int store_parts(store *s, const char *job, const struct store_part_query *q, json_t **out,
                sp_error *err)
{
    struct conn *c = db_take_reader(s);
    json_t *list = json_array();
    sqlite3_stmt *st = ask_parts(c, job, q, err);
    int code = st ? 0 : db_failed(err);
    while (st && (code = db_step(c, st, err)) == 1)
        if (json_array_append_new(
                list, json_pack("{s:I,s:o,s:o}", "number", (json_int_t)sqlite3_column_int64(st, 0),
                                "source", column_json(st, 1), "result", column_json(st, 2))) != 0) {
            code = sp_fail(err, SP_ENOMEM, "out of memory");
            break;
        }
    db_done(st);
    db_give(c);
    if (code == 0)
        *out = list;
    else
        json_decref(list);
    return code;
}

int store_parts_count(store *s, const char *job, int64_t *all, int64_t *done, sp_error *err)
{
    struct conn *c = db_take_reader(s);
    sqlite3_stmt *st = db_query(
        c, err, "SELECT count(*), count(result) FROM job_parts WHERE job = " JOB_BY_ID, "s", job);
    int code = st ? db_step(c, st, err) : db_failed(err);
    if (code == 1) {
        *all = sqlite3_column_int64(st, 0);
        *done = sqlite3_column_int64(st, 1);
        code = 0;
    }
    db_done(st);
    db_give(c);
    return code;
}
