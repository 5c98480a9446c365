/* The threads: some that run jobs, and one that tells of their progress. */
#include <math.h>
#include <string.h>
#include <time.h>
#include "base/clock.h"
#include "base/log.h"
#include "jobs/jobs_int.h"

#define RATE_SECONDS 10.0 /* how far the rate looks back */
#define COUNT_SECONDS 0.5 /* between two counts that go into it */

/* ---- one job ---- */

/* Under `order`. The row becomes the job's. */
static int change(struct job_run *j, const struct store_job_change *to, sp_error *err)
{
    json_t *row = NULL, *before;
    jobs *js = j->of;
    int code = store_job_change(js->store, j->owner, j->id, to, &row, err);
    if (code < 0)
        return code;
    pthread_mutex_lock(&js->lock);
    before = j->row;
    j->row = row;
    j->dirty = false;
    j->told_at = j->saved_at = clock_seconds();
    json_t *job = job_live_object(j);
    pthread_mutex_unlock(&js->lock);
    json_decref(before);
    if (job)
        js->told(js->arg, j->owner, "job", job);
    return 0;
}

static int begin(struct job_run *j, sp_error *err)
{
    jobs *js = j->of;
    struct store_job_change to = {.state = "running", .starts = true};
    pthread_mutex_lock(&js->order);
    pthread_mutex_lock(&js->lock);
    to.done = j->done;
    to.total = j->total;
    pthread_mutex_unlock(&js->lock);
    int code = change(j, &to, err);
    if (code == 0)
        code = store_job_key(js->store, j->id, j->key, err);
    pthread_mutex_unlock(&js->order);
    return code;
}

static const char *end_state(const struct job_run *j, int code)
{
    int stop = atomic_load(&j->stop);
    return code == 0             ? "done"
           : stop == STOP_CANCEL ? "cancelled"
           : stop == STOP_PAUSE  ? "paused"
           : stop == STOP_DRAIN  ? "interrupted"
                                 : "failed";
}

/* The job leaves the live ones and is told as it is in the store. */
static void end(struct job_run *j, int code, const json_t *result, const sp_error *err)
{
    jobs *js = j->of;
    json_t *row = NULL, *error = NULL;
    sp_error why = {0};
    pthread_mutex_lock(&js->order); /* from here on nobody asks it to stop */
    const char *state = end_state(j, code);
    bool failed = strcmp(state, "failed") == 0;
    if (failed)
        error = job_error(err);
    pthread_mutex_lock(&js->lock);
    struct store_job_change to = {.state = state,
                                  .ends = failed || code == 0 || strcmp(state, "cancelled") == 0,
                                  .done = j->done,
                                  .total = j->total,
                                  .result = result,
                                  .error = error};
    job_unlink(js, j);
    pthread_mutex_unlock(&js->lock);
    if (store_job_change(js->store, j->owner, j->id, &to, &row, &why) < 0)
        log_error("jobs", "%s has ended (%s), which can't be written down: %s", j->id, state,
                  why.message);
    if (failed)
        log_warn("jobs", "%s failed: %s", j->id, err->message);
    if (row)
        js->told(js->arg, j->owner, "job", job_object(js, row));
    json_decref(error);
    pthread_mutex_unlock(&js->order);
    pthread_mutex_lock(
        &js->lock); /* its kind has a place free: any thread may have been waiting for it */
    pthread_cond_broadcast(&js->more);
    pthread_mutex_unlock(&js->lock);
    job_free(j);
}

static void run(struct job_run *j)
{
    json_t *result = NULL;
    sp_error err = {0};
    int code = begin(j, &err);
    if (code == 0)
        code = j->kind->run(j->kind->arg, j, &result, &err);
    end(j, code, result, &err);
    json_decref(result);
}

/* ---- threads ---- */

/* Under lock: the oldest that may begin. */
static struct job_run *next_job(const jobs *js)
{
    for (struct job_run *j = js->live; j; j = j->next) {
        int running = 0;
        for (const struct job_run *k = js->live; k; k = k->next)
            running += k->running && k->kind == j->kind;
        if (!j->running && running < j->kind->at_once)
            return j;
    }
    return NULL;
}

static void *thread_main(void *arg)
{
    jobs *js = arg;
    for (;;) {
        struct job_run *j = NULL;
        pthread_mutex_lock(&js->lock);
        while (!js->draining && (j = next_job(js)) == NULL)
            pthread_cond_wait(&js->more, &js->lock);
        if (j)
            j->running = true;
        pthread_mutex_unlock(&js->lock);
        if (!j)
            return NULL;
        run(j);
    }
}

/* ---- progress ---- */

void job_progress(job_run *j, int64_t done, int64_t total)
{
    jobs *js = j->of;
    double now = clock_seconds();
    pthread_mutex_lock(&js->lock);
    double passed = now - j->counted_at;
    if (j->counted_at <= 0 || done < j->counted) {
        j->counted_at = now;
        j->counted = done;
    } else if (passed >= COUNT_SECONDS && done > j->counted) {
        double rate = (double)(done - j->counted) / passed;
        double weight = j->rate > 0 ? 1 - exp(-passed / RATE_SECONDS) : 1;
        j->rate += weight * (rate - j->rate);
        j->counted_at = now;
        j->counted = done;
    }
    if (!j->dirty)
        pthread_cond_signal(&js->changed);
    j->dirty = true;
    j->done = done;
    j->total = total;
    pthread_mutex_unlock(&js->lock);
}

/* Under lock: when the next of the dirty ones may be told; 0: none is. */
static double due(const jobs *js)
{
    double at = 0;
    for (const struct job_run *j = js->live; j; j = j->next)
        if (j->dirty && (at <= 0 || j->told_at + JOBS_TELL_SECONDS < at))
            at = j->told_at + JOBS_TELL_SECONDS;
    return at;
}

struct due_job {
    char id[STORE_ID_BYTES];
    int64_t owner, done, total;
    bool save; /* its row is to be written, too */
};

/* Under lock. One job that is due, as its listeners get it. */
static json_t *take_due(jobs *js, double now, struct due_job *out)
{
    for (struct job_run *j = js->live; j; j = j->next) {
        if (!j->dirty || !j->running || now < j->told_at + JOBS_TELL_SECONDS)
            continue;
        j->dirty = false;
        j->told_at = now;
        out->save = now >= j->saved_at + JOBS_SAVE_SECONDS;
        if (out->save)
            j->saved_at = now;
        memcpy(out->id, j->id, sizeof j->id);
        out->owner = j->owner;
        out->done = j->done;
        out->total = j->total;
        return job_live_object(j);
    }
    return NULL;
}

static void wait_until(jobs *js, double at)
{
    double wait = at - clock_seconds();
    struct timespec until = clock_after(wait > 0.001 ? wait : 0.001);
    (void)pthread_cond_timedwait(&js->changed, &js->lock, &until);
}

/* Under lock, which it lets go in between. The event goes out under the lock, so that none of an ended job comes after
 * the one that tells its end. */
static void tell_due(jobs *js)
{
    struct due_job due;
    json_t *job;
    while ((job = take_due(js, clock_seconds(), &due)) != NULL) {
        sp_error err = {0};
        js->told(js->arg, due.owner, "job", job);
        if (!due.save)
            continue;
        pthread_mutex_unlock(&js->lock);
        if (store_job_progress(js->store, due.id, due.done, due.total, &err) < 0)
            log_warn("jobs", "how far %s is can't be written down: %s", due.id, err.message);
        pthread_mutex_lock(&js->lock);
    }
}

static void *teller_main(void *arg)
{
    jobs *js = arg;
    pthread_mutex_lock(&js->lock);
    while (!js->draining) {
        double at = due(js);
        if (at <= 0)
            pthread_cond_wait(&js->changed, &js->lock);
        else if (at > clock_seconds())
            wait_until(js, at);
        else
            tell_due(js);
    }
    pthread_mutex_unlock(&js->lock);
    return NULL;
}

/* ---- start and end ---- */

int run_start(jobs *js, sp_error *err)
{
    size_t wanted = 0;
    for (size_t i = 0; i < js->n_kinds; i++)
        wanted += (size_t)js->kinds[i].at_once;
    js->threads = sp_calloc(wanted + 1, sizeof *js->threads);
    js->tells = js->threads && pthread_create(&js->teller, NULL, teller_main, js) == 0;
    while (js->tells && js->n_threads < wanted &&
           pthread_create(&js->threads[js->n_threads], NULL, thread_main, js) == 0)
        js->n_threads++;
    if (!js->tells || js->n_threads < wanted)
        return sp_fail(err, SP_ENOMEM, "a job thread could not be started");
    return 0;
}

void run_join(jobs *js)
{
    for (size_t i = 0; i < js->n_threads; i++)
        pthread_join(js->threads[i], NULL);
    if (js->tells)
        pthread_join(js->teller, NULL);
    sp_free(js->threads);
    js->threads = NULL;
    js->n_threads = 0;
    js->tells = false;
}
