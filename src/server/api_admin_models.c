/* /admin/: what is done with one model. A worker reads the request, the loader does it and answers. */
#include "server/models_int.h"

static void ask(struct call *c, enum model_job kind)
{
    json_t *body = request_parse(c);
    const char *name = json_string_value(json_object_get(body, "model"));
    if (body && name)
        models_ask(c, kind, name);
    else if (body)
        reply_set_error(c, 400, "invalid_request_error", "model", NULL, "model: must be a string");
    json_decref(body);
}

/* replace: the model's files anew, though it is loaded; requests that run end with the old one. */
void api_admin_load(struct call *c)
{
    bool replace = false;
    json_t *body = request_parse(c);
    int code = body ? request_bool(c, body, "replace", false, &replace) : SP_EINVAL;
    json_decref(body);
    if (code == 0)
        ask(c, replace ? JOB_REPLACE : JOB_LOAD);
}

void api_admin_unload(struct call *c)
{
    ask(c, JOB_UNLOAD);
}

void api_admin_sleep(struct call *c)
{
    ask(c, JOB_SLEEP);
}

void api_admin_wake(struct call *c)
{
    ask(c, JOB_WAKE);
}

void api_admin_flush_cache(struct call *c)
{
    ask(c, JOB_FLUSH);
}
