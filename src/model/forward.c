/* The ragged forward step. Rows of any mix of sequences go through the layers together; only attention
 * knows sequences, through their page tables. */
#include <math.h>
#include <string.h>
#include "model/model_int.h"

#define ATTENTION_ROWS 16 /* rows of one attention item */
#define ROW_GRAIN 8 /* rows of a piece of row-wise work; fewer rows are done by the caller alone */

struct step {
    model *m;
    const struct model_batch *b;
    kv_pool *kv;
    const struct layer *layer;
    struct kv_layer layer_kv;
    int64_t layer_index, n_items;
    struct readers next; /* whose activations the row work prepares; n = 0: nobody's */
    const float *norm_weight;
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

static int check_pages(const struct model_batch *b, const kv_pool *kv, sp_error *err)
{
    for (int32_t s = 0; s < b->n_seqs; s++)
        for (int32_t p = 0; p < b->seqs[s].n_pages; p++)
            if (b->seqs[s].pages[p] < 0 || b->seqs[s].pages[p] >= kv->pages)
                return sp_fail(err, SP_EINVAL, "sequence %d: page %d is not in the pool", s,
                               b->seqs[s].pages[p]);
    return 0;
}

static int check_batch(const model *m, const struct model_batch *b, const kv_pool *kv,
                       sp_error *err)
{
    if (b->n_rows < 1 || b->n_rows > m->opts.max_rows)
        return sp_fail(err, SP_EINVAL, "a step of %lld rows: from 1 to %lld are possible",
                       (long long)b->n_rows, (long long)m->opts.max_rows);
    int code = check_pages(b, kv, err);
    for (int64_t i = 0; i < b->n_rows && code == 0; i++)
        code = check_row(m, b, i, err);
    return code;
}

/* Adjacent rows of one sequence in blocks, one item for each KV head. */
static int64_t make_items(model *m, const struct model_batch *b)
{
    int64_t n = 0, first = 0;
    while (first < b->n_rows) {
        int64_t rows = 1;
        while (first + rows < b->n_rows && rows < ATTENTION_ROWS &&
               b->rows[first + rows].seq == b->rows[first].seq)
            rows++;
        for (int h = 0; h < (int)m->config.kv_heads; h++)
            m->s.items[n++] = (struct attention_item){first, rows, b->rows[first].seq, h};
        first += rows;
    }
    return n;
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

/* Norm of the residual into s.norm, in the form that the next product reads. */
static void norm_row(const struct step *s, int64_t r)
{
    model *m = s->m;
    int64_t n = m->config.hidden;
    m->ops->rmsnorm(m->s.x + r * n, s->norm_weight, (float)m->config.rms_eps, n, m->s.norm + r * n);
}

static void embed_rows(void *arg, int worker, size_t begin, size_t end)
{
    const struct step *s = arg;
    model *m = s->m;
    int64_t n = m->config.hidden;
    size_t row_bytes = m->embedding->bytes / (size_t)m->config.vocab;
    (void)worker;
    for (int64_t r = (int64_t)begin; r < (int64_t)end; r++) {
        dtype_to_f32(m->embedding->dtype,
                     m->embedding->data + (size_t)s->b->rows[r].token * row_bytes, n,
                     m->s.x + r * n);
        norm_row(s, r);
    }
    products_prepare(m, &s->next, (int64_t)begin, (int64_t)end);
}

/* x += out, then norm. */
static void residual_rows(void *arg, int worker, size_t begin, size_t end)
{
    const struct step *s = arg;
    model *m = s->m;
    int64_t n = m->config.hidden;
    (void)worker;
    for (int64_t r = (int64_t)begin; r < (int64_t)end; r++) {
        m->ops->add(m->s.x + r * n, m->s.out + r * n, n);
        if (!all_finite(m->s.x + r * n, n)) {
            int none = -1;
            atomic_compare_exchange_strong(&m->bad_layer, &none, (int)s->layer_index);
        }
        if (s->next.n)
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

static void rotate(const model *m, float *x, int64_t heads, int64_t pos)
{
    int64_t dim = m->config.head_dim, half = dim / 2;
    for (int64_t h = 0; h < heads; h++)
        m->ops->rope(x + h * dim, m->rope_cos + pos * half, m->rope_sin + pos * half, half);
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
        rotate(m, q, c->heads, row->pos);
        rotate(m, k, c->kv_heads, row->pos);
        m->ops->kv_write(&s->layer_kv, s->b->seqs[row->seq].pages[row->pos / KV_PAGE],
                         row->pos % KV_PAGE, k, m->s.v + r * nkv);
    }
}

static void attend(void *arg, int worker, size_t begin, size_t end)
{
    const struct step *s = arg;
    model *m = s->m;
    const struct model_config *c = &m->config;
    int64_t group = c->heads / c->kv_heads, nq = c->heads * c->head_dim;
    for (size_t i = begin; i < end; i++) {
        const struct attention_item *it = &m->s.items[i];
        int64_t at = it->first * nq + it->kv_head * group * c->head_dim;
        struct attention_args a = {
            .kv = &s->layer_kv,
            .pages = s->b->seqs[it->seq].pages,
            .pos = m->s.pos + it->first,
            .q = m->s.q + at,
            .ldq = nq,
            .out = m->s.norm + at,
            .ldo = nq,
            .rows = it->rows,
            .kv_head = it->kv_head,
            .group = (int)group,
            .scale = 1.0f / sqrtf((float)c->head_dim),
            .window = s->layer->window,
            .scratch = (float *)(void *)(m->s.worker + (size_t)worker * m->s.worker_bytes)};
        m->ops->attention(&a);
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
    for (int64_t r = (int64_t)begin; r < (int64_t)end; r++) {
        m->ops->silu_mul(m->s.gate + r * n, m->s.up + r * n, n);
        memcpy(m->s.norm + r * n, m->s.gate + r * n, (size_t)n * sizeof(float));
    }
    products_prepare(m, &s->next, (int64_t)begin, (int64_t)end);
}

static void row_work(struct step *s, pool_fn fn, const struct readers *next)
{
    s->next = next ? *next : (struct readers){0};
    if (s->next.n)
        products_begin(s->m, &s->next);
    pool_run(s->m->opts.pool, (size_t)s->b->n_rows, ROW_GRAIN, fn, s);
}

/* ---- the layers ---- */

static void attention_block(struct step *s)
{
    model *m = s->m;
    const struct layer *l = s->layer;
    const struct model_config *c = &m->config;
    int64_t rows = s->b->n_rows, nq = c->heads * c->head_dim, nkv = c->kv_heads * c->head_dim;
    const struct product qkv[] = {{&l->q, m->s.q, nq}, {&l->k, m->s.k, nkv}, {&l->v, m->s.v, nkv}};
    const struct product o[] = {{&l->o, m->s.out, c->hidden}};
    products_run(m, qkv, 3, rows);
    row_work(s, store_rows, NULL);
    pool_run(m->opts.pool, (size_t)s->n_items, 1, attend, s);
    row_work(s, prepare_rows, &(struct readers){{&l->o}, 1});
    products_run(m, o, 1, rows);
}

static void ffn_block(struct step *s)
{
    model *m = s->m;
    const struct layer *l = s->layer;
    const struct model_config *c = &m->config;
    const struct product in[] = {{&l->gate, m->s.gate, c->ffn}, {&l->up, m->s.up, c->ffn}};
    const struct product down[] = {{&l->down, m->s.out, c->hidden}};
    products_run(m, in, 2, s->b->n_rows);
    row_work(s, gate_rows, &(struct readers){{&l->down}, 1});
    products_run(m, down, 1, s->b->n_rows);
}

static struct readers attention_readers(const struct layer *l)
{
    return (struct readers){{&l->q, &l->k, &l->v}, 3};
}

static void run_layers(struct step *s)
{
    model *m = s->m;
    struct readers readers = attention_readers(&m->layers[0]);
    s->norm_weight = m->layers[0].attn_norm;
    row_work(s, embed_rows, &readers);
    for (int64_t i = 0; i < m->config.layers; i++) {
        const struct layer *next = i + 1 < m->config.layers ? &m->layers[i + 1] : NULL;
        s->layer = &m->layers[i];
        s->layer_index = i;
        s->layer_kv = kv_pool_layer(s->kv, &m->config, i);
        attention_block(s);
        s->norm_weight = s->layer->ffn_norm;
        readers = (struct readers){{&s->layer->gate, &s->layer->up}, 2};
        row_work(s, residual_rows, &readers);
        ffn_block(s);
        s->norm_weight = next ? next->attn_norm : NULL;
        readers = next ? attention_readers(next) : (struct readers){0};
        row_work(s, residual_rows, &readers);
    }
}

static void keep_wanted(struct step *s)
{
    model *m = s->m;
    int64_t n = m->config.hidden;
    m->n_wanted = 0;
    for (int64_t r = 0; r < s->b->n_rows; r++)
        if (s->b->rows[r].want_logits)
            m->ops->rmsnorm(m->s.x + r * n, m->final_norm, (float)m->config.rms_eps, n,
                            m->s.wanted + m->n_wanted++ * n);
}

int model_forward(model *m, const struct model_batch *b, kv_pool *kv, sp_error *err)
{
    struct step s = {.m = m, .b = b, .kv = kv};
    int code = check_batch(m, b, kv, err);
    if (code < 0)
        return code;
    sp_alloc_guard_begin();
    atomic_store(&m->bad_layer, -1);
    for (int64_t r = 0; r < b->n_rows; r++)
        m->s.pos[r] = b->rows[r].pos;
    s.n_items = make_items(m, b);
    run_layers(&s);
    keep_wanted(&s);
    sp_alloc_guard_end();
    int bad = atomic_load(&m->bad_layer);
    if (bad >= 0)
        return sp_fail(err, SP_EINTERNAL,
                       "a hidden state of layer %d is not finite: the file may be damaged", bad);
    return 0;
}

void model_logits(model *m, int64_t first, int64_t n, float *out)
{
    int64_t hidden = m->config.hidden;
    const struct product head[] = {{&m->head, out, m->config.vocab}};
    sp_alloc_guard_begin();
    memcpy(m->s.norm, m->s.wanted + first * hidden, (size_t)(n * hidden) * sizeof(float));
    const struct readers readers = {{&m->head}, 1};
    products_begin(m, &readers);
    products_prepare(m, &readers, 0, n);
    products_run(m, head, 1, n);
    sp_alloc_guard_end();
}
