/* The engine: requests in, tokens out. It is the only way to a model for everything above (server, chat,
 * evaluation, benchmarks), so that all of them measure and show the same thing.
 *
 * One engine thread owns the model step, the KV pages and the schedule. Any thread may submit and cancel;
 * answers come as events to the request's sink, which is called on the engine thread: it must copy what
 * it wants to keep and return at once. After DONE nothing more comes, and `user` may be freed.
 * Cancelling takes effect within one step, queued, in prefill or decoding; DONE still comes.
 * Lock order: engine queue lock only; no sink is called with it held.
 *
 *     engine *e;
 *     struct engine_opts o = engine_opts_default();
 *     engine_open("qwen.gguf", &o, &e, &err);
 *     struct engine_request r = engine_request_default(e);   // the model's own sampling defaults
 *     r.prompt = ids, r.n_prompt = n, r.max_tokens = 64, r.sink = on_event, r.user = &state;
 *     uint64_t id;
 *     engine_submit(e, &r, &id, &err);
 *     ...                                              // on_event: TOKEN, TOKEN, ..., DONE
 *     engine_close(e);                                 // cancels what is left and waits
 */
#ifndef SP_ENGINE_ENGINE_H
#define SP_ENGINE_ENGINE_H

#include "model/model.h"
#include "text/chat.h"

typedef struct engine engine;

#define DRAFT_MOST 16 /* draft tokens of a request in one step */

/* Speculative decoding: guesses at a request's next tokens are verified in the same step. It changes speed only:
 * every token is drawn from the model's own logits, and a guess counts while it equals the draw. */
enum speculate {
    SPECULATE_OFF,
    SPECULATE_NGRAM /* what followed the last tokens where they stood before, in prompt or answer */
};

/* What an engine takes of memory, in bytes. */
struct engine_memory {
    uint64_t weights, scratch; /* packed; buffers of a step of step_rows */
    uint64_t kv, kv_page;      /* the pool; one page of KV_PAGE positions */
    int32_t pages;
    int contexts; /* of `context` positions that the pool has room for */
    int64_t context, step_rows;
    uint64_t limit, free; /* for all of it; of the machine, before */
};

/* What a model must have and can use, in bytes, before anything is taken. */
struct engine_need {
    uint64_t fixed;     /* weights and buffers of a step */
    uint64_t kv_one;    /* KV pages of one context */
    uint64_t kv_wanted; /* of max_seqs contexts */
    uint64_t kv_given;  /* opts.kv_bytes */
};

struct engine_opts {
    pool *
        pool; /* shared with other engines, one step at a time in turn, and not owned; NULL: one of its own */
    enum compute_mode compute;
    enum kv_type kv_type; /* of keys and values, if kv_given; else what fits `compute` */
    bool kv_given;
    int threads;         /* 0: one for each performance core (base/machine.h) */
    enum pool_pin pin;   /* of the compute threads to CPUs; default POOL_PIN_AUTO */
    int64_t max_context; /* positions a request may use, prompt and answer; 0: the model's own */
    int max_seqs;        /* requests running at once, default 16 */
    int max_queue;       /* requests waiting, default 256; more: SP_EFULL */
    int64_t
        max_queue_tokens; /* of their prompts, together; a lone one may have more; 0: no limit */
    int64_t step_rows;    /* rows of a step: prefill chunk plus decodes, default 256 */
    bool prefix_cache;    /* full pages are kept and found again by their tokens, default true */
    const char *prefix_store; /* folder that keeps the prefix cache over restarts; NULL: none */
    uint64_t kv_bytes; /* KV pool; 0: enough for max_seqs contexts, at most half of free memory */
    uint64_t
        memory; /* for weights, KV pool and steps: the pool gets what is left; 0: what is free */
    /* Says what `memory` is, and may make room for it first; may be NULL. A negative answer (*err is set) ends
     * engine_open. */
    int (*room)(void *arg, const struct engine_need *need, uint64_t *memory, sp_error *err);
    void *room_arg;
    /* Told before any of it is taken; may be NULL. A non-zero answer ends engine_open with SP_ECANCELLED. */
    int (*planned)(void *arg, const struct engine_memory *plan);
    void *planned_arg;
    int (*progress)(void *arg, uint64_t done, uint64_t total); /* while loading; may be NULL */
    void *progress_arg;
    struct packed_opts packed; /* where packed weights are kept; default: nowhere */
    enum speculate speculate;  /* default SPECULATE_NGRAM */
    int draft_max; /* draft tokens of a request in a step, 1 .. DRAFT_MOST, default 12 */
};
struct engine_opts engine_opts_default(void);

/* Opens the checkpoint, tokenizer and template, checks memory (too little: SP_ENOMEM with what is needed,
 * what there is and what smaller choice would fit), loads, starts the thread. */
int engine_open(const char *path, const struct engine_opts *opts, engine **out, sp_error *err);
void engine_close(engine *e);

/* Each is done on the engine's thread between two steps, and returns when it is done. Not while the engine is being
 * closed.
 *
 * Sleeping gives the KV cache back to the system, and the weights where their packed form on disk can stand in for
 * them; requests are refused (SP_EBUSY) until engine_wake. *kept: bytes that are still taken. SP_EBUSY: it has
 * requests. Waking an engine that is awake does nothing; SP_ENOMEM: it sleeps on. The prefix cache is empty then,
 * unless it has a store. */
int engine_sleep(engine *e, uint64_t *kept, sp_error *err);
int engine_wake(engine *e, sp_error *err);
/* Forgets all prefixes but those that running requests hold; how many pages. */
int32_t engine_flush_cache(engine *e);
/* Writes the prefix store and lets go of it, so that another engine may have it; this one goes on without. */
void engine_leave_store(engine *e);

const checkpoint *engine_checkpoint(const engine *e);
const tokenizer *engine_tokenizer(const engine *e);
const chat_format *engine_chat(const engine *e); /* NULL: the model has no template */
int64_t engine_context(const engine *e);         /* positions a request may use */
struct engine_info {
    const char *isa;
    const char *compute; /* "f32", "fast" */
    const char *kv_type; /* "f16", "bf16", "f32" */
    int threads;
    bool pinned; /* each on a CPU of its own */
    uint64_t weight_bytes, kv_bytes;
    double load_seconds;
    int32_t kv_pages, kv_pages_free; /* free: no request holds them */
    int running, waiting;
};
void engine_get_info(engine *e, struct engine_info *out);

/* What an engine has done since it was opened, and what it holds now. Counters only rise. What led to
 * a DONE is counted before its sink is called, the rest as of the last step. Any thread may ask. */
#define ENGINE_ROW_BOUNDS 13
extern const int64_t engine_row_bounds[ENGINE_ROW_BOUNDS]; /* 1, 8, 16, ... 16384 */
struct engine_stats {
    uint64_t accepted;         /* requests that engine_submit took: each ends with one DONE */
    uint64_t steps, step_rows; /* a row: one token of a prompt or an answer that a step computes */
    uint64_t steps_by_rows[ENGINE_ROW_BOUNDS + 1]; /* [i]: above the bound before, up to bound i */
    uint64_t prompt_tokens;                        /* of requests whose prompt is behind them */
    uint64_t prompt_tokens_cached;                 /* of these: from the prefix cache */
    uint64_t answer_tokens;                        /* end tokens count, as in events */
    int running, waiting;
    uint64_t kv_pages;
    uint64_t kv_pages_free,
        kv_pages_cached;                  /* nobody holds them: empty; kept by the prefix cache */
    uint64_t prefix_queries, prefix_hits; /* prompt tokens: looked up in the cache, found there */
    uint64_t evictions;                   /* pages that the cache had to give up */
    uint64_t preemptions;     /* requests that gave their pages back and computed them again */
    uint64_t drafts;          /* times that a request had draft tokens in a step */
    uint64_t draft_tokens;    /* in all of them */
    uint64_t accepted_tokens; /* that equalled the draw */
    uint64_t accepted_at[DRAFT_MOST]; /* the same by place in the draft, from 0 */
};
void engine_get_stats(engine *e, struct engine_stats *out);
void engine_stats_add(struct engine_stats *to,
                      const struct engine_stats *more); /* field by field */

/* In how many seconds what waits now will have been served, by what was served lately. */
double engine_wait_seconds(engine *e);

struct logit_bias {
    int32_t token;
    float bias; /* -100 .. 100 */
};

/* Defaults from the model's generation_config; without one (GGUF): temperature 0.7, top_k 20, top_p 0.8.
 * Order of application: bias, repetition, presence and frequency penalties, temperature, top_k, top_p, min_p. */
struct sampling {
    float temperature;        /* 0: greedy; 0 .. 100 */
    int32_t top_k;            /* 0: off */
    float top_p, min_p;       /* 1 and 0: off */
    float repetition_penalty; /* 1: off; over prompt and answer, as transformers does */
    float presence_penalty, frequency_penalty; /* 0: off; over the answer, as OpenAI does */
    uint64_t seed;                             /* draws depend on (seed, position) only */
    const struct logit_bias *bias;             /* copied at submit */
    size_t n_bias;
};

struct token_logprob {
    int32_t token;
    float logprob; /* natural log, of the raw logits before bias, penalties and temperature */
};

enum engine_event_kind {
    EVENT_PROMPT, /* logprobs of prompt tokens, in order, possibly in several events */
    EVENT_PROGRESS, /* with `progress`: `index` tokens of the prompt are in the cache, `prefill_seconds` so far;
                       once before the first of its steps, then after each */
    EVENT_TOKEN, /* one more token of the answer */
    EVENT_DONE
};
enum finish_reason { FINISH_STOP, FINISH_LENGTH, FINISH_CANCELLED, FINISH_ERROR };

struct engine_event {
    enum engine_event_kind kind;
    uint64_t id;
    void *user;
    /* PROMPT and TOKEN: the token (of the prompt: tokens[index]) */
    int32_t token;
    int64_t index;    /* place in the prompt, or in the answer, from 0 */
    bool has_logprob; /* the first prompt token has none */
    float logprob;
    const struct token_logprob *top; /* [n_top], best first */
    int n_top;
    const float *logits; /* [vocab] raw logits, with prompt_logits; NULL otherwise */
    int64_t vocab;
    /* TOKEN and DONE: answer text that is certain now: whole UTF-8 characters, nothing that may still
     * become a stop string. May be empty. */
    const char *text;
    size_t n_text;
    /* DONE */
    enum finish_reason reason;
    const char *stop; /* the stop string that matched, or NULL */
    sp_error error;   /* FINISH_ERROR */
    int64_t prompt_tokens, answer_tokens;
    int64_t cached_tokens; /* of the prompt, whose K and V came from the prefix cache */
    int64_t draft_tokens, accepted_tokens; /* verified for this request, and equal to the draw */
    double queue_seconds, prefill_seconds, decode_seconds; /* decode: first to last token */
};

typedef void (*engine_sink)(const struct engine_event *ev);

#define ENGINE_PRIORITY_MOST 100

struct engine_request {
    const int32_t *prompt; /* copied at submit */
    size_t n_prompt;
    struct sampling sampling;
    int64_t
        max_tokens; /* of the answer; -1: until the context is full; 0 only with prompt_logprobs */
    const char *const *stop; /* copied; matched across token borders, never part of the text */
    size_t n_stop;
    bool ignore_end; /* go on past end tokens; without it an end token ends the answer: it counts in
                              answer_tokens, gives no text and no TOKEN event */
    int64_t
        min_tokens; /* no end token is drawn and no stop string counts that ends within so many tokens;
                           0: none; at most max_tokens */
    bool skip_special;    /* leave special tokens out of the text (default true) */
    bool progress;        /* EVENT_PROGRESS while the prompt is worked on */
    int logprobs;         /* -1: none; 0 .. 20: the token's own and so many alternatives */
    bool prompt_logprobs; /* EVENT_PROMPT for every prompt token, with `logprobs` alternatives */
    bool prompt_logits;   /* EVENT_PROMPT also carries the whole row of logits that foretold it */
    uint64_t tenant;      /* prefixes are shared within one tenant only; each has its fair share */
    int priority;         /* -ENGINE_PRIORITY_MOST .. ENGINE_PRIORITY_MOST: lower is sooner; 0 */
    /* 0: no limit. Over: FINISH_ERROR, with SP_EBUSY before it ran and SP_ETIMEDOUT later. Both from submit on; the
     * first ends when the request runs. Looked at between steps. */
    double queue_seconds_max, total_seconds_max;
    int64_t
        timed_from; /* prefill_seconds counts from this place of the prompt on, as if what stands
                             before it were there already; 0: all of it. What is timed never
                             comes from the prefix cache, nor does a prompt with logprobs or logits */
    int speculate;  /* -1: as the engine does (default); 0: off */
    engine_sink sink;
    void *user;
};
struct engine_request engine_request_default(const engine *e);

/* Checks every value (SP_EINVAL names it; a prompt that leaves no room in the context names both
 * numbers), queues (SP_EFULL: the queue is full). */
int engine_submit(engine *e, const struct engine_request *r, uint64_t *id, sp_error *err);
void engine_cancel(engine *e, uint64_t id);    /* unknown or finished ids are fine */
bool engine_is_queued(engine *e, uint64_t id); /* no step has had it yet */
/* 1: the next; 0: it doesn't wait. In the order of arrival: priorities and tenants' shares may let others by. */
int engine_place_in_line(engine *e, uint64_t id);

#endif
