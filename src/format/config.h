/* What a model is, read from Hugging Face's config.json (as transformers 4 and 5 write it) or from
 * GGUF metadata into one struct. The architectures that Sampan runs are rows of one table; a file of
 * another architecture is refused with the list of known ones. */
#ifndef SP_FORMAT_CONFIG_H
#define SP_FORMAT_CONFIG_H

#include <jansson.h>
#include "format/gguf.h"

#define CONFIG_LAYERS_MOST 1024
#define CONFIG_EXPERTS_USED_MOST 64
#define ROPE_PAIRS_MOST 128

/* The last three depend on the longest sequence that a loaded model may see (rope.c of the model room says how). */
enum rope_kind {
    ROPE_PLAIN,
    ROPE_LINEAR,
    ROPE_YARN,
    ROPE_LLAMA3,
    ROPE_DYNAMIC, /* NTK-aware: the base grows with the length (InternLM2, Llama) */
    ROPE_QWEN,    /* the same in steps of powers of two (the original Qwen) */
    ROPE_LONG     /* a divisor for every frequency, one list for short and one for long (Phi-3) */
};

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
    int64_t pairs;                            /* long: how many factors there are */
    float short_factor[ROPE_PAIRS_MOST], long_factor[ROPE_PAIRS_MOST];
};

enum activation { ACT_SILU, ACT_GELU_TANH };

/* What a model's tensors are. GGUF files and most of Hugging Face's have one name for each (names.c of the model
 * room). */
enum tensor_role {
    ROLE_EMBEDDING,
    ROLE_HEAD,
    ROLE_FINAL_NORM,
    ROLE_ROPE_FREQS,
    ROLE_ATTN_NORM,
    ROLE_ATTN_POST_NORM,
    ROLE_FFN_NORM,
    ROLE_FFN_POST_NORM,
    ROLE_Q_NORM,
    ROLE_K_NORM,
    ROLE_Q,
    ROLE_K,
    ROLE_V,
    ROLE_QKV, /* instead of the three, in one matrix */
    ROLE_O,
    ROLE_GATE,
    ROLE_UP,
    ROLE_GATE_UP, /* instead of the two: all of gate, then all of up */
    ROLE_DOWN,
    ROLE_ROUTER,
    ROLE_EXPERTS_GATE,
    ROLE_EXPERTS_UP,
    ROLE_EXPERTS_DOWN,
    ROLE_SHARED_ROUTER,
    ROLE_SHARED_GATE,
    ROLE_SHARED_UP,
    ROLE_SHARED_DOWN,
    ROLE_COUNT
};

/* Whether sliding_window holds. */
enum window_rule { WINDOW_NEVER, WINDOW_ALWAYS, WINDOW_WHEN_TOLD };

struct model_config;

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

/* One row of the architecture table. What a family does differently stands here, or in the functions of its own file,
 * family_<name>.c (docs/adding-a-family.md). */
struct arch_info {
    const char *name;        /* "qwen2", our name */
    const char *hf_class[2]; /* "Qwen2ForCausalLM" */
    const char *hf_type;     /* config.json model_type: "qwen2" */
    const char *gguf_name;   /* general.architecture: "qwen2" */
    bool qkv_bias;           /* q, k, v have biases (config may say otherwise: attention_bias) */
    bool qk_norm;            /* RMSNorm on each head of q and k before RoPE (Qwen3, Gemma 3) */
    bool moe;                /* feed-forward blocks of experts */
    bool gguf_permuted;      /* GGUF stores q and k rows permuted for adjacent-pair RoPE (Llama) */
    bool post_norms;         /* RMSNorm on what attention and feed-forward give, too (Gemma 3) */
    bool norm_plus_one;      /* Hugging Face's norm weights are less by one (Gemma 3) */
    bool qkv_grouped; /* Hugging Face's ROLE_QKV goes by KV heads: its queries, k, v (InternLM2) */
    enum window_rule window;
    enum activation activation;
    /* Hugging Face's names that are not the common ones, [ROLE_COUNT] without ".weight"; %lld: the layer. NULL: none,
     * also of an entry. */
    const char *const *names;
    /* Each may be NULL. Before the common keys of config.json are read, to set defaults, rope.theta's too; after the
     * common keys, to read the family's own. */
    void (*defaults)(struct model_config *c);
    int (*from_json)(const json_t *config, struct model_config *c, sp_error *err);
    int (*from_gguf)(const gguf *g, struct model_config *c, sp_error *err);
};

struct model_config {
    const struct arch_info *arch;
    int64_t vocab, hidden, layers, heads, kv_heads, head_dim,
        ffn;         /* vocab: rows of the embedding */
    int64_t context; /* max_position_embeddings */
    double rms_eps;
    bool tied; /* lm_head is the embedding (GGUF: no output.weight) */
    bool qkv_bias, o_bias, mlp_bias, qk_norm;
    int64_t sliding_window;               /* keys that a query sees, itself included; 0: all */
    uint8_t full[CONFIG_LAYERS_MOST / 8]; /* a bit for each layer that sees all keys all the same */
    int64_t rope_dim;                     /* dimensions of a head that RoPE turns: the first ones */
    uint8_t no_rope[CONFIG_LAYERS_MOST / 8]; /* a bit for each layer that RoPE leaves alone */
    struct rope_config rope;
    struct rope_config rope_local; /* of layers with a window; theta 0: the same */
    double attention_scale;        /* of q k; 0: 1 / sqrt(head_dim) */
    double embedding_scale;        /* 0: 1 */
    double logn_context; /* q is multiplied by log(pos + 1) / log(this) beyond it; 0: never */
    struct moe_config moe;
    enum dtype dtype; /* torch_dtype / dtype, or the most common of the GGUF file */
    char name[128];   /* general.name or the folder's name, for people */
    char license[64]; /* as declared; "" unknown */
};

/* Whether a layer's feed-forward block is one of experts. */
bool config_is_moe(const struct model_config *c, int64_t layer);
/* Keys that a query of this layer sees; 0: all. */
int64_t config_window(const struct model_config *c, int64_t layer);
/* Whether RoPE turns q and k of this layer. */
bool config_has_rope(const struct model_config *c, int64_t layer);

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
