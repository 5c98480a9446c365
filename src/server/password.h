/* Passwords of accounts: argon2id (RFC 9106) by libsodium, with 64 MiB and two passes, some 0.1 s of one core. Any
 * thread; each call takes that memory and time. */
#ifndef SP_SERVER_PASSWORD_H
#define SP_SERVER_PASSWORD_H

#include "store/accounts.h"

#define PASSWORD_LEAST 8 /* bytes */
#define PASSWORD_MOST 512

bool password_sound(const char *password); /* of a length within these */
/* A string that holds salt and parameters, too. SP_ENOMEM. */
int password_hash(const char *password, char out[STORE_PASSWORD_BYTES], sp_error *err);
/* hash NULL: there is no such account: takes as long, and is false. */
bool password_matches(const char *hash, const char *password);

/* n bytes of randomness as RFC 4648's base64url without padding: out has room for (4 n + 2) / 3 characters and NUL. */
void secret_new(size_t n, char *out);
/* n characters, each of 32 that are not easily taken for another: 5 bits a piece; and NUL. */
void secret_spoken(size_t n, char *out);

#endif
