/* Inside the model room: what bind.c finds, load.c packs, device.c gives to the backend and forward.c runs. */
#ifndef SP_MODEL_MODEL_INT_H
#define SP_MODEL_MODEL_INT_H

#include "model/backend_int.h"

struct layer {
    struct vector attn_norm, ffn_norm; /* [hidden] */
    struct vector attn_post, ffn_post; /* [hidden]: of what the blocks give; or none */
    struct vector q_norm, k_norm;      /* [head_dim]; none without QK-norm */
    struct linear q, k, v, o, gate, up, down;
    struct moe *moe;               /* instead of gate, up and down; NULL: those */
    int64_t window;                /* keys seen; 0: all */
    const struct rope_table *rope; /* NULL: none */
};

/* What a step works on, for max_rows rows: float32 in one buffer. */
struct scratch {
    buffer *buffer;
    struct tensor x;        /* [rows, hidden] residual */
    struct tensor norm;     /* [rows, widest of hidden and q]: after a norm, or of attention */
    struct tensor q;        /* [rows, heads * head_dim] */
    struct tensor k, v;     /* [rows, kv_heads * head_dim] */
    struct tensor gate, up; /* [rows, ffn], or as much as experts need */
    struct tensor out;      /* [rows, hidden] */
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
    struct vector final_norm;
    uint8_t *weights; /* mmap of weight_bytes */
    size_t weight_bytes;
    struct packed_task *packed;         /* keeps them on disk (packed_int.h); NULL: nothing to do */
    struct rope_table rope, rope_local; /* the second for layers with a window, where they differ */
    backend *backend;
    buffer *weights_at, *embedding_at, *vectors_at; /* its own */
    struct scratch s;
    int64_t n_wanted; /* rows of s.norm that model_logits may ask for */
};

struct kv_pool {
    backend *backend; /* the model's */
    buffer *buffer;
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
/* The same for every vector that there is. */
void bind_each_vector(model *m, void (*visit)(void *arg, struct vector *v), void *arg);

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

/* device.c: opens the backend and gives it what was loaded; m->ops, rope tables and packed weights are there. */
int device_open(model *m, sp_error *err);
void device_close(model *m);
/* Bytes that a step takes there. */
size_t device_step_bytes(model *m);

size_t kv_page_bytes(const struct model_config *c, const struct model_opts *o);
struct kv_view kv_pool_layer(const kv_pool *kv, const struct model_config *c, int64_t layer);

#endif
