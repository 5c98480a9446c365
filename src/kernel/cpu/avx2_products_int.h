/* Private to the 256-bit products of quantized weights: all of them but the int8 dot product, which a
 * file defines before it includes avx2_products_int.h:
 *   HALVES: how many halves of a tile (1 or 2) a dot product takes together;
 *   dot_takes_zero(k): whether its sums are of (u - zero) * q; if not they are of u * q;
 *   dot_rows(k, line, x, g, n, sum): sum[h][r] = the exact sums of group g and row r of n, a constant;
 *     line: the group's first, at the first half. */
#ifndef SP_KERNEL_AVX2_PRODUCTS_INT_H
#define SP_KERNEL_AVX2_PRODUCTS_INT_H

#include "kernel/cpu/avx2_act_int.h"

/* Adds the sums of group g, half a tile, of n rows to their accumulators [n][16]. */
MM_INLINE void add_sums(const struct mm_kind k, const struct mm_step *s, const struct mm_act *x,
                        int g, int half, const int n, const __m256i *sum, float *accs)
{
    const __m256i shift = _mm256_set1_epi32(k.zero_shift);
    __m256 scale = _mm256_load_ps(s->scale[g] + 8 * half);
    MM_UNROLL
    for (int r = 0; r < n; r++) {
        const int32_t *sums = x->sum + r * x->lds + g;
        __m256i total = _mm256_set1_epi32(sums[0]), dot = sum[r];
        if (k.group == 32)
            total = _mm256_add_epi32(total, _mm256_set1_epi32(sums[1]));
        if (k.zero_shift >= 0 && !dot_takes_zero(k))
            dot = _mm256_sub_epi32(dot, _mm256_sllv_epi32(total, shift));
        __m256 dx = _mm256_set1_ps(x->d[r * x->ldd]);
        __m256 acc = _mm256_load_ps(accs + r * PACK_ROWS + 8 * half);
        acc = _mm256_fmadd_ps(_mm256_mul_ps(scale, dx), _mm256_cvtepi32_ps(dot), acc);
        if (k.has_min)
            acc = _mm256_fmadd_ps(_mm256_mul_ps(_mm256_load_ps(s->min[g] + 8 * half), dx),
                                  _mm256_cvtepi32_ps(total), acc);
        _mm256_store_ps(accs + r * PACK_ROWS + 8 * half, acc);
    }
}

/* Adds one step of n rows (a constant) to their accumulators [n][16]. */
MM_INLINE void add_step(const struct mm_kind k, const struct mm_step *s, const struct mm_act *x,
                        const int n, float *accs)
{
    MM_UNROLL
    for (int half = 0; half < 2; half += HALVES) {
        MM_UNROLL
        for (int g = 0; g < MM_STEP / k.group; g++) {
            __m256i sum[HALVES][ROWS];
            dot_rows(k, s->line[g * (k.group / 4)] + 32 * half, x, g, n, sum);
            MM_UNROLL
            for (int h = 0; h < HALVES; h++)
                add_sums(k, s, x, g, half + h, n, sum[h], accs);
        }
    }
}

/* Rows [row, row + rows) of tile t: accumulators in scratch, [rows][16]. */
MM_INLINE void block_tile(const struct mm_kind k, const struct mm_args *m, int64_t row,
                          int64_t rows, int64_t t)
{
    const int64_t steps = mm_super(k) / MM_STEP;
    const uint8_t *tile = m->w->data + (size_t)t * m->w->tile_bytes;
    struct mm_act x = act_at(m->a, row);
    float *accs = m->scratch;
    memset(accs, 0, (size_t)rows * PACK_ROWS * sizeof *accs);
    for (int64_t i = 0; i < m->w->cols / MM_STEP; i++) {
        struct mm_step s;
        struct mm_act at = {x.q + i * MM_STEP, x.d + i, x.sum + 2 * i, x.ldq, x.ldd, x.lds};
        int64_t r = 0;
        const uint8_t *super = tile + i / steps * mm_super_bytes(k);
        mm_load_step(k, super, (int)(i % steps), &s);
        mm_prefetch_kept(k, super + i % steps * mm_step_bytes(k), MM_KEPT_AHEAD);
        for (; r + ROWS <= rows; r += ROWS) {
            add_step(k, &s, &at, ROWS, accs + r * PACK_ROWS);
            at.q += ROWS * at.ldq;
            at.d += ROWS * at.ldd;
            at.sum += ROWS * at.lds;
        }
        for (; r < rows; r++) {
            add_step(k, &s, &at, 1, accs + r * PACK_ROWS);
            at.q += at.ldq;
            at.d += at.ldd;
            at.sum += at.lds;
        }
    }
    mm_store_block(m, row, rows, t, 1, accs);
}

MM_INLINE void all_rows(const struct mm_kind k, const struct mm_args *m)
{
    for (int64_t row = 0; row < m->rows; row += MM_ROW_BLOCK) {
        int64_t n = m->rows - row < MM_ROW_BLOCK ? m->rows - row : MM_ROW_BLOCK;
        for (int64_t t = m->tile_begin; t < m->tile_end; t++)
            block_tile(k, m, row, n, t);
    }
}

static void matmul_q4_0(const struct mm_args *m)
{
    all_rows(mm_q4_0, m);
}
static void matmul_q4_1(const struct mm_args *m)
{
    all_rows(mm_q4_1, m);
}
static void matmul_q5_0(const struct mm_args *m)
{
    all_rows(mm_q5_0, m);
}
static void matmul_q5_1(const struct mm_args *m)
{
    all_rows(mm_q5_1, m);
}
static void matmul_q8_0(const struct mm_args *m)
{
    all_rows(mm_q8_0, m);
}
static void matmul_q2_k(const struct mm_args *m)
{
    all_rows(mm_q2_k, m);
}
static void matmul_q3_k(const struct mm_args *m)
{
    all_rows(mm_q3_k, m);
}
static void matmul_q4_k(const struct mm_args *m)
{
    all_rows(mm_q4_k, m);
}
static void matmul_q5_k(const struct mm_args *m)
{
    all_rows(mm_q5_k, m);
}
static void matmul_q6_k(const struct mm_args *m)
{
    all_rows(mm_q6_k, m);
}

static void matmul_iq4_nl(const struct mm_args *m)
{
    all_rows(mm_iq4_nl, m);
}
static void matmul_iq4_xs(const struct mm_args *m)
{
    all_rows(mm_iq4_xs, m);
}

static void (*const products[MM_KINDS])(const struct mm_args *) = {
    [MM_Q4_0] = matmul_q4_0, [MM_Q4_1] = matmul_q4_1,     [MM_Q5_0] = matmul_q5_0,
    [MM_Q5_1] = matmul_q5_1, [MM_Q8_0] = matmul_q8_0,     [MM_Q2_K] = matmul_q2_k,
    [MM_Q3_K] = matmul_q3_k, [MM_Q4_K] = matmul_q4_k,     [MM_Q5_K] = matmul_q5_k,
    [MM_Q6_K] = matmul_q6_k, [MM_IQ4_NL] = matmul_iq4_nl, [MM_IQ4_XS] = matmul_iq4_xs,
};

#endif
