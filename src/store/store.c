/* Opening and closing: the lock, the file, its version, and what a crash left. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/file.h"
#include "store/store_int.h"

/* One that holds it wrote its process id into it, for whoever is turned away. */
static int lock(store *s, sp_error *err)
{
    char name[4096], pid[32] = "";
    if ((size_t)snprintf(name, sizeof name, "%s.lock", s->path) >= sizeof name)
        return sp_fail(err, SP_EINVAL, "%.64s...: this path is too long", s->path);
    s->lock_fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (s->lock_fd < 0)
        return sp_fail(err, errno == ENOSPC ? SP_ENOSPACE : SP_EIO, "%s: can't be made: %s", name,
                       strerror(errno));
    if (flock(s->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        ssize_t n = pread(s->lock_fd, pid, sizeof pid - 1, 0);
        pid[n > 0 ? n : 0] = '\0';
        return sp_fail(err, SP_EBUSY,
                       "%s: another Sampan (process %s) has this history open: end it, or name "
                       "another file with "
                       "--history",
                       s->path, pid[0] ? pid : "unknown");
    }
    int n = snprintf(pid, sizeof pid, "%ld", (long)getpid());
    if (ftruncate(s->lock_fd, 0) != 0 || pwrite(s->lock_fd, pid, (size_t)n, 0) != n)
        return sp_fail(err, errno == ENOSPC ? SP_ENOSPACE : SP_EIO, "%s: can't be written: %s",
                       name, strerror(errno));
    return 0;
}

/* What people write to a model is for nobody else: SQLite gives the log beside it the same rights. */
static int make_file(const char *path, sp_error *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return sp_fail(err, errno == ENOSPC ? SP_ENOSPACE : SP_EIO,
                       "%s: can't be opened for writing: %s", path, strerror(errno));
    close(fd);
    return 0;
}

static int make_folder(const char *path, sp_error *err)
{
    const char *base = path_base(path);
    if (base == path)
        return 0;
    char *dir = sp_strndup(path, (size_t)(base - path));
    int code = dir ? file_mkdirs(dir, err) : sp_fail(err, SP_ENOMEM, "out of memory");
    sp_free(dir);
    return code;
}

/* Another process has made the file and writes to it. */
static int open_beside(store *s, sp_error *err)
{
    if (err)
        *err = (sp_error){0};
    close(s->lock_fd);
    s->lock_fd = -1;
    int code = db_open(&s->writer, s->path, true, err);
    return code == 0 ? migrate_known(&s->writer, err) : code;
}

static int open_writer(store *s, bool beside, sp_error *err)
{
    int code = make_folder(s->path, err);
    if (code == 0)
        code = lock(s, err);
    if (code == SP_EBUSY && beside)
        return open_beside(s, err);
    if (code == 0)
        code = make_file(s->path, err);
    if (code == 0)
        code = db_open(&s->writer, s->path, true, err);
    if (code == 0)
        code = db_exec(&s->writer, "PRAGMA journal_mode = WAL", err);
    if (code == 0)
        code = migrate_to(&s->writer, STORE_VERSION, err);
    if (code == 0)
        code = db_exec(
            &s->writer,
            "UPDATE messages SET state = 'interrupted' WHERE state IN ('queued', 'streaming');"
            "UPDATE jobs SET state = 'interrupted' WHERE state = 'running'",
            err);
    if (code == 0)
        code = files_expire(&s->writer, err);
    return code;
}

int store_open(const struct store_opts *o, store **out, sp_error *err)
{
    store *s = sp_calloc(1, sizeof *s);
    if (!s)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    s->lock_fd = -1;
    s->writes = o->writes;
    s->unsent_bytes = o->unsent_bytes ? o->unsent_bytes : STORE_UNSENT_BYTES;
    pthread_mutex_init(&s->writer.lock, NULL);
    pthread_mutex_init(&s->reader.lock, NULL);
    s->path = sp_strdup(o->path);
    int code = s->path ? 0 : sp_fail(err, SP_ENOMEM, "out of memory");
    if (code == 0 && o->writes)
        code = open_writer(s, o->beside, err);
    else if (code == 0 && !file_exists(o->path))
        code = sp_fail(err, SP_ENOTFOUND, "%s: there is no such history", o->path);
    if (code == 0)
        code = db_open(&s->reader, s->path, false, err);
    if (code == 0)
        code = migrate_known(&s->reader, err);
    if (code < 0) {
        store_close(s);
        return code;
    }
    *out = s;
    return 0;
}

/* The lock file stays: removing it would let two in, one with the file that is gone and one with a new one. */
void store_close(store *s)
{
    if (!s)
        return;
    db_close(&s->reader);
    db_close(&s->writer);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    pthread_mutex_destroy(&s->reader.lock);
    pthread_mutex_destroy(&s->writer.lock);
    sp_free(s->path);
    sp_free(s);
}

const char *store_file(const store *s)
{
    return s->path;
}
