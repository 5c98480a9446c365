/* Pieces of a long text: nothing lost, nothing too long, cut where a reader would. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "base/base.h"
#include "base/rng.h"
#include "text/cut.h"

/* Characters, so that the tests can be read. */
static int count(void *arg, str part, int64_t *tokens, sp_error *err)
{
    (void)arg;
    (void)err;
    *tokens = 0;
    for (size_t i = 0; i < part.n; i++)
        *tokens += ((unsigned char)part.p[i] & 0xc0) != 0x80;
    return 0;
}

static struct cut_piece *pieces;
static size_t n_pieces;
static bool paragraphs;

/* Cuts, and holds what is true of every cut. */
static void cut(const char *text, size_t n, int64_t most)
{
    sp_error err = {0};
    sp_free(pieces);
    struct cut_opts o = {.most = most, .paragraphs = paragraphs, .count = count};
    assert_int_equal(text_cut((str){text, n}, &o, &pieces, &n_pieces, &err), 0);
    size_t at = 0;
    for (size_t i = 0; i < n_pieces; i++) {
        int64_t tokens = 0;
        str part = {text + pieces[i].begin, pieces[i].end - pieces[i].begin};
        assert_int_equal(pieces[i].begin, at);
        assert_true(part.n > 0);
        at = pieces[i].end;
        assert_int_equal(count(NULL, part, &tokens, &err), 0);
        assert_true(tokens <= most && tokens == pieces[i].tokens);
        if (utf8_valid(text, n))
            assert_true(utf8_valid(part.p, part.n));
    }
    assert_int_equal(at, n);
}

/* The pieces are those between the bars. */
static void assert_cut(int64_t most, const char *barred)
{
    buf text;
    size_t ends[64], n = 0;
    buf_init(&text, 4096);
    for (const char *p = barred; *p; p++) {
        if (*p == '|')
            ends[n++] = text.len;
        else
            buf_putc(&text, *p);
    }
    ends[n++] = text.len;
    cut(text.data, text.len, most);
    assert_int_equal(n_pieces, n);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(pieces[i].end, ends[i]);
    buf_free(&text);
}

static void test_random_texts(void **state);

static void test_what_fits_is_one_piece(void **state)
{
    (void)state;
    cut("", 0, 10);
    assert_int_equal(n_pieces, 0);
    assert_cut(100, "One. Two.\n\nThree.");
}

static void test_at_paragraphs_before_sentences(void **state)
{
    (void)state;
    assert_cut(30, "The river is long.\n\n|It is old. Boats go there.\n\n|Fish live in it.");
    assert_cut(24, "One two three. Four.\n|Five six. Seven eight.");
    assert_cut(20, "Alpha beta gamma. |Delta epsilon eta. |Theta.");
}

static void test_each_paragraph_for_itself(void **state)
{
    (void)state;
    paragraphs = true;
    assert_cut(30, "Title\n\n|One. Two.\nThree.\n \n|Four is a longer sentence. |Five.\n\n\n|Six.");
    assert_cut(100, "\n\n|One.\n\n|Two.\n\n");
    test_random_texts(state);
    paragraphs = false;
}

static void test_sentences(void **state)
{
    (void)state;
    assert_cut(
        16,
        "\"Is it so?\" |He said: yes! |It costs 3.14 a |piece."); /* a point in a number is no end */
    assert_cut(22, "Use it, e.g. so here. |And there."); /* nor is one before a small letter */
}

static void test_chinese(void **state)
{
    (void)state;
    assert_cut(8, "长江很长。|它流向东海！|船在江上走？|“是的。”他说。");
    assert_cut(6, "春天来了，|花都开了，|真好看。");
    assert_cut(4, "一二三四|五六七八|九");
    assert_cut(12, "第一段很短。\n\n|第二段也很短。");
}

static void test_within_a_word_only_when_it_must(void **state)
{
    (void)state;
    assert_cut(8, "one two |threefou|rfivesix| seven");
    assert_cut(1, "a|\xf0\x9f\x98\x80|b"); /* characters stay whole */
}

static void test_bytes_that_are_no_text(void **state)
{
    (void)state;
    cut("\xff\xfe\x80\x80 ok. \xc3", 9, 3);
    cut("\0\0\0. a", 6, 2);
}

/* Whatever the text is. */
static void test_random_texts(void **state)
{
    static const char *const parts[] = {"a",  "word", " ",      "\n", "\n\n", ".",
                                        "? ", "，",   "。",     "长", "\xff", "\"",
                                        ") ", "3.1",  "e.g. x", "😀",  "\r\n", "　"};
    (void)state;
    for (uint64_t round = 0; round < 400; round++) {
        buf b;
        buf_init(&b, 1 << 16);
        size_t n = (size_t)(200 * rng_uniform(11, round, 0));
        for (size_t i = 0; i < n; i++)
            buf_puts(&b, parts[(size_t)(rng_uniform(12, round, i) * SP_COUNT(parts))]);
        if (b.len > 0)
            cut(b.data, b.len, 1 + (int64_t)(40 * rng_uniform(11, round, 1)));
        buf_free(&b);
    }
}

static int fails_later(void *arg, str part, int64_t *tokens, sp_error *err)
{
    int *left = arg;
    *tokens = (int64_t)part.n;
    return (*left)-- > 0 ? 0 : sp_fail(err, SP_ENOMEM, "no more");
}

static void test_an_error_of_the_count(void **state)
{
    const char *text = "One. Two. Three threefourfive. Six.";
    (void)state;
    for (int calls = 0; calls < 12; calls++) {
        sp_error err = {0};
        struct cut_piece *out = NULL;
        size_t n = 0;
        int left = calls;
        struct cut_opts o = {.most = 6, .count = fails_later, .arg = &left};
        int code = text_cut(str_of(text), &o, &out, &n, &err);
        assert_true(code == 0 || (code == SP_ENOMEM && !out));
        assert_true(calls > 4 || code < 0);
        sp_free(out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_fits_is_one_piece),
        cmocka_unit_test(test_at_paragraphs_before_sentences),
        cmocka_unit_test(test_each_paragraph_for_itself),
        cmocka_unit_test(test_sentences),
        cmocka_unit_test(test_chinese),
        cmocka_unit_test(test_within_a_word_only_when_it_must),
        cmocka_unit_test(test_bytes_that_are_no_text),
        cmocka_unit_test(test_random_texts),
        cmocka_unit_test(test_an_error_of_the_count),
    };
    int failed = cmocka_run_group_tests_name("cut", tests, NULL, NULL);
    sp_free(pieces);
    return failed;
}
