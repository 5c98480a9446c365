/* The AVX2 table and its elementwise operations. */
#include <math.h>
#include "kernel/cpu/avx2_int.h"
#include "kernel/cpu/x86_attention_int.h"
#include "kernel/kernel_int.h"

static void avx2_rmsnorm(const float *x, const float *weight, float eps, int64_t n, float *out)
{
    __m256 lane[8];
    X86_UNROLL
    for (int c = 0; c < 8; c++)
        lane[c] = _mm256_setzero_ps();
    int64_t whole = n / 64 * 64;
    for (int64_t i = 0; i < whole; i += 64) {
        X86_UNROLL
        for (int c = 0; c < 8; c++) {
            __m256 v = _mm256_loadu_ps(x + i + 8 * c);
            lane[c] = _mm256_fmadd_ps(v, v, lane[c]);
        }
    }
    X86_UNROLL
    for (int c = 0; c < 8; c++) {
        __m256 v = _mm256_maskload_ps(x + whole + 8 * c, avx2_first(n - whole - 8 * c));
        lane[c] = _mm256_fmadd_ps(v, v, lane[c]);
    }
    float inverse = 1.0f / sqrtf(avx2_sum64(lane) / (float)n + eps);
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + i), _mm256_set1_ps(inverse));
        _mm256_storeu_ps(out + i, _mm256_mul_ps(v, _mm256_loadu_ps(weight + i)));
    }
    for (; i < n; i++)
        out[i] = x[i] * inverse * weight[i];
}

static void avx2_rope(float *x, const float *cos, const float *sin, int64_t half)
{
    int64_t i = 0;
    for (; i + 8 <= half; i += 8) {
        __m256 a = _mm256_loadu_ps(x + i), b = _mm256_loadu_ps(x + half + i);
        __m256 c = _mm256_loadu_ps(cos + i), s = _mm256_loadu_ps(sin + i);
        _mm256_storeu_ps(x + i, _mm256_sub_ps(_mm256_mul_ps(a, c), _mm256_mul_ps(b, s)));
        _mm256_storeu_ps(x + half + i, _mm256_add_ps(_mm256_mul_ps(b, c), _mm256_mul_ps(a, s)));
    }
    for (; i < half; i++) {
        float a = x[i], b = x[half + i];
        x[i] = a * cos[i] - b * sin[i];
        x[half + i] = b * cos[i] + a * sin[i];
    }
}

static void avx2_silu_mul(float *gate, const float *up, int64_t n)
{
    const __m256 one = _mm256_set1_ps(1.0f), sign = _mm256_set1_ps(-0.0f);
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 x = _mm256_loadu_ps(gate + i);
        x = _mm256_div_ps(x, _mm256_add_ps(one, avx2_exp(_mm256_xor_ps(x, sign))));
        _mm256_storeu_ps(gate + i, _mm256_mul_ps(x, _mm256_loadu_ps(up + i)));
    }
    for (; i < n; i++)
        gate[i] = silu_f32(gate[i]) * up[i];
}

static void avx2_gelu_mul(float *gate, const float *up, int64_t n)
{
    const __m256 one = _mm256_set1_ps(1.0f), sign = _mm256_set1_ps(-0.0f);
    const __m256 a = _mm256_set1_ps(GELU_A), b = _mm256_set1_ps(GELU_B);
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 x = _mm256_loadu_ps(gate + i);
        __m256 z =
            _mm256_mul_ps(_mm256_xor_ps(x, sign), _mm256_fmadd_ps(b, _mm256_mul_ps(x, x), a));
        x = _mm256_div_ps(x, _mm256_add_ps(one, avx2_exp(z)));
        _mm256_storeu_ps(gate + i, _mm256_mul_ps(x, _mm256_loadu_ps(up + i)));
    }
    for (; i < n; i++)
        gate[i] = gelu_f32(gate[i]) * up[i];
}

static void avx2_add(float *x, const float *y, int64_t n)
{
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(x + i, _mm256_add_ps(_mm256_loadu_ps(x + i), _mm256_loadu_ps(y + i)));
    for (; i < n; i++)
        x[i] += y[i];
}

static float avx2_max(const float *x, int64_t n)
{
    const __m256 lowest = _mm256_set1_ps(-INFINITY);
    __m256 top = lowest, more = lowest;
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        top = _mm256_max_ps(_mm256_loadu_ps(x + i), top);
        more = _mm256_max_ps(_mm256_loadu_ps(x + i + 8), more);
    }
    top = _mm256_max_ps(more, top);
    for (; i < n; i += 8) {
        __m256i m = avx2_first(n - i);
        __m256 v = _mm256_maskload_ps(x + i, m);
        top = _mm256_max_ps(_mm256_blendv_ps(lowest, v, _mm256_castsi256_ps(m)), top);
    }
    return avx2_max8(top);
}

static float avx2_log_sum_exp(const float *x, int64_t n)
{
    __m256 lane[8];
    float max = avx2_max(x, n);
    const __m256 shift = _mm256_set1_ps(max);
    int64_t i = 0;
    X86_UNROLL
    for (int c = 0; c < 8; c++)
        lane[c] = _mm256_setzero_ps();
    for (; i + 64 <= n; i += 64) {
        X86_UNROLL
        for (int c = 0; c < 8; c++) {
            __m256 v = _mm256_sub_ps(_mm256_loadu_ps(x + i + 8 * c), shift);
            lane[c] = _mm256_add_ps(lane[c], avx2_exp(v));
        }
    }
    X86_UNROLL
    for (int c = 0; c < 8; c++) {
        __m256i m = avx2_first(n - i - 8 * c);
        __m256 v = _mm256_sub_ps(_mm256_maskload_ps(x + i + 8 * c, m), shift);
        v = _mm256_and_ps(avx2_exp(v), _mm256_castsi256_ps(m));
        lane[c] = _mm256_add_ps(lane[c], v);
    }
    return kernel_log(avx2_sum64(lane)) + max;
}

static void avx2_weights(const float *x, float max, float scale, int64_t n, float *out)
{
    const __m256 shift = _mm256_set1_ps(max), times = _mm256_set1_ps(scale);
    const __m256 lowest = _mm256_set1_ps(WEIGHT_LOWEST);
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 v = _mm256_mul_ps(_mm256_sub_ps(_mm256_loadu_ps(x + i), shift), times);
        __m256 keep = _mm256_cmp_ps(v, lowest, _CMP_GE_OQ); /* not NaN */
        v = avx2_exp(_mm256_and_ps(v, keep));               /* exp(0) for the others */
        _mm256_storeu_ps(out + i, _mm256_and_ps(v, keep));
    }
    for (; i < n; i++)
        out[i] = weight_f32(x[i], max, scale);
}

static void avx2_kv_write(const struct kv_layer *kv, int32_t page, int slot, const float *k,
                          const float *v)
{
    x86_kv_write(kv, page, slot, k, v);
}

static void avx2_attention(const struct attention_args *a)
{
    attention_run(a, &avx2_attention_parts);
}

static void avx2_attention_span(const struct attention_args *a, int64_t span)
{
    attention_run_span(a, span, &avx2_attention_parts);
}

/* All but the name and the product of quantized weights. */
#define AVX2_OPS                                                                                   \
    .act_quantize = avx2_act_quantize, .matmul_f32 = avx2_matmul_f32, .rmsnorm = avx2_rmsnorm,     \
    .rope = avx2_rope, .silu_mul = avx2_silu_mul, .gelu_mul = avx2_gelu_mul, .add = avx2_add,      \
    .kv_write = avx2_kv_write, .attention = avx2_attention, .attention_span = avx2_attention_span, \
    .attention_join = attention_join, .log_sum_exp = avx2_log_sum_exp, .weights = avx2_weights

const struct kernel_ops kernel_ops_avx2 = {AVX2_OPS, .name = "avx2", .matmul = avx2_matmul};
const struct kernel_ops kernel_ops_avxvnni_vex = {AVX2_OPS, .name = "avxvnni",
                                                  .matmul = avxvnni_vex_matmul};
const struct kernel_ops kernel_ops_avxvnni_evex = {AVX2_OPS, .name = "avxvnni",
                                                   .matmul = avxvnni_evex_matmul};
