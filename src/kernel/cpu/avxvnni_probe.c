/* The limits of 256-bit VNNI, in the encoding that this file is compiled for; the rest is AVX2's. */
#include "kernel/cpu/x86_int.h"
#include "kernel/probe_int.h"

#define CHAINS 12

static _Thread_local volatile int32_t sink; /* keeps the loop from being left out */

#ifdef __AVX512VNNI__
#define PROBE probe_avxvnni_evex_int8
#define DOT _mm256_dpbusd_epi32
#else
#define PROBE probe_avxvnni_vex_int8
#define DOT _mm256_dpbusd_avx_epi32
#endif

double PROBE(int64_t rounds)
{
    __m256i acc[CHAINS], u = _mm256_set1_epi8(3), s = _mm256_set1_epi8(-5);
    PROBE_UNROLL
    for (int i = 0; i < CHAINS; i++)
        acc[i] = _mm256_set1_epi32(i);
    for (int64_t k = 0; k < rounds; k++) {
        PROBE_UNROLL
        for (int i = 0; i < CHAINS; i++) {
            acc[i] = DOT(acc[i], u, s);
            __asm__ volatile("" : "+x"(acc[i]));
        }
    }
    __m256i sum = acc[0];
    PROBE_UNROLL
    for (int i = 1; i < CHAINS; i++)
        sum = _mm256_add_epi32(sum, acc[i]);
    sink = _mm256_extract_epi32(sum, 0);
    return (double)rounds * CHAINS * 32 * 2;
}
