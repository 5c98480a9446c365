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

size_t scratch_layout(model *m, uint8_t *memory)
{
    const struct model_config *c = &m->config;
    struct scratch *s = &m->s;
    struct placer p = {memory, 0};
    struct widest w = {0};
    int64_t rows = m->opts.max_rows, q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    bind_each(m, widen, &w);
    int64_t wide = (w.cols + 31) / 32 * 32;
    s->x = place(&p, rows * c->hidden, 4);
    s->norm = place(&p, rows * (q > c->hidden ? q : c->hidden), 4);
    s->q = place(&p, rows * q, 4);
    s->k = place(&p, rows * kv, 4);
    s->v = place(&p, rows * kv, 4);
    s->gate = place(&p, rows * c->ffn, 4);
    s->up = place(&p, rows * c->ffn, 4);
    s->out = place(&p, rows * c->hidden, 4);
    s->wanted = place(&p, rows * c->hidden, 4);
    s->act.q = place(&p, rows * wide, 1);
    s->act.d = place(&p, rows * wide / 32, 4);
    s->act.sum = place(&p, rows * wide / 16, 4);
    s->act.bf16 = place(&p, rows * wide, 2);
    s->pos = place(&p, rows, 4);
    s->seq = place(&p, rows, 4);
    s->items = place(&p, rows * c->kv_heads, sizeof *s->items);
    size_t attention =
        attention_scratch((int)(c->heads / c->kv_heads), (int)c->head_dim) * sizeof(float);
    s->worker_bytes = ((w.matmul > attention ? w.matmul : attention) + 127) / 64 * 64;
    s->worker = place(&p, pool_threads(m->opts.pool), s->worker_bytes);
    return p.used;
}
