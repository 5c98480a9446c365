/* The figures equal those of vLLM's own code and numpy: tests/reference/make_load_golden.py. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>
#include "bench/load_int.h"
#include "bench/stats.h"

static void near(double a, double b, const char *what)
{
    if (!(fabs(a - b) <= 1e-9 * fmax(1, fabs(b))))
        fail_msg("%s: %.12g, not %.12g", what, a, b);
}

static double number(const json_t *object, const char *key)
{
    const json_t *v = json_object_get(object, key);
    if (!json_is_number(v))
        fail_msg("no %s", key);
    return json_number_value(v);
}

static double item(const json_t *list, size_t i)
{
    return json_number_value(json_array_get(list, i));
}

/* [success, start, ttft, gaps, latency, tokens out, tokens in]. */
static struct load_record record_of(const json_t *r)
{
    const json_t *gaps = json_array_get(r, 3);
    struct load_record out = {.start = item(r, 1),
                              .has_usage = true,
                              .tokens_out = (int64_t)item(r, 5),
                              .tokens_in = (int64_t)item(r, 6),
                              .outcome = item(r, 0) > 0 ? LOAD_OK : LOAD_CLOSED};
    out.arrival = out.start;
    out.first = out.start + item(r, 2);
    out.last = out.start + item(r, 4);
    out.n_gaps = json_array_size(gaps);
    out.gaps = sp_calloc(out.n_gaps + 1, sizeof *out.gaps);
    for (size_t i = 0; i < out.n_gaps; i++)
        out.gaps[i] = item(gaps, i);
    return out;
}

static void check_case(const json_t *c, const struct load_plan *p)
{
    static const char *const metrics[] = {"ttft", "tpot", "itl", "e2el"};
    const json_t *list = json_object_get(c, "requests"), *want = json_object_get(c, "figures");
    struct load_run run = {.n = json_array_size(list), .duration = number(c, "duration")};
    struct load_figures f;
    struct load_level level = {.concurrency = 4};
    double *sorted[METRIC_E2EL + 1];
    run.records = sp_calloc(run.n, sizeof *run.records);
    for (size_t i = 0; i < run.n; i++)
        run.records[i] = record_of(json_array_get(list, i));
    assert_int_equal(load_figures_of(&run, 1, p, level, &f, sorted, NULL), 0);
    assert_int_equal(f.sent, run.n);
    near((double)f.completed, number(want, "completed"), "completed");
    near((double)f.failed, number(want, "failed"), "failed");
    near((double)f.tokens_in, number(want, "total_input"), "total_input");
    near((double)f.tokens_out, number(want, "total_output"), "total_output");
    near(f.request_throughput, number(want, "request_throughput"), "request_throughput");
    near(f.goodput, number(want, "request_goodput"), "request_goodput");
    near(f.output_throughput, number(want, "output_throughput"), "output_throughput");
    near(f.total_throughput, number(want, "total_token_throughput"), "total_token_throughput");
    near(f.peak_output, number(want, "max_output_tokens_per_s"), "max_output_tokens_per_s");
    near((double)f.peak_concurrency, number(want, "max_concurrent_requests"), "peak concurrency");
    for (enum load_metric m = 0; m <= METRIC_E2EL; m++) {
        char key[64];
        const struct load_spread *s = &f.spread[m];
        snprintf(key, sizeof key, "mean_%s_ms", metrics[m]);
        near(s->mean, number(want, key), key);
        snprintf(key, sizeof key, "median_%s_ms", metrics[m]);
        near(s->median, number(want, key), key);
        snprintf(key, sizeof key, "std_%s_ms", metrics[m]);
        near(s->std, number(want, key), key);
        snprintf(key, sizeof key, "percentiles_%s_ms", metrics[m]);
        for (size_t i = 0; i < p->n_percentiles; i++)
            near(s->percentiles[i], item(json_object_get(want, key), i), key);
        sp_free(sorted[m]);
    }
    load_run_free(&run);
}

static void equal_to_vllm(void **state)
{
    json_t *all = json_load_file(TEST_DATA "/bench/load.json", 0, NULL);
    struct load_plan p = {0};
    size_t i;
    json_t *c;
    (void)state;
    assert_non_null(all);
    const json_t *limits = json_object_get(all, "goodput_ms");
    p.goodput[METRIC_TTFT] = number(limits, "ttft") / 1e3;
    p.goodput[METRIC_TPOT] = number(limits, "tpot") / 1e3;
    p.goodput[METRIC_E2EL] = number(limits, "e2el") / 1e3;
    p.n_percentiles = json_array_size(json_object_get(all, "percentiles"));
    for (i = 0; i < p.n_percentiles; i++)
        p.percentiles[i] = item(json_object_get(all, "percentiles"), i);
    assert_true(json_array_size(json_object_get(all, "cases")) >= 4);
    json_array_foreach(json_object_get(all, "cases"), i, c) check_case(c, &p);
    json_decref(all);
}

/* Rounds add their durations; queues are told where a rate meets a limit. */
static void rounds_and_queues(void **state)
{
    struct load_record a = {
        .arrival = 1, .start = 1.5, .first = 2, .last = 2, .tokens_out = 1, .tokens_in = 7};
    struct load_record b = {.arrival = 0,
                            .start = 0,
                            .first = 1,
                            .last = 3,
                            .tokens_out = 3,
                            .tokens_in = 5,
                            .has_usage = true};
    struct load_record c = {.outcome = LOAD_UNFINISHED};
    struct load_run runs[] = {
        {.records = (struct load_record[]){a, c}, .n = 2, .duration = 4},
        {.records = (struct load_record[]){b}, .n = 1, .duration = 6, .unsent = 2}};
    struct load_plan p = {.percentiles = {50}, .n_percentiles = 1};
    struct load_level both = {.concurrency = 1, .rate = 2};
    struct load_figures f;
    (void)state;
    assert_int_equal(load_figures_of(runs, 2, &p, both, &f, NULL, NULL), 0);
    assert_int_equal(f.completed, 2);
    assert_int_equal(f.unfinished, 3);
    assert_int_equal(f.failed, 0);
    assert_int_equal(f.uncounted, 1);
    near(f.duration, 10, "duration");
    near(f.total_throughput, 1.6, "throughput");
    assert_int_equal(f.spread[METRIC_TPOT].n, 1);
    near(f.spread[METRIC_TPOT].mean, 1000, "TPOT");
    near(f.spread[METRIC_QUEUE].mean, 250, "queue");
    near(f.spread[METRIC_TOTAL].mean, 2000, "with queue");
    struct load_level closed = {.concurrency = 1};
    assert_int_equal(load_figures_of(runs, 2, &p, closed, &f, NULL, NULL), 0);
    assert_int_equal(f.spread[METRIC_QUEUE].n, 0);
    assert_int_equal(load_figures_of(runs, 0, &p, closed, &f, NULL, NULL), 0);
    near(f.request_throughput, 0, "nothing");
}

static void errors_by_kind(void **state)
{
    struct load_record r[40] = {{.outcome = LOAD_STATUS, .status = 429, .why = "slow down"},
                                {.outcome = LOAD_STATUS, .status = 500},
                                {.outcome = LOAD_STATUS, .status = 429, .why = "again"},
                                {.outcome = LOAD_TIMEOUT},
                                {.outcome = LOAD_OK},
                                {.outcome = LOAD_UNFINISHED}};
    struct load_run run = {.records = r, .n = 6};
    struct load_result result = {.runs = &run, .n_rounds = 1};
    (void)state;
    load_count_errors(&result);
    assert_int_equal(result.n_errors, 3);
    assert_string_equal(result.errors[0].kind, "http_429");
    assert_int_equal(result.errors[0].count, 2);
    assert_string_equal(result.errors[0].example, "slow down");
    assert_string_equal(result.errors[2].kind, "timeout");
    run.n = 40;
    for (int i = 0; i < 40; i++)
        r[i] = (struct load_record){.outcome = LOAD_STATUS, .status = 400 + i};
    load_count_errors(&result);
    assert_int_equal(result.n_errors, SP_COUNT(result.errors));
    int64_t sum = 0;
    for (size_t i = 0; i < result.n_errors; i++)
        sum += result.errors[i].count;
    assert_int_equal(sum, 40); /* none is lost */
    assert_string_equal(result.errors[result.n_errors - 1].kind, "other");
}

/* Ranks and coverage by the binomial tail, as in tests/cli/test_peers.py. */
static void intervals(void **state)
{
    static const struct {
        size_t n;
        double low, high, coverage;
    } cases[] = {{1, 1, 1, 0},
                 {2, 1, 2, 0.5},
                 {3, 1, 3, 0.75},
                 {6, 1, 6, 0.96875},
                 {10, 2, 9, 0.978515625},
                 {15, 4, 12, 0.96484375},
                 {20, 6, 15, 0.958610534667969}};
    double v[20];
    (void)state;
    for (size_t i = 0; i < 20; i++)
        v[i] = (double)i + 1;
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        struct stats_interval s = stats_median_interval(v, cases[i].n, 0.95);
        near(s.low, cases[i].low, "low");
        near(s.high, cases[i].high, "high");
        near(s.coverage, cases[i].coverage, "coverage");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_to_vllm),
        cmocka_unit_test(rounds_and_queues),
        cmocka_unit_test(errors_by_kind),
        cmocka_unit_test(intervals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
