/* The compute pool: parallel_for over a range with the caller as worker 0. Between calls workers
 * spin for a short while, then sleep. One pool may be used by one caller at a time. Every worker, the
 * caller included, runs with the default floating-point control word and takes no signals (the caller
 * does). pool_run itself allocates nothing. */
#ifndef SP_BASE_POOL_H
#define SP_BASE_POOL_H

#include <stddef.h>
#include "base/error.h"

typedef struct pool pool;

/* n_threads (1..1023) counts the caller. SP_EINVAL, SP_ENOMEM, or SP_EFULL when the system refuses. */
int pool_new(int n_threads, pool **out, sp_error *err);
void pool_free(pool *p);
int pool_threads(const pool *p);

/* worker: 0 .. n_threads-1, for per-worker scratch. [begin, end): the items to do. */
typedef void (*pool_fn)(void *arg, int worker, size_t begin, size_t end);

/* Calls fn over [0, n) in pieces of `grain` items, handed out dynamically (an atomic counter), so a
 * slow worker costs no more than its share. Returns when all are done. fn must not call pool_run. */
void pool_run(pool *p, size_t n, size_t grain, pool_fn fn, void *arg);

#endif
