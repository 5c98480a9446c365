/* The file of API keys: a JSON object {"keys": [{"name", "sha256", "created", "models", "requests_per_minute",
 * "tokens_per_minute", "concurrent", "page"}, ...]}. It holds no secret, only the SHA-256 of each: a secret is 256 bits
 * of the system's generator, so there is nothing to guess and no need for a slow hash (which would cost each
 * request tens of milliseconds). Secrets that people make up do not belong into it. Any thread. */
#ifndef SP_SERVER_KEYFILE_H
#define SP_SERVER_KEYFILE_H

#include "base/base.h"

#define KEY_NAME_MAX 64   /* bytes: letters, digits, '.', '_', '-' */
#define KEY_SECRET_MAX 64 /* with its NUL */
#define KEY_RATE_MAX 1000000000000.0

struct key_entry {
    char name[KEY_NAME_MAX + 1];
    char hash[65]; /* SHA-256 of the secret, lower-case hex */
    char created[24];
    char **models; /* [n_models] names it may ask for; n_models 0: all */
    size_t n_models;
    int64_t requests_per_minute, tokens_per_minute, concurrent; /* 0: no limit */
    bool page; /* may use the page's API (/api/), too, when there are accounts */
};
struct keyfile {
    struct key_entry *entries;
    size_t n;
};

/* SP_EFORMAT names the entry and the field. */
int keyfile_read(const char *path, struct keyfile *out, sp_error *err);
int keyfile_write(const char *path, const struct keyfile *f, sp_error *err);
void keyfile_free(struct keyfile *f);
/* A new secret, its hash in *e with the name and today's date; SP_EINVAL when the name is taken or not of the
 * characters above. The entry is the file's. */
int keyfile_add(struct keyfile *f, const struct key_entry *e, char secret[KEY_SECRET_MAX],
                sp_error *err);
bool keyfile_remove(struct keyfile *f, const char *name); /* false: it has none of that name */
bool key_name_sound(const char *name);
void key_secret_new(char out[KEY_SECRET_MAX]);
/* SHA-256 of a secret; "" when out of memory. */
void key_hash(const char *secret, char out[65]);

#endif
