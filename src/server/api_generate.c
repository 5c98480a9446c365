/* POST /api/chats/ID/generate: an answer of a model to a branch of a chat, kept. It is made into a request as for
 * /v1/chat/completions, and goes the same way. On a worker. */
#include <string.h>
#include "server/models_int.h"
#include "server/page_int.h"

#define INVALID "invalid_request_error"
#define PROMPT_MOST ((size_t)128 << 20) /* bytes of a message with its files */

/* What one such request asks for. */
struct asked {
    char chat_id[STORE_ID_BYTES];
    json_t *body, *chat, *branch; /* branch: messages from the root to `parent` */
    const json_t *parent;         /* the last of them */
    bool go_on;
};

static void asked_free(struct asked *a)
{
    json_decref(a->body);
    json_decref(a->chat);
    json_decref(a->branch);
}

static const char *text_of(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

static bool bad(struct call *c, const char *param, const char *why)
{
    reply_set_error(c, 400, INVALID, param, NULL, "%s: %s", param, why);
    return false;
}

static bool fail(struct call *c, const sp_error *err)
{
    page_fail(c, err);
    return false;
}

/* A retry of what has been taken already. True: it has been answered. */
static bool answered_before(struct call *c, store *s, const struct asked *a)
{
    const json_t *id = json_object_get(a->body, "id");
    json_t *message = NULL;
    if (!id || json_is_null(id))
        return false;
    if (!store_id_sound(json_string_value(id), 'm')) {
        (void)bad(c, "id", "must be m_ and 26 characters of a-z and 2-7, or left out");
        return true;
    }
    if (store_message(s, c->owner, json_string_value(id), &message, NULL) < 0)
        return false;
    if (json_equal(json_object_get(message, "parent"), json_object_get(a->body, "parent")) &&
        strcmp(text_of(message, "chat"), a->chat_id) == 0 &&
        strcmp(text_of(message, "role"), "assistant") == 0)
        reply_set_json(c, 200, json_incref(message));
    else
        reply_set_error(c, 409, INVALID, "id", "conflict", "id: another message has it already");
    json_decref(message);
    return true;
}

static bool read_asked(struct call *c, store *s, struct asked *a)
{
    sp_error err = {0};
    const char *parent = text_of(a->body, "parent");
    if (!store_id_sound(parent, 'm'))
        return bad(c, "parent", "must be the id of the message to answer");
    if (request_bool(c, a->body, "continue", false, &a->go_on) < 0 ||
        page_params(c, json_object_get(a->body, "params")) < 0)
        return false;
    if (store_chat(s, c->owner, a->chat_id, false, &a->chat, &err) < 0)
        return fail(c, &err);
    if (store_branch(s, c->owner, parent, &a->branch, &err) < 0)
        return err.code == SP_ENOTFOUND ? bad(c, "parent", "there is no such message")
                                        : fail(c, &err);
    a->parent = json_array_get(a->branch, json_array_size(a->branch) - 1);
    if (strcmp(text_of(a->parent, "chat"), a->chat_id) != 0)
        return bad(c, "parent", "this message is in another chat");
    bool assistant = strcmp(text_of(a->parent, "role"), "assistant") == 0;
    if (a->go_on && !assistant)
        return bad(c, "continue", "only an answer can be continued");
    if (!a->go_on && assistant)
        return bad(c, "parent", "must be a question, or say continue: true");
    if (!kept_runs(c->s, parent))
        return true;
    reply_set_error(c, 409, INVALID, NULL, "conflict", "this message is being written already");
    return false;
}

/* ---- the request as /v1/chat/completions has it ---- */

/* A question as the model gets it: its files, then what was asked. NULL: *err says why. */
static json_t *content_of(const struct call *c, store *s, const json_t *m, json_t *files,
                          sp_error *err)
{
    const json_t *its = json_object_get(m, "attachments");
    str own = {text_of(m, "content"), json_string_length(json_object_get(m, "content"))};
    json_t *content = NULL;
    buf b;
    if (json_array_size(its) == 0)
        return json_incref(json_object_get(m, "content"));
    buf_init(&b, PROMPT_MOST);
    json_array_extend(files, (json_t *)(uintptr_t)its);
    int code = files_put(s, c->owner, m, &b, err);
    buf_add(&b, own.p, own.n);
    if (code == 0 && b.failed)
        (void)sp_fail(err, b.code == SP_EFULL ? SP_EINVAL : b.code,
                      "files: together they have more than %zu MiB of text", PROMPT_MOST >> 20);
    else if (code == 0)
        content = json_stringn(b.data, b.len);
    if (code == 0 && !b.failed && !content)
        (void)sp_fail(err, SP_ENOMEM, "out of memory");
    buf_free(&b);
    return content;
}

/* files: their attachments are added. NULL: *err says why. */
static json_t *messages_for(const struct call *c, store *s, const struct asked *a, json_t *files,
                            sp_error *err)
{
    json_t *list = json_array();
    const char *system = text_of(a->chat, "system");
    size_t i;
    const json_t *m;
    if (system && *system)
        json_array_append_new(list, json_pack("{s:s,s:s}", "role", "system", "content", system));
    json_array_foreach(a->branch, i, m)
    {
        if (a->go_on && m == a->parent)
            continue;
        json_t *content = content_of(c, s, m, files, err);
        if (!content) {
            json_decref(list);
            return NULL;
        }
        json_array_append_new(
            list, json_pack("{s:O,s:o}", "role", json_object_get(m, "role"), "content", content));
    }
    return list;
}

static json_t *first_model(const struct call *c)
{
    struct models *ms = c->s->models;
    pthread_mutex_lock(&ms->lock);
    const struct served_model *m = models_find(ms, c, NULL);
    json_t *name = json_string(m ? m->names[0] : "");
    pthread_mutex_unlock(&ms->lock);
    return name;
}

/* The chat's parameters, then those of the request over them. Takes messages. */
static json_t *request_for(const struct call *c, const struct asked *a, json_t *messages)
{
    json_t *r = json_object();
    const char *asked = text_of(a->body, "model"), *chats = text_of(a->chat, "model");
    const json_t *named = json_object_get(a->body, "model");
    json_object_update(r, json_object_get(a->chat, "params"));
    if (json_is_object(json_object_get(a->body, "params")))
        json_object_update(r, json_object_get(a->body, "params"));
    if (named && !json_is_null(named) && !asked)
        json_object_set(r, "model",
                        (json_t *)(uintptr_t)named); /* of a wrong type: refused as such */
    else
        json_object_set_new(r, "model",
                            asked             ? json_string(asked)
                            : chats && *chats ? json_string(chats)
                                              : first_model(c));
    json_object_set_new(r, "messages", messages);
    json_object_set_new(r, "stream", json_true());
    json_object_set_new(r, "return_progress", json_true());
    return r;
}

/* The answer so far as the model wrote it. */
static void put_before(const struct asked *a, buf *out)
{
    const char *reasoning = text_of(a->parent, "reasoning"),
               *content = text_of(a->parent, "content");
    if (*reasoning)
        buf_printf(out, "<think>%s%s", reasoning, *content ? "</think>\n\n" : "");
    buf_puts(out, content);
}

/* ---- the row ---- */

/* 0: *row is made; 1: a retry of this request was faster, *row is its message; negative: failed. */
static int make_row(struct call *c, store *s, const struct asked *a, json_t **row, sp_error *err)
{
    bool added = true;
    if (a->go_on)
        return store_message_reopen(s, c->owner, text_of(a->parent, "id"), row, err);
    json_t *fields =
        json_pack("{s:s,s:s,s:s,s:s,s:O,s:O*}", "role", "assistant", "content", "", "state",
                  "queued", "model", c->model_name, "parent", json_object_get(a->body, "parent"),
                  "id", json_object_get(a->body, "id"));
    int code = store_message_add(s, c->owner, a->chat_id, fields, row, &added, err);
    json_decref(fields);
    return code < 0 ? code : added ? 0 : 1;
}

/* The answer gets its place in the chat. False: it has none, and the reply says why. */
static bool show(struct call *c, store *s, const struct asked *a)
{
    json_t *row = NULL;
    sp_error err = {0};
    int code = make_row(c, s, a, &row, &err);
    if (code < 0)
        page_fail(c, &err);
    else if (code > 0)
        reply_set_json(c, 200, row);
    if (code != 0)
        return false;
    kept_begin(c->kept, row);
    events_publish(c->s, c->owner, "message", json_copy(row));
    events_publish_chat(c->s, c->owner, a->chat_id);
    reply_set_json(c, 202, json_copy(row));
    return true;
}

static struct kept *new_answer(struct call *c, store *s, const struct asked *a)
{
    sp_error err = {0};
    json_t *files = json_array(), *messages = messages_for(c, s, a, files, &err);
    json_t *content = json_object_get(a->parent, "content"),
           *reasoning = json_object_get(a->parent, "reasoning");
    str text = {0}, thought = {0};
    if (a->go_on) {
        text = (str){json_string_value(content), json_string_length(content)};
        thought = (str){json_string_value(reasoning), json_string_length(reasoning)};
    }
    struct kept *k = messages ? kept_new(c, a->chat_id, text, thought) : NULL;
    if (k && a->go_on)
        put_before(a, &k->before);
    if (k) {
        k->request = request_for(c, a, messages);
        k->files = files;
        if (!k->before.failed)
            return k;
        kept_free(k);
    } else {
        json_decref(messages);
        json_decref(files);
    }
    if (err.code)
        page_fail(c, &err);
    else
        reply_set_error(c, 500, "server_error", NULL, NULL, "out of memory");
    return NULL;
}

/* Either the engine has it before it is shown, or it is shown before its model is loaded: a request that can't be
 * served leaves no answer behind, and one that waits outlives its client. */
static void start(struct call *c, store *s, const struct asked *a)
{
    c->kept = new_answer(c, s, a);
    if (!c->kept)
        return;
    bool runs = chat_start_kept(c) == 0, waits = c->awaits != NULL;
    if (!runs && !waits)
        return;
    bool shown = show(c, s, a);
    if (runs && !shown)
        call_stop(c);
    else if (waits && !shown)
        models_take_back(c);
    else if (waits)
        call_tell(c);
}

/* The model has been loaded for an answer that is shown already. */
static void start_late(struct call *c)
{
    if (atomic_load(&c->stopped))
        reply_set_error(c, 503, "server_error", NULL, "cancelled", "the answer was stopped");
    else if (chat_start_kept(c) == 0 && atomic_load(&c->stopped))
        call_stop(c);
}

void api_generate(struct call *c)
{
    struct asked a = {.go_on = false};
    if (c->kept) {
        start_late(c);
        return;
    }
    store *s = history_of(c);
    if (!s || !page_id(c, 'c', a.chat_id))
        return;
    a.body = request_parse(c);
    if (a.body && !answered_before(c, s, &a) && read_asked(c, s, &a))
        start(c, s, &a);
    asked_free(&a);
}
