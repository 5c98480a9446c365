/* The words of a search, and what of a text matches it. */
#include "store_test.h"

static char told[4096];

static int tell(void *arg, const struct word *w)
{
    size_t n = strlen(told);
    (void)arg;
    (void)snprintf(told + n, sizeof told - n, "%d:%.*s ", w->place, (int)w->n, w->text);
    return 0;
}

static const char *words(const char *text, enum words_mode mode)
{
    told[0] = '\0';
    assert_int_equal(words_each(text, strlen(text), mode, tell, NULL), 0);
    return told;
}

static void test_words_of_letters(void **state)
{
    (void)state;
    assert_string_equal(words("Hello, WORLD! x_1", WORDS_TEXT), "0:hello 1:world 2:x 3:1 ");
    assert_string_equal(words("Straße CAFÉ cafe\xcc\x81 ＡＢＣ", WORDS_TEXT),
                        "0:strasse 1:cafe 2:cafe 3:abc ");
    assert_string_equal(words("Привет, МИР", WORDS_TEXT), "0:привет 1:мир ");
    assert_string_equal(words(" \n.,;!?—“” ", WORDS_TEXT), "");
    assert_string_equal(words("", WORDS_TEXT), "");
}

static void test_pairs(void **state)
{
    (void)state;
    assert_string_equal(words("长江大", WORDS_TEXT), "0:长江 0:长 1:江大 1:江 2:大 ");
    assert_string_equal(words("长江大", WORDS_QUERY), "0:长江 1:江大 ");
    assert_string_equal(words("长", WORDS_TEXT), "0:长 ");
    assert_string_equal(words("长", WORDS_QUERY), "0:长 ");
    assert_string_equal(words("ひらがな", WORDS_QUERY), "0:ひら 1:らが 2:がな ");
    assert_string_equal(words("한국", WORDS_QUERY), "0:한국 ");
    assert_string_equal(words("\xf0\xa0\x80\x80\xf0\xa0\x80\x81", WORDS_QUERY),
                        "0:\xf0\xa0\x80\x80\xf0\xa0\x80\x81 ");
}

/* Words and pairs side by side have places one after the other, as in the text that is searched. */
static void test_mixed(void **state)
{
    (void)state;
    assert_string_equal(words("学习AI模型", WORDS_TEXT), "0:学习 0:学 1:习 2:ai 3:模型 3:模 4:型 ");
    assert_string_equal(words("学习AI模型", WORDS_QUERY), "0:学习 1:习 2:ai 3:模型 ");
    assert_string_equal(words("AI学", WORDS_QUERY), "0:ai 1:学 ");
    assert_string_equal(words("长江，黄河", WORDS_QUERY), "0:长江 1:江 2:黄河 ");
}

static void test_bytes_that_are_no_text(void **state)
{
    (void)state;
    assert_string_equal(words("a\xff\xfe"
                              "b\xe4\xbd",
                              WORDS_TEXT),
                        "0:a 1:b ");
    char long_word[1000];
    memset(long_word, 'x', sizeof long_word);
    told[0] = '\0';
    assert_int_equal(words_each(long_word, sizeof long_word, WORDS_TEXT, tell, NULL), 0);
    assert_true(strlen(told) < 120);
}

static int stop_at_second(void *arg, const struct word *w)
{
    (void)w;
    return ++*(int *)arg == 2 ? 7 : 0;
}

static void test_ends_when_told(void **state)
{
    int n = 0;
    (void)state;
    assert_int_equal(words_each("一二三四", 12, WORDS_TEXT, stop_at_second, &n), 7);
    assert_int_equal(n, 2);
}

/* ---- queries and snippets ---- */

static const char *match(const char *query)
{
    static char text[2048];
    struct terms *t = NULL;
    assert_int_equal(terms_new(query, &t, NULL), 0);
    (void)snprintf(text, sizeof text, "%s", terms_match(t) ? terms_match(t) : "(none)");
    terms_free(t);
    return text;
}

static void test_queries(void **state)
{
    (void)state;
    assert_string_equal(match("hello world"), "\"hello\" \"world\" *");
    assert_string_equal(match("hello world "), "\"hello\" \"world\"");
    assert_string_equal(match("\"hello world\" OR"), "\"hello world\" \"OR\"");
    assert_string_equal(match("长江 大桥"), "\"长江\" \"大桥\"");
    assert_string_equal(match("a\"b"), "\"a\" \"b\"");
    assert_string_equal(match("!!! ---"), "(none)");
    assert_string_equal(match("  "), "(none)");
    char long_query[600];
    memset(long_query, 'q', sizeof long_query - 1);
    long_query[sizeof long_query - 1] = '\0';
    struct terms *t = NULL;
    sp_error err;
    assert_int_equal(terms_new(long_query, &t, &err), SP_EINVAL);
}

static const char *snippet(const char *query, const char *text)
{
    static char out[2048];
    struct terms *t = NULL;
    buf b;
    buf_init(&b, sizeof out - 1);
    assert_int_equal(terms_new(query, &t, NULL), 0);
    assert_int_equal(terms_snippet(t, text, strlen(text), &b), 0);
    (void)snprintf(out, sizeof out, "%s", b.data ? b.data : "");
    buf_free(&b);
    terms_free(t);
    assert_true(utf8_valid(out, strlen(out)));
    return out;
}

static void test_snippets(void **state)
{
    (void)state;
    assert_string_equal(snippet("world", "Hello,\n\n  World!"), "Hello, \2World\3!");
    assert_string_equal(snippet("worl", "Hello World"), "Hello \2World\3"); /* it may go on */
    assert_string_equal(snippet("worl ", "Hello World"), "Hello World");
    assert_string_equal(snippet("江大桥", "武汉长江大桥很长"), "武汉长\2江大桥\3很长");
    assert_string_equal(snippet("桥", "武汉长江大桥很长"), "武汉长江大\2桥\3很长");
    assert_string_equal(snippet("长江 桥", "武汉长江大桥"), "武汉\2长江\3大\2桥\3");
    assert_string_equal(snippet("江大 长江", "武汉长江大桥"),
                        "武汉\2长江大\3桥"); /* they lie over each other */
    assert_string_equal(snippet("x", "\2\3 plain \x01 x"), "plain \2x\3");
    assert_string_equal(snippet("nothing", "hello"), "hello");
}

static void test_snippet_of_a_long_text(void **state)
{
    char text[8192];
    (void)state;
    memset(text, 'a', sizeof text - 1);
    for (size_t i = 0; i < sizeof text - 1; i += 9)
        text[i] = ' ';
    text[sizeof text - 1] = '\0';
    memcpy(text + 6003, " needle ", 8);
    const char *got = snippet("needle", text);
    assert_non_null(strstr(got, " \2needle\3 "));
    assert_true(strlen(got) < 260);
    assert_true(strncmp(got, "…", 3) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words_of_letters),
        cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_mixed),
        cmocka_unit_test(test_bytes_that_are_no_text),
        cmocka_unit_test(test_ends_when_told),
        cmocka_unit_test(test_queries),
        cmocka_unit_test(test_snippets),
        cmocka_unit_test(test_snippet_of_a_long_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
