/* What a model is, read from Hugging Face's config.json (as transformers 4 and 5 write it) or from
 * GGUF metadata into one struct. The architectures that Sampan runs are rows of one table; a file of
 * another architecture is refused with the list of known ones. */
#ifndef SP_FORMAT_CONFIG_H
#define SP_FORMAT_CONFIG_H

#include <jansson.h>
#include "format/gguf.h"

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

/* One row of the architecture table. */
struct arch_info {
    const char *name;      /* "qwen2", our name */
    const char *hf_class;  /* "Qwen2ForCausalLM" */
    const char *hf_type;   /* config.json model_type: "qwen2" */
    const char *gguf_name; /* general.architecture: "qwen2" */
    bool qkv_bias;         /* q, k, v have biases (config may say otherwise: attention_bias) */
    bool qk_norm;          /* RMSNorm on each head of q and k before RoPE (Qwen3) */
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
    enum dtype dtype; /* torch_dtype / dtype, or the most common of the GGUF file */
    char name[128];   /* general.name or the folder's name, for people */
    char license[64]; /* as declared; "" unknown */
};

const struct arch_info *arch_table(size_t *n);
/* "qwen2, qwen3, llama, mistral": for messages. */
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
