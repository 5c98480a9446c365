/* What base's tests share: cmocka, a folder of their own, and runs in which allocations fail. */
#ifndef SP_TESTS_BASE_SCRATCH_H
#define SP_TESTS_BASE_SCRATCH_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/base.h"
#include "base/file.h"

static char scratch[256];

__attribute__((unused)) static int make_scratch(void **state)
{
    (void)state;
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(scratch, sizeof scratch, "%s/sampan-test-XXXXXX", tmp ? tmp : "/tmp");
    return mkdtemp(scratch) ? 0 : -1;
}

__attribute__((unused)) static int remove_scratch(void **state)
{
    (void)state;
    return file_remove_tree(scratch, NULL);
}

/* scratch/name, in one of a few buffers that take turns. */
__attribute__((unused)) static const char *in_scratch(const char *name)
{
    static char paths[8][512];
    static unsigned turn;
    char *path = paths[turn++ % 8];
    (void)snprintf(path, sizeof paths[0], "%s/%s", scratch, name);
    return path;
}

/* Writes text to scratch/name, making folders on the way. */
__attribute__((unused)) static const char *put_file(const char *name, const char *text)
{
    const char *path = in_scratch(name);
    char *dir = sp_strdup(path);
    assert_non_null(dir);
    *strrchr(dir, '/') = '\0';
    assert_int_equal(file_mkdirs(dir, NULL), 0);
    sp_free(dir);
    assert_int_equal(file_write_atomic(path, text, strlen(text), NULL), 0);
    return path;
}

/* Calls try() with the 1st, 2nd, ... allocation failing until one call meets no failure. try returns a
 * code and must leave nothing behind when it is not 0; it may be 0 when the failing piece was optional. */
__attribute__((unused)) static void with_failing_allocations(int (*try)(void))
{
    for (long n = 1; n < 10000; n++) {
        sp_alloc_fail_nth(n);
        int rc = try();
        long count = sp_alloc_count();
        sp_alloc_fail_nth(0);
        if (count < n) {
            assert_int_equal(rc, 0);
            assert_true(n > 1); /* else nothing was tried */
            return;
        }
        assert_true(rc == 0 || rc == SP_ENOMEM);
    }
    fail_msg("allocations without end");
}

#endif
