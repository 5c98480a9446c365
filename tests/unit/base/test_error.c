#include "scratch.h"

static void sets_code_and_message(void **state)
{
    (void)state;
    sp_error err = {0};
    assert_int_equal(sp_fail(&err, SP_EIO, "can't read %s: %d", "x.gguf", 7), SP_EIO);
    assert_int_equal(err.code, SP_EIO);
    assert_string_equal(err.message, "can't read x.gguf: 7");
}

static void null_error_is_allowed(void **state)
{
    (void)state;
    assert_int_equal(sp_fail(NULL, SP_EFORMAT, "%s", "x"), SP_EFORMAT);
    assert_int_equal(sp_fail_within(NULL, SP_EFULL, "%s", "x"), SP_EFULL);
}

static void cleans_bad_text(void **state)
{
    (void)state;
    sp_error err = {0};
    (void)sp_fail(&err, SP_EIO, "a\nb\x1b[31m\xff\xc3(\xe4\xb8\xad\xc2\x85\x7f");
    assert_string_equal(err.message, "a?b?[31m?"
                                     "?(\xe4\xb8\xad??");
}

static void long_messages_end_in_dots(void **state)
{
    (void)state;
    sp_error err = {0};
    char text[2000];
    for (size_t n = 500; n < sizeof text; n += 37) {
        memset(text, 'x', n);
        text[n] = '\0';
        (void)sp_fail(&err, SP_EIO, "%s", text);
        size_t len = strlen(err.message);
        if (n < SP_ERROR_MAX) {
            assert_int_equal(len, n);
        } else {
            assert_int_equal(len, SP_ERROR_MAX - 1);
            assert_string_equal(err.message + len - 3, "...");
        }
    }
    memset(text, 'x', SP_ERROR_MAX - 1);
    text[SP_ERROR_MAX - 1] = '\0';
    (void)sp_fail(&err, SP_EIO, "%s", text);
    assert_string_equal(err.message, text); /* just fits */
}

static void long_messages_are_cut_between_characters(void **state)
{
    (void)state;
    sp_error err = {0};
    char text[1600];
    for (size_t shift = 0; shift < 4; shift++) {
        memset(text, 'a', shift);
        for (size_t i = shift; i + 3 < sizeof text; i += 3)
            memcpy(text + i, "\xe4\xb8\xad", 4);
        (void)sp_fail(&err, SP_EIO, "%s", text);
        assert_true(utf8_valid(err.message, strlen(err.message)));
        assert_null(strchr(err.message, '?'));
        assert_true(str_ends(str_of(err.message), "..."));
    }
}

static void within_adds_a_prefix(void **state)
{
    (void)state;
    sp_error err = {0};
    (void)sp_fail(&err, SP_EFORMAT, "tensor 3: too long");
    assert_int_equal(sp_fail_within(&err, SP_EIO, "%s", "model.gguf"), SP_EFORMAT);
    assert_string_equal(err.message, "model.gguf: tensor 3: too long");
    sp_error empty = {0};
    assert_int_equal(sp_fail_within(&empty, SP_ENOMEM, "load"), SP_ENOMEM);
    assert_string_equal(empty.message, "load: out of memory");
}

static void may_reuse_its_own_message(void **state)
{
    (void)state;
    sp_error err = {0};
    (void)sp_fail(&err, SP_EIO, "inner");
    (void)sp_fail(&err, SP_EINVAL, "outer: %s", err.message);
    assert_string_equal(err.message, "outer: inner");
    assert_int_equal(err.code, SP_EINVAL);
}

static void codes_have_texts(void **state)
{
    (void)state;
    assert_string_equal(sp_code_text(SP_ENOMEM), "out of memory");
    assert_string_equal(sp_code_text(SP_EINTERNAL), "internal error");
    assert_string_equal(sp_code_text(0), "no error");
    assert_string_equal(sp_code_text(-999), "unknown error");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sets_code_and_message),
        cmocka_unit_test(null_error_is_allowed),
        cmocka_unit_test(cleans_bad_text),
        cmocka_unit_test(long_messages_end_in_dots),
        cmocka_unit_test(long_messages_are_cut_between_characters),
        cmocka_unit_test(within_adds_a_prefix),
        cmocka_unit_test(may_reuse_its_own_message),
        cmocka_unit_test(codes_have_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
