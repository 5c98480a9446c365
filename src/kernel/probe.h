/* What a processor can do at best: bare loops without a model around them, one table per instruction set
 * as in kernel.h. They are the limits that measured speeds are held against, so they hold nothing but the
 * instructions that the products use, in enough independent chains to hide their latency. No loop
 * allocates or keeps state; any number of threads may run them at once. */
#ifndef SP_KERNEL_PROBE_H
#define SP_KERNEL_PROBE_H

#include <stddef.h>
#include <stdint.h>
#include "base/cpu.h"

/* Runs `rounds` rounds and returns the operations done: 2 for each multiplication and its addition. */
typedef double (*probe_loop)(int64_t rounds);

struct probe_ops {
    const char *name;   /* of the instruction set, as in kernel_ops */
    probe_loop int8[2]; /* dot products of 8 bit: the faster one is the peak; NULL: there is one */
    probe_loop bf16;    /* dot products of bf16; NULL where the instruction set has none */
    probe_loop f32;     /* fused multiply-add */
    /* Reads n bytes, a multiple of 512, from p on (64-byte aligned). */
    void (*read)(const uint8_t *p, size_t n);
};

/* NULL when this build does not have the instruction set. */
const struct probe_ops *probe_get(enum cpu_isa isa);

#endif
