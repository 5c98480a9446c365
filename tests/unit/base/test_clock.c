#include "scratch.h"

#include <math.h>
#include <time.h>
#include "base/clock.h"

static void goes_forward(void **state)
{
    (void)state;
    double last = clock_seconds();
    for (int i = 0; i < 1000; i++) {
        double now = clock_seconds();
        assert_true(now >= last);
        last = now;
    }
}

static void sleeps_at_least_as_long(void **state)
{
    (void)state;
    double start = clock_seconds();
    clock_sleep(0.02);
    assert_true(clock_seconds() - start >= 0.02);
    start = clock_seconds();
    clock_sleep(0);
    clock_sleep(-5);
    clock_sleep((double)NAN);
    assert_true(clock_seconds() - start < 4); /* none of these waits */
}

static void unix_time_is_the_systems(void **state)
{
    (void)state;
    int64_t before = (int64_t)time(NULL), now = clock_unix();
    assert_true(now >= before && now <= before + 60);
}

static void moments_come_in_order(void **state)
{
    static const double waits[] = {0, 0.25, 0.999999999, 1, 2.75, 86400.5};
    (void)state;
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++) {
        double before = clock_seconds();
        struct timespec t = clock_after(waits[i]);
        double at = (double)t.tv_sec + (double)t.tv_nsec / 1e9, after = clock_seconds();
        assert_in_range(t.tv_nsec, 0, 999999999);
        assert_true(at >= before + waits[i] - 1e-6 && at <= after + waits[i] + 1e-6);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_forward),
        cmocka_unit_test(sleeps_at_least_as_long),
        cmocka_unit_test(unix_time_is_the_systems),
        cmocka_unit_test(moments_come_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
