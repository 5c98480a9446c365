/* Conversations of OpenAI's and Open WebUI's exports as ours. Both are trees of nodes that name their parents; what is
 * no question and no answer (system texts, calls of tools, pictures) is left out, and its children go to the nearest
 * node above that is kept. An id is made of theirs, so a second import finds the first one's chats. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "store/store_int.h"

#define LEFT_OUT_MOST                                                                              \
    200 /* nodes one above the other that are left out; further ones cut the branch */

static const char *text(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

/* How a format tells its nodes. */
struct foreign {
    const json_t *nodes; /* by id */
    const char *(*parent)(const json_t *node);
    /* false: it is left out. Fills role and text. */
    bool (*read)(const json_t *node, const char **role, buf *out);
    const json_t *(*created)(const json_t *node);
    const char *(*model)(const json_t *node);
    char kind; /* goes into ids */
};

static bool make_id(char kind, char format, const char *id, char out[STORE_ID_BYTES])
{
    char key[512];
    int n = snprintf(key, sizeof key, "%c:%.480s", format, id);
    return store_id_from(kind, key, (size_t)n, out) == 0;
}

static bool is_kept(const struct foreign *f, const json_t *node)
{
    const char *role;
    buf out;
    buf_init(&out, STORE_TEXT_MOST);
    bool kept = json_is_object(node) && f->read(node, &role, &out);
    buf_free(&out);
    return kept;
}

/* The nearest kept node above, or NULL. */
static const char *parent_kept(const struct foreign *f, const json_t *node)
{
    const char *id = f->parent(node);
    for (int i = 0; id && i < LEFT_OUT_MOST; i++) {
        const json_t *up = json_object_get(f->nodes, id);
        if (!up || is_kept(f, up))
            return up ? id : NULL;
        id = f->parent(up);
    }
    return NULL;
}

static json_t *one_message(const struct foreign *f, const char *chat, const char *id,
                           const json_t *node)
{
    const char *role = NULL, *up = parent_kept(f, node), *model = f->model(node);
    char own[STORE_ID_BYTES], parent[STORE_ID_BYTES], key[600];
    const json_t *created = f->created(node);
    buf out;
    buf_init(&out, STORE_TEXT_MOST);
    json_t *m = NULL;
    (void)snprintf(key, sizeof key, "%.200s/%.300s", chat, id);
    bool ok = f->read(node, &role, &out) && !out.failed && make_id('m', f->kind, key, own);
    if (ok && up) {
        (void)snprintf(key, sizeof key, "%.200s/%.300s", chat, up);
        ok = make_id('m', f->kind, key, parent);
    }
    if (ok)
        m = json_pack("{s:s,s:s?,s:s,s:s%,s:s,s:s?,s:O*}", "id", own, "parent", up ? parent : NULL,
                      "role", role, "content", out.data ? out.data : "", out.len, "state",
                      "complete", "model", model, "created",
                      json_is_number(created) ? (json_t *)(uintptr_t)created : NULL);
    buf_free(&out);
    return m;
}

/* Appends id's node and, before it, those above it that are not there yet. up: room for all nodes. False: parents in a
 * ring, or out of memory. */
static bool add_branch(const struct foreign *f, const char *chat, const char *id, json_t *added,
                       json_t *list, const char **up)
{
    size_t n = 0, most = json_object_size(f->nodes);
    for (; id && !json_object_get(added, id); id = parent_kept(f, json_object_get(f->nodes, id))) {
        if (n == most)
            return false;
        up[n++] = id;
    }
    while (n-- > 0) {
        json_t *m = one_message(f, chat, up[n], json_object_get(f->nodes, up[n]));
        if (!m || json_array_append_new(list, m) != 0 ||
            json_object_set_new(added, up[n], json_true()) != 0)
            return false;
    }
    return true;
}

/* All kept nodes, parents first. NULL: parents in a ring, or out of memory. */
static json_t *all_messages(const struct foreign *f, const char *chat)
{
    json_t *list = json_array(), *added = json_object(), *node;
    const char *id, **up = sp_calloc(json_object_size(f->nodes) + 1, sizeof *up);
    bool ok = list && added && up;
    json_object_foreach((json_t *)(uintptr_t)f->nodes, id, node)
    {
        if (ok && is_kept(f, node))
            ok = add_branch(f, chat, id, added, list, up);
    }
    json_decref(added);
    sp_free(up);
    if (ok)
        return list;
    json_decref(list);
    return NULL;
}

static json_t *finish(const struct foreign *f, const char *id, const char *title,
                      const json_t *created, const json_t *updated, const char *current,
                      const char **why)
{
    char chat[STORE_ID_BYTES], head[STORE_ID_BYTES] = "", key[600],
                               short_title[STORE_TITLE_MOST + 1] = "";
    json_t *messages = make_id('c', f->kind, id, chat) ? all_messages(f, id) : NULL;
    const json_t *node = current ? json_object_get(f->nodes, current) : NULL;
    if (node && !is_kept(f, node))
        current = parent_kept(f, node);
    if (node && current) {
        (void)snprintf(key, sizeof key, "%.200s/%.300s", id, current);
        (void)make_id('m', f->kind, key, head);
    }
    if (title)
        (void)snprintf(short_title, sizeof short_title, "%.*s",
                       (int)utf8_complete(title, strnlen(title, 300)), title);
    *why = !messages                        ? "its messages are each other's parents"
           : json_array_size(messages) == 0 ? "no question or answer in it"
                                            : NULL;
    if (*why) {
        json_decref(messages);
        return NULL;
    }
    return json_pack("{s:i,s:{s:s,s:s,s:s?,s:O*,s:O*},s:o}", "sampan", 1, "chat", "id", chat,
                     "title", short_title, "head", head[0] ? head : NULL, "created",
                     json_is_number(created) ? (json_t *)(uintptr_t)created : NULL, "updated",
                     json_is_number(updated) ? (json_t *)(uintptr_t)updated : NULL, "messages",
                     messages);
}

static bool role_ok(const char *role)
{
    return role && (strcmp(role, "user") == 0 || strcmp(role, "assistant") == 0);
}

/* ---- OpenAI ---- */

static const char *openai_parent(const json_t *node)
{
    return text(node, "parent");
}

static void add_parts(const json_t *parts, buf *out)
{
    size_t i;
    const json_t *part;
    json_array_foreach(parts, i, part)
    {
        if (!json_is_string(part))
            continue;
        if (out->len)
            buf_puts(out, "\n\n");
        buf_add(out, json_string_value(part), json_string_length(part));
    }
}

static bool openai_read(const json_t *node, const char **role, buf *out)
{
    const json_t *message = json_object_get(node, "message"),
                 *content = json_object_get(message, "content");
    const char *type = text(content, "content_type"), *code = text(content, "text"),
               *to = text(message, "recipient");
    *role = text(json_object_get(message, "author"), "role");
    if (!role_ok(*role) || !type || (to && strcmp(to, "all") != 0))
        return false;
    if (strcmp(type, "text") == 0 || strcmp(type, "multimodal_text") == 0)
        add_parts(json_object_get(content, "parts"), out);
    else if (strcmp(type, "code") == 0 && code)
        buf_puts(out, code);
    return out->len > 0;
}

static const json_t *openai_created(const json_t *node)
{
    return json_object_get(json_object_get(node, "message"), "create_time");
}

static const char *openai_model(const json_t *node)
{
    return text(json_object_get(json_object_get(node, "message"), "metadata"), "model_slug");
}

json_t *import_openai(const json_t *j, const char **why)
{
    const char *id = text(j, "conversation_id");
    struct foreign f = {json_object_get(j, "mapping"),
                        openai_parent,
                        openai_read,
                        openai_created,
                        openai_model,
                        'o'};
    if (!id)
        id = text(j, "id");
    if (!id || !json_is_object(f.nodes)) {
        *why = "a conversation of OpenAI without an id or a mapping";
        return NULL;
    }
    return finish(&f, id, text(j, "title"), json_object_get(j, "create_time"),
                  json_object_get(j, "update_time"), text(j, "current_node"), why);
}

/* ---- Open WebUI ---- */

static const char *webui_parent(const json_t *node)
{
    return text(node, "parentId");
}

static bool webui_read(const json_t *node, const char **role, buf *out)
{
    const json_t *content = json_object_get(node, "content");
    *role = text(node, "role");
    if (!role_ok(*role) || !json_is_string(content))
        return false;
    buf_add(out, json_string_value(content), json_string_length(content));
    return out->len > 0;
}

static const json_t *webui_created(const json_t *node)
{
    return json_object_get(node, "timestamp");
}

static const char *webui_model(const json_t *node)
{
    return text(node, "model");
}

json_t *import_open_webui(const json_t *j, const char **why)
{
    const json_t *chat = json_object_get(j, "chat"), *history = json_object_get(chat, "history");
    const char *id = text(j, "id"), *title = text(j, "title");
    struct foreign f = {json_object_get(history, "messages"),
                        webui_parent,
                        webui_read,
                        webui_created,
                        webui_model,
                        'w'};
    if (!id || !json_is_object(f.nodes)) {
        *why = "a chat of Open WebUI without an id or a history";
        return NULL;
    }
    return finish(&f, id, title ? title : text(chat, "title"), json_object_get(j, "created_at"),
                  json_object_get(j, "updated_at"), text(history, "currentId"), why);
}
