/* Histograms as Prometheus has them: which bucket a value falls into, and which buckets there are. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "server/metrics_int.h"

static void a_bound_is_in_its_bucket(void **state)
{
    static const double bounds[] = {1, 2, 5};
    struct histogram h = {0};
    const double values[] = {0, 1, 1.5, 2, 5, 5.0001, 1e9};
    (void)state;
    for (size_t i = 0; i < SP_COUNT(values); i++)
        metrics_observe(&h, bounds, 3, values[i]);
    assert_int_equal(h.counts[0], 2); /* le="1" takes 1 itself */
    assert_int_equal(h.counts[1], 2);
    assert_int_equal(h.counts[2], 1);
    assert_int_equal(h.counts[3], 2);
    assert_true(h.sum > 1e9 && h.sum < 1e9 + 15);
}

static void bounds_rise(void **state)
{
    (void)state;
    for (int k = 0; k < HIST_COUNT; k++) {
        const double *b;
        size_t n = metrics_bounds((enum histogram_kind)k, 1 << 24, &b);
        assert_true(n > 0 && n <= METRIC_BOUNDS_MAX);
        for (size_t i = 1; i < n; i++)
            assert_true(b[i] > b[i - 1]);
    }
}

static void tokens_end_with_the_context(void **state)
{
    const double *b;
    (void)state;
    size_t n = metrics_bounds(HIST_PROMPT, 4096, &b);
    assert_true(b[n - 1] == 2000);
    n = metrics_bounds(HIST_ANSWER, 5000, &b);
    assert_true(b[n - 1] == 5000);
    n = metrics_bounds(HIST_MAX_TOKENS, 1, &b);
    assert_int_equal(n, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bound_is_in_its_bucket),
        cmocka_unit_test(bounds_rise),
        cmocka_unit_test(tokens_end_with_the_context),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
