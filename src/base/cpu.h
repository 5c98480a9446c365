/* What this processor can do, read once from cpuid (and xgetbv: the OS must save the registers). */
#ifndef SP_BASE_CPU_H
#define SP_BASE_CPU_H

#include <stdbool.h>
#include "base/error.h"

/* From the plainest to the fastest: a processor that runs one runs those before it. */
enum cpu_isa { ISA_REF, ISA_AVX2, ISA_AVXVNNI, ISA_AVX512 };

typedef struct cpu_features {
    bool avx2, fma, f16c, bmi2, avx_vnni;
    bool avx512f, avx512bw, avx512dq, avx512vl, avx512_vnni, avx512_bf16;
} cpu_features;

const cpu_features *cpu_get(void);
/* The fastest that a processor with these features runs. ISA_AVX2 needs AVX2, FMA, F16C and BMI2; ISA_AVXVNNI those
 * and AVX-VNNI, or AVX512VL and AVX512-VNNI (256-bit VNNI in either encoding); ISA_AVX512 needs those of AVX2 and F,
 * BW, DQ, VL and VNNI (its products of bf16 are used where avx512_bf16 is, too). */
enum cpu_isa cpu_best_isa(const cpu_features *f);
/* The best that this machine has, or what SAMPAN_ISA=ref|avx2|avxvnni|avx512 asks for; an error when that can't run
 * here. */
int cpu_pick_isa(enum cpu_isa *out, sp_error *err);
const char *cpu_isa_name(enum cpu_isa isa);

#endif
