/* Matrix products of quantized weights and int8 activations, 256-bit VNNI. One source, built twice: for
 * AVX-VNNI (VEX encoding: processors without AVX-512) and for AVX512VL with AVX512-VNNI (EVEX). */
#include "kernel/cpu/avx2_act_int.h"

#define ROWS 4

#ifdef __AVX512VNNI__
#define MATMUL avxvnni_evex_matmul
#define DPBUSD _mm256_dpbusd_epi32
#else
#define MATMUL avxvnni_vex_matmul
#define DPBUSD _mm256_dpbusd_avx_epi32
#endif

MM_INLINE bool dot_takes_zero(const struct mm_kind k)
{
    (void)k;
    return false;
}

MM_INLINE void finish_step(const struct mm_kind k, struct mm_step *s)
{
    (void)k, (void)s;
}

MM_INLINE __m256i load_factor(const struct mm_kind k, struct mm_lines l, int i, int half)
{
    if (!l.step)
        return mm_half_line(k, l.packed, i, half);
    return mm_load(l.step->line[i + l.g * (k.group / 4)] + 32 * half);
}

/* Both halves of a group: exact sums of u * q for n rows. At most 32 * 255 * 127: far from 2^31. */
MM_INLINE void dot_rows(const struct mm_kind k, const struct mm_lines lines, const struct mm_act *x,
                        int g, const int n, __m256i (*sum)[ROWS])
{
    MM_UNROLL
    for (int r = 0; r < n; r++)
        sum[0][r] = sum[1][r] = _mm256_setzero_si256();
    MM_UNROLL
    for (int i = 0; i < k.group / 4; i++) {
        __m256i low = load_factor(k, lines, i, 0), high = load_factor(k, lines, i, 1);
        MM_UNROLL
        for (int r = 0; r < n; r++) {
            const int8_t *q = x->q + r * x->ldq + g * k.group + 4 * i;
            __m256i v = _mm256_set1_epi32(mm_load32(q));
            sum[0][r] = DPBUSD(sum[0][r], low, v);
            sum[1][r] = DPBUSD(sum[1][r], high, v);
        }
    }
}

#include "kernel/cpu/avx2_products_int.h"

void MATMUL(const struct packed *w, const struct activations *a, int64_t rows, float *out,
            int64_t ldo, int64_t tile_begin, int64_t tile_end, void *scratch)
{
    const struct mm_args m = {w, a, rows, out, ldo, tile_begin, tile_end, scratch};
    if (w->group > 1)
        products[mm_kind_of(w)](&m);
    else
        avx2_matmul_f32(w, a, rows, out, ldo, tile_begin, tile_end, scratch);
}
