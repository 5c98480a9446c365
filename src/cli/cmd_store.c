/* list, show, rm and store: the models on this machine. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/machine.h"
#include "cli/cli_int.h"
#include "engine/facts.h"
#include "model/packed_file.h"

static void list_json(const struct stored_model *m, size_t n)
{
    json_t *all = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(
            all, json_pack("{s:s,s:s,s:I,s:I,s:s?,s:s?,s:s?,s:s?,s:I}", "name", m[i].name, "path",
                           m[i].path, "bytes", (json_int_t)m[i].bytes, "packed_bytes",
                           (json_int_t)m[i].packed_bytes, "source", m[i].source, "commit",
                           m[i].commit, "sha256", m[i].sha256, "license", m[i].license, "pulled",
                           (json_int_t)m[i].pulled));
    json_dumpf(all, stdout, JSON_INDENT(2));
    printf("\n");
    json_decref(all);
}

int cmd_list(const options *o, sp_error *err)
{
    hub *h = NULL;
    struct stored_model *m = NULL;
    size_t n = 0;
    int code = cli_hub(o, &h, err);
    if (code == 0)
        code = hub_list(h, &m, &n, err);
    if (code == 0 && options_bool(o, "json")) {
        list_json(m, n);
    } else if (code == 0 && n == 0) {
        printf("No model is in %s yet. `sampan pull` shows what there is.\n", hub_store(h));
    } else if (code == 0) {
        printf("%-28s %10s %10s  %-16s %s\n", "NAME", "SIZE", "PACKED", "PULLED", "SOURCE");
        for (size_t i = 0; i < n; i++) {
            char size[24], packed[24] = "-", when[32] = "";
            time_t t = (time_t)m[i].pulled;
            struct tm tm;
            if (t && localtime_r(&t, &tm))
                strftime(when, sizeof when, "%Y-%m-%d %H:%M", &tm);
            term_bytes(m[i].bytes, size);
            if (m[i].packed_bytes)
                term_bytes(m[i].packed_bytes, packed);
            printf("%-28s %10s %10s  %-16s %s\n", m[i].name, size, packed, when,
                   m[i].source ? m[i].source : "");
        }
    }
    stored_models_free(m, n);
    hub_close(h);
    return code;
}

static int one_argument(const options *o, const char *verb, const char **out, sp_error *err)
{
    const char *const *args;
    size_t n = options_args(o, &args);
    if (n != 1)
        return sp_fail(err, SP_EUSAGE, "%s takes the name or path of one model, %zu were given",
                       verb, n);
    *out = args[0];
    return 0;
}

static void show_text(const char *path, const struct model_facts *f,
                      const struct packed_place *place)
{
    const struct model_config *c = f->config;
    char weights[24], kv[24], need[24], free_bytes[24];
    uint64_t pages = (uint64_t)((f->context + KV_PAGE - 1) / KV_PAGE);
    term_bytes(f->memory.weights, weights);
    term_bytes(pages * f->memory.kv_page, kv);
    term_bytes(f->need, need);
    term_bytes(machine_memory_free(), free_bytes);
    printf("name          %s\n", c->name);
    printf("path          %s\n", path);
    printf("architecture  %s, %lld layers, hidden %lld, %lld heads (%lld for keys and values) of "
           "%lld, "
           "feed-forward %lld, vocabulary %lld%s\n",
           c->arch->name, (long long)c->layers, (long long)c->hidden, (long long)c->heads,
           (long long)c->kv_heads, (long long)c->head_dim, (long long)c->ffn, (long long)c->vocab,
           c->tied ? ", tied embedding" : "");
    printf("parameters    %.2f billion\n", (double)f->parameters / 1e9);
    printf("format        %s\n", f->format);
    printf("context       %lld tokens", (long long)c->context);
    if (c->rope.kind >= ROPE_DYNAMIC && c->rope.original_context < (double)c->context)
        printf(", trained for %.0f: a longer --max-context changes RoPE for all lengths",
               c->rope.original_context);
    printf("\n");
    printf("template      %s\n", f->chat_template ? f->chat_template : "none: it continues texts");
    printf("licence       %s\n", c->license[0] ? c->license : "not declared");
    printf("memory        %s at %lld tokens of context: %s weights, %s keys and values (one "
           "request); %s free now\n",
           need, (long long)f->context, weights, kv, free_bytes);
    const char *where = NULL;
    uint64_t packed_bytes = packed_place_bytes(place, &where);
    if (where) {
        char packed[24];
        term_bytes(packed_bytes, packed);
        printf("packed        %s in %s: the next start maps them\n", packed, where);
    }
}

static void show_json(const char *path, const struct model_facts *f,
                      const struct packed_place *place)
{
    const char *where = NULL;
    uint64_t packed_bytes = packed_place_bytes(place, &where);
    json_t *j = model_facts_json(f);
    json_object_set_new(j, "path", json_string(path));
    json_object_set_new(j, "packed", where ? json_string(where) : json_null());
    json_object_set_new(j, "packed_bytes", json_integer((json_int_t)packed_bytes));
    json_dumpf(j, stdout, JSON_INDENT(2));
    printf("\n");
    json_decref(j);
}

int cmd_show(const options *o, sp_error *err)
{
    const char *name = "";
    hub *h = NULL;
    char *path = NULL;
    struct packed_place place = {0};
    struct model_facts f = {0};
    enum kv_type kv;
    int64_t context = options_has(o, "context") ? options_int(o, "context") : 0;
    int code = one_argument(o, "show", &name, err);
    if (code == 0)
        code = cli_hub(o, &h, err);
    if (code == 0)
        code = hub_resolve(h, name, &path, err);
    if (code == 0)
        code = hub_packed(h, path, &place, err);
    if (code == 0)
        code = model_facts_read(path, context, cli_kv_type(o, &kv) ? &kv : NULL, &f, err);
    if (code == 0 && options_bool(o, "json"))
        show_json(path, &f, &place);
    else if (code == 0)
        show_text(path, &f, &place);
    model_facts_free(&f);
    packed_place_free(&place);
    sp_free(path);
    hub_close(h);
    return code;
}

static bool confirmed(const options *o, const char *name)
{
    if (options_bool(o, "yes"))
        return true;
    char line[16];
    fprintf(stderr, "Delete %s from this machine? [y/N] ", name);
    return fgets(line, sizeof line, stdin) && (line[0] == 'y' || line[0] == 'Y');
}

int cmd_rm(const options *o, sp_error *err)
{
    const char *name = "";
    hub *h = NULL;
    uint64_t freed = 0;
    int code = one_argument(o, "rm", &name, err);
    if (code == 0 && !options_bool(o, "yes") && !term_is_tty(STDIN_FILENO))
        code = sp_fail(err, SP_EUSAGE,
                       "rm asks before it deletes, and standard input is no terminal: say --yes");
    if (code == 0)
        code = cli_hub(o, &h, err);
    if (code == 0 && !confirmed(o, name)) {
        printf("Nothing deleted.\n");
        hub_close(h);
        return 0;
    }
    if (code == 0)
        code = hub_remove(h, name, &freed, err);
    if (code == 0) {
        char size[24];
        term_bytes(freed, size);
        printf("Deleted %s, %s are free again.\n", name, size);
    }
    hub_close(h);
    return code;
}

/* ---- store export, import, verify, clear-cache ---- */

static int store_export(const options *o, hub *h, const char *const *args, size_t n, sp_error *err)
{
    struct pull_view v;
    struct pull_opts po;
    char file[200];
    if (n < 1 || n > 2)
        return sp_fail(err, SP_EUSAGE, "store export takes a model's name and a file");
    snprintf(file, sizeof file, "%.150s.tar", args[0]);
    const char *to = n == 2 ? args[1] : file;
    cli_pull_opts(o, &v, &po);
    int code = hub_export(h, args[0], to, &po, err);
    if (code == 0)
        printf("%s\n", to);
    return code;
}

static int store_import(const options *o, hub *h, const char *const *args, size_t n, sp_error *err)
{
    struct pull_view v;
    struct pull_opts po;
    char *path = NULL;
    if (n != 1)
        return sp_fail(err, SP_EUSAGE, "store import takes one file of `sampan store export`");
    cli_pull_opts(o, &v, &po);
    int code = hub_import(h, args[0], &po, &path, err);
    if (code == 0)
        printf("%s\n", path);
    sp_free(path);
    return code;
}

struct verify_view {
    bool all; /* say "fine", too */
    const char *model;
};

static void on_verified(void *arg, const char *file, const char *what)
{
    const struct verify_view *v = arg;
    if (v->all || strcmp(what, "fine") != 0)
        printf("%s/%s: %s\n", v->model, file, what);
}

static int stop_asked(void *arg)
{
    (void)arg;
    return cli_interrupted;
}

/* A damaged packed form is removed: the next start makes it anew. */
static int verify_packed(hub *h, const char *name, struct verify_view *v, sp_error *err)
{
    char *path = NULL;
    struct packed_place place = {0};
    uint64_t freed;
    sp_error why;
    int code = hub_resolve(h, name, &path, err);
    if (code == 0)
        code = hub_packed(h, path, &place, err);
    for (size_t i = 0; code == 0 && i < SP_COUNT(place.paths); i++) {
        if (!place.paths[i] || !file_exists(place.paths[i]))
            continue;
        int found = packed_file_check(place.paths[i], stop_asked, NULL, &why);
        if (found == SP_EFORMAT || found == SP_ECHECKSUM) {
            on_verified(v, "packed weights", "damaged: removed, the next start makes them anew");
            code = packed_place_remove(&place, &freed, err);
        } else if (found == 0) {
            on_verified(v, "packed weights", "fine");
        } else if (found != SP_ECANCELLED) {
            code = sp_fail(err, found, "%s", why.message);
        }
    }
    packed_place_free(&place);
    sp_free(path);
    return code;
}

static int verify_one(const options *o, hub *h, const char *name, size_t *bad, sp_error *err)
{
    struct verify_view v = {!options_bool(o, "quiet"), name};
    struct verify_opts vo = {on_verified, stop_asked, &v};
    struct verify_result r;
    int code = hub_verify(h, name, &vo, &r, err);
    if (code == 0)
        code = verify_packed(h, name, &v, err);
    if (code == 0 && cli_interrupted)
        code = sp_fail(err, SP_ECANCELLED, "stopped");
    *bad += code == 0 ? r.bad : 0;
    return code;
}

static int store_verify(const options *o, hub *h, const char *const *args, size_t n, sp_error *err)
{
    struct stored_model *m = NULL;
    size_t models = 0, bad = 0;
    int code = n <= 1 ? 0 : sp_fail(err, SP_EUSAGE, "store verify takes one model's name, or none");
    if (code == 0 && n == 1)
        code = verify_one(o, h, args[0], &bad, err);
    else if (code == 0)
        code = hub_list(h, &m, &models, err);
    for (size_t i = 0; i < models && code == 0; i++)
        code = verify_one(o, h, m[i].name, &bad, err);
    stored_models_free(m, models);
    if (code == 0 && bad > 0)
        code = sp_fail(err, SP_ECHECKSUM,
                       "%zu %s not as %s came: `sampan pull NAME --force` gets a model again", bad,
                       bad == 1 ? "file is" : "files are", bad == 1 ? "it" : "they");
    return code;
}

static int store_clear(const options *o, hub *h, const char *const *args, size_t n, sp_error *err)
{
    char *path = NULL, size[24];
    struct packed_place place = {0};
    uint64_t freed = 0;
    size_t files = 0;
    (void)o;
    if (n > 1)
        return sp_fail(err, SP_EUSAGE, "store clear-cache takes one model's name or path, or none");
    int code =
        n == 0 ? hub_packed_clear(h, &freed, &files, err) : hub_resolve(h, args[0], &path, err);
    if (code == 0 && n == 1)
        code = hub_packed(h, path, &place, err);
    if (code == 0 && n == 1)
        code = packed_place_remove(&place, &freed, err);
    packed_place_free(&place);
    sp_free(path);
    term_bytes(freed, size);
    if (code == 0)
        printf("%s of packed weights removed.\n", size);
    return code;
}

int cmd_store(const options *o, sp_error *err)
{
    static const struct {
        const char *name;
        int (*run)(const options *o, hub *h, const char *const *args, size_t n, sp_error *err);
    } actions[] = {{"export", store_export},
                   {"import", store_import},
                   {"verify", store_verify},
                   {"clear-cache", store_clear}};
    const char *const *args;
    size_t n = options_args(o, &args);
    hub *h = NULL;
    for (size_t i = 0; i < SP_COUNT(actions); i++)
        if (n > 0 && strcmp(args[0], actions[i].name) == 0) {
            int code = cli_hub(o, &h, err);
            if (code == 0) {
                cli_catch_interrupt(true);
                code = actions[i].run(o, h, args + 1, n - 1, err);
                cli_catch_interrupt(false);
                term_status(NULL);
            }
            hub_close(h);
            return code;
        }
    return sp_fail(err, SP_EUSAGE, "store: export, import, verify or clear-cache is expected");
}
