/* What the tests of the kernels share: random matrices of every format, the tables that can run here, and
 * comparison bit by bit. Include after cmocka.h. */
#ifndef SP_TESTS_KERNEL_TEST_H
#define SP_TESTS_KERNEL_TEST_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/base.h"
#include "kernel/kernel.h"

/* xorshift64*: the same numbers in every run. */
static inline uint64_t random_bits(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * 0x2545f4914f6cdd1du;
}

/* Uniform in [-1, 1). */
static inline float random_float(uint64_t *state)
{
    return (float)(random_bits(state) >> 40) / 8388608.0f - 1.0f;
}

static inline void random_floats(uint64_t *state, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = random_float(state);
}

/* The table of an instruction set, NULL where this machine or this build can't run it. Where SAMPAN_ISA names one,
 * that one must run, and of the others only the scalar one is tested. */
static inline const struct kernel_ops *ops_of(enum cpu_isa isa)
{
    const cpu_features *f = cpu_get();
    const char *only = getenv("SAMPAN_ISA");
    bool avx2 = f->avx2 && f->fma && f->f16c && f->bmi2;
    bool evex = f->avx512f && f->avx512vl && f->avx512_vnni;
    bool runs = isa == ISA_REF || (isa == ISA_AVX2 && avx2) ||
                (isa == ISA_AVXVNNI && avx2 && (f->avx_vnni || evex)) ||
                (isa == ISA_AVX512 && avx2 && evex && f->avx512bw && f->avx512dq);
    bool named = only && strcmp(only, cpu_isa_name(isa)) == 0;
    if (named && !(runs && kernel_get(isa)))
        fail_msg("SAMPAN_ISA=%s: this machine or this build can't run it", only);
    if (!runs || (only && *only && !named && isa != ISA_REF))
        return NULL;
    return kernel_get(isa);
}

/* All there are of them, the scalar one first. */
#define TABLES 4
static inline int tables(const struct kernel_ops *out[TABLES])
{
    int n = 0;
    for (enum cpu_isa isa = ISA_REF; isa <= ISA_AVX512; isa++)
        if ((out[n] = ops_of(isa)) != NULL)
            n++;
    return n;
}

static const enum dtype weight_dtypes[] = {DT_F32,  DT_F16,  DT_BF16, DT_Q4_0,   DT_Q4_1,
                                           DT_Q5_0, DT_Q5_1, DT_Q8_0, DT_Q2_K,   DT_Q3_K,
                                           DT_Q4_K, DT_Q5_K, DT_Q6_K, DT_IQ4_NL, DT_IQ4_XS};

/* Where a block holds its f16 scale and minimum; -1: nowhere. */
static inline void scale_places(enum dtype t, int *d, int *min)
{
    *d = t == DT_Q2_K ? 80 : t == DT_Q3_K ? 108 : t == DT_Q6_K ? 208 : 0;
    bool has_min = t == DT_Q4_1 || t == DT_Q5_1 || t == DT_Q2_K || t == DT_Q4_K || t == DT_Q5_K;
    *min = has_min ? *d + 2 : -1;
}

static inline void store_half(uint8_t *p, float v)
{
    uint16_t h = f32_to_f16(v);
    memcpy(p, &h, sizeof h);
}

/* rows x cols of a format, with scales that keep weights around 1; free with sp_free. */
static inline uint8_t *random_weights(uint64_t *state, enum dtype t, int64_t rows, int64_t cols,
                                      size_t *row_bytes)
{
    assert_int_equal(dtype_row_bytes(t, cols, row_bytes), 0);
    size_t n = *row_bytes * (size_t)rows, block = (size_t)dtype_get(t)->bytes;
    uint8_t *w = sp_malloc(n);
    assert_non_null(w);
    int d, min;
    scale_places(t, &d, &min);
    for (size_t i = 0; i < n; i++)
        w[i] = (uint8_t)random_bits(state);
    for (size_t i = 0; i < n; i += block) {
        float v = random_float(state);
        if (t == DT_F32)
            memcpy(w + i, &v, sizeof v);
        else if (t == DT_BF16)
            memcpy(w + i, &(uint16_t){f32_to_bf16(v)}, 2);
        else
            store_half(w + i + d, v * (t == DT_F16 ? 1.0f : 0.05f));
        if (min >= 0)
            store_half(w + i + min, random_float(state) * 0.05f);
    }
    return w;
}

/* Plans and packs all of src; p->data is to be freed with sp_free. */
static inline void pack_all(enum dtype t, const uint8_t *src, size_t row_bytes, const int32_t *map,
                            int64_t rows, int64_t cols, struct packed *p)
{
    sp_error err;
    assert_int_equal(pack_plan(t, rows, cols, p, &err), 0);
    uint8_t *data = sp_alloc_aligned(64, (size_t)p->tiles * p->tile_bytes);
    assert_non_null(data);
    memset(data, 0xa5, (size_t)p->tiles * p->tile_bytes);
    struct pack_source s = {src, row_bytes, map};
    pack_tiles(p, &s, 0, p->tiles, data);
    p->data = data;
}

static inline void packed_free(struct packed *p)
{
    sp_free((void *)(uintptr_t)p->data);
}

/* Equal bit by bit, or both NaN. */
static inline void assert_same_floats(const float *a, const float *b, size_t n, const char *what)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(a + i, b + i, sizeof *a) != 0 && !(isnan(a[i]) && isnan(b[i])))
            fail_msg("%s: value %zu of %zu is %a, expected %a", what, i, n, (double)a[i],
                     (double)b[i]);
}

#endif
