/* Results as a table, Markdown, CSV or JSON. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/clock.h"
#include "bench/load_int.h"

/* "99" and "99.9", as in p99_ttft_ms. */
static void percent_name(double p, char out[16])
{
    (void)snprintf(out, 16, "%g", p);
}

/* ---- JSON ---- */

static json_t *number_or_null(bool has, double v)
{
    return has ? json_real(v) : json_null();
}

static void set(json_t *to, const char *key, json_t *value)
{
    (void)json_object_set_new(to, key, value); /* a failure leaves the key out; load_json checks */
}

static void add_spread(json_t *to, const struct load_plan *p, enum load_metric m,
                       const struct load_spread *s)
{
    char key[64], percent[16];
    (void)snprintf(key, sizeof key, "mean_%s_ms", load_metric_keys[m]);
    set(to, key, json_real(s->mean));
    (void)snprintf(key, sizeof key, "median_%s_ms", load_metric_keys[m]);
    set(to, key, json_real(s->median));
    (void)snprintf(key, sizeof key, "std_%s_ms", load_metric_keys[m]);
    set(to, key, json_real(s->std));
    for (size_t i = 0; i < p->n_percentiles; i++) {
        percent_name(p->percentiles[i], percent);
        (void)snprintf(key, sizeof key, "p%s_%s_ms", percent, load_metric_keys[m]);
        set(to, key, json_real(s->percentiles[i]));
    }
}

/* The keys of `vllm bench serve`. */
static void add_figures(json_t *to, const struct load_plan *p, struct load_level level,
                        const struct load_figures *f)
{
    bool queues = level.rate > 0 && level.concurrency > 0;
    set(to, "duration", json_real(f->duration));
    set(to, "completed", json_integer(f->completed));
    set(to, "failed", json_integer(f->failed));
    set(to, "unfinished", json_integer(f->unfinished));
    set(to, "total_input_tokens", json_integer(f->tokens_in));
    set(to, "total_output_tokens", json_integer(f->tokens_out));
    set(to, "request_throughput", json_real(f->request_throughput));
    set(to, "request_goodput", number_or_null(load_wants_goodput(p), f->goodput));
    set(to, "output_throughput", json_real(f->output_throughput));
    set(to, "total_token_throughput", json_real(f->total_throughput));
    set(to, "max_output_tokens_per_s", json_real(f->peak_output));
    set(to, "max_concurrent_requests", json_integer(f->peak_concurrency));
    set(to, "answers_without_usage", json_integer(f->uncounted));
    for (enum load_metric m = 0; m < LOAD_METRICS; m++)
        if (m <= METRIC_E2EL || queues)
            add_spread(to, p, m, &f->spread[m]);
}

static void add_ramp(json_t *to, const struct load_plan *p, struct load_level level)
{
    if (p->shape.ramp == RAMP_NONE)
        return;
    set(to, "ramp_up_strategy",
        json_string(p->shape.ramp == RAMP_LINEAR ? "linear" : "exponential"));
    set(to, "ramp_up_start_rps", json_real(level.rate));
    set(to, "ramp_up_end_rps", json_real(p->shape.ramp_to));
}

static json_t *data_json(const struct load_prompts *p)
{
    char seed[24];
    (void)snprintf(seed, sizeof seed, "%llu", (unsigned long long)p->seed);
    return json_pack("{s:s?,s:I,s:I,s:I,s:s,s:I,s:b,s:f}", "file", p->file, "words",
                     (json_int_t)(p->file ? 0 : p->words), "prefix_words",
                     (json_int_t)(p->file ? 0 : p->prefix_words), "turns", (json_int_t)p->turns,
                     "seed", seed, "max_tokens", (json_int_t)p->max_tokens, "ignore_eos",
                     p->ignore_eos, "temperature", p->temperature);
}

static void add_question(json_t *to, const struct load_plan *p, const struct load_result *r)
{
    char date[32] = "";
    time_t now = (time_t)clock_unix();
    struct tm tm;
    if (gmtime_r(&now, &tm))
        (void)strftime(date, sizeof date, "%Y%m%d-%H%M%S", &tm);
    const char *type = p->prompts.chat ? "openai-chat" : "openai";
    set(to, "bench", json_string("serve"));
    set(to, "date", json_string(date));
    set(to, "endpoint_type", json_string(type));
    set(to, "backend", json_string(type));
    set(to, "label", json_string(r->server->name));
    set(to, "url", json_string(r->server->url));
    set(to, "model_id", json_string(r->server->model));
    set(to, "tokenizer_id", json_string(r->server->model));
    set(to, "num_prompts", json_integer(r->all.sent));
    set(to, "request_rate", r->level.rate > 0 ? json_real(r->level.rate) : json_string("inf"));
    set(to, "burstiness", json_real(p->shape.burstiness));
    set(to, "max_concurrency",
        r->level.concurrency ? json_integer(r->level.concurrency) : json_null());
    add_ramp(to, p, r->level);
    set(to, "data", data_json(&p->prompts));
}

static json_t *errors_json(const struct load_result *r)
{
    json_t *list = json_array();
    for (size_t i = 0; i < r->n_errors; i++)
        (void)json_array_append_new(list, json_pack("{s:s,s:I,s:s}", "kind", r->errors[i].kind,
                                                    "count", (json_int_t)r->errors[i].count,
                                                    "example", r->errors[i].example));
    return list;
}

/* A list a request, as `vllm bench serve --save-detailed` has them (without the texts). */
static void add_details(json_t *to, const struct load_result *r)
{
    static const char *const keys[] = {"input_lens", "output_lens", "ttfts",       "itls",
                                       "latencies",  "start_times", "queue_times", "errors"};
    json_t *lists[SP_COUNT(keys)];
    for (size_t i = 0; i < SP_COUNT(keys); i++)
        lists[i] = json_array();
    for (size_t k = 0; k < r->n_rounds; k++) {
        for (size_t i = 0; i < r->runs[k].n; i++) {
            const struct load_record *rec = &r->runs[k].records[i];
            char room[24];
            bool ok = rec->outcome == LOAD_OK;
            json_t *gaps = json_array();
            for (size_t g = 0; g < rec->n_gaps; g++)
                (void)json_array_append_new(gaps, json_real(rec->gaps[g]));
            (void)json_array_append_new(lists[0], json_integer(rec->tokens_in));
            (void)json_array_append_new(lists[1], json_integer(ok ? rec->tokens_out : 0));
            (void)json_array_append_new(lists[2], json_real(ok ? rec->first - rec->start : 0));
            (void)json_array_append_new(lists[3], gaps);
            (void)json_array_append_new(lists[4], json_real(ok ? rec->last - rec->start : 0));
            (void)json_array_append_new(lists[5], json_real(rec->start));
            (void)json_array_append_new(lists[6], json_real(rec->start - rec->arrival));
            (void)json_array_append_new(lists[7],
                                        json_string(ok ? "" : load_outcome_name(rec, room)));
        }
    }
    for (size_t i = 0; i < SP_COUNT(keys); i++)
        set(to, keys[i], lists[i]);
}

json_t *load_result_json(const load *l, const struct load_result *r, bool details)
{
    const struct load_plan *p = load_plan_of(l);
    json_t *to = json_object(), *rounds = json_array();
    if (!to || !rounds) {
        json_decref(to);
        json_decref(rounds);
        return NULL;
    }
    add_question(to, p, r);
    add_figures(to, p, r->level, &r->all);
    set(to, "errors_by_kind", errors_json(r));
    for (size_t i = 0; i < r->n_rounds && p->rounds > 1; i++) {
        json_t *round = json_object();
        add_figures(round, p, r->level, &r->rounds[i]);
        (void)json_array_append_new(rounds, round);
    }
    if (p->rounds > 1)
        set(to, "rounds", rounds);
    else
        json_decref(rounds);
    if (details)
        add_details(to, r);
    return to;
}

json_t *load_ratio_json(const load *l, const struct load_ratio *r)
{
    const struct load_level *v = &r->first->level;
    char key[32];
    load_figure_key(load_plan_of(l), r->figure, key);
    return json_pack("{s:s,s:s,s:s,s:s,s:o,s:o,s:b,s:i,s:f,s:f,s:f,s:f}", "bench", "serve-ratio",
                     "figure", key, "of", r->first->server->name, "to", r->other->server->name,
                     "max_concurrency", v->concurrency ? json_integer(v->concurrency) : json_null(),
                     "request_rate", v->rate > 0 ? json_real(v->rate) : json_string("inf"),
                     "less_is_better", load_figure_is_time(r->figure), "rounds", (int)r->n, "ratio",
                     r->median, "low", r->low, "high", r->high, "coverage", r->coverage);
}

static int put_json(json_t *j, buf *out, sp_error *err)
{
    char *text = j ? json_dumps(j, JSON_REAL_PRECISION(9) | JSON_COMPACT) : NULL;
    if (text)
        (void)buf_printf(out, "%s\n", text);
    bool ok = text != NULL;
    free(text); /* lib-owned */
    json_decref(j);
    return ok ? 0 : sp_fail(err, SP_ENOMEM, "out of memory for the report");
}

static int print_json(const load *l, const struct load_ratio *ratios, size_t n_ratios, bool details,
                      buf *out, sp_error *err)
{
    size_t n = 0;
    const struct load_result *r = load_results(l, &n);
    int code = 0;
    for (size_t i = 0; i < n && code == 0; i++)
        code = put_json(load_result_json(l, &r[i], details), out, err);
    for (size_t i = 0; i < n_ratios && code == 0; i++)
        code = put_json(load_ratio_json(l, &ratios[i]), out, err);
    return code;
}

/* ---- CSV ---- */

/* A field of CSV (RFC 4180). */
static void put_quoted(buf *out, const char *text)
{
    (void)buf_putc(out, '"');
    for (; *text; text++)
        (void)buf_puts(out, *text == '"' ? "\"\"" : (const char[]){*text, '\0'});
    (void)buf_putc(out, '"');
}

static void csv_head(const struct load_plan *p, buf *out)
{
    (void)buf_puts(out, "server,model,concurrency,rate,completed,failed,unfinished,duration,"
                        "total_input_tokens,total_output_tokens,request_throughput,"
                        "request_goodput,output_throughput,total_token_throughput");
    for (enum load_metric m = 0; m <= METRIC_E2EL; m++) {
        (void)buf_printf(out, ",mean_%s_ms,median_%s_ms,std_%s_ms", load_metric_keys[m],
                         load_metric_keys[m], load_metric_keys[m]);
        for (size_t i = 0; i < p->n_percentiles; i++)
            (void)buf_printf(out, ",p%g_%s_ms", p->percentiles[i], load_metric_keys[m]);
    }
    (void)buf_putc(out, '\n');
}

static void csv_row(const struct load_plan *p, const struct load_result *r, buf *out)
{
    const struct load_figures *f = &r->all;
    put_quoted(out, r->server->name);
    (void)buf_putc(out, ',');
    put_quoted(out, r->server->model);
    (void)buf_printf(out, ",%lld,%g,%lld,%lld,%lld,%.6g,%lld,%lld,%.6g,", //
                     (long long)r->level.concurrency, r->level.rate, (long long)f->completed,
                     (long long)f->failed, (long long)f->unfinished, f->duration,
                     (long long)f->tokens_in, (long long)f->tokens_out, f->request_throughput);
    if (load_wants_goodput(p))
        (void)buf_printf(out, "%.6g", f->goodput);
    (void)buf_printf(out, ",%.6g,%.6g", f->output_throughput, f->total_throughput);
    for (enum load_metric m = 0; m <= METRIC_E2EL; m++) {
        const struct load_spread *s = &f->spread[m];
        (void)buf_printf(out, ",%.6g,%.6g,%.6g", s->mean, s->median, s->std);
        for (size_t i = 0; i < p->n_percentiles; i++)
            (void)buf_printf(out, ",%.6g", s->percentiles[i]);
    }
    (void)buf_putc(out, '\n');
}

/* ---- for people ---- */

/* "412 ms", "12.3 ms", "8.21 s". */
void load_put_ms(char out[24], double ms)
{
    if (ms < 10)
        (void)snprintf(out, 24, "%.2f ms", ms);
    else if (ms < 100)
        (void)snprintf(out, 24, "%.1f ms", ms);
    else if (ms < 9999.5)
        (void)snprintf(out, 24, "%.0f ms", ms);
    else
        (void)snprintf(out, 24, "%.1f s", ms / 1e3);
}

static void result_title(const struct load_result *r, char out[192])
{
    char level[48];
    load_level_name(r->level, level);
    (void)snprintf(out, 192, "%s, %s", r->server->name, level);
}

static void table_rates(const struct load_plan *p, const struct load_figures *f, buf *out)
{
    (void)buf_printf(out, "  requests       %lld completed, %lld failed", (long long)f->completed,
                     (long long)f->failed);
    if (f->unfinished)
        (void)buf_printf(out, ", %lld unfinished", (long long)f->unfinished);
    (void)buf_printf(out, " in %.1f s; %.2f/s", f->duration, f->request_throughput);
    if (load_wants_goodput(p))
        (void)buf_printf(out, ", %.2f/s within the limits", f->goodput);
    (void)buf_printf(out,
                     "\n  tokens         %lld in, %lld out; %.1f/s out, %.1f/s in all; best "
                     "second %.0f out\n  at once        %lld at most\n",
                     (long long)f->tokens_in, (long long)f->tokens_out, f->output_throughput,
                     f->total_throughput, f->peak_output, (long long)f->peak_concurrency);
    if (f->uncounted)
        (void)buf_printf(out,
                         "  note           %lld answers told no usage: their pieces were counted "
                         "as tokens, their prompts as none\n",
                         (long long)f->uncounted);
}

static void table_spreads(const struct load_plan *p, const struct load_figures *f, buf *out)
{
    char v[24];
    (void)buf_printf(out, "  %-15s%10s %10s %10s", "", "mean", "median", "std");
    for (size_t i = 0; i < p->n_percentiles; i++) {
        (void)snprintf(v, sizeof v, "p%g", p->percentiles[i]);
        (void)buf_printf(out, " %10s", v);
    }
    (void)buf_putc(out, '\n');
    for (enum load_metric m = 0; m < LOAD_METRICS; m++) {
        const struct load_spread *s = &f->spread[m];
        if (!s->n)
            continue;
        (void)buf_printf(out, "  %-15s", load_metric_names[m]);
        const double *values[] = {&s->mean, &s->median, &s->std};
        for (size_t i = 0; i < SP_COUNT(values); i++) {
            load_put_ms(v, *values[i]);
            (void)buf_printf(out, "%s%10s", i ? " " : "", v);
        }
        for (size_t i = 0; i < p->n_percentiles; i++) {
            load_put_ms(v, s->percentiles[i]);
            (void)buf_printf(out, " %10s", v);
        }
        (void)buf_putc(out, '\n');
    }
}

static void put_table(const load *l, const struct load_result *r, buf *out)
{
    char title[192];
    result_title(r, title);
    (void)buf_printf(out, "%s (%s)\n", title, r->server->model);
    table_rates(load_plan_of(l), &r->all, out);
    table_spreads(load_plan_of(l), &r->all, out);
    for (size_t i = 0; i < r->n_errors; i++)
        (void)buf_printf(out, "  %-14s %lld: %s\n", r->errors[i].kind,
                         (long long)r->errors[i].count, r->errors[i].example);
    (void)buf_putc(out, '\n');
}

static void table_ratios(const struct load_plan *p, const struct load_ratio *r, size_t n, buf *out)
{
    const struct load_result *last = NULL;
    for (size_t i = 0; i < n; i++) {
        char level[48], name[32];
        load_level_name(r[i].first->level, level);
        load_figure_name(p, r[i].figure, name);
        if (r[i].other != last)
            (void)buf_printf(out, "%s%s over %s, %s (median of %zu rounds, %.0f%% interval)\n",
                             last ? "\n" : "", r[i].first->server->name, r[i].other->server->name,
                             level, r[i].n, 100 * r[i].coverage);
        last = r[i].other;
        (void)buf_printf(out, "  %-15s %6.2f  (%.2f to %.2f)%s\n", name, r[i].median, r[i].low,
                         r[i].high, load_figure_is_time(r[i].figure) ? "  less is better" : "");
    }
}

/* ---- Markdown ---- */

static void markdown_text(buf *out, const char *text)
{
    for (; *text; text++)
        (void)buf_puts(out, *text == '|' ? "\\|" : (const char[]){*text, '\0'});
}

static void markdown_head(const struct load_plan *p, buf *out)
{
    double tail = p->percentiles[p->n_percentiles - 1];
    (void)buf_puts(out, "| server | load | completed | failed | requests/s |");
    if (load_wants_goodput(p))
        (void)buf_puts(out, " within limits/s |");
    (void)buf_printf(out,
                     " output tokens/s | total tokens/s | TTFT median (p%g), ms | TPOT median "
                     "(p%g), ms | ITL p%g, ms | E2EL median (p%g), ms |\n|---|---|--:|--:|--:|%s"
                     "--:|--:|--:|--:|--:|--:|\n",
                     tail, tail, tail, tail, load_wants_goodput(p) ? "--:|" : "");
}

static void markdown_row(const struct load_plan *p, const struct load_result *r, buf *out)
{
    const struct load_figures *f = &r->all;
    size_t tail = p->n_percentiles - 1;
    char level[48];
    load_level_name(r->level, level);
    (void)buf_puts(out, "| ");
    markdown_text(out, r->server->name);
    (void)buf_printf(out, " | %s | %lld | %lld | %.2f |", level, (long long)f->completed,
                     (long long)f->failed, f->request_throughput);
    if (load_wants_goodput(p))
        (void)buf_printf(out, " %.2f |", f->goodput);
    (void)buf_printf(out, " %.1f | %.1f |", f->output_throughput, f->total_throughput);
    for (enum load_metric m = 0; m <= METRIC_E2EL; m++) {
        const struct load_spread *s = &f->spread[m];
        if (m == METRIC_ITL)
            (void)buf_printf(out, " %.1f |", s->percentiles[tail]);
        else
            (void)buf_printf(out, " %.1f (%.1f) |", s->median, s->percentiles[tail]);
    }
    (void)buf_putc(out, '\n');
}

static void markdown_ratios(const struct load_plan *p, const struct load_ratio *r, size_t n,
                            buf *out)
{
    if (n)
        (void)buf_puts(out, "\n| ratio | load | figure | median | interval | covers | rounds |\n"
                            "|---|---|---|--:|---|--:|--:|\n");
    for (size_t i = 0; i < n; i++) {
        char level[48], name[32];
        load_level_name(r[i].first->level, level);
        load_figure_name(p, r[i].figure, name);
        (void)buf_puts(out, "| ");
        markdown_text(out, r[i].first->server->name);
        (void)buf_puts(out, " over ");
        markdown_text(out, r[i].other->server->name);
        (void)buf_printf(out, " | %s | %s%s | %.2f | %.2f to %.2f | %.0f%% | %zu |\n", level, name,
                         load_figure_is_time(r[i].figure) ? " (less is better)" : "", r[i].median,
                         r[i].low, r[i].high, 100 * r[i].coverage, r[i].n);
    }
}

static void markdown_errors(const struct load_result *r, size_t n, buf *out)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < r[i].n_errors; k++) {
            char level[48];
            load_level_name(r[i].level, level);
            (void)buf_puts(out, "\n");
            markdown_text(out, r[i].server->name);
            (void)buf_printf(out, ", %s: %lld × %s: ", level, (long long)r[i].errors[k].count,
                             r[i].errors[k].kind);
            markdown_text(out, r[i].errors[k].example);
            (void)buf_putc(out, '\n');
        }
    }
}

int load_print(const load *l, enum load_format f, bool details, buf *out, sp_error *err)
{
    const struct load_plan *p = load_plan_of(l);
    struct load_ratio *ratios = NULL;
    size_t n = 0, n_ratios = 0;
    const struct load_result *r = load_results(l, &n);
    int code = load_ratios(l, &ratios, &n_ratios, err);
    if (code == 0 && f == LOAD_JSON)
        code = print_json(l, ratios, n_ratios, details, out, err);
    if (f == LOAD_MARKDOWN)
        markdown_head(p, out);
    if (f == LOAD_CSV)
        csv_head(p, out);
    for (size_t i = 0; i < n && code == 0; i++) {
        if (f == LOAD_TABLE)
            put_table(l, &r[i], out);
        else if (f == LOAD_MARKDOWN)
            markdown_row(p, &r[i], out);
        else if (f == LOAD_CSV)
            csv_row(p, &r[i], out);
    }
    if (f == LOAD_TABLE)
        table_ratios(p, ratios, n_ratios, out);
    if (f == LOAD_MARKDOWN) {
        markdown_ratios(p, ratios, n_ratios, out);
        markdown_errors(r, n, out);
    }
    sp_free(ratios);
    return code;
}
