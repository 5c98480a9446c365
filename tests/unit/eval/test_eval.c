/* Perplexity and KL on a tiny model, through the engine's public header. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include "../tiny_model.h"
#include "eval/eval.h"

static char *dir;
static engine *exact, *fast;
static const char text[] =
    "The river is long, and the boat is small. "
    "\xe9\x95\xbf\xe6\xb1\x9f\xe5\xbe\x88\xe9\x95\xbf\xe3\x80\x82 "
    "int main(void) { return 0; } One more sentence makes it longer than one window.";

static int setup(void **state)
{
    struct engine_opts o = engine_opts_default();
    (void)state;
    dir = tiny_model_make();
    o.threads = 1;
    o.compute = COMPUTE_F32;
    if (!dir || engine_open(dir, &o, &exact, NULL) < 0)
        return -1;
    o.compute = COMPUTE_FAST;
    return engine_open(dir, &o, &fast, NULL);
}

static int teardown(void **state)
{
    (void)state;
    engine_close(exact);
    engine_close(fast);
    tiny_model_remove(dir);
    return 0;
}

static struct perplexity_opts opts(int64_t context)
{
    return (struct perplexity_opts){.text = text, .n_text = sizeof text - 1, .context = context};
}

static void perplexity_of_a_random_model_is_about_its_vocabulary(void **state)
{
    struct perplexity_opts o = opts(64);
    struct perplexity_result r, again;
    (void)state;
    assert_int_equal(eval_perplexity(exact, &o, &r, NULL), 0);
    assert_int_equal(r.tokens, (int64_t)(sizeof text - 1) - r.windows);
    assert_true(r.perplexity > 20 && r.perplexity < 20000);
    assert_true(fabs(log(r.perplexity) - r.mean_nll) < 1e-9 && r.stderr_nll > 0);
    assert_int_equal(eval_perplexity(exact, &o, &again, NULL), 0);
    assert_true(!(again.mean_nll < r.mean_nll) && !(again.mean_nll > r.mean_nll));
    o.max_tokens = 10;
    assert_int_equal(eval_perplexity(exact, &o, &r, NULL), 0);
    assert_int_equal(r.tokens, 9);
}

static void kl_to_itself_is_zero_and_to_the_fast_path_small(void **state)
{
    struct perplexity_opts o = opts(48);
    struct kl_result same, other;
    (void)state;
    assert_int_equal(eval_kl(exact, exact, &o, &same, NULL), 0);
    assert_true(same.mean < 1e-12 && same.top1 > 0.999);
    assert_int_equal(eval_kl(exact, fast, &o, &other, NULL), 0);
    assert_true(other.mean >= 0 && other.mean < 0.01 && other.max >= other.p99 &&
                other.p99 >= other.p50);
    assert_int_equal(same.tokens, other.tokens);
}

static void what_is_skipped_is_read_and_not_scored(void **state)
{
    struct perplexity_opts o = opts(64);
    struct perplexity_result all, late;
    struct kl_result k;
    (void)state;
    assert_int_equal(eval_perplexity(exact, &o, &all, NULL), 0);
    o.skip = 1;
    assert_int_equal(eval_perplexity(exact, &o, &late, NULL), 0);
    assert_true(late.tokens == all.tokens && !(late.mean_nll < all.mean_nll));
    o.skip = 33;
    assert_int_equal(eval_perplexity(exact, &o, &late, NULL), 0);
    assert_int_equal(eval_kl(exact, exact, &o, &k, NULL), 0);
    assert_int_equal(late.tokens,
                     (int64_t)(sizeof text - 1) / 64 * 31 +
                         ((sizeof text - 1) % 64 > 33 ? (sizeof text - 1) % 64 - 33 : 0));
    assert_int_equal(k.tokens, late.tokens);
    assert_true(fabs(log(k.perplexity_reference) - late.mean_nll) < 1e-9);
    o.skip = 64;
    assert_int_equal(eval_perplexity(exact, &o, &late, NULL), SP_EINVAL);
    o.skip = 33;
    o.max_tokens = 33;
    assert_int_equal(eval_perplexity(exact, &o, &late, NULL), SP_EINVAL);
}

static void bad_windows_and_texts_are_refused(void **state)
{
    struct perplexity_opts o = opts(1);
    struct perplexity_result r;
    struct kl_result k;
    (void)state;
    assert_int_equal(eval_perplexity(exact, &o, &r, NULL), SP_EINVAL);
    o.context = 100000;
    assert_int_equal(eval_kl(exact, fast, &o, &k, NULL), SP_EINVAL);
    o.context = 64;
    o.n_text = 1;
    assert_int_equal(eval_perplexity(exact, &o, &r, NULL), SP_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(perplexity_of_a_random_model_is_about_its_vocabulary),
        cmocka_unit_test(kl_to_itself_is_zero_and_to_the_fast_path_small),
        cmocka_unit_test(what_is_skipped_is_read_and_not_scored),
        cmocka_unit_test(bad_windows_and_texts_are_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
