/* SHA-256 (FIPS 180-4), by OpenSSL's libcrypto. */
#ifndef SP_BASE_SHA256_H
#define SP_BASE_SHA256_H

#include <stddef.h>
#include "base/error.h"

typedef struct sha256 sha256;

sha256 *sha256_new(void); /* NULL: out of memory */
void sha256_add(sha256 *h, const void *p, size_t n);
void sha256_hex(sha256 *h, char out[65]); /* ends the sum; lower case; "" if libcrypto failed */
void sha256_free(sha256 *h);
int sha256_file(const char *path, char out[65], sp_error *err);

#endif
