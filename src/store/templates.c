/* Tasks that people make (templates): what is in one is for the server to check. */
#include "store/store_int.h"

#define TEMPLATE_COLUMNS "id, body, seq, updated"

static json_t *template_json(sqlite3_stmt *st)
{
    json_t *j = column_json(st, 1);
    if (!json_is_object(j)) {
        json_decref(j);
        j = json_object();
    }
    json_object_set_new(j, "id", column_text(st, 0));
    json_object_set_new(j, "created", column_time(st, 2));
    json_object_set_new(j, "updated", column_time(st, 3));
    return j;
}

static int read_template(struct conn *c, int64_t owner, const char *id, json_t **out, sp_error *err)
{
    sqlite3_stmt *st =
        db_query(c, err, "SELECT " TEMPLATE_COLUMNS " FROM templates WHERE id = ?1 AND owner = ?2",
                 "si", id, owner);
    int code = st ? db_step(c, st, err) : db_failed(err);
    if (code == 1) {
        *out = template_json(st);
        code = 0;
    } else if (code == 0) {
        code = sp_fail(err, SP_ENOTFOUND, "there is no template %.64s", id);
    }
    db_done(st);
    return code;
}

int store_templates(store *s, int64_t owner, json_t **out, sp_error *err)
{
    struct conn *c = db_take_reader(s);
    json_t *list = json_array();
    sqlite3_stmt *st =
        db_query(c, err, "SELECT " TEMPLATE_COLUMNS " FROM templates WHERE owner = ?1 ORDER BY seq",
                 "i", owner);
    int code = st ? 0 : db_failed(err);
    while (st && (code = db_step(c, st, err)) == 1)
        json_array_append_new(list, template_json(st));
    db_done(st);
    db_give(c);
    if (code == 0)
        *out = list;
    else
        json_decref(list);
    return code;
}

static int insert(struct conn *c, int64_t owner, const char *id, const json_t *body, sp_error *err)
{
    int64_t n = 0, seq = 0;
    int code = db_number(c, &n, err, "SELECT count(*) FROM templates WHERE owner = ?1", "i", owner);
    if (code == 0 && n >= STORE_TEMPLATES_MOST)
        return sp_fail(err, SP_EFULL, "%lld templates are kept already: delete some", (long long)n);
    if (code == 0)
        code = row_number(c, "templates", now_micros(), 0, &seq, err);
    if (code == 0)
        code = db_run(c, err,
                      "INSERT INTO templates (seq, id, owner, body, updated) VALUES (?1, ?2, ?3, "
                      "?4, ?1)",
                      "isij", seq, id, owner, body);
    return code;
}

int store_template_put(store *s, int64_t owner, const char *id, const json_t *body, json_t **out,
                       sp_error *err)
{
    char made[STORE_ID_BYTES];
    struct conn *c;
    *out = NULL;
    store_id_new('t', made);
    int code = db_write(s, &c, err);
    if (code == 0 && !id)
        code = insert(c, owner, made, body, err);
    else if (code == 0)
        code = db_run(c, err,
                      "UPDATE templates SET body = ?1, updated = ?2 WHERE id = ?3 AND owner = ?4",
                      "jisi", body, now_micros(), id, owner);
    if (code == 0)
        code = read_template(c, owner, id ? id : made, out, err);
    code = db_written(c, code, err);
    if (code < 0) {
        json_decref(*out);
        *out = NULL;
    }
    return code;
}

int store_template_remove(store *s, int64_t owner, const char *id, sp_error *err)
{
    json_t *there = NULL;
    struct conn *c;
    int code = db_write(s, &c, err);
    if (code == 0)
        code = read_template(c, owner, id, &there, err);
    if (code == 0)
        code = db_run(c, err, "DELETE FROM templates WHERE id = ?1", "s", id);
    json_decref(there);
    return db_written(c, code, err);
}
