/* From an open checkpoint to packed weights and everything a step needs. */
#include <stdatomic.h>
#include <sys/mman.h>
#include "model/model_int.h"
#include "model/packed_int.h"

struct model_opts model_opts_default(void)
{
    return (struct model_opts){.compute = COMPUTE_FAST,
                               .max_rows = 256,
                               .max_context = 4096,
                               .packed = {.least = (uint64_t)16 << 20}};
}

/* ---- packing: one list of pieces, shared out among the threads ---- */

#define PIECE_TILES 16   /* rows of a piece: 256 */
#define PIECES_A_TURN 32 /* some 10 ms of packing: who shares the pool waits no longer */

struct piece {
    struct linear *l;
    int64_t begin, end;
};

struct packer {
    model *m;
    struct piece *pieces;
    size_t n, cap;
    size_t bytes; /* of packed weights placed so far */
    atomic_ullong done;
    uint64_t total;
    atomic_bool stop;
};

static size_t packed_bytes(const struct linear *l)
{
    return (size_t)l->w.tiles * l->w.tile_bytes;
}

static void count_linear(void *arg, struct linear *l)
{
    struct packer *p = arg;
    p->bytes += packed_bytes(l);
    p->cap += (size_t)((l->w.tiles + PIECE_TILES - 1) / PIECE_TILES);
}

static void place_linear(void *arg, struct linear *l)
{
    struct packer *p = arg;
    l->w.data = p->m->weights + p->bytes;
    p->bytes += packed_bytes(l);
}

static void cut_linear(void *arg, struct linear *l)
{
    struct packer *p = arg;
    for (int64_t t = 0; t < l->w.tiles; t += PIECE_TILES)
        p->pieces[p->n++] =
            (struct piece){l, t, t + PIECE_TILES < l->w.tiles ? t + PIECE_TILES : l->w.tiles};
}

/* Rows [from, to) of the file are not needed again. */
static void give_back(const struct linear *l, int64_t from, int64_t to, size_t row_bytes)
{
    const struct tensor_view *t = l->source;
    if (to > l->source->shape[0])
        to = l->source->shape[0];
    file_map_drop(t->map, (size_t)(t->data - t->map->data) + (size_t)from * row_bytes,
                  (size_t)(to - from) * row_bytes);
}

/* Where a map makes pieces read each other's rows, the file's pages go back at the end. */
static void give_back_mapped(void *arg, struct linear *l)
{
    size_t row_bytes;
    (void)arg;
    if (l->map && dtype_row_bytes(l->source->dtype, l->w.cols, &row_bytes) == 0)
        give_back(l, 0, l->source->shape[0], row_bytes);
}

/* False: the caller wants no more of it. */
static bool tell(const struct packer *p, uint64_t done)
{
    const struct model_opts *o = &p->m->opts;
    return !o->progress || o->progress(o->progress_arg, done, p->total) == 0;
}

static void pack_pieces(void *arg, int worker, size_t begin, size_t end)
{
    struct packer *p = arg;
    for (size_t i = begin; i < end && !atomic_load(&p->stop); i++) {
        const struct piece *piece = &p->pieces[i];
        const struct linear *l = piece->l;
        struct pack_source src = {.src = l->source->data, .map = l->map};
        (void)dtype_row_bytes(l->source->dtype, l->w.cols, &src.row_bytes); /* checked by bind */
        pack_tiles(&l->w, &src, piece->begin, piece->end, (uint8_t *)(uintptr_t)l->w.data);
        if (!l->map)
            give_back(l, piece->begin * PACK_ROWS, piece->end * PACK_ROWS, src.row_bytes);
        uint64_t bytes = (uint64_t)(piece->end - piece->begin) * l->w.tile_bytes;
        uint64_t done = atomic_fetch_add(&p->done, bytes) + bytes;
        if (worker == 0 && !tell(p, done))
            atomic_store(&p->stop, true);
    }
}

uint8_t *weights_memory(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    (void)madvise(p, bytes, MADV_HUGEPAGE); /* a wish; 4 KB pages do as well */
    return p;
}

static int take_memory(model *m, sp_error *err)
{
    m->weights = weights_memory(m->weight_bytes);
    if (m->weights)
        return 0;
    return sp_fail(err, SP_ENOMEM,
                   "no %.0f MB of memory for the weights: close other programs or choose a "
                   "smaller model",
                   (double)m->weight_bytes / 1e6);
}

/* Packs all that is placed, in parallel. */
static int pack_all(struct packer *p, sp_error *err)
{
    model *m = p->m;
    p->pieces = sp_calloc(p->cap, sizeof *p->pieces);
    if (!p->pieces)
        return sp_fail(err, SP_ENOMEM, "out of memory for the list of weights");
    bind_each(m, cut_linear, p);
    pool_run_in_turns(m->opts.pool, p->n, PIECES_A_TURN, pack_pieces, p);
    sp_free(p->pieces);
    bind_each(m, give_back_mapped, NULL);
    (void)mprotect(m->weights, m->weight_bytes, PROT_READ); /* only to find mistakes */
    return 0;
}

static int load_weights(model *m, sp_error *err)
{
    struct packer p = {.m = m};
    bind_each(m, count_linear, &p);
    m->weight_bytes = p.total = p.bytes;
    p.bytes = 0;
    bool kept = packed_file_map(m);
    int code = kept ? 0 : take_memory(m, err);
    if (code == 0)
        bind_each(m, place_linear, &p);
    if (code == 0 && !kept)
        code = pack_all(&p, err);
    if (code == 0 && (atomic_load(&p.stop) || !tell(&p, p.total)))
        code = sp_fail(err, SP_ECANCELLED, "loading was stopped");
    if (code == 0 && !kept)
        packed_file_keep(m);
    return code;
}

/* ---- opening and closing ---- */

#define ROWS_MOST (1 << 16)
#define CONTEXT_MOST (1 << 24)

static int check_opts(const struct model_opts *o, sp_error *err)
{
    if (o->max_rows < 1 || o->max_rows > ROWS_MOST)
        return sp_fail(err, SP_EINVAL, "steps of %lld rows: use 1 to %d", (long long)o->max_rows,
                       ROWS_MOST);
    if (o->max_context < 1 || o->max_context > CONTEXT_MOST)
        return sp_fail(err, SP_EINVAL, "a context of %lld positions: use 1 to %d",
                       (long long)o->max_context, CONTEXT_MOST);
    return 0;
}

static int new_bound(const checkpoint *c, const struct model_opts *opts, model **out, sp_error *err)
{
    if (check_opts(opts, err) < 0)
        return SP_EINVAL;
    model *m = sp_calloc(1, sizeof *m);
    if (m)
        m->arena = arena_new((size_t)1 << 30);
    if (!m || !m->arena) {
        model_free(m);
        return sp_fail(err, SP_ENOMEM, "out of memory for a model");
    }
    m->ckpt = c;
    m->config = *checkpoint_config(c);
    m->opts = *opts;
    int code = bind_model(m, err);
    if (code < 0) {
        model_free(m);
        return code;
    }
    *out = m;
    return 0;
}

int model_memory_plan(const checkpoint *c, const struct model_opts *opts, struct model_memory *out,
                      sp_error *err)
{
    model *m = NULL;
    pool *one = NULL;
    struct packer p = {0};
    struct model_opts o = *opts;
    int code = o.pool ? 0 : pool_new(1, &one, err);
    if (code == 0 && !o.pool)
        o.pool = one;
    if (code == 0)
        code = new_bound(c, &o, &m, err);
    if (code == 0) {
        bind_each(m, count_linear, &p);
        out->weights = p.bytes;
        out->scratch = device_step_bytes(m) + rope_table_bytes(m) +
                       (size_t)(MODEL_LOGIT_ROWS * m->config.vocab) * sizeof(float);
        out->kv_page = kv_page_bytes(&m->config, &o);
    }
    model_free(m);
    pool_free(one);
    return code;
}

static int pick_kernels(model *m, sp_error *err)
{
    enum cpu_isa isa = m->opts.isa;
    int code = m->opts.isa_given ? 0 : kernel_pick(&isa, err);
    if (code < 0)
        return code;
    m->ops = kernel_get(isa);
    if (!m->ops)
        return sp_fail(err, SP_EUNSUPPORTED, "this build has no kernels for %s", cpu_isa_name(isa));
    return 0;
}

int model_load(const checkpoint *c, const struct model_opts *opts, model **out, sp_error *err)
{
    model *m = NULL;
    int code = new_bound(c, opts, &m, err);
    if (code == 0)
        code = pick_kernels(m, err);
    if (code == 0)
        code = rope_tables(m, err);
    if (code == 0)
        code = load_weights(m, err);
    if (code == 0)
        code = device_open(m, err);
    if (code < 0) {
        model_free(m);
        return code;
    }
    *out = m;
    return 0;
}

void model_free(model *m)
{
    if (!m)
        return;
    device_close(m);
    packed_file_end(m);
    if (m->weights)
        munmap(m->weights, m->weight_bytes);
    rope_tables_free(m);
    arena_free(m->arena);
    sp_free(m);
}

bool model_sleep(model *m)
{
    return packed_file_sleep(m);
}

void model_wake(model *m)
{
    packed_file_wake(m);
}

const struct model_config *model_get_config(const model *m)
{
    return &m->config;
}

enum compute_mode model_compute(const model *m)
{
    return m->opts.compute;
}

const char *model_isa(const model *m)
{
    return m->ops->name;
}

const struct kernel_ops *model_ops(const model *m)
{
    return m->ops;
}
