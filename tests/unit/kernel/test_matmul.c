/* The products of every instruction set against the scalar ones: the same bits for every kind of
 * weights, number of rows and range of tiles. Buffers have exactly the promised sizes, so that a
 * sanitizer sees a step too far. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/rng.h"
#include "kernel_test.h"

#define MAX_ROWS 65
#define OUTPUTS 74 /* five tiles, the last with 10 rows */
#define LDO (OUTPUTS + 3)
#define CANARY 12345.0f

static const enum dtype quantized[] = {DT_Q4_0, DT_Q4_1, DT_Q5_0, DT_Q5_1, DT_Q8_0,   DT_Q2_K,
                                       DT_Q3_K, DT_Q4_K, DT_Q5_K, DT_Q6_K, DT_IQ4_NL, DT_IQ4_XS};
static const enum dtype floats[] = {DT_F32, DT_F16, DT_BF16};

static uint64_t draws;

static uint32_t draw(void)
{
    uint32_t out[4];
    rng_philox(7, 0, draws++, out);
    return out[0];
}

static float draw_float(void)
{
    return (float)(int32_t)draw() * 0x1p-31f;
}

/* --- material --- */

enum fill { RANDOM, ALL_ONES, ALL_ZEROS };

static void put_f16(uint8_t *p, float v)
{
    uint16_t h = f32_to_f16(v);
    memcpy(p, &h, sizeof h);
}

/* A packed matrix of random (or extreme) quants and sane scales. */
static struct packed weights_new(enum dtype t, int64_t rows, int64_t cols, enum fill fill)
{
    struct packed w;
    assert_int_equal(pack_plan(t, rows, cols, &w, NULL), 0);
    size_t n = (size_t)w.tiles * w.tile_bytes;
    uint8_t *data = sp_alloc_aligned(64, n);
    assert_non_null(data);
    for (size_t i = 0; i < n; i++)
        data[i] = fill == RANDOM ? (uint8_t)draw() : fill == ALL_ONES ? 0xff : 0;
    for (int64_t t0 = 0; t0 < w.tiles; t0++) {
        uint8_t *tile = data + (size_t)t0 * w.tile_bytes;
        for (int64_t s = 0; w.group > 1 && s < cols / w.super; s++) {
            uint8_t *super = tile + (size_t)s * w.super_bytes;
            for (int r = 0; r < PACK_ROWS; r++) {
                put_f16(super + 2 * r, draw_float());
                if (w.has_min)
                    put_f16(super + w.off_min + 2 * r, draw_float());
            }
        }
        for (size_t i = 0; w.group == 1 && i < w.tile_bytes; i += w.cls == PACK_F32 ? 4 : 2) {
            float v = draw_float();
            uint16_t h = w.cls == PACK_F16 ? f32_to_f16(v) : f32_to_bf16(v);
            if (w.cls == PACK_F32)
                memcpy(tile + i, &v, sizeof v);
            else
                memcpy(tile + i, &h, sizeof h);
        }
    }
    w.data = data;
    return w;
}

static void weights_free(struct packed *w)
{
    sp_free((void *)(uintptr_t)w->data);
}

/* Activations at addresses that are aligned no further than their type. */
struct inputs {
    struct activations a;
    float *x, *d;
    int8_t *q;
    int32_t *sum;
    uint16_t *bf16;
};

static void inputs_new(struct inputs *in, int64_t rows, int64_t cols, enum fill fill)
{
    size_t n = (size_t)(rows * cols), padded = (size_t)(rows * ((cols + 1) / 2 * 2));
    in->x = sp_malloc((n + 1) * sizeof(float));
    in->q = sp_malloc(n + 1);
    in->d = sp_malloc((n / 32 + 1) * sizeof(float));
    in->sum = sp_malloc((n / 16 + 1) * sizeof(int32_t));
    in->bf16 = sp_malloc((padded + 1) * sizeof(uint16_t));
    assert_true(in->x && in->q && in->d && in->sum && in->bf16);
    for (size_t i = 0; i < n; i++)
        in->x[i + 1] = fill == RANDOM ? draw_float() : fill == ALL_ONES ? 1.0f : -1.0f;
    in->a = (struct activations){.cols = cols,
                                 .f32 = in->x + 1,
                                 .ldf = cols,
                                 .q = in->q + 1,
                                 .d = in->d + 1,
                                 .sum = in->sum + 1};
    if (cols % 32 == 0)
        kernel_get(ISA_REF)->act_quantize(in->x + 1, cols, cols, &in->a, 0, rows);
}

static void inputs_free(struct inputs *in)
{
    sp_free(in->x);
    sp_free(in->q);
    sp_free(in->d);
    sp_free(in->sum);
    sp_free(in->bf16);
}

typedef void product(const struct packed *w, const struct activations *a, int64_t rows, float *out,
                     int64_t ldo, int64_t tile_begin, int64_t tile_end, void *scratch);

/* out [rows, ldo], all of it CANARY where the product does not write; the caller frees it. */
static float *multiply(product *f, const struct packed *w, const struct activations *a,
                       int64_t rows, int64_t ldo, int64_t begin, int64_t end)
{
    size_t n = (size_t)(rows * ldo);
    float *out = sp_malloc(n * sizeof *out);
    void *scratch = sp_alloc_aligned(64, matmul_scratch(w));
    assert_true(out && scratch);
    for (size_t i = 0; i < n; i++)
        out[i] = CANARY;
    memset(scratch, 0xff, matmul_scratch(w));
    f(w, a, rows, out, ldo, begin, end, scratch);
    sp_free(scratch);
    return out;
}

static void assert_same_bits(const float *got, const float *want, int64_t n, const char *what,
                             int64_t rows)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t g, w;
        memcpy(&g, got + i, sizeof g);
        memcpy(&w, want + i, sizeof w);
        if (g != w)
            fail_msg("%s, %lld rows, value %lld: %.9g, wanted %.9g", what, (long long)rows,
                     (long long)i, (double)got[i], (double)want[i]);
    }
}

/* --- tests --- */

static void check_rows(product *f, product *reference, const struct packed *w,
                       const struct inputs *in, const char *what)
{
    float *want = multiply(reference, w, &in->a, MAX_ROWS, LDO, 0, w->tiles);
    for (int64_t rows = 1; rows <= MAX_ROWS; rows += rows == 40 ? 25 : 1) {
        float *got = multiply(f, w, &in->a, rows, LDO, 0, w->tiles);
        assert_same_bits(got, want, rows * LDO, what, rows);
        sp_free(got);
    }
    sp_free(want);
}

static void check_dtype(enum cpu_isa isa, enum dtype t, int64_t cols, enum fill quants,
                        enum fill acts)
{
    const struct kernel_ops *ops = ops_of(isa), *ref = kernel_get(ISA_REF);
    if (!ops)
        skip();
    struct packed w = weights_new(t, OUTPUTS, cols, quants);
    struct inputs in;
    inputs_new(&in, MAX_ROWS, cols, acts);
    check_rows(ops->matmul, ref->matmul, &w, &in, dtype_get(t)->name);
    check_rows(ops->matmul_f32, ref->matmul_f32, &w, &in, dtype_get(t)->name);
    inputs_free(&in);
    weights_free(&w);
}

static void check_quantized(enum cpu_isa isa, enum fill quants, enum fill acts)
{
    for (size_t i = 0; i < SP_COUNT(quantized); i++) {
        int block = dtype_get(quantized[i])->block;
        check_dtype(isa, quantized[i], block == 256 ? 256 : 32, quants, acts);
        check_dtype(isa, quantized[i], block == 256 ? 768 : 224, quants, acts);
    }
}

static void avx512_equals_ref(void **state)
{
    (void)state;
    check_quantized(ISA_AVX512, RANDOM, RANDOM);
}

static void avx2_equals_ref(void **state)
{
    (void)state;
    check_quantized(ISA_AVX2, RANDOM, RANDOM);
}

static void avxvnni_equals_ref(void **state)
{
    (void)state;
    check_quantized(ISA_AVXVNNI, RANDOM, RANDOM);
}

/* The greatest weights of either sign against activations of 127 and -127: nothing may overflow. */
static void check_extremes(enum cpu_isa isa)
{
    check_quantized(isa, ALL_ONES, ALL_ONES);
    check_quantized(isa, ALL_ONES, ALL_ZEROS);
    check_quantized(isa, ALL_ZEROS, ALL_ONES);
    check_quantized(isa, ALL_ZEROS, ALL_ZEROS);
}

static void avx512_extremes(void **state)
{
    (void)state;
    check_extremes(ISA_AVX512);
}

static void avx2_extremes(void **state)
{
    (void)state;
    check_extremes(ISA_AVX2);
}

static void avxvnni_extremes(void **state)
{
    (void)state;
    check_extremes(ISA_AVXVNNI);
}

static void check_floats(enum cpu_isa isa)
{
    static const int64_t cols[] = {1, 2, 31, 32, 33, 95, 160};
    for (size_t i = 0; i < SP_COUNT(floats); i++)
        for (size_t c = 0; c < SP_COUNT(cols); c++)
            check_dtype(isa, floats[i], cols[c], RANDOM, RANDOM);
}

static void avx512_floats(void **state)
{
    (void)state;
    check_floats(ISA_AVX512);
}

static void avx2_floats(void **state)
{
    (void)state;
    check_floats(ISA_AVX2);
}

static void avxvnni_floats(void **state)
{
    (void)state;
    check_floats(ISA_AVXVNNI);
}

/* Every range of tiles writes its own outputs, and only them. */
static void check_ranges(product *f, product *reference, const struct packed *w,
                         const struct inputs *in, int64_t rows)
{
    float *want = multiply(reference, w, &in->a, rows, LDO, 0, w->tiles);
    for (int64_t begin = 0; begin <= w->tiles; begin++) {
        for (int64_t end = begin; end <= w->tiles; end++) {
            float *got = multiply(f, w, &in->a, rows, LDO, begin, end);
            for (int64_t i = 0; i < rows * LDO; i++) {
                int64_t o = i % LDO;
                bool inside = o < OUTPUTS && o / PACK_ROWS >= begin && o / PACK_ROWS < end;
                assert_true(got[i] == (inside ? want[i] : CANARY));
            }
            sp_free(got);
        }
    }
    sp_free(want);
}

static void check_tile_ranges(enum cpu_isa isa)
{
    static const enum dtype types[] = {DT_Q5_0, DT_Q8_0, DT_Q4_K, DT_Q6_K, DT_F16};
    const struct kernel_ops *ops = ops_of(isa), *ref = kernel_get(ISA_REF);
    if (!ops)
        skip();
    for (size_t i = 0; i < SP_COUNT(types); i++) {
        struct packed w = weights_new(types[i], OUTPUTS, 256, RANDOM);
        struct inputs in;
        inputs_new(&in, 21, 256, RANDOM);
        for (int64_t rows = 1; rows <= 21; rows += 5) {
            check_ranges(ops->matmul, ref->matmul, &w, &in, rows);
            check_ranges(ops->matmul_f32, ref->matmul_f32, &w, &in, rows);
        }
        inputs_free(&in);
        weights_free(&w);
    }
}

static void avx512_tile_ranges(void **state)
{
    (void)state;
    check_tile_ranges(ISA_AVX512);
}

static void avx2_tile_ranges(void **state)
{
    (void)state;
    check_tile_ranges(ISA_AVX2);
}

static void avxvnni_tile_ranges(void **state)
{
    (void)state;
    check_tile_ranges(ISA_AVXVNNI);
}

/* bf16 x bf16: near the product of the rounded numbers, and the same bits for any number of rows. */
static void check_bf16(const struct kernel_ops *ops, int64_t cols)
{
    struct packed w = weights_new(DT_BF16, OUTPUTS, cols, RANDOM);
    struct inputs in;
    inputs_new(&in, MAX_ROWS, cols, RANDOM);
    in.a.bf16 = in.bf16 + 1;
    ops->act_bf16(in.x + 1, cols, cols, &in.a, 0, MAX_ROWS);
    for (int64_t i = 0; i < MAX_ROWS * cols; i++)
        in.x[i + 1] = bf16_to_f32(f32_to_bf16(in.x[i + 1]));
    float *want = multiply(kernel_get(ISA_REF)->matmul_f32, &w, &in.a, MAX_ROWS, LDO, 0, w.tiles);
    float *all = multiply(ops->matmul, &w, &in.a, MAX_ROWS, LDO, 0, w.tiles);
    for (int64_t i = 0; i < MAX_ROWS * LDO; i++)
        assert_true(fabsf(all[i] - want[i]) <= 1e-6f * (float)cols);
    for (int64_t rows = 1; rows < MAX_ROWS; rows++) {
        float *got = multiply(ops->matmul, &w, &in.a, rows, LDO, 0, w.tiles);
        assert_same_bits(got, all, rows * LDO, "BF16", rows);
        sp_free(got);
    }
    sp_free(all);
    sp_free(want);
    inputs_free(&in);
    weights_free(&w);
}

static void avx512_bf16(void **state)
{
    (void)state;
    const struct kernel_ops *ops = ops_of(ISA_AVX512);
    if (!ops || !ops->act_bf16)
        skip();
    check_bf16(ops, 1);
    check_bf16(ops, 63);
    check_bf16(ops, 128);
}

/* Groups of all sorts: random, ties, zeros, too small, infinite, not a number, huge, one value. */
static void fill_groups(float *x, int64_t groups)
{
    for (int64_t g = 0; g < groups; g++) {
        float *v = x + 32 * g;
        for (int i = 0; i < 32; i++)
            v[i] = draw_float() * ldexpf(1.0f, (int)(draw() % 20) - 10);
        for (int i = 0; i < 32; i++) {
            if (g % 8 == 1)
                v[i] = (float)(127 - 4 * i) + (i ? 0.5f : 0.0f);
            if (g % 8 == 2)
                v[i] = i % 2 ? 0.0f : -0.0f;
            if (g % 8 == 3)
                v[i] *= 0x1p-120f;
            if (g % 8 == 6)
                v[i] *= 0x1p117f;
        }
        if (g % 8 == 4)
            v[draw() % 32] = g % 16 == 4 ? INFINITY : -INFINITY;
        if (g % 8 == 5)
            v[draw() % 32] = NAN;
        if (g % 8 == 7)
            memset(v, 0, 31 * sizeof *v);
    }
}

static void check_quantize(enum cpu_isa isa)
{
    enum { ROWS = 5, COLS = 416, LDX = COLS + 7 };
    const struct kernel_ops *ops = ops_of(isa);
    if (!ops)
        skip();
    float x[ROWS * LDX];
    int8_t q[2][ROWS * COLS];
    float d[2][ROWS * COLS / 32];
    int32_t sum[2][ROWS * COLS / 16];
    struct activations a[2];
    for (int r = 0; r < ROWS; r++)
        fill_groups(x + r * LDX, COLS / 32);
    memset(q, 0x55, sizeof q);
    memset(d, 0x55, sizeof d);
    memset(sum, 0x55, sizeof sum);
    for (int i = 0; i < 2; i++) {
        a[i] = (struct activations){.cols = COLS, .q = q[i], .d = d[i], .sum = sum[i]};
        (i ? ops : kernel_get(ISA_REF))->act_quantize(x, LDX, COLS, &a[i], 1, ROWS - 1);
    }
    assert_memory_equal(q[0], q[1], sizeof q[0]);
    assert_memory_equal(sum[0], sum[1], sizeof sum[0]);
    for (size_t i = 0; i < SP_COUNT(d[0]); i++)
        assert_true(d[0][i] == d[1][i] || (isnan(d[0][i]) && isnan(d[1][i])));
    assert_int_equal((uint8_t)q[1][0], 0x55); /* row 0 was not asked for */
    assert_int_equal((uint8_t)q[1][ROWS * COLS - 1], 0x55);
}

static void avx512_quantize(void **state)
{
    (void)state;
    check_quantize(ISA_AVX512);
}

static void avx2_quantize(void **state)
{
    (void)state;
    check_quantize(ISA_AVX2);
}

static void avxvnni_quantize(void **state)
{
    (void)state;
    check_quantize(ISA_AVXVNNI);
}

static void rounds_to_bf16(void **state)
{
    (void)state;
    const struct kernel_ops *ops = ops_of(ISA_AVX512);
    if (!ops || !ops->act_bf16)
        skip();
    for (int64_t cols = 1; cols <= 50; cols++) {
        struct inputs in;
        inputs_new(&in, 3, cols, RANDOM);
        int64_t ld = (cols + 1) / 2 * 2;
        memset(in.bf16, 0x55, (size_t)(3 * ld + 1) * sizeof *in.bf16);
        in.a.bf16 = in.bf16 + 1;
        ops->act_bf16(in.x + 1, cols, cols, &in.a, 1, 3);
        for (int64_t i = 0; i < 3 * ld; i++) {
            int64_t r = i / ld, k = i % ld;
            uint16_t want = k < cols ? f32_to_bf16(in.x[1 + r * cols + k]) : 0;
            assert_int_equal(in.a.bf16[i], r == 0 ? 0x5555 : want);
        }
        inputs_free(&in);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(avx512_equals_ref),  cmocka_unit_test(avx2_equals_ref),
        cmocka_unit_test(avxvnni_equals_ref), cmocka_unit_test(avx512_extremes),
        cmocka_unit_test(avx2_extremes),      cmocka_unit_test(avxvnni_extremes),
        cmocka_unit_test(avx512_floats),      cmocka_unit_test(avx2_floats),
        cmocka_unit_test(avxvnni_floats),     cmocka_unit_test(avx512_tile_ranges),
        cmocka_unit_test(avx2_tile_ranges),   cmocka_unit_test(avxvnni_tile_ranges),
        cmocka_unit_test(avx512_bf16),        cmocka_unit_test(avx512_quantize),
        cmocka_unit_test(avx2_quantize),      cmocka_unit_test(avxvnni_quantize),
        cmocka_unit_test(rounds_to_bf16),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
