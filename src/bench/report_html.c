/* The results as one HTML page: a table, bars, and lines where a number was varied. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/base.h"
#include "bench/html_int.h"
#include "bench/report_int.h"

#define WIDTH HTML_WIDTH
#define BAR 24.0    /* height of a bar with its gap */
#define LEFT 230.0  /* room for the labels of bars */
#define RIGHT 110.0 /* room for their figures */
#define SERIES_MOST HTML_COLORS
#define LEGEND 264 /* below the lines */

static const char page_notes[] =
    "<h2>How to read it</h2>\n<p>pp512: a prompt of 512 tokens is read (prefill). tg128: 128 "
    "tokens "
    "are written (decode). @d8192: 8,192 tokens are in the context before. x16: 16 sequences "
    "decode at once, their tokens counted together. GB/s: weights, keys and values that decoding "
    "reads. GOPS: multiplications and additions with weights; attention is not counted. The limit "
    "is what the best bare loop on the same threads did between the repetitions, reading memory or "
    "multiplying, whichever allows less; a share over 100% means that the limit is wrong.</p>\n";

/* ---- table ---- */

static void put_table(const struct bench_result *r, size_t n, buf *out)
{
    (void)buf_puts(out, "<table>\n<thead><tr><th>model</th><th>test</th><th>threads</th>"
                        "<th>tokens/s</th><th>median</th><th>GB/s</th><th>GOPS</th>"
                        "<th>of the limit</th></tr></thead>\n<tbody>\n");
    for (size_t i = 0; i < n; i++) {
        char share[80], gb[16] = "–";
        report_share(&r[i], share);
        if (r[i].test.gen)
            (void)snprintf(gb, sizeof gb, "%.1f", r[i].gb_per_second);
        (void)buf_puts(out, "<tr><td>");
        html_escape(r[i].model, out);
        (void)buf_printf(out,
                         "</td><td>%s</td><td>%d</td><td>%.2f ± %.2f</td><td>%.2f</td><td>%s</td>"
                         "<td>%.1f</td><td>%s</td></tr>\n",
                         r[i].name, r[i].threads, r[i].tokens_per_second, r[i].deviation,
                         r[i].median, gb, r[i].gops, share);
    }
    (void)buf_puts(out, "</tbody>\n</table>\n");
}

/* ---- bars ---- */

/* Colours tell models apart: the place of a model among those seen so far. */
static int model_color(const struct bench_result *r, size_t i)
{
    int color = 0;
    for (size_t k = 0; k < i; k++) {
        bool seen = false;
        if (strcmp(r[k].model, r[i].model) == 0)
            return model_color(r, k);
        for (size_t j = 0; j < k && !seen; j++)
            seen = strcmp(r[j].model, r[k].model) == 0;
        color += !seen;
    }
    return color % SERIES_MOST;
}

/* One bar: its label, value / most of the room, a whisker of the deviation, a figure behind. */
static void put_bar(buf *out, double y, const char *label, double value, double deviation,
                    double most, int color, const char *figure)
{
    double scale = (WIDTH - LEFT - RIGHT) / most, middle = y + (BAR - 6) / 2;
    double end = LEFT + scale * value, tip = LEFT + scale * (value + deviation);
    (void)buf_printf(out, "<text x=\"%.0f\" y=\"%.1f\" text-anchor=\"end\">", LEFT - 8, middle + 4);
    html_escape(label, out);
    (void)buf_printf(out,
                     "</text><rect x=\"%.0f\" y=\"%.1f\" width=\"%.1f\" height=\"%.0f\" rx=\"2\" "
                     "fill=\"var(--c%d)\"/>",
                     LEFT, y, end - LEFT, BAR - 6, color);
    if (deviation > 0)
        (void)buf_printf(
            out,
            "<path class=\"dev\" fill=\"none\" d=\"M%.1f %.1fH%.1fM%.1f %.1fv8M%.1f %.1fv8\"/>",
            LEFT + scale * fmax(value - deviation, 0), middle, tip,
            LEFT + scale * fmax(value - deviation, 0), middle - 4, tip, middle - 4);
    (void)buf_printf(out, "<text x=\"%.1f\" y=\"%.1f\">%s</text>\n", fmax(end, tip) + 8, middle + 4,
                     figure);
}

static void put_bars(const struct bench_result *r, size_t n, bool decode, buf *out)
{
    double most = 0, y = 4;
    size_t rows = 0;
    for (size_t i = 0; i < n; i++) {
        if ((r[i].test.gen > 0) != decode)
            continue;
        most = fmax(most, r[i].tokens_per_second + r[i].deviation);
        rows++;
    }
    if (!rows)
        return;
    html_svg(decode ? "Decode, tokens/s" : "Prefill, tokens/s", 8 + BAR * (double)rows, out);
    for (size_t i = 0; i < n; i++) {
        char label[224], figure[32];
        if ((r[i].test.gen > 0) != decode)
            continue;
        report_label(r, n, i, label);
        (void)snprintf(figure, sizeof figure, "%.1f", r[i].tokens_per_second);
        put_bar(out, y, label, r[i].tokens_per_second, r[i].deviation, most, model_color(r, i),
                figure);
        y += BAR;
    }
    (void)buf_puts(out, "</svg>\n");
}

static void put_shares(const struct bench_result *r, size_t n, buf *out)
{
    double most = 1, y = 4, height = 8 + BAR * (double)n;
    for (size_t i = 0; i < n; i++)
        most = fmax(most, r[i].share);
    double limit = LEFT + (WIDTH - LEFT - RIGHT) / most;
    html_svg("Share of the limit", height, out);
    for (size_t i = 0; i < n; i++, y += BAR) {
        char label[224], figure[64];
        report_label(r, n, i, label);
        (void)snprintf(figure, sizeof figure, "%.0f%%%s", 100 * r[i].share,
                       r[i].share > 1             ? " (limit wrong)"
                       : r[i].bound == BOUND_READ ? " of reading"
                                                  : " of computing");
        put_bar(out, y, label, r[i].share, 0, most, r[i].bound == BOUND_READ ? 0 : 1, figure);
    }
    (void)buf_printf(out, "<path class=\"grid\" d=\"M%.1f 0V%.0f\"/></svg>\n", limit, height);
}

/* ---- lines ---- */

enum axis { AXIS_PROMPT, AXIS_DEPTH, AXIS_BATCH, AXIS_THREADS, AXES };

static double axis_value(const struct bench_result *r, enum axis a)
{
    switch (a) {
    case AXIS_PROMPT:
        return (double)r->test.prompt;
    case AXIS_DEPTH:
        return (double)r->test.depth;
    case AXIS_BATCH:
        return r->test.batch;
    default:
        return r->threads;
    }
}

/* Whether two results differ in nothing but the axis. */
static bool same_line(const struct bench_result *a, const struct bench_result *b, enum axis axis)
{
    return strcmp(a->model, b->model) == 0 && (a->test.gen > 0) == (b->test.gen > 0) &&
           (axis == AXIS_PROMPT || a->test.prompt == b->test.prompt) &&
           a->test.gen == b->test.gen && (axis == AXIS_DEPTH || a->test.depth == b->test.depth) &&
           (axis == AXIS_BATCH || a->test.batch == b->test.batch) &&
           (axis == AXIS_THREADS || a->threads == b->threads) &&
           (axis != AXIS_PROMPT || a->test.prompt);
}

struct line_chart {
    const struct bench_result *r;
    size_t n;
    enum axis axis;
    double min, max, top; /* of x; of tokens/s */
};

/* x by its logarithm: such numbers are doubled, not counted up. 0 stands a little left of 1. */
static double place_x(const struct line_chart *c, double x)
{
    double low = log2(c->min + 1), high = log2(c->max + 1);
    return 60 + (WIDTH - 100) * (log2(x + 1) - low) / (high - low);
}

static double place_y(const struct line_chart *c, double y)
{
    return 230 - 210 * y / c->top;
}

/* The results on the line of i, in the order of x; 0 when i is not the line's first or it has no two x. */
static size_t find_line(const struct line_chart *c, size_t i, size_t *on, size_t most)
{
    size_t n = 0;
    for (size_t k = 0; k < c->n && n < most; k++) {
        if (!same_line(&c->r[i], &c->r[k], c->axis))
            continue;
        if (k < i)
            return 0;
        size_t at = n++;
        double x = axis_value(&c->r[k], c->axis);
        for (; at > 0 && axis_value(&c->r[on[at - 1]], c->axis) > x; at--)
            on[at] = on[at - 1];
        on[at] = k;
    }
    bool flat = n < 2 || axis_value(&c->r[on[0]], c->axis) >= axis_value(&c->r[on[n - 1]], c->axis);
    return flat ? 0 : n;
}

/* What a line is called: the test without the number that the axis varies. */
static void line_label(const struct line_chart *c, size_t i, char out[224])
{
    struct bench_result r = c->r[i];
    char all[224];
    if (c->axis == AXIS_DEPTH)
        r.test.depth = 0;
    if (c->axis == AXIS_BATCH)
        r.test.batch = 1;
    bench_name(&r.test, r.name);
    report_label(c->r, c->n, i, all);
    size_t own = strlen(c->r[i].name);
    const char *name = r.name;
    if (c->axis == AXIS_PROMPT) /* "pp@d8192" */
        name = strchr(r.name, '@') ? strchr(r.name, '@') : "";
    char *rest = all + own; /* model and threads, where they differ */
    char *threads = strrchr(rest, ' ');
    if (c->axis == AXIS_THREADS && threads)
        *threads = '\0';
    (void)snprintf(out, 224, "%s%s%s", c->axis == AXIS_PROMPT ? "pp" : "", name, rest);
}

static void put_line(const struct line_chart *c, const size_t *on, size_t n, int number, buf *out)
{
    char label[224];
    (void)buf_printf(
        out, "<polyline fill=\"none\" stroke=\"var(--c%d)\" stroke-width=\"2\" points=\"", number);
    for (size_t k = 0; k < n; k++)
        (void)buf_printf(out, "%.1f,%.1f ", place_x(c, axis_value(&c->r[on[k]], c->axis)),
                         place_y(c, c->r[on[k]].tokens_per_second));
    (void)buf_puts(out, "\"/>\n");
    for (size_t k = 0; k < n; k++)
        (void)buf_printf(
            out,
            "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"var(--c%d)\"><title>%s: %.1f "
            "tokens/s</title></circle>",
            place_x(c, axis_value(&c->r[on[k]], c->axis)),
            place_y(c, c->r[on[k]].tokens_per_second), number, c->r[on[k]].name,
            c->r[on[k]].tokens_per_second);
    line_label(c, on[0], label);
    int y = LEGEND + 18 * number;
    (void)buf_printf(out,
                     "<rect x=\"60\" y=\"%d\" width=\"12\" height=\"12\" fill=\"var(--c%d)\"/>"
                     "<text x=\"80\" y=\"%d\">",
                     y, number, y + 11);
    html_escape(label, out);
    (void)buf_puts(out, "</text>\n");
}

static void put_axes(const struct line_chart *c, buf *out)
{
    for (int i = 0; i <= 4; i++) {
        double y = place_y(c, c->top * i / 4);
        (void)buf_printf(out,
                         "<path class=\"grid\" d=\"M60 %.1fH%.0f\"/><text class=\"soft\" x=\"52\" "
                         "y=\"%.1f\" text-anchor=\"end\">%.3g</text>\n",
                         y, WIDTH - 40, y + 4, c->top * i / 4);
    }
    double last = -100;
    for (double x = c->min; x <= c->max; x = x < 1 ? 1 : 2 * x) {
        if (place_x(c, x) - last < 40)
            continue;
        last = place_x(c, x);
        (void)buf_printf(
            out, "<text class=\"soft\" x=\"%.1f\" y=\"250\" text-anchor=\"middle\">%.0f</text>\n",
            last, x);
    }
}

static void put_lines(const struct bench_result *r, size_t n, enum axis axis, buf *out)
{
    static const char *const titles[] = {
        "Prefill by length of the prompt, tokens/s", "By depth of the context, tokens/s",
        "Decode by sequences at once, tokens/s", "By threads, tokens/s"};
    struct line_chart c = {r, n, axis, INFINITY, 0, 0};
    size_t on[64], lines = 0;
    for (size_t i = 0; i < n; i++) {
        size_t points = find_line(&c, i, on, SP_COUNT(on));
        for (size_t k = 0; k < points; k++) {
            c.min = fmin(c.min, axis_value(&r[on[k]], axis));
            c.max = fmax(c.max, axis_value(&r[on[k]], axis));
            c.top = fmax(c.top, r[on[k]].tokens_per_second);
        }
        lines += points > 0;
    }
    if (!lines)
        return;
    c.top = html_round_up(c.top);
    html_svg(titles[axis], LEGEND + 18.0 * (double)(lines > SERIES_MOST ? SERIES_MOST + 1 : lines),
             out);
    put_axes(&c, out);
    int number = 0;
    for (size_t i = 0; i < n && number < SERIES_MOST; i++) {
        size_t points = find_line(&c, i, on, SP_COUNT(on));
        if (points)
            put_line(&c, on, points, number++, out);
    }
    if (lines > SERIES_MOST)
        (void)buf_printf(
            out, "<text class=\"soft\" x=\"80\" y=\"%d\">and %zu more in the table</text>\n",
            LEGEND + 18 * SERIES_MOST + 11, lines - SERIES_MOST);
    (void)buf_puts(out, "</svg>\n");
}

/* ---- the page ---- */

/* Results for programs. */
static void put_data(const struct bench_result *r, size_t n, buf *out)
{
    json_t *all = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(all, report_json(&r[i]));
    html_data(all, out);
}

void bench_html(const struct bench_result *r, size_t n, buf *out)
{
    html_begin("Sampan: speed", out);
    (void)buf_puts(out, "<p class=\"soft\">Sampan " SAMPAN_VERSION ", ");
    html_date(out);
    (void)buf_puts(out, ". ");
    if (n)
        (void)buf_printf(out, "Kernels: %s, %s. Mean ± standard deviation of %d repetitions.",
                         r[0].isa, r[0].compute, r[0].reps);
    (void)buf_puts(out, "</p>\n");
    put_table(r, n, out);
    put_bars(r, n, false, out);
    put_bars(r, n, true, out);
    for (enum axis a = AXIS_PROMPT; a < AXES; a++)
        put_lines(r, n, a, out);
    put_shares(r, n, out);
    (void)buf_puts(out, page_notes);
    put_data(r, n, out);
    html_end(out);
}
