/* What the files of the load generator share: load_data.c makes prompts, load_arrivals.c times, load_call.c asks one
 * question, load_run.c keeps a server under load, load_stats.c makes figures, load.c goes through the plan. */
#ifndef SP_BENCH_LOAD_INT_H
#define SP_BENCH_LOAD_INT_H

#include "bench/client_int.h"
#include "bench/load.h"

/* ---- load_arrivals.c ---- */

/* A draw of the gamma distribution with this shape and scale 1; the n-th of a seed is always the same. shape > 0. */
double arrivals_gamma(uint64_t seed, uint64_t n, double shape);
/* Seconds from a run's start at which requests arrive at this rate, ascending, in a new array (sp_free): s->requests of
 * them, or those within s->seconds, or what comes first. Without a ramp a number of requests is stretched so that the
 * last comes at requests / rate, as `vllm bench serve` does. */
int arrivals_times(const struct load_shape *s, double rate, uint64_t seed, double **out, size_t *n,
                   sp_error *err);

/* ---- load_data.c ---- */

/* Where prompts come from; read once, then only looked at. */
typedef struct load_data load_data;
int load_data_open(const struct load_prompts *p, load_data **out, sp_error *err);
void load_data_close(load_data *d);
/* Conversations in the file; 0: there is no file. */
size_t load_data_count(const load_data *d);

/* Which conversation of which run. */
struct load_place {
    uint64_t stream; /* the run's own number: no two runs share prompts */
    uint64_t number; /* of the conversation; a file's go on from run to run */
};
/* Turns of a conversation, at least 1, at most p->turns. */
int64_t load_data_turns(const load_data *d, const struct load_place *at);
/* What is said at this turn, in *out, and how long the answer may be. A whole list of messages (a file's) stands in
 * *messages instead, borrowed; it is of turn 0 only. */
int load_data_turn(const load_data *d, const struct load_place *at, int64_t turn, buf *out,
                   const json_t **messages, int64_t *max_tokens);

/* ---- records ---- */

/* One request. Times in seconds since the run's start. */
struct load_record {
    double arrival;            /* when it was due; its start, in a closed loop */
    double start, first, last; /* sent; first token; last piece of the answer. 0: there was none */
    double *gaps;              /* [n_gaps] between its tokens' pieces */
    size_t n_gaps, cap_gaps;
    int64_t tokens_in, tokens_out; /* of usage; without it 0 and the number of pieces */
    int64_t turn;
    bool has_usage;
    enum load_outcome outcome;
    int status;
    char *why; /* NULL, or what was said when it failed */
};

/* One server at one level once. */
struct load_run {
    struct load_record *records; /* [n] in the order in which they were over */
    size_t n, cap;
    int64_t unsent;         /* arrivals that were still waiting for a place when the run ended */
    uint64_t conversations; /* that were begun */
    double duration;        /* from the start to the last answer */
};
void load_run_free(struct load_run *r);

/* ---- load_call.c: one question ---- */

struct load_call;
struct load_call_opts {
    const struct load_prompts *prompts;
    const char *model;
    client *client;
    double epoch;                                 /* clock_seconds at the run's start */
    bool keep_text;                               /* of answers */
    void (*done)(void *arg, struct load_call *c); /* from within the loop; it frees the call */
    void *arg;
};
/* What was said before, for the turns of a conversation: a list of messages, or for completions one text. */
struct load_history {
    json_t *messages;
    buf text;
};
void load_history_clear(struct load_history *h);
/* Sends the question `said` after *h, or the list of messages instead. *rec is filled until `done`. NULL: no memory.
 * A call that is over at once (no socket) is not told by `done`. */
struct load_call *load_call_start(const struct load_call_opts *o, const struct load_history *h,
                                  str said, const json_t *messages, int64_t max_tokens,
                                  struct load_record *rec);
bool load_call_is_over(const struct load_call *c);
void load_call_give_up(struct load_call *c, enum load_outcome outcome, const char *why);
str load_call_text(const struct load_call *c); /* of the answer; with keep_text */
void load_call_free(struct load_call *c);      /* under way: it is cancelled */

/* ---- load_run.c ---- */

struct load_run_opts {
    struct event_base *base;
    client *client;
    const struct load_data *data;
    const struct load_plan *plan;
    const struct load_server *server;
    struct load_level level;
    const struct load_shape *shape;
    uint64_t stream, first; /* of struct load_place; first: the first conversation's number */
    const struct load_watch *watch;
    struct load_progress progress; /* server, level, run and runs are set */
};
/* SP_ECANCELLED: it was stopped; *out has what came until then. */
int load_run_once(const struct load_run_opts *o, struct load_run *out, sp_error *err);

/* ---- load_stats.c ---- */

const char *load_outcome_name(const struct load_record *r, char room[24]);
/* The figures of one or several runs of one server and level, durations added up. `sorted` may be NULL; else it gets
 * new arrays (sp_free) of milliseconds. */
int load_figures_of(const struct load_run *runs, size_t n, const struct load_plan *p,
                    struct load_level level, struct load_figures *out,
                    double *sorted[METRIC_E2EL + 1], sp_error *err);
/* Failures by kind into r->errors. */
void load_count_errors(struct load_result *r);

/* ---- what the reports share ---- */

bool load_wants_goodput(const struct load_plan *p);
void load_put_ms(char out[24], double ms); /* "12.3 ms", "8.2 s" */
json_t *load_result_json(const load *l, const struct load_result *r,
                         bool details); /* NULL: out of memory */
json_t *load_ratio_json(const load *l, const struct load_ratio *r);
void load_figure_key(const struct load_plan *p, enum load_figure f,
                     char out[32]); /* "median_ttft_ms" */
const struct load_plan *load_plan_of(const load *l);
void load_level_name(struct load_level v, char out[48]); /* "16 at once", "2 a second" */

#endif
