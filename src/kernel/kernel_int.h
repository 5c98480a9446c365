/* Private to src/kernel: the tables of the instruction sets, what the files under cpu/ offer to one
 * another, and the arithmetic that they all share, so that float32 results are the same bits on every
 * instruction set (bf16 dot products excepted).
 *
 * Shared arithmetic:
 *   act_quantize: m = max over the group of the bits of |x|, as unsigned integers (so NaN > inf > all).
 *     m < bits of 2^-100: d = 0, q = 0. m >= bits of inf: d = NaN, q = 0 (the outputs become NaN).
 *     Else with amax = the float of m: d = amax / 127, inverse = 127 / amax,
 *     q = x * inverse rounded to nearest even.
 *   matmul: as kernel.h; scale_w = d * sc and min_w = -dmin * m are exact in float32; the products with
 *     d_x are rounded once. The sum over 32 columns is sum[2g] + sum[2g + 1].
 *   sums over n values (rmsnorm, log_sum_exp, softmax): 64 lanes, lane i takes the values i, i + 64, ... in
 *     order, starting from 0; missing values add nothing. Then lanes i and i + 32 are added, then i and
 *     i + 16, and so on to one. Sums of squares use fma(x, x, lane). */
#ifndef SP_KERNEL_KERNEL_INT_H
#define SP_KERNEL_KERNEL_INT_H

#include "kernel/kernel.h"

extern const struct kernel_ops kernel_ops_ref, kernel_ops_avx2;
/* Both are named "avxvnni": avx2's, but for the product of quantized weights, in either encoding. */
extern const struct kernel_ops kernel_ops_avxvnni_vex, kernel_ops_avxvnni_evex;
/* ISA_AVX512 without and with products of bf16 (act_bf16). */
extern const struct kernel_ops kernel_ops_avx512, kernel_ops_avx512_bf16;

#define ACT_TINY 0x0d800000u /* bits of 2^-100: groups of activations below it count as zeros */
#define ACT_INF 0x7f800000u  /* bits of infinity */

/* matmul_scratch(w) is this many bytes and 64 more for each column of w: room for one tile in float32. */
#define MATMUL_SCRATCH_BASE 65536

/* Query vectors (rows x group) that attention takes through a block at a time, where the group is not
 * larger; attention_scratch() has KV_PAGE + 2 head_dim + 16 floats for each. */
#define ATTENTION_VECTORS 48

/* Natural logarithm in a fixed order, correctly rounded in nearly all cases; -inf for 0, NaN below. */
float kernel_log(float x);

/* cpu/avx512_matmul.c, cpu/avx2_matmul.c, cpu/avxvnni_matmul.c; arguments as the members of struct kernel_ops. */
void avx512_act_quantize(const float *x, int64_t ldx, int64_t cols, struct activations *a,
                         int64_t begin, int64_t end);
void avx512_act_bf16(const float *x, int64_t ldx, int64_t cols, struct activations *a,
                     int64_t begin, int64_t end);
void avx512_matmul(const struct packed *w, const struct activations *a, int64_t rows, float *out,
                   int64_t ldo, int64_t tile_begin, int64_t tile_end, void *scratch);
void avx512_matmul_f32(const struct packed *w, const struct activations *a, int64_t rows,
                       float *out, int64_t ldo, int64_t tile_begin, int64_t tile_end,
                       void *scratch);
void avx2_act_quantize(const float *x, int64_t ldx, int64_t cols, struct activations *a,
                       int64_t begin, int64_t end);
void avx2_matmul(const struct packed *w, const struct activations *a, int64_t rows, float *out,
                 int64_t ldo, int64_t tile_begin, int64_t tile_end, void *scratch);
void avxvnni_vex_matmul(const struct packed *w, const struct activations *a, int64_t rows,
                        float *out, int64_t ldo, int64_t tile_begin, int64_t tile_end,
                        void *scratch);
void avxvnni_evex_matmul(const struct packed *w, const struct activations *a, int64_t rows,
                         float *out, int64_t ldo, int64_t tile_begin, int64_t tile_end,
                         void *scratch);
void avx2_matmul_f32(const struct packed *w, const struct activations *a, int64_t rows, float *out,
                     int64_t ldo, int64_t tile_begin, int64_t tile_end, void *scratch);

#endif
