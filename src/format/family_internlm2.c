/* InternLM2 (Cai et al. 2024, "InternLM2 Technical Report"): Llama with q, k and v in one matrix, KV head by KV head,
 * and names of its own. Its GGUF form has them apart. */
#include "format/config_int.h"

const char *const internlm2_names[ROLE_COUNT] = {
    [ROLE_EMBEDDING] = "model.tok_embeddings",
    [ROLE_HEAD] = "output",
    [ROLE_ATTN_NORM] = "model.layers.%lld.attention_norm",
    [ROLE_FFN_NORM] = "model.layers.%lld.ffn_norm",
    [ROLE_QKV] = "model.layers.%lld.attention.wqkv",
    [ROLE_O] = "model.layers.%lld.attention.wo",
    [ROLE_GATE] = "model.layers.%lld.feed_forward.w1",
    [ROLE_UP] = "model.layers.%lld.feed_forward.w3",
    [ROLE_DOWN] = "model.layers.%lld.feed_forward.w2",
};

int internlm2_from_json(const json_t *j, struct model_config *c, sp_error *err)
{
    bool bias = true; /* the default of its configuration class */
    int code = config_bool(j, "bias", &bias, err);
    c->qkv_bias = c->o_bias = bias;
    return code;
}
