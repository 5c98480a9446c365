/* Every operation in plain C, one output value at a time: the oracle of the other tables and the fallback
 * where they cannot run. The order of float operations is the one that all tables share (kernel_int.h). */
#include <math.h>
#include <string.h>
#include "kernel/kernel_int.h"
#include "kernel/math_int.h"
#include "kernel/pack_int.h"

static uint32_t magnitude_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits & 0x7fffffffu;
}

/* One group of 32: x[32] -> q[32], d, sum[2]. */
static void quantize_group(const float *x, int8_t *q, float *d, int32_t *sum)
{
    uint32_t top = 0;
    for (int i = 0; i < 32; i++)
        if (magnitude_bits(x[i]) > top)
            top = magnitude_bits(x[i]);
    sum[0] = sum[1] = 0;
    if (top < ACT_TINY || top >= ACT_INF) {
        *d = top < ACT_TINY ? 0.0f : NAN;
        memset(q, 0, 32);
        return;
    }
    float amax;
    memcpy(&amax, &top, sizeof amax);
    float inverse = 127.0f / amax;
    *d = amax / 127.0f;
    for (int i = 0; i < 32; i++) {
        q[i] = (int8_t)lrintf(x[i] * inverse);
        sum[i / 16] += q[i];
    }
}

static void ref_act_quantize(const float *x, int64_t ldx, int64_t cols, struct activations *a,
                             int64_t begin, int64_t end)
{
    for (int64_t r = begin; r < end; r++)
        for (int64_t g = 0; g < cols / 32; g++)
            quantize_group(x + r * ldx + 32 * g, a->q + r * cols + 32 * g,
                           a->d + r * (cols / 32) + g, a->sum + r * (cols / 16) + 2 * g);
}

/* acc after one group: u[n] of the weights, q[n] of the activations, their sum, both scales. */
static float accumulate_group(const struct packed *w, const uint8_t *u, struct pack_scale s,
                              const int8_t *q, const int32_t *sums, float dx, float acc)
{
    int32_t dot = 0, sum = w->group == 32 ? sums[0] + sums[1] : sums[0];
    for (int i = 0; i < w->group; i++)
        dot += (int32_t)u[i] * q[i];
    acc = fmaf(s.scale * dx, (float)(dot - w->zero * sum), acc);
    return w->has_min ? fmaf(s.min * dx, (float)sum, acc) : acc;
}

static void ref_matmul_f32(const struct packed *w, const struct activations *a, int64_t rows,
                           float *out, int64_t ldo, int64_t tile_begin, int64_t tile_end,
                           void *scratch)
{
    float *weights = scratch; /* [cols] */
    int64_t end = tile_end * PACK_ROWS < w->rows ? tile_end * PACK_ROWS : w->rows;
    for (int64_t o = tile_begin * PACK_ROWS; o < end; o++) {
        pack_row_f32(w, o, weights);
        for (int64_t r = 0; r < rows; r++) {
            const float *x = a->f32 + r * a->ldf;
            float acc = 0;
            for (int64_t k = 0; k < w->cols; k++)
                acc = fmaf(weights[k], x[k], acc);
            out[r * ldo + o] = acc;
        }
    }
}

static void ref_matmul(const struct packed *w, const struct activations *a, int64_t rows,
                       float *out, int64_t ldo, int64_t tile_begin, int64_t tile_end, void *scratch)
{
    if (w->group == 1) {
        ref_matmul_f32(w, a, rows, out, ldo, tile_begin, tile_end, scratch);
        return;
    }
    int64_t groups = w->cols / w->group;
    struct pack_scale *scales = scratch;       /* [groups] */
    uint8_t *u = (uint8_t *)(scales + groups); /* [cols] */
    int64_t end = tile_end * PACK_ROWS < w->rows ? tile_end * PACK_ROWS : w->rows;
    for (int64_t o = tile_begin * PACK_ROWS; o < end; o++) {
        const uint8_t *tile = w->data + (size_t)(o / PACK_ROWS) * w->tile_bytes;
        for (int64_t g = 0; g < groups; g++) {
            scales[g] = pack_group_scale(w, tile, g, (int)(o % PACK_ROWS));
            pack_group_values(w, tile, g, (int)(o % PACK_ROWS), u + g * w->group);
        }
        for (int64_t r = 0; r < rows; r++) {
            float acc = 0;
            for (int64_t g = 0; g < groups; g++) {
                int64_t k = g * w->group;
                acc = accumulate_group(w, u + k, scales[g], a->q + r * w->cols + k,
                                       a->sum + r * (w->cols / 16) + k / 16,
                                       a->d[r * (w->cols / 32) + k / 32], acc);
            }
            out[r * ldo + o] = acc;
        }
    }
}

/* lane[64] to one number, in the order of kernel_int.h; destroys the lanes. */
static float sum_lanes(float *lane)
{
    for (int half = 32; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            lane[i] += lane[i + half];
    return lane[0];
}

static void ref_rmsnorm(const float *x, const float *weight, float eps, int64_t n, float *out)
{
    float lane[64] = {0};
    for (int64_t i = 0; i < n; i++)
        lane[i % 64] = fmaf(x[i], x[i], lane[i % 64]);
    float inverse = 1.0f / sqrtf(sum_lanes(lane) / (float)n + eps);
    for (int64_t i = 0; i < n; i++)
        out[i] = x[i] * inverse * weight[i];
}

static void ref_rope(float *x, const float *cos, const float *sin, int64_t half)
{
    for (int64_t i = 0; i < half; i++) {
        float a = x[i], b = x[i + half];
        x[i] = a * cos[i] - b * sin[i];
        x[i + half] = b * cos[i] + a * sin[i];
    }
}

static void ref_gelu_mul(float *gate, const float *up, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        gate[i] = gelu_f32(gate[i]) * up[i];
}

static void ref_silu_mul(float *gate, const float *up, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        gate[i] = silu_f32(gate[i]) * up[i];
}

static void ref_add(float *x, const float *y, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x[i] += y[i];
}

static uint8_t *kv_block(const struct kv_layer *kv, int32_t page, int head)
{
    return kv->base + (size_t)page * kv->page_stride + (size_t)head * kv->head_stride;
}

static void store_value(const struct kv_layer *kv, uint8_t *block, size_t i, float v)
{
    if (kv->type == KV_F32) {
        memcpy(block + 4 * i, &v, sizeof v);
        return;
    }
    uint16_t h = kv->type == KV_F16 ? f32_to_f16(v) : f32_to_bf16(v);
    memcpy(block + 2 * i, &h, sizeof h);
}

static float load_value(const struct kv_layer *kv, const uint8_t *block, size_t i)
{
    uint16_t h;
    float v;
    if (kv->type == KV_F32) {
        memcpy(&v, block + 4 * i, sizeof v);
        return v;
    }
    memcpy(&h, block + 2 * i, sizeof h);
    return kv->type == KV_F16 ? f16_to_f32(h) : bf16_to_f32(h);
}

static void ref_kv_write(const struct kv_layer *kv, int32_t page, int slot, const float *k,
                         const float *v)
{
    size_t hd = (size_t)kv->head_dim;
    for (int h = 0; h < kv->kv_heads; h++, k += hd, v += hd) {
        uint8_t *keys = kv_block(kv, page, h);
        uint8_t *values = keys + hd * KV_PAGE * kv_value_bytes(kv->type);
        for (size_t d = 0; d < hd; d++) {
            store_value(kv, keys, d * KV_PAGE + (size_t)slot, k[d]);
            store_value(kv, values, (size_t)slot * hd + d, v[d]);
        }
    }
}

/* Online softmax of one query: the greatest score so far, the sum of exp(score - max), and the values
 * summed with those weights. */
struct softmax_state {
    float max, sum;
    float *acc; /* [head_dim] */
};

/* Adds keys [lo, hi) of one block. q: [head_dim] */
static void attend_block(const struct attention_args *a, const float *q, int64_t block, int lo,
                         int hi, struct softmax_state *s)
{
    const struct kv_layer *kv = a->kv;
    size_t hd = (size_t)kv->head_dim;
    const uint8_t *keys = kv_block(kv, a->pages[block], a->kv_head);
    const uint8_t *values = keys + hd * KV_PAGE * kv_value_bytes(kv->type);
    float p[KV_PAGE] = {0}, max = s->max;
    for (int i = lo; i < hi; i++) {
        float score = 0;
        for (size_t d = 0; d < hd; d++)
            score = fmaf(q[d], load_value(kv, keys, d * KV_PAGE + (size_t)i), score);
        p[i] = score * a->scale;
        max = p[i] > max ? p[i] : max;
    }
    for (int i = lo; i < hi; i++)
        p[i] = exp_f32(p[i] - max);
    float fade = exp_f32(s->max - max);
    for (size_t d = 0; d < hd; d++) {
        float acc = s->acc[d] * fade;
        for (int i = lo; i < hi; i++)
            acc = fmaf(p[i], load_value(kv, values, (size_t)i * hd + d), acc);
        s->acc[d] = acc;
    }
    s->max = max;
    s->sum = fmaf(s->sum, fade, sum_lanes(p));
}

/* The keys that a row sees. */
struct key_range {
    int64_t first, last;
};

static struct key_range keys_of(const struct attention_args *a, int64_t row)
{
    int64_t pos = a->pos[row];
    return (struct key_range){a->window > 0 && pos >= a->window ? pos - a->window + 1 : 0, pos};
}

/* Those of `keys` that lie in one span, from nothing on. q, acc: [head_dim] */
static struct softmax_state attend_span(const struct attention_args *a, const float *q,
                                        struct key_range keys, int64_t span, float *acc)
{
    struct softmax_state s = {-INFINITY, 0, acc};
    memset(acc, 0, (size_t)a->kv->head_dim * sizeof *acc);
    for (int64_t b = span * (KV_SPAN / KV_PAGE); b < (span + 1) * (KV_SPAN / KV_PAGE); b++) {
        int64_t lo = keys.first - b * KV_PAGE, hi = keys.last + 1 - b * KV_PAGE;
        if (lo < KV_PAGE && hi > 0)
            attend_block(a, q, b, lo > 0 ? (int)lo : 0, hi < KV_PAGE ? (int)hi : KV_PAGE, &s);
    }
    return s;
}

static void join_span(struct softmax_state *s, const struct softmax_state *part, int hd)
{
    float top = part->max > s->max ? part->max : s->max;
    float f = exp_f32(s->max - top), g = exp_f32(part->max - top);
    for (int d = 0; d < hd; d++)
        s->acc[d] = s->acc[d] * f + part->acc[d] * g;
    s->sum = s->sum * f + part->sum * g;
    s->max = top;
}

/* The part that parts hold of a span for vector v = row * group + query head. */
static struct softmax_state part_of(const struct attention_args *a, int64_t span, int64_t v)
{
    int64_t n = a->rows * a->group, hd = a->kv->head_dim;
    float *acc = a->parts + span * n * (hd + 2);
    return (struct softmax_state){acc[n * hd + v], acc[n * hd + n + v], acc + v * hd};
}

static void ref_attention_span(const struct attention_args *a, int64_t span)
{
    int64_t n = a->rows * a->group, hd = a->kv->head_dim;
    float *acc = a->parts + span * n * (hd + 2);
    for (int64_t v = 0; v < n; v++) {
        int64_t r = v / a->group;
        const float *q = a->q + r * a->ldq + v % a->group * hd;
        struct softmax_state s = attend_span(a, q, keys_of(a, r), span, acc + v * hd);
        acc[n * hd + v] = s.max;
        acc[n * hd + n + v] = s.sum;
    }
}

/* With parts: the spans are done and lie there. */
static void attend_vector(const struct attention_args *a, int64_t v, bool parts)
{
    int hd = a->kv->head_dim;
    int64_t r = v / a->group, j = v % a->group;
    const float *q = a->q + r * a->ldq + j * hd;
    struct key_range keys = keys_of(a, r);
    struct softmax_state all = {0, 0, a->scratch};
    for (int64_t span = keys.first / KV_SPAN; span <= keys.last / KV_SPAN; span++) {
        struct softmax_state s =
            parts ? part_of(a, span, v) : attend_span(a, q, keys, span, a->scratch + hd);
        if (span > keys.first / KV_SPAN) {
            join_span(&all, &s, hd);
            continue;
        }
        memcpy(all.acc, s.acc, (size_t)hd * sizeof *all.acc);
        all.max = s.max;
        all.sum = s.sum;
    }
    float *out = a->out + r * a->ldo + j * hd, inverse = 1.0f / all.sum;
    for (int d = 0; d < hd; d++)
        out[d] = all.acc[d] * inverse;
}

static void ref_attention(const struct attention_args *a)
{
    for (int64_t v = 0; v < a->rows * a->group; v++)
        attend_vector(a, v, false);
}

static void ref_attention_join(const struct attention_args *a)
{
    for (int64_t v = 0; v < a->rows * a->group; v++)
        attend_vector(a, v, true);
}

static float ref_log_sum_exp(const float *x, int64_t n)
{
    float lane[64] = {0}, max = -INFINITY;
    for (int64_t i = 0; i < n; i++)
        max = x[i] > max ? x[i] : max;
    for (int64_t i = 0; i < n; i++)
        lane[i % 64] += exp_f32(x[i] - max);
    return kernel_log(sum_lanes(lane)) + max;
}

static void ref_weights(const float *x, float max, float scale, int64_t n, float *out)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = weight_f32(x[i], max, scale);
}

const struct kernel_ops kernel_ops_ref = {
    .name = "ref",
    .act_quantize = ref_act_quantize,
    .matmul = ref_matmul,
    .matmul_f32 = ref_matmul_f32,
    .rmsnorm = ref_rmsnorm,
    .rope = ref_rope,
    .silu_mul = ref_silu_mul,
    .gelu_mul = ref_gelu_mul,
    .add = ref_add,
    .kv_write = ref_kv_write,
    .attention = ref_attention,
    .attention_span = ref_attention_span,
    .attention_join = ref_attention_join,
    .log_sum_exp = ref_log_sum_exp,
    .weights = ref_weights,
};
