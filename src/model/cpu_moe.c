/* Blocks of experts: every row goes through the few experts that its router likes best, weighted (Shazeer et al. 2017;
 * Qwen2 technical report, section 2.2.2), and through the shared one where the model has it.
 *
 * Rows are gathered by expert, so that each matrix is read once for all rows that want it. A row's own arithmetic
 * does not depend on its company: the router works in float32 in any mode, and a row's experts are added in rising
 * order. */
#include <assert.h>
#include <math.h>
#include <string.h>
#include "model/cpu_int.h"

#define PIECE_ROWS 8 /* rows handed out at a time */

struct block {
    struct cpu_backend *cpu;
    const struct moe *e;
    float *x, *out;             /* [rows, hidden] */
    float *gate, *up;           /* [rows or slots, width] */
    int64_t rows, slots, width; /* width: in this stage */
    struct readers next;
};

/* Where it stays the largest, the first of equals wins. */
static int32_t take_best(float *p, int64_t n)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (p[i] > p[best])
            best = i;
    return (int32_t)best;
}

/* logits[experts] to the chosen experts in rising order and, in logits[used], their weights. */
static void choose(const struct moe_config *c, float *logits, int32_t *expert)
{
    float chosen[CONFIG_EXPERTS_USED_MOST], most = logits[take_best(logits, c->experts)], sum = 0;
    for (int64_t i = 0; i < c->experts; i++) {
        logits[i] = expf(logits[i] - most);
        sum += logits[i];
    }
    float total = 0;
    for (int64_t k = 0; k < c->used; k++) {
        int32_t best = take_best(logits, c->experts);
        float weight = logits[best] / sum;
        int64_t at = k;
        logits[best] = -1;
        for (; at > 0 && expert[at - 1] > best; at--) {
            expert[at] = expert[at - 1];
            chosen[at] = chosen[at - 1];
        }
        expert[at] = best;
        chosen[at] = weight;
        total += weight;
    }
    for (int64_t k = 0; k < c->used; k++)
        logits[k] = c->normalize ? chosen[k] / total : chosen[k];
}

static void choose_rows(void *arg, int worker, size_t begin, size_t end)
{
    const struct block *b = arg;
    const struct moe_config *c = &b->cpu->o.config->moe;
    (void)worker;
    for (size_t r = begin; r < end; r++)
        choose(c, b->cpu->moe.router + r * (size_t)c->experts,
               b->cpu->moe.expert + r * (size_t)c->used);
}

/* Gives every row of every expert its slot: a counting sort, stable in rows. */
static void assign_slots(struct block *b)
{
    const struct moe_config *c = &b->cpu->o.config->moe;
    struct moe_scratch *s = &b->cpu->moe;
    memset(s->first, 0, (size_t)(c->experts + 1) * sizeof *s->first);
    for (int64_t i = 0; i < b->slots; i++)
        s->first[s->expert[i] + 1]++;
    for (int64_t e = 0; e < c->experts; e++)
        s->first[e + 1] += s->first[e];
    for (int64_t i = 0; i < b->slots; i++) {
        s->slot[i] = s->first[s->expert[i]]++;
        s->row[s->slot[i]] = (int32_t)(i / c->used);
    }
    for (int64_t e = c->experts; e > 0; e--) /* they stand at their ends now */
        s->first[e] = s->first[e - 1];
    s->first[0] = 0;
}

static void gather_slots(void *arg, int worker, size_t begin, size_t end)
{
    const struct block *b = arg;
    size_t n = (size_t)b->cpu->o.config->hidden;
    (void)worker;
    for (size_t i = begin; i < end; i++)
        memcpy(b->cpu->moe.x + i * n, b->x + (size_t)b->cpu->moe.row[i] * n, n * sizeof(float));
    products_prepare(b->cpu, &b->next, (int64_t)begin, (int64_t)end);
}

static void gate_slots(void *arg, int worker, size_t begin, size_t end)
{
    const struct block *b = arg;
    (void)worker;
    for (int64_t i = (int64_t)begin; i < (int64_t)end; i++)
        b->cpu->gate_mul(b->gate + i * b->width, b->up + i * b->width, b->width);
    products_prepare(b->cpu, &b->next, (int64_t)begin, (int64_t)end);
}

static void slot_work(struct block *b, pool_fn fn, int64_t n, const struct linear *reader,
                      const float *from)
{
    b->next = (struct readers){{reader}, 1};
    products_begin(b->cpu, &b->next, from);
    pool_run(b->cpu->o.pool, (size_t)n, PIECE_ROWS, fn, b);
}

/* s.out = the shared expert's answer, not yet weighted; the routers' logits beside it. */
static void run_shared(struct block *b)
{
    struct cpu_backend *cpu = b->cpu;
    const struct moe *e = b->e;
    int64_t ffn = cpu->o.config->moe.shared;
    struct product in[] = {product_of(&e->router, cpu->moe.router),
                           product_of(&e->shared_router, cpu->moe.shared),
                           product_of(&e->shared_gate, b->gate), product_of(&e->shared_up, b->up)};
    const struct product down = product_of(&e->shared_down, b->out);
    in[0].exact = in[1].exact = true;
    products_run(cpu, in, ffn ? 4 : 1, b->rows);
    if (ffn == 0)
        return;
    b->width = ffn;
    slot_work(b, gate_slots, b->rows, &e->shared_down, b->gate);
    products_run(cpu, &down, 1, b->rows);
}

/* The slots of one expert; out is that of all. */
static struct product slots_of(const struct linear *l, float *out, int64_t first, int64_t rows)
{
    struct product p = product_of(l, out + first * l->w.rows);
    p.first = first;
    p.rows = rows;
    return p;
}

/* The products of all experts that somebody wants. */
static void run_experts(struct block *b)
{
    struct cpu_backend *cpu = b->cpu;
    const struct moe_config *c = &cpu->o.config->moe;
    struct moe_scratch *s = &cpu->moe;
    int n = 0;
    for (int64_t i = 0; i < c->experts; i++) {
        int64_t first = s->first[i], rows = s->first[i + 1] - first;
        if (rows == 0)
            continue;
        s->gate_up[2 * n] = slots_of(&b->e->gate[i], b->gate, first, rows);
        s->gate_up[2 * n + 1] = slots_of(&b->e->up[i], b->up, first, rows);
        s->down[n++] = slots_of(&b->e->down[i], s->out, first, rows);
    }
    products_run(cpu, s->gate_up, 2 * n, b->slots);
    b->width = c->ffn;
    slot_work(b, gate_slots, b->slots, &b->e->down[0], b->gate);
    products_run(cpu, s->down, n, b->slots);
}

/* out = sigmoid(shared router) * shared + sum of weight * expert. */
static void combine_rows(void *arg, int worker, size_t begin, size_t end)
{
    const struct block *b = arg;
    const struct moe_config *c = &b->cpu->o.config->moe;
    const struct moe_scratch *s = &b->cpu->moe;
    int64_t n = b->cpu->o.config->hidden;
    (void)worker;
    for (int64_t r = (int64_t)begin; r < (int64_t)end; r++) {
        float *out = b->out + r * n;
        float shared = c->shared ? 1 / (1 + expf(-s->shared[r])) : 0;
        for (int64_t i = 0; i < n; i++)
            out[i] = c->shared ? out[i] * shared : 0;
        for (int64_t k = 0; k < c->used; k++) {
            const float *x = s->out + s->slot[r * c->used + k] * n;
            float weight = s->router[r * c->experts + k];
            for (int64_t i = 0; i < n; i++)
                out[i] += weight * x[i];
        }
    }
}

void cpu_experts(struct cpu_backend *cpu)
{
    const struct op *op = cpu->op;
    struct block b = {.cpu = cpu,
                      .e = op->experts.moe,
                      .x = cpu_floats(op->experts.x),
                      .out = cpu_floats(op->experts.out),
                      .gate = cpu_floats(op->experts.gate),
                      .up = cpu_floats(op->experts.up),
                      .rows = op->rows,
                      .slots = op->rows * cpu->o.config->moe.used};
    assert(cpu->act.f32 == b.x);
    run_shared(&b);
    pool_run(cpu->o.pool, (size_t)b.rows, PIECE_ROWS, choose_rows, &b);
    assign_slots(&b);
    b.next = (struct readers){{&b.e->gate[0], &b.e->up[0]}, 2};
    products_begin(cpu, &b.next, cpu->moe.x);
    pool_run(cpu->o.pool, (size_t)b.slots, PIECE_ROWS, gather_slots, &b);
    run_experts(&b);
    pool_run(cpu->o.pool, (size_t)b.rows, PIECE_ROWS, combine_rows, &b);
}
