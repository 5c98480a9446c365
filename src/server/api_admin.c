/* /admin/: who is served, cancelling, log level, keys and models anew, ending. Only with --admin-key, which opens
 * nothing else. All answered on the loop thread, so that a server whose workers are all busy can still be looked
 * into. */
#include <string.h>
#include "base/log.h"
#include "server/access_int.h"
#include "server/models_int.h"

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

/* NULL: it waits for no model. It has no id but its request's, and what it asks for will be read again. */
static json_t *waiting_json(struct call *c)
{
    if (!models_waits(c))
        return NULL;
    return json_pack("{s:s,s:s,s:s,s:s,s:b,s:i,s:i,s:i,s:f,s:s?,s:n}", "id", c->id, "endpoint",
                     c->route->path, "model", c->model_name, "state", "waiting_for_model", "stream",
                     c->wants_stream, "choices", 0, "prompt_tokens", 0, "answer_tokens", 0,
                     "age_seconds", clock_seconds() - c->started, "key", access_key_name(c),
                     "user");
}

/* NULL: a worker is still at it, or it asks for no answer of a model. */
static json_t *call_json(struct call *c)
{
    json_t *waiting = waiting_json(c);
    if (waiting)
        return waiting;
    pthread_mutex_lock(&c->lock);
    const struct generation *g = c->worked && (!c->reply || c->kept) ? c->gen : NULL;
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

/* Under models.lock. */
static json_t *model_json(const struct served_model *m, double now)
{
    struct engine_info info = {0};
    const struct loaded_model *l = m->current;
    if (l)
        engine_get_info(l->engine, &info);
    bool asleep = m->state == MODEL_ASLEEP;
    return json_pack("{s:s,s:s,s:i,s:i,s:i,s:i,s:i,s:I,s:I,s:o,s:s?}", "id", m->names[0], "state",
                     model_state_text(m), "running", info.running, "queued", info.waiting,
                     "waiting_for_model", m->n_waiting, "kv_pages", asleep ? 0 : (int)info.kv_pages,
                     "kv_pages_free", asleep ? 0 : (int)info.kv_pages_free, "memory_bytes",
                     (json_int_t)(l ? l->bytes : 0), "version", (json_int_t)m->version,
                     "idle_seconds", l ? json_real(model_busy(m) ? 0 : now - m->used) : json_null(),
                     "error", m->state == MODEL_FAILED ? m->error.message : NULL);
}

static json_t *models_json(const struct server *s, json_t **memory)
{
    struct models *ms = s->models;
    json_t *list = json_array();
    double now = clock_seconds();
    pthread_mutex_lock(&ms->lock);
    for (const struct served_model *m = ms->first; m; m = m->next)
        json_array_append_new(list, model_json(m, now));
    *memory = json_pack("{s:I,s:I}", "limit_bytes", (json_int_t)ms->limit, "used_bytes",
                        (json_int_t)models_used(ms));
    pthread_mutex_unlock(&ms->lock);
    return list;
}

void api_admin_status(struct call *c)
{
    const struct server *s = c->s;
    json_t *memory, *models = models_json(s, &memory);
    reply_set_json(c, 200,
                   json_pack("{s:s,s:b,s:f,s:s,s:i,s:i,s:o,s:o,s:o}", "version", SAMPAN_VERSION,
                             "draining", s->draining, "uptime_seconds",
                             clock_seconds() - s->started, "log_level", levels[log_get_level()],
                             "connections", (int)s->n_guards, "requests", (int)s->n_calls - 1,
                             "models", models, "memory", memory, "keys", access_json(s)));
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
    const struct server_opts *o = &c->s->opts;
    if (server_reload_keys(c->s, &err) == 0 && server_reload_tls(c->s, &err) == 0 &&
        (!o->on_models || o->on_models(o->arg, &err) == 0))
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
