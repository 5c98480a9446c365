/* What a model keeps in the memory of its backend: weights, vectors, tables and the rows of a step. */
#include "model/model_int.h"

#define ALIGN 64 /* bytes, of every tensor */

static size_t aligned(size_t bytes)
{
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

/* ---- the rows of a step ---- */

static struct tensor place(const struct scratch *s, size_t *used, int64_t values)
{
    struct tensor t = {s->buffer, *used};
    *used += aligned((size_t)values * sizeof(float));
    return t;
}

static int64_t most_of(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Places the tensors in s.buffer; bytes of all. */
static size_t place_rows(model *m)
{
    const struct model_config *c = &m->config;
    struct scratch *s = &m->s;
    int64_t rows = m->opts.max_rows, q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    int64_t ffn =
        most_of(rows * c->ffn, most_of(rows * c->moe.shared, rows * c->moe.used * c->moe.ffn));
    size_t used = 0;
    s->x = place(s, &used, rows * c->hidden);
    s->norm = place(s, &used, rows * most_of(q, c->hidden));
    s->q = place(s, &used, rows * q);
    s->k = place(s, &used, rows * kv);
    s->v = place(s, &used, rows * kv);
    s->gate = place(s, &used, ffn);
    s->up = place(s, &used, ffn);
    s->out = place(s, &used, rows * c->hidden);
    return used;
}

static void find_widest(void *arg, struct linear *l)
{
    const struct packed **widest = arg;
    if (!*widest || l->w.cols > (*widest)->cols)
        *widest = &l->w;
}

static struct cpu_backend_opts backend_opts(model *m)
{
    struct cpu_backend_opts o = {.config = &m->config,
                                 .ops = m->ops,
                                 .pool = m->opts.pool,
                                 .compute = m->opts.compute,
                                 .max_rows = m->opts.max_rows,
                                 .max_context = m->opts.max_context};
    bind_each(m, find_widest, (void *)&o.widest);
    return o;
}

size_t device_step_bytes(model *m)
{
    struct cpu_backend_opts o = backend_opts(m);
    return place_rows(m) + cpu_backend_bytes(&o);
}

/* ---- what was loaded ---- */

static void count_vector(void *arg, struct vector *v)
{
    *(size_t *)arg += aligned((size_t)v->n * sizeof(float));
}

struct uploading {
    model *m;
    size_t used;
};

/* From here on nobody needs what the host has. */
static void upload_vector(void *arg, struct vector *v)
{
    struct uploading *u = arg;
    backend *b = u->m->backend;
    size_t bytes = (size_t)v->n * sizeof(float);
    v->at = (struct tensor){u->m->vectors_at, u->used};
    b->table->upload(b, v->at, v->host, bytes);
    v->host = NULL;
    u->used += aligned(bytes);
}

static int give_vectors(model *m, sp_error *err)
{
    struct uploading u = {.m = m};
    size_t bytes = 0;
    bind_each_vector(m, count_vector, &bytes);
    int code = m->backend->table->alloc(m->backend, bytes, &m->vectors_at, err);
    if (code == 0)
        bind_each_vector(m, upload_vector, &u);
    return code;
}

static void locate(void *arg, struct linear *l)
{
    const model *m = arg;
    l->data = (struct tensor){m->weights_at, (size_t)(l->w.data - m->weights)};
}

static int give_weights(model *m, sp_error *err)
{
    backend *b = m->backend;
    int code = b->table->import(b, m->weights, m->weight_bytes, &m->weights_at, err);
    if (code == 0)
        bind_each(m, locate, m);
    return code < 0 ? code
                    : b->table->import(b, m->embedding->data, m->embedding->bytes, &m->embedding_at,
                                       err);
}

static int give_table(model *m, struct rope_table *t, size_t bytes, sp_error *err)
{
    backend *b = m->backend;
    if (!t->cos)
        return 0;
    int code = b->table->import(b, t->cos, bytes, &t->cos_at.buffer, err);
    return code < 0 ? code : b->table->import(b, t->sin, bytes, &t->sin_at.buffer, err);
}

int device_open(model *m, sp_error *err)
{
    const struct cpu_backend_opts o = backend_opts(m);
    size_t table = (size_t)(m->opts.max_context * (m->config.rope_dim / 2)) * sizeof(float);
    int code = cpu_backend_new(&o, &m->backend, err);
    if (code == 0)
        code = m->backend->table->alloc(m->backend, place_rows(m), &m->s.buffer, err);
    if (code == 0) {
        place_rows(m);
        code = give_vectors(m, err);
    }
    if (code == 0)
        code = give_weights(m, err);
    if (code == 0)
        code = give_table(m, &m->rope, table, err);
    return code < 0 ? code : give_table(m, &m->rope_local, table, err);
}

void device_close(model *m)
{
    backend *b = m->backend;
    if (!b)
        return;
    buffer *all[] = {m->s.buffer,
                     m->vectors_at,
                     m->weights_at,
                     m->embedding_at,
                     m->rope.cos_at.buffer,
                     m->rope.sin_at.buffer,
                     m->rope_local.cos_at.buffer,
                     m->rope_local.sin_at.buffer};
    for (size_t i = 0; i < SP_COUNT(all); i++)
        if (all[i])
            b->table->free(b, all[i]);
    b->table->close(b);
}
