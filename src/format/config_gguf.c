/* Model configuration out of GGUF metadata: keys are "<architecture>.<name>" (ggml docs/gguf.md). */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "format/config.h"
#include "format/config_int.h"

struct keys {
    const gguf *g;
    char arch[32];
    sp_error *err;
};

static const char *key_of(const struct keys *k, const char *name, char out[96])
{
    snprintf(out, 96, "%s.%s", k->arch, name);
    return out;
}

/* A number for each layer stands for one when they are all the same. */
static int same_of_array(const gguf *g, const char *key, int64_t *out)
{
    enum gguf_type type;
    size_t n;
    int64_t first, other;
    if (gguf_array_len(g, key, &type, &n) < 0 || n == 0 || gguf_array_int(g, key, 0, &first) < 0)
        return SP_EFORMAT;
    for (size_t i = 1; i < n; i++)
        if (gguf_array_int(g, key, i, &other) < 0 || other != first)
            return SP_EFORMAT;
    *out = first;
    return 0;
}

/* Leaves *out alone when the key is missing. */
static int get_int(const struct keys *k, const char *name, int64_t *out)
{
    char key[96];
    int code = gguf_get_int(k->g, key_of(k, name, key), out);
    if (code == SP_ENOTFOUND)
        return 0;
    if (code < 0)
        code = same_of_array(k->g, key, out);
    return code < 0 ? sp_fail(k->err, SP_EFORMAT, "metadata %s is not one whole number", key) : 0;
}

static int need_int(const struct keys *k, const char *name, int64_t *out)
{
    char key[96];
    if (!gguf_has(k->g, key_of(k, name, key)))
        return sp_fail(k->err, SP_EFORMAT, "metadata %s is missing", key);
    return get_int(k, name, out);
}

static int get_float(const struct keys *k, const char *name, double *out)
{
    char key[96];
    int code = gguf_get_float(k->g, key_of(k, name, key), out);
    if (code == SP_ENOTFOUND)
        return 0;
    return code < 0 ? sp_fail(k->err, SP_EFORMAT, "metadata %s is no number", key) : 0;
}

static int find_arch(struct keys *k, const struct arch_info **out)
{
    str name;
    size_t n;
    char known[384];
    const struct arch_info *table = arch_table(&n);
    if (gguf_get_str(k->g, "general.architecture", &name) < 0)
        return sp_fail(k->err, SP_EFORMAT, "metadata general.architecture is missing");
    for (size_t i = 0; i < n; i++)
        if (table[i].gguf_name && str_eqz(name, table[i].gguf_name)) {
            *out = &table[i];
            snprintf(k->arch, sizeof k->arch, "%s", table[i].gguf_name);
            return 0;
        }
    return sp_fail(k->err, SP_EUNSUPPORTED,
                   "the architecture %.*s is unknown to Sampan: it runs %s",
                   (int)(name.n < 64 ? name.n : 64), name.p, arch_known(known, sizeof known));
}

/* llama.cpp's keys: yarn_attn_factor is the attention factor of transformers; attn_factor multiplies it, or, where it
 * is missing, YaRN's own 0.1 ln(factor) + 1. */
static int read_yarn(const struct keys *k, struct rope_config *rope)
{
    double times = 1, extrapolation = 1;
    rope->kind = ROPE_YARN;
    int code = get_float(k, "rope.scaling.yarn_attn_factor", &rope->attention_factor);
    if (code == 0)
        code = get_float(k, "rope.scaling.yarn_beta_fast", &rope->beta_fast);
    if (code == 0)
        code = get_float(k, "rope.scaling.yarn_beta_slow", &rope->beta_slow);
    if (code == 0)
        code = get_float(k, "rope.scaling.yarn_ext_factor", &extrapolation);
    if (code == 0 && extrapolation != 1)
        code = sp_fail(k->err, SP_EUNSUPPORTED,
                       "metadata rope.scaling.yarn_ext_factor is %g: Sampan does 1", extrapolation);
    if (code == 0)
        code = get_float(k, "rope.scaling.attn_factor", &times);
    if (code < 0 || times == 1)
        return code;
    if (rope->attention_factor <= 0)
        rope->attention_factor = rope->factor > 1 ? 0.1 * log(rope->factor) + 1 : 1;
    rope->attention_factor *= times;
    return 0;
}

static int read_factors(const struct keys *k, const char *name, int64_t pairs, float *out)
{
    const struct tensor_view *t = gguf_tensor_find(k->g, name);
    if (!t || t->n_dims != 1 || t->shape[0] != pairs || pairs > ROPE_PAIRS_MOST ||
        t->dtype != DT_F32)
        return sp_fail(k->err, SP_EFORMAT, "tensor %s: wanted shape [%lld] of F32", name,
                       (long long)pairs);
    dtype_to_f32(t->dtype, t->data, pairs, out);
    return 0;
}

/* LongRoPE's divisors are two tensors; attn_factor is what cos and sin are multiplied by. */
static int read_long(const struct keys *k, struct model_config *c)
{
    struct rope_config *r = &c->rope;
    r->kind = ROPE_LONG;
    r->pairs = c->rope_dim / 2;
    r->factor = fmax(1, (double)c->context / r->original_context);
    int code = read_factors(k, "rope_factors_short.weight", r->pairs, r->short_factor);
    if (code == 0)
        code = read_factors(k, "rope_factors_long.weight", r->pairs, r->long_factor);
    return code == 0 ? get_float(k, "rope.scaling.attn_factor", &r->attention_factor) : code;
}

/* A factor without a type is linear, as in llama.cpp; rope.scale_linear is its key in old files. */
static int read_rope_scaling(const struct keys *k, struct rope_config *r)
{
    char key[96];
    str kind;
    int code = get_float(k, "rope.scale_linear", &r->factor);
    if (code == 0)
        code = get_float(k, "rope.scaling.factor", &r->factor);
    if (code < 0)
        return code;
    if (r->factor == 0) /* so do some files say that there is none */
        r->factor = 1;
    if (gguf_get_str(k->g, key_of(k, "rope.scaling.type", key), &kind) < 0)
        kind = str_of("linear");
    if (str_eqz(kind, "yarn"))
        return read_yarn(k, r);
    if (str_eqz(kind, "linear"))
        r->kind = r->factor == 1 ? ROPE_PLAIN : ROPE_LINEAR;
    else if (!str_eqz(kind, "none"))
        return sp_fail(k->err, SP_EUNSUPPORTED,
                       "RoPE scaling of type %.*s is unknown to Sampan: it does linear and yarn, "
                       "and longrope where the file has its factors",
                       (int)(kind.n < 40 ? kind.n : 40), kind.p);
    return 0;
}

static int read_rope(const struct keys *k, struct model_config *c)
{
    c->rope = (struct rope_config){.theta = 10000,
                                   .factor = 1,
                                   .beta_fast = 32,
                                   .beta_slow = 1,
                                   .truncate = true,
                                   .low_freq_factor = 1,
                                   .high_freq_factor = 4,
                                   .original_context = (double)c->context};
    int code = get_float(k, "rope.freq_base", &c->rope.theta);
    if (code == 0)
        code = get_float(k, "rope.scaling.original_context_length", &c->rope.original_context);
    if (code < 0)
        return code;
    return gguf_tensor_find(k->g, "rope_factors_long.weight") ? read_long(k, c)
                                                              : read_rope_scaling(k, &c->rope);
}

static int read_sizes(const struct keys *k, struct model_config *c)
{
    const struct tensor_view *embedding = gguf_tensor_find(k->g, "token_embd.weight");
    if (!embedding || embedding->n_dims != 2)
        return sp_fail(k->err, SP_EFORMAT, "tensor token_embd.weight is missing or no matrix");
    c->vocab = embedding->shape[0];
    int code = need_int(k, "embedding_length", &c->hidden);
    if (code == 0)
        code = need_int(k, "block_count", &c->layers);
    if (code == 0)
        code = need_int(k, "attention.head_count", &c->heads);
    if (code == 0)
        code = need_int(k, "feed_forward_length", &c->ffn);
    if (code == 0)
        code = need_int(k, "context_length", &c->context);
    if (code == 0 && c->heads < 1)
        code = sp_fail(k->err, SP_EFORMAT, "metadata %s.attention.head_count is %lld", k->arch,
                       (long long)c->heads);
    if (code < 0)
        return code;
    c->kv_heads = c->heads;
    c->head_dim = c->hidden / c->heads;
    code = get_int(k, "attention.head_count_kv", &c->kv_heads);
    if (code == 0)
        code = get_int(k, "attention.key_length", &c->head_dim);
    c->rope_dim = c->head_dim;
    return code == 0 ? get_int(k, "rope.dimension_count", &c->rope_dim) : code;
}

/* Missing widths and the sum of weights as llama.cpp has them: it normalizes for qwen3moe only. */
static int read_moe(const struct keys *k, struct model_config *c)
{
    struct moe_config *m = &c->moe;
    const struct {
        const char *key;
        int64_t *at;
    } fields[] = {{"expert_count", &m->experts},
                  {"expert_used_count", &m->used},
                  {"expert_feed_forward_length", &m->ffn},
                  {"expert_shared_feed_forward_length", &m->shared}};
    int code = 0;
    if (!c->arch->moe)
        return 0;
    for (size_t i = 0; i < SP_COUNT(fields) && code == 0; i++)
        code = get_int(k, fields[i].key, fields[i].at);
    if (m->ffn == 0 && m->used > 0)
        m->ffn = c->ffn / m->used;
    if (m->shared == 0 && gguf_tensor_find(k->g, "blk.0.ffn_gate_shexp.weight"))
        m->shared = c->ffn;
    m->normalize = c->arch->qk_norm;
    return code;
}

/* The dtype that holds most bytes. */
static enum dtype common_dtype(const gguf *g)
{
    size_t bytes[DT_COUNT] = {0};
    enum dtype best = DT_F32;
    for (size_t i = 0; i < gguf_tensor_count(g); i++) {
        const struct tensor_view *t = gguf_tensor_at(g, i);
        if (t->n_dims > 1)
            bytes[t->dtype] += t->bytes;
        if (bytes[t->dtype] > bytes[best])
            best = t->dtype;
    }
    return best;
}

static void copy_text(const gguf *g, const char *key, char *out, size_t room)
{
    str s;
    if (gguf_get_str(g, key, &s) == 0 && utf8_valid(s.p, s.n))
        snprintf(out, room, "%.*s",
                 (int)(s.n < room - 1 ? utf8_complete(s.p, s.n) : utf8_complete(s.p, room - 1)),
                 s.p);
}

int config_from_gguf(const gguf *g, struct model_config *out, sp_error *err)
{
    struct keys k = {.g = g, .err = err};
    struct model_config *c = out;
    *c = (struct model_config){.rms_eps = 1e-6};
    int code = find_arch(&k, &c->arch);
    if (code == 0)
        code = read_sizes(&k, c);
    if (code == 0)
        code = get_float(&k, "attention.layer_norm_rms_epsilon", &c->rms_eps);
    if (code == 0)
        code = read_moe(&k, c);
    if (code == 0)
        code = read_rope(&k, c);
    if (code == 0)
        code = get_int(&k, "attention.sliding_window", &c->sliding_window);
    if (code == 0 && c->arch->from_gguf)
        code = c->arch->from_gguf(g, c, err);
    if (code < 0)
        return code;
    c->tied = gguf_tensor_find(g, "output.weight") == NULL;
    c->qkv_bias =
        gguf_tensor_find(g, "blk.0.attn_q.bias") || gguf_tensor_find(g, "blk.0.attn_qkv.bias");
    c->o_bias = gguf_tensor_find(g, "blk.0.attn_output.bias") != NULL;
    c->mlp_bias = gguf_tensor_find(g, "blk.0.ffn_gate.bias") != NULL;
    c->qk_norm = c->arch->qk_norm;
    c->dtype = common_dtype(g);
    copy_text(g, "general.name", c->name, sizeof c->name);
    copy_text(g, "general.license", c->license, sizeof c->license);
    return config_check(c, err);
}
