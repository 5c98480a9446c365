/* Inside the engine. `engine.lock` guards the queue, the list of live requests and the counters that
 * engine_get_info reads; everything of a running request belongs to the engine thread, but for its
 * `cancelled` flag. */
#ifndef SP_ENGINE_ENGINE_INT_H
#define SP_ENGINE_ENGINE_INT_H

#include <pthread.h>
#include <stdatomic.h>
#include "base/base.h"
#include "engine/engine.h"
#include "text/detok.h"

#define LOGPROBS_MAX 20
#define STOPS_MAX 64

/* pages.c: which KV pages are free. Engine thread only. */
struct pages {
    int32_t *free; /* a stack */
    int32_t n_free, total;
};
int pages_init(struct pages *p, int32_t total);
void pages_done(struct pages *p);
bool pages_take(struct pages *p, int32_t n, int32_t *out); /* all or none */
void pages_give(struct pages *p, const int32_t *pages, int32_t n);

/* stop.c: text is held back while it may still become a stop string. */
struct stopper {
    char **stops; /* [n], owned */
    size_t n;
    buf held;
};
int stopper_init(struct stopper *s, const char *const *stops, size_t n);
void stopper_done(struct stopper *s);
/* Appends text; *release: how many bytes at the start of s->held are certain now; the caller takes them
 * by stopper_drop. Returns the stop string that was found (release ends before it), or NULL. */
const char *stopper_add(struct stopper *s, const char *text, size_t n, size_t *release);
void stopper_drop(struct stopper *s, size_t n);

/* sample.c */
struct token_counts {
    uint16_t *answer; /* [vocab] how often in the answer; NULL when no penalty asks for it */
    uint8_t *seen;    /* [vocab] anywhere in prompt or answer; NULL without repetition penalty */
    int32_t *ids;     /* [n] each token that either of them has, once */
    int64_t n;
};
/* Into what there is; `ids` must have room for one more. */
void token_counts_add(struct token_counts *c, int32_t token, bool answer);

struct candidate {
    float logit;
    int32_t token;
};
/* What choosing a token needs; made once, for one thread. */
struct sampler {
    const struct kernel_ops *ops;
    int64_t vocab;
    float *work;                  /* [vocab] logits after bias and penalties */
    float *weight;                /* [vocab] of the candidates, or of the whole vocabulary */
    struct candidate *cand;       /* [vocab] */
    int32_t *pick;                /* [vocab] places in cand */
    float *block_max, *block_sum; /* [vocab / 64, rounded up] */
};
int sampler_init(struct sampler *s, const struct kernel_ops *ops, int64_t vocab);
void sampler_done(struct sampler *s);
/* The next token. logits [vocab] stay untouched. -1: there is no logit above -inf; NaN counts as such. */
int32_t sample_token(struct sampler *s, const float *logits, const struct sampling *p,
                     const struct token_counts *counts, int64_t position);
/* What such a draw is among (temperature > 0): cand[] in order of ids, weight[] beside it; how many. */
int64_t sample_candidates(struct sampler *s, const float *logits, const struct sampling *p,
                          const struct token_counts *counts);
/* The n best tokens by logit, best first, ties to the lower id; logprob = logit - log_sum_exp. How many:
 * fewer than n where the others' logits are -inf. */
int sample_top(struct sampler *s, const float *logits, float log_sum_exp, int n,
               struct token_logprob *out);

/* A request from submit to DONE. */
struct request {
    struct request *next; /* in the queue or in the running list */
    struct request *live_prev, *live_next;
    uint64_t id;
    struct engine_request r; /* prompt, stops and bias point to copies below */
    struct logit_bias *bias;
    struct token_list tokens; /* prompt and answer */
    struct token_counts counts;
    struct stopper stop;
    struct detok detok;
    buf text;                          /* text of the event being made */
    int64_t n_prompt, n_answer, n_max; /* n_max: answer tokens at most */
    int64_t n_cached;                  /* positions whose K and V are in the pages */
    int64_t n_next;                    /* n_cached after the step that is being run */
    int32_t *pages;
    int32_t n_pages;
    bool started;
    double submitted, admitted, timed, first, last; /* clock_seconds; timed: prefill counts from */
    atomic_bool cancelled;
};

/* stats.c: written by the engine thread alone, read by any. */
struct engine_counts {
    atomic_uint_fast64_t steps, step_rows, steps_by_rows[ENGINE_ROW_BOUNDS + 1];
    atomic_uint_fast64_t prompt_tokens, answer_tokens;
};
void count_add(atomic_uint_fast64_t *count, uint64_t n); /* engine thread */
void count_step(struct engine_counts *c, int64_t rows);  /* engine thread */

struct engine {
    checkpoint *ckpt;
    tokenizer *tok;
    chat_format *chat;
    model *model;
    pool *pool;
    kv_pool *kv;
    struct engine_opts opts;
    struct engine_info info;
    int64_t context, vocab;
    int32_t *ends; /* tokens at which an answer ends */
    size_t n_ends;

    pthread_t thread;
    bool thread_runs;
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct request *queue, **queue_end; /* under lock */
    struct request *live;               /* under lock: queued and running */
    int waiting, n_running;             /* under lock */
    int32_t pages_free;                 /* under lock: copy for engine_get_info */
    uint64_t next_id;
    bool stop;

    /* the engine thread's */
    struct request *running; /* in order of admission */
    struct pages pages;
    struct model_row *rows;
    struct model_seq *seqs;
    struct request **seq_owner; /* [step_rows] whose sequence it is */
    float *logits;              /* [MODEL_LOGIT_ROWS, vocab] */
    struct sampler sampler;
    struct engine_counts counts;
};

/* request.c */
int request_new(engine *e, const struct engine_request *r, struct request **out, sp_error *err);
void request_free(struct request *q);
int32_t request_pages(const struct request *q); /* pages it may need */

/* emit.c: events */
void emit_prompt(engine *e, struct request *q, int64_t index, const float *logits, float lse);
/* Takes the sampled token in: text, events, end. True: the request is over. */
bool emit_token(engine *e, struct request *q, int32_t token, const float *logits, float lse);
void emit_done(engine *e, struct request *q, enum finish_reason reason, const char *stop,
               const sp_error *err);

/* step.c: one step over the running requests. */
void step_run(engine *e);
/* Takes a request out of the running list and frees it; DONE has been sent. */
void schedule_retire(engine *e, struct request *q);
/* schedule.c: the engine thread. */
void *schedule_main(void *arg);

#endif
