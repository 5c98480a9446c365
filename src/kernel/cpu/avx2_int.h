/* Private to src/kernel/cpu/avx2*.c: vector forms of math_int.h. */
#ifndef SP_KERNEL_CPU_AVX2_INT_H
#define SP_KERNEL_CPU_AVX2_INT_H

#include "kernel/cpu/x86_int.h"
#include "kernel/math_int.h"

/* 2^n for -126 <= n <= 127. */
X86_INLINE __m256 avx2_exp2_int(__m256i n)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}

/* exp_f32 of 8 values, the same bits. */
X86_INLINE __m256 avx2_exp(__m256 x)
{
    const __m256 one = _mm256_set1_ps(1.0f), round = _mm256_set1_ps(EXP_ROUND);
    /* max and min give their second operand where one is NaN */
    x = _mm256_max_ps(_mm256_set1_ps(EXP_LOWEST), x);
    x = _mm256_min_ps(_mm256_set1_ps(EXP_HIGHEST), x);
    __m256 t = _mm256_fmadd_ps(x, _mm256_set1_ps(EXP_LOG2E), round);
    __m256 n = _mm256_sub_ps(t, round);
    __m256 r = _mm256_fmadd_ps(n, _mm256_set1_ps(-EXP_LN2_HIGH), x);
    r = _mm256_fmadd_ps(n, _mm256_set1_ps(-EXP_LN2_LOW), r);
    __m256 p = _mm256_fmadd_ps(r, _mm256_set1_ps(EXP_C6), _mm256_set1_ps(EXP_C5));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(EXP_C4));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(EXP_C3));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(EXP_C2));
    p = _mm256_fmadd_ps(p, r, one);
    p = _mm256_fmadd_ps(p, r, one);
    __m256i whole = _mm256_sub_epi32(_mm256_castps_si256(t), _mm256_castps_si256(round));
    __m256i half = _mm256_srai_epi32(whole, 1);
    p = _mm256_mul_ps(p, avx2_exp2_int(half));
    return _mm256_mul_ps(p, avx2_exp2_int(_mm256_sub_epi32(whole, half)));
}

/* The sum of 64 lanes in the order of kernel_int.h: i and i + 32, then 16, 8, 4, 2, 1. */
X86_INLINE float avx2_sum64(const __m256 lane[8])
{
    __m256 a = _mm256_add_ps(_mm256_add_ps(lane[0], lane[4]), _mm256_add_ps(lane[2], lane[6]));
    __m256 b = _mm256_add_ps(_mm256_add_ps(lane[1], lane[5]), _mm256_add_ps(lane[3], lane[7]));
    a = _mm256_add_ps(a, b);
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}

X86_INLINE float avx2_max8(__m256 v)
{
    __m128 x = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    x = _mm_max_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
}

/* All bits set in the first n lanes (none when n < 0, all when n > 8). */
X86_INLINE __m256i avx2_first(int64_t n)
{
    int count = n < 0 ? 0 : n < 8 ? (int)n : 8;
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

#endif
