/* Private to src/kernel/cpu: what the AVX2 and AVX-512 files share. Everything is static, so that each file
 * gets its own copy, compiled with its own flags. */
#ifndef SP_KERNEL_CPU_X86_INT_H
#define SP_KERNEL_CPU_X86_INT_H

#include <immintrin.h>
#include <string.h>
#include "kernel/kernel.h"

#define X86_INLINE static inline __attribute__((always_inline))

/* Before a loop with few, constant turns over registers. clang unrolls by a number only after it has decided which
 * arrays live in registers: then sums go through memory, at a third of the speed. */
#if defined(__clang__)
#define X86_UNROLL _Pragma("clang loop unroll(full)")
#else
#define X86_UNROLL _Pragma("GCC unroll 8")
#endif

/* Element i of keys or values. */
X86_INLINE float x86_load(const uint8_t *base, size_t i, enum kv_type type)
{
    uint16_t h;
    float f;
    if (type == KV_F32) {
        memcpy(&f, base + 4 * i, sizeof f);
        return f;
    }
    memcpy(&h, base + 2 * i, sizeof h);
    return type == KV_F16 ? _cvtsh_ss(h) : bf16_to_f32(h);
}

X86_INLINE uint16_t x86_half(float v, enum kv_type type)
{
    return type == KV_F16 ? (uint16_t)_cvtss_sh(v, _MM_FROUND_TO_NEAREST_INT) : f32_to_bf16(v);
}

/* kernel_ops.kv_write with F16C. */
X86_INLINE void x86_kv_write(const struct kv_layer *kv, int32_t page, int slot, const float *k,
                             const float *v)
{
    size_t hd = (size_t)kv->head_dim, at = (size_t)slot;
    for (int h = 0; h < kv->kv_heads; h++, k += hd, v += hd) {
        uint8_t *base = kv->base + (size_t)page * kv->page_stride + (size_t)h * kv->head_stride;
        if (kv->type == KV_F32) {
            float *keys = (float *)(void *)base, *values = keys + hd * KV_PAGE;
            for (size_t d = 0; d < hd; d++)
                keys[d * KV_PAGE + at] = k[d];
            memcpy(values + at * hd, v, hd * sizeof(float));
        } else {
            uint16_t *keys = (uint16_t *)(void *)base, *values = keys + hd * KV_PAGE;
            for (size_t d = 0; d < hd; d++) {
                keys[d * KV_PAGE + at] = x86_half(k[d], kv->type);
                values[at * hd + d] = x86_half(v[d], kv->type);
            }
        }
    }
}

#endif
