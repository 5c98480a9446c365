/* The waiting line of an engine: who is admitted next. Under the engine's lock; what it costs grows with the logarithm
 * of the number of requests that wait, and nothing in it looks at a clock of its own.
 *
 * The next is, in this order: who was preempted; who has the lowest level; whose tenant has been served least; who came
 * first. A request's level is its priority less one for every QUEUE_AGE_SECONDS since it was submitted, but not less
 * than the lowest priority of the requests that are there: so a request of low priority waits longer, and not for ever,
 * and among equal priorities age doesn't count, so that a tenant with many old requests has no advantage.
 *
 * Tenants are counted by tokens, those of prompts at admission and those of answers as they come, as in "Fairness in
 * Serving Large Language Models" (Sheng et al., 2024, "virtual token counter"): one that comes back after a while is
 * lifted to what the last admitted one had, so that nobody can save up. There are QUEUE_LINES lines; tenants whose
 * numbers agree modulo that share one (stochastic fairness queueing, McKenney 1990). */
#ifndef SP_ENGINE_QUEUE_INT_H
#define SP_ENGINE_QUEUE_INT_H

#include <stdbool.h>
#include <stdint.h>
#include "engine/engine.h"

#define QUEUE_LINES 256
#define QUEUE_AGE_SECONDS 10.0

struct request;

/* A pairing heap whose nodes lie in the requests: lowest key first, ties to the lower number. */
struct heap_node {
    struct heap_node *child, *next, *prev; /* prev: the parent, of a first child */
    double key;
    uint64_t tie;
};

struct queue {
    struct queue_line {
        struct heap_node *first; /* by submitted + priority * QUEUE_AGE_SECONDS */
        uint64_t served;         /* tokens, lifted; compared only with those of other lines */
    } line[QUEUE_LINES];
    struct heap_node *expiry;                /* of all that wait and were never admitted */
    struct request *again;                   /* preempted, in the order of the running list */
    struct request *leaving, **leaving_end;  /* cancelled while they waited */
    int there[2 * ENGINE_PRIORITY_MOST + 1]; /* requests of each priority, waiting or running */
    int n;                                   /* that wait */
    int64_t prompt_tokens;                   /* of those */
    uint64_t served;                         /* of the line that was last chosen, before it was */
};

void queue_init(struct queue *q);
/* A newcomer with id and submitted set. */
void queue_add(struct queue *q, struct request *r);
void queue_add_again(struct queue *q, struct request *r); /* preempted */
/* NULL: nobody waits. */
struct request *queue_next(const struct queue *q, double now);
/* Takes the next one out; its place among those that run (rank) is set and its prompt is charged. */
void queue_take(struct queue *q, struct request *r, double now);
void queue_cancel(struct queue *q, struct request *r); /* into `leaving` */
/* One whose time is over, taken out; NULL: none. */
struct request *queue_expired(struct queue *q, double now);
struct request *queue_leaving(struct queue *q); /* all of that list, linked by next */
/* Whether one that runs has a lower level than before; its rank is that then. */
bool queue_risen(const struct queue *q, struct request *r, double now);
/* The tokens of its answer since the last time. */
void queue_charge(struct queue *q, struct request *r);
void queue_gone(struct queue *q, const struct request *r); /* neither waits nor runs any more */
/* Before others in the list of those that run. */
bool queue_before(const struct request *a, const struct request *b);

#endif
