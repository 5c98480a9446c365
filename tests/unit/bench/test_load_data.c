/* Arrivals have the moments of their distribution; prompts are new, shared or a file's, as asked. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "bench/load_int.h"

#define DRAWS 200000

/* The gamma distribution with scale 1 has mean k, variance k and skewness 2 / sqrt(k). */
static void moments(void **state)
{
    static const double shapes[] = {0.2, 0.5, 1, 2.5, 20};
    (void)state;
    for (size_t i = 0; i < SP_COUNT(shapes); i++) {
        double k = shapes[i], mean = 0, var = 0, skew = 0;
        static double x[DRAWS];
        for (size_t n = 0; n < DRAWS; n++) {
            x[n] = arrivals_gamma(7, n, k);
            assert_true(x[n] >= 0 && isfinite(x[n]));
            mean += x[n] / DRAWS;
        }
        for (size_t n = 0; n < DRAWS; n++)
            var += (x[n] - mean) * (x[n] - mean) / DRAWS;
        for (size_t n = 0; n < DRAWS; n++)
            skew += pow((x[n] - mean) / sqrt(var), 3) / DRAWS;
        /* Five standard errors of each. */
        assert_true(fabs(mean - k) < 5 * sqrt(k / DRAWS));
        assert_true(fabs(var - k) < 5 * k * sqrt((2 + 6 / k) / DRAWS));
        assert_true(fabs(skew - 2 / sqrt(k)) < 0.06 * (1 + 4 / k));
    }
}

/* A shape of 1 is the exponential distribution: the share above x is exp(-x). */
static void poisson(void **state)
{
    (void)state;
    for (double x = 0.1; x < 4; x *= 2) {
        size_t above = 0;
        for (size_t n = 0; n < DRAWS; n++)
            above += arrivals_gamma(11, n, 1) > x;
        double p = exp(-x);
        assert_true(fabs((double)above / DRAWS - p) < 5 * sqrt(p * (1 - p) / DRAWS));
    }
}

static void times(void **state)
{
    struct load_shape s = {.requests = 400, .burstiness = 1};
    double *t = NULL, *again = NULL, *other = NULL;
    size_t n = 0;
    (void)state;
    assert_int_equal(arrivals_times(&s, 8, 1, &t, &n, NULL), 0);
    assert_int_equal(arrivals_times(&s, 8, 1, &again, &n, NULL), 0);
    assert_int_equal(arrivals_times(&s, 8, 2, &other, &n, NULL), 0);
    assert_int_equal(n, 400);
    assert_memory_equal(t, again, n * sizeof *t);
    assert_true(memcmp(t, other, n * sizeof *t) != 0);
    assert_true(fabs(t[399] - 50) < 1e-9); /* requests / rate */
    for (size_t i = 1; i < n; i++)
        assert_true(t[i] >= t[i - 1]);
    sp_free(t), sp_free(again), sp_free(other);
    s.requests = 0, s.seconds = 100;
    assert_int_equal(arrivals_times(&s, 50, 3, &t, &n, NULL), 0);
    assert_true(fabs((double)n - 5000) < 5 * sqrt(5000)); /* a Poisson process counts like this */
    assert_true(t[n - 1] <= 100);
    sp_free(t);
    s.requests = 10, s.seconds = 1;
    assert_int_equal(arrivals_times(&s, 5, 3, &t, &n, NULL), 0);
    assert_true(n > 0 && n < 10 && t[n - 1] <= 1); /* what comes first */
    sp_free(t);
}

/* Even gaps (a large shape) show the rate as it is at each place. */
static void ramps(void **state)
{
    struct load_shape s = {.requests = 101, .burstiness = 1e4, .ramp = RAMP_LINEAR, .ramp_to = 40};
    double *t = NULL;
    size_t n = 0;
    (void)state;
    assert_int_equal(arrivals_times(&s, 10, 1, &t, &n, NULL), 0);
    for (size_t i = 1; i < n; i++)
        assert_true(fabs((t[i] - t[i - 1]) * (10 + 30 * (double)i / 100) - 1) < 0.06);
    sp_free(t);
    s.ramp = RAMP_EXPONENTIAL;
    assert_int_equal(arrivals_times(&s, 10, 1, &t, &n, NULL), 0);
    for (size_t i = 1; i < n; i++)
        assert_true(fabs((t[i] - t[i - 1]) * 10 * pow(4, (double)i / 100) - 1) < 0.06);
    sp_free(t);
    s.requests = 0, s.seconds = 10, s.ramp = RAMP_LINEAR;
    assert_int_equal(arrivals_times(&s, 10, 1, &t, &n, NULL), 0);
    assert_true(fabs((double)n - 250) < 6); /* the integral of 10 + 3 t */
    sp_free(t);
}

/* ---- prompts ---- */

static void turn(const load_data *d, uint64_t stream, uint64_t number, int64_t t, buf *out)
{
    struct load_place at = {stream, number};
    const json_t *messages = NULL;
    int64_t most = 0;
    assert_int_equal(load_data_turn(d, &at, t, out, &messages, &most), 0);
    assert_null(messages);
    assert_int_equal(most, 64);
}

static size_t count_words(const char *text)
{
    size_t n = *text != '\0';
    for (; *text; text++)
        n += *text == ' ';
    return n;
}

static void random_words(void **state)
{
    struct load_prompts p = {
        .words = 20, .prefix_words = 30, .turns = 3, .seed = 5, .max_tokens = 64};
    load_data *d = NULL, *same = NULL, *other = NULL;
    buf a, b;
    (void)state;
    buf_init(&a, 1 << 16);
    buf_init(&b, 1 << 16);
    assert_int_equal(load_data_open(&p, &d, NULL), 0);
    assert_int_equal(load_data_open(&p, &same, NULL), 0);
    struct load_place at = {1, 0};
    assert_int_equal(load_data_turns(d, &at), 3);
    turn(d, 1, 0, 0, &a);
    turn(same, 1, 0, 0, &b);
    assert_string_equal(a.data, b.data);
    assert_int_equal(count_words(a.data), 50);
    turn(d, 1, 1, 0, &b); /* another conversation: the prefix and nothing else */
    size_t shared = 0, spaces = 0;
    for (; a.data[shared] && a.data[shared] == b.data[shared]; shared++)
        spaces += a.data[shared] == ' ';
    assert_true(spaces >= 30 && spaces < 34);
    turn(d, 1, 0, 1, &b); /* a later turn has no prefix */
    assert_int_equal(count_words(b.data), 20);
    turn(d, 2, 0, 0, &b); /* another run shares nothing */
    for (shared = spaces = 0; a.data[shared] && a.data[shared] == b.data[shared]; shared++)
        spaces += a.data[shared] == ' ';
    assert_true(spaces < 4);
    p.seed = 6;
    assert_int_equal(load_data_open(&p, &other, NULL), 0);
    turn(other, 1, 0, 0, &b);
    assert_string_not_equal(a.data, b.data);
    load_data_close(d), load_data_close(same), load_data_close(other);
    buf_free(&a), buf_free(&b);
}

static char path[] = "/tmp/sampan-load-XXXXXX";

static void write_file(const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0 && fclose(f) == 0);
}

static void share_gpt(void **state)
{
    struct load_prompts p = {.turns = 2, .file = path, .max_tokens = 64, .chat = true};
    load_data *d = NULL;
    buf a;
    (void)state;
    buf_init(&a, 1 << 16);
    write_file(
        "[{\"id\": \"a\", \"conversations\": [{\"from\": \"human\", \"value\": \"one\"}, "
        "{\"from\": "
        "\"gpt\", \"value\": \"1\"}, {\"from\": \"human\", \"value\": \"two\"}, {\"from\": "
        "\"gpt\", "
        "\"value\": \"2\"}, {\"from\": \"human\", \"value\": \"three\"}]},\n"
        "{\"id\": \"b\", \"conversations\": [{\"from\": \"gpt\", \"value\": \"nobody asked\"}]},\n"
        "{\"id\": \"c\", \"conversations\": [{\"from\": \"user\", \"value\": \"\xe6\xb0\xb4\"}]}]");
    assert_int_equal(load_data_open(&p, &d, NULL), 0);
    assert_int_equal(load_data_count(d), 2);
    struct load_place first = {0, 0}, second = {0, 1}, third = {9, 2};
    assert_int_equal(load_data_turns(d, &first), 2);
    assert_int_equal(load_data_turns(d, &second), 1);
    assert_int_equal(load_data_turns(d, &third), 2); /* it begins again */
    turn(d, 0, 0, 1, &a);
    assert_string_equal(a.data, "two");
    turn(d, 0, 1, 0, &a);
    assert_string_equal(a.data, "\xe6\xb0\xb4");
    load_data_close(d);
    buf_free(&a);
}

static void lines(void **state)
{
    struct load_prompts p = {.turns = 9, .file = path, .max_tokens = 64, .chat = true};
    load_data *d = NULL;
    buf a;
    const json_t *messages = NULL;
    int64_t most = 0;
    (void)state;
    buf_init(&a, 1 << 16);
    write_file("{\"prompt\": \"p\", \"max_tokens\": 7}\n\n{\"turns\": [\"x\", \"y\"]}\r\n"
               "{\"messages\": [{\"role\": \"user\", \"content\": \"m\"}], \"output_tokens\": 9}");
    assert_int_equal(load_data_open(&p, &d, NULL), 0);
    assert_int_equal(load_data_count(d), 3);
    struct load_place at = {0, 0};
    assert_int_equal(load_data_turn(d, &at, 0, &a, &messages, &most), 0);
    assert_string_equal(a.data, "p");
    assert_int_equal(most, 7);
    at.number = 1;
    assert_int_equal(load_data_turns(d, &at), 2);
    turn(d, 0, 1, 1, &a);
    assert_string_equal(a.data, "y");
    at.number = 2;
    assert_int_equal(load_data_turns(d, &at), 1);
    assert_int_equal(load_data_turn(d, &at, 0, &a, &messages, &most), 0);
    assert_int_equal(json_array_size(messages), 1);
    assert_int_equal(most, 9);
    load_data_close(d);
    buf_free(&a);
}

static void what_is_no_data(void **state)
{
    static const struct {
        const char *text, *why;
        bool chat;
    } bad[] = {{"[{\"conversations\": []}]", "no prompt in it", true},
               {"", "no prompt in it", true},
               {"[1, 2, ", ":1: no JSON", true},
               {"{\"prompt\": \"a\"}\n{oops}\n", ":2: no JSON", true},
               {"{\"messages\": [{\"role\": \"user\", \"content\": \"m\"}]}", "--api chat", false}};
    (void)state;
    for (size_t i = 0; i < SP_COUNT(bad); i++) {
        struct load_prompts p = {.turns = 1, .file = path, .chat = bad[i].chat};
        load_data *d = NULL;
        sp_error err = {0};
        write_file(bad[i].text);
        assert_true(load_data_open(&p, &d, &err) < 0);
        if (!strstr(err.message, bad[i].why))
            fail_msg("%s", err.message);
        assert_null(d);
    }
}

static int make_path(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_path(void **state)
{
    (void)state;
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moments), cmocka_unit_test(poisson),         cmocka_unit_test(times),
        cmocka_unit_test(ramps),   cmocka_unit_test(random_words),    cmocka_unit_test(share_gpt),
        cmocka_unit_test(lines),   cmocka_unit_test(what_is_no_data),
    };
    return cmocka_run_group_tests(tests, make_path, remove_path);
}
