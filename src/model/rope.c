/* Rotary embeddings: inverse frequencies of every kind as transformers computes them
 * (modeling_rope_utils.py), and tables of cos and sin for every position.
 * Sources: Su et al. 2021 (RoFormer); Peng et al. 2023 (YaRN), section 3; Llama 3.1's model card. */
#include <math.h>
#include "model/model_int.h"

#define PI 3.14159265358979323846

/* Frequencies are made in float32 with the reference's order of operations: at far positions the last bit
 * of a frequency turns into a visible angle. */

static float plain_wave(const struct rope_config *r, int64_t dim, int64_t i)
{
    return (float)pow((double)(float)r->theta, (double)((float)(2 * i) / (float)dim));
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

static float yarn_frequency(const struct rope_config *r, int64_t dim, int64_t i)
{
    double low, high;
    yarn_range(r, (double)dim, &low, &high);
    float wave = plain_wave(r, dim, i);
    float ramp = ((float)i - (float)low) / (float)(high - low);
    float keep = 1 - fminf(fmaxf(ramp, 0), 1);
    return 1 / ((float)r->factor * wave) * (1 - keep) + 1 / wave * keep;
}

static float llama3_frequency(const struct rope_config *r, float plain)
{
    float length = (float)(2 * PI) / plain, factor = (float)r->factor;
    if (length < (float)(r->original_context / r->high_freq_factor))
        return plain;
    if (length > (float)(r->original_context / r->low_freq_factor))
        return plain / factor;
    float smooth = ((float)r->original_context / length - (float)r->low_freq_factor) /
                   (float)(r->high_freq_factor - r->low_freq_factor);
    return (1 - smooth) * plain / factor + smooth * plain;
}

float rope_frequency(const struct rope_config *r, int64_t dim, int64_t i)
{
    float plain = 1 / plain_wave(r, dim, i);
    switch (r->kind) {
    case ROPE_LINEAR:
        return plain / (float)r->factor;
    case ROPE_YARN:
        return yarn_frequency(r, dim, i);
    case ROPE_LLAMA3:
        return llama3_frequency(r, plain);
    default:
        return plain;
    }
}

static double yarn_mscale(double factor, double mscale)
{
    return factor <= 1 ? 1.0 : 0.1 * mscale * log(factor) + 1.0;
}

float rope_scaling(const struct rope_config *r)
{
    if (r->kind != ROPE_YARN)
        return 1;
    if (r->attention_factor > 0)
        return (float)r->attention_factor;
    if (r->mscale != 0 && r->mscale_all_dim != 0)
        return (float)(yarn_mscale(r->factor, r->mscale) /
                       yarn_mscale(r->factor, r->mscale_all_dim));
    return (float)yarn_mscale(r->factor, 1);
}

/* Llama 3 GGUF files carry what the plain frequencies are divided by. */
static int divide_frequencies(const model *m, float *freq, sp_error *err)
{
    int64_t half = m->config.head_dim / 2;
    char name[128];
    tensor_name(true, ROLE_ROPE_FREQS, 0, false, name);
    const struct tensor_view *t = checkpoint_gguf(m->ckpt) ? checkpoint_find(m->ckpt, name) : NULL;
    if (!t)
        return 0;
    if (t->n_dims != 1 || t->shape[0] != half || t->dtype != DT_F32)
        return sp_fail(err, SP_EFORMAT, "tensor %s: wanted shape [%lld] of F32", name,
                       (long long)half);
    for (int64_t i = 0; i < half; i++) {
        float divisor;
        dtype_to_f32(DT_F32, t->data + (size_t)i * sizeof divisor, 1, &divisor);
        freq[i] /= divisor;
    }
    return 0;
}

static int frequencies(const model *m, float *freq, sp_error *err)
{
    int64_t half = m->config.head_dim / 2;
    for (int64_t i = 0; i < half; i++)
        freq[i] = rope_frequency(&m->config.rope, m->config.head_dim, i);
    int code = divide_frequencies(m, freq, err);
    for (int64_t i = 0; code == 0 && i < half; i++)
        if (!(freq[i] >= 0 && freq[i] < INFINITY))
            code =
                sp_fail(err, SP_EFORMAT,
                        "the RoPE frequency %lld comes out as %g: the model's RoPE settings make "
                        "no sense",
                        (long long)i, (double)freq[i]);
    return code;
}

struct filling {
    const model *m;
    const float *freq;
    float scale;
};

/* Positions [begin, end). The angle is rounded to float32 as the reference has it; its cos and sin are
 * rounded once, so they are the same whichever library computes them. */
static void fill_tables(void *arg, int worker, size_t begin, size_t end)
{
    const struct filling *f = arg;
    size_t half = (size_t)f->m->config.head_dim / 2;
    (void)worker;
    for (size_t p = begin; p < end; p++)
        for (size_t i = 0; i < half; i++) {
            double angle = (double)((float)p * f->freq[i]), sine, cosine;
            sincos(angle, &sine, &cosine);
            f->m->rope_cos[p * half + i] = (float)cosine * f->scale;
            f->m->rope_sin[p * half + i] = (float)sine * f->scale;
        }
}

int rope_tables(model *m, sp_error *err)
{
    size_t half = (size_t)m->config.head_dim / 2, n = (size_t)m->opts.max_context;
    float *freq = arena_array(m->arena, half, sizeof *freq);
    m->rope_cos = sp_malloc(n * half * sizeof(float));
    m->rope_sin = sp_malloc(n * half * sizeof(float));
    if (!freq || !m->rope_cos || !m->rope_sin)
        return sp_fail(err, SP_ENOMEM,
                       "out of memory for RoPE tables of %zu positions: use a shorter context", n);
    int code = frequencies(m, freq, err);
    if (code < 0)
        return code;
    struct filling f = {m, freq, rope_scaling(&m->config.rope)};
    pool_run(m->opts.pool, n, 128, fill_tables, &f);
    return 0;
}
