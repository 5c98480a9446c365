/* The buffers of a step, placed in one allocation. */
#include "model/model_int.h"

struct placer {
    uint8_t *memory;
    size_t used;
};

static void *place(struct placer *p, int64_t count, size_t size)
{
    size_t at = p->used;
    p->used += ((size_t)count * size + 63) / 64 * 64;
    return p->memory ? p->memory + at : NULL;
}

struct widest {
    int64_t cols;
    size_t matmul;
};

static void widen(void *arg, struct linear *l)
{
    struct widest *w = arg;
    size_t bytes = matmul_scratch(&l->w);
    if (l->w.cols > w->cols)
        w->cols = l->w.cols;
    if (bytes > w->matmul)
        w->matmul = bytes;
}

static int64_t most_of(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static void place_moe(struct placer *p, const model *m, int64_t rows, struct moe_scratch *s)
{
    const struct moe_config *c = &m->config.moe;
    int64_t slots = rows * c->used;
    s->router = place(p, rows * c->experts, 4);
    s->shared = place(p, rows, 4);
    s->x = place(p, slots * m->config.hidden, 4);
    s->out = place(p, slots * m->config.hidden, 4);
    s->expert = place(p, slots, 4);
    s->slot = place(p, slots, 4);
    s->row = place(p, slots, 4);
    s->first = place(p, c->experts + 1, 4);
    s->gate_up = place(p, 2 * c->experts, sizeof *s->gate_up);
    s->down = place(p, c->experts, sizeof *s->down);
}

static void place_attention(struct placer *p, const model *m, int64_t items,
                            struct attention_plan *a)
{
    a->most_parts = attention_parts_most(m);
    a->most_pieces = attention_pieces_most(m);
    a->items = place(p, items, sizeof *a->items);
    a->pieces = place(p, (int64_t)a->most_pieces, sizeof *a->pieces);
    a->parts = place(p, (int64_t)a->most_parts, sizeof *a->parts);
}

size_t scratch_layout(model *m, uint8_t *memory)
{
    const struct model_config *c = &m->config;
    struct scratch *s = &m->s;
    struct placer p = {memory, 0};
    struct widest w = {0};
    int64_t rows = m->opts.max_rows, q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    bind_each(m, widen, &w);
    int64_t wide = (w.cols + 31) / 32 * 32, slots = rows * c->moe.used;
    int64_t most = slots > rows ? slots : rows; /* rows of activations at once */
    int64_t ffn = most_of(rows * c->ffn, most_of(rows * c->moe.shared, slots * c->moe.ffn));
    s->x = place(&p, rows * c->hidden, 4);
    s->norm = place(&p, rows * (q > c->hidden ? q : c->hidden), 4);
    s->q = place(&p, rows * q, 4);
    s->k = place(&p, rows * kv, 4);
    s->v = place(&p, rows * kv, 4);
    s->gate = place(&p, ffn, 4);
    s->up = place(&p, ffn, 4);
    s->out = place(&p, rows * c->hidden, 4);
    s->wanted = place(&p, rows * c->hidden, 4);
    s->act.q = place(&p, most * wide, 1);
    s->act.d = place(&p, most * wide / 32, 4);
    s->act.sum = place(&p, most * wide / 16, 4);
    s->act.bf16 = place(&p, most * wide, 2);
    s->pos = place(&p, rows, 4);
    s->seq = place(&p, rows, 4);
    place_attention(&p, m, rows * c->kv_heads, &s->attention);
    if (c->moe.experts)
        place_moe(&p, m, rows, &m->moe_s);
    size_t attention =
        attention_scratch((int)(c->heads / c->kv_heads), (int)c->head_dim) * sizeof(float);
    s->worker_bytes = ((w.matmul > attention ? w.matmul : attention) + 127) / 64 * 64;
    s->worker = place(&p, pool_threads(m->opts.pool), s->worker_bytes);
    return p.used;
}
