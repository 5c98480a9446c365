/* traceparent, as https://www.w3.org/TR/trace-context/#traceparent-header says it must be taken and refused. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "server/server_int.h"

#define TRACE "4bf92f3577b34da6a3ce929d0e0e4736"
#define PARENT "00f067aa0ba902b7"

static void what_is_taken(void **state)
{
    struct trace t, other;
    (void)state;
    assert_true(trace_parse("00-" TRACE "-" PARENT "-01", &t));
    assert_string_equal(t.trace, TRACE);
    assert_string_equal(t.parent, PARENT);
    assert_string_equal(t.flags, "01");
    assert_int_equal(strlen(t.span), 16);
    assert_string_not_equal(t.span, PARENT);
    assert_true(trace_parse("00-" TRACE "-" PARENT "-01", &other));
    assert_string_not_equal(t.span, other.span);
    assert_true(trace_parse("cc-" TRACE "-" PARENT "-00", &t));
    assert_true(trace_parse("cc-" TRACE "-" PARENT "-00-what-comes-later", &t));
}

static void what_is_not(void **state)
{
    static const char *const bad[] = {
        "",
        "00",
        "ff-" TRACE "-" PARENT "-01",
        "00-" TRACE "-" PARENT "-01-more",
        "00-" TRACE "-" PARENT "-0",
        "00-" TRACE "-" PARENT "-0x",
        "00-" TRACE "-" PARENT,
        "00_" TRACE "-" PARENT "-01",
        "cc-" TRACE "-" PARENT "-01more",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-" PARENT "-01",
        "00-00000000000000000000000000000000-" PARENT "-01",
        "00-" TRACE "-0000000000000000-01",
        "0g-" TRACE "-" PARENT "-01",
    };
    struct trace t = {.trace = ""};
    (void)state;
    for (size_t i = 0; i < SP_COUNT(bad); i++)
        if (trace_parse(bad[i], &t))
            fail_msg("taken: %s", bad[i]);
    assert_string_equal(t.trace, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_taken),
        cmocka_unit_test(what_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
