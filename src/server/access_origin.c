/* Which pages may use the server: the checks of Host and Origin, and the fields of CORS. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>
#include "server/access_int.h"

const char *access_field(const struct call *c, const char *name)
{
    return evhttp_find_header(evhttp_request_get_input_headers(c->req), name);
}

void access_set_field(struct call *c, const char *name, const char *value)
{
    evhttp_add_header(evhttp_request_get_output_headers(c->req), name, value);
}

bool access_is_loopback(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;
    size_t n = strlen(host);
    if (strcasecmp(host, "localhost") == 0 ||
        (n > 10 && strcasecmp(host + n - 10, ".localhost") == 0))
        return true;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return (ntohl(v4.s_addr) >> 24) == 127;
    return inet_pton(AF_INET6, host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

/* "localhost:8080" and "[::1]:8080" without brackets and port. */
static bool host_name(const char *value, char *out, size_t room)
{
    bool v6 = value[0] == '[';
    size_t n = v6 ? strcspn(++value, "]") : strcspn(value, ":");
    if (n == 0 || n >= room)
        return false;
    memcpy(out, value, n);
    out[n] = '\0';
    return true;
}

/* A page of another site whose name was made to point at this machine (DNS rebinding) is known by the name
 * in Host. HTTP/1.0 has no Host, and browsers don't speak it. */
static bool host_allowed(const struct call *c)
{
    const struct server_opts *o = &c->s->opts;
    const char *value = access_field(c, "Host");
    char name[256];
    bool checked = access_is_loopback(o->host) || o->n_allowed_hosts > 0;
    if (!checked || !value)
        return true;
    if (!host_name(value, name, sizeof name))
        return false;
    for (size_t i = 0; i < o->n_allowed_hosts; i++)
        if (strcmp(o->allowed_hosts[i], "*") == 0 || strcasecmp(o->allowed_hosts[i], name) == 0)
            return true;
    return access_is_loopback(name) || strcasecmp(name, o->host) == 0;
}

static bool same_origin(const struct call *c, const char *origin)
{
    const char *host = access_field(c, "Host"), *at = strstr(origin, "://");
    return host && at && strcasecmp(at + 3, host) == 0;
}

/* The value for Access-Control-Allow-Origin, or NULL. */
static const char *listed(const struct server_opts *o, const char *origin)
{
    for (size_t i = 0; i < o->n_cors_origins; i++) {
        if (strcmp(o->cors_origins[i], "*") == 0)
            return "*";
        if (strcasecmp(o->cors_origins[i], origin) == 0)
            return origin;
    }
    return NULL;
}

static void set_cors(struct call *c, const char *allowed)
{
    const char *asked = access_field(c, "Access-Control-Request-Headers");
    access_set_field(c, "Access-Control-Allow-Origin", allowed);
    access_set_field(
        c, "Access-Control-Expose-Headers",
        "Retry-After, X-Request-Id, x-ratelimit-limit-requests, x-ratelimit-limit-tokens, "
        "x-ratelimit-remaining-requests, x-ratelimit-remaining-tokens, "
        "x-ratelimit-reset-requests, x-ratelimit-reset-tokens");
    if (!access_field(c, "Access-Control-Request-Method"))
        return;
    access_set_field(c, "Access-Control-Allow-Methods", "GET, HEAD, POST, OPTIONS");
    access_set_field(c, "Access-Control-Max-Age", "600");
    if (asked)
        access_set_field(c, "Access-Control-Allow-Headers", asked);
}

bool access_origin(struct call *c)
{
    const struct server_opts *o = &c->s->opts;
    const char *origin = access_field(c, "Origin");
    if (!host_allowed(c)) {
        reply_set_error(c, 403, "invalid_request_error", NULL, "host_not_allowed",
                        "Host: %.128s is no name of this server: give it with --allowed-host",
                        access_field(c, "Host"));
        return false;
    }
    if (o->n_cors_origins)
        access_set_field(c, "Vary", "Origin");
    const char *allowed = origin ? listed(o, origin) : NULL;
    if (allowed)
        set_cors(c, allowed);
    if (!origin || allowed || same_origin(c, origin))
        return true;
    reply_set_error(c, 403, "invalid_request_error", NULL, "origin_not_allowed",
                    "pages of %.128s may not use this server: give it with --cors-origin", origin);
    return false;
}
