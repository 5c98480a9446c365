/* Rotary embeddings: inverse frequencies of every kind as transformers computes them
 * (modeling_rope_utils.py), and tables of cos and sin for every position.
 * Sources: Su et al. 2021 (RoFormer); Peng et al. 2023 (YaRN), section 3 (also for dynamic NTK); Llama 3.1's model
 * card; Ding et al. 2024 (LongRoPE); the original Qwen's modeling_qwen.py.
 *
 * Where frequencies depend on a sequence's length (dynamic NTK, Qwen, LongRoPE), the longest length that the model was
 * loaded for counts, for every sequence and position: keys that are in the cache keep fitting, and a row's result does
 * not depend on when its sequence grew. That is what a reference computes that sees a sequence of that length at once,
 * and as long as the trained length isn't exceeded there is no difference at all. */
#include <math.h>
#include "model/model_int.h"

#define PI 3.14159265358979323846

/* Frequencies are made in float32 with the reference's order of operations: at far positions the last bit
 * of a frequency turns into a visible angle. */

static float wave_of(double theta, int64_t dim, int64_t i)
{
    return (float)pow((double)(float)theta, (double)((float)(2 * i) / (float)dim));
}

static float plain_wave(const struct rope_config *r, int64_t dim, int64_t i)
{
    return wave_of(r->theta, dim, i);
}

/* NTK-aware: a larger base stretches slow waves most. */
static float ntk_frequency(const struct rope_config *r, double times, int64_t dim, int64_t i)
{
    return 1 / wave_of(r->theta * pow(times, (double)dim / (double)(dim - 2)), dim, i);
}

/* How many times longer than the trained length; at least once. */
static double longer(const struct rope_config *r, int64_t context)
{
    return fmax((double)context / r->original_context, 1);
}

static double qwen_times(const struct rope_config *r, int64_t context)
{
    return pow(2, ceil(log(longer(r, context)) / log(2) + 1)) - 1;
}

static float long_frequency(const struct rope_config *r, float wave, int64_t i, int64_t context)
{
    const float *by = (double)context > r->original_context ? r->long_factor : r->short_factor;
    return 1 / (by[i] * wave);
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

float rope_frequency(const struct rope_config *r, int64_t dim, int64_t i, int64_t context)
{
    float plain = 1 / plain_wave(r, dim, i);
    switch (r->kind) {
    case ROPE_LINEAR:
        return plain / (float)r->factor;
    case ROPE_YARN:
        return yarn_frequency(r, dim, i);
    case ROPE_LLAMA3:
        return llama3_frequency(r, plain);
    case ROPE_DYNAMIC:
        return ntk_frequency(r, r->factor * longer(r, context) - (r->factor - 1), dim, i);
    case ROPE_QWEN:
        return ntk_frequency(r, qwen_times(r, context), dim, i);
    case ROPE_LONG:
        return long_frequency(r, plain_wave(r, dim, i), i, context);
    case ROPE_PLAIN:
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
    if (r->kind != ROPE_YARN && r->kind != ROPE_LONG)
        return 1;
    if (r->attention_factor > 0)
        return (float)r->attention_factor;
    if (r->kind == ROPE_LONG)
        return r->factor > 1 ? (float)sqrt(1 + log(r->factor) / log(r->original_context)) : 1;
    if (r->mscale != 0 && r->mscale_all_dim != 0)
        return (float)(yarn_mscale(r->factor, r->mscale) /
                       yarn_mscale(r->factor, r->mscale_all_dim));
    return (float)yarn_mscale(r->factor, 1);
}

float rope_logn(const struct model_config *c, int64_t pos)
{
    if (c->logn_context == 0 || (double)(pos + 1) <= c->logn_context)
        return 1;
    return (float)(log((double)(pos + 1)) / log(c->logn_context));
}

/* Llama 3 GGUF files carry what the plain frequencies are divided by. */
static int divide_frequencies(const model *m, float *freq, sp_error *err)
{
    int64_t half = m->config.rope_dim / 2;
    char name[128];
    tensor_name(m->config.arch, true, ROLE_ROPE_FREQS, 0, false, name);
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

static int frequencies(const model *m, const struct rope_config *r, float *freq, sp_error *err)
{
    int64_t dim = m->config.rope_dim, half = dim / 2;
    for (int64_t i = 0; i < half; i++)
        freq[i] = rope_frequency(r, dim, i, m->opts.max_context);
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
    const struct rope_table *table;
    const float *freq;
    size_t half;
    float scale;
};

/* Positions [begin, end). The angle is rounded to float32 as the reference has it; its cos and sin are
 * rounded once, so they are the same whichever library computes them. */
static void fill_table(void *arg, int worker, size_t begin, size_t end)
{
    const struct filling *f = arg;
    size_t half = f->half;
    (void)worker;
    for (size_t p = begin; p < end; p++)
        for (size_t i = 0; i < half; i++) {
            double angle = (double)((float)p * f->freq[i]), sine, cosine;
            sincos(angle, &sine, &cosine);
            f->table->cos[p * half + i] = (float)cosine * f->scale;
            f->table->sin[p * half + i] = (float)sine * f->scale;
        }
}

static int make_table(model *m, const struct rope_config *r, struct rope_table *t, sp_error *err)
{
    size_t half = (size_t)m->config.rope_dim / 2, n = (size_t)m->opts.max_context;
    float *freq = arena_array(m->arena, half, sizeof *freq);
    t->cos = sp_malloc(n * half * sizeof(float));
    t->sin = sp_malloc(n * half * sizeof(float));
    if (!freq || !t->cos || !t->sin)
        return sp_fail(err, SP_ENOMEM,
                       "out of memory for RoPE tables of %zu positions: use a shorter context", n);
    int code = frequencies(m, r, freq, err);
    if (code < 0)
        return code;
    struct filling f = {t, freq, half, rope_scaling(r)};
    pool_take_turn(m->opts.pool);
    pool_run(m->opts.pool, n, 128, fill_table, &f);
    pool_end_turn(m->opts.pool);
    return 0;
}

static bool has_local(const model *m)
{
    return m->config.rope_local.theta != 0;
}

int rope_tables(model *m, sp_error *err)
{
    int code = make_table(m, &m->config.rope, &m->rope, err);
    if (code == 0 && has_local(m))
        code = make_table(m, &m->config.rope_local, &m->rope_local, err);
    for (int64_t i = 0; i < m->config.layers; i++) {
        struct layer *l = &m->layers[i];
        l->rope = !config_has_rope(&m->config, i) ? NULL
                  : has_local(m) && l->window     ? &m->rope_local
                                                  : &m->rope;
    }
    return code;
}

void rope_tables_free(model *m)
{
    sp_free(m->rope.cos);
    sp_free(m->rope.sin);
    sp_free(m->rope_local.cos);
    sp_free(m->rope_local.sin);
}

size_t rope_table_bytes(const model *m)
{
    size_t values = (size_t)(m->opts.max_context * m->config.rope_dim);
    return values * (has_local(m) ? 2 : 1) * sizeof(float);
}
