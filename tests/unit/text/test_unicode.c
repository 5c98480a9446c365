#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "text/tokenizer_int.h"
#include "text/unicode_int.h"

static void test_classes(void **state)
{
    (void)state;
    assert_true(unicode_class('a') & UC_LETTER);
    assert_true(unicode_class(0x4e2d) & UC_LETTER);
    assert_true(unicode_class(0x31350) & UC_LETTER);
    assert_true(unicode_class(0x105c0) & UC_LETTER); /* Unicode 16 */
    assert_true(unicode_class('7') & UC_NUMBER);
    assert_true(unicode_class(0xbd) & UC_NUMBER);
    assert_true(unicode_class(0x2167) & UC_NUMBER);
    assert_true(unicode_class(0x1d7d8) & UC_NUMBER);
    assert_false(unicode_class(0x4e00) & UC_NUMBER);
    assert_true(unicode_class(0x16ff4) & UC_NUMERIC); /* Unicode 17: newer than \p{N} */
    assert_false(unicode_class(0x16ff4) & UC_NUMBER);
    assert_true(unicode_class('_') & UC_WORD);
    assert_true(unicode_class(0x301) & UC_WORD);
    assert_false(unicode_class('-') & UC_WORD);
    assert_int_equal(unicode_class(0x110000), 0);
    assert_int_equal(unicode_class(UINT32_MAX), 0);
}

static void test_spaces(void **state)
{
    (void)state;
    static const uint32_t spaces[] = {0x9,    0xa,    0xb,    0xc,    0xd,    0x20,   0x85,
                                      0xa0,   0x1680, 0x2000, 0x2001, 0x2002, 0x2003, 0x2004,
                                      0x2005, 0x2006, 0x2007, 0x2008, 0x2009, 0x200a, 0x2028,
                                      0x2029, 0x202f, 0x205f, 0x3000};
    size_t found = 0;
    for (uint32_t cp = 0; cp < 0x110000; cp++)
        if (unicode_class(cp) & UC_SPACE) {
            assert_true(found < SP_COUNT(spaces));
            assert_int_equal(cp, spaces[found]);
            found++;
        }
    assert_int_equal(found, SP_COUNT(spaces));
}

/* The two-level look-up answers as a walk over the ranges does. */
static void test_lookup_is_the_table(void **state)
{
    (void)state;
    size_t range = 0;
    for (uint32_t cp = 0; cp < 0x110000; cp++) {
        while (range + 1 < unicode_range_count && unicode_ranges[range + 1] >> UC_BITS <= cp)
            range++;
        if (unicode_class(cp) != (unicode_ranges[range] & ((1u << UC_BITS) - 1)))
            fail_msg("U+%04X", (unsigned)cp);
    }
}

static void check_repair(const char *bytes, size_t n, const char *want)
{
    char out[64];
    size_t len = 0;
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        bool bad;
        i += unicode_repair_at(bytes + i, n - i, &cp, &bad);
        len += utf8_encode(cp, out + len);
    }
    assert_int_equal(len, strlen(want));
    assert_memory_equal(out, want, len);
}

/* Tables 3-8 to 3-11 of the Unicode standard, chapter 3.9. */
static void test_repair(void **state)
{
    (void)state;
#define R "\xef\xbf\xbd"
#define CHECK(bytes, want) check_repair(bytes, sizeof bytes - 1, want)
    CHECK("\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41", R R R R R R R R "A");
    CHECK("\xed\xa0\x80\xed\xbf\xbf\xed\xaf\x41", R R R R R R R R "A");
    CHECK("\xf4\x91\x92\x93\xff\x41\x80\xbf\x42", R R R R R "A" R R "B");
    CHECK("\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41", R R R R "A");
    CHECK("\xe4\xb8\xad\xe4\xb8", "\xe4\xb8\xad" R);
    CHECK("\xf0\x9f\x98", R);
    CHECK("\xf5\x80", R R);
#undef CHECK
#undef R
}

static void check_nfc(const char *text, const char *want)
{
    struct changed_text out = {0};
    struct added_text in = {text, NULL, strlen(text)};
    assert_int_equal(nfc_apply(&in, &out), 0);
    assert_int_equal(out.n, strlen(want));
    if (out.n > 0)
        assert_memory_equal(out.p, want, out.n);
    if (strcmp(text, want) != 0)
        assert_true(nfc_needed(text, strlen(text)));
    changed_text_free(&out);
}

static void test_nfc(void **state)
{
    (void)state;
    check_nfc("", "");
    check_nfc("plain", "plain");
    check_nfc("e\u0301", "\u00e9");
    check_nfc("xe\u0301y\u0301\u0323", "x\u00e9\u1ef5\u0301");
    check_nfc("\u0301", "\u0301");
    check_nfc("\u1112\u1161\u11ab", "\ud55c");
    check_nfc("\ud558\u11ab", "\ud55c");
    check_nfc("\u2126\u212b", "\u03a9\u00c5");
    check_nfc("\u0958", "\u0915\u093c"); /* excluded from composition */
    check_nfc("a\u0315\u0300\u05ae\u0300b", "\u00e0\u05ae\u0300\u0315b");
    /* Newer than the Unicode version of Hugging Face's NFC: they pass through. */
    check_nfc("\U000105d2\u0307", "\U000105d2\u0307");
    static const char composed[] = "\u4e2d\u6587 text \u00e9 \ud55c";
    assert_false(nfc_needed(composed, strlen(composed)));
}

static void test_nfc_order_is_stable_on_long_rows(void **state)
{
    (void)state;
    enum { PAIRS = 20000 };
    char *text = sp_malloc(4 * PAIRS + 1), *want = sp_malloc(4 * PAIRS + 1);
    assert_non_null(text);
    assert_non_null(want);
    text[0] = want[0] = 'x';
    for (int i = 0; i < PAIRS; i++) {
        memcpy(text + 1 + 4 * i, "\u0304\u0325", 4); /* class 230, then 220 */
        memcpy(want + 1 + 2 * i, "\u0325", 2);
        memcpy(want + 1 + 2 * PAIRS + 2 * i, "\u0304", 2);
    }
    struct changed_text out = {0};
    struct added_text in = {text, NULL, 4 * PAIRS + 1};
    assert_int_equal(nfc_apply(&in, &out), 0);
    assert_int_equal(out.n, in.n);
    assert_memory_equal(out.p, want, out.n);
    changed_text_free(&out);
    sp_free(text);
    sp_free(want);
}

static void test_nfc_trust(void **state)
{
    (void)state;
    static const uint8_t trust[] = {1, 1, 1, 0, 0, 2, 0, 0, 1};
    struct changed_text out = {0};
    struct added_text in = {"e\u0301e\u0301e\u0301", trust, 9};
    assert_int_equal(nfc_apply(&in, &out), 0);
    assert_int_equal(out.n, 6);
    static const uint8_t want[] = {1, 1, 0, 0, 0, 0};
    assert_memory_equal(out.trust, want, 6);
    changed_text_free(&out);
}

static void test_nfc_out_of_memory(void **state)
{
    (void)state;
    struct added_text in = {"e\u0301 and e\u0301", NULL, 11};
    int rc = SP_ENOMEM;
    for (long n = 1; rc != 0; n++) {
        struct changed_text out = {0};
        sp_alloc_fail_nth(n);
        rc = nfc_apply(&in, &out);
        sp_alloc_fail_nth(0);
        assert_true(rc == 0 || rc == SP_ENOMEM);
        assert_true(n < 100);
        changed_text_free(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_classes),
        cmocka_unit_test(test_spaces),
        cmocka_unit_test(test_lookup_is_the_table),
        cmocka_unit_test(test_repair),
        cmocka_unit_test(test_nfc),
        cmocka_unit_test(test_nfc_order_is_stable_on_long_rows),
        cmocka_unit_test(test_nfc_trust),
        cmocka_unit_test(test_nfc_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
