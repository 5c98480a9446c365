/* config.json and generation_config.json, as transformers 4 and 5 write them. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "format/config.h"
#include "format/config_int.h"

int config_wrong(const char *key, const char *want, sp_error *err)
{
    return sp_fail(err, SP_EFORMAT, "config.json: %s must be %s", key, want);
}

int config_int(const json_t *j, const char *key, int64_t *out, sp_error *err)
{
    const json_t *v = json_object_get(j, key);
    if (!v || json_is_null(v))
        return 0;
    if (!json_is_integer(v))
        return config_wrong(key, "a whole number", err);
    *out = json_integer_value(v);
    return 0;
}

int config_float(const json_t *j, const char *key, double *out, sp_error *err)
{
    const json_t *v = json_object_get(j, key);
    if (!v || json_is_null(v))
        return 0;
    if (!json_is_number(v) || !isfinite(json_number_value(v)))
        return config_wrong(key, "a number", err);
    *out = json_number_value(v);
    return 0;
}

int config_bool(const json_t *j, const char *key, bool *out, sp_error *err)
{
    const json_t *v = json_object_get(j, key);
    if (!v || json_is_null(v))
        return 0;
    if (!json_is_boolean(v))
        return config_wrong(key, "true or false", err);
    *out = json_is_true(v);
    return 0;
}

static int find_arch(const json_t *j, const struct arch_info **out, sp_error *err)
{
    const char *class = json_string_value(json_array_get(json_object_get(j, "architectures"), 0));
    const char *type = json_string_value(json_object_get(j, "model_type"));
    char known[384];
    size_t n;
    const struct arch_info *table = arch_table(&n);
    for (size_t i = 0; i < n; i++)
        if ((class && (strcmp(class, table[i].hf_class[0]) == 0 ||
                       (table[i].hf_class[1] && strcmp(class, table[i].hf_class[1]) == 0))) ||
            (!class && type && strcmp(type, table[i].hf_type) == 0)) {
            *out = &table[i];
            return 0;
        }
    return sp_fail(err, SP_EUNSUPPORTED,
                   "config.json: the architecture %.100s is unknown to Sampan: it runs %s",
                   class  ? class
                   : type ? type
                          : "(not named)",
                   arch_known(known, sizeof known));
}

/* ---- RoPE ---- */

int64_t config_part(int64_t dim, double part)
{
    bool sane = dim > 0 && dim < 1 << 20 && part > 0 && part <= 1;
    return sane ? (int64_t)((double)dim * part) : dim; /* config_check() will find it */
}

static int rope_kind_of(const char *name, struct rope_config *r, sp_error *err)
{
    static const struct {
        const char *name;
        enum rope_kind kind;
    } kinds[] = {{"default", ROPE_PLAIN}, {"linear", ROPE_LINEAR},   {"yarn", ROPE_YARN},
                 {"llama3", ROPE_LLAMA3}, {"dynamic", ROPE_DYNAMIC}, {"longrope", ROPE_LONG},
                 {"su", ROPE_LONG}}; /* as Phi-3 called it at first */
    for (size_t i = 0; i < SP_COUNT(kinds); i++)
        if (strcmp(kinds[i].name, name) == 0) {
            r->kind = kinds[i].kind;
            return 0;
        }
    return sp_fail(err, SP_EUNSUPPORTED,
                   "config.json: RoPE of type '%.40s' is unknown to Sampan: it does default, "
                   "linear, yarn, llama3, dynamic and longrope",
                   name);
}

/* A list of numbers, one for each pair of dimensions. */
static int read_factors(const json_t *s, const char *key, float *out, int64_t *n, sp_error *err)
{
    const json_t *list = json_object_get(s, key), *v;
    size_t i;
    if (!json_is_array(list) || json_array_size(list) > ROPE_PAIRS_MOST)
        return config_wrong(key, "a list of factors, one for two dimensions", err);
    json_array_foreach((json_t *)(uintptr_t)list, i, v)
    {
        out[i] = (float)json_number_value(v);
        if (!json_is_number(v) || !(out[i] > 0) || !isfinite(out[i]))
            return config_wrong(key, "a list of positive numbers", err);
    }
    if (*n && *n != (int64_t)json_array_size(list))
        return config_wrong(key, "as long as the other list of factors", err);
    *n = (int64_t)json_array_size(list);
    return 0;
}

/* Phi-3's files give no factor: it is how much longer the context is than the original one. */
static int read_long(const json_t *s, const struct model_config *c, struct rope_config *r,
                     sp_error *err)
{
    if (!json_is_number(json_object_get(s, "factor")))
        r->factor = fmax(1, (double)c->context / r->original_context);
    int code = read_factors(s, "short_factor", r->short_factor, &r->pairs, err);
    return code == 0 ? read_factors(s, "long_factor", r->long_factor, &r->pairs, err) : code;
}

int config_rope_scaling(const json_t *s, const struct model_config *c, struct rope_config *r,
                        sp_error *err)
{
    const char *kind = json_string_value(json_object_get(s, "rope_type"));
    if (!kind)
        kind = json_string_value(json_object_get(s, "type"));
    int code = rope_kind_of(kind ? kind : "default", r, err);
    if (r->original_context <= 0)
        r->original_context = (double)c->context;
    const struct {
        const char *key;
        double *at;
    } fields[] = {{"rope_theta", &r->theta},
                  {"factor", &r->factor},
                  {"original_max_position_embeddings", &r->original_context},
                  {"beta_fast", &r->beta_fast},
                  {"beta_slow", &r->beta_slow},
                  {"attention_factor", &r->attention_factor},
                  {"mscale", &r->mscale},
                  {"mscale_all_dim", &r->mscale_all_dim},
                  {"low_freq_factor", &r->low_freq_factor},
                  {"high_freq_factor", &r->high_freq_factor}};
    for (size_t i = 0; i < SP_COUNT(fields) && code == 0; i++)
        code = config_float(s, fields[i].key, fields[i].at, err);
    if (code == 0 && r->kind == ROPE_LONG)
        code = read_long(s, c, r, err);
    return code == 0 ? config_bool(s, "truncate", &r->truncate, err) : code;
}

static int read_rope(const json_t *j, struct model_config *c, sp_error *err)
{
    c->rope = (struct rope_config){.theta = c->rope.theta != 0 ? c->rope.theta : 10000,
                                   .factor = 1,
                                   .beta_fast = 32,
                                   .beta_slow = 1,
                                   .truncate = true,
                                   .low_freq_factor = 1,
                                   .high_freq_factor = 4};
    double part = 1;
    int code = config_float(j, "rope_theta", &c->rope.theta, err);
    if (code == 0)
        code = config_float(j, "original_max_position_embeddings", &c->rope.original_context, err);
    if (code == 0)
        code = config_float(j, "partial_rotary_factor", &part, err);
    const json_t *old = json_object_get(j, "rope_scaling"),
                 *new = json_object_get(j, "rope_parameters"),
                 *full =
                     json_object_get(new, "full_attention"); /* settings for each kind of layer */
    if (full)
        new = full;
    if (code == 0 && json_is_object(old))
        code = config_rope_scaling(old, c, &c->rope, err);
    if (code == 0 && json_is_object(new))
        code = config_rope_scaling(new, c, &c->rope, err);
    if (code == 0)
        code = config_float(new, "partial_rotary_factor", &part, err);
    if (code == 0 && !(part > 0 && part <= 1))
        return config_wrong("partial_rotary_factor", "above 0 and at most 1", err);
    c->rope_dim = config_part(c->head_dim, part);
    if (code == 0 && c->rope.kind == ROPE_DYNAMIC && c->context > 0) {
        /* max_position_embeddings is the trained length here */
        c->rope.original_context = (double)c->context;
        c->context = (int64_t)fmin((double)c->context * fmax(c->rope.factor, 1), 1 << 28);
    }
    return code;
}

/* ---- the rest ---- */

/* A model of several parts says it for them all. */
static void read_dtype(const json_t *whole, const json_t *text, struct model_config *c)
{
    const json_t *const places[] = {
        json_object_get(text, "dtype"), json_object_get(text, "torch_dtype"),
        json_object_get(whole, "dtype"), json_object_get(whole, "torch_dtype")};
    const char *name = NULL;
    for (size_t i = 0; i < SP_COUNT(places) && !name; i++)
        name = json_string_value(places[i]);
    c->dtype = !name                           ? DT_F32
               : strcmp(name, "bfloat16") == 0 ? DT_BF16
               : strcmp(name, "float16") == 0  ? DT_F16
                                               : DT_F32;
}

int config_layer_types(const json_t *j, struct model_config *c, sp_error *err)
{
    const json_t *types = json_object_get(j, "layer_types"), *t;
    size_t i;
    if (!json_is_array(types))
        return 0;
    if ((int64_t)json_array_size(types) != c->layers || c->layers > CONFIG_LAYERS_MOST)
        return config_wrong("layer_types", "as long as num_hidden_layers", err);
    memset(c->full, 0, sizeof c->full);
    json_array_foreach((json_t *)(uintptr_t)types, i, t)
    {
        const char *name = json_string_value(t);
        bool sliding = name && strcmp(name, "sliding_attention") == 0;
        if (!sliding && (!name || strcmp(name, "full_attention") != 0))
            return sp_fail(err, SP_EUNSUPPORTED,
                           "config.json: layer_types names '%.40s': full_attention and "
                           "sliding_attention are known",
                           name ? name : "");
        if (!sliding)
            config_set_layer(c->full, (int64_t)i);
    }
    return 0;
}

/* Qwen2 uses its window only when told to, from layer max_window_layers on. */
static int read_window(const json_t *j, struct model_config *c, sp_error *err)
{
    bool use = c->arch->window == WINDOW_ALWAYS;
    int64_t from = 0;
    if (c->arch->window == WINDOW_NEVER)
        return 0;
    int code = config_int(j, "sliding_window", &c->sliding_window, err);
    if (code == 0 && c->arch->window == WINDOW_WHEN_TOLD) {
        from = 28; /* transformers' default for Qwen2 and Qwen3 */
        code = config_bool(j, "use_sliding_window", &use, err);
        if (code == 0)
            code = config_int(j, "max_window_layers", &from, err);
    }
    if (!use)
        c->sliding_window = 0;
    for (int64_t i = 0; i < from && i < c->layers && i < CONFIG_LAYERS_MOST; i++)
        config_set_layer(c->full, i);
    return code == 0 && use ? config_layer_types(j, c, err) : code;
}

static int read_biases(const json_t *j, struct model_config *c, sp_error *err)
{
    bool attention = false;
    int code = config_bool(j, "attention_bias", &attention, err);
    c->qkv_bias = c->arch->qkv_bias || attention;
    c->o_bias = attention && !c->arch->qkv_bias;
    c->qk_norm = c->arch->qk_norm;
    return code == 0 ? config_bool(j, "mlp_bias", &c->mlp_bias, err) : code;
}

static int read_sizes(const json_t *j, struct model_config *c, sp_error *err)
{
    const struct {
        const char *key;
        int64_t *at;
        bool needed;
    } fields[] = {
        {"vocab_size", &c->vocab, true},         {"hidden_size", &c->hidden, true},
        {"num_hidden_layers", &c->layers, true}, {"num_attention_heads", &c->heads, true},
        {"intermediate_size", &c->ffn, true},    {"num_key_value_heads", &c->kv_heads, false},
        {"head_dim", &c->head_dim, false},       {"max_position_embeddings", &c->context, false}};
    int code = 0;
    for (size_t i = 0; i < SP_COUNT(fields) && code == 0; i++) {
        code = config_int(j, fields[i].key, fields[i].at, err);
        if (code == 0 && fields[i].needed && *fields[i].at == 0)
            code = sp_fail(err, SP_EFORMAT, "config.json: %s is missing", fields[i].key);
    }
    if (code < 0)
        return code;
    if (c->heads < 1)
        return config_wrong("num_attention_heads", "at least 1", err);
    if (c->kv_heads == 0)
        c->kv_heads = c->heads;
    if (c->head_dim == 0)
        c->head_dim = c->arch->qk_norm ? 128 : c->hidden / c->heads;
    if (c->context == 0)
        c->context = 4096;
    return 0;
}

static int check_activation(const json_t *j, const struct arch_info *a, sp_error *err)
{
    static const char *const names[] = {[ACT_SILU] = "silu", [ACT_GELU_TANH] = "gelu_pytorch_tanh"};
    const json_t *v = json_object_get(j, "hidden_activation");
    const char *name = json_string_value(v ? v : json_object_get(j, "hidden_act"));
    if (!name || strcmp(name, names[a->activation]) == 0)
        return 0;
    return sp_fail(err, SP_EUNSUPPORTED, "config.json: hidden_act '%.40s': Sampan's %s has %s",
                   name, a->name, names[a->activation]);
}

static int read_dense_layers(const json_t *j, struct model_config *c, sp_error *err)
{
    const json_t *dense = json_object_get(j, "mlp_only_layers"), *v;
    int64_t step = 1;
    size_t i;
    int code = config_int(j, "decoder_sparse_step", &step, err);
    if (code == 0 && (step < 1 || c->layers > CONFIG_LAYERS_MOST))
        code = config_wrong("decoder_sparse_step", "at least 1", err);
    for (int64_t l = 0; code == 0 && l < c->layers; l++)
        if ((l + 1) % step != 0)
            config_set_layer(c->moe.dense, l);
    json_array_foreach((json_t *)(uintptr_t)dense, i, v)
    {
        int64_t l = json_is_integer(v) ? json_integer_value(v) : -1;
        if (code == 0 && (l < 0 || l >= c->layers))
            code = config_wrong("mlp_only_layers", "a list of layers that the model has", err);
        if (code == 0)
            config_set_layer(c->moe.dense, l);
    }
    return code;
}

/* num_local_experts is what transformers 5 writes for Qwen3-MoE. */
static int read_moe(const json_t *j, struct model_config *c, sp_error *err)
{
    struct moe_config *m = &c->moe;
    const struct {
        const char *key;
        int64_t *at;
    } fields[] = {{"num_local_experts", &m->experts},
                  {"num_experts", &m->experts},
                  {"num_experts_per_tok", &m->used},
                  {"moe_intermediate_size", &m->ffn},
                  {"shared_expert_intermediate_size", &m->shared}};
    int code = 0;
    if (!c->arch->moe)
        return 0;
    for (size_t i = 0; i < SP_COUNT(fields) && code == 0; i++)
        code = config_int(j, fields[i].key, fields[i].at, err);
    if (code == 0)
        code = config_bool(j, "norm_topk_prob", &m->normalize, err);
    return code == 0 ? read_dense_layers(j, c, err) : code;
}

int config_from_json(const json_t *j, struct model_config *out, sp_error *err)
{
    struct model_config *c = out;
    const json_t *whole = j;
    *c = (struct model_config){.rms_eps = 1e-6};
    if (!json_is_object(j))
        return sp_fail(err, SP_EFORMAT, "config.json: not a JSON object");
    int code = find_arch(j, &c->arch, err);
    if (code == 0 && json_is_object(json_object_get(j, "quantization_config")))
        code = sp_fail(err, SP_EUNSUPPORTED,
                       "config.json: quantization_config: quantized safetensors are not read: use "
                       "the GGUF form or the unquantized model");
    if (code < 0)
        return code;
    if (c->arch->defaults)
        c->arch->defaults(c);
    if (json_is_object(json_object_get(j, "text_config"))) /* the text part of a model that sees */
        j = json_object_get(j, "text_config");
    code = read_sizes(j, c, err);
    if (code == 0)
        code = check_activation(j, c->arch, err);
    if (code == 0)
        code = config_float(j, "rms_norm_eps", &c->rms_eps, err);
    if (code == 0)
        code = config_bool(j, "tie_word_embeddings", &c->tied, err);
    if (code == 0)
        code = read_biases(j, c, err);
    if (code == 0)
        code = read_moe(j, c, err);
    if (code == 0)
        code = read_rope(j, c, err);
    if (code == 0)
        code = read_window(j, c, err);
    if (code == 0 && c->arch->from_json)
        code = c->arch->from_json(j, c, err);
    if (code < 0)
        return code;
    read_dtype(whole, j, c);
    const char *name = json_string_value(json_object_get(j, "_name_or_path"));
    snprintf(c->name, sizeof c->name, "%s", name ? name : "");
    return config_check(c, err);
}

static int add_eos(struct generation_config *g, const json_t *v, sp_error *err)
{
    if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > INT32_MAX)
        return sp_fail(err, SP_EFORMAT,
                       "generation_config.json: eos_token_id must be a token id or a list of them");
    if (g->n_eos == SP_COUNT(g->eos))
        return sp_fail(err, SP_EFORMAT,
                       "generation_config.json: eos_token_id has more than %zu entries",
                       SP_COUNT(g->eos));
    g->eos[g->n_eos++] = (int32_t)json_integer_value(v);
    return 0;
}

int generation_config_from_json(const json_t *j, struct generation_config *g, sp_error *err)
{
    const json_t *eos = json_object_get(j, "eos_token_id"), *v;
    size_t i;
    *g = (struct generation_config){
        .temperature = 1, .top_p = 1, .repetition_penalty = 1, .top_k = 0};
    int code = config_float(j, "temperature", &g->temperature, err);
    if (code == 0)
        code = config_float(j, "top_p", &g->top_p, err);
    if (code == 0)
        code = config_float(j, "repetition_penalty", &g->repetition_penalty, err);
    if (code == 0)
        code = config_int(j, "top_k", &g->top_k, err);
    if (code == 0)
        code = config_bool(j, "do_sample", &g->do_sample, err);
    g->has_temperature = json_is_number(json_object_get(j, "temperature"));
    g->has_top_p = json_is_number(json_object_get(j, "top_p"));
    g->has_top_k = json_is_integer(json_object_get(j, "top_k"));
    g->has_repetition_penalty = json_is_number(json_object_get(j, "repetition_penalty"));
    g->has_do_sample = json_is_boolean(json_object_get(j, "do_sample"));
    if (code == 0 && json_is_array(eos)) {
        json_array_foreach((json_t *)(uintptr_t)eos, i, v)
        {
            code = code == 0 ? add_eos(g, v, err) : code;
        }
    } else if (code == 0 && eos && !json_is_null(eos)) {
        code = add_eos(g, eos, err);
    }
    return code;
}
