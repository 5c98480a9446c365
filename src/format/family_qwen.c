/* The original Qwen (Bai et al. 2023, "Qwen Technical Report", section 2.3): q, k and v in one matrix with a bias; gate
 * and up each have half of intermediate_size; beyond the trained length RoPE's base grows in steps and queries are
 * multiplied by log n. GGUF files tell nothing of the last two, and llama.cpp does neither. */
#include "format/config_int.h"

const char *const qwen_names[ROLE_COUNT] = {
    [ROLE_EMBEDDING] = "transformer.wte",          [ROLE_FINAL_NORM] = "transformer.ln_f",
    [ROLE_ATTN_NORM] = "transformer.h.%lld.ln_1",  [ROLE_FFN_NORM] = "transformer.h.%lld.ln_2",
    [ROLE_QKV] = "transformer.h.%lld.attn.c_attn", [ROLE_O] = "transformer.h.%lld.attn.c_proj",
    [ROLE_GATE] = "transformer.h.%lld.mlp.w2", /* w1(x) * silu(w2(x)) */
    [ROLE_UP] = "transformer.h.%lld.mlp.w1",       [ROLE_DOWN] = "transformer.h.%lld.mlp.c_proj",
};

int qwen_from_json(const json_t *j, struct model_config *c, sp_error *err)
{
    bool ntk = true, logn = true, no_bias = true;
    int64_t trained = c->context;
    double part = 1;
    int code = config_int(j, "seq_length", &trained, err);
    if (code == 0)
        code = config_int(j, "kv_channels", &c->head_dim, err);
    if (code == 0)
        code = config_float(j, "layer_norm_epsilon", &c->rms_eps, err);
    if (code == 0)
        code = config_float(j, "rotary_emb_base", &c->rope.theta, err);
    if (code == 0)
        code = config_float(j, "rotary_pct", &part, err);
    if (code == 0)
        code = config_bool(j, "use_dynamic_ntk", &ntk, err);
    if (code == 0)
        code = config_bool(j, "use_logn_attn", &logn, err);
    if (code == 0)
        code = config_bool(j, "no_bias", &no_bias, err);
    if (code == 0 && (trained < 2 || !(part > 0 && part <= 1)))
        code = config_wrong("seq_length and rotary_pct", "at least 2, and above 0 to 1", err);
    if (code < 0)
        return code;
    c->o_bias = c->mlp_bias = !no_bias;
    c->ffn /= 2;
    c->rope_dim = config_part(c->head_dim, part);
    c->rope.original_context = (double)trained;
    if (ntk)
        c->rope.kind = ROPE_QWEN;
    c->logn_context = logn ? (double)trained : 0;
    return 0;
}

int qwen_from_gguf(const gguf *g, struct model_config *c, sp_error *err)
{
    (void)g;
    (void)err;
    c->ffn /= 2;
    return 0;
}
