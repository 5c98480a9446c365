/* Private to the 256-bit products of quantized weights: all of them but the int8 dot product, which a
 * file defines before it includes this one:
 *   ROWS: how many rows of activations it takes side by side;
 *   dot_takes_zero(k): whether its sums are of (u - zero) * q; if not they are of u * q;
 *   dot_rows(k, lines, x, g, n, sum): sum[h][r] = the exact sums of group g, both halves h of the tile,
 *     for rows r < n of x; n is a constant, 1 or ROWS. */
#ifndef SP_KERNEL_AVX2_PRODUCTS_INT_H
#define SP_KERNEL_AVX2_PRODUCTS_INT_H

#include "kernel/cpu/avx2_act_int.h"

/* acc with the sum of group g, row r and half a tile. */
MM_INLINE __m256 add_sum(const struct mm_kind k, __m256 scale, __m256 min, const struct mm_act *x,
                         int g, int r, __m256i dot, __m256 acc)
{
    const union mm_total *total = x->total + r * x->ldt + g;
    if (k.zero_shift >= 0 && !dot_takes_zero(k))
        dot = _mm256_sub_epi32(dot, _mm256_set1_epi32(total->zero));
    __m256 dx = _mm256_set1_ps(x->d[r * x->ldd]);
    acc = _mm256_fmadd_ps(_mm256_mul_ps(scale, dx), _mm256_cvtepi32_ps(dot), acc);
    if (k.has_min)
        acc = _mm256_fmadd_ps(_mm256_mul_ps(min, dx), _mm256_set1_ps(total->sum), acc);
    return acc;
}

/* Adds the sums of group g, half a tile, of n rows to their accumulators [n][16]. */
MM_INLINE void add_sums(const struct mm_kind k, const struct mm_step *s, const struct mm_act *x,
                        int g, int half, const int n, const __m256i *sum, float *accs)
{
    __m256 scale = _mm256_load_ps(s->scale[g] + 8 * half);
    __m256 min = k.has_min ? _mm256_load_ps(s->min[g] + 8 * half) : scale;
    MM_UNROLL
    for (int r = 0; r < n; r++) {
        float *acc = accs + r * PACK_ROWS + 8 * half;
        _mm256_store_ps(acc, add_sum(k, scale, min, x, g, r, sum[r], _mm256_load_ps(acc)));
    }
}

/* Adds one step of n rows (a constant) to their accumulators [n][16]. */
MM_INLINE void add_step(const struct mm_kind k, const struct mm_step *s, const struct mm_act *x,
                        const int n, float *accs)
{
    MM_UNROLL
    for (int g = 0; g < MM_STEP / k.group; g++) {
        __m256i sum[2][ROWS];
        const struct mm_lines lines = {s->line[g * (k.group / 4)], false};
        dot_rows(k, lines, x, g, n, sum);
        MM_UNROLL
        for (int half = 0; half < 2; half++)
            add_sums(k, s, x, g, half, n, sum[half], accs);
    }
}

/* One step of all rows, from row r on n at a time, as long as that many are left; returns the next row. */
MM_INLINE int64_t step_rows(const struct mm_kind k, const struct mm_step *s, const struct mm_act *x,
                            int64_t r, int64_t rows, const int n, float *accs)
{
    for (; r + n <= rows; r += n) {
        struct mm_act at = {
            x->q + r * x->ldq, x->d + r * x->ldd, x->total + r * x->ldt, x->ldq, x->ldd, x->ldt};
        add_step(k, s, &at, n, accs + r * PACK_ROWS);
    }
    return r;
}

/* Rows [row, row + rows) of tile t: accumulators in scratch, [rows][16]. */
MM_INLINE void block_tile(const struct mm_kind k, const struct mm_args *m, int64_t row,
                          int64_t rows, int64_t t, const union mm_total *totals)
{
    const int64_t steps = mm_super(k) / MM_STEP;
    const uint8_t *tile = m->w->data + (size_t)t * m->w->tile_bytes;
    struct mm_act x = act_at(m->a, row, totals, m->w->cols / k.group);
    float *accs = m->scratch;
    memset(accs, 0, (size_t)rows * PACK_ROWS * sizeof *accs);
    for (int64_t i = 0; i < m->w->cols / MM_STEP; i++) {
        struct mm_step s;
        const uint8_t *super = tile + i / steps * mm_super_bytes(k);
        mm_load_step(k, super, (int)(i % steps), &s);
        mm_prefetch_kept(k, super + i % steps * mm_step_bytes(k), MM_KEPT_AHEAD);
        int64_t done = step_rows(k, &s, &x, 0, rows, ROWS, accs);
        step_rows(k, &s, &x, done, rows, 1, accs);
        x.q += MM_STEP;
        x.d++;
        x.total += MM_STEP / k.group;
    }
    mm_store_block(m, row, rows, t, 1, accs);
}

/* The same for one row: weights go from where they lie straight into the product. */
MM_INLINE void single_tile(const struct mm_kind k, const struct mm_args *m, int64_t row, int64_t t,
                           const union mm_total *totals)
{
    const int groups = mm_super(k) / k.group;
    const uint8_t *super = m->w->data + (size_t)t * m->w->tile_bytes;
    struct mm_act x = act_at(m->a, row, totals, m->w->cols / k.group);
    __m256 acc[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (int64_t i = 0; i < m->w->cols / mm_super(k); i++, super += mm_super_bytes(k)) {
        mm_prefetch_super(k, super, MM_ONCE_AHEAD);
        for (int g = 0; g < groups; g++) {
            const struct mm_lines lines = {super + mm_off_quants(k) + g * mm_group_bytes(k), true};
            __m256i sum[2][ROWS];
            dot_rows(k, lines, &x, 0, 1, sum);
            MM_UNROLL
            for (int half = 0; half < 2; half++) {
                __m256 scale = mm_half_scale(k, super, g, half);
                __m256 min = k.has_min ? mm_half_min(k, super, g, half) : scale;
                acc[half] = add_sum(k, scale, min, &x, 0, 0, sum[half][0], acc[half]);
            }
            x.q += k.group;
            x.total++;
            x.d += k.group == 32 || g % 2;
        }
    }
    _mm256_store_ps(m->scratch, acc[0]);
    _mm256_store_ps(m->scratch + 8, acc[1]);
    mm_store_block(m, row, 1, t, 1, m->scratch);
}

MM_INLINE void all_rows(const struct mm_kind k, const struct mm_args *m)
{
    union mm_total *totals = (void *)(m->scratch + MM_ROW_BLOCK * PACK_ROWS);
    for (int64_t row = 0; row < m->rows; row += MM_ROW_BLOCK) {
        int64_t n = m->rows - row < MM_ROW_BLOCK ? m->rows - row : MM_ROW_BLOCK;
        make_totals(k, m->a, row, n, totals);
        for (int64_t t = m->tile_begin; t < m->tile_end; t++) {
            if (n == 1)
                single_tile(k, m, row, t, totals);
            else
                block_tile(k, m, row, n, t, totals);
        }
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
