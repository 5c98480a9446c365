/* /api/templates: tasks that people make. On a worker. */
#include <string.h>
#include "server/task_int.h"

void api_templates_list(struct call *c)
{
    json_t *list = NULL;
    sp_error err = {0};
    store *s = history_of(c);
    if (!s)
        return;
    if (store_templates(s, c->owner, &list, &err) < 0)
        page_fail(c, &err);
    else
        reply_set_json(c, 200, json_pack("{s:o}", "data", list));
}

static void put(struct call *c, const char *id)
{
    json_t *t = NULL;
    sp_error err = {0};
    store *s = history_of(c);
    json_t *body = s ? request_parse(c) : NULL;
    if (!body)
        return;
    if (template_check(c, body)) {
        if (store_template_put(s, c->owner, id, body, &t, &err) < 0) {
            page_fail(c, &err);
        } else {
            events_publish(c->s, c->owner, "template", json_deep_copy(t));
            reply_set_json(c, id ? 200 : 201, t);
        }
    }
    json_decref(body);
}

void api_templates_add(struct call *c)
{
    put(c, NULL);
}

void api_templates_change(struct call *c)
{
    char id[STORE_ID_BYTES];
    if (page_id(c, 't', id))
        put(c, id);
}

void api_templates_remove(struct call *c)
{
    char id[STORE_ID_BYTES];
    sp_error err = {0};
    store *s = history_of(c);
    if (!s || !page_id(c, 't', id))
        return;
    if (store_template_remove(s, c->owner, id, &err) < 0) {
        page_fail(c, &err);
        return;
    }
    events_publish(c->s, c->owner, "template_deleted", json_pack("{s:s}", "id", id));
    reply_set_json(c, 200, json_pack("{s:s,s:b}", "id", id, "deleted", 1));
}
