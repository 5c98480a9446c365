#include "scratch.h"

#include "base/sha256.h"

static void known_sums(void **state)
{
    (void)state;
    static const struct {
        const char *text, *hex;
    } cases[] = {
        /* FIPS 180-4 examples, and the empty message */
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    char hex[65];
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        sha256 *h = sha256_new();
        for (const char *c = cases[i].text; *c; c++)
            sha256_add(h, c, 1);
        sha256_add(h, NULL, 0);
        sha256_hex(h, hex);
        assert_string_equal(hex, cases[i].hex);
        sha256_hex(h, hex);
        assert_string_equal(hex, ""); /* it has ended */
        sha256_free(h);
    }
    sha256_free(NULL);
}

static void sum_of_a_file(void **state)
{
    (void)state;
    const size_t n = 1000000; /* the million-a example, over several reads */
    char *text = sp_malloc(n), hex[65];
    memset(text, 'a', n);
    assert_int_equal(file_write_atomic(in_scratch("a"), text, n, NULL), 0);
    sp_free(text);
    assert_int_equal(sha256_file(in_scratch("a"), hex, NULL), 0);
    assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static void bad_files_are_named(void **state)
{
    (void)state;
    sp_error err = {0};
    char hex[65];
    assert_int_equal(sha256_file(in_scratch("none"), hex, &err), SP_ENOTFOUND);
    assert_non_null(strstr(err.message, in_scratch("none")));
    assert_int_equal(sha256_file(scratch, hex, &err), SP_EIO);
    assert_non_null(strstr(err.message, "directory"));
}

static int sum(void)
{
    char hex[65];
    return sha256_file(in_scratch("a"), hex, NULL);
}

static void survives_failing_allocations(void **state)
{
    (void)state;
    with_failing_allocations(sum);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_sums),
        cmocka_unit_test(sum_of_a_file),
        cmocka_unit_test(bad_files_are_named),
        cmocka_unit_test(survives_failing_allocations),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
