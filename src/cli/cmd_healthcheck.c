/* sampan healthcheck: does the server that the settings describe take requests? For container images, which have no
 * other program to ask with. */
#include <curl/curl.h>
#include <stdio.h>
#include <string.h>
#include "cli/cli_int.h"

#define TIMEOUT_SECONDS 5

/* A server that listens on every address is asked on this machine's own. */
static const char *own_address(const char *host)
{
    return strcmp(host, "0.0.0.0") == 0 ? "127.0.0.1" : strcmp(host, "::") == 0 ? "::1" : host;
}

static bool is_loopback(const char *host)
{
    return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0 ||
           strcmp(host, "localhost") == 0;
}

struct body {
    char text[4096]; /* as far as it fits */
    size_t n;
};

static size_t keep(char *data, size_t size, size_t n, void *arg)
{
    struct body *b = arg;
    size_t room = sizeof b->text - 1 - b->n, take = size * n < room ? size * n : room;
    memcpy(b->text + b->n, data, take);
    b->n += take;
    b->text[b->n] = '\0';
    return size * n;
}

/* What goes to loopback stays on this machine, and a certificate seldom names it: there any one is taken. Elsewhere the
 * file of the server's own vouches for itself, too. */
static void set_tls(CURL *c, const char *host, const char *certificate, bool insecure)
{
    bool any = insecure || is_loopback(host);
    curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, any ? 0L : 1L);
    curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, any ? 0L : 2L);
    if (!any)
        curl_easy_setopt(c, CURLOPT_CAINFO, certificate);
}

static int fail(CURLcode rc, const char *host, const char *port, const char *why, sp_error *err)
{
    if (rc == CURLE_OPERATION_TIMEDOUT)
        return sp_fail(err, SP_EIO, "%s port %s: no answer within %d s", host, port,
                       TIMEOUT_SECONDS);
    return sp_fail(err, SP_EIO, "%s port %s: %s%s", host, port,
                   why[0] ? why : curl_easy_strerror(rc),
                   rc == CURLE_COULDNT_CONNECT ? ": is the server running?" : "");
}

/* The status of GET /readyz, or a negative code. */
static int ask(const options *o, struct body *body, sp_error *err)
{
    const char *host = own_address(options_str(o, "host")), *port = options_str(o, "port");
    const char *certificate = options_str(o, "tls-cert");
    bool v6 = strchr(host, ':') != NULL;
    char url[512], why[CURL_ERROR_SIZE] = "";
    long status = 0;
    CURL *c = curl_easy_init();
    if (!c)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    (void)snprintf(url, sizeof url, "http%s://%s%.300s%s:%s/readyz", certificate ? "s" : "",
                   v6 ? "[" : "", host, v6 ? "]" : "", port);
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_TIMEOUT, (long)TIMEOUT_SECONDS);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, why);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, keep);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, body);
    if (certificate)
        set_tls(c, host, certificate, options_bool(o, "insecure"));
    CURLcode rc = curl_easy_perform(c);
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(c);
    return rc == CURLE_OK ? (int)status : fail(rc, host, port, why, err);
}

int cmd_healthcheck(const options *o, sp_error *err)
{
    const char *const *args;
    struct body body = {.n = 0};
    if (options_args(o, &args) > 0)
        return sp_fail(err, SP_EUSAGE, "healthcheck takes no bare argument, '%s' was given",
                       args[0]);
    int status = ask(o, &body, err);
    if (status < 0)
        return status;
    if (status != 200)
        return sp_fail(err, SP_EIO, "not ready: %d: %.300s", status, body.text);
    printf("ready\n");
    return 0;
}
