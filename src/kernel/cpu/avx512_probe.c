/* The limits of AVX-512 with VNNI and BF16. */
#include "kernel/cpu/x86_int.h"
#include "kernel/probe_int.h"

#define CHAINS 12

static _Thread_local volatile int32_t sink; /* keeps the loops from being left out */

static double avx512_int8(int64_t rounds)
{
    __m512i acc[CHAINS], u = _mm512_set1_epi8(3), s = _mm512_set1_epi8(-5);
    PROBE_UNROLL
    for (int i = 0; i < CHAINS; i++)
        acc[i] = _mm512_set1_epi32(i);
    for (int64_t k = 0; k < rounds; k++) {
        PROBE_UNROLL
        for (int i = 0; i < CHAINS; i++) {
            acc[i] = _mm512_dpbusd_epi32(acc[i], u, s);
            __asm__ volatile("" : "+v"(acc[i]));
        }
    }
    __m512i sum = acc[0];
    PROBE_UNROLL
    for (int i = 1; i < CHAINS; i++)
        sum = _mm512_add_epi32(sum, acc[i]);
    sink = _mm512_reduce_add_epi32(sum);
    return (double)rounds * CHAINS * 64 * 2;
}

X86_INLINE void keep(const __m512 *acc)
{
    __m512 sum = acc[0];
    PROBE_UNROLL
    for (int i = 1; i < CHAINS; i++)
        sum = _mm512_add_ps(sum, acc[i]);
    sink = (int32_t)_mm512_reduce_add_ps(sum);
}

static double avx512_bf16(int64_t rounds)
{
    __m512 acc[CHAINS];
    __m512bh a = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.5f), _mm512_set1_ps(-0.5f));
    PROBE_UNROLL
    for (int i = 0; i < CHAINS; i++)
        acc[i] = _mm512_set1_ps((float)i);
    for (int64_t k = 0; k < rounds; k++) {
        PROBE_UNROLL
        for (int i = 0; i < CHAINS; i++) {
            acc[i] = _mm512_dpbf16_ps(acc[i], a, a);
            __asm__ volatile("" : "+v"(acc[i]));
        }
    }
    keep(acc);
    return (double)rounds * CHAINS * 32 * 2;
}

static double avx512_f32(int64_t rounds)
{
    __m512 acc[CHAINS], a = _mm512_set1_ps(0.5f), b = _mm512_set1_ps(0.25f);
    PROBE_UNROLL
    for (int i = 0; i < CHAINS; i++)
        acc[i] = _mm512_set1_ps((float)i);
    for (int64_t k = 0; k < rounds; k++) {
        PROBE_UNROLL
        for (int i = 0; i < CHAINS; i++) {
            acc[i] = _mm512_fmadd_ps(acc[i], a, b);
            __asm__ volatile("" : "+v"(acc[i]));
        }
    }
    keep(acc);
    return (double)rounds * CHAINS * 16 * 2;
}

static void avx512_read(const uint8_t *p, size_t n)
{
    __m512i s[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(),
                    _mm512_setzero_si512()};
    for (size_t i = 0; i < n; i += 256) {
        PROBE_UNROLL
        for (size_t j = 0; j < 4; j++) {
            _mm_prefetch((const char *)p + i + 64 * j + 2048, _MM_HINT_T0);
            s[j] = _mm512_xor_si512(s[j], _mm512_load_si512(p + i + 64 * j));
        }
    }
    __m512i sum = _mm512_xor_si512(_mm512_xor_si512(s[0], s[1]), _mm512_xor_si512(s[2], s[3]));
    sink = _mm512_reduce_add_epi32(sum);
}

const struct probe_ops probe_ops_avx512 = {
    .name = "avx512", .int8 = {avx512_int8}, .f32 = avx512_f32, .read = avx512_read};
const struct probe_ops probe_ops_avx512_bf16 = {.name = "avx512_bf16",
                                                .int8 = {avx512_int8},
                                                .bf16 = avx512_bf16,
                                                .f32 = avx512_f32,
                                                .read = avx512_read};
