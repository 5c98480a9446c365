/* Rotary embeddings: inverse frequencies of every kind as transformers computes them
 * (modeling_rope_utils.py), and tables of cos and sin for every position.
 * Sources: Su et al. 2021 (RoFormer); Peng et al. 2023 (YaRN), section 3; Llama 3.1's model card. */
#include <math.h>
#include "model/model_int.h"

#define PI 3.14159265358979323846

static double yarn_mscale(double factor, double mscale)
{
    return factor <= 1 ? 1.0 : 0.1 * mscale * log(factor) + 1.0;
}

/* The dimension whose wave turns `turns` times within the original context. */
static double yarn_dim(const struct rope_config *r, double dim, double turns)
{
    return dim * log(r->original_context / (turns * 2 * PI)) / (2 * log(r->theta));
}

static void yarn_range(const struct rope_config *r, double dim, double *low, double *high)
{
    *low = yarn_dim(r, dim, r->beta_fast);
    *high = yarn_dim(r, dim, r->beta_slow);
    if (r->truncate) {
        *low = floor(*low);
        *high = ceil(*high);
    }
    *low = fmax(*low, 0);
    *high = fmin(*high, dim - 1);
    if (*low == *high)
        *high += 0.001;
}

static double yarn_frequency(const struct rope_config *r, double dim, int64_t i, double plain)
{
    double low, high;
    yarn_range(r, dim, &low, &high);
    double ramp = fmin(fmax(((double)i - low) / (high - low), 0), 1);
    return plain / r->factor * ramp + plain * (1 - ramp);
}

static double llama3_frequency(const struct rope_config *r, double plain)
{
    double wave = 2 * PI / plain;
    double low = r->original_context / r->low_freq_factor,
           high = r->original_context / r->high_freq_factor;
    if (wave < high)
        return plain;
    if (wave > low)
        return plain / r->factor;
    double smooth = (r->original_context / wave - r->low_freq_factor) /
                    (r->high_freq_factor - r->low_freq_factor);
    return (1 - smooth) * plain / r->factor + smooth * plain;
}

static double frequency(const struct rope_config *r, int64_t dim, int64_t i)
{
    double plain = 1.0 / pow(r->theta, 2.0 * (double)i / (double)dim);
    switch (r->kind) {
    case ROPE_LINEAR:
        return plain / r->factor;
    case ROPE_YARN:
        return yarn_frequency(r, (double)dim, i, plain);
    case ROPE_LLAMA3:
        return llama3_frequency(r, plain);
    default:
        return plain;
    }
}

/* What cos and sin are multiplied by. */
static double attention_scale(const struct rope_config *r)
{
    if (r->kind != ROPE_YARN)
        return 1;
    if (r->attention_factor > 0)
        return r->attention_factor;
    if (r->mscale > 0 && r->mscale_all_dim > 0)
        return yarn_mscale(r->factor, r->mscale) / yarn_mscale(r->factor, r->mscale_all_dim);
    return yarn_mscale(r->factor, 1);
}

/* Llama 3 GGUF files carry what the plain frequencies are divided by. */
static int file_divisors(const model *m, float *out, sp_error *err)
{
    int64_t half = m->config.head_dim / 2;
    char name[128];
    tensor_name(true, ROLE_ROPE_FREQS, 0, false, name);
    const struct tensor_view *t = checkpoint_gguf(m->ckpt) ? checkpoint_find(m->ckpt, name) : NULL;
    for (int64_t i = 0; i < half; i++)
        out[i] = 1;
    if (!t)
        return 0;
    if (t->n_dims != 1 || t->shape[0] != half || t->dtype != DT_F32)
        return sp_fail(err, SP_EFORMAT, "tensor %s: wanted shape [%lld] of F32", name,
                       (long long)half);
    dtype_to_f32(DT_F32, t->data, half, out);
    for (int64_t i = 0; i < half; i++)
        if (!(out[i] > 0))
            return sp_fail(err, SP_EFORMAT, "tensor %s: value %lld is not positive", name,
                           (long long)i);
    return 0;
}

int rope_tables(model *m, sp_error *err)
{
    int64_t half = m->config.head_dim / 2, n = m->opts.max_context;
    float *freq = arena_array(m->arena, (size_t)half, sizeof *freq);
    m->rope_cos = sp_malloc((size_t)(n * half) * sizeof(float));
    m->rope_sin = sp_malloc((size_t)(n * half) * sizeof(float));
    if (!freq || !m->rope_cos || !m->rope_sin)
        return sp_fail(err, SP_ENOMEM, "out of memory for RoPE tables of %lld positions",
                       (long long)n);
    int code = file_divisors(m, freq, err);
    if (code < 0)
        return code;
    float scale = (float)attention_scale(&m->config.rope);
    for (int64_t i = 0; i < half; i++)
        freq[i] = (float)(frequency(&m->config.rope, m->config.head_dim, i) / (double)freq[i]);
    for (int64_t p = 0; p < n; p++)
        for (int64_t i = 0; i < half; i++) {
            float angle = (float)p * freq[i]; /* float32, as the reference has it */
            m->rope_cos[p * half + i] = cosf(angle) * scale;
            m->rope_sin[p * half + i] = sinf(angle) * scale;
        }
    return 0;
}
