#include "tokenizer_fixture.h"

#include "text/detok.h"

/* A tokenizer whose 256 first tokens are the bytes, and which has one special token. */
static tokenizer *byte_tokenizer(void)
{
    json_t *json = fixture_json("tiny_qwen2.json");
    tokenizer *t = fixture_load(json, NULL);
    json_decref(json);
    return t;
}

static int32_t byte_id(const tokenizer *t, uint8_t byte)
{
    for (int32_t id = 0; id < (int32_t)tokenizer_vocab(t); id++) {
        str s = tokenizer_bytes(t, id);
        if (s.n == 1 && (uint8_t)s.p[0] == byte)
            return id;
    }
    fail_msg("no token for byte %02x", byte);
    return -1;
}

static void add(struct detok *d, uint8_t byte, buf *out, const char *want)
{
    buf_clear(out);
    assert_int_equal(detok_add(d, byte_id(d->t, byte), out), 0);
    assert_int_equal(out->len, strlen(want));
    if (out->len > 0)
        assert_memory_equal(out->data, want, out->len);
}

static void test_waits_for_whole_characters(void **state)
{
    (void)state;
    tokenizer *t = byte_tokenizer();
    struct detok d;
    buf out;
    buf_init(&out, 64);
    detok_init(&d, t, false);
    add(&d, 'a', &out, "a");
    add(&d, 0xf0, &out, "");
    add(&d, 0x9f, &out, "");
    add(&d, 0x98, &out, "");
    add(&d, 0x80, &out, "\U0001f600");
    add(&d, 0xe4, &out, "");
    add(&d, 0xb8, &out, "");
    add(&d, 0xad, &out, "\u4e2d");
    buf_clear(&out);
    assert_int_equal(detok_end(&d, &out), 0);
    assert_int_equal(out.len, 0);
    buf_free(&out);
    tokenizer_free(t);
}

static void test_bad_bytes(void **state)
{
    (void)state;
    tokenizer *t = byte_tokenizer();
    struct detok d;
    buf out;
    buf_init(&out, 64);
    detok_init(&d, t, false);
    add(&d, 0x80, &out, "\ufffd");
    add(&d, 0xe4, &out, "");
    add(&d, 0xb8, &out, "");
    add(&d, 'x', &out, "\ufffdx");
    add(&d, 0xf0, &out, "");
    add(&d, 0x9f, &out, "");
    add(&d, 0xf0, &out, "\ufffd"); /* two bytes, one U+FFFD; a new start waits */
    add(&d, 0x80, &out, "\ufffd\ufffd");
    add(&d, 0xed, &out, "");
    add(&d, 0xa0, &out, "\ufffd\ufffd"); /* no surrogates */
    add(&d, 0xc3, &out, "");
    buf_clear(&out);
    assert_int_equal(detok_end(&d, &out), 0);
    assert_string_equal(out.data, "\ufffd");
    assert_int_equal(d.n_pending, 0);
    buf_free(&out);
    tokenizer_free(t);
}

static void test_skip_special_and_unknown(void **state)
{
    (void)state;
    tokenizer *t = byte_tokenizer();
    int32_t end = tokenizer_find(t, "<|im_end|>"), call = tokenizer_find(t, "<tool_call>");
    struct detok d;
    buf out;
    buf_init(&out, 64);
    detok_init(&d, t, true);
    assert_int_equal(detok_add(&d, end, &out), 0);
    assert_int_equal(detok_add(&d, call, &out), 0);
    assert_int_equal(detok_add(&d, -1, &out), 0);
    assert_int_equal(detok_add(&d, INT32_MAX, &out), 0);
    assert_string_equal(out.data, "<tool_call>");
    detok_init(&d, t, false);
    assert_int_equal(detok_add(&d, end, &out), 0);
    assert_string_equal(out.data, "<tool_call><|im_end|>");
    buf_free(&out);
    tokenizer_free(t);
}

static void test_random_ids_equal_decode(void **state)
{
    (void)state;
    tokenizer *t = byte_tokenizer();
    uint64_t r = 88172645463325252u;
    for (int round = 0; round < 2000; round++) {
        int32_t ids[24];
        buf whole, parts;
        buf_init(&whole, 4096);
        buf_init(&parts, 4096);
        struct detok d;
        detok_init(&d, t, round % 2);
        for (size_t i = 0; i < SP_COUNT(ids); i++) {
            r ^= r << 13;
            r ^= r >> 7;
            r ^= r << 17;
            ids[i] = (int32_t)(r % (round % 3 ? tokenizer_vocab(t) : 256));
            assert_int_equal(detok_add(&d, ids[i], &parts), 0);
            assert_true(utf8_valid(parts.data ? parts.data : "", parts.len));
        }
        assert_int_equal(detok_end(&d, &parts), 0);
        assert_int_equal(tokenizer_decode(t, ids, SP_COUNT(ids), round % 2, &whole, NULL), 0);
        assert_int_equal(whole.len, parts.len);
        assert_memory_equal(whole.data, parts.data, whole.len);
        buf_free(&whole);
        buf_free(&parts);
    }
    tokenizer_free(t);
}

static void test_full_buffer(void **state)
{
    (void)state;
    tokenizer *t = byte_tokenizer();
    int32_t ids[40];
    sp_error err = {0};
    for (size_t i = 0; i < SP_COUNT(ids); i++)
        ids[i] = byte_id(t, 'x');
    buf out;
    buf_init(&out, 16);
    assert_true(tokenizer_decode(t, ids, SP_COUNT(ids), false, &out, &err) < 0);
    assert_non_null(strstr(err.message, "decoded text"));
    buf_free(&out);
    tokenizer_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_waits_for_whole_characters),
        cmocka_unit_test(test_bad_bytes),
        cmocka_unit_test(test_skip_special_and_unknown),
        cmocka_unit_test(test_random_ids_equal_decode),
        cmocka_unit_test(test_full_buffer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
