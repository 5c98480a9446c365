#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include "base/alloc.h"
#include "base/log.h"
#include "base/machine.h"
#include "cli/cli_int.h"
#include "server/server.h"

/* What this verb serves. */
struct serving {
    const options *o;
    struct serve_list list;
    pool *pool;
    bool tls;
    atomic_bool ready;
    char *history; /* NULL: off */
    hub *hub;
    server *running;
};

/* ---- opening a model ---- */

/* The server may stop a load; at start people see how far it is. */
struct watch {
    const struct engine_opts *with;
    const char *spec;
    bool shown;
};

static int watch_loading(void *arg, uint64_t done, uint64_t total)
{
    const struct watch *w = arg;
    char line[96];
    if (w->shown) {
        (void)snprintf(line, sizeof line, "loading %.60s: %d%%", w->spec,
                       total ? (int)(100.0 * (double)done / (double)total) : 0);
        term_status(line);
    }
    return w->with->progress(w->with->progress_arg, done, total);
}

static void log_ready(engine *e, const char *spec)
{
    struct engine_info info;
    engine_get_info(e, &info);
    log_info(
        "serve",
        "%s: ready in %.2f s, %s kernels, %s, %d threads%s, weights %.0f MB, KV cache %.0f MB of "
        "%s",
        spec, info.load_seconds, info.isa, info.compute, info.threads,
        info.pinned ? " (pinned)" : "", (double)info.weight_bytes / 1e6,
        (double)info.kv_bytes / 1e6, info.kv_type);
}

static int open_model(void *arg, const char *spec, struct engine_opts *with, engine **out,
                      sp_error *err)
{
    struct serving *w = arg;
    struct engine_opts eo = *with;
    struct watch watch = {with, spec, !atomic_load(&w->ready)};
    eo.compute = cli_compute(w->o);
    eo.progress = watch_loading;
    eo.progress_arg = &watch;
    int code = cli_engine_options(w->o, &eo, err);
    if (code == 0)
        code = cli_engine_with(w->o, spec, &eo, out, err);
    if (watch.shown)
        term_status(NULL);
    if (code == 0)
        log_ready(*out, spec);
    return code;
}

/* One for all models: they take turns at it, step by step. */
static int make_pool(struct serving *w, sp_error *err)
{
    struct machine_topology machine;
    int threads = 0;
    int code = cli_threads(w->o, &threads, err);
    machine_topology(&machine);
    if (code == 0)
        code = pool_new(threads ? threads : machine.threads, &w->pool, err);
    return code < 0 ? code : pool_pin(w->pool, cli_pin(w->o), err);
}

/* ---- the server ---- */

/* Where people reach a server that listens on all addresses: this machine's first one that is not loopback's. */
static void address_of(const char *host, char out[NI_MAXHOST])
{
    struct ifaddrs *all = NULL;
    (void)snprintf(out, NI_MAXHOST, "%s", host);
    bool v4 = strcmp(host, "0.0.0.0") == 0, v6 = strcmp(host, "::") == 0;
    if ((!v4 && !v6) || getifaddrs(&all) != 0)
        return;
    for (const struct ifaddrs *i = all; i; i = i->ifa_next) {
        if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET || (i->ifa_flags & IFF_LOOPBACK) ||
            !(i->ifa_flags & IFF_UP))
            continue;
        if (getnameinfo(i->ifa_addr, sizeof(struct sockaddr_in), out, NI_MAXHOST, NULL, 0,
                        NI_NUMERICHOST) == 0)
            break;
    }
    freeifaddrs(all);
}

/* While there is no account, and the page wants one. */
static void tell_code(const struct serving *w, const char *host, int port)
{
    char code[SERVER_CODE_BYTES], address[NI_MAXHOST];
    const char *root = options_str(w->o, "root-path");
    if (!server_sign_up_code(w->running, code))
        return;
    address_of(host, address);
    bool v6 = strchr(address, ':') != NULL;
    printf("\nThe page has no account yet. Make the administrator's, within an hour:\n\n"
           "  http%s://%s%s%s:%d%s/sign-up#%s\n\n",
           w->tls ? "s" : "", v6 ? "[" : "", address, v6 ? "]" : "", port, root ? root : "", code);
    printf("  one-time code: %s\n", code);
    if (root)
        printf("  (behind a proxy: the same path at the proxy's address)\n");
}

static void greet(void *arg, const char *host, int port)
{
    struct serving *w = arg;
    const char *name = w->list.rows[0].names[0];
    const struct catalogue_entry *best = catalogue_best(machine_memory_total());
    bool v6 = strchr(host, ':') != NULL;
    atomic_store(&w->ready, true);
    const char *s = w->tls ? "s" : "";
    printf("\nSampan answers at http%s://%s%s%s:%d\n\n", s, v6 ? "[" : "", host, v6 ? "]" : "",
           port);
    printf(
        "  curl http%s://%s%s%s:%d/v1/chat/completions%s -H 'Content-Type: application/json' \\\n"
        "    -d '{\"model\": \"%s\", \"messages\": [{\"role\": \"user\", \"content\": "
        "\"你好！\"}]}'\n\n",
        s, v6 ? "[" : "", host, v6 ? "]" : "", port,
        server_wants_keys(w->running) ? " -H \"Authorization: Bearer $KEY\"" : "", name);
    printf("  %s chat --model %s\n", cli_program, name);
    if (strcmp(best->name, name) != 0)
        printf("\nThe best model of the catalogue for this machine's memory:\n  %s pull %s\n",
               cli_program, best->name);
    const char *reason, *history = server_history(w->running, &reason);
    if (strcmp(history, "on") == 0)
        printf("\nChats are kept in %s\n", w->history);
    else if (strcmp(history, "unavailable") == 0)
        printf("\nNo chats are kept: %s\n", reason);
    tell_code(w, host, port);
    printf("\nCtrl-C ends it.\n");
    fflush(stdout);
}

/* --plan: what each model would take, and none is loaded. */
static int tell_plan(const struct serving *w, sp_error *err)
{
    struct memory_shares shares = {.json = options_bool(w->o, "json")};
    int code = 0;
    for (size_t i = 0; i < w->list.n; i++)
        shares.models_left += w->list.rows[i].at_start;
    bool all =
        shares.models_left == w->list.n; /* then they share --memory, as when they are loaded */
    for (size_t i = 0; code == 0 && i < w->list.n; i++)
        code = memory_plan_told(w->o, w->list.rows[i].spec, all, &shares, err);
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

/* The list as settings and store have it now. */
static int reload_models(void *arg, sp_error *err)
{
    const struct serving *w = arg;
    struct serve_list list = {0};
    options *again = NULL;
    int code = cli_options_again(&again, err);
    if (code == 0)
        code = serve_list_read(again, &list, err);
    if (code == 0)
        code = server_set_models(w->running, list.rows, list.n, err);
    serve_list_free(&list);
    options_free(again);
    return code;
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
    if (reload_models(arg, &err) < 0)
        log_error("serve", "SIGHUP: the models stay as they are: %s", err.message);
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
                             .settings = o,
                             .hub = w->hub,
                             .models = w->list.rows,
                             .n_models = w->list.n,
                             .open = open_model,
                             .pool = w->pool,
                             .memory = options_bytes(o, "memory"),
                             .idle_seconds = options_float(o, "idle-unload"),
                             .waiting_most = (int)options_int(o, "max-queue"),
                             .compute = options_str(o, "compute"),
                             .on_models = reload_models,
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
                                       .upload_bytes = options_bytes(o, "max-upload"),
                                       .unsent_bytes = options_bytes(o, "max-unsent"),
                                       .head_bytes = options_bytes(o, "max-header"),
                                       .head_seconds = (int)options_int(o, "header-timeout"),
                                       .body_seconds = (int)options_int(o, "body-timeout"),
                                       .keep_seconds = (int)options_int(o, "keep-alive"),
                                       .connections = (int)options_int(o, "max-connections")};
    int code = cli_history(o, &w->history, err);
    so.history = w->history;
    so.keep_deleted_days = (int)options_int(o, "keep-deleted");
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
    if (options_args(o, &args) > 0)
        return sp_fail(err, SP_EUSAGE,
                       "serve takes no bare argument, '%s' was given: say --model %s", args[0],
                       args[0]);
    sp_alloc_return_large();
    int code = serve_list_read(o, &w.list, err);
    if (code == 0 && options_bool(o, "plan"))
        code = tell_plan(&w, err);
    else if (code == 0)
        code = make_pool(&w, err);
    if (code == 0 && w.pool)
        code = cli_hub(o, &w.hub, err);
    if (code == 0 && w.pool)
        code = log_writer_start(err);
    if (code == 0 && w.pool)
        code = serve(&w, err);
    log_writer_stop();
    pool_free(w.pool);
    hub_close(w.hub);
    serve_list_free(&w.list);
    return code;
}
