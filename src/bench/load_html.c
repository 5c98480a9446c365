/* The results as a page for people who decide: what was asked, what came of it, how servers compare, how latency is
 * distributed and how it grows with the load. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "bench/html_int.h"
#include "bench/load_int.h"

#define CURVE_POINTS 101
#define RATIO_ROW 26.0
#define RATIO_LEFT 250.0
#define RATIO_RIGHT 130.0

static const char page_notes[] =
    "<h2>What the words mean</h2>\n<p>TTFT: time to first token, from sending a request to its "
    "first token. ITL: inter-token latency, the gap between neighbouring pieces of an answer, of "
    "all answers together. TPOT: time per output token, (E2EL &#8722; TTFT) / (tokens &#8722; 1) "
    "of each answer. E2EL: end-to-end latency, from sending a request to the last piece of its "
    "answer. p99: 99 of 100 are at most this. N at once: each of N clients sends its next request "
    "when its answer has come; N/s: requests arrive at this rate whatever the server does. The "
    "definitions are those of <code>vllm bench serve</code>. Only answers that came whole are "
    "measured; all others are listed as errors. Times are the client's, connections included "
    "where one had to be made.</p>\n";

struct page {
    const load *l;
    const struct load_plan *p;
    const struct load_result *r; /* [n] */
    size_t n;
    struct load_ratio *ratios; /* [n_ratios] */
    size_t n_ratios;
    size_t tail; /* index of the last percentile */
    buf *out;
};

static void put_text(const struct page *g, const char *text)
{
    html_escape(text, g->out);
}

static int server_color(const struct page *g, const struct load_result *r)
{
    return (int)(r->server - g->p->servers) % HTML_COLORS;
}

/* ---- what was asked ---- */

static void put_prompts(const struct load_prompts *q, buf *out)
{
    if (q->file) {
        (void)buf_puts(out, "Prompts of ");
        html_escape(q->file, out);
    } else {
        (void)buf_printf(out, "Prompts of %lld random words", (long long)q->words);
        if (q->prefix_words)
            (void)buf_printf(out, " after %lld that all share", (long long)q->prefix_words);
    }
    if (q->turns > 1)
        (void)buf_printf(out, ", conversations of %lld turns", (long long)q->turns);
    (void)buf_printf(out, ", answers of %s %lld tokens, %s.", q->ignore_eos ? "exactly" : "at most",
                     (long long)q->max_tokens, q->chat ? "chat completions" : "completions");
}

static void put_question(const struct page *g)
{
    const struct load_plan *p = g->p;
    (void)buf_puts(g->out, "<p class=\"soft\">Sampan " SAMPAN_VERSION ", ");
    html_date(g->out);
    (void)buf_puts(g->out, ". ");
    put_prompts(&p->prompts, g->out);
    if (p->rounds > 1)
        (void)buf_printf(g->out, " %lld rounds, the servers in turn.", (long long)p->rounds);
    if (p->shape.ramp != RAMP_NONE)
        (void)buf_printf(g->out, " The rate rises to %g/s.", p->shape.ramp_to);
    if (load_wants_goodput(p)) {
        (void)buf_puts(g->out, " Limits:");
        for (enum load_metric m = 0; m <= METRIC_E2EL; m++)
            if (p->goodput[m] > 0)
                (void)buf_printf(g->out, " %s %g ms", load_metric_names[m], 1e3 * p->goodput[m]);
        (void)buf_putc(g->out, '.');
    }
    (void)buf_puts(g->out, "</p>\n<ul>\n");
    for (size_t i = 0; i < p->n_servers; i++) {
        (void)buf_puts(g->out, "<li><b>");
        put_text(g, p->servers[i].name);
        (void)buf_puts(g->out, "</b>: ");
        put_text(g, p->servers[i].model);
        (void)buf_puts(g->out, " at ");
        put_text(g, p->servers[i].url);
        (void)buf_puts(g->out, "</li>\n");
    }
    (void)buf_puts(g->out, "</ul>\n");
}

/* ---- in short ---- */

static void put_card(const struct page *g, const char *value, const char *what)
{
    (void)buf_puts(g->out, "<div class=\"card\"><b>");
    put_text(g, value);
    (void)buf_puts(g->out, "</b>");
    put_text(g, what);
    (void)buf_puts(g->out, "</div>\n");
}

/* The best of one server over the levels. */
static void put_server_cards(const struct page *g, const struct load_server *s)
{
    const struct load_result *best = NULL, *calm = NULL;
    char value[48], level[48], what[160];
    for (size_t i = 0; i < g->n; i++) {
        const struct load_result *r = &g->r[i];
        if (r->server != s || !r->all.completed)
            continue;
        if (!best || r->all.output_throughput > best->all.output_throughput)
            best = r;
        if (!calm || r->all.spread[METRIC_TTFT].median < calm->all.spread[METRIC_TTFT].median)
            calm = r;
    }
    if (!best)
        return;
    load_level_name(best->level, level);
    (void)snprintf(value, sizeof value, "%.1f tokens/s", best->all.output_throughput);
    (void)snprintf(what, sizeof what, "%s: most output, %s", s->name, level);
    put_card(g, value, what);
    load_level_name(calm->level, level);
    load_put_ms(value, calm->all.spread[METRIC_TTFT].median);
    (void)snprintf(what, sizeof what, "%s: best median TTFT, %s", s->name, level);
    put_card(g, value, what);
}

enum verdict { SAME, BETTER, WORSE };

/* What a ratio shows; one round shows nothing. */
static enum verdict verdict_of(const struct load_ratio *r)
{
    if (r->n < 2 || (r->low <= 1 && r->high >= 1))
        return SAME;
    return (r->median > 1) == load_figure_is_time(r->figure) ? WORSE : BETTER;
}

/* "ours, 16 at once: 3.10 times the total tokens/s of llama (2.90 to 3.40): better". */
static void put_verdict(const struct page *g, const struct load_ratio *r)
{
    static const char *const words[] = {"no difference shown", "better", "worse"};
    char level[48], name[32];
    load_level_name(r->first->level, level);
    load_figure_name(g->p, r->figure, name);
    (void)buf_puts(g->out, "<li>");
    put_text(g, r->first->server->name);
    (void)buf_printf(g->out, ", %s: <b>%.2f</b> times the %s of ", level, r->median, name);
    put_text(g, r->other->server->name);
    if (r->n > 1)
        (void)buf_printf(g->out, " (%.2f to %.2f): %s</li>\n", r->low, r->high,
                         words[verdict_of(r)]);
    else
        (void)buf_puts(g->out, " in one round</li>\n");
}

static void put_failures(const struct page *g)
{
    int64_t failed = 0, sent = 0, unfinished = 0, uncounted = 0;
    for (size_t i = 0; i < g->n; i++) {
        failed += g->r[i].all.failed;
        sent += g->r[i].all.sent;
        unfinished += g->r[i].all.unfinished;
        uncounted += g->r[i].all.uncounted;
    }
    (void)buf_printf(g->out, "<p%s>%lld of %lld requests failed.", failed ? " class=\"bad\"" : "",
                     (long long)failed, (long long)sent);
    if (unfinished)
        (void)buf_printf(g->out, " %lld were not finished when the run ended.",
                         (long long)unfinished);
    if (uncounted)
        (void)buf_printf(g->out,
                         " %lld answers told no usage: their pieces were counted as tokens, their "
                         "prompts as none.",
                         (long long)uncounted);
    (void)buf_puts(g->out, "</p>\n");
}

static void put_summary(const struct page *g)
{
    (void)buf_puts(g->out, "<h2>In short</h2>\n<div class=\"cards\">\n");
    for (size_t i = 0; i < g->p->n_servers; i++)
        put_server_cards(g, &g->p->servers[i]);
    (void)buf_puts(g->out, "</div>\n<ul>\n");
    for (size_t i = 0; i < g->n_ratios; i++)
        if (g->ratios[i].figure == FIGURE_TOTAL || g->ratios[i].figure == FIGURE_TTFT)
            put_verdict(g, &g->ratios[i]);
    (void)buf_puts(g->out, "</ul>\n");
    put_failures(g);
}

/* ---- the table ---- */

static void put_table_head(const struct page *g)
{
    double tail = g->p->percentiles[g->tail];
    (void)buf_puts(g->out, "<h2>Figures</h2>\n<p class=\"soft\">Latencies: median, and the slowest "
                           "in brackets.</p>\n<table>\n<thead><tr><th>server</th><th>load</th>"
                           "<th>completed</th><th>failed</th><th>requests/s</th>");
    if (load_wants_goodput(g->p))
        (void)buf_puts(g->out, "<th>within limits/s</th>");
    (void)buf_puts(g->out, "<th>output tokens/s</th><th>total tokens/s</th>");
    for (enum load_metric m = 0; m <= METRIC_E2EL; m++)
        (void)buf_printf(g->out, "<th>%s, ms (p%g)</th>", load_metric_names[m], tail);
    (void)buf_puts(g->out, "</tr></thead>\n<tbody>\n");
}

static void put_table(const struct page *g)
{
    put_table_head(g);
    for (size_t i = 0; i < g->n; i++) {
        const struct load_figures *f = &g->r[i].all;
        char level[48];
        load_level_name(g->r[i].level, level);
        (void)buf_puts(g->out, "<tr><td>");
        put_text(g, g->r[i].server->name);
        (void)buf_printf(g->out, "</td><td>%s</td><td>%lld</td><td%s>%lld</td><td>%.2f</td>", level,
                         (long long)f->completed, f->failed ? " class=\"bad\"" : "",
                         (long long)f->failed, f->request_throughput);
        if (load_wants_goodput(g->p))
            (void)buf_printf(g->out, "<td>%.2f</td>", f->goodput);
        (void)buf_printf(g->out, "<td>%.1f</td><td>%.1f</td>", f->output_throughput,
                         f->total_throughput);
        for (enum load_metric m = 0; m <= METRIC_E2EL; m++)
            (void)buf_printf(g->out, "<td>%.*f (%.*f)</td>", f->spread[m].median < 100,
                             f->spread[m].median, f->spread[m].percentiles[g->tail] < 100,
                             f->spread[m].percentiles[g->tail]);
        (void)buf_puts(g->out, "</tr>\n");
    }
    (void)buf_puts(g->out, "</tbody>\n</table>\n");
}

static void put_errors(const struct page *g)
{
    bool any = false;
    for (size_t i = 0; i < g->n; i++)
        any |= g->r[i].n_errors > 0;
    if (!any)
        return;
    (void)buf_puts(g->out, "<h2>Errors</h2>\n<table>\n<thead><tr><th>server</th><th>load</th>"
                           "<th>kind</th><th>count</th><th>the first said</th></tr></thead>\n"
                           "<tbody>\n");
    for (size_t i = 0; i < g->n; i++) {
        for (size_t k = 0; k < g->r[i].n_errors; k++) {
            char level[48];
            load_level_name(g->r[i].level, level);
            (void)buf_puts(g->out, "<tr><td>");
            put_text(g, g->r[i].server->name);
            (void)buf_printf(g->out, "</td><td>%s</td><td>%s</td><td>%lld</td><td>", level,
                             g->r[i].errors[k].kind, (long long)g->r[i].errors[k].count);
            put_text(g, g->r[i].errors[k].example);
            (void)buf_puts(g->out, "</td></tr>\n");
        }
    }
    (void)buf_puts(g->out, "</tbody>\n</table>\n");
}

/* ---- over the load ---- */

/* What the levels vary: concurrency, or the rate where there is one. */
static double level_x(struct load_level v)
{
    return v.rate > 0 ? v.rate : (double)v.concurrency;
}

enum curve { CURVE_OUTPUT, CURVE_TTFT, CURVE_ITL, CURVE_E2EL, CURVES };

static double curve_y(const struct page *g, const struct load_result *r, enum curve c, bool tail)
{
    static const enum load_metric metrics[] = {METRIC_TTFT, METRIC_TTFT, METRIC_ITL, METRIC_E2EL};
    const struct load_spread *s = &r->all.spread[metrics[c]];
    if (c == CURVE_OUTPUT)
        return r->all.output_throughput;
    return tail ? s->percentiles[g->tail] : s->median;
}

/* One server's line over the levels. Levels are few, so that x is sorted by insertion. */
static size_t fill_curve(const struct page *g, const struct load_server *s, enum curve c, bool tail,
                         double x[LOAD_LEVELS_MOST], double y[LOAD_LEVELS_MOST])
{
    size_t n = 0;
    for (size_t i = 0; i < g->n; i++) {
        if (g->r[i].server != s || !g->r[i].all.completed)
            continue;
        double here = level_x(g->r[i].level);
        size_t at = n++;
        for (; at > 0 && x[at - 1] > here; at--) {
            x[at] = x[at - 1];
            y[at] = y[at - 1];
        }
        x[at] = here;
        y[at] = curve_y(g, &g->r[i], c, tail);
    }
    return n;
}

struct curves {
    struct html_chart chart;
    double x[HTML_SERIES_MOST][LOAD_LEVELS_MOST], y[HTML_SERIES_MOST][LOAD_LEVELS_MOST];
};

static void add_curve(const struct page *g, struct curves *v, size_t server, enum curve c,
                      bool tail)
{
    const struct load_server *s = &g->p->servers[server];
    size_t i = v->chart.n;
    if (i == HTML_SERIES_MOST)
        return;
    struct html_series *to = &v->chart.series[i];
    to->n = fill_curve(g, s, c, tail, v->x[i], v->y[i]);
    to->x = v->x[i];
    to->y = v->y[i];
    to->color = (int)(server % HTML_COLORS);
    to->dashed = tail;
    if (c == CURVE_OUTPUT)
        (void)snprintf(to->label, sizeof to->label, "%s", s->name);
    else if (tail)
        (void)snprintf(to->label, sizeof to->label, "%s, p%g", s->name, g->p->percentiles[g->tail]);
    else
        (void)snprintf(to->label, sizeof to->label, "%s, median", s->name);
    v->chart.n += to->n > 0;
}

static int put_curves(const struct page *g, sp_error *err)
{
    static const char *const titles[CURVES] = {
        "Throughput by load, output tokens/s", "Time to first token by load, ms",
        "Gap between tokens by load, ms", "Whole answer by load, ms"};
    struct curves *v = g->p->n_levels > 1 ? sp_malloc(sizeof *v) : NULL;
    if (g->p->n_levels < 2)
        return 0;
    if (!v)
        return sp_fail(err, SP_ENOMEM, "out of memory for the charts");
    for (enum curve c = 0; c < CURVES; c++) {
        bool rate = g->p->levels[0].rate > 0;
        v->chart = (struct html_chart){.title = titles[c],
                                       .x_label = rate ? "requests/s" : "requests at once",
                                       .doubling = true,
                                       .points = true,
                                       .unit = c == CURVE_OUTPUT ? "tokens/s" : "ms"};
        for (size_t s = 0; s < g->p->n_servers; s++) {
            add_curve(g, v, s, c, false);
            if (c != CURVE_OUTPUT)
                add_curve(g, v, s, c, true);
        }
        html_lines(&v->chart, g->out);
    }
    sp_free(v);
    return 0;
}

/* ---- distributions ---- */

struct shares {
    struct html_chart chart;
    double x[HTML_SERIES_MOST][CURVE_POINTS], y[CURVE_POINTS];
};

static double quantile(const double *sorted, size_t n, size_t percent)
{
    return sorted[(size_t)((double)(n - 1) * (double)percent / 100 + 0.5)];
}

static void add_share(const struct page *g, struct shares *v, const struct load_result *r,
                      enum load_metric m, bool by_level)
{
    size_t i = v->chart.n, n = r->all.spread[m].n;
    if (!n || i == HTML_SERIES_MOST)
        return;
    struct html_series *to = &v->chart.series[i];
    for (size_t k = 0; k < CURVE_POINTS; k++)
        v->x[i][k] = quantile(r->sorted[m], n, k);
    to->x = v->x[i];
    to->y = v->y;
    to->n = CURVE_POINTS - (n > CURVE_POINTS); /* of many the slowest would squeeze all others */
    to->dashed = false;
    if (by_level) {
        load_level_name(r->level, to->label);
        to->color = (int)i;
    } else {
        (void)snprintf(to->label, sizeof to->label, "%s", r->server->name);
        to->color = server_color(g, r);
    }
    v->chart.n++;
}

/* One server: a line a level. Several: a line a server, at the heaviest load. */
static int put_shares(const struct page *g, sp_error *err)
{
    static const enum load_metric metrics[] = {METRIC_TTFT, METRIC_ITL, METRIC_E2EL};
    struct shares *v = sp_malloc(sizeof *v);
    bool by_level = g->p->n_servers == 1;
    if (!v)
        return sp_fail(err, SP_ENOMEM, "out of memory for the charts");
    for (size_t k = 0; k < CURVE_POINTS; k++)
        v->y[k] = (double)k;
    const struct load_level *last = &g->p->levels[g->p->n_levels - 1];
    for (size_t m = 0; m < SP_COUNT(metrics); m++) {
        char title[160], level[48];
        load_level_name(*last, level);
        (void)snprintf(title, sizeof title, "%s: %% of %s within so many ms%s%s",
                       load_metric_names[metrics[m]], metrics[m] == METRIC_ITL ? "gaps" : "answers",
                       by_level ? "" : ", ", by_level ? "" : level);
        v->chart = (struct html_chart){.title = title, .x_label = "ms", .top = 100, .unit = "%"};
        for (size_t i = 0; i < g->n; i++)
            if (by_level || (level_x(g->r[i].level) >= level_x(*last) &&
                             level_x(g->r[i].level) <= level_x(*last)))
                add_share(g, v, &g->r[i], metrics[m], by_level);
        html_lines(&v->chart, g->out);
    }
    sp_free(v);
    return 0;
}

/* ---- ratios ---- */

/* One line: label, interval, median, figure. x by its logarithm, so that half and double are as far from 1. */
static void put_ratio(const struct page *g, const struct load_ratio *r, double y, double most)
{
    double middle = RATIO_LEFT + (HTML_WIDTH - RATIO_LEFT - RATIO_RIGHT) / 2;
    double scale = (HTML_WIDTH - RATIO_LEFT - RATIO_RIGHT) / 2 / log(most);
    double at = middle + scale * log(r->median);
    static const char *const colors[] = {"--c7", "--c2", "--bad"};
    char name[32];
    load_figure_name(g->p, r->figure, name);
    (void)buf_printf(g->out, "<text x=\"%.0f\" y=\"%.1f\" text-anchor=\"end\">%s%s</text>",
                     RATIO_LEFT - 10, y + 5, name,
                     load_figure_is_time(r->figure) ? " (less is better)" : "");
    (void)buf_printf(g->out,
                     "<path class=\"dev\" d=\"M%.1f %.1fH%.1f\"/><circle cx=\"%.1f\" cy=\"%.1f\" "
                     "r=\"5\" fill=\"var(%s)\"/>",
                     middle + scale * log(r->low), y, middle + scale * log(r->high), at, y,
                     colors[verdict_of(r)]);
    (void)buf_printf(g->out, "<text x=\"%.1f\" y=\"%.1f\">%.2f (%.2f–%.2f)</text>\n",
                     HTML_WIDTH - RATIO_RIGHT + 8, y + 5, r->median, r->low, r->high);
}

/* The ratios of ratios[from] .. of the same pair and level; how many. */
static size_t put_pair(const struct page *g, size_t from)
{
    const struct load_ratio *r = &g->ratios[from];
    char title[256], level[48];
    double most = 1.1;
    size_t n = 0;
    for (; from + n < g->n_ratios && r[n].other == r->other; n++)
        most = fmax(most, fmax(r[n].high, 1 / r[n].low));
    load_level_name(r->first->level, level);
    (void)snprintf(title, sizeof title, "%s over %s, %s", r->first->server->name,
                   r->other->server->name, level);
    html_svg(title, 20 + RATIO_ROW * (double)n, g->out);
    (void)buf_printf(
        g->out,
        "<path class=\"grid\" d=\"M%.1f 0V%.0f\"/><text class=\"soft\" "
        "x=\"%.1f\" y=\"%.0f\">1 = alike</text>\n",
        RATIO_LEFT + (HTML_WIDTH - RATIO_LEFT - RATIO_RIGHT) / 2, 20 + RATIO_ROW * (double)n,
        RATIO_LEFT + 4 + (HTML_WIDTH - RATIO_LEFT - RATIO_RIGHT) / 2, 16 + RATIO_ROW * (double)n);
    for (size_t i = 0; i < n; i++)
        put_ratio(g, &r[i], 14 + RATIO_ROW * (double)i, most);
    (void)buf_puts(g->out, "</svg>\n");
    return n;
}

static void put_ratios(const struct page *g)
{
    if (!g->n_ratios)
        return;
    (void)buf_printf(
        g->out,
        "<h2>Side by side</h2>\n<p>The median of the rounds' ratios, with the "
        "interval that holds the true median with %.0f%% (order statistics: no "
        "assumption about its distribution). Green is better, red is worse, grey is no "
        "difference shown.%s</p>\n",
        100 * g->ratios[0].coverage,
        g->ratios[0].coverage < 0.95 ? " More rounds (--rounds 6) make it 95%." : "");
    for (size_t i = 0; i < g->n_ratios;)
        i += put_pair(g, i);
}

/* ---- the page ---- */

static void put_data(const struct page *g)
{
    json_t *all = json_array();
    for (size_t i = 0; i < g->n; i++)
        (void)json_array_append_new(all, load_result_json(g->l, &g->r[i], false));
    for (size_t i = 0; i < g->n_ratios; i++)
        (void)json_array_append_new(all, load_ratio_json(g->l, &g->ratios[i]));
    html_data(all, g->out);
}

int load_html(const load *l, buf *out, sp_error *err)
{
    struct page g = {.l = l, .p = load_plan_of(l), .out = out};
    g.tail = g.p->n_percentiles - 1;
    g.r = load_results(l, &g.n);
    int code = load_ratios(l, &g.ratios, &g.n_ratios, err);
    if (code < 0)
        return code;
    html_begin("Servers under load", out);
    put_question(&g);
    put_summary(&g);
    put_table(&g);
    put_errors(&g);
    put_ratios(&g);
    code = put_curves(&g, err);
    if (code == 0)
        code = put_shares(&g, err);
    (void)buf_puts(out, page_notes);
    put_data(&g);
    html_end(out);
    sp_free(g.ratios);
    if (code == 0 && out->failed)
        code = sp_fail(err, SP_ENOMEM, "out of memory for the report");
    return code;
}
