/* Every tensor is looked up once and its shape checked. What a file has beyond that is left alone. */
#include <stdio.h>
#include <string.h>
#include "model/bind_int.h"

/* A model that also sees has its text model under language_model (transformers 4) or model.language_model (5). */
static const char *const prefixes[] = {"", "language_model.", "model.language_model."};

const struct tensor_view *bind_find(const struct binder *b, enum tensor_role role, int64_t layer,
                                    bool bias, char name[160])
{
    char plain[128];
    tensor_name(b->m->config.arch, b->gguf, role, layer, bias, plain);
    bool replaces = b->prefix == prefixes[2] && strncmp(plain, "model.", 6) == 0;
    snprintf(name, 160, "%s%s", b->prefix, plain + (replaces ? 6 : 0));
    return checkpoint_find(b->m->ckpt, name);
}

static void find_prefix(struct binder *b)
{
    char name[160];
    for (size_t i = 0; i < SP_COUNT(prefixes); i++) {
        b->prefix = prefixes[i];
        if (bind_find(b, ROLE_EMBEDDING, 0, false, name))
            return;
    }
    b->prefix = prefixes[0];
}

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

/* A vector as float32, its values put in our order. out->host is the arena's. */
static int read_vector(const struct binder *b, const struct tensor_view *t, const struct part *p,
                       struct vector *out)
{
    if (t->n_dims != 1 || t->shape[0] != p->of)
        return wrong_shape(b, t, -1, p->of);
    if (t->dtype != DT_F32 && t->dtype != DT_F16 && t->dtype != DT_BF16)
        return sp_fail(b->err, SP_EUNSUPPORTED,
                       "tensor %s: a vector of type %s is not supported: F32, F16 and BF16 "
                       "are",
                       t->name, dtype_get(t->dtype)->name);
    float *v = arena_array(b->m->arena, (size_t)p->rows, sizeof *v);
    float *tmp = p->map ? arena_array(b->m->arena, (size_t)p->of, sizeof *tmp) : v;
    if (!v || !tmp)
        return sp_fail(b->err, SP_ENOMEM, "out of memory for tensor %s", t->name);
    dtype_to_f32(t->dtype, t->data, p->of, tmp);
    for (int64_t i = 0; p->map && i < p->rows; i++)
        v[i] = tmp[p->map[i]];
    *out = (struct vector){.host = v, .n = p->rows};
    return 0;
}

static int bind_vector(const struct binder *b, const struct part *p, int64_t layer, bool bias,
                       struct vector *out)
{
    char name[160];
    const struct tensor_view *t = bind_find(b, p->role, layer, bias, name);
    return t ? read_vector(b, t, p, out) : bind_missing(b, name);
}

static int bind_norm(const struct binder *b, enum tensor_role role, int64_t layer, int64_t n,
                     struct vector *out)
{
    int code = bind_vector(b, &(struct part){role, n, n, NULL}, layer, false, out);
    bool less_by_one = b->m->config.arch->norm_plus_one && !b->gguf;
    for (int64_t i = 0; code == 0 && less_by_one && i < n; i++)
        out->host[i] += 1;
    return code;
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

static int bind_matrix(const struct binder *b, enum tensor_role role, int64_t rows, int64_t cols,
                       const struct tensor_view **out)
{
    char name[160];
    *out = bind_find(b, role, 0, false, name);
    return *out ? check_matrix(b, *out, rows, cols) : bind_missing(b, name);
}

static int plan(const struct binder *b, const struct tensor_view *t, int64_t rows, int64_t cols,
                struct linear *l)
{
    l->source = t;
    int code = pack_plan(t->dtype, rows, cols, &l->w, b->err);
    return code < 0 ? sp_fail_within(b->err, code, "tensor %s", t->name) : 0;
}

int bind_view(const struct binder *b, const struct tensor_view *t, int64_t rows, int64_t cols,
              struct linear *l)
{
    int code = check_matrix(b, t, rows, cols);
    return code == 0 ? plan(b, t, rows, cols, l) : code;
}

static int bind_part(const struct binder *b, const struct part *p, int64_t layer, int64_t cols,
                     bool bias, struct linear *l)
{
    char name[160];
    const struct tensor_view *t = bind_find(b, p->role, layer, false, name);
    int code = t ? check_matrix(b, t, p->of, cols) : bind_missing(b, name);
    if (code == 0)
        code = plan(b, t, p->rows, cols, l);
    l->map = p->map;
    return code == 0 && bias ? bind_vector(b, p, layer, true, &l->bias) : code;
}

int bind_linear(const struct binder *b, enum tensor_role role, int64_t layer, int64_t rows,
                int64_t cols, bool bias, struct linear *l)
{
    return bind_part(b, &(struct part){role, rows, rows, NULL}, layer, cols, bias, l);
}

static int bind_attention(const struct binder *b, int64_t i, struct layer *l)
{
    const struct model_config *c = &b->m->config;
    int code = bind_norm(b, ROLE_ATTN_NORM, i, c->hidden, &l->attn_norm);
    if (code == 0 && c->qk_norm)
        code = bind_norm(b, ROLE_Q_NORM, i, c->head_dim, &l->q_norm);
    if (code == 0 && c->qk_norm)
        code = bind_norm(b, ROLE_K_NORM, i, c->head_dim, &l->k_norm);
    if (code == 0)
        code = bind_part(b, &b->q, i, c->hidden, c->qkv_bias, &l->q);
    if (code == 0)
        code = bind_part(b, &b->k, i, c->hidden, c->qkv_bias, &l->k);
    if (code == 0)
        code = bind_part(b, &b->v, i, c->hidden, c->qkv_bias, &l->v);
    if (code == 0)
        code = bind_linear(b, ROLE_O, i, c->hidden, c->heads * c->head_dim, c->o_bias, &l->o);
    if (code == 0 && c->arch->post_norms)
        code = bind_norm(b, ROLE_ATTN_POST_NORM, i, c->hidden, &l->attn_post);
    return code;
}

static int bind_layer(const struct binder *b, int64_t i)
{
    const struct model_config *c = &b->m->config;
    struct layer *l = &b->m->layers[i];
    int code = bind_attention(b, i, l);
    if (code == 0)
        code = bind_norm(b, ROLE_FFN_NORM, i, c->hidden, &l->ffn_norm);
    if (code == 0 && c->arch->post_norms)
        code = bind_norm(b, ROLE_FFN_POST_NORM, i, c->hidden, &l->ffn_post);
    l->window = config_window(c, i);
    if (code == 0 && config_is_moe(c, i))
        return bind_moe(b, i, &l->moe);
    if (code == 0)
        code = bind_part(b, &b->gate, i, c->hidden, c->mlp_bias, &l->gate);
    if (code == 0)
        code = bind_part(b, &b->up, i, c->hidden, c->mlp_bias, &l->up);
    if (code == 0)
        code = bind_linear(b, ROLE_DOWN, i, c->hidden, c->ffn, c->mlp_bias, &l->down);
    return code;
}

int bind_model(model *m, sp_error *err)
{
    struct binder b = {.m = m, .gguf = checkpoint_gguf(m->ckpt) != NULL, .err = err};
    const struct model_config *c = &m->config;
    m->layers = arena_array(m->arena, (size_t)c->layers, sizeof *m->layers);
    if (!m->layers)
        return sp_fail(err, SP_ENOMEM, "out of memory for the model's layers");
    find_prefix(&b);
    int code = bind_matrix(&b, ROLE_EMBEDDING, c->vocab, c->hidden, &m->embedding);
    if (code == 0)
        m->embedding_row_bytes = m->embedding->bytes / (size_t)c->vocab;
    if (code == 0)
        code = bind_norm(&b, ROLE_FINAL_NORM, 0, c->hidden, &m->final_norm);
    if (code == 0)
        code = bind_parts(&b);
    for (int64_t i = 0; code == 0 && i < c->layers; i++)
        code = bind_layer(&b, i);
    if (code == 0)
        code = bind_linear(&b, c->tied ? ROLE_EMBEDDING : ROLE_HEAD, 0, c->vocab, c->hidden, false,
                           &m->head);
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

static void visit_present(void (*visit)(void *arg, struct vector *v), void *arg, struct vector *v)
{
    if (v->n)
        visit(arg, v);
}

void bind_each_vector(model *m, void (*visit)(void *arg, struct vector *v), void *arg)
{
    for (int64_t i = 0; i < m->config.layers; i++) {
        struct layer *l = &m->layers[i];
        struct vector *all[] = {&l->attn_norm, &l->ffn_norm, &l->attn_post, &l->ffn_post,
                                &l->q_norm,    &l->k_norm,   &l->q.bias,    &l->k.bias,
                                &l->v.bias,    &l->o.bias,   &l->gate.bias, &l->up.bias,
                                &l->down.bias};
        for (size_t k = 0; k < SP_COUNT(all); k++)
            visit_present(visit, arg, all[k]);
    }
    visit_present(visit, arg, &m->final_norm);
}
