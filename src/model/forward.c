/* The ragged forward step. Rows of any mix of sequences go through the layers together; only attention
 * knows sequences, through their page tables. */
#include <assert.h>
#include <string.h>
#include "model/model_int.h"

/* Values of a piece of row-wise work: some 10 us, more than handing a piece out costs. */
#define PIECE_VALUES 16384

struct step {
    model *m;
    const struct model_batch *b;
    kv_pool *kv;
    const struct layer *layer;
    struct kv_layer layer_kv;
    int64_t layer_index;
    int64_t rows;             /* that still go on: see keep_wanted() */
    struct readers next;      /* whose activations the row work prepares; n = 0: nobody's */
    const float *post_weight; /* norm of s.out before it is added; NULL: none */
    const float *norm_weight;
    float *norm_out; /* [rows, hidden] */
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

/* ---- row-wise work ---- */

static bool all_finite(const float *x, int64_t n)
{
    uint32_t bad = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, x + i, sizeof u);
        bad |= (u & 0x7f800000) == 0x7f800000;
    }
    return !bad;
}

static void norm_row(const struct step *s, int64_t r)
{
    const model *m = s->m;
    int64_t n = m->config.hidden;
    m->ops->rmsnorm(m->s.x + r * n, s->norm_weight, (float)m->config.rms_eps, n,
                    s->norm_out + r * n);
}

static void multiply(float *x, float by, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] *= by;
}

static void embed_rows(void *arg, int worker, size_t begin, size_t end)
{
    const struct step *s = arg;
    model *m = s->m;
    int64_t n = m->config.hidden;
    (void)worker;
    for (int64_t r = (int64_t)begin; r < (int64_t)end; r++) {
        const uint8_t *row =
            m->embedding->data + (size_t)s->b->rows[r].token * m->embedding_row_bytes;
        float *x = m->s.x + r * n;
        dtype_to_f32(m->embedding->dtype, row, n, x);
        if (m->config.embedding_scale != 0)
            multiply(x, (float)m->config.embedding_scale, n);
        norm_row(s, r);
    }
    products_prepare(m, &s->next, (int64_t)begin, (int64_t)end);
}

/* x += out, or the norm of it, then norm. */
static void residual_rows(void *arg, int worker, size_t begin, size_t end)
{
    const struct step *s = arg;
    model *m = s->m;
    int64_t n = m->config.hidden;
    (void)worker;
    for (int64_t r = (int64_t)begin; r < (int64_t)end; r++) {
        float *out = m->s.out + r * n;
        if (s->post_weight)
            m->ops->rmsnorm(out, s->post_weight, (float)m->config.rms_eps, n, out);
        m->ops->add(m->s.x + r * n, out, n);
        if (!all_finite(m->s.x + r * n, n)) {
            int none = -1;
            atomic_compare_exchange_strong(&m->bad_layer, &none, (int)s->layer_index);
        }
        norm_row(s, r);
    }
    products_prepare(m, &s->next, (int64_t)begin, (int64_t)end);
}

static void head_norm(const model *m, float *x, int64_t heads, const float *weight)
{
    int64_t dim = m->config.head_dim;
    for (int64_t h = 0; weight && h < heads; h++)
        m->ops->rmsnorm(x + h * dim, weight, (float)m->config.rms_eps, dim, x + h * dim);
}

static void rotate(const struct step *s, float *x, int64_t heads, int64_t pos)
{
    int64_t dim = s->m->config.head_dim, half = s->m->config.rope_dim / 2;
    const struct rope_table *t = s->layer->rope;
    for (int64_t h = 0; t && h < heads; h++)
        s->m->ops->rope(x + h * dim, t->cos + pos * half, t->sin + pos * half, half);
}

/* QK-norm, RoPE, and K and V into their page. */
static void store_rows(void *arg, int worker, size_t begin, size_t end)
{
    const struct step *s = arg;
    model *m = s->m;
    const struct model_config *c = &m->config;
    int64_t nq = c->heads * c->head_dim, nkv = c->kv_heads * c->head_dim;
    (void)worker;
    for (int64_t r = (int64_t)begin; r < (int64_t)end; r++) {
        const struct model_row *row = &s->b->rows[r];
        float *q = m->s.q + r * nq, *k = m->s.k + r * nkv;
        head_norm(m, q, c->heads, s->layer->q_norm);
        head_norm(m, k, c->kv_heads, s->layer->k_norm);
        rotate(s, q, c->heads, row->pos);
        rotate(s, k, c->kv_heads, row->pos);
        float logn = rope_logn(c, row->pos);
        if (logn != 1)
            multiply(q, logn, nq);
        m->ops->kv_write(&s->layer_kv, s->b->seqs[row->seq].pages[row->pos / KV_PAGE],
                         row->pos % KV_PAGE, k, m->s.v + r * nkv);
    }
}

static void prepare_rows(void *arg, int worker, size_t begin, size_t end)
{
    const struct step *s = arg;
    (void)worker;
    products_prepare(s->m, &s->next, (int64_t)begin, (int64_t)end);
}

static void gate_rows(void *arg, int worker, size_t begin, size_t end)
{
    const struct step *s = arg;
    model *m = s->m;
    int64_t n = m->config.ffn;
    (void)worker;
    for (int64_t r = (int64_t)begin; r < (int64_t)end; r++)
        m->gate_mul(m->s.gate + r * n, m->s.up + r * n, n);
    products_prepare(m, &s->next, (int64_t)begin, (int64_t)end);
}

/* Runs fn over the rows, `width` values each; next reads what it leaves in `from`. */
static void row_work(struct step *s, pool_fn fn, int64_t width, const struct readers *next,
                     const float *from)
{
    int64_t grain = PIECE_VALUES / width;
    s->next = next ? *next : (struct readers){0};
    if (s->next.n)
        products_begin(s->m, &s->next, from);
    pool_run(s->m->opts.pool, (size_t)s->rows, (size_t)(grain < 1 ? 1 : grain), fn, s);
}

/* ---- the layers ---- */

/* Rows that want no logits have done their part once their K and V of the last layer are stored: the
 * others move up and go on alone. */
static void keep_wanted(struct step *s)
{
    const struct scratch *t = &s->m->s;
    const struct model_config *c = &s->m->config;
    size_t hidden = (size_t)c->hidden, nq = (size_t)(c->heads * c->head_dim), n = 0;
    for (size_t r = 0; r < (size_t)s->rows; r++) {
        if (!s->b->rows[r].want_logits)
            continue;
        if (n < r) {
            memcpy(t->x + n * hidden, t->x + r * hidden, hidden * sizeof(float));
            memcpy(t->q + n * nq, t->q + r * nq, nq * sizeof(float));
            t->pos[n] = t->pos[r];
            t->seq[n] = t->seq[r];
        }
        n++;
    }
    s->rows = (int64_t)n;
    attention_share(s->m, s->rows);
}

static void store_kv(struct step *s)
{
    model *m = s->m;
    const struct layer *l = s->layer;
    const struct model_config *c = &m->config;
    int64_t nq = c->heads * c->head_dim, nkv = c->kv_heads * c->head_dim;
    const struct product qkv[] = {product_of(&l->q, m->s.q), product_of(&l->k, m->s.k),
                                  product_of(&l->v, m->s.v)};
    products_run(m, qkv, 3, s->rows);
    row_work(s, store_rows, nq + nkv, NULL, NULL);
}

static void attention_block(struct step *s)
{
    model *m = s->m;
    const struct model_config *c = &m->config;
    const struct product o[] = {product_of(&s->layer->o, m->s.out)};
    attention_layer(&(struct attention_layer){m, s->b->seqs, s->layer_kv, s->layer->window});
    row_work(s, prepare_rows, c->heads * c->head_dim, &(struct readers){{&s->layer->o}, 1},
             m->s.norm);
    products_run(m, o, 1, s->rows);
}

static void ffn_block(struct step *s)
{
    model *m = s->m;
    const struct layer *l = s->layer;
    const struct model_config *c = &m->config;
    if (l->moe) {
        moe_block(m, l->moe, s->rows);
        return;
    }
    const struct product in[] = {product_of(&l->gate, m->s.gate), product_of(&l->up, m->s.up)};
    const struct product down[] = {product_of(&l->down, m->s.out)};
    products_run(m, in, 2, s->rows);
    row_work(s, gate_rows, c->ffn, &(struct readers){{&l->down}, 1}, m->s.gate);
    products_run(m, down, 1, s->rows);
}

/* The residual, or at first the embedding, goes into the norm that layer `next` begins with. */
static void enter_layer(struct step *s, pool_fn fn, int64_t next)
{
    model *m = s->m;
    if (next == m->config.layers) {
        s->norm_weight = m->final_norm;
        s->norm_out = m->s.wanted;
        row_work(s, fn, m->config.hidden, NULL, NULL);
        return;
    }
    const struct layer *l = &m->layers[next];
    s->norm_weight = l->attn_norm;
    s->norm_out = m->s.norm;
    row_work(s, fn, m->config.hidden, &(struct readers){{&l->q, &l->k, &l->v}, 3}, m->s.norm);
}

static void run_layers(struct step *s)
{
    model *m = s->m;
    enter_layer(s, embed_rows, 0);
    for (int64_t i = 0; i < m->config.layers; i++) {
        const struct layer *l = &m->layers[i];
        s->layer = l;
        s->layer_index = i;
        s->layer_kv = kv_pool_layer(s->kv, &m->config, i);
        store_kv(s);
        if (i == m->config.layers - 1)
            keep_wanted(s);
        if (s->rows == 0)
            return;
        attention_block(s);
        s->norm_weight = l->ffn_norm;
        s->post_weight = l->attn_post;
        struct readers into =
            l->moe ? moe_readers(l->moe) : (struct readers){{&l->gate, &l->up}, 2};
        row_work(s, residual_rows, m->config.hidden, &into, m->s.norm);
        ffn_block(s);
        s->post_weight = l->ffn_post;
        enter_layer(s, residual_rows, i + 1);
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
    atomic_store(&m->bad_layer, -1);
    for (int64_t r = 0; r < b->n_rows; r++) {
        m->s.pos[r] = b->rows[r].pos;
        m->s.seq[r] = b->rows[r].seq;
    }
    attention_share(m, s.rows);
    run_layers(&s);
    sp_alloc_guard_end();
    int bad = atomic_load(&m->bad_layer);
    if (bad >= 0)
        return sp_fail(err, SP_EINTERNAL,
                       "a hidden state of layer %d is not finite: the file may be damaged: check "
                       "its checksum",
                       bad);
    m->n_wanted = s.rows;
    return 0;
}

void model_logits(model *m, int64_t first, int64_t n, float *out)
{
    const struct readers readers = {{&m->head}, 1};
    const struct product head[] = {product_of(&m->head, out)};
    assert(first >= 0 && n >= 0 && n <= MODEL_LOGIT_ROWS && first + n <= m->n_wanted);
    sp_alloc_guard_begin();
    products_begin(m, &readers, m->s.wanted + first * m->config.hidden);
    products_prepare(m, &readers, 0, n);
    products_run(m, head, 1, n);
    sp_alloc_guard_end();
}
