/* Matrix products of quantized weights and int8 activations, AVX2: bytes are multiplied in pairs to
 * 16 bits (vpmaddubsw), as many pairs added there as cannot overflow, then widened to 32 bits. */
#include "kernel/cpu/avx2_act_int.h"

#define ROWS 2 /* with both halves of a tile: all sums stay in registers */

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

/* Half a line of weights: u, or signed without zero and then their absolute values too. */
struct factor {
    __m256i u, size;
};

MM_INLINE struct factor factor_of(const struct mm_kind k, __m256i u)
{
    if (!dot_takes_zero(k))
        return (struct factor){u, u};
    u = _mm256_xor_si256(u, _mm256_set1_epi8((char)-128));
    return (struct factor){u, _mm256_abs_epi8(u)};
}

MM_INLINE void finish_step(const struct mm_kind k, struct mm_step *s)
{
    for (int i = 0; dot_takes_zero(k) && i < 16; i++) {
        struct factor f = factor_of(k, mm_load(s->line[i / 2] + 32 * (i % 2)));
        mm_put(s->line[i / 2] + 32 * (i % 2), f.u);
        mm_put(s->more[i / 2] + 32 * (i % 2), f.size);
    }
}

MM_INLINE struct factor load_factor(const struct mm_kind k, struct mm_lines l, int i, int half)
{
    if (!l.step)
        return factor_of(k, mm_half_line(k, l.packed, i, half));
    i += l.g * (k.group / 4);
    __m256i u = mm_load(l.step->line[i] + 32 * half);
    return (struct factor){u, dot_takes_zero(k) ? mm_load(l.step->more[i] + 32 * half) : u};
}

/* Times v, in pairs, 16 bits. */
MM_INLINE __m256i multiply(const struct mm_kind k, struct factor f, __m256i v)
{
    if (dot_takes_zero(k))
        return _mm256_maddubs_epi16(f.size, _mm256_sign_epi8(v, f.u));
    return _mm256_maddubs_epi16(f.u, v);
}

/* Keeps the compiler from adding up a sum's terms as a tree, for which 16 registers are too few. */
#define IN_ORDER(v) __asm__("" : "+x"(v))

MM_INLINE void dot_rows(const struct mm_kind k, const struct mm_lines weights,
                        const struct mm_act *x, int g, const int n, __m256i (*sum)[ROWS])
{
    const __m256i ones = _mm256_set1_epi16(1);
    const int lines = k.group / 4;
    const int chunk = lines_in_16_bits(k) < lines ? lines_in_16_bits(k) : lines;
    __m256i pairs[2][ROWS];
    MM_UNROLL
    for (int i = 0; i < lines; i++) {
        struct factor w[2] = {load_factor(k, weights, i, 0), load_factor(k, weights, i, 1)};
        MM_UNROLL
        for (int j = 0; j < 2 * n; j++) {
            const int r = j / 2, half = j % 2;
            __m256i v = _mm256_set1_epi32(mm_load32(x->q + r * x->ldq + g * k.group + 4 * i));
            __m256i p = multiply(k, w[half], v), *to = &pairs[half][r];
            *to = i % chunk == 0 ? p : _mm256_add_epi16(*to, p);
            IN_ORDER(*to);
            if (i % chunk < chunk - 1)
                continue;
            p = _mm256_madd_epi16(*to, ones);
            sum[half][r] = i < chunk ? p : _mm256_add_epi32(sum[half][r], p);
            IN_ORDER(sum[half][r]);
        }
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
