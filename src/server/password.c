#include "server/password.h"

#include <sodium.h>
#include <string.h>

_Static_assert(STORE_PASSWORD_BYTES >= crypto_pwhash_STRBYTES, "the store has room for it");

/* Of no password: what is compared where there is no account. */
static const char nobody[] = "$argon2id$v=19$m=65536,t=2,p=1$c2FtcGFuIG5vYm9keSAhIQ$"
                             "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

bool password_sound(const char *password)
{
    size_t n = password ? strlen(password) : 0;
    return n >= PASSWORD_LEAST && n <= PASSWORD_MOST;
}

int password_hash(const char *password, char out[STORE_PASSWORD_BYTES], sp_error *err)
{
    memset(out, 0, STORE_PASSWORD_BYTES);
    if (sodium_init() < 0 ||
        crypto_pwhash_str_alg(out, password, strlen(password), crypto_pwhash_OPSLIMIT_INTERACTIVE,
                              crypto_pwhash_MEMLIMIT_INTERACTIVE,
                              crypto_pwhash_ALG_ARGON2ID13) != 0)
        return sp_fail(err, SP_ENOMEM, "no memory to hash a password (64 MiB)");
    return 0;
}

bool password_matches(const char *hash, const char *password)
{
    bool same = sodium_init() >= 0 &&
                crypto_pwhash_str_verify(hash ? hash : nobody, password, strlen(password)) == 0;
    return same && hash;
}

void secret_new(size_t n, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint32_t bits = 0;
    int n_bits = 0;
    for (size_t i = 0; i < n; i++) {
        uint8_t byte = 0;
        randombytes_buf(&byte, 1);
        bits = bits << 8 | byte;
        for (n_bits += 8; n_bits >= 6; n_bits -= 6)
            *out++ = digits[bits >> (n_bits - 6) & 63];
    }
    if (n_bits > 0)
        *out++ = digits[bits << (6 - n_bits) & 63];
    *out = '\0';
}

void secret_spoken(size_t n, char *out)
{
    static const char digits[] = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ";
    for (size_t i = 0; i < n; i++)
        out[i] = digits[randombytes_uniform(sizeof digits - 1)];
    out[n] = '\0';
}
