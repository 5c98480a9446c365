#include "scratch.h"

static void grows_and_ends_in_nul(void **state)
{
    (void)state;
    buf b;
    buf_init(&b, SIZE_MAX);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(buf_putc(&b, (char)('a' + i % 26)), 0);
        assert_int_equal(b.data[b.len], 0);
    }
    assert_int_equal(b.len, 1000);
    assert_int_equal(b.data[999], 'a' + 999 % 26);
    assert_int_equal(buf_add(&b, "x\0y", 3), 0);
    assert_memory_equal(b.data + 1000, "x\0y", 4);
    buf_free(&b);
    assert_null(b.data);
    buf_free(&b);
    buf_free(NULL);
}

static void keeps_to_its_maximum(void **state)
{
    (void)state;
    buf b;
    buf_init(&b, 5);
    assert_int_equal(buf_puts(&b, "hello"), 0);
    assert_false(b.failed);
    assert_int_equal(buf_putc(&b, '!'), SP_EFULL);
    assert_true(b.failed);
    assert_string_equal(b.data, "hello");
    assert_int_equal(buf_add(&b, "", 0), SP_EFULL); /* all later additions are ignored */
    assert_null(buf_steal(&b));
    buf_clear(&b);
    assert_false(b.failed);
    assert_int_equal(b.len, 0);
    assert_string_equal(b.data, "");
    assert_int_equal(buf_puts(&b, "again"), 0);
    assert_true(b.cap <= 6);
    buf_free(&b);
}

static void an_addition_is_whole_or_not_at_all(void **state)
{
    (void)state;
    buf b;
    buf_init(&b, 8);
    assert_int_equal(buf_puts(&b, "12345"), 0);
    assert_int_equal(buf_printf(&b, "%d", 67890), SP_EFULL);
    assert_string_equal(b.data, "12345");
    buf_free(&b);
    buf_init(&b, 0);
    assert_int_equal(buf_add(&b, "", 0), 0);
    assert_int_equal(buf_putc(&b, 'x'), SP_EFULL);
    buf_free(&b);
}

static void sizes_that_overflow_fail(void **state)
{
    (void)state;
    buf b;
    buf_init(&b, SIZE_MAX);
    assert_int_equal(buf_puts(&b, "x"), 0);
    assert_int_equal(buf_reserve(&b, SIZE_MAX), SP_EFULL);
    buf_clear(&b);
    assert_int_equal(buf_reserve(&b, SIZE_MAX), SP_ENOMEM);
    buf_free(&b);
}

static void prints_short_and_long(void **state)
{
    (void)state;
    buf b;
    buf_init(&b, SIZE_MAX);
    for (int n = 1; n < 2000; n += 111) {
        buf_clear(&b);
        assert_int_equal(buf_printf(&b, "<%*d>", n, 42), 0);
        assert_int_equal(b.len, (n < 2 ? 2 : n) + 2);
        assert_int_equal(strlen(b.data), b.len);
        assert_string_equal(b.data + b.len - 3, "42>");
    }
    buf_free(&b);
}

static void is_stolen_once(void **state)
{
    (void)state;
    buf b;
    buf_init(&b, 100);
    char *empty = buf_steal(&b);
    assert_string_equal(empty, "");
    sp_free(empty);
    (void)buf_puts(&b, "mine");
    char *mine = buf_steal(&b);
    assert_string_equal(mine, "mine");
    assert_int_equal(b.len, 0);
    assert_int_equal(b.max, 100);
    assert_int_equal(buf_puts(&b, "next"), 0);
    assert_string_equal(mine, "mine");
    sp_free(mine);
    buf_free(&b);
}

static void reserve_adds_nothing(void **state)
{
    (void)state;
    buf b;
    buf_init(&b, 1000);
    assert_int_equal(buf_reserve(&b, 500), 0);
    assert_int_equal(b.len, 0);
    assert_true(b.cap > 500);
    assert_string_equal(b.data, "");
    char *data = b.data;
    for (int i = 0; i < 500; i++)
        (void)buf_putc(&b, 'x');
    assert_ptr_equal(b.data, data);
    buf_free(&b);
}

static int build(void)
{
    buf b;
    buf_init(&b, SIZE_MAX);
    for (int i = 0; i < 100; i++)
        (void)buf_printf(&b, "%d: %s\n", i, "some text");
    (void)buf_printf(&b, "%1000d", 1);
    int code = b.code;
    assert_int_equal(b.failed, code != 0);
    char *text = buf_steal(&b);
    assert_int_equal(text == NULL, code != 0);
    sp_free(text);
    buf_free(&b);
    return code;
}

static void survives_failing_allocations(void **state)
{
    (void)state;
    with_failing_allocations(build);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_and_ends_in_nul),
        cmocka_unit_test(keeps_to_its_maximum),
        cmocka_unit_test(an_addition_is_whole_or_not_at_all),
        cmocka_unit_test(sizes_that_overflow_fail),
        cmocka_unit_test(prints_short_and_long),
        cmocka_unit_test(is_stolen_once),
        cmocka_unit_test(reserve_adds_nothing),
        cmocka_unit_test(survives_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
