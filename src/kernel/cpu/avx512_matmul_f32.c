/* Products with float32 arithmetic (every kind of weights, expanded exactly), and of BF16 pairs. */
#include "kernel/cpu/avx512_matmul_int.h"

#define FLOAT_AHEAD 2048 /* bytes between reading weights of a float class and asking for them */
#define FEW_TILES 4      /* tiles side by side when there are few rows: independent chains */

_Static_assert((MM_ROW_BLOCK + MM_STEP) * FEW_TILES * PACK_ROWS * sizeof(float) <=
                   MATMUL_SCRATCH_BASE,
               "accumulators and an expanded step fit in the scratch of a worker");

MM_INLINE void expand_quant(const struct mm_kind k, const uint8_t *tile, int64_t s, float *dst)
{
    const int steps = mm_super(k) / MM_STEP;
    const __m512i byte = _mm512_set1_epi32(255);
    const __m512i zero = _mm512_set1_epi32(k.zero_shift >= 0 ? 1 << k.zero_shift : 0);
    struct mm_step v;
    mm_load_step(k, tile + (size_t)(s / steps) * (size_t)mm_super_bytes(k), (int)(s % steps), &v);
    MM_UNROLL
    for (int i = 0; i < 8; i++) {
        const int g = 4 * i / k.group;
        __m512i bytes = v.line[i];
        MM_UNROLL
        for (int c = 0; c < 4; c++) {
            __m512i u = _mm512_sub_epi32(_mm512_and_si512(bytes, byte), zero);
            __m512 f = _mm512_mul_ps(v.scale[g], _mm512_cvtepi32_ps(u));
            _mm512_store_ps(dst + (4 * i + c) * PACK_ROWS,
                            k.has_min ? _mm512_add_ps(f, v.min[g]) : f);
            bytes = _mm512_srli_epi32(bytes, 8);
        }
    }
}

/* Lines of step s that exist: 16 pairs of columns, or 32 columns, fewer at the end of a row. */
MM_INLINE int step_lines(int64_t total, int64_t s, int per_step)
{
    int64_t left = total - s * per_step;
    return left < per_step ? (int)left : per_step;
}

static void expand_f16(const struct packed *w, const uint8_t *tile, int64_t s, float *dst)
{
    const uint8_t *p = tile + 64 * 16 * s;
    int lines = step_lines((w->cols + 1) / 2, s, 16);
    for (int i = 0; i < lines; i++) {
        __m512i pair = _mm512_loadu_si512(p + 64 * i);
        __m256i first = _mm512_cvtepi32_epi16(pair);
        __m256i second = _mm512_cvtepi32_epi16(_mm512_srli_epi32(pair, 16));
        _mm512_store_ps(dst + (2 * i) * PACK_ROWS, _mm512_cvtph_ps(first));
        _mm512_store_ps(dst + (2 * i + 1) * PACK_ROWS, _mm512_cvtph_ps(second));
    }
}

static void expand_bf16(const struct packed *w, const uint8_t *tile, int64_t s, float *dst)
{
    const uint8_t *p = tile + 64 * 16 * s;
    const __m512i high = _mm512_set1_epi32((int)0xffff0000u);
    int lines = step_lines((w->cols + 1) / 2, s, 16);
    for (int i = 0; i < lines; i++) {
        __m512i pair = _mm512_loadu_si512(p + 64 * i);
        _mm512_store_si512(dst + (2 * i) * PACK_ROWS, _mm512_slli_epi32(pair, 16));
        _mm512_store_si512(dst + (2 * i + 1) * PACK_ROWS, _mm512_and_si512(pair, high));
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
        expand_f16(w, tile, s, dst);
    else
        expand_bf16(w, tile, s, dst);
    return dst;
}

/* acc[t][r] += w[t] x[r] over cols columns. w: [tiles] of [32][16], accs: [rows][tiles][16]. */
MM_INLINE void chains(const float *const *w, const float *x, int64_t ldx, int cols, float *accs,
                      const int tiles, const int rows)
{
    __m512 acc[8];
    MM_UNROLL
    for (int i = 0; i < tiles * rows; i++)
        acc[i] = _mm512_load_ps(accs + i * PACK_ROWS);
    for (int c = 0; c < cols; c++) {
        MM_UNROLL
        for (int t = 0; t < tiles; t++) {
            __m512 v = _mm512_load_ps(w[t] + c * PACK_ROWS);
            MM_UNROLL
            for (int r = 0; r < rows; r++)
                acc[r * tiles + t] =
                    _mm512_fmadd_ps(v, _mm512_set1_ps(x[r * ldx + c]), acc[r * tiles + t]);
        }
    }
    MM_UNROLL
    for (int i = 0; i < tiles * rows; i++)
        _mm512_store_ps(accs + i * PACK_ROWS, acc[i]);
}

MM_INLINE void step_rows(const float *const *w, const float *x, int64_t ldx, int cols, float *accs,
                         const int tiles, int64_t rows)
{
    const int most = 8 / tiles;
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
    for (int64_t r = 0; r < rows; r++) {
        for (int j = 0; j < tiles; j++)
            mm_store(m->out + (row + r) * m->ldo + (t + j) * PACK_ROWS,
                     m->w->rows - (t + j) * PACK_ROWS,
                     _mm512_load_ps(accs + (r * tiles + j) * PACK_ROWS));
    }
}

/* Columns 2 i and 2 i + 1 of a tile of a float class. */
MM_INLINE void load_pair(const enum pack_class cls, const uint8_t *tile, int64_t i, __m512 *w)
{
    if (cls == PACK_F32) {
        w[0] = _mm512_loadu_ps(tile + 128 * i);
        w[1] = _mm512_loadu_ps(tile + 128 * i + 64);
        return;
    }
    __m512i pair = _mm512_loadu_si512(tile + 64 * i);
    if (cls == PACK_F16) {
        w[0] = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(pair));
        w[1] = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(pair, 16)));
    } else {
        w[0] = _mm512_castsi512_ps(_mm512_slli_epi32(pair, 16));
        w[1] = _mm512_castsi512_ps(_mm512_and_si512(pair, _mm512_set1_epi32((int)0xffff0000u)));
    }
}

/* A few rows (n <= 4) of `tiles` <= 2 tiles of a float class, straight from memory. */
MM_INLINE void float_rows(const enum pack_class cls, const struct mm_args *m, int64_t row,
                          int64_t t, const int tiles, const int n)
{
    const uint8_t *tile = m->w->data + (size_t)t * m->w->tile_bytes;
    const float *x = m->a->f32 + row * m->a->ldf;
    const int64_t cols = m->w->cols, line = cls == PACK_F32 ? 128 : 64; /* bytes of two columns */
    __m512 acc[8], w[2];
    MM_UNROLL
    for (int i = 0; i < tiles * n; i++)
        acc[i] = _mm512_setzero_ps();
    for (int64_t c = 0; c < cols; c += 2) {
        const bool both = c + 1 < cols;
        size_t ahead = (size_t)(line * c / 2) + FLOAT_AHEAD;
        if (ahead >= m->w->tile_bytes) /* in the next pair of tiles */
            ahead += m->w->tile_bytes * (size_t)(tiles - 1);
        MM_UNROLL
        for (int j = 0; j < tiles; j++) {
            const uint8_t *at = tile + (size_t)j * m->w->tile_bytes;
            if (cls == PACK_F32 && !both)
                w[0] = _mm512_loadu_ps(at + 64 * c);
            else
                load_pair(cls, at, c / 2, w);
            mm_prefetch_bytes(at, ahead, (size_t)line);
            MM_UNROLL
            for (int r = 0; r < n; r++) {
                __m512 *sum = &acc[r * tiles + j];
                *sum = _mm512_fmadd_ps(w[0], _mm512_set1_ps(x[r * m->a->ldf + c]), *sum);
                if (both)
                    *sum = _mm512_fmadd_ps(w[1], _mm512_set1_ps(x[r * m->a->ldf + c + 1]), *sum);
            }
        }
    }
    MM_UNROLL
    for (int i = 0; i < tiles * n; i++)
        mm_store(m->out + (row + i / tiles) * m->ldo + (t + i % tiles) * PACK_ROWS,
                 m->w->rows - (t + i % tiles) * PACK_ROWS, acc[i]);
}

MM_INLINE void float_tiles(const enum pack_class cls, const struct mm_args *m, int64_t row,
                           const int n)
{
    int64_t t = m->tile_begin;
    for (; t + 2 <= m->tile_end; t += 2)
        float_rows(cls, m, row, t, 2, n);
    if (t < m->tile_end)
        float_rows(cls, m, row, t, 1, n);
}

MM_INLINE void float_class(const enum pack_class cls, const struct mm_args *m, int64_t row)
{
    switch (m->rows - row) {
    case 1:
        float_tiles(cls, m, row, 1);
        break;
    case 2:
        float_tiles(cls, m, row, 2);
        break;
    case 3:
        float_tiles(cls, m, row, 3);
        break;
    default:
        float_tiles(cls, m, row, 4);
        break;
    }
}

/* The last one to four rows, of a float class. */
static void few_float_rows(const struct mm_args *m, int64_t row)
{
    if (m->w->cls == PACK_F16)
        float_class(PACK_F16, m, row);
    else if (m->w->cls == PACK_BF16)
        float_class(PACK_BF16, m, row);
    else
        float_class(PACK_F32, m, row);
}

void avx512_matmul_f32(const struct packed *w, const struct activations *a, int64_t rows,
                       float *out, int64_t ldo, int64_t tile_begin, int64_t tile_end, void *scratch)
{
    const struct mm_args m = {w, a, rows, out, ldo, tile_begin, tile_end, scratch};
    for (int64_t row = 0, n; row < rows; row += n) {
        n = mm_block_rows(rows - row);
        int64_t t = tile_begin;
        if (w->group == 1 && n <= 4) {
            few_float_rows(&m, row);
            break;
        }
        for (; n < 4 && t + FEW_TILES <= tile_end; t += FEW_TILES)
            f32_tiles(&m, row, n, t, FEW_TILES);
        for (; n < 8 && t + 2 <= tile_end; t += 2)
            f32_tiles(&m, row, n, t, 2);
        for (; t < tile_end; t++)
            f32_tiles(&m, row, n, t, 1);
    }
}

/* n rows (a constant) of one tile, pairs of columns. */
MM_INLINE void bf16_rows(const struct mm_args *m, int64_t row, int64_t t, const int n)
{
    const int64_t pairs = (m->w->cols + 1) / 2;
    const uint16_t *x = m->a->bf16 + row * 2 * pairs;
    const uint8_t *tile = m->w->data + (size_t)t * m->w->tile_bytes;
    __m512 acc[8];
    MM_UNROLL
    for (int r = 0; r < n; r++)
        acc[r] = _mm512_setzero_ps();
    for (int64_t c = 0; c < pairs; c++) {
        __m512bh w = (__m512bh)_mm512_loadu_si512(tile + 64 * c);
        mm_prefetch_bytes(tile, (size_t)(64 * c) + MM_ONCE_AHEAD, 64);
        MM_UNROLL
        for (int r = 0; r < n; r++) {
            __m512i pair = _mm512_set1_epi32(mm_load32(x + 2 * (r * pairs + c)));
            acc[r] = _mm512_dpbf16_ps(acc[r], w, (__m512bh)pair);
        }
    }
    MM_UNROLL
    for (int r = 0; r < n; r++)
        mm_store(m->out + (row + r) * m->ldo + t * PACK_ROWS, m->w->rows - t * PACK_ROWS, acc[r]);
}

void avx512_matmul_bf16(const struct mm_args *m)
{
    for (int64_t block = 0, end; block < m->rows; block = end) {
        end = block + mm_block_rows(m->rows - block);
        for (int64_t t = m->tile_begin; t < m->tile_end; t++) {
            int64_t row = block;
            for (; row + 8 <= end; row += 8)
                bf16_rows(m, row, t, 8);
            for (; row + 4 <= end; row += 4)
                bf16_rows(m, row, t, 4);
            for (; row + 2 <= end; row += 2)
                bf16_rows(m, row, t, 2);
            for (; row < end; row++)
                bf16_rows(m, row, t, 1);
        }
    }
}
