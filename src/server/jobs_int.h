/* Long work that the page starts: what the server adds to the runner (jobs/jobs.h). A kind of job is a row of the table
 * in api_jobs.c: how its parameters are checked, the function that a job thread runs, and what its result is as a file.
 *
 * Threads: endpoints are on workers, `run` is on a job thread; the runner is started and drained by the
 * loop. Lock order: the runner's locks before events.lock. */
#ifndef SP_SERVER_JOBS_INT_H
#define SP_SERVER_JOBS_INT_H

#include "jobs/jobs.h"
#include "server/page_int.h"

/* What a new job works on. */
struct job_work {
    char title[STORE_TITLE_MOST + 1]; /* as the client said, or "": then `prepare` gives one */
    char *input;                      /* NULL: none; freed by who made the struct, as the next */
    size_t n_input;
    json_t *parts; /* NULL: not known yet */
    int64_t total;
};

struct page_kind {
    struct job_kind job; /* arg is filled in: the server */
    /* Checks the parameters (an object, which it may change). false: the error has been set. */
    bool (*prepare)(struct call *c, json_t *params, struct job_work *w);
    /* GET .../result of a job; NULL: its "result" as JSON. */
    void (*download)(struct call *c, const json_t *job);
};

/* ---- job_pull.c ---- */

extern const struct page_kind pull_kind;

/* ---- api_jobs.c ---- */

/* With the store open. What goes wrong is logged: the server does without jobs then. */
void page_jobs_open(struct server *s);
void page_jobs_start(struct server *s); /* loop: once models can be used */
void page_jobs_close(struct server *s); /* waits for what runs; before the models are closed */
/* Worker. NULL: the error has been set. */
struct jobs *jobs_of(struct call *c);

#endif
