/* What the server is and has: models, health, version, and the plain page at "/". */
#include <stdlib.h>
#include <string.h>
#include "server/server_int.h"

static json_t *model_json(const struct served_model *m, const char *name)
{
    char format[64];
    const checkpoint *ckpt = engine_checkpoint(m->engine);
    return json_pack("{s:s,s:s,s:I,s:s,s:s,s:I,s:s}", "id", name, "object", "model", "created",
                     (json_int_t)clock_unix(), "owned_by", "sampan", "root", m->names[0],
                     "max_model_len", (json_int_t)engine_context(m->engine), "format",
                     checkpoint_format_text(ckpt, format));
}

void api_models(struct call *c)
{
    const struct server_opts *o = &c->s->opts;
    json_t *list = json_array();
    for (size_t i = 0; i < o->n_models; i++)
        for (size_t k = 0; k < o->models[i].n_names; k++)
            json_array_append_new(list, model_json(&o->models[i], o->models[i].names[k]));
    reply_set_json(c, 200, json_pack("{s:s,s:o}", "object", "list", "data", list));
}

void api_model(struct call *c)
{
    const struct server_opts *o = &c->s->opts;
    const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(c->req);
    const char *path = evhttp_uri_get_path(uri);
    char *name = evhttp_uridecode(path + strlen("/v1/models/"), 0, NULL);
    for (size_t i = 0; name && i < o->n_models; i++)
        for (size_t k = 0; k < o->models[i].n_names; k++)
            if (c->status == 0 && strcmp(o->models[i].names[k], name) == 0)
                reply_set_json(c, 200, model_json(&o->models[i], o->models[i].names[k]));
    if (c->status == 0)
        reply_set_error(c, 404, "invalid_request_error", "model", "model_not_found",
                        "model: '%.128s' is not served here: GET /v1/models lists what is",
                        name ? name : "");
    if (name)
        free(name); /* lib-owned: libevent's */
    ;
}

void api_health(struct call *c)
{
    if (c->s->draining)
        reply_set_error(c, 503, "server_error", NULL, "draining", "the server is shutting down");
    else
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

void api_openapi(struct call *c)
{
    c->reply = sp_strdup(openapi_json);
    c->status = c->reply ? 200 : 500;
}

void api_root(struct call *c)
{
    static const char page[] =
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Sampan</title>"
        "<style>body{font:16px/1.5 sans-serif;max-width:42em;margin:3em auto;padding:0 1em}"
        "td{padding:.1em 1em .1em 0}</style>"
        "<h1>Sampan</h1><p>A language model answers here, with OpenAI's API.</p><table>"
        "<tr><td><code>GET /v1/models</code><td>what is served"
        "<tr><td><code>POST /v1/chat/completions</code><td>chat"
        "<tr><td><code>POST /v1/completions</code><td>continue a text"
        "<tr><td><code>POST /tokenize</code>, <code>/detokenize</code><td>text and tokens"
        "<tr><td><code>GET /health</code>, <code>/livez</code>, <code>/readyz</code><td>is it well"
        "<tr><td><code>GET /version</code><td>what runs"
        "<tr><td><a href=\"/openapi.json\"><code>GET /openapi.json</code></a><td>all of it, "
        "described"
        "</table><p>在这里可以用 OpenAI 的接口与模型对话。</p></html>\n";
    c->reply = sp_strdup(page);
    c->status = c->reply ? 200 : 500;
}
