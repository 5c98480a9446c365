/* What requests to /api/ have in common: whose page may write, paths with ids, queries, parameters. */
#include <event2/keyvalq_struct.h>
#include <string.h>
#include <strings.h>
#include "server/access_int.h"
#include "server/accounts_int.h"
#include "server/page_int.h"

#define INVALID "invalid_request_error"

bool is_page_api(const struct route *r)
{
    return strncmp(r->path, "/api/", 5) == 0;
}

bool is_page_plain(const struct route *r)
{
    return is_page_api(r) && r->work != api_generate;
}

bool is_upload(const struct route *r)
{
    return r->work == api_files_add || r->work == api_files_get;
}

static const char *field(const struct call *c, const char *name)
{
    return evhttp_find_header(evhttp_request_get_input_headers(c->req), name);
}

/* Another site's page can make a browser send a request here, but neither with these fields nor with a key of its own
 * choosing. */
static bool may_write(const struct call *c)
{
    const char *site = field(c, "Sec-Fetch-Site"), *origin = field(c, "Origin"),
               *host = field(c, "Host");
    if (site)
        return strcasecmp(site, "same-origin") == 0 || strcasecmp(site, "none") == 0;
    const char *at = origin ? strstr(origin, "://") : NULL;
    if (origin)
        return host && at && strcasecmp(at + 3, host) == 0;
    /* A cookie comes by itself, so with one nothing less than the browser's word counts. */
    return !c->session[0] && (field(c, "Authorization") || field(c, "X-Api-Key"));
}

/* A picture of another site is fetched without Origin: how long it takes, and whether there is something, would tell
 * that site about a search. What comes with Origin has been looked at before (access_origin). */
static bool may_read(const struct call *c)
{
    const char *site = field(c, "Sec-Fetch-Site");
    return !site || field(c, "Origin") || strcasecmp(site, "same-origin") == 0 ||
           strcasecmp(site, "none") == 0;
}

static bool has_json(const struct call *c)
{
    static const char *const types[] = {"application/json", "application/jsonl",
                                        "application/x-ndjson"};
    const char *type = field(c, "Content-Type");
    for (size_t i = 0; type && i < SP_COUNT(types); i++) {
        size_t n = strlen(types[i]);
        if (strncasecmp(type, types[i], n) == 0 &&
            (type[n] == '\0' || type[n] == ';' || type[n] == ' '))
            return true;
    }
    return false;
}

bool page_prepare(struct call *c)
{
    bool reads = c->method == EVHTTP_REQ_GET || c->method == EVHTTP_REQ_HEAD;
    const char *query = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(c->req));
    c->loading = c->s->loading;
    /* Keys are given to programs, which may ask models; whose page it is may do more. Who has not signed in and may
     * come from elsewhere is anybody. */
    c->manages = c->session[0] || (!c->key && access_from_here(c));
    if (reads && !may_read(c)) {
        reply_set_error(c, 403, INVALID, NULL, "origin_not_allowed",
                        "other sites' pages may not read here");
        return false;
    }
    if (!reads && !may_write(c)) {
        reply_set_error(c, 403, INVALID, NULL, "origin_not_allowed",
                        "only this server's own page may write: send Origin (http://HOST of this "
                        "server) or a key");
        return false;
    }
    if (!reads && c->n_body > 0 && c->route->work != api_files_add && !has_json(c)) {
        reply_set_error(c, 415, INVALID, NULL, "wrong_content_type",
                        "the body must come as Content-Type: application/json");
        return false;
    }
    c->target = sp_strdup(c->path);
    c->query = sp_calloc(1, sizeof *c->query);
    if (c->query && evhttp_parse_query_str(query ? query : "", c->query) != 0) {
        sp_free(c->query); /* libevent has emptied it */
        c->query = NULL;
        reply_set_error(c, 400, INVALID, NULL, NULL, "the part of the path after ? is malformed");
        return false;
    }
    if (c->target && c->query)
        return true;
    reply_set_error(c, 500, "server_error", NULL, NULL, "out of memory");
    return false;
}

bool page_id(struct call *c, char kind, char out[STORE_ID_BYTES])
{
    const char *at = c->target + strlen("/api/");
    at += strcspn(at, "/");
    size_t n = *at ? strcspn(at + 1, "/") : 0;
    if (n == STORE_ID_BYTES - 1) {
        memcpy(out, at + 1, n);
        out[n] = '\0';
        if (store_id_sound(out, kind))
            return true;
    }
    reply_set_error(c, 404, INVALID, NULL, "not_found", "there is no %s %.64s",
                    kind == 'c'   ? "chat"
                    : kind == 'f' ? "file"
                    : kind == 'j' ? "job"
                    : kind == 't' ? "template"
                    : kind == 'k' ? "key"
                                  : "message",
                    *at ? at + 1 : "");
    return false;
}

char *page_part(struct call *c)
{
    const char *at = c->target + strlen("/api/");
    at += strcspn(at, "/");
    size_t n = *at ? strcspn(at + 1, "/") : 0;
    char *raw = sp_strndup(*at ? at + 1 : "", n);
    char *part = raw ? evhttp_uridecode(raw, 0, NULL) : NULL;
    sp_free(raw);
    return part;
}

bool page_may_manage(struct call *c)
{
    if (c->manages)
        return true;
    reply_set_error(c, 403, INVALID, NULL, "not_allowed",
                    c->key ? "an API key may not look into the server or change it: that is for "
                             "who is signed in, or for /admin/ with --admin-key"
                           : "a server that others can reach, or a proxy's clients, can't be "
                             "looked into or changed by who has not signed in: use /admin/ with "
                             "--admin-key");
    return false;
}

const char *page_query(struct call *c, const char *name)
{
    return evhttp_find_header(c->query, name);
}

bool page_query_int(struct call *c, const char *name, int64_t min, int64_t max, int64_t *out)
{
    const char *text = page_query(c, name);
    int64_t n = 0;
    if (!text)
        return true;
    if (!str_to_i64(str_of(text), &n) || n < min || n > max) {
        reply_set_error(c, 400, INVALID, name, NULL, "%s: must be a whole number from %lld to %lld",
                        name, (long long)min, (long long)max);
        return false;
    }
    *out = n;
    return true;
}

int page_params(struct call *c, const json_t *params)
{
    static const char *const known[] = {"temperature",
                                        "top_p",
                                        "top_k",
                                        "min_p",
                                        "max_tokens",
                                        "seed",
                                        "stop",
                                        "repetition_penalty",
                                        "presence_penalty",
                                        "frequency_penalty",
                                        "min_tokens",
                                        "chat_template_kwargs"};
    struct engine_request r = {0};
    struct stops stops;
    int64_t max_tokens = -1;
    const char *name;
    json_t *value;
    if (!params || json_is_null(params))
        return 0;
    if (!json_is_object(params)) {
        reply_set_error(c, 400, INVALID, "params", NULL, "params: must be an object");
        return SP_EINVAL;
    }
    json_object_foreach((json_t *)(uintptr_t)params, name, value)
    {
        size_t i = 0;
        while (i < SP_COUNT(known) && strcmp(known[i], name) != 0)
            i++;
        if (i == SP_COUNT(known)) {
            reply_set_error(c, 400, INVALID, "params", NULL, "params: there is no parameter %.64s",
                            name);
            return SP_EINVAL;
        }
    }
    const json_t *extra = json_object_get(params, "chat_template_kwargs");
    if (extra && !json_is_null(extra) && !json_is_object(extra)) {
        reply_set_error(c, 400, INVALID, "params", NULL,
                        "params: chat_template_kwargs must be an object");
        return SP_EINVAL;
    }
    return request_sampling(c, params, &r) < 0 || request_stops(c, params, &stops) < 0 ||
                   request_int(c, params, "max_tokens", 1, INT32_MAX, &max_tokens) < 0
               ? SP_EINVAL
               : 0;
}
