/* Packed weights on disk: used when they fit, never when they don't, and always the same weights as without. */
#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "model/packed_file.h"
#include "model/packed_int.h"
#include "model_test.h"

struct fixture {
    char dir[64], model[128], other[128], packed[128], second[128];
    pool *pool;
};

static void copy(const char *from, const char *to)
{
    char *data = NULL;
    size_t n = 0;
    sp_error err = {0};
    expect_ok(file_read(from, 1 << 24, &data, &n, &err), &err);
    expect_ok(file_write_atomic(to, data, n, &err), &err);
    sp_free(data);
}

static int setup(void **state)
{
    struct fixture *f = sp_calloc(1, sizeof *f);
    assert_non_null(f);
    snprintf(f->dir, sizeof f->dir, "/tmp/sampan-packed-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->model, sizeof f->model, "%s/m.gguf", f->dir);
    snprintf(f->other, sizeof f->other, "%s/n.gguf", f->dir);
    snprintf(f->packed, sizeof f->packed, "%s/cache/m.packed", f->dir);
    snprintf(f->second, sizeof f->second, "%s/second/m.packed", f->dir);
    copy(MODELS "/qwen2-gguf/model.gguf", f->model);
    copy(MODELS "/llama-gguf/model.gguf", f->other);
    assert_int_equal(pool_new(2, &f->pool, NULL), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    pool_free(f->pool);
    assert_int_equal(file_remove_tree(f->dir, NULL), 0);
    sp_free(f);
    return 0;
}

struct loaded {
    checkpoint *c;
    model *m;
};

static struct model_opts opts_for(pool *p, const char *first, const char *second)
{
    struct model_opts o = model_opts_default();
    o.pool = p;
    o.max_rows = 8;
    o.max_context = 64;
    o.packed = (struct packed_opts){{first, second}, 0};
    return o;
}

static struct loaded load(const struct fixture *f, const char *path, const char *first,
                          const char *second)
{
    struct loaded l = {0};
    sp_error err = {0};
    struct model_opts o = opts_for(f->pool, first, second);
    expect_ok(checkpoint_open(path, &l.c, &err), &err);
    expect_ok(model_load(l.c, &o, &l.m, &err), &err);
    return l;
}

/* What is to be written is written when this returns. */
static void done(struct loaded *l)
{
    model_free(l->m);
    checkpoint_close(l->c);
}

/* Whether l has the weights that packing gives. */
static bool same_weights(const struct fixture *f, const char *path, const struct loaded *l)
{
    struct loaded plain = load(f, path, NULL, NULL);
    assert_int_equal(plain.m->weight_bytes, l->m->weight_bytes);
    bool same = memcmp(plain.m->weights, l->m->weights, l->m->weight_bytes) == 0;
    done(&plain);
    return same;
}

/* Loads, looks at the weights, ends. */
static bool loads_right(const struct fixture *f, const char *path)
{
    struct loaded l = load(f, path, f->packed, f->second);
    bool right = same_weights(f, path, &l);
    done(&l);
    return right;
}

static uint8_t flip(const char *path, off_t at)
{
    uint8_t byte = 0;
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
    return byte;
}

#define FIRST_BYTE ((off_t)PACKED_ALIGN)

/* Changes a byte of the data: who maps the file sees it, who packs does not. */
static bool is_used(const struct fixture *f, const char *path, const char *packed)
{
    flip(packed, FIRST_BYTE + 5);
    struct loaded l = load(f, path, f->packed, f->second);
    bool used = !same_weights(f, path, &l);
    done(&l);
    if (used)
        flip(packed, FIRST_BYTE + 5);
    return used;
}

static void test_written_and_used(void **state)
{
    const struct fixture *f = *state;
    sp_error err = {0};
    assert_true(loads_right(f, f->model));
    expect_ok(packed_file_check(f->packed, NULL, NULL, &err), &err);
    assert_false(file_exists(f->second));
    assert_true(loads_right(f, f->model));
    assert_true(is_used(f, f->model, f->packed));
    flip(f->packed, FIRST_BYTE + 64);
    assert_int_equal(packed_file_check(f->packed, NULL, NULL, &err), SP_ECHECKSUM);
}

static bool mapped_here(const char *path)
{
    char *text = NULL;
    assert_int_equal(file_read("/proc/self/maps", 1 << 24, &text, NULL, NULL), 0);
    bool found = strstr(text, path) != NULL;
    sp_free(text);
    return found;
}

/* The process that has packed shares the file, too, as soon as it is written; it may be removed at any time. */
static void test_the_writer_takes_the_file(void **state)
{
    const struct fixture *f = *state;
    struct loaded l = load(f, f->model, f->packed, NULL);
    for (int i = 0; i < 1000 && !mapped_here(f->packed); i++)
        clock_sleep(0.01);
    assert_true(mapped_here(f->packed));
    assert_true(same_weights(f, f->model, &l));
    assert_int_equal(unlink(f->packed), 0);
    assert_true(same_weights(f, f->model, &l));
    done(&l);
    assert_false(file_exists(f->packed));
}

static void test_damaged_headers(void **state)
{
    const struct fixture *f = *state;
    const off_t fields[] = {0,
                            offsetof(struct packed_header, byte_order),
                            offsetof(struct packed_header, version),
                            offsetof(struct packed_header, data_at) + 3,
                            offsetof(struct packed_header, data_bytes),
                            offsetof(struct packed_header, data_sum),
                            offsetof(struct packed_header, key) + 9,
                            offsetof(struct packed_header, sum) + 63};
    for (size_t i = 0; i < SP_COUNT(fields); i++) {
        assert_true(loads_right(f, f->model));
        flip(f->packed, fields[i]);
        assert_int_equal(packed_file_check(f->packed, NULL, NULL, NULL), SP_EFORMAT);
        flip(f->packed, FIRST_BYTE);
        assert_true(loads_right(f, f->model)); /* and writes it anew */
        assert_int_equal(packed_file_check(f->packed, NULL, NULL, NULL), 0);
        assert_true(is_used(f, f->model, f->packed));
    }
}

static void test_cut_and_longer(void **state)
{
    const struct fixture *f = *state;
    assert_true(loads_right(f, f->model));
    off_t whole = (off_t)file_size(f->packed);
    const off_t sizes[] = {0, 1, 100, 4096, FIRST_BYTE, whole - 1, whole - 4096, whole + 64};
    for (size_t i = 0; i < SP_COUNT(sizes); i++) {
        assert_int_equal(truncate(f->packed, sizes[i]), 0);
        assert_int_equal(packed_file_check(f->packed, NULL, NULL, NULL), SP_EFORMAT);
        assert_true(loads_right(f, f->model));
        assert_int_equal(packed_file_check(f->packed, NULL, NULL, NULL), 0);
    }
}

/* The model's file was touched, replaced by the same bytes, or by another model. */
static void test_stale(void **state)
{
    const struct fixture *f = *state;
    const struct timespec times[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000, .tv_nsec = 7}};
    assert_true(loads_right(f, f->model));
    assert_true(is_used(f, f->model, f->packed));
    assert_int_equal(utimensat(AT_FDCWD, f->model, times, 0), 0);
    assert_false(is_used(f, f->model, f->packed));
    assert_true(is_used(f, f->model, f->packed)); /* it was written again */

    copy(MODELS "/qwen2-gguf/model.gguf", f->model);
    assert_int_equal(utimensat(AT_FDCWD, f->model, times, 0), 0);
    assert_false(is_used(f, f->model, f->packed)); /* another inode */
    assert_true(is_used(f, f->model, f->packed));

    assert_true(loads_right(f, f->other));
    assert_true(is_used(f, f->other, f->packed));
    assert_false(is_used(f, f->model, f->packed));
}

/* Several files, and matrices whose rows lie in another order in the file. */
static void test_folders_and_maps(void **state)
{
    const struct fixture *f = *state;
    static const char *const models[] = {MODELS "/llama", MODELS "/internlm2", MODELS "/qwen2-moe",
                                         MODELS "/phi3-gguf/model.gguf"};
    for (size_t i = 0; i < SP_COUNT(models); i++) {
        assert_true(loads_right(f, models[i]));
        assert_int_equal(packed_file_check(f->packed, NULL, NULL, NULL), 0);
        assert_true(is_used(f, models[i], f->packed));
    }
}

static void test_others_could_have_written_it(void **state)
{
    const struct fixture *f = *state;
    char moved[160];
    snprintf(moved, sizeof moved, "%s/moved", f->dir);
    log_setup(LOG_OFF, LOG_AUTO);
    assert_true(loads_right(f, f->model));
    assert_int_equal(chmod(f->packed, 0666), 0);
    assert_false(is_used(f, f->model, f->packed));
    assert_true(is_used(f, f->model, f->packed)); /* it was replaced by one of ours */
    assert_int_equal(chmod(f->packed, 0664), 0);
    assert_false(is_used(f, f->model, f->packed));

    assert_int_equal(rename(f->packed, moved), 0);
    assert_int_equal(symlink(moved, f->packed), 0);
    assert_false(is_used(f, f->model, moved));
    assert_true(is_used(f, f->model, f->packed));
    if (geteuid() == 0) { /* only root can give files away */
        assert_int_equal(chown(f->packed, 12345, (gid_t)-1), 0);
        assert_false(is_used(f, f->model, f->packed));
        assert_int_equal(chown(f->packed, 12345, (gid_t)-1), 0);
        assert_int_equal(chown(f->model, 12345, (gid_t)-1),
                         0); /* as whoever owns the model could */
        assert_true(is_used(f, f->model, f->packed));
    }
    log_setup(LOG_INFO, LOG_AUTO);
}

/* No folder can be made under a file, not even by root. */
static void test_places_that_take_nothing(void **state)
{
    struct fixture *f = *state;
    snprintf(f->packed, sizeof f->packed, "%s/m.gguf/cache/m.packed", f->dir);
    assert_true(loads_right(f, f->model));
    assert_int_equal(packed_file_check(f->second, NULL, NULL, NULL), 0);
    assert_true(is_used(f, f->model, f->second));
    log_setup(LOG_OFF, LOG_AUTO);
    snprintf(f->second, sizeof f->second, "%s/n.gguf/m.packed", f->dir);
    assert_true(loads_right(f, f->model));
    log_setup(LOG_INFO, LOG_AUTO);
}

/* A limit on the size of files stands for a full disk: the write fails in its middle. */
static void test_full_disk(void **state)
{
    const struct fixture *f = *state;
    struct rlimit old, low;
    char tmp[160];
    snprintf(tmp, sizeof tmp, "%s.tmp", f->packed);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    low = old;
    low.rlim_cur = PACKED_ALIGN + 4096;
    log_setup(LOG_OFF, LOG_AUTO);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    bool right = loads_right(f, f->model);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    log_setup(LOG_INFO, LOG_AUTO);
    assert_true(right);
    assert_false(file_exists(f->packed) || file_exists(tmp) || file_exists(f->second));
}

static void test_what_another_left_or_holds(void **state)
{
    const struct fixture *f = *state;
    char tmp[160];
    snprintf(tmp, sizeof tmp, "%s.tmp", f->packed);
    assert_true(loads_right(f, f->model));
    copy(f->model, tmp); /* of one who died */
    assert_int_equal(truncate(f->packed, 0), 0);
    assert_true(loads_right(f, f->model));
    assert_int_equal(packed_file_check(f->packed, NULL, NULL, NULL), 0);
    assert_false(file_exists(tmp));

    int fd = open(tmp, O_RDWR | O_CREAT, 0644);
    assert_true(fd >= 0 && flock(fd, LOCK_EX) == 0); /* of one who is at it */
    assert_int_equal(truncate(f->packed, 0), 0);
    assert_true(loads_right(f, f->model));
    assert_int_equal(file_size(f->packed), 0);
    assert_false(file_exists(f->second));
    close(fd);
}

/* This program as one of them. */
static int load_a_few_times(char **argv)
{
    struct fixture f = {.pool = NULL};
    snprintf(f.model, sizeof f.model, "%s", argv[1]);
    snprintf(f.packed, sizeof f.packed, "%s", argv[2]);
    snprintf(f.second, sizeof f.second, "%s", argv[3]);
    bool right = pool_new(1, &f.pool, NULL) == 0;
    for (int k = 0; k < 3 && right; k++)
        right = loads_right(&f, f.model);
    pool_free(f.pool);
    return right ? 0 : 1;
}

/* Processes that start at once: each has the right weights, one file is there in the end. */
static void test_several_at_once(void **state)
{
    const struct fixture *f = *state;
    char tmp[160];
    snprintf(tmp, sizeof tmp, "%s.tmp", f->packed);
    for (int round = 0; round < 5; round++) {
        pid_t pids[4];
        (void)unlink(f->packed);
        for (size_t i = 0; i < SP_COUNT(pids); i++) {
            pids[i] = fork();
            assert_true(pids[i] >= 0);
            if (pids[i] == 0) {
                execl("/proc/self/exe", "test_packed", f->model, f->packed, f->second,
                      (char *)NULL);
                _exit(127);
            }
        }
        for (size_t i = 0; i < SP_COUNT(pids); i++) {
            int status = -1;
            assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
            assert_int_equal(status, 0);
        }
        assert_int_equal(packed_file_check(f->packed, NULL, NULL, NULL), 0);
        assert_false(file_exists(tmp) || file_exists(f->second));
        assert_true(is_used(f, f->model, f->packed));
    }
}

static void test_small_models_are_not_kept(void **state)
{
    const struct fixture *f = *state;
    struct model_opts o = opts_for(f->pool, f->packed, NULL);
    struct loaded l = {0};
    o.packed.least = model_opts_default().packed.least;
    assert_int_equal(o.packed.least, 16 << 20);
    assert_int_equal(checkpoint_open(f->model, &l.c, NULL), 0);
    assert_int_equal(model_load(l.c, &o, &l.m, NULL), 0);
    done(&l);
    assert_false(file_exists(f->packed));
}

static int stop(void *arg, uint64_t n, uint64_t total)
{
    (void)arg;
    return n == total;
}

static void test_stopping(void **state)
{
    const struct fixture *f = *state;
    struct model_opts o = opts_for(f->pool, f->packed, NULL);
    struct loaded l = {0};
    o.progress = stop;
    assert_int_equal(checkpoint_open(f->model, &l.c, NULL), 0);
    assert_int_equal(model_load(l.c, &o, &l.m, NULL), SP_ECANCELLED);
    assert_false(file_exists(f->packed));
    assert_true(loads_right(f, f->model));
    assert_int_equal(model_load(l.c, &o, &l.m, NULL), SP_ECANCELLED); /* from the file */
    checkpoint_close(l.c);
}

static void test_failing_allocations(void **state)
{
    const struct fixture *f = *state;
    int successes = 0;
    for (long n = 1; successes < 60; n++) { /* far beyond the last allocation of a load */
        struct model_opts o = opts_for(f->pool, f->packed, f->second);
        struct loaded l = {0};
        if (n % 2)
            (void)unlink(f->packed);
        assert_int_equal(checkpoint_open(f->model, &l.c, NULL), 0);
        sp_alloc_fail_nth(n);
        int code = model_load(l.c, &o, &l.m, NULL);
        sp_alloc_fail_nth(0);
        assert_true(code == 0 || code == SP_ENOMEM);
        if (code == 0) {
            successes++;
            assert_true(same_weights(f, f->model, &l));
        }
        done(&l);
    }
}

#define PACKED_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(int argc, char **argv)
{
    if (argc == 4)
        return load_a_few_times(argv);
    const struct CMUnitTest tests[] = {
        PACKED_TEST(test_written_and_used),
        PACKED_TEST(test_the_writer_takes_the_file),
        PACKED_TEST(test_damaged_headers),
        PACKED_TEST(test_cut_and_longer),
        PACKED_TEST(test_stale),
        PACKED_TEST(test_folders_and_maps),
        PACKED_TEST(test_others_could_have_written_it),
        PACKED_TEST(test_places_that_take_nothing),
        PACKED_TEST(test_full_disk),
        PACKED_TEST(test_what_another_left_or_holds),
        PACKED_TEST(test_several_at_once),
        PACKED_TEST(test_small_models_are_not_kept),
        PACKED_TEST(test_stopping),
        PACKED_TEST(test_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
