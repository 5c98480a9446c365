#include "scratch.h"

static void gives_zeroed_aligned_pieces(void **state)
{
    (void)state;
    arena *a = arena_new(SIZE_MAX);
    for (size_t n = 0; n < 3000; n += 13) {
        unsigned char *p = arena_alloc(a, n);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 16, 0);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(p[i], 0);
        memset(p, 0xaa, n);
    }
    arena_free(a);
    arena_free(NULL);
}

static void pieces_do_not_overlap(void **state)
{
    (void)state;
    arena *a = arena_new(SIZE_MAX);
    size_t sizes[] = {1, 5000, 17, 300000, 16, 1, 4096, 70000, 8};
    unsigned char *p[SP_COUNT(sizes)];
    for (size_t i = 0; i < SP_COUNT(sizes); i++) {
        p[i] = arena_alloc(a, sizes[i]);
        assert_non_null(p[i]);
        memset(p[i], (int)i + 1, sizes[i]);
    }
    for (size_t i = 0; i < SP_COUNT(sizes); i++) {
        assert_int_equal(p[i][0], i + 1);
        assert_int_equal(p[i][sizes[i] - 1], i + 1);
    }
    arena_free(a);
}

static void limit_is_hard(void **state)
{
    (void)state;
    arena *a = arena_new(100);
    assert_non_null(arena_alloc(a, 64));
    assert_int_equal(arena_used(a), 64);
    assert_null(arena_alloc(a, 64));
    assert_non_null(arena_alloc(a, 32));
    assert_null(arena_alloc(a, 1)); /* pieces are counted in steps of 16: 96 are used */
    assert_int_equal(arena_used(a), 96);
    arena_free(a);
}

static void huge_sizes_fail(void **state)
{
    (void)state;
    arena *a = arena_new(SIZE_MAX);
    assert_null(arena_alloc(a, SIZE_MAX));
    assert_null(arena_alloc(a, SIZE_MAX - 20));
    assert_null(arena_array(a, SIZE_MAX / 2, 3));
    assert_null(arena_strndup(a, "", SIZE_MAX));
    assert_non_null(arena_array(a, 10, 3));
    arena_free(a);
}

static void strings_are_copied(void **state)
{
    (void)state;
    arena *a = arena_new(SIZE_MAX);
    assert_string_equal(arena_strdup(a, "abc"), "abc");
    assert_memory_equal(arena_strndup(a, "a\0b", 3), "a\0b", 4);
    assert_string_equal(arena_strndup(a, NULL, 0), "");
    arena_free(a);
}

static int fill(void)
{
    arena *a = arena_new(SIZE_MAX);
    if (!a)
        return SP_ENOMEM;
    int rc = 0;
    for (int i = 0; i < 20 && !rc; i++)
        if (!arena_alloc(a, 3000))
            rc = SP_ENOMEM;
    arena_free(a);
    return rc;
}

static void survives_failing_allocations(void **state)
{
    (void)state;
    with_failing_allocations(fill);
}

static void goes_on_after_a_failure(void **state)
{
    (void)state;
    arena *a = arena_new(SIZE_MAX);
    sp_alloc_fail_nth(1);
    assert_null(arena_alloc(a, 10));
    sp_alloc_fail_nth(0);
    assert_int_equal(arena_used(a), 0);
    assert_non_null(arena_alloc(a, 10));
    arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_zeroed_aligned_pieces),
        cmocka_unit_test(pieces_do_not_overlap),
        cmocka_unit_test(limit_is_hard),
        cmocka_unit_test(huge_sizes_fail),
        cmocka_unit_test(strings_are_copied),
        cmocka_unit_test(survives_failing_allocations),
        cmocka_unit_test(goes_on_after_a_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
