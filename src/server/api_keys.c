/* /api/keys: API keys that the page makes and revokes. The list is told by the loop, which has what they have used. */
#include <string.h>
#include "server/access_int.h"
#include "server/accounts_int.h"
#include "server/keyfile.h"
#include "server/page_int.h"

#define INVALID "invalid_request_error"
#define MODELS_MOST 100
#define MODEL_NAME_MOST 300

/* Keys that could make keys would have no limits. */
static bool may_manage(struct call *c)
{
    if (!c->key)
        return true;
    reply_set_error(c, 403, INVALID, NULL, "session_needed",
                    "keys are managed by who is signed in, not by a key");
    return false;
}

void api_keys(struct call *c)
{
    if (!may_manage(c))
        return;
    const struct server *s = c->s;
    bool forced =
        access_has_fixed_keys(s) || (!access_is_loopback(s->opts.host) && !s->opts.no_auth);
    reply_set_json(c, 200,
                   json_pack("{s:o,s:b,s:b}", "data", access_keys_json(s, c->owner), "checked",
                             access_checks_keys(s), "forced", forced));
}

static bool bad(struct call *c, const char *param, const char *want)
{
    reply_set_error(c, 400, INVALID, param, NULL, "%s: must be %s", param, want);
    return false;
}

static bool read_limit(struct call *c, const json_t *body, const char *name, int64_t *out)
{
    return request_int(c, body, name, 1, (int64_t)KEY_RATE_MAX, out) == 0;
}

static bool read_models(struct call *c, json_t *models, json_t **out)
{
    size_t i;
    json_t *name;
    *out = NULL;
    if (!models || json_is_null(models))
        return true;
    if (!json_is_array(models) || json_array_size(models) == 0 ||
        json_array_size(models) > MODELS_MOST)
        return bad(c, "models", "null for all, or a list of 1 to 100 names");
    json_array_foreach(models, i, name)
    {
        if (!json_is_string(name) || json_string_length(name) == 0 ||
            json_string_length(name) > MODEL_NAME_MOST ||
            strlen(json_string_value(name)) != json_string_length(name))
            return bad(c, "models", "null for all, or a list of names of 1 to 300 bytes");
    }
    *out = models;
    return true;
}

static bool known_fields(struct call *c, const json_t *body)
{
    static const char *const known[] = {
        "name", "models", "requests_per_minute", "tokens_per_minute", "concurrent", "page"};
    const char *field;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)body, field, value)
    {
        size_t i = 0;
        while (i < SP_COUNT(known) && strcmp(known[i], field) != 0)
            i++;
        if (i == SP_COUNT(known)) {
            reply_set_error(c, 400, INVALID, NULL, NULL, "%.64s: a key has no such field", field);
            return false;
        }
    }
    return true;
}

static bool read_key(struct call *c, const json_t *body, struct store_key *k)
{
    const char *name = json_string_value(json_object_get(body, "name"));
    if (!known_fields(c, body))
        return false;
    if (!key_name_sound(name) || strlen(name) != json_string_length(json_object_get(body, "name")))
        return bad(c, "name", "1 to 64 letters, digits, '.', '_' and '-'");
    (void)snprintf(k->name, sizeof k->name, "%s", name);
    return read_models(c, json_object_get(body, "models"), &k->models) &&
           read_limit(c, body, "requests_per_minute", &k->requests_per_minute) &&
           read_limit(c, body, "tokens_per_minute", &k->tokens_per_minute) &&
           read_limit(c, body, "concurrent", &k->concurrent) &&
           request_bool(c, body, "page", false, &k->page) == 0;
}

static json_t *limit_json(int64_t n)
{
    return n ? json_integer(n) : json_null();
}

/* As access_keys_json has it, and the secret, this once. */
static json_t *new_key_json(const struct store_key *k, const char *secret)
{
    return json_pack("{s:s,s:s,s:s,s:I,s:O?,s:o,s:o,s:o,s:b,s:n,s:i,s:i,s:i,s:s}", "id", k->id,
                     "name", k->name, "source", "page", "created", (json_int_t)k->created, "models",
                     k->models, "requests_per_minute", limit_json(k->requests_per_minute),
                     "tokens_per_minute", limit_json(k->tokens_per_minute), "concurrent",
                     limit_json(k->concurrent), "page", k->page, "used", "requests", 0, "tokens", 0,
                     "running", 0, "secret", secret);
}

static bool reload(struct call *c)
{
    sp_error err = {0};
    if (accounts_reload(c->s, &err) == 0)
        return true;
    page_fail(c, &err);
    return false;
}

void api_keys_add(struct call *c)
{
    struct store_key k = {.owner = c->owner};
    char secret[KEY_SECRET_MAX];
    sp_error err = {0};
    store *s = may_manage(c) ? history_of(c) : NULL;
    json_t *body = s ? request_parse(c) : NULL;
    if (!body)
        return;
    if (read_key(c, body, &k)) {
        key_secret_new(secret);
        key_hash(secret, k.hash);
        int code =
            k.hash[0] ? store_key_add(s, &k, &err) : sp_fail(&err, SP_ENOMEM, "out of memory");
        if (code < 0)
            page_fail(c, &err);
        else if (reload(c))
            reply_set_json(c, 201, new_key_json(&k, secret));
    }
    json_decref(body);
}

void api_keys_remove(struct call *c)
{
    char id[STORE_ID_BYTES];
    sp_error err = {0};
    store *s = may_manage(c) ? history_of(c) : NULL;
    if (!s || !page_id(c, 'k', id))
        return;
    if (store_key_remove(s, c->owner, id, &err) < 0)
        page_fail(c, &err);
    else if (reload(c))
        reply_set_empty(c);
}

/* {"checked": false}: the API is open again. Only when no key is left, so that none is lost by it. */
void api_keys_change(struct call *c)
{
    sp_error err = {0};
    store *s = may_manage(c) ? history_of(c) : NULL;
    json_t *body = s ? request_parse(c) : NULL;
    const json_t *checked = json_object_get(body, "checked");
    if (!body)
        return;
    if (!json_is_boolean(checked))
        (void)bad(c, "checked", "true or false");
    else if (store_key_checking(s, json_is_true(checked), &err) < 0)
        page_fail(c, &err);
    else if (reload(c))
        reply_set_json(c, 200, json_pack("{s:b}", "checked", json_is_true(checked)));
    json_decref(body);
}
