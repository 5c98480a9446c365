/* Who is admitted next, with a clock of the test's own. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "engine/engine_int.h"

enum { MOST = 2000 };

static struct queue queue;
static struct request all[MOST];
static int n_all;

static int setup(void **state)
{
    (void)state;
    memset(all, 0, sizeof all);
    n_all = 0;
    queue_init(&queue);
    return 0;
}

static struct request *add(uint64_t tenant, int priority, int64_t n_prompt, double now)
{
    struct request *q = &all[n_all++];
    q->id = (uint64_t)n_all;
    q->r.tenant = tenant;
    q->r.priority = priority;
    q->n_prompt = n_prompt;
    q->submitted = now;
    queue_add(&queue, q);
    return q;
}

static struct request *take(double now)
{
    static uint64_t admissions;
    struct request *q = queue_next(&queue, now);
    if (!q)
        return NULL;
    queue_take(&queue, q, now);
    assert_false(q->waits);
    if (!q->preempted)
        q->admission = ++admissions;
    return q;
}

static void expect(struct request *const *order, int n, double now)
{
    for (int i = 0; i < n; i++)
        assert_ptr_equal(take(now), order[i]);
}

/* Takes them all; the ids in order, as text. */
static void expect_ids(const char *ids, double now)
{
    char got[256] = "";
    size_t n = 0;
    for (struct request *q = take(now); q && n + 8 < sizeof got; q = take(now))
        n += (size_t)snprintf(got + n, sizeof got - n, n ? " %d" : "%d", (int)q->id);
    assert_string_equal(got, ids);
    assert_int_equal(queue.n, 0);
    assert_int_equal(queue.prompt_tokens, 0);
}

static void equals_go_in_order_of_arrival(void **state)
{
    (void)state;
    for (int i = 0; i < 6; i++)
        add(0, 0, 10, 1.0 + i / 2); /* two at a time: the lower number first */
    expect_ids("1 2 3 4 5 6", 7);
}

static void lower_priorities_go_first(void **state)
{
    (void)state;
    int priorities[] = {0, 5, -3, 0, -100, 100, 5};
    for (size_t i = 0; i < SP_COUNT(priorities); i++)
        add(0, priorities[i], 10, 1.0);
    expect_ids("5 3 1 4 2 7 6", 1.5);
}

/* Priorities 2 and 0: after two levels' time the old one is the newcomers' equal, and came first. */
static void who_waits_rises(void **state)
{
    (void)state;
    struct request *old = add(0, 2, 10, 0);
    double times[] = {0, 0.9 * QUEUE_AGE_SECONDS, 1.9 * QUEUE_AGE_SECONDS, 2.1 * QUEUE_AGE_SECONDS};
    for (int i = 0; i < 3; i++)
        assert_ptr_not_equal((add(0, 0, 10, times[i]), take(times[i])), old);
    add(0, 0, 10, times[3]);
    assert_ptr_equal(take(times[3]), old);
}

/* The same between tenants, whose requests stand in lines of their own; the one that rose has no more right than its
 * equals: who has been served less goes first. */
static void who_waits_rises_to_the_others_and_not_above(void **state)
{
    (void)state;
    struct request *old = add(1, 2, 10, 0);
    struct request *other = add(2, 0, 500, 1);
    double late = 100 * QUEUE_AGE_SECONDS;
    assert_ptr_equal(take(1), other);
    struct request *third = add(2, 0, 10, late);
    expect((struct request *[]){old, third}, 2, late);
    queue_gone(&queue, old);
    struct request *crowd = add(1, 0, 1000, late), *age = add(1, 0, 1000, late);
    assert_ptr_equal(take(late), crowd);
    struct request *fresh = add(3, 0, 10, 2 * late);
    expect((struct request *[]){fresh, age}, 2, 2 * late);
}

static void a_crowd_of_one_tenant_does_not_keep_another_waiting(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++)
        add(1, 0, 100, 0);
    assert_int_equal(take(0)->id, 1);
    add(2, 0, 100, 5);
    assert_int_equal(take(6)->r.tenant, 2);
    assert_int_equal(take(6)->r.tenant, 1);
}

/* Two that always have more to ask get the same number of tokens, whatever the size of their requests. */
static void tenants_share_tokens_not_requests(void **state)
{
    int64_t had[3] = {0};
    (void)state;
    for (int i = 0; i < 1000; i++)
        add((uint64_t)(1 + i % 2), 0, i % 2 ? 50 : 400, 0);
    for (int i = 0; i < 300; i++) {
        struct request *q = take(0);
        q->n_answer = 30;
        queue_charge(&queue, q);
        queue_charge(&queue, q); /* nothing new */
        had[q->r.tenant] += q->n_prompt + q->n_answer;
    }
    assert_true(llabs(had[1] - had[2]) <= 430);
    assert_true(had[1] > 10000);
}

/* Silence is no merit: who comes back gets its share from then on. */
static void nobody_saves_up(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++) {
        add(1, 0, 100, 0);
        take(0);
    }
    int of_two = 0;
    for (int i = 0; i < 40; i++)
        add((uint64_t)(1 + i % 2), 0, 100, 1);
    for (int i = 0; i < 20; i++)
        of_two += take(1)->r.tenant == 2;
    assert_in_range(of_two, 10, 11);
}

static void the_preempted_come_before_newcomers(void **state)
{
    (void)state;
    struct request *a = add(1, 0, 10, 0), *b = add(1, 0, 10, 0), *c = add(1, 3, 10, 0);
    expect((struct request *[]){a, b, c}, 3, 0);
    assert_true(queue_before(a, b) && queue_before(b, c) && !queue_before(c, a));
    struct request *urgent = add(2, -5, 10, 1);
    struct request *back[] = {c, a, b};
    for (int i = 0; i < 3; i++) {
        back[i]->preempted = true;
        queue_add_again(&queue, back[i]);
    }
    assert_int_equal(queue.n, 4);
    expect((struct request *[]){a, b, c, urgent}, 4, 1);
}

static void who_runs_rises_too(void **state)
{
    (void)state;
    struct request *low = add(0, 3, 10, 0), *high = add(0, 0, 10, 0);
    expect((struct request *[]){high, low}, 2, 0);
    assert_false(queue_risen(&queue, low, 0.9 * QUEUE_AGE_SECONDS));
    assert_true(queue_risen(&queue, low, 1.1 * QUEUE_AGE_SECONDS));
    assert_true(queue_before(high, low));
    assert_true(queue_risen(&queue, low, 50 * QUEUE_AGE_SECONDS));
    assert_int_equal(low->rank, 0); /* no further than the others */
    assert_false(queue_risen(&queue, high, 50 * QUEUE_AGE_SECONDS));
    add(0, 100, 10, 50 * QUEUE_AGE_SECONDS);
    queue_gone(&queue, high);
    assert_false(queue_risen(&queue, low, 50 * QUEUE_AGE_SECONDS)); /* and never back */
    assert_int_equal(low->rank, 0);
}

/* A request of low priority that keeps being preempted has aged: in the end newcomers come behind it. */
static void the_preempted_rise_too(void **state)
{
    (void)state;
    struct request *low = add(0, 3, 10, 0), *high = add(0, 0, 10, 0);
    expect((struct request *[]){high, low}, 2, 0);
    assert_true(queue_before(high, low));
    low->preempted = true;
    queue_add_again(&queue, low);
    assert_ptr_equal(take(4 * QUEUE_AGE_SECONDS), low);
    struct request *next = add(0, 0, 10, 4 * QUEUE_AGE_SECONDS);
    assert_ptr_equal(take(4 * QUEUE_AGE_SECONDS), next);
    assert_true(queue_before(high, low) && queue_before(low, next));
}

static void times_run_out_in_order(void **state)
{
    (void)state;
    for (int i = 0; i < 9; i++) {
        struct request *q = &all[n_all++];
        q->id = (uint64_t)n_all;
        q->n_prompt = 1;
        q->r.queue_seconds_max = i % 3 == 0 ? 0 : 10 - i;
        q->r.total_seconds_max = i == 8 ? 1 : i == 7 ? 50 : 0;
        queue_add(&queue, q);
    }
    struct request *back = &all[2];
    while (back->waits) /* its first wait is over, and with it the limit */
        take(0);
    back->preempted = true;
    queue_add_again(&queue, back);
    assert_null(queue_expired(&queue, 0.99));
    assert_int_equal(queue_expired(&queue, 1)->id, 9);
    assert_int_equal(queue_expired(&queue, 20)->id, 8);
    assert_int_equal(queue_expired(&queue, 20)->id, 6);
    assert_int_equal(queue_expired(&queue, 20)->id, 5);
    assert_null(queue_expired(&queue, 1e9));
    back->r.total_seconds_max = 30;
    assert_null(queue_expired(&queue, 29));
    assert_ptr_equal(queue_expired(&queue, 30), back);
    expect_ids("4 7", 31);
}

/* Against the plain way: the least of all by a look at each. */
static void any_order_of_events_agrees_with_a_search(void **state)
{
    uint64_t random = 12345;
    (void)state;
    for (int i = 0; i < 6000; i++) {
        double now = i * 0.01;
        random = random * 6364136223846793005u + 1442695040888963407u;
        uint32_t roll = (uint32_t)(random >> 33);
        if (roll % 8 < 4 && n_all < MOST) {
            add(0, (int)(roll >> 8) % 7 - 3, 1 + roll % 50, now);
            continue;
        }
        struct request *least = NULL, *any = NULL;
        for (int k = 0; k < n_all; k++) {
            struct request *q = &all[k];
            if (!q->waits)
                continue;
            any = !any || (roll >> 4) % (uint32_t)(k + 1) == 0 ? q : any;
            if (!least || q->turn.key < least->turn.key)
                least = q;
        }
        if (roll % 8 < 6 && least) {
            struct request *got = take(now);
            assert_true(got->turn.key <= least->turn.key && got->turn.key >= least->turn.key);
            queue_gone(&queue, got);
        } else if (any) {
            queue_cancel(&queue, any);
            queue_gone(&queue, any);
            assert_ptr_equal(queue_leaving(&queue), any);
            assert_null(queue_leaving(&queue));
        }
    }
    assert_true(n_all == MOST);
}

static void a_long_queue_costs_little(void **state)
{
    (void)state;
    for (int i = 0; i < 1000; i++)
        add((uint64_t)i % 50, i % 5, 10, i * 0.001);
    double begin = clock_seconds();
    for (int i = 0; i < 1000; i++)
        assert_non_null(take(2));
    assert_true(clock_seconds() - begin < 1000 * 200e-6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(equals_go_in_order_of_arrival, setup),
        cmocka_unit_test_setup(lower_priorities_go_first, setup),
        cmocka_unit_test_setup(who_waits_rises, setup),
        cmocka_unit_test_setup(who_waits_rises_to_the_others_and_not_above, setup),
        cmocka_unit_test_setup(a_crowd_of_one_tenant_does_not_keep_another_waiting, setup),
        cmocka_unit_test_setup(tenants_share_tokens_not_requests, setup),
        cmocka_unit_test_setup(nobody_saves_up, setup),
        cmocka_unit_test_setup(the_preempted_come_before_newcomers, setup),
        cmocka_unit_test_setup(who_runs_rises_too, setup),
        cmocka_unit_test_setup(the_preempted_rise_too, setup),
        cmocka_unit_test_setup(times_run_out_in_order, setup),
        cmocka_unit_test_setup(any_order_of_events_agrees_with_a_search, setup),
        cmocka_unit_test_setup(a_long_queue_costs_little, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
