/* Private to src/kernel: the probes of the instruction sets. */
#ifndef SP_KERNEL_PROBE_INT_H
#define SP_KERNEL_PROBE_INT_H

#include "kernel/probe.h"

extern const struct probe_ops probe_ops_ref, probe_ops_avx2;
extern const struct probe_ops probe_ops_avx512, probe_ops_avx512_bf16;
extern const struct probe_ops probe_ops_avxvnni_vex, probe_ops_avxvnni_evex;
double probe_avxvnni_vex_int8(int64_t rounds);
double probe_avxvnni_evex_int8(int64_t rounds);

/* Unrolls the loop over the chains, so that each lives in a register. */
#ifdef __clang__
#define PROBE_UNROLL _Pragma("clang loop unroll(full)")
#else
#define PROBE_UNROLL _Pragma("GCC unroll 16")
#endif

#endif
