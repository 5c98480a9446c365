#include "base/sha256.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <unistd.h>
#include "base/alloc.h"
#include "base/file_int.h"

#define CHUNK                                                                                      \
    ((size_t)1 << 18) /* bytes a read: big enough to hide the calls, small enough for L2 */
#define DIGEST 32

struct sha256 {
    EVP_MD_CTX *ctx;
    bool ok;
};

sha256 *sha256_new(void)
{
    sha256 *h = sp_calloc(1, sizeof *h);
    if (!h)
        return NULL;
    h->ctx = EVP_MD_CTX_new();
    h->ok = h->ctx && EVP_DigestInit_ex(h->ctx, EVP_sha256(), NULL) == 1;
    if (!h->ok) {
        sha256_free(h);
        return NULL;
    }
    return h;
}

void sha256_free(sha256 *h)
{
    if (!h)
        return;
    EVP_MD_CTX_free(h->ctx);
    sp_free(h);
}

void sha256_add(sha256 *h, const void *p, size_t n)
{
    if (n)
        h->ok = EVP_DigestUpdate(h->ctx, p, n) == 1 && h->ok;
}

void sha256_hex(sha256 *h, char out[65])
{
    static const char hex[] = "0123456789abcdef";
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned int n = 0;
    h->ok = h->ok && EVP_DigestFinal_ex(h->ctx, sum, &n) == 1 && n == DIGEST;
    size_t len = h->ok ? DIGEST : 0;
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = hex[sum[i] >> 4];
        out[2 * i + 1] = hex[sum[i] & 15];
    }
    out[2 * len] = '\0';
    h->ok = false; /* ended: a second call gives "" */
}

int sha256_file(const char *path, char out[65], sp_error *err)
{
    int rc = 0;
    unsigned char *chunk = NULL;
    sha256 *h = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return file_fail(err, "can't open", path);
    chunk = sp_malloc(CHUNK);
    h = sha256_new();
    if (!chunk || !h) {
        rc = sp_fail(err, SP_ENOMEM, "can't check %s: out of memory: close other programs", path);
        goto cleanup;
    }
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    for (;;) {
        ssize_t got = read(fd, chunk, CHUNK);
        if (got == 0)
            break;
        if (got > 0) {
            sha256_add(h, chunk, (size_t)got);
        } else if (errno != EINTR) {
            rc = file_fail(err, "can't read", path);
            goto cleanup;
        }
    }
    sha256_hex(h, out);
    if (out[0] == '\0')
        rc = sp_fail(err, SP_EINTERNAL, "can't check %s: libcrypto's SHA-256 failed: try again",
                     path);
cleanup:
    (void)close(fd);
    sp_free(chunk);
    sha256_free(h);
    return rc;
}
