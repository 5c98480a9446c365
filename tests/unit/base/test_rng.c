#include "scratch.h"

#include "base/rng.h"

/* Known answers published with Random123 (kat_vectors, philox4x32 with 10 rounds). */
static void philox_known_answers(void **state)
{
    (void)state;
    static const struct {
        uint64_t key, hi, lo;
        uint32_t out[4];
    } cases[] = {
        {0, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {UINT64_MAX, UINT64_MAX, UINT64_MAX, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {0x299f31d0a4093822,
         0x0370734413198a2e,
         0x85a308d3243f6a88,
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        uint32_t out[4];
        rng_philox(cases[i].key, cases[i].hi, cases[i].lo, out);
        assert_memory_equal(out, cases[i].out, sizeof out);
    }
}

static void uniform_fills_its_range(void **state)
{
    (void)state;
    double sum = 0, least = 1, most = 0;
    const int n = 100000;
    for (int i = 0; i < n; i++) {
        double u = rng_uniform(42, (uint64_t)i, 0);
        assert_true(u >= 0 && u < 1);
        sum += u;
        if (u < least)
            least = u;
        if (u > most)
            most = u;
    }
    assert_true(sum / n > 0.495 && sum / n < 0.505); /* 5 standard errors */
    assert_true(least < 0.001 && most > 0.999);
}

static void uniform_depends_on_each_argument(void **state)
{
    (void)state;
    double a = rng_uniform(1, 2, 3);
    double others[] = {rng_uniform(2, 2, 3), rng_uniform(1, 3, 3), rng_uniform(1, 2, 4),
                       rng_uniform(1, 3, 2)};
    double again = rng_uniform(1, 2, 3);
    assert_memory_equal(&a, &again, sizeof a);
    for (size_t i = 0; i < SP_COUNT(others); i++)
        assert_memory_not_equal(&a, &others[i], sizeof a);
}

static void seeds_differ(void **state)
{
    (void)state;
    uint64_t a = rng_seed(), b = rng_seed(), c = rng_seed();
    assert_false(a == b && b == c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_known_answers),
        cmocka_unit_test(uniform_fills_its_range),
        cmocka_unit_test(uniform_depends_on_each_argument),
        cmocka_unit_test(seeds_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
