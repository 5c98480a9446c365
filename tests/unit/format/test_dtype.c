/* Number formats: bit for bit what gguf's Python package reads (tests/reference/make_dtype_golden.py). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <string.h>
#include "format/dtype.h"

static size_t unhex(const char *hex, uint8_t *out)
{
    size_t n = strlen(hex) / 2;
    for (size_t i = 0; i < n; i++) {
        unsigned v;
        assert_int_equal(sscanf(hex + 2 * i, "%2x", &v), 1);
        out[i] = (uint8_t)v;
    }
    return n;
}

static enum dtype by_name(const char *name)
{
    for (int i = 0; i < DT_COUNT; i++)
        if (strcmp(dtype_get((enum dtype)i)->name, name) == 0)
            return (enum dtype)i;
    fail_msg("no dtype %s", name);
    return DT_F32;
}

static void values_equal_the_reference(void **state)
{
    json_t *all = json_load_file(TEST_DATA "/format/dtypes.json", 0, NULL), *e;
    size_t i;
    (void)state;
    assert_int_equal(json_array_size(all), 14);
    json_array_foreach(all, i, e)
    {
        static uint8_t raw[4096], want[16384];
        static float got[4096];
        enum dtype t = by_name(json_string_value(json_object_get(e, "type")));
        size_t n_raw = unhex(json_string_value(json_object_get(e, "raw")), raw);
        size_t n = unhex(json_string_value(json_object_get(e, "values")), want) / 4, bytes = 0;
        assert_int_equal(dtype_row_bytes(t, (int64_t)n, &bytes), 0);
        assert_int_equal(bytes, n_raw);
        dtype_to_f32(t, raw, (int64_t)n, got);
        for (size_t k = 0; k < n; k++) {
            float w;
            memcpy(&w, want + 4 * k, 4);
            if (memcmp(&w, got + k, 4) != 0 && (w < 0 || w > 0 || got[k] < 0 || got[k] > 0))
                fail_msg("%s[%zu]: %.9g, wanted %.9g", dtype_get(t)->name, k, (double)got[k],
                         (double)w);
        }
    }
    json_decref(all);
}

static void halves_go_there_and_back(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        float f = f16_to_f32((uint16_t)h), b = bf16_to_f32((uint16_t)h);
        if (!isnan(f))
            assert_int_equal(f32_to_f16(f), h);
        else
            assert_true(isnan(f16_to_f32(f32_to_f16(f))));
        if (!isnan(b))
            assert_int_equal(f32_to_bf16(b), h);
    }
    assert_int_equal(f32_to_f16(65519.0f), 0x7bff); /* the last that rounds down */
    assert_int_equal(f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(f32_to_f16(0x1p-25f), 0); /* a tie: to even */
    assert_int_equal(f32_to_f16(0x1.8p-25f), 1);
    assert_int_equal(f32_to_f16(1.0f + 0x1p-11f), 0x3c00);
    assert_int_equal(f32_to_f16(1.0f + 0x1.8p-10f), 0x3c02);
    assert_int_equal(f32_to_bf16(1.0f + 0x1p-8f), 0x3f80);
    assert_int_equal(f32_to_bf16(1.0f + 0x1.8p-7f), 0x3f82);
    assert_true(isnan(bf16_to_f32(f32_to_bf16(NAN))));
}

static void names_and_sizes(void **state)
{
    enum dtype t;
    size_t n;
    (void)state;
    assert_int_equal(dtype_from_gguf(12, &t), 0);
    assert_int_equal(t, DT_Q4_K);
    assert_int_equal(dtype_from_gguf(39, &t), SP_EUNSUPPORTED);
    assert_int_equal(dtype_from_safetensors(str_of("BF16"), &t), 0);
    assert_int_equal(t, DT_BF16);
    assert_int_equal(dtype_from_safetensors(str_of("Q4_K"), &t), SP_EUNSUPPORTED);
    assert_int_equal(dtype_row_bytes(DT_Q5_0, 33, &n), SP_EINVAL);
    assert_int_equal(dtype_row_bytes(DT_Q6_K, -256, &n), SP_EINVAL);
    assert_int_equal(dtype_row_bytes(DT_F64, INT64_MAX, &n), SP_EINVAL);
    assert_int_equal(dtype_row_bytes(DT_Q6_K, 512, &n), 0);
    assert_int_equal(n, 420);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_equal_the_reference),
        cmocka_unit_test(halves_go_there_and_back),
        cmocka_unit_test(names_and_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
