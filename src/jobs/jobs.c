/* What others ask of the runner: new jobs, how they are, pause, resume, cancel, remove. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "jobs/jobs_int.h"

/* ---- jobs that live ---- */

struct job_run *job_new(jobs *js, const struct job_kind *kind, int64_t owner, json_t *row)
{
    struct job_run *j = sp_calloc(1, sizeof *j);
    if (!j) {
        json_decref(row);
        return NULL;
    }
    j->of = js;
    j->kind = kind;
    j->owner = owner;
    j->row = row;
    atomic_init(&j->stop, STOP_NONE);
    (void)snprintf(j->id, sizeof j->id, "%s", json_string_value(json_object_get(row, "id")));
    const json_t *progress = json_object_get(row, "progress");
    j->done = json_integer_value(json_object_get(progress, "done"));
    j->total = json_integer_value(json_object_get(progress, "total"));
    return j;
}

void job_free(struct job_run *j)
{
    if (!j)
        return;
    json_decref(j->row);
    sp_free(j);
}

void job_link(jobs *js, struct job_run *j)
{
    struct job_run **end = &js->live;
    while (*end)
        end = &(*end)->next;
    *end = j;
}

void job_unlink(jobs *js, struct job_run *j)
{
    struct job_run **at = &js->live;
    while (*at && *at != j)
        at = &(*at)->next;
    if (*at)
        *at = j->next;
}

static struct job_run *find(const jobs *js, const char *id)
{
    struct job_run *j = js->live;
    while (j && strcmp(j->id, id) != 0)
        j = j->next;
    return j;
}

static size_t count_live(jobs *js)
{
    size_t n = 0;
    pthread_mutex_lock(&js->lock);
    for (const struct job_run *j = js->live; j; j = j->next)
        n++;
    pthread_mutex_unlock(&js->lock);
    return n;
}

const struct job_kind *jobs_kind(const jobs *js, const char *name)
{
    for (size_t i = 0; name && i < js->n_kinds; i++)
        if (strcmp(js->kinds[i].name, name) == 0)
            return &js->kinds[i];
    return NULL;
}

/* ---- as JSON ---- */

json_t *job_error(const sp_error *err)
{
    char code[64];
    (void)snprintf(code, sizeof code, "%s", sp_code_text(err->code));
    for (char *p = code; *p; p++)
        if (!isalnum((unsigned char)*p))
            *p = '_';
    return json_pack("{s:s,s:s}", "code", code, "message", err->message);
}

static void put_estimate(json_t *job, const struct job_run *j)
{
    bool known = j && j->running && j->rate > 0;
    bool ends = known && j->total > j->done;
    json_object_set_new(job, "rate", known ? json_real(j->rate) : json_null());
    json_object_set_new(job, "eta_s",
                        ends ? json_real((double)(j->total - j->done) / j->rate) : json_null());
}

static const char *stopping_text(const struct job_run *j)
{
    int stop = j ? atomic_load(&j->stop) : STOP_NONE;
    return stop == STOP_PAUSE ? "pause" : stop == STOP_CANCEL ? "cancel" : NULL;
}

/* Takes row. j: NULL when it doesn't live. */
static json_t *complete(json_t *row, const struct job_kind *kind, const struct job_run *j)
{
    const char *stopping = stopping_text(j);
    put_estimate(row, j);
    json_object_set_new(row, "resumable", json_boolean(kind && kind->resumes));
    json_object_set_new(row, "stopping", stopping ? json_string(stopping) : json_null());
    if (j)
        json_object_set_new(row, "progress",
                            json_pack("{s:I,s:I,s:s}", "done", (json_int_t)j->done, "total",
                                      (json_int_t)j->total, "unit", kind->unit));
    return row;
}

json_t *job_live_object(const struct job_run *j)
{
    json_t *row = json_copy(j->row);
    return row ? complete(row, j->kind, j) : NULL;
}

json_t *job_object(jobs *js, json_t *row)
{
    const char *id = json_string_value(json_object_get(row, "id"));
    const char *kind = json_string_value(json_object_get(row, "kind"));
    pthread_mutex_lock(&js->lock);
    row = complete(row, jobs_kind(js, kind), find(js, id));
    pthread_mutex_unlock(&js->lock);
    return row;
}

static int hand_out(json_t *job, json_t **out, sp_error *err)
{
    *out = job;
    return job ? 0 : sp_fail(err, SP_ENOMEM, "out of memory");
}

/* Tells everybody of a job and hands it out. Takes it. */
static int tell(jobs *js, int64_t owner, json_t *job, json_t **out, sp_error *err)
{
    if (job)
        js->told(js->arg, owner, "job", json_deep_copy(job));
    return hand_out(job, out, err);
}

/* ---- making and asking ---- */

/* Under `order`: the job of this row goes into the queue. Takes row. */
static int enqueue(jobs *js, int64_t owner, json_t *row, sp_error *err)
{
    const char *name = json_string_value(json_object_get(row, "kind"));
    const struct job_kind *kind = jobs_kind(js, name);
    struct job_run *j = job_new(js, kind, owner, row);
    if (!j)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    pthread_mutex_lock(&js->lock);
    job_link(js, j);
    pthread_cond_signal(&js->more);
    pthread_mutex_unlock(&js->lock);
    return 0;
}

static int check_room(jobs *js, sp_error *err)
{
    size_t n = count_live(js);
    if (n < JOBS_LIVE_MOST)
        return 0;
    return sp_fail(err, SP_EFULL, "%zu jobs are queued or running: let some end, or cancel some",
                   n);
}

int jobs_add(jobs *js, int64_t owner, const struct store_new_job *n, json_t **out, sp_error *err)
{
    const struct job_kind *kind = jobs_kind(js, n->kind);
    struct store_new_job full = *n;
    json_t *row = NULL;
    *out = NULL;
    if (!kind)
        return sp_fail(err, SP_EINVAL, "kind: there is no kind of job %.64s",
                       n->kind ? n->kind : "");
    full.unit = kind->unit;
    pthread_mutex_lock(&js->order);
    int code = check_room(js, err);
    if (code == 0)
        code = store_job_add(js->store, owner, &full, &row, err);
    if (code == 0)
        code = enqueue(js, owner, json_deep_copy(row), err);
    if (code == 0)
        code = tell(js, owner, job_object(js, row), out, err);
    else
        json_decref(row);
    pthread_mutex_unlock(&js->order);
    return code;
}

int jobs_get(jobs *js, int64_t owner, const char *id, json_t **out, sp_error *err)
{
    json_t *row = NULL;
    int code = store_job(js->store, owner, id, &row, err);
    return code == 0 ? hand_out(job_object(js, row), out, err) : code;
}

int jobs_list(jobs *js, int64_t owner, const struct store_job_query *q, json_t **out, sp_error *err)
{
    size_t i;
    json_t *row;
    int code = store_jobs(js->store, owner, q, out, err);
    if (code < 0)
        return code;
    json_array_foreach(json_object_get(*out, "data"), i, row)
    {
        (void)job_object(js, row);
    }
    return 0;
}

/* ---- pause, resume, cancel ---- */

/* The job as it is in the store, and, if it is queued, out of the queue: then nobody else changes it. */
struct held {
    json_t *row;
    const char *state;       /* of row */
    struct job_run *waiting; /* it was queued; the holder's */
    bool asked;              /* to run, with this key */
    const char *key;
    bool running;
};

/* Under `order`. stop: what a running one is told. */
static int hold(jobs *js, int64_t owner, const char *id, enum job_stop stop, struct held *h,
                sp_error *err)
{
    *h = (struct held){.row = NULL};
    int code = store_job(js->store, owner, id, &h->row, err);
    if (code < 0)
        return code;
    h->state = json_string_value(json_object_get(h->row, "state"));
    pthread_mutex_lock(&js->lock);
    struct job_run *j = find(js, id);
    h->running = j && j->running;
    if (h->running && (int)stop > atomic_load(&j->stop))
        atomic_store(&j->stop, (int)stop);
    if (j && !j->running && stop != STOP_NONE) {
        job_unlink(js, j);
        h->waiting = j;
    }
    pthread_mutex_unlock(&js->lock);
    return 0;
}

/* Under `order`. Takes what is held. */
static int move(jobs *js, int64_t owner, struct held *h, const char *state, json_t **out,
                sp_error *err)
{
    const json_t *progress = json_object_get(h->row, "progress");
    struct store_job_change to = {
        .state = state,
        .ends = strcmp(state, "cancelled") == 0,
        .done = json_integer_value(json_object_get(progress, "done")),
        .total = json_integer_value(json_object_get(progress, "total")),
        .result = json_object_get(h->row, "result"),
        .asked = h->asked,
        .key = h->key,
    };
    json_t *row = NULL;
    const char *id = json_string_value(json_object_get(h->row, "id"));
    int code = store_job_change(js->store, owner, id, &to, &row, err);
    if (code == 0 && strcmp(state, "queued") == 0)
        code = enqueue(js, owner, json_deep_copy(row), err);
    if (code < 0 && h->waiting) { /* it stays what it was */
        pthread_mutex_lock(&js->lock);
        job_link(js, h->waiting);
        pthread_mutex_unlock(&js->lock);
    } else {
        job_free(h->waiting);
    }
    json_decref(h->row);
    if (code == 0)
        return tell(js, owner, job_object(js, row), out, err);
    json_decref(row);
    return code;
}

static int refuse(struct held *h, sp_error *err, const char *why)
{
    int code = sp_fail(err, SP_EBUSY, "this job is %s: %s", h->state, why);
    json_decref(h->row);
    return code;
}

static int ask_pause(jobs *js, int64_t owner, const char *id, json_t **out, sp_error *err)
{
    struct held h;
    json_t *row = NULL;
    int code = store_job(js->store, owner, id, &row, err);
    if (code < 0)
        return code;
    const struct job_kind *kind = jobs_kind(js, json_string_value(json_object_get(row, "kind")));
    json_decref(row);
    if (!kind || !kind->resumes)
        return sp_fail(err, SP_EBUSY, "a job of this kind can't be paused: cancel it");
    code = hold(js, owner, id, STOP_PAUSE, &h, err);
    if (code < 0)
        return code;
    if (h.running || strcmp(h.state, "paused") == 0)
        return tell(js, owner, job_object(js, h.row), out, err);
    if (strcmp(h.state, "queued") == 0)
        return move(js, owner, &h, "paused", out, err);
    return refuse(&h, err, "only what is queued or running can be paused");
}

int jobs_pause(jobs *js, int64_t owner, const char *id, json_t **out, sp_error *err)
{
    *out = NULL;
    pthread_mutex_lock(&js->order);
    int code = ask_pause(js, owner, id, out, err);
    pthread_mutex_unlock(&js->order);
    return code;
}

static bool rests(const char *state)
{
    return strcmp(state, "paused") == 0 || strcmp(state, "interrupted") == 0 ||
           strcmp(state, "failed") == 0;
}

static int ask_resume(jobs *js, int64_t owner, const char *id, const char *key, json_t **out,
                      sp_error *err)
{
    struct held h;
    int code = check_room(js, err);
    if (code == 0)
        code = hold(js, owner, id, STOP_NONE, &h, err);
    if (code < 0)
        return code;
    const struct job_kind *kind = jobs_kind(js, json_string_value(json_object_get(h.row, "kind")));
    if (h.running)
        return refuse(&h, err, "it can be resumed once it has stopped");
    if (!rests(h.state))
        return refuse(&h, err, "only what is paused, interrupted or failed can be resumed");
    if (!kind || !kind->resumes)
        return refuse(&h, err, "a job of its kind can't be resumed: start a new one");
    h.asked = true;
    h.key = key;
    return move(js, owner, &h, "queued", out, err);
}

int jobs_resume(jobs *js, int64_t owner, const char *id, const char *key, json_t **out,
                sp_error *err)
{
    *out = NULL;
    pthread_mutex_lock(&js->order);
    int code = ask_resume(js, owner, id, key, out, err);
    pthread_mutex_unlock(&js->order);
    return code;
}

static int ask_cancel(jobs *js, int64_t owner, const char *id, json_t **out, sp_error *err)
{
    struct held h;
    int code = hold(js, owner, id, STOP_CANCEL, &h, err);
    if (code < 0)
        return code;
    bool over = strcmp(h.state, "done") == 0 || strcmp(h.state, "failed") == 0 ||
                strcmp(h.state, "cancelled") == 0;
    if (h.running || over)
        return tell(js, owner, job_object(js, h.row), out, err);
    return move(js, owner, &h, "cancelled", out, err);
}

int jobs_cancel(jobs *js, int64_t owner, const char *id, json_t **out, sp_error *err)
{
    *out = NULL;
    pthread_mutex_lock(&js->order);
    int code = ask_cancel(js, owner, id, out, err);
    pthread_mutex_unlock(&js->order);
    return code;
}

static int drop(jobs *js, int64_t owner, const char *id, sp_error *err)
{
    json_t *row = NULL;
    int code = store_job(js->store, owner, id, &row, err); /* it is this owner's */
    json_decref(row);
    if (code < 0)
        return code;
    pthread_mutex_lock(&js->lock);
    const struct job_run *j = find(js, id);
    bool running = j && j->running;
    pthread_mutex_unlock(&js->lock);
    if (running)
        return sp_fail(err, SP_EBUSY, "this job is running: cancel it first");
    struct held h;
    code = hold(js, owner, id, STOP_CANCEL, &h, err);
    if (code == 0)
        code = store_job_remove(js->store, owner, id, err);
    job_free(h.waiting);
    json_decref(h.row);
    if (code == 0)
        js->told(js->arg, owner, "job_deleted", json_pack("{s:s}", "id", id));
    return code;
}

int jobs_remove(jobs *js, int64_t owner, const char *id, sp_error *err)
{
    pthread_mutex_lock(&js->order);
    int code = drop(js, owner, id, err);
    pthread_mutex_unlock(&js->order);
    return code;
}

/* ---- opening and closing ---- */

/* One that can't be done any more says so. */
static int take_over(jobs *js, int64_t owner, const char *id, sp_error *err)
{
    json_t *row = NULL;
    int code = store_job(js->store, owner, id, &row, err);
    if (code < 0)
        return code;
    const char *name = json_string_value(json_object_get(row, "kind"));
    if (jobs_kind(js, name))
        return enqueue(js, owner, row, err);
    sp_error why;
    sp_fail(&why, SP_EUNSUPPORTED, "this server knows no kind of job %.64s", name);
    struct store_job_change to = {.state = "failed", .ends = true, .error = job_error(&why)};
    json_t *after = NULL;
    code = store_job_change(js->store, owner, id, &to, &after, err);
    json_decref((json_t *)(uintptr_t)to.error);
    json_decref(after);
    json_decref(row);
    return code;
}

static int take_over_all(jobs *js, sp_error *err)
{
    size_t i;
    json_t *list = NULL, *entry;
    int code = store_jobs_queued(js->store, &list, err);
    json_array_foreach(list, i, entry)
    {
        if (code == 0)
            code = take_over(js, json_integer_value(json_object_get(entry, "owner")),
                             json_string_value(json_object_get(entry, "id")), err);
    }
    json_decref(list);
    return code;
}

int jobs_open(const struct jobs_opts *o, jobs **out, sp_error *err)
{
    pthread_condattr_t monotonic;
    jobs *js = sp_calloc(1, sizeof *js);
    if (!js)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&js->more, NULL);
    pthread_cond_init(&js->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&js->order, NULL);
    pthread_mutex_init(&js->lock, NULL);
    js->store = o->store;
    js->told = o->told;
    js->arg = o->arg;
    js->kinds = sp_calloc(o->n_kinds + 1, sizeof *js->kinds);
    int code = js->kinds ? 0 : sp_fail(err, SP_ENOMEM, "out of memory");
    if (code == 0 && o->n_kinds > 0)
        memcpy(js->kinds, o->kinds, o->n_kinds * sizeof *js->kinds);
    js->n_kinds = code == 0 ? o->n_kinds : 0;
    if (code == 0)
        code = take_over_all(js, err);
    if (code < 0) {
        jobs_close(js);
        return code;
    }
    *out = js;
    return 0;
}

int jobs_start(jobs *js, sp_error *err)
{
    return run_start(js, err);
}

void jobs_drain(jobs *js)
{
    pthread_mutex_lock(&js->lock);
    js->draining = true;
    for (struct job_run *j = js->live; j; j = j->next) {
        int none = STOP_NONE;
        (void)atomic_compare_exchange_strong(&j->stop, &none, STOP_DRAIN);
    }
    pthread_cond_broadcast(&js->more);
    pthread_cond_broadcast(&js->changed);
    pthread_mutex_unlock(&js->lock);
}

void jobs_close(jobs *js)
{
    if (!js)
        return;
    jobs_drain(js);
    run_join(js);
    while (js->live) {
        struct job_run *j = js->live;
        js->live = j->next;
        job_free(j);
    }
    pthread_mutex_destroy(&js->lock);
    pthread_mutex_destroy(&js->order);
    pthread_cond_destroy(&js->changed);
    pthread_cond_destroy(&js->more);
    sp_free(js->kinds);
    sp_free(js);
}

void jobs_adopt(jobs *js, int64_t from, int64_t to)
{
    pthread_mutex_lock(&js->lock);
    for (struct job_run *j = js->live; j; j = j->next)
        if (j->owner == from)
            j->owner = to;
    pthread_mutex_unlock(&js->lock);
}

/* ---- for the work ---- */

const char *job_id(const job_run *j)
{
    return j->id;
}

int64_t job_owner(const job_run *j)
{
    return j->owner;
}

const char *job_key(const job_run *j)
{
    return j->key;
}

store *job_store(const job_run *j)
{
    return j->of->store;
}

const json_t *job_params(const job_run *j)
{
    return json_object_get(j->row, "params");
}

bool job_stopping(const job_run *j)
{
    return atomic_load(&j->stop) != STOP_NONE;
}
