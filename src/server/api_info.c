/* What the server is and has: models, health and version. */
#include <stdlib.h>
#include <string.h>
#include "kernel/kernel.h"
#include "server/access_int.h"
#include "server/models_int.h"

/* Under models.lock. What is known only of a model that was loaded once is null before. */
static json_t *model_json(const struct served_model *m, const char *name)
{
    json_t *context = m->context ? json_integer(m->context) : json_null();
    return json_pack("{s:s,s:s,s:I,s:s,s:s,s:o,s:s?,s:s}", "id", name, "object", "model", "created",
                     (json_int_t)clock_unix(), "owned_by", "sampan", "root", m->names[0],
                     "max_model_len", context, "format", m->format[0] ? m->format : NULL, "state",
                     model_state_text(m));
}

json_t *models_entries(const struct call *c)
{
    struct models *ms = c->s->models;
    json_t *list = json_array();
    pthread_mutex_lock(&ms->lock);
    for (const struct served_model *m = ms->first; m; m = m->next)
        for (size_t k = 0; k < m->n_names && access_model(c, m); k++)
            json_array_append_new(list, model_json(m, m->names[k]));
    pthread_mutex_unlock(&ms->lock);
    return list;
}

void api_models(struct call *c)
{
    reply_set_json(c, 200, json_pack("{s:s,s:o}", "object", "list", "data", models_entries(c)));
}

void api_model(struct call *c)
{
    struct models *ms = c->s->models;
    char *name = evhttp_uridecode(c->path + strlen("/v1/models/"), 0, NULL);
    pthread_mutex_lock(&ms->lock);
    const struct served_model *m = name ? models_find(ms, c, name) : NULL;
    json_t *json = m ? model_json(m, name) : NULL;
    pthread_mutex_unlock(&ms->lock);
    if (m)
        reply_set_json(c, 200, json);
    else
        reply_set_error(c, 404, "invalid_request_error", "model", "model_not_found",
                        "model: '%.128s' is not served here: GET /v1/models lists what is",
                        name ? name : "");
    if (name)
        free(name); /* lib-owned: libevent's */
}

void api_health(struct call *c)
{
    if (c->s->draining)
        reply_set_error(c, 503, "server_error", NULL, "draining", "the server is shutting down");
    else if (c->s->loading)
        reply_set_error(c, 503, "server_error", NULL, "loading", STILL_LOADING);
    else
        reply_set_json(c, 200, json_pack("{s:s}", "status", "ok"));
}

/* The loop answers, so the process lives: also while it loads or ends. */
void api_livez(struct call *c)
{
    reply_set_json(c, 200, json_pack("{s:s}", "status", "ok"));
}

void api_version(struct call *c)
{
    enum cpu_isa isa;
    sp_error err = {0};
    const struct kernel_ops *ops = kernel_pick(&isa, &err) == 0 ? kernel_get(isa) : NULL;
    reply_set_json(c, 200,
                   json_pack("{s:s,s:s?,s:s?}", "version", SAMPAN_VERSION, "isa",
                             ops ? ops->name : NULL, "compute", c->s->opts.compute));
}
