/* API keys that are made in the page. */
#include <string.h>
#include "base/clock.h"
#include "store/accounts.h"
#include "store/store_int.h"

/* In a transaction: whether there is room for it. */
static int check_free(struct conn *c, const struct store_key *k, sp_error *err)
{
    int64_t n = 0, there = 0;
    int code = db_number(c, &n, err, "SELECT count(*) FROM api_keys", "");
    if (code == 0 && n >= STORE_KEYS_MOST)
        return sp_fail(err, SP_EFULL, "there are %d keys already: revoke some", STORE_KEYS_MOST);
    if (code == 0)
        code = db_number(c, &there, err, "SELECT 1 FROM api_keys WHERE name = ?1", "s", k->name);
    if (code == 0)
        return sp_fail(err, SP_EFULL, "name: there is a key %s already: revoke it first", k->name);
    return code == SP_ENOTFOUND ? 0 : code;
}

static int insert(struct conn *c, const struct store_key *k, sp_error *err)
{
    return db_run(c, err,
                  "INSERT INTO api_keys (id, owner, name, hash, models, requests_per_minute, "
                  "tokens_per_minute, concurrent, page, created) VALUES (?1, ?2, ?3, ?4, ?5, ?6, "
                  "?7, ?8, ?9, ?10)",
                  "sissjiiiii", k->id, k->owner, k->name, k->hash, k->models,
                  k->requests_per_minute, k->tokens_per_minute, k->concurrent, (int64_t)k->page,
                  k->created);
}

int store_key_add(store *s, struct store_key *k, sp_error *err)
{
    struct conn *c = NULL;
    store_id_new('k', k->id);
    k->created = clock_unix();
    k->used = k->requests = k->tokens = 0;
    int code = db_write(s, &c, err);
    if (code == 0)
        code = check_free(c, k, err);
    if (code == 0)
        code = insert(c, k, err);
    if (code == 0)
        code = db_run(c, err, "UPDATE access_state SET checking = 1", "");
    if (code == 0)
        code = access_changed(c, err);
    return db_written(c, code, err);
}

int store_key_remove(store *s, int64_t owner, const char *id, sp_error *err)
{
    struct conn *c = NULL;
    int64_t there = 0;
    int code = db_write(s, &c, err);
    if (code == 0)
        code = db_number(c, &there, err, "SELECT 1 FROM api_keys WHERE id = ?1 AND owner = ?2",
                         "si", id, owner);
    if (code == 0)
        code = db_run(c, err, "DELETE FROM api_keys WHERE id = ?1", "s", id);
    else if (code == SP_ENOTFOUND)
        code = sp_fail(err, SP_ENOTFOUND, "there is no key %.64s", id);
    if (code == 0)
        code = access_changed(c, err);
    return db_written(c, code, err);
}

int store_key_checking(store *s, bool on, sp_error *err)
{
    struct conn *c = NULL;
    int64_t n = 0;
    int code = db_write(s, &c, err);
    if (code == 0)
        code = db_number(c, &n, err, "SELECT count(*) FROM api_keys", "");
    if (code == 0 && !on && n > 0)
        code = sp_fail(err, SP_EFULL, "checked: there are keys: revoke them first");
    if (code == 0)
        code = db_run(c, err, "UPDATE access_state SET checking = ?1", "i", (int64_t)on);
    if (code == 0)
        code = access_changed(c, err);
    return db_written(c, code, err);
}
