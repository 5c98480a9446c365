/* What a model does with its packed form beside the steps: reading one that it has mapped, so that steps don't wait for
 * the disk, or writing one. One thread a model, of low priority while it writes; it takes no signals.
 *
 * A write goes to PATH.tmp, held by a lock, so that one process of several that start at once writes and the others go
 * on from memory; what a process that died left there is written over. It is cut into slices that are sent to the disk
 * one by one: neither the disk's queue nor the kernel's allowance of unwritten pages is taken from others, and it can
 * be dropped between two. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "model/packed_int.h"

#define SLICE (4 * PACKED_ALIGN)
#define SPARE_BYTES ((uint64_t)256 << 20) /* a disk is never filled to the brim */
#define PATIENCE 10.0 /* seconds that a program which ends waits for the rest of a write */
#define NICENESS 10

struct packed_task {
    char key[65];
    char *paths[2];
    uint8_t *weights;
    size_t bytes;
    pthread_t thread;
    bool runs;
    atomic_bool ending;
    double give_up; /* clock_seconds; 0: not asked to end yet */
};

struct packed_task *packed_task_new(const struct packed_opts *o, const char key[65])
{
    struct packed_task *t = sp_calloc(1, sizeof *t);
    if (!t)
        return NULL;
    memcpy(t->key, key, sizeof t->key);
    atomic_init(&t->ending, false);
    bool whole = true;
    for (size_t i = 0; i < SP_COUNT(t->paths); i++)
        if (o->paths[i])
            whole = (t->paths[i] = sp_strdup(o->paths[i])) != NULL && whole;
    if (whole)
        return t;
    for (size_t i = 0; i < SP_COUNT(t->paths); i++)
        sp_free(t->paths[i]);
    sp_free(t);
    return NULL;
}

static void start(struct packed_task *t, void *(*run)(void *))
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    t->runs = pthread_create(&t->thread, NULL, run, t) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

/* ---- reading ahead ---- */

static void *read_ahead(void *arg)
{
    struct packed_task *t = arg;
    for (size_t at = 0; at < t->bytes && !atomic_load(&t->ending); at += SLICE) {
        size_t n = t->bytes - at < SLICE ? t->bytes - at : SLICE;
        if (madvise(t->weights + at, n, MADV_POPULATE_READ) != 0)
            (void)madvise(t->weights + at, n, MADV_WILLNEED); /* before Linux 5.14 */
    }
    return NULL;
}

void packed_task_read_ahead(struct packed_task *t, const model *m)
{
    t->weights = m->weights;
    t->bytes = m->weight_bytes;
    start(t, read_ahead);
}

/* ---- writing ---- */

/* Whether the program that ends has waited long enough. */
static bool out_of_patience(struct packed_task *t)
{
    if (!atomic_load(&t->ending))
        return false;
    if (t->give_up == 0)
        t->give_up = clock_seconds() + PATIENCE;
    return clock_seconds() > t->give_up;
}

static int write_at(int fd, const void *data, size_t n, uint64_t at, const char *path,
                    sp_error *err)
{
    const uint8_t *p = data;
    while (n > 0) {
        ssize_t put = pwrite(fd, p, n, (off_t)at);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return sp_fail(err, SP_ENOSPACE, "%.200s: %s", path, strerror(errno));
        p += put;
        n -= (size_t)put;
        at += (uint64_t)put;
    }
    return 0;
}

static int write_all(struct packed_task *t, int fd, const char *path, sp_error *err)
{
    struct packed_sum sum;
    struct packed_header h;
    packed_sum_init(&sum);
    for (size_t at = 0; at < t->bytes; at += SLICE) {
        size_t n = t->bytes - at < SLICE ? t->bytes - at : SLICE;
        off_t to = (off_t)(PACKED_ALIGN + at);
        if (out_of_patience(t))
            return sp_fail(err, SP_ECANCELLED, "%.200s: the program ended before all was written",
                           path);
        packed_sum_add(&sum, t->weights + at, n);
        int code = write_at(fd, t->weights + at, n, (uint64_t)to, path, err);
        if (code < 0)
            return code;
        (void)sync_file_range(fd, to, (off_t)n, SYNC_FILE_RANGE_WRITE);
        if (at > 0) /* the slice before, so that two are on their way at most */
            (void)sync_file_range(fd, to - (off_t)SLICE, (off_t)SLICE,
                                  SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
                                      SYNC_FILE_RANGE_WAIT_AFTER);
    }
    if (packed_header_make(&h, t->bytes, packed_sum_end(&sum), t->key) < 0)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    return write_at(fd, &h, sizeof h, 0, path, err);
}

/* The file named `name`, empty and ours alone. SP_EBUSY: another process writes it. */
static int open_locked(const char *name, int *out, sp_error *err)
{
    struct stat mine, there;
    int fd = open(name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0)
        return sp_fail(err, SP_EIO, "%.200s: %s", name, strerror(errno));
    /* The one who held the lock may have given the file its final name meanwhile. */
    if (flock(fd, LOCK_EX | LOCK_NB) != 0 || fstat(fd, &mine) != 0 || lstat(name, &there) != 0 ||
        mine.st_ino != there.st_ino || mine.st_dev != there.st_dev) {
        (void)close(fd);
        return sp_fail(err, SP_EBUSY, "%.200s: another process writes it", name);
    }
    if (!S_ISREG(mine.st_mode) || mine.st_uid != geteuid() || mine.st_nlink != 1) {
        (void)close(fd);
        return sp_fail(err, SP_EIO, "%.200s: it is not ours: remove it", name);
    }
    if (ftruncate(fd, 0) != 0 || fchmod(fd, mine.st_mode & 0755) != 0) {
        int e = errno;
        (void)close(fd);
        return sp_fail(err, SP_EIO, "%.200s: %s", name, strerror(e));
    }
    *out = fd;
    return 0;
}

static int make_room(const char *path, uint64_t bytes, sp_error *err)
{
    char *dir = sp_strndup(path, (size_t)(path_base(path) - path));
    int code =
        dir ? file_mkdirs(dir[0] ? dir : ".", err) : sp_fail(err, SP_ENOMEM, "out of memory");
    uint64_t left = code == 0 ? file_space_free(dir[0] ? dir : ".") : 0;
    if (code == 0 && left < bytes + SPARE_BYTES)
        code = sp_fail(err, SP_ENOSPACE, "%.200s: %.0f MB are free, %.0f MB are wanted", path,
                       (double)left / 1e6, (double)(bytes + SPARE_BYTES) / 1e6);
    sp_free(dir);
    return code;
}

/* From now on the weights are the file's pages: the same bytes, put there in one step, so that a reader goes on
 * meanwhile. Where the system refuses, all stays as it is. */
static void take_the_file(const struct packed_task *t, int fd)
{
    void *file = mmap(NULL, t->bytes, PROT_READ, MAP_SHARED, fd, (off_t)PACKED_ALIGN);
    if (file == MAP_FAILED)
        return;
    if (!packed_large_pages(file, t->bytes) ||
        mremap(file, t->bytes, t->bytes, MREMAP_MAYMOVE | MREMAP_FIXED, t->weights) == MAP_FAILED)
        (void)munmap(file, t->bytes);
}

static int write_to(struct packed_task *t, const char *path, sp_error *err)
{
    int fd = -1;
    buf name;
    buf_init(&name, 1 << 16);
    int code = buf_printf(&name, "%s.tmp", path);
    code = code < 0 ? sp_fail(err, code, "out of memory") : make_room(path, t->bytes, err);
    if (code == 0)
        code = open_locked(name.data, &fd, err);
    if (fd >= 0) {
        code = write_all(t, fd, path, err);
        if (code == 0)
            code = file_publish(fd, name.data, path, err);
        if (code < 0)
            (void)unlink(name.data);
        else
            take_the_file(t, fd);
        (void)close(fd);
    }
    buf_free(&name);
    return code;
}

static void *keep(void *arg)
{
    struct packed_task *t = arg;
    sp_error err = {0};
    int code = -1;
    double begin = clock_seconds();
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICENESS);
    for (size_t i = 0; i < SP_COUNT(t->paths) && code < 0; i++) {
        if (!t->paths[i])
            continue;
        code = write_to(t, t->paths[i], &err);
        if (code == 0)
            log_debug("model", "%s: %.0f MB of packed weights written in %.2f s", t->paths[i],
                      (double)t->bytes / 1e6, clock_seconds() - begin);
        if (code == SP_EBUSY || code == SP_ECANCELLED)
            break;
    }
    if (code < 0)
        log_write(code == SP_EBUSY ? LOG_DEBUG : LOG_INFO, "model",
                  "the packed weights were not kept for the next start: %s", err.message);
    return NULL;
}

void packed_file_keep(model *m)
{
    struct packed_task *t = m->packed;
    if (!t)
        return;
    t->weights = m->weights;
    t->bytes = m->weight_bytes;
    start(t, keep);
}

void packed_task_rest(struct packed_task *t)
{
    atomic_store(&t->ending, true);
    if (t->runs)
        pthread_join(t->thread, NULL);
    t->runs = false;
    t->give_up = 0;
    atomic_store(&t->ending, false);
}

const char *packed_task_path(const struct packed_task *t, size_t i)
{
    return t->paths[i];
}

const char *packed_task_key(const struct packed_task *t)
{
    return t->key;
}

void packed_file_end(model *m)
{
    struct packed_task *t = m->packed;
    if (!t)
        return;
    packed_task_rest(t);
    for (size_t i = 0; i < SP_COUNT(t->paths); i++)
        sp_free(t->paths[i]);
    sp_free(t);
    m->packed = NULL;
}
