/* The runner of long work: a queue, a few threads, progress, pause, cancel, and honest states after a restart. It does
 * not know what the work is: a *kind* does, a function that a job thread calls. Jobs are rows of the store; what is
 * here of them is the queue and what runs.
 *
 * A job is queued, then running, then done, failed or cancelled; or paused, or interrupted (the program ended, or was
 * killed, while it ran). Stopping is one thing, whatever the reason: the work polls job_stopping() and returns soon. A
 * kind that `resumes` keeps what it has done (the parts of a job, store.h), and is called again to go on from there, so
 * its jobs can be paused, and resumed when paused, interrupted or failed. What is queued at the end of the program runs
 * in the next one.
 *
 * Ownership: JSON objects that come out are the caller's. A job is the runner's; the work has it until it returns.
 * Threads: any thread may call, but jobs_open and jobs_close; calls write to the store, so a thread that must not wait
 * (the server's loop) makes none but jobs_drain. Of one kind at most `at_once` run; no kind waits for another. Lock
 * order: `order` (held over a change of state and its row), then `lock` (short).
 *
 *     static int count(void *arg, job_run *j, json_t **result, sp_error *err)
 *     {
 *         for (int64_t n = 0; n < 100; n++) {
 *             if (job_stopping(j))
 *                 return sp_fail(err, SP_ECANCELLED, "stopped");
 *             job_progress(j, n, 100);                    // told at most four times a second
 *             clock_sleep(0.1);
 *         }
 *         return 0;
 *     }
 *     struct job_kind kinds[] = {{.name = "count", .unit = "items", .at_once = 1, .run = count}};
 *     struct jobs_opts o = {.store = s, .kinds = kinds, .n_kinds = 1, .told = on_event};
 *     jobs_open(&o, &js, &err);
 *     jobs_start(js, &err);
 *     jobs_add(js, 0, &(struct store_new_job){.kind = "count", .title = "Up to 100", .params = params}, &job, &err);
 *     ...
 *     jobs_close(js);                                     // what runs ends as "interrupted"
 */
#ifndef SP_JOBS_JOBS_H
#define SP_JOBS_JOBS_H

#include "store/store.h"

#define JOBS_LIVE_MOST 100     /* that are queued or running */
#define JOBS_TELL_SECONDS 0.25 /* between two events of one job's progress */
#define JOBS_SAVE_SECONDS 2.0  /* between two writes of it */

typedef struct jobs jobs;
typedef struct job_run job_run; /* one that runs */

struct job_kind {
    const char *name; /* "batch" */
    const char *unit; /* of its progress: "bytes", "items" or "tokens" */
    int at_once;      /* that run at the same time, from 1 */
    bool resumes;     /* `run` of a job that has run before goes on where that ended */
    /* On a job thread. 0: it is done, and *result (an object, taken; or NULL) is what came of it. Negative: failed, or
     * stopped because job_stopping() said so. */
    int (*run)(void *arg, job_run *j, json_t **result, sp_error *err);
    void *arg;
};

struct jobs_opts {
    store *store;                 /* outlives the runner */
    const struct job_kind *kinds; /* copied; the names are not */
    size_t n_kinds;
    /* What happened: "job" with the whole job, "job_deleted" with {"id"}. On any thread, with locks of the runner held:
     * it returns soon and calls nothing of the runner. Takes data. */
    void (*told)(void *arg, int64_t owner, const char *event, json_t *data);
    void *arg;
};

/* Takes over what is queued in the store. Nothing runs before jobs_start. */
int jobs_open(const struct jobs_opts *o, jobs **out, sp_error *err);
int jobs_start(jobs *js, sp_error *err);
/* No job begins any more, and those that run are told to stop, to end as "interrupted". Returns at once. */
void jobs_drain(jobs *js);
void jobs_close(jobs *js); /* drains, and waits for what runs */

const struct job_kind *jobs_kind(const jobs *js, const char *name); /* NULL: there is none */

/* job: as store.h has it, and "rate" (units a second, or null), "eta_s" (or null), "resumable" and "stopping" ("pause",
 * "cancel" or null: it has been asked to, and still runs). */
/* n->unit is the kind's. SP_EINVAL: no such kind; SP_EFULL: too many are queued or kept. */
int jobs_add(jobs *js, int64_t owner, const struct store_new_job *n, json_t **out, sp_error *err);
int jobs_get(jobs *js, int64_t owner, const char *id, json_t **out, sp_error *err);
int jobs_list(jobs *js, int64_t owner, const struct store_job_query *q, json_t **out,
              sp_error *err);
/* *out: the job as it is then; one that runs stops soon after. SP_EBUSY: it is not in a state for that, or its kind
 * can't. To cancel what has ended changes nothing. */
int jobs_pause(jobs *js, int64_t owner, const char *id, json_t **out, sp_error *err);
/* key: as in store_new_job, from now on. */
int jobs_resume(jobs *js, int64_t owner, const char *id, const char *key, json_t **out,
                sp_error *err);
int jobs_cancel(jobs *js, int64_t owner, const char *id, json_t **out, sp_error *err);
int jobs_remove(jobs *js, int64_t owner, const char *id, sp_error *err); /* SP_EBUSY: it runs */
/* The store has given all rows of one owner to another: so are the jobs that are queued or run. */
void jobs_adopt(jobs *js, int64_t from, int64_t to);

/* ---- for the work ---- */

const char *job_id(const job_run *j);
int64_t job_owner(const job_run *j);
const char *job_key(const job_run *j); /* "": none */
const json_t *job_params(const job_run *j);
store *job_store(const job_run *j);
bool job_stopping(const job_run *j);
/* Any thread of the work. total 0: not known. */
void job_progress(job_run *j, int64_t done, int64_t total);

#endif
