#include "bench/html_int.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "base/clock.h"

#define LEGEND 282 /* below the lines */
#define X0 60.0
#define X1 (HTML_WIDTH - 40)

static const char page_style[] =
    ":root{color-scheme:light dark;--ink:#1b1f24;--soft:#59636e;--line:#d1d9e0;--back:#fff;"
    "--bad:#cf222e;"
    "--c0:#0969da;--c1:#bc4c00;--c2:#1a7f37;--c3:#8250df;--c4:#bf3989;--c5:#0a7d91;--c6:#7d6000;"
    "--c7:#57606a}\n"
    "@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9198a1;--line:#3d444d;"
    "--back:#0d1117;--bad:#ff7b72;"
    "--c0:#4493f8;--c1:#f0883e;--c2:#3fb950;--c3:#ab7df8;--c4:#f778ba;--c5:#39c5cf;"
    "--c6:#d29922;--c7:#9198a1}}\n"
    "body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--back);"
    "max-width:1000px;margin:2rem auto;padding:0 1rem}\n"
    "table{border-collapse:collapse;display:block;overflow-x:auto}\n"
    "th,td{padding:.3rem .7rem;border-bottom:1px solid var(--line);text-align:right;"
    "white-space:nowrap}\nth:first-child,td:first-child,th:nth-child(2),td:nth-child(2)"
    "{text-align:left}\n"
    "svg{width:100%;height:auto;max-width:1000px}\n"
    "svg text{fill:var(--ink);font:13px system-ui,sans-serif}\n"
    ".soft,svg .soft{color:var(--soft);fill:var(--soft)}\n.grid{stroke:var(--line)}\n"
    ".dev{stroke:var(--ink);stroke-width:1.5}\n.bad{color:var(--bad)}\n"
    ".cards{display:flex;flex-wrap:wrap;gap:.8rem;margin:1rem 0}\n"
    ".card{border:1px solid var(--line);border-radius:8px;padding:.7rem 1rem;min-width:10rem}\n"
    ".card b{display:block;font-size:1.5rem}\n";

void html_escape(const char *text, buf *out)
{
    for (; *text; text++) {
        if (*text == '&')
            (void)buf_puts(out, "&amp;");
        else if (*text == '<')
            (void)buf_puts(out, "&lt;");
        else if (*text == '>')
            (void)buf_puts(out, "&gt;");
        else if (*text == '"')
            (void)buf_puts(out, "&quot;");
        else
            (void)buf_putc(out, *text);
    }
}

void html_begin(const char *title, buf *out)
{
    (void)buf_puts(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                        "<title>");
    html_escape(title, out);
    (void)buf_printf(out, "</title>\n<style>\n%s</style>\n</head>\n<body>\n<h1>", page_style);
    html_escape(title, out);
    (void)buf_puts(out, "</h1>\n");
}

void html_end(buf *out)
{
    (void)buf_puts(out, "</body>\n</html>\n");
}

void html_date(buf *out)
{
    char when[32] = "";
    time_t now = (time_t)clock_unix();
    struct tm tm;
    if (gmtime_r(&now, &tm))
        (void)strftime(when, sizeof when, "%Y-%m-%d %H:%M UTC", &tm);
    (void)buf_puts(out, when);
}

void html_svg(const char *title, double height, buf *out)
{
    (void)buf_puts(out, "<h2>");
    html_escape(title, out);
    (void)buf_printf(out, "</h2>\n<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"",
                     HTML_WIDTH, height);
    html_escape(title, out);
    (void)buf_puts(out, "\">\n");
}

double html_round_up(double v)
{
    static const double steps[] = {1, 2, 4, 6, 8, 10};
    double unit = pow(10, floor(log10(v)));
    size_t i = 0;
    while (i + 1 < SP_COUNT(steps) && steps[i] * unit < v)
        i++;
    return steps[i] * unit;
}

/* "<" can't end the element early. */
void html_data(json_t *j, buf *out)
{
    char *text = j ? json_dumps(j, JSON_REAL_PRECISION(9) | JSON_COMPACT) : NULL;
    (void)buf_puts(out, "<script type=\"application/json\" id=\"results\">");
    for (const char *p = text; p && *p; p++)
        (void)buf_puts(out, *p == '<' ? "\\u003c" : (const char[]){*p, '\0'});
    (void)buf_puts(out, "</script>\n");
    out->failed |= !text;
    free(text); /* lib-owned */
    json_decref(j);
}

/* ---- lines ---- */

struct frame {
    const struct html_chart *c;
    double min, max, top;
};

static double place_x(const struct frame *f, double x)
{
    double low = f->c->doubling ? log2(f->min) : 0, high = f->c->doubling ? log2(f->max) : f->max;
    double at = f->c->doubling ? log2(x) : x;
    return high > low ? X0 + (X1 - X0) * (at - low) / (high - low) : (X0 + X1) / 2;
}

static double place_y(const struct frame *f, double y)
{
    return 230 - 210 * y / f->top;
}

static void x_tick(const struct frame *f, double x, double *last, buf *out)
{
    double at = place_x(f, x);
    if (at - *last < 44)
        return;
    *last = at;
    (void)buf_printf(
        out, "<text class=\"soft\" x=\"%.1f\" y=\"250\" text-anchor=\"middle\">%g</text>\n", at, x);
}

static void put_axes(const struct frame *f, buf *out)
{
    double last = -100;
    for (int i = 0; i <= 4; i++) {
        double y = place_y(f, f->top * i / 4);
        (void)buf_printf(out,
                         "<path class=\"grid\" d=\"M%.0f %.1fH%.0f\"/><text class=\"soft\" "
                         "x=\"52\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n",
                         X0, y, X1, y + 4, f->top * i / 4);
    }
    if (f->c->doubling) {
        for (double x = f->min; x <= f->max * 1.0001; x *= 2)
            x_tick(f, x, &last, out);
    } else {
        for (int i = 0; i <= 4; i++)
            x_tick(f, f->max * i / 4, &last, out);
    }
    (void)buf_printf(out,
                     "<text class=\"soft\" x=\"%.0f\" y=\"268\" text-anchor=\"end\">%s</text>\n",
                     X1, f->c->x_label);
}

static void put_series(const struct frame *f, size_t number, buf *out)
{
    const struct html_series *s = &f->c->series[number];
    double y = LEGEND + 18.0 * (double)number;
    (void)buf_printf(out,
                     "<polyline fill=\"none\" stroke=\"var(--c%d)\" stroke-width=\"2\"%s "
                     "points=\"",
                     s->color % HTML_COLORS, s->dashed ? " stroke-dasharray=\"5 4\"" : "");
    for (size_t i = 0; i < s->n; i++)
        (void)buf_printf(out, "%.1f,%.1f ", place_x(f, fmin(s->x[i], f->max)),
                         place_y(f, fmin(s->y[i], f->top)));
    (void)buf_puts(out, "\"/>\n");
    for (size_t i = 0; i < s->n && f->c->points; i++) {
        (void)buf_printf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"var(--c%d)\"><title>",
                         place_x(f, s->x[i]), place_y(f, s->y[i]), s->color % HTML_COLORS);
        html_escape(s->label, out);
        (void)buf_printf(out, ", %g: %.4g %s</title></circle>\n", s->x[i], s->y[i], f->c->unit);
    }
    (void)buf_printf(out,
                     "<path stroke=\"var(--c%d)\" stroke-width=\"3\"%s d=\"M60 %.0fh16\"/><text "
                     "x=\"84\" y=\"%.0f\">",
                     s->color % HTML_COLORS, s->dashed ? " stroke-dasharray=\"5 4\"" : "", y + 6,
                     y + 11);
    html_escape(s->label, out);
    (void)buf_puts(out, "</text>\n");
}

void html_lines(const struct html_chart *c, buf *out)
{
    struct frame f = {c, INFINITY, 0, c->top};
    double most = 0;
    for (size_t i = 0; i < c->n; i++) {
        for (size_t k = 0; k < c->series[i].n; k++) {
            f.min = fmin(f.min, c->series[i].x[k]);
            f.max = fmax(f.max, c->series[i].x[k]);
            most = fmax(most, c->series[i].y[k]);
        }
    }
    if (most <= 0 || f.max <= 0)
        return;
    if (c->top <= 0)
        f.top = html_round_up(most);
    if (!c->doubling)
        f.max = html_round_up(f.max);
    html_svg(c->title, LEGEND + 18.0 * (double)c->n, out);
    put_axes(&f, out);
    for (size_t i = 0; i < c->n; i++)
        put_series(&f, i, out);
    (void)buf_puts(out, "</svg>\n");
}
