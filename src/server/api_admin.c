/* /admin/: who is served, cancelling, log level, keys anew, ending. Only with --admin-key, which opens nothing else.
 * All answered on the loop thread, so that a server whose workers are all busy can still be looked into. */
#include <string.h>
#include "base/log.h"
#include "server/access_int.h"

#define INVALID "invalid_request_error"

static const char *const levels[] = {"debug", "info", "warn", "error", "off"};

/* Under the call's lock: the engine still has all its choices in the queue. */
static bool all_queued(const struct generation *g)
{
    for (size_t i = 0; i < g->n_choices; i++)
        if (!g->choices[i].submitted || !engine_is_queued(g->engine, g->choices[i].id))
            return false;
    return true;
}

/* NULL: a worker is still at it, or it asks for no answer of a model. */
static json_t *call_json(struct call *c)
{
    pthread_mutex_lock(&c->lock);
    const struct generation *g =
        c->worked && (!c->reply || (c->gen && c->gen->kept)) ? c->gen : NULL;
    const char *state = !g                     ? NULL
                        : g->answer_tokens > 0 ? "decode"
                        : all_queued(g)        ? "queued"
                                               : "prefill";
    pthread_mutex_unlock(&c->lock);
    if (!g)
        return NULL;
    return json_pack("{s:s,s:s,s:s,s:s,s:b,s:i,s:I,s:I,s:f,s:s?,s:s?}", "id", g->id, "endpoint",
                     c->route->path, "model", g->model, "state", state, "stream", g->stream,
                     "choices", (int)g->n_choices, "prompt_tokens", (json_int_t)g->prompt_tokens,
                     "answer_tokens", (json_int_t)g->answer_tokens, "age_seconds",
                     clock_seconds() - c->started, "key", access_key_name(c), "user", g->user);
}

void api_admin_requests(struct call *c)
{
    json_t *list = json_array();
    for (struct call *other = c->s->calls; other; other = other->next) {
        json_t *j = call_json(other);
        if (j)
            json_array_append_new(list, j);
    }
    reply_set_json(c, 200, json_pack("{s:s,s:o}", "object", "list", "data", list));
}

static json_t *models_json(const struct server *s)
{
    json_t *list = json_array();
    for (size_t i = 0; i < s->opts.n_models; i++) {
        struct engine_info info;
        engine_get_info(s->opts.models[i].engine, &info);
        json_array_append_new(
            list, json_pack("{s:s,s:s,s:i,s:i,s:i,s:i}", "id", s->opts.models[i].names[0], "state",
                            "loaded", "running", info.running, "queued", info.waiting, "kv_pages",
                            (int)info.kv_pages, "kv_pages_free", (int)info.kv_pages_free));
    }
    return list;
}

void api_admin_status(struct call *c)
{
    const struct server *s = c->s;
    reply_set_json(c, 200,
                   json_pack("{s:s,s:b,s:f,s:s,s:i,s:i,s:o,s:o}", "version", SAMPAN_VERSION,
                             "draining", s->draining, "uptime_seconds",
                             clock_seconds() - s->started, "log_level", levels[log_get_level()],
                             "connections", (int)s->n_guards, "requests", (int)s->n_calls - 1,
                             "models", models_json(s), "keys", access_json(s)));
}

void api_admin_cancel(struct call *c)
{
    json_t *body = request_parse(c);
    const char *id = json_string_value(json_object_get(body, "id"));
    struct call *found = NULL;
    if (!body)
        return;
    for (struct call *other = c->s->calls; id && other && !found; other = other->next) {
        json_t *j = call_json(other);
        const char *its = json_string_value(json_object_get(j, "id"));
        if (its && strcmp(its, id) == 0)
            found = other;
        json_decref(j);
    }
    if (found) {
        call_cancel(found);
        reply_set_json(c, 200, json_pack("{s:s,s:b}", "id", id, "cancelled", 1));
    } else if (!id) {
        reply_set_error(c, 400, INVALID, "id", NULL, "id: must be a string");
    } else {
        reply_set_error(c, 404, INVALID, "id", NULL,
                        "id: no live request %.64s: GET /admin/requests lists them", id);
    }
    json_decref(body);
}

void api_admin_log_level(struct call *c)
{
    json_t *body = request_parse(c);
    const char *level = json_string_value(json_object_get(body, "level"));
    size_t i = 0;
    if (!body)
        return;
    while (i < SP_COUNT(levels) && (!level || strcmp(levels[i], level) != 0))
        i++;
    if (i < SP_COUNT(levels)) {
        log_set_level((enum log_level)i);
        reply_set_json(c, 200, json_pack("{s:s}", "level", levels[i]));
    } else {
        reply_set_error(c, 400, INVALID, "level", NULL,
                        "level: must be debug, info, warn, error or off");
    }
    json_decref(body);
}

void api_admin_reload(struct call *c)
{
    sp_error err = {0};
    if (server_reload_keys(c->s, &err) == 0 && server_reload_tls(c->s, &err) == 0)
        reply_set_json(c, 200, json_pack("{s:o}", "keys", access_json(c->s)));
    else
        reply_set_error(c, 500, "server_error", NULL, "reload_failed", "%s", err.message);
}

void api_admin_drain(struct call *c)
{
    reply_set_json(c, 202,
                   json_pack("{s:b,s:i}", "draining", 1, "requests", (int)c->s->n_calls - 1));
    server_stop(c->s);
}
