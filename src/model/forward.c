/* The ragged forward step: which operations, in which order. Rows of any mix of sequences go through the layers
 * together; only attention knows sequences, through their page tables. What computes is a backend. */
#include <assert.h>
#include "model/model_int.h"

struct step {
    model *m;
    const struct model_batch *b;
    kv_pool *kv;
    int64_t rows; /* that still go on: see keep_wanted() */
};

/* ---- checking and setting up ---- */

static int check_row(const struct model *m, const struct model_batch *b, int64_t i, sp_error *err)
{
    const struct model_row *r = &b->rows[i], *before = i ? &b->rows[i - 1] : NULL;
    if (r->token < 0 || r->token >= m->config.vocab)
        return sp_fail(err, SP_EINVAL, "row %lld: token %d is not in the vocabulary of %lld",
                       (long long)i, r->token, (long long)m->config.vocab);
    if (r->seq < 0 || r->seq >= b->n_seqs)
        return sp_fail(err, SP_EINVAL, "row %lld: no sequence %d in this batch", (long long)i,
                       r->seq);
    if (r->pos < 0 || r->pos >= m->opts.max_context || r->pos / KV_PAGE >= b->seqs[r->seq].n_pages)
        return sp_fail(err, SP_EINVAL, "row %lld: position %d has no page", (long long)i, r->pos);
    if (before && before->seq == r->seq && r->pos != before->pos + 1)
        return sp_fail(err, SP_EINVAL, "row %lld: position %d after %d of the same sequence",
                       (long long)i, r->pos, before->pos);
    return 0;
}

/* The pages that the run of rows ending at `last` reads exist, and nobody else writes where it does. */
static int check_pages(const struct model_batch *b, int64_t first, int64_t last, kv_pool *kv,
                       sp_error *err)
{
    int32_t id = b->rows[last].seq;
    const struct model_seq *seq = &b->seqs[id];
    for (int32_t p = 0; p <= b->rows[last].pos / KV_PAGE; p++) {
        int32_t page = seq->pages[p];
        if (page < 0 || page >= kv->pages)
            return sp_fail(err, SP_EINVAL, "sequence %d: page %d is not in the pool of %d", id,
                           page, kv->pages);
        if (p < b->rows[first].pos / KV_PAGE)
            continue;
        if (kv->writer[page] == kv->step)
            return sp_fail(err, SP_EINVAL, "sequence %d: page %d is written twice in one step", id,
                           page);
        kv->writer[page] = kv->step;
    }
    return 0;
}

static int check_run(const struct model_batch *b, int64_t first, int64_t last, kv_pool *kv,
                     sp_error *err)
{
    for (int64_t i = 0; i < first; i++)
        if (b->rows[i].seq == b->rows[first].seq)
            return sp_fail(err, SP_EINVAL, "row %lld: the rows of sequence %d are not adjacent",
                           (long long)first, b->rows[first].seq);
    return check_pages(b, first, last, kv, err);
}

static int check_batch(const model *m, const struct model_batch *b, kv_pool *kv, sp_error *err)
{
    if (b->n_rows < 1 || b->n_rows > m->opts.max_rows)
        return sp_fail(err, SP_EINVAL, "a step of %lld rows: from 1 to %lld are possible",
                       (long long)b->n_rows, (long long)m->opts.max_rows);
    for (int64_t i = 0; i < b->n_rows; i++) {
        int code = check_row(m, b, i, err);
        if (code < 0)
            return code;
    }
    kv->step++;
    for (int64_t first = 0, last; first < b->n_rows; first = last + 1) {
        last = first;
        while (last + 1 < b->n_rows && b->rows[last + 1].seq == b->rows[first].seq)
            last++;
        int code = check_run(b, first, last, kv, err);
        if (code < 0)
            return code;
    }
    return 0;
}

/* ---- operations ---- */

static void submit(const struct step *s, const struct op *op)
{
    s->m->backend->table->submit(s->m->backend, op);
}

/* The norm that layer `next` begins with, or the last one. */
static struct tensor entry_norm(const model *m, int64_t next)
{
    return next == m->config.layers ? m->final_norm.at : m->layers[next].attn_norm.at;
}

/* What reads the rows behind that norm. */
static struct readers entry_readers(const model *m, int64_t next)
{
    const struct layer *l = &m->layers[next];
    if (next == m->config.layers)
        return (struct readers){{&m->head}, 1};
    return (struct readers){{&l->q, &l->k, &l->v}, 3};
}

static struct readers ffn_readers(const struct layer *l)
{
    const struct moe *e = l->moe;
    if (!e)
        return (struct readers){{&l->gate, &l->up}, 2};
    if (!e->shared_gate.source)
        return (struct readers){{&e->router}, 1};
    return (struct readers){{&e->router, &e->shared_router, &e->shared_gate, &e->shared_up}, 4};
}

static void embed(const struct step *s)
{
    const model *m = s->m;
    submit(s, &(struct op){.kind = OP_EMBED,
                           .rows = s->rows,
                           .next = entry_readers(m, 0),
                           .embed = {.table = {m->embedding_at, 0},
                                     .row_bytes = m->embedding_row_bytes,
                                     .dtype = m->embedding->dtype,
                                     .x = m->s.x,
                                     .norm = entry_norm(m, 0),
                                     .normed = m->s.norm}});
}

static void store_kv(const struct step *s, const struct layer *l, const struct kv_view *kv)
{
    const struct scratch *t = &s->m->s;
    submit(s, &(struct op){.kind = OP_PRODUCTS,
                           .rows = s->rows,
                           .products = {.x = t->norm,
                                        .l = {&l->q, &l->k, &l->v},
                                        .out = {t->q, t->k, t->v},
                                        .n = 3}});
    submit(s, &(struct op){.kind = OP_STORE_KV,
                           .rows = s->rows,
                           .store = {.q = t->q,
                                     .k = t->k,
                                     .v = t->v,
                                     .q_norm = l->q_norm.at,
                                     .k_norm = l->k_norm.at,
                                     .rope = l->rope,
                                     .kv = *kv}});
}

/* Rows that want no logits have done their part once their K and V of the last layer are stored: the
 * others move up and go on alone. */
static void keep_wanted(struct step *s)
{
    const struct scratch *t = &s->m->s;
    int64_t n = 0;
    submit(s,
           &(struct op){.kind = OP_KEEP_WANTED, .rows = s->rows, .keep = {.x = t->x, .q = t->q}});
    for (int64_t r = 0; r < s->rows; r++)
        n += s->b->rows[r].want_logits;
    s->rows = n;
}

static void attention_block(const struct step *s, const struct layer *l, const struct kv_view *kv)
{
    const struct scratch *t = &s->m->s;
    submit(s,
           &(struct op){.kind = OP_ATTENTION,
                        .rows = s->rows,
                        .next = {{&l->o}, 1},
                        .attention = {.q = t->q, .out = t->norm, .kv = *kv, .window = l->window}});
    submit(s, &(struct op){.kind = OP_PRODUCTS,
                           .rows = s->rows,
                           .products = {.x = t->norm, .l = {&l->o}, .out = {t->out}, .n = 1}});
}

static void ffn_block(const struct step *s, const struct layer *l)
{
    const struct scratch *t = &s->m->s;
    if (l->moe) {
        submit(s,
               &(struct op){
                   .kind = OP_EXPERTS,
                   .rows = s->rows,
                   .experts = {
                       .moe = l->moe, .x = t->norm, .out = t->out, .gate = t->gate, .up = t->up}});
        return;
    }
    submit(s, &(struct op){
                  .kind = OP_PRODUCTS,
                  .rows = s->rows,
                  .products = {
                      .x = t->norm, .l = {&l->gate, &l->up}, .out = {t->gate, t->up}, .n = 2}});
    submit(s, &(struct op){.kind = OP_GATE,
                           .rows = s->rows,
                           .next = {{&l->down}, 1},
                           .gate = {.gate = t->gate, .up = t->up, .cols = s->m->config.ffn}});
    submit(s, &(struct op){.kind = OP_PRODUCTS,
                           .rows = s->rows,
                           .products = {.x = t->gate, .l = {&l->down}, .out = {t->out}, .n = 1}});
}

/* What a block gives goes into x, and x through the norm before the next block. */
static void residual(const struct step *s, int64_t layer, struct tensor post, struct tensor norm,
                     struct readers next)
{
    const struct scratch *t = &s->m->s;
    submit(s, &(struct op){.kind = OP_RESIDUAL,
                           .rows = s->rows,
                           .next = next,
                           .residual = {.x = t->x,
                                        .out = t->out,
                                        .normed = t->norm,
                                        .post = post,
                                        .norm = norm,
                                        .layer = layer}});
}

/* ---- the layers ---- */

static void run_layers(struct step *s)
{
    const model *m = s->m;
    embed(s);
    for (int64_t i = 0; i < m->config.layers; i++) {
        const struct layer *l = &m->layers[i];
        const struct kv_view kv = kv_pool_layer(s->kv, &m->config, i);
        store_kv(s, l, &kv);
        if (i == m->config.layers - 1)
            keep_wanted(s);
        if (s->rows == 0)
            return;
        attention_block(s, l, &kv);
        residual(s, i, l->attn_post.at, l->ffn_norm.at, ffn_readers(l));
        ffn_block(s, l);
        residual(s, i, l->ffn_post.at, entry_norm(m, i + 1), entry_readers(m, i + 1));
    }
}

int model_forward(model *m, const struct model_batch *b, kv_pool *kv, sp_error *err)
{
    struct step s = {.m = m, .b = b, .kv = kv, .rows = b->n_rows};
    int code = check_batch(m, b, kv, err);
    m->n_wanted = 0;
    if (code < 0)
        return code;
    sp_alloc_guard_begin();
    m->backend->table->begin(m->backend, b);
    run_layers(&s);
    code = m->backend->table->sync(m->backend, err);
    sp_alloc_guard_end();
    if (code == 0)
        m->n_wanted = s.rows;
    return code;
}

void model_logits(model *m, int64_t first, int64_t n, float *out)
{
    const struct op op = {.kind = OP_LOGITS,
                          .rows = n,
                          .logits = {.head = &m->head, .x = m->s.norm, .first = first, .out = out}};
    assert(first >= 0 && n >= 0 && n <= MODEL_LOGIT_ROWS && first + n <= m->n_wanted);
    sp_alloc_guard_begin();
    m->backend->table->submit(m->backend, &op);
    int code = m->backend->table->sync(m->backend, NULL);
    sp_alloc_guard_end();
    assert(code == 0); /* no hidden state is made here */
    (void)code;
}
