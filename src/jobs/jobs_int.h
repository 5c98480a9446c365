/* Inside the runner: jobs.c is what others ask of it, run.c its threads. */
#ifndef SP_JOBS_JOBS_INT_H
#define SP_JOBS_JOBS_INT_H

#include <pthread.h>
#include <stdatomic.h>
#include "jobs/jobs.h"

enum job_stop { STOP_NONE, STOP_DRAIN, STOP_PAUSE, STOP_CANCEL }; /* the greater one counts */

struct job_run {
    struct job_run *next; /* jobs.live */
    struct jobs *of;
    const struct job_kind *kind;
    char id[STORE_ID_BYTES];
    _Atomic int64_t owner;     /* changes in jobs_adopt only */
    char key[STORE_SHA_BYTES]; /* once it runs */
    atomic_int stop;           /* enum job_stop */

    /* under lock */
    bool running; /* a thread has it */
    json_t *row;  /* as the store has it; replaced under `order` */
    int64_t done, total;
    double rate;       /* units a second; 0: not known */
    double counted_at; /* clock_seconds: of the last count that went into the rate */
    int64_t counted;
    bool dirty; /* it has progressed since it was told */
    double told_at, saved_at;
};

struct jobs {
    store *store;
    struct job_kind *kinds; /* [n_kinds] */
    size_t n_kinds;
    void (*told)(void *arg, int64_t owner, const char *event, json_t *data);
    void *arg;

    pthread_mutex_t order; /* before lock */
    pthread_mutex_t lock;
    pthread_cond_t more;    /* a job can begin, or the end */
    pthread_cond_t changed; /* some job is dirty, or the end */
    struct job_run *live;   /* queued and running ones, oldest first */
    bool draining;
    pthread_t *threads, teller; /* [n_threads] as many as all kinds may run */
    size_t n_threads;
    bool tells; /* the teller runs */
};

/* ---- jobs.c ---- */

struct job_run *job_new(jobs *js, const struct job_kind *kind, int64_t owner,
                        json_t *row); /* takes row */
void job_free(struct job_run *j);
/* Under lock. */
void job_link(jobs *js, struct job_run *j);
void job_unlink(jobs *js, struct job_run *j);
/* A whole job of its row, live or not; takes row. */
json_t *job_object(jobs *js, json_t *row);
/* The same under lock, of one that lives. */
json_t *job_live_object(const struct job_run *j);
/* Of an error, as a job has it: {"code", "message"}. */
json_t *job_error(const sp_error *err);

/* ---- run.c ---- */

int run_start(jobs *js, sp_error *err);
void run_join(jobs *js);

#endif
