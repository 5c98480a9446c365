#include "base/cpu.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __x86_64__
#include <cpuid.h>
#endif

static cpu_features features; /* all false where there is no cpuid */
static pthread_once_t once = PTHREAD_ONCE_INIT;

#ifdef __x86_64__

/* Bits of XCR0: the OS saves SSE and AVX registers; and opmask and both halves of ZMM. */
#define XCR0_AVX 0x6u
#define XCR0_AVX512 0xe6u

static bool bit(unsigned reg, int n)
{
    return reg >> n & 1;
}

static uint64_t read_xcr0(void)
{
    uint32_t lo = 0, hi = 0;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

/* Intel SDM volume 2A, CPUID: leaf 1, leaf 7 subleaves 0 and 1. */
static void detect(void)
{
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (!__get_cpuid_count(1, 0, &a, &b, &c, &d) || !bit(c, 27) || !bit(c, 28))
        return;
    uint64_t xcr0 = read_xcr0();
    if ((xcr0 & XCR0_AVX) != XCR0_AVX)
        return;
    cpu_features *f = &features;
    f->fma = bit(c, 12);
    f->f16c = bit(c, 29);
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return;
    unsigned subleaves = a;
    bool zmm = (xcr0 & XCR0_AVX512) == XCR0_AVX512;
    f->avx2 = bit(b, 5);
    f->bmi2 = bit(b, 8);
    f->avx512f = zmm && bit(b, 16);
    f->avx512dq = zmm && bit(b, 17);
    f->avx512bw = zmm && bit(b, 30);
    f->avx512vl = zmm && bit(b, 31);
    f->avx512_vnni = zmm && bit(c, 11);
    if (subleaves < 1 || !__get_cpuid_count(7, 1, &a, &b, &c, &d))
        return;
    f->avx_vnni = bit(a, 4);
    f->avx512_bf16 = zmm && bit(a, 5);
}

#else

static void detect(void)
{
}

#endif

const cpu_features *cpu_get(void)
{
    (void)pthread_once(&once, detect);
    return &features;
}

const char *cpu_isa_name(enum cpu_isa isa)
{
    switch (isa) {
    case ISA_AVX2:
        return "avx2";
    case ISA_AVXVNNI:
        return "avxvnni";
    case ISA_AVX512:
        return "avx512";
    case ISA_REF:
    default:
        return "ref";
    }
}

static bool runs(const cpu_features *f, enum cpu_isa isa)
{
    bool avx2 = f->avx2 && f->fma && f->f16c && f->bmi2;
    bool evex_vnni = avx2 && f->avx512f && f->avx512vl && f->avx512_vnni;
    switch (isa) {
    case ISA_AVX2:
        return avx2;
    case ISA_AVXVNNI:
        return evex_vnni || (avx2 && f->avx_vnni);
    case ISA_AVX512:
        return evex_vnni && f->avx512bw && f->avx512dq;
    case ISA_REF:
    default:
        return true;
    }
}

enum cpu_isa cpu_best_isa(const cpu_features *f)
{
    enum cpu_isa isa = ISA_AVX512;
    while (!runs(f, isa))
        isa--;
    return isa;
}

int cpu_pick_isa(enum cpu_isa *out, sp_error *err)
{
    enum cpu_isa best = cpu_best_isa(cpu_get());
    const char *wanted = getenv("SAMPAN_ISA");
    if (!wanted || !*wanted) {
        *out = best;
        return 0;
    }
    for (enum cpu_isa isa = ISA_REF; isa <= ISA_AVX512; isa++) {
        if (strcmp(wanted, cpu_isa_name(isa)) != 0)
            continue;
        if (!runs(cpu_get(), isa))
            return sp_fail(err, SP_EUNSUPPORTED,
                           "SAMPAN_ISA=%s: this processor can't run it: the best here is %s",
                           wanted, cpu_isa_name(best));
        *out = isa;
        return 0;
    }
    return sp_fail(
        err, SP_EINVAL,
        "SAMPAN_ISA=%s: there is no such instruction set: use ref, avx2, avxvnni or avx512",
        wanted);
}
