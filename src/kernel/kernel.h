/* The operations of a model step, one table of functions per instruction set, chosen once at start.
 * Every function works on a part of its output (rows or tiles), so that the caller's threads can share
 * the work; none allocates, none keeps state. Float arithmetic has one fixed order per output value,
 * whatever the number of rows or the division among threads: results are bit-identical for a row alone
 * and for the same row among others (DESIGN, section 3). Sizes are in elements, row-major, `ld*` is the
 * distance of two rows.
 *
 *     const struct kernel_ops *k = kernel_get(ISA_AVX512);
 *     k->act_quantize(x, cols, rows, cols, &act, 0, rows);
 *     k->matmul(&w, &act, rows, out, ldo, 0, w.tiles, scratch); */
#ifndef SP_KERNEL_KERNEL_H
#define SP_KERNEL_KERNEL_H

#include "base/cpu.h"
#include "kernel/pack.h"

/* f32: weights as exact float32 values, float32 activations: the parity reference.
 * fast: int8 activations for quantized weights, bf16 activations for BF16 weights where the ISA has bf16
 * dot products, float32 elsewhere. */
enum compute_mode { COMPUTE_F32, COMPUTE_FAST };

/* A matrix of activations [rows, cols] in the forms that the products want. Memory is the caller's.
 * q8: groups of 32 columns: x ~ d * q, d = max|x| / 127 (0 for a group of zeros), q rounded to nearest
 * even; sum: sum of q over each 16 columns. Columns past the last full group of 32 do not exist in
 * quantized products (cols % 32 == 0 there). */
struct activations {
    int64_t cols;
    const float *f32; /* [rows, ldf]: always there */
    int64_t ldf;
    int8_t *q;      /* [rows, cols] */
    float *d;       /* [rows, cols / 32] */
    int32_t *sum;   /* [rows, cols / 16] */
    uint16_t *bf16; /* [rows, round_up(cols, 2)], zero in the padding; NULL: not made */
};

#define KV_PAGE 64   /* positions in a page, and keys in an attention block */
#define KV_SPAN 1024 /* keys of a span: attention begins afresh at each multiple of it */

enum kv_type { KV_F16, KV_BF16, KV_F32 };

static inline size_t kv_value_bytes(enum kv_type t)
{
    return t == KV_F32 ? 4 : 2;
}

const char *kv_type_name(enum kv_type t);                /* "f16", "bf16", "f32" */
bool kv_type_named(const char *name, enum kv_type *out); /* false: none is called so */

/* One layer's view of the KV pool. Page p, KV head h starts at base + p * page_stride + h * head_stride:
 * first K as [head_dim][KV_PAGE] (transposed: 64 keys of one dimension side by side), then V as
 * [KV_PAGE][head_dim]; both of `type`. Pages are zeroed when the pool is made. */
struct kv_layer {
    uint8_t *base;
    size_t page_stride, head_stride;
    enum kv_type type;
    int kv_heads, head_dim;
};

/* Attention of `rows` rows of one sequence for one KV head and the query heads that share it. */
struct attention_args {
    const struct kv_layer *kv;
    const int32_t *pages; /* page table: position p is in pages[p / KV_PAGE], slot p % KV_PAGE */
    const int32_t *pos;   /* [rows] position of each row; keys 0..pos are seen */
    const float *q;       /* row r, query head j of this KV head: q + r * ldq + j * head_dim */
    int64_t ldq;
    float *out; /* same arrangement */
    int64_t ldo;
    int64_t rows;
    int kv_head, group; /* group: query heads per KV head */
    float scale;        /* 1 / sqrt(head_dim), mostly */
    int64_t window;     /* keys seen, itself included; 0: all */
    float *scratch;     /* attention_scratch() floats, one per worker */
    /* For attention_span and attention_join: what each span gives, rows * group * (head_dim + 2)
     * floats each from span 0 on: values, then greatest scores, then sums of weights. */
    float *parts;
};

struct kernel_ops {
    const char *name; /* "ref", "avx2", "avxvnni", "avx512" */

    /* Quantizes rows [begin, end) of x [rows, cols] into a->q, d, sum (cols % 32 == 0). */
    void (*act_quantize)(const float *x, int64_t ldx, int64_t cols, struct activations *a,
                         int64_t begin, int64_t end);
    /* Rounds rows [begin, end) to a->bf16. NULL where the ISA has no bf16 dot product. */
    void (*act_bf16)(const float *x, int64_t ldx, int64_t cols, struct activations *a,
                     int64_t begin, int64_t end);

    /* out[r, o] = sum_k w[o, k] * x[r, k] for rows [0, rows), outputs of tiles [tile_begin, tile_end),
     * padded outputs not written. Quantized classes read q8; BF16 reads bf16 if a->bf16 and the table has
     * act_bf16, else f32; F16 and F32 read f32. int8 products are exact in int32 in each group (of 16 or
     * 32 columns); then per group, in column order, one chain per output:
     *     acc = fma(scale_w * d_x, float(dot - zero * sum_x), acc), and with a minimum
     *     acc = fma(min_w * d_x, float(sum_x), acc).
     * scratch: matmul_scratch(w) bytes per worker, 64-byte aligned. */
    void (*matmul)(const struct packed *w, const struct activations *a, int64_t rows, float *out,
                   int64_t ldo, int64_t tile_begin, int64_t tile_end, void *scratch);
    /* Same with the exact float32 weights and activations, acc = fma(w, x, acc) in column order. */
    void (*matmul_f32)(const struct packed *w, const struct activations *a, int64_t rows,
                       float *out, int64_t ldo, int64_t tile_begin, int64_t tile_end,
                       void *scratch);

    /* out = x / sqrt(mean(x^2) + eps) * weight; out may be x. [n] */
    void (*rmsnorm)(const float *x, const float *weight, float eps, int64_t n, float *out);
    /* Turns pairs (x[i], x[i + half]) by the angle of cos[i], sin[i], i < half, in place. */
    void (*rope)(float *x, const float *cos, const float *sin, int64_t half);
    /* gate = silu(gate) * up, silu(x) = x / (1 + exp(-x)). [n] */
    void (*silu_mul)(float *gate, const float *up, int64_t n);
    /* gate = gelu(gate) * up, gelu(x) = x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))): the tanh form of
     * Hendrycks and Gimpel 2016. [n] */
    void (*gelu_mul)(float *gate, const float *up, int64_t n);
    void (*add)(float *x, const float *y, int64_t n); /* x += y */

    /* Stores k and v of one row, [kv_heads * head_dim] each, at a page's slot (rounded to the
     * nearest of the type, to even between two). */
    void (*kv_write)(const struct kv_layer *kv, int32_t page, int slot, const float *k,
                     const float *v);
    /* softmax(q k^T * scale) v; a score is one fma chain over head_dim. Keys are cut into spans at the
     * multiples of KV_SPAN. Within a span, online over blocks of 64 keys, in order; then the spans that
     * a row sees are joined in order, from the first one as it is:
     *     top = max(max, part.max), f = exp(max - top), g = exp(part.max - top), max = top,
     *     sum = sum * f + part.sum * g, acc = acc * f + part.acc * g (each product and sum rounded). */
    void (*attention)(const struct attention_args *a);
    /* The same in pieces that several workers can do: one span, to its place in a->parts, and when
     * all that a row sees are done, their join to a->out. */
    void (*attention_span)(const struct attention_args *a, int64_t span);
    void (*attention_join)(const struct attention_args *a);

    /* max, then log(sum(exp(x - max))) + max over n logits, in float32 with a fixed order. */
    float (*log_sum_exp)(const float *x, int64_t n);
    /* out[i] = exp((x[i] - max) * scale), 0 where that is below exp(-87) (nearly the least normal number) or
     * x is NaN; the same bits with every instruction set. out may be x. [n] */
    void (*weights)(const float *x, float max, float scale, int64_t n, float *out);
};

/* The table for an ISA; falls to no other: NULL when this build does not have it. */
const struct kernel_ops *kernel_get(enum cpu_isa isa);
/* The best that this machine and this build have, or what SAMPAN_ISA asks for; an error where that is missing. */
int kernel_pick(enum cpu_isa *out, sp_error *err);

size_t matmul_scratch(const struct packed *w);     /* bytes per worker */
size_t attention_scratch(int group, int head_dim); /* floats per worker */
/* Rows that go through the keys together: a call with more does as many at a time. */
int attention_rows(int group);

#endif
