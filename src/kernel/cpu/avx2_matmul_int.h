/* Private to the AVX2 products: expanding packed weights to small buffers. A tile's 16 rows are two
 * halves of 8 lanes. */
#ifndef SP_KERNEL_AVX2_MATMUL_INT_H
#define SP_KERNEL_AVX2_MATMUL_INT_H

#include <immintrin.h>
#include "kernel/cpu/matmul_int.h"

/* 32 columns of a tile: eight quad lines of u, scale and minimum of one or two groups. */
struct mm_step {
    _Alignas(32) uint8_t line[8][64];
    _Alignas(32) uint8_t more[8][64]; /* what a product wants to know of them besides */
    _Alignas(32) float scale[2][PACK_ROWS], min[2][PACK_ROWS];
};

MM_INLINE __m256 mm_load_f16(const uint8_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}

MM_INLINE __m256 mm_load_bytes(const uint8_t *p, bool is_signed)
{
    __m128i v = _mm_loadl_epi64((const __m128i *)(const void *)p);
    return _mm256_cvtepi32_ps(is_signed ? _mm256_cvtepi8_epi32(v) : _mm256_cvtepu8_epi32(v));
}

MM_INLINE __m256i mm_load(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

MM_INLINE void mm_put(void *p, __m256i v)
{
    _mm256_storeu_si256((__m256i *)p, v);
}

/* 32 bits to 32 bytes: `value` where the bit is set, else 0. What is left of a byte after the mask is 0, or
 * its own bit: positive, but for bit 7. */
MM_INLINE __m256i mm_spread(const uint8_t *word, char value)
{
    const __m256i pick =
        _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i mask = _mm256_set1_epi64x((long long)0x8040201008040201u);
    const __m256i signs = _mm256_set1_epi64x((long long)0xff01010101010101u);
    __m256i bits = _mm256_shuffle_epi8(_mm256_set1_epi32(mm_load32(word)), pick);
    return _mm256_sign_epi8(_mm256_sign_epi8(_mm256_set1_epi8(value), signs),
                            _mm256_and_si256(bits, mask));
}

/* Half of quad line i of a group at p. */
MM_INLINE __m256i mm_half_line(const struct mm_kind k, const uint8_t *p, int i, int half)
{
    const int lines = k.group / 4;
    const uint8_t *plane4 = p + 32 * lines, *plane5 = plane4 + 8 * lines;
    if (k.bits == 8)
        return mm_load(p + 64 * i + 32 * half);
    __m256i v = mm_load(p + 64 * (i / 2) + 32 * half);
    v = _mm256_and_si256(i % 2 ? _mm256_srli_epi16(v, 4) : v, _mm256_set1_epi8(15));
    if (k.coded)
        v = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(
                                    _mm_loadu_si128((const __m128i *)(const void *)pack_iq4_codes)),
                                v);
    if (k.bits > 4)
        v = _mm256_or_si256(v, mm_spread(plane4 + 8 * i + 4 * half, 16));
    if (k.bits > 5)
        v = _mm256_or_si256(v, mm_spread(plane5 + 8 * i + 4 * half, 32));
    return v;
}

/* The quad lines of a group: as they are packed (step NULL), or group g of an expanded step. */
struct mm_lines {
    const uint8_t *packed;
    const struct mm_step *step;
    int g;
};

/* The quad lines of one group at p to line[group / 4]. */
MM_INLINE void mm_expand_group(const struct mm_kind k, const uint8_t *p, uint8_t (*line)[64])
{
    MM_UNROLL
    for (int i = 0; i < k.group / 2; i++)
        mm_put(line[i / 2] + 32 * (i % 2), mm_half_line(k, p, i / 2, i % 2));
}

/* Scales of group g of a super-group, half a tile. */
MM_INLINE __m256 mm_half_scale(const struct mm_kind k, const uint8_t *super, int g, int half)
{
    __m256 d = mm_load_f16(super + 16 * half);
    if (!k.two_level)
        return d;
    return _mm256_mul_ps(d, mm_load_bytes(super + mm_off_sc(k) + 16 * g + 8 * half, k.signed_sc));
}

/* Minimums of the same. */
MM_INLINE __m256 mm_half_min(const struct mm_kind k, const uint8_t *super, int g, int half)
{
    __m256 min = mm_load_f16(super + 32 + 16 * half);
    if (!k.two_level)
        return min;
    return _mm256_mul_ps(_mm256_sub_ps(_mm256_set1_ps(-0.0f), min),
                         mm_load_bytes(super + mm_off_m(k) + 16 * g + 8 * half, false));
}

/* Step i of a super-group. */
MM_INLINE void mm_load_step(const struct mm_kind k, const uint8_t *super, int i, struct mm_step *s)
{
    const int groups = MM_STEP / k.group;
    const uint8_t *quants = super + mm_off_quants(k) + i * groups * mm_group_bytes(k);
    MM_UNROLL
    for (int g = 0; g < groups; g++) {
        mm_expand_group(k, quants + g * mm_group_bytes(k), s->line + g * (k.group / 4));
        MM_UNROLL
        for (int half = 0; half < 2; half++) {
            _mm256_store_ps(s->scale[g] + 8 * half, mm_half_scale(k, super, i * groups + g, half));
            if (k.has_min)
                _mm256_store_ps(s->min[g] + 8 * half, mm_half_min(k, super, i * groups + g, half));
        }
    }
}

/* Writes accumulators [rows][tiles][16] of tiles from t on to the output's rows from `row` on. */
MM_INLINE void mm_store_block(const struct mm_args *m, int64_t row, int64_t rows, int64_t t,
                              int tiles, const float *accs)
{
    for (int64_t r = 0; r < rows; r++) {
        for (int j = 0; j < tiles; j++) {
            int64_t left = m->w->rows - (t + j) * PACK_ROWS;
            memcpy(m->out + (row + r) * m->ldo + (t + j) * PACK_ROWS,
                   accs + (r * tiles + j) * PACK_ROWS,
                   (size_t)(left < PACK_ROWS ? left : PACK_ROWS) * sizeof *accs);
        }
    }
}

#endif
