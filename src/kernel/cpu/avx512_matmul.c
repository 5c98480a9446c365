/* Matrix products of quantized weights and int8 activations, AVX-512 VNNI. */
#include "kernel/cpu/avx512_matmul_int.h"

#define FEW_ROWS 8 /* as many rows keep their accumulators in registers */

/* What the rows of activations bring to one step. */
struct mm_act {
    const int8_t *q;
    const float *d;
    const int32_t *sum;
    const int32_t *start; /* of put_starts; NULL: start_of each group */
    int64_t ldq, ldd, lds, ldstart;
};

MM_INLINE struct mm_act act_at(const struct activations *a, int64_t row)
{
    struct mm_act x = {.ldq = a->cols, .ldd = a->cols / 32, .lds = a->cols / 16};
    x.q = a->q + row * x.ldq;
    x.d = a->d + row * x.ldd;
    x.sum = a->sum + row * x.lds;
    return x;
}

/* Weights u stand for u - zero, so a group's sum of u * q begins at -zero times its sum of q. The sum of group g of a
 * step whose two halves have sum[0] and sum[1]: */
MM_INLINE __m512i total_of(const struct mm_kind k, const int32_t *sum, int g)
{
    __m512i total = _mm512_set1_epi32(sum[g]);
    return k.group == 32 ? _mm512_add_epi32(total, _mm512_set1_epi32(sum[1])) : total;
}

MM_INLINE __m512i start_of(const struct mm_kind k, const int32_t *sum, int g)
{
    if (k.zero_shift < 0)
        return _mm512_setzero_si512();
    const __m512i shift = _mm512_set1_epi32(k.zero_shift);
    return _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_sllv_epi32(total_of(k, sum, g), shift));
}

/* The starts of all groups of some rows, once for all tiles: [rows][cols / group]. */
MM_INLINE void put_starts(const struct mm_kind k, const struct activations *a, int64_t row,
                          int64_t rows, int32_t *out)
{
    const int64_t groups = a->cols / k.group, halves = a->cols / 16;
    for (int64_t r = 0; r < rows; r++, out += groups) {
        const int32_t *sum = a->sum + (row + r) * halves;
        for (int64_t g = 0; g < groups; g++)
            out[g] = -(k.group == 32 ? sum[2 * g] + sum[2 * g + 1] : sum[g]) * (1 << k.zero_shift);
    }
}

/* start + sum over 4 n columns of u * q: exact, so its order is free: two chains. */
MM_INLINE __m512i dot(__m512i start, const __m512i *line, const int8_t *q, int n)
{
    __m512i even = start, odd = _mm512_setzero_si512();
    MM_UNROLL
    for (int i = 0; i < n; i += 2) {
        even = _mm512_dpbusd_epi32(even, line[i], _mm512_set1_epi32(mm_load32(q + 4 * i)));
        odd = _mm512_dpbusd_epi32(odd, line[i + 1], _mm512_set1_epi32(mm_load32(q + 4 * i + 4)));
    }
    return _mm512_add_epi32(even, odd);
}

/* Adds one step of row r of x to the accumulators of n tiles. */
MM_INLINE void add_step(const struct mm_kind k, const struct mm_step *s, const int n,
                        const struct mm_act *x, int64_t r, __m512 *acc)
{
    const int8_t *q = x->q + r * x->ldq;
    const int32_t *sum = x->sum + r * x->lds;
    const __m512 dx = _mm512_set1_ps(x->d[r * x->ldd]);
    const int groups = MM_STEP / k.group;
    MM_UNROLL
    for (int g = 0; g < groups; g++) {
        __m512i start =
            x->start ? _mm512_set1_epi32(x->start[r * x->ldstart + g]) : start_of(k, sum, g);
        __m512 total = k.has_min ? _mm512_cvtepi32_ps(total_of(k, sum, g)) : _mm512_setzero_ps();
        MM_UNROLL
        for (int t = 0; t < n; t++) {
            __m512i v = dot(start, s[t].line + g * (k.group / 4), q + g * k.group, k.group / 4);
            acc[t] =
                _mm512_fmadd_ps(_mm512_mul_ps(s[t].scale[g], dx), _mm512_cvtepi32_ps(v), acc[t]);
            if (k.has_min)
                acc[t] = _mm512_fmadd_ps(_mm512_mul_ps(s[t].min[g], dx), total, acc[t]);
        }
    }
}

/* A few rows (n <= FEW_ROWS, a constant): accumulators stay in registers, and memory bandwidth decides. */
MM_INLINE void few_rows(const struct mm_kind k, const struct mm_args *m, int64_t row, const int n)
{
    const int steps = mm_super(k) / MM_STEP;
    const int64_t supers = m->w->cols / mm_super(k);
    for (int64_t t = m->tile_begin; t < m->tile_end; t++) {
        const uint8_t *super = m->w->data + (size_t)t * m->w->tile_bytes;
        struct mm_act x = act_at(m->a, row);
        __m512 acc[FEW_ROWS];
        MM_UNROLL
        for (int r = 0; r < n; r++)
            acc[r] = _mm512_setzero_ps();
        for (int64_t b = 0; b < supers; b++, super += mm_super_bytes(k)) {
            for (int i = 0; i < steps; i++, x.q += MM_STEP, x.d++, x.sum += 2) {
                struct mm_step s;
                mm_load_step(k, super, i, &s);
                mm_prefetch_once(mm_step_bytes(k), super + i * mm_step_bytes(k), MM_ONCE_AHEAD);
                MM_UNROLL
                for (int r = 0; r < n; r++)
                    add_step(k, &s, 1, &x, r, acc + r);
            }
        }
        MM_UNROLL
        for (int r = 0; r < n; r++)
            mm_store(m->out + (row + r) * m->ldo + t * PACK_ROWS, m->w->rows - t * PACK_ROWS,
                     acc[r]);
    }
}

/* Step i of super-group b of n tiles from t on, and a word to the memory about a step to come: past the
 * end of these tiles it lies in the next ones. */
MM_INLINE void load_steps(const struct mm_kind k, const struct packed *w, int64_t t, int64_t b,
                          int i, struct mm_step *s, const int n)
{
    const uint8_t *tile = w->data + (size_t)t * w->tile_bytes;
    size_t super = (size_t)b * (size_t)mm_super_bytes(k);
    size_t ahead = super + (size_t)(i * mm_step_bytes(k)) + MM_KEPT_AHEAD;
    if (ahead >= w->tile_bytes)
        ahead += w->tile_bytes * (size_t)(n - 1);
    MM_UNROLL
    for (int j = 0; j < n; j++) {
        mm_load_step(k, tile + (size_t)j * w->tile_bytes + super, i, &s[j]);
        mm_prefetch_kept(k, tile + (size_t)j * w->tile_bytes, ahead);
    }
}

/* Where a block's starts lie in scratch: behind the accumulators. */
MM_INLINE int32_t *starts_in(const struct mm_args *m)
{
    static_assert(MM_ROW_BLOCK * 4 / 16 <= 64, "room for each column");
    return (int32_t *)(void *)(m->scratch + MM_ROW_BLOCK * 2 * PACK_ROWS);
}

/* Rows [row, row + rows) of n tiles from t on: accumulators in scratch, [rows][n][16]. */
MM_INLINE void block_tiles(const struct mm_kind k, const struct mm_args *m, int64_t row,
                           int64_t rows, int64_t t, const int n)
{
    const int steps = mm_super(k) / MM_STEP;
    const int64_t supers = m->w->cols / mm_super(k);
    struct mm_act x = act_at(m->a, row);
    float *accs = m->scratch;
    memset(accs, 0, (size_t)(rows * n) * PACK_ROWS * sizeof *accs);
    if (k.zero_shift >= 0) {
        x.start = starts_in(m);
        x.ldstart = m->a->cols / k.group;
    }
    for (int64_t b = 0; b < supers; b++) {
        for (int i = 0; i < steps; i++, x.q += MM_STEP, x.d++, x.sum += 2) {
            struct mm_step s[2];
            load_steps(k, m->w, t, b, i, s, n);
            for (int64_t r = 0; r < rows; r++) {
                float *at = accs + r * n * PACK_ROWS;
                __m512 acc[2];
                MM_UNROLL
                for (int j = 0; j < n; j++)
                    acc[j] = _mm512_load_ps(at + j * PACK_ROWS);
                add_step(k, s, n, &x, r, acc);
                MM_UNROLL
                for (int j = 0; j < n; j++)
                    _mm512_store_ps(at + j * PACK_ROWS, acc[j]);
            }
            if (k.zero_shift >= 0)
                x.start += MM_STEP / k.group;
        }
    }
    for (int64_t r = 0; r < rows; r++) {
        for (int j = 0; j < n; j++)
            mm_store(m->out + (row + r) * m->ldo + (t + j) * PACK_ROWS,
                     m->w->rows - (t + j) * PACK_ROWS,
                     _mm512_load_ps(accs + (r * n + j) * PACK_ROWS));
    }
}

/* All rows: blocks on pairs of tiles, but few rows go together. */
MM_INLINE void all_rows(const struct mm_kind k, const struct mm_args *m)
{
    int64_t row = 0;
    while (m->rows - row > FEW_ROWS) {
        int64_t n = mm_block_rows(m->rows - row);
        int64_t t = m->tile_begin;
        if (k.zero_shift >= 0)
            put_starts(k, m->a, row, n, starts_in(m));
        for (; t + 2 <= m->tile_end; t += 2)
            block_tiles(k, m, row, n, t, 2);
        if (t < m->tile_end)
            block_tiles(k, m, row, n, t, 1);
        row += n;
    }
    switch (m->rows - row) {
    case 1:
        few_rows(k, m, row, 1);
        break;
    case 2:
        few_rows(k, m, row, 2);
        break;
    case 3:
        few_rows(k, m, row, 3);
        break;
    case 4:
        few_rows(k, m, row, 4);
        break;
    case 5:
        few_rows(k, m, row, 5);
        break;
    case 6:
        few_rows(k, m, row, 6);
        break;
    case 7:
        few_rows(k, m, row, 7);
        break;
    case 8:
        few_rows(k, m, row, 8);
        break;
    default:
        break;
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

void avx512_matmul(const struct packed *w, const struct activations *a, int64_t rows, float *out,
                   int64_t ldo, int64_t tile_begin, int64_t tile_end, void *scratch)
{
    const struct mm_args m = {w, a, rows, out, ldo, tile_begin, tile_end, scratch};
    if (w->group > 1)
        products[mm_kind_of(w)](&m);
    else if (w->cls == PACK_BF16 && a->bf16)
        avx512_matmul_bf16(&m);
    else
        avx512_matmul_f32(w, a, rows, out, ldo, tile_begin, tile_end, scratch);
}
