/* The engine thread: takes requests from the queue in its order (queue_int.h), runs steps, retires what is over. A
 * request is admitted when what it and those that run know so far fits into the pages, and a page more for each that
 * runs; while their answers grow they may run out of pages all the same: then plan.c sends the last one of those that
 * run back to the queue. They are in the order of their levels: no prompt comes before that of a request of higher
 * priority, and of the lowest the latest is preempted. */
#include <string.h>
#include "base/clock.h"
#include "engine/engine_int.h"

/* Of what was served lately (engine_wait_seconds): halved after so many seconds; so many answers for their mean. */
#define PACE_SECONDS 8.0
#define PACE_ANSWERS 16

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
    struct request *before = e->running_last;
    while (before && queue_before(q, before))
        before = before->prev;
    q->prev = before;
    q->next = before ? before->next : e->running;
    if (before)
        before->next = q;
    else
        e->running = q;
    if (q->next)
        q->next->prev = q;
    else
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

/* Under lock: what a running request has had since the last time. */
static void account(engine *e, struct request *q)
{
    e->pace.tokens += (double)(q->n_answer - q->n_charged);
    queue_charge(&e->queue, q);
    if (q->n_cached > q->n_paced) {
        int64_t prompt = q->n_cached < q->n_prompt ? q->n_cached : q->n_prompt;
        e->pace.tokens += (double)(prompt > q->n_paced ? prompt - q->n_paced : 0);
        q->n_paced = q->n_cached;
    }
}

/* Under lock, after a step: `stepped` is when it began. */
static void keep_pace(engine *e)
{
    if (e->stepped > 0)
        e->pace.seconds += clock_seconds() - e->stepped;
    for (struct request *q = e->running; q; q = q->next)
        account(e, q);
    if (e->pace.seconds < PACE_SECONDS)
        return;
    e->pace.seconds *= 0.5;
    e->pace.tokens *= 0.5;
}

void schedule_retire(engine *e, struct request *q)
{
    running_remove(e, q);
    request_release(e, q);
    pthread_mutex_lock(&e->lock);
    unlink_live(e, q);
    account(e, q);
    e->pace.answer += ((double)q->n_answer - e->pace.answer) / PACE_ANSWERS;
    queue_gone(&e->queue, q);
    e->n_running--;
    stats_publish(e);
    pthread_mutex_unlock(&e->lock);
    request_free(q);
}

void schedule_preempt(engine *e, struct request *q)
{
    e->tally.preemptions += q->n_pages > 0;
    running_remove(e, q);
    request_release(e, q);
    pthread_mutex_lock(&e->lock);
    q->preempted = true;
    account(e, q);
    queue_add_again(&e->queue, q);
    if (atomic_load(&q->cancelled))
        queue_cancel(&e->queue, q);
    e->n_running--;
    pthread_mutex_unlock(&e->lock);
}

/* Under lock: those whom queue_cancel took out, and those whose time is over, linked by next. */
static struct request *leaving(engine *e)
{
    double now = clock_seconds();
    struct request *out = queue_leaving(&e->queue), *q;
    for (q = out; q; q = q->next) {
        unlink_live(e, q);
        queue_gone(&e->queue, q);
    }
    while ((q = queue_expired(&e->queue, now)) != NULL) {
        unlink_live(e, q);
        queue_gone(&e->queue, q);
        q->next = out;
        out = q;
    }
    return out;
}

/* Under lock. */
static void cancel_all(engine *e)
{
    for (struct request *q = e->live; q; q = q->live_next)
        if (!atomic_exchange(&q->cancelled, true) && q->waits)
            queue_cancel(&e->queue, q);
}

static void emit_overdue(engine *e, struct request *q)
{
    sp_error err;
    if (q->admitted > 0 || request_overdue(q, clock_seconds()))
        sp_fail(&err, SP_ETIMEDOUT, "the answer took longer than %g s, its limit",
                q->r.total_seconds_max);
    else
        sp_fail(&err, SP_EBUSY, "the request waited longer than %g s, its limit: try again later",
                q->r.queue_seconds_max);
    emit_done(e, q, FINISH_ERROR, NULL, &err);
}

static void end_waiting(engine *e, struct request *q)
{
    while (q) {
        struct request *next = q->next;
        if (atomic_load(&q->cancelled))
            emit_done(e, q, FINISH_CANCELLED, NULL, NULL);
        else
            emit_overdue(e, q);
        request_free(q);
        q = next;
    }
}

static void end_running(engine *e)
{
    double now = clock_seconds();
    struct request *q = e->running;
    while (q) {
        struct request *next = q->next;
        bool cancelled = atomic_load(&q->cancelled);
        bool late = !cancelled && request_overdue(q, now);
        if (cancelled)
            emit_done(e, q, FINISH_CANCELLED, NULL, NULL);
        if (late)
            emit_overdue(e, q);
        if (cancelled || late)
            schedule_retire(e, q);
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

/* Under lock. */
static void start_request(engine *e, struct request *q, double now)
{
    queue_take(&e->queue, q, now);
    if (!q->preempted) {
        q->admitted = q->timed = now;
        q->admission = ++e->admissions;
        e->tally.prefix_queries +=
            e->opts.prefix_cache && !request_wants_prompt(q) ? q->tokens.n : 0;
    }
    running_add(e, q);
    e->n_running++;
}

/* Under lock: age counts for those that run, too, or a prompt of low priority could wait for rows for ever. */
static void reorder(engine *e, double now)
{
    struct request *q = e->running;
    while (q) {
        struct request *next = q->next;
        if (queue_risen(&e->queue, q, now)) {
            running_remove(e, q);
            running_add(e, q);
        }
        q = next;
    }
}

/* Under lock: the queue's next joins those that run while there is room. */
static void admit(engine *e)
{
    double now = clock_seconds();
    reorder(e, now);
    int64_t promised = e->queue.n > 0 ? pages_promised(e) : 0;
    while (e->n_running < e->opts.max_seqs) {
        struct request *q = queue_next(&e->queue, now);
        if (!q || !fits(e, q, promised))
            return;
        promised += pages_to_come(q);
        start_request(e, q, now);
    }
}

/* Engines that share a pool go round: each waits here for one step of each of the others at most. Who comes meanwhile
 * is in the step. */
static void run_in_turn(engine *e)
{
    pool_take_turn(e->pool);
    pthread_mutex_lock(&e->lock);
    admit(e);
    pthread_mutex_unlock(&e->lock);
    step_run(e);
    pool_end_turn(e->pool);
}

void *schedule_main(void *arg)
{
    engine *e = arg;
    pool_caller_enter(e->pool); /* for this thread's whole life */
    for (;;) {
        pthread_mutex_lock(&e->lock);
        stats_publish(e);
        keep_pace(e);
        while (!e->stop && e->queue.n == 0 && !e->queue.leaving && !e->running && !e->task &&
               !prefix_store_ready(e->store))
            pthread_cond_wait(&e->more, &e->lock);
        e->stepped = clock_seconds();
        bool stop = e->stop;
        if (stop)
            cancel_all(e);
        struct request *gone = leaving(e);
        bool waits = e->queue.n > 0;
        pthread_mutex_unlock(&e->lock);
        end_waiting(e, gone);
        end_running(e);
        task_run(e);
        if (stop)
            return NULL;
        if (e->running || waits)
            run_in_turn(e);
        prefix_store_save(e->store, &e->pages);
    }
}
