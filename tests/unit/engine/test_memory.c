/* The plan of an engine's memory: its sums, what it refuses, and that what it proposes fits. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "../tiny_model.h"
#include "base/machine.h"
#include "engine/engine_int.h"

static char *dir;
static struct engine_memory plan;
static sp_error err;

static int keep(void *arg, const struct engine_memory *m)
{
    plan = *m;
    return *(int *)arg;
}

static struct engine_opts small(int *stop)
{
    struct engine_opts o = engine_opts_default();
    o.threads = 1;
    o.max_context = 0;
    o.max_seqs = 3;
    o.planned = keep;
    o.planned_arg = stop;
    return o;
}

/* The plan alone. */
static int ask(const struct engine_opts *o)
{
    engine *e = NULL;
    int code = engine_open(dir, o, &e, &err);
    assert_null(e);
    return code;
}

static void the_plan_is_what_is_taken(void **state)
{
    int stop = 0;
    struct engine_opts o = small(&stop);
    struct engine_info info;
    engine *e = NULL;
    (void)state;
    assert_int_equal(engine_open(dir, &o, &e, &err), 0);
    engine_get_info(e, &info);
    assert_int_equal(plan.weights, info.weight_bytes);
    assert_int_equal(plan.kv, info.kv_bytes);
    assert_int_equal(plan.pages, info.kv_pages);
    assert_int_equal(plan.pages, 3 * TINY_CONTEXT / KV_PAGE);
    assert_int_equal(plan.contexts, 3);
    assert_int_equal(plan.context, TINY_CONTEXT);
    assert_int_equal(plan.kv, (uint64_t)plan.pages * plan.kv_page);
    assert_int_equal(plan.step_rows, 256);
    assert_true(plan.limit == plan.free && plan.scratch > 0);
    engine_close(e);
}

static void a_plan_alone_loads_nothing(void **state)
{
    int stop = 1;
    struct engine_opts o = small(&stop);
    uint64_t before = machine_rss();
    (void)state;
    o.memory = (uint64_t)1 << 28;
    assert_int_equal(ask(&o), SP_ECANCELLED);
    assert_true(machine_rss() < before + plan.kv / 2);
}

/* The pool gets what weights and steps leave, to the page. */
static void a_limit_sizes_the_pool(void **state)
{
    int stop = 1;
    struct engine_opts o = small(&stop);
    (void)state;
    for (uint64_t size = 5 << 20; size < (uint64_t)64 << 20; size = size * 3 / 2) {
        o.memory = size;
        assert_int_equal(ask(&o), SP_ECANCELLED);
        uint64_t sum = plan.weights + plan.scratch + plan.kv;
        assert_true(sum <= size && sum + plan.kv_page > size && plan.limit == size);
        assert_int_equal(plan.contexts, plan.pages / (TINY_CONTEXT / KV_PAGE));
    }
    o.kv_bytes = plan.kv_page * 20;
    assert_int_equal(ask(&o), SP_ECANCELLED);
    assert_int_equal(plan.pages, 20);
}

static int64_t number_behind(const char *word)
{
    const char *at = strstr(err.message, word);
    if (!at)
        fail_msg("no %s in: %s", word, err.message);
    return at ? strtoll(at + strlen(word), NULL, 10) : 0;
}

static void what_is_proposed_fits_and_no_more(void **state)
{
    int stop = 1;
    struct engine_opts o = small(&stop);
    (void)state;
    assert_int_equal(ask(&o), SP_ECANCELLED);
    uint64_t fixed = plan.weights + plan.scratch;
    o.memory = fixed + 6 * plan.kv_page; /* of 8 for a context */
    assert_int_equal(ask(&o), SP_ENOMEM);
    assert_non_null(strstr(err.message, "--memory"));
    o.max_context = number_behind("--max-context ");
    uint64_t change = fixed;
    assert_int_equal(ask(&o), SP_ECANCELLED);
    change -= plan.weights + plan.scratch; /* a smaller context has smaller tables, too */
    assert_true(plan.pages >= 6 && change < fixed);
    o = small(&stop);
    o.memory = fixed + plan.kv_page;
    assert_int_equal(ask(&o), SP_ENOMEM);
    assert_non_null(strstr(err.message, "allow more"));
    o.memory = machine_memory_total() * 2;
    assert_int_equal(ask(&o), SP_ENOMEM);
    assert_true(number_behind("MB: ") > 0);
}

static void a_cache_too_small_names_a_context(void **state)
{
    int stop = 1;
    struct engine_opts o = small(&stop);
    (void)state;
    o.kv_bytes = plan.kv_page * 5;
    assert_int_equal(ask(&o), SP_EINVAL);
    o.max_context = number_behind("--max-context ");
    assert_int_equal(o.max_context, 5 * KV_PAGE);
    assert_int_equal(ask(&o), SP_ECANCELLED);
    assert_int_equal(plan.contexts, 1);
}

static int setup(void **state)
{
    (void)state;
    dir = tiny_model_make();
    return dir ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    tiny_model_remove(dir);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_plan_is_what_is_taken),
        cmocka_unit_test(a_plan_alone_loads_nothing),
        cmocka_unit_test(a_limit_sizes_the_pool),
        cmocka_unit_test(what_is_proposed_fits_and_no_more),
        cmocka_unit_test(a_cache_too_small_names_a_context),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
