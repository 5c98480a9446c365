#include "server/accounts_int.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "base/log.h"
#include "server/access_int.h"
#include "server/jobs_int.h"
#include "server/page_int.h"
#include "server/password.h"
#include "server/throttle.h"

#define LOOK_SECONDS 1 /* between two looks at what others have changed */
#define SAVE_EVERY 10  /* of these: what was used is saved */
#define USED_STEP 60   /* seconds: a session's last use is not kept finer */

/* ---- in memory ---- */

/* Under lock. What an old session was used since it was saved stays known. */
static void carry_uses(const struct accounts *a, struct store_access *to, bool *used)
{
    for (size_t i = 0; i < to->n_sessions; i++)
        for (size_t k = 0; k < a->data.n_sessions; k++) {
            const struct store_session *old = &a->data.sessions[k];
            if (!a->used[k] || strcmp(old->hash, to->sessions[i].hash) != 0)
                continue;
            to->sessions[i].used = old->used;
            to->sessions[i].expires = old->expires;
            used[i] = true;
        }
}

static int64_t first_of(const struct store_access *data)
{
    return data->n_accounts > 0 ? data->accounts[0].id : 0;
}

static int read_anew(struct server *s, sp_error *err)
{
    struct accounts *a = s->accounts;
    struct store_access fresh;
    int code = store_access_load(s->history->store, &fresh, err);
    if (code < 0)
        return code;
    bool *used = sp_calloc(fresh.n_sessions + 1, sizeof *used);
    if (!used) {
        store_access_free(&fresh);
        return sp_fail(err, SP_ENOMEM, "out of memory for the sessions");
    }
    pthread_mutex_lock(&a->lock);
    carry_uses(a, &fresh, used);
    struct store_access old = a->data;
    int64_t before = first_of(&old), after = first_of(&fresh);
    bool *old_used = a->used;
    a->data = fresh;
    a->used = used;
    if (fresh.n_accounts > 0)
        a->code[0] = '\0';
    pthread_mutex_unlock(&a->lock);
    store_access_free(&old);
    sp_free(old_used);
    if (s->jobs &&
        (before == 0) !=
            (after == 0)) /* the first account has all there is; the last leaves it to nobody */
        jobs_adopt(s->jobs, before, after);
    atomic_fetch_add(&a->changes, 1);
    server_wake(s); /* event streams of ended sessions end */
    return 0;
}

int accounts_reload(struct server *s, sp_error *err)
{
    pthread_mutex_lock(&s->accounts->reload);
    int code = read_anew(s, err);
    pthread_mutex_unlock(&s->accounts->reload);
    return code;
}

/* ---- looking ---- */

bool accounts_any(const struct server *s)
{
    return accounts_first(s) != 0;
}

int64_t accounts_first(const struct server *s)
{
    struct accounts *a = s->accounts;
    pthread_mutex_lock(&a->lock);
    int64_t id = first_of(&a->data);
    pthread_mutex_unlock(&a->lock);
    return id;
}

static const struct store_account *account_of(const struct accounts *a, int64_t id)
{
    for (size_t i = 0; i < a->data.n_accounts; i++)
        if (a->data.accounts[i].id == id)
            return &a->data.accounts[i];
    return NULL;
}

bool accounts_session(const struct server *s, const char *hash, struct store_account *out)
{
    struct accounts *a = s->accounts;
    int64_t now = clock_unix();
    const struct store_account *found = NULL;
    pthread_mutex_lock(&a->lock);
    for (size_t i = 0; i < a->data.n_sessions && !found; i++) {
        struct store_session *one = &a->data.sessions[i];
        if (strcmp(one->hash, hash) != 0 || one->expires <= now)
            continue;
        found = account_of(a, one->account);
        if (now - one->used < USED_STEP)
            continue;
        one->used = now;
        one->expires = now + SESSION_SECONDS;
        a->used[i] = true;
    }
    if (found)
        *out = *found;
    pthread_mutex_unlock(&a->lock);
    return found != NULL;
}

size_t accounts_sessions(const struct server *s, int64_t account)
{
    struct accounts *a = s->accounts;
    size_t n = 0;
    int64_t now = clock_unix();
    pthread_mutex_lock(&a->lock);
    for (size_t i = 0; i < a->data.n_sessions; i++)
        n += a->data.sessions[i].account == account && a->data.sessions[i].expires > now;
    pthread_mutex_unlock(&a->lock);
    return n;
}

/* ---- the one-time code ---- */

static void make_code(struct accounts *a)
{
    char digits[11];
    secret_spoken(10, digits);
    (void)snprintf(a->code, CODE_BYTES, "%.5s-%.5s", digits, digits + 5);
    a->code_until = clock_seconds() + CODE_SECONDS;
}

/* As people type it: small letters, without the dash, with blanks. */
static void plain_code(const char *typed, char out[CODE_BYTES])
{
    size_t n = 0;
    for (const char *p = typed; *p && n < CODE_BYTES - 1; p++) {
        if (*p == ' ' || *p == '-')
            continue;
        out[n++] = *p >= 'a' && *p <= 'z' ? (char)(*p - 'a' + 'A') : *p;
        if (n == 5)
            out[n++] = '-';
    }
    memset(out + n, 0, CODE_BYTES - n);
}

int accounts_code_take(struct server *s, const char *typed)
{
    struct accounts *a = s->accounts;
    char code[CODE_BYTES];
    int result = SP_EINVAL;
    plain_code(typed, code);
    pthread_mutex_lock(&a->lock);
    bool fits = a->code[0] && !a->code_taken && CRYPTO_memcmp(a->code, code, CODE_BYTES) == 0;
    if (fits && clock_seconds() > a->code_until) {
        result = SP_ETIMEDOUT;
    } else if (fits) {
        a->code_taken = true;
        result = 0;
    }
    pthread_mutex_unlock(&a->lock);
    return result;
}

void accounts_code_done(struct server *s, bool used)
{
    struct accounts *a = s->accounts;
    pthread_mutex_lock(&a->lock);
    a->code_taken = false;
    if (used)
        a->code[0] = '\0';
    pthread_mutex_unlock(&a->lock);
}

bool server_sign_up_code(const server *s, char out[SERVER_CODE_BYTES])
{
    struct accounts *a = s->accounts;
    pthread_mutex_lock(&a->lock);
    (void)snprintf(out, SERVER_CODE_BYTES, "%s", a->code);
    pthread_mutex_unlock(&a->lock);
    return out[0] != '\0';
}

/* ---- what was used ---- */

void accounts_keys_used(struct server *s, struct store_key *keys, size_t n)
{
    struct accounts *a = s->accounts;
    pthread_mutex_lock(&a->lock);
    struct store_key *old = a->keys; /* counts only rise, so later ones say all */
    a->keys = keys;
    a->n_keys = n;
    pthread_mutex_unlock(&a->lock);
    sp_free(old);
}

/* Under lock: copies of the sessions that were used. NULL: none, or no memory: then later. */
static struct store_session *take_sessions(struct accounts *a, size_t *n)
{
    *n = 0;
    for (size_t i = 0; i < a->data.n_sessions; i++)
        *n += a->used[i];
    struct store_session *list = *n ? sp_calloc(*n, sizeof *list) : NULL;
    *n = 0;
    for (size_t i = 0; list && i < a->data.n_sessions; i++) {
        if (a->used[i])
            list[(*n)++] = a->data.sessions[i];
        a->used[i] = false;
    }
    return list;
}

static void save_used(struct server *s)
{
    struct accounts *a = s->accounts;
    sp_error err = {0};
    size_t n_sessions = 0;
    pthread_mutex_lock(&a->lock);
    struct store_session *sessions = take_sessions(a, &n_sessions);
    struct store_key *keys = a->keys;
    size_t n_keys = a->n_keys;
    a->keys = NULL;
    a->n_keys = 0;
    pthread_mutex_unlock(&a->lock);
    if ((n_sessions || n_keys) &&
        store_access_used(s->history->store, sessions, n_sessions, keys, n_keys, &err) < 0)
        log_warn("server", "when keys and sessions were used last is not saved: %s", err.message);
    sp_free(sessions);
    sp_free(keys);
}

/* ---- the keeper ---- */

static void look(struct server *s, bool *failing)
{
    struct accounts *a = s->accounts;
    sp_error err = {0};
    int64_t version = 0;
    int code = store_access_version(s->history->store, &version, &err);
    pthread_mutex_lock(&a->lock);
    bool moved = code == 0 && version != a->data.version;
    pthread_mutex_unlock(&a->lock);
    if (moved)
        code = accounts_reload(s, &err);
    if (code < 0 && !*failing)
        log_warn("server", "changes of accounts and keys are not seen: %s", err.message);
    *failing = code < 0;
}

static void *keeper_main(void *arg)
{
    struct server *s = arg;
    struct accounts *a = s->accounts;
    bool failing = false;
    pthread_mutex_lock(&a->lock);
    for (int turn = 1; !a->stop; turn++) {
        struct timespec until = clock_after(LOOK_SECONDS);
        (void)pthread_cond_timedwait(&a->more, &a->lock, &until);
        if (a->stop)
            break;
        pthread_mutex_unlock(&a->lock);
        look(s, &failing);
        if (turn % SAVE_EVERY == 0)
            save_used(s);
        pthread_mutex_lock(&a->lock);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

/* ---- opening and closing ---- */

static int start(struct server *s, sp_error *err)
{
    struct accounts *a = s->accounts;
    int code = accounts_reload(s, err);
    if (code < 0)
        return code;
    if (a->closed && a->data.n_accounts == 0)
        make_code(a);
    if (pthread_create(&a->keeper, NULL, keeper_main, s) != 0)
        return sp_fail(err, SP_ENOMEM, "the thread that looks after accounts could not be started");
    a->keeps = true;
    return 0;
}

int accounts_open(struct server *s, sp_error *err)
{
    pthread_condattr_t monotonic;
    struct accounts *a = s->accounts = sp_calloc(1, sizeof *a);
    if (!a)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&a->more, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&a->lock, NULL);
    pthread_mutex_init(&a->reload, NULL);
    a->throttle = throttle_new();
    a->ready = s->history->store != NULL;
    a->closed = access_closed(s);
    if (!a->throttle)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    if (!a->ready && !access_is_loopback(s->opts.host) && !access_has_fixed_keys(s) &&
        !s->opts.no_auth)
        return sp_fail(err, SP_EUSAGE,
                       "--host %s: nobody could use it, since the history that keeps who may can't "
                       "be opened: %s",
                       s->opts.host, s->history->reason);
    return a->ready ? start(s, err) : 0;
}

void accounts_close(struct server *s)
{
    struct accounts *a = s->accounts;
    if (!a)
        return;
    pthread_mutex_lock(&a->lock);
    a->stop = true;
    pthread_cond_broadcast(&a->more);
    pthread_mutex_unlock(&a->lock);
    if (a->keeps)
        pthread_join(a->keeper, NULL);
    if (a->ready) {
        access_save_used(s);
        save_used(s);
    }
    throttle_free(a->throttle);
    store_access_free(&a->data);
    sp_free(a->used);
    sp_free(a->keys);
    pthread_cond_destroy(&a->more);
    pthread_mutex_destroy(&a->lock);
    pthread_mutex_destroy(&a->reload);
    sp_free(a);
    s->accounts = NULL;
}
