/* Models that lie on this machine already: copied into the store. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/file.h"
#include "hub/pull_int.h"

static int copy_file(const char *from, const char *to, struct tracker *t, sp_error *err)
{
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = in >= 0 ? open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644) : -1;
    uint64_t done = 0;
    ssize_t got = out >= 0 ? 1 : -1;
    bool stopped = false;
    while (got > 0 && !stopped) {
        got = copy_file_range(in, NULL, out, NULL, (size_t)16 << 20, 0);
        if (got > 0)
            done += (uint64_t)got;
        stopped = tracker_tell(t, done, (uint64_t)file_size(from)) != 0;
    }
    int code = got < 0   ? sp_fail(err, errno == ENOSPC ? SP_ENOSPACE : SP_EIO,
                                   "%.200s to %.200s: %s", from, to, strerror(errno))
               : stopped ? sp_fail(err, SP_ECANCELLED, "stopped")
                         : 0;
    if (in >= 0)
        close(in);
    if (out >= 0 && close(out) != 0 && code == 0)
        code = sp_fail(err, SP_EIO, "%.200s: %s", to, strerror(errno));
    t->before += done;
    return code;
}

static int copy_into(struct job *j, const char *folder, const char *name, struct tracker *t,
                     sp_error *err)
{
    char *from = folder ? path_join(folder, name) : sp_strdup(name);
    char *to = path_join(j->folder, path_base(name));
    int code = from && to ? copy_file(from, to, t, err) : sp_fail(err, SP_ENOMEM, "out of memory");
    sp_free(from);
    sp_free(to);
    return code;
}

static int copy_folder(struct job *j, const char *folder, struct tracker *t, sp_error *err)
{
    DIR *d = opendir(folder);
    struct dirent *e;
    int code = d ? 0 : sp_fail(err, SP_EIO, "%.200s: %s", folder, strerror(errno));
    while (code == 0 && (e = readdir(d)) != NULL)
        if (select_needed(e->d_name))
            code = copy_into(j, folder, e->d_name, t, err);
    if (d)
        closedir(d);
    return code;
}

/* A GGUF file, with the other parts of a split one. */
static int copy_gguf(struct job *j, const char *path, struct tracker *t, sp_error *err)
{
    unsigned number, total;
    size_t stem = 0;
    int code = 0;
    total = select_part(path, &number, &stem);
    if (total == 0)
        return copy_into(j, NULL, path, t, err);
    for (unsigned i = 1; i <= total && code == 0; i++) {
        buf part;
        buf_init(&part, 8192);
        buf_printf(&part, "%.*s-%05u-of-%05u.gguf", (int)stem, path, i, total);
        code = part.failed ? sp_fail(err, SP_ENOMEM, "out of memory")
                           : copy_into(j, NULL, part.data, t, err);
        buf_free(&part);
    }
    return code;
}

/* A path of this machine: the file, or a folder's files that a model needs. */
int pull_path(struct job *j, const struct source *s, sp_error *err)
{
    checkpoint *c = NULL;
    struct tracker t;
    int code = checkpoint_open(s->url, &c, err);
    if (code < 0)
        return code;
    code = file_remove_tree(j->folder, err); /* what another pull left there */
    if (code == 0)
        code = file_mkdirs(j->folder, err);
    tracker_start(&t, j->o, s->url, checkpoint_tensor_bytes(c));
    if (code == 0)
        code = store_space(j->h, j->folder, j->name, checkpoint_tensor_bytes(c), err);
    if (code == 0 && checkpoint_gguf(c))
        code = copy_gguf(j, checkpoint_path(c), &t, err);
    else if (code == 0)
        code = copy_folder(j, s->url, &t, err);
    checkpoint_close(c);
    return code;
}
