/* Private to the AVX-512 products: expanding packed weights in registers. */
#ifndef SP_KERNEL_AVX512_MATMUL_INT_H
#define SP_KERNEL_AVX512_MATMUL_INT_H

#include <immintrin.h>
#include "kernel/cpu/matmul_int.h"

/* 32 columns of a tile: eight quad lines of u, and the scale and minimum of one or two groups. */
struct mm_step {
    __m512i line[8];
    __m512 scale[2], min[2];
};

MM_INLINE __m512 mm_load_f16(const uint8_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}

MM_INLINE __m512 mm_load_u8(const uint8_t *p)
{
    return _mm512_cvtepi32_ps(
        _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
}

MM_INLINE __m512 mm_load_i8(const uint8_t *p)
{
    return _mm512_cvtepi32_ps(
        _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
}

/* Adds `value` to the bytes of v whose bit in the plane's word is set. */
MM_INLINE __m512i mm_add_plane(__m512i v, const uint8_t *word, char value)
{
    uint64_t bits;
    memcpy(&bits, word, sizeof bits);
    return _mm512_mask_add_epi8(v, bits, v, _mm512_set1_epi8(value));
}

/* The quad lines of one group at p to line[group / 4]. */
MM_INLINE void mm_expand_group(const struct mm_kind k, const uint8_t *p, __m512i *line)
{
    const __m512i low = _mm512_set1_epi8(15);
    const int lines = k.group / 4;
    if (k.bits == 8) {
        MM_UNROLL
        for (int i = 0; i < lines; i++)
            line[i] = _mm512_loadu_si512(p + 64 * i);
        return;
    }
    MM_UNROLL
    for (int i = 0; i < lines; i += 2) {
        __m512i v = _mm512_loadu_si512(p + 32 * i);
        line[i] = _mm512_and_si512(v, low);
        line[i + 1] = _mm512_and_si512(_mm512_srli_epi16(v, 4), low);
    }
    if (k.coded) {
        const __m512i codes =
            _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)pack_iq4_codes));
        MM_UNROLL
        for (int i = 0; i < lines; i++)
            line[i] = _mm512_shuffle_epi8(codes, line[i]);
    }
    const uint8_t *plane4 = p + 32 * lines, *plane5 = plane4 + 8 * lines;
    if (k.bits > 4) {
        MM_UNROLL
        for (int i = 0; i < lines; i++)
            line[i] = mm_add_plane(line[i], plane4 + 8 * i, 16);
    }
    if (k.bits > 5) {
        MM_UNROLL
        for (int i = 0; i < lines; i++)
            line[i] = mm_add_plane(line[i], plane5 + 8 * i, 32);
    }
}

/* Step i of a super-group. */
MM_INLINE void mm_load_step(const struct mm_kind k, const uint8_t *super, int i, struct mm_step *s)
{
    const int groups = MM_STEP / k.group;
    const uint8_t *quants = super + mm_off_quants(k) + i * groups * mm_group_bytes(k);
    __m512 d = mm_load_f16(super);
    __m512 dmin = k.has_min ? mm_load_f16(super + 32) : _mm512_setzero_ps();
    MM_UNROLL
    for (int g = 0; g < groups; g++) {
        mm_expand_group(k, quants + g * mm_group_bytes(k), s->line + g * (k.group / 4));
        s->scale[g] = d;
        s->min[g] = dmin;
        if (!k.two_level)
            continue;
        const uint8_t *sc = super + mm_off_sc(k) + 16 * (i * groups + g);
        s->scale[g] = _mm512_mul_ps(d, k.signed_sc ? mm_load_i8(sc) : mm_load_u8(sc));
        if (k.has_min) {
            const uint8_t *m = super + mm_off_m(k) + 16 * (i * groups + g);
            __m512 minus = _mm512_sub_ps(_mm512_set1_ps(-0.0f), dmin);
            s->min[g] = _mm512_mul_ps(minus, mm_load_u8(m));
        }
    }
}

/* Writes the rows of a tile that exist: out[0 .. min(16, left)). */
MM_INLINE void mm_store(float *out, int64_t left, __m512 v)
{
    if (left >= PACK_ROWS)
        _mm512_storeu_ps(out, v);
    else
        _mm512_mask_storeu_ps(out, (__mmask16)((1u << left) - 1), v);
}

/* cpu/avx512_matmul_f32.c: BF16 weights and activations, pairs of columns in order. */
void avx512_matmul_bf16(const struct mm_args *m);

#endif
