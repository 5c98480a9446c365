/* Limits are positive, only rise, and know what they read; how fast a machine is is never a test. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "base/base.h"
#include "base/machine.h"
#include "bench/machine.h"
#include "kernel/kernel.h"

static enum cpu_isa isa;

static void rates_only_rise(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 3; threads += 2) {
        limits *l = NULL;
        struct limits_opts o = {.isa = isa, .threads = threads, .bytes = 100000};
        assert_int_equal(limits_open(&o, &l, NULL), 0);
        assert_int_equal(limits_bytes(l), 100352); /* whole pieces of 512 */
        limits_measure(l);
        struct rates before = *limits_best(l);
        assert_true(before.read > 0 && before.int8 > 0 && before.f32 > 0);
        assert_true((before.bf16 > 0) == (probe_get(isa)->bf16 != NULL));
        double read = limits_measure_read(l);
        limits_measure(l);
        const struct rates *after = limits_best(l);
        assert_true(after->read >= before.read && after->read >= read);
        assert_true(after->int8 >= before.int8 && after->f32 >= before.f32);
        limits_close(l);
    }
}

static void pages_are_what_was_asked_for(void **state)
{
    limits *l = NULL;
    (void)state;
    struct limits_opts o = {
        .isa = isa, .threads = 1, .bytes = (uint64_t)16 << 20, .pages = PAGES_SMALL};
    assert_int_equal(limits_open(&o, &l, NULL), 0);
    assert_int_equal(limits_huge_bytes(l), 0);
    limits_close(l);
    o.pages = PAGES_HUGE;
    assert_int_equal(limits_open(&o, &l, NULL), 0);
    assert_true(limits_huge_bytes(l) <= limits_bytes(l)); /* the system may have none */
    limits_close(l);
    struct machine_cache caches[MACHINE_CACHES_MOST];
    for (size_t i = machine_caches(caches); i-- > 0;)
        assert_true(limits_cold_bytes() >= 4 * caches[i].bytes);
}

static void bad_wishes_are_refused(void **state)
{
    limits *l = NULL;
    sp_error err;
    (void)state;
    struct limits_opts o = {.isa = isa, .threads = 0};
    assert_int_equal(limits_open(&o, &l, &err), SP_EINVAL);
    o = (struct limits_opts){.isa = isa, .threads = 1, .bytes = (uint64_t)1 << 50};
    assert_int_equal(limits_open(&o, &l, &err), SP_ENOMEM);
    assert_non_null(strstr(err.message, "free memory"));
    o = (struct limits_opts){.isa = (enum cpu_isa)99, .threads = 1};
    assert_int_equal(limits_open(&o, &l, &err), SP_EUNSUPPORTED);
    assert_null(l);
    struct machine_report r;
    struct machine_opts mo = {.isa = isa, .threads = NULL, .n_threads = 0, .passes = 1};
    assert_int_equal(machine_measure(&mo, &r, &err), SP_EUSAGE);
}

static void the_loops_count_what_they_do(void **state)
{
    (void)state;
    const struct probe_ops *p = probe_get(isa);
    const probe_loop loops[] = {p->int8[0], p->int8[1], p->bf16, p->f32};
    for (size_t i = 0; i < SP_COUNT(loops); i++) {
        if (!loops[i])
            continue;
        double once = loops[i](1);
        assert_true(once > 0);
        assert_true(loops[i](10) >= 10 * once && loops[i](10) <= 10 * once);
    }
}

static void numbers_of_threads(void **state)
{
    int t[MACHINE_ROWS_MOST];
    (void)state;
    assert_int_equal(machine_threads(1, t), 1);
    assert_int_equal(t[0], 1);
    assert_int_equal(machine_threads(2, t), 2);
    assert_true(t[0] == 1 && t[1] == 2);
    assert_int_equal(machine_threads(48, t), 11);
    assert_true(t[7] == 8 && t[8] == 16 && t[9] == 32 && t[10] == 48);
    assert_int_equal(machine_threads(16, t), 9);
    assert_int_equal(t[8], 16);
}

static void a_report_has_every_row(void **state)
{
    (void)state;
    static struct machine_report r;
    const int threads[] = {1, 2};
    struct machine_opts o = {.isa = isa, .threads = threads, .n_threads = 2, .passes = 1};
    assert_int_equal(machine_measure(&o, &r, NULL), 0);
    assert_true(r.n_reads == 4 && r.n_peaks == 2 && r.n_near == r.n_caches + 1);
    buf b;
    buf_init(&b, 1 << 16);
    machine_print(&r, &b);
    assert_non_null(strstr(b.data, "reading memory"));
    assert_non_null(strstr(b.data, "2 MB"));
    assert_non_null(strstr(b.data, "int8 GOPS"));
    buf_free(&b);
    json_t *j = machine_json(&r);
    assert_int_equal(json_array_size(json_object_get(j, "read")), 4);
    assert_int_equal(json_array_size(json_object_get(j, "peak")), 2);
    assert_true(json_real_value(json_object_get(json_array_get(json_object_get(j, "peak"), 1),
                                                "f32_gflops")) > 0);
    json_decref(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rates_only_rise),        cmocka_unit_test(pages_are_what_was_asked_for),
        cmocka_unit_test(bad_wishes_are_refused), cmocka_unit_test(the_loops_count_what_they_do),
        cmocka_unit_test(numbers_of_threads),     cmocka_unit_test(a_report_has_every_row),
    };
    return kernel_pick(&isa, NULL) < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
