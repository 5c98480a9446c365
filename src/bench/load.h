/* `sampan bench serve`: load for servers that speak OpenAI's API, and what it says about them.
 *
 * A plan has servers, levels of load and rounds. For each level and each round every server is measured once (a run),
 * in an order that turns round from round to round, so that what happens to the machine happens to all of them alike.
 * Each run has prompts of its own. The terms and the figures are those of `vllm bench serve`:
 *   TTFT   from sending a request to its first token
 *   ITL    between neighbouring pieces of one answer; of all answers together
 *   E2EL   from sending a request to the last piece of its answer
 *   TPOT   (E2EL - TTFT) / (tokens - 1) of an answer with at least two tokens
 *   goodput  requests a second that keep every limit of the plan; one token's TPOT counts as 0 here
 * A piece that only tells the role or the reason of the end is no token. An answer counts when it came whole;
 * everything else is counted by what went wrong. Times are seconds. One thread: the caller's. */
#ifndef SP_BENCH_LOAD_H
#define SP_BENCH_LOAD_H

#include <jansson.h>
#include "base/base.h"

#define LOAD_SERVERS_MOST 16
#define LOAD_LEVELS_MOST 64
#define LOAD_PERCENTILES_MOST 16
#define LOAD_REQUESTS_MOST ((int64_t)10000000)

struct load_server {
    char name[64];
    char url[512];   /* http(s)://HOST[:PORT][/PREFIX]; "/v1" at its end may be there or not */
    const char *key; /* NULL: none */
    char model[256]; /* "": the first of its list, filled in by load_open */
};

struct load_level {
    int64_t concurrency; /* requests at once; 0: no limit (open loop) */
    double rate; /* arrivals a second; 0: closed loop, the next request starts when one is over */
};

enum load_ramp { RAMP_NONE, RAMP_LINEAR, RAMP_EXPONENTIAL };

/* How arrivals and their end are decided. With neither requests nor seconds there are 4 requests for each one at once,
 * at least 16. */
struct load_shape {
    int64_t requests; /* 0: until the seconds are over */
    double seconds;   /* after which no request is sent any more; 0: until all are sent */
    double
        burstiness; /* shape of the gamma distribution of gaps: 1 is a Poisson process, less is more bursty */
    enum load_ramp ramp; /* of the rate, from the level's to ramp_to */
    double ramp_to;
    int64_t warmups; /* requests before each server's first run; they count nowhere */
    double timeout;  /* of one request */
};

/* What is asked. */
struct load_prompts {
    int64_t words;        /* random words of a prompt */
    int64_t prefix_words; /* words that all prompts of a run begin with */
    int64_t turns;        /* of a conversation: what was answered goes into the next prompt */
    const char *file;     /* NULL: random words. JSON like ShareGPT's, or a JSON object a line */
    uint64_t seed;        /* the same seed makes the same prompts */
    bool chat;            /* /v1/chat/completions, else /v1/completions */
    int64_t max_tokens;
    double temperature;
    bool ignore_eos;
    json_t *extra; /* an object whose members go into every body, or NULL */
};

enum load_metric {
    METRIC_TTFT,
    METRIC_TPOT,
    METRIC_ITL,
    METRIC_E2EL,
    METRIC_QUEUE,
    METRIC_TOTAL,
    LOAD_METRICS
};
extern const char *const load_metric_keys[LOAD_METRICS];  /* "ttft", as in mean_ttft_ms */
extern const char *const load_metric_names[LOAD_METRICS]; /* "TTFT" */

struct load_plan {
    struct load_server servers[LOAD_SERVERS_MOST];
    size_t n_servers;
    struct load_level levels[LOAD_LEVELS_MOST];
    size_t n_levels;
    int64_t rounds;
    struct load_shape shape;
    struct load_prompts prompts;
    double goodput[METRIC_E2EL + 1]; /* limits of TTFT, TPOT and E2EL; 0: none (ITL has none) */
    double percentiles[LOAD_PERCENTILES_MOST];
    size_t n_percentiles;
    bool insecure; /* TLS certificates are not checked */
};

/* What became of a request. */
enum load_outcome {
    LOAD_OK,
    LOAD_CONNECT, /* no connection */
    LOAD_STATUS,  /* an HTTP status other than 200: named http_429 */
    LOAD_TIMEOUT,
    LOAD_CLOSED,    /* the connection ended before the answer did */
    LOAD_HTTP,      /* what came is no HTTP */
    LOAD_EVENT,     /* an event that is no JSON object */
    LOAD_ERROR,     /* an event that tells an error */
    LOAD_NO_STREAM, /* 200 without an event stream */
    LOAD_EMPTY,     /* whole, and not one token in it */
    LOAD_UNFINISHED /* still running when the run was stopped: neither completed nor failed */
};
struct load_error {
    char kind[24];
    int64_t count;
    char example[200]; /* what the first of them said */
};

/* Answers whose distribution is told; milliseconds. All 0 when there is none. */
struct load_spread {
    size_t n;
    double mean, median, std, min, max;
    double percentiles[LOAD_PERCENTILES_MOST]; /* as in the plan */
};

struct load_figures {
    int64_t sent, completed, failed, unfinished;
    int64_t tokens_in, tokens_out;
    int64_t
        uncounted; /* completed answers without usage: their pieces were counted, and no tokens in */
    double duration;
    double request_throughput, goodput, output_throughput, total_throughput; /* a second */
    double peak_output; /* tokens in the best second */
    int64_t peak_concurrency;
    struct load_spread
        spread[LOAD_METRICS]; /* QUEUE and TOTAL: only with a rate and a limit at once */
};

/* One server at one level: all rounds together, and each. */
struct load_result {
    const struct load_server *server;
    struct load_level level;
    size_t n_rounds; /* that were begun */
    struct load_figures all;
    struct load_figures *rounds; /* [n_rounds] */
    struct load_error errors[32];
    size_t n_errors;                 /* kinds; those over 32 are counted in the last */
    double *sorted[METRIC_E2EL + 1]; /* [all.spread[m].n] ascending, milliseconds */
    struct load_run *runs;           /* load_int.h */
};

struct load_progress {
    const struct load_server *server;
    struct load_level level;
    size_t run, runs; /* this one of so many */
    int64_t done, failed, running;
    int64_t requests;         /* of this run; 0: it goes by time */
    double elapsed, left;     /* of this run; left < 0: can't be told yet */
    double tokens_per_second; /* out, since the run began */
};
struct load_watch {
    void (*progress)(void *arg, const struct load_progress *p); /* may be NULL */
    bool (*stopped)(void *arg); /* may be NULL; true ends the run at once */
    void *arg;
};

typedef struct load load;

/* Reads the prompts, finds the servers' addresses and models, and warms up. *p must outlive the load. Errors name the
 * server and say what it answered. */
int load_open(struct load_plan *p, const struct load_watch *w, load **out, sp_error *err);
/* All runs. SP_ECANCELLED when it was stopped: what was measured until then is in the results all the same. */
int load_measure(load *l, sp_error *err);
void load_close(load *l);
/* In the order of levels, and of servers in each; those that were never begun are left out. The load's own. */
const struct load_result *load_results(const load *l, size_t *n);

/* How two servers compare at one level: the figures of the first server over those of another, round by round. */
enum load_figure {
    FIGURE_OUTPUT,
    FIGURE_TOTAL,
    FIGURE_REQUESTS,
    FIGURE_GOODPUT,
    FIGURE_TTFT,      /* median */
    FIGURE_TTFT_TAIL, /* the last of the plan's percentiles */
    FIGURE_TPOT,
    FIGURE_ITL_TAIL,
    FIGURE_E2EL,
    LOAD_FIGURES
};
struct load_ratio {
    enum load_figure figure;
    const struct load_result *first, *other;
    size_t n;                           /* rounds in which both have the figure */
    double median, low, high, coverage; /* stats_median_interval */
};
void load_figure_name(const struct load_plan *p, enum load_figure f,
                      char out[32]);          /* "median TTFT" */
bool load_figure_is_time(enum load_figure f); /* less is better */
/* All there are, in a new array (sp_free). */
int load_ratios(const load *l, struct load_ratio **out, size_t *n, sp_error *err);

/* load_report.c. JSON: an object a line, with the keys of `vllm bench serve`; `details` adds a list a request. */
enum load_format { LOAD_TABLE, LOAD_MARKDOWN, LOAD_CSV, LOAD_JSON };
int load_print(const load *l, enum load_format f, bool details, buf *out, sp_error *err);
/* load_html.c: one page with charts that loads nothing else. */
int load_html(const load *l, buf *out, sp_error *err);

#endif
