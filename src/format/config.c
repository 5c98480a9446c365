/* The architecture table and what all readers share. */
#include "format/config.h"

#include <stdio.h>
#include <string.h>
#include "format/config_int.h"

/* Where "gguf_name" repeats, the first row is the one a GGUF file means. */
static const struct arch_info archs[] = {
    {.name = "qwen2",
     .hf_class = {"Qwen2ForCausalLM"},
     .hf_type = "qwen2",
     .gguf_name = "qwen2",
     .window = WINDOW_WHEN_TOLD,
     .qkv_bias = true},
    {.name = "qwen2-moe",
     .hf_class = {"Qwen2MoeForCausalLM"},
     .hf_type = "qwen2_moe",
     .gguf_name = "qwen2moe",
     .window = WINDOW_WHEN_TOLD,
     .qkv_bias = true,
     .moe = true},
    {.name = "qwen3",
     .hf_class = {"Qwen3ForCausalLM"},
     .hf_type = "qwen3",
     .gguf_name = "qwen3",
     .window = WINDOW_WHEN_TOLD,
     .qk_norm = true},
    {.name = "qwen3-moe",
     .hf_class = {"Qwen3MoeForCausalLM"},
     .hf_type = "qwen3_moe",
     .gguf_name = "qwen3moe",
     .window = WINDOW_WHEN_TOLD,
     .qk_norm = true,
     .moe = true},
    {.name = "qwen",
     .hf_class = {"QWenLMHeadModel"},
     .hf_type = "qwen",
     .gguf_name = "qwen",
     .qkv_bias = true,
     .names = qwen_names,
     .from_json = qwen_from_json,
     .from_gguf = qwen_from_gguf},
    {.name = "llama",
     .hf_class = {"LlamaForCausalLM"},
     .hf_type = "llama",
     .gguf_name = "llama",
     .gguf_permuted = true},
    {.name = "mistral",
     .hf_class = {"MistralForCausalLM"},
     .hf_type = "mistral",
     .window = WINDOW_ALWAYS},
    {.name = "gemma3",
     .hf_class = {"Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"},
     .hf_type = "gemma3_text",
     .gguf_name = "gemma3",
     .qk_norm = true,
     .post_norms = true,
     .norm_plus_one = true,
     .activation = ACT_GELU_TANH,
     .names = gemma3_names,
     .defaults = gemma3_defaults,
     .from_json = gemma3_from_json,
     .from_gguf = gemma3_from_gguf},
    {.name = "phi3",
     .hf_class = {"Phi3ForCausalLM"},
     .hf_type = "phi3",
     .gguf_name = "phi3",
     .window = WINDOW_ALWAYS}, /* in GGUF files as well, though llama.cpp passes it over */
    {.name = "internlm2",
     .hf_class = {"InternLM2ForCausalLM"},
     .hf_type = "internlm2",
     .gguf_name = "internlm2",
     .gguf_permuted = true,
     .qkv_grouped = true,
     .names = internlm2_names,
     .from_json = internlm2_from_json},
    {.name = "smollm3",
     .hf_class = {"SmolLM3ForCausalLM"},
     .hf_type = "smollm3",
     .gguf_name = "smollm3",
     .gguf_permuted = true,
     .window = WINDOW_WHEN_TOLD,
     .defaults = smollm3_defaults,
     .from_json = smollm3_from_json,
     .from_gguf = smollm3_from_gguf},
};

void config_set_layer(uint8_t *bits, int64_t layer)
{
    bits[layer / 8] |= (uint8_t)(1 << (layer % 8));
}

int64_t config_window(const struct model_config *c, int64_t layer)
{
    return c->full[layer / 8] >> (layer % 8) & 1 ? 0 : c->sliding_window;
}

bool config_has_rope(const struct model_config *c, int64_t layer)
{
    return !(c->no_rope[layer / 8] >> (layer % 8) & 1);
}

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

static int check_rope(const struct model_config *c, const struct rope_config *r, sp_error *err)
{
    if (!(r->theta > 0 && r->theta < 1e12))
        return sp_fail(
            err, SP_EFORMAT,
            "the model's configuration says rope_theta = %g, expected between 0 and 1e12",
            r->theta);
    if (r->kind >= ROPE_YARN && !(r->original_context >= 2 && r->original_context <= 1 << 28))
        return sp_fail(
            err, SP_EFORMAT,
            "the model's configuration says a trained context of %g, expected at least 2",
            r->original_context);
    if (r->kind != ROPE_PLAIN && !(r->factor >= 1 && r->factor <= 1e4))
        return sp_fail(
            err, SP_EFORMAT,
            "the model's configuration says a RoPE factor of %g, expected from 1 to 10000",
            r->factor);
    if (!(r->attention_factor >= 0 && r->attention_factor <= 1e4))
        return sp_fail(err, SP_EFORMAT,
                       "the model's configuration says a RoPE attention factor of %g, expected "
                       "from 0 to 10000",
                       r->attention_factor);
    if (r->kind == ROPE_LONG && r->pairs != c->rope_dim / 2)
        return sp_fail(err, SP_EFORMAT,
                       "the model's configuration has %lld long RoPE factors, wanted %lld",
                       (long long)r->pairs, (long long)c->rope_dim / 2);
    return 0;
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
        {"rope.dimension_count", c->rope_dim, 2, c->head_dim},
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
    if (c->rope_dim % 2 != 0)
        return bad("rope.dimension_count", c->rope_dim, err);
    if (!(c->rms_eps > 0 && c->rms_eps < 1))
        return sp_fail(err, SP_EFORMAT,
                       "the model's configuration says rms_norm_eps = %g, expected between 0 and 1",
                       c->rms_eps);
    int code = check_rope(c, &c->rope, err);
    return code == 0 && c->rope_local.theta != 0 ? check_rope(c, &c->rope_local, err) : code;
}
