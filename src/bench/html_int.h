/* What the reports in HTML share: a page that loads nothing else, its colours (light and dark), and charts in SVG. The
 * page has no script, so that it can be mailed, archived and printed. */
#ifndef SP_BENCH_HTML_INT_H
#define SP_BENCH_HTML_INT_H

#include <jansson.h>
#include "base/base.h"

#define HTML_WIDTH 760.0 /* of a chart, in its own units */
#define HTML_COLORS 8    /* var(--c0) .. var(--c7) */
#define HTML_SERIES_MOST 16

void html_begin(const char *title, buf *out); /* up to the <h1>, with it */
void html_end(buf *out);
void html_escape(const char *text, buf *out);
void html_date(buf *out); /* "2026-03-01 12:00 UTC" */
/* A heading and the beginning of a drawing HTML_WIDTH wide; the caller ends it with </svg>. */
void html_svg(const char *title, double height, buf *out);
/* The next number whose quarters are short: 1, 2, 4, 6, 8 or 10 times a power of ten. v > 0. */
double html_round_up(double v);
/* Results for programs that read the page; takes j. */
void html_data(json_t *j, buf *out);

/* Lines over numbers. x is ascending in each series. */
struct html_series {
    char label[224];
    int color;
    bool dashed;
    size_t n;
    const double *x, *y;
};
struct html_chart {
    const char *title, *x_label; /* y is named in the title */
    bool doubling;    /* x by its logarithm, ticks at 1, 2, 4, ...; else in proportion from 0 */
    bool points;      /* a dot at each value */
    double top;       /* of y; 0: what the values need */
    const char *unit; /* behind a value: "ms" */
    struct html_series series[HTML_SERIES_MOST];
    size_t n;
};
void html_lines(const struct html_chart *c, buf *out);

#endif
