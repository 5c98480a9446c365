/* file_remove_tree, by descriptors: a link put in the way meanwhile is removed, never followed. */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include "base/file_int.h"

#define DEPTH_MAX 100 /* folders below the first; each holds one descriptor */

static int remove_at(int parent, const char *name, int depth);

/* Empties the folder behind fd, which it closes. 0 or -1 with errno. */
static int empty(int fd, int depth)
{
    DIR *dir = fdopendir(fd);
    if (!dir) {
        int e = errno;
        (void)close(fd);
        errno = e;
        return -1;
    }
    int rc = 0;
    for (;;) {
        errno = 0;
        struct dirent *d = readdir(dir);
        if (!d) {
            if (errno)
                rc = -1;
            break;
        }
        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
            continue;
        rc = remove_at(dirfd(dir), d->d_name, depth + 1);
        if (rc)
            break;
    }
    int e = errno;
    (void)closedir(dir);
    errno = e;
    return rc;
}

/* Removes name in the folder parent. 0 or -1 with errno. */
static int remove_at(int parent, const char *name, int depth)
{
    if (unlinkat(parent, name, 0) == 0)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return -1;
    int unlink_error = errno;
    if (depth > DEPTH_MAX) {
        errno = ELOOP;
        return -1;
    }
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        if (errno == ENOTDIR || errno == ELOOP)
            errno = unlink_error;
        return -1;
    }
    if (empty(fd, depth) != 0)
        return -1;
    return unlinkat(parent, name, AT_REMOVEDIR);
}

int file_remove_tree(const char *path, sp_error *err)
{
    if (remove_at(AT_FDCWD, path, 0) != 0)
        return file_fail(err, "can't remove", path);
    return 0;
}
