/* Products with float32 arithmetic, AVX2: every kind of weights, expanded exactly. */
#include "kernel/cpu/avx2_matmul_int.h"

#define FEW_TILES 4 /* tiles side by side when there are few rows: independent chains */

_Static_assert((MM_ROW_BLOCK + MM_STEP) * FEW_TILES * PACK_ROWS * sizeof(float) <=
                   MATMUL_SCRATCH_BASE,
               "accumulators and an expanded step fit in the scratch of a worker");

MM_INLINE void expand_quant(const struct mm_kind k, const uint8_t *tile, int64_t s, float *dst)
{
    const int steps = mm_super(k) / MM_STEP;
    const __m256i byte = _mm256_set1_epi32(255);
    const __m256i zero = _mm256_set1_epi32(k.zero_shift >= 0 ? 1 << k.zero_shift : 0);
    struct mm_step v;
    mm_load_step(k, tile + s / steps * mm_super_bytes(k), (int)(s % steps), &v);
    MM_UNROLL
    for (int i = 0; i < 16; i++) {
        const int line = i / 2, half = i % 2, g = 4 * line / k.group;
        __m256 scale = _mm256_load_ps(v.scale[g] + 8 * half);
        __m256i bytes = mm_load(v.line[line] + 32 * half);
        MM_UNROLL
        for (int c = 0; c < 4; c++) {
            __m256i u = _mm256_sub_epi32(_mm256_and_si256(bytes, byte), zero);
            __m256 f = _mm256_mul_ps(scale, _mm256_cvtepi32_ps(u));
            if (k.has_min)
                f = _mm256_add_ps(f, _mm256_load_ps(v.min[g] + 8 * half));
            _mm256_store_ps(dst + (4 * line + c) * PACK_ROWS + 8 * half, f);
            bytes = _mm256_srli_epi32(bytes, 8);
        }
    }
}

/* Lines of step s that exist: 16 pairs of columns, or 32 columns, fewer at the end of a row. */
MM_INLINE int step_lines(int64_t total, int64_t s, int per_step)
{
    int64_t left = total - s * per_step;
    return left < per_step ? (int)left : per_step;
}

/* Half a line of pairs of F16 or BF16: two columns of eight rows, for F16 in another order of rows, which
 * in_order() undoes: it is cheaper once at the end. */
MM_INLINE void unpair(enum pack_class cls, const uint8_t *p, __m256 *first, __m256 *second)
{
    if (cls == PACK_BF16) {
        const __m256i high = _mm256_set1_epi32((int)0xffff0000u);
        __m256i pair = mm_load(p);
        *first = _mm256_castsi256_ps(_mm256_slli_epi32(pair, 16));
        *second = _mm256_castsi256_ps(_mm256_and_si256(pair, high));
        return;
    }
    __m256 a = mm_load_f16(p), b = mm_load_f16(p + 16);
    *first = _mm256_shuffle_ps(a, b, 0x88);
    *second = _mm256_shuffle_ps(a, b, 0xdd);
}

MM_INLINE __m256 in_order(enum pack_class cls, __m256 v)
{
    if (cls == PACK_BF16)
        return v;
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(v), 0xd8));
}

MM_INLINE void expand_pairs(enum pack_class cls, const struct packed *w, const uint8_t *tile,
                            int64_t s, float *dst)
{
    const uint8_t *p = tile + 64 * 16 * s;
    int lines = step_lines((w->cols + 1) / 2, s, 16);
    for (int i = 0; i < 2 * lines; i++) {
        float *to = dst + (i / 2) * 2 * PACK_ROWS + (i % 2) * 8;
        __m256 first, second;
        unpair(cls, p + 32 * i, &first, &second);
        _mm256_store_ps(to, in_order(cls, first));
        _mm256_store_ps(to + PACK_ROWS, in_order(cls, second));
    }
}

static void expand_any_quant(enum mm_kind_id kind, const uint8_t *tile, int64_t s, float *dst)
{
    switch (kind) {
    case MM_Q4_0:
        expand_quant(mm_q4_0, tile, s, dst);
        break;
    case MM_Q4_1:
        expand_quant(mm_q4_1, tile, s, dst);
        break;
    case MM_Q5_0:
        expand_quant(mm_q5_0, tile, s, dst);
        break;
    case MM_Q5_1:
        expand_quant(mm_q5_1, tile, s, dst);
        break;
    case MM_Q8_0:
        expand_quant(mm_q8_0, tile, s, dst);
        break;
    case MM_Q2_K:
        expand_quant(mm_q2_k, tile, s, dst);
        break;
    case MM_Q3_K:
        expand_quant(mm_q3_k, tile, s, dst);
        break;
    case MM_Q4_K:
        expand_quant(mm_q4_k, tile, s, dst);
        break;
    case MM_Q5_K:
        expand_quant(mm_q5_k, tile, s, dst);
        break;
    case MM_Q6_K:
        expand_quant(mm_q6_k, tile, s, dst);
        break;
    case MM_IQ4_NL:
        expand_quant(mm_iq4_nl, tile, s, dst);
        break;
    case MM_IQ4_XS:
        expand_quant(mm_iq4_xs, tile, s, dst);
        break;
    default:
        break;
    }
}

/* Step s of a tile as float32, [32 columns][16 rows]: expanded to dst, or where it lies. */
static const float *expand(const struct packed *w, const uint8_t *tile, int64_t s, float *dst)
{
    if (w->cls == PACK_F32)
        return (const float *)(const void *)(tile + 64 * MM_STEP * s);
    if (w->group > 1)
        expand_any_quant(mm_kind_of(w), tile, s, dst);
    else if (w->cls == PACK_F16)
        expand_pairs(PACK_F16, w, tile, s, dst);
    else
        expand_pairs(PACK_BF16, w, tile, s, dst);
    return dst;
}

/* acc[r][t] += x[r] w[t] over cols columns. w: [tiles] of [32][16], accs: [rows][tiles][16];
 * rows * tiles <= 4, constants. */
MM_INLINE void chains(const float *const *w, const float *x, int64_t ldx, int cols, float *accs,
                      const int tiles, const int rows)
{
    __m256 acc[8];
    MM_UNROLL
    for (int i = 0; i < 2 * tiles * rows; i++)
        acc[i] = _mm256_load_ps(accs + 8 * i);
    for (int c = 0; c < cols; c++) {
        MM_UNROLL
        for (int r = 0; r < rows; r++) {
            __m256 v = _mm256_set1_ps(x[r * ldx + c]);
            MM_UNROLL
            for (int i = 0; i < 2 * tiles; i++) {
                __m256 column = _mm256_load_ps(w[i / 2] + c * PACK_ROWS + 8 * (i % 2));
                acc[2 * tiles * r + i] = _mm256_fmadd_ps(column, v, acc[2 * tiles * r + i]);
            }
        }
    }
    MM_UNROLL
    for (int i = 0; i < 2 * tiles * rows; i++)
        _mm256_store_ps(accs + 8 * i, acc[i]);
}

MM_INLINE void step_rows(const float *const *w, const float *x, int64_t ldx, int cols, float *accs,
                         const int tiles, int64_t rows)
{
    const int most = 4 / tiles;
    int64_t r = 0;
    for (; r + most <= rows; r += most)
        chains(w, x + r * ldx, ldx, cols, accs + r * tiles * PACK_ROWS, tiles, most);
    for (; r < rows; r++)
        chains(w, x + r * ldx, ldx, cols, accs + r * tiles * PACK_ROWS, tiles, 1);
}

/* Rows [row, row + rows) of `tiles` tiles from t on. Scratch: accumulators, then the expanded step. */
MM_INLINE void f32_tiles(const struct mm_args *m, int64_t row, int64_t rows, int64_t t,
                         const int tiles)
{
    float *accs = m->scratch, *wcols = accs + MM_ROW_BLOCK * FEW_TILES * PACK_ROWS;
    const float *x = m->a->f32 + row * m->a->ldf;
    const size_t step_bytes = m->w->tile_bytes * MM_STEP / (size_t)m->w->cols;
    memset(accs, 0, (size_t)(rows * tiles) * PACK_ROWS * sizeof *accs);
    for (int64_t s = 0; s * MM_STEP < m->w->cols; s++) {
        const float *w[FEW_TILES] = {0};
        for (int j = 0; j < tiles; j++) {
            const uint8_t *tile = m->w->data + (size_t)(t + j) * m->w->tile_bytes;
            w[j] = expand(m->w, tile, s, wcols + j * MM_STEP * PACK_ROWS);
            size_t ahead = (size_t)s * step_bytes + MM_ONCE_AHEAD;
            if (ahead >= m->w->tile_bytes)
                ahead += m->w->tile_bytes * (size_t)(tiles - 1);
            mm_prefetch_bytes(tile, ahead, step_bytes);
        }
        step_rows(w, x + s * MM_STEP, m->a->ldf, step_lines(m->w->cols, s, MM_STEP), accs, tiles,
                  rows);
    }
    mm_store_block(m, row, rows, t, tiles, accs);
}

/* One row and FEW_TILES tiles of F16 or BF16 from t on, without a buffer: eight chains of sums hide the
 * latency of each. */
MM_INLINE void pairs_row(enum pack_class cls, const struct mm_args *m, int64_t row, int64_t t)
{
    const uint8_t *p = m->w->data + (size_t)t * m->w->tile_bytes;
    const float *x = m->a->f32 + row * m->a->ldf;
    const int64_t lines = (m->w->cols + 1) / 2;
    __m256 acc[2 * FEW_TILES];
    MM_UNROLL
    for (int j = 0; j < 2 * FEW_TILES; j++)
        acc[j] = _mm256_setzero_ps();
    for (int64_t i = 0; i < lines; i++, p += 64) {
        /* the column after an odd last one is zero in the weights, and does not exist in x */
        const __m256 one = _mm256_set1_ps(x[2 * i]);
        const __m256 two = _mm256_set1_ps(2 * i + 1 < m->w->cols ? x[2 * i + 1] : 0);
        MM_UNROLL
        for (int j = 0; j < 2 * FEW_TILES; j++) {
            const uint8_t *at = p + (size_t)(j / 2) * m->w->tile_bytes + 32 * (j % 2);
            __m256 first, second;
            unpair(cls, at, &first, &second);
            acc[j] = _mm256_fmadd_ps(second, two, _mm256_fmadd_ps(first, one, acc[j]));
            if (j % 2 == 0)
                mm_prefetch_bytes(at, MM_ONCE_AHEAD / FEW_TILES, 64);
        }
    }
    MM_UNROLL
    for (int j = 0; j < 2 * FEW_TILES; j++)
        _mm256_store_ps(m->scratch + 8 * j, in_order(cls, acc[j]));
    mm_store_block(m, row, 1, t, FEW_TILES, m->scratch);
}

static void few_tiles(const struct mm_args *m, int64_t row, int64_t rows, int64_t t)
{
    if (rows == 1 && m->w->cls == PACK_F16)
        pairs_row(PACK_F16, m, row, t);
    else if (rows == 1 && m->w->cls == PACK_BF16)
        pairs_row(PACK_BF16, m, row, t);
    else
        f32_tiles(m, row, rows, t, FEW_TILES);
}

void avx2_matmul_f32(const struct packed *w, const struct activations *a, int64_t rows, float *out,
                     int64_t ldo, int64_t tile_begin, int64_t tile_end, void *scratch)
{
    const struct mm_args m = {w, a, rows, out, ldo, tile_begin, tile_end, scratch};
    for (int64_t row = 0, n; row < rows; row += n) {
        n = mm_block_rows(rows - row);
        int64_t t = tile_begin;
        for (; n < 4 && t + FEW_TILES <= tile_end; t += FEW_TILES)
            few_tiles(&m, row, n, t);
        for (; t < tile_end; t++)
            f32_tiles(&m, row, n, t, 1);
    }
}
