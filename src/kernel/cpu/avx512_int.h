/* Private to src/kernel/cpu/avx512*.c: vector forms of math_int.h. */
#ifndef SP_KERNEL_CPU_AVX512_INT_H
#define SP_KERNEL_CPU_AVX512_INT_H

#include "kernel/cpu/x86_int.h"
#include "kernel/math_int.h"

/* exp_f32 of 16 values, the same bits. */
X86_INLINE __m512 avx512_exp(__m512 x)
{
    const __m512 one = _mm512_set1_ps(1.0f), round = _mm512_set1_ps(EXP_ROUND);
    /* max and min give their second operand where one is NaN */
    x = _mm512_max_ps(_mm512_set1_ps(EXP_LOWEST), x);
    x = _mm512_min_ps(_mm512_set1_ps(EXP_HIGHEST), x);
    __m512 n = _mm512_sub_ps(_mm512_fmadd_ps(x, _mm512_set1_ps(EXP_LOG2E), round), round);
    __m512 r = _mm512_fmadd_ps(n, _mm512_set1_ps(-EXP_LN2_HIGH), x);
    r = _mm512_fmadd_ps(n, _mm512_set1_ps(-EXP_LN2_LOW), r);
    __m512 p = _mm512_fmadd_ps(r, _mm512_set1_ps(EXP_C6), _mm512_set1_ps(EXP_C5));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(EXP_C4));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(EXP_C3));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(EXP_C2));
    p = _mm512_fmadd_ps(p, r, one);
    p = _mm512_fmadd_ps(p, r, one);
    return _mm512_scalef_ps(p, n);
}

/* Lanes i and i + 8 are added, then i and i + 4, i + 2, i + 1. */
X86_INLINE float avx512_sum16(__m512 v)
{
    __m256 y = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}

/* The sum of 64 lanes in the order of kernel_int.h. */
X86_INLINE float avx512_sum64(const __m512 lane[4])
{
    return avx512_sum16(
        _mm512_add_ps(_mm512_add_ps(lane[0], lane[2]), _mm512_add_ps(lane[1], lane[3])));
}

/* The first n lanes (none when n < 0, all when n > 16). */
X86_INLINE __mmask16 avx512_first(int64_t n)
{
    return (__mmask16)(n >= 16 ? 0xffff : n > 0 ? (1u << n) - 1 : 0);
}

#endif
