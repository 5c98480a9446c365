#include "scratch.h"

#include <math.h>

static str s(const char *z)
{
    return str_of(z);
}

static void compares(void **state)
{
    (void)state;
    assert_true(str_eq(s("ab"), (str){"abc", 2}));
    assert_false(str_eq(s("ab"), s("ac")));
    assert_true(str_eq(s(NULL), s("")));
    assert_true(str_eqz(s("x"), "x"));
    assert_true(str_eqz_nocase(s("Content-Length"), "content-lengtH"));
    assert_false(str_eqz_nocase(s("content"), "content-length"));
    assert_true(str_eqz(str_trim(s(" \t a b\t ")), "a b") && str_trim(s(" \t")).n == 0);
    assert_true(str_starts(s("model.gguf"), "model"));
    assert_false(str_starts(s("mod"), "model"));
    assert_true(str_ends(s("model.gguf"), ".gguf"));
    assert_false(str_ends(s("f"), ".gguf"));
    assert_true(str_starts(s(NULL), "") && str_ends(s(""), ""));
}

static void whole_numbers_are_strict(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t value;
    } good[] = {{"0", 0},
                {"-0", 0},
                {"007", 7},
                {"-42", -42},
                {"9223372036854775807", INT64_MAX},
                {"-9223372036854775808", INT64_MIN}};
    static const char *const bad[] = {"",
                                      "-",
                                      "+1",
                                      " 1",
                                      "1 ",
                                      "1.0",
                                      "0x10",
                                      "1e3",
                                      "--1",
                                      "9223372036854775808",
                                      "-9223372036854775809",
                                      "99999999999999999999",
                                      "1-"};
    for (size_t i = 0; i < SP_COUNT(good); i++) {
        int64_t v = 99;
        assert_true(str_to_i64(s(good[i].text), &v));
        assert_true(v == good[i].value);
    }
    for (size_t i = 0; i < SP_COUNT(bad); i++) {
        int64_t v = 99;
        assert_false(str_to_i64(s(bad[i]), &v));
        assert_int_equal(v, 99);
    }
    int64_t v = 0;
    assert_true(str_to_i64((str){"123", 2}, &v)); /* looks no further than its length */
    assert_int_equal(v, 12);
}

static void real_numbers_are_strict(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double value;
    } good[] = {{"0", 0},      {"-1.5", -1.5},
                {".5", 0.5},   {"5.", 5},
                {"1e3", 1000}, {"1E-3", 1e-3},
                {"1e+2", 100}, {"0.1", 0.1},
                {"1e-400", 0}, {"1.7976931348623157e308", 1.7976931348623157e308}};
    static const char *const bad[] = {"",     ".",  "-",   "-.",       "+1",    "nan",   "inf",
                                      "-inf", "1e", "1e+", "e5",       "1e400", "0x1p3", "1.2.3",
                                      "1,5",  " 1", "1 ",  "infinity", "1e5x"};
    for (size_t i = 0; i < SP_COUNT(good); i++) {
        double v = 99;
        assert_true(str_to_f64(s(good[i].text), &v));
        assert_true(fabs(v - good[i].value) <= fabs(good[i].value) * 1e-16);
    }
    for (size_t i = 0; i < SP_COUNT(bad); i++) {
        double v = 99;
        assert_false(str_to_f64(s(bad[i]), &v));
        assert_true(v > 98 && v < 100);
    }
    char text[1000];
    memset(text, '1', sizeof text);
    double v = 0;
    assert_false(str_to_f64((str){text, sizeof text}, &v));
}

static void sizes_have_units(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t value;
    } good[] = {{"0", 0},
                {"512", 512},
                {"512B", 512},
                {"64K", 65536},
                {"64k", 65536},
                {"2M", 2097152},
                {"3G", 3221225472},
                {"1.5GB", 1610612736},
                {"1GiB", 1073741824},
                {"0.5T", 549755813888},
                {"18446744073709551615", UINT64_MAX}};
    static const char *const bad[] = {"",          "-1",  "1.5",  "K",
                                      "1X",        "1KK", "1KBB", "1 K",
                                      "1.K",       ".5K", "1BB",  "18446744073709551616",
                                      "16777216T", "1e3", "1Ki",  "1B5"};
    for (size_t i = 0; i < SP_COUNT(good); i++) {
        uint64_t v = 99;
        assert_true(str_to_bytes(s(good[i].text), &v));
        assert_true(v == good[i].value);
    }
    for (size_t i = 0; i < SP_COUNT(bad); i++) {
        uint64_t v = 99;
        assert_false(str_to_bytes(s(bad[i]), &v));
        assert_int_equal(v, 99);
    }
}

static void utf8_round_trips_every_code_point(void **state)
{
    (void)state;
    char text[4];
    for (uint32_t cp = 0; cp <= 0x110010; cp++) {
        size_t n = utf8_encode(cp, text);
        if ((cp >= 0xd800 && cp <= 0xdfff) || cp > 0x10ffff) {
            assert_int_equal(n, 0);
            continue;
        }
        uint32_t back = 0;
        if (utf8_decode(text, n, &back) != n || back != cp)
            fail_msg("U+%04x", (unsigned)cp);
        for (size_t cut = 0; cut < n; cut++) {
            if (utf8_decode(text, cut, &back) != 0)
                fail_msg("U+%04x cut", (unsigned)cp);
            if (utf8_complete(text, cut) != 0)
                fail_msg("U+%04x waits", (unsigned)cp);
        }
        if (utf8_complete(text, n) != n)
            fail_msg("U+%04x is whole", (unsigned)cp);
    }
}

static void bad_utf8_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"\x80",
                                      "\xbf",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xe0\x80\x80",
                                      "\xe0\x9f\xbf",
                                      "\xed\xa0\x80",
                                      "\xed\xbf\xbf",
                                      "\xf0\x80\x80\x80",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xff",
                                      "\xfe",
                                      "\xc2",
                                      "\xe4\xb8",
                                      "\xc2\x41"};
    uint32_t cp = 7;
    for (size_t i = 0; i < SP_COUNT(bad); i++) {
        assert_int_equal(utf8_decode(bad[i], strlen(bad[i]), &cp), 0);
        assert_false(utf8_valid(bad[i], strlen(bad[i])));
    }
    assert_int_equal(cp, 7);
    assert_true(utf8_valid("", 0));
    assert_true(utf8_valid("a\0\xe4\xb8\xad", 5));
}

static void complete_waits_only_for_what_can_come(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t whole;
    } cases[] = {{"", 0},
                 {"abc", 3},
                 {"a\xe4", 1},
                 {"a\xe4\xb8", 1},
                 {"a\xe4\xb8\xad", 4},
                 {"\xf0\x9f\x98", 0},
                 {"\x80", 1},
                 {"\x80\x80\x80\x80", 4},
                 {"a\xff", 2},
                 {"\xe0\x80", 2},
                 {"\xed\xa0", 2},
                 {"\xf4\x90", 2},
                 {"\xf0\x8f\xbf", 3},
                 {"\xc1", 1},
                 {"a\xc3", 1},
                 {"\xe4\xb8\xad\xe4", 3},
                 {"\xe4\x41", 2},
                 {"\xc2\xa9\x80", 3}};
    for (size_t i = 0; i < SP_COUNT(cases); i++)
        assert_int_equal(utf8_complete(cases[i].text, strlen(cases[i].text)), cases[i].whole);
}

static void distances(void **state)
{
    (void)state;
    assert_int_equal(str_distance(s("model"), s("model")), 0);
    assert_int_equal(str_distance(s("mdoel"), s("model")), 1);
    assert_int_equal(str_distance(s("kitten"), s("sitting")), 3);
    assert_int_equal(str_distance(s(""), s("abc")), 3);
    assert_int_equal(str_distance(s("abc"), s("")), 3);
    assert_int_equal(str_distance(s("ab"), s("ba")), 1);
    assert_int_equal(str_distance(s("max_seqs"), s("max-seqs")), 1);
    char text[200];
    memset(text, 'x', sizeof text);
    assert_int_equal(str_distance((str){text, 64}, (str){text, 64}), 0);
    assert_int_equal(str_distance((str){text, 200}, s("xx")), 200);
}

static void lists_of_whole_numbers(void **state)
{
    static const struct {
        const char *text;
        size_t n;
        int64_t v[8];
    } good[] = {{"0", 1, {0}},
                {"512,4096", 2, {512, 4096}},
                {"1-4", 4, {1, 2, 3, 4}},
                {"128-512+128", 4, {128, 256, 384, 512}},
                {"1-16*2", 5, {1, 2, 4, 8, 16}},
                {"3-20*2,7", 4, {3, 6, 12, 7}},
                {"5-5", 1, {5}},
                {"0-3+2,9", 3, {0, 2, 9}},
                {"9223372036854775806-9223372036854775807", 2, {INT64_MAX - 1, INT64_MAX}}};
    static const char *const bad[] = {"",
                                      ",",
                                      "1,",
                                      ",1",
                                      "a",
                                      "1 2",
                                      "-1",
                                      "4-1",
                                      "1-4+0",
                                      "1-8*1",
                                      "0-8*2",
                                      "1-",
                                      "1-4*",
                                      "1-2-3",
                                      "1.5",
                                      "1-9",
                                      "1,2,3,4,5,6,7,8,9",
                                      "1-4-2",
                                      "0x10",
                                      "1-4+x",
                                      "18446744073709551615",
                                      "1-9223372036854775807"};
    int64_t v[8];
    size_t n;
    (void)state;
    for (size_t i = 0; i < SP_COUNT(good); i++) {
        assert_true(str_to_i64_list(s(good[i].text), v, 8, &n));
        assert_int_equal(n, good[i].n);
        assert_memory_equal(v, good[i].v, n * sizeof *v);
    }
    for (size_t i = 0; i < SP_COUNT(bad); i++)
        assert_false(str_to_i64_list(s(bad[i]), v, 8, &n));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_of_whole_numbers),
        cmocka_unit_test(compares),
        cmocka_unit_test(whole_numbers_are_strict),
        cmocka_unit_test(real_numbers_are_strict),
        cmocka_unit_test(sizes_have_units),
        cmocka_unit_test(utf8_round_trips_every_code_point),
        cmocka_unit_test(bad_utf8_is_refused),
        cmocka_unit_test(complete_waits_only_for_what_can_come),
        cmocka_unit_test(distances),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
