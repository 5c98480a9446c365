/* Counters of an engine. Its thread counts in `tally`, and publishes a copy under the lock. */
#include "engine/engine_int.h"

const int64_t engine_row_bounds[ENGINE_ROW_BOUNDS] = {1,   8,    16,   32,   64,   128,  256,
                                                      512, 1024, 2048, 4096, 8192, 16384};

void count_step(engine *e, int64_t rows)
{
    size_t i = 0;
    while (i < ENGINE_ROW_BOUNDS && rows > engine_row_bounds[i])
        i++;
    e->tally.steps_by_rows[i]++;
    e->tally.steps++;
    e->tally.step_rows += (uint64_t)rows;
}

void count_prompt(engine *e, const struct request *q)
{
    e->tally.prompt_tokens += (uint64_t)q->n_prompt;
    e->tally.prompt_tokens_cached += (uint64_t)q->n_prompt_cached;
}

void stats_publish(engine *e)
{
    e->tally.kv_pages_free = (uint64_t)e->pages.n_free;
    e->tally.kv_pages_cached = (uint64_t)e->pages.n_idle;
    e->tally.evictions = e->evictions_before + e->pages.evictions;
    e->stats = e->tally;
}

void engine_get_stats(engine *e, struct engine_stats *out)
{
    pthread_mutex_lock(&e->lock);
    *out = e->stats;
    out->running = e->n_running;
    out->waiting = e->queue.n;
    out->accepted = e->next_id;
    pthread_mutex_unlock(&e->lock);
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
    to->accepted += more->accepted;
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
