/* Who may use the page's API: sessions, keys with that right, or whoever is on this machine while there is no
 * account. */
#include <stdio.h>
#include <string.h>
#include "server/access_int.h"
#include "server/accounts_int.h"
#include "server/keyfile.h"
#include "server/page_int.h"

#define INVALID "invalid_request_error"
#define COOKIE_MAX 64 /* of its name */

/* ---- cookies ---- */

/* Browsers keep one jar for all ports of a host. */
static void cookie_name(const struct call *c, char out[COOKIE_MAX])
{
    (void)snprintf(out, COOKIE_MAX, "sampan_session_%d", c->s->port);
}

/* The next value of our cookie among "a=b; c=d" from *at on: a browser may have several, of other paths. */
static bool next_cookie(const struct call *c, const char **at, char out[SESSION_TOKEN_BYTES])
{
    char name[COOKIE_MAX];
    cookie_name(c, name);
    size_t n = strlen(name);
    while (*at && **at) {
        const char *pair = *at + strspn(*at, " \t;");
        size_t len = strcspn(pair, ";");
        *at = pair + len;
        if (len == n + SESSION_TOKEN_BYTES && strncmp(pair, name, n) == 0 && pair[n] == '=') {
            memcpy(out, pair + n + 1, SESSION_TOKEN_BYTES - 1);
            out[SESSION_TOKEN_BYTES - 1] = '\0';
            return true;
        }
    }
    return false;
}

void access_cookie(struct call *c, const char *token)
{
    char name[COOKIE_MAX];
    const char *root = c->s->opts.root_path;
    cookie_name(c, name);
    (void)snprintf(c->cookie, sizeof c->cookie,
                   "%s=%s; Path=%.100s; Max-Age=%d; HttpOnly; SameSite=Strict%s", name, token,
                   root && *root ? root : "/", *token ? SESSION_SECONDS : 0,
                   c->secure ? "; Secure" : "");
}

/* ---- who asks ---- */

/* It listens off loopback, or settings speak of a proxy before it. */
static bool beyond_this_machine(const struct server_opts *o)
{
    return !access_is_loopback(o->host) || o->n_trusted_proxies > 0 || o->n_allowed_hosts > 0 ||
           (o->root_path && *o->root_path);
}

bool access_closed(const struct server *s)
{
    return (beyond_this_machine(&s->opts) && !s->opts.no_auth) || access_has_fixed_keys(s);
}

/* A proxy that nobody told us of adds one of these. */
static bool is_forwarded(const struct call *c)
{
    static const char *const fields[] = {"X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"};
    for (size_t i = 0; i < SP_COUNT(fields); i++)
        if (access_field(c, fields[i]))
            return true;
    return false;
}

bool access_from_here(const struct call *c)
{
    return !beyond_this_machine(&c->s->opts) && !is_forwarded(c);
}

bool access_page_open(const struct call *c)
{
    const struct accounts *a = c->s->accounts;
    if (accounts_any(c->s) || access_has_fixed_keys(c->s))
        return false;
    if (c->s->opts.no_auth || !c->s->opts.history)
        return true; /* --no-auth; or there is nothing to keep from anybody */
    return !a->closed && !is_forwarded(c);
}

/* The token of a session that the call came with. */
static bool find_session(struct call *c, char token[SESSION_TOKEN_BYTES])
{
    struct store_account account;
    const char *at = access_field(c, "Cookie");
    while (next_cookie(c, &at, token)) {
        key_hash(token, c->session);
        if (c->session[0] && accounts_session(c->s, c->session, &account)) {
            c->owner = account.id;
            return true;
        }
        c->session[0] = '\0';
    }
    return false;
}

void access_renew_cookie(struct call *c)
{
    char token[SESSION_TOKEN_BYTES];
    if (c->session[0] && find_session(c, token))
        access_cookie(c, token);
}

static bool refuse(struct call *c)
{
    const struct accounts *a = c->s->accounts;
    if (!a->ready) { /* who may is not known: nobody may */
        (void)(access_has_fixed_keys(c->s) ? access_no_key(c) : history_of(c) != NULL);
        return false;
    }
    if (accounts_any(c->s))
        reply_set_error(c, 401, INVALID, NULL, "sign_in_needed",
                        "sign in on the page, or send a key that may use it");
    else if (access_has_fixed_keys(c->s))
        return access_no_key(c);
    else if (a->closed)
        reply_set_error(c, 401, INVALID, NULL, "sign_up_needed",
                        "there is no account yet: make one at /sign-up with the code that the "
                        "server has printed");
    else
        reply_set_error(c, 401, INVALID, NULL, "sign_up_needed",
                        "a proxy has handed this on, and there is no account: `sampan user add` "
                        "makes one");
    return false;
}

bool access_page(struct call *c)
{
    int64_t owner;
    char token[SESSION_TOKEN_BYTES];
    if (find_session(c, token))
        return true;
    if (access_find_key(c) && access_key_opens_page(c, &owner)) {
        c->owner = owner;
        return true;
    }
    if (c->route->open || access_page_open(c))
        return true;
    if (!c->key)
        return refuse(c);
    reply_set_error(c, 403, INVALID, NULL, "key_not_for_page",
                    "the key %s is for models only: make one that may use the page",
                    access_key_name(c));
    return false;
}

bool access_page_still(struct call *c)
{
    struct store_account account;
    int64_t owner;
    if (c->session[0])
        return accounts_session(c->s, c->session, &account);
    if (c->key)
        return access_key_is_there(c) && access_key_opens_page(c, &owner);
    return c->req && access_page_open(c);
}

/* ---- what the page is told ---- */

static const char *state_of(const struct call *c)
{
    const struct accounts *a = c->s->accounts;
    if (c->session[0])
        return "signed_in";
    if (accounts_any(c->s))
        return "sign_in";
    if (access_page_open(c))
        return "open";
    return a->ready && a->closed ? "sign_up" : "closed";
}

json_t *access_session_json(struct call *c)
{
    struct store_account account;
    bool in = c->session[0] && accounts_session(c->s, c->session, &account);
    json_t *who = in ? json_pack("{s:s,s:I,s:I}", "name", account.name, "created",
                                 (json_int_t)account.created, "sessions",
                                 (json_int_t)accounts_sessions(c->s, account.id))
                     : json_null();
    return json_pack("{s:s,s:o}", "state", state_of(c), "account", who);
}
