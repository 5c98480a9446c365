/* Private to the 256-bit products of quantized weights: what a block of rows of activations brings to a step. */
#ifndef SP_KERNEL_AVX2_ACT_INT_H
#define SP_KERNEL_AVX2_ACT_INT_H

#include "kernel/cpu/avx2_matmul_int.h"

/* The sum of a row's group as it is needed: times zero, or where there is a minimum as a float. */
union mm_total {
    int32_t zero;
    float sum;
};

struct mm_act {
    const int8_t *q;
    const float *d;
    const union mm_total *total;
    int64_t ldq, ldd, ldt;
};

/* Rows [row, row + rows) of a; total: their totals, see make_totals(). */
MM_INLINE struct mm_act act_at(const struct activations *a, int64_t row,
                               const union mm_total *total, int64_t ldt)
{
    struct mm_act x = {.ldq = a->cols, .ldd = a->cols / 32, .total = total, .ldt = ldt};
    x.q = a->q + row * x.ldq;
    x.d = a->d + row * x.ldd;
    return x;
}

/* The totals of `rows` rows: [rows, cols / group]. Every tile needs them all: made once, they cost
 * nothing that can be measured, while making them beside each dot product took a tenth of its time. */
MM_INLINE void make_totals(const struct mm_kind k, const struct activations *a, int64_t row,
                           int64_t rows, union mm_total *out)
{
    const int64_t groups = a->cols / k.group;
    for (int64_t r = row; r < row + rows; r++) {
        const int32_t *sums = a->sum + r * (a->cols / 16);
        for (int64_t g = 0; g < groups; g++, out++) {
            int32_t sum = k.group == 32 ? sums[2 * g] + sums[2 * g + 1] : sums[g];
            if (k.has_min)
                out->sum = (float)sum;
            else
                out->zero = k.zero_shift >= 0 ? sum * (1 << k.zero_shift) : 0;
        }
    }
}

#endif
