/* Private to src/kernel/cpu: what the matrix products of all instruction sets share.
 *
 * A quantized product goes through a tile in steps of 32 columns: the step's weights are expanded to
 * bytes once, in registers, and meet every row of activations; a step is one group of 32 or two of 16.
 * The kinds of packed matrices are compile-time constants of always-inline functions, so each kind gets
 * its own loop without a branch. */
#ifndef SP_KERNEL_MATMUL_INT_H
#define SP_KERNEL_MATMUL_INT_H

#include <assert.h>
#include <string.h>
#include "kernel/kernel_int.h"
#include "kernel/pack_int.h"

#define MM_INLINE static inline __attribute__((always_inline))

/* Before a loop with few, constant turns over registers: all of them in a row, whatever the compiler's
 * level of optimization thinks of it; else arrays of registers live in memory. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MM_UNROLL /* gcc's sanitizers break the loops up first, and gcc warns */
#elif defined(__clang__)
#define MM_UNROLL _Pragma("clang loop unroll(full)")
#else
#define MM_UNROLL _Pragma("GCC unroll 32")
#endif

#define MM_STEP 32      /* columns of a step */
#define MM_ROW_BLOCK 80 /* at most so many rows of activations share one expansion of a step */

/* Rows of the next block of `left`: blocks are as many as needed and alike, since a short one pays for an expansion,
 * too. */
MM_INLINE int64_t mm_block_rows(int64_t left)
{
    int64_t blocks = (left + MM_ROW_BLOCK - 1) / MM_ROW_BLOCK;
    return (left + blocks - 1) / blocks;
}

/* Arguments of one call of a product (see struct kernel_ops). */
struct mm_args {
    const struct packed *w;
    const struct activations *a;
    int64_t rows;
    float *out;
    int64_t ldo;
    int64_t tile_begin, tile_end;
    float *scratch;
};

/* A kind of quantized matrix: all that decides how its bytes are read. */
struct mm_kind {
    int bits;
    int group;
    int zero_shift; /* zero = 1 << zero_shift; -1: zero = 0 */
    bool has_min, two_level, signed_sc;
    bool coded; /* nibbles are places in pack_iq4_codes */
};

enum mm_kind_id {
    MM_Q4_0,
    MM_Q4_1,
    MM_Q5_0,
    MM_Q5_1,
    MM_Q8_0,
    MM_Q2_K,
    MM_Q3_K,
    MM_Q4_K,
    MM_Q5_K,
    MM_Q6_K,
    MM_IQ4_NL,
    MM_IQ4_XS,
    MM_KINDS
};

static const struct mm_kind mm_q4_0 = {4, 32, 3, false, false, false, false};
static const struct mm_kind mm_q4_1 = {4, 32, -1, true, false, false, false};
static const struct mm_kind mm_q5_0 = {5, 32, 4, false, false, false, false};
static const struct mm_kind mm_q5_1 = {5, 32, -1, true, false, false, false};
static const struct mm_kind mm_q8_0 = {8, 32, 7, false, false, false, false};
static const struct mm_kind mm_q2_k = {4, 16, -1, true, true, false, false};
static const struct mm_kind mm_q3_k = {4, 16, 2, false, true, true, false};
static const struct mm_kind mm_q4_k = {4, 32, -1, true, true, false, false};
static const struct mm_kind mm_q5_k = {5, 32, -1, true, true, false, false};
static const struct mm_kind mm_q6_k = {6, 16, 5, false, true, true, false};
static const struct mm_kind mm_iq4_nl = {4, 32, 7, false, false, false, .coded = true};
static const struct mm_kind mm_iq4_xs = {4, 32, 7, false, true, true, .coded = true};

/* Which kind a quantized matrix is. */
static inline enum mm_kind_id mm_kind_of(const struct packed *w)
{
    if (w->cls == PACK_IQ4)
        return w->two_level ? MM_IQ4_XS : MM_IQ4_NL;
    if (!w->two_level) {
        if (w->cls == PACK_Q8)
            return MM_Q8_0;
        if (w->cls == PACK_Q5)
            return w->has_min ? MM_Q5_1 : MM_Q5_0;
        assert(w->cls == PACK_Q4);
        return w->has_min ? MM_Q4_1 : MM_Q4_0;
    }
    if (w->cls == PACK_Q6)
        return MM_Q6_K;
    if (w->cls == PACK_Q5)
        return MM_Q5_K;
    assert(w->cls == PACK_Q4);
    if (w->group == 32)
        return MM_Q4_K;
    return w->has_min ? MM_Q2_K : MM_Q3_K;
}

/* Sizes inside a super-group, as pack.h lays it out. */
MM_INLINE int mm_super(struct mm_kind k)
{
    return k.two_level ? 256 : 32;
}
MM_INLINE int mm_group_bytes(struct mm_kind k)
{
    return k.group * PACK_ROWS * k.bits / 8;
}
MM_INLINE int mm_off_sc(struct mm_kind k)
{
    return k.has_min ? 64 : 32;
}
MM_INLINE int mm_off_m(struct mm_kind k)
{
    return mm_off_sc(k) + (k.two_level ? 16 * (256 / k.group) : 0);
}
MM_INLINE int mm_off_quants(struct mm_kind k)
{
    return mm_off_m(k) + (k.two_level && k.has_min ? 16 * (256 / k.group) : 0);
}
MM_INLINE int mm_super_bytes(struct mm_kind k)
{
    return mm_off_quants(k) + mm_super(k) / k.group * mm_group_bytes(k);
}
MM_INLINE int mm_step_bytes(struct mm_kind k) /* on average: scales included */
{
    return mm_super_bytes(k) / (mm_super(k) / MM_STEP);
}

/* How far ahead of the sums weights are asked for, in bytes: measured. Without it 16 rows run at three
 * quarters of their speed: one step's arithmetic hides no access to memory. */
#define MM_ONCE_AHEAD 4096
#define MM_KEPT_AHEAD 1408

/* Asks for the n bytes that lie `ahead` bytes after p. The address may be outside of any object: it is a
 * number, and a prefetch of what does not exist does nothing. */
MM_INLINE void mm_prefetch_bytes(const uint8_t *p, size_t ahead, size_t n)
{
    for (size_t i = 0; i < n; i += 64)
        __builtin_prefetch((const void *)((uintptr_t)p + ahead + i), 0, 3);
}

/* One step of a quantized tile, to be kept: the next block of rows reads it again. */
MM_INLINE void mm_prefetch_kept(struct mm_kind k, const uint8_t *p, size_t ahead)
{
    mm_prefetch_bytes(p, ahead, (size_t)mm_step_bytes(k));
}

/* n bytes (a constant) of a quantized tile, to be read once: they leave the nearest cache for good. */
MM_INLINE void mm_prefetch_once(const int n, const uint8_t *p, size_t ahead)
{
    MM_UNROLL
    for (int i = 0; i < n; i += 64)
        __builtin_prefetch((const void *)((uintptr_t)p + ahead + (size_t)i), 0, 0);
}

MM_INLINE int32_t mm_load32(const void *p)
{
    int32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

#endif
