#include "scratch.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void zero_sizes_give_memory(void **state)
{
    (void)state;
    void *p[] = {sp_malloc(0), sp_calloc(0, 8), sp_calloc(8, 0), sp_alloc_aligned(64, 0),
                 sp_realloc(NULL, 0)};
    for (size_t i = 0; i < SP_COUNT(p); i++) {
        assert_non_null(p[i]);
        sp_free(p[i]);
    }
    sp_free(NULL);
}

static void results_are_aligned(void **state)
{
    (void)state;
    for (size_t n = 1; n < 100; n += 7) {
        char *p = sp_malloc(n);
        assert_int_equal((uintptr_t)p % 16, 0);
        p = sp_realloc(p, n * 10);
        assert_int_equal((uintptr_t)p % 16, 0);
        sp_free(p);
    }
    for (size_t align = 1; align <= 4096; align *= 2) {
        void *p = sp_alloc_aligned(align, 100);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % align, 0);
        assert_int_equal((uintptr_t)p % 16, 0);
        sp_free(p);
    }
}

static void calloc_zeroes(void **state)
{
    (void)state;
    unsigned char *p = sp_calloc(33, 3);
    for (size_t i = 0; i < 99; i++)
        assert_int_equal(p[i], 0);
    sp_free(p);
}

static void counts_that_overflow_fail(void **state)
{
    (void)state;
    volatile size_t big = SIZE_MAX / 2 + 2;
    assert_null(sp_calloc(big, 2));
    assert_null(sp_realloc_array(NULL, big, 2));
    assert_null(sp_strndup("", SIZE_MAX));
}

static void strings_are_copied(void **state)
{
    (void)state;
    char *a = sp_strdup("abc"), *b = sp_strndup("ab\0cd", 5), *c = sp_strndup(NULL, 0);
    assert_string_equal(a, "abc");
    assert_memory_equal(b, "ab\0cd", 6);
    assert_string_equal(c, "");
    sp_free(a);
    sp_free(b);
    sp_free(c);
}

static void nth_allocation_fails_once(void **state)
{
    (void)state;
    sp_alloc_fail_nth(3);
    void *a = sp_malloc(1), *b = sp_calloc(1, 1), *c = sp_alloc_aligned(16, 1), *d = sp_strdup("x");
    assert_non_null(a);
    assert_non_null(b);
    assert_null(c);
    assert_non_null(d);
    assert_int_equal(sp_alloc_count(), 4);
    sp_alloc_fail_nth(1);
    assert_null(sp_realloc(a, 100)); /* a stays good */
    sp_alloc_fail_nth(0);
    assert_int_equal(sp_alloc_count(), 0);
    sp_free(a);
    sp_free(b);
    sp_free(d);
}

static void *allocate_elsewhere(void *arg)
{
    void *p = sp_malloc(1);
    *(bool *)arg = p != NULL;
    sp_free(p);
    return NULL;
}

static void failing_is_of_one_thread(void **state)
{
    (void)state;
    pthread_t t;
    bool worked = false;
    sp_alloc_fail_nth(1);
    assert_int_equal(pthread_create(&t, NULL, allocate_elsewhere, &worked), 0);
    (void)pthread_join(t, NULL);
    assert_true(worked);
    assert_null(sp_malloc(1));
    sp_alloc_fail_nth(0);
}

/* Allocates under the guard in a child; tells whether it was stopped by SIGABRT. */
static bool guard_stops(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        (void)signal(SIGABRT, SIG_DFL);
        (void)close(STDERR_FILENO);
        sp_alloc_guard_begin();
        void *p = sp_malloc(1);
        sp_alloc_guard_end();
        sp_free(p);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void guard_stops_allocations(void **state)
{
    (void)state;
#ifdef SP_ALLOC_GUARD
    assert_true(guard_stops());
#else
    assert_false(guard_stops());
#endif
    sp_alloc_guard_begin();
    sp_alloc_guard_end();
    void *p = sp_malloc(1); /* after the end all is as before */
    assert_non_null(p);
    sp_free(p);
}

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define LIBC_MALLOC /* else a sanitizer's is at work */
#endif

#ifdef LIBC_MALLOC
/* The mapping of a large block that is freed raises libc's bound for mappings, unless it is held. */
static void large_blocks_go_back(void **state)
{
    (void)state;
    sp_alloc_return_large();
    char *p = sp_malloc(8 << 20);
    assert_non_null(p);
    sp_free(p);
    struct mallinfo2 before = mallinfo2();
    p = sp_malloc(1 << 20);
    assert_non_null(p);
    assert_int_equal(mallinfo2().hblks, before.hblks + 1);
    sp_free(p);
    assert_int_equal(mallinfo2().hblks, before.hblks);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
#ifdef LIBC_MALLOC
        cmocka_unit_test(large_blocks_go_back),
#endif
        cmocka_unit_test(zero_sizes_give_memory),
        cmocka_unit_test(results_are_aligned),
        cmocka_unit_test(calloc_zeroes),
        cmocka_unit_test(counts_that_overflow_fail),
        cmocka_unit_test(strings_are_copied),
        cmocka_unit_test(nth_allocation_fails_once),
        cmocka_unit_test(failing_is_of_one_thread),
        cmocka_unit_test(guard_stops_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
