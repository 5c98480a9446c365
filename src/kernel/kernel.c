#include "kernel/kernel.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "kernel/kernel_int.h"

const struct kernel_ops *kernel_get(enum cpu_isa isa)
{
    switch (isa) {
    case ISA_REF:
        return &kernel_ops_ref;
#ifdef SAMPAN_HAVE_X86
    case ISA_AVX2:
        return &kernel_ops_avx2;
    case ISA_AVXVNNI:
        return cpu_get()->avx_vnni ? &kernel_ops_avxvnni_vex : &kernel_ops_avxvnni_evex;
    case ISA_AVX512:
        return cpu_get()->avx512_bf16 ? &kernel_ops_avx512_bf16 : &kernel_ops_avx512;
#endif
    default:
        return NULL;
    }
}

const char *kv_type_name(enum kv_type t)
{
    return t == KV_F16 ? "f16" : t == KV_BF16 ? "bf16" : "f32";
}

bool kv_type_named(const char *name, enum kv_type *out)
{
    for (int t = KV_F16; name && t <= KV_F32; t++) {
        if (strcmp(name, kv_type_name((enum kv_type)t)) != 0)
            continue;
        *out = (enum kv_type)t;
        return true;
    }
    return false;
}

size_t matmul_scratch(const struct packed *w)
{
    return MATMUL_SCRATCH_BASE + 64 * (size_t)w->cols;
}

size_t attention_scratch(int group, int head_dim)
{
    size_t vectors = (size_t)(group > ATTENTION_VECTORS ? group : ATTENTION_VECTORS);
    return vectors * (KV_PAGE + 2 * (size_t)head_dim + 16);
}

int attention_rows(int group)
{
    return group < ATTENTION_VECTORS ? ATTENTION_VECTORS / group : 1;
}

/* log(m 2^e) = log m + e ln 2, m in [sqrt(1/2), sqrt(2)); log m = 2 atanh(s), s = (m - 1) / (m + 1), |s| < 0.172,
 * by its series up to s^17. In double, rounded once at the end: exact operations and a fixed order, so
 * that no mathematics library decides the bits. */
float kernel_log(float x)
{
    if (!(x > 0) || x > 3.4e38f)
        return x == 0 ? -INFINITY : x > 0 ? x : NAN;
    int e;
    double m = frexp((double)x, &e);
    if (m < 0.70710678118654752) {
        m *= 2;
        e--;
    }
    double s = (m - 1) / (m + 1), s2 = s * s, sum = 0;
    for (int k = 17; k >= 1; k -= 2)
        sum = sum * s2 + 1.0 / k;
    return (float)(2 * s * sum + e * 0.69314718055994531);
}

int kernel_pick(enum cpu_isa *out, sp_error *err)
{
    const char *asked = getenv("SAMPAN_ISA");
    int code = cpu_pick_isa(out, err);
    while (code == 0 && !kernel_get(*out) && !(asked && *asked) && *out > ISA_REF)
        (*out)--;
    if (code == 0 && !kernel_get(*out))
        code = sp_fail(err, SP_EUNSUPPORTED,
                       "this build has no kernels for %s: unset SAMPAN_ISA or build with them",
                       cpu_isa_name(*out));
    return code;
}
