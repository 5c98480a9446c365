/* Workers, and the queues before them: calls in order of arrival, after those whose model is there now; uploads have a
 * queue and threads of their own, so that questions never wait behind parsers. */
#include "server/models_int.h"
#include "server/page_int.h"

/* ---- queues ---- */

/* Under work_lock. */
static bool upload_push(struct server *s, struct call *c)
{
    if (s->n_uploads == UPLOADS_MAX)
        return false;
    c->next_again = NULL;
    if (s->uploads)
        s->uploads_last->next_again = c;
    else
        s->uploads = c;
    s->uploads_last = c;
    s->n_uploads++;
    pthread_cond_signal(&s->upload_more);
    return true;
}

bool work_push(struct server *s, struct call *c)
{
    pthread_mutex_lock(&s->work_lock);
    bool upload = is_upload(c->route);
    bool room = upload ? upload_push(s, c) : s->work_len < WAITING_MAX;
    if (room && !upload) {
        s->work[(s->work_head + s->work_len++) % WAITING_MAX] = c;
        pthread_cond_signal(&s->work_more);
    }
    pthread_mutex_unlock(&s->work_lock);
    return room;
}

void call_work_again(struct call *c)
{
    struct server *s = c->s;
    struct call **end = &s->again;
    pthread_mutex_lock(&s->work_lock);
    while (*end)
        end = &(*end)->next_again;
    c->next_again = NULL;
    *end = c;
    pthread_cond_signal(&s->work_more);
    pthread_mutex_unlock(&s->work_lock);
}

static struct call *next_work(struct server *s)
{
    struct call *c = s->again;
    if (c) {
        s->again = c->next_again;
        return c;
    }
    c = s->work[s->work_head];
    s->work_head = (s->work_head + 1) % WAITING_MAX;
    s->work_len--;
    return c;
}

/* ---- threads ---- */

/* A call that waits is its model's, not the worker's, once models_park has returned. */
static void work_on(struct call *c)
{
    enum parked parked;
    do {
        c->route->work(c);
        parked = c->awaits ? models_park(c) : PARK_REFUSED;
    } while (parked == PARK_AGAIN);
    if (parked != PARKED)
        call_worked(c);
}

static void *worker_main(void *arg)
{
    struct server *s = arg;
    for (;;) {
        pthread_mutex_lock(&s->work_lock);
        while (s->work_len == 0 && !s->again && !s->work_stop)
            pthread_cond_wait(&s->work_more, &s->work_lock);
        if (s->work_stop) {
            pthread_mutex_unlock(&s->work_lock);
            return NULL;
        }
        struct call *c = next_work(s);
        pthread_mutex_unlock(&s->work_lock);
        work_on(c);
    }
}

static void *upload_main(void *arg)
{
    struct server *s = arg;
    for (;;) {
        pthread_mutex_lock(&s->work_lock);
        while (!s->uploads && !s->work_stop)
            pthread_cond_wait(&s->upload_more, &s->work_lock);
        if (s->work_stop) {
            pthread_mutex_unlock(&s->work_lock);
            return NULL;
        }
        struct call *c = s->uploads;
        s->uploads = c->next_again;
        s->n_uploads--;
        pthread_mutex_unlock(&s->work_lock);
        work_on(c);
    }
}

int workers_start(struct server *s, sp_error *err)
{
    for (size_t i = 0; i < SP_COUNT(s->workers); i++) {
        if (pthread_create(&s->workers[i], NULL, i < WORKER_THREADS ? worker_main : upload_main,
                           s) != 0)
            return sp_fail(err, SP_ENOMEM, "a worker thread could not be started");
        s->n_workers++;
    }
    return 0;
}

void workers_stop(struct server *s)
{
    pthread_mutex_lock(&s->work_lock);
    s->work_stop = true;
    pthread_cond_broadcast(&s->work_more);
    pthread_cond_broadcast(&s->upload_more);
    pthread_mutex_unlock(&s->work_lock);
    for (size_t i = 0; i < s->n_workers; i++)
        pthread_join(s->workers[i], NULL);
}
