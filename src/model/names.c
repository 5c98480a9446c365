/* The names that most files have; a family's own stand in its row of the architecture table. */
#include <stdio.h>
#include "model/model_int.h"

static const struct {
    const char *in_hf, *in_gguf; /* %lld: the layer */
} names[ROLE_COUNT] = {
    [ROLE_EMBEDDING] = {"model.embed_tokens", "token_embd"},
    [ROLE_HEAD] = {"lm_head", "output"},
    [ROLE_FINAL_NORM] = {"model.norm", "output_norm"},
    [ROLE_ROPE_FREQS] = {"model.rope_freqs", "rope_freqs"},
    [ROLE_ATTN_NORM] = {"model.layers.%lld.input_layernorm", "blk.%lld.attn_norm"},
    [ROLE_ATTN_POST_NORM] = {"model.layers.%lld.post_attention_layernorm",
                             "blk.%lld.post_attention_norm"},
    [ROLE_FFN_POST_NORM] = {"model.layers.%lld.post_feedforward_layernorm",
                            "blk.%lld.post_ffw_norm"},
    [ROLE_FFN_NORM] = {"model.layers.%lld.post_attention_layernorm", "blk.%lld.ffn_norm"},
    [ROLE_Q_NORM] = {"model.layers.%lld.self_attn.q_norm", "blk.%lld.attn_q_norm"},
    [ROLE_K_NORM] = {"model.layers.%lld.self_attn.k_norm", "blk.%lld.attn_k_norm"},
    [ROLE_Q] = {"model.layers.%lld.self_attn.q_proj", "blk.%lld.attn_q"},
    [ROLE_K] = {"model.layers.%lld.self_attn.k_proj", "blk.%lld.attn_k"},
    [ROLE_V] = {"model.layers.%lld.self_attn.v_proj", "blk.%lld.attn_v"},
    [ROLE_QKV] = {"model.layers.%lld.self_attn.qkv_proj", "blk.%lld.attn_qkv"},
    [ROLE_O] = {"model.layers.%lld.self_attn.o_proj", "blk.%lld.attn_output"},
    [ROLE_GATE] = {"model.layers.%lld.mlp.gate_proj", "blk.%lld.ffn_gate"},
    [ROLE_UP] = {"model.layers.%lld.mlp.up_proj", "blk.%lld.ffn_up"},
    [ROLE_GATE_UP] = {"model.layers.%lld.mlp.gate_up_proj", "blk.%lld.ffn_up"},
    [ROLE_DOWN] = {"model.layers.%lld.mlp.down_proj", "blk.%lld.ffn_down"},
    [ROLE_ROUTER] = {"model.layers.%lld.mlp.gate", "blk.%lld.ffn_gate_inp"},
    [ROLE_EXPERTS_GATE] = {NULL, "blk.%lld.ffn_gate_exps"}, /* one tensor of three dimensions */
    [ROLE_EXPERTS_UP] = {NULL, "blk.%lld.ffn_up_exps"},
    [ROLE_EXPERTS_DOWN] = {NULL, "blk.%lld.ffn_down_exps"},
    [ROLE_SHARED_ROUTER] = {"model.layers.%lld.mlp.shared_expert_gate",
                            "blk.%lld.ffn_gate_inp_shexp"},
    [ROLE_SHARED_GATE] = {"model.layers.%lld.mlp.shared_expert.gate_proj",
                          "blk.%lld.ffn_gate_shexp"},
    [ROLE_SHARED_UP] = {"model.layers.%lld.mlp.shared_expert.up_proj", "blk.%lld.ffn_up_shexp"},
    [ROLE_SHARED_DOWN] = {"model.layers.%lld.mlp.shared_expert.down_proj",
                          "blk.%lld.ffn_down_shexp"},
};

/* The patterns are the tables' own; only a layer's number is put in. */
void tensor_name(const struct arch_info *a, bool is_gguf, enum tensor_role role, int64_t layer,
                 bool bias, char out[128])
{
    const char *own = a->names ? a->names[role] : NULL;
    const char *pattern = is_gguf ? names[role].in_gguf : own ? own : names[role].in_hf;
    size_t at = 0;
    for (const char *p = pattern; *p && at < 100; p++) {
        if (*p == '%') {
            at += (size_t)snprintf(out + at, 128 - at, "%lld", (long long)layer);
            p += 3;
        } else {
            out[at++] = *p;
        }
    }
    snprintf(out + at, 128 - at, "%s", bias ? ".bias" : ".weight");
}
