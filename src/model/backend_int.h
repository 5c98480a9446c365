/* The boundary between what a step is (forward.c) and what computes it: a GPU sits behind the same table.
 *
 * A backend has memory, in buffers that nobody else touches, and runs operations on it. The host knows a place in a
 * buffer as a tensor: it says where, and can't be read. In go bytes by upload, host memory that never changes by import
 * (packed weights, which may be a mapped file), and by begin a step's tokens, positions, sequences and page tables. Out
 * come logits, to the host memory that OP_LOGITS names, from sync what went wrong, and bytes by download.
 *
 * Operations run in the order of their submission, at the latest when sync waits for them. From begin or the first
 * submit until sync returns the host doesn't upload, download, import or free, and leaves what it passed as it is. A
 * step makes no allocation. One thread at a time uses a backend.
 *
 * Activations are float32 here, [rows, cols] side by side, int8 and bf16 forms of them a backend's own business: each
 * operation that leaves rows says who will read them (`next`), so that the forms are made while the rows are at hand.
 * OP_PRODUCTS, OP_EXPERTS and OP_LOGITS read only what the operation that made it announced for them. */
#ifndef SP_MODEL_BACKEND_INT_H
#define SP_MODEL_BACKEND_INT_H

#include "base/base.h"
#include "model/model.h"

typedef struct backend backend;
typedef struct buffer buffer;

/* A place in a backend's memory; what lies there, its shape is said beside. */
struct tensor {
    buffer *buffer; /* NULL: there is none */
    size_t at;      /* bytes from its start */
};

/* n float32 values, read to the host (the model's arena) at first. */
struct vector {
    float *host;
    int64_t n; /* 0: there is none */
    struct tensor at;
};

/* y = x W^T + b. The matrix is all of `source` in its order, or the rows that `map` says (one of several matrices
 * that the file has in one, or rows that lie in another order there). */
struct linear {
    struct packed w; /* w.data: where the host packed it */
    const struct tensor_view *source;
    const int32_t *map; /* [w.rows]: the file's row of each of ours; NULL: the same */
    struct tensor data; /* the same bytes as w.data */
    struct vector bias; /* [rows] or none */
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
    struct tensor cos_at, sin_at;
};

/* One layer of a KV pool. */
struct kv_view {
    struct kv_layer layout; /* base NULL */
    struct tensor at;       /* where base is */
};

#define MOST_READERS 4 /* matrices that read the same activations */

struct readers {
    const struct linear *l[MOST_READERS];
    int n; /* 0: nobody */
};

enum op_kind {
    OP_EMBED, /* x = the rows of a table for the step's tokens, scaled; normed = RMSNorm(x) * norm */
    OP_PRODUCTS, /* out[i] = x l[i]^T + bias, matrices that read the same x */
    OP_STORE_KV, /* QK-norm and RoPE of q and k in place; k and v into the pages of their positions */
    OP_ATTENTION, /* out = attention of q over the pages */
    OP_GATE,      /* gate = activation(gate) * up */
    OP_RESIDUAL,  /* x += out, or RMSNorm(out) * post; normed = RMSNorm(x) * norm */
    OP_EXPERTS,   /* out = x through the experts that its router chooses, and the shared one */
    OP_KEEP_WANTED, /* rows of x and q that want logits move up in their order; with them the step's rows */
    OP_LOGITS, /* out = x[first ..] head^T, to the host */
    OP_COPY    /* bytes to another place of the same buffer; they don't overlap */
};

struct op {
    enum op_kind kind;
    int64_t rows;        /* it works on, from the first; OP_KEEP_WANTED: that there are */
    struct readers next; /* of the rows that it leaves */
    union {
        struct {
            struct tensor table; /* [vocab] rows of row_bytes, of dtype */
            size_t row_bytes;
            enum dtype dtype;
            struct tensor x, norm, normed; /* [rows, hidden], [hidden], [rows, hidden] */
        } embed;
        struct {
            struct tensor x; /* [rows, cols] */
            const struct linear *l[MOST_READERS];
            struct tensor out[MOST_READERS]; /* [rows, rows of l] */
            int n;
        } products;
        struct {
            struct tensor q, k, v; /* [rows, heads * head_dim], [rows, kv_heads * head_dim] */
            struct tensor q_norm, k_norm;  /* [head_dim] or none */
            const struct rope_table *rope; /* NULL: none */
            struct kv_view kv;
        } store;
        struct {
            struct tensor q, out; /* [rows, heads * head_dim] */
            struct kv_view kv;
            int64_t window; /* keys seen; 0: all */
        } attention;
        struct {
            struct tensor gate, up; /* [rows, cols] */
            int64_t cols;
        } gate;
        struct {
            struct tensor x, out, normed; /* [rows, hidden] */
            struct tensor post, norm;     /* [hidden]; post may be none */
            int64_t layer;                /* sync names the first in which x is not finite */
        } residual;
        struct {
            const struct moe *moe;
            struct tensor x, out;   /* [rows, hidden] */
            struct tensor gate, up; /* room for an expert's and the shared one's */
        } experts;
        struct {
            struct tensor x, q; /* [rows, hidden], [rows, heads * head_dim] */
        } keep;
        struct {
            const struct linear *head;
            struct tensor x; /* [first + rows, hidden] */
            int64_t first;
            float *out; /* host memory, [rows, vocab] */
        } logits;
        struct {
            struct tensor from, to;
            size_t bytes;
        } copy;
    };
};

struct backend_table {
    /* Zeros. Memory that no step has written to yet may be a promise only. SP_ENOMEM. */
    int (*alloc)(backend *b, size_t bytes, buffer **out, sp_error *err);
    /* Host memory that stays as it is and outlives the buffer. SP_ENOMEM. */
    int (*import)(backend *b, const void *host, size_t bytes, buffer **out, sp_error *err);
    void (*free)(backend *b, buffer *memory);
    void (*upload)(backend *b, struct tensor to, const void *from, size_t bytes);
    void (*download)(backend *b, void *to, struct tensor from, size_t bytes);
    /* Rows and page tables of the operations that follow; the batch has been checked. */
    void (*begin)(backend *b, const struct model_batch *batch);
    void (*submit)(backend *b, const struct op *op); /* copied */
    /* SP_EINTERNAL names the layer whose hidden state is not finite. */
    int (*sync)(backend *b, sp_error *err);
    void (*close)(backend *b);
};

/* What every backend begins with. */
struct backend {
    const struct backend_table *table;
};

/* cpu_backend.c: the processor, on the pool's threads. */
struct cpu_backend_opts {
    const struct model_config *config; /* outlives the backend, as do ops and pool */
    const struct kernel_ops *ops;
    pool *pool;
    enum compute_mode compute;
    int64_t max_rows, max_context; /* of a step, of a sequence */
    const struct packed *widest;   /* the matrix with most columns */
};
int cpu_backend_new(const struct cpu_backend_opts *o, backend **out, sp_error *err);
/* Memory that it takes for itself (ops not looked at). */
size_t cpu_backend_bytes(const struct cpu_backend_opts *o);

#endif
