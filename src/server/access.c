#include "server/access_int.h"

#include <inttypes.h>
#include <math.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include "base/log.h"
#include "server/keyfile.h"
#include "server/models_int.h"

#define MINUTE 60.0

/* What a key has used; it outlives a reload. */
struct use {
    int refs;
    int64_t running;
    double requests, tokens; /* left, at `at` */
    double at;               /* clock_seconds */
};

struct key {
    int refs;
    struct key_entry entry;
    struct use *use;
};

struct access {
    struct key **keys; /* [n] */
    size_t n;
    char admin[65]; /* hash; "": there is none */
};

/* ---- keys ---- */

static void key_unref(struct key *k)
{
    if (!k || --k->refs > 0)
        return;
    for (size_t i = 0; i < k->entry.n_models; i++)
        sp_free(k->entry.models[i]);
    sp_free(k->entry.models);
    if (--k->use->refs == 0)
        sp_free(k->use);
    sp_free(k);
}

static bool same_hash(const char *a, const char *b)
{
    return CRYPTO_memcmp(a, b, 64) == 0;
}

/* Goes through all of them, whichever fits. */
static struct key *find_hash(const struct access *a, const char *hash)
{
    struct key *found = NULL;
    for (size_t i = 0; i < a->n; i++)
        if (same_hash(a->keys[i]->entry.hash, hash))
            found = a->keys[i];
    return found;
}

/* Takes what *e owns. What the key with the same secret in `old` has used stays used; a limit that is new begins
 * whole. */
static int add_key(struct access *a, const struct access *old, struct key_entry *e)
{
    struct key *k = sp_calloc(1, sizeof *k), *before = old ? find_hash(old, e->hash) : NULL;
    if (!k)
        return SP_ENOMEM;
    k->refs = 1;
    k->use = before ? before->use : sp_calloc(1, sizeof *k->use);
    if (!k->use) {
        sp_free(k);
        return SP_ENOMEM;
    }
    k->use->refs++;
    k->entry = *e;
    e->models = NULL;
    e->n_models = 0;
    if (!before)
        k->use->at = clock_seconds();
    if (!before || !before->entry.requests_per_minute)
        k->use->requests = (double)k->entry.requests_per_minute;
    if (!before || !before->entry.tokens_per_minute)
        k->use->tokens = (double)k->entry.tokens_per_minute;
    a->keys[a->n++] = k;
    return 0;
}

static void access_free(struct access *a)
{
    for (size_t i = 0; a && i < a->n; i++)
        key_unref(a->keys[i]);
    if (a)
        sp_free(a->keys);
    sp_free(a);
}

static int add_plain(struct access *a, const struct access *old, const struct server_opts *o)
{
    int code = 0;
    for (size_t i = 0; i < o->n_api_keys && code == 0; i++) {
        struct key_entry e = {.name = "api-key"};
        key_hash(o->api_keys[i], e.hash);
        code = e.hash[0] ? add_key(a, old, &e) : SP_ENOMEM;
    }
    return code;
}

static int make(const struct server *s, struct access **out, sp_error *err)
{
    const struct server_opts *o = &s->opts;
    struct keyfile f = {0};
    int code = o->keys_file ? keyfile_read(o->keys_file, &f, err) : 0;
    if (code < 0)
        return code;
    struct access *a = sp_calloc(1, sizeof *a);
    if (a)
        a->keys = sp_calloc(f.n + o->n_api_keys + 1, sizeof(struct key *));
    code = a && a->keys ? add_plain(a, s->access, o) : SP_ENOMEM;
    for (size_t i = 0; i < f.n && code == 0; i++)
        code = add_key(a, s->access, &f.entries[i]);
    if (code == 0 && o->admin_key)
        key_hash(o->admin_key, a->admin);
    keyfile_free(&f);
    if (code < 0 || (o->admin_key && !a->admin[0])) {
        access_free(a);
        return sp_fail(err, SP_ENOMEM, "out of memory for the keys");
    }
    *out = a;
    return 0;
}

int access_reload(struct server *s, sp_error *err)
{
    struct access *a = NULL;
    int code = make(s, &a, err);
    if (code < 0)
        return code;
    access_free(s->access);
    s->access = a;
    return 0;
}

int access_open(struct server *s, sp_error *err)
{
    const struct server_opts *o = &s->opts;
    bool keyed = o->n_api_keys > 0 || o->keys_file;
    if (!access_is_loopback(o->host) && !keyed && !o->no_auth)
        return sp_fail(
            err, SP_EUSAGE,
            "--host %s: others could use this server: give --api-key KEY or --keys FILE, "
            "or say --no-auth to leave it open",
            o->host);
    for (size_t i = 0; i < o->n_api_keys; i++)
        if (o->admin_key && strcmp(o->admin_key, o->api_keys[i]) == 0)
            return sp_fail(err, SP_EUSAGE, "--admin-key: must differ from --api-key");
    return access_reload(s, err);
}

void access_close(struct server *s)
{
    access_free(s->access);
    s->access = NULL;
}

/* ---- keys of requests ---- */

/* "Authorization: Bearer KEY", or Anthropic's "X-Api-Key: KEY". */
static const char *secret_of(const struct call *c)
{
    const char *value = access_field(c, "Authorization");
    if (value && strncasecmp(value, "Bearer ", 7) == 0)
        return value + 7 + strspn(value + 7, " ");
    return access_field(c, "X-Api-Key");
}

bool access_admin(const struct server *s)
{
    return s->access->admin[0] != '\0';
}

static bool is_admin_path(const struct route *r)
{
    return strncmp(r->path, "/admin/", 7) == 0;
}

bool access_key(struct call *c)
{
    const struct access *a = c->s->access;
    bool admin = is_admin_path(c->route);
    const char *secret = secret_of(c);
    char hash[65] = "";
    bool open = c->route->open || (c->route->reply == api_metrics && c->s->opts.metrics_open);
    if (open || (!admin && a->n == 0 && !c->s->opts.keys_file))
        return true;
    if (secret)
        key_hash(secret, hash);
    if (hash[0] && admin && same_hash(hash, a->admin))
        return true;
    c->key = hash[0] && !admin ? find_hash(a, hash) : NULL;
    if (c->key) {
        c->key->refs++;
        return true;
    }
    reply_set_error(c, 401, "invalid_request_error", NULL, "invalid_api_key",
                    "a valid key is needed: send the header Authorization: Bearer KEY");
    return false;
}

static double refilled(double left, int64_t limit, double seconds)
{
    double now = left + (double)limit * seconds / MINUTE;
    return now < (double)limit ? now : (double)limit;
}

static void refill(const struct key *k)
{
    double now = clock_seconds(), seconds = now - k->use->at;
    k->use->requests = refilled(k->use->requests, k->entry.requests_per_minute, seconds);
    k->use->tokens = refilled(k->use->tokens, k->entry.tokens_per_minute, seconds);
    k->use->at = now;
}

/* Seconds until `left` of a minute's `limit` is `want`. */
static double wait_for(double left, int64_t limit, double want)
{
    return left >= want ? 0 : (want - left) * MINUTE / (double)limit;
}

/* OpenAI's fields: what a minute has, what is left, when it is whole again. */
static void set_rate(struct call *c, const char *what, int64_t limit, double left)
{
    char name[64], value[32];
    double whole = wait_for(left, limit, (double)limit);
    if (!limit)
        return;
    (void)snprintf(name, sizeof name, "x-ratelimit-limit-%s", what);
    (void)snprintf(value, sizeof value, "%lld", (long long)limit);
    access_set_field(c, name, value);
    (void)snprintf(name, sizeof name, "x-ratelimit-remaining-%s", what);
    (void)snprintf(value, sizeof value, "%.0f", left > 0 ? floor(left) : 0.0);
    access_set_field(c, name, value);
    (void)snprintf(name, sizeof name, "x-ratelimit-reset-%s", what);
    (void)snprintf(value, sizeof value, "%.3fs", whole);
    access_set_field(c, name, value);
}

static bool over(struct call *c, const char *param, const char *what, int64_t limit, double wait)
{
    c->retry_after = wait > 1 ? (int)fmin(ceil(wait), 3600) : 1;
    reply_set_error(c, 429, "rate_limit_error", NULL, "rate_limit_exceeded",
                    "the key %s has used its %s (%s: %lld): try again in %d s", c->key->entry.name,
                    what, param, (long long)limit, c->retry_after);
    return false;
}

static bool take(struct call *c)
{
    const struct key_entry *e = &c->key->entry;
    struct use *u = c->key->use;
    if (e->concurrent && u->running >= e->concurrent)
        return over(c, "concurrent", "places", e->concurrent, 0);
    if (e->requests_per_minute && u->requests < 1)
        return over(c, "requests_per_minute", "requests", e->requests_per_minute,
                    wait_for(u->requests, e->requests_per_minute, 1));
    if (e->tokens_per_minute && u->tokens <= 0)
        return over(c, "tokens_per_minute", "tokens", e->tokens_per_minute,
                    wait_for(u->tokens, e->tokens_per_minute, 1));
    if (e->requests_per_minute)
        u->requests -= 1;
    u->running++;
    c->key_taken = true;
    return true;
}

bool access_take(struct call *c)
{
    if (!c->key)
        return true;
    refill(c->key);
    bool ok = take(c);
    set_rate(c, "requests", c->key->entry.requests_per_minute, c->key->use->requests);
    set_rate(c, "tokens", c->key->entry.tokens_per_minute, c->key->use->tokens);
    return ok;
}

void access_charge(struct call *c, int64_t tokens)
{
    if (c->key && c->key->entry.tokens_per_minute && tokens > 0) {
        refill(c->key);
        c->key->use->tokens -= (double)tokens;
    }
}

uint64_t access_tenant(const struct call *c)
{
    uint64_t tenant = 0;
    if (c->key)
        sscanf(c->key->entry.hash, "%16" SCNx64, &tenant);
    return tenant;
}

void access_release(struct call *c)
{
    if (c->key && c->key_taken)
        c->key->use->running--;
    key_unref(c->key);
    c->key = NULL;
}

bool access_model(const struct call *c, const struct served_model *m)
{
    const struct key_entry *e = c->key ? &c->key->entry : NULL;
    bool ok = !e || e->n_models == 0;
    for (size_t i = 0; !ok && i < e->n_models; i++)
        for (size_t k = 0; !ok && k < m->n_names; k++)
            ok = strcmp(e->models[i], m->names[k]) == 0;
    return ok;
}

const char *access_key_name(const struct call *c)
{
    return c->key ? c->key->entry.name : NULL;
}

json_t *access_json(const struct server *s)
{
    json_t *list = json_array();
    for (size_t i = 0; i < s->access->n; i++) {
        const struct key *k = s->access->keys[i];
        refill(k);
        json_t *j =
            json_pack("{s:s,s:I}", "name", k->entry.name, "running", (json_int_t)k->use->running);
        if (k->entry.requests_per_minute)
            json_object_set_new(j, "requests_left",
                                json_integer((json_int_t)floor(k->use->requests)));
        if (k->entry.tokens_per_minute)
            json_object_set_new(j, "tokens_left", json_integer((json_int_t)floor(k->use->tokens)));
        json_array_append_new(list, j);
    }
    return list;
}
