/* Reports of results whose figures are known. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "base/base.h"
#include "bench/bench.h"

static struct bench_result results[6];

static struct bench_result result(const char *name, struct bench_test t, double speed)
{
    struct bench_result r = {.test = t,
                             .threads = 2,
                             .isa = "avx2",
                             .compute = "fast",
                             .kv_type = "bf16",
                             .weight_bytes = 400000000,
                             .reps = 2,
                             .tokens_per_second = speed,
                             .deviation = 2.5,
                             .median = speed,
                             .samples = {speed - 1, speed + 1},
                             .gb_per_second = t.gen ? 24 : 0,
                             .gops = 200,
                             .limit_gb_per_second = 30,
                             .limit_gops = 400,
                             .bound = t.gen ? BOUND_READ : BOUND_OPERATIONS,
                             .share = t.gen ? 0.8 : 0.5};
    (void)strncpy(r.model, name, sizeof r.model - 1);
    bench_name(&t, r.name);
    return r;
}

static int setup(void **state)
{
    (void)state;
    results[0] = result("a<b>\"&.gguf", (struct bench_test){512, 0, 0, 1}, 361.25);
    results[1] = result("a<b>\"&.gguf", (struct bench_test){4096, 0, 0, 1}, 300);
    results[2] = result("a<b>\"&.gguf", (struct bench_test){0, 128, 0, 1}, 60);
    results[3] = result("a<b>\"&.gguf", (struct bench_test){0, 128, 8192, 1}, 30);
    results[4] = result("other", (struct bench_test){0, 128, 0, 16}, 240);
    results[5] = result("other", (struct bench_test){0, 128, 0, 1}, 50);
    results[5].share = 1.25;
    return 0;
}

static void lines(void **state)
{
    buf b;
    (void)state;
    buf_init(&b, 1 << 16);
    bench_print(BENCH_TABLE, 12, &results[0], &b);
    assert_string_equal(b.data, "a<b>\"&.gguf   pp512                2     361.25 ± 2.50"
                                "           -     200.0  50% of 400.0 GOPS\n");
    buf_clear(&b);
    bench_print(BENCH_MARKDOWN, 0, &results[3], &b);
    assert_string_equal(b.data, "| a<b>\"&.gguf | tg128@d8192 | 2 | 30.00 ± 2.50 | 24.0 | 200.0 | "
                                "80% of 30.0 GB/s |\n");
    buf_clear(&b);
    bench_print(BENCH_MARKDOWN, 0, &results[5], &b);
    assert_non_null(strstr(b.data, "125% of 30.0 GB/s (limit wrong)"));
    buf_clear(&b);
    bench_print(BENCH_CSV, 0, &results[0], &b);
    assert_string_equal(
        b.data, "\"a<b>\"\"&.gguf\",pp512,512,0,0,1,2,avx2,fast,bf16,400000000,2,361.25,2.5,"
                "361.25,,200,30,400,operations,0.5\n");
    buf_free(&b);
}

static void json_has_one_object_a_line(void **state)
{
    buf b;
    (void)state;
    buf_init(&b, 1 << 16);
    bench_print(BENCH_JSON, 0, &results[4], &b);
    assert_ptr_equal(strchr(b.data, '\n'), b.data + b.len - 1);
    json_t *j = json_loads(b.data, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(j, "test")), "tg128x16");
    assert_int_equal(json_integer_value(json_object_get(j, "batch")), 16);
    assert_true(json_real_value(json_object_get(j, "tokens_per_second")) > 239);
    assert_int_equal(json_array_size(json_object_get(j, "samples")), 2);
    json_decref(j);
    buf_clear(&b);
    bench_print(BENCH_JSON, 0, &results[0], &b);
    j = json_loads(b.data, 0, NULL);
    assert_true(json_is_null(json_object_get(j, "gb_per_second")));
    json_decref(j);
    buf_free(&b);
}

static size_t count(const char *text, const char *what)
{
    size_t n = 0;
    for (const char *p = text; (p = strstr(p, what)); p += strlen(what))
        n++;
    return n;
}

static void bars_are_to_scale(void **state)
{
    buf b;
    (void)state;
    buf_init(&b, 1 << 16);
    bench_chart(results + 2, 2, 80, &b);
    assert_non_null(strstr(b.data, "decode, tokens/s"));
    assert_null(strstr(b.data, "prefill"));
    const char *second = strstr(b.data, "tg128@d8192");
    assert_non_null(second);
    size_t all = count(b.data, "█"), half = count(second, "█");
    assert_true(all > 20 && all - half >= 2 * half && all - half <= 2 * half + 1);
    buf_clear(&b);
    bench_chart(results, 6, 20, &b); /* too narrow: still something */
    assert_int_equal(count(b.data, "\n"), 2 + 2 + 6);
    assert_non_null(strstr(b.data, "pp512 a<b>"));
    buf_free(&b);
}

static void the_page_has_its_charts_and_escapes_names(void **state)
{
    buf b;
    (void)state;
    buf_init(&b, 1 << 20);
    bench_html(results, 6, &b);
    assert_false(b.failed);
    assert_int_equal(count(b.data, "<svg"),
                     6); /* bars: prefill, decode; lines: prompt, depth, batch; shares */
    assert_int_equal(count(b.data, "</svg>"), 6);
    assert_int_equal(count(b.data, "<polyline"), 3);
    assert_null(strstr(b.data, "a<b>"));
    assert_non_null(strstr(b.data, "a&lt;b&gt;&quot;&amp;.gguf"));
    assert_null(strstr(b.data, "http"));
    const char *data = strstr(b.data, "id=\"results\">");
    assert_non_null(data);
    json_t *j = json_loads(data + strlen("id=\"results\">"), JSON_DISABLE_EOF_CHECK, NULL);
    assert_int_equal(json_array_size(j), 6);
    json_decref(j);
    buf_clear(&b);
    bench_html(results, 0, &b);
    assert_int_equal(count(b.data, "<polyline"), 0);
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines),
        cmocka_unit_test(json_has_one_object_a_line),
        cmocka_unit_test(bars_are_to_scale),
        cmocka_unit_test(the_page_has_its_charts_and_escapes_names),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
