#include "scratch.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static void maps_a_file(void **state)
{
    (void)state;
    file_map m;
    assert_int_equal(file_map_open(put_file("m", "hello"), &m, NULL), 0);
    assert_int_equal(m.size, 5);
    assert_memory_equal(m.data, "hello", 5);
    assert_int_equal(unlink(in_scratch("m")), 0);
    assert_memory_equal(m.data, "hello", 5); /* the mapping stays */
    file_map_close(&m);
    assert_null(m.data);
    file_map_close(&m);
    file_map_close(NULL);
}

static void maps_an_empty_file(void **state)
{
    (void)state;
    file_map m;
    assert_int_equal(file_map_open(put_file("empty", ""), &m, NULL), 0);
    assert_non_null(m.data);
    assert_int_equal(m.size, 0);
    file_map_drop(&m, 0, 10);
    file_map_close(&m);
}

static void refuses_what_is_no_file(void **state)
{
    (void)state;
    file_map m;
    sp_error err = {0};
    assert_int_equal(file_map_open(in_scratch("none"), &m, &err), SP_ENOTFOUND);
    assert_non_null(strstr(err.message, in_scratch("none")));
    assert_int_equal(file_map_open(scratch, &m, &err), SP_EINVAL);
    assert_int_equal(mkfifo(in_scratch("fifo"), 0600), 0);
    assert_int_equal(file_map_open(in_scratch("fifo"), &m, &err), SP_EINVAL); /* and doesn't wait */
    assert_null(m.data);
}

static void dropped_pages_read_the_same(void **state)
{
    (void)state;
    const size_t n = 100000;
    char *text = sp_malloc(n);
    for (size_t i = 0; i < n; i++)
        text[i] = (char)(i * 7 % 251);
    assert_int_equal(file_write_atomic(in_scratch("big"), text, n, NULL), 0);
    file_map m;
    assert_int_equal(file_map_open(in_scratch("big"), &m, NULL), 0);
    assert_memory_equal(m.data, text, n);
    file_map_drop(&m, 0, n);
    file_map_drop(&m, 5000, 20000);
    file_map_drop(&m, 99999, SIZE_MAX);
    file_map_drop(&m, n, 1);
    file_map_drop(&m, SIZE_MAX, SIZE_MAX);
    assert_memory_equal(m.data, text, n);
    file_map_close(&m);
    sp_free(text);
}

static void reads_whole_files(void **state)
{
    (void)state;
    char *text = NULL;
    size_t n = 0;
    sp_error err = {0};
    const char *path = put_file("r", "12345");
    assert_int_equal(file_read(path, 5, &text, &n, NULL), 0);
    assert_int_equal(n, 5);
    assert_string_equal(text, "12345");
    sp_free(text);
    text = NULL;
    assert_int_equal(file_read(path, 4, &text, &n, &err), SP_EFULL);
    assert_null(text);
    assert_non_null(strstr(err.message, "longer than 4 bytes"));
    assert_int_equal(file_read(put_file("empty", ""), 10, &text, NULL, NULL), 0);
    assert_string_equal(text, "");
    sp_free(text);
    assert_int_equal(file_read(in_scratch("none"), 10, &text, &n, &err), SP_ENOTFOUND);
    assert_int_equal(file_read(scratch, 10, &text, &n, &err), SP_EIO);
}

static void reads_files_that_hide_their_size(void **state)
{
    (void)state;
    char *text = NULL;
    size_t n = 0;
    assert_int_equal(file_read("/proc/self/status", 1 << 20, &text, &n, NULL), 0);
    assert_non_null(strstr(text, "VmRSS"));
    assert_int_equal(strlen(text), n);
    sp_free(text);
    assert_int_equal(file_read("/proc/self/status", 10, &text, &n, NULL), SP_EFULL);
}

static mode_t mode_of(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 07777;
}

static void writes_replace(void **state)
{
    (void)state;
    const char *path = put_file("w", "old");
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(file_write_atomic(path, "new", 3, NULL), 0);
    char *text = NULL;
    assert_int_equal(file_read(path, 10, &text, NULL, NULL), 0);
    assert_string_equal(text, "new");
    sp_free(text);
    assert_int_equal(mode_of(path), 0600); /* rights stay */
    mode_t mask = umask(022);
    assert_int_equal(file_write_atomic(in_scratch("fresh"), "", 0, NULL), 0);
    (void)umask(mask);
    assert_int_equal(mode_of(in_scratch("fresh")), 0644);
}

static void failed_writes_leave_nothing(void **state)
{
    (void)state;
    sp_error err = {0};
    assert_int_equal(file_write_atomic(in_scratch("no/such/dir"), "x", 1, &err), SP_ENOTFOUND);
    assert_int_equal(file_mkdirs(in_scratch("taken/inner"), NULL), 0);
    assert_int_equal(file_write_atomic(in_scratch("taken"), "x", 1, &err), SP_EIO);
    assert_non_null(strstr(err.message, in_scratch("taken")));
    assert_int_equal(file_remove_tree(in_scratch("taken"), NULL), 0);
    /* no temporary file is left: the folder is empty but for what tests put there */
    char *parent = path_join(scratch, "alone");
    assert_int_equal(file_mkdirs(parent, NULL), 0);
    assert_int_equal(file_mkdirs(in_scratch("alone/d/e"), NULL), 0);
    assert_int_equal(file_write_atomic(in_scratch("alone/d"), "x", 1, NULL), SP_EIO);
    assert_int_equal(rmdir(in_scratch("alone/d/e")), 0);
    assert_int_equal(rmdir(in_scratch("alone/d")), 0);
    assert_int_equal(rmdir(parent), 0);
    sp_free(parent);
}

/* A write that the system cuts short keeps the old file. EFBIG stands for every such error. */
static void cut_writes_keep_the_old_file(void **state)
{
    (void)state;
    const char *path = put_file("cut", "old");
    struct rlimit before, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 4096;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    char *big = sp_calloc(1, 100000);
    sp_error err = {0};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int rc = file_write_atomic(path, big, 100000, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    (void)signal(SIGXFSZ, handler);
    sp_free(big);
    assert_int_equal(rc, SP_EIO);
    assert_non_null(strstr(err.message, path));
    assert_int_equal(file_size(path), 3);
}

static void endless_files_are_cut(void **state)
{
    (void)state;
    char *text = NULL;
    assert_int_equal(file_read("/dev/zero", 100, &text, NULL, NULL), SP_EFULL);
    assert_null(text);
}

static void asks_about_files(void **state)
{
    (void)state;
    const char *path = put_file("q", "1234");
    assert_true(file_exists(path) && !file_is_dir(path));
    assert_true(file_exists(scratch) && file_is_dir(scratch));
    assert_false(file_exists(in_scratch("none")) || file_is_dir(in_scratch("none")));
    assert_int_equal(file_size(path), 4);
    assert_int_equal(file_size(scratch), -1);
    assert_int_equal(file_size(in_scratch("none")), -1);
    assert_true(file_space_free(scratch) > 0);
    assert_true(file_space_free(in_scratch("none")) == UINT64_MAX);
}

static void makes_folders(void **state)
{
    (void)state;
    sp_error err = {0};
    assert_int_equal(file_mkdirs(in_scratch("a/b//c/"), NULL), 0);
    assert_true(file_is_dir(in_scratch("a/b/c")));
    assert_int_equal(file_mkdirs(in_scratch("a/b/c"), NULL), 0); /* again */
    assert_int_equal(file_mkdirs("", &err), SP_EINVAL);
    (void)put_file("plain", "x");
    assert_int_not_equal(file_mkdirs(in_scratch("plain"), &err), 0);
    assert_int_not_equal(file_mkdirs(in_scratch("plain/x"), &err), 0);
    assert_non_null(strstr(err.message, "plain"));
}

static void removes_trees_and_no_more(void **state)
{
    (void)state;
    (void)put_file("tree/a/b/one", "1");
    (void)put_file("tree/two", "2");
    (void)put_file("outside/keep", "3");
    assert_int_equal(symlink(in_scratch("outside"), in_scratch("tree/link")), 0);
    assert_int_equal(symlink("nowhere", in_scratch("tree/dangling")), 0);
    assert_int_equal(file_remove_tree(in_scratch("tree"), NULL), 0);
    assert_false(file_exists(in_scratch("tree")));
    assert_true(file_exists(in_scratch("outside/keep")));
    assert_int_equal(symlink(in_scratch("outside"), in_scratch("way")), 0);
    assert_int_equal(file_remove_tree(in_scratch("way"), NULL), 0); /* the link only */
    assert_true(file_exists(in_scratch("outside/keep")));
    assert_int_equal(file_remove_tree(in_scratch("outside/keep"), NULL), 0);
    sp_error err = {0};
    assert_int_equal(file_remove_tree(in_scratch("tree"), &err), SP_ENOTFOUND);
}

static void refuses_endless_depth(void **state)
{
    (void)state;
    char path[2048];
    size_t n = (size_t)snprintf(path, sizeof path, "%s/deep", scratch);
    for (int i = 0; i < 150; i++)
        n += (size_t)snprintf(path + n, sizeof path - n, "/d");
    assert_int_equal(file_mkdirs(path, NULL), 0);
    sp_error err = {0};
    assert_int_equal(file_remove_tree(in_scratch("deep"), &err), SP_EIO);
    path[strlen(scratch) + 5 + 2 * 75] = '\0';
    assert_int_equal(file_remove_tree(path, NULL), 0); /* in two halves it goes */
    assert_int_equal(file_remove_tree(in_scratch("deep"), NULL), 0);
}

static void paths(void **state)
{
    (void)state;
    static const struct {
        const char *dir, *name, *want;
    } cases[] = {{"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"/", "b", "/b"}, {"", "b", "b"}};
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        char *p = path_join(cases[i].dir, cases[i].name);
        assert_string_equal(p, cases[i].want);
        sp_free(p);
    }
    assert_string_equal(path_base("/a/b.gguf"), "b.gguf");
    assert_string_equal(path_base("b"), "b");
    assert_string_equal(path_base("a/"), "");
}

static int use_files(void)
{
    char *text = NULL, *path = path_join(scratch, "fail/in");
    if (!path)
        return SP_ENOMEM;
    int rc = file_mkdirs(path, NULL);
    sp_free(path);
    path = rc ? NULL : path_join(scratch, "fail/in/file");
    if (!rc && !path)
        rc = SP_ENOMEM;
    if (!rc)
        rc = file_write_atomic(path, "text", 4, NULL);
    if (!rc)
        rc = file_read(path, 10, &text, NULL, NULL);
    sp_free(text);
    sp_free(path);
    return rc;
}

static void survives_failing_allocations(void **state)
{
    (void)state;
    with_failing_allocations(use_files);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(maps_a_file),
        cmocka_unit_test(maps_an_empty_file),
        cmocka_unit_test(refuses_what_is_no_file),
        cmocka_unit_test(dropped_pages_read_the_same),
        cmocka_unit_test(reads_whole_files),
        cmocka_unit_test(reads_files_that_hide_their_size),
        cmocka_unit_test(writes_replace),
        cmocka_unit_test(failed_writes_leave_nothing),
        cmocka_unit_test(cut_writes_keep_the_old_file),
        cmocka_unit_test(endless_files_are_cut),
        cmocka_unit_test(asks_about_files),
        cmocka_unit_test(makes_folders),
        cmocka_unit_test(removes_trees_and_no_more),
        cmocka_unit_test(refuses_endless_depth),
        cmocka_unit_test(paths),
        cmocka_unit_test(survives_failing_allocations),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
