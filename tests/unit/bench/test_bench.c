/* The benchmark's figures hang together; speed itself is never a test. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include "../tiny_model.h"
#include "bench/bench.h"

static void a_plan_is_a_product_of_lists(void **state)
{
    static const int64_t prompts[] = {512, 4096}, gens[] = {128}, depths[] = {0, 8192},
                         batches[] = {1, 16}, none[] = {0}, wrong[] = {-1};
    struct bench_plan p = {prompts, gens, depths, batches, 2, 1, 2, 2};
    struct bench_test *t = NULL;
    struct engine_opts eo = engine_opts_default();
    static const char *const names[] = {"pp512",       "pp4096",        "tg128",
                                        "tg128x16",    "pp512@d8192",   "pp4096@d8192",
                                        "tg128@d8192", "tg128x16@d8192"};
    size_t n = 0;
    (void)state;
    assert_int_equal(bench_tests(&p, &t, &n, NULL), 0);
    assert_int_equal(n, SP_COUNT(names));
    for (size_t i = 0; i < n; i++) {
        char name[48];
        bench_name(&t[i], name);
        assert_string_equal(name, names[i]);
    }
    bench_needs(t, n, &eo);
    assert_true(eo.max_context >= 8192 + 4096 + 1 && eo.max_context < 16384);
    assert_int_equal(eo.max_seqs, 16);
    sp_free(t);
    p.prompts = none, p.n_prompts = 1;
    assert_int_equal(bench_tests(&p, &t, &n, NULL), 0);
    assert_int_equal(n, 4);
    sp_free(t);
    p.gens = none;
    assert_int_equal(bench_tests(&p, &t, &n, NULL), SP_EUSAGE);
    p.gens = gens, p.depths = wrong, p.n_depths = 1;
    assert_int_equal(bench_tests(&p, &t, &n, NULL), SP_EUSAGE);
    p.depths = none, p.batches = none, p.n_batches = 1;
    assert_int_equal(bench_tests(&p, &t, &n, NULL), SP_EUSAGE);
}

/* The figures of a result follow from its samples and from the shape of the tiny model. */
static void check_result(const struct bench_result *r, uint64_t weight_bytes)
{
    double sum = 0, layer = 32 * (8 + 4) * 8 + 3 * 32 * 64, head = 32 * TINY_VOCAB;
    for (int i = 0; i < r->reps; i++) {
        assert_true(r->samples[i] > 0);
        sum += r->samples[i];
    }
    assert_true(fabs(sum / r->reps - r->tokens_per_second) < 1e-9 * sum);
    double gops = 2e-9 * r->tokens_per_second * (2 * layer + (r->test.gen ? head : 0));
    assert_true(fabs(gops - r->gops) < 1e-9 * gops);
    assert_true(r->limit_gops > 0 && r->limit_gb_per_second > 0 && r->share > 0);
    assert_int_equal(r->weight_bytes, weight_bytes);
    if (!r->test.gen) {
        assert_true(r->bound == BOUND_OPERATIONS && r->gb_per_second <= 0);
        return;
    }
    /* A position: keys and values, 2 layers, 2 heads of 8, 2 bytes each (f16). */
    double here = (double)(r->test.depth ? r->test.depth : 1) + (double)r->test.gen / 2;
    double step = (double)weight_bytes + r->test.batch * here * 2 * 2 * 2 * 8 * 2;
    double gb = 1e-9 * r->tokens_per_second / r->test.batch * step;
    assert_true(fabs(gb - r->gb_per_second) < 1e-9 * gb);
}

static void measures_what_was_asked_for(void **state)
{
    static const struct bench_test tests[] = {
        {40, 0, 0, 1}, {40, 0, 100, 1}, {0, 10, 0, 1}, {0, 10, 0, 3}, {0, 7, 60, 4}};
    static struct bench_result r;
    struct engine_opts eo = engine_opts_default();
    struct engine_info info;
    engine *e = NULL;
    sp_error err;
    char *dir = tiny_model_make();
    (void)state;
    eo.threads = 1;
    bench_needs(tests, SP_COUNT(tests), &eo);
    assert_int_equal(engine_open(dir, &eo, &e, NULL), 0);
    engine_get_info(e, &info);
    struct bench_opts o = {.reps = 2, .seed = 1};
    for (size_t i = 0; i < SP_COUNT(tests); i++) {
        assert_int_equal(bench_run(e, "tiny", &tests[i], &o, &r, &err), 0);
        assert_string_equal(r.model, "tiny");
        assert_true(r.reps == 2 && r.threads == 1);
        check_result(&r, info.weight_bytes);
    }
    o.reps = 0;
    assert_int_equal(bench_run(e, "tiny", &tests[0], &o, &r, &err), SP_EUSAGE);
    o.reps = 1;
    struct bench_test deep = {0, 10, 100000, 1}, wide = {0, 10, 1, 1000};
    assert_int_equal(bench_run(e, "tiny", &deep, &o, &r, &err), SP_EUSAGE);
    assert_non_null(strstr(err.message, "--max-context"));
    assert_int_equal(bench_run(e, "tiny", &wide, &o, &r, &err), SP_EUSAGE);
    assert_non_null(strstr(err.message, "--kv-memory"));
    engine_get_info(e, &info);
    assert_int_equal(info.kv_pages_free, info.kv_pages); /* nothing is left behind */
    engine_close(e);
    tiny_model_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plan_is_a_product_of_lists),
        cmocka_unit_test(measures_what_was_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
