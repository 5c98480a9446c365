/* What the server is and has: models, health and version. */
#include <stdlib.h>
#include <string.h>
#include "server/access_int.h"

json_t *model_json(const struct served_model *m, const char *name)
{
    char format[64];
    const checkpoint *ckpt = engine_checkpoint(m->engine);
    return json_pack("{s:s,s:s,s:I,s:s,s:s,s:I,s:s,s:s}", "id", name, "object", "model", "created",
                     (json_int_t)clock_unix(), "owned_by", "sampan", "root", m->names[0],
                     "max_model_len", (json_int_t)engine_context(m->engine), "format",
                     checkpoint_format_text(ckpt, format), "state", "loaded");
}

void api_models(struct call *c)
{
    const struct server_opts *o = &c->s->opts;
    json_t *list = json_array();
    for (size_t i = 0; i < o->n_models; i++)
        for (size_t k = 0; k < o->models[i].n_names && access_model(c, &o->models[i]); k++)
            json_array_append_new(list, model_json(&o->models[i], o->models[i].names[k]));
    reply_set_json(c, 200, json_pack("{s:s,s:o}", "object", "list", "data", list));
}

void api_model(struct call *c)
{
    const struct server_opts *o = &c->s->opts;
    char *name = evhttp_uridecode(c->path + strlen("/v1/models/"), 0, NULL);
    for (size_t i = 0; name && i < o->n_models; i++)
        for (size_t k = 0; k < o->models[i].n_names; k++)
            if (c->status == 0 && strcmp(o->models[i].names[k], name) == 0 &&
                access_model(c, &o->models[i]))
                reply_set_json(c, 200, model_json(&o->models[i], o->models[i].names[k]));
    if (c->status == 0)
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
        reply_set_error(c, 503, "server_error", NULL, "loading", MODEL_LOADING);
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
    struct engine_info info;
    engine_get_info(c->s->opts.models[0].engine, &info);
    reply_set_json(c, 200,
                   json_pack("{s:s,s:s,s:s}", "version", SAMPAN_VERSION, "isa", info.isa, "compute",
                             info.compute));
}
