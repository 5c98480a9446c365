/* A model in memory and its forward step.
 *
 * One call takes rows from any mix of sequences: prefill chunks, single decode tokens, later drafts to
 * verify. A row's result depends on its own sequence only, bit for bit (DESIGN, section 3). A model is
 * used by one thread at a time (the engine's); it spreads each step over the pool it was given. Nothing
 * is allocated inside a step.
 *
 *     struct model_opts o = model_opts_default();
 *     o.pool = pool;
 *     model *m;
 *     if (model_load(ckpt, &o, &m, &err) < 0) return err.code;
 *     kv_pool *kv;                                   // 32 pages of 64 positions
 *     kv_pool_new(m, 32, &kv, &err);
 *     model_forward(m, &batch, kv, &err);            // hidden states of the rows that want logits
 *     model_logits(m, 0, n, logits);                 // [n, vocab], n <= MODEL_LOGIT_ROWS a call
 */
#ifndef SP_MODEL_MODEL_H
#define SP_MODEL_MODEL_H

#include "base/pool.h"
#include "format/checkpoint.h"
#include "kernel/kernel.h"

typedef struct model model;
typedef struct kv_pool kv_pool;

#define MODEL_LOGIT_ROWS 32 /* rows of logits made at once */

/* Where the packed weights are kept on disk, so that the next start maps them (packed_file.h). */
struct packed_opts {
    const char
        *paths[2];  /* looked at in this order, written to the first that takes it; NULL: none */
    uint64_t least; /* bytes; smaller models are packed at each start; default 16 MB */
};

struct model_opts {
    enum compute_mode compute; /* default COMPUTE_FAST */
    int64_t max_rows;          /* rows of a step, default 256 */
    int64_t max_context; /* positions that RoPE tables must reach, default 4096; where RoPE depends
                                * on a sequence's length, this is the length that counts (rope.c) */
    pool *pool;          /* not owned; must outlive the model */
    enum cpu_isa isa;    /* default: the best of the machine and the build, or SAMPAN_ISA's */
    bool isa_given;      /* isa counts: no other is taken */
    enum kv_type
        kv_type; /* of keys and values, if kv_given; else f32 under COMPUTE_F32, else f16 */
    bool kv_given;
    /* Called by the loading thread with bytes packed so far and in all, at last with both the same; may
     * be NULL. A non-zero answer stops the load with SP_ECANCELLED. */
    int (*progress)(void *arg, uint64_t done, uint64_t total);
    void *progress_arg;
    struct packed_opts packed; /* default: not kept */
};
struct model_opts model_opts_default(void);

/* What it takes, known from the headers alone. Bytes. (opts->pool may be NULL here.) */
struct model_memory {
    uint64_t weights; /* packed */
    uint64_t scratch; /* buffers of a step, RoPE tables, a block of logits */
    uint64_t kv_page; /* one page of 64 positions, all layers */
};
int model_memory_plan(const checkpoint *c, const struct model_opts *opts, struct model_memory *out,
                      sp_error *err);

/* Looks every tensor up once and checks every shape (errors name tensor, wanted, found), then maps
 * the packed weights from disk, or packs them in parallel, gives the file's pages back, and writes the packed form in a
 * thread of its own. The checkpoint must outlive the model (the embedding's rows are read from it). */
int model_load(const checkpoint *c, const struct model_opts *opts, model **out, sp_error *err);
void model_free(model *m);
/* Between steps: gives the weights' memory back to the system where their packed form on disk can stand in for it;
 * until model_wake no step. False: they stay in memory, and there is nothing to wake. */
bool model_sleep(model *m);
void model_wake(model *m);
/* What tells this model, by its files and the place of each weight in them, from any other, hexadecimal. SP_EINVAL: its
 * bytes are not those of files; SP_ENOMEM. */
int model_key(model *m, char key[65], sp_error *err);
const struct model_config *model_get_config(const model *m);
enum compute_mode model_compute(const model *m);
enum kv_type model_kv_type(const model *m); /* of its KV pools */
const char *model_isa(const model *m);
const struct kernel_ops *model_ops(const model *m);

/* The KV pool: n_pages pages of KV_PAGE positions for all layers of the type that the model's options
 * say. Memory is touched as pages are used; it is freed before the model. Who holds which page is the
 * engine's business. */
int kv_pool_new(const model *m, int32_t n_pages, kv_pool **out, sp_error *err);
void kv_pool_free(kv_pool *kv);
int32_t kv_pool_pages(const kv_pool *kv);
enum kv_type kv_pool_type(const kv_pool *kv);

size_t kv_pool_page_bytes(const kv_pool *kv);
/* Between steps: a page's bytes, of all layers, out of the pool and into one of the same model and options. */
void kv_pool_read(kv_pool *kv, int32_t page, void *out);
void kv_pool_write(kv_pool *kv, int32_t page, const void *from);
/* Between steps: what page `from` holds, of all layers, goes into page `to` as well. */
void kv_pool_copy(kv_pool *kv, int32_t from, int32_t to);

struct model_seq {
    const int32_t *pages; /* page table: room for every position of its rows */
    int32_t n_pages;
};
struct model_row {
    int32_t token;
    int32_t pos; /* 0-based; all earlier positions are in the cache or earlier in this batch */
    int32_t seq; /* index into seqs; rows of one sequence are adjacent and ascending in pos */
    bool want_logits;
};
struct model_batch {
    const struct model_row *rows;
    int64_t n_rows; /* 1 .. max_rows */
    const struct model_seq *seqs;
    int32_t n_seqs;
};

/* Runs the layers, writes K and V, keeps the final-norm hidden state of the rows that want logits (in
 * row order) until the next call. SP_EINVAL for a batch that breaks the rules above, or in which two
 * sequences would write the same page; SP_EINTERNAL names the layer when a hidden state is not finite (at
 * the last layer only rows that want logits are looked at). */
int model_forward(model *m, const struct model_batch *b, kv_pool *kv, sp_error *err);
/* Logits of wanted rows [first, first + n), n <= MODEL_LOGIT_ROWS, of the last model_forward. */
void model_logits(model *m, int64_t first, int64_t n, float *out /* [n, vocab] */);

#endif
