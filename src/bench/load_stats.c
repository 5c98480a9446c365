/* Figures out of records. The definitions are those of `vllm bench serve` (vllm/benchmarks/serve.py). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "bench/load_int.h"
#include "bench/stats.h"

const char *const load_metric_keys[LOAD_METRICS] = {
    "ttft", "tpot", "itl", "e2el", "client_queue_time", "e2el_including_client_queue"};
const char *const load_metric_names[LOAD_METRICS] = {"TTFT", "TPOT",         "ITL",
                                                     "E2EL", "Client queue", "E2EL with queue"};

const char *load_outcome_name(const struct load_record *r, char room[24])
{
    static const char *const names[] = {"ok",
                                        "connect",
                                        "http",
                                        "timeout",
                                        "closed_early",
                                        "malformed_http",
                                        "malformed_event",
                                        "error_event",
                                        "no_stream",
                                        "empty",
                                        "unfinished"};
    if (r->outcome != LOAD_STATUS)
        return names[r->outcome];
    (void)snprintf(room, 24, "http_%d", r->status);
    return room;
}

/* ---- one request ---- */

static double first_token(const struct load_record *r)
{
    return r->first - r->start;
}

static double whole(const struct load_record *r)
{
    return r->last - r->start;
}

/* Of an answer of one token it is 0, and it counts in no distribution. */
static double per_token(const struct load_record *r)
{
    return r->tokens_out > 1 ? (whole(r) - first_token(r)) / (double)(r->tokens_out - 1) : 0;
}

static bool is_good(const struct load_record *r, const double limits[METRIC_E2EL + 1])
{
    return (limits[METRIC_TTFT] <= 0 || first_token(r) <= limits[METRIC_TTFT]) &&
           (limits[METRIC_TPOT] <= 0 || per_token(r) <= limits[METRIC_TPOT]) &&
           (limits[METRIC_E2EL] <= 0 || whole(r) <= limits[METRIC_E2EL]);
}

/* ---- distributions ---- */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static size_t count_values(const struct load_record *r, enum load_metric m)
{
    if (r->outcome != LOAD_OK)
        return 0;
    if (m == METRIC_ITL)
        return r->n_gaps;
    return m != METRIC_TPOT || r->tokens_out > 1;
}

static void add_values(const struct load_record *r, enum load_metric m, double *v)
{
    switch (m) {
    case METRIC_TTFT:
        v[0] = 1e3 * first_token(r);
        break;
    case METRIC_TPOT:
        v[0] = 1e3 * per_token(r);
        break;
    case METRIC_ITL:
        for (size_t i = 0; i < r->n_gaps; i++)
            v[i] = 1e3 * r->gaps[i];
        break;
    case METRIC_E2EL:
        v[0] = 1e3 * whole(r);
        break;
    case METRIC_QUEUE:
        v[0] = 1e3 * (r->start - r->arrival);
        break;
    default:
        v[0] = 1e3 * (r->last - r->arrival);
    }
}

/* All values of a metric, ascending, in a new array; *n = 0: none, and the array may be NULL. */
static int collect(const struct load_run *runs, size_t n_runs, enum load_metric m, double **out,
                   size_t *n)
{
    *n = 0;
    *out = NULL;
    for (size_t k = 0; k < n_runs; k++)
        for (size_t i = 0; i < runs[k].n; i++)
            *n += count_values(&runs[k].records[i], m);
    double *v = *n ? sp_malloc(*n * sizeof *v) : NULL;
    size_t at = 0;
    if (*n && !v)
        return SP_ENOMEM;
    for (size_t k = 0; k < n_runs; k++) {
        for (size_t i = 0; i < runs[k].n; i++) {
            size_t here = count_values(&runs[k].records[i], m);
            if (here)
                add_values(&runs[k].records[i], m, v + at);
            at += here;
        }
    }
    if (v)
        qsort(v, *n, sizeof *v, compare);
    *out = v;
    return 0;
}

static void spread_of(const double *v, size_t n, const struct load_plan *p, struct load_spread *s)
{
    double sum = 0;
    *s = (struct load_spread){.n = n};
    if (!n)
        return;
    for (size_t i = 0; i < n; i++)
        sum += v[i];
    s->mean = sum / (double)n;
    s->median = stats_percentile(v, n, 50);
    s->std = stats_spread(v, n);
    s->min = v[0];
    s->max = v[n - 1];
    for (size_t i = 0; i < p->n_percentiles; i++)
        s->percentiles[i] = stats_percentile(v, n, p->percentiles[i]);
}

/* ---- peaks ---- */

static double first_start(const struct load_run *run)
{
    double start = INFINITY;
    for (size_t i = 0; i < run->n; i++)
        if (run->records[i].outcome == LOAD_OK)
            start = fmin(start, run->records[i].start);
    return start;
}

/* Pieces in the best of the seconds that begin with the first request. */
static int peak_output(const struct load_run *run, double *out)
{
    double start = first_start(run);
    size_t seconds = (size_t)fmax(run->duration, 0) + 2;
    double *count = sp_calloc(seconds, sizeof *count);
    if (!count)
        return SP_ENOMEM;
    for (size_t i = 0; i < run->n; i++) {
        const struct load_record *r = &run->records[i];
        double at = r->first - start;
        for (size_t k = 0; r->outcome == LOAD_OK && k <= r->n_gaps; k++) {
            if (at >= 0 && (size_t)at < seconds)
                *out = fmax(*out, ++count[(size_t)at]);
            if (k < r->n_gaps)
                at += r->gaps[k];
        }
    }
    sp_free(count);
    return 0;
}

struct edge {
    double at;
    int change; /* an answer ends (-1) before another begins (1) at the same moment */
};

static int compare_edges(const void *a, const void *b)
{
    const struct edge *x = a, *y = b;
    if (x->at < y->at || x->at > y->at)
        return x->at < y->at ? -1 : 1;
    return x->change - y->change;
}

static int peak_concurrency(const struct load_run *run, int64_t *out)
{
    struct edge *edges = sp_calloc(2 * run->n + 1, sizeof *edges);
    size_t n = 0;
    int64_t now = 0;
    if (!edges)
        return SP_ENOMEM;
    for (size_t i = 0; i < run->n; i++) {
        if (run->records[i].outcome != LOAD_OK)
            continue;
        edges[n++] = (struct edge){run->records[i].start, 1};
        edges[n++] = (struct edge){run->records[i].last, -1};
    }
    qsort(edges, n, sizeof *edges, compare_edges);
    for (size_t i = 0; i < n; i++) {
        now += edges[i].change;
        *out = now > *out ? now : *out;
    }
    sp_free(edges);
    return 0;
}

/* ---- all of it ---- */

static void count_records(const struct load_run *run, const struct load_plan *p,
                          struct load_figures *f, int64_t *good)
{
    f->sent += (int64_t)run->n;
    f->unfinished += run->unsent;
    f->duration += run->duration;
    for (size_t i = 0; i < run->n; i++) {
        const struct load_record *r = &run->records[i];
        if (r->outcome != LOAD_OK) {
            *(r->outcome == LOAD_UNFINISHED ? &f->unfinished : &f->failed) += 1;
            continue;
        }
        f->completed++;
        f->tokens_in += r->tokens_in;
        f->tokens_out += r->tokens_out;
        f->uncounted += !r->has_usage;
        *good += is_good(r, p->goodput);
    }
}

static void rates(struct load_figures *f, int64_t good)
{
    double t = f->duration > 0 ? f->duration : INFINITY;
    f->request_throughput = (double)f->completed / t;
    f->goodput = (double)good / t;
    f->output_throughput = (double)f->tokens_out / t;
    f->total_throughput = (double)(f->tokens_in + f->tokens_out) / t;
}

int load_figures_of(const struct load_run *runs, size_t n, const struct load_plan *p,
                    struct load_level level, struct load_figures *out,
                    double *sorted[METRIC_E2EL + 1], sp_error *err)
{
    bool queues = level.rate > 0 && level.concurrency > 0;
    int64_t good = 0;
    int code = 0;
    *out = (struct load_figures){0};
    for (size_t i = 0; i < n && code == 0; i++) {
        count_records(&runs[i], p, out, &good);
        code = peak_output(&runs[i], &out->peak_output);
        if (code == 0)
            code = peak_concurrency(&runs[i], &out->peak_concurrency);
    }
    rates(out, good);
    for (enum load_metric m = 0; m < LOAD_METRICS && code == 0; m++) {
        double *v = NULL;
        size_t count = 0;
        if (m > METRIC_E2EL && !queues)
            break;
        code = collect(runs, n, m, &v, &count);
        spread_of(v, code ? 0 : count, p, &out->spread[m]);
        if (sorted && m <= METRIC_E2EL)
            sorted[m] = v;
        else
            sp_free(v);
    }
    return code ? sp_fail(err, code, "out of memory for the figures") : 0;
}

static struct load_error *error_of(struct load_result *r, const char *kind)
{
    for (size_t i = 0; i < r->n_errors; i++)
        if (strcmp(r->errors[i].kind, kind) == 0)
            return &r->errors[i];
    if (r->n_errors == SP_COUNT(r->errors))
        return &r->errors[r->n_errors - 1];
    struct load_error *e = &r->errors[r->n_errors++];
    bool last = r->n_errors == SP_COUNT(r->errors);
    *e = (struct load_error){0};
    (void)snprintf(e->kind, sizeof e->kind, "%s", last ? "other" : kind);
    return e;
}

void load_count_errors(struct load_result *r)
{
    r->n_errors = 0;
    for (size_t k = 0; k < r->n_rounds; k++) {
        for (size_t i = 0; i < r->runs[k].n; i++) {
            const struct load_record *rec = &r->runs[k].records[i];
            char room[24];
            if (rec->outcome == LOAD_OK || rec->outcome == LOAD_UNFINISHED)
                continue;
            struct load_error *e = error_of(r, load_outcome_name(rec, room));
            if (e->count++ == 0 && rec->why) {
                size_t n = strlen(rec->why), room_left = sizeof e->example - 1;
                n = utf8_complete(rec->why, n < room_left ? n : room_left);
                (void)snprintf(e->example, sizeof e->example, "%.*s", (int)n, rec->why);
            }
        }
    }
}
