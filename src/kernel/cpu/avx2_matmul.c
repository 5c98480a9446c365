/* Matrix products of quantized weights and int8 activations, AVX2: bytes are multiplied in pairs to
 * 16 bits (vpmaddubsw), as many pairs added there as cannot overflow, then widened to 32 bits. */
#include "kernel/cpu/avx2_act_int.h"

#define HALVES 1

/* Values of 8 bits, around a zero of 128: taken as signed, which is the zero gone. */
MM_INLINE bool dot_takes_zero(const struct mm_kind k)
{
    return k.zero_shift == 7;
}

/* How many products of a pair fit in 16 bits, in lines: 2 * 127 * max(u) * lines <= 32767. 8 bits are
 * taken as signed, |u - 128| <= 128. */
MM_INLINE int lines_in_16_bits(const struct mm_kind k)
{
    return dot_takes_zero(k) ? 1 : k.bits == 4 ? 8 : k.bits == 5 ? 4 : 2;
}

/* Half a group: exact sums of (u - zero) * q for n rows. line: the group's first, at this half. */
MM_INLINE void dot_rows(const struct mm_kind k, const uint8_t *line, const struct mm_act *x, int g,
                        const int n, __m256i (*sum)[ROWS])
{
    const __m256i ones = _mm256_set1_epi16(1);
    const int lines = k.group / 4;
    const int chunk = lines_in_16_bits(k) < lines ? lines_in_16_bits(k) : lines;
    MM_UNROLL
    for (int r = 0; r < n; r++)
        sum[0][r] = _mm256_setzero_si256();
    MM_UNROLL
    for (int i = 0; i < lines; i += chunk) {
        __m256i pairs[ROWS];
        MM_UNROLL
        for (int j = 0; j < chunk; j++) {
            __m256i u = mm_load(line + 64 * (i + j));
            if (dot_takes_zero(k))
                u = _mm256_xor_si256(u, _mm256_set1_epi8((char)-128));
            MM_UNROLL
            for (int r = 0; r < n; r++) {
                const int8_t *q = x->q + r * x->ldq + g * k.group + 4 * (i + j);
                __m256i v = _mm256_set1_epi32(mm_load32(q));
                __m256i p = dot_takes_zero(k)
                                ? _mm256_maddubs_epi16(_mm256_abs_epi8(u), _mm256_sign_epi8(v, u))
                                : _mm256_maddubs_epi16(u, v);
                pairs[r] = j == 0 ? p : _mm256_add_epi16(pairs[r], p);
            }
        }
        MM_UNROLL
        for (int r = 0; r < n; r++)
            sum[0][r] = _mm256_add_epi32(sum[0][r], _mm256_madd_epi16(pairs[r], ones));
    }
}

#include "kernel/cpu/avx2_products_int.h"

void avx2_matmul(const struct packed *w, const struct activations *a, int64_t rows, float *out,
                 int64_t ldo, int64_t tile_begin, int64_t tile_end, void *scratch)
{
    const struct mm_args m = {w, a, rows, out, ldo, tile_begin, tile_end, scratch};
    if (w->group > 1)
        products[mm_kind_of(w)](&m);
    else
        avx2_matmul_f32(w, a, rows, out, ldo, tile_begin, tile_end, scratch);
}
