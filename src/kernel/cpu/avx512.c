/* The AVX-512 tables and their elementwise operations. */
#include <math.h>
#include "kernel/attention_int.h"
#include "kernel/cpu/avx512_int.h"
#include "kernel/cpu/x86_attention_int.h"
#include "kernel/kernel_int.h"

static void avx512_rmsnorm(const float *x, const float *weight, float eps, int64_t n, float *out)
{
    __m512 lane[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(),
                      _mm512_setzero_ps()};
    for (int64_t i = 0; i < n; i += 64) {

        X86_UNROLL
        for (int c = 0; c < 4; c++) {
            __m512 v = _mm512_maskz_loadu_ps(avx512_first(n - i - 16 * c), x + i + 16 * c);
            lane[c] = _mm512_fmadd_ps(v, v, lane[c]);
        }
    }
    __m512 inverse = _mm512_set1_ps(1.0f / sqrtf(avx512_sum64(lane) / (float)n + eps));
    for (int64_t i = 0; i < n; i += 16) {
        __mmask16 m = avx512_first(n - i);
        __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(m, x + i), inverse);
        v = _mm512_mul_ps(v, _mm512_maskz_loadu_ps(m, weight + i));
        _mm512_mask_storeu_ps(out + i, m, v);
    }
}

static void avx512_rope(float *x, const float *cos, const float *sin, int64_t half)
{
    for (int64_t i = 0; i < half; i += 16) {
        __mmask16 m = avx512_first(half - i);
        __m512 a = _mm512_maskz_loadu_ps(m, x + i), b = _mm512_maskz_loadu_ps(m, x + half + i);
        __m512 c = _mm512_maskz_loadu_ps(m, cos + i), s = _mm512_maskz_loadu_ps(m, sin + i);
        __m512 u = _mm512_sub_ps(_mm512_mul_ps(a, c), _mm512_mul_ps(b, s));
        __m512 v = _mm512_add_ps(_mm512_mul_ps(b, c), _mm512_mul_ps(a, s));
        _mm512_mask_storeu_ps(x + i, m, u);
        _mm512_mask_storeu_ps(x + half + i, m, v);
    }
}

static void avx512_silu_mul(float *gate, const float *up, int64_t n)
{
    const __m512 one = _mm512_set1_ps(1.0f), sign = _mm512_set1_ps(-0.0f);
    for (int64_t i = 0; i < n; i += 16) {
        __mmask16 m = avx512_first(n - i);
        __m512 x = _mm512_maskz_loadu_ps(m, gate + i);
        __m512 d = _mm512_add_ps(one, avx512_exp(_mm512_xor_ps(x, sign)));
        x = _mm512_mul_ps(_mm512_div_ps(x, d), _mm512_maskz_loadu_ps(m, up + i));
        _mm512_mask_storeu_ps(gate + i, m, x);
    }
}

static void avx512_gelu_mul(float *gate, const float *up, int64_t n)
{
    const __m512 one = _mm512_set1_ps(1.0f), sign = _mm512_set1_ps(-0.0f);
    const __m512 a = _mm512_set1_ps(GELU_A), b = _mm512_set1_ps(GELU_B);
    for (int64_t i = 0; i < n; i += 16) {
        __mmask16 m = avx512_first(n - i);
        __m512 x = _mm512_maskz_loadu_ps(m, gate + i);
        __m512 z =
            _mm512_mul_ps(_mm512_xor_ps(x, sign), _mm512_fmadd_ps(b, _mm512_mul_ps(x, x), a));
        x = _mm512_div_ps(x, _mm512_add_ps(one, avx512_exp(z)));
        _mm512_mask_storeu_ps(gate + i, m, _mm512_mul_ps(x, _mm512_maskz_loadu_ps(m, up + i)));
    }
}

static void avx512_add(float *x, const float *y, int64_t n)
{
    for (int64_t i = 0; i < n; i += 16) {
        __mmask16 m = avx512_first(n - i);
        __m512 v = _mm512_add_ps(_mm512_maskz_loadu_ps(m, x + i), _mm512_maskz_loadu_ps(m, y + i));
        _mm512_mask_storeu_ps(x + i, m, v);
    }
}

static float avx512_log_sum_exp(const float *x, int64_t n)
{
    __m512 lane[4], top = _mm512_set1_ps(-INFINITY);
    for (int64_t i = 0; i < n; i += 16) {
        __mmask16 m = avx512_first(n - i);
        top = _mm512_mask_max_ps(top, m, _mm512_maskz_loadu_ps(m, x + i), top);
    }
    float max = _mm512_reduce_max_ps(top);
    __m512 shift = _mm512_set1_ps(max);

    X86_UNROLL
    for (int c = 0; c < 4; c++)
        lane[c] = _mm512_setzero_ps();
    for (int64_t i = 0; i < n; i += 64) {

        X86_UNROLL
        for (int c = 0; c < 4; c++) {
            __mmask16 m = avx512_first(n - i - 16 * c);
            __m512 v = _mm512_maskz_loadu_ps(m, x + i + 16 * c);
            lane[c] = _mm512_mask_add_ps(lane[c], m, lane[c], avx512_exp(_mm512_sub_ps(v, shift)));
        }
    }
    return kernel_log(avx512_sum64(lane)) + max;
}

static void avx512_weights(const float *x, float max, float scale, int64_t n, float *out)
{
    const __m512 shift = _mm512_set1_ps(max), times = _mm512_set1_ps(scale);
    const __m512 lowest = _mm512_set1_ps(WEIGHT_LOWEST);
    for (int64_t i = 0; i < n; i += 16) {
        __mmask16 m = avx512_first(n - i);
        __m512 v = _mm512_mul_ps(_mm512_sub_ps(_mm512_maskz_loadu_ps(m, x + i), shift), times);
        __mmask16 keep = _mm512_cmp_ps_mask(v, lowest, _CMP_GE_OQ); /* not NaN */
        v = avx512_exp(_mm512_maskz_mov_ps(keep, v));               /* exp(0) for the others */
        _mm512_mask_storeu_ps(out + i, m, _mm512_maskz_mov_ps(keep, v));
    }
}

static void avx512_kv_write(const struct kv_layer *kv, int32_t page, int slot, const float *k,
                            const float *v)
{
    x86_kv_write(kv, page, slot, k, v);
}

static void avx512_attention(const struct attention_args *a)
{
    attention_run(a, &avx512_attention_parts);
}

static void avx512_attention_span(const struct attention_args *a, int64_t span)
{
    attention_run_span(a, span, &avx512_attention_parts);
}

#define AVX512_OPS                                                                                 \
    .act_quantize = avx512_act_quantize, .matmul = avx512_matmul, .matmul_f32 = avx512_matmul_f32, \
    .rmsnorm = avx512_rmsnorm, .rope = avx512_rope, .weights = avx512_weights,                     \
    .silu_mul = avx512_silu_mul, .gelu_mul = avx512_gelu_mul, .add = avx512_add,                   \
    .kv_write = avx512_kv_write, .attention = avx512_attention,                                    \
    .attention_span = avx512_attention_span, .attention_join = attention_join,                     \
    .log_sum_exp = avx512_log_sum_exp

const struct kernel_ops kernel_ops_avx512 = {AVX512_OPS, .name = "avx512"};
const struct kernel_ops kernel_ops_avx512_bf16 = {AVX512_OPS, .name = "avx512_bf16",
                                                  .act_bf16 = avx512_act_bf16};
