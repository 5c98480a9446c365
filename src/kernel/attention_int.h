/* Private to src/kernel: attention of the SIMD tables. The walk over rows and blocks is here, in common code;
 * an instruction set brings three functions for one block of 64 keys. A query vector is one query head of one
 * row; every function does the same operations for a vector whatever the others are. */
#ifndef SP_KERNEL_ATTENTION_INT_H
#define SP_KERNEL_ATTENTION_INT_H

#include "kernel/kernel.h"

/* One page of one KV head. */
struct attention_block {
    const uint8_t *keys;   /* [head_dim][KV_PAGE] */
    const uint8_t *values; /* [KV_PAGE][head_dim] */
    const uint8_t *next;   /* the keys, then values, that are read next: to be fetched meanwhile */
    enum kv_type type;
    int head_dim;
};

struct attention_parts {
    /* s[v, i] = scale * (one fma chain over d of q[v][d] * keys[d, i]) for n vectors and all 64 keys; what
     * comes out for unused slots is not looked at. s: [n, KV_PAGE] */
    void (*scores)(const struct attention_block *b, const float *const *q, int n, float scale,
                   float *s);
    /* One step of the online softmax for keys [lo, hi): *max to the new maximum, s to exp(s - max) in
     * [lo, hi) and 0 outside, *sum to *sum * fade + sum(s). Returns fade = exp(old max - max). */
    float (*softmax)(float *s, int lo, int hi, float *max, float *sum);
    /* acc[v, d] = acc[v, d] * fade[v], then fma(p[v, i], values[i, d], .) for i in [lo, hi) in order.
     * p: [n, KV_PAGE], acc: [n, head_dim] */
    void (*values)(const struct attention_block *b, const float *p, const float *fade, int n,
                   int lo, int hi, float *acc);
};

/* The whole of kernel_ops.attention, attention_span and attention_join. */
void attention_run(const struct attention_args *a, const struct attention_parts *parts);
void attention_run_span(const struct attention_args *a, int64_t span,
                        const struct attention_parts *parts);
void attention_join(const struct attention_args *a);

#endif
