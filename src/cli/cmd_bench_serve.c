/* bench serve: the options made into a plan, the person kept informed, the results written. */
#include <stdio.h>
#include <string.h>
#include "base/file.h"
#include "base/rng.h"
#include "bench/load.h"
#include "cli/cli_int.h"

#define REPORT_MAX ((size_t)1 << 30)
#define HERE "http://127.0.0.1:8080"
#define ROUNDS_FOR_95 6 /* the fewest values whose smallest and largest hold the median with 95% */

/* ---- the plan ---- */

/* "NAME=URL" or "URL", whose host and port are its name then. */
static int read_server(const char *text, struct load_server *s, sp_error *err)
{
    const char *equals = strchr(text, '='), *scheme = strstr(text, "://");
    bool named = equals && (!scheme || equals < scheme);
    const char *url = named ? equals + 1 : text;
    const char *host = strstr(url, "://");
    host = host ? host + 3 : url;
    size_t n = named ? (size_t)(equals - text) : strcspn(host, "/");
    if (n == 0 || n >= sizeof s->name || strlen(url) >= sizeof s->url)
        return sp_fail(err, SP_EUSAGE, "--server %.100s: write NAME=http://HOST:PORT", text);
    (void)snprintf(s->name, sizeof s->name, "%.*s", (int)n, named ? text : host);
    (void)snprintf(s->url, sizeof s->url, "%s", url);
    return 0;
}

static int check_names(const struct load_plan *p, sp_error *err)
{
    for (size_t i = 0; i < p->n_servers; i++)
        for (size_t k = 0; k < i; k++)
            if (strcmp(p->servers[i].name, p->servers[k].name) == 0)
                return sp_fail(err, SP_EUSAGE,
                               "--server: two are called %s: give them names as in a=URL b=URL",
                               p->servers[i].name);
    return 0;
}

/* One value for all servers or one for each. */
static int for_each_server(const options *o, const struct load_plan *p, const char *name,
                           const char *const **items, size_t *n, sp_error *err)
{
    *n = options_list(o, name, items);
    if (*n <= 1 || *n == p->n_servers)
        return 0;
    return sp_fail(err, SP_EUSAGE, "--%s: %zu of them for %zu servers: give one, or one for each",
                   name, *n, p->n_servers);
}

static int read_servers(const options *o, struct load_plan *p, sp_error *err)
{
    const char *const *urls = NULL, *const *keys = NULL, *const *models = NULL;
    size_t n = options_list(o, "server", &urls), n_keys = 0, n_models = 0;
    p->n_servers = n ? n : 1;
    if (n > LOAD_SERVERS_MOST)
        return sp_fail(err, SP_EUSAGE, "--server: %zu of them: at most %d", n, LOAD_SERVERS_MOST);
    int code = for_each_server(o, p, "key", &keys, &n_keys, err);
    if (code == 0)
        code = for_each_server(o, p, "model", &models, &n_models, err);
    for (size_t i = 0; i < p->n_servers && code == 0; i++) {
        struct load_server *s = &p->servers[i];
        code = read_server(n ? urls[i] : HERE, s, err);
        if (n_keys)
            s->key = keys[n_keys > 1 ? i : 0];
        const char *asked = n_models ? models[n_models > 1 ? i : 0] : "";
        if (strlen(asked) >= sizeof s->model)
            code = sp_fail(err, SP_EUSAGE, "--model %.60s...: the name is too long", asked);
        else
            (void)snprintf(s->model, sizeof s->model, "%s", asked);
    }
    return code ? code : check_names(p, err);
}

/* Numbers with commas between, each within min..max. */
static int read_floats(const options *o, const char *name, double min, double max, double *out,
                       size_t most, size_t *n, sp_error *err)
{
    const char *text = options_str(o, name);
    *n = 0;
    while (text && *text) {
        size_t len = strcspn(text, ",");
        double v = 0;
        if (*n == most || !str_to_f64((str){text, len}, &v) || v < min || v > max)
            return sp_fail(err, SP_EUSAGE,
                           "--%s %.60s: give up to %zu numbers from %g to %g with commas between",
                           name, options_str(o, name), most, min, max);
        out[(*n)++] = v;
        text += len + (text[len] == ',');
    }
    return 0;
}

/* Every number of requests at once with every rate. */
static int read_levels(const options *o, struct load_plan *p, sp_error *err)
{
    int64_t at_once[OPTIONS_INTS_MOST];
    double rates[LOAD_LEVELS_MOST];
    size_t n_rates = 0;
    int code = read_floats(o, "rate", 1e-6, 1e6, rates, LOAD_LEVELS_MOST, &n_rates, err);
    size_t n = options_ints(o, "concurrency", at_once);
    if (!options_has(o, "concurrency")) {
        n = 1;
        at_once[0] = n_rates ? 0 : 1;
    }
    if (code == 0 && n * (n_rates ? n_rates : 1) > LOAD_LEVELS_MOST)
        code = sp_fail(err, SP_EUSAGE, "bench serve: more than %d levels of load: give fewer",
                       LOAD_LEVELS_MOST);
    for (size_t i = 0; i < n && code == 0; i++) {
        for (size_t k = 0; k < (n_rates ? n_rates : 1); k++)
            p->levels[p->n_levels++] = (struct load_level){at_once[i], n_rates ? rates[k] : 0};
        if (!n_rates && at_once[i] == 0)
            code = sp_fail(err, SP_EUSAGE, "--concurrency 0: no limit goes with a --rate only");
    }
    return code;
}

static int read_shape(const options *o, struct load_plan *p, sp_error *err)
{
    struct load_shape *s = &p->shape;
    s->requests = options_int(o, "requests");
    s->seconds = options_float(o, "seconds");
    s->burstiness = options_float(o, "burstiness");
    s->warmups = options_int(o, "warmups");
    s->timeout = options_float(o, "answer-timeout");
    s->ramp_to = options_float(o, "ramp-to");
    if (options_has(o, "ramp-to"))
        s->ramp = strcmp(options_str(o, "ramp"), "linear") == 0 ? RAMP_LINEAR : RAMP_EXPONENTIAL;
    else if (options_origin(o, "ramp", NULL) != ORIGIN_DEFAULT)
        return sp_fail(err, SP_EUSAGE, "--ramp: from --rate to what? Give --ramp-to");
    p->rounds = options_int(o, "rounds");
    if (!p->rounds)
        p->rounds = p->n_servers > 1 ? ROUNDS_FOR_95 : 1;
    return 0;
}

static int read_prompts(const options *o, struct load_plan *p, sp_error *err)
{
    struct load_prompts *q = &p->prompts;
    const char *extra = options_str(o, "extra-body");
    q->words = options_int(o, "words");
    q->prefix_words = options_int(o, "prefix-words");
    q->turns = options_int(o, "turns");
    q->file = options_str(o, "data");
    q->seed = options_has(o, "seed") ? (uint64_t)options_int(o, "seed") : rng_seed();
    q->chat = strcmp(options_str(o, "api"), "chat") == 0;
    q->max_tokens = options_has(o, "max-tokens") ? options_int(o, "max-tokens") : 64;
    q->temperature = options_has(o, "temperature") ? options_float(o, "temperature") : 0;
    q->ignore_eos = !options_bool(o, "stop-at-eos");
    q->extra = extra ? json_loads(extra, 0, NULL) : NULL;
    if (extra && !json_is_object(q->extra))
        return sp_fail(err, SP_EUSAGE,
                       "--extra-body %.60s: no JSON object: write '{\"name\": value}'", extra);
    return 0;
}

/* "ttft:500,tpot:50". */
static int read_goodput(const options *o, struct load_plan *p, sp_error *err)
{
    const char *all = options_str(o, "goodput");
    for (const char *text = all; text && *text;) {
        size_t len = strcspn(text, ","), name = strcspn(text, ":");
        enum load_metric m = METRIC_TTFT;
        double ms = 0;
        while (m <= METRIC_E2EL &&
               (m == METRIC_ITL || !str_eqz((str){text, name}, load_metric_keys[m])))
            m++;
        if (m > METRIC_E2EL || name >= len ||
            !str_to_f64((str){text + name + 1, len - name - 1}, &ms) || ms <= 0)
            return sp_fail(err, SP_EUSAGE,
                           "--goodput %.60s: write limits in milliseconds as in "
                           "ttft:500,tpot:50,e2el:5000",
                           all);
        p->goodput[m] = ms / 1e3;
        text += len + (text[len] == ',');
    }
    return 0;
}

static int read_plan(const options *o, struct load_plan *p, sp_error *err)
{
    const char *const *words = NULL;
    if (options_args(o, &words))
        return sp_fail(err, SP_EUSAGE, "bench serve: what is '%.60s'? A server is --server URL",
                       words[0]);
    p->insecure = options_bool(o, "insecure");
    int code = read_servers(o, p, err);
    if (code == 0)
        code = read_levels(o, p, err);
    if (code == 0)
        code = read_shape(o, p, err);
    if (code == 0)
        code = read_prompts(o, p, err);
    if (code == 0)
        code = read_goodput(o, p, err);
    if (code == 0)
        code = read_floats(o, "percentiles", 0, 100, p->percentiles, LOAD_PERCENTILES_MOST,
                           &p->n_percentiles, err);
    return code;
}

/* ---- while it runs ---- */

static bool stopped(void *arg)
{
    (void)arg;
    return cli_interrupted != 0;
}

static void show(void *arg, const struct load_progress *p)
{
    char line[320], left[24], of[32] = "";
    (void)arg;
    if (p->requests)
        snprintf(of, sizeof of, " of %lld", (long long)p->requests);
    int n = snprintf(line, sizeof line, "run %zu of %zu, %s: %lld%s answered", p->run + 1, p->runs,
                     p->server->name, (long long)p->done, of);
    if (p->failed)
        n += snprintf(line + n, sizeof line - (size_t)n, ", %lld failed", (long long)p->failed);
    n += snprintf(line + n, sizeof line - (size_t)n, ", %lld under way, %.0f tokens/s",
                  (long long)p->running, p->tokens_per_second);
    if (p->left >= 0) {
        term_duration(p->left, left);
        snprintf(line + n, sizeof line - (size_t)n, ", %s left", left);
    }
    term_status(line);
}

/* ---- the results ---- */

static enum load_format format_of(const options *o)
{
    const char *f = options_str(o, "format");
    if (options_bool(o, "json"))
        return LOAD_JSON;
    return strcmp(f, "csv") == 0        ? LOAD_CSV
           : strcmp(f, "markdown") == 0 ? LOAD_MARKDOWN
                                        : LOAD_TABLE;
}

static int write_results(const options *o, const load *l, sp_error *err)
{
    const char *html = options_str(o, "html");
    buf out;
    buf_init(&out, REPORT_MAX);
    int code = load_print(l, format_of(o), options_bool(o, "details"), &out, err);
    if (code == 0 && out.failed)
        code = sp_fail(err, SP_ENOMEM, "out of memory for the report");
    if (code == 0 && out.len)
        fwrite(out.data, 1, out.len, stdout);
    fflush(stdout);
    buf_clear(&out);
    if (code == 0 && html)
        code = load_html(l, &out, err);
    if (code == 0 && html)
        code = file_write_atomic(html, out.data, out.len, err);
    buf_free(&out);
    return code;
}

/* A run in which nothing was answered has measured nothing. */
static int check_answers(const load *l, sp_error *err)
{
    size_t n = 0;
    const struct load_result *r = load_results(l, &n);
    for (size_t i = 0; i < n; i++)
        if (r[i].all.completed == 0 && r[i].all.sent > 0)
            return sp_fail(err, SP_ENETWORK, "%s: not one of %lld requests was answered",
                           r[i].server->name, (long long)r[i].all.sent);
    return 0;
}

static int measure(const options *o, struct load_plan *p, sp_error *err)
{
    struct load_watch w = {show, stopped, NULL};
    load *l = NULL;
    sp_error why = {0};
    cli_catch_interrupt(true);
    term_status("warming up");
    int code = load_open(p, &w, &l, err);
    if (code == 0) {
        int ran = load_measure(l, &why);
        term_status(NULL);
        code = ran == 0 || ran == SP_ECANCELLED ? write_results(o, l, err) : ran;
        if (code == 0)
            code = ran == 0 ? check_answers(l, err) : ran;
        if (code == ran && ran && err)
            *err = why;
    }
    term_status(NULL);
    cli_catch_interrupt(false);
    load_close(l);
    return code;
}

int cmd_bench_serve(const options *o, sp_error *err)
{
    struct load_plan *p = sp_calloc(1, sizeof *p);
    if (!p)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    int code = read_plan(o, p, err);
    if (code == 0 && options_bool(o, "details") && format_of(o) != LOAD_JSON)
        code = sp_fail(err, SP_EUSAGE, "--details: it goes with --json only");
    if (code == 0)
        code = measure(o, p, err);
    json_decref(p->prompts.extra);
    sp_free(p);
    return code;
}
