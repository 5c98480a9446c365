/* The plan: servers found and warmed up, then levels, rounds and servers in turn. */
#include "bench/load.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "bench/load_int.h"
#include "bench/stats.h"

#define MODELS_SECONDS 30
#define MODELS_MAX ((size_t)4 << 20)

struct load {
    struct load_plan *plan;
    const struct load_watch *watch;
    struct event_base *base;
    client *clients[LOAD_SERVERS_MOST];
    load_data *data;
    uint64_t asked[LOAD_SERVERS_MOST]; /* conversations of --data that are behind each server */
    struct load_result
        *results; /* [n_levels x n_servers] while measuring, then those that were begun */
    size_t n_results;
};

const struct load_plan *load_plan_of(const load *l)
{
    return l->plan;
}

bool load_wants_goodput(const struct load_plan *p)
{
    return p->goodput[METRIC_TTFT] > 0 || p->goodput[METRIC_TPOT] > 0 ||
           p->goodput[METRIC_E2EL] > 0;
}

const struct load_result *load_results(const load *l, size_t *n)
{
    *n = l->n_results;
    return l->results;
}

void load_level_name(struct load_level v, char out[48])
{
    if (v.rate > 0 && v.concurrency)
        (void)snprintf(out, 48, "%g/s, at most %lld", v.rate, (long long)v.concurrency);
    else if (v.rate > 0)
        (void)snprintf(out, 48, "%g/s", v.rate);
    else
        (void)snprintf(out, 48, "%lld at once", (long long)v.concurrency);
}

/* ---- which model ---- */

struct models {
    struct event_base *base;
    buf body;
    int status;
    enum client_end end;
    bool over;
    char why[160];
};

static void models_late(int fd, short what, void *arg)
{
    struct models *m = arg;
    (void)fd;
    (void)what;
    (void)event_base_loopbreak(m->base);
}

static void models_body(void *arg, const struct response *head, const char *p, size_t n)
{
    struct models *m = arg;
    (void)head;
    (void)buf_add(&m->body, p, n);
}

static void models_end(void *arg, enum client_end end, const struct response *head, const char *why)
{
    struct models *m = arg;
    m->over = true;
    m->end = end;
    m->status = head->status;
    (void)snprintf(m->why, sizeof m->why, "%s", why ? why : "");
    (void)event_base_loopbreak(m->base);
}

static int first_model(const struct models *m, struct load_server *s, sp_error *err)
{
    json_t *j = json_loadb(m->body.data ? m->body.data : "", m->body.len, 0, NULL);
    const json_t *first = json_array_get(json_object_get(j, "data"), 0);
    const char *id = json_string_value(json_object_get(first, "id"));
    int code = 0;
    if (m->status != 200)
        code =
            sp_fail(err, SP_ENETWORK, "%s: %s/v1/models answers with status %d%s", s->name, s->url,
                    m->status, m->status == 401 || m->status == 403 ? ": give a --key" : "");
    else if (!id || strlen(id) >= sizeof s->model)
        code = sp_fail(err, SP_ENETWORK, "%s: %s lists no model: give its name with --model",
                       s->name, s->url);
    else
        (void)snprintf(s->model, sizeof s->model, "%s", id);
    json_decref(j);
    return code;
}

static int find_model(load *l, size_t which, sp_error *err)
{
    static const struct timeval limit = {MODELS_SECONDS, 0};
    struct load_server *s = &l->plan->servers[which];
    struct models m = {.base = l->base};
    struct client_sink sink = {models_body, models_end, &m};
    buf_init(&m.body, MODELS_MAX);
    client_call *call = client_start(l->clients[which], "/models", NULL, 0, &sink);
    int code = call ? 0 : sp_fail(err, SP_ENETWORK, "%s: %s", s->url, strerror(errno));
    struct event *late = evtimer_new(l->base, models_late, &m);
    if (call && late && event_add(late, &limit) == 0)
        (void)event_base_dispatch(l->base);
    if (late)
        event_free(late);
    if (call && !m.over) {
        client_cancel(call);
        code = sp_fail(err, SP_ENETWORK, "%s: %s gave no list of models within %d s", s->name,
                       s->url, MODELS_SECONDS);
    } else if (call && m.end != CLIENT_DONE) {
        code = sp_fail(err, SP_ENETWORK, "%s: %s: %s: is the server running there?", s->name,
                       s->url, m.why);
    } else if (call) {
        code = first_model(&m, s, err);
    }
    buf_free(&m.body);
    return code;
}

/* ---- runs ---- */

/* No two runs share a number, so none share prompts; with --data the place in the file goes on instead. */
static uint64_t stream_of(const load *l, size_t level, int64_t round, size_t server)
{
    const struct load_plan *p = l->plan;
    return ((uint64_t)level * (uint64_t)p->rounds + (uint64_t)round) * LOAD_SERVERS_MOST + server +
           LOAD_SERVERS_MOST; /* those below are the warm-ups' */
}

static struct load_shape shape_at(const struct load_plan *p, struct load_level level)
{
    struct load_shape s = p->shape;
    if (!s.requests && s.seconds <= 0)
        s.requests = level.concurrency > 4 ? 4 * level.concurrency : 16;
    return s;
}

static int run_server(load *l, size_t level, int64_t round, size_t server, size_t number,
                      struct load_run *out, sp_error *err)
{
    struct load_plan *p = l->plan;
    struct load_shape shape = shape_at(p, p->levels[level]);
    struct load_run_opts o = {.base = l->base,
                              .client = l->clients[server],
                              .data = l->data,
                              .plan = p,
                              .server = &p->servers[server],
                              .level = p->levels[level],
                              .shape = &shape,
                              .stream = stream_of(l, level, round, server),
                              .watch = l->watch};
    o.progress = (struct load_progress){.server = o.server,
                                        .level = o.level,
                                        .run = number,
                                        .runs = p->n_levels * (size_t)p->rounds * p->n_servers};
    o.first = l->asked[server];
    int code = load_run_once(&o, out, err);
    l->asked[server] += out->conversations;
    return code;
}

static int warm_up(load *l, size_t server, sp_error *err)
{
    struct load_plan *p = l->plan;
    struct load_shape shape = p->shape;
    struct load_run run;
    char room[24];
    shape.requests = p->shape.warmups;
    shape.seconds = 0;
    shape.ramp = RAMP_NONE;
    struct load_run_opts o = {
        .base = l->base,
        .client = l->clients[server],
        .data = l->data,
        .plan = p,
        .server = &p->servers[server],
        .level = {.concurrency = p->levels[0].concurrency ? p->levels[0].concurrency : 1},
        .shape = &shape,
        .stream = server};
    size_t in_file = load_data_count(l->data); /* its last ones */
    o.first = in_file ? in_file - 1 - (size_t)(shape.requests - 1) % in_file : 0;
    struct load_watch stop_only = {.stopped = l->watch ? l->watch->stopped : NULL,
                                   .arg = l->watch ? l->watch->arg : NULL};
    o.watch = &stop_only;
    int code = shape.requests ? load_run_once(&o, &run, err) : 0;
    for (size_t i = 0; code == 0 && shape.requests && i < run.n; i++) {
        const struct load_record *r = &run.records[i];
        if (r->outcome != LOAD_OK)
            code =
                sp_fail(err, SP_ENETWORK, "%s: a warm-up request failed (%s): %s", o.server->name,
                        load_outcome_name(r, room), r->why && *r->why ? r->why : "no answer");
    }
    if (shape.requests)
        load_run_free(&run);
    return code;
}

/* ---- the plan ---- */

static int check_plan(const struct load_plan *p, sp_error *err)
{
    if (!p->n_servers || !p->n_levels)
        return sp_fail(err, SP_EUSAGE, "bench serve: no server or no load is given");
    for (size_t i = 0; i < p->n_levels; i++)
        if (p->levels[i].rate <= 0 && p->levels[i].concurrency <= 0)
            return sp_fail(err, SP_EUSAGE,
                           "bench serve: without a --rate --concurrency must be at least 1");
    if (!p->n_percentiles)
        return sp_fail(err, SP_EUSAGE, "bench serve: --percentiles is empty");
    if (p->shape.ramp != RAMP_NONE && p->levels[0].rate <= 0)
        return sp_fail(err, SP_EUSAGE, "bench serve: a ramp needs a --rate to begin with");
    return 0;
}

static int open_servers(load *l, sp_error *err)
{
    struct load_plan *p = l->plan;
    int code = 0;
    for (size_t i = 0; i < p->n_servers && code == 0; i++) {
        struct client_opts co = {p->servers[i].url, p->servers[i].key, p->insecure};
        code = client_new(l->base, &co, &l->clients[i], err);
        if (code == 0 && !p->servers[i].model[0])
            code = find_model(l, i, err);
    }
    for (size_t i = 0; i < p->n_servers && code == 0; i++)
        code = warm_up(l, i, err);
    return code;
}

int load_open(struct load_plan *p, const struct load_watch *w, load **out, sp_error *err)
{
    int code = check_plan(p, err);
    load *l = code ? NULL : sp_calloc(1, sizeof *l);
    if (code < 0)
        return code;
    if (!l)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    l->plan = p;
    l->watch = w;
    client_raise_limits();
    code = load_data_open(&p->prompts, &l->data, err);
    l->base = event_base_new();
    if (code == 0 && !l->base)
        code = sp_fail(err, SP_ENOMEM, "out of memory for the event loop");
    if (code == 0)
        code = open_servers(l, err);
    if (code < 0)
        load_close(l);
    else
        *out = l;
    return code;
}

/* The results in the order of the plan, those that were never begun left out. */
static int summarize(load *l, sp_error *err)
{
    size_t kept = 0;
    int code = 0;
    for (size_t i = 0; i < l->n_results; i++) {
        struct load_result *r = &l->results[i];
        for (size_t k = 0; k < r->n_rounds && code == 0; k++)
            code = load_figures_of(&r->runs[k], 1, l->plan, r->level, &r->rounds[k], NULL, err);
        if (r->n_rounds && code == 0)
            code =
                load_figures_of(r->runs, r->n_rounds, l->plan, r->level, &r->all, r->sorted, err);
        load_count_errors(r);
    }
    for (size_t i = 0; i < l->n_results; i++) {
        if (!l->results[i].n_rounds) {
            sp_free(l->results[i].runs);
            sp_free(l->results[i].rounds);
        } else {
            l->results[kept++] = l->results[i];
        }
    }
    l->n_results = kept;
    return code;
}

static int make_results(load *l, sp_error *err)
{
    const struct load_plan *p = l->plan;
    l->results = sp_calloc(p->n_levels * p->n_servers, sizeof *l->results);
    if (!l->results)
        return sp_fail(err, SP_ENOMEM, "out of memory for the results");
    l->n_results = p->n_levels * p->n_servers;
    for (size_t i = 0; i < l->n_results; i++) {
        struct load_result *r = &l->results[i];
        r->server = &p->servers[i % p->n_servers];
        r->level = p->levels[i / p->n_servers];
        r->runs = sp_calloc((size_t)p->rounds, sizeof *r->runs);
        r->rounds = sp_calloc((size_t)p->rounds, sizeof *r->rounds);
        if (!r->runs || !r->rounds)
            return sp_fail(err, SP_ENOMEM, "out of memory for the results");
    }
    return 0;
}

int load_measure(load *l, sp_error *err)
{
    const struct load_plan *p = l->plan;
    size_t number = 0;
    int code = make_results(l, err);
    for (size_t level = 0; level < p->n_levels && code == 0; level++) {
        for (int64_t round = 0; round < p->rounds && code == 0; round++) {
            for (size_t k = 0; k < p->n_servers && code == 0; k++) {
                size_t server = round % 2 ? p->n_servers - 1 - k : k;
                struct load_result *r = &l->results[level * p->n_servers + server];
                code = run_server(l, level, round, server, number++, &r->runs[r->n_rounds], err);
                r->n_rounds++;
            }
        }
    }
    int summed = code == 0 || code == SP_ECANCELLED ? summarize(l, code ? NULL : err) : 0;
    return code ? code : summed;
}

void load_close(load *l)
{
    if (!l)
        return;
    for (size_t i = 0; i < l->n_results; i++) {
        struct load_result *r = &l->results[i];
        for (size_t k = 0; r->runs && k < r->n_rounds; k++)
            load_run_free(&r->runs[k]);
        for (size_t m = 0; m <= METRIC_E2EL; m++)
            sp_free(r->sorted[m]);
        sp_free(r->runs);
        sp_free(r->rounds);
    }
    sp_free(l->results);
    for (size_t i = 0; i < LOAD_SERVERS_MOST; i++)
        client_free(l->clients[i]);
    load_data_close(l->data);
    if (l->base)
        event_base_free(l->base);
    sp_free(l);
}

/* ---- ratios ---- */

/* "%" stands for the last percentile. */
static void figure_text(const struct load_plan *p, const char *form, char out[32])
{
    const char *at = strchr(form, '%');
    if (at)
        (void)snprintf(out, 32, "%.*sp%g%s", (int)(at - form), form,
                       p->percentiles[p->n_percentiles - 1], at + 1);
    else
        (void)snprintf(out, 32, "%s", form);
}

void load_figure_name(const struct load_plan *p, enum load_figure f, char out[32])
{
    static const char *const names[] = {"output tokens/s", "total tokens/s", "requests/s",
                                        "goodput",         "median TTFT",    "% TTFT",
                                        "median TPOT",     "% ITL",          "median E2EL"};
    figure_text(p, names[f], out);
}

void load_figure_key(const struct load_plan *p, enum load_figure f, char out[32])
{
    static const char *const keys[] = {"output_throughput",  "total_token_throughput",
                                       "request_throughput", "request_goodput",
                                       "median_ttft_ms",     "%_ttft_ms",
                                       "median_tpot_ms",     "%_itl_ms",
                                       "median_e2el_ms"};
    figure_text(p, keys[f], out);
}

bool load_figure_is_time(enum load_figure f)
{
    return f >= FIGURE_TTFT;
}

static double figure(const struct load_figures *f, const struct load_plan *p,
                     enum load_figure which)
{
    size_t tail = p->n_percentiles - 1;
    switch (which) {
    case FIGURE_OUTPUT:
        return f->output_throughput;
    case FIGURE_TOTAL:
        return f->total_throughput;
    case FIGURE_REQUESTS:
        return f->request_throughput;
    case FIGURE_GOODPUT:
        return f->goodput;
    case FIGURE_TTFT:
        return f->spread[METRIC_TTFT].median;
    case FIGURE_TTFT_TAIL:
        return f->spread[METRIC_TTFT].percentiles[tail];
    case FIGURE_TPOT:
        return f->spread[METRIC_TPOT].median;
    case FIGURE_ITL_TAIL:
        return f->spread[METRIC_ITL].percentiles[tail];
    default:
        return f->spread[METRIC_E2EL].median;
    }
}

/* Fills *r from the rounds that both have; false: there is none. */
static bool compare_rounds(const struct load_plan *p, struct load_ratio *r, double *ratios)
{
    size_t rounds =
        r->first->n_rounds < r->other->n_rounds ? r->first->n_rounds : r->other->n_rounds;
    for (size_t i = 0; i < rounds; i++) {
        double a = figure(&r->first->rounds[i], p, r->figure);
        double b = figure(&r->other->rounds[i], p, r->figure);
        if (a > 0 && b > 0)
            ratios[r->n++] = a / b;
    }
    if (!r->n)
        return false;
    r->median = stats_of(ratios, r->n).median;
    struct stats_interval within = stats_median_interval(ratios, r->n, 0.95);
    r->low = within.low;
    r->high = within.high;
    r->coverage = within.coverage;
    return true;
}

static bool same_level(const struct load_result *a, const struct load_result *b)
{
    return a->level.concurrency == b->level.concurrency && !(a->level.rate < b->level.rate) &&
           !(a->level.rate > b->level.rate);
}

int load_ratios(const load *l, struct load_ratio **out, size_t *n, sp_error *err)
{
    const struct load_plan *p = l->plan;
    double *ratios = sp_calloc((size_t)p->rounds, sizeof *ratios);
    struct load_ratio *all = sp_calloc(l->n_results * LOAD_FIGURES + 1, sizeof *all);
    const struct load_result *first = NULL;
    *n = 0;
    if (!ratios || !all) {
        sp_free(ratios);
        sp_free(all);
        return sp_fail(err, SP_ENOMEM, "out of memory for the ratios");
    }
    for (size_t i = 0; i < l->n_results; i++) {
        const struct load_result *r = &l->results[i];
        if (r->server == &p->servers[0]) {
            first = r;
            continue;
        }
        for (enum load_figure f = 0; first && f < LOAD_FIGURES; f++) {
            struct load_ratio *to = &all[*n];
            *to = (struct load_ratio){.figure = f, .first = first, .other = r};
            if (same_level(first, r) && (f != FIGURE_GOODPUT || load_wants_goodput(p)) &&
                compare_rounds(p, to, ratios))
                ++*n;
        }
    }
    sp_free(ratios);
    *out = all;
    return 0;
}
