/* Every tensor is looked up once and its shape checked. What a file has beyond that is left alone. */
#include <stdio.h>
#include <string.h>
#include "model/bind_int.h"

int bind_missing(const struct binder *b, const char *name)
{
    return sp_fail(b->err, SP_EFORMAT,
                   "%.150s: tensor %s is missing: the file is no whole %s model",
                   checkpoint_path(b->m->ckpt), name, b->m->config.arch->name);
}

static int wrong_shape(const struct binder *b, const struct tensor_view *t, int64_t rows,
                       int64_t cols)
{
    char found[96], wanted[64];
    if (rows < 0)
        snprintf(wanted, sizeof wanted, "[%lld]", (long long)cols);
    else
        snprintf(wanted, sizeof wanted, "[%lld, %lld]", (long long)rows, (long long)cols);
    return sp_fail(
        b->err, SP_EFORMAT,
        "%.150s: tensor %s: wanted shape %s, found %s: the weights and their configuration do "
        "not belong together",
        checkpoint_path(b->m->ckpt), t->name, wanted, tensor_shape_text(t, found));
}

static bool is_weight_type(enum dtype t)
{
    return t == DT_F32 || t == DT_F16 || t == DT_BF16 || t >= DT_Q4_0;
}

/* A vector as float32, its rows put in our order by map. *out is the arena's. */
static int bind_vector(const struct binder *b, enum tensor_role role, int64_t layer, bool bias,
                       int64_t n, const int32_t *map, float **out)
{
    char name[128];
    tensor_name(b->gguf, role, layer, bias, name);
    const struct tensor_view *t = checkpoint_find(b->m->ckpt, name);
    if (!t)
        return bind_missing(b, name);
    if (t->n_dims != 1 || t->shape[0] != n)
        return wrong_shape(b, t, -1, n);
    if (t->dtype != DT_F32 && t->dtype != DT_F16 && t->dtype != DT_BF16)
        return sp_fail(b->err, SP_EUNSUPPORTED,
                       "tensor %s: a vector of type %s is not supported: F32, F16 and BF16 "
                       "are",
                       name, dtype_get(t->dtype)->name);
    float *v = arena_array(b->m->arena, (size_t)n, sizeof *v);
    float *tmp = map ? arena_array(b->m->arena, (size_t)n, sizeof *tmp) : v;
    if (!v || !tmp)
        return sp_fail(b->err, SP_ENOMEM, "out of memory for tensor %s", name);
    dtype_to_f32(t->dtype, t->data, n, tmp);
    for (int64_t i = 0; map && i < n; i++)
        v[i] = tmp[map[i]];
    *out = v;
    return 0;
}

static int check_matrix(const struct binder *b, const struct tensor_view *t, int64_t rows,
                        int64_t cols)
{
    size_t row_bytes;
    if (t->n_dims != 2 || t->shape[0] != rows || t->shape[1] != cols ||
        dtype_row_bytes(t->dtype, cols, &row_bytes) < 0 || t->bytes / row_bytes < (size_t)rows)
        return wrong_shape(b, t, rows, cols);
    if (!is_weight_type(t->dtype))
        return sp_fail(b->err, SP_EUNSUPPORTED,
                       "tensor %s: weights of type %s are not supported: use another form "
                       "of the model",
                       t->name, dtype_get(t->dtype)->name);
    return 0;
}

static int bind_matrix(const struct binder *b, enum tensor_role role, int64_t layer, int64_t rows,
                       int64_t cols, const struct tensor_view **out)
{
    char name[128];
    tensor_name(b->gguf, role, layer, false, name);
    *out = checkpoint_find(b->m->ckpt, name);
    return *out ? check_matrix(b, *out, rows, cols) : bind_missing(b, name);
}

int bind_view(const struct binder *b, const struct tensor_view *t, int64_t rows, int64_t cols,
              struct linear *l)
{
    int code = check_matrix(b, t, rows, cols);
    l->source = t;
    if (code == 0) {
        code = pack_plan(t->dtype, rows, cols, &l->w, b->err);
        if (code < 0)
            return sp_fail_within(b->err, code, "tensor %s", t->name);
    }
    return code;
}

int bind_linear(const struct binder *b, enum tensor_role role, int64_t layer, int64_t rows,
                int64_t cols, bool bias, const int32_t *map, struct linear *l)
{
    int code = bind_matrix(b, role, layer, rows, cols, &l->source);
    if (code == 0)
        code = bind_view(b, l->source, rows, cols, l);
    l->map = map;
    return code == 0 && bias ? bind_vector(b, role, layer, true, rows, map, &l->bias) : code;
}

/* Llama's GGUF files hold the rows of q and k for RoPE over adjacent pairs: row 2 i + j of a head there is
 * row j * head_dim / 2 + i here. */
static const int32_t *unpermute(const struct binder *b, int64_t heads)
{
    int64_t dim = b->m->config.head_dim, half = dim / 2;
    int32_t *map = arena_array(b->m->arena, (size_t)(heads * dim), sizeof *map);
    for (int64_t r = 0; map && r < heads * dim; r++) {
        int64_t in_head = r % dim;
        map[r] = (int32_t)(r - in_head + in_head % half * 2 + in_head / half);
    }
    return map;
}

struct maps {
    const int32_t *q, *k;
};

static int bind_attention(const struct binder *b, int64_t i, const struct maps *maps,
                          struct layer *l)
{
    const struct model_config *c = &b->m->config;
    int64_t q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    int code = bind_vector(b, ROLE_ATTN_NORM, i, false, c->hidden, NULL, &l->attn_norm);
    if (code == 0 && c->qk_norm)
        code = bind_vector(b, ROLE_Q_NORM, i, false, c->head_dim, NULL, &l->q_norm);
    if (code == 0 && c->qk_norm)
        code = bind_vector(b, ROLE_K_NORM, i, false, c->head_dim, NULL, &l->k_norm);
    if (code == 0)
        code = bind_linear(b, ROLE_Q, i, q, c->hidden, c->qkv_bias, maps->q, &l->q);
    if (code == 0)
        code = bind_linear(b, ROLE_K, i, kv, c->hidden, c->qkv_bias, maps->k, &l->k);
    if (code == 0)
        code = bind_linear(b, ROLE_V, i, kv, c->hidden, c->qkv_bias, NULL, &l->v);
    if (code == 0)
        code = bind_linear(b, ROLE_O, i, c->hidden, q, c->o_bias, NULL, &l->o);
    return code;
}

static int bind_layer(const struct binder *b, int64_t i, const struct maps *maps)
{
    const struct model_config *c = &b->m->config;
    struct layer *l = &b->m->layers[i];
    int code = bind_attention(b, i, maps, l);
    if (code == 0)
        code = bind_vector(b, ROLE_FFN_NORM, i, false, c->hidden, NULL, &l->ffn_norm);
    l->window = i >= c->sliding_from ? c->sliding_window : 0;
    if (code == 0 && config_is_moe(c, i))
        return bind_moe(b, i, &l->moe);
    if (code == 0)
        code = bind_linear(b, ROLE_GATE, i, c->ffn, c->hidden, c->mlp_bias, NULL, &l->gate);
    if (code == 0)
        code = bind_linear(b, ROLE_UP, i, c->ffn, c->hidden, c->mlp_bias, NULL, &l->up);
    if (code == 0)
        code = bind_linear(b, ROLE_DOWN, i, c->hidden, c->ffn, c->mlp_bias, NULL, &l->down);
    return code;
}

int bind_model(model *m, sp_error *err)
{
    struct binder b = {m, checkpoint_gguf(m->ckpt) != NULL, err};
    const struct model_config *c = &m->config;
    struct maps maps = {0};
    m->layers = arena_array(m->arena, (size_t)c->layers, sizeof *m->layers);
    if (!m->layers)
        return sp_fail(err, SP_ENOMEM, "out of memory for the model's layers");
    if (b.gguf && c->arch->gguf_permuted) {
        maps.q = unpermute(&b, c->heads);
        maps.k = unpermute(&b, c->kv_heads);
        if (!maps.q || !maps.k)
            return sp_fail(err, SP_ENOMEM, "out of memory for the model's layers");
    }
    int code = bind_matrix(&b, ROLE_EMBEDDING, 0, c->vocab, c->hidden, &m->embedding);
    if (code == 0)
        m->embedding_row_bytes = m->embedding->bytes / (size_t)c->vocab;
    if (code == 0)
        code = bind_vector(&b, ROLE_FINAL_NORM, 0, false, c->hidden, NULL, &m->final_norm);
    for (int64_t i = 0; code == 0 && i < c->layers; i++)
        code = bind_layer(&b, i, &maps);
    if (code == 0)
        code = bind_linear(&b, c->tied ? ROLE_EMBEDDING : ROLE_HEAD, 0, c->vocab, c->hidden, false,
                           NULL, &m->head);
    return code;
}

void bind_each(model *m, void (*visit)(void *arg, struct linear *l), void *arg)
{
    for (int64_t i = 0; i < m->config.layers; i++) {
        struct layer *l = &m->layers[i];
        struct linear *all[] = {&l->q, &l->k, &l->v, &l->o, &l->gate, &l->up, &l->down};
        for (size_t k = 0; k < SP_COUNT(all); k++)
            if (all[k]->source)
                visit(arg, all[k]);
        if (l->moe)
            bind_each_expert(l->moe, m->config.moe.experts, visit, arg);
    }
    visit(arg, &m->head);
}
