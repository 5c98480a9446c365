#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include "server/server_int.h"

struct address {
    unsigned char bytes[16]; /* of an IPv4 one, its form as IPv6 (::ffff:a.b.c.d) */
    int bits;                /* how many of them count, for a network */
};

static bool parse_address(const char *text, size_t n, struct address *out)
{
    char copy[INET6_ADDRSTRLEN];
    struct in_addr v4;
    if (n == 0 || n >= sizeof copy)
        return false;
    memcpy(copy, text, n);
    copy[n] = '\0';
    *out = (struct address){.bits = 128};
    if (inet_pton(AF_INET, copy, &v4) == 1) {
        out->bytes[10] = out->bytes[11] = 0xff;
        memcpy(out->bytes + 12, &v4, 4);
        return true;
    }
    return inet_pton(AF_INET6, copy, out->bytes) == 1;
}

static bool parse_network(const char *text, struct address *out)
{
    const char *slash = strchr(text, '/');
    size_t n = slash ? (size_t)(slash - text) : strlen(text);
    bool v4 = memchr(text, ':', n) == NULL;
    int64_t bits = v4 ? 32 : 128;
    if (!parse_address(text, n, out) ||
        (slash && (!str_to_i64(str_of(slash + 1), &bits) || bits < 0 || bits > (v4 ? 32 : 128))))
        return false;
    out->bits = (int)bits + (v4 ? 96 : 0);
    return true;
}

static bool is_in(const struct address *a, const struct address *net)
{
    int whole = net->bits / 8, rest = net->bits % 8;
    if (memcmp(a->bytes, net->bytes, (size_t)whole) != 0)
        return false;
    return rest == 0 || (a->bytes[whole] ^ net->bytes[whole]) >> (8 - rest) == 0;
}

static bool is_trusted(const struct server_opts *o, const struct address *a)
{
    struct address net;
    for (size_t i = 0; i < o->n_trusted_proxies; i++)
        if (parse_network(o->trusted_proxies[i], &net) && is_in(a, &net))
            return true;
    return false;
}

int forwarded_check(const struct server_opts *o, sp_error *err)
{
    struct address net;
    for (size_t i = 0; i < o->n_trusted_proxies; i++)
        if (!parse_network(o->trusted_proxies[i], &net))
            return sp_fail(
                err, SP_EUSAGE,
                "--trusted-proxy %s: it must be an address, or one with a number of bits "
                "as in 10.0.0.0/8",
                o->trusted_proxies[i]);
    return 0;
}

bool forwarded_https(const struct server_opts *o, const char *peer, const char *proto)
{
    struct address a;
    const char *comma = proto ? strrchr(proto, ',') : NULL; /* the last is the proxy's own */
    const char *last = comma ? comma + 1 : proto;
    return last && parse_address(peer, strlen(peer), &a) && is_trusted(o, &a) &&
           strncasecmp(last + strspn(last, " \t"), "https", 5) == 0;
}

void forwarded_client(const struct server_opts *o, const char *peer, const char *list, char out[64])
{
    struct address a;
    size_t end = list ? strlen(list) : 0;
    (void)snprintf(out, 64, "%s", peer);
    if (!parse_address(peer, strlen(peer), &a))
        return;
    while (end > 0 && is_trusted(o, &a)) {
        size_t from = end;
        while (from > 0 && list[from - 1] != ',')
            from--;
        size_t first = from + strspn(list + from, " \t"), last = end;
        while (last > first && (list[last - 1] == ' ' || list[last - 1] == '\t'))
            last--;
        if (last <= first || !parse_address(list + first, last - first, &a))
            return;
        (void)snprintf(out, 64, "%.*s", (int)(last - first), list + first);
        end = from > 0 ? from - 1 : 0;
    }
}
