/* Sampling against figures worked out by hand, and against transformers' logits processors
 * (tests/reference/make_sampling_golden.py). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/cpu.h"
#include "base/rng.h"
#include "engine/engine_int.h"

#define VOCAB 50

static struct sampler sampler;
static const struct token_counts no_counts;

static enum cpu_isa best_isa(void)
{
    enum cpu_isa isa = ISA_REF;
    assert_int_equal(kernel_pick(&isa, NULL), 0);
    return isa;
}

static int make_sampler(void **state)
{
    (void)state;
    return sampler_init(&sampler, kernel_get(best_isa()), VOCAB);
}

static int end_sampler(void **state)
{
    (void)state;
    sampler_done(&sampler);
    return 0;
}

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

/* Each candidate as often as its weight says, and nothing else, whichever way the draw was made. */
static void wide_nuclei_keep_their_distribution(void **state)
{
    static const float top_p[] = {0.5f, 0.8f, 0.95f, 0.99f};
    const int draws = 40000;
    (void)state;
    for (size_t k = 0; k < SP_COUNT(top_p); k++) {
        float x[VOCAB], share[VOCAB] = {0}, sum = 0;
        int count[VOCAB];
        for (uint64_t i = 0; i < VOCAB; i++) /* with many that are equal */
            x[i] = floorf((float)rng_uniform(k, i, 0) * 12) / 2;
        struct sampling p = neutral(1 + 0.5f * (float)k);
        p.top_p = top_p[k];
        p.min_p = k == 2 ? 0.2f : 0;
        int64_t n = sample_candidates(&sampler, x, &p, &no_counts);
        assert_in_range(n, 2, VOCAB);
        for (int64_t i = 0; i < n; i++)
            sum += share[sampler.token[i]] = sampler.weight[i];
        draw_many(x, &p, draws, count);
        for (int i = 0; i < VOCAB; i++) {
            double due = draws * (double)(share[i] / sum);
            assert_true(fabs(count[i] - due) <= 5 * sqrt(due));
        }
    }
}

static void penalties_are_the_published_formulas(void **state)
{
    float x[VOCAB];
    uint8_t seen[VOCAB] = {0};
    uint16_t answer[VOCAB] = {0};
    int32_t ids[VOCAB];
    struct token_counts counts;
    struct sampling p = neutral(0);
    (void)state;
    low_logits(x);
    x[1] = 4.0f, x[2] = 3.0f; /* seen: 4 / 1.5 = 2.67 < 3 */
    counts = (struct token_counts){.seen = seen, .ids = ids};
    token_counts_add(&counts, 1, false);
    token_counts_add(&counts, 1, true);
    assert_int_equal(counts.n, 1);
    p.repetition_penalty = 1.5f;
    assert_int_equal(sample_token(&sampler, x, &p, &counts, 0), 2);
    x[1] = -1.0f, x[2] = -1.4f; /* negative: -1 * 1.5 = -1.5 < -1.4 */
    assert_int_equal(sample_token(&sampler, x, &p, &counts, 0), 2);
    p = neutral(0);
    x[1] = 4.0f, x[2] = 3.0f;
    counts = (struct token_counts){.answer = answer, .ids = ids};
    token_counts_add(&counts, 2, false); /* of the prompt: these penalties don't see it */
    for (int i = 0; i < 3; i++)
        token_counts_add(&counts, 1, true);
    assert_int_equal(counts.n, 1);
    assert_int_equal(answer[1], 3);
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
    assert_int_equal(sample_top(&sampler, x, 100.7f, 4, top), 4);
    assert_int_equal(top[0].token, 5);
    assert_int_equal(top[1].token, 6);
    assert_true(fabsf(top[0].logprob + 0.7f) < 1e-4f);
    assert_true(top[2].logprob > top[3].logprob);
}

static void forbidden_tokens_are_no_alternatives(void **state)
{
    float x[VOCAB];
    struct token_logprob top[4];
    (void)state;
    for (int i = 0; i < VOCAB; i++)
        x[i] = -INFINITY;
    assert_int_equal(sample_top(&sampler, x, 0, 4, top), 0);
    x[9] = 1, x[4] = 2;
    assert_int_equal(sample_top(&sampler, x, 0, 4, top), 2);
    assert_int_equal(top[0].token, 4);
    assert_int_equal(top[1].token, 9);
}

/* NaN is never drawn; temperatures and settings at the ends of their ranges give the likeliest. */
static void odd_logits_and_extreme_settings(void **state)
{
    float x[VOCAB];
    int count[VOCAB];
    struct sampling p = neutral(1);
    (void)state;
    for (int i = 0; i < VOCAB; i++)
        x[i] = i % 2 ? NAN : 0.5f * (float)i;
    for (int k = 0; k < 4; k++) {
        p = neutral(k == 0 ? 1e-40f : 100);
        p.top_p = k == 1 ? 1e-9f : 1;
        p.min_p = k == 2 ? 1 : 0;
        p.top_k = k == 3 ? 1 : 0;
        draw_many(x, &p, 50, count);
        assert_int_equal(count[VOCAB - 2], 50);
    }
    p = neutral(100);
    p.top_k = 30; /* more than there are */
    draw_many(x, &p, 4000, count);
    for (int i = 0; i < VOCAB; i++)
        assert_true(i % 2 ? count[i] == 0 : count[i] > 60);
    x[8] = INFINITY;
    draw_many(x, &p, 10, count);
    assert_int_equal(count[8], 10);
}

static void choosing_allocates_nothing(void **state)
{
    float x[VOCAB];
    struct token_logprob top[LOGPROBS_MAX];
    const struct sampling settings[] = {
        {.top_p = 1, .repetition_penalty = 1},
        {.temperature = 1, .top_p = 1, .repetition_penalty = 1.1f},
        {.temperature = 1, .top_p = 0.9f, .repetition_penalty = 1},
        {.temperature = 1, .top_k = 20, .top_p = 0.8f, .min_p = 0.01f, .repetition_penalty = 1}};
    (void)state;
    for (int i = 0; i < VOCAB; i++)
        x[i] = (float)(i * 7 % VOCAB) / 10;
    sp_alloc_fail_nth(0); /* starts the count */
    for (size_t i = 0; i < SP_COUNT(settings); i++)
        assert_true(sample_token(&sampler, x, &settings[i], &no_counts, 0) >= 0);
    assert_int_equal(sample_top(&sampler, x, 0, LOGPROBS_MAX, top), LOGPROBS_MAX);
    assert_int_equal(sp_alloc_count(), 0);
}

/* ---- beside transformers ---- */

/* As make_logits of the script. */
static float *make_logits(const json_t *c, int64_t vocab)
{
    float *x = sp_alloc_aligned(64, (size_t)vocab * sizeof *x);
    uint64_t seed = (uint64_t)json_integer_value(json_object_get(c, "seed"));
    json_int_t power = json_integer_value(json_object_get(c, "power"));
    float spread = (float)json_number_value(json_object_get(c, "spread"));
    assert_non_null(x);
    for (int64_t i = 0; i < vocab; i++) {
        uint64_t z = seed + (uint64_t)(i + 1) * 0x9E3779B97F4A7C15u;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        float u = (float)((z ^ (z >> 31)) >> 40) * 0x1p-24f;
        x[i] = u;
        for (json_int_t k = 1; k < power; k++)
            x[i] *= u;
        x[i] = x[i] * spread - 5;
    }
    return x;
}

static float number(const json_t *c, const char *name)
{
    assert_true(json_is_number(json_object_get(c, name)));
    return (float)json_number_value(json_object_get(c, name));
}

static struct sampling read_settings(const json_t *c, struct logit_bias *bias)
{
    struct sampling p = {.temperature = number(c, "temperature"),
                         .top_k = (int32_t)number(c, "top_k"),
                         .top_p = number(c, "top_p"),
                         .min_p = number(c, "min_p"),
                         .repetition_penalty = number(c, "repetition_penalty"),
                         .presence_penalty = number(c, "presence_penalty"),
                         .frequency_penalty = number(c, "frequency_penalty"),
                         .bias = bias};
    json_t *pair;
    size_t i;
    json_array_foreach(json_object_get(c, "bias"), i, pair)
    {
        bias[p.n_bias].token = (int32_t)json_integer_value(json_array_get(pair, 0));
        bias[p.n_bias++].bias = (float)json_number_value(json_array_get(pair, 1));
    }
    return p;
}

static void count_all(struct token_counts *counts, const json_t *ids, bool answer)
{
    json_t *id;
    size_t i;
    json_array_foreach(ids, i, id)
        token_counts_add(counts, (int32_t)json_integer_value(id), answer);
}

static void check_case(struct sampler *s, const float *x, const json_t *c)
{
    struct logit_bias bias[8];
    int32_t ids[64];
    struct sampling p = read_settings(c, bias);
    struct token_counts counts = {.ids = ids};
    counts.seen = sp_calloc((size_t)s->vocab, 1);
    counts.answer = sp_calloc((size_t)s->vocab, sizeof *counts.answer);
    count_all(&counts, json_object_get(c, "prompt"), false);
    count_all(&counts, json_object_get(c, "answer"), true);
    int64_t n = sample_candidates(s, x, &p, &counts), sum = 0, squares = 0;
    double total = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t t = s->token[i];
        assert_true(i == 0 || t > s->token[i - 1]);
        sum += t;
        squares += t * t % 1000003;
        total += (double)s->weight[i];
    }
    assert_int_equal(n, json_integer_value(json_object_get(c, "kept")));
    assert_int_equal(sum, json_integer_value(json_object_get(c, "sum")));
    assert_int_equal(squares, json_integer_value(json_object_get(c, "squares")));
    json_t *pair;
    size_t k;
    json_array_foreach(json_object_get(c, "probs"), k, pair)
    {
        int64_t i = 0;
        while (i < n && s->token[i] != json_integer_value(json_array_get(pair, 0)))
            i++;
        assert_true(i < n);
        /* x / temperature is rounded to 2^-24 of itself, so faint tokens are told less exactly */
        double want = json_number_value(json_array_get(pair, 1));
        assert_true(fabs((double)s->weight[i] / total - want) < 2e-7 * (8 - log(want)) * want);
    }
    sp_free(counts.seen);
    sp_free(counts.answer);
}

/* Every instruction set of this machine: the same tokens, and weights of the same bits. */
static void transformers_keeps_the_same(void **state)
{
    json_t *cases = json_load_file(TEST_DATA "/engine/sampling.json", 0, NULL), *c;
    size_t i;
    (void)state;
    assert_true(json_array_size(cases) >= 100);
    json_array_foreach(cases, i, c)
    {
        int64_t vocab = json_integer_value(json_object_get(c, "vocab"));
        float *x = make_logits(c, vocab);
        struct sampler ref, best;
        assert_int_equal(sampler_init(&ref, kernel_get(ISA_REF), vocab), 0);
        assert_int_equal(sampler_init(&best, kernel_get(best_isa()), vocab), 0);
        check_case(&ref, x, c);
        check_case(&best, x, c);
        size_t kept = (size_t)json_integer_value(json_object_get(c, "kept"));
        assert_memory_equal(ref.weight, best.weight, kept * sizeof *ref.weight);
        sampler_done(&ref);
        sampler_done(&best);
        sp_free(x);
    }
    json_decref(cases);
}

/* ---- stop strings and pages ---- */

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_takes_the_first_of_the_greatest),
        cmocka_unit_test(draws_follow_the_distribution),
        cmocka_unit_test(top_k_top_p_and_min_p_cut),
        cmocka_unit_test(wide_nuclei_keep_their_distribution),
        cmocka_unit_test(a_flat_distribution_needs_no_sorting_of_all),
        cmocka_unit_test(penalties_are_the_published_formulas),
        cmocka_unit_test(draws_depend_on_seed_and_position_only),
        cmocka_unit_test(the_best_are_sorted),
        cmocka_unit_test(forbidden_tokens_are_no_alternatives),
        cmocka_unit_test(odd_logits_and_extreme_settings),
        cmocka_unit_test(choosing_allocates_nothing),
        cmocka_unit_test(transformers_keeps_the_same),
        cmocka_unit_test(stops_are_found_across_pieces),
    };
    return cmocka_run_group_tests(tests, make_sampler, end_sampler);
}
