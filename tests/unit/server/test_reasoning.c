/* What is thought and what is said, however the text is cut into pieces. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "server/page_int.h"

struct heard {
    char thought[512], said[512];
};

static void hear(void *arg, bool reasoning, const char *text, size_t n)
{
    struct heard *h = arg;
    assert_true(n > 0);
    assert_true(utf8_valid(text, n)); /* a character is never cut */
    char *to = reasoning ? h->thought : h->said;
    size_t at = strlen(to);
    assert_true(at + n < sizeof h->said);
    memcpy(to + at, text, n);
    to[at + n] = '\0';
}

/* Where a piece ends before a whole character, the rest comes with it, as the engine has it. */
static void feed(struct reasoning *r, const char *text, size_t piece, struct heard *h)
{
    size_t n = strlen(text);
    for (size_t at = 0, end; at < n; at = end) {
        end = at + piece < n ? at + piece : n;
        while (end < n && ((unsigned char)text[end] & 0xc0) == 0x80)
            end++;
        reasoning_feed(r, text + at, end - at, hear, h);
    }
    reasoning_end(r, hear, h);
}

static void expect(const char *text, const char *thought, const char *said)
{
    for (size_t piece = 1; piece <= 20; piece++) {
        struct reasoning r = {.where = REASONING_MAYBE};
        struct heard h = {"", ""};
        feed(&r, text, piece, &h);
        assert_string_equal(h.thought, thought);
        assert_string_equal(h.said, said);
    }
}

static void test_texts(void **state)
{
    (void)state;
    expect("Hello", "", "Hello");
    expect("你好", "", "你好");
    expect("\n\n你好", "", "\n\n你好");
    expect("<think>hm</think>\n\nHello", "hm", "Hello");
    expect("\n<think>\n想一想</think>长江", "\n想一想", "长江");
    expect("<think>never ends", "never ends", "");
    expect("<think>a </thin b </think> c", "a </thin b ", "c");
    expect("<think>a</thi长</think>", "a</thi长", "");
    expect("<think>a<</</think>b</think>", "a<</", "b</think>");
    expect("<thing>no</thing>", "", "<thing>no</thing>");
    expect("<thi", "", "<thi");
    expect("<thi长", "", "<thi长");
    expect("<think></think>", "", "");
    expect("said <think>not a thought</think>", "", "said <think>not a thought</think>");
    expect("<think>x</think", "x</think", "");
    expect("", "", "");
}

static void test_begun_by_the_prompt(void **state)
{
    struct reasoning r = {.where = REASONING_INSIDE};
    struct heard h = {"", ""};
    (void)state;
    feed(&r, "so</think>\nit is", 3, &h);
    assert_string_equal(h.thought, "so");
    assert_string_equal(h.said, "it is");
}

static void test_many_blanks(void **state)
{
    char text[200];
    struct reasoning r = {.where = REASONING_MAYBE};
    struct heard h = {"", ""};
    (void)state;
    memset(text, ' ', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    feed(&r, text, 7, &h);
    assert_string_equal(h.said, text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_begun_by_the_prompt),
        cmocka_unit_test(test_many_blanks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
