#include "scratch.h"

#include <fenv.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include "base/clock.h"
#include "base/machine.h"
#include "base/pool.h"

#define WORKERS 8

struct job {
    unsigned char *done; /* [n] times each item was done */
    size_t n, grain;
    int threads;
    atomic_int inside[WORKERS];
    atomic_int wrong;
};

static void do_piece(void *arg, int worker, size_t begin, size_t end)
{
    struct job *j = arg;
    bool good = worker >= 0 && worker < j->threads && begin < end && end <= j->n &&
                end - begin <= j->grain && begin % j->grain == 0;
    if (!good || atomic_fetch_add(&j->inside[worker & (WORKERS - 1)], 1) != 0)
        atomic_fetch_add(&j->wrong, 1);
    for (size_t i = begin; i < end; i++)
        j->done[i]++;
    atomic_fetch_sub(&j->inside[worker & (WORKERS - 1)], 1);
}

static void run_one(pool *p, size_t n, size_t grain)
{
    struct job j = {.n = n, .grain = grain ? grain : 1, .threads = pool_threads(p)};
    j.done = sp_calloc(n, 1);
    pool_run(p, n, grain, do_piece, &j);
    assert_int_equal(atomic_load(&j.wrong), 0);
    for (size_t i = 0; i < n; i++)
        if (j.done[i] != 1)
            fail_msg("item %zu of %zu was done %d times", i, n, j.done[i]);
    sp_free(j.done);
}

static void every_item_is_done_once(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 2, 7, 64, 1000, 10000};
    static const size_t grains[] = {0, 1, 3, 64, 1000, SIZE_MAX};
    for (int threads = 1; threads <= WORKERS; threads++) {
        pool *p = NULL;
        assert_int_equal(pool_new(threads, &p, NULL), 0);
        assert_int_equal(pool_threads(p), threads);
        for (size_t i = 0; i < SP_COUNT(sizes); i++)
            for (size_t g = 0; g < SP_COUNT(grains); g++)
                run_one(p, sizes[i], grains[g]);
        pool_free(p);
    }
    pool_free(NULL);
}

static void add_up(void *arg, int worker, size_t begin, size_t end)
{
    (void)worker;
    size_t sum = 0;
    for (size_t i = begin; i < end; i++)
        sum += i;
    atomic_fetch_add((atomic_size_t *)arg, sum);
}

static void many_small_runs(void **state)
{
    (void)state;
    for (int threads = 2; threads <= 6; threads += 2) {
        pool *p = NULL;
        assert_int_equal(pool_new(threads, &p, NULL), 0);
        atomic_size_t sum = 0;
        for (int i = 0; i < 5000; i++)
            pool_run(p, 100, 7, add_up, &sum);
        assert_int_equal(atomic_load(&sum), (size_t)5000 * 4950);
        pool_free(p);
    }
}

static void runs_after_workers_slept(void **state)
{
    (void)state;
    pool *p = NULL;
    assert_int_equal(pool_new(4, &p, NULL), 0);
    for (int i = 0; i < 20; i++) {
        clock_sleep(0.002);
        run_one(p, 500, 10);
    }
    pool_free(p);
}

static void starts_and_ends_unused(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        pool *p = NULL;
        assert_int_equal(pool_new(1 + i % 5, &p, NULL), 0);
        if (i % 2)
            clock_sleep(0.0005);
        pool_free(p);
    }
}

struct meeting {
    atomic_int arrived;
    int wanted;
};

/* Each piece waits until `wanted` pieces are being done at once. */
static void meet(void *arg, int worker, size_t begin, size_t end)
{
    (void)worker;
    (void)begin;
    (void)end;
    struct meeting *m = arg;
    atomic_fetch_add(&m->arrived, 1);
    double until = clock_seconds() + 30;
    while (atomic_load(&m->arrived) < m->wanted && clock_seconds() < until)
        clock_sleep(0.0001);
}

static void workers_work_at_once(void **state)
{
    (void)state;
    pool *p = NULL;
    assert_int_equal(pool_new(4, &p, NULL), 0);
    for (int i = 0; i < 5; i++) {
        struct meeting m = {.wanted = 4};
        double start = clock_seconds();
        pool_run(p, 4, 1, meet, &m);
        assert_int_equal(atomic_load(&m.arrived), 4);
        assert_true(clock_seconds() - start < 25);
        clock_sleep(0.001 * i); /* woken from sleep as well as from spinning */
    }
    pool_free(p);
}

/* Workers of different speeds in simulated time: a piece takes `cost` of its worker's ticks, and a worker comes
 * back for the next one only when no other would have come earlier, so the order in which pieces are taken
 * is that of real workers with these speeds, whatever this machine does meanwhile. */
struct race {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    int threads, cost[WORKERS];
    long ends[WORKERS]; /* tick at which the piece that a worker does ends */
    bool busy[WORKERS]; /* between taking a piece and its end */
    bool here[WORKERS]; /* has taken its first */
    size_t taken, pieces;
    long makespan;
};

/* Under the lock: another worker may still take a piece earlier than this one's end. */
static bool must_wait(const struct race *r, int me)
{
    for (int i = 0; i < r->threads && r->taken < r->pieces; i++) {
        bool unknown = !r->here[i] || !r->busy[i]; /* on its way to its first or next piece */
        bool earlier = r->ends[i] < r->ends[me] || (r->ends[i] == r->ends[me] && i < me);
        if (i != me && (unknown || earlier))
            return true;
    }
    return false;
}

static void run_race(void *arg, int worker, size_t begin, size_t end)
{
    struct race *r = arg;
    (void)pthread_mutex_lock(&r->lock);
    assert_true(end - begin >= 1);
    r->here[worker] = r->busy[worker] = true;
    r->taken++;
    r->ends[worker] += r->cost[worker] * (long)(end - begin);
    r->makespan = r->ends[worker] > r->makespan ? r->ends[worker] : r->makespan;
    (void)pthread_cond_broadcast(&r->moved);
    while (must_wait(r, worker))
        (void)pthread_cond_wait(&r->moved, &r->lock);
    r->busy[worker] = false;
    (void)pthread_cond_broadcast(&r->moved);
    (void)pthread_mutex_unlock(&r->lock);
}

/* With one worker slowed 2x, a job ends no later than the fair share of all plus one piece of the slow one:
 * an equal division would end at twice the share. */
static void a_slow_worker_costs_its_share(void **state)
{
    (void)state;
    for (int threads = 2; threads <= WORKERS; threads += 3) {
        for (size_t grain = 1; grain <= 4; grain += 3) {
            const size_t n = 30 * (size_t)threads + 7;
            struct race r = {.lock = PTHREAD_MUTEX_INITIALIZER,
                             .moved = PTHREAD_COND_INITIALIZER,
                             .threads = threads,
                             .pieces = (n + grain - 1) / grain};
            double speed = 0;
            pool *p = NULL;
            for (int i = 0; i < threads; i++) {
                r.cost[i] = i == 1 ? 20 : 10;
                speed += 1.0 / r.cost[i];
            }
            assert_int_equal(pool_new(threads, &p, NULL), 0);
            pool_run(p, n, grain, run_race, &r);
            pool_free(p);
            double fair = (double)n / speed, equal = 20.0 * (double)n / threads;
            assert_int_equal(r.taken, r.pieces);
            assert_true((double)r.makespan >= fair - 1e-6);
            assert_true((double)r.makespan <= fair + 20.0 * (double)grain);
            assert_true((double)r.makespan < equal);
        }
    }
}

struct places {
    atomic_int arrived;
    int wanted, only[WORKERS]; /* the CPU that a worker is kept on; -1: not on one */
};

static void look_where(void *arg, int worker, size_t begin, size_t end)
{
    struct places *w = arg;
    cpu_set_t set;
    (void)begin;
    (void)end;
    w->only[worker] = -1;
    (void)pthread_getaffinity_np(pthread_self(), sizeof set, &set);
    for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&set) == 1; i++)
        if (CPU_ISSET((size_t)i, &set))
            w->only[worker] = i;
    atomic_fetch_add(&w->arrived, 1);
    while (atomic_load(&w->arrived) < w->wanted) /* so that every worker takes one piece */
        clock_sleep(0.0001);
}

static void pinned_workers_have_a_cpu_each(void **state)
{
    (void)state;
    struct machine_topology t;
    cpu_set_t before, after;
    machine_topology(&t);
    int n = t.cpus < WORKERS ? t.cpus : WORKERS;
    (void)pthread_getaffinity_np(pthread_self(), sizeof before, &before);
    for (int how = POOL_PIN_ON; how <= POOL_PIN_OFF; how++) {
        struct places w = {.wanted = n};
        pool *p = NULL;
        assert_int_equal(pool_new(n, &p, NULL), 0);
        assert_int_equal(pool_pin(p, (enum pool_pin)how, NULL), 0);
        assert_int_equal(pool_pinned(p), how == POOL_PIN_ON);
        pool_caller_enter(p);
        pool_run(p, (size_t)n, 1, look_where, &w);
        pool_caller_leave(p);
        (void)pthread_getaffinity_np(pthread_self(), sizeof after, &after);
        assert_true(CPU_EQUAL(&before, &after));
        pool_free(p);
        for (int i = 0; i < n && how == POOL_PIN_ON; i++)
            assert_int_equal(w.only[i], t.order[i]);
        for (int i = 0; i < n && how == POOL_PIN_OFF && t.cpus > 1; i++)
            assert_int_equal(w.only[i], -1);
    }
}

static void more_threads_than_cpus_are_not_pinned(void **state)
{
    (void)state;
    struct machine_topology t;
    sp_error err = {0};
    pool *p = NULL;
    machine_topology(&t);
    assert_int_equal(pool_new(t.cpus + 1, &p, NULL), 0);
    assert_int_equal(pool_pin(p, POOL_PIN_ON, &err), SP_EINVAL);
    assert_non_null(strstr(err.message, "--threads"));
    assert_int_equal(pool_pin(p, POOL_PIN_AUTO, &err), 0);
    assert_false(pool_pinned(p));
    pool_free(p);
}

struct look {
    atomic_int arrived, odd_rounding, open_signals;
};

static void look_around(void *arg, int worker, size_t begin, size_t end)
{
    (void)begin;
    (void)end;
    struct look *l = arg;
    sigset_t mask;
    if (fegetround() != FE_TONEAREST)
        atomic_fetch_add(&l->odd_rounding, 1);
    (void)pthread_sigmask(SIG_SETMASK, NULL, &mask);
    if (worker != 0 && !sigismember(&mask, SIGINT))
        atomic_fetch_add(&l->open_signals, 1);
    atomic_fetch_add(&l->arrived, 1);
    while (atomic_load(&l->arrived) < 3)
        clock_sleep(0.0001);
}

static void arithmetic_is_the_default(void **state)
{
    (void)state;
    pool *p = NULL;
    struct look l = {0};
    assert_int_equal(fesetround(FE_UPWARD), 0); /* as a careless caller may have it */
    assert_int_equal(pool_new(3, &p, NULL), 0);
    pool_run(p, 3, 1, look_around, &l);
    int after = fegetround();
    (void)fesetround(FE_TONEAREST);
    pool_free(p);
    assert_int_equal(after, FE_UPWARD);
    assert_int_equal(atomic_load(&l.odd_rounding), 0);
    assert_int_equal(atomic_load(&l.open_signals), 0);
}

static void bad_sizes_are_refused(void **state)
{
    (void)state;
    pool *p = NULL;
    sp_error err = {0};
    static const int bad[] = {0, -1, 1024, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < SP_COUNT(bad); i++) {
        assert_int_equal(pool_new(bad[i], &p, &err), SP_EINVAL);
        assert_null(p);
        assert_non_null(strstr(err.message, "1 to 1023"));
    }
}

static void running_allocates_nothing(void **state)
{
    (void)state;
    pool *p = NULL;
    atomic_size_t sum = 0;
    assert_int_equal(pool_new(3, &p, NULL), 0);
    sp_alloc_fail_nth(0); /* starts the count */
    pool_run(p, 1000, 10, add_up, &sum);
    assert_int_equal(sp_alloc_count(), 0);
    pool_free(p);
}

#define TAKERS 3
#define TURNS 200

/* All but p by turns. */
struct sharing {
    pool *p;
    int inside, most; /* who is in one; at once */
    int order[TAKERS], n;
};

static void mark(void *arg, int worker, size_t begin, size_t end)
{
    (void)worker;
    for (size_t i = begin; i < end; i++)
        ((char *)arg)[i]++;
}

struct taker {
    struct sharing *s;
    int id;
};

static void *take_turns(void *arg)
{
    const struct taker *t = arg;
    struct sharing *s = t->s;
    char done[64] = {0};
    for (int i = 0; i < TURNS; i++) {
        pool_take_turn(s->p);
        s->inside++;
        s->most = s->inside > s->most ? s->inside : s->most;
        pool_run(s->p, sizeof done, 8, mark, done);
        s->inside--;
        pool_end_turn(s->p);
    }
    char all[100] = {0};
    pool_run_in_turns(s->p, sizeof all, 7, mark, all);
    for (size_t i = 0; i < sizeof all; i++)
        assert_int_equal(all[i], 1);
    for (size_t i = 0; i < sizeof done; i++)
        assert_int_equal((unsigned char)done[i], TURNS);
    return NULL;
}

static void turns_are_for_one_at_a_time(void **state)
{
    (void)state;
    struct sharing s = {0};
    pthread_t threads[TAKERS];
    struct taker takers[TAKERS];
    assert_int_equal(pool_new(3, &s.p, NULL), 0);
    for (int i = 0; i < TAKERS; i++) {
        takers[i] = (struct taker){&s, i};
        pthread_create(&threads[i], NULL, take_turns, &takers[i]);
    }
    for (int i = 0; i < TAKERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(s.most, 1);
    pool_free(s.p);
}

/* Who asks next has the next turn: three that ask one after the other while a fourth has it. */
static void *note_turn(void *arg)
{
    const struct taker *t = arg;
    struct sharing *s = t->s;
    pool_take_turn(s->p);
    s->order[s->n++] = t->id;
    pool_end_turn(s->p);
    return NULL;
}

static void turns_come_in_the_order_of_asking(void **state)
{
    (void)state;
    struct sharing s = {0};
    pthread_t threads[TAKERS];
    struct taker takers[TAKERS];
    assert_int_equal(pool_new(1, &s.p, NULL), 0);
    pool_take_turn(s.p);
    for (int i = 0; i < TAKERS; i++) {
        takers[i] = (struct taker){&s, i};
        pthread_create(&threads[i], NULL, note_turn, &takers[i]);
        while (pool_turns_waiting(s.p) < (size_t)i + 1)
            clock_sleep(0.001);
    }
    pool_end_turn(s.p);
    for (int i = 0; i < TAKERS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < TAKERS; i++)
        assert_int_equal(s.order[i], i);
    pool_free(s.p);
}

static int make(void)
{
    pool *p = NULL;
    int rc = pool_new(3, &p, NULL);
    assert_int_equal(p == NULL, rc != 0);
    pool_free(p);
    return rc;
}

static void survives_failing_allocations(void **state)
{
    (void)state;
    with_failing_allocations(make);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_item_is_done_once),
        cmocka_unit_test(many_small_runs),
        cmocka_unit_test(runs_after_workers_slept),
        cmocka_unit_test(starts_and_ends_unused),
        cmocka_unit_test(workers_work_at_once),
        cmocka_unit_test(arithmetic_is_the_default),
        cmocka_unit_test(bad_sizes_are_refused),
        cmocka_unit_test(running_allocates_nothing),
        cmocka_unit_test(survives_failing_allocations),
        cmocka_unit_test(turns_are_for_one_at_a_time),
        cmocka_unit_test(turns_come_in_the_order_of_asking),
        cmocka_unit_test(a_slow_worker_costs_its_share),
        cmocka_unit_test(pinned_workers_have_a_cpu_each),
        cmocka_unit_test(more_threads_than_cpus_are_not_pinned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
