/* The benchmark's figures hang together; speed itself is never a test. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "../tiny_model.h"
#include "bench/bench.h"

static void measures_what_was_asked_for(void **state)
{
    struct engine_opts eo = engine_opts_default();
    engine *e = NULL;
    struct bench_result r[2];
    size_t n;
    char *dir = tiny_model_make();
    (void)state;
    eo.threads = 1;
    assert_int_equal(engine_open(dir, &eo, &e, NULL), 0);
    struct bench_opts o = {.prompt = 40, .gen = 10, .reps = 2, .seed = 1};
    assert_int_equal(bench_model(e, &o, r, &n, NULL), 0);
    assert_int_equal(n, 2);
    assert_string_equal(r[0].test, "pp40");
    assert_string_equal(r[1].test, "tg10");
    for (int i = 0; i < 2; i++)
        assert_true(r[i].tokens_per_second > 0 && r[i].gops > 0 && r[i].deviation >= 0 &&
                    r[i].reps == 2);
    assert_true(r[1].gb_per_second > 0);
    o.prompt = 0;
    assert_int_equal(bench_model(e, &o, r, &n, NULL), 0);
    assert_int_equal(n, 1);
    o = (struct bench_opts){.prompt = 10, .reps = 0};
    assert_int_equal(bench_model(e, &o, r, &n, NULL), SP_EUSAGE);
    o = (struct bench_opts){.prompt = 100000, .reps = 1};
    assert_int_equal(bench_model(e, &o, r, &n, NULL), SP_EUSAGE);
    o = (struct bench_opts){.reps = 1};
    assert_int_equal(bench_model(e, &o, r, &n, NULL), SP_EUSAGE);
    engine_close(e);
    tiny_model_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(measures_what_was_asked_for)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
