/* What GET /metrics tells (docs/operating.md has the list). Names, labels, buckets and the intervals that are timed are
 * vLLM's, under a prefix of ours, so that what people know holds here too.
 *
 * All of it is recorded and read on the loop thread: plain numbers in memory made at start, so a token costs no lock
 * and no allocation. What engines know they count themselves (engine_get_stats). The time of an event is taken on the
 * engine's thread, so a busy loop doesn't lengthen it. */
#ifndef SP_SERVER_METRICS_INT_H
#define SP_SERVER_METRICS_INT_H

#include "server/server_int.h"

#define METRIC_BOUNDS_MAX 24

enum histogram_kind {
    HIST_TTFT,       /* seconds from the request's arrival to its first token */
    HIST_ITL,        /* from one token to the next */
    HIST_QUEUE,      /* submitted -> admitted */
    HIST_PREFILL,    /* admitted -> first token */
    HIST_DECODE,     /* first token -> last */
    HIST_INFERENCE,  /* admitted -> last token */
    HIST_E2E,        /* arrival -> end */
    HIST_PROMPT,     /* tokens */
    HIST_ANSWER,     /* tokens */
    HIST_MAX_TOKENS, /* the parameter, where a request has it */
    HIST_N,          /* the parameter */
    HIST_COUNT
};

struct histogram {
    uint64_t counts[METRIC_BOUNDS_MAX + 1]; /* [i]: above the bound before, up to bound i */
    double sum;
};

/* One served model, in its row (models_int.h). An answer counts by itself: a request with n = 3 has three. */
struct model_metrics {
    struct histogram hist[HIST_COUNT];
    uint64_t finished[4]; /* by enum finish_reason */
};

#define METRIC_ROUTES 96
#define METRIC_METHODS 10
#define METRIC_REASONS 32

struct metrics {
    uint64_t http[METRIC_ROUTES][METRIC_METHODS][6]; /* by status / 100 */
    struct rejections {
        const char *reason;
        uint64_t n;
    } rejected[METRIC_REASONS]; /* up to the first without a reason */
};

extern const char *const metrics_methods[METRIC_METHODS];

/* Upper bounds of a histogram's buckets without +Inf; at most METRIC_BOUNDS_MAX. context: the model's, which bounds
 * those of tokens. */
size_t metrics_bounds(enum histogram_kind kind, int64_t context, const double **bounds);
void metrics_observe(struct histogram *h, const double *bounds, size_t n, double value);
/* What Prometheus reads (text format 0.0.4). false: out of memory. */
bool metrics_text(struct server *s, buf *out);

#endif
