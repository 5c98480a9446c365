/* Who is signed in: the store's accounts, sessions and keys in memory, so that the loop can look without waiting for
 * the disk; the one-time code of the first account; and what was used, which is saved some seconds later.
 *
 * Threads: workers change the store, then have it read anew (accounts_reload); the keeper thread does that, too, when
 * another process has changed it, and saves what was used. The loop looks (accounts_session), and takes over keys when
 * `changes` has moved (access_refresh in access.c). accounts.lock is taken last and holds nothing. */
#ifndef SP_SERVER_ACCOUNTS_INT_H
#define SP_SERVER_ACCOUNTS_INT_H

#include "server/server_int.h"
#include "store/accounts.h"

#define SESSION_SECONDS (30 * 86400) /* after its last use */
#define SESSION_TOKEN_BYTES 44       /* 256 bits in base64url, and NUL */
#define CODE_SECONDS 3600            /* that the one-time code is good for, after the start */
#define CODE_BYTES 12                /* XXXXX-XXXXX and NUL */

struct throttle;

struct accounts {
    bool ready;  /* there is a store to keep them */
    bool closed; /* the page may be used by nobody without one of them: set at start */
    struct throttle *throttle;
    atomic_int hashing;
    atomic_uint_fast64_t changes; /* raised whenever data has been read anew */

    pthread_mutex_t reload; /* one at a time; taken before lock */
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct store_access data; /* under lock, as all that follows */
    bool *used;               /* [data.n_sessions] since they were saved */
    struct store_key *keys;   /* used since they were saved; only id and counts */
    size_t n_keys;
    char code[CODE_BYTES]; /* "": none */
    double code_until;     /* clock_seconds */
    bool code_taken;       /* an account is being made with it */
    bool stop;
    pthread_t keeper;
    bool keeps;
};

int accounts_open(struct server *s, sp_error *err);   /* after the store; SP_ENOMEM */
void accounts_close(struct server *s);                /* before the store: what was used is saved */
int accounts_reload(struct server *s, sp_error *err); /* worker */

bool accounts_any(const struct server *s);
int64_t accounts_first(const struct server *s); /* whose id; 0: there is none */
/* Of the cookie with that hash; false: it is no session now. It has been used. */
bool accounts_session(const struct server *s, const char *hash, struct store_account *out);
size_t accounts_sessions(const struct server *s, int64_t account);
/* Loop: to be saved soon; takes the list, which holds only ids and counts. */
void accounts_keys_used(struct server *s, struct store_key *keys, size_t n);

/* Worker. The one-time code: 0: it fits and nobody else may use it until accounts_code_done; SP_ETIMEDOUT: it did until
 * some time ago; SP_EINVAL: it doesn't, or there is none. */
int accounts_code_take(struct server *s, const char *code);
void accounts_code_done(struct server *s, bool used);

/* ---- access_page.c ---- */

/* Loop. Who asks /api/: sets the call's owner, session or key. false: the error has been set. */
bool access_page(struct call *c);
bool access_page_still(struct call *c); /* loop: whether one that listens still may */
/* Nobody needs to sign in: there is no account, and who asks is on this machine (or --no-auth says so). */
bool access_page_open(const struct call *c);
bool access_from_here(const struct call *c); /* loop: it can only have come from this machine */
/* The cookie of a session, with `token` "" the one that ends it. */
void access_cookie(struct call *c, const char *token);
/* Loop: the browser keeps the cookie it came with for as long again. */
void access_renew_cookie(struct call *c);
json_t *access_session_json(struct call *c); /* what /api/session tells */

#endif
