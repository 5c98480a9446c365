/* The file of keys: what is written is read back, and what is wrong is said with its place. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/file.h"
#include "server/keyfile.h"

static char path[] = "/tmp/sampan-keys-XXXXXX";

static int setup(void **state)
{
    int fd = mkstemp(path);
    (void)state;
    return fd < 0 ? -1 : close(fd);
}

static int teardown(void **state)
{
    (void)state;
    return unlink(path);
}

static void write_text(const char *text)
{
    assert_int_equal(file_write_atomic(path, text, strlen(text), NULL), 0);
}

static void hashes_are_sha256(void **state)
{
    char hash[65];
    (void)state;
    key_hash("abc", hash); /* FIPS 180-4's example */
    assert_string_equal(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void written_and_read_back(void **state)
{
    char secret[2][KEY_SECRET_MAX], hash[65];
    char one[] = "m1", two[] = "m2", *models[] = {one, two};
    struct keyfile f = {0}, g;
    struct key_entry e = {
        .name = "alice", .requests_per_minute = 7, .tokens_per_minute = 8, .concurrent = 9};
    (void)state;
    assert_int_equal(keyfile_add(&f, &e, secret[0], NULL), 0);
    e = (struct key_entry){.name = "bob-2.x_Y", .models = models, .n_models = 2};
    assert_int_equal(keyfile_add(&f, &e, secret[1], NULL), 0);
    assert_string_not_equal(secret[0], secret[1]);
    assert_int_equal(strlen(secret[0]), 10 + 43);
    assert_int_equal(
        strspn(secret[0], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"), 53);
    assert_int_equal(keyfile_write(path, &f, NULL), 0);
    assert_int_equal(keyfile_read(path, &g, NULL), 0);
    assert_int_equal(g.n, 2);
    for (int i = 0; i < 2; i++) {
        key_hash(secret[i], hash);
        assert_string_equal(g.entries[i].hash, hash);
        assert_string_equal(g.entries[i].name, f.entries[i].name);
        assert_string_equal(g.entries[i].created, f.entries[i].created);
    }
    assert_int_equal(g.entries[0].requests_per_minute, 7);
    assert_int_equal(g.entries[0].tokens_per_minute, 8);
    assert_int_equal(g.entries[0].concurrent, 9);
    assert_int_equal(g.entries[1].n_models, 2);
    assert_string_equal(g.entries[1].models[1], "m2");
    assert_int_equal(keyfile_add(&g, &e, secret[1], NULL), SP_EINVAL); /* taken */
    assert_true(keyfile_remove(&g, "alice") && !keyfile_remove(&g, "alice"));
    assert_int_equal(g.n, 1);
    assert_string_equal(g.entries[0].name, "bob-2.x_Y");
    keyfile_free(&f);
    keyfile_free(&g);
}

static void names_that_are_none(void **state)
{
    static const char *const bad[] = {"", "a b", "a/b", "\xe4\xbd\xa0", "a\nb"};
    char secret[KEY_SECRET_MAX];
    struct keyfile f = {0};
    (void)state;
    for (size_t i = 0; i < SP_COUNT(bad); i++) {
        struct key_entry e = {0};
        (void)snprintf(e.name, sizeof e.name, "%s", bad[i]);
        assert_int_equal(keyfile_add(&f, &e, secret, NULL), SP_EINVAL);
    }
    assert_int_equal(f.n, 0);
    keyfile_free(&f);
}

#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void what_is_wrong_is_named(void **state)
{
    static const struct {
        const char *entry, *says;
    } bad[] = {
        {"7", "name"},
        {"{\"sha256\":\"" HASH "\"}", "name"},
        {"{\"name\":\"a\"}", "sha256"},
        {"{\"name\":\"a\",\"sha256\":\"ABC\"}", "sha256"},
        {"{\"name\":\"a\",\"sha256\":\"" HASH "\",\"models\":[]}", "models"},
        {"{\"name\":\"a\",\"sha256\":\"" HASH "\",\"models\":[7]}", "models"},
        {"{\"name\":\"a\",\"sha256\":\"" HASH "\",\"concurrent\":0}", "concurrent"},
        {"{\"name\":\"a\",\"sha256\":\"" HASH "\",\"requests_per_minute\":-1}",
         "requests_per_minute"},
        {"{\"name\":\"a\",\"sha256\":\"" HASH "\",\"tokens_per_minute\":1.5}", "tokens_per_minute"},
        {"{\"name\":\"a\",\"sha256\":\"" HASH "\",\"limit\":1}", "limit"},
        {"{\"name\":\"a\",\"sha256\":\"" HASH "\"},{\"name\":\"a\",\"sha256\":\"" HASH "\"}",
         "twice"}};
    char text[1024];
    struct keyfile f;
    sp_error err;
    (void)state;
    for (size_t i = 0; i < SP_COUNT(bad); i++) {
        (void)snprintf(text, sizeof text, "{\"keys\":[%s]}", bad[i].entry);
        write_text(text);
        assert_int_equal(keyfile_read(path, &f, &err), SP_EFORMAT);
        assert_non_null(strstr(err.message, bad[i].says));
        assert_non_null(strstr(err.message, path));
        assert_null(f.entries);
    }
    static const char *const files[] = {
        "", "[]", "{}", "{\"keys\":{}}", "{\"keys\":[],\"x\":1}", "{\"keys\":[]"};
    for (size_t i = 0; i < SP_COUNT(files); i++) {
        write_text(files[i]);
        assert_int_equal(keyfile_read(path, &f, &err), SP_EFORMAT);
    }
    assert_true(keyfile_read("/nowhere/keys.json", &f, &err) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashes_are_sha256),
        cmocka_unit_test(written_and_read_back),
        cmocka_unit_test(names_that_are_none),
        cmocka_unit_test(what_is_wrong_is_named),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
