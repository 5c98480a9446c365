/* Private to the 256-bit products of quantized weights: the rows of activations. */
#ifndef SP_KERNEL_AVX2_ACT_INT_H
#define SP_KERNEL_AVX2_ACT_INT_H

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

#endif
