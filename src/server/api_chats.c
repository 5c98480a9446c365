/* /api/chats: the list, one chat, its changes. All on a worker. */
#include <string.h>
#include "server/page_int.h"

#define INVALID "invalid_request_error"

static bool read_query(struct call *c, struct store_query *q)
{
    int64_t limit = 50, pinned = -1, deleted = 0;
    if (!page_query_int(c, "limit", 1, STORE_PAGE_MOST, &limit) ||
        !page_query_int(c, "pinned", 0, 1, &pinned) ||
        !page_query_int(c, "deleted", 0, 1, &deleted))
        return false;
    *q = (struct store_query){.text = page_query(c, "q"),
                              .folder = page_query(c, "folder"),
                              .cursor = page_query(c, "cursor"),
                              .limit = (int)limit,
                              .pinned = (int)pinned,
                              .deleted = deleted != 0};
    if (q->text && !utf8_valid(q->text, strlen(q->text))) {
        reply_set_error(c, 400, INVALID, "q", NULL, "q: must be UTF-8");
        return false;
    }
    return true;
}

void api_chats_list(struct call *c)
{
    struct store_query q;
    json_t *page = NULL;
    sp_error err = {0};
    store *s = history_of(c);
    if (!s || !read_query(c, &q))
        return;
    if (store_chats(s, c->owner, &q, &page, &err) < 0)
        page_fail(c, &err);
    else
        reply_set_json(c, 200, page);
}

/* Answers with a chat and tells everybody. Takes it. */
static void answer_chat(struct call *c, int status, json_t *chat)
{
    events_publish(c->s, c->owner, "chat", json_incref(chat));
    reply_set_json(c, status, chat);
}

void api_chats_add(struct call *c)
{
    json_t *chat = NULL;
    sp_error err = {0};
    store *s = history_of(c);
    json_t *body = s ? request_parse(c) : NULL;
    if (!body)
        return;
    if (page_params(c, json_object_get(body, "params")) == 0) {
        if (store_chat_add(s, c->owner, body, &chat, &err) < 0)
            page_fail(c, &err);
        else
            answer_chat(c, 201, chat);
    }
    json_decref(body);
}

void api_chats_get(struct call *c)
{
    char id[STORE_ID_BYTES];
    json_t *chat = NULL;
    sp_error err = {0};
    store *s = history_of(c);
    if (!s || !page_id(c, 'c', id))
        return;
    if (store_chat(s, c->owner, id, true, &chat, &err) < 0) {
        page_fail(c, &err);
        return;
    }
    kept_overlay(c->s, json_object_get(chat, "messages"));
    reply_set_json(c, 200, chat);
}

void api_chats_change(struct call *c)
{
    char id[STORE_ID_BYTES];
    json_t *chat = NULL;
    sp_error err = {0};
    store *s = history_of(c);
    json_t *body = s && page_id(c, 'c', id) ? request_parse(c) : NULL;
    if (!body)
        return;
    if (page_params(c, json_object_get(body, "params")) == 0) {
        if (store_chat_change(s, c->owner, id, body, &chat, &err) < 0)
            page_fail(c, &err);
        else
            answer_chat(c, 200, chat);
    }
    json_decref(body);
}

static void remove_chat(struct call *c, store *s, const char *id)
{
    sp_error err = {0};
    if (store_chat_remove(s, c->owner, id, &err) < 0) {
        page_fail(c, &err);
        return;
    }
    kept_stop_chat(c->s, id);
    events_publish(c->s, c->owner, "chat_deleted", json_pack("{s:s}", "id", id));
    reply_set_json(c, 200, json_pack("{s:s,s:b}", "id", id, "deleted", 1));
}

static void mark_chat(struct call *c, store *s, const char *id, bool deleted)
{
    json_t *chat = NULL;
    sp_error err = {0};
    if (store_chat_mark(s, c->owner, id, deleted, &chat, &err) < 0)
        page_fail(c, &err);
    else
        answer_chat(c, 200, chat);
}

void api_chats_delete(struct call *c)
{
    char id[STORE_ID_BYTES];
    int64_t forever = 0;
    store *s = history_of(c);
    if (!s || !page_id(c, 'c', id) || !page_query_int(c, "forever", 0, 1, &forever))
        return;
    if (forever)
        remove_chat(c, s, id);
    else
        mark_chat(c, s, id, true);
}

void api_chats_restore(struct call *c)
{
    char id[STORE_ID_BYTES];
    store *s = history_of(c);
    if (s && page_id(c, 'c', id))
        mark_chat(c, s, id, false);
}
