/* The engine thread: takes requests from the queue in order, runs steps, retires what is over. A request is admitted
 * when what it and those that run know so far fits into the pages, and a page more for each that runs; while their
 * answers grow they may run out of pages all the same: then plan.c sends the last one back to the queue. */
#include <string.h>
#include "base/clock.h"
#include "engine/engine_int.h"

static void unlink_live(engine *e, struct request *q)
{
    if (q->live_prev)
        q->live_prev->live_next = q->live_next;
    else
        e->live = q->live_next;
    if (q->live_next)
        q->live_next->live_prev = q->live_prev;
}

static void running_add(engine *e, struct request *q)
{
    q->next = NULL;
    q->prev = e->running_last;
    if (q->prev)
        q->prev->next = q;
    else
        e->running = q;
    e->running_last = q;
}

static void running_remove(engine *e, struct request *q)
{
    if (q->prev)
        q->prev->next = q->next;
    else
        e->running = q->next;
    if (q->next)
        q->next->prev = q->prev;
    else
        e->running_last = q->prev;
}

/* Under lock. */
static void publish_stats(engine *e)
{
    e->tally.kv_pages_free = (uint64_t)e->pages.n_free;
    e->tally.kv_pages_cached = (uint64_t)e->pages.n_idle;
    e->tally.evictions = e->pages.evictions;
    e->stats = e->tally;
}

void schedule_retire(engine *e, struct request *q)
{
    running_remove(e, q);
    request_release(e, q);
    pthread_mutex_lock(&e->lock);
    unlink_live(e, q);
    e->n_running--;
    publish_stats(e);
    pthread_mutex_unlock(&e->lock);
    request_free(q);
}

void schedule_preempt(engine *e, struct request *q)
{
    e->tally.preemptions += q->n_pages > 0;
    running_remove(e, q);
    request_release(e, q);
    q->preempted = true;
    pthread_mutex_lock(&e->lock);
    q->next = e->queue;
    e->queue = q;
    if (!q->next)
        e->queue_end = &q->next;
    q->waits = true;
    e->waiting++;
    e->n_running--;
    e->n_leaving += atomic_load(&q->cancelled);
    pthread_mutex_unlock(&e->lock);
}

/* Under lock: takes the cancelled requests out of the queue, in order. */
static struct request *cancelled_waiting(engine *e)
{
    struct request *out = NULL, **tail = &out, **at = &e->queue;
    if (e->n_leaving == 0)
        return NULL;
    e->n_leaving = 0;
    while (*at) {
        struct request *q = *at;
        if (!atomic_load(&q->cancelled)) {
            at = &q->next;
            continue;
        }
        *at = q->next;
        q->next = NULL;
        *tail = q;
        tail = &q->next;
        unlink_live(e, q);
        e->waiting--;
    }
    e->queue_end = at;
    return out;
}

/* Under lock. */
static void cancel_all(engine *e)
{
    for (struct request *q = e->live; q; q = q->live_next)
        atomic_store(&q->cancelled, true);
    e->n_leaving = e->waiting;
}

static void end_waiting(engine *e, struct request *q)
{
    while (q) {
        struct request *next = q->next;
        emit_done(e, q, FINISH_CANCELLED, NULL, NULL);
        request_free(q);
        q = next;
    }
}

static void end_running(engine *e)
{
    struct request *q = e->running;
    while (q) {
        struct request *next = q->next;
        if (atomic_load(&q->cancelled)) {
            emit_done(e, q, FINISH_CANCELLED, NULL, NULL);
            schedule_retire(e, q);
        }
        q = next;
    }
}

/* Pages that a running request needs for the tokens it knows, and one more. */
static int64_t pages_to_come(const struct request *q)
{
    return request_pages_for((int64_t)q->tokens.n) - q->n_pages + 1;
}

static int64_t pages_promised(const engine *e)
{
    int64_t n = 0;
    for (const struct request *q = e->running; q; q = q->next)
        n += pages_to_come(q);
    return n;
}

/* Whether q fits beside what runs. It holds what the prefix cache has for it then. */
static bool fits(engine *e, struct request *q, int64_t promised)
{
    int64_t found = prefix_extend(e, q);
    int64_t need = request_pages_for((int64_t)q->tokens.n) - q->n_pages;
    if (need + promised > pages_available(&e->pages)) {
        request_release(e, q);
        return false;
    }
    prefix_count(e, q, found);
    return true;
}

static void start_request(engine *e, struct request *q)
{
    if (!q->preempted) {
        q->admitted = q->timed = clock_seconds();
        e->tally.prefix_queries +=
            e->opts.prefix_cache && !request_wants_prompt(q) ? q->tokens.n : 0;
    }
    running_add(e, q);
    q->waits = false;
    e->waiting--;
    e->n_running++;
}

/* Under lock: the queue's first goes to the end of the running list while there is room. */
static void admit(engine *e)
{
    int64_t promised = e->queue ? pages_promised(e) : 0;
    while (e->queue && e->n_running < e->opts.max_seqs && fits(e, e->queue, promised)) {
        struct request *q = e->queue;
        promised += pages_to_come(q);
        e->queue = q->next;
        if (!e->queue)
            e->queue_end = &e->queue;
        start_request(e, q);
    }
}

void *schedule_main(void *arg)
{
    engine *e = arg;
    pool_caller_enter(e->pool); /* for this thread's whole life */
    for (;;) {
        pthread_mutex_lock(&e->lock);
        publish_stats(e);
        while (!e->stop && !e->queue && !e->running && !prefix_store_ready(e->store))
            pthread_cond_wait(&e->more, &e->lock);
        bool stop = e->stop;
        if (stop)
            cancel_all(e);
        struct request *gone = cancelled_waiting(e);
        pthread_mutex_unlock(&e->lock);
        end_waiting(e, gone);
        end_running(e);
        if (stop)
            return NULL;
        pthread_mutex_lock(&e->lock);
        admit(e);
        pthread_mutex_unlock(&e->lock);
        step_run(e);
        prefix_store_save(e->store, &e->pages);
    }
}
