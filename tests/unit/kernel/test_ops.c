/* The elementwise operations: each table gives the bits of the scalar one, and the scalar one is right. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "kernel/kernel_int.h"
#include "kernel/math_int.h"
#include "kernel_test.h"

static const int64_t sizes[] = {1,  2,  7,  8,  9,  15,  16,  17,  31,  32,
                                33, 63, 64, 65, 96, 128, 200, 257, 896, 1000};

#define MOST 1000

/* Distance in units of the last place of `want` (float32), for finite values. */
static double ulps(float got, double want)
{
    int e;
    frexp(want, &e);
    double unit = ldexp(1.0, (e < -125 ? -125 : e) - 24);
    return fabs((double)got - want) / unit;
}

static void test_exp_is_accurate(void **state)
{
    (void)state;
    double worst = 0;
    for (int i = -1040000; i <= 887000; i += 7) {
        float x = (float)i * 1e-4f;
        double error = ulps(exp_f32(x), exp((double)x));
        worst = error > worst ? error : worst;
    }
    for (float x = 1e-30f; x < 1.0f; x *= 1.01f)
        assert_true(ulps(exp_f32(-x), exp(-(double)x)) <= 1.0);
    assert_true(worst <= 1.0);
    assert_true(exp_f32(0.0f) == 1.0f);
    assert_true(exp_f32(-0.0f) == 1.0f);
    assert_true(exp_f32(-INFINITY) == 0.0f);
    assert_true(exp_f32(-1e30f) == 0.0f);
    assert_true(exp_f32(-104.5f) == 0.0f);
    assert_true(exp_f32(-103.0f) > 0.0f);
    assert_true(isinf(exp_f32(INFINITY)));
    assert_true(isinf(exp_f32(88.8f)));
    assert_true(isinf(exp_f32(3e38f)));
    assert_true(isnan(exp_f32(NAN)));
}

static void test_log_is_accurate(void **state)
{
    (void)state;
    uint64_t seed = 11;
    for (int i = 0; i < 100000; i++) {
        uint32_t bits = (uint32_t)random_bits(&seed) % 0x7f800000u;
        float x;
        memcpy(&x, &bits, sizeof x);
        if (x > 0)
            assert_true(ulps(kernel_log(x), log((double)x)) <= 0.51);
    }
    assert_true(kernel_log(1.0f) == 0.0f);
    assert_true(isinf(kernel_log(0.0f)) && kernel_log(0.0f) < 0);
    assert_true(isinf(kernel_log(INFINITY)));
    assert_true(isfinite(kernel_log(3.4028234e38f)));
    assert_true(isnan(kernel_log(-1.0f)));
    assert_true(isnan(kernel_log(NAN)));
}

static void test_rmsnorm(void **state)
{
    (void)state;
    const struct kernel_ops *k[TABLES];
    int n_tables = tables(k);
    uint64_t seed = 12;
    float x[MOST], w[MOST], want[MOST], got[MOST + 1];
    for (size_t s = 0; s < SP_COUNT(sizes); s++) {
        int64_t n = sizes[s];
        double squares = 0;
        random_floats(&seed, x, (size_t)n);
        random_floats(&seed, w, (size_t)n);
        for (int64_t i = 0; i < n; i++)
            squares += (double)x[i] * (double)x[i];
        double inverse = 1.0 / sqrt(squares / (double)n + 1e-6);
        k[0]->rmsnorm(x, w, 1e-6f, n, want);
        for (int64_t i = 0; i < n; i++)
            assert_true(fabs(want[i] - x[i] * inverse * w[i]) <= 1e-6 * fabs(want[i]) + 1e-30);
        for (int t = 1; t < n_tables; t++) {
            got[n] = 42.0f;
            k[t]->rmsnorm(x, w, 1e-6f, n, got);
            assert_same_floats(got, want, (size_t)n, k[t]->name);
            assert_true(got[n] == 42.0f);
            memcpy(got, x, (size_t)n * sizeof(float));
            k[t]->rmsnorm(got, w, 1e-6f, n, got);
            assert_same_floats(got, want, (size_t)n, "in place");
        }
    }
}

static void test_rope(void **state)
{
    (void)state;
    const struct kernel_ops *k[TABLES];
    int n_tables = tables(k);
    uint64_t seed = 13;
    float x[256], want[256], got[257], c[128], s[128];
    const int64_t halves[] = {1, 4, 8, 15, 16, 32, 40, 48, 64, 128};
    for (size_t h = 0; h < SP_COUNT(halves); h++) {
        int64_t half = halves[h];
        random_floats(&seed, x, 256);
        for (int64_t i = 0; i < half; i++) {
            float angle = random_float(&seed) * 10;
            c[i] = cosf(angle);
            s[i] = sinf(angle);
        }
        memcpy(want, x, sizeof x);
        k[0]->rope(want, c, s, half);
        for (int64_t i = 0; i < half; i++) {
            assert_true(want[i] == x[i] * c[i] - x[i + half] * s[i]);
            assert_true(want[i + half] == x[i + half] * c[i] + x[i] * s[i]);
        }
        for (int t = 1; t < n_tables; t++) {
            memcpy(got, x, sizeof x);
            k[t]->rope(got, c, s, half);
            assert_same_floats(got, want, 256, k[t]->name);
        }
    }
}

static void test_silu_mul_and_add(void **state)
{
    (void)state;
    const struct kernel_ops *k[TABLES];
    int n_tables = tables(k);
    uint64_t seed = 14;
    float x[MOST], y[MOST], want[MOST], got[MOST + 1];
    for (size_t s = 0; s < SP_COUNT(sizes); s++) {
        size_t n = (size_t)sizes[s];
        for (size_t i = 0; i < n; i++) {
            x[i] = random_float(&seed) * (i % 3 ? 10.0f : 150.0f);
            y[i] = random_float(&seed);
        }
        memcpy(want, x, n * sizeof(float));
        k[0]->silu_mul(want, y, sizes[s]);
        for (size_t i = 0; i < n; i++) {
            double exact = (double)x[i] / (1.0 + exp(-(double)x[i])) * (double)y[i];
            assert_true(fabs((double)want[i] - exact) <= 4e-7 * fabs(exact) + 1e-36);
        }
        for (int t = 1; t < n_tables; t++) {
            memcpy(got, x, n * sizeof(float));
            got[n] = 42.0f;
            k[t]->silu_mul(got, y, sizes[s]);
            assert_same_floats(got, want, n, k[t]->name);
            k[t]->add(got, y, sizes[s]);
            for (size_t i = 0; i < n; i++)
                assert_true(got[i] == want[i] + y[i]);
            assert_true(got[n] == 42.0f);
        }
    }
}

static void test_gelu_mul(void **state)
{
    (void)state;
    const struct kernel_ops *k[TABLES];
    int n_tables = tables(k);
    uint64_t seed = 16;
    float x[MOST], y[MOST], want[MOST], got[MOST + 1];
    for (size_t s = 0; s < SP_COUNT(sizes); s++) {
        size_t n = (size_t)sizes[s];
        for (size_t i = 0; i < n; i++) {
            x[i] = random_float(&seed) * (i % 3 ? 4.0f : 150.0f);
            y[i] = random_float(&seed);
        }
        memcpy(want, x, n * sizeof(float));
        k[0]->gelu_mul(want, y, sizes[s]);
        for (size_t i = 0; i < n;
             i++) { /* far below zero the sum with tanh() cancels in double, too */
            double v = (double)x[i],
                   z = sqrt(2 / 3.14159265358979323846) * (v + 0.044715 * v * v * v);
            double exact = 0.5 * v * (1 + tanh(z)) * (double)y[i];
            assert_true(fabs((double)want[i] - exact) <= 3e-6 * fabs(exact) + 1e-13);
        }
        for (int t = 1; t < n_tables; t++) {
            memcpy(got, x, n * sizeof(float));
            got[n] = 42.0f;
            k[t]->gelu_mul(got, y, sizes[s]);
            assert_same_floats(got, want, n, k[t]->name);
            assert_true(got[n] == 42.0f);
        }
    }
}

/* Infinities and NaN come out as such, and only where they went in. */
static void test_special_values(void **state)
{
    (void)state;
    const struct kernel_ops *k[TABLES];
    int n_tables = tables(k);
    float up[20], gate[20];
    for (int t = 0; t < 2 * n_tables; t++) {
        bool gelu = t % 2;
        const struct kernel_ops *ops = k[t / 2];
        for (int i = 0; i < 20; i++) {
            up[i] = 1.0f;
            gate[i] = i == 3 || i == 18 ? NAN : i == 5 ? INFINITY : i == 7 ? -200.0f : 1.0f;
        }
        (gelu ? ops->gelu_mul : ops->silu_mul)(gate, up, 20);
        for (int i = 0; i < 20; i++)
            assert_int_equal(isnan(gate[i]) != 0, i == 3 || i == 18);
        assert_true(isinf(gate[5]));
        assert_true(gate[7] == 0.0f);
        float x[3] = {1.0f, NAN, 2.0f};
        assert_true(isnan(ops->log_sum_exp(x, 3)));
    }
}

static void test_log_sum_exp(void **state)
{
    (void)state;
    const struct kernel_ops *k[TABLES];
    int n_tables = tables(k);
    uint64_t seed = 15;
    enum { VOCAB = 151936 };
    float *x = sp_malloc(VOCAB * sizeof(float));
    assert_non_null(x);
    for (size_t s = 0; s <= SP_COUNT(sizes); s++) {
        int64_t n = s < SP_COUNT(sizes) ? sizes[s] : VOCAB;
        double max = -1e30, sum = 0;
        for (int64_t i = 0; i < n; i++)
            x[i] = random_float(&seed) * 20.0f + 5.0f;
        if (n > 16)
            x[n / 2] = -INFINITY; /* a forbidden token */
        for (int64_t i = 0; i < n; i++)
            max = (double)x[i] > max ? (double)x[i] : max;
        for (int64_t i = 0; i < n; i++)
            sum += exp((double)x[i] - max);
        float want = k[0]->log_sum_exp(x, n);
        assert_true(fabs((double)want - (log(sum) + max)) < 4e-6);
        for (int t = 1; t < n_tables; t++) {
            float got = k[t]->log_sum_exp(x, n);
            assert_same_floats(&got, &want, 1, k[t]->name);
        }
    }
    sp_free(x);
}

static void test_weights(void **state)
{
    (void)state;
    const struct kernel_ops *k[TABLES];
    int n_tables = tables(k);
    uint64_t seed = 17;
    enum { N = 1003 };
    float x[N], want[N], got[N];
    for (int i = 0; i < N; i++)
        x[i] = (random_float(&seed) - 1) * 60;
    x[0] = 0;
    x[5] = x[N - 1] = NAN;
    x[7] = x[N - 2] = -INFINITY;
    x[9] = x[N - 3] = -3e38f;
    k[0]->weights(x, 0, 1.5f, N, want);
    assert_true(want[0] == 1.0f);
    for (int i = 0; i < N; i++) {
        double v = 1.5 * (double)x[i];
        if (!(v >= -87))
            assert_true(want[i] == 0.0f);
        else
            assert_true(fabs((double)want[i] / exp(v) - 1) < 1e-5);
    }
    for (int t = 0; t < n_tables; t++) {
        k[t]->weights(x, 0, 1.5f, N, got);
        assert_same_floats(got, want, N, k[t]->name);
        memcpy(got, x, sizeof got);
        k[t]->weights(got, 0, 1.5f, N, got); /* in place */
        assert_same_floats(got, want, N, k[t]->name);
    }
}

static uint16_t f32_to_half(float x, int type)
{
    return type == KV_F16 ? f32_to_f16(x) : f32_to_bf16(x);
}

static void test_kv_write(void **state)
{
    (void)state;
    const struct kernel_ops *k[TABLES];
    int n_tables = tables(k);
    uint64_t seed = 16;
    const int dims[] = {8, 64, 80, 96, 128};
    for (size_t d = 0; d < SP_COUNT(dims); d++) {
        for (int type = KV_F16; type <= KV_F32; type++) {
            size_t head = (size_t)dims[d] * KV_PAGE * 2 * kv_value_bytes((enum kv_type)type);
            struct kv_layer kv = {NULL, 3 * head, head, (enum kv_type)type, 3, dims[d]};
            float key[3 * 128], value[3 * 128];
            uint8_t *pool[TABLES] = {NULL};
            random_floats(&seed, key, 3 * 128);
            random_floats(&seed, value, 3 * 128);
            key[1] = 1e-6f; /* subnormal and infinite in f16 */
            value[2] = 7e4f;
            key[3] = 1.0f + 0x1p-8f; /* between two of bf16: to even */
            key[4] = 1.0f + 0x3p-8f;
            for (int t = 0; t < n_tables; t++) {
                pool[t] = sp_calloc(2, 3 * head);
                assert_non_null(pool[t]);
                kv.base = pool[t];
                k[t]->kv_write(&kv, 1, 63, key, value);
                k[t]->kv_write(&kv, 1, 0, value, key);
                k[t]->kv_write(&kv, 0, 17, value, key);
                assert_memory_equal(pool[t], pool[0], 6 * head);
            }
            const uint16_t *halves = (const uint16_t *)(const void *)(pool[0] + 3 * head);
            if (type != KV_F32) {
                assert_int_equal(halves[3 * KV_PAGE + 63], type == KV_F16 ? 0x3c04 : 0x3f80);
                assert_int_equal(halves[4 * KV_PAGE + 63], type == KV_F16 ? 0x3c0c : 0x3f82);
                assert_int_equal(halves[KV_PAGE * dims[d] + 2], f32_to_half(key[2], type));
            }
            for (int h = 0; h < 3 && type == KV_F32; h++) {
                const float *block =
                    (const float *)(const void *)(pool[0] + 3 * head + (size_t)h * head);
                for (int i = 0; i < dims[d]; i++) {
                    assert_true(block[i * KV_PAGE + 63] == key[h * dims[d] + i]);
                    assert_true(block[(KV_PAGE + 63) * dims[d] + i] == value[h * dims[d] + i]);
                }
            }
            for (int t = 0; t < n_tables; t++)
                sp_free(pool[t]);
        }
    }
}

static void test_tables(void **state)
{
    (void)state;
    assert_string_equal(kernel_get(ISA_REF)->name, "ref");
    const struct kernel_ops *k[TABLES];
    int n_tables = tables(k);
    for (int t = 0; t < n_tables; t++) {
        assert_non_null(k[t]->act_quantize);
        assert_non_null(k[t]->matmul);
        assert_non_null(k[t]->matmul_f32);
        for (int o = 0; o < t; o++)
            assert_string_not_equal(k[t]->name, k[o]->name);
    }
    assert_null(kernel_get((enum cpu_isa)99));
}

#ifdef SAMPAN_HAVE_X86
/* 256-bit VNNI has products of its own and nothing else: AVX2's tests speak for the rest. Looked at, not run. */
static void test_vnni_is_avx2_but_for_products(void **state)
{
    const struct kernel_ops *const tables[] = {&kernel_ops_avxvnni_vex, &kernel_ops_avxvnni_evex};
    (void)state;
    for (size_t i = 0; i < SP_COUNT(tables); i++) {
        struct kernel_ops rest = *tables[i];
        assert_ptr_not_equal(rest.matmul, kernel_ops_avx2.matmul);
        rest.matmul = kernel_ops_avx2.matmul;
        rest.name = kernel_ops_avx2.name;
        assert_memory_equal(&rest, &kernel_ops_avx2, sizeof rest);
    }
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exp_is_accurate),
        cmocka_unit_test(test_log_is_accurate),
        cmocka_unit_test(test_rmsnorm),
        cmocka_unit_test(test_rope),
        cmocka_unit_test(test_silu_mul_and_add),
        cmocka_unit_test(test_gelu_mul),
        cmocka_unit_test(test_special_values),
        cmocka_unit_test(test_log_sum_exp),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_kv_write),
        cmocka_unit_test(test_tables),
#ifdef SAMPAN_HAVE_X86
        cmocka_unit_test(test_vnni_is_avx2_but_for_products),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
