#include <stdio.h>
#include <string.h>
#include "server/metrics_int.h"

static const struct route routes[] = {
    {"/", EVHTTP_REQ_GET, true, NULL, api_root},
    {"/assets/", EVHTTP_REQ_GET, true, NULL, api_page_file}, /* and what follows */
    {"/chat/", EVHTTP_REQ_GET, true, NULL, api_page},        /* and what follows */
    {"/history", EVHTTP_REQ_GET, true, NULL, api_page},
    {"/tasks", EVHTTP_REQ_GET, true, NULL, api_page},
    {"/tasks/", EVHTTP_REQ_GET, true, NULL, api_page}, /* and what follows */
    {"/models", EVHTTP_REQ_GET, true, NULL, api_page},
    {"/compare", EVHTTP_REQ_GET, true, NULL, api_page},
    {"/compare/", EVHTTP_REQ_GET, true, NULL, api_page}, /* and what follows */
    {"/server", EVHTTP_REQ_GET, true, NULL, api_page},
    {"/settings", EVHTTP_REQ_GET, true, NULL, api_page},
    {"/keys", EVHTTP_REQ_GET, true, NULL, api_page},
    {"/developers", EVHTTP_REQ_GET, true, NULL, api_page},
    {"/sign-in", EVHTTP_REQ_GET, true, NULL, api_page},
    {"/sign-up", EVHTTP_REQ_GET, true, NULL, api_page},
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
    {"/api/info", EVHTTP_REQ_GET, false, api_page_info, NULL},
    {"/api/chats", EVHTTP_REQ_GET, false, api_chats_list, NULL},
    {"/api/chats", EVHTTP_REQ_POST, false, api_chats_add, NULL},
    {"/api/chats/*", EVHTTP_REQ_GET, false, api_chats_get, NULL},
    {"/api/chats/*", EVHTTP_REQ_PATCH, false, api_chats_change, NULL},
    {"/api/chats/*", EVHTTP_REQ_DELETE, false, api_chats_delete, NULL},
    {"/api/chats/*/restore", EVHTTP_REQ_POST, false, api_chats_restore, NULL},
    {"/api/chats/*/messages", EVHTTP_REQ_POST, false, api_messages_add, NULL},
    {"/api/chats/*/generate", EVHTTP_REQ_POST, false, api_generate, NULL},
    {"/api/messages/*", EVHTTP_REQ_PATCH, false, api_messages_edit, NULL},
    {"/api/messages/*/stop", EVHTTP_REQ_POST, false, api_messages_stop, NULL},
    {"/api/files", EVHTTP_REQ_POST, false, api_files_add, NULL},
    {"/api/files/*", EVHTTP_REQ_GET, false, api_files_get, NULL},
    {"/api/files/*", EVHTTP_REQ_DELETE, false, api_files_delete, NULL},
    {"/api/files/*/text", EVHTTP_REQ_GET, false, api_files_text, NULL},
    {"/api/jobs", EVHTTP_REQ_GET, false, api_jobs_list, NULL},
    {"/api/jobs", EVHTTP_REQ_POST, false, api_jobs_add, NULL},
    {"/api/jobs/*", EVHTTP_REQ_GET, false, api_jobs_get, NULL},
    {"/api/jobs/*", EVHTTP_REQ_DELETE, false, api_jobs_remove, NULL},
    {"/api/jobs/*/pause", EVHTTP_REQ_POST, false, api_jobs_pause, NULL},
    {"/api/jobs/*/resume", EVHTTP_REQ_POST, false, api_jobs_resume, NULL},
    {"/api/jobs/*/cancel", EVHTTP_REQ_POST, false, api_jobs_cancel, NULL},
    {"/api/jobs/*/result", EVHTTP_REQ_GET, false, api_jobs_result, NULL},
    {"/api/jobs/*/parts", EVHTTP_REQ_GET, false, api_jobs_parts, NULL},
    {"/api/templates", EVHTTP_REQ_GET, false, api_templates_list, NULL},
    {"/api/templates", EVHTTP_REQ_POST, false, api_templates_add, NULL},
    {"/api/templates/*", EVHTTP_REQ_PATCH, false, api_templates_change, NULL},
    {"/api/templates/*", EVHTTP_REQ_DELETE, false, api_templates_remove, NULL},
    {"/api/events", EVHTTP_REQ_GET, false, NULL, api_events},
    {"/api/models", EVHTTP_REQ_GET, false, api_store_list, NULL},
    {"/api/models/*", EVHTTP_REQ_GET, false, api_store_show, NULL},
    {"/api/models/*", EVHTTP_REQ_DELETE, false, api_store_delete, NULL},
    {"/api/models/*/load", EVHTTP_REQ_POST, false, api_store_load, NULL},
    {"/api/models/*/unload", EVHTTP_REQ_POST, false, api_store_unload, NULL},
    {"/api/models/*/sleep", EVHTTP_REQ_POST, false, api_store_sleep, NULL},
    {"/api/models/*/wake", EVHTTP_REQ_POST, false, api_store_wake, NULL},
    {"/api/server", EVHTTP_REQ_GET, false, NULL, api_server},
    {"/api/settings", EVHTTP_REQ_GET, false, NULL, api_settings},
    {"/api/requests/*/cancel", EVHTTP_REQ_POST, false, NULL, api_requests_cancel},
    {"/api/session", EVHTTP_REQ_GET, true, NULL, api_session},
    {"/api/session", EVHTTP_REQ_POST, true, api_session_begin, NULL},
    {"/api/session", EVHTTP_REQ_DELETE, true, api_session_end, NULL},
    {"/api/account", EVHTTP_REQ_POST, true, api_account_add, NULL},
    {"/api/account", EVHTTP_REQ_PATCH, false, api_account_change, NULL},
    {"/api/keys", EVHTTP_REQ_GET, false, NULL, api_keys},
    {"/api/keys", EVHTTP_REQ_POST, false, api_keys_add, NULL},
    {"/api/keys", EVHTTP_REQ_PATCH, false, api_keys_change, NULL},
    {"/api/keys/*", EVHTTP_REQ_DELETE, false, api_keys_remove, NULL},
    {"/api/export", EVHTTP_REQ_GET, false, api_export, NULL},
    {"/api/import", EVHTTP_REQ_POST, false, api_import, NULL},
};

_Static_assert(SP_COUNT(routes) < METRIC_ROUTES, "metrics count each route by its number");

/* Part for part; "*" in the pattern is any part that is not empty. */
static bool parts_match(const char *pattern, const char *path)
{
    for (;;) {
        size_t n = strcspn(pattern, "/"), m = strcspn(path, "/");
        bool any = n == 1 && pattern[0] == '*' && m > 0;
        if (!any && (n != m || memcmp(pattern, path, n) != 0))
            return false;
        pattern += n;
        path += m;
        if (*pattern != *path)
            return false;
        if (!*path)
            return true;
        pattern++;
        path++;
    }
}

static bool path_is(const struct route *r, const char *path)
{
    size_t n = strlen(r->path);
    bool prefix = n > 1 && r->path[n - 1] == '/';
    return prefix ? strncmp(path, r->path, n) == 0 && path[n] : parts_match(r->path, path);
}

static const char *method_name(enum evhttp_cmd_type method)
{
    return method == EVHTTP_REQ_GET     ? "GET, HEAD"
           : method == EVHTTP_REQ_POST  ? "POST"
           : method == EVHTTP_REQ_PATCH ? "PATCH"
                                        : "DELETE";
}

const struct route *route_find(const char *path, enum evhttp_cmd_type method, char allow[ALLOW_MAX])
{
    const struct route *found = NULL;
    size_t n = 0;
    allow[0] = '\0';
    for (size_t i = 0; i < SP_COUNT(routes); i++) {
        const struct route *r = &routes[i];
        if (!path_is(r, path))
            continue;
        n += (size_t)snprintf(allow + n, ALLOW_MAX - n, "%s, ", method_name(r->method));
        if (r->method == method || (method == EVHTTP_REQ_HEAD && r->method == EVHTTP_REQ_GET))
            found = r;
    }
    if (n > 0)
        (void)snprintf(allow + n, ALLOW_MAX - n, "OPTIONS");
    return found;
}

size_t route_number(const struct route *r)
{
    return r ? (size_t)(r - routes) + 1 : 0;
}

const char *route_path(size_t number)
{
    return number > 0 && number <= SP_COUNT(routes) ? routes[number - 1].path : "none";
}
