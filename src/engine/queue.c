#include <math.h>
#include <string.h>
#include "engine/engine_int.h"

#define request_at(node, member)                                                                   \
    ((struct request *)(void *)((char *)(node)-offsetof(struct request, member)))

/* ---- a pairing heap (Fredman, Sedgewick, Sleator, Tarjan 1986) ---- */

static bool node_before(const struct heap_node *a, const struct heap_node *b)
{
    return a->key < b->key || (a->key <= b->key && a->tie < b->tie);
}

static struct heap_node *heap_meld(struct heap_node *a, struct heap_node *b)
{
    if (!a || !b)
        return a ? a : b;
    if (node_before(b, a)) {
        struct heap_node *swap = a;
        a = b;
        b = swap;
    }
    b->prev = a;
    b->next = a->child;
    if (b->next)
        b->next->prev = b;
    a->child = b;
    return a;
}

static void heap_add(struct heap_node **first, struct heap_node *n)
{
    n->child = n->next = n->prev = NULL;
    *first = heap_meld(*first, n);
}

/* One heap of a list of them: pairs from left to right, then all pairs from right to left. */
static struct heap_node *heap_join(struct heap_node *list)
{
    struct heap_node *pairs = NULL, *all = NULL;
    while (list) {
        struct heap_node *a = list, *b = a->next;
        list = b ? b->next : NULL;
        a->next = a->prev = NULL;
        if (b)
            b->next = b->prev = NULL;
        a = heap_meld(a, b);
        a->next = pairs;
        pairs = a;
    }
    while (pairs) {
        struct heap_node *next = pairs->next;
        pairs->next = NULL;
        all = heap_meld(all, pairs);
        pairs = next;
    }
    return all;
}

static void heap_remove(struct heap_node **first, struct heap_node *n)
{
    struct heap_node *below = heap_join(n->child);
    if (*first == n) {
        *first = below;
        return;
    }
    if (n->prev->child == n)
        n->prev->child = n->next;
    else
        n->prev->next = n->next;
    if (n->next)
        n->next->prev = n->prev;
    *first = heap_meld(*first, below);
}

/* ---- levels ---- */

static int lowest_priority(const struct queue *q)
{
    int i = 0;
    while (i < 2 * ENGINE_PRIORITY_MOST && q->there[i] == 0)
        i++;
    return i - ENGINE_PRIORITY_MOST;
}

/* Falls with the key in a line, so the first of a line has its lowest level. */
static int level_of(const struct request *r, int lowest, double now)
{
    double aged = ceil((r->turn.key - now) / QUEUE_AGE_SECONDS);
    double level = aged < r->r.priority ? aged : r->r.priority;
    return level > lowest ? (int)level : lowest;
}

static struct queue_line *line_of(struct queue *q, const struct request *r)
{
    return &q->line[r->r.tenant % QUEUE_LINES];
}

bool queue_before(const struct request *a, const struct request *b)
{
    return a->rank < b->rank || (a->rank == b->rank && a->admission < b->admission);
}

/* ---- coming and going ---- */

void queue_init(struct queue *q)
{
    memset(q, 0, sizeof *q);
    q->leaving_end = &q->leaving;
}

static void count(struct queue *q, struct request *r, bool waits)
{
    r->waits = waits;
    q->n += waits ? 1 : -1;
    q->prompt_tokens += waits ? r->n_prompt : -r->n_prompt;
}

static double expiry_of(const struct request *r)
{
    double queue = r->r.queue_seconds_max > 0 ? r->r.queue_seconds_max : INFINITY;
    double total = r->r.total_seconds_max > 0 ? r->r.total_seconds_max : INFINITY;
    return r->submitted + (queue < total ? queue : total);
}

void queue_add(struct queue *q, struct request *r)
{
    struct queue_line *line = line_of(q, r);
    if (!line->first && line->served < q->served)
        line->served = q->served;
    r->turn.key = r->submitted + r->r.priority * QUEUE_AGE_SECONDS;
    r->expiry.key = expiry_of(r);
    r->turn.tie = r->expiry.tie = r->id;
    heap_add(&line->first, &r->turn);
    heap_add(&q->expiry, &r->expiry);
    q->there[r->r.priority + ENGINE_PRIORITY_MOST]++;
    count(q, r, true);
}

void queue_add_again(struct queue *q, struct request *r)
{
    struct request **at = &q->again;
    while (*at && queue_before(*at, r))
        at = &(*at)->next;
    r->next = *at;
    *at = r;
    count(q, r, true);
}

struct request *queue_next(const struct queue *q, double now)
{
    struct request *best = q->again;
    int lowest = lowest_priority(q), best_level = 0;
    uint64_t best_served = 0;
    for (int i = 0; i < QUEUE_LINES && !q->again; i++) {
        const struct queue_line *line = &q->line[i];
        struct request *r = line->first ? request_at(line->first, turn) : NULL;
        int level = r ? level_of(r, lowest, now) : 0;
        if (!r || (best && level > best_level))
            continue;
        if (best && level == best_level &&
            (line->served > best_served ||
             (line->served == best_served && node_before(&best->turn, &r->turn))))
            continue;
        best = r;
        best_level = level;
        best_served = line->served;
    }
    return best;
}

static void take_out(struct queue *q, struct request *r)
{
    if (r->preempted) {
        struct request **at = &q->again;
        while (*at != r)
            at = &(*at)->next;
        *at = r->next;
    } else {
        heap_remove(&line_of(q, r)->first, &r->turn);
        heap_remove(&q->expiry, &r->expiry);
    }
    r->next = NULL;
    count(q, r, false);
}

void queue_take(struct queue *q, struct request *r, double now)
{
    r->rank = level_of(r, lowest_priority(q), now);
    take_out(q, r);
    if (r->preempted)
        return;
    struct queue_line *line = line_of(q, r);
    if (q->served < line->served)
        q->served = line->served;
    line->served += (uint64_t)r->n_prompt;
}

void queue_cancel(struct queue *q, struct request *r)
{
    take_out(q, r);
    *q->leaving_end = r;
    q->leaving_end = &r->next;
}

struct request *queue_leaving(struct queue *q)
{
    struct request *all = q->leaving;
    q->leaving = NULL;
    q->leaving_end = &q->leaving;
    return all;
}

struct request *queue_expired(struct queue *q, double now)
{
    struct request *r = q->expiry ? request_at(q->expiry, expiry) : NULL;
    if (!r || r->expiry.key > now)
        for (r = q->again; r && !request_overdue(r, now); r = r->next)
            ;
    if (r)
        take_out(q, r);
    return r;
}

bool queue_risen(const struct queue *q, struct request *r, double now)
{
    int before = r->rank, level = level_of(r, lowest_priority(q), now);
    r->rank = level < before ? level : before;
    return level < before;
}

void queue_charge(struct queue *q, struct request *r)
{
    line_of(q, r)->served += (uint64_t)(r->n_answer - r->n_charged);
    r->n_charged = r->n_answer;
}

void queue_gone(struct queue *q, const struct request *r)
{
    q->there[r->r.priority + ENGINE_PRIORITY_MOST]--;
}
