#include "server/access_int.h"

#include <inttypes.h>
#include <math.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include "base/log.h"
#include "server/accounts_int.h"
#include "server/keyfile.h"
#include "server/models_int.h"
#include "server/page_int.h"

#define MINUTE 60.0

/* What a key has used; it outlives a reload. */
struct use {
    int refs;
    int64_t running;
    double requests, tokens;            /* left, at `at` */
    double at;                          /* clock_seconds */
    int64_t used, n_requests, n_tokens; /* last and in all; used: seconds since 1970, 0: never */
    bool unsaved;
};

struct key {
    int refs;
    struct key_entry entry;
    char id[STORE_ID_BYTES]; /* of one of the store; else "" */
    int64_t owner;
    int64_t created; /* of one of the store */
    bool from_file;
    struct use *use;
};

struct key_list {
    struct key **keys;
    size_t n;
};

struct access {
    struct key_list fixed; /* of settings and file */
    struct key_list kept;  /* of the store, as of `changes` */
    uint64_t changes;
    bool checking;  /* the store says that keys are asked for */
    char admin[65]; /* hash; "": there is none */
};

/* ---- keys ---- */

static void free_models(struct key_entry *e)
{
    for (size_t i = 0; e->models && i < e->n_models; i++)
        sp_free(e->models[i]);
    sp_free(e->models);
}

static void key_unref(struct key *k)
{
    if (!k || --k->refs > 0)
        return;
    free_models(&k->entry);
    if (--k->use->refs == 0)
        sp_free(k->use);
    sp_free(k);
}

static bool same_hash(const char *a, const char *b)
{
    return CRYPTO_memcmp(a, b, 64) == 0;
}

/* Goes through all of them, whichever fits. */
static struct key *find_in(const struct key_list *l, const char *hash)
{
    struct key *found = NULL;
    for (size_t i = 0; i < l->n; i++)
        if (same_hash(l->keys[i]->entry.hash, hash))
            found = l->keys[i];
    return found;
}

static int list_room(struct key_list *l, size_t n)
{
    *l = (struct key_list){.keys = sp_calloc(n + 1, sizeof(struct key *))};
    return l->keys ? 0 : SP_ENOMEM;
}

static void list_free(struct key_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        key_unref(l->keys[i]);
    sp_free(l->keys);
    *l = (struct key_list){0};
}

/* Takes what *e owns. What the key with the same secret in `old` has used stays used; a limit that is new begins
 * whole. NULL: out of memory. */
static struct key *add_key(struct key_list *l, const struct key_list *old, struct key_entry *e)
{
    struct key *k = sp_calloc(1, sizeof *k), *before = find_in(old, e->hash);
    if (!k)
        return NULL;
    k->refs = 1;
    k->use = before ? before->use : sp_calloc(1, sizeof *k->use);
    if (!k->use) {
        sp_free(k);
        return NULL;
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
    l->keys[l->n++] = k;
    return k;
}

static void access_free(struct access *a)
{
    if (a) {
        list_free(&a->fixed);
        list_free(&a->kept);
    }
    sp_free(a);
}

static int add_plain(struct access *a, const struct key_list *old, const struct server_opts *o)
{
    int code = 0;
    for (size_t i = 0; i < o->n_api_keys && code == 0; i++) {
        struct key_entry e = {.name = "api-key"};
        key_hash(o->api_keys[i], e.hash);
        code = e.hash[0] && add_key(&a->fixed, old, &e) ? 0 : SP_ENOMEM;
    }
    return code;
}

static int make(const struct server *s, struct access **out, sp_error *err)
{
    static const struct key_list none = {0};
    const struct server_opts *o = &s->opts;
    const struct key_list *old = s->access ? &s->access->fixed : &none;
    struct keyfile f = {0};
    int code = o->keys_file ? keyfile_read(o->keys_file, &f, err) : 0;
    if (code < 0)
        return code;
    struct access *a = sp_calloc(1, sizeof *a);
    code = a ? list_room(&a->fixed, f.n + o->n_api_keys) : SP_ENOMEM;
    if (code == 0)
        code = add_plain(a, old, o);
    for (size_t i = 0; i < f.n && code == 0; i++) {
        struct key *k = add_key(&a->fixed, old, &f.entries[i]);
        code = k ? 0 : SP_ENOMEM;
        if (k)
            k->from_file = true;
    }
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
    if (s->access) {
        a->kept = s->access->kept;
        a->changes = s->access->changes;
        a->checking = s->access->checking;
        s->access->kept = (struct key_list){0};
    }
    access_free(s->access);
    s->access = a;
    return 0;
}

bool access_has_fixed_keys(const struct server *s)
{
    return s->opts.n_api_keys > 0 || s->opts.keys_file;
}

int access_open(struct server *s, sp_error *err)
{
    const struct server_opts *o = &s->opts;
    if (!access_is_loopback(o->host) && !access_has_fixed_keys(s) && !o->no_auth && !o->history)
        return sp_fail(
            err, SP_EUSAGE,
            "--host %s: others could use this server: give --api-key KEY or --keys FILE, keep a "
            "--history, whose page asks who signs in and makes keys, or say --no-auth to leave it "
            "open",
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

/* ---- keys of the store ---- */

static bool copy_models(const json_t *list, struct key_entry *e)
{
    size_t n = json_array_size(list);
    e->models = n ? sp_calloc(n, sizeof *e->models) : NULL;
    for (; e->models && e->n_models < n; e->n_models++) {
        const char *name = json_string_value(json_array_get(list, e->n_models));
        e->models[e->n_models] = sp_strdup(name ? name : "");
        if (!e->models[e->n_models])
            return false;
    }
    return e->n_models == n;
}

static bool keep(struct key_list *l, const struct key_list *old, const struct store_key *row)
{
    struct key_entry e = {.requests_per_minute = row->requests_per_minute,
                          .tokens_per_minute = row->tokens_per_minute,
                          .concurrent = row->concurrent,
                          .page = row->page};
    (void)snprintf(e.name, sizeof e.name, "%s", row->name);
    (void)snprintf(e.hash, sizeof e.hash, "%s", row->hash);
    struct key *k = copy_models(row->models, &e) ? add_key(l, old, &e) : NULL;
    if (!k) {
        free_models(&e);
        return false;
    }
    memcpy(k->id, row->id, sizeof k->id);
    k->owner = row->owner;
    k->created = row->created;
    if (k->use->refs == 1) {
        k->use->used = row->used;
        k->use->n_requests = row->requests;
        k->use->n_tokens = row->tokens;
    }
    return true;
}

void access_refresh(struct server *s)
{
    struct accounts *a = s->accounts;
    struct access *access = s->access;
    struct key_list fresh;
    uint64_t changes = atomic_load(&a->changes);
    if (changes == access->changes)
        return;
    pthread_mutex_lock(&a->lock);
    bool checking = a->data.checking, whole = list_room(&fresh, a->data.n_keys) == 0;
    for (size_t i = 0; i < a->data.n_keys && whole; i++)
        whole = keep(&fresh, &access->kept, &a->data.keys[i]);
    pthread_mutex_unlock(&a->lock);
    if (!whole) /* fewer keys than there are open nothing that they shouldn't; and it is tried again */
        log_error("server", "out of memory for the keys: some are not taken");
    else
        access->changes = changes;
    list_free(&access->kept);
    access->kept = fresh;
    access->checking = checking;
    events_recheck(s);
}

void access_save_used(struct server *s)
{
    const struct key_list *l = &s->access->kept;
    size_t n = 0;
    bool any = false;
    for (size_t i = 0; i < l->n; i++)
        any |= l->keys[i]->use->unsaved;
    struct store_key *rows = any ? sp_calloc(l->n, sizeof *rows) : NULL;
    for (size_t i = 0; rows && i < l->n; i++) {
        struct use *u = l->keys[i]->use;
        struct store_key *row = &rows[n++];
        memcpy(row->id, l->keys[i]->id, sizeof row->id);
        row->used = u->used;
        row->requests = u->n_requests;
        row->tokens = u->n_tokens;
        u->unsaved = false;
    }
    if (rows)
        accounts_keys_used(s, rows, n);
}

static void note_use(struct use *u)
{
    u->used = clock_unix();
    u->unsaved = true;
}

static json_t *number_or_null(int64_t n)
{
    return n ? json_integer(n) : json_null();
}

static json_t *key_json(const struct key *k)
{
    const struct key_entry *e = &k->entry;
    json_t *models = e->n_models ? json_array() : json_null();
    for (size_t i = 0; i < e->n_models; i++)
        json_array_append_new(models, json_string(e->models[i]));
    return json_pack(
        "{s:s?,s:s,s:s,s:o,s:o,s:o,s:o,s:o,s:b,s:o,s:I,s:I,s:I}", "id", k->id[0] ? k->id : NULL,
        "name", e->name, "source",
        k->id[0]       ? "page"
        : k->from_file ? "file"
                       : "setting",
        "created", number_or_null(k->created), "models", models, "requests_per_minute",
        number_or_null(e->requests_per_minute), "tokens_per_minute",
        number_or_null(e->tokens_per_minute), "concurrent", number_or_null(e->concurrent), "page",
        e->page, "used", number_or_null(k->use->used), "requests", (json_int_t)k->use->n_requests,
        "tokens", (json_int_t)k->use->n_tokens, "running", (json_int_t)k->use->running);
}

json_t *access_keys_json(const struct server *s, int64_t owner)
{
    const struct key_list *lists[] = {&s->access->kept, &s->access->fixed};
    json_t *out = json_array();
    for (size_t n = 0; n < SP_COUNT(lists); n++)
        for (size_t i = 0; i < lists[n]->n; i++)
            if (!lists[n]->keys[i]->id[0] || lists[n]->keys[i]->owner == owner)
                json_array_append_new(out, key_json(lists[n]->keys[i]));
    return out;
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

bool access_checks_keys(const struct server *s)
{
    return access_has_fixed_keys(s) || s->access->checking ||
           (!access_is_loopback(s->opts.host) && !s->opts.no_auth);
}

bool server_wants_keys(server *s)
{
    access_refresh(s);
    return access_checks_keys(s);
}

static struct key *find_key(const struct access *a, const char *hash)
{
    struct key *k = find_in(&a->fixed, hash), *kept = find_in(&a->kept, hash);
    return k ? k : kept;
}

bool access_find_key(struct call *c)
{
    char hash[65] = "";
    const char *secret = secret_of(c);
    if (secret)
        key_hash(secret, hash);
    c->key = hash[0] ? find_key(c->s->access, hash) : NULL;
    if (!c->key)
        return false;
    c->key->refs++;
    note_use(c->key->use);
    return true;
}

bool access_key_is_there(const struct call *c)
{
    return find_key(c->s->access, c->key->entry.hash) != NULL;
}

bool access_key_opens_page(const struct call *c, int64_t *owner)
{
    *owner = c->key->id[0] ? c->key->owner : accounts_first(c->s);
    return c->key->entry.page || !accounts_any(c->s);
}

bool access_no_key(struct call *c)
{
    reply_set_error(c, 401, "invalid_request_error", NULL, "invalid_api_key",
                    "a valid key is needed: send the header Authorization: Bearer KEY");
    return false;
}

static bool access_admin_key(struct call *c)
{
    char hash[65] = "";
    const char *secret = secret_of(c);
    if (secret)
        key_hash(secret, hash);
    return (hash[0] && same_hash(hash, c->s->access->admin)) || access_no_key(c);
}

bool access_key(struct call *c)
{
    bool open = c->route->open || (c->route->reply == api_metrics && c->s->opts.metrics_open);
    access_refresh(c->s);
    if (is_page_api(c->route))
        return access_page(c);
    if (open)
        return true;
    if (is_admin_path(c->route))
        return access_admin_key(c);
    return !access_checks_keys(c->s) || access_find_key(c) || access_no_key(c);
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
    u->n_requests++;
    note_use(u);
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

bool access_ask(struct call *c, const char *hash, bool request)
{
    access_refresh(c->s);
    c->key = find_key(c->s->access, hash);
    if (!c->key) {
        reply_set_error(c, 401, "invalid_request_error", NULL, "invalid_api_key",
                        "the key that asked for this is not valid any more: resume it to go on "
                        "without it");
        return false;
    }
    c->key->refs++;
    refill(c->key);
    return !request || take(c);
}

void access_charge(struct call *c, int64_t tokens)
{
    if (!c->key || tokens <= 0)
        return;
    c->key->use->n_tokens += tokens;
    note_use(c->key->use);
    if (c->key->entry.tokens_per_minute) {
        refill(c->key);
        c->key->use->tokens -= (double)tokens;
    }
}

uint64_t access_tenant(const struct call *c)
{
    uint64_t tenant = (uint64_t)c->owner;
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

const char *access_key_hash(const struct call *c)
{
    return c->key ? c->key->entry.hash : NULL;
}

static json_t *left_json(struct key *k)
{
    refill(k);
    json_t *j =
        json_pack("{s:s,s:I}", "name", k->entry.name, "running", (json_int_t)k->use->running);
    if (k->entry.requests_per_minute)
        json_object_set_new(j, "requests_left", json_integer((json_int_t)floor(k->use->requests)));
    if (k->entry.tokens_per_minute)
        json_object_set_new(j, "tokens_left", json_integer((json_int_t)floor(k->use->tokens)));
    return j;
}

json_t *access_json(const struct server *s)
{
    const struct key_list *lists[] = {&s->access->fixed, &s->access->kept};
    json_t *out = json_array();
    for (size_t n = 0; n < SP_COUNT(lists); n++)
        for (size_t i = 0; i < lists[n]->n; i++)
            json_array_append_new(out, left_json(lists[n]->keys[i]));
    return out;
}
