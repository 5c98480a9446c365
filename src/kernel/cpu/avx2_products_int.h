/* Private to the 256-bit products of quantized weights: all of them but the int8 dot product, which a
 * file defines before it includes this one:
 *   ROWS: how many rows of activations it takes side by side;
 *   dot_takes_zero(k): whether its sums are of (u - zero) * q; if not they are of u * q;
 *   finish_step(k, s): makes an expanded step what dot_rows wants;
 *   dot_rows(k, lines, x, g, n, sum): sum[h][r] = the exact sums of group g, both halves h of the tile,
 *     for rows r < n of x; n is a constant, 1 or ROWS. */
#ifndef SP_KERNEL_AVX2_PRODUCTS_INT_H
#define SP_KERNEL_AVX2_PRODUCTS_INT_H

#include "kernel/cpu/avx2_act_int.h"

#define CHUNK                                                                                      \
    8 /* steps that are expanded together: 10 KB, in the nearest cache with the rows they meet */

/* Scale and minimum of a group, both halves of the tile. */
struct mm_scales {
    __m256 scale[2], min[2];
};

/* Running sums of up to ROWS rows, both halves of the tile. */
struct mm_accs {
    __m256 of[2][ROWS];
};

/* acc with the sum of group g of row r. */
MM_INLINE __m256 add_sum(const struct mm_kind k, const struct mm_scales *s, const int half,
                         const struct mm_act *x, int g, int r, __m256i dot, __m256 acc)
{
    const union mm_total *total = x->total + r * x->ldt + g;
    if (k.zero_shift >= 0 && !dot_takes_zero(k))
        dot = _mm256_sub_epi32(dot, _mm256_set1_epi32(total->zero));
    __m256 dx = _mm256_set1_ps(x->d[r * x->ldd + g * k.group / 32]);
    acc = _mm256_fmadd_ps(_mm256_mul_ps(s->scale[half], dx), _mm256_cvtepi32_ps(dot), acc);
    if (k.has_min)
        acc = _mm256_fmadd_ps(_mm256_mul_ps(s->min[half], dx), _mm256_set1_ps(total->sum), acc);
    return acc;
}

/* Adds group g of n rows (a constant). */
MM_INLINE void add_group(const struct mm_kind k, const struct mm_lines lines,
                         const struct mm_scales *s, const struct mm_act *x, int g, const int n,
                         struct mm_accs *acc)
{
    __m256i sum[2][ROWS];
    dot_rows(k, lines, x, g, n, sum);
    MM_UNROLL
    for (int j = 0; j < 2 * n; j++) {
        const int r = j / 2, half = j % 2;
        acc->of[half][r] = add_sum(k, s, half, x, g, r, sum[half][r], acc->of[half][r]);
    }
}

MM_INLINE void load_accs(const float *from, const int n, struct mm_accs *acc)
{
    MM_UNROLL
    for (int j = 0; j < 2 * n; j++)
        acc->of[j % 2][j / 2] = _mm256_load_ps(from + 8 * j);
}

MM_INLINE void store_accs(const struct mm_accs *acc, const int n, float *to)
{
    MM_UNROLL
    for (int j = 0; j < 2 * n; j++)
        _mm256_store_ps(to + 8 * j, acc->of[j % 2][j / 2]);
}

/* Adds `steps` expanded steps of n rows (a constant) to their accumulators [n][16]. */
MM_INLINE void add_steps(const struct mm_kind k, const struct mm_step *s, int steps,
                         struct mm_act x, const int n, float *accs)
{
    struct mm_accs acc;
    load_accs(accs, n, &acc);
    for (int i = 0; i < steps; i++, s++) {
        MM_UNROLL
        for (int g = 0; g < MM_STEP / k.group; g++) {
            const struct mm_lines lines = {NULL, s, g};
            struct mm_scales of;
            MM_UNROLL
            for (int half = 0; half < 2; half++) {
                of.scale[half] = _mm256_load_ps(s->scale[g] + 8 * half);
                of.min[half] = k.has_min ? _mm256_load_ps(s->min[g] + 8 * half) : of.scale[half];
            }
            add_group(k, lines, &of, &x, g, n, &acc);
        }
        x.q += MM_STEP;
        x.d++;
        x.total += MM_STEP / k.group;
    }
    store_accs(&acc, n, accs);
}

/* The first row of x made the r-th. */
MM_INLINE struct mm_act from_row(const struct mm_act *x, int64_t r)
{
    return (struct mm_act){
        x->q + r * x->ldq, x->d + r * x->ldd, x->total + r * x->ldt, x->ldq, x->ldd, x->ldt};
}

/* Many rows [row, row + rows) of tile t: steps are expanded CHUNK at a time and meet all rows. Accumulators
 * in scratch, [rows][16]. */
MM_INLINE void many_rows(const struct mm_kind k, const struct mm_args *m, int64_t row, int64_t rows,
                         int64_t t, const union mm_total *totals)
{
    const int64_t per_super = mm_super(k) / MM_STEP, all = m->w->cols / MM_STEP;
    const uint8_t *tile = m->w->data + (size_t)t * m->w->tile_bytes;
    struct mm_act x = act_at(m->a, row, totals, m->w->cols / k.group);
    struct mm_step s[CHUNK];
    float *accs = m->scratch;
    memset(accs, 0, (size_t)rows * PACK_ROWS * sizeof *accs);
    for (int64_t begin = 0; begin < all; begin += CHUNK) {
        const int n = all - begin < CHUNK ? (int)(all - begin) : CHUNK;
        int64_t r = 0;
        for (int64_t i = begin; i < begin + n; i++) {
            const uint8_t *super = tile + i / per_super * mm_super_bytes(k);
            mm_load_step(k, super, (int)(i % per_super), s + (i - begin));
            finish_step(k, s + (i - begin));
            mm_prefetch_kept(k, super + i % per_super * mm_step_bytes(k), MM_KEPT_AHEAD);
        }
        for (; r + ROWS <= rows; r += ROWS)
            add_steps(k, s, n, from_row(&x, r), ROWS, accs + r * PACK_ROWS);
        for (; r < rows; r++)
            add_steps(k, s, n, from_row(&x, r), 1, accs + r * PACK_ROWS);
        x.q += n * MM_STEP;
        x.d += n;
        x.total += n * (MM_STEP / k.group);
    }
    mm_store_block(m, row, rows, t, 1, accs);
}

/* n rows (a constant) of tile t: weights go from where they lie straight into the product. */
MM_INLINE void few_rows(const struct mm_kind k, const struct mm_args *m, int64_t row, const int n,
                        int64_t t, struct mm_act x)
{
    const uint8_t *super = m->w->data + (size_t)t * m->w->tile_bytes;
    struct mm_accs acc;
    MM_UNROLL
    for (int j = 0; j < 2 * n; j++)
        acc.of[j % 2][j / 2] = _mm256_setzero_ps();
    for (int64_t i = 0; i < m->w->cols / mm_super(k); i++, super += mm_super_bytes(k)) {
        mm_prefetch_once(mm_super_bytes(k), super, MM_ONCE_AHEAD);
        for (int g = 0; g < mm_super(k) / k.group; g++) {
            const struct mm_lines lines = {super + mm_off_quants(k) + g * mm_group_bytes(k), NULL,
                                           g};
            struct mm_scales of;
            MM_UNROLL
            for (int half = 0; half < 2; half++) {
                of.scale[half] = mm_half_scale(k, super, g, half);
                of.min[half] = k.has_min ? mm_half_min(k, super, g, half) : of.scale[half];
            }
            add_group(k, lines, &of, &x, 0, n, &acc);
            x.q += k.group;
            x.total++;
            x.d += k.group == 32 || g % 2;
        }
    }
    store_accs(&acc, n, m->scratch);
    mm_store_block(m, row, n, t, 1, m->scratch);
}

/* Up to this many rows it is quicker to take a tile apart again for every pair than to go through a buffer. */
MM_INLINE int64_t few(const struct mm_kind k)
{
    return k.bits == 4 && !k.coded ? 8 : ROWS;
}

MM_INLINE void block_tile(const struct mm_kind k, const struct mm_args *m, int64_t row,
                          int64_t rows, int64_t t, const union mm_total *totals)
{
    if (rows > few(k)) {
        many_rows(k, m, row, rows, t, totals);
        return;
    }
    struct mm_act x = act_at(m->a, row, totals, m->w->cols / k.group);
    int64_t r = 0;
    for (; r + ROWS <= rows; r += ROWS)
        few_rows(k, m, row + r, ROWS, t, from_row(&x, r));
    for (; r < rows; r++)
        few_rows(k, m, row + r, 1, t, from_row(&x, r));
}

MM_INLINE void all_rows(const struct mm_kind k, const struct mm_args *m)
{
    union mm_total *totals = (void *)(m->scratch + MM_ROW_BLOCK * PACK_ROWS);
    for (int64_t row = 0, n; row < m->rows; row += n) {
        n = mm_block_rows(m->rows - row);
        make_totals(k, m->a, row, n, totals);
        for (int64_t t = m->tile_begin; t < m->tile_end; t++)
            block_tile(k, m, row, n, t, totals);
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
