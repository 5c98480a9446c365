#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include "base/alloc.h"
#include "base/buf.h"
#include "base/file_int.h"

#define READ_CHUNK 65536 /* bytes, for files that don't tell their size */

int file_fail(sp_error *err, const char *what, const char *path)
{
    int e = errno;
    char text[128];
    const char *why = strerror_r(e, text, sizeof text);
    switch (e) {
    case ENOENT:
    case ENOTDIR:
        return sp_fail(err, SP_ENOTFOUND, "%s %s: %s: check the name", what, path, why);
    case EACCES:
    case EPERM:
    case EROFS:
        return sp_fail(err, SP_EIO, "%s %s: %s: check the rights of the file and its folder", what,
                       path, why);
    case ENOSPC:
    case EDQUOT:
        return sp_fail(err, SP_ENOSPACE, "%s %s: %s: free some space and try again", what, path,
                       why);
    case ENOMEM:
        return sp_fail(err, SP_ENOMEM, "%s %s: %s: close other programs", what, path, why);
    case EMFILE:
    case ENFILE:
        return sp_fail(err, SP_EIO, "%s %s: %s: raise the limit (ulimit -n)", what, path, why);
    default:
        return sp_fail(err, SP_EIO, "%s %s: %s: check the file and the disk", what, path, why);
    }
}

static int no_memory(sp_error *err, const char *what, const char *path)
{
    errno = ENOMEM;
    return file_fail(err, what, path);
}

int file_map_open(const char *path, file_map *out, sp_error *err)
{
    static const uint8_t nothing[1];
    struct stat st;
    int rc = 0;
    *out = (file_map){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return file_fail(err, "can't open", path);
    if (fstat(fd, &st) != 0) {
        rc = file_fail(err, "can't read", path);
    } else if (!S_ISREG(st.st_mode)) {
        rc = sp_fail(err, SP_EINVAL, "can't open %s: it is not a regular file: give a file", path);
    } else if (st.st_size == 0) {
        out->data = nothing;
    } else {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
            rc = file_fail(err, "can't map", path);
        else
            *out = (file_map){.data = p,
                              .size = (size_t)st.st_size,
                              .id = {st.st_ino, st.st_mtim.tv_sec, st.st_mtim.tv_nsec, st.st_uid}};
    }
    (void)close(fd);
    return rc;
}

void file_map_close(file_map *m)
{
    if (!m)
        return;
    if (m->size && !m->borrowed)
        (void)munmap((void *)(uintptr_t)m->data, m->size);
    *m = (file_map){0};
}

void file_map_drop(const file_map *m, size_t offset, size_t n)
{
    if (m->borrowed || offset >= m->size)
        return;
    if (n > m->size - offset)
        n = m->size - offset;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t first = (offset + page - 1) / page * page;
    size_t last = (offset + n) / page * page; /* whole pages only: the borders may be in use */
    if (last > first)
        (void)madvise((void *)((uintptr_t)m->data + first), last - first, MADV_DONTNEED);
}

int file_read(const char *path, size_t max, char **data, size_t *size, sp_error *err)
{
    int rc = 0;
    struct stat st;
    buf b;
    buf_init(&b, max);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return file_fail(err, "can't open", path);
    size_t expect = 0;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        expect = (size_t)st.st_size;
    rc = expect <= max ? buf_reserve(&b, expect) : SP_EFULL;
    while (!rc) {
        char chunk[READ_CHUNK];
        ssize_t got = read(fd, chunk, sizeof chunk);
        if (got == 0)
            break;
        if (got > 0) {
            rc = buf_add(&b, chunk, (size_t)got);
        } else if (errno != EINTR) {
            rc = file_fail(err, "can't read", path);
            goto cleanup;
        }
    }
    if (rc == SP_EFULL) {
        rc = sp_fail(err, SP_EFULL, "can't read %s: it is longer than %zu bytes: check the file",
                     path, max);
    } else if (!rc) {
        size_t n = b.len;
        char *text = buf_steal(&b);
        if (text) {
            *data = text;
            if (size)
                *size = n;
        } else {
            rc = SP_ENOMEM;
        }
    }
    if (rc == SP_ENOMEM)
        rc = no_memory(err, "can't read", path);
cleanup:
    (void)close(fd);
    buf_free(&b);
    return rc;
}

static int write_all(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t put = write(fd, p, n);
        if (put < 0) {
            if (errno == EINTR)
                continue;
            return -1;
        }
        p += put;
        n -= (size_t)put;
    }
    return 0;
}

/* A new file beside path; *name is the caller's. Its rights are the old file's, if there is one. */
static int open_beside(const char *path, char **name)
{
    static atomic_uint counter;
    buf b;
    buf_init(&b, SIZE_MAX);
    unsigned n = atomic_fetch_add(&counter, 1);
    (void)buf_printf(&b, "%s.tmp-%ld-%u", path, (long)getpid(), n);
    *name = buf_steal(&b);
    buf_free(&b);
    if (!*name) {
        errno = ENOMEM;
        return -1;
    }
    int fd = open(*name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666);
    struct stat st;
    if (fd >= 0 && stat(path, &st) == 0)
        (void)fchmod(fd, st.st_mode & 07777);
    return fd;
}

/* Makes a rename in path's folder last through a power cut; not every file system can. */
static void sync_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *dir = slash ? sp_strndup(path, (size_t)(slash - path) + 1) : sp_strdup(".");
    if (!dir)
        return;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        (void)close(fd);
    }
    sp_free(dir);
}

int file_publish(int fd, const char *name, const char *path, sp_error *err)
{
    if (fsync(fd) != 0 || rename(name, path) != 0)
        return file_fail(err, "can't write", path);
    sync_folder(path);
    return 0;
}

int file_write_atomic(const char *path, const void *data, size_t size, sp_error *err)
{
    int rc = 0;
    char *name = NULL;
    int fd = open_beside(path, &name);
    if (fd < 0) {
        rc = file_fail(err, "can't write", path);
        sp_free(name);
        return rc;
    }
    if (write_all(fd, data, size) != 0)
        rc = file_fail(err, "can't write", path);
    else
        rc = file_publish(fd, name, path, err);
    if (close(fd) != 0 && !rc)
        rc = file_fail(err, "can't write", path);
    if (rc)
        (void)unlink(name);
    sp_free(name);
    return rc;
}

bool file_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

bool file_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

int64_t file_size(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode))
        return -1;
    return (int64_t)st.st_size;
}

int file_mkdirs(const char *path, sp_error *err)
{
    int rc = 0;
    char *dir = sp_strdup(path);
    if (!dir)
        return no_memory(err, "can't make folder", path);
    size_t n = strlen(dir);
    for (size_t i = 1; i <= n && !rc; i++) {
        if (dir[i] != '/' && dir[i] != '\0')
            continue;
        char end = dir[i];
        dir[i] = '\0';
        if (mkdir(dir, 0777) != 0 && !file_is_dir(dir))
            rc = file_fail(err, "can't make folder", dir);
        dir[i] = end;
    }
    if (n == 0)
        rc = sp_fail(err, SP_EINVAL, "can't make folder: its name is empty: give a name");
    sp_free(dir);
    return rc;
}

uint64_t file_space_free(const char *path)
{
    struct statvfs st;
    if (statvfs(path, &st) != 0)
        return UINT64_MAX;
    uint64_t bytes = 0;
    if (__builtin_mul_overflow((uint64_t)st.f_bavail, (uint64_t)st.f_frsize, &bytes))
        return UINT64_MAX;
    return bytes;
}

char *path_join(const char *dir, const char *name)
{
    buf b;
    buf_init(&b, SIZE_MAX);
    size_t n = strlen(dir);
    (void)buf_puts(&b, dir);
    if (n && dir[n - 1] != '/')
        (void)buf_putc(&b, '/');
    (void)buf_puts(&b, name);
    char *path = buf_steal(&b);
    buf_free(&b);
    return path;
}

const char *path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}
