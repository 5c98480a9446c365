/* Attention over the pages, by pieces of adjacent rows, and which rows a step still has. */
#include <math.h>
#include <string.h>
#include "model/cpu_int.h"

/* Rows of one attention item: whole tiles of the kernels for groups of 1 to 8 query heads. */
#define ATTENTION_ROWS 24

/* Adjacent rows of one sequence in blocks, one item for each KV head. */
void cpu_make_items(struct cpu_backend *cpu, int64_t n)
{
    cpu->n_items = 0;
    for (int64_t first = 0, rows; first < n; first += rows) {
        rows = 1;
        while (first + rows < n && rows < ATTENTION_ROWS &&
               cpu->seq[first + rows] == cpu->seq[first])
            rows++;
        for (int h = 0; h < (int)cpu->o.config->kv_heads; h++)
            cpu->items[cpu->n_items++] = (struct attention_item){first, rows, cpu->seq[first], h};
    }
}

static void attend(void *arg, int worker, size_t begin, size_t end)
{
    struct cpu_backend *cpu = arg;
    const struct op *op = cpu->op;
    const struct model_config *c = cpu->o.config;
    struct kv_layer kv = op->attention.kv.layout;
    int64_t group = c->heads / c->kv_heads, nq = c->heads * c->head_dim;
    float scale =
        c->attention_scale != 0 ? (float)c->attention_scale : 1.0f / sqrtf((float)c->head_dim);
    kv.base = cpu_bytes(op->attention.kv.at);
    for (size_t i = begin; i < end; i++) {
        const struct attention_item *it = &cpu->items[i];
        int64_t at = it->first * nq + it->kv_head * group * c->head_dim;
        struct attention_args a = {
            .kv = &kv,
            .pages = cpu->batch->seqs[it->seq].pages,
            .pos = cpu->pos + it->first,
            .q = cpu_floats(op->attention.q) + at,
            .ldq = nq,
            .out = cpu_floats(op->attention.out) + at,
            .ldo = nq,
            .rows = it->rows,
            .kv_head = it->kv_head,
            .group = (int)group,
            .scale = scale,
            .window = op->attention.window,
            .scratch = (float *)(void *)(cpu->worker + (size_t)worker * cpu->worker_bytes)};
        cpu->o.ops->attention(&a);
    }
}

void cpu_attention(struct cpu_backend *cpu)
{
    const struct model_config *c = cpu->o.config;
    pool_run(cpu->o.pool, (size_t)cpu->n_items, 1, attend, cpu);
    cpu_row_work(cpu, cpu_prepare_rows, c->heads * c->head_dim, cpu_floats(cpu->op->attention.out));
}

static void move_row(float *x, size_t to, size_t from, size_t cols)
{
    memcpy(x + to * cols, x + from * cols, cols * sizeof *x);
}

void cpu_keep_wanted(struct cpu_backend *cpu)
{
    const struct op *op = cpu->op;
    const struct model_config *c = cpu->o.config;
    float *x = cpu_floats(op->keep.x), *q = cpu_floats(op->keep.q);
    size_t n = 0;
    for (size_t r = 0; r < (size_t)op->rows; r++) {
        if (!cpu->batch->rows[r].want_logits)
            continue;
        if (n < r) {
            move_row(x, n, r, (size_t)c->hidden);
            move_row(q, n, r, (size_t)(c->heads * c->head_dim));
            cpu->pos[n] = cpu->pos[r];
            cpu->seq[n] = cpu->seq[r];
        }
        n++;
    }
    cpu_make_items(cpu, (int64_t)n);
}
