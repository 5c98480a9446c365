/* What is done to an engine between two steps: sleeping, waking, forgetting prefixes. It is asked for on any thread and
 * done on the engine's, to which pages, pool and store belong. */
#include "engine/engine_int.h"

void task_run(engine *e)
{
    pthread_mutex_lock(&e->lock);
    struct engine_task *t = e->task;
    pthread_mutex_unlock(&e->lock);
    if (!t)
        return;
    t->code = t->run(e, t->arg, t->err);
    pthread_mutex_lock(&e->lock);
    t->done = true;
    e->task = NULL;
    pthread_cond_broadcast(&e->task_done);
    pthread_mutex_unlock(&e->lock);
}

/* Waits for its turn among tasks, and until it is done. */
static int task_do(engine *e, int (*run)(engine *e, void *arg, sp_error *err), void *arg,
                   sp_error *err)
{
    struct engine_task t = {.run = run, .arg = arg, .err = err};
    pthread_mutex_lock(&e->lock);
    while (e->task)
        pthread_cond_wait(&e->task_done, &e->lock);
    e->task = &t;
    pthread_cond_signal(&e->more);
    while (!t.done)
        pthread_cond_wait(&e->task_done, &e->lock);
    pthread_mutex_unlock(&e->lock);
    return t.code;
}

/* ---- sleeping ---- */

static void give_up_pages(engine *e)
{
    prefix_store_close(e->store, &e->pages);
    e->store = NULL;
    e->evictions_before += e->pages.evictions;
    kv_pool_free(e->kv);
    e->kv = NULL;
    pages_done(&e->pages);
    e->tally.kv_pages = 0;
}

static int go_to_sleep(engine *e, void *arg, sp_error *err)
{
    uint64_t *kept = arg;
    pthread_mutex_lock(&e->lock);
    int busy = e->n_running + e->queue.n;
    bool asleep = e->asleep;
    e->asleep = busy == 0;
    pthread_mutex_unlock(&e->lock);
    if (busy > 0)
        return sp_fail(err, SP_EBUSY, "%d requests are being answered: try again later", busy);
    if (!asleep) {
        give_up_pages(e);
        e->weights_sleep = model_sleep(e->model);
    }
    *kept = e->fixed_bytes - (e->weights_sleep ? e->info.weight_bytes : 0);
    return 0;
}

int engine_sleep(engine *e, uint64_t *kept, sp_error *err)
{
    return task_do(e, go_to_sleep, kept, err);
}

int engine_take_pages(engine *e, int32_t n, sp_error *err)
{
    int code = kv_pool_new(e->model, n, &e->kv, err);
    if (code == 0 && pages_init(&e->pages, n) < 0)
        code = sp_fail(err, SP_ENOMEM, "out of memory");
    if (code == 0 && e->store_dir)
        code = prefix_store_open(e, e->store_dir, err);
    if (code == 0)
        e->tally.kv_pages = e->tally.kv_pages_free = (uint64_t)n;
    return code;
}

static int wake_up(engine *e, void *arg, sp_error *err)
{
    (void)arg;
    if (e->kv)
        return 0;
    int code = engine_take_pages(e, e->info.kv_pages, err);
    if (code < 0) {
        give_up_pages(e);
        return code;
    }
    if (e->weights_sleep)
        model_wake(e->model);
    e->weights_sleep = false;
    pthread_mutex_lock(&e->lock);
    e->asleep = false;
    pthread_mutex_unlock(&e->lock);
    return 0;
}

int engine_wake(engine *e, sp_error *err)
{
    return task_do(e, wake_up, NULL, err);
}

/* ---- prefixes ---- */

static int flush(engine *e, void *arg, sp_error *err)
{
    (void)err;
    *(int32_t *)arg = e->kv ? pages_flush(&e->pages) : 0;
    return 0;
}

int32_t engine_flush_cache(engine *e)
{
    int32_t n = 0;
    (void)task_do(e, flush, &n, NULL);
    return n;
}

static int leave_store(engine *e, void *arg, sp_error *err)
{
    (void)arg;
    (void)err;
    prefix_store_close(e->store, &e->pages);
    e->store = NULL;
    sp_free(e->store_dir);
    e->store_dir = NULL;
    return 0;
}

void engine_leave_store(engine *e)
{
    (void)task_do(e, leave_store, NULL, NULL);
}
