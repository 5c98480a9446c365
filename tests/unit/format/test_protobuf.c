/* The wire format of protocol buffers: each kind of field, and what is cut short or no field. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "format/protobuf.h"

/* A copy that ends where the message does, so that a sanitizer sees a read past it. */
static str exact(const char *bytes, size_t n)
{
    char *copy = malloc(n ? n : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, n);
    return (str){copy, n};
}

static void test_fields(void **state)
{
    (void)state;
    /* 1: varint 300; 2: "ab"; 3: float 1.5; 16: fixed64 2; 5: varint -1 */
    static const char bytes[] = "\x08\xac\x02\x12\x02"
                                "ab\x1d\x00\x00\xc0\x3f\x81\x01\x02\0\0\0\0\0\0\0"
                                "\x28\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
    str message = exact(bytes, sizeof bytes - 1);
    struct proto_reader r = proto_open(message);
    struct proto_field f;
    assert_true(proto_next(&r, &f));
    assert_int_equal(f.number, 1);
    assert_int_equal(f.wire, PROTO_VARINT);
    assert_int_equal(f.value, 300);
    assert_true(proto_next(&r, &f));
    assert_int_equal(f.number, 2);
    assert_int_equal(f.bytes.n, 2);
    assert_memory_equal(f.bytes.p, "ab", 2);
    assert_true(proto_next(&r, &f));
    assert_int_equal(f.number, 3);
    assert_true(proto_float(&f) == 1.5f);
    assert_true(proto_next(&r, &f));
    assert_int_equal(f.number, 16);
    assert_int_equal(f.value, 2);
    assert_true(proto_next(&r, &f));
    assert_true(f.value == UINT64_MAX);
    assert_false(proto_next(&r, &f));
    assert_false(r.bad);
    free((void *)(uintptr_t)message.p);
}

static void test_malformed(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
    } bad[] = {
        {"\x08", 1},                                          /* a varint that is not there */
        {"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11}, /* more than 64 bits */
        {"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12},
        {"\x12\x03xy", 4},                                /* a string past the end */
        {"\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 10}, /* of a length near 2^63 */
        {"\x1d\x00\x00\x00", 4},                          /* half a float */
        {"\x09\x00\x00\x00\x00\x00\x00\x00", 8},          /* most of a fixed64 */
        {"\x00\x00", 2},                                  /* field 0 */
        {"\x0b", 1},                                      /* a group */
        {"\x0f", 1},                                      /* no wire type */
        {"\xf8\xff\xff\xff\xff\x01\x00", 7},              /* a field number of 33 bits */
    };
    for (size_t i = 0; i < SP_COUNT(bad); i++) {
        str message = exact(bad[i].bytes, bad[i].n);
        struct proto_reader r = proto_open(message);
        struct proto_field f;
        assert_false(proto_next(&r, &f));
        assert_true(r.bad);
        assert_false(proto_next(&r, &f));
        free((void *)(uintptr_t)message.p);
    }
    struct proto_reader r = proto_open((str){"", 0});
    struct proto_field f;
    assert_false(proto_next(&r, &f));
    assert_false(r.bad);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_malformed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
