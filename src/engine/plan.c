/* What a step computes: a decode row for every request that has its prompt behind it and the guesses that draft.c
 * takes, then prompt chunks in the order of those that run (schedule.c) up to step_rows. At each chunk the prefix cache
 * is asked first, and who would begin a page that another computes in this step leaves out the step and finds it in the
 * next one.
 * Each gets the pages for its rows; when there are none, not even idle ones of the cache, the last in that order gives
 * its own back and computes them again later. So the first always goes on, and every request has its turn: one that was
 * preempted has aged when it comes back. */
#include "engine/engine_int.h"

/* Only on what was planned before: so the first in line never waits. */
static bool awaits_another(const engine *e, const struct request *q)
{
    for (int32_t i = 0; i < e->n_seqs; i++)
        if (prefix_awaits(e, q, e->seq_owner[i]))
            return true;
    return false;
}

/* Rows of q's next prompt chunk; one ends where the time begins. */
static int64_t chunk(const struct request *q, int64_t room)
{
    int64_t untimed = q->r.timed_from - q->n_cached;
    int64_t n = untimed > 0 ? untimed : request_rows_left(q);
    return n < room ? n : room;
}

static void plan(engine *e, struct request *q, int64_t n)
{
    q->n_step = n;
    e->seq_owner[e->n_seqs++] = q;
}

/* Pages for the rows planned; false: q had to give its own back. */
static bool grow(engine *e, struct request *q)
{
    int32_t need = request_pages_for(q->n_cached + q->n_step);
    while (q->n_pages < need) {
        int32_t page = pages_take(&e->pages);
        if (page >= 0) {
            q->pages[q->n_pages++] = page;
            continue;
        }
        struct request *last = e->running_last;
        schedule_preempt(e, last);
        if (last == q)
            return false;
    }
    return true;
}

/* Pages for guesses are taken where nobody has to give up any for them. */
static void grow_draft(engine *e, struct request *q)
{
    int32_t need = request_pages_for((int64_t)q->tokens.n + q->draft.rows);
    while (q->draft.rows > 0 && q->n_pages < need && pages_available(&e->pages) > 0)
        q->pages[q->n_pages++] = pages_take(&e->pages);
    draft_fit(e, q, (int64_t)q->n_pages * KV_PAGE - (int64_t)q->tokens.n);
}

static void drop_preempted(engine *e)
{
    int32_t n = 0;
    for (int32_t i = 0; i < e->n_seqs; i++)
        if (e->seq_owner[i]->n_step > 0)
            e->seq_owner[n++] = e->seq_owner[i];
    e->n_seqs = n;
}

void plan_step(engine *e)
{
    int64_t room = e->opts.step_rows;
    e->n_seqs = 0;
    for (struct request *q = e->running; q; q = q->next) {
        q->n_step = 0;
        if (!request_decodes(q))
            prefix_count(e, q, prefix_extend(e, q));
        if (request_decodes(q) && room > 0) {
            plan(e, q, 1);
            room--;
        }
    }
    room -= draft_plan(e);
    for (struct request *q = e->running; q && room > 0; q = q->next)
        if (q->n_step == 0 && !awaits_another(e, q)) {
            prefix_count(e, q, prefix_copy(e, q));
            plan(e, q, chunk(q, room));
            room -= q->n_step;
        }
    for (struct request *q = e->running; q && grow(e, q); q = q->next)
        ;
    drop_preempted(e);
    for (int32_t i = 0; i < e->n_seqs; i++)
        if (e->seq_owner[i]->draft.rows > 0)
            grow_draft(e, e->seq_owner[i]);
}
