#include "server/keyfile.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/file.h"
#include "base/sha256.h"
#include "server/password.h"

#define FILE_MAX ((size_t)16 << 20) /* bytes: a hundred thousand keys */
#define SECRET_BYTES 32

static const char prefix[] = "sk-sampan-"; /* so that scanners of repositories can know it */

void key_hash(const char *secret, char out[65])
{
    sha256 *h = sha256_new();
    out[0] = '\0';
    if (h) {
        sha256_add(h, secret, strlen(secret));
        sha256_hex(h, out);
    }
    sha256_free(h);
}

/* ---- reading ---- */

bool key_name_sound(const char *name)
{
    size_t n = name ? strlen(name) : 0;
    for (size_t i = 0; i < n; i++) {
        char c = name[i];
        bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!alnum && !strchr("._-", c))
            return false;
    }
    return n > 0 && n <= KEY_NAME_MAX;
}

static bool hash_ok(const char *hash)
{
    return hash && strlen(hash) == 64 && strspn(hash, "0123456789abcdef") == 64;
}

static int read_limit(const json_t *j, const char *field, int64_t *out)
{
    const json_t *v = json_object_get(j, field);
    *out = 0;
    if (!v)
        return 0;
    if (!json_is_integer(v) || json_integer_value(v) < 1 ||
        (double)json_integer_value(v) > KEY_RATE_MAX)
        return SP_EFORMAT;
    *out = json_integer_value(v);
    return 0;
}

static int read_models(const json_t *list, struct key_entry *e)
{
    size_t n = json_array_size(list);
    if (!list)
        return 0;
    if (n == 0) /* it would read as "all" */
        return SP_EFORMAT;
    e->models = sp_calloc(n, sizeof *e->models);
    if (!e->models)
        return SP_ENOMEM;
    for (; e->n_models < n; e->n_models++) {
        const char *name = json_string_value(json_array_get(list, e->n_models));
        if (!name)
            return SP_EFORMAT;
        e->models[e->n_models] = sp_strdup(name);
        if (!e->models[e->n_models])
            return SP_ENOMEM;
    }
    return 0;
}

/* The field that is wrong, "memory", or NULL. */
static const char *read_entry(const json_t *j, struct key_entry *e)
{
    static const char *const known[] = {
        "name",       "sha256", "created", "models", "requests_per_minute", "tokens_per_minute",
        "concurrent", "page"};
    const char *field;
    const json_t *value;
    json_object_foreach((json_t *)(uintptr_t)j, field, value)
    {
        size_t i = 0;
        while (i < SP_COUNT(known) && strcmp(known[i], field) != 0)
            i++;
        if (i == SP_COUNT(known))
            return field;
    }
    const char *name = json_string_value(json_object_get(j, "name"));
    const char *hash = json_string_value(json_object_get(j, "sha256"));
    const char *created = json_string_value(json_object_get(j, "created"));
    if (!key_name_sound(name))
        return "name";
    (void)snprintf(e->name, sizeof e->name, "%s", name);
    if (!hash_ok(hash))
        return "sha256";
    (void)snprintf(e->hash, sizeof e->hash, "%s", hash);
    (void)snprintf(e->created, sizeof e->created, "%s", created ? created : "");
    if (read_limit(j, "requests_per_minute", &e->requests_per_minute) < 0)
        return "requests_per_minute";
    if (read_limit(j, "tokens_per_minute", &e->tokens_per_minute) < 0)
        return "tokens_per_minute";
    if (read_limit(j, "concurrent", &e->concurrent) < 0)
        return "concurrent";
    const json_t *page = json_object_get(j, "page");
    if (page && !json_is_boolean(page))
        return "page";
    e->page = json_is_true(page);
    int code = read_models(json_object_get(j, "models"), e);
    return code == SP_ENOMEM ? "memory" : code < 0 ? "models" : NULL;
}

static int find(const struct keyfile *f, const char *name)
{
    for (size_t i = 0; i < f->n; i++)
        if (strcmp(f->entries[i].name, name) == 0)
            return (int)i;
    return -1;
}

static int read_all(const char *path, const json_t *list, struct keyfile *out, sp_error *err)
{
    size_t n = json_array_size(list);
    out->entries = sp_calloc(n + 1, sizeof *out->entries);
    if (!out->entries)
        return sp_fail(err, SP_ENOMEM, "%s: out of memory", path);
    for (size_t i = 0; i < n; i++) {
        struct key_entry *e = &out->entries[i];
        const char *bad = read_entry(json_array_get(list, i), e);
        bool twice = !bad && find(out, e->name) >= 0;
        out->n = i + 1; /* keyfile_free has it from here on */
        if (bad && strcmp(bad, "memory") == 0)
            return sp_fail(err, SP_ENOMEM, "%s: out of memory", path);
        if (bad)
            return sp_fail(err, SP_EFORMAT, "%s: key %zu: %.40s is wrong or unknown", path, i, bad);
        if (twice)
            return sp_fail(err, SP_EFORMAT, "%s: the name %s is there twice: rename one", path,
                           e->name);
    }
    return 0;
}

int keyfile_read(const char *path, struct keyfile *out, sp_error *err)
{
    char *text = NULL;
    size_t n = 0;
    json_error_t je;
    *out = (struct keyfile){0};
    int code = file_read(path, FILE_MAX, &text, &n, err);
    if (code < 0)
        return code;
    json_t *j = json_loadb(text, n, JSON_REJECT_DUPLICATES, &je);
    const json_t *list = json_object_get(j, "keys");
    if (!j)
        code = sp_fail(err, SP_EFORMAT, "%s:%d: not JSON: %s", path, je.line, je.text);
    else if (!json_is_array(list) || json_object_size(j) != 1)
        code = sp_fail(err, SP_EFORMAT, "%s: not an object {\"keys\": [...]}", path);
    else
        code = read_all(path, list, out, err);
    if (code < 0)
        keyfile_free(out);
    json_decref(j);
    sp_free(text);
    return code;
}

/* ---- changing ---- */

static json_t *entry_json(const struct key_entry *e)
{
    json_t *j =
        json_pack("{s:s,s:s,s:s}", "name", e->name, "sha256", e->hash, "created", e->created);
    if (e->n_models) {
        json_t *list = json_array();
        for (size_t i = 0; i < e->n_models; i++)
            json_array_append_new(list, json_string(e->models[i]));
        json_object_set_new(j, "models", list);
    }
    if (e->requests_per_minute)
        json_object_set_new(j, "requests_per_minute", json_integer(e->requests_per_minute));
    if (e->tokens_per_minute)
        json_object_set_new(j, "tokens_per_minute", json_integer(e->tokens_per_minute));
    if (e->concurrent)
        json_object_set_new(j, "concurrent", json_integer(e->concurrent));
    if (e->page)
        json_object_set_new(j, "page", json_true());
    return j;
}

int keyfile_write(const char *path, const struct keyfile *f, sp_error *err)
{
    json_t *list = json_array();
    for (size_t i = 0; i < f->n; i++)
        json_array_append_new(list, entry_json(&f->entries[i]));
    json_t *j = json_pack("{s:o}", "keys", list);
    char *text = j ? json_dumps(j, JSON_INDENT(2)) : NULL;
    json_decref(j);
    if (!text)
        return sp_fail(err, SP_ENOMEM, "%s: out of memory", path);
    int code = file_write_atomic(path, text, strlen(text), err);
    free(text); /* lib-owned: jansson's */
    return code;
}

static void entry_free(struct key_entry *e)
{
    for (size_t i = 0; i < e->n_models; i++)
        sp_free(e->models[i]);
    sp_free(e->models);
}

void keyfile_free(struct keyfile *f)
{
    for (size_t i = 0; i < f->n; i++)
        entry_free(&f->entries[i]);
    sp_free(f->entries);
    *f = (struct keyfile){0};
}

void key_secret_new(char out[KEY_SECRET_MAX])
{
    memcpy(out, prefix, sizeof prefix);
    secret_new(SECRET_BYTES, out + strlen(prefix));
}

int keyfile_add(struct keyfile *f, const struct key_entry *e, char secret[KEY_SECRET_MAX],
                sp_error *err)
{
    time_t now = time(NULL);
    struct tm tm;
    if (!key_name_sound(e->name))
        return sp_fail(err, SP_EINVAL,
                       "'%s' is no name for a key: take up to %d letters, digits, '.', '_' and '-'",
                       e->name, KEY_NAME_MAX);
    if (find(f, e->name) >= 0)
        return sp_fail(err, SP_EINVAL, "there is a key %s already: revoke it first", e->name);
    struct key_entry *grown = sp_realloc_array(f->entries, f->n + 1, sizeof *grown);
    if (!grown)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    f->entries = grown;
    struct key_entry *to = &grown[f->n];
    *to = *e;
    to->models = NULL;
    to->n_models = 0;
    f->n++;
    if (e->n_models && !(to->models = sp_calloc(e->n_models, sizeof *to->models)))
        return sp_fail(err, SP_ENOMEM, "out of memory");
    for (; to->n_models < e->n_models; to->n_models++)
        if (!(to->models[to->n_models] = sp_strdup(e->models[to->n_models])))
            return sp_fail(err, SP_ENOMEM, "out of memory");
    key_secret_new(secret);
    key_hash(secret, to->hash);
    (void)gmtime_r(&now, &tm);
    (void)strftime(to->created, sizeof to->created, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return to->hash[0] ? 0 : sp_fail(err, SP_ENOMEM, "out of memory");
}

bool keyfile_remove(struct keyfile *f, const char *name)
{
    int at = find(f, name);
    if (at < 0)
        return false;
    entry_free(&f->entries[at]);
    f->n--;
    memmove(&f->entries[at], &f->entries[at + 1], (f->n - (size_t)at) * sizeof *f->entries);
    return true;
}
