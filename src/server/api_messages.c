/* /api/chats/ID/messages and /api/messages/ID: questions, corrections, stopping. All on a worker. */
#include <string.h>
#include "server/page_int.h"

#define INVALID "invalid_request_error"

void api_messages_add(struct call *c)
{
    char chat[STORE_ID_BYTES];
    json_t *message = NULL;
    bool added = false;
    sp_error err = {0};
    store *s = history_of(c);
    json_t *body = s && page_id(c, 'c', chat) ? request_parse(c) : NULL;
    if (!body)
        return;
    json_object_set_new(body, "role", json_string("user"));
    json_object_del(body, "state");
    json_object_del(body, "model");
    if (store_message_add(s, c->owner, chat, body, &message, &added, &err) < 0) {
        page_fail(c, &err);
    } else {
        if (added) {
            events_publish(c->s, c->owner, "message", json_incref(message));
            events_publish_chat(c->s, c->owner, chat);
        }
        reply_set_json(c, added ? 201 : 200, message);
    }
    json_decref(body);
}

static void edit(struct call *c, store *s, const char *id, const json_t *content)
{
    json_t *message = NULL;
    sp_error err = {0};
    if (!json_is_string(content)) {
        reply_set_error(c, 400, INVALID, "content", NULL, "content: must be a string");
        return;
    }
    if (kept_runs(c->s, id)) {
        reply_set_error(c, 409, INVALID, NULL, "conflict",
                        "this message is being written: stop it first");
        return;
    }
    if (store_message_edit(s, c->owner, id, json_string_value(content), &message, &err) < 0) {
        page_fail(c, &err);
        return;
    }
    events_publish(c->s, c->owner, "message", json_incref(message));
    events_publish_chat(c->s, c->owner, json_string_value(json_object_get(message, "chat")));
    reply_set_json(c, 200, message);
}

void api_messages_edit(struct call *c)
{
    char id[STORE_ID_BYTES];
    store *s = history_of(c);
    json_t *body = s && page_id(c, 'm', id) ? request_parse(c) : NULL;
    if (!body)
        return;
    edit(c, s, id, json_object_get(body, "content"));
    json_decref(body);
}

void api_messages_stop(struct call *c)
{
    char id[STORE_ID_BYTES];
    json_t *message = NULL;
    sp_error err = {0};
    store *s = history_of(c);
    if (!s || !page_id(c, 'm', id) || kept_stop(c, id))
        return;
    if (store_message(s, c->owner, id, &message, &err) < 0)
        page_fail(c, &err);
    else
        reply_set_json(c, 200, message); /* one that has ended stays as it is */
}
