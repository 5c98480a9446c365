/* The order in which a whole engine serves: priorities, tenants, limits of the queue and of time, preemption. A first
 * request holds the engine's thread at its first token while the others are put in line. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdatomic.h>
#include "../tiny_model.h"
#include "base/clock.h"
#include "engine/engine_int.h"

enum { MOST = 32 };

static char *dir;
static engine *e;
static uint64_t page_bytes;

struct told {
    atomic_bool *gate; /* NULL: open */
    atomic_int done;   /* place among all that ended, from 1 */
    uint64_t id;
    enum finish_reason reason;
    int code;
    int64_t tokens;
    double queue_seconds;
};
static struct told told[MOST];
static atomic_int n_done;
static atomic_bool gate;
static int32_t prompt[TINY_CONTEXT];

static void on_event(const struct engine_event *ev)
{
    struct told *t = ev->user;
    while (ev->kind == EVENT_TOKEN && t->gate && !atomic_load(t->gate))
        clock_sleep(0.001);
    if (ev->kind != EVENT_DONE)
        return;
    t->reason = ev->reason;
    t->code = ev->error.code;
    t->tokens = ev->answer_tokens;
    t->queue_seconds = ev->queue_seconds;
    atomic_store(&t->done, atomic_fetch_add(&n_done, 1) + 1);
}

static struct engine_opts small(void)
{
    struct engine_opts o = engine_opts_default();
    o.threads = 1;
    o.max_context = 0;
    o.max_seqs = 1;
    return o;
}

static void start(const struct engine_opts *o)
{
    sp_error err;
    memset(told, 0, sizeof told);
    atomic_store(&n_done, 0);
    atomic_store(&gate, false);
    if (engine_open(dir, o, &e, &err) < 0)
        fail_msg("%s", err.message);
}

static struct engine_request request(int i, int64_t n_prompt, int64_t n_answer)
{
    struct engine_request r = engine_request_default(e);
    r.prompt = prompt;
    r.n_prompt = (size_t)n_prompt;
    r.max_tokens = n_answer;
    r.ignore_end = true;
    r.sink = on_event;
    r.user = &told[i];
    return r;
}

static int submit(int i, const struct engine_request *r)
{
    return engine_submit(e, r, &told[i].id, NULL);
}

static void wait_for(int n)
{
    for (int i = 0; i < 3000 && atomic_load(&n_done) < n; i++)
        clock_sleep(0.01);
    assert_int_equal(atomic_load(&n_done), n);
}

/* The first runs, and stands at its first token. */
static void hold(void)
{
    struct engine_info info = {0};
    struct engine_request r = request(0, 10, 3);
    told[0].gate = &gate;
    assert_int_equal(submit(0, &r), 0);
    for (int i = 0; i < 1000 && info.running == 0; i++) {
        clock_sleep(0.005);
        engine_get_info(e, &info);
    }
    assert_int_equal(info.running, 1);
}

static void let_go(int n)
{
    atomic_store(&gate, true);
    wait_for(n);
}

static void priorities_decide_and_then_arrival(void **state)
{
    const int priorities[] = {0, 7, 0, -2, 7, 0}, place[] = {1, 5, 3, 2, 6, 4};
    struct engine_opts o = small();
    (void)state;
    start(&o);
    hold();
    for (int i = 1; i < 6; i++) {
        struct engine_request r = request(i, 20, 4);
        r.priority = priorities[i];
        assert_int_equal(submit(i, &r), 0);
    }
    let_go(6);
    for (int i = 0; i < 6; i++)
        assert_int_equal(atomic_load(&told[i].done), place[i]);
    struct engine_request r = request(6, 20, 4);
    r.priority = 101;
    assert_int_equal(submit(6, &r), SP_EINVAL);
    engine_close(e);
}

static void one_request_is_not_behind_twenty_of_another_tenant(void **state)
{
    struct engine_opts o = small();
    (void)state;
    start(&o);
    hold();
    for (int i = 1; i <= 21; i++) {
        struct engine_request r = request(i, 20, 4);
        r.tenant = i == 21 ? 2 : 1;
        assert_int_equal(submit(i, &r), 0);
    }
    let_go(22);
    assert_int_equal(atomic_load(&told[21].done), 3); /* both had nothing when it came */
    engine_close(e);
}

static void the_queue_is_full_by_tokens(void **state)
{
    struct engine_opts o = small();
    struct engine_info info;
    o.max_queue_tokens = 100;
    (void)state;
    start(&o);
    hold();
    struct engine_request big = request(1, 200, 2), middle = request(2, 60, 2),
                          little = request(3, 40, 2), one = request(4, 1, 2);
    assert_int_equal(submit(1, &big), 0); /* the first in line is let in, whatever its size */
    assert_int_equal(submit(4, &one), SP_EFULL);
    engine_cancel(e, told[1].id);
    assert_int_equal(submit(2, &middle), 0);
    assert_int_equal(submit(3, &little), 0);
    assert_int_equal(submit(4, &one), SP_EFULL);
    engine_get_info(e, &info);
    assert_int_equal(info.waiting, 2);
    let_go(4);
    assert_int_equal(told[1].reason, FINISH_CANCELLED);
    assert_true(engine_wait_seconds(e) <= 0);
    engine_close(e);
}

/* 30 tokens were served in the time it took; a queue of so many takes about as long. */
static void the_wait_is_told_from_what_was_served(void **state)
{
    struct engine_opts o = small();
    (void)state;
    start(&o);
    assert_true(engine_wait_seconds(e) <= 0);
    double begin = clock_seconds();
    for (int i = 1; i <= 8; i++) {
        struct engine_request r = request(i, 100, 64);
        assert_int_equal(submit(i, &r), 0);
    }
    wait_for(8);
    double rate = 8 * 164 / (clock_seconds() - begin);
    hold();
    for (int i = 9; i < 19; i++) {
        struct engine_request r = request(i, 100, 64);
        assert_int_equal(submit(i, &r), 0);
    }
    double said = engine_wait_seconds(e), expected = 10 * 164 / rate;
    assert_true(said > expected / 3 && said < expected * 3);
    let_go(19);
    engine_close(e);
}

static void who_waits_too_long_is_told(void **state)
{
    struct engine_opts o = small();
    (void)state;
    start(&o);
    hold();
    for (int i = 1; i <= 4; i++) {
        struct engine_request r = request(i, 20, 4);
        r.queue_seconds_max = i == 1 ? 0.05 : i == 4 ? 1000 : 0;
        r.total_seconds_max = i == 2 ? 0.05 : 0;
        assert_int_equal(submit(i, &r), 0);
    }
    clock_sleep(0.2);
    let_go(5);
    const int codes[] = {0, SP_EBUSY, SP_ETIMEDOUT, 0, 0};
    for (int i = 0; i < 5; i++) {
        assert_int_equal(told[i].code, codes[i]);
        assert_int_equal(told[i].reason, codes[i] ? FINISH_ERROR : FINISH_LENGTH);
    }
    assert_true(told[1].queue_seconds >= 0.05);
    struct engine_request r = request(5, 20, 4);
    r.total_seconds_max = -1;
    assert_int_equal(submit(5, &r), SP_EINVAL);
    engine_close(e);
}

static void an_answer_that_takes_too_long_ends(void **state)
{
    struct engine_opts o = small();
    struct engine_stats s;
    (void)state;
    o.max_seqs = 2;
    start(&o);
    struct engine_request slow = request(0, 10, 400), other = request(1, 10, 20);
    told[0].gate = &gate;
    slow.total_seconds_max = 0.3;
    slow.queue_seconds_max = 0.2; /* it ran in time */
    assert_int_equal(submit(0, &slow), 0);
    assert_int_equal(submit(1, &other), 0);
    clock_sleep(0.5);
    let_go(2);
    assert_int_equal(told[0].code, SP_ETIMEDOUT);
    assert_in_range(told[0].tokens, 1, 399);
    assert_int_equal(told[1].reason, FINISH_LENGTH);
    for (int i = 0; i < 1000; i++) { /* the last may have been told of before its pages are back */
        engine_get_stats(e, &s);
        if (s.kv_pages_free + s.kv_pages_cached == s.kv_pages)
            break;
        clock_sleep(0.005);
    }
    assert_int_equal(s.kv_pages_free + s.kv_pages_cached, s.kv_pages);
    engine_close(e);
}

/* Three grow beyond the pool; the two that matter more never give their pages back, though one came last. */
static void the_lowest_priority_is_preempted(void **state)
{
    struct engine_opts o = small();
    struct engine_stats s;
    (void)state;
    o.max_seqs = 4;
    o.prefix_cache = false;
    o.kv_bytes = 9 * page_bytes;
    start(&o);
    hold();
    for (int i = 1; i <= 3; i++) {
        struct engine_request r = request(i, 30, 190);
        r.prompt = prompt + i;
        r.priority = i == 2 ? 50 : 0;
        assert_int_equal(submit(i, &r), 0);
    }
    let_go(4);
    engine_get_stats(e, &s);
    assert_true(s.preemptions > 0);
    assert_int_equal(atomic_load(&told[2].done), 4);
    for (int i = 1; i <= 3; i++)
        assert_int_equal(told[i].tokens, 190);
    engine_close(e);
}

static int setup(void **state)
{
    struct engine_info info;
    struct engine_opts o = small();
    (void)state;
    dir = tiny_model_make();
    for (int i = 0; i < TINY_CONTEXT; i++)
        prompt[i] = (i * 37 + 11) % 250;
    if (!dir || engine_open(dir, &o, &e, NULL) < 0)
        return -1;
    engine_get_info(e, &info);
    page_bytes = info.kv_bytes / (uint64_t)info.kv_pages;
    engine_close(e);
    return 0;
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
        cmocka_unit_test(priorities_decide_and_then_arrival),
        cmocka_unit_test(one_request_is_not_behind_twenty_of_another_tenant),
        cmocka_unit_test(the_queue_is_full_by_tokens),
        cmocka_unit_test(the_wait_is_told_from_what_was_served),
        cmocka_unit_test(who_waits_too_long_is_told),
        cmocka_unit_test(an_answer_that_takes_too_long_ends),
        cmocka_unit_test(the_lowest_priority_is_preempted),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
