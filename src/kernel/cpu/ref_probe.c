/* The scalar build's limits: plain C, as its products are. */
#include "kernel/probe_int.h"

#define CHAINS 8

static _Thread_local volatile int32_t sink; /* keeps the loops from being left out */

static double ref_int8(int64_t rounds)
{
    int32_t acc[CHAINS] = {0};
    volatile int32_t source = -5; /* a value of 8 bit, which the compiler may not know */
    int32_t a = source, b = source + 8;
    for (int64_t k = 0; k < rounds; k++) {
        PROBE_UNROLL
        for (int i = 0; i < CHAINS; i++) {
            acc[i] += a * b;
            __asm__ volatile("" : "+r"(acc[i]));
        }
    }
    PROBE_UNROLL
    for (int i = 0; i < CHAINS; i++)
        sink = acc[i];
    return (double)rounds * CHAINS * 2;
}

static double ref_f32(int64_t rounds)
{
    float acc[CHAINS] = {0};
    volatile float source = 1.25f;
    float a = source, b = source - 1.0f;
    for (int64_t k = 0; k < rounds; k++) {
        PROBE_UNROLL
        for (int i = 0; i < CHAINS; i++) {
            acc[i] = acc[i] * b + a;
            __asm__ volatile("" : "+m"(acc[i]));
        }
    }
    PROBE_UNROLL
    for (int i = 0; i < CHAINS; i++)
        sink = (int32_t)acc[i];
    return (double)rounds * CHAINS * 2;
}

static void ref_read(const uint8_t *p, size_t n)
{
    const uint64_t *w = (const uint64_t *)(const void *)p;
    uint64_t sum[4] = {0};
    for (size_t i = 0; i < n / sizeof *w; i += 4)
        for (size_t j = 0; j < 4; j++)
            sum[j] ^= w[i + j];
    sink = (int32_t)(sum[0] ^ sum[1] ^ sum[2] ^ sum[3]);
}

const struct probe_ops probe_ops_ref = {
    .name = "ref", .int8 = {ref_int8}, .f32 = ref_f32, .read = ref_read};
