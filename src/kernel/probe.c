#include "kernel/probe.h"

#include "kernel/probe_int.h"

const struct probe_ops *probe_get(enum cpu_isa isa)
{
    switch (isa) {
    case ISA_REF:
        return &probe_ops_ref;
#ifdef SAMPAN_HAVE_X86
    case ISA_AVX2:
        return &probe_ops_avx2;
    case ISA_AVXVNNI:
        return cpu_get()->avx_vnni ? &probe_ops_avxvnni_vex : &probe_ops_avxvnni_evex;
    case ISA_AVX512:
        return cpu_get()->avx512_bf16 ? &probe_ops_avx512_bf16 : &probe_ops_avx512;
#endif
    default:
        return NULL;
    }
}
