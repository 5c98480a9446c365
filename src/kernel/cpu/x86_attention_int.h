/* Private to src/kernel/cpu: the attention parts of each instruction set. */
#ifndef SP_KERNEL_CPU_X86_ATTENTION_INT_H
#define SP_KERNEL_CPU_X86_ATTENTION_INT_H

#include "kernel/attention_int.h"

extern const struct attention_parts avx2_attention_parts, avx512_attention_parts;

#endif
