/* The limits of AVX2 with FMA. Bytes are multiplied in pairs to 16 bits; the products either go on to 32 bits
 * at once, or several are added in 16 bits first, as small weights allow. */
#include "kernel/cpu/x86_int.h"
#include "kernel/probe_int.h"

#define CHAINS 8
#define SHORT_SUMS 8 /* products of 4-bit weights that fit in 16 bits together: 8 * 2 * 15 * 127 */

static _Thread_local volatile int32_t sink; /* keeps the loops from being left out */

X86_INLINE void keep(const __m256i *acc, int n)
{
    __m256i sum = acc[0];
    PROBE_UNROLL
    for (int i = 1; i < n; i++)
        sum = _mm256_add_epi32(sum, acc[i]);
    sink = _mm256_extract_epi32(sum, 0);
}

static double avx2_int8(int64_t rounds)
{
    __m256i acc[CHAINS], u = _mm256_set1_epi8(3), s = _mm256_set1_epi8(-5);
    const __m256i one = _mm256_set1_epi16(1);
    PROBE_UNROLL
    for (int i = 0; i < CHAINS; i++)
        acc[i] = _mm256_set1_epi32(i);
    for (int64_t k = 0; k < rounds; k++) {
        PROBE_UNROLL
        for (int i = 0; i < CHAINS; i++) {
            __asm__ volatile("" : "+x"(u));
            __m256i p = _mm256_madd_epi16(_mm256_maddubs_epi16(u, s), one);
            acc[i] = _mm256_add_epi32(acc[i], p);
            __asm__ volatile("" : "+x"(acc[i]));
        }
    }
    keep(acc, CHAINS);
    return (double)rounds * CHAINS * 32 * 2;
}

static double avx2_int8_short(int64_t rounds)
{
    __m256i acc[CHAINS], u = _mm256_set1_epi8(3), s = _mm256_set1_epi8(-5);
    const __m256i one = _mm256_set1_epi16(1);
    PROBE_UNROLL
    for (int i = 0; i < CHAINS; i++)
        acc[i] = _mm256_set1_epi32(i);
    for (int64_t k = 0; k < rounds; k++) {
        PROBE_UNROLL
        for (int i = 0; i < CHAINS; i++) {
            __m256i sum = _mm256_setzero_si256();
            PROBE_UNROLL
            for (int j = 0; j < SHORT_SUMS; j++) {
                __asm__ volatile("" : "+x"(u));
                sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(u, s));
            }
            acc[i] = _mm256_add_epi32(acc[i], _mm256_madd_epi16(sum, one));
        }
    }
    keep(acc, CHAINS);
    return (double)rounds * CHAINS * SHORT_SUMS * 32 * 2;
}

static double avx2_f32(int64_t rounds)
{
    __m256 acc[12], a = _mm256_set1_ps(0.5f), b = _mm256_set1_ps(0.25f);
    PROBE_UNROLL
    for (int i = 0; i < 12; i++)
        acc[i] = _mm256_set1_ps((float)i);
    for (int64_t k = 0; k < rounds; k++) {
        PROBE_UNROLL
        for (int i = 0; i < 12; i++) {
            acc[i] = _mm256_fmadd_ps(acc[i], a, b);
            __asm__ volatile("" : "+x"(acc[i]));
        }
    }
    __m256 sum = acc[0];
    PROBE_UNROLL
    for (int i = 1; i < 12; i++)
        sum = _mm256_add_ps(sum, acc[i]);
    sink = (int32_t)_mm256_cvtss_f32(sum);
    return (double)rounds * 12 * 8 * 2;
}

static void avx2_read(const uint8_t *p, size_t n)
{
    __m256i s[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(),
                    _mm256_setzero_si256()};
    for (size_t i = 0; i < n; i += 128) {
        _mm_prefetch((const char *)p + i + 2048, _MM_HINT_T0);
        _mm_prefetch((const char *)p + i + 2112, _MM_HINT_T0);
        PROBE_UNROLL
        for (size_t j = 0; j < 4; j++)
            s[j] = _mm256_xor_si256(
                s[j], _mm256_load_si256((const __m256i *)(const void *)(p + i + 32 * j)));
    }
    keep(s, 4);
}

const struct probe_ops probe_ops_avx2 = {
    .name = "avx2", .int8 = {avx2_int8, avx2_int8_short}, .f32 = avx2_f32, .read = avx2_read};
const struct probe_ops probe_ops_avxvnni_vex = {
    .name = "avxvnni", .int8 = {probe_avxvnni_vex_int8}, .f32 = avx2_f32, .read = avx2_read};
const struct probe_ops probe_ops_avxvnni_evex = {
    .name = "avxvnni", .int8 = {probe_avxvnni_evex_int8}, .f32 = avx2_f32, .read = avx2_read};
