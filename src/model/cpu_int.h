/* Private to the processor's backend (cpu_*.c): operations over the pool, in float32 rows with int8 and bf16 forms of
 * what is read next. An operation runs when it is submitted. */
#ifndef SP_MODEL_CPU_INT_H
#define SP_MODEL_CPU_INT_H

#include <stdatomic.h>
#include "model/backend_int.h"
#include "model/model_int.h"

struct buffer {
    uint8_t *memory;
    size_t bytes;
    bool owned; /* an anonymous mapping of ours; else the host's */
};

/* Adjacent rows of one sequence, one KV head. */
struct attention_item {
    int64_t first, rows;
    int32_t seq, kv_head;
    int32_t spans;   /* that several workers share; 0: one does it all */
    atomic_int left; /* of them not yet done in this layer */
    float *parts;    /* what they give */
};

/* What a worker takes of attention at a time. */
struct attention_piece {
    int32_t item, span;
};

/* How the attention of a step is shared out. */
struct attention_plan {
    struct attention_item *items;
    struct attention_piece *pieces;
    float *parts;
    size_t n_items, n_pieces, n_parts; /* used */
    size_t most_pieces, most_parts;    /* there is room for */
};

/* Buffers of a block of experts. A slot is one row in one of the experts it goes to; slots lie in order of the
 * experts, then of the rows. */
struct moe_scratch {
    float *router;  /* [rows, experts], then the chosen experts' weights in its first columns */
    float *shared;  /* [rows]: what the shared expert is multiplied by */
    float *x, *out; /* [slots, hidden] */
    int32_t *expert, *slot; /* [rows, used]: the row's experts in rising order, and their slots */
    int32_t *row;           /* [slots]: where a slot comes from */
    int32_t *first;         /* [experts + 1]: an expert's first slot */
    struct product *gate_up, *down; /* [2 experts], [experts] */
};

struct cpu_backend {
    backend base;
    struct cpu_backend_opts o;
    void (*gate_mul)(float *gate, const float *up, int64_t n); /* the activation, of o.ops */
    uint8_t *memory;                                           /* one allocation behind these: */
    struct activations act;                                    /* what the next products read */
    struct moe_scratch moe;
    uint8_t *worker; /* per worker: worker_bytes */
    size_t worker_bytes;
    int32_t *pos, *seq; /* [rows] of the step */
    struct attention_plan attention;
    struct kv_layer layer_kv;        /* of the attention that runs now */
    const struct model_batch *batch; /* from begin to sync */
    const struct op *op;             /* that runs now */
    atomic_int bad_layer;            /* first layer with a value that is not finite; -1: none */
};

/* Where a tensor lies; NULL where there is none. */
static inline uint8_t *cpu_bytes(struct tensor t)
{
    return t.buffer ? t.buffer->memory + t.at : NULL;
}
static inline float *cpu_floats(struct tensor t)
{
    return (float *)(void *)cpu_bytes(t);
}

/* cpu_workspace.c: bytes of a backend's own buffers; with memory given, places them. */
size_t cpu_workspace(struct cpu_backend *cpu, uint8_t *memory);

/* cpu_products.c: rows of activations into one or more linears at once, over the pool. */
struct product {
    const struct linear *l;
    float *out;
    int64_t ldo;
    int64_t first, rows; /* of the activations; rows 0: as many as the whole run has */
    bool exact;          /* with float32 activations in any mode */
};
/* All rows of the run, [rows, outputs of l] side by side. */
static inline struct product product_of(const struct linear *l, float *out)
{
    return (struct product){.l = l, .out = out, .ldo = l->w.rows};
}
void products_run(struct cpu_backend *cpu, const struct product *p, int n, int64_t rows);
/* Says what the readers will read: x [rows, their cols]. Before any products_prepare. */
void products_begin(struct cpu_backend *cpu, const struct readers *r, const float *x);
/* Makes the forms that the readers' classes want out of rows [begin, end) of x. Any thread. */
void products_prepare(struct cpu_backend *cpu, const struct readers *r, int64_t begin, int64_t end);
void cpu_products(struct cpu_backend *cpu);
void cpu_logits(struct cpu_backend *cpu);

/* The operation cpu->op, all of it. cpu_rows.c: row by row. */
void cpu_embed(struct cpu_backend *cpu);
void cpu_residual(struct cpu_backend *cpu);
void cpu_store_kv(struct cpu_backend *cpu);
void cpu_gate(struct cpu_backend *cpu);
/* Runs fn over the rows, `width` values each; op's next readers read what it leaves in `from`. */
void cpu_row_work(struct cpu_backend *cpu, pool_fn fn, int64_t width, const float *from);
/* Nothing but the forms for op's next readers. */
void cpu_prepare_rows(void *arg, int worker, size_t begin, size_t end);

/* cpu_attention.c: shares out the attention of rows [0, rows), whose positions and sequences are in pos and seq. */
void cpu_share_attention(struct cpu_backend *cpu, int64_t rows);
/* Room for the plan: pieces, and floats of parts. */
size_t cpu_attention_pieces(const struct cpu_backend *cpu);
size_t cpu_attention_parts(const struct cpu_backend *cpu);
void cpu_attention(struct cpu_backend *cpu);
void cpu_keep_wanted(struct cpu_backend *cpu);

/* cpu_moe.c */
void cpu_experts(struct cpu_backend *cpu);

#endif
