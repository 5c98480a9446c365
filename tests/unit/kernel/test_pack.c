/* The packer: sizes, exact values of every format, the byte layout of pack.h, row maps, padding. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/sha256.h"
#include "kernel_test.h"

/* Every row of p equals row (map ? map[r] : r) of src as format/ unpacks it. */
static void check_values(const struct packed *p, const uint8_t *src, size_t row_bytes,
                         const int32_t *map)
{
    size_t n = (size_t)p->cols;
    float *want = sp_malloc(n * sizeof(float)), *got = sp_malloc(n * sizeof(float));
    assert_non_null(want);
    assert_non_null(got);
    for (int64_t r = 0; r < p->rows; r++) {
        dtype_to_f32(p->source, src + (size_t)(map ? map[r] : r) * row_bytes, p->cols, want);
        memset(got, 0x55, n * sizeof(float));
        pack_row_f32(p, r, got);
        assert_same_floats(got, want, n, dtype_get(p->source)->name);
    }
    sp_free(want);
    sp_free(got);
}

static int block_of(enum dtype t)
{
    return dtype_get(t)->block;
}

static void test_values_survive(void **state)
{
    (void)state;
    uint64_t seed = 1;
    for (size_t i = 0; i < SP_COUNT(weight_dtypes); i++) {
        enum dtype t = weight_dtypes[i];
        int64_t rows[] = {1, 15, 16, 17, 33};
        for (size_t j = 0; j < SP_COUNT(rows); j++) {
            int64_t cols = block_of(t) == 1 ? 129 : 3 * block_of(t);
            size_t row_bytes;
            struct packed p;
            uint8_t *w = random_weights(&seed, t, rows[j], cols, &row_bytes);
            pack_all(t, w, row_bytes, NULL, rows[j], cols, &p);
            check_values(&p, w, row_bytes, NULL);
            packed_free(&p);
            sp_free(w);
        }
    }
}

/* Rows of all random bits: subnormal, infinite and NaN scales too. */
static uint8_t *random_rows(uint64_t *seed, enum dtype t, int64_t rows, int64_t cols,
                            size_t *row_bytes)
{
    uint8_t *w = random_weights(seed, t, rows, cols, row_bytes);
    for (size_t k = 0; k < *row_bytes * (size_t)rows; k++)
        w[k] = (uint8_t)random_bits(seed);
    return w;
}

static void test_any_bits_survive(void **state)
{
    (void)state;
    uint64_t seed = 2;
    for (size_t i = 0; i < SP_COUNT(weight_dtypes); i++) {
        enum dtype t = weight_dtypes[i];
        int64_t rows = 64, cols = block_of(t) == 1 ? 63 : 2 * block_of(t);
        size_t row_bytes;
        struct packed p;
        uint8_t *w = random_rows(&seed, t, rows, cols, &row_bytes);
        pack_all(t, w, row_bytes, NULL, rows, cols, &p);
        check_values(&p, w, row_bytes, NULL);
        packed_free(&p);
        sp_free(w);
    }
}

static void test_row_map(void **state)
{
    (void)state;
    uint64_t seed = 3;
    for (size_t i = 0; i < SP_COUNT(weight_dtypes); i++) {
        enum dtype t = weight_dtypes[i];
        int64_t rows = 40, cols = block_of(t) == 1 ? 34 : block_of(t);
        int32_t map[40];
        for (int r = 0; r < 40; r++) /* rotary pairs apart: even rows, then odd ones; some twice */
            map[r] = r < 20 ? 2 * r : r == 39 ? 0 : 2 * (r - 20) + 1;
        size_t row_bytes;
        struct packed p;
        uint8_t *w = random_weights(&seed, t, rows, cols, &row_bytes);
        pack_all(t, w, row_bytes, map, rows, cols, &p);
        check_values(&p, w, row_bytes, map);
        packed_free(&p);
        sp_free(w);
    }
}

/* Ranges packed one by one give the bytes of the whole; every byte is written; padding rows and the tile's
 * end are zero. */
static void test_ranges_and_padding(void **state)
{
    (void)state;
    uint64_t seed = 4;
    for (size_t i = 0; i < SP_COUNT(weight_dtypes); i++) {
        enum dtype t = weight_dtypes[i];
        int64_t rows = 35, cols = block_of(t) == 1 ? 31 : block_of(t);
        size_t row_bytes;
        struct packed p, q;
        uint8_t *w = random_weights(&seed, t, rows, cols, &row_bytes);
        pack_all(t, w, row_bytes, NULL, rows, cols, &p);
        assert_int_equal(p.tiles, 3);
        assert_int_equal(p.tile_bytes % 64, 0);
        size_t bytes = 3 * p.tile_bytes;
        uint8_t *parts = sp_alloc_aligned(64, bytes);
        assert_non_null(parts);
        memset(parts, 0x5a, bytes);
        struct pack_source s = {w, row_bytes, NULL};
        pack_tiles(&p, &s, 2, 3, parts);
        pack_tiles(&p, &s, 0, 0, parts);
        pack_tiles(&p, &s, 0, 2, parts);
        assert_memory_equal(parts, p.data, bytes);
        sp_free(parts);

        q = p; /* the padding rows, read as if they were rows */
        q.rows = 48;
        float values[256];
        for (int64_t r = 35; r < 48; r++) {
            pack_row_f32(&q, r, values);
            for (int64_t k = 0; k < cols; k++)
                assert_true(values[k] == 0.0f);
        }
        packed_free(&p);
        sp_free(w);
    }
}

/* The layout of pack.h, place by place, for one format of each quantized class. */
static void test_layout_q5_0(void **state)
{
    (void)state;
    uint8_t block[22] = {0};
    store_half(block, 0.5f);
    block[2 + 3] = 0x80;  /* bit 31: column 31 has bit 4 */
    block[6 + 15] = 0x70; /* high nibble of byte 15: column 31 is 7 + 16 */
    block[6 + 9] = 0x03;  /* column 9 is 3 */
    struct packed p;
    pack_all(DT_Q5_0, block, sizeof block, NULL, 1, 32, &p);
    assert_int_equal(p.cls, PACK_Q5);
    assert_int_equal(p.zero, 16);
    assert_int_equal(p.off_quants, 32);
    assert_int_equal(p.group_bytes, 256 + 64);
    assert_int_equal(p.super_bytes, 32 + 320);
    assert_int_equal(p.tile_bytes, 384);
    const uint8_t *q = p.data + 32;
    assert_int_equal(q[64 * 1 + 1], 0x03);  /* columns 8 .. 15: line 2, byte 1, low nibble */
    assert_int_equal(q[64 * 3 + 3], 0x70);  /* columns 24 .. 31: line 7, byte 3, high nibble */
    assert_int_equal(q[256 + 8 * 7], 0x08); /* plane: line 7, bit 3 */
    packed_free(&p);
}

static void test_layout_q6_k(void **state)
{
    (void)state;
    uint8_t rows[2][210] = {{0}};
    uint8_t *block = rows[1];
    store_half(block + 208, 2.0f);
    block[192 + 9] = (uint8_t)-5; /* scale of group 9: columns 144 .. 159 */
    block[64 + 16 + 2] = 0x06;    /* column 146: low bits 6 */
    block[128 + 32 + 16 + 2] = 2; /* its high bits: 2, so u = 38 */
    struct packed p;
    pack_all(DT_Q6_K, rows[0], 210, NULL, 2, 256, &p);
    assert_int_equal(p.group, 16);
    assert_int_equal(p.super, 256);
    assert_true(p.two_level && p.signed_sc && !p.has_min);
    assert_int_equal(p.off_sc, 32);
    assert_int_equal(p.off_quants, 32 + 256);
    assert_int_equal(p.group_bytes, 128 + 64);
    assert_int_equal((int8_t)p.data[p.off_sc + 9 * 16 + 1], -5);
    const uint8_t *q = p.data + p.off_quants + 9 * p.group_bytes;
    assert_int_equal(q[4 + 2], 0x06);        /* line 0, row 1, column 2 */
    assert_int_equal(q[128 + 0], 0);         /* bit 4 plane, line 0 */
    assert_int_equal(q[128 + 32 + 0], 0x40); /* bit 5 plane, line 0, byte 6 */
    float out[256];
    pack_row_f32(&p, 1, out);
    assert_true(out[146] == 2.0f * -5 * (38 - 32));
    packed_free(&p);
}

static void test_layout_q4_k_and_floats(void **state)
{
    (void)state;
    struct packed p;
    uint8_t block[144] = {0};
    store_half(block, 1.0f);
    store_half(block + 2, 0.25f);
    block[4 + 1] = 9;     /* scale of group 1 */
    block[4 + 5] = 7;     /* minimum of group 1 */
    block[16 + 5] = 0xb0; /* column 37 (group 1, column 5): 11 */
    pack_all(DT_Q4_K, block, sizeof block, NULL, 1, 256, &p);
    assert_int_equal(p.off_min, 32);
    assert_int_equal(p.off_sc, 64);
    assert_int_equal(p.off_m, 64 + 128);
    assert_int_equal(p.off_quants, 64 + 256);
    assert_int_equal(p.super_bytes, 320 + 8 * 256);
    assert_int_equal(p.data[p.off_sc + 16], 9);
    assert_int_equal(p.data[p.off_m + 16], 7);
    assert_int_equal(p.data[p.off_quants + 256 + 1], 0xb0);
    packed_free(&p);

    uint16_t half[2][3] = {{1, 2, 3}, {4, 5, 6}};
    pack_all(DT_BF16, (const uint8_t *)half, 6, NULL, 2, 3, &p);
    const uint16_t *h = (const uint16_t *)(const void *)p.data;
    assert_int_equal(p.tile_bytes, 128);
    assert_int_equal(h[0], 1);
    assert_int_equal(h[1], 2);
    assert_int_equal(h[2], 4);
    assert_int_equal(h[32], 3);
    assert_int_equal(h[33], 0);
    assert_int_equal(h[34], 6);
    packed_free(&p);
}

/* Packed weights are kept on disk: other bytes need another PACK_LAYOUT, and then this sum changes with it. */
static void test_layout_version(void **state)
{
    (void)state;
    uint64_t seed = 9;
    char sum[65];
    sha256 *h = sha256_new();
    assert_non_null(h);
    for (size_t i = 0; i < SP_COUNT(weight_dtypes); i++) {
        enum dtype t = weight_dtypes[i];
        int64_t rows = 21, cols = block_of(t) == 1 ? 63 : 2 * block_of(t);
        size_t row_bytes;
        struct packed p;
        uint8_t *w = random_rows(&seed, t, rows, cols, &row_bytes);
        pack_all(t, w, row_bytes, NULL, rows, cols, &p);
        sha256_add(h, p.data, (size_t)p.tiles * p.tile_bytes);
        packed_free(&p);
        sp_free(w);
    }
    sha256_hex(h, sum);
    sha256_free(h);
    assert_int_equal(PACK_LAYOUT, 1);
    assert_string_equal(sum, "1e40c3e887c02edf6af5c7e2d562ed31adce42856d30774292d32a1d839891c3");
}

static void test_plan_refuses(void **state)
{
    (void)state;
    struct packed p;
    sp_error err;
    const enum dtype others[] = {DT_F64, DT_I8, DT_I64, DT_BOOL, DT_F8_E4M3, DT_COUNT};
    for (size_t i = 0; i < SP_COUNT(others); i++)
        assert_int_equal(pack_plan(others[i], 16, 256, &p, &err), SP_EUNSUPPORTED);
    assert_int_equal(pack_plan(DT_Q4_K, 16, 128, &p, &err), SP_EINVAL);
    assert_non_null(strstr(err.message, "Q4_K"));
    assert_int_equal(pack_plan(DT_Q8_0, 16, 33, &p, &err), SP_EINVAL);
    assert_int_equal(pack_plan(DT_F32, 0, 4, &p, &err), SP_EINVAL);
    assert_int_equal(pack_plan(DT_F32, 4, 0, &p, &err), SP_EINVAL);
    assert_int_equal(pack_plan(DT_F32, -1, 4, &p, NULL), SP_EINVAL);
    assert_int_equal(pack_plan(DT_F32, 4, INT64_MAX, &p, &err), SP_EINVAL);
    assert_int_equal(pack_plan(DT_F32, INT64_MAX, 4, &p, &err), SP_EINVAL);
    assert_int_equal(pack_plan(DT_F16, (int64_t)1 << 40, (int64_t)1 << 40, &p, &err), SP_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_survive),
        cmocka_unit_test(test_any_bits_survive),
        cmocka_unit_test(test_row_map),
        cmocka_unit_test(test_ranges_and_padding),
        cmocka_unit_test(test_layout_q5_0),
        cmocka_unit_test(test_layout_q6_k),
        cmocka_unit_test(test_layout_q4_k_and_floats),
        cmocka_unit_test(test_layout_version),
        cmocka_unit_test(test_plan_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
