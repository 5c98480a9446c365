/* Attention within one block of 64 keys, 8 keys or dimensions in a register. Up to three query vectors go
 * through a block together, 32 keys or dimensions at a time: 12 sums, 3 factors, 1 register of keys or
 * values. */
#include <math.h>
#include "kernel/cpu/avx2_int.h"
#include "kernel/cpu/x86_attention_int.h"

#define VECTORS 3

X86_INLINE __m256 load8(const uint8_t *base, size_t i, enum kv_type type)
{
    if (type == KV_F32)
        return _mm256_loadu_ps((const void *)(base + 4 * i));
    __m128i half = _mm_loadu_si128((const void *)(base + 2 * i));
    if (type == KV_F16)
        return _mm256_cvtph_ps(half);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

/* Keys [first, first + 32) of n vectors. */
X86_INLINE void scores_half(const struct attention_block *b, const float *const *q, int n,
                            int first, enum kv_type type, float scale, float *s)
{
    __m256 acc[VECTORS][4];
    X86_UNROLL
    for (int j = 0; j < n; j++)
        X86_UNROLL
    for (int c = 0; c < 4; c++)
        acc[j][c] = _mm256_setzero_ps();
    for (int d = 0; d < b->head_dim; d++) {
        __m256 x[VECTORS];
        X86_UNROLL
        for (int j = 0; j < n; j++)
            x[j] = _mm256_broadcast_ss(&q[j][d]);
        X86_UNROLL
        for (int c = 0; c < 4; c++) {
            size_t at = (size_t)(d * KV_PAGE + first + 8 * c);
            x86_fetch_ahead(b, at, 8 * c, type);
            __m256 k = load8(b->keys, at, type);
            X86_UNROLL
            for (int j = 0; j < n; j++)
                acc[j][c] = _mm256_fmadd_ps(x[j], k, acc[j][c]);
        }
    }
    const __m256 factor = _mm256_set1_ps(scale);
    X86_UNROLL
    for (int j = 0; j < n; j++)
        X86_UNROLL
    for (int c = 0; c < 4; c++)
        _mm256_storeu_ps(s + KV_PAGE * j + first + 8 * c, _mm256_mul_ps(acc[j][c], factor));
}

X86_INLINE void scores_typed(const struct attention_block *b, const float *const *q, int n,
                             enum kv_type type, float scale, float *s)
{
    for (; n > 0; n -= VECTORS, q += VECTORS, s += VECTORS * KV_PAGE) {
        for (int first = 0; first < KV_PAGE; first += 32) {
            if (n >= 3)
                scores_half(b, q, 3, first, type, scale, s);
            else if (n == 2)
                scores_half(b, q, 2, first, type, scale, s);
            else
                scores_half(b, q, 1, first, type, scale, s);
        }
    }
}

static void scores(const struct attention_block *b, const float *const *q, int n, float scale,
                   float *s)
{
    if (b->type == KV_F16)
        scores_typed(b, q, n, KV_F16, scale, s);
    else if (b->type == KV_BF16)
        scores_typed(b, q, n, KV_BF16, scale, s);
    else
        scores_typed(b, q, n, KV_F32, scale, s);
}

/* Lanes of keys 8 c .. 8 c + 7 that are in [lo, hi). */
X86_INLINE __m256 lanes_between(int lo, int hi, int c)
{
    return _mm256_castsi256_ps(_mm256_andnot_si256(avx2_first(lo - 8 * c), avx2_first(hi - 8 * c)));
}

/* `whole`: [lo, hi) is all of the block, known when this is compiled. A maximum that stays fades nothing: most do. */
X86_INLINE float softmax_of(float *s, int lo, int hi, bool whole, float *max, float *sum)
{
    __m256 v[8], top = _mm256_set1_ps(*max);
    X86_UNROLL
    for (int c = 0; c < 8; c++) {
        v[c] = _mm256_loadu_ps(s + 8 * c);
        __m256 greater = _mm256_max_ps(top, v[c]);
        top = whole ? greater : _mm256_blendv_ps(top, greater, lanes_between(lo, hi, c));
    }
    float new_max = avx2_max8(top), fade = *max == new_max ? 1.0f : exp_f32(*max - new_max);
    const __m256 shift = _mm256_set1_ps(new_max);
    X86_UNROLL
    for (int c = 0; c < 8; c++) {
        v[c] = avx2_exp(_mm256_sub_ps(v[c], shift));
        if (!whole)
            v[c] = _mm256_and_ps(v[c], lanes_between(lo, hi, c));
        _mm256_storeu_ps(s + 8 * c, v[c]);
    }
    *max = new_max;
    *sum = fmaf(*sum, fade, avx2_sum64(v));
    return fade;
}

static float softmax(float *s, int lo, int hi, float *max, float *sum)
{
    return lo == 0 && hi == KV_PAGE ? softmax_of(s, 0, KV_PAGE, true, max, sum)
                                    : softmax_of(s, lo, hi, false, max, sum);
}

/* Part of a values() call: some vectors, some dimensions from d on, keys [lo, hi). */
struct values_part {
    const struct attention_block *b;
    const float *p, *fade;
    int lo, hi, d;
    float *acc;
};

/* 8 * width dimensions of n vectors. */
X86_INLINE void values_of(const struct values_part *a, int n, int width, enum kv_type type)
{
    size_t hd = (size_t)a->b->head_dim;
    float *out = a->acc + a->d;
    __m256 acc[VECTORS][4];
    X86_UNROLL
    for (int j = 0; j < n; j++)
        X86_UNROLL
    for (int c = 0; c < width; c++)
        acc[j][c] = _mm256_mul_ps(_mm256_loadu_ps(out + (size_t)j * hd + 8 * c),
                                  _mm256_set1_ps(a->fade[j]));
    for (int i = a->lo; i < a->hi; i++) {
        __m256 x[VECTORS];
        X86_UNROLL
        for (int j = 0; j < n; j++)
            x[j] = _mm256_broadcast_ss(a->p + KV_PAGE * j + i);
        X86_UNROLL
        for (int c = 0; c < width; c++) {
            size_t at = (size_t)i * hd + (size_t)(a->d + 8 * c);
            x86_fetch_ahead(a->b, hd * KV_PAGE + at, 8 * c, type);
            __m256 v = load8(a->b->values, at, type);
            X86_UNROLL
            for (int j = 0; j < n; j++)
                acc[j][c] = _mm256_fmadd_ps(x[j], v, acc[j][c]);
        }
    }
    X86_UNROLL
    for (int j = 0; j < n; j++)
        X86_UNROLL
    for (int c = 0; c < width; c++)
        _mm256_storeu_ps(out + (size_t)j * hd + 8 * c, acc[j][c]);
}

/* The dimensions past the last whole 8, one by one. */
X86_INLINE void values_tail(struct values_part *a, int n, enum kv_type type)
{
    size_t hd = (size_t)a->b->head_dim;
    for (; a->d < a->b->head_dim; a->d++) {
        for (int j = 0; j < n; j++) {
            float *out = a->acc + (size_t)j * hd + a->d, acc = *out * a->fade[j];
            for (int i = a->lo; i < a->hi; i++)
                acc = fmaf(a->p[KV_PAGE * j + i],
                           x86_load(a->b->values, (size_t)i * hd + (size_t)a->d, type), acc);
            *out = acc;
        }
    }
}

X86_INLINE void values_n(struct values_part *a, int n, enum kv_type type)
{
    int hd = a->b->head_dim;
    for (a->d = 0; a->d + 32 <= hd; a->d += 32)
        values_of(a, n, 4, type);
    for (; a->d + 8 <= hd; a->d += 8)
        values_of(a, n, 1, type);
    values_tail(a, n, type);
}

X86_INLINE void values_typed(struct values_part *a, int n, enum kv_type type)
{
    for (; n > 0; n -= VECTORS) {
        if (n >= 3)
            values_n(a, 3, type);
        else if (n == 2)
            values_n(a, 2, type);
        else
            values_n(a, 1, type);
        a->p += VECTORS * KV_PAGE;
        a->fade += VECTORS;
        a->acc += VECTORS * (size_t)a->b->head_dim;
    }
}

static void values(const struct attention_block *b, const float *p, const float *fade, int n,
                   int lo, int hi, float *acc)
{
    struct values_part a = {b, p, fade, lo, hi, 0, acc};
    if (b->type == KV_F16)
        values_typed(&a, n, KV_F16);
    else if (b->type == KV_BF16)
        values_typed(&a, n, KV_BF16);
    else
        values_typed(&a, n, KV_F32);
}

const struct attention_parts avx2_attention_parts = {scores, softmax, values};
