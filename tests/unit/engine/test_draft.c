/* Guesses and what they cost: prompt lookup against a search of everything, and step times that are made up. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>
#include "base/rng.h"
#include "engine/draft_int.h"

#define TOKENS 3000

/* ---- prompt lookup ---- */

static int naive_agreement(const int32_t *tokens, int64_t n, int64_t at)
{
    int agree = 0;
    while (agree < 16 && at - agree >= 0 && tokens[at - agree] == tokens[n - 1 - agree])
        agree++;
    return agree;
}

/* The latest place that agrees longest, among all. */
static int64_t naive_find(const int32_t *tokens, int64_t n, int *agree)
{
    int64_t best = -1;
    *agree = 1;
    for (int64_t at = 1; at < n - 1; at++) {
        int here = naive_agreement(tokens, n, at);
        if (here >= 2 && here >= *agree) {
            *agree = here;
            best = at;
        }
    }
    return best;
}

/* Runs of an alphabet, now and then a copy of what was. */
static void make_text(int32_t *tokens, int64_t n, int alphabet, uint64_t seed)
{
    int64_t copy = -1;
    for (int64_t i = 0; i < n; i++) {
        uint64_t at = (uint64_t)i;
        if (i > 50 && rng_uniform(seed, at, 0) < 0.05)
            copy = (int64_t)(rng_uniform(seed, at, 1) * (double)(i - 1));
        if (rng_uniform(seed, at, 2) < 0.05)
            copy = -1;
        tokens[i] = copy >= 0 ? tokens[copy++] : (int32_t)(rng_uniform(seed, at, 3) * alphabet);
    }
}

static void lookup_finds_what_a_search_finds(void **state)
{
    static int32_t tokens[TOKENS];
    (void)state;
    make_text(tokens, TOKENS, 150, 3);
    struct draft_source *s = ngram_new(TOKENS);
    int found = 0;
    assert_non_null(s);
    for (int64_t n = 1; n < TOKENS; n += 1 + n % 3) {
        struct draft d;
        int agree;
        int64_t at = naive_find(tokens, n, &agree);
        s->ops->propose(s, tokens, n, 8, &d);
        assert_int_equal(d.n, at < 0 ? 0 : 8);
        for (int i = 0; i < d.n; i++) {
            int64_t from = at + 1 + i;
            assert_int_equal(d.token[i], from < n ? tokens[from] : d.token[from - n]);
            assert_true(d.chance[i] > 0 && d.chance[i] <= (i ? d.chance[i - 1] : 0.99f));
        }
        found += d.n > 0;
    }
    assert_true(found > 200);
    s->ops->free(s);
}

static void a_window_bounds_how_far_it_looks_back(void **state)
{
    int64_t n = NGRAM_WINDOW + 100;
    int32_t *tokens = sp_calloc((size_t)n, sizeof *tokens);
    struct draft d;
    (void)state;
    assert_non_null(tokens);
    for (int64_t i = 0; i < n; i++)
        tokens[i] = (int32_t)i;
    struct draft_source *s = ngram_new(n);
    assert_non_null(s);
    tokens[n - 2] = 10, tokens[n - 1] = 11; /* stood further back than the window */
    s->ops->propose(s, tokens, n, 4, &d);
    assert_int_equal(d.n, 0);
    s->ops->free(s);
    s = ngram_new(n);
    assert_non_null(s);
    tokens[n - 2] = 110, tokens[n - 1] = 111; /* within it */
    s->ops->propose(s, tokens, n, 4, &d);
    assert_int_equal(d.n, 4);
    assert_int_equal(d.token[0], 112);
    s->ops->free(s);
    sp_free(tokens);
}

static void a_text_that_repeats_itself_goes_on_into_its_guesses(void **state)
{
    const int32_t tokens[] = {7, 1, 2, 3, 1, 2, 3};
    const int32_t want[] = {1, 2, 3, 1, 2, 3, 1, 2};
    struct draft d;
    (void)state;
    struct draft_source *s = ngram_new(100);
    assert_non_null(s);
    s->ops->propose(s, tokens, 7, 8, &d);
    assert_int_equal(d.n, 8);
    assert_memory_equal(d.token, want, sizeof want);
    s->ops->free(s);
}

static void chances_follow_what_happens(void **state)
{
    const int32_t tokens[] = {5, 6, 9, 5, 6};
    struct draft d;
    (void)state;
    struct draft_source *s = ngram_new(100);
    assert_non_null(s);
    s->ops->propose(s, tokens, 5, 3, &d);
    float first = d.chance[0];
    for (int i = 0; i < 40; i++) {
        s->ops->learn(s, 0, true);
        s->ops->propose(s, tokens, 5, 3, &d);
    }
    assert_true(d.chance[0] < 0.05f && d.chance[0] < first);
    for (int i = 0; i < 60; i++) {
        s->ops->learn(s, 3, false);
        s->ops->propose(s, tokens, 5, 3, &d);
    }
    assert_true(d.chance[2] > 0.85f);
    s->ops->learn(s, 0, false); /* nothing was compared */
    float before = d.chance[2];
    s->ops->propose(s, tokens, 5, 3, &d);
    assert_true(fabsf(d.chance[2] - before) < 1e-9f);
    s->ops->free(s);
}

static void allocations_may_fail(void **state)
{
    (void)state;
    for (long nth = 1; nth <= 3; nth++) {
        sp_alloc_fail_nth(nth);
        assert_null(ngram_new(1000));
    }
    sp_alloc_fail_nth(0);
}

/* ---- what a step costs ---- */

/* Read once up to some rows, then computing takes over. */
static double true_cost(int64_t rows)
{
    double reading = 0.012, computing = 0.002 + 0.0035 * (double)rows;
    return reading > computing ? reading : computing;
}

static double noise(uint64_t i)
{
    double u = rng_uniform(9, i, 0);
    return u < 0.02 ? 4 : 0.95 + 0.1 * rng_uniform(9, i, 1); /* one step in fifty is held up */
}

static void costs_are_learned_from_noisy_steps(void **state)
{
    struct step_cost c;
    (void)state;
    step_cost_init(&c);
    assert_true(step_cost_of(&c, 9) > step_cost_of(&c, 1));
    for (uint64_t i = 0; i < 3000; i++) {
        int64_t rows = 1 + (int64_t)(rng_uniform(4, i, 0) * 13);
        step_cost_learn(&c, rows, true_cost(rows) * noise(i));
    }
    for (int64_t rows = 1; rows <= 12; rows++) {
        double ratio = step_cost_of(&c, rows) / true_cost(rows);
        assert_true(ratio > 0.8 && ratio < 1.3);
    }
}

static void a_machine_that_gets_slower_is_noticed_at_all_places(void **state)
{
    struct step_cost c;
    (void)state;
    step_cost_init(&c);
    for (uint64_t i = 0; i < 400; i++)
        step_cost_learn(&c, 1 + (int64_t)(i % 8), true_cost(1 + (int64_t)(i % 8)));
    for (int i = 0; i < 60; i++) /* one row is all that is seen of it */
        step_cost_learn(&c, 1, 3 * true_cost(1));
    double grown = step_cost_of(&c, 8) / true_cost(8);
    assert_true(grown > 1.7 && grown < 3.3);
}

static void what_was_not_seen_for_long_is_tried_again(void **state)
{
    struct step_cost c;
    (void)state;
    step_cost_init(&c);
    step_cost_learn(&c, 1, 0.01);
    for (int i = 0; i < 100; i++)
        step_cost_learn(&c, 4, 0.1); /* a bad time */
    assert_true(step_cost_of(&c, 4) > 0.05);
    for (int i = 0; i < 20000; i++)
        step_cost_learn(&c, 1, 0.01);
    assert_true(step_cost_of(&c, 4) < 0.02);
    step_cost_learn(&c, 100000, 1); /* beyond the table: nothing */
    assert_true(step_cost_of(&c, 1) < 0.011);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lookup_finds_what_a_search_finds),
        cmocka_unit_test(a_window_bounds_how_far_it_looks_back),
        cmocka_unit_test(a_text_that_repeats_itself_goes_on_into_its_guesses),
        cmocka_unit_test(chances_follow_what_happens),
        cmocka_unit_test(allocations_may_fail),
        cmocka_unit_test(costs_are_learned_from_noisy_steps),
        cmocka_unit_test(a_machine_that_gets_slower_is_noticed_at_all_places),
        cmocka_unit_test(what_was_not_seen_for_long_is_tried_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
