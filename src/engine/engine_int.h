/* Inside the engine. `engine.lock` guards the queue, the list of live requests and the counters that
 * engine_get_info reads; everything of a running request belongs to the engine thread, but for its
 * `cancelled` flag. */
#ifndef SP_ENGINE_ENGINE_INT_H
#define SP_ENGINE_ENGINE_INT_H

#include <pthread.h>
#include <stdatomic.h>
#include "base/base.h"
#include "engine/engine.h"
#include "engine/queue_int.h"
#include "text/detok.h"

#define LOGPROBS_MAX 20
#define STOPS_MAX 64

/* pages.c, prefix.c: the KV pages, counted by the requests that hold them, and the prefix cache over them. Engine
 * thread only; all memory is taken at start.
 *
 * A page that the cache keeps is full and never written again; it stands for its tokens behind those of its parent, the
 * page before it. Whoever holds a page holds its parents, and gives them back after it. So a page that nobody holds has
 * no child that somebody holds, and in the order of giving back, which is the order of eviction, children come before
 * their parents: the cache never keeps a page without its parents, and an index names a parent for good. A pool serves
 * one model, KV type, compute mode and instruction set; of what sets pages of equal tokens apart only the tenant is
 * left. */
struct page {
    int32_t holders;
    bool kept;      /* by the cache; what follows is set then */
    int32_t parent; /* -1: the first of a sequence */
    uint64_t tenant;
    uint64_t hash;        /* of tenant, all parents' tokens and its own */
    int32_t same_bucket;  /* the next one; -1: none */
    int32_t older, newer; /* held by nobody: neighbours in the order of giving back; -1: none */
};
struct pages {
    struct page *page;      /* [total] */
    int32_t *tokens;        /* [total, KV_PAGE] of the kept */
    int32_t *free;          /* a stack: held by nobody and not kept */
    int32_t n_free, n_idle; /* idle: held by nobody and kept */
    int32_t total;
    int32_t oldest, newest; /* idle; -1: none */
    int32_t *bucket;        /* [bucket_mask + 1] the first page of each */
    uint64_t bucket_mask, seed, evictions;
};
int pages_init(struct pages *p, int32_t total);
void pages_done(struct pages *p);
/* A page with one holder: a free one, or the one that has been idle for longest. -1: all are held. */
int32_t pages_take(struct pages *p);
void pages_hold(struct pages *p, int32_t page); /* one holder more of a kept page */
void pages_give(struct pages *p, int32_t page);
int32_t pages_available(const struct pages *p); /* that could be taken */
void pages_refill(struct pages *p); /* before the first use: who is held from now on isn't free */

/* The page kept for KV_PAGE tokens behind `parent` (-1: at the start); -1: none. */
int32_t prefix_find(const struct pages *p, int32_t parent, const int32_t *tokens, uint64_t tenant);
/* Keeps a full page of the caller's. When there is one already, the caller holds that one in its place: computed from
 * the same tokens, both have the same bits. Returns the one that the caller holds now. */
int32_t prefix_keep(struct pages *p, int32_t page, int32_t parent, const int32_t *tokens,
                    uint64_t tenant);
void prefix_forget(struct pages *p, int32_t page);
int32_t pages_flush(struct pages *p); /* forgets all that nobody holds; how many */

/* stop.c: text is held back while it may still become a stop string. */
struct stopper {
    char **stops; /* [n], owned */
    size_t n;
    buf held;
    bool blind;  /* what is added now can end no stop string */
    size_t skip; /* bytes of held in which none can end */
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
    const int32_t *banned; /* [n_banned] tokens that must not come now */
    size_t n_banned;
};
/* Into what there is; `ids` must have room for one more. */
void token_counts_add(struct token_counts *c, int32_t token, bool answer);

/* What choosing a token needs; made once, for one thread. */
struct sampler {
    const struct kernel_ops *ops;
    int64_t vocab;
    float *work;                  /* [vocab] logits after bias and penalties */
    float *weight;                /* [vocab] of the candidates, or of the whole vocabulary */
    float *logit;                 /* [vocab] of candidates */
    int32_t *token;               /* [vocab] the same ones */
    int32_t *pick;                /* [vocab] places among candidates */
    float *block_max, *block_sum; /* [vocab / 64, rounded up] */
};
uint64_t sampler_bytes(int64_t vocab);
int sampler_init(struct sampler *s, const struct kernel_ops *ops, int64_t vocab);
void sampler_done(struct sampler *s);
/* The next token. logits [vocab] stay untouched. -1: there is no logit above -inf; NaN counts as such. */
int32_t sample_token(struct sampler *s, const float *logits, const struct sampling *p,
                     const struct token_counts *counts, int64_t position);
/* What such a draw is among (temperature > 0): token[] in order of ids, weight[] beside it; how many. */
int64_t sample_candidates(struct sampler *s, const float *logits, const struct sampling *p,
                          const struct token_counts *counts);
/* The n best tokens by logit, best first, ties to the lower id; logprob = logit - log_sum_exp. How many:
 * fewer than n where the others' logits are -inf. */
int sample_top(struct sampler *s, const float *logits, float log_sum_exp, int n,
               struct token_logprob *out);

/* draft.c: how many guesses of which request a step verifies. Engine thread only. */
struct draft {
    int32_t token[DRAFT_MOST]; /* guesses at the next tokens */
    float chance[DRAFT_MOST];  /* that this one and all before it are drawn, as estimated */
    int n;                     /* guesses */
    int rows;                  /* of them are rows of this step */
    int right;                 /* were drawn so far */
    bool open;                 /* all that were compared were right */
    int64_t tokens, accepted;  /* of the request so far: rows, and those that counted */
};

/* Seconds of a step without prompts by its number of rows, learned as they run: between places the line. */
#define COST_PLACES 16
struct step_cost {
    double at[COST_PLACES]; /* seconds; before the first step multiples of one row's */
    bool measured;
};
void step_cost_init(struct step_cost *c);
void step_cost_learn(struct step_cost *c, int64_t rows, double seconds);
double step_cost_of(const struct step_cost *c, int64_t rows);

/* A request from submit to DONE. */
struct request {
    struct request *next; /* in the running list, or one of the queue's */
    struct request *prev; /* in the running list */
    struct request *live_prev, *live_next;
    uint64_t id;
    struct engine_request r; /* prompt, stops and bias point to copies below */
    struct logit_bias *bias;
    struct token_list tokens; /* prompt and answer */
    struct token_counts counts;
    struct stopper stop;
    struct detok detok;
    struct draft_source *drafts; /* NULL: none */
    struct draft draft;
    buf text;                          /* text of the event being made */
    int64_t n_prompt, n_answer, n_max; /* n_max: answer tokens at most */
    int64_t n_cached;                  /* positions whose K and V are in the pages */
    int64_t n_step;                    /* rows in the step that is being run */
    int64_t n_prompt_told; /* prompt tokens whose event was sent, with prompt_logprobs */
    int32_t *pages;
    int32_t n_pages;
    int32_t n_kept;          /* its first pages, which the prefix cache keeps */
    int64_t n_prompt_cached; /* prompt tokens that came from there */
    bool started;
    struct heap_node turn, expiry; /* in the queue; under lock */
    int rank;                      /* level at its last admission */
    uint64_t admission;            /* number of its first */
    int64_t n_charged;             /* of the answer, to its tenant */
    int64_t n_paced;               /* positions that engine_pace knows of */
    bool waits;                    /* in the queue; under lock */
    bool preempted;                /* gave its pages back once */
    int64_t n_told;                /* positions that the last EVENT_PROGRESS told of */
    double submitted, admitted, timed, first, last; /* clock_seconds; timed: prefill counts from */
    atomic_bool cancelled;
};

/* choose.c: the tokens of a step, drawn by the compute pool's workers. */
struct choice {
    struct request *q; /* NULL: nobody wants it any more */
    int32_t seq;       /* the row's sequence; rows of one follow each other */
    int32_t input;     /* the row's token */
    int64_t pos;
    const float *logits; /* [vocab] */
    /* What came of it. */
    bool ready; /* false: behind a wrong guess, or of a cancelled request */
    bool
        drawn; /* `token` is the next of the answer (-1: no finite logit); false: the row is the prompt's */
    int32_t token;
    float log_sum_exp; /* this and `top` with logprobs only */
    int n_top;
    struct token_logprob top[LOGPROBS_MAX];
};
struct chooser {
    const struct kernel_ops *ops;
    int64_t vocab;
    const int32_t *ends; /* [n_ends] tokens that no draw gives before min_tokens; the engine's */
    size_t n_ends;
    struct sampler *samplers; /* one a worker */
    int n_samplers, n;
    struct choice *choices; /* [n], at most MODEL_LOGIT_ROWS; filled by the engine thread */
    int runs[MODEL_LOGIT_ROWS];
};
uint64_t chooser_bytes(int64_t vocab, int threads);
int chooser_init(struct chooser *c, const struct kernel_ops *ops, int64_t vocab, int threads);
void chooser_done(struct chooser *c);
/* Makes the choices and counts the drawn tokens for penalties. */
void chooser_run(struct chooser *c, pool *p);

/* stats.c, on the engine thread: into e->tally, which others see from the next stats_publish on: after each step, and
 * before each DONE. */
void count_step(engine *e, int64_t rows);
void count_prompt(engine *e, const struct request *q); /* it is behind the request */
void stats_publish(engine *e);                         /* under lock */

/* How fast requests have been served lately. */
struct engine_pace {
    double tokens, seconds; /* of prompts and answers, while anything ran; old ones fade */
    double answer;          /* tokens of an answer */
};

/* tend.c: what another thread wants done between two steps. */
struct engine_task {
    int (*run)(engine *e, void *arg, sp_error *err); /* engine thread */
    void *arg;
    sp_error *err;
    int code;
    bool done; /* under engine.lock */
};

struct engine {
    checkpoint *ckpt;
    tokenizer *tok;
    chat_format *chat;
    model *model;
    pool *pool;
    bool own_pool;
    kv_pool *kv;     /* NULL: asleep */
    char *store_dir; /* NULL: no prefix store */
    struct engine_opts opts;
    struct engine_info info;
    int64_t context, vocab;
    int32_t *ends; /* tokens at which an answer ends */
    size_t n_ends;

    pthread_t thread;
    bool thread_runs;
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct queue queue;        /* under lock */
    struct request *live;      /* under lock: queued and running */
    int n_running;             /* under lock */
    struct engine_stats stats; /* under lock: a copy of `tally` */
    struct engine_pace pace;   /* under lock */
    uint64_t next_id;
    bool stop;
    bool asleep;              /* under lock */
    struct engine_task *task; /* under lock; NULL: none */
    pthread_cond_t task_done;

    /* the engine thread's */
    struct request *running, *running_last; /* by rank, then in order of admission */
    uint64_t admissions;
    double stepped; /* clock_seconds before the last step; 0: there was none */
    struct pages pages;
    struct prefix_store *store; /* NULL: none */
    bool weights_sleep;
    uint64_t fixed_bytes;      /* weights and buffers of a step */
    uint64_t evictions_before; /* of pools that it had before it slept */
    struct engine_stats tally;
    struct request **seq_owner; /* [step_rows] who has rows in this step: its sequences */
    int32_t n_seqs;
    struct model_row *rows;
    struct model_seq *seqs;
    float *logits; /* [MODEL_LOGIT_ROWS, vocab] */
    struct chooser chooser;
    struct step_cost cost;
};

/* memory.c; SP_ENOMEM or SP_EINVAL: it doesn't fit, with what would. */
int memory_plan(const engine *e, const struct model_memory *take, struct engine_memory *m,
                sp_error *err);

struct engine_need memory_need(const engine *e, const struct model_memory *take);

/* tend.c. On the engine's thread, or before it runs. */
int engine_take_pages(engine *e, int32_t n, sp_error *err);
void task_run(engine *e); /* does e->task, if there is one */

/* request.c */
int request_new(engine *e, const struct engine_request *r, struct request **out, sp_error *err);
void request_free(struct request *q);
int32_t request_pages(const struct request *q); /* pages it may need */
int32_t request_pages_for(int64_t positions);
int64_t request_rows_left(const struct request *q);        /* tokens that wait to be computed */
bool request_decodes(const struct request *q);             /* its prompt is behind it */
bool request_wants_prompt(const struct request *q);        /* events of prompt tokens */
bool request_overdue(const struct request *q, double now); /* total_seconds_max are over */
/* Gives its pages back, and with them all that was computed. */
void request_release(engine *e, struct request *q);

/* emit.c: events */
void emit_progress(struct request *q);
/* choice NULL: the first token, which nothing foretold. */
void emit_prompt(engine *e, struct request *q, int64_t index, const struct choice *choice);
/* Takes the drawn token in: text, events, end. True: the request is over. */
bool emit_token(engine *e, struct request *q, const struct choice *choice);
void emit_done(engine *e, struct request *q, enum finish_reason reason, const char *stop,
               const sp_error *err);

/* prefix.c: takes pages that the cache has for what follows at q->n_cached; how many positions. */
int64_t prefix_extend(engine *e, struct request *q);
/* Counts them, unless q was preempted: then its prompt was counted before. */
void prefix_count(engine *e, struct request *q, int64_t found);
/* Of the page that q would begin now, `other` has yet to compute all that q may take: better wait for it. */
bool prefix_awaits(const engine *e, const struct request *q, const struct request *other);
/* Copies the page that another running request is filling, if it begins as q's next one; how many positions count. */
int64_t prefix_copy(engine *e, struct request *q);
void prefix_record(engine *e, struct request *q); /* its full pages go into the cache */
/* prefix_store.c: the cache on disk. Opening fills the pages that nobody has touched yet. Kept pages are put in line
 * and copied out between steps while there are buffers (ready). Closing, when no thread uses the pages any more, writes
 * the rest. */
int prefix_store_open(engine *e, const char *dir, sp_error *err);
void prefix_store_close(struct prefix_store *s, const struct pages *p);
void prefix_store_add(struct prefix_store *s, int32_t page);
bool prefix_store_ready(struct prefix_store *s);
void prefix_store_save(struct prefix_store *s, const struct pages *p);
/* Before a step: guesses for the requests that decode, and how many are worth verifying (draft.rows); of all. */
int64_t draft_plan(engine *e);
/* Then: no more of q than there are pages for. */
void draft_fit(engine *e, struct request *q, int64_t most);
/* A token was drawn: whether the row after it in this step has just this token. */
bool draft_next(engine *e, struct request *q, int32_t token);

/* plan.c: fills `seq_owner` and gives each the pages for its rows. */
void plan_step(engine *e);
/* step.c: one step over the running requests. */
void step_run(engine *e);
/* schedule.c: the engine thread. */
void *schedule_main(void *arg);
/* Takes a request out of the running list and frees it; DONE has been sent. */
void schedule_retire(engine *e, struct request *q);
/* Takes a request out of the running list, to the preempted, who are admitted before newcomers. What it answered is
 * kept; its K and V will be computed again, with the same bits. */
void schedule_preempt(engine *e, struct request *q);

#endif
