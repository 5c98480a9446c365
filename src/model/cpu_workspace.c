/* The processor's own buffers for a step, placed in one allocation. */
#include "model/cpu_int.h"

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

static void place_moe(struct placer *p, struct cpu_backend *cpu)
{
    const struct moe_config *c = &cpu->o.config->moe;
    struct moe_scratch *s = &cpu->moe;
    int64_t rows = cpu->o.max_rows, hidden = cpu->o.config->hidden;
    int64_t slots = rows * c->used;
    s->router = place(p, rows * c->experts, 4);
    s->shared = place(p, rows, 4);
    s->x = place(p, slots * hidden, 4);
    s->out = place(p, slots * hidden, 4);
    s->expert = place(p, slots, 4);
    s->slot = place(p, slots, 4);
    s->row = place(p, slots, 4);
    s->first = place(p, c->experts + 1, 4);
    s->gate_up = place(p, 2 * c->experts, sizeof *s->gate_up);
    s->down = place(p, c->experts, sizeof *s->down);
}

static void place_attention(struct placer *p, struct cpu_backend *cpu)
{
    struct attention_plan *a = &cpu->attention;
    a->most_parts = cpu_attention_parts(cpu);
    a->most_pieces = cpu_attention_pieces(cpu);
    a->items = place(p, cpu->o.max_rows * cpu->o.config->kv_heads, sizeof *a->items);
    a->pieces = place(p, (int64_t)a->most_pieces, sizeof *a->pieces);
    a->parts = place(p, (int64_t)a->most_parts, sizeof *a->parts);
}

size_t cpu_workspace(struct cpu_backend *cpu, uint8_t *memory)
{
    const struct model_config *c = cpu->o.config;
    struct activations *act = &cpu->act;
    struct placer p = {memory, 0};
    int64_t rows = cpu->o.max_rows, slots = rows * c->moe.used;
    int64_t wide = (cpu->o.widest->cols + 31) / 32 * 32;
    int64_t most = slots > rows ? slots : rows; /* rows of activations at once */
    act->q = place(&p, most * wide, 1);
    act->d = place(&p, most * wide / 32, 4);
    act->sum = place(&p, most * wide / 16, 4);
    act->bf16 = place(&p, most * wide, 2);
    cpu->pos = place(&p, rows, 4);
    cpu->seq = place(&p, rows, 4);
    place_attention(&p, cpu);
    if (c->moe.experts)
        place_moe(&p, cpu);
    size_t matmul = matmul_scratch(cpu->o.widest);
    size_t attention =
        attention_scratch((int)(c->heads / c->kv_heads), (int)c->head_dim) * sizeof(float);
    cpu->worker_bytes = ((matmul > attention ? matmul : attention) + 127) / 64 * 64;
    cpu->worker = place(&p, pool_threads(cpu->o.pool), cpu->worker_bytes);
    return p.used;
}
