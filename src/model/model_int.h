/* Inside the model room: what bind.c finds, load.c packs and forward.c runs. */
#ifndef SP_MODEL_MODEL_INT_H
#define SP_MODEL_MODEL_INT_H

#include <stdatomic.h>
#include "base/base.h"
#include "model/model.h"

/* y = x W^T + b. The matrix is all of `source` in its order, or the rows that `map` says (one of several matrices
 * that the file has in one, or rows that lie in another order there). */
struct linear {
    struct packed w;
    const struct tensor_view *source;
    const int32_t *map; /* [w.rows]: the file's row of each of ours; NULL: the same */
    float *bias;        /* [rows] or NULL */
};

/* A feed-forward block of experts. Matrices of one kind have one packed class in all experts. */
struct moe {
    struct linear router;            /* [experts, hidden] */
    struct linear *gate, *up, *down; /* [experts] of [ffn, hidden] and [hidden, ffn] */
    struct linear shared_router, shared_gate, shared_up, shared_down; /* source NULL: none */
};

/* cos and sin for every position, [max_context, rope_dim / 2] each. */
struct rope_table {
    float *cos, *sin;
};

struct layer {
    float *attn_norm, *ffn_norm; /* [hidden] */
    float *attn_post, *ffn_post; /* [hidden]: of what the blocks give; NULL: none */
    float *q_norm, *k_norm;      /* [head_dim]; NULL without QK-norm */
    struct linear q, k, v, o, gate, up, down;
    struct moe *moe;               /* instead of gate, up and down; NULL: those */
    int64_t window;                /* keys seen; 0: all */
    const struct rope_table *rope; /* NULL: none */
};

/* Buffers of a step, for max_rows rows. */
struct scratch {
    float *x;               /* [rows, hidden] residual */
    float *norm;            /* [rows, widest of hidden and q]: after a norm, or of attention */
    float *q;               /* [rows, heads * head_dim] */
    float *k, *v;           /* [rows, kv_heads * head_dim] */
    float *gate, *up;       /* [rows, ffn] */
    float *out;             /* [rows, hidden] */
    float *wanted;          /* [rows, hidden] after the final norm, until the next step */
    struct activations act; /* what the next products read */
    uint8_t *worker;        /* per worker: worker_bytes */
    size_t worker_bytes;
    int32_t *pos, *seq; /* [rows] */
    struct attention_item *items;
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

/* One piece of attention: adjacent rows of one sequence, one KV head. */
struct attention_item {
    int64_t first, rows;
    int32_t seq;
    int kv_head;
};

struct model {
    const checkpoint *ckpt;
    struct model_config config;
    struct model_opts opts;
    const struct kernel_ops *ops;
    arena *arena; /* norms, biases, maps, layers */
    const struct tensor_view *embedding;
    size_t embedding_row_bytes;
    struct layer *layers;
    struct linear head;
    float *final_norm;
    uint8_t *weights; /* mmap of weight_bytes */
    size_t weight_bytes;
    struct packed_task *packed;         /* keeps them on disk (packed_int.h); NULL: nothing to do */
    struct rope_table rope, rope_local; /* the second for layers with a window, where they differ */
    void (*gate_mul)(float *gate, const float *up, int64_t n); /* the activation, of ops */
    uint8_t *scratch_memory;                                   /* one allocation behind `s` */
    struct scratch s;
    struct moe_scratch moe_s;
    int64_t n_wanted;     /* rows of s.wanted */
    atomic_int bad_layer; /* first layer with a value that is not finite; -1: none */
};

struct kv_pool {
    uint8_t *memory;
    size_t bytes, page_bytes, layer_bytes, head_bytes;
    int32_t pages;
    enum kv_type type;
    uint64_t step;    /* number of this step, from 1 */
    uint64_t *writer; /* [pages] last step that wrote it */
};

/* load.c: memory for packed weights (munmap), in pages of 2 MB where the system has them; NULL: there is none. */
uint8_t *weights_memory(size_t bytes);

/* names.c: the name in the file, with ".weight" or ".bias" at its end. */
void tensor_name(const struct arch_info *a, bool is_gguf, enum tensor_role role, int64_t layer,
                 bool bias, char out[128]);

/* bind.c: finds and checks every tensor, plans every packed matrix; norms and biases are read.
 * Needs m->ckpt, config, arena. No packed memory yet. */
int bind_model(model *m, sp_error *err);
/* Calls visit for every matrix that is packed, in a fixed order. */
void bind_each(model *m, void (*visit)(void *arg, struct linear *l), void *arg);

/* rope.c: the frequency of pair i < dim / 2 of a head in a model whose sequences have at most `context` positions,
 * and what cos and sin are multiplied by. */
float rope_frequency(const struct rope_config *r, int64_t dim, int64_t i, int64_t context);
float rope_scaling(const struct rope_config *r);
/* Makes m's tables and hands them to the layers. */
int rope_tables(model *m, sp_error *err);
void rope_tables_free(model *m);
/* Bytes of them. */
size_t rope_table_bytes(const model *m);
/* What q at a position is multiplied by beyond the trained length (log-n attention); 1: nothing. */
float rope_logn(const struct model_config *c, int64_t pos);

/* scratch.c: bytes of all step buffers; with memory given, places them. */
size_t scratch_layout(model *m, uint8_t *memory);

size_t kv_page_bytes(const struct model_config *c, enum compute_mode compute);
/* One layer of the pool as the kernels see it. */
struct kv_layer kv_pool_layer(const kv_pool *kv, const struct model_config *c, int64_t layer);

#define MOST_READERS 4 /* matrices that read the same activations */

/* products.c: rows of activations into one or more linears at once, over the pool. */
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
void products_run(model *m, const struct product *p, int n, int64_t rows);
/* The matrices that read the same activations. */
struct readers {
    const struct linear *l[MOST_READERS];
    int n;
};
/* Says what the readers will read: x [rows, their cols]. Before any products_prepare. */
void products_begin(model *m, const struct readers *r, const float *x);
/* Makes the forms that the readers' classes want out of rows [begin, end) of x. Any thread. */
void products_prepare(model *m, const struct readers *r, int64_t begin, int64_t end);

/* moe.c: s.norm through the experts of a layer to s.out, rows [0, rows). The router's readers are prepared. */
void moe_block(model *m, const struct moe *e, int64_t rows);
/* What reads the rows that go into the block. */
struct readers moe_readers(const struct moe *e);

#endif
