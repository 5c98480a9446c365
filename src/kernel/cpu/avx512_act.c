/* Activations as the products want them, AVX-512. */
#include <immintrin.h>
#include "kernel/cpu/avx512_int.h"
#include "kernel/cpu/matmul_int.h"

/* One group of 32: the arithmetic of kernel_int.h. */
static inline void quantize_group(const float *x, int8_t *q, float *d, int32_t *sum)
{
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    __m512 x0 = _mm512_loadu_ps(x), x1 = _mm512_loadu_ps(x + 16);
    __m512i m0 = _mm512_and_si512(_mm512_castps_si512(x0), magnitude);
    __m512i m1 = _mm512_and_si512(_mm512_castps_si512(x1), magnitude);
    uint32_t m = _mm512_reduce_max_epu32(_mm512_max_epu32(m0, m1));
    if (m < ACT_TINY || m >= ACT_INF) {
        *d = m < ACT_TINY ? 0.0f : __builtin_nanf("");
        memset(q, 0, 32);
        sum[0] = sum[1] = 0;
        return;
    }
    float amax;
    memcpy(&amax, &m, sizeof amax);
    *d = amax / 127.0f;
    __m512 inverse = _mm512_set1_ps(127.0f / amax);
    __m512i q0 = _mm512_cvtps_epi32(_mm512_mul_ps(x0, inverse));
    __m512i q1 = _mm512_cvtps_epi32(_mm512_mul_ps(x1, inverse));
    _mm_storeu_si128((__m128i *)(void *)q, _mm512_cvtepi32_epi8(q0));
    _mm_storeu_si128((__m128i *)(void *)(q + 16), _mm512_cvtepi32_epi8(q1));
    sum[0] = _mm512_reduce_add_epi32(q0);
    sum[1] = _mm512_reduce_add_epi32(q1);
}

void avx512_act_quantize(const float *x, int64_t ldx, int64_t cols, struct activations *a,
                         int64_t begin, int64_t end)
{
    for (int64_t r = begin; r < end; r++) {
        const float *row = x + r * ldx;
        int8_t *q = a->q + r * cols;
        float *d = a->d + r * (cols / 32);
        int32_t *sum = a->sum + r * (cols / 16);
        for (int64_t g = 0; g < cols / 32; g++)
            quantize_group(row + 32 * g, q + 32 * g, d + g, sum + 2 * g);
    }
}

void avx512_act_bf16(const float *x, int64_t ldx, int64_t cols, struct activations *a,
                     int64_t begin, int64_t end)
{
    int64_t ld = (cols + 1) / 2 * 2;
    for (int64_t r = begin; r < end; r++) {
        const float *row = x + r * ldx;
        uint16_t *out = a->bf16 + r * ld;
        for (int64_t k = 0; k < ld; k += 16) {
            __mmask16 in = avx512_first(cols - k), to = avx512_first(ld - k);
            __m256bh b = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(in, row + k));
            _mm256_mask_storeu_epi16(out + k, to, (__m256i)b);
        }
    }
}
