/* Results as lines of a table, Markdown, CSV or JSON, and as bars for a terminal. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "bench/report_int.h"

void report_share(const struct bench_result *r, char out[80])
{
    bool reading = r->bound == BOUND_READ;
    (void)snprintf(out, 80, "%.0f%% of %.1f %s%s", 100 * r->share,
                   reading ? r->limit_gb_per_second : r->limit_gops, reading ? "GB/s" : "GOPS",
                   r->share > 1 ? " (limit wrong)" : "");
}

void report_label(const struct bench_result *r, size_t n, size_t i, char out[224])
{
    bool models = false, threads = false;
    for (size_t k = 1; k < n; k++) {
        models |= strcmp(r[k].model, r[0].model) != 0;
        threads |= r[k].threads != r[0].threads;
    }
    size_t len = (size_t)snprintf(out, 224, "%s", r[i].name);
    if (models)
        len += (size_t)snprintf(out + len, 224 - len, " %s", r[i].model);
    if (threads)
        (void)snprintf(out + len, 224 - len, " t%d", r[i].threads);
}

json_t *report_json(const struct bench_result *r)
{
    json_t *samples = json_array();
    for (int i = 0; i < r->reps; i++)
        json_array_append_new(samples, json_real(r->samples[i]));
    json_t *j = json_pack(
        "{s:s,s:s,s:I,s:I,s:I,s:i,s:i,s:s,s:s,s:s,s:I}", "test", r->name, "model", r->model,
        "prompt", (json_int_t)r->test.prompt, "gen", (json_int_t)r->test.gen, "depth",
        (json_int_t)r->test.depth, "batch", r->test.batch, "threads", r->threads, "isa", r->isa,
        "compute", r->compute, "kv_type", r->kv_type, "weight_bytes", (json_int_t)r->weight_bytes);
    json_t *measured = json_pack(
        "{s:f,s:f,s:f,s:i,s:o,s:o,s:f,s:f,s:f,s:s,s:f}", "tokens_per_second", r->tokens_per_second,
        "deviation", r->deviation, "median", r->median, "reps", r->reps, "samples", samples,
        "gb_per_second", r->test.gen ? json_real(r->gb_per_second) : json_null(), "gops", r->gops,
        "limit_gb_per_second", r->limit_gb_per_second, "limit_gops", r->limit_gops, "bound",
        r->bound == BOUND_READ ? "read" : "operations", "share", r->share);
    if (j)
        (void)json_object_update_missing(j, measured);
    json_decref(measured);
    return j;
}

/* ---- lines ---- */

void bench_print_head(enum bench_format f, int model_width, buf *out)
{
    if (f == BENCH_TABLE)
        (void)buf_printf(out, "%-*s  %-14s %7s  %19s %8s %9s  %s\n", model_width, "model", "test",
                         "threads", "tokens/s", "GB/s", "GOPS", "of the limit");
    else if (f == BENCH_MARKDOWN)
        (void)buf_puts(out, "| model | test | threads | tokens/s | GB/s | GOPS | of the limit |\n"
                            "|---|---|--:|--:|--:|--:|--:|\n");
    else if (f == BENCH_CSV)
        (void)buf_puts(out,
                       "model,test,prompt,gen,depth,batch,threads,isa,compute,kv_type,weight_bytes,"
                       "reps,tokens_per_second,deviation,median,gb_per_second,gops,"
                       "limit_gb_per_second,limit_gops,bound,share\n");
}

/* A field of CSV (RFC 4180). */
static void put_quoted(buf *out, const char *text)
{
    (void)buf_putc(out, '"');
    for (; *text; text++)
        (void)buf_puts(out, *text == '"' ? "\"\"" : (const char[]){*text, '\0'});
    (void)buf_putc(out, '"');
}

static void print_csv(const struct bench_result *r, buf *out)
{
    put_quoted(out, r->model);
    (void)buf_printf(out, ",%s,%lld,%lld,%lld,%d,%d,%s,%s,%s,%llu,%d,%.6g,%.6g,%.6g,", r->name,
                     (long long)r->test.prompt, (long long)r->test.gen, (long long)r->test.depth,
                     r->test.batch, r->threads, r->isa, r->compute, r->kv_type,
                     (unsigned long long)r->weight_bytes, r->reps, r->tokens_per_second,
                     r->deviation, r->median);
    if (r->test.gen)
        (void)buf_printf(out, "%.6g", r->gb_per_second);
    (void)buf_printf(out, ",%.6g,%.6g,%.6g,%s,%.4g\n", r->gops, r->limit_gb_per_second,
                     r->limit_gops, r->bound == BOUND_READ ? "read" : "operations", r->share);
}

static void print_json(const struct bench_result *r, buf *out)
{
    json_t *j = report_json(r);
    char *text = j ? json_dumps(j, JSON_REAL_PRECISION(9) | JSON_COMPACT) : NULL;
    if (text)
        (void)buf_printf(out, "%s\n", text);
    else
        out->failed = true;
    free(text); /* lib-owned */
    json_decref(j);
}

void bench_print(enum bench_format f, int model_width, const struct bench_result *r, buf *out)
{
    char share[80], gb[16] = "-";
    report_share(r, share);
    if (r->test.gen)
        (void)snprintf(gb, sizeof gb, "%.1f", r->gb_per_second);
    if (f == BENCH_TABLE)
        (void)buf_printf(out, "%-*s  %-14s %7d  %9.2f ± %-7.2f %8s %9.1f  %s\n", model_width,
                         r->model, r->name, r->threads, r->tokens_per_second, r->deviation, gb,
                         r->gops, share);
    else if (f == BENCH_MARKDOWN)
        (void)buf_printf(out, "| %s | %s | %d | %.2f ± %.2f | %s | %.1f | %s |\n", r->model,
                         r->name, r->threads, r->tokens_per_second, r->deviation, gb, r->gops,
                         share);
    else if (f == BENCH_CSV)
        print_csv(r, out);
    else
        print_json(r, out);
}

/* ---- bars ---- */

/* `eighths` of a character cell, in whole and partial blocks. */
static void put_bar(buf *out, int eighths)
{
    static const char *const part[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    for (int i = 0; i < eighths / 8; i++)
        (void)buf_puts(out, "█");
    (void)buf_puts(out, part[eighths % 8]);
}

static void chart_kind(const struct bench_result *r, size_t n, bool decode, int width, buf *out)
{
    char label[224];
    int widest = 0;
    double most = 0;
    for (size_t i = 0; i < n; i++) {
        if ((r[i].test.gen > 0) != decode)
            continue;
        report_label(r, n, i, label);
        widest = (int)strlen(label) > widest ? (int)strlen(label) : widest;
        most = r[i].tokens_per_second > most ? r[i].tokens_per_second : most;
    }
    if (most <= 0)
        return;
    int room = width - widest - 14;
    (void)buf_printf(out, "\n%s, tokens/s\n", decode ? "decode" : "prefill");
    for (size_t i = 0; i < n; i++) {
        if ((r[i].test.gen > 0) != decode)
            continue;
        report_label(r, n, i, label);
        (void)buf_printf(out, "  %-*s ", widest, label);
        put_bar(out, (int)(8 * (room > 10 ? room : 10) * r[i].tokens_per_second / most));
        (void)buf_printf(out, " %.1f\n", r[i].tokens_per_second);
    }
}

void bench_chart(const struct bench_result *r, size_t n, int width, buf *out)
{
    chart_kind(r, n, false, width, out);
    chart_kind(r, n, true, width, out);
}
