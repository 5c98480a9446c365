/* Private to src/kernel: the scalar forms of the functions whose vector forms must give the same bits. */
#ifndef SP_KERNEL_MATH_INT_H
#define SP_KERNEL_MATH_INT_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* exp(x) = 2^n p(r), n = round(x / ln 2), r = x - n ln 2, |r| <= ln 2 / 2. p(r) = 1 + r + r^2 (C2 + ... + C6 r^4)
 * is the minimax polynomial for the relative error on that interval (own Remez run; 3.1e-9). ln 2 is split
 * so that n * LN2_HIGH is exact. Below 1 ulp; 0 for -inf, inf above 88.73, NaN for NaN. */
#define EXP_LOWEST -105.0f /* exp(-105) rounds to 0 */
#define EXP_HIGHEST 89.0f  /* exp(89) is infinite */
#define EXP_LOG2E 1.44269504f
#define EXP_ROUND 12582912.0f /* 1.5 * 2^23: adding it rounds to an integer */
#define EXP_LN2_HIGH 0.693145752f
#define EXP_LN2_LOW 1.42860682e-6f
#define EXP_C2 0.499999934321f
#define EXP_C3 0.16666520399f
#define EXP_C4 0.0416683907835f
#define EXP_C5 0.00836874510894f
#define EXP_C6 0.00138145401768f

/* 2^n for -126 <= n <= 127; any bits for other n. */
static inline float exp2_int(uint32_t n)
{
    uint32_t bits = (n + 127) << 23;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline float exp_f32(float x)
{
    x = x < EXP_LOWEST ? EXP_LOWEST : x;
    x = x > EXP_HIGHEST ? EXP_HIGHEST : x;
    float t = fmaf(x, EXP_LOG2E, EXP_ROUND), n = t - EXP_ROUND;
    float r = fmaf(n, -EXP_LN2_LOW, fmaf(n, -EXP_LN2_HIGH, x));
    float p = fmaf(r, EXP_C6, EXP_C5);
    p = fmaf(p, r, EXP_C4);
    p = fmaf(p, r, EXP_C3);
    p = fmaf(p, r, EXP_C2);
    p = fmaf(p, r, 1.0f);
    p = fmaf(p, r, 1.0f);
    /* two steps, so that neither power overflows and the product is rounded once where it is denormal */
    uint32_t bits;
    memcpy(&bits, &t, sizeof bits);
    uint32_t whole = bits - 0x4b400000u; /* the integer in t, two's complement */
    uint32_t half = (whole >> 1) | (whole & 0x80000000u);
    return p * exp2_int(half) * exp2_int(whole - half);
}

/* A token's weight: kernel.h. Nothing is denormal, which some processors are slow with. */
#define WEIGHT_LOWEST -87.0f

static inline float weight_f32(float x, float max, float scale)
{
    float v = (x - max) * scale;
    return v >= WEIGHT_LOWEST ? exp_f32(v) : 0.0f;
}

static inline float silu_f32(float x)
{
    return x / (1.0f + exp_f32(-x));
}

/* x / 2 (1 + tanh(z / 2)) is x / (1 + exp(-z)); here z = x (a + b x^2), with a = 2 sqrt(2 / pi), b = 0.044715 a. */
#define GELU_A 1.5957691216057308f
#define GELU_B 0.0713548162726009f

static inline float gelu_f32(float x)
{
    return x / (1.0f + exp_f32(-x * fmaf(GELU_B, x * x, GELU_A)));
}

#endif
