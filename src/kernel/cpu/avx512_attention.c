/* Attention within one block of 64 keys, 16 keys or dimensions in a register. Up to six query vectors go
 * through a block together: 24 sums, 4 registers of keys or values, 1 factor. */
#include <math.h>
#include "kernel/cpu/avx512_int.h"
#include "kernel/cpu/x86_attention_int.h"

#define VECTORS 6

#define CASE(n, call)                                                                              \
    case n:                                                                                        \
        call;                                                                                      \
        break;

X86_INLINE __m512 load16(const uint8_t *base, size_t i, enum kv_type type)
{
    if (type == KV_F32)
        return _mm512_loadu_ps((const void *)(base + 4 * i));
    __m256i half = _mm256_loadu_si256((const void *)(base + 2 * i));
    if (type == KV_F16)
        return _mm512_cvtph_ps(half);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

X86_INLINE void scores_of(const struct attention_block *b, const float *const *q, int n,
                          enum kv_type type, float scale, float *s)
{
    __m512 acc[VECTORS][4];

    X86_UNROLL
    for (int j = 0; j < n; j++)
        X86_UNROLL
    for (int c = 0; c < 4; c++)
        acc[j][c] = _mm512_setzero_ps();
    for (int d = 0; d < b->head_dim; d++) {
        __m512 k[4];

        X86_UNROLL
        for (int c = 0; c < 4; c++) {
            size_t at = (size_t)(d * KV_PAGE + 16 * c);
            x86_fetch_ahead(b, at, 16 * c, type);
            k[c] = load16(b->keys, at, type);
        }

        X86_UNROLL
        for (int j = 0; j < n; j++) {
            __m512 x = _mm512_set1_ps(q[j][d]);

            X86_UNROLL
            for (int c = 0; c < 4; c++)
                acc[j][c] = _mm512_fmadd_ps(x, k[c], acc[j][c]);
        }
    }
    __m512 factor = _mm512_set1_ps(scale);

    X86_UNROLL
    for (int j = 0; j < n; j++)
        X86_UNROLL
    for (int c = 0; c < 4; c++)
        _mm512_storeu_ps(s + KV_PAGE * j + 16 * c, _mm512_mul_ps(acc[j][c], factor));
}

X86_INLINE void scores_typed(const struct attention_block *b, const float *const *q, int n,
                             enum kv_type type, float scale, float *s)
{
    for (; n >= VECTORS; n -= VECTORS, q += VECTORS, s += VECTORS * KV_PAGE)
        scores_of(b, q, VECTORS, type, scale, s);
    switch (n) {
        CASE(5, scores_of(b, q, 5, type, scale, s))
        CASE(4, scores_of(b, q, 4, type, scale, s))
        CASE(3, scores_of(b, q, 3, type, scale, s))
        CASE(2, scores_of(b, q, 2, type, scale, s))
        CASE(1, scores_of(b, q, 1, type, scale, s))
    default:
        break;
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

static float softmax(float *s, int lo, int hi, float *max, float *sum)
{
    __m512 v[4], top = _mm512_set1_ps(*max);
    __mmask16 m[4];

    X86_UNROLL
    for (int c = 0; c < 4; c++) {
        m[c] = avx512_first(hi - 16 * c) & (__mmask16)~avx512_first(lo - 16 * c);
        v[c] = _mm512_loadu_ps(s + 16 * c);
        top = _mm512_mask_max_ps(top, m[c], top, v[c]);
    }
    float new_max = _mm512_reduce_max_ps(top), fade = exp_f32(*max - new_max);
    __m512 shift = _mm512_set1_ps(new_max);

    X86_UNROLL
    for (int c = 0; c < 4; c++) {
        v[c] = _mm512_maskz_mov_ps(m[c], avx512_exp(_mm512_sub_ps(v[c], shift)));
        _mm512_storeu_ps(s + 16 * c, v[c]);
    }
    *max = new_max;
    *sum = fmaf(*sum, fade, avx512_sum64(v));
    return fade;
}

/* Part of a values() call: n vectors, 16 * width dimensions from `d` on, keys [lo, hi). */
struct values_part {
    const struct attention_block *b;
    const float *p, *fade;
    int lo, hi, d;
    float *acc;
};

X86_INLINE void values_of(const struct values_part *a, int n, int width, enum kv_type type)
{
    size_t hd = (size_t)a->b->head_dim;
    float *out = a->acc + a->d;
    __m512 acc[VECTORS][4];

    X86_UNROLL
    for (int j = 0; j < n; j++)
        X86_UNROLL
    for (int c = 0; c < width; c++)
        acc[j][c] = _mm512_mul_ps(_mm512_loadu_ps(out + (size_t)j * hd + 16 * c),
                                  _mm512_set1_ps(a->fade[j]));
    for (int i = a->lo; i < a->hi; i++) {
        __m512 v[4];

        X86_UNROLL
        for (int c = 0; c < width; c++) {
            size_t at = (size_t)i * hd + (size_t)(a->d + 16 * c);
            x86_fetch_ahead(a->b, hd * KV_PAGE + at, 16 * c, type);
            v[c] = load16(a->b->values, at, type);
        }

        X86_UNROLL
        for (int j = 0; j < n; j++) {
            __m512 x = _mm512_set1_ps(a->p[KV_PAGE * j + i]);

            X86_UNROLL
            for (int c = 0; c < width; c++)
                acc[j][c] = _mm512_fmadd_ps(x, v[c], acc[j][c]);
        }
    }

    X86_UNROLL
    for (int j = 0; j < n; j++)
        X86_UNROLL
    for (int c = 0; c < width; c++)
        _mm512_storeu_ps(out + (size_t)j * hd + 16 * c, acc[j][c]);
}

/* The dimensions past the last whole 16, one by one. */
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
    for (a->d = 0; a->d + 64 <= hd; a->d += 64)
        values_of(a, n, 4, type);
    for (; a->d + 16 <= hd; a->d += 16)
        values_of(a, n, 1, type);
    values_tail(a, n, type);
}

X86_INLINE void values_typed(struct values_part *a, int n, enum kv_type type)
{
    for (; n >= VECTORS; n -= VECTORS) {
        values_n(a, VECTORS, type);
        a->p += VECTORS * KV_PAGE;
        a->fade += VECTORS;
        a->acc += VECTORS * (size_t)a->b->head_dim;
    }
    switch (n) {
        CASE(5, values_n(a, 5, type))
        CASE(4, values_n(a, 4, type))
        CASE(3, values_n(a, 3, type))
        CASE(2, values_n(a, 2, type))
        CASE(1, values_n(a, 1, type))
    default:
        break;
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

const struct attention_parts avx512_attention_parts = {scores, softmax, values};
