/* Operations row by row: what leaves rows for products also makes the forms that they read. */
#include <string.h>
#include "model/cpu_int.h"

/* Values of a piece of row-wise work: some 10 us, more than handing a piece out costs. */
#define PIECE_VALUES 16384

static bool all_finite(const float *x, int64_t n)
{
    uint32_t bad = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, x + i, sizeof u);
        bad |= (u & 0x7f800000) == 0x7f800000;
    }
    return !bad;
}

static void multiply(float *x, float by, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] *= by;
}

void cpu_prepare_rows(void *arg, int worker, size_t begin, size_t end)
{
    struct cpu_backend *cpu = arg;
    (void)worker;
    products_prepare(cpu, &cpu->op->next, (int64_t)begin, (int64_t)end);
}

void cpu_row_work(struct cpu_backend *cpu, pool_fn fn, int64_t width, const float *from)
{
    int64_t grain = PIECE_VALUES / width;
    if (cpu->op->next.n)
        products_begin(cpu, &cpu->op->next, from);
    pool_run(cpu->o.pool, (size_t)cpu->op->rows, (size_t)(grain < 1 ? 1 : grain), fn, cpu);
}

/* out may be x. */
static void norm_row(const struct cpu_backend *cpu, const float *x, const float *weight, float *out)
{
    const struct model_config *c = cpu->o.config;
    cpu->o.ops->rmsnorm(x, weight, (float)c->rms_eps, c->hidden, out);
}

static void embed_rows(void *arg, int worker, size_t begin, size_t end)
{
    struct cpu_backend *cpu = arg;
    const struct op *op = cpu->op;
    const struct model_config *c = cpu->o.config;
    const float *norm = cpu_floats(op->embed.norm);
    for (size_t r = begin; r < end; r++) {
        size_t at = r * (size_t)c->hidden;
        const uint8_t *row =
            cpu_bytes(op->embed.table) + (size_t)cpu->batch->rows[r].token * op->embed.row_bytes;
        float *x = cpu_floats(op->embed.x) + at;
        dtype_to_f32(op->embed.dtype, row, c->hidden, x);
        if (c->embedding_scale != 0)
            multiply(x, (float)c->embedding_scale, c->hidden);
        norm_row(cpu, x, norm, cpu_floats(op->embed.normed) + at);
    }
    cpu_prepare_rows(arg, worker, begin, end);
}

void cpu_embed(struct cpu_backend *cpu)
{
    cpu_row_work(cpu, embed_rows, cpu->o.config->hidden, cpu_floats(cpu->op->embed.normed));
}

static void residual_rows(void *arg, int worker, size_t begin, size_t end)
{
    struct cpu_backend *cpu = arg;
    const struct op *op = cpu->op;
    int64_t n = cpu->o.config->hidden;
    const float *norm = cpu_floats(op->residual.norm), *post = cpu_floats(op->residual.post);
    for (int64_t r = (int64_t)begin; r < (int64_t)end; r++) {
        float *x = cpu_floats(op->residual.x) + r * n, *out = cpu_floats(op->residual.out) + r * n;
        if (post)
            norm_row(cpu, out, post, out);
        cpu->o.ops->add(x, out, n);
        if (!all_finite(x, n)) {
            int none = -1;
            atomic_compare_exchange_strong(&cpu->bad_layer, &none, (int)op->residual.layer);
        }
        norm_row(cpu, x, norm, cpu_floats(op->residual.normed) + r * n);
    }
    cpu_prepare_rows(arg, worker, begin, end);
}

void cpu_residual(struct cpu_backend *cpu)
{
    cpu_row_work(cpu, residual_rows, cpu->o.config->hidden, cpu_floats(cpu->op->residual.normed));
}

static void head_norm(const struct cpu_backend *cpu, float *x, int64_t heads, const float *weight)
{
    const struct model_config *c = cpu->o.config;
    int64_t dim = c->head_dim;
    for (int64_t h = 0; weight && h < heads; h++)
        cpu->o.ops->rmsnorm(x + h * dim, weight, (float)c->rms_eps, dim, x + h * dim);
}

static void rotate(const struct cpu_backend *cpu, float *x, int64_t heads, int64_t pos)
{
    const struct rope_table *t = cpu->op->store.rope;
    int64_t dim = cpu->o.config->head_dim, half = cpu->o.config->rope_dim / 2;
    if (!t)
        return;
    const float *cos = cpu_floats(t->cos_at) + pos * half,
                *sin = cpu_floats(t->sin_at) + pos * half;
    for (int64_t h = 0; h < heads; h++)
        cpu->o.ops->rope(x + h * dim, cos, sin, half);
}

/* QK-norm, RoPE, and K and V into their page. */
static void store_rows(void *arg, int worker, size_t begin, size_t end)
{
    struct cpu_backend *cpu = arg;
    const struct op *op = cpu->op;
    const struct model_config *c = cpu->o.config;
    int64_t nq = c->heads * c->head_dim, nkv = c->kv_heads * c->head_dim;
    struct kv_layer kv = op->store.kv.layout;
    (void)worker;
    kv.base = cpu_bytes(op->store.kv.at);
    for (int64_t r = (int64_t)begin; r < (int64_t)end; r++) {
        const struct model_row *row = &cpu->batch->rows[r];
        float *q = cpu_floats(op->store.q) + r * nq, *k = cpu_floats(op->store.k) + r * nkv;
        head_norm(cpu, q, c->heads, cpu_floats(op->store.q_norm));
        head_norm(cpu, k, c->kv_heads, cpu_floats(op->store.k_norm));
        rotate(cpu, q, c->heads, row->pos);
        rotate(cpu, k, c->kv_heads, row->pos);
        float logn = rope_logn(c, row->pos);
        if (logn != 1)
            multiply(q, logn, nq);
        cpu->o.ops->kv_write(&kv, cpu->batch->seqs[row->seq].pages[row->pos / KV_PAGE],
                             row->pos % KV_PAGE, k, cpu_floats(op->store.v) + r * nkv);
    }
}

void cpu_store_kv(struct cpu_backend *cpu)
{
    const struct model_config *c = cpu->o.config;
    cpu_row_work(cpu, store_rows, (c->heads + c->kv_heads) * c->head_dim, NULL);
}

static void gate_rows(void *arg, int worker, size_t begin, size_t end)
{
    struct cpu_backend *cpu = arg;
    const struct op *op = cpu->op;
    int64_t n = op->gate.cols;
    for (int64_t r = (int64_t)begin; r < (int64_t)end; r++)
        cpu->gate_mul(cpu_floats(op->gate.gate) + r * n, cpu_floats(op->gate.up) + r * n, n);
    cpu_prepare_rows(arg, worker, begin, end);
}

void cpu_gate(struct cpu_backend *cpu)
{
    cpu_row_work(cpu, gate_rows, cpu->op->gate.cols, cpu_floats(cpu->op->gate.gate));
}
