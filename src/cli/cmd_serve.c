#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "base/machine.h"
#include "cli/cli_int.h"
#include "server/server.h"

#define MAX_MODELS 16
#define MAX_NAMES 20

struct served {
    engine *engine;
    char *stem; /* the file's name without its ending */
    const char *names[MAX_NAMES];
    size_t n_names;
};

/* "/x/qwen-q4.gguf" -> "qwen-q4"; a folder's name stays whole. */
static char *stem_of(const char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    size_t from = n;
    while (from > 0 && path[from - 1] != '/')
        from--;
    if (n - from > 5 && strncmp(path + n - 5, ".gguf", 5) == 0)
        n -= 5;
    return sp_strndup(path + from, n - from);
}

static void add_name(struct served *s, const char *name)
{
    for (size_t i = 0; i < s->n_names; i++)
        if (strcmp(s->names[i], name) == 0)
            return;
    if (s->n_names < MAX_NAMES)
        s->names[s->n_names++] = name;
}

/* Opens a model; it answers to its catalogue or store name, its file's stem and, the first, --alias. */
static int open_served(const options *o, const char *name, bool first, struct memory_shares *shares,
                       struct served *s, sp_error *err)
{
    const char *const *aliases;
    size_t n = options_list(o, "alias", &aliases);
    int code = cli_engine_sharing(o, name, shares, &s->engine, err);
    if (code < 0)
        return code;
    const char *path = checkpoint_path(engine_checkpoint(s->engine));
    s->stem = stem_of(path);
    if (!s->stem)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    if (!strchr(name, '/'))
        add_name(s, name);
    add_name(s, s->stem);
    for (size_t i = 0; first && i < n; i++)
        add_name(s, aliases[i]);
    struct engine_info info;
    engine_get_info(s->engine, &info);
    log_info(
        "serve",
        "%s: ready in %.2f s, %s kernels, %s, %d threads%s, weights %.0f MB, KV cache %.0f MB of "
        "%s",
        s->names[0], info.load_seconds, info.isa, info.compute, info.threads,
        info.pinned ? " (pinned)" : "", (double)info.weight_bytes / 1e6,
        (double)info.kv_bytes / 1e6, info.kv_type);
    return 0;
}

/* What this verb serves; the loader thread fills it in, then the server's loop reads it. */
struct serving {
    const options *o;
    const char *const *wanted;
    size_t n, opened;
    struct served served[MAX_MODELS];
    struct served_model models[MAX_MODELS];
    struct memory_shares shares;
    bool auth, tls;
    char *history; /* NULL: off */
    server *running;
};

static void greet(void *arg, const char *host, int port)
{
    const struct serving *w = arg;
    const char *name = w->served[0].names[0];
    const struct catalogue_entry *best = catalogue_best(machine_memory_total());
    bool v6 = strchr(host, ':') != NULL;
    const char *s = w->tls ? "s" : "";
    printf("\nSampan answers at http%s://%s%s%s:%d\n\n", s, v6 ? "[" : "", host, v6 ? "]" : "",
           port);
    printf(
        "  curl http%s://%s%s%s:%d/v1/chat/completions%s -H 'Content-Type: application/json' \\\n"
        "    -d '{\"model\": \"%s\", \"messages\": [{\"role\": \"user\", \"content\": "
        "\"你好！\"}]}'\n\n",
        s, v6 ? "[" : "", host, v6 ? "]" : "", port,
        w->auth ? " -H \"Authorization: Bearer $KEY\"" : "", name);
    printf("  %s chat --model %s\n", cli_program, name);
    if (strcmp(best->name, name) != 0)
        printf("\nThe best model of the catalogue for this machine's memory:\n  %s pull %s\n",
               cli_program, best->name);
    const char *reason, *history = server_history(w->running, &reason);
    if (strcmp(history, "on") == 0)
        printf("\nChats are kept in %s\n", w->history);
    else if (strcmp(history, "unavailable") == 0)
        printf("\nNo chats are kept: %s\n", reason);
    printf("\nCtrl-C ends it.\n");
    fflush(stdout);
}

static int load(void *arg, const struct served_model **models, size_t *n, sp_error *err)
{
    struct serving *w = arg;
    int code = 0;
    for (; code == 0 && w->opened < w->n; w->opened++) {
        struct served *s = &w->served[w->opened];
        code = open_served(w->o, w->wanted[w->opened], w->opened == 0, &w->shares, s, err);
        w->models[w->opened] = (struct served_model){s->engine, s->names, s->n_names};
    }
    *models = w->models;
    *n = w->n;
    return code;
}

/* --plan: what each model would take, and none is loaded. */
static int tell_plan(struct serving *w, sp_error *err)
{
    int code = 0;
    for (size_t i = 0; code == 0 && i < w->n; i++) {
        code = open_served(w->o, w->wanted[i], i == 0, &w->shares, &w->served[0], err);
        if (code == SP_ECANCELLED && !cli_interrupted)
            code = 0;
    }
    return code;
}

static void reload_settings(void)
{
    sp_error err = {0};
    options *again = NULL;
    if (cli_options_again(&again, &err) < 0) {
        log_error("serve", "SIGHUP: nothing changes: %s", err.message);
        return;
    }
    cli_set_up_log(again);
    log_info("serve", "SIGHUP: the log level is %s now", options_str(again, "log-level"));
    options_free(again);
}

/* SIGHUP: what may change while requests run is read again. Each keeps what it has when that fails. */
static void reload(void *arg)
{
    const struct serving *w = arg;
    sp_error err = {0};
    reload_settings();
    if (server_reload_keys(w->running, &err) < 0)
        log_error("serve", "SIGHUP: the keys stay as they are: %s", err.message);
    if (server_reload_tls(w->running, &err) < 0)
        log_error("serve", "SIGHUP: the certificate stays as it is: %s", err.message);
}

static int serve(struct serving *w, sp_error *err)
{
    const options *o = w->o;
    struct server_opts so = {.host = options_str(o, "host"),
                             .port = (int)options_int(o, "port"),
                             .next_port = options_bool(o, "next-port"),
                             .no_auth = options_bool(o, "no-auth"),
                             .root_path = options_str(o, "root-path"),
                             .allow_special = options_bool(o, "allow-special"),
                             .log_prompts = options_bool(o, "log-prompts"),
                             .metrics_open = options_bool(o, "metrics-open"),
                             .metrics_vllm = options_str(o, "metrics-alias") != NULL,
                             .ui_dir = options_str(o, "ui-dir"),
                             .drain_seconds = (int)options_int(o, "drain-seconds"),
                             .queue_seconds = options_float(o, "queue-timeout"),
                             .request_seconds = options_float(o, "request-timeout"),
                             .load = load,
                             .on_reload = reload,
                             .on_ready = greet,
                             .arg = w};
    so.n_trusted_proxies = options_list(o, "trusted-proxy", &so.trusted_proxies);
    so.n_api_keys = options_list(o, "api-key", &so.api_keys);
    so.keys_file = options_str(o, "keys");
    so.tls_cert = options_str(o, "tls-cert");
    so.tls_key = options_str(o, "tls-key");
    w->tls = so.tls_cert != NULL;
    so.admin_key = options_str(o, "admin-key");
    so.n_cors_origins = options_list(o, "cors-origin", &so.cors_origins);
    so.n_allowed_hosts = options_list(o, "allowed-host", &so.allowed_hosts);
    so.limits = (struct server_limits){.body_bytes = options_bytes(o, "max-body"),
                                       .head_bytes = options_bytes(o, "max-header"),
                                       .head_seconds = (int)options_int(o, "header-timeout"),
                                       .body_seconds = (int)options_int(o, "body-timeout"),
                                       .keep_seconds = (int)options_int(o, "keep-alive"),
                                       .connections = (int)options_int(o, "max-connections")};
    w->auth = so.n_api_keys > 0 || so.keys_file;
    int code = cli_history(o, &w->history, err);
    so.history = w->history;
    if (code == 0)
        code = server_new(&so, &w->running, err);
    if (code == 0)
        code = server_run(w->running, err);
    server_free(w->running);
    sp_free(w->history);
    return code;
}

int cmd_serve(const options *o, sp_error *err)
{
    struct serving w = {.o = o};
    const char *const *args;
    char *only = NULL;
    const char *one[1];
    int code = 0;
    w.n = options_list(o, "model", &w.wanted);
    if (options_args(o, &args) > 0)
        return sp_fail(err, SP_EUSAGE,
                       "serve takes no bare argument, '%s' was given: say --model %s", args[0],
                       args[0]);
    if (w.n > MAX_MODELS)
        return sp_fail(err, SP_EUSAGE,
                       "--model: given %zu times: at most %d models are served at once", w.n,
                       MAX_MODELS);
    if (w.n == 0) {
        code = cli_model_name(o, &only, err);
        one[0] = only;
        w.wanted = one;
        w.n = 1;
    }
    w.shares = (struct memory_shares){
        .models_left = w.n, .dry = options_bool(o, "plan"), .json = options_bool(o, "json")};
    if (code == 0)
        code = w.shares.dry ? tell_plan(&w, err) : serve(&w, err);
    for (size_t i = 0; i < w.opened; i++) {
        engine_close(w.served[i].engine);
        sp_free(w.served[i].stem);
    }
    sp_free(only);
    return code;
}
