/* Against Python's `statistics`: fmean, stdev, median. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include "bench/stats.h"

static void as_python_says(void **state)
{
    static const struct {
        size_t n;
        double v[7];
        double mean, deviation, median, min, max;
    } cases[] = {
        {1, {3.5}, 3.5, 0, 3.5, 3.5, 3.5},
        {2, {2, 1}, 1.5, 0.7071067811865476, 1.5, 1, 2},
        {4, {4, 1, 3, 2}, 2.5, 1.2909944487358056, 2.5, 1, 4},
        {3, {0.1, 0.1, 0.1}, 0.1, 0, 0.1, 0.1, 0.1},
        {5,
         {1e9 + 5, 1e9 + 2, 1e9 + 3, 1e9 + 4, 1e9 + 1},
         1000000003.0,
         1.5811388300841898,
         1000000003.0,
         1000000001.0,
         1000000005.0},
        {7,
         {361.33, 357.8, 364.9, 12.25, 402.5, -3, 0},
         213.68285714285713,
         197.6001802221079,
         357.8,
         -3,
         402.5},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        double v[7];
        for (size_t k = 0; k < 7; k++)
            v[k] = cases[i].v[k];
        struct stats s = stats_of(v, cases[i].n);
        double close = 1e-12 * (1 + fabs(cases[i].mean));
        assert_true(fabs(s.mean - cases[i].mean) <= close);
        assert_true(fabs(s.deviation - cases[i].deviation) <= 1e-9);
        assert_true(fabs(s.median - cases[i].median) <= close);
        assert_true(fabs(s.min - cases[i].min) <= 0 && fabs(s.max - cases[i].max) <= 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(as_python_says)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
