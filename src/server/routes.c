#include <string.h>
#include "server/metrics_int.h"

static const struct route routes[] = {
    {"/", EVHTTP_REQ_GET, true, NULL, api_root},
    {"/openapi.json", EVHTTP_REQ_GET, true, NULL, api_openapi},
    {"/docs", EVHTTP_REQ_GET, true, NULL, api_docs},
    {"/docs/", EVHTTP_REQ_GET, true, NULL, api_docs_file}, /* and what follows */
    {"/health", EVHTTP_REQ_GET, true, NULL, api_health},
    {"/livez", EVHTTP_REQ_GET, true, NULL, api_livez},
    {"/readyz", EVHTTP_REQ_GET, true, NULL, api_health},
    {"/version", EVHTTP_REQ_GET, true, NULL, api_version},
    {"/metrics", EVHTTP_REQ_GET, false, NULL, api_metrics},
    {"/v1/models", EVHTTP_REQ_GET, false, NULL, api_models},
    {"/v1/models/", EVHTTP_REQ_GET, false, NULL, api_model}, /* and what follows */
    {"/v1/chat/completions", EVHTTP_REQ_POST, false, api_chat, NULL},
    {"/v1/completions", EVHTTP_REQ_POST, false, api_completions, NULL},
    {"/tokenize", EVHTTP_REQ_POST, false, api_tokenize, NULL},
    {"/detokenize", EVHTTP_REQ_POST, false, api_detokenize, NULL},
    {"/admin/status", EVHTTP_REQ_GET, false, NULL, api_admin_status},
    {"/admin/requests", EVHTTP_REQ_GET, false, NULL, api_admin_requests},
    {"/admin/cancel", EVHTTP_REQ_POST, false, NULL, api_admin_cancel},
    {"/admin/log-level", EVHTTP_REQ_POST, false, NULL, api_admin_log_level},
    {"/admin/reload", EVHTTP_REQ_POST, false, NULL, api_admin_reload},
    {"/admin/drain", EVHTTP_REQ_POST, false, NULL, api_admin_drain},
    {"/admin/load", EVHTTP_REQ_POST, false, api_admin_load, NULL},
    {"/admin/unload", EVHTTP_REQ_POST, false, api_admin_unload, NULL},
    {"/admin/sleep", EVHTTP_REQ_POST, false, api_admin_sleep, NULL},
    {"/admin/wake", EVHTTP_REQ_POST, false, api_admin_wake, NULL},
    {"/admin/flush-cache", EVHTTP_REQ_POST, false, api_admin_flush_cache, NULL},
};

_Static_assert(SP_COUNT(routes) < METRIC_ROUTES, "metrics count each route by its number");

static bool path_is(const struct route *r, const char *path)
{
    size_t n = strlen(r->path);
    bool prefix = n > 1 && r->path[n - 1] == '/';
    return prefix ? strncmp(path, r->path, n) == 0 && path[n] : strcmp(path, r->path) == 0;
}

const struct route *route_find(const char *path, enum evhttp_cmd_type method, const char **allow)
{
    *allow = NULL;
    for (size_t i = 0; i < SP_COUNT(routes); i++) {
        if (!path_is(&routes[i], path))
            continue;
        bool get = routes[i].method == EVHTTP_REQ_GET;
        *allow = get ? "GET, HEAD, OPTIONS" : "POST, OPTIONS";
        if (routes[i].method == method || (method == EVHTTP_REQ_HEAD && get))
            return &routes[i];
    }
    return NULL;
}

size_t route_number(const struct route *r)
{
    return r ? (size_t)(r - routes) + 1 : 0;
}

const char *route_path(size_t number)
{
    return number > 0 && number <= SP_COUNT(routes) ? routes[number - 1].path : "none";
}
