/* A stored model as one file, for machines without a network.
 *
 * The format is a plain tar that any tar reads: first "sampan-bundle.json", then the model's files as
 * "NAME/FILE" in the order of the manifest, and nothing else:
 *
 *   {"format": "sampan-bundle", "version": 1, "name": NAME, "source": ..., "revision": ..., "commit": ...,
 *    "license": ..., "files": [{"name": FILE, "bytes": N, "sha256": HEX}, ...]}
 *
 * An import believes nothing of it: each entry must be the regular file that the manifest names next, of that
 * length and sum; the model is built beside the store and appears in it by one rename. */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include "base/file.h"
#include "base/sha256.h"
#include "hub/hub_int.h"

#define MANIFEST "sampan-bundle.json"
#define MANIFEST_MAX ((size_t)1 << 20)
#define FILES_MAX 1000
#define BLOCK ((size_t)1 << 18)

struct bundle {
    hub *h;
    const char *file; /* the bundle's path */
    struct archive *a;
    struct tracker t;
    char *block; /* BLOCK bytes */
};

static int archive_fail(const struct bundle *b, int code, sp_error *err)
{
    const char *why = archive_error_string(b->a);
    return sp_fail(err, archive_errno(b->a) == ENOSPC ? SP_ENOSPACE : code, "%.200s: %s", b->file,
                   why ? why : "not a bundle, or damaged");
}

static int bundle_open(struct bundle *b, hub *h, const char *file, sp_error *err)
{
    *b = (struct bundle){.h = h, .file = file, .block = sp_malloc(BLOCK)};
    return b->block ? 0 : sp_fail(err, SP_ENOMEM, "out of memory");
}

/* ---- export ---- */

static json_t *make_manifest(const char *name, const json_t *meta)
{
    json_t *files = json_array(), *want;
    const char *file;
    json_object_foreach((json_t *)(uintptr_t)json_object_get(meta, "files"), file, want)
        json_array_append_new(files, json_pack("{s:s,s:O,s:O}", "name", file, "bytes",
                                               json_object_get(want, "bytes"), "sha256",
                                               json_object_get(want, "sha256")));
    json_t *m = json_pack("{s:s,s:i,s:s}", "format", "sampan-bundle", "version", 1, "name", name);
    static const char *const kept[] = {"source", "revision", "commit", "license"};
    for (size_t i = 0; i < SP_COUNT(kept); i++)
        if (json_is_string(json_object_get(meta, kept[i])))
            json_object_set(m, kept[i], json_object_get(meta, kept[i]));
    json_object_set_new(m, "files", files);
    return m;
}

static int put_head(struct bundle *b, const char *name, uint64_t bytes, sp_error *err)
{
    struct archive_entry *e = archive_entry_new();
    if (!e)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    archive_entry_set_pathname(e, name);
    archive_entry_set_size(e, (int64_t)bytes);
    archive_entry_set_filetype(e, AE_IFREG);
    archive_entry_set_perm(e, 0644);
    int rc = archive_write_header(b->a, e);
    archive_entry_free(e);
    return rc == ARCHIVE_OK ? 0 : archive_fail(b, SP_EIO, err);
}

static int put_bytes(struct bundle *b, const char *data, size_t n, sp_error *err)
{
    return archive_write_data(b->a, data, n) == (la_ssize_t)n ? 0 : archive_fail(b, SP_EIO, err);
}

static int put_manifest(struct bundle *b, const json_t *manifest, sp_error *err)
{
    char *text = json_dumps(manifest, JSON_INDENT(2));
    int code =
        text ? put_head(b, MANIFEST, strlen(text), err) : sp_fail(err, SP_ENOMEM, "out of memory");
    if (code == 0)
        code = put_bytes(b, text, strlen(text), err);
    free(text); /* lib-owned: jansson's */
    return code;
}

/* A file of the store, summed on its way: what is damaged here does not travel. */
static int put_file(struct bundle *b, const char *folder, const char *name, const json_t *entry,
                    sp_error *err)
{
    const char *file = json_string_value(json_object_get(entry, "name"));
    const char *want = json_string_value(json_object_get(entry, "sha256"));
    uint64_t bytes = (uint64_t)json_integer_value(json_object_get(entry, "bytes")), done = 0;
    char inside[400], sum[65] = "";
    char *path = path_join(folder, path_base(file));
    FILE *in = path ? fopen(path, "rb") : NULL;
    sha256 *h = sha256_new();
    size_t got = 0;
    snprintf(inside, sizeof inside, "%s/%s", name, path_base(file));
    int code = !in  ? sp_fail(err, SP_EIO, "%.200s: %s", path ? path : file, strerror(errno))
               : !h ? sp_fail(err, SP_ENOMEM, "out of memory")
                    : put_head(b, inside, bytes, err);
    while (code == 0 && done < bytes && (got = fread(b->block, 1, BLOCK, in)) > 0) {
        got = got < bytes - done ? got : (size_t)(bytes - done);
        sha256_add(h, b->block, got);
        code = put_bytes(b, b->block, got, err);
        done += got;
        if (code == 0 && tracker_tell(&b->t, done, bytes))
            code = sp_fail(err, SP_ECANCELLED, "stopped");
    }
    if (h)
        sha256_hex(h, sum);
    if (code == 0 && (done != bytes || !want || strcmp(sum, want) != 0))
        code =
            sp_fail(err, SP_ECHECKSUM,
                    "%.200s: is not what came with the model: `sampan store verify %.100s` tells "
                    "more, and `sampan pull --force` gets it again",
                    path, name);
    b->t.before += done;
    sha256_free(h);
    if (in)
        fclose(in);
    sp_free(path);
    return code;
}

static int put_all(struct bundle *b, const char *folder, const char *name, const json_t *meta,
                   const char *to, sp_error *err)
{
    json_t *manifest = make_manifest(name, meta), *files = json_object_get(manifest, "files");
    b->a = archive_write_new();
    int code = b->a && manifest ? 0 : sp_fail(err, SP_ENOMEM, "out of memory");
    if (code == 0 && (archive_write_set_format_pax_restricted(b->a) != ARCHIVE_OK ||
                      archive_write_add_filter_none(b->a) != ARCHIVE_OK ||
                      archive_write_open_filename(b->a, to) != ARCHIVE_OK))
        code = archive_fail(b, SP_EIO, err);
    if (code == 0)
        code = put_manifest(b, manifest, err);
    for (size_t i = 0; i < json_array_size(files) && code == 0; i++)
        code = put_file(b, folder, name, json_array_get(files, i), err);
    if (code == 0 && archive_write_close(b->a) != ARCHIVE_OK)
        code = archive_fail(b, SP_EIO, err);
    if (b->a)
        archive_write_free(b->a);
    json_decref(manifest);
    return code;
}

int hub_export(hub *h, const char *name, const char *file, const struct pull_opts *opts,
               sp_error *err)
{
    struct bundle b;
    if (file_exists(file) && !opts->force)
        return sp_fail(err, SP_EUSAGE, "%.200s: is there already: --force writes over it", file);
    int code = store_name_check(name, err);
    if (code == 0)
        code = bundle_open(&b, h, file, err);
    if (code < 0)
        return code;
    char *folder = store_path(h, "models", name);
    json_t *meta = folder ? store_meta(folder) : NULL;
    buf to;
    buf_init(&to, 8192);
    buf_printf(&to, "%s.part", file);
    if (!folder || to.failed)
        code = sp_fail(err, SP_ENOMEM, "out of memory");
    else if (!meta)
        code = store_not_found(h, name, err);
    tracker_start(&b.t, opts, name, (uint64_t)json_integer_value(json_object_get(meta, "bytes")));
    if (code == 0) {
        code = put_all(&b, folder, name, meta, to.data, err);
        if (code == 0 && rename(to.data, file) != 0)
            code = sp_fail(err, SP_EIO, "%.200s: %s", file, strerror(errno));
        if (code < 0)
            unlink(to.data);
    }
    json_decref(meta);
    buf_free(&to);
    sp_free(folder);
    sp_free(b.block);
    return code;
}

/* ---- import ---- */

static int refuse(const struct bundle *b, const char *what, sp_error *err)
{
    return sp_fail(err, SP_EFORMAT, "%.200s: refused: %.250s", b->file, what);
}

/* The next entry, which must be a plain file of the name `want`. */
static int next_entry(struct bundle *b, const char *want, struct archive_entry **e, sp_error *err)
{
    char what[700];
    int rc = archive_read_next_header(b->a, e);
    if (rc == ARCHIVE_EOF) {
        snprintf(what, sizeof what,
                 "it ends before %.200s: cut off, or no bundle of `sampan store "
                 "export`",
                 want);
        return refuse(b, what, err);
    }
    if (rc != ARCHIVE_OK)
        return archive_fail(b, SP_EFORMAT, err);
    const char *name = archive_entry_pathname(*e);
    if (!name)
        name = archive_entry_pathname_utf8(*e);
    if (!name || strcmp(name, want) != 0) {
        snprintf(what, sizeof what, "%.200s where %.200s is due",
                 name ? name : "a file without a name", want);
        return refuse(b, what, err);
    }
    if (archive_entry_filetype(*e) != AE_IFREG || archive_entry_hardlink(*e) ||
        archive_entry_symlink(*e) || !archive_entry_size_is_set(*e)) {
        snprintf(what, sizeof what, "%.200s is no plain file in it", want);
        return refuse(b, what, err);
    }
    return 0;
}

static const char *text_of(const json_t *j, const char *key)
{
    return json_string_value(json_object_get(j, key));
}

static bool is_sum(const char *s)
{
    return s && strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64;
}

/* What is shown to people: no control characters, which could play with a terminal. */
static bool plain_text(const json_t *j, const char *key)
{
    const char *s = text_of(j, key);
    if (!s)
        return true;
    for (const char *p = s; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            return false;
    return strlen(s) < 1024;
}

/* Every name, length and sum in it must be one that an export can write. */
static int check_manifest(const struct bundle *b, const json_t *m, sp_error *err)
{
    const json_t *files = json_object_get(m, "files");
    const char *format = text_of(m, "format"), *name = text_of(m, "name");
    if (!format || strcmp(format, "sampan-bundle") != 0)
        return refuse(b, "its first file is no manifest of a bundle", err);
    if (json_integer_value(json_object_get(m, "version")) != 1)
        return refuse(b, "a bundle of a newer kind: a newer sampan reads it", err);
    if (!name || store_name_check(name, NULL) < 0)
        return refuse(b, "the model's name in it is none", err);
    if (!plain_text(m, "source") || !plain_text(m, "revision") || !plain_text(m, "commit") ||
        !plain_text(m, "license"))
        return refuse(b, "its manifest holds text that is not plain", err);
    if (!json_is_array(files) || json_array_size(files) == 0 || json_array_size(files) > FILES_MAX)
        return refuse(b, "its manifest lists no files, or too many", err);
    for (size_t i = 0; i < json_array_size(files); i++) {
        const json_t *f = json_array_get(files, i);
        const char *file = text_of(f, "name");
        json_int_t bytes = json_integer_value(json_object_get(f, "bytes"));
        if (!file || strlen(file) != json_string_length(json_object_get(f, "name")) ||
            !source_file_ok(file) || strchr(file, '/') || strchr(file, ':') || bytes < 0 ||
            !json_is_integer(json_object_get(f, "bytes")) || !is_sum(text_of(f, "sha256")))
            return refuse(b, "a file in its manifest has no safe name, no length or no sum", err);
        for (size_t k = 0; k < i; k++)
            if (strcmp(file, text_of(json_array_get(files, k), "name")) == 0)
                return refuse(b, "a file stands twice in its manifest", err);
    }
    return 0;
}

static int read_manifest(struct bundle *b, json_t **out, sp_error *err)
{
    struct archive_entry *e = NULL;
    json_error_t je;
    char what[300];
    int code = next_entry(b, MANIFEST, &e, err);
    if (code < 0)
        return code;
    int64_t size = archive_entry_size(e);
    if (size <= 0 || (size_t)size > MANIFEST_MAX)
        return refuse(b, "its manifest is empty or larger than 1 MB", err);
    char *text = sp_malloc((size_t)size);
    if (!text)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    if (archive_read_data(b->a, text, (size_t)size) != size) {
        code = archive_fail(b, SP_EFORMAT, err);
    } else if (!(*out = json_loadb(text, (size_t)size, JSON_REJECT_DUPLICATES, &je))) {
        snprintf(what, sizeof what, "its manifest is no JSON: %.200s", je.text);
        code = refuse(b, what, err);
    } else {
        code = check_manifest(b, *out, err);
    }
    sp_free(text);
    return code;
}

static int write_block(int fd, const char *data, size_t n, const char *path, sp_error *err)
{
    for (size_t done = 0; done < n;) {
        ssize_t k = write(fd, data + done, n - done);
        if (k <= 0)
            return sp_fail(err, SP_ENOSPACE, "%.200s: writing failed (%s): is the disk full?", path,
                           strerror(errno));
        done += (size_t)k;
    }
    return 0;
}

/* The entry's bytes into a new file, at most `bytes` of them. */
static int copy_entry(struct bundle *b, int fd, uint64_t bytes, sha256 *h, const char *path,
                      sp_error *err)
{
    uint64_t done = 0;
    la_ssize_t got;
    int code = 0;
    while (code == 0 && (got = archive_read_data(b->a, b->block, BLOCK)) != 0) {
        if (got < 0)
            return archive_fail(b, SP_EFORMAT, err);
        if ((uint64_t)got > bytes - done)
            return refuse(b, "a file in it is longer than its manifest says", err);
        sha256_add(h, b->block, (size_t)got);
        code = write_block(fd, b->block, (size_t)got, path, err);
        done += (uint64_t)got;
        if (code == 0 && tracker_tell(&b->t, done, bytes))
            code = sp_fail(err, SP_ECANCELLED, "stopped");
    }
    if (code == 0 && done != bytes)
        code = refuse(b, "a file in it is shorter than its manifest says: cut off", err);
    b->t.before += done;
    return code;
}

static int take_file(struct bundle *b, const char *folder, const char *name, const json_t *entry,
                     sp_error *err)
{
    const char *file = text_of(entry, "name"), *want = text_of(entry, "sha256");
    uint64_t bytes = (uint64_t)json_integer_value(json_object_get(entry, "bytes"));
    char inside[400], sum[65] = "", what[400];
    struct archive_entry *e = NULL;
    snprintf(inside, sizeof inside, "%s/%s", name, file);
    int code = next_entry(b, inside, &e, err);
    if (code < 0)
        return code;
    if ((uint64_t)archive_entry_size(e) != bytes)
        return refuse(b, "a file in it has another length than its manifest says", err);
    char *path = path_join(folder, file);
    sha256 *h = sha256_new();
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644) : -1;
    if (!path || !h)
        code = sp_fail(err, SP_ENOMEM, "out of memory");
    else if (fd < 0)
        code = sp_fail(err, SP_EIO, "%.200s: %s", path, strerror(errno));
    else
        code = copy_entry(b, fd, bytes, h, path, err);
    if (h)
        sha256_hex(h, sum);
    if (code == 0 && strcmp(sum, want) != 0) {
        snprintf(what, sizeof what, "%.200s in it is damaged: its sha256 is not the manifest's",
                 file);
        code = refuse(b, what, err);
    }
    if (fd >= 0 && (fsync(fd) != 0 || close(fd) != 0) && code == 0)
        code = sp_fail(err, SP_EIO, "%.200s: %s", path, strerror(errno));
    sha256_free(h);
    sp_free(path);
    return code;
}

static int take_all(struct bundle *b, const json_t *m, const char *folder, const char *name,
                    sp_error *err)
{
    const json_t *files = json_object_get(m, "files");
    struct archive_entry *e = NULL;
    uint64_t total = 0;
    int code = file_is_dir(folder) ? file_remove_tree(folder, err) : 0;
    for (size_t i = 0; i < json_array_size(files) && total < UINT64_MAX / 4; i++)
        total += (uint64_t)json_integer_value(json_object_get(json_array_get(files, i), "bytes"));
    b->t.total = total;
    if (code == 0)
        code = file_mkdirs(folder, err);
    if (code == 0)
        code = store_space(b->h, folder, name, total, err);
    for (size_t i = 0; i < json_array_size(files) && code == 0; i++)
        code = take_file(b, folder, text_of(m, "name"), json_array_get(files, i), err);
    if (code == 0 && archive_read_next_header(b->a, &e) != ARCHIVE_EOF)
        code = refuse(b, "more files follow than its manifest lists", err);
    return code;
}

/* The same rule as for pulls: what can't be opened does not get into the store. */
static int opens(const char *folder, const struct pull_opts *o, sp_error *err)
{
    checkpoint *c = NULL;
    int code = checkpoint_open(folder, &c, err);
    checkpoint_close(c);
    if (code == SP_EUNSUPPORTED) {
        pull_note(o, "%s", err->message);
        code = 0;
    }
    return code;
}

static int import_locked(struct bundle *b, const json_t *m, const char *name,
                         const struct pull_opts *o, sp_error *err)
{
    char work[160];
    snprintf(work, sizeof work, ".import-%s", name);
    char *folder = store_path(b->h, "partial", work), *done = store_path(b->h, "models", name);
    int code = folder && done ? 0 : sp_fail(err, SP_ENOMEM, "out of memory");
    if (code == 0 && file_is_dir(done) && !o->force)
        code = sp_fail(err, SP_EUSAGE,
                       "%s is on this machine already: --force puts the bundle's in its "
                       "place, --name keeps both",
                       name);
    if (code == 0) {
        code = take_all(b, m, folder, name, err);
        if (code == 0)
            code = opens(folder, o, err);
        struct origin from = {text_of(m, "source"), text_of(m, "revision"), text_of(m, "commit"),
                              text_of(m, "license")};
        if (code == 0)
            code = store_publish(b->h, work, name, &from, err);
        if (code < 0)
            file_remove_tree(folder, NULL);
    }
    sp_free(folder);
    sp_free(done);
    return code;
}

static int open_archive(struct bundle *b, sp_error *err)
{
    if (!file_exists(b->file))
        return sp_fail(err, SP_ENOTFOUND, "%.200s: no such file", b->file);
    b->a = archive_read_new();
    if (!b->a)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    if (archive_read_support_format_tar(b->a) != ARCHIVE_OK ||
        archive_read_open_filename(b->a, b->file, BLOCK) != ARCHIVE_OK)
        return archive_fail(b, SP_EFORMAT, err);
    return 0;
}

int hub_import(hub *h, const char *file, const struct pull_opts *opts, char **path, sp_error *err)
{
    struct bundle b;
    sp_error none = {0};
    json_t *m = NULL;
    int lock = -1;
    err = err ? err : &none;
    int code = bundle_open(&b, h, file, err);
    tracker_start(&b.t, opts, file, 0);
    if (code == 0)
        code = open_archive(&b, err);
    if (code == 0)
        code = read_manifest(&b, &m, err);
    const char *name = opts->name ? opts->name : text_of(m, "name");
    if (code == 0)
        code = store_name_check(name, err);
    if (code == 0)
        code = store_lock(h, name, opts, &lock, err);
    if (code == 0) {
        code = import_locked(&b, m, name, opts, err);
        store_unlock(lock);
    }
    if (code == 0)
        code = hub_resolve(h, name, path, err);
    if (b.a)
        archive_read_free(b.a);
    json_decref(m);
    sp_free(b.block);
    return code;
}
