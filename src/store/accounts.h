/* Who may use a server's page, and with what: accounts with their passwords (as argon2id strings), sessions and API
 * keys (as SHA-256 of their secrets: what is kept opens nothing). They lie in the same file as the chats, whose
 * owners they are. Threads, errors and durability as in store.h.
 *
 * What belongs to nobody (owner 0) was made while there were no accounts: the first account gets all of it, and when
 * the last one is removed what it has is nobody's again.
 *
 * Each change of accounts, sessions, keys or the checking of keys raises a number, so that a server sees what
 * another process (`sampan user`) has changed. */
#ifndef SP_STORE_ACCOUNTS_H
#define SP_STORE_ACCOUNTS_H

#include "store/store.h"

#define STORE_NAME_MOST 64       /* bytes of an account's name, or a key's */
#define STORE_PASSWORD_BYTES 128 /* an argon2id string and its NUL */
#define STORE_SESSIONS_MOST 64   /* of an account; one more ends the one used least lately */
#define STORE_KEYS_MOST 1000     /* in all */

struct store_account {
    int64_t id; /* owner of rows; never 0, never given again */
    char name[STORE_NAME_MOST + 1];
    int64_t created; /* seconds since 1970, as all times here */
};
struct store_session {
    char hash[STORE_SHA_BYTES];
    int64_t account, created, used, expires;
};
struct store_key {
    char id[STORE_ID_BYTES]; /* k_... */
    int64_t owner;
    char name[STORE_NAME_MOST + 1];
    char hash[STORE_SHA_BYTES];
    json_t *models;                                             /* list of names; NULL: all */
    int64_t requests_per_minute, tokens_per_minute, concurrent; /* 0: no limit */
    bool page;                                                  /* may use /api/ as its owner */
    int64_t created, used, requests, tokens;                    /* used 0: never */
};

/* All of it at one moment. */
struct store_access {
    int64_t version; /* the number above */
    bool
        checking; /* keys are asked for: since the first was made, until somebody switches it off */
    struct store_account *accounts;
    size_t n_accounts;
    struct store_session *sessions; /* none that has expired */
    size_t n_sessions;
    struct store_key *keys;
    size_t n_keys;
};
int store_access_load(store *s, struct store_access *out, sp_error *err);
void store_access_free(struct store_access *a);
int store_access_version(store *s, int64_t *out, sp_error *err);

/* password: the string to keep. SP_EINVAL: not a name; SP_EFULL: it is taken, or, with `first`, there is an account
 * already. */
int store_account_add(store *s, const char *name, const char *password, bool first,
                      struct store_account *out, sp_error *err);
/* SP_ENOTFOUND: there is none of that name. Upper and lower case of ASCII are the same in names. */
int store_account_password(store *s, const char *name, struct store_account *out,
                           char password[STORE_PASSWORD_BYTES], sp_error *err);
/* Ends its sessions but the one with the hash `keep` (NULL: all of them). */
int store_account_set_password(store *s, int64_t id, const char *password, const char *keep,
                               sp_error *err);
/* With its sessions and keys. Its chats are deleted, too, unless it was the last. */
int store_account_remove(store *s, const char *name, sp_error *err);
bool store_account_name_sound(const char *name);

int store_session_add(store *s, const struct store_session *session, sp_error *err);
/* One of them, or with hash NULL all of the account's. */
int store_session_end(store *s, int64_t account, const char *hash, sp_error *err);

/* Sets k->id and k->created. SP_EFULL: the name is taken, or there are too many. Switches checking on. */
int store_key_add(store *s, struct store_key *k, sp_error *err);
int store_key_remove(store *s, int64_t owner, const char *id, sp_error *err);
/* SP_EFULL: off while there are keys. */
int store_key_checking(store *s, bool on, sp_error *err);

/* What was used since it was saved last; rows that are gone are passed over. */
int store_access_used(store *s, const struct store_session *sessions, size_t n_sessions,
                      const struct store_key *keys, size_t n_keys, sp_error *err);

#endif
