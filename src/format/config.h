/* What a model is, read from Hugging Face's config.json (as transformers 4 and 5 write it) or from
 * GGUF metadata into one struct. The architectures that Sampan runs are rows of one table; a file of
 * another architecture is refused with the list of known ones. */
#ifndef SP_FORMAT_CONFIG_H
#define SP_FORMAT_CONFIG_H

#include <jansson.h>
#include "format/gguf.h"

#define CONFIG_LAYERS_MOST 1024
#define CONFIG_EXPERTS_USED_MOST 64

enum rope_kind { ROPE_PLAIN, ROPE_LINEAR, ROPE_YARN, ROPE_LLAMA3 };

struct rope_config {
    enum rope_kind kind;
    double theta;            /* base, e.g. 1e6 */
    double factor;           /* linear, yarn, llama3 */
    double original_context; /* original_max_position_embeddings; yarn, llama3 */
    double beta_fast, beta_slow,
        attention_factor;                     /* yarn; attention_factor 0: derived (0.1 ln f + 1) */
    double mscale, mscale_all_dim;            /* yarn; 0: not given */
    bool truncate;                            /* yarn: correction range rounded to whole dims */
    double low_freq_factor, high_freq_factor; /* llama3 */
};

/* Feed-forward blocks made of experts, of which each row runs a few (Qwen2-MoE, Qwen3-MoE). */
struct moe_config {
    int64_t experts; /* 0: the model has none */
    int64_t used;    /* experts that a row runs */
    int64_t ffn;     /* width of one expert */
    int64_t shared;  /* width of the expert that every row runs; 0: there is none */
    bool normalize;  /* the weights of the chosen experts are made to sum to 1 */
    uint8_t dense[CONFIG_LAYERS_MOST /
                  8]; /* a bit for each layer that has a plain block all the same */
};

/* One row of the architecture table. */
struct arch_info {
    const char *name;      /* "qwen2", our name */
    const char *hf_class;  /* "Qwen2ForCausalLM" */
    const char *hf_type;   /* config.json model_type: "qwen2" */
    const char *gguf_name; /* general.architecture: "qwen2" */
    bool qkv_bias;         /* q, k, v have biases (config may say otherwise: attention_bias) */
    bool qk_norm;          /* RMSNorm on each head of q and k before RoPE (Qwen3) */
    bool moe;              /* feed-forward blocks of experts */
    bool gguf_permuted;    /* GGUF stores q and k rows permuted for adjacent-pair RoPE (Llama) */
};

struct model_config {
    const struct arch_info *arch;
    int64_t vocab, hidden, layers, heads, kv_heads, head_dim,
        ffn;         /* vocab: rows of the embedding */
    int64_t context; /* max_position_embeddings */
    double rms_eps;
    bool tied; /* lm_head is the embedding (GGUF: no output.weight) */
    bool qkv_bias, o_bias, mlp_bias, qk_norm;
    int64_t sliding_window; /* keys that a query sees, itself included; 0: all */
    int64_t sliding_from;   /* layers >= this use the window (Qwen2's max_window_layers); 0: all */
    struct rope_config rope;
    struct moe_config moe;
    enum dtype dtype; /* torch_dtype / dtype, or the most common of the GGUF file */
    char name[128];   /* general.name or the folder's name, for people */
    char license[64]; /* as declared; "" unknown */
};

/* Whether a layer's feed-forward block is one of experts. */
bool config_is_moe(const struct model_config *c, int64_t layer);

const struct arch_info *arch_table(size_t *n);
/* "qwen2, qwen3, llama, ...": for messages. */
const char *arch_known(char *out, size_t n);

int config_from_json(const json_t *config, struct model_config *out, sp_error *err);
int config_from_gguf(const gguf *g, struct model_config *out, sp_error *err);

/* Defaults for sampling from generation_config.json; `has_*` tells what was given. */
struct generation_config {
    bool has_temperature, has_top_p, has_top_k, has_repetition_penalty, has_do_sample;
    double temperature, top_p, repetition_penalty;
    int64_t top_k;
    bool do_sample;
    size_t n_eos;
    int32_t eos[16]; /* a model may have several ends: eos_token_id may be a list */
};
int generation_config_from_json(const json_t *j, struct generation_config *out, sp_error *err);

#endif
