/* The list of models that `serve` serves: those of --model, and with --all-models the rest of the store. */
#include <string.h>
#include "base/arena.h"
#include "base/file.h"
#include "cli/cli_int.h"
#include "server/server.h"

#define MODELS_MAX 1024
#define NAMES_MAX 20 /* of one model */

/* "/x/qwen-q4.gguf" -> "qwen-q4"; a folder's name stays whole. */
static char *stem_of(arena *a, const char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    size_t from = n;
    while (from > 0 && path[from - 1] != '/')
        from--;
    if (n - from > 5 && strncmp(path + n - 5, ".gguf", 5) == 0)
        n -= 5;
    return arena_strndup(a, path + from, n - from);
}

static struct server_model *row_named(const struct serve_list *l, const char *name)
{
    for (size_t i = 0; i < l->n; i++)
        for (size_t k = 0; k < l->rows[i].n_names; k++)
            if (strcmp(l->rows[i].names[k], name) == 0)
                return &l->rows[i];
    return NULL;
}

static struct server_model *row_of(const struct serve_list *l, const char *spec)
{
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->rows[i].spec, spec) == 0)
            return &l->rows[i];
    return NULL;
}

/* A name that another model has stays with that one. */
static void add_name(const struct serve_list *l, struct server_model *m, const char *name)
{
    if (name && m->n_names < NAMES_MAX && !row_named(l, name))
        ((const char **)(uintptr_t)m->names)[m->n_names++] = name;
}

/* One that was asked for must be free. */
static int claim_name(const struct serve_list *l, struct server_model *m, const char *name,
                      sp_error *err)
{
    const struct server_model *other = row_named(l, name);
    if (other && other != m)
        return sp_fail(err, SP_EUSAGE,
                       "two models are called %.128s: %.128s and %.128s: give one "
                       "another name, as in --model NAME=%.128s",
                       name, other->spec, m->spec, m->spec);
    add_name(l, m, name);
    return 0;
}

static int new_row(struct serve_list *l, const char *spec, struct server_model **out, sp_error *err)
{
    if (l->n == l->cap)
        return sp_fail(err, SP_EUSAGE, "at most %zu models can be served", l->cap);
    struct server_model *m = &l->rows[l->n];
    *m = (struct server_model){.spec = arena_strdup(l->arena, spec),
                               .names = arena_array(l->arena, NAMES_MAX, sizeof(char *))};
    if (!m->spec || !m->names)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    l->n++;
    *out = m;
    return 0;
}

/* Its name in the store and its file's. One that isn't there is told when it is loaded. */
static int add_own_names(const struct serve_list *l, hub *h, struct server_model *m, sp_error *err)
{
    char *path = NULL;
    int code = 0;
    if (!strchr(m->spec, '/'))
        code = claim_name(l, m, m->spec, err);
    bool there = hub_resolve(h, m->spec, &path, NULL) == 0;
    add_name(l, m, stem_of(l->arena, there ? path : m->spec));
    sp_free(path);
    if (code == 0 && m->n_names == 0)
        code = sp_fail(err, SP_EUSAGE,
                       "%.200s: its name is another model's: give it one, as in "
                       "--model NAME=%.200s",
                       m->spec, m->spec);
    return code;
}

/* "NAME=SPEC" or "SPEC", which may be a path with '=' in it. */
static int add_given(struct serve_list *l, hub *h, const char *given, bool at_start, sp_error *err)
{
    const char *equals = strchr(given, '='), *spec = given;
    const char *name = NULL;
    if (equals && equals > given && equals[1] && !file_exists(given) && !file_is_dir(given)) {
        name = arena_strndup(l->arena, given, (size_t)(equals - given));
        spec = equals + 1;
    }
    struct server_model *m = row_of(l, spec);
    int code = m ? 0 : new_row(l, spec, &m, err);
    if (code == 0)
        m->at_start = at_start;
    if (code == 0 && name)
        code = claim_name(l, m, name, err);
    return code < 0 ? code : add_own_names(l, h, m, err);
}

static int add_stored(struct serve_list *l, hub *h, sp_error *err)
{
    struct stored_model *models = NULL;
    size_t n = 0;
    int code = hub_list(h, &models, &n, err);
    for (size_t i = 0; i < n && code == 0; i++)
        if (!row_of(l, models[i].name))
            code = add_given(l, h, models[i].name, false, err);
    stored_models_free(models, n);
    if (code == 0 && l->n == 0)
        code = sp_fail(err, SP_EUSAGE,
                       "--all-models: none is on this machine yet: `sampan pull "
                       "qwen2.5-coder-0.5b` gets a small one");
    return code;
}

static int read_list(const options *o, struct serve_list *l, hub *h, sp_error *err)
{
    const char *const *given, *const *aliases;
    size_t n = options_list(o, "model", &given), n_aliases = options_list(o, "alias", &aliases);
    bool all = options_bool(o, "all-models"), start = strcmp(options_str(o, "load"), "start") == 0;
    char *only = NULL;
    int code = n == 0 && !all ? cli_model_name(o, &only, err) : 0;
    if (code == 0 && only)
        code = add_given(l, h, only, start, err);
    sp_free(only);
    for (size_t i = 0; i < n && code == 0; i++)
        code = add_given(l, h, given[i], start, err);
    if (code == 0 && all)
        code = add_stored(l, h, err);
    for (size_t i = 0; i < n_aliases && code == 0; i++)
        code = claim_name(l, &l->rows[0], arena_strdup(l->arena, aliases[i]), err);
    return code;
}

int serve_list_read(const options *o, struct serve_list *l, sp_error *err)
{
    hub *h = NULL;
    *l = (struct serve_list){.arena = arena_new((size_t)16 << 20), .cap = MODELS_MAX};
    if (l->arena)
        l->rows = arena_array(l->arena, l->cap, sizeof *l->rows);
    int code = l->rows ? cli_hub(o, &h, err) : sp_fail(err, SP_ENOMEM, "out of memory");
    if (code == 0)
        code = read_list(o, l, h, err);
    hub_close(h);
    if (code < 0)
        serve_list_free(l);
    return code;
}

void serve_list_free(struct serve_list *l)
{
    arena_free(l->arena);
    *l = (struct serve_list){0};
}
