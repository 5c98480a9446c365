/* Counters of an engine. One thread writes each, so no read-modify-write is needed; readers see whole values, and all
 * that was counted before an event that they have seen. */
#include "engine/engine_int.h"

const int64_t engine_row_bounds[ENGINE_ROW_BOUNDS] = {1,   8,    16,   32,   64,   128,  256,
                                                      512, 1024, 2048, 4096, 8192, 16384};

void count_add(atomic_uint_fast64_t *count, uint64_t n)
{
    atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

void count_step(struct engine_counts *c, int64_t rows)
{
    size_t i = 0;
    while (i < ENGINE_ROW_BOUNDS && rows > engine_row_bounds[i])
        i++;
    count_add(&c->steps_by_rows[i], 1);
    count_add(&c->steps, 1);
    count_add(&c->step_rows, (uint64_t)rows);
}

void count_prompt(engine *e, const struct request *q)
{
    count_add(&e->counts.prompt_tokens, (uint64_t)q->n_prompt);
    count_add(&e->counts.prompt_tokens_cached, (uint64_t)q->n_prompt_cached);
}

static uint64_t value(const atomic_uint_fast64_t *count)
{
    return atomic_load_explicit(count, memory_order_relaxed);
}

void engine_get_stats(engine *e, struct engine_stats *out)
{
    const struct engine_counts *c = &e->counts;
    pthread_mutex_lock(&e->lock);
    *out = e->stats;
    out->running = e->n_running;
    out->waiting = e->queue.n;
    pthread_mutex_unlock(&e->lock);
    out->steps = value(&c->steps);
    out->step_rows = value(&c->step_rows);
    for (size_t i = 0; i <= ENGINE_ROW_BOUNDS; i++)
        out->steps_by_rows[i] = value(&c->steps_by_rows[i]);
    out->prompt_tokens = value(&c->prompt_tokens);
    out->prompt_tokens_cached = value(&c->prompt_tokens_cached);
    out->answer_tokens = value(&c->answer_tokens);
}

void engine_stats_add(struct engine_stats *to, const struct engine_stats *more)
{
    to->steps += more->steps;
    to->step_rows += more->step_rows;
    for (size_t i = 0; i <= ENGINE_ROW_BOUNDS; i++)
        to->steps_by_rows[i] += more->steps_by_rows[i];
    to->prompt_tokens += more->prompt_tokens;
    to->prompt_tokens_cached += more->prompt_tokens_cached;
    to->answer_tokens += more->answer_tokens;
    to->running += more->running;
    to->waiting += more->waiting;
    to->kv_pages += more->kv_pages;
    to->kv_pages_free += more->kv_pages_free;
    to->kv_pages_cached += more->kv_pages_cached;
    to->prefix_queries += more->prefix_queries;
    to->prefix_hits += more->prefix_hits;
    to->evictions += more->evictions;
    to->preemptions += more->preemptions;
    to->drafts += more->drafts;
    to->draft_tokens += more->draft_tokens;
    to->accepted_tokens += more->accepted_tokens;
    for (size_t i = 0; i < DRAFT_MOST; i++)
        to->accepted_at[i] += more->accepted_at[i];
}
