/* The text form: https://prometheus.io/docs/instrumenting/exposition_formats, version 0.0.4. */
#include "server/metrics_int.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/process.h"
#include "server/models_int.h"

#define PREFIX "sampan:"

struct page {
    buf *out;
    const char *prefix;
    struct model_view *views;
    size_t n;
};

static void head(buf *out, const char *prefix, const char *name, const char *type, const char *help)
{
    buf_printf(out, "# HELP %s%s %s\n# TYPE %s%s %s\n", prefix, name, help, prefix, name, type);
}

/* As Python's client writes it: "0.5", "1.0", so that le="1.0" is found whoever exports it. */
static void put_bound(buf *out, double v)
{
    buf_printf(out, v == floor(v) ? "%.0f.0" : "%.10g", v);
}

struct counted {
    const uint64_t *counts;
    size_t n_counts; /* with those above the last bound */
    double sum;
};

static void put_histogram(const struct page *p, const struct model_view *v, const char *name,
                          const struct counted *c, const double *bounds, size_t n)
{
    uint64_t total = 0;
    for (size_t i = 0; i <= n; i++) {
        total += c->counts[i];
        for (size_t k = n + 1; i == n && k < c->n_counts; k++)
            total += c->counts[k];
        buf_printf(p->out, "%s%s_bucket{model_name=\"%s\",le=\"", p->prefix, name, v->name);
        if (i < n)
            put_bound(p->out, bounds[i]);
        else
            buf_puts(p->out, "+Inf");
        buf_printf(p->out, "\"} %llu\n", (unsigned long long)total);
    }
    buf_printf(p->out, "%s%s_sum{model_name=\"%s\"} %.15g\n", p->prefix, name, v->name, c->sum);
    buf_printf(p->out, "%s%s_count{model_name=\"%s\"} %llu\n", p->prefix, name, v->name,
               (unsigned long long)total);
}

/* ---- histograms ---- */

static const struct {
    const char *name, *help;
} histograms[HIST_COUNT] = {
    [HIST_TTFT] = {"time_to_first_token_seconds",
                   "From a request's arrival to the first token of an answer"},
    [HIST_ITL] = {"inter_token_latency_seconds", "From one token of an answer to the next"},
    [HIST_QUEUE] = {"request_queue_time_seconds", "Waiting for a place in the batch"},
    [HIST_PREFILL] = {"request_prefill_time_seconds",
                      "From the place in the batch to the first token"},
    [HIST_DECODE] = {"request_decode_time_seconds", "From the first token to the last"},
    [HIST_INFERENCE] = {"request_inference_time_seconds",
                        "From the place in the batch to the last token"},
    [HIST_E2E] = {"e2e_request_latency_seconds",
                  "From a request's arrival to the end of an answer"},
    [HIST_PROMPT] = {"request_prompt_tokens", "Tokens of a prompt"},
    [HIST_ANSWER] = {"request_generation_tokens", "Tokens of an answer"},
    [HIST_MAX_TOKENS] = {"request_params_max_tokens",
                         "The parameter max_tokens, where it was given"},
    [HIST_N] = {"request_params_n", "The parameter n"},
};

static void put_histograms(const struct page *p)
{
    for (size_t k = 0; k < HIST_COUNT; k++) {
        head(p->out, p->prefix, histograms[k].name, "histogram", histograms[k].help);
        for (size_t i = 0; i < p->n; i++) {
            const struct model_view *v = &p->views[i];
            const struct histogram *h = &v->m->hist[k];
            const struct counted c = {h->counts, SP_COUNT(h->counts), h->sum};
            const double *bounds;
            size_t n = metrics_bounds((enum histogram_kind)k, v->context, &bounds);
            if (v->context)
                put_histogram(p, v, histograms[k].name, &c, bounds, n);
        }
    }
}

static void put_iterations(const struct page *p)
{
    double bounds[ENGINE_ROW_BOUNDS];
    for (size_t i = 0; i < ENGINE_ROW_BOUNDS; i++)
        bounds[i] = (double)engine_row_bounds[i];
    head(p->out, p->prefix, "iteration_tokens_total", "histogram",
         "Tokens of prompts, answers and drafts that one step of the engine computes");
    for (size_t i = 0; i < p->n; i++) {
        const struct engine_stats *s = &p->views[i].stats;
        const struct counted c = {s->steps_by_rows, SP_COUNT(s->steps_by_rows),
                                  (double)s->step_rows};
        if (p->views[i].context)
            put_histogram(p, &p->views[i], "iteration_tokens_total", &c, bounds, ENGINE_ROW_BOUNDS);
    }
}

/* ---- counters and gauges of a model ---- */

static double prompt_tokens(const struct model_view *v)
{
    return (double)v->stats.prompt_tokens;
}

static double prompt_computed(const struct model_view *v)
{
    return (double)(v->stats.prompt_tokens - v->stats.prompt_tokens_cached);
}

static double prompt_cached(const struct model_view *v)
{
    return (double)v->stats.prompt_tokens_cached;
}

static double prefix_queries(const struct model_view *v)
{
    return (double)v->stats.prefix_queries;
}

static double prefix_hits(const struct model_view *v)
{
    return (double)v->stats.prefix_hits;
}

static double preemptions(const struct model_view *v)
{
    return (double)v->stats.preemptions;
}

static double drafts(const struct model_view *v)
{
    return (double)v->stats.drafts;
}

static double draft_tokens(const struct model_view *v)
{
    return (double)v->stats.draft_tokens;
}

static double accepted_tokens(const struct model_view *v)
{
    return (double)v->stats.accepted_tokens;
}

static double answer_tokens(const struct model_view *v)
{
    return (double)v->stats.answer_tokens;
}

static double finished_stop(const struct model_view *v)
{
    return (double)v->m->finished[FINISH_STOP];
}

static double finished_length(const struct model_view *v)
{
    return (double)v->m->finished[FINISH_LENGTH];
}

static double finished_abort(const struct model_view *v)
{
    return (double)v->m->finished[FINISH_CANCELLED];
}

static double finished_error(const struct model_view *v)
{
    return (double)v->m->finished[FINISH_ERROR];
}

static double running(const struct model_view *v)
{
    return (double)v->stats.running;
}

static double waiting(const struct model_view *v)
{
    return (double)v->stats.waiting;
}

static double cache_usage(const struct model_view *v)
{
    uint64_t total = v->stats.kv_pages, idle = v->stats.kv_pages_free + v->stats.kv_pages_cached;
    return total > 0 ? (double)(total - idle) / (double)total : 0;
}

#define FINISHED "request_success_total", "counter", "Answers that ended, by why"

/* Rows of one name stand together. */
static const struct {
    const char *name, *type, *help, *label;
    double (*value)(const struct model_view *v);
} samples[] = {
    {"prompt_tokens_total", "counter", "Tokens of prompts that were read", NULL, prompt_tokens},
    {"prompt_tokens_by_source_total", "counter", "Tokens of prompts, by where they came from",
     "source=\"local_compute\"", prompt_computed},
    {"prompt_tokens_by_source_total", "counter", "Tokens of prompts, by where they came from",
     "source=\"local_cache_hit\"", prompt_cached},
    {"prefix_cache_queries_total", "counter", "Tokens of prompts that were looked up in the cache",
     NULL, prefix_queries},
    {"prefix_cache_hits_total", "counter", "Tokens of prompts that were found there", NULL,
     prefix_hits},
    {"num_preemptions_total", "counter", "Answers that gave up their pages and compute again", NULL,
     preemptions},
    {"spec_decode_num_drafts_total", "counter", "Times that an answer had guesses in a step", NULL,
     drafts},
    {"spec_decode_num_draft_tokens_total", "counter", "Guesses that were verified", NULL,
     draft_tokens},
    {"spec_decode_num_accepted_tokens_total", "counter", "Guesses that were right", NULL,
     accepted_tokens},
    {"generation_tokens_total", "counter", "Tokens of answers", NULL, answer_tokens},
    {FINISHED, "finished_reason=\"stop\"", finished_stop},
    {FINISHED, "finished_reason=\"length\"", finished_length},
    {FINISHED, "finished_reason=\"abort\"", finished_abort},
    {FINISHED, "finished_reason=\"error\"", finished_error},
    {"num_requests_running", "gauge", "Answers that are in the batch", NULL, running},
    {"num_requests_waiting", "gauge", "Answers that wait for a place in the batch", NULL, waiting},
    {"kv_cache_usage_perc", "gauge", "Share of the KV cache's pages that are in use: 1 is full",
     NULL, cache_usage},
};

static void put_samples(const struct page *p)
{
    const char *last = "";
    for (size_t k = 0; k < SP_COUNT(samples); k++) {
        if (strcmp(last, samples[k].name) != 0)
            head(p->out, p->prefix, samples[k].name, samples[k].type, samples[k].help);
        last = samples[k].name;
        for (size_t i = 0; i < p->n; i++)
            buf_printf(p->out, "%s%s{model_name=\"%s\"%s%s} %.15g\n", p->prefix, samples[k].name,
                       p->views[i].name, samples[k].label ? "," : "",
                       samples[k].label ? samples[k].label : "", samples[k].value(&p->views[i]));
    }
}

static void put_accepted_by_place(const struct page *p)
{
    head(p->out, p->prefix, "spec_decode_num_accepted_tokens_per_pos_total", "counter",
         "Guesses that were right, by their place after the last token");
    for (size_t i = 0; i < p->n; i++)
        for (int k = 0; k < DRAFT_MOST; k++)
            buf_printf(p->out,
                       "%sspec_decode_num_accepted_tokens_per_pos_total{model_name=\"%s\","
                       "position=\"%d\"} %llu\n",
                       p->prefix, p->views[i].name, k,
                       (unsigned long long)p->views[i].stats.accepted_at[k]);
}

/* What vLLM has no name for. */
static void put_accepted(const struct page *p)
{
    head(p->out, p->prefix, "requests_accepted_total", "counter",
         "Answers that were taken into the queue: each ends once");
    for (size_t i = 0; i < p->n; i++)
        buf_printf(p->out, "%srequests_accepted_total{model_name=\"%s\"} %llu\n", p->prefix,
                   p->views[i].name, (unsigned long long)p->views[i].stats.accepted);
}

static void put_evictions(const struct page *p)
{
    head(p->out, p->prefix, "prefix_cache_evicted_pages_total", "counter",
         "Pages that the prefix cache gave up for others");
    for (size_t i = 0; i < p->n; i++)
        buf_printf(p->out, "%sprefix_cache_evicted_pages_total{model_name=\"%s\"} %llu\n",
                   p->prefix, p->views[i].name, (unsigned long long)p->views[i].stats.evictions);
}

static void put_cache_config(const struct page *p)
{
    head(p->out, p->prefix, "cache_config_info", "gauge", "How the KV cache is made");
    for (size_t i = 0; i < p->n; i++)
        if (p->views[i].loaded)
            buf_printf(p->out,
                       "%scache_config_info{model_name=\"%s\",block_size=\"%d\",cache_dtype=\"%s\","
                       "num_gpu_blocks=\"%d\"} 1\n",
                       p->prefix, p->views[i].name, KV_PAGE, p->views[i].info.kv_type,
                       p->views[i].info.kv_pages);
}

/* ---- loading ---- */

static double waiting_for_it(const struct model_view *v)
{
    return v->waiting;
}

static double bytes(const struct model_view *v)
{
    return (double)v->bytes;
}

static double loads(const struct model_view *v)
{
    return (double)v->loads;
}

static double failures(const struct model_view *v)
{
    return (double)v->failures;
}

static double unloads(const struct model_view *v)
{
    return (double)v->unloads;
}

static double load_seconds(const struct model_view *v)
{
    return v->load_seconds;
}

static void put_loading(const struct page *p)
{
    static const struct {
        const char *name, *type, *help;
        double (*value)(const struct model_view *v);
    } rows[] = {
        {"model_loads_total", "counter", "Times that the model was loaded", loads},
        {"model_load_failures_total", "counter", "Times that it could not be loaded", failures},
        {"model_load_seconds_total", "counter", "Time that its loads took", load_seconds},
        {"model_unloads_total", "counter", "Times that it was unloaded or replaced", unloads},
        {"model_memory_bytes", "gauge", "What it has of --memory", bytes},
        {"model_requests_waiting", "gauge", "Requests that wait for it to be loaded",
         waiting_for_it},
    };
    for (size_t k = 0; k < SP_COUNT(rows); k++) {
        head(p->out, p->prefix, rows[k].name, rows[k].type, rows[k].help);
        for (size_t i = 0; i < p->n; i++)
            buf_printf(p->out, "%s%s{model_name=\"%s\"} %.15g\n", p->prefix, rows[k].name,
                       p->views[i].name, rows[k].value(&p->views[i]));
    }
    static const char *const states[] = {"unloaded", "loading",   "loaded",
                                         "asleep",   "unloading", "failed"};
    head(p->out, p->prefix, "model_state", "gauge", "1 for the state that the model is in");
    for (size_t i = 0; i < p->n; i++)
        for (size_t k = 0; k < SP_COUNT(states); k++)
            buf_printf(p->out, "%smodel_state{model_name=\"%s\",state=\"%s\"} %d\n", p->prefix,
                       p->views[i].name, states[k], strcmp(states[k], p->views[i].state) == 0);
}

/* ---- the server and the process ---- */

static void put_server(const struct server *s, buf *out)
{
    const struct metrics *m = s->metrics;
    head(out, PREFIX, "requests_rejected_total", "counter",
         "Requests for answers or tokens that were refused, by why");
    for (size_t i = 0; i < METRIC_REASONS && m->rejected[i].reason; i++)
        buf_printf(out, PREFIX "requests_rejected_total{reason=\"%s\"} %llu\n",
                   m->rejected[i].reason, (unsigned long long)m->rejected[i].n);
    head(out, PREFIX, "http_connections", "gauge", "Connections that are open");
    buf_printf(out, PREFIX "http_connections %zu\n", s->n_guards);
    head(out, PREFIX, "build_info", "gauge", "What runs here");
    buf_printf(out, PREFIX "build_info{version=\"" SAMPAN_VERSION "\"} 1\n");
    head(out, "", "http_requests_total", "counter",
         "Requests, by path, method and class of status");
    for (size_t r = 0; r < METRIC_ROUTES; r++)
        for (size_t k = 0; k < METRIC_METHODS; k++)
            for (size_t status = 0; status < SP_COUNT(m->http[r][k]); status++)
                if (m->http[r][k][status]) {
                    const char *path = route_path(r);
                    bool more = path[0] == '/' && path[1] && path[strlen(path) - 1] == '/';
                    buf_printf(out,
                               "http_requests_total{handler=\"%s%s\",method=\"%s\",status=\"%"
                               "zuxx\"} %llu\n",
                               path, more ? "{name}" : "", metrics_methods[k], status,
                               (unsigned long long)m->http[r][k][status]);
                }
}

static void put_one(buf *out, const char *name, const char *type, const char *help, double value)
{
    head(out, "", name, type, help);
    buf_printf(out, "%s %.15g\n", name, value);
}

static void put_process(buf *out)
{
    struct process_usage u;
    if (!process_get_usage(&u))
        return;
    put_one(out, "process_cpu_seconds_total", "counter", "Processor time of all threads",
            u.cpu_seconds);
    put_one(out, "process_resident_memory_bytes", "gauge", "Memory that is in RAM",
            (double)u.resident_bytes);
    put_one(out, "process_virtual_memory_bytes", "gauge", "Address space", (double)u.virtual_bytes);
    put_one(out, "process_open_fds", "gauge", "Open files and sockets", (double)u.open_fds);
    put_one(out, "process_max_fds", "gauge", "How many there may be", (double)u.max_fds);
    put_one(out, "process_start_time_seconds", "gauge", "When it started, since 1970",
            u.start_time);
}

/* ---- all of it ---- */

/* A label's value: what would end it is escaped. */
static char *label_text(const char *name)
{
    buf b;
    buf_init(&b, 4096);
    buf_puts(&b, "");
    for (; *name; name++) {
        if (*name == '\n') {
            buf_puts(&b, "\\n");
            continue;
        }
        if (*name == '"' || *name == '\\')
            buf_putc(&b, '\\');
        buf_putc(&b, *name);
    }
    char *text = buf_steal(&b);
    buf_free(&b);
    return text;
}

static void put_models(const struct page *p)
{
    if (p->n == 0)
        return;
    put_histograms(p);
    put_iterations(p);
    put_samples(p);
    put_accepted_by_place(p);
    put_cache_config(p);
}

/* NULL: out of memory. */
static struct model_view *make_views(struct server *s, size_t *n)
{
    struct models *ms = s->models;
    size_t i = 0;
    pthread_mutex_lock(&ms->lock);
    *n = ms->n;
    struct model_view *views = sp_calloc(ms->n + 1, sizeof *views);
    for (const struct served_model *m = ms->first; m && views; m = m->next) {
        model_view(ms, m, &views[i]);
        views[i++].name = label_text(m->names[0]);
    }
    pthread_mutex_unlock(&ms->lock);
    return views;
}

bool metrics_text(struct server *s, buf *out)
{
    size_t n;
    struct model_view *views = make_views(s, &n);
    bool ok = views != NULL;
    for (size_t i = 0; ok && i < n; i++)
        ok = views[i].name != NULL;
    if (ok) {
        struct page p = {out, PREFIX, views, n};
        put_models(&p);
        put_accepted(&p);
        put_evictions(&p);
        put_loading(&p);
        p.prefix = "vllm:";
        if (s->opts.metrics_vllm)
            put_models(&p);
        put_server(s, out);
        put_process(out);
    }
    for (size_t i = 0; views && i < n; i++)
        sp_free(views[i].name);
    sp_free(views);
    return ok && !out->failed;
}
