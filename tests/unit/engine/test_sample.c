/* Sampling against figures worked out by hand. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>
#include "engine/engine_int.h"

#define VOCAB 50

static float work[VOCAB];
static struct candidate cand[VOCAB];
static struct sampler sampler = {work, cand, VOCAB};
static const struct token_counts no_counts;

static struct sampling neutral(float temperature)
{
    return (struct sampling){.temperature = temperature, .top_p = 1, .repetition_penalty = 1};
}

/* How often each token is drawn at many positions. */
static void draw_many(const float *logits, const struct sampling *p, int n, int *count)
{
    memset(count, 0, sizeof *count * VOCAB);
    for (int i = 0; i < n; i++) {
        int32_t t = sample_token(&sampler, logits, p, &no_counts, i);
        assert_in_range(t, 0, VOCAB - 1);
        count[t]++;
    }
}

static void low_logits(float *x)
{
    for (int i = 0; i < VOCAB; i++)
        x[i] = -30;
}

static void greedy_takes_the_first_of_the_greatest(void **state)
{
    float x[VOCAB] = {0};
    (void)state;
    x[7] = x[9] = 3;
    struct sampling p = neutral(0);
    assert_int_equal(sample_token(&sampler, x, &p, &no_counts, 0), 7);
    for (int i = 0; i < VOCAB; i++)
        x[i] = NAN;
    assert_int_equal(sample_token(&sampler, x, &p, &no_counts, 0), -1);
    for (int i = 0; i < VOCAB; i++)
        x[i] = -INFINITY;
    p.temperature = 1;
    assert_int_equal(sample_token(&sampler, x, &p, &no_counts, 0), -1);
}

static void draws_follow_the_distribution(void **state)
{
    float x[VOCAB];
    int count[VOCAB];
    struct sampling p = neutral(1);
    (void)state;
    low_logits(x);
    x[3] = logf(0.6f), x[11] = logf(0.3f), x[40] = logf(0.1f);
    draw_many(x, &p, 20000, count);
    assert_in_range(count[3], 11700, 12300);
    assert_in_range(count[11], 5700, 6300);
    assert_in_range(count[40], 1800, 2200);
    p.temperature = 0.5f; /* squares: 0.36, 0.09, 0.01 of 0.46 */
    draw_many(x, &p, 20000, count);
    assert_in_range(count[3], 15300, 16000);
    assert_in_range(count[40], 330, 540);
}

static void top_k_top_p_and_min_p_cut(void **state)
{
    float x[VOCAB];
    int count[VOCAB];
    (void)state;
    low_logits(x);
    x[3] = logf(0.5f), x[11] = logf(0.3f), x[40] = logf(0.15f), x[2] = logf(0.05f);
    struct sampling p = neutral(1);
    p.top_k = 2;
    draw_many(x, &p, 4000, count);
    assert_int_equal(count[3] + count[11], 4000);
    assert_true(count[11] > 1200);
    p = neutral(1);
    p.top_p = 0.81f; /* 0.5 + 0.3 is not enough, the third goes over */
    draw_many(x, &p, 4000, count);
    assert_int_equal(count[2], 0);
    assert_true(count[40] > 300);
    p.top_p = 0.79f;
    draw_many(x, &p, 4000, count);
    assert_int_equal(count[40] + count[2], 0);
    p.top_p = 0;
    draw_many(x, &p, 100, count);
    assert_int_equal(count[3], 100);
    p = neutral(1);
    p.min_p = 0.25f; /* below 0.125 goes */
    draw_many(x, &p, 4000, count);
    assert_int_equal(count[2], 0);
    assert_true(count[40] > 300);
    p.top_k = 3;
    p.min_p = 0.5f;
    draw_many(x, &p, 4000, count);
    assert_int_equal(count[40] + count[2], 0);
}

static void a_flat_distribution_needs_no_sorting_of_all(void **state)
{
    float x[VOCAB] = {0};
    int count[VOCAB], used = 0;
    struct sampling p = neutral(1);
    (void)state;
    p.top_p = 0.5f;
    draw_many(x, &p, 4000, count);
    for (int i = 0; i < VOCAB; i++)
        used += count[i] > 0;
    assert_int_equal(used, VOCAB / 2);
}

static void penalties_are_the_published_formulas(void **state)
{
    float x[VOCAB];
    uint8_t seen[VOCAB] = {0};
    uint16_t answer[VOCAB] = {0};
    struct token_counts counts = {answer, seen};
    struct sampling p = neutral(0);
    (void)state;
    low_logits(x);
    x[1] = 4.0f, x[2] = 3.0f; /* seen: 4 / 1.5 = 2.67 < 3 */
    seen[1] = 1;
    p.repetition_penalty = 1.5f;
    assert_int_equal(sample_token(&sampler, x, &p, &counts, 0), 2);
    x[1] = -1.0f, x[2] = -1.4f; /* negative: -1 * 1.5 = -1.5 < -1.4 */
    assert_int_equal(sample_token(&sampler, x, &p, &counts, 0), 2);
    p = neutral(0);
    x[1] = 4.0f, x[2] = 3.0f;
    answer[1] = 3;
    p.frequency_penalty = 0.3f; /* 4 - 0.9 */
    assert_int_equal(sample_token(&sampler, x, &p, &counts, 0), 1);
    p.presence_penalty = 0.2f; /* 4 - 0.9 - 0.2 */
    assert_int_equal(sample_token(&sampler, x, &p, &counts, 0), 2);
    struct logit_bias bias[] = {{1, 1.0f}, {30, 100}};
    p.bias = bias;
    p.n_bias = 1;
    assert_int_equal(sample_token(&sampler, x, &p, &counts, 0), 1);
    p.n_bias = 2;
    assert_int_equal(sample_token(&sampler, x, &p, &counts, 0), 30);
}

static void draws_depend_on_seed_and_position_only(void **state)
{
    float x[VOCAB] = {0};
    struct sampling p = neutral(1), other = neutral(1);
    int same = 0;
    (void)state;
    other.seed = 99;
    for (int i = 0; i < 200; i++) {
        int32_t a = sample_token(&sampler, x, &p, &no_counts, i);
        assert_int_equal(a, sample_token(&sampler, x, &p, &no_counts, i));
        same += a == sample_token(&sampler, x, &other, &no_counts, i);
    }
    assert_true(same < 30);
}

static void the_best_are_sorted(void **state)
{
    float x[VOCAB];
    struct token_logprob top[4];
    (void)state;
    for (int i = 0; i < VOCAB; i++)
        x[i] = (float)((i * 7) % VOCAB);
    x[5] = x[6] = 100;
    sample_top(x, VOCAB, 100.7f, 4, top);
    assert_int_equal(top[0].token, 5);
    assert_int_equal(top[1].token, 6);
    assert_true(fabsf(top[0].logprob + 0.7f) < 1e-4f);
    assert_true(top[2].logprob > top[3].logprob);
}

static void stops_are_found_across_pieces(void **state)
{
    const char *const stops[] = {"END", "EN", "\xe7\xbb\x93\xe6\x9d\x9f"};
    struct stopper s;
    size_t release;
    (void)state;
    assert_int_equal(stopper_init(&s, stops, 1), 0);
    assert_null(stopper_add(&s, "abE", 3, &release));
    assert_int_equal(release, 2);
    stopper_drop(&s, release);
    assert_null(stopper_add(&s, "N", 1, &release));
    assert_int_equal(release, 0);
    assert_null(stopper_add(&s, "EN", 2, &release));
    assert_int_equal(release, 2); /* "EN" of before is certain now */
    stopper_drop(&s, release);
    assert_string_equal(stopper_add(&s, "Dxyz", 4, &release), "END");
    assert_int_equal(release, 0);
    stopper_done(&s);

    assert_int_equal(stopper_init(&s, stops, 3), 0);
    assert_string_equal(stopper_add(&s, "the END", 7, &release),
                        "END"); /* of two at one place the longer */
    assert_int_equal(release, 4);
    stopper_done(&s);
    assert_int_equal(stopper_init(&s, stops + 2, 1), 0);
    assert_null(stopper_add(&s, "\xe5\xa5\xbd\xe7\xbb\x93", 6, &release));
    assert_int_equal(release, 3);
    stopper_done(&s);
    assert_int_equal(stopper_init(&s, NULL, 0), 0);
    assert_null(stopper_add(&s, "abc", 3, &release));
    assert_int_equal(release, 3);
    stopper_done(&s);
}

static void pages_come_and_go(void **state)
{
    struct pages p;
    int32_t a[4], b[4];
    (void)state;
    assert_int_equal(pages_init(&p, 6), 0);
    assert_true(pages_take(&p, 4, a));
    assert_int_equal(a[0], 0);
    assert_false(pages_take(&p, 3, b));
    assert_int_equal(p.n_free, 2);
    assert_true(pages_take(&p, 2, b));
    pages_give(&p, a, 4);
    pages_give(&p, b, 2);
    assert_int_equal(p.n_free, 6);
    pages_done(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_takes_the_first_of_the_greatest),
        cmocka_unit_test(draws_follow_the_distribution),
        cmocka_unit_test(top_k_top_p_and_min_p_cut),
        cmocka_unit_test(a_flat_distribution_needs_no_sorting_of_all),
        cmocka_unit_test(penalties_are_the_published_formulas),
        cmocka_unit_test(draws_depend_on_seed_and_position_only),
        cmocka_unit_test(the_best_are_sorted),
        cmocka_unit_test(stops_are_found_across_pieces),
        cmocka_unit_test(pages_come_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
