/* The compute pool: parallel_for over a range with the caller as worker 0. Between calls workers
 * spin for a short while, then sleep. One pool may be used by one caller at a time; several that share one
 * take turns. Every worker, the caller included, runs with the default floating-point control word and
 * takes no signals (the caller does). pool_run itself allocates nothing. */
#ifndef SP_BASE_POOL_H
#define SP_BASE_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include "base/error.h"

typedef struct pool pool;

/* n_threads (1..1023) counts the caller. SP_EINVAL, SP_ENOMEM, or SP_EFULL when the system refuses. */
int pool_new(int n_threads, pool **out, sp_error *err);
void pool_free(pool *p);
int pool_threads(const pool *p);

/* Keeping each worker on a CPU of its own, performance cores first (base/machine.h). AUTO: only where there are
 * several NUMA nodes and CPUs enough, since elsewhere the scheduler does as well and can step aside for
 * other programs. ON: SP_EINVAL when there are more threads than CPUs, SP_EFULL when the system
 * refuses; with AUTO a refusal is a line in the log. Once, before the first pool_run. */
enum pool_pin { POOL_PIN_AUTO, POOL_PIN_ON, POOL_PIN_OFF };
int pool_pin(pool *p, enum pool_pin how, sp_error *err);
bool pool_pinned(const pool *p);
/* The calling thread is worker 0: the first puts it on its CPU when the pool is pinned, the second lets it run
 * again where it might before. By the same thread, of one pool at a time; threads that it makes in between start on
 * that CPU. */
void pool_caller_enter(pool *p);
void pool_caller_leave(pool *p);

/* worker: 0 .. n_threads-1, for per-worker scratch. [begin, end): the items to do. */
typedef void (*pool_fn)(void *arg, int worker, size_t begin, size_t end);

/* Calls fn over [0, n) in pieces of `grain` items, handed out dynamically (an atomic counter), so a
 * slow worker costs no more than its share. Returns when all are done. fn must not call pool_run. */
void pool_run(pool *p, size_t n, size_t grain, pool_fn fn, void *arg);

/* Turns of callers that share a pool, in the order in which they ask. What is one's own between take and give (a step)
 * runs alone. Not to be nested. */
void pool_take_turn(pool *p);
void pool_end_turn(pool *p);
size_t pool_turns_waiting(pool *p); /* callers */
/* pool_run in rounds of at most `round` items, with a turn for each, so that others' steps come in between. */
void pool_run_in_turns(pool *p, size_t n, size_t round, pool_fn fn, void *arg);

#endif
