/* /api/session and /api/account: signing in and out, the first account, another password. Hashing takes a worker some
 * 0.1 s; one at a time does it, so that the others have a worker left. */
#include <string.h>
#include "server/accounts_int.h"
#include "server/keyfile.h"
#include "server/page_int.h"
#include "server/password.h"
#include "server/throttle.h"

#define INVALID "invalid_request_error"
#define HASHING_MOST 1

/* What the body says. */
struct words {
    json_t *body;
    const char *name, *password, *other, *code;
};

static const char *word(const json_t *body, const char *name)
{
    const json_t *j = json_object_get(body, name);
    const char *text = json_string_value(j);
    return text && strlen(text) == json_string_length(j) ? text : NULL;
}

static bool read_words(struct call *c, struct words *w)
{
    w->body = request_parse(c);
    w->name = word(w->body, "name");
    w->password = word(w->body, "password");
    w->other = word(w->body, "new_password");
    w->code = word(w->body, "code");
    return w->body != NULL;
}

static bool missing(struct call *c, const char *param)
{
    reply_set_error(c, 400, INVALID, param, NULL, "%s: must be a string without U+0000", param);
    return false;
}

static bool password_fits(struct call *c, const char *param, const char *password)
{
    if (password_sound(password))
        return true;
    reply_set_error(c, 400, INVALID, param, "password_length", "%s: must have %d to %d bytes",
                    param, PASSWORD_LEAST, PASSWORD_MOST);
    return false;
}

/* ---- slow on purpose ---- */

/* true: this call may try, and hashes. */
static bool may_try(struct call *c, const char *name)
{
    struct accounts *a = c->s->accounts;
    if (atomic_fetch_add(&a->hashing, 1) >= HASHING_MOST) {
        atomic_fetch_sub(&a->hashing, 1);
        reply_set_error(c, 503, "server_error", NULL, "busy",
                        "somebody else is signing in: try again in a second");
        return false;
    }
    double wait = throttle_take(a->throttle, c->client, name, clock_seconds());
    if (wait <= 0)
        return true;
    atomic_fetch_sub(&a->hashing, 1);
    c->retry_after = (int)wait + 1;
    reply_set_error(c, 429, "rate_limit_error", NULL, "too_many_tries",
                    "too many wrong tries: wait %d s", c->retry_after);
    return false;
}

static void tried(struct call *c, const char *name, bool right)
{
    struct accounts *a = c->s->accounts;
    atomic_fetch_sub(&a->hashing, 1);
    if (right)
        throttle_forgive(a->throttle, c->client, name);
}

/* ---- sessions ---- */

static bool reload(struct call *c)
{
    sp_error err = {0};
    if (accounts_reload(c->s, &err) == 0)
        return true;
    page_fail(c, &err);
    return false;
}

/* A new session of an account, whose cookie goes out with the answer. */
static void begin(struct call *c, store *s, const struct store_account *account, int status)
{
    char token[SESSION_TOKEN_BYTES];
    struct store_session one = {.account = account->id};
    sp_error err = {0};
    secret_new(32, token);
    key_hash(token, one.hash);
    one.created = one.used = clock_unix();
    one.expires = one.created + SESSION_SECONDS;
    int code =
        one.hash[0] ? store_session_add(s, &one, &err) : sp_fail(&err, SP_ENOMEM, "out of memory");
    if (code == 0 && c->session[0]) /* the one before is of no use any more */
        code = store_session_end(s, c->owner, c->session, &err);
    if (code < 0) {
        page_fail(c, &err);
        return;
    }
    if (!reload(c))
        return;
    memcpy(c->session, one.hash, sizeof c->session);
    c->owner = account->id;
    access_cookie(c, token);
    reply_set_json(c, status, access_session_json(c));
}

void api_session(struct call *c)
{
    access_renew_cookie(c);
    reply_set_json(c, 200, access_session_json(c));
}

static void sign_in(struct call *c, store *s, const struct words *w)
{
    struct store_account account = {0};
    char hash[STORE_PASSWORD_BYTES];
    sp_error err = {0};
    if (!w->name || !w->password) {
        (void)missing(c, w->name ? "password" : "name");
        return;
    }
    if (!may_try(c, w->name))
        return;
    int code = store_account_password(s, w->name, &account, hash, &err);
    bool right = (code == 0 || code == SP_ENOTFOUND) &&
                 password_matches(code == 0 ? hash : NULL, w->password);
    tried(c, w->name, right);
    if (code < 0 && code != SP_ENOTFOUND)
        page_fail(c, &err);
    else if (!right)
        reply_set_error(c, 401, INVALID, NULL, "wrong_password", "name or password is wrong");
    else
        begin(c, s, &account, 200);
}

void api_session_begin(struct call *c)
{
    struct words w = {0};
    store *s = history_of(c);
    if (s && read_words(c, &w))
        sign_in(c, s, &w);
    json_decref(w.body);
}

void api_session_end(struct call *c)
{
    int64_t all = 0;
    sp_error err = {0};
    if (!page_query_int(c, "all", 0, 1, &all))
        return;
    if (c->session[0] &&
        store_session_end(c->s->history->store, c->owner, all ? NULL : c->session, &err) < 0) {
        page_fail(c, &err);
        return;
    }
    if (c->session[0] && !reload(c))
        return;
    access_cookie(c, "");
    reply_set_empty(c);
}

/* ---- accounts ---- */

static bool names_fit(struct call *c, const struct words *w)
{
    if (!w->code || !w->name || !w->password)
        return missing(c, !w->code ? "code" : !w->name ? "name" : "password");
    if (!store_account_name_sound(w->name)) {
        reply_set_error(c, 400, INVALID, "name", NULL,
                        "name: must have 1 to %d bytes, none of them a control character, and no "
                        "blank at its ends",
                        STORE_NAME_MOST);
        return false;
    }
    return password_fits(c, "password", w->password);
}

static void sign_up(struct call *c, store *s, const struct words *w)
{
    struct store_account account = {0};
    char hash[STORE_PASSWORD_BYTES];
    sp_error err = {0};
    if (!names_fit(c, w) || !may_try(c, c->client))
        return;
    int fits = accounts_code_take(c->s, w->code);
    int code = fits == 0 ? password_hash(w->password, hash, &err) : fits;
    if (code == 0)
        code = store_account_add(s, w->name, hash, true, &account, &err);
    if (fits == 0)
        accounts_code_done(c->s, code == 0);
    tried(c, c->client, code == 0);
    if (fits == SP_ETIMEDOUT)
        reply_set_error(c, 403, INVALID, "code", "code_expired",
                        "the code was good for an hour: restart the server for a new one, or make "
                        "the account with `sampan user add`");
    else if (fits < 0)
        reply_set_error(c, 403, INVALID, "code", "wrong_code",
                        "this is not the code that the server has printed");
    else if (code < 0)
        page_fail(c, &err);
    else
        begin(c, s, &account, 201);
}

void api_account_add(struct call *c)
{
    struct words w = {0};
    store *s = history_of(c);
    if (s && read_words(c, &w))
        sign_up(c, s, &w);
    json_decref(w.body);
}

static void change_password(struct call *c, store *s, const struct words *w)
{
    struct store_account account = {0};
    char hash[STORE_PASSWORD_BYTES];
    sp_error err = {0};
    if (!w->password || !w->other) {
        (void)missing(c, w->password ? "new_password" : "password");
        return;
    }
    if (!password_fits(c, "new_password", w->other) ||
        !accounts_session(c->s, c->session, &account) || !may_try(c, account.name)) {
        if (!c->status)
            reply_set_error(c, 401, INVALID, NULL, "sign_in_needed", "this session has ended");
        return;
    }
    int code = store_account_password(s, account.name, &account, hash, &err);
    bool right = code == 0 && password_matches(hash, w->password);
    if (right)
        code = password_hash(w->other, hash, &err);
    if (right && code == 0)
        code = store_account_set_password(s, account.id, hash, c->session, &err);
    tried(c, account.name, right);
    if (code < 0)
        page_fail(c, &err);
    else if (!right)
        reply_set_error(c, 403, INVALID, "password", "wrong_password",
                        "password: this is not the one that you have");
    else if (reload(c))
        reply_set_json(c, 200, access_session_json(c));
}

void api_account_change(struct call *c)
{
    struct words w = {0};
    store *s = history_of(c);
    if (!s)
        return;
    if (!c->session[0])
        reply_set_error(c, 403, INVALID, NULL, "session_needed",
                        "only who is signed in has a password to change");
    else if (read_words(c, &w))
        change_password(c, s, &w);
    json_decref(w.body);
}
