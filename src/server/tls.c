/* TLS by OpenSSL under libevent's bufferevents: the certificate, and a new one without a restart. */
#include <event2/bufferevent_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>
#include "server/server_int.h"

/* "FILE: why", from OpenSSL's first error. */
static int fail(const char *path, sp_error *err)
{
    char why[256] = "unknown error";
    unsigned long code = ERR_get_error();
    if (code)
        ERR_error_string_n(code, why, sizeof why);
    ERR_clear_error();
    return sp_fail(err, SP_EFORMAT, "%s: not usable for TLS: %s", path, why);
}

/* HTTP/1.1 is all that is spoken here; a client that offers only others is answered in it all the same. */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *n,
                           const unsigned char *in, unsigned int n_in, void *arg)
{
    static const unsigned char own[] = "\x08http/1.1";
    unsigned char *chosen = NULL;
    (void)ssl;
    (void)arg;
    if (SSL_select_next_proto(&chosen, n, own, sizeof own - 1, in, n_in) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_NOACK;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

int tls_load(struct server *s, sp_error *err)
{
    const char *cert = s->opts.tls_cert, *key = s->opts.tls_key;
    if (!cert && !key)
        return 0;
    if (!cert || !key)
        return sp_fail(err, SP_EUSAGE, "--tls-cert and --tls-key: give both");
    ERR_clear_error();
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (!ctx)
        return sp_fail(err, SP_ENOMEM, "out of memory for TLS");
    int code = 0;
    if (SSL_CTX_use_certificate_chain_file(ctx, cert) != 1)
        code = fail(cert, err);
    else if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
        code = fail(key, err);
    if (code < 0) {
        SSL_CTX_free(ctx);
        return code;
    }
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS); /* an idle connection holds none */
    SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, NULL);
    SSL_CTX_free(s->tls); /* connections that run keep theirs */
    s->tls = ctx;
    return 0;
}

void tls_close(struct server *s)
{
    SSL_CTX_free(s->tls);
    s->tls = NULL;
}

struct bufferevent *tls_bufferevent(struct server *s)
{
    SSL *ssl = SSL_new(s->tls);
    struct bufferevent *bev =
        ssl ? bufferevent_openssl_socket_new(s->base, -1, ssl, BUFFEREVENT_SSL_ACCEPTING,
                                             BEV_OPT_CLOSE_ON_FREE)
            : NULL;
    if (bev)
        bufferevent_openssl_set_allow_dirty_shutdown(bev, 1);
    else
        SSL_free(ssl);
    return bev;
}

void tls_goodbye(struct bufferevent *bev)
{
    SSL *ssl = bufferevent_openssl_get_ssl(bev);
    if (ssl && SSL_is_init_finished(ssl))
        (void)SSL_shutdown(ssl); /* one message; nobody waits for the other's */
    ERR_clear_error();
}
