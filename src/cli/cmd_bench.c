/* bench: the machine's limits, and models' speed beside them. */
#include <stdio.h>
#include <string.h>
#include "base/file.h"
#include "bench/bench.h"
#include "bench/machine.h"
#include "cli/cli_int.h"

#define REPORT_MAX ((size_t)64 << 20) /* bytes of a report */
#define MACHINE_PASSES 10

static int write_out(buf *b, sp_error *err)
{
    if (b->failed)
        return sp_fail(err, SP_ENOMEM, "out of memory for the report");
    if (b->len)
        fwrite(b->data, 1, b->len, stdout);
    fflush(stdout);
    buf_clear(b);
    return 0;
}

/* ---- the machine ---- */

static void show_phase(const char *what)
{
    term_status(what);
}

static size_t thread_list(const options *o, int out[MACHINE_ROWS_MOST])
{
    int64_t asked[OPTIONS_INTS_MOST];
    size_t n = options_ints(o, "threads", asked);
    if (n <= 1 && options_int(o, "threads") == 0)
        return machine_threads(machine_cores(), out);
    struct machine_topology machine;
    machine_topology(&machine);
    for (size_t i = 0; i < n && i < MACHINE_ROWS_MOST; i++)
        out[i] = asked[i] ? (int)asked[i] : machine.threads;
    return n;
}

static int bench_the_machine(const options *o, sp_error *err)
{
    int threads[MACHINE_ROWS_MOST];
    struct machine_opts mo = {.threads = threads, .passes = MACHINE_PASSES, .progress = show_phase};
    struct machine_report *r = sp_calloc(1, sizeof *r);
    buf out;
    int code = r ? kernel_pick(&mo.isa, err) : sp_fail(err, SP_ENOMEM, "out of memory");
    mo.n_threads = thread_list(o, threads);
    mo.pin = cli_pin(o);
    if (code == 0)
        code = machine_measure(&mo, r, err);
    term_status(NULL);
    buf_init(&out, REPORT_MAX);
    if (code == 0 && options_bool(o, "json"))
        cli_print_json(machine_json(r));
    else if (code == 0)
        machine_print(r, &out);
    if (code == 0)
        code = write_out(&out, err);
    buf_free(&out);
    sp_free(r);
    return code;
}

/* ---- models ---- */

struct session {
    const options *o;
    enum bench_format format;
    int model_width;
    struct bench_test *tests;
    size_t n_tests;
    struct bench_result *results;
    size_t n_results;
    const char *model; /* that runs */
    buf out;
};

static void show_rep(void *arg, const char *test, int rep, int reps)
{
    const struct session *s = arg;
    char line[256];
    snprintf(line, sizeof line, "%s: %s, %d of %d", s->model, test, rep + 1, reps);
    term_status(line);
}

static enum bench_format format_of(const options *o)
{
    const char *f = options_str(o, "format");
    if (options_bool(o, "json"))
        return BENCH_JSON;
    return strcmp(f, "csv") == 0        ? BENCH_CSV
           : strcmp(f, "markdown") == 0 ? BENCH_MARKDOWN
                                        : BENCH_TABLE;
}

static int read_plan(struct session *s, sp_error *err)
{
    int64_t lists[4][OPTIONS_INTS_MOST];
    struct bench_plan p = {
        .prompts = lists[0], .gens = lists[1], .depths = lists[2], .batches = lists[3]};
    p.n_prompts = options_ints(s->o, "prompt", lists[0]);
    p.n_gens = options_ints(s->o, "gen", lists[1]);
    p.n_depths = options_ints(s->o, "depth", lists[2]);
    p.n_batches = options_ints(s->o, "batch", lists[3]);
    return bench_tests(&p, &s->tests, &s->n_tests, err);
}

/* A file's name says enough; the results of one table are told apart by it. */
static const char *short_name(const char *name)
{
    const char *base = path_base(name);
    return *base ? base : name;
}

static int run_tests(struct session *s, int threads, sp_error *err)
{
    engine *e = NULL;
    struct engine_opts eo = engine_opts_default();
    struct bench_opts bo = {
        .reps = (int)options_int(s->o, "reps"), .seed = 1, .progress = show_rep, .progress_arg = s};
    eo.compute = cli_compute(s->o);
    eo.threads = threads;
    bench_needs(s->tests, s->n_tests, &eo);
    if (options_origin(s->o, "max-context", NULL) != ORIGIN_DEFAULT)
        eo.max_context = options_int(s->o, "max-context");
    int code = cli_engine_with(s->o, s->model, &eo, &e, err);
    for (size_t i = 0; i < s->n_tests && code == 0; i++) {
        struct bench_result *r = &s->results[s->n_results];
        code = bench_run(e, short_name(s->model), &s->tests[i], &bo, r, err);
        term_status(NULL);
        if (code < 0)
            break;
        s->n_results++;
        bench_print(s->format, s->model_width, r, &s->out);
        code = write_out(&s->out, err);
    }
    engine_close(e);
    return code;
}

/* Every model with every number of threads. */
static int run_models(struct session *s, const char *const *models, size_t n, sp_error *err)
{
    int64_t threads[OPTIONS_INTS_MOST];
    size_t n_threads = options_ints(s->o, "threads", threads);
    int code = 0;
    for (size_t i = 0; i < n; i++)
        if ((int)strlen(short_name(models[i])) > s->model_width)
            s->model_width = (int)strlen(short_name(models[i]));
    s->results = sp_calloc(n * n_threads * s->n_tests, sizeof *s->results);
    if (!s->results)
        return sp_fail(err, SP_ENOMEM, "out of memory for the results");
    bench_print_head(s->format, s->model_width, &s->out);
    for (size_t i = 0; i < n && code == 0; i++) {
        s->model = models[i];
        for (size_t t = 0; t < n_threads && code == 0; t++)
            code = run_tests(s, (int)threads[t], err);
    }
    return code;
}

static int write_reports(struct session *s, sp_error *err)
{
    const char *html = options_str(s->o, "html");
    int code = 0;
    if (options_bool(s->o, "chart")) {
        bench_chart(s->results, s->n_results, term_width(), &s->out);
        code = write_out(&s->out, err);
    }
    if (code == 0 && html) {
        bench_html(s->results, s->n_results, &s->out);
        code = s->out.failed ? sp_fail(err, SP_ENOMEM, "out of memory for the report")
                             : file_write_atomic(html, s->out.data, s->out.len, err);
    }
    return code;
}

static int bench_models(const options *o, sp_error *err)
{
    struct session s = {.o = o, .format = format_of(o), .model_width = 5};
    const char *const *models;
    char *only = NULL;
    size_t n = options_list(o, "model", &models);
    int code = n ? 0 : cli_model_name(o, &only, err);
    const char *const one[] = {only};
    buf_init(&s.out, REPORT_MAX);
    if (code == 0 && options_bool(o, "chart") && s.format != BENCH_TABLE)
        code = sp_fail(err, SP_EUSAGE,
                       "--chart: it goes with the table only: leave out --json or "
                       "--format");
    if (code == 0)
        code = read_plan(&s, err);
    if (code == 0)
        code = run_models(&s, n ? models : one, n ? n : 1, err);
    if (code == 0)
        code = write_reports(&s, err);
    term_status(NULL);
    buf_free(&s.out);
    sp_free(s.results);
    sp_free(s.tests);
    sp_free(only);
    return code;
}

int cmd_bench(const options *o, sp_error *err)
{
    const char *what = "";
    int code = cli_one_word(o, "bench", "machine, model or serve", &what, err);
    if (code < 0)
        return code;
    if (strcmp(what, "machine") == 0)
        return bench_the_machine(o, err);
    if (strcmp(what, "model") == 0)
        return bench_models(o, err);
    return sp_fail(err, SP_EUSAGE,
                   "bench: unknown subject '%s': there are machine, model and serve", what);
}
