/* Private to src/kernel/cpu: the attention parts of each instruction set. */
#ifndef SP_KERNEL_CPU_X86_ATTENTION_INT_H
#define SP_KERNEL_CPU_X86_ATTENTION_INT_H

#include "kernel/attention_int.h"
#include "kernel/cpu/x86_int.h"

extern const struct attention_parts avx2_attention_parts, avx512_attention_parts;

/* Fetches element `at` of the block to come, once a cache line of a row; i counts elements along one. Pages
 * lie apart, so the processor does not foresee them. */
X86_INLINE void x86_fetch_ahead(const struct attention_block *b, size_t at, int i,
                                enum kv_type type)
{
    if ((size_t)i * kv_value_bytes(type) % 64 == 0)
        _mm_prefetch((const char *)b->next + at * kv_value_bytes(type), _MM_HINT_T0);
}

#endif
