/* The tensors of a block of experts. Hugging Face's files have three matrices for each expert, GGUF has three
 * tensors of [experts, rows, cols]. */
#include <stdio.h>
#include "model/bind_int.h"

/* Matrix `expert` of a tensor of three dimensions, as a view of its own. */
static int slice(const struct binder *b, const struct tensor_view *t, int64_t expert,
                 const struct tensor_view **out)
{
    int64_t experts = b->m->config.moe.experts;
    char found[96];
    if (t->n_dims != 3 || t->shape[0] != experts)
        return sp_fail(
            b->err, SP_EFORMAT,
            "tensor %s: found shape %s, wanted three dimensions of which the first is %lld",
            t->name, tensor_shape_text(t, found), (long long)experts);
    struct tensor_view *v = arena_array(b->m->arena, 1, sizeof *v);
    if (!v)
        return sp_fail(b->err, SP_ENOMEM, "out of memory for tensor %s", t->name);
    *v = *t;
    v->n_dims = 2;
    v->shape[0] = t->shape[1];
    v->shape[1] = t->shape[2];
    v->bytes = t->bytes / (size_t)experts;
    v->data = t->data + (size_t)expert * v->bytes;
    *out = v;
    return 0;
}

static int find_expert(const struct binder *b, enum tensor_role role, int64_t layer, int64_t expert,
                       const struct tensor_view **out)
{
    static const char *const in_hf[] = {[ROLE_EXPERTS_GATE] = "gate_proj",
                                        [ROLE_EXPERTS_UP] = "up_proj",
                                        [ROLE_EXPERTS_DOWN] = "down_proj"};
    char name[160];
    if (b->gguf) {
        *out = bind_find(b, role, layer, false, name);
    } else {
        snprintf(name, sizeof name, "model.layers.%lld.mlp.experts.%lld.%s.weight",
                 (long long)layer, (long long)expert, in_hf[role]);
        *out = checkpoint_find(b->m->ckpt, name);
    }
    if (!*out)
        return bind_missing(b, name);
    return b->gguf ? slice(b, *out, expert, out) : 0;
}

/* One kind of matrix for all experts: *out[experts]. */
static int bind_experts(const struct binder *b, enum tensor_role role, int64_t layer, int64_t rows,
                        int64_t cols, struct linear **out)
{
    int64_t n = b->m->config.moe.experts;
    struct linear *l = arena_array(b->m->arena, (size_t)n, sizeof *l);
    const struct tensor_view *t = NULL;
    if (!l)
        return sp_fail(b->err, SP_ENOMEM, "out of memory for the model's experts");
    for (int64_t e = 0; e < n; e++) {
        int code = find_expert(b, role, layer, e, &t);
        if (code == 0)
            code = bind_view(b, t, rows, cols, &l[e]);
        if (code < 0)
            return code;
        if (l[e].w.cls != l[0].w.cls)
            return sp_fail(b->err, SP_EUNSUPPORTED,
                           "tensor %s is of type %s and %s of type %s: experts of one layer must "
                           "have one type",
                           t->name, dtype_get(t->dtype)->name, l[0].source->name,
                           dtype_get(l[0].source->dtype)->name);
    }
    *out = l;
    return 0;
}

/* [1, hidden] in Hugging Face's files, [hidden] in GGUF. */
static int bind_shared_router(const struct binder *b, int64_t layer, struct linear *l)
{
    char name[160];
    const struct tensor_view *t = bind_find(b, ROLE_SHARED_ROUTER, layer, false, name);
    struct tensor_view *v = arena_array(b->m->arena, 1, sizeof *v);
    if (!t)
        return bind_missing(b, name);
    if (!v)
        return sp_fail(b->err, SP_ENOMEM, "out of memory for tensor %s", name);
    *v = *t;
    if (v->n_dims == 1) {
        v->n_dims = 2;
        v->shape[1] = v->shape[0];
        v->shape[0] = 1;
    }
    return bind_view(b, v, 1, b->m->config.hidden, l);
}

static int bind_shared(const struct binder *b, int64_t layer, struct moe *e)
{
    int64_t hidden = b->m->config.hidden, ffn = b->m->config.moe.shared;
    int code = bind_shared_router(b, layer, &e->shared_router);
    if (code == 0)
        code = bind_linear(b, ROLE_SHARED_GATE, layer, ffn, hidden, false, &e->shared_gate);
    if (code == 0)
        code = bind_linear(b, ROLE_SHARED_UP, layer, ffn, hidden, false, &e->shared_up);
    if (code == 0)
        code = bind_linear(b, ROLE_SHARED_DOWN, layer, hidden, ffn, false, &e->shared_down);
    return code;
}

int bind_moe(const struct binder *b, int64_t layer, struct moe **out)
{
    const struct moe_config *c = &b->m->config.moe;
    int64_t hidden = b->m->config.hidden;
    struct moe *e = arena_array(b->m->arena, 1, sizeof *e);
    if (!e)
        return sp_fail(b->err, SP_ENOMEM, "out of memory for the model's experts");
    int code = bind_linear(b, ROLE_ROUTER, layer, c->experts, hidden, false, &e->router);
    if (code == 0)
        code = bind_experts(b, ROLE_EXPERTS_GATE, layer, c->ffn, hidden, &e->gate);
    if (code == 0)
        code = bind_experts(b, ROLE_EXPERTS_UP, layer, c->ffn, hidden, &e->up);
    if (code == 0)
        code = bind_experts(b, ROLE_EXPERTS_DOWN, layer, hidden, c->ffn, &e->down);
    if (code == 0 && c->shared)
        code = bind_shared(b, layer, e);
    *out = e;
    return code;
}

void bind_each_expert(struct moe *e, int64_t experts, void (*visit)(void *arg, struct linear *l),
                      void *arg)
{
    struct linear *shared[] = {&e->shared_router, &e->shared_gate, &e->shared_up, &e->shared_down};
    visit(arg, &e->router);
    for (int64_t i = 0; i < experts; i++) {
        visit(arg, &e->gate[i]);
        visit(arg, &e->up[i]);
        visit(arg, &e->down[i]);
    }
    for (size_t i = 0; e->shared_gate.source && i < SP_COUNT(shared); i++)
        visit(arg, shared[i]);
}
