/* Activations as the products want them, AVX2. */
#include <immintrin.h>
#include "kernel/cpu/matmul_int.h"

static inline uint32_t max_u32(__m256i v)
{
    __m128i m = _mm_max_epu32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0x4e));
    m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(m);
}

static inline int32_t sum_i32(__m256i v)
{
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
    return _mm_cvtsi128_si32(s);
}

/* One group of 32: the arithmetic of kernel_int.h. */
static inline void quantize_group(const float *x, int8_t *q, float *d, int32_t *sum)
{
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    __m256i top = _mm256_setzero_si256(), v[4];
    for (int i = 0; i < 4; i++) {
        __m256i bits = _mm256_castps_si256(_mm256_loadu_ps(x + 8 * i));
        top = _mm256_max_epu32(top, _mm256_and_si256(bits, magnitude));
    }
    uint32_t m = max_u32(top);
    if (m < ACT_TINY || m >= ACT_INF) {
        *d = m < ACT_TINY ? 0.0f : __builtin_nanf("");
        memset(q, 0, 32);
        sum[0] = sum[1] = 0;
        return;
    }
    float amax;
    memcpy(&amax, &m, sizeof amax);
    *d = amax / 127.0f;
    __m256 inverse = _mm256_set1_ps(127.0f / amax);
    for (int i = 0; i < 4; i++)
        v[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8 * i), inverse));
    sum[0] = sum_i32(_mm256_add_epi32(v[0], v[1]));
    sum[1] = sum_i32(_mm256_add_epi32(v[2], v[3]));
    /* packing works in 128-bit lanes: fours of bytes come out as 0 2 4 6 1 3 5 7 */
    __m256i bytes =
        _mm256_packs_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3]));
    bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256((__m256i *)(void *)q, bytes);
}

void avx2_act_quantize(const float *x, int64_t ldx, int64_t cols, struct activations *a,
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
