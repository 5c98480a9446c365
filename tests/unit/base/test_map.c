#include "scratch.h"

#include "base/map.h"

static void set_get_remove(void **state)
{
    (void)state;
    map *m = map_new(0);
    int64_t v = 0;
    assert_false(map_get(m, "a", 1, &v));
    assert_int_equal(map_set(m, "a", 1, 10), 0);
    assert_int_equal(map_set(m, "b", 1, -20), 0);
    assert_int_equal(map_set(m, "a", 1, 30), 0);
    assert_int_equal(map_count(m), 2);
    assert_true(map_get(m, "a", 1, &v));
    assert_int_equal(v, 30);
    assert_true(map_get(m, "b", 1, NULL));
    assert_true(map_remove(m, "a", 1));
    assert_false(map_remove(m, "a", 1));
    assert_false(map_get(m, "a", 1, &v));
    assert_int_equal(map_count(m), 1);
    map_free(m);
    map_free(NULL);
}

static void keys_are_bytes(void **state)
{
    (void)state;
    map *m = map_new(10);
    int64_t v = 0;
    const char *long_key = "a key of more than eight bytes";
    assert_int_equal(map_set(m, "", 0, 1), 0);
    assert_int_equal(map_set(m, "\0", 1, 2), 0);
    assert_int_equal(map_set(m, "\0\0", 2, 3), 0);
    assert_int_equal(map_set(m, long_key, strlen(long_key), 4), 0);
    assert_true(map_get(m, NULL, 0, &v) && v == 1);
    assert_true(map_get(m, "\0", 1, &v) && v == 2);
    assert_true(map_get(m, "\0\0", 2, &v) && v == 3);
    assert_true(map_get(m, long_key, strlen(long_key), &v) && v == 4);
    assert_false(map_get(m, long_key, strlen(long_key) - 1, &v));
    map_free(m);
}

static void keys_are_copied(void **state)
{
    (void)state;
    map *m = map_new(0);
    char key[4] = "abc";
    assert_int_equal(map_set(m, key, 3, 1), 0);
    key[0] = 'x';
    assert_true(map_get(m, "abc", 3, NULL));
    assert_false(map_get(m, key, 3, NULL));
    map_free(m);
}

static size_t key_of(int i, char out[16])
{
    return (size_t)snprintf(out, 16, "key%d", i);
}

static void many_entries_in_order(void **state)
{
    (void)state;
    map *m = map_new(100);
    char key[16];
    const int n = 20000;
    for (int i = 0; i < n; i++)
        assert_int_equal(map_set(m, key, key_of(i, key), i), 0);
    for (int i = 0; i < n; i += 3)
        assert_true(map_remove(m, key, key_of(i, key)));
    assert_int_equal(map_set(m, "key0", 4, 0), 0); /* comes back at the end */
    size_t cursor = 0, seen = 0, len = 0;
    const void *k = NULL;
    int64_t v = 0, last = -1;
    while (map_next(m, &cursor, &k, &len, &v)) {
        size_t want = key_of((int)v, key);
        assert_int_equal(len, want);
        assert_memory_equal(k, key, want);
        if (v != 0) {
            assert_true(v > last && v % 3 != 0);
            last = v;
        }
        seen++;
    }
    assert_int_equal(v, 0);
    assert_int_equal(seen, map_count(m));
    assert_int_equal(seen, n - (n + 2) / 3 + 1);
    for (int i = 1; i < n; i++)
        assert_int_equal(map_get(m, key, key_of(i, key), NULL), i % 3 != 0);
    map_free(m);
}

/* Setting and removing for ever must not fill the table with gaps. */
static void churn_ends(void **state)
{
    (void)state;
    map *m = map_new(0);
    char key[16];
    for (int i = 0; i < 100000; i++) {
        assert_int_equal(map_set(m, key, key_of(i, key), i), 0);
        if (i >= 5)
            assert_true(map_remove(m, key, key_of(i - 5, key)));
    }
    assert_int_equal(map_count(m), 5);
    int64_t v = 0;
    assert_true(map_get(m, "key99999", 8, &v) && v == 99999);
    assert_false(map_get(m, "key5", 4, &v));
    map_free(m);
}

static int build(void)
{
    map *m = map_new(4);
    if (!m)
        return SP_ENOMEM;
    char key[16];
    int rc = 0;
    for (int i = 0; i < 200 && !rc; i++) {
        rc = map_set(m, key, key_of(i, key), i);
        size_t want = (size_t)i + (rc == 0);
        assert_int_equal(map_count(m), want); /* all before is there still */
    }
    int64_t v = 0;
    for (int i = 0; i < (int)map_count(m); i++)
        assert_true(map_get(m, key, key_of(i, key), &v) && v == i);
    map_free(m);
    return rc;
}

static void survives_failing_allocations(void **state)
{
    (void)state;
    with_failing_allocations(build);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(set_get_remove),  cmocka_unit_test(keys_are_bytes),
        cmocka_unit_test(keys_are_copied), cmocka_unit_test(many_entries_in_order),
        cmocka_unit_test(churn_ends),      cmocka_unit_test(survives_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
