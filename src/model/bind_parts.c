/* Where q, k and v are, and gate and up: each a tensor, or all in one, and there in one of two orders; and the rows of
 * q and k that Llama's GGUF files hold in another order. */
#include "model/bind_int.h"

/* Row `r` of a head in a file for RoPE over adjacent pairs: there row 2 i + j is what row j * rope_dim / 2 + i is
 * here. */
static int64_t paired(int64_t r, int64_t rope_dim)
{
    int64_t half = rope_dim / 2;
    return r < rope_dim ? r % half * 2 + r / half : r;
}

/* What a map is made from. Head h of ours is head first + h / group * stride + h % group of the file. */
struct heads {
    int64_t n, first, group, stride;
    bool paired;
};

static int make_part(const struct binder *b, enum tensor_role role, int64_t of,
                     const struct heads *h, struct part *out)
{
    const struct model_config *c = &b->m->config;
    int64_t rows = h->n * c->head_dim;
    int32_t *map = arena_array(b->m->arena, (size_t)rows, sizeof *map);
    if (!map)
        return sp_fail(b->err, SP_ENOMEM, "out of memory for the model's layers");
    for (int64_t r = 0; r < rows; r++) {
        int64_t head = r / c->head_dim, in_head = r % c->head_dim;
        int64_t at = h->first + head / h->group * h->stride + head % h->group;
        map[r] = (int32_t)(at * c->head_dim + (h->paired ? paired(in_head, c->rope_dim) : in_head));
    }
    *out = (struct part){role, rows, of, map};
    return 0;
}

/* Each of its own tensor. */
static int separate_qkv(struct binder *b)
{
    const struct model_config *c = &b->m->config;
    int64_t q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    b->q = (struct part){ROLE_Q, q, q, NULL};
    b->k = (struct part){ROLE_K, kv, kv, NULL};
    b->v = (struct part){ROLE_V, kv, kv, NULL};
    if (!b->gguf || !c->arch->gguf_permuted)
        return 0;
    int code = make_part(b, ROLE_Q, q, &(struct heads){c->heads, 0, 1, 1, true}, &b->q);
    return code == 0 ? make_part(b, ROLE_K, kv, &(struct heads){c->kv_heads, 0, 1, 1, true}, &b->k)
                     : code;
}

/* One tensor: all of q, then k, then v; or, KV head by KV head, its queries, its k, its v. */
static int fused_qkv(struct binder *b)
{
    const struct model_config *c = &b->m->config;
    int64_t nq = c->heads, nkv = c->kv_heads, of = (nq + 2 * nkv) * c->head_dim;
    int64_t group = nq / nkv, stride = group + 2;
    bool grouped = c->arch->qkv_grouped && !b->gguf, pairs = c->arch->gguf_permuted && b->gguf;
    struct heads q = {nq, 0, 1, 1, pairs}, k = {nkv, nq, 1, 1, pairs},
                 v = {nkv, nq + nkv, 1, 1, false};
    if (grouped) {
        q = (struct heads){nq, 0, group, stride, false};
        k = (struct heads){nkv, group, 1, stride, false};
        v = (struct heads){nkv, group + 1, 1, stride, false};
    }
    int code = make_part(b, ROLE_QKV, of, &q, &b->q);
    if (code == 0)
        code = make_part(b, ROLE_QKV, of, &k, &b->k);
    return code == 0 ? make_part(b, ROLE_QKV, of, &v, &b->v) : code;
}

static int fused_gate_up(struct binder *b)
{
    int64_t ffn = b->m->config.ffn;
    int32_t *map = arena_array(b->m->arena, (size_t)(2 * ffn), sizeof *map);
    if (!map)
        return sp_fail(b->err, SP_ENOMEM, "out of memory for the model's layers");
    for (int64_t r = 0; r < 2 * ffn; r++)
        map[r] = (int32_t)r;
    b->gate = (struct part){ROLE_GATE_UP, ffn, 2 * ffn, map};
    b->up = (struct part){ROLE_GATE_UP, ffn, 2 * ffn, map + ffn};
    return 0;
}

int bind_parts(struct binder *b)
{
    char name[160];
    int64_t ffn = b->m->config.ffn;
    b->gate = (struct part){ROLE_GATE, ffn, ffn, NULL};
    b->up = (struct part){ROLE_UP, ffn, ffn, NULL};
    int code = bind_find(b, ROLE_QKV, 0, false, name) ? fused_qkv(b) : separate_qkv(b);
    const struct tensor_view *both = bind_find(b, ROLE_GATE_UP, 0, false, name);
    /* In GGUF both have the name that up has alone. */
    bool fused =
        both && (!b->gguf || both->shape[0] == 2 * ffn) && !bind_find(b, ROLE_GATE, 0, false, name);
    return code == 0 && fused ? fused_gate_up(b) : code;
}
