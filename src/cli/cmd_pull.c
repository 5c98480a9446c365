#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/machine.h"
#include "cli/cli_int.h"

struct view {
    bool quiet, tty;
    int last_percent; /* printed off a terminal: one line per tenth */
};

static void on_progress(void *arg, const struct pull_progress *p)
{
    struct view *v = arg;
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
    struct view *v = arg;
    if (v->tty && !v->quiet)
        term_status(NULL);
    fprintf(stderr, "%s\n", line);
}

static int interrupted(void *arg)
{
    (void)arg;
    return cli_interrupted;
}

static void print_catalogue(void)
{
    size_t n;
    const struct catalogue_entry *all = catalogue_all(&n);
    uint64_t memory = machine_memory_total();
    const struct catalogue_entry *best = catalogue_best(memory);
    char size[24], needs[24], has[24];
    term_bytes(memory, has);
    printf("%-24s %-7s %-8s %10s %10s  %s\n", "NAME", "PARAMS", "FORMAT", "DOWNLOAD", "MEMORY",
           "LICENCE");
    for (size_t i = 0; i < n; i++) {
        term_bytes(all[i].bytes, size);
        term_bytes(all[i].memory, needs);
        printf("%-24s %-7s %-8s %10s %10s  %s%s\n", all[i].name, all[i].parameters,
               all[i].quantization, size, needs, all[i].license,
               all[i].memory > memory ? "  (too large for this machine)" : "");
    }
    printf("\nThis machine has %s of memory. The best of these for it:\n    sampan pull %s\n", has,
           best->name);
}

int cmd_pull(const options *o, sp_error *err)
{
    const char *const *args;
    size_t n = options_args(o, &args);
    if (n == 0) {
        print_catalogue();
        return 0;
    }
    if (n > 1)
        return sp_fail(err, SP_EUSAGE, "pull takes one model, %zu were given", n);
    struct view v = {
        .quiet = options_bool(o, "quiet"), .tty = term_is_tty(STDERR_FILENO), .last_percent = -1};
    struct pull_opts po = {.spec = args[0],
                           .offline = options_bool(o, "offline"),
                           .force = options_bool(o, "force"),
                           .on_progress = on_progress,
                           .on_note = on_note,
                           .cancelled = interrupted,
                           .arg = &v};
    hub *h = NULL;
    char *path = NULL;
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
