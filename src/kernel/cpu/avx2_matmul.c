/* Matrix products of quantized weights and int8 activations, AVX2: bytes are multiplied in pairs to
 * 16 bits (vpmaddubsw), as many pairs added there as cannot overflow, then widened to 32 bits. */
#include "kernel/cpu/avx2_matmul_int.h"

#define ROWS 4 /* rows of activations side by side */

/* What the rows of activations bring to one step. */
struct mm_act {
    const int8_t *q;
    const float *d;
    const int32_t *sum;
    int64_t ldq, ldd, lds;
};

MM_INLINE struct mm_act act_at(const struct activations *a, int64_t row)
{
    struct mm_act x = {.ldq = a->cols, .ldd = a->cols / 32, .lds = a->cols / 16};
    x.q = a->q + row * x.ldq;
    x.d = a->d + row * x.ldd;
    x.sum = a->sum + row * x.lds;
    return x;
}

/* Values of 8 bits, around a zero of 128. */
MM_INLINE bool whole_bytes(const struct mm_kind k)
{
    return k.zero_shift == 7;
}

/* How many products of a pair fit in 16 bits, in lines: 2 * 127 * max(u) * lines <= 32767. 8 bits are
 * taken as signed, |u - 128| <= 128. */
MM_INLINE int lines_in_16_bits(const struct mm_kind k)
{
    return whole_bytes(k) ? 1 : k.bits == 4 ? 8 : k.bits == 5 ? 4 : 2;
}

/* Half a group: exact sums of (u - zero) * q for n rows. line: the group's first, at this half. */
MM_INLINE void dot_rows(const struct mm_kind k, const uint8_t *line, const struct mm_act *x, int g,
                        const int n, __m256i *sum)
{
    const __m256i ones = _mm256_set1_epi16(1);
    const int lines = k.group / 4;
    const int chunk = lines_in_16_bits(k) < lines ? lines_in_16_bits(k) : lines;
    MM_UNROLL
    for (int r = 0; r < n; r++)
        sum[r] = _mm256_setzero_si256();
    MM_UNROLL
    for (int i = 0; i < lines; i += chunk) {
        __m256i pairs[ROWS];
        MM_UNROLL
        for (int j = 0; j < chunk; j++) {
            __m256i u = mm_load(line + 64 * (i + j));
            if (whole_bytes(k))
                u = _mm256_xor_si256(u, _mm256_set1_epi8((char)-128));
            MM_UNROLL
            for (int r = 0; r < n; r++) {
                const int8_t *q = x->q + r * x->ldq + g * k.group + 4 * (i + j);
                __m256i v = _mm256_set1_epi32(mm_load32(q));
                __m256i p = whole_bytes(k)
                                ? _mm256_maddubs_epi16(_mm256_abs_epi8(u), _mm256_sign_epi8(v, u))
                                : _mm256_maddubs_epi16(u, v);
                pairs[r] = j == 0 ? p : _mm256_add_epi16(pairs[r], p);
            }
        }
        MM_UNROLL
        for (int r = 0; r < n; r++)
            sum[r] = _mm256_add_epi32(sum[r], _mm256_madd_epi16(pairs[r], ones));
    }
}

/* Adds one step of n rows (a constant) to their accumulators [n][16]. */
MM_INLINE void add_step(const struct mm_kind k, const struct mm_step *s, const struct mm_act *x,
                        const int n, float *accs)
{
    const __m256i shift = _mm256_set1_epi32(k.zero_shift);
    MM_UNROLL
    for (int half = 0; half < 2; half++) {
        MM_UNROLL
        for (int g = 0; g < MM_STEP / k.group; g++) {
            __m256 scale = _mm256_load_ps(s->scale[g] + 8 * half);
            __m256i sum[ROWS];
            dot_rows(k, s->line[g * (k.group / 4)] + 32 * half, x, g, n, sum);
            MM_UNROLL
            for (int r = 0; r < n; r++) {
                const int32_t *sums = x->sum + r * x->lds + g;
                __m256i total = _mm256_set1_epi32(sums[0]);
                if (k.group == 32)
                    total = _mm256_add_epi32(total, _mm256_set1_epi32(sums[1]));
                if (k.zero_shift >= 0 && !whole_bytes(k))
                    sum[r] = _mm256_sub_epi32(sum[r], _mm256_sllv_epi32(total, shift));
                __m256 dx = _mm256_set1_ps(x->d[r * x->ldd]);
                __m256 acc = _mm256_load_ps(accs + r * PACK_ROWS + 8 * half);
                acc = _mm256_fmadd_ps(_mm256_mul_ps(scale, dx), _mm256_cvtepi32_ps(sum[r]), acc);
                if (k.has_min)
                    acc = _mm256_fmadd_ps(_mm256_mul_ps(_mm256_load_ps(s->min[g] + 8 * half), dx),
                                          _mm256_cvtepi32_ps(total), acc);
                _mm256_store_ps(accs + r * PACK_ROWS + 8 * half, acc);
            }
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

void avx2_matmul(const struct packed *w, const struct activations *a, int64_t rows, float *out,
                 int64_t ldo, int64_t tile_begin, int64_t tile_end, void *scratch)
{
    const struct mm_args m = {w, a, rows, out, ldo, tile_begin, tile_end, scratch};
    if (w->group > 1)
        products[mm_kind_of(w)](&m);
    else
        avx2_matmul_f32(w, a, rows, out, ldo, tile_begin, tile_end, scratch);
}
