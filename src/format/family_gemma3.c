/* Gemma 3 (Gemma Team 2025, "Gemma 3 Technical Report"): most layers see a window and turn by a RoPE of their own, one
 * in six sees all; norms before and after every block, and of q and k; the embedding is multiplied by sqrt(hidden). */
#include <math.h>
#include "format/config_int.h"

#define PATTERN 6 /* one layer of so many sees all */

const char *const gemma3_names[ROLE_COUNT] = {
    [ROLE_FFN_NORM] = "model.layers.%lld.pre_feedforward_layernorm",
};

/* Gemma3TextConfig's, which published files leave out. */
void gemma3_defaults(struct model_config *c)
{
    c->vocab = 262208;
    c->hidden = 2304;
    c->layers = 26;
    c->heads = 8;
    c->kv_heads = 4;
    c->head_dim = 256;
    c->ffn = 9216;
    c->context = 131072;
    c->sliding_window = 4096;
    c->tied = true;
    c->rope.theta = 1e6;
}

static void every_nth_is_full(struct model_config *c, int64_t n)
{
    for (int64_t i = n - 1; i < c->layers && i < CONFIG_LAYERS_MOST; i += n)
        config_set_layer(c->full, i);
}

static int refuse(const json_t *j, const char *key, sp_error *err)
{
    const json_t *v = json_object_get(j, key);
    if (!v || json_is_null(v) || json_is_false(v))
        return 0;
    return sp_fail(err, SP_EUNSUPPORTED, "config.json: %s is not supported by Sampan's gemma3",
                   key);
}

/* Local layers turn by rope_local_base_freq (transformers 4) or rope_parameters.sliding_attention (5). */
static int read_ropes(const json_t *j, struct model_config *c, sp_error *err)
{
    const json_t *both = json_object_get(j, "rope_parameters");
    const json_t *local = json_object_get(both, "sliding_attention");
    c->rope_local = (struct rope_config){.theta = 10000, .factor = 1};
    int code = config_float(j, "rope_local_base_freq", &c->rope_local.theta, err);
    return code == 0 && local ? config_rope_scaling(local, c, &c->rope_local, err) : code;
}

int gemma3_from_json(const json_t *j, struct model_config *c, sp_error *err)
{
    static const char *const unsupported[] = {"attn_logit_softcapping", "final_logit_softcapping",
                                              "use_bidirectional_attention"};
    double scalar = 256;
    int64_t pattern = PATTERN;
    int code = config_float(j, "query_pre_attn_scalar", &scalar, err);
    if (code == 0)
        code = config_int(j, "sliding_window", &c->sliding_window, err);
    if (code == 0)
        code = config_int(j, "sliding_window_pattern", &pattern, err);
    if (code == 0 && !(scalar > 0 && pattern > 0))
        code = config_wrong("query_pre_attn_scalar and sliding_window_pattern", "positive", err);
    if (code < 0)
        return code;
    every_nth_is_full(c, pattern);
    c->attention_scale = 1 / sqrt(scalar);
    c->embedding_scale = sqrt((double)c->hidden);
    code = config_layer_types(j, c, err);
    if (code == 0)
        code = read_ropes(j, c, err);
    for (size_t i = 0; code == 0 && i < SP_COUNT(unsupported); i++)
        code = refuse(j, unsupported[i], err);
    return code;
}

/* What llama.cpp knows by heart: the pattern, the local base, and that the largest (62 layers) scales otherwise. */
int gemma3_from_gguf(const gguf *g, struct model_config *c, sp_error *err)
{
    static const char pattern_key[] = "gemma3.attention.sliding_window_pattern";
    int64_t pattern = PATTERN;
    double cap = 0;
    if (gguf_has(g, pattern_key) && (gguf_get_int(g, pattern_key, &pattern) < 0 || pattern < 1))
        return sp_fail(err, SP_EUNSUPPORTED, "metadata %s is no whole number from 1 on",
                       pattern_key);
    (void)gguf_get_float(g, "gemma3.final_logit_softcapping", &cap);
    if (cap != 0)
        return sp_fail(
            err, SP_EUNSUPPORTED,
            "metadata gemma3.final_logit_softcapping is not supported by Sampan's gemma3");
    c->rope_local = (struct rope_config){.theta = 10000, .factor = 1};
    (void)gguf_get_float(g, "gemma3.rope.freq_base_swa", &c->rope_local.theta);
    every_nth_is_full(c, pattern);
    c->embedding_scale = sqrt((double)c->hidden);
    if (c->layers == 62)
        c->attention_scale = 1 / sqrt((double)c->hidden / (double)c->heads);
    return 0;
}
