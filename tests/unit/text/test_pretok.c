#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "text/tokenizer_int.h"

#define QWEN2                                                                                      \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "                          \
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"                                                               \
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

/* The pieces of text, each closed by '|', as a scanner cuts them. */
static void pieces(enum pretok_kind kind, str text, buf *out)
{
    for (size_t pos = 0; pos < text.n;) {
        size_t n = pretok_next(kind, text.p + pos, text.n - pos);
        assert_true(n > 0 && n <= text.n - pos);
        buf_add(out, text.p + pos, n);
        buf_putc(out, '|');
        pos += n;
    }
    assert_false(out->failed);
}

static void check(enum pretok_kind kind, const char *text, const char *want)
{
    buf out;
    buf_init(&out, 4096);
    pieces(kind, str_of(text), &out);
    assert_string_equal(out.data ? out.data : "", want);
    buf_free(&out);
}

static void test_qwen2(void **state)
{
    (void)state;
    check(PRETOK_QWEN2, "Hello, world!", "Hello|,| world|!|");
    check(PRETOK_QWEN2, "I'm HE'LL x'\u017fy ''t", "I|'m| HE|'LL| x|'\u017f|y| ''|t|");
    check(PRETOK_QWEN2, "a  b   \n\n  c ", "a| | b|   \n\n| | c| |");
    check(PRETOK_QWEN2, "12 3", "1|2| |3|");
    check(PRETOK_QWEN2, "if (x)\r\n\treturn;", "if| (|x|)\r\n|\treturn|;|");
    check(PRETOK_QWEN2, "\u4e2d\u6587\uff0c\u5b57 \u3002", "\u4e2d\u6587|\uff0c\u5b57| \u3002|");
    check(PRETOK_QWEN2, "\n", "\n|");
    check(PRETOK_QWEN2, "\na", "\n|a|");
    check(PRETOK_QWEN2, "  ", "  |");
    check(PRETOK_QWEN2, "e\u0301x", "e|\u0301x|");
}

static void test_llama3(void **state)
{
    (void)state;
    check(PRETOK_LLAMA3, "1234567 12", "123|456|7| |12|");
    check(PRETOK_LLAMA3, "a1b22\u00bd3x", "a|1|b|22\u00bd|3|x|");
}

static void test_gpt2(void **state)
{
    (void)state;
    check(PRETOK_GPT2, "I'm HE'LL 1234 x!?\n\n  y", "I|'m| HE|'|LL| 1234| x|!?|\n\n | y|");
    check(PRETOK_GPT2, " ", " |");
    check(PRETOK_GPT2, "  ", "  |");
    check(PRETOK_GPT2, " \u3000a", " |\u3000|a|");
    check(PRETOK_GPT2, "\tx", "\t|x|");
}

static void test_digits(void **state)
{
    (void)state;
    check(PRETOK_DIGITS_EACH, "a12 3b", "a|1|2| |3|b|");
    check(PRETOK_DIGITS_RUN, "a12 3b", "a|12| |3|b|");
    check(PRETOK_DIGITS_EACH, "\u0663\u2167", "\u0663|\u2167|");
}

static void test_known_patterns(void **state)
{
    (void)state;
    struct pretok_step step;
    assert_int_equal(pretok_compile(QWEN2, false, &step, NULL), 0);
    assert_int_equal(step.kind, PRETOK_QWEN2);
    assert_int_equal(pretok_compile(GPT2, false, &step, NULL), 0);
    assert_int_equal(step.kind, PRETOK_GPT2);
    assert_int_equal(pretok_compile(GPT2, true, &step, NULL), 0);
    assert_int_equal(step.kind, PRETOK_REGEX);
    pretok_free(&step);
}

static void regex_pieces(const struct pretok_step *step, str text, buf *out)
{
    struct pretok_run run = {0};
    for (size_t pos = 0; pos < text.n;) {
        size_t end;
        bool hit;
        assert_int_equal(pretok_regex_next(step, &run, text, pos, &end, &hit, NULL), 0);
        assert_true(end > pos && end <= text.n);
        buf_add(out, text.p + pos, end - pos);
        buf_putc(out, '|');
        pos = end;
    }
    pretok_run_free(&run);
}

/* The scanner cuts as the pattern does: PCRE2 on the same pattern, which a comment hides. */
static void same_as_regex(enum pretok_kind kind, const char *pattern)
{
    static const char *const parts[] = {"a", "Z",      "\u00e9", "\u4e2d",     "1",      "\u0663",
                                        " ", "\t",     "\n",     "\r",         "\u3000", "'",
                                        "s", "S",      "\u017f", "ll",         "ve",     "!",
                                        ".", "\u3002", "\u0301", "\U0001f600", "\u200d", "re",
                                        "/", "\u01c5", "\u02b0", "\u3042",     "\x01",   "$"};
    char hidden[1024];
    snprintf(hidden, sizeof hidden, "(?:%s)", pattern);
    struct pretok_step step;
    assert_int_equal(pretok_compile(hidden, false, &step, NULL), 0);
    assert_int_equal(step.kind, PRETOK_REGEX);
    uint64_t r = 88172645463325252u;
    for (int i = 0; i < 20000; i++) {
        buf text, scanned, matched;
        buf_init(&text, 4096);
        buf_init(&scanned, 4096);
        buf_init(&matched, 4096);
        for (int k = 0; k < 1 + i % 12; k++) {
            r ^= r << 13;
            r ^= r >> 7;
            r ^= r << 17;
            buf_puts(&text, parts[r % SP_COUNT(parts)]);
        }
        pieces(kind, (str){text.data, text.len}, &scanned);
        regex_pieces(&step, (str){text.data, text.len}, &matched);
        assert_string_equal(scanned.data, matched.data);
        buf_free(&text);
        buf_free(&scanned);
        buf_free(&matched);
    }
    pretok_free(&step);
}

static void test_scanners_equal_patterns(void **state)
{
    (void)state;
    same_as_regex(PRETOK_QWEN2, QWEN2);
    same_as_regex(PRETOK_GPT2, GPT2);
    same_as_regex(PRETOK_NUMBERS3, PATTERN_NUMBERS3);
    same_as_regex(PRETOK_HAN_KANA, PATTERN_HAN_KANA);
    same_as_regex(PRETOK_DEEPSEEK3, PATTERN_DEEPSEEK3);
    same_as_regex(PRETOK_TEKKEN, PATTERN_TEKKEN);
    same_as_regex(PRETOK_O200K, PATTERN_O200K);
}

static void test_deepseek(void **state)
{
    (void)state;
    check(PRETOK_NUMBERS3, "a12345b\u0663\u0664", "a|123|45|b|\u0663\u0664|");
    check(PRETOK_HAN_KANA, "ab\u4e2d\u6587\u3042c\uac00", "ab|\u4e2d\u6587\u3042|c\uac00|");
    check(PRETOK_DEEPSEEK3, "x.y == (z)\n\n 12\x01\x02", "x|.y| ==| (|z|)\n\n| |12\x01\x02|");
    check(PRETOK_DEEPSEEK3, "e\u0301 a\u0301\u0301", "e\u0301| a\u0301\u0301|");
}

static void test_cased(void **state)
{
    (void)state;
    check(PRETOK_TEKKEN, "HelloWorld ABCdef 123 a/b//\n",
          "Hello|World| ABCdef| |1|2|3| a|/b|//\n|");
    check(PRETOK_TEKKEN, "XML\u02b0Q \u0301A", "XML\u02b0|Q| \u0301|A|");
    check(PRETOK_O200K, "I'm HE'LL 12345", "I'm| HE'LL| |123|45|");
}

static void test_spaces_and_lines(void **state)
{
    (void)state;
    check(PRETOK_SPACES, " the  end ", " the| | end| |");
    check(PRETOK_SPACES, "a", "a|");
    check(PRETOK_LINES, "a b\n\nc\n", "a b|\n\n|c|\n|");
}

static void test_regex_gaps(void **state)
{
    (void)state;
    struct pretok_step step;
    buf out;
    buf_init(&out, 256);
    assert_int_equal(pretok_compile("a.c", true, &step, NULL), 0);
    regex_pieces(&step, str_of("xa.cabca.ca.c"), &out);
    assert_string_equal(out.data, "x|a.c|abc|a.c|a.c|");
    pretok_free(&step);
    buf_clear(&out);
    assert_int_equal(pretok_compile("\\s+", false, &step, NULL), 0);
    regex_pieces(&step, str_of("a \u180e\u3000b"), &out);
    assert_string_equal(out.data, "a| |\u180e|\u3000|b|");
    pretok_free(&step);
    buf_free(&out);
}

static void test_bad_patterns(void **state)
{
    (void)state;
    struct pretok_step step;
    sp_error err;
    assert_int_equal(pretok_compile("(unclosed", false, &step, &err), SP_EUNSUPPORTED);
    assert_non_null(strstr(err.message, "pre-tokenizer pattern"));
    static char longest[20000];
    memset(longest, 'a', sizeof longest - 1);
    assert_int_equal(pretok_compile(longest, false, &step, &err), SP_EFORMAT);
}

/* A pattern that would take for ever ends in an error. */
static void test_hostile_pattern(void **state)
{
    (void)state;
    struct pretok_step step;
    struct pretok_run run = {0};
    sp_error err = {0};
    size_t end;
    bool hit;
    assert_int_equal(pretok_compile("(a+)+\\d", false, &step, &err), 0);
    char text[64];
    memset(text, 'a', sizeof text);
    assert_int_equal(pretok_regex_next(&step, &run, (str){text, sizeof text}, 0, &end, &hit, &err),
                     SP_EUNSUPPORTED);
    assert_non_null(strstr(err.message, "limit"));
    pretok_run_free(&run);
    pretok_free(&step);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_qwen2),
        cmocka_unit_test(test_llama3),
        cmocka_unit_test(test_gpt2),
        cmocka_unit_test(test_digits),
        cmocka_unit_test(test_deepseek),
        cmocka_unit_test(test_cased),
        cmocka_unit_test(test_spaces_and_lines),
        cmocka_unit_test(test_known_patterns),
        cmocka_unit_test(test_scanners_equal_patterns),
        cmocka_unit_test(test_regex_gaps),
        cmocka_unit_test(test_bad_patterns),
        cmocka_unit_test(test_hostile_pattern),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
