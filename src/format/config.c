/* The architecture table and what all readers share. */
#include "format/config.h"

#include <stdio.h>
#include <string.h>
#include "format/config_int.h"

/* Where "gguf_name" repeats, the first row is the one a GGUF file means. */
static const struct arch_info archs[] = {
    {"qwen2", "Qwen2ForCausalLM", "qwen2", "qwen2", .qkv_bias = true},
    {"qwen2-moe", "Qwen2MoeForCausalLM", "qwen2_moe", "qwen2moe", .qkv_bias = true, .moe = true},
    {"qwen3", "Qwen3ForCausalLM", "qwen3", "qwen3", .qk_norm = true},
    {"qwen3-moe", "Qwen3MoeForCausalLM", "qwen3_moe", "qwen3moe", .qk_norm = true, .moe = true},
    {"llama", "LlamaForCausalLM", "llama", "llama", .gguf_permuted = true},
    {.name = "mistral", .hf_class = "MistralForCausalLM", .hf_type = "mistral"},
};

bool config_is_moe(const struct model_config *c, int64_t layer)
{
    return c->moe.experts > 0 && !(c->moe.dense[layer / 8] >> (layer % 8) & 1);
}

const struct arch_info *arch_table(size_t *n)
{
    *n = SP_COUNT(archs);
    return archs;
}

const char *arch_known(char *out, size_t n)
{
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < SP_COUNT(archs) && at < n; i++)
        at += (size_t)snprintf(out + at, n - at, "%s%s", i ? ", " : "", archs[i].name);
    return out;
}

static int bad(const char *name, int64_t value, sp_error *err)
{
    return sp_fail(err, SP_EFORMAT,
                   "the model's configuration says %s = %lld, which is outside of what can be",
                   name, (long long)value);
}

int config_check(const struct model_config *c, sp_error *err)
{
    const struct {
        const char *name;
        int64_t value, min, max;
    } limits[] = {
        {"vocab_size", c->vocab, 1, 1 << 24},
        {"hidden_size", c->hidden, 1, 1 << 17},
        {"num_hidden_layers", c->layers, 1, CONFIG_LAYERS_MOST},
        {"num_attention_heads", c->heads, 1, 4096},
        {"num_key_value_heads", c->kv_heads, 1, c->heads},
        {"head_dim", c->head_dim, 2, 1024},
        {"intermediate_size", c->ffn, 1, 1 << 20},
        {"max_position_embeddings", c->context, 1, 1 << 28},
        {"sliding_window", c->sliding_window, 0, 1 << 28},
        {"max_window_layers", c->sliding_from, 0, 1024},
        {"num_experts", c->moe.experts, c->arch->moe, 1024},
        {"num_experts_per_tok", c->moe.used, c->arch->moe,
         c->moe.experts < CONFIG_EXPERTS_USED_MOST ? c->moe.experts : CONFIG_EXPERTS_USED_MOST},
        {"moe_intermediate_size", c->moe.ffn, c->arch->moe, 1 << 20},
        {"shared_expert_intermediate_size", c->moe.shared, 0, 1 << 20},
    };
    for (size_t i = 0; i < SP_COUNT(limits); i++)
        if (limits[i].value < limits[i].min || limits[i].value > limits[i].max)
            return bad(limits[i].name, limits[i].value, err);
    if (c->heads % c->kv_heads != 0)
        return sp_fail(err, SP_EFORMAT,
                       "the model's configuration has %lld attention heads, not a multiple of its "
                       "%lld KV heads",
                       (long long)c->heads, (long long)c->kv_heads);
    if (c->head_dim % 2 != 0)
        return bad("head_dim", c->head_dim, err);
    if (!(c->rms_eps > 0 && c->rms_eps < 1))
        return sp_fail(err, SP_EFORMAT,
                       "the model's configuration says rms_norm_eps = %g, expected between 0 and 1",
                       c->rms_eps);
    if (!(c->rope.theta > 0 && c->rope.theta < 1e12))
        return sp_fail(
            err, SP_EFORMAT,
            "the model's configuration says rope_theta = %g, expected between 0 and 1e12",
            c->rope.theta);
    if (c->rope.kind != ROPE_PLAIN && !(c->rope.factor >= 1 && c->rope.factor <= 1e4))
        return sp_fail(
            err, SP_EFORMAT,
            "the model's configuration says a RoPE factor of %g, expected from 1 to 10000",
            c->rope.factor);
    return 0;
}
