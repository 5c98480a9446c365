/* Matrix products over the pool: several matrices that read the same activations go in one run. */
#include "model/model_int.h"

struct run {
    model *m;
    const struct product *p;
    int n;
    int64_t rows;
    int64_t first[MOST_PRODUCTS + 1]; /* first tile of each matrix in the common count */
};

void products_begin(model *m, const struct readers *r, const float *x)
{
    m->s.act.f32 = x;
    m->s.act.cols = r->l[0]->w.cols;
    m->s.act.ldf = r->l[0]->w.cols;
}

void products_prepare(model *m, const struct readers *r, int64_t begin, int64_t end)
{
    struct activations *a = &m->s.act;
    bool q8 = false, bf16 = false;
    if (m->opts.compute == COMPUTE_F32)
        return;
    for (int i = 0; i < r->n; i++) {
        q8 |= r->l[i]->w.cls <= PACK_Q8;
        bf16 |= r->l[i]->w.cls == PACK_BF16;
    }
    if (q8)
        m->ops->act_quantize(a->f32, a->ldf, a->cols, a, begin, end);
    if (bf16 && m->ops->act_bf16)
        m->ops->act_bf16(a->f32, a->ldf, a->cols, a, begin, end);
}

static void add_bias(const struct product *p, int64_t rows, int64_t begin, int64_t end)
{
    int64_t from = begin * PACK_ROWS,
            to = end * PACK_ROWS < p->l->w.rows ? end * PACK_ROWS : p->l->w.rows;
    for (int64_t r = 0; p->l->bias && r < rows; r++)
        for (int64_t i = from; i < to; i++)
            p->out[r * p->ldo + i] += p->l->bias[i];
}

static void run_tiles(void *arg, int worker, size_t begin, size_t end)
{
    const struct run *r = arg;
    model *m = r->m;
    uint8_t *scratch = m->s.worker + (size_t)worker * m->s.worker_bytes;
    for (int i = 0; i < r->n; i++) {
        const struct product *p = &r->p[i];
        int64_t from = (int64_t)begin > r->first[i] ? (int64_t)begin : r->first[i];
        int64_t to = (int64_t)end < r->first[i + 1] ? (int64_t)end : r->first[i + 1];
        if (from >= to)
            continue;
        from -= r->first[i];
        to -= r->first[i];
        if (m->opts.compute == COMPUTE_F32)
            m->ops->matmul_f32(&p->l->w, &m->s.act, r->rows, p->out, p->ldo, from, to, scratch);
        else
            m->ops->matmul(&p->l->w, &m->s.act, r->rows, p->out, p->ldo, from, to, scratch);
        add_bias(p, r->rows, from, to);
    }
}

void products_run(model *m, const struct product *p, int n, int64_t rows)
{
    struct run r = {.m = m, .p = p, .n = n, .rows = rows};
    int64_t threads = pool_threads(m->opts.pool);
    for (int i = 0; i < n; i++)
        r.first[i + 1] = r.first[i] + p[i].l->w.tiles;
    /* Some eight pieces a thread: a slow one costs little, and the counter is touched seldom. */
    int64_t grain = threads == 1 ? r.first[n] : r.first[n] / (threads * 8);
    pool_run(m->opts.pool, (size_t)r.first[n], (size_t)(grain < 1 ? 1 : grain), run_tiles, &r);
}
