/* /api/files: what is dropped into a prompt, as text. On the threads of uploads, since parsers take their time: at most
 * UPLOAD_THREADS of them run at once, and questions never wait behind them. */
#include <string.h>
#include "kb/documents.h"
#include "server/models_int.h"
#include "server/page_int.h"

#define INVALID "invalid_request_error"

/* ---- tokens ---- */

/* How many the text takes in a prompt, or -1. */
static int64_t tokens_of(const engine *e, const char *name, str text, sp_error *err)
{
    const struct encode_opts eo = {.special = SPECIAL_NONE};
    struct token_list ids = {0};
    buf framed;
    buf_init(&framed, DOCUMENT_TEXT_MOST + DOCUMENT_TEXT_MOST);
    document_frame(name, text, &framed);
    int code = framed.failed
                   ? sp_fail(err, framed.code, "out of memory")
                   : tokenizer_encode(engine_tokenizer(e), framed.data, framed.len, &eo, &ids, err);
    int64_t n = code < 0 ? -1 : (int64_t)ids.n;
    buf_free(&framed);
    token_list_free(&ids);
    return n;
}

/* Into the answer: "tokens", or null and why. False: the error has been set. */
static bool put_tokens(struct call *c, json_t *file, str text)
{
    const char *why = NULL;
    const struct loaded_model *l = models_take_loaded(c, page_query(c, "model"), &why);
    sp_error err = {0};
    if (!l && !why)
        return false;
    int64_t n =
        l ? tokens_of(l->engine, json_string_value(json_object_get(file, "name")), text, &err) : -1;
    json_object_set_new(file, "model", l ? json_string(c->model_name) : json_null());
    json_object_set_new(file, "tokens", n < 0 ? json_null() : json_integer((json_int_t)n));
    json_object_set_new(file, "tokens_reason",
                        n >= 0 ? json_null() : json_string(l ? err.message : why));
    return true;
}

/* ---- taking one ---- */

static bool unwanted(void *arg)
{
    const struct call *c = arg;
    return atomic_load(&c->gone) || atomic_load(&c->s->cutting);
}

static bool read_name(struct call *c, char name[DOCUMENT_NAME_MOST + 1])
{
    const char *given = page_query(c, "name");
    if (!given || !*given || !utf8_valid(given, strlen(given))) {
        reply_set_error(c, 400, INVALID, "name", NULL,
                        "name: give the file's name as in /api/files?name=report.pdf");
        return false;
    }
    document_name(given, name);
    return true;
}

static void refuse(struct call *c, const sp_error *err)
{
    switch (err->code) {
    case SP_EUNSUPPORTED:
        reply_set_error(c, 415, INVALID, NULL, "unsupported_file", "%s", err->message);
        break;
    case SP_EFORMAT:
        reply_set_error(c, 400, INVALID, NULL, "unreadable_file", "%s", err->message);
        break;
    case SP_ETIMEDOUT:
        reply_set_error(c, 400, INVALID, NULL, "file_timeout", "%s", err->message);
        break;
    case SP_EFULL:
        reply_set_error(c, 413, INVALID, NULL, "file_too_large", "%s", err->message);
        break;
    case SP_ENOTFOUND:
        reply_set_error(c, 501, "server_error", NULL, "pdf_unavailable", "%s", err->message);
        break;
    default:
        reply_set_sp_error(c, err, NULL);
    }
}

static bool check_length(struct call *c)
{
    size_t most = c->s->opts.limits.upload_bytes;
    if (c->n_body <= most)
        return true;
    reply_set_error(c, 413, INVALID, NULL, "file_too_large",
                    "the file has %zu bytes, and this server takes %zu (%.1f MB; --max-upload)",
                    c->n_body, most, (double)most / (1 << 20));
    return false;
}

static bool parse(struct call *c, const char *name, struct document_type *type, buf *text)
{
    sp_error err = {0};
    struct document_order o = {
        .type = type, .data = c->body, .n = c->n_body, .stop = unwanted, .arg = c};
    int code = document_type_of(name, c->body, c->n_body, type, &err);
    if (code == 0)
        code = document_parse(&o, text, &err);
    if (code < 0)
        refuse(c, &err);
    return code == 0;
}

void api_files_add(struct call *c)
{
    char name[DOCUMENT_NAME_MOST + 1];
    struct document_type type;
    json_t *file = NULL;
    sp_error err = {0};
    buf text;
    store *s = history_of(c);
    if (!s || !check_length(c) || !read_name(c, name))
        return;
    buf_init(&text, DOCUMENT_TEXT_MOST);
    if (parse(c, name, &type, &text)) {
        const struct store_file f = {.name = name,
                                     .type = type.type,
                                     .bytes = (int64_t)c->n_body,
                                     .text = {text.data, text.len}};
        int code = store_file_add(s, c->owner, &f, &file, &err);
        if (code == SP_EFULL)
            reply_set_error(c, 409, INVALID, NULL, "too_much_unsent", "%s", err.message);
        else if (code < 0)
            page_fail(c, &err);
        else if (put_tokens(c, file, f.text))
            reply_set_json(c, 201, json_incref(file));
        json_decref(file);
    }
    buf_free(&text);
}

/* ---- one that is there ---- */

void api_files_get(struct call *c)
{
    char id[STORE_ID_BYTES], *text = NULL;
    size_t n = 0;
    json_t *file = NULL;
    sp_error err = {0};
    store *s = history_of(c);
    if (!s || !page_id(c, 'f', id))
        return;
    int code = store_file_get(s, c->owner, id, &file, &err);
    if (code == 0)
        code = store_file_text(s, c->owner, id, &text, &n, &err);
    if (code < 0)
        page_fail(c, &err);
    else if (put_tokens(c, file, (str){text, n}))
        reply_set_json(c, 200, json_incref(file));
    json_decref(file);
    sp_free(text);
}

void api_files_text(struct call *c)
{
    char id[STORE_ID_BYTES], *text = NULL;
    size_t n = 0;
    sp_error err = {0};
    store *s = history_of(c);
    if (!s || !page_id(c, 'f', id))
        return;
    if (store_file_text(s, c->owner, id, &text, &n, &err) < 0)
        page_fail(c, &err);
    else
        reply_set_text(c, "text/plain; charset=utf-8", text);
}

void api_files_delete(struct call *c)
{
    char id[STORE_ID_BYTES];
    sp_error err = {0};
    store *s = history_of(c);
    if (!s || !page_id(c, 'f', id))
        return;
    if (store_file_remove(s, c->owner, id, &err) < 0)
        page_fail(c, &err);
    else
        reply_set_json(c, 200, json_pack("{s:s,s:b}", "id", id, "deleted", 1));
}

/* ---- in prompts ---- */

int files_put(store *s, int64_t owner, const json_t *message, buf *out, sp_error *err)
{
    size_t i;
    const json_t *f;
    int code = 0;
    json_array_foreach(json_object_get(message, "attachments"), i, f)
    {
        char *text = NULL;
        size_t n = 0;
        if (code == 0)
            code = store_file_text(s, owner, json_string_value(json_object_get(f, "id")), &text, &n,
                                   err);
        if (code == 0)
            document_frame(json_string_value(json_object_get(f, "name")), (str){text, n}, out);
        sp_free(text);
    }
    return code;
}

#define NAMED_MOST 3 /* files of a prompt that is too long: the largest ones */

struct counted {
    const char *name;
    int64_t tokens;
};

static int64_t count(store *s, int64_t owner, const engine *e, const json_t *f)
{
    char *text = NULL;
    size_t n = 0;
    int64_t tokens = -1;
    if (store_file_text(s, owner, json_string_value(json_object_get(f, "id")), &text, &n, NULL) ==
        0)
        tokens = tokens_of(e, json_string_value(json_object_get(f, "name")), (str){text, n}, NULL);
    sp_free(text);
    return tokens;
}

/* Sorted into those that there are so far, largest first. */
static void rank(struct counted *list, size_t *n, struct counted one)
{
    size_t at = *n < NAMED_MOST ? (*n)++ : NAMED_MOST;
    for (; at > 0 && list[at - 1].tokens < one.tokens; at--)
        if (at < NAMED_MOST)
            list[at] = list[at - 1];
    if (at < NAMED_MOST)
        list[at] = one;
}

void files_tell_tokens(const struct call *c, const engine *e, buf *out)
{
    struct counted largest[NAMED_MOST] = {{0}};
    size_t n = 0, i;
    const json_t *f;
    json_array_foreach(c->kept->files, i, f)
    {
        rank(largest, &n,
             (struct counted){json_string_value(json_object_get(f, "name")),
                              count(c->s->history->store, c->owner, e, f)});
    }
    for (i = 0; i < n; i++)
        if (largest[i].tokens >= 0)
            buf_printf(out, "%s%.60s has %lld tokens", i ? ", " : "; of these files ",
                       largest[i].name, (long long)largest[i].tokens);
}
