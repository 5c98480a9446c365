/* Frequencies of every kind of RoPE against those that transformers computes. */
#include "model_test.h"
#include "model/model_int.h"

static double number(const json_t *rope, const char *key, double otherwise)
{
    const json_t *v = json_object_get(rope, key);
    return json_is_number(v) ? json_number_value(v) : otherwise;
}

static void read_factors(const json_t *list, float *out)
{
    size_t i;
    const json_t *v;
    json_array_foreach((json_t *)(uintptr_t)list, i, v) out[i] = (float)json_number_value(v);
}

static struct rope_config read_rope(const json_t *j)
{
    static const char *const kinds[] = {
        [ROPE_PLAIN] = "default", [ROPE_LINEAR] = "linear",   [ROPE_YARN] = "yarn",
        [ROPE_LLAMA3] = "llama3", [ROPE_DYNAMIC] = "dynamic", [ROPE_QWEN] = "",
        [ROPE_LONG] = "longrope"};
    const char *kind = json_string_value(json_object_get(j, "rope_type"));
    struct rope_config r = {.theta = number(j, "rope_theta", 0),
                            .factor = number(j, "factor", 1),
                            .original_context = number(j, "original_max_position_embeddings", 0),
                            .beta_fast = number(j, "beta_fast", 32),
                            .beta_slow = number(j, "beta_slow", 1),
                            .attention_factor = number(j, "attention_factor", 0),
                            .mscale = number(j, "mscale", 0),
                            .mscale_all_dim = number(j, "mscale_all_dim", 0),
                            .truncate = !json_is_false(json_object_get(j, "truncate")),
                            .low_freq_factor = number(j, "low_freq_factor", 0),
                            .high_freq_factor = number(j, "high_freq_factor", 0)};
    while (strcmp(kinds[r.kind], kind) != 0)
        r.kind++;
    read_factors(json_object_get(j, "short_factor"), r.short_factor);
    read_factors(json_object_get(j, "long_factor"), r.long_factor);
    return r;
}

static void check_case(const json_t *j)
{
    struct rope_config r = read_rope(json_object_get(j, "rope"));
    int64_t dim = json_integer_value(json_object_get(j, "head_dim"));
    int64_t length = json_integer_value(json_object_get(j, "length"));
    const json_t *want = json_object_get(j, "inv_freq");
    double worst = 0;
    assert_int_equal(json_array_size(want), dim / 2);
    for (int64_t i = 0; i < dim / 2; i++) {
        double f = json_number_value(json_array_get(want, (size_t)i));
        worst = fmax(worst, fabs((double)rope_frequency(&r, dim, i, length) - f) / f);
    }
    /* Two units in the last place: the reference's power function is not rounded correctly. */
    if (worst > 2.4e-7)
        fail_msg("%s: a frequency is off by %.1e of itself",
                 json_string_value(json_object_get(json_object_get(j, "rope"), "rope_type")),
                 worst);
    assert_float_equal(rope_scaling(&r), json_number_value(json_object_get(j, "attention_scaling")),
                       1e-6);
}

static void test_frequencies_match_transformers(void **state)
{
    size_t i;
    json_t *cases = json_load_file(MODELS "/rope.json", 0, NULL), *j;
    (void)state;
    assert_true(json_array_size(cases) >= 14);
    json_array_foreach(cases, i, j) check_case(j);
    json_decref(cases);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_frequencies_match_transformers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
