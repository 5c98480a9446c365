/* Opening and closing an engine, and its front door: submit and cancel. */
#include "engine/engine.h"

#include <string.h>
#include "base/clock.h"
#include "base/machine.h"
#include "base/rng.h"
#include "engine/engine_int.h"

#define PACE_ANSWER_FIRST 64.0 /* tokens of an answer, before there was one */

struct engine_opts engine_opts_default(void)
{
    return (struct engine_opts){.compute = COMPUTE_FAST,
                                .max_context = 4096,
                                .max_seqs = 16,
                                .max_queue = 256,
                                .step_rows = 256,
                                .speculate = SPECULATE_NGRAM,
                                .draft_max = 12,
                                .prefix_cache = true,
                                .packed = model_opts_default().packed};
}

/* ---- opening ---- */

static int add_end(engine *e, int32_t token)
{
    if (token < 0 || token >= e->vocab)
        return 0; /* a configuration's mistake: never drawn */
    for (size_t i = 0; i < e->n_ends; i++)
        if (e->ends[i] == token)
            return 0;
    int32_t *grown = sp_realloc_array(e->ends, e->n_ends + 1, sizeof *grown);
    if (!grown)
        return SP_ENOMEM;
    e->ends = grown;
    e->ends[e->n_ends++] = token;
    return 0;
}

static int collect_ends(engine *e, sp_error *err)
{
    const struct generation_config *g = checkpoint_generation(e->ckpt);
    const int32_t *ids;
    size_t n = tokenizer_ends(e->tok, &ids);
    int code = 0;
    for (size_t i = 0; i < n && code == 0; i++)
        code = add_end(e, ids[i]);
    for (size_t i = 0; i < g->n_eos && code == 0; i++)
        code = add_end(e, g->eos[i]);
    return code < 0 ? sp_fail(err, code, "out of memory") : 0;
}

static int open_text(engine *e, sp_error *err)
{
    sp_error chat_err = {0};
    int code = tokenizer_load(e->ckpt, &e->tok, err);
    if (code < 0)
        return code;
    if ((int64_t)tokenizer_vocab(e->tok) > checkpoint_config(e->ckpt)->vocab)
        return sp_fail(
            err, SP_EFORMAT,
            "%.150s: the tokenizer has %zu tokens, the model %lld: they do not belong together",
            checkpoint_path(e->ckpt), tokenizer_vocab(e->tok),
            (long long)checkpoint_config(e->ckpt)->vocab);
    code = chat_format_load(e->ckpt, e->tok, &e->chat, &chat_err);
    if (code < 0 && code != SP_ENOTFOUND)
        return sp_fail(err, code, "%s", chat_err.message);
    return collect_ends(e, err);
}

static int take_pool(engine *e, sp_error *err)
{
    struct machine_topology machine;
    machine_topology(&machine);
    e->pool = e->opts.pool;
    if (e->pool)
        return 0;
    int code = pool_new(e->opts.threads > 0 ? e->opts.threads : machine.threads, &e->pool, err);
    e->own_pool = code == 0;
    return code < 0 ? code : pool_pin(e->pool, e->opts.pin, err);
}

static int open_model(engine *e, sp_error *err)
{
    struct model_opts mo = model_opts_default();
    struct model_memory mem;
    struct engine_memory plan = {0};
    int code = take_pool(e, err);
    mo.compute = e->opts.compute;
    mo.kv_type = e->opts.kv_type;
    mo.kv_given = e->opts.kv_given;
    mo.max_rows = e->opts.step_rows;
    mo.max_context = e->context;
    mo.pool = e->pool;
    mo.progress = e->opts.progress;
    mo.progress_arg = e->opts.progress_arg;
    mo.packed = e->opts.packed;
    if (code == 0)
        code = model_memory_plan(e->ckpt, &mo, &mem, err);
    if (code == 0 && e->opts.room) {
        struct engine_need need = memory_need(e, &mem);
        code = e->opts.room(e->opts.room_arg, &need, &e->opts.memory, err);
    }
    if (code == 0)
        code = memory_plan(e, &mem, &plan, err);
    if (code == 0 && e->opts.planned && e->opts.planned(e->opts.planned_arg, &plan))
        code = sp_fail(err, SP_ECANCELLED, "only the plan was asked for");
    if (code == 0)
        code = model_load(e->ckpt, &mo, &e->model, err);
    e->opts.packed = (struct packed_opts){{NULL, NULL}, 0}; /* the caller's paths */
    if (code == 0) {
        e->fixed_bytes = plan.weights + plan.scratch;
        e->info = (struct engine_info){.isa = model_isa(e->model),
                                       .compute = mo.compute == COMPUTE_F32 ? "f32" : "fast",
                                       .kv_type = kv_type_name(model_kv_type(e->model)),
                                       .threads = pool_threads(e->pool),
                                       .pinned = pool_pinned(e->pool),
                                       .weight_bytes = mem.weights,
                                       .kv_bytes = plan.kv,
                                       .kv_pages = plan.pages};
        code = engine_take_pages(e, plan.pages, err);
        e->stats = e->tally;
    }
    return code;
}

/* The tokenizer and the template, in a thread beside the loading of weights. */
struct text_task {
    engine *e;
    sp_error err;
    int code;
};

static void *text_main(void *arg)
{
    struct text_task *t = arg;
    t->code = open_text(t->e, &t->err);
    return NULL;
}

static int open_both(engine *e, sp_error *err)
{
    struct text_task text = {.e = e};
    pthread_t thread;
    bool beside = pthread_create(&thread, NULL, text_main, &text) == 0;
    if (!beside)
        (void)text_main(&text);
    int code = beside || text.code == 0 ? open_model(e, err) : 0;
    if (beside)
        pthread_join(thread, NULL);
    return text.code < 0 ? sp_fail(err, text.code, "%s", text.err.message) : code;
}

static int make_buffers(engine *e, sp_error *err)
{
    size_t rows = (size_t)e->opts.step_rows, vocab = (size_t)e->vocab;
    e->rows = sp_calloc(rows, sizeof *e->rows);
    e->seqs = sp_calloc(rows, sizeof *e->seqs);
    e->seq_owner = sp_calloc(rows, sizeof(struct request *));
    e->logits = sp_alloc_aligned(64, MODEL_LOGIT_ROWS * vocab * sizeof(float));
    step_cost_init(&e->cost);
    int code = chooser_init(&e->chooser, model_ops(e->model), e->vocab, pool_threads(e->pool));
    e->chooser.ends = e->ends;
    e->chooser.n_ends = e->n_ends;
    if (code < 0 || !e->rows || !e->seqs || !e->seq_owner || !e->logits)
        return sp_fail(err, SP_ENOMEM, "out of memory for the buffers of a step");
    return 0;
}

static int check_opts(const struct engine_opts *o, sp_error *err)
{
    if (o->max_seqs < 1 || o->max_seqs > 4096)
        return sp_fail(err, SP_EINVAL, "--max-seqs: %d is not from 1 to 4096", o->max_seqs);
    if (o->draft_max < 1 || o->draft_max > DRAFT_MOST)
        return sp_fail(err, SP_EINVAL, "--draft-max: %d is not from 1 to %d", o->draft_max,
                       DRAFT_MOST);
    if (o->prefix_store && !o->prefix_cache)
        return sp_fail(err, SP_EINVAL, "--prefix-store needs --prefix-cache on");
    if (o->max_queue < 0 || o->max_queue_tokens < 0 || o->step_rows < 1 || o->step_rows > 65536 ||
        o->max_context < 0 || o->threads < 0)
        return sp_fail(err, SP_EINVAL, "an engine option is negative or too large");
    return 0;
}

static int start(engine *e, sp_error *err)
{
    queue_init(&e->queue);
    e->pace.answer = PACE_ANSWER_FIRST;
    if (pthread_create(&e->thread, NULL, schedule_main, e) != 0)
        return sp_fail(err, SP_ENOMEM, "the engine's thread could not be started");
    e->thread_runs = true;
    return 0;
}

int engine_open(const char *path, const struct engine_opts *opts, engine **out, sp_error *err)
{
    double begin = clock_seconds();
    int code = check_opts(opts, err);
    engine *e = code == 0 ? sp_calloc(1, sizeof *e) : NULL;
    if (!e)
        return code < 0 ? code : sp_fail(err, SP_ENOMEM, "out of memory");
    e->opts = *opts;
    if (e->opts.step_rows < e->opts.max_seqs)
        e->opts.step_rows = e->opts.max_seqs;
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->more, NULL);
    pthread_cond_init(&e->task_done, NULL);
    e->opts.prefix_store = NULL; /* the caller's */
    if (opts->prefix_store && !(e->store_dir = sp_strdup(opts->prefix_store)))
        code = sp_fail(err, SP_ENOMEM, "out of memory");
    if (code == 0)
        code = checkpoint_open(path, &e->ckpt, err);
    if (code == 0) {
        const struct model_config *c = checkpoint_config(e->ckpt);
        e->vocab = c->vocab;
        e->context = opts->max_context == 0 || opts->max_context > c->context ? c->context
                                                                              : opts->max_context;
        code = open_both(e, err);
    }
    if (code == 0)
        code = make_buffers(e, err);
    if (code == 0)
        code = start(e, err);
    if (code < 0) {
        engine_close(e);
        return code;
    }
    e->info.load_seconds = clock_seconds() - begin;
    *out = e;
    return 0;
}

void engine_close(engine *e)
{
    if (!e)
        return;
    if (e->thread_runs) {
        pthread_mutex_lock(&e->lock);
        e->stop = true;
        pthread_cond_signal(&e->more);
        pthread_mutex_unlock(&e->lock);
        pthread_join(e->thread, NULL);
    }
    prefix_store_close(e->store, &e->pages);
    kv_pool_free(e->kv);
    model_free(e->model);
    if (e->own_pool)
        pool_free(e->pool);
    sp_free(e->store_dir);
    pages_done(&e->pages);
    chat_format_free(e->chat);
    tokenizer_free(e->tok);
    checkpoint_close(e->ckpt);
    sp_free(e->rows);
    sp_free(e->seqs);
    sp_free(e->seq_owner);
    sp_free(e->logits);
    chooser_done(&e->chooser);
    sp_free(e->ends);
    pthread_cond_destroy(&e->task_done);
    pthread_cond_destroy(&e->more);
    pthread_mutex_destroy(&e->lock);
    sp_free(e);
}

/* ---- the front door ---- */

const checkpoint *engine_checkpoint(const engine *e)
{
    return e->ckpt;
}

const tokenizer *engine_tokenizer(const engine *e)
{
    return e->tok;
}

const chat_format *engine_chat(const engine *e)
{
    return e->chat;
}

int64_t engine_context(const engine *e)
{
    return e->context;
}

void engine_get_info(engine *e, struct engine_info *out)
{
    pthread_mutex_lock(&e->lock);
    *out = e->info;
    out->kv_pages_free = (int32_t)(e->stats.kv_pages_free + e->stats.kv_pages_cached);
    out->running = e->n_running;
    out->waiting = e->queue.n;
    pthread_mutex_unlock(&e->lock);
}

/* GGUF files carry no generation_config: then what Qwen2.5 publishes in its own. */
static struct sampling default_sampling(const struct generation_config *g)
{
    if (!g->has_temperature && !g->has_top_p && !g->has_top_k && !g->has_do_sample)
        return (struct sampling){
            .temperature = 0.7f, .top_k = 20, .top_p = 0.8f, .repetition_penalty = 1.0f};
    bool greedy = g->has_do_sample && !g->do_sample;
    return (struct sampling){.temperature = greedy ? 0.0f : (float)g->temperature,
                             .top_k = (int32_t)g->top_k,
                             .top_p = (float)g->top_p,
                             .repetition_penalty = (float)g->repetition_penalty};
}

struct engine_request engine_request_default(const engine *e)
{
    struct engine_request r = {
        .max_tokens = -1, .logprobs = -1, .skip_special = true, .speculate = -1};
    r.sampling = default_sampling(checkpoint_generation(e->ckpt));
    r.sampling.seed = rng_seed();
    return r;
}

double engine_wait_seconds(engine *e)
{
    pthread_mutex_lock(&e->lock);
    double tokens = (double)e->queue.prompt_tokens + e->queue.n * e->pace.answer;
    double rate = e->pace.seconds > 0 ? e->pace.tokens / e->pace.seconds : 0;
    pthread_mutex_unlock(&e->lock);
    return rate > 0 ? tokens / rate : 0;
}

/* Under lock: whether there is room in the queue. The first is let in, whatever its size. */
static int check_room(const engine *e, const struct request *q, sp_error *err)
{
    const struct engine_opts *o = &e->opts;
    if (e->queue.n == 0)
        return 0;
    if (e->queue.n >= o->max_queue)
        return sp_fail(err, SP_EFULL, "the queue is full: %d requests wait: try again later",
                       e->queue.n);
    if (o->max_queue_tokens > 0 && e->queue.prompt_tokens + q->n_prompt > o->max_queue_tokens)
        return sp_fail(err, SP_EFULL,
                       "the queue is full: prompts of %lld tokens wait, and of %lld may: try again "
                       "later",
                       (long long)e->queue.prompt_tokens, (long long)o->max_queue_tokens);
    return 0;
}

int engine_submit(engine *e, const struct engine_request *r, uint64_t *id, sp_error *err)
{
    struct request *q = NULL;
    int code = request_new(e, r, &q, err);
    if (code < 0)
        return code;
    pthread_mutex_lock(&e->lock);
    code = e->asleep ? sp_fail(err, SP_EBUSY, "the model is asleep: wake it first")
                     : check_room(e, q, err);
    if (code < 0) {
        pthread_mutex_unlock(&e->lock);
        request_free(q);
        return code;
    }
    *id = q->id = ++e->next_id;
    q->live_next = e->live;
    if (e->live)
        e->live->live_prev = q;
    e->live = q;
    queue_add(&e->queue, q);
    pthread_cond_signal(&e->more);
    pthread_mutex_unlock(&e->lock);
    return 0;
}

void engine_cancel(engine *e, uint64_t id)
{
    pthread_mutex_lock(&e->lock);
    for (struct request *q = e->live; q; q = q->live_next)
        if (q->id == id && !atomic_exchange(&q->cancelled, true) && q->waits)
            queue_cancel(&e->queue, q);
    pthread_cond_signal(&e->more);
    pthread_mutex_unlock(&e->lock);
}

bool engine_is_queued(engine *e, uint64_t id)
{
    bool queued = false;
    pthread_mutex_lock(&e->lock);
    for (const struct request *q = e->live; q && !queued; q = q->live_next)
        queued = q->id == id && q->waits;
    pthread_mutex_unlock(&e->lock);
    return queued;
}

int engine_place_in_line(engine *e, uint64_t id)
{
    int before = 0;
    bool waits = false;
    pthread_mutex_lock(&e->lock);
    for (const struct request *q = e->live; q; q = q->live_next) {
        waits |= q->id == id && q->waits;
        before += q->id < id && q->waits;
    }
    pthread_mutex_unlock(&e->lock);
    return waits ? before + 1 : 0;
}
