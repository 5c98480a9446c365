/* Matrix products over the pool: several matrices that read the same activations go in one run. */
#include <assert.h>
#include "model/cpu_int.h"

/* Tiles are counted through all matrices, one after the other. */
struct run {
    struct cpu_backend *cpu;
    const struct product *p;
    int n;
    int64_t rows;
};

void products_begin(struct cpu_backend *cpu, const struct readers *r, const float *x)
{
    cpu->act.f32 = x;
    cpu->act.cols = r->l[0]->w.cols;
    cpu->act.ldf = r->l[0]->w.cols;
}

void products_prepare(struct cpu_backend *cpu, const struct readers *r, int64_t begin, int64_t end)
{
    struct activations *a = &cpu->act;
    bool q8 = false, bf16 = false;
    if (cpu->o.compute == COMPUTE_F32)
        return;
    for (int i = 0; i < r->n; i++) {
        q8 |= r->l[i]->w.cls <= PACK_Q8;
        bf16 |= r->l[i]->w.cls == PACK_BF16;
    }
    if (q8)
        cpu->o.ops->act_quantize(a->f32, a->ldf, a->cols, a, begin, end);
    if (bf16 && cpu->o.ops->act_bf16)
        cpu->o.ops->act_bf16(a->f32, a->ldf, a->cols, a, begin, end);
}

static void add_bias(const struct product *p, int64_t rows, int64_t begin, int64_t end)
{
    int64_t from = begin * PACK_ROWS,
            to = end * PACK_ROWS < p->l->w.rows ? end * PACK_ROWS : p->l->w.rows;
    const float *bias = cpu_floats(p->l->bias.at);
    for (int64_t r = 0; bias && r < rows; r++)
        for (int64_t i = from; i < to; i++)
            p->out[r * p->ldo + i] += bias[i];
}

static struct activations rows_from(const struct activations *a, int64_t first)
{
    struct activations b = *a;
    b.f32 += first * a->ldf;
    b.q += first * a->cols;
    b.d += first * (a->cols / 32);
    b.sum += first * (a->cols / 16);
    b.bf16 += first * (a->cols + a->cols % 2);
    return b;
}

static void run_tiles(void *arg, int worker, size_t begin, size_t end)
{
    const struct run *r = arg;
    struct cpu_backend *cpu = r->cpu;
    uint8_t *scratch = cpu->worker + (size_t)worker * cpu->worker_bytes;
    int64_t before = 0;
    for (int i = 0; i < r->n && before < (int64_t)end; before += r->p[i++].l->w.tiles) {
        const struct product *p = &r->p[i];
        int64_t from = (int64_t)begin > before ? (int64_t)begin - before : 0;
        int64_t to = (int64_t)end - before < p->l->w.tiles ? (int64_t)end - before : p->l->w.tiles;
        if (from >= to)
            continue;
        const struct activations a = rows_from(&cpu->act, p->first);
        int64_t rows = p->rows ? p->rows : r->rows;
        struct packed w = p->l->w;
        w.data = cpu_bytes(p->l->data);
        if (cpu->o.compute == COMPUTE_F32 || p->exact)
            cpu->o.ops->matmul_f32(&w, &a, rows, p->out, p->ldo, from, to, scratch);
        else
            cpu->o.ops->matmul(&w, &a, rows, p->out, p->ldo, from, to, scratch);
        add_bias(p, rows, from, to);
    }
}

void products_run(struct cpu_backend *cpu, const struct product *p, int n, int64_t rows)
{
    struct run r = {.cpu = cpu, .p = p, .n = n, .rows = rows};
    int64_t threads = pool_threads(cpu->o.pool);
    int64_t tiles = 0;
    for (int i = 0; i < n; i++)
        tiles += p[i].l->w.tiles;
    /* Some eight pieces a thread: a slow one costs little, and the counter is touched seldom. */
    int64_t grain = threads == 1 ? tiles : tiles / (threads * 8);
    pool_run(cpu->o.pool, (size_t)tiles, (size_t)(grain < 1 ? 1 : grain), run_tiles, &r);
}

void cpu_products(struct cpu_backend *cpu)
{
    const struct op *op = cpu->op;
    struct product p[MOST_READERS];
    assert(cpu->act.f32 == cpu_floats(op->products.x));
    for (int i = 0; i < op->products.n; i++)
        p[i] = product_of(op->products.l[i], cpu_floats(op->products.out[i]));
    products_run(cpu, p, op->products.n, op->rows);
}

void cpu_logits(struct cpu_backend *cpu)
{
    const struct op *op = cpu->op;
    struct product head = product_of(op->logits.head, op->logits.out);
    assert(cpu->act.f32 == cpu_floats(op->logits.x));
    head.first = op->logits.first;
    products_run(cpu, &head, 1, op->rows);
}
