/* pull: a model from the catalogue, a hub, an address or a path into the store. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/machine.h"
#include "cli/cli_int.h"

#define CONTEXT 4096 /* tokens that memory is counted for */

static void on_progress(void *arg, const struct pull_progress *p)
{
    struct pull_view *v = arg;
    char done[24], total[24], speed[24], left[24], line[256];
    if (v->quiet)
        return;
    term_bytes(p->done, done);
    term_bytes(p->total, total);
    term_bytes((uint64_t)p->bytes_per_second, speed);
    term_duration(p->seconds_left, left);
    int percent = p->total ? (int)(100.0 * (double)p->done / (double)p->total) : 0;
    if (p->total)
        snprintf(line, sizeof line, "%3d%%  %s of %s  %s/s  %s left  %.80s", percent, done, total,
                 speed, left, p->what);
    else
        snprintf(line, sizeof line, "%s  %s/s  %.80s", done, speed, p->what);
    if (v->tty) {
        term_status(line);
    } else if (p->total && percent / 10 != v->last_percent / 10) {
        fprintf(stderr, "%s\n", line);
        v->last_percent = percent;
    }
}

static void on_note(void *arg, const char *line)
{
    struct pull_view *v = arg;
    if (v->tty && !v->quiet)
        term_status(NULL);
    fprintf(stderr, "%s\n", line);
}

static int interrupted(void *arg)
{
    (void)arg;
    return cli_interrupted;
}

void cli_pull_opts(const options *o, struct pull_view *v, struct pull_opts *out)
{
    *v = (struct pull_view){
        .quiet = options_bool(o, "quiet"), .tty = term_is_tty(STDERR_FILENO), .last_percent = -1};
    *out = (struct pull_opts){.name = options_str(o, "name"),
                              .force = options_bool(o, "force"),
                              .on_progress = on_progress,
                              .on_note = on_note,
                              .cancelled = interrupted,
                              .arg = v};
}

/* The last eighth of the machine's memory is left to the system. */
static uint64_t memory_for_models(void)
{
    uint64_t all = machine_memory_total();
    return all - all / 8;
}

static void catalogue_json(void)
{
    size_t n;
    const struct catalogue_entry *all = catalogue_all(&n);
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        const struct catalogue_entry *e = &all[i];
        uint64_t need = catalogue_memory(e, CONTEXT);
        json_t *sources = json_array();
        for (size_t k = 0; k < SP_COUNT(e->sources) && e->sources[k]; k++)
            json_array_append_new(sources, json_string(e->sources[k]));
        json_array_append_new(
            list,
            json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:I,s:b,s:I,s:b,s:s?,s:o}", "name", e->name,
                      "title", e->title, "family", e->family, "license", e->license, "languages",
                      e->languages, "parameters", e->parameters, "quantization", e->quantization,
                      "chat_template", e->chat, "bytes", (json_int_t)e->bytes, "bytes_estimated",
                      (int)e->about, "memory", (json_int_t)need, "fits",
                      (int)(need <= memory_for_models()), "sha256", e->sha256, "sources", sources));
    }
    json_dumpf(list, stdout, JSON_INDENT(2));
    printf("\n");
    json_decref(list);
}

/* With numbers when one is to be chosen. "~" before a size: about. */
static void print_catalogue(bool numbers)
{
    size_t n;
    const struct catalogue_entry *all = catalogue_all(&n);
    uint64_t memory = memory_for_models();
    char size[25], needs[24], has[24];
    printf("%s%-22s %-6s %-7s %10s %10s  %-5s %s\n", numbers ? "    " : "", "NAME", "PARAMS",
           "FORMAT", "DOWNLOAD", "MEMORY", "FITS", "LICENCE");
    for (size_t i = 0; i < n; i++) {
        uint64_t need = catalogue_memory(&all[i], CONTEXT);
        term_bytes(all[i].bytes, size + 1);
        size[0] = all[i].about ? '~' : ' ';
        term_bytes(need, needs);
        if (numbers)
            printf("%3zu ", i + 1);
        printf("%-22s %-6s %-7s %10s %10s  %-5s %s\n", all[i].name, all[i].parameters,
               all[i].quantization, size, needs, need <= memory ? "yes" : "no", all[i].license);
    }
    term_bytes(machine_memory_total(), has);
    printf("\nMEMORY is for %d tokens of context; this machine has %s. The newest Qwen that fits:\n"
           "    sampan pull %s\n",
           CONTEXT, has, catalogue_best(memory)->name);
}

/* On a terminal: which one? NULL: none was chosen. */
static const char *choose(void)
{
    size_t n;
    const struct catalogue_entry *all = catalogue_all(&n);
    const char *best = catalogue_best(memory_for_models())->name;
    char line[128];
    print_catalogue(true);
    fprintf(stderr, "\nNumber or name (Enter takes %s, q none): ", best);
    if (!fgets(line, sizeof line, stdin))
        return NULL;
    line[strcspn(line, "\r\n")] = '\0';
    if (line[0] == '\0')
        return best;
    char *end;
    unsigned long number = strtoul(line, &end, 10);
    if (*end == '\0' && number >= 1 && number <= n)
        return all[number - 1].name;
    const struct catalogue_entry *e = catalogue_find(line);
    if (!e && strcmp(line, "q") != 0)
        fprintf(stderr, "%s: neither a number nor a name of the list\n", line);
    return e ? e->name : NULL;
}

static int pull(const options *o, const char *spec, sp_error *err)
{
    struct pull_view v;
    struct pull_opts po;
    hub *h = NULL;
    char *path = NULL;
    cli_pull_opts(o, &v, &po);
    po.spec = spec;
    po.offline = options_bool(o, "offline") || hub_offline_wanted();
    po.revision = options_str(o, "revision");
    po.source = options_str(o, "source");
    po.n_endpoints = options_list(o, "endpoint", &po.endpoints);
    po.connections = (int)options_int(o, "connections");
    po.timeout = (long)options_int(o, "timeout");
    int code = cli_hub(o, &h, err);
    if (code == 0) {
        cli_catch_interrupt(true);
        code = hub_pull(h, &po, &path, err);
        cli_catch_interrupt(false);
        term_status(NULL);
    }
    if (code == 0 && !v.quiet)
        printf("%s\n", path);
    sp_free(path);
    hub_close(h);
    return code;
}

int cmd_pull(const options *o, sp_error *err)
{
    const char *const *args;
    size_t n = options_args(o, &args);
    if (n > 1)
        return sp_fail(err, SP_EUSAGE, "pull takes one model, %zu were given", n);
    if (n == 1)
        return pull(o, args[0], err);
    if (options_bool(o, "json")) {
        catalogue_json();
        return 0;
    }
    if (!term_is_tty(STDIN_FILENO) || !term_is_tty(STDOUT_FILENO)) {
        print_catalogue(false);
        return 0;
    }
    const char *name = choose();
    return name ? pull(o, name, err) : 0;
}
