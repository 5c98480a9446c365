/* One step: what the plan says, forward, logits in blocks, one token for each finished context, and one more for each
 * guess that was right. */
#include <math.h>
#include <string.h>
#include "base/clock.h"
#include "engine/engine_int.h"

struct batch {
    int64_t n_rows, n_wanted;
    int32_t n_seqs;
};

/* The rows of a request that the plan gave it. The last token's logits give the next one; with prompt logprobs every
 * prompt row's are wanted, but for those told before it was preempted. Guesses follow the last token; their positions
 * count as cached once they are right, and are written again otherwise. */
static void add_rows(engine *e, struct batch *b, struct request *q)
{
    int64_t known = (int64_t)q->tokens.n;
    e->seqs[b->n_seqs] = (struct model_seq){q->pages, q->n_pages};
    for (int64_t i = 0; i < q->n_step; i++) {
        int64_t pos = q->n_cached + i;
        bool next = pos == known - 1 && q->n_max > 0;
        bool prompt =
            request_wants_prompt(q) && pos + 1 < q->n_prompt && pos + 1 >= q->n_prompt_told;
        e->rows[b->n_rows] = (struct model_row){.token = q->tokens.ids[pos],
                                                .pos = (int32_t)pos,
                                                .seq = b->n_seqs,
                                                .want_logits = next || prompt};
        b->n_wanted += next || prompt;
        b->n_rows++;
    }
    for (int i = 0; i < q->draft.rows; i++)
        e->rows[b->n_rows++] = (struct model_row){.token = q->draft.token[i],
                                                  .pos = (int32_t)(known + i),
                                                  .seq = b->n_seqs,
                                                  .want_logits = true};
    b->n_wanted += q->draft.rows;
    b->n_seqs++;
}

static void build(engine *e, struct batch *b)
{
    for (int32_t i = 0; i < e->n_seqs; i++)
        add_rows(e, b, e->seq_owner[i]);
}

static void fail_all(engine *e, const sp_error *err)
{
    struct request *q = e->running;
    while (q) {
        struct request *next = q->next;
        emit_done(e, q, FINISH_ERROR, NULL, err);
        schedule_retire(e, q);
        q = next;
    }
}

/* A wanted row's logits: the next prompt token's logprob, or a new token. True: the request is over. */
static bool use_choice(engine *e, struct request *q, const struct choice *c)
{
    if (!c->drawn) {
        emit_prompt(e, q, c->pos + 1, c);
        q->n_prompt_told = c->pos + 2;
        return false;
    }
    if (c->token >= 0) {
        bool right = draft_next(e, q, c->token);
        q->n_cached += right;
        bool over = emit_token(e, q, c);
        /* A guess may have filled a page, and the request may be over. An end token isn't among its tokens. */
        if (right && q->n_cached <= (int64_t)q->tokens.n)
            prefix_record(e, q);
        return over;
    }
    sp_error err;
    sp_fail(&err, SP_EINTERNAL, "no finite logit at position %lld", (long long)c->pos);
    emit_done(e, q, FINISH_ERROR, NULL, &err);
    return true;
}

/* Makes the logits of up to MODEL_LOGIT_ROWS wanted rows and chooses; the first is the `wanted`-th, at `*row` or
 * behind it. */
static void choose_block(engine *e, const struct batch *b, int64_t wanted, int64_t *row)
{
    struct chooser *c = &e->chooser;
    for (c->n = 0; *row < b->n_rows && c->n < MODEL_LOGIT_ROWS; ++*row) {
        const struct model_row *r = &e->rows[*row];
        if (!r->want_logits)
            continue;
        c->choices[c->n] = (struct choice){.q = e->seq_owner[r->seq],
                                           .seq = r->seq,
                                           .input = r->token,
                                           .pos = r->pos,
                                           .logits = e->logits + c->n * e->vocab};
        c->n++;
    }
    model_logits(e->model, wanted, c->n, e->logits);
    chooser_run(c, e->pool);
}

/* Goes through the wanted rows. Those behind a wrong guess are not used, nor those of a request that is over or
 * cancelled. */
static void use_rows(engine *e, const struct batch *b)
{
    int64_t row = 0;
    for (int64_t wanted = 0; wanted < b->n_wanted; wanted += e->chooser.n) {
        choose_block(e, b, wanted, &row);
        for (int i = 0; i < e->chooser.n; i++) {
            const struct choice *c = &e->chooser.choices[i];
            struct request *q = e->seq_owner[c->seq];
            if (!q || !c->ready || atomic_load(&q->cancelled))
                continue;
            if (use_choice(e, q, c)) {
                schedule_retire(e, q);
                e->seq_owner[c->seq] = NULL;
            }
        }
    }
}

/* The rows' positions are in the pages now. */
static void advance(engine *e)
{
    for (int32_t i = 0; i < e->n_seqs; i++) {
        struct request *q = e->seq_owner[i];
        q->n_cached += q->n_step;
        prefix_record(e, q);
        if (q->n_cached == q->r.timed_from && q->n_answer == 0)
            q->timed = clock_seconds();
        if (q->r.progress && q->n_told < q->n_cached && q->n_told < q->n_prompt)
            emit_progress(q);
    }
}

/* A request that asked for nothing but its prompt ends with it. */
static void end_prompts(engine *e)
{
    struct request *q = e->running;
    while (q) {
        struct request *next = q->next;
        if (q->n_max == 0 && q->n_cached == q->n_prompt) {
            count_prompt(e, q);
            emit_done(e, q, FINISH_LENGTH, NULL, NULL);
            schedule_retire(e, q);
        }
        q = next;
    }
}

void step_run(engine *e)
{
    struct batch b = {0};
    sp_error err = {0};
    plan_step(e);
    build(e, &b);
    if (b.n_rows == 0)
        return;
    double begin = clock_seconds();
    for (struct request *q = e->running; q; q = q->next) {
        if (!q->started && q->r.progress)
            emit_progress(q);
        if (!q->started && request_wants_prompt(q))
            emit_prompt(e, q, 0, NULL);
        q->started = true;
    }
    struct model_batch mb = {
        .rows = e->rows, .n_rows = b.n_rows, .seqs = e->seqs, .n_seqs = b.n_seqs};
    if (model_forward(e->model, &mb, e->kv, &err) < 0) {
        fail_all(e, &err);
        return;
    }
    count_step(e, b.n_rows);
    advance(e);
    use_rows(e, &b);
    if (b.n_wanted == b.n_rows) /* no prompts */
        step_cost_learn(&e->cost, b.n_rows, clock_seconds() - begin);
    end_prompts(e);
}
