/* The engine thread: takes requests from the queue in order, runs steps, retires what is over. A request is
 * admitted only when the pages that it may ever need are free, so that a running one never fails for
 * memory. */
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

void schedule_retire(engine *e, struct request *q)
{
    struct request **at = &e->running;
    while (*at != q)
        at = &(*at)->next;
    *at = q->next;
    pages_give(&e->pages, q->pages, q->n_pages);
    pthread_mutex_lock(&e->lock);
    unlink_live(e, q);
    e->n_running--;
    e->pages_free = e->pages.n_free;
    pthread_mutex_unlock(&e->lock);
    request_free(q);
}

/* Under lock: takes the cancelled requests out of the queue, in order. */
static struct request *cancelled_waiting(engine *e)
{
    struct request *out = NULL, **tail = &out, **at = &e->queue;
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

/* Under lock: the queue's first goes to the end of the running list while there is room. */
static void admit(engine *e)
{
    struct request **end = &e->running;
    while (*end)
        end = &(*end)->next;
    while (e->queue && e->n_running < e->opts.max_seqs) {
        struct request *q = e->queue;
        int32_t n = request_pages(q);
        if (!pages_take(&e->pages, n, q->pages))
            return;
        e->queue = q->next;
        if (!e->queue)
            e->queue_end = &e->queue;
        q->next = NULL;
        q->n_pages = n;
        q->admitted = q->timed = clock_seconds();
        *end = q;
        end = &q->next;
        e->waiting--;
        e->n_running++;
        e->pages_free = e->pages.n_free;
    }
}

void *schedule_main(void *arg)
{
    engine *e = arg;
    pool_caller_enter(e->pool); /* for this thread's whole life */
    for (;;) {
        pthread_mutex_lock(&e->lock);
        while (!e->stop && !e->queue && !e->running)
            pthread_cond_wait(&e->more, &e->lock);
        bool stop = e->stop;
        if (stop)
            for (struct request *q = e->live; q; q = q->live_next)
                atomic_store(&q->cancelled, true);
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
    }
}
