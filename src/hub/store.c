/* The model store: names, locks, the one rename that makes a model appear, list and remove. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/file.h"
#include "base/sha256.h"
#include "hub/hub_int.h"

#define META_MAX ((size_t)1 << 20)
#define SPARE_BYTES ((uint64_t)256 << 20) /* a disk is never filled to the brim */

static char *default_store(void)
{
    const char *env = getenv("SAMPAN_STORE"), *xdg = getenv("XDG_DATA_HOME"),
               *home = getenv("HOME");
    if (env && *env)
        return sp_strdup(env);
    if (xdg && *xdg)
        return path_join(xdg, "sampan");
    return path_join(home && *home ? home : "/tmp", ".local/share/sampan");
}

int hub_open(const char *store, hub **out, sp_error *err)
{
    hub *h = sp_calloc(1, sizeof *h);
    if (h)
        h->store = store ? sp_strdup(store) : default_store();
    if (!h || !h->store) {
        hub_close(h);
        return sp_fail(err, SP_ENOMEM, "out of memory");
    }
    *out = h;
    return 0;
}

void hub_close(hub *h)
{
    if (h) {
        sp_free(h->store);
        sp_free(h->packed);
    }
    sp_free(h);
}

const char *hub_store(const hub *h)
{
    return h->store;
}

int store_name_check(const char *name, sp_error *err)
{
    size_t n = strlen(name);
    bool ok = n > 0 && n < 128 && name[0] != '.';
    for (size_t i = 0; ok && i < n; i++)
        ok = isalnum((unsigned char)name[i]) || strchr("-_.", name[i]);
    return ok ? 0
              : sp_fail(err, SP_EINVAL,
                        "'%.64s' is no name for a model: letters, digits, '-', '_' and '.' are",
                        name);
}

char *store_path(const hub *h, const char *section, const char *name)
{
    buf b;
    buf_init(&b, 8192);
    buf_printf(&b, "%s/%s/%s", h->store, section, name);
    return buf_steal(&b);
}

int store_lock(const hub *h, const char *name, const struct pull_opts *o, int *fd, sp_error *err)
{
    char *folder = store_path(h, "partial", ""), *path = NULL;
    char file[160];
    bool told = false;
    snprintf(file, sizeof file, "%s.lock", name);
    int code = folder ? file_mkdirs(folder, err) : sp_fail(err, SP_ENOMEM, "out of memory");
    if (code == 0 && !(path = store_path(h, "partial", file)))
        code = sp_fail(err, SP_ENOMEM, "out of memory");
    if (code == 0) {
        *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        if (*fd < 0)
            code = sp_fail(err, SP_EIO, "%.200s: %s", path, strerror(errno));
    }
    while (code == 0 && flock(*fd, LOCK_EX | LOCK_NB) != 0) {
        if (!told)
            pull_note(o, "another pull of %s is running: waiting for it", name);
        told = true;
        clock_sleep(0.2);
        if (o->cancelled && o->cancelled(o->arg)) {
            close(*fd);
            code = sp_fail(err, SP_ECANCELLED, "stopped");
        }
    }
    sp_free(folder);
    sp_free(path);
    return code;
}

void store_unlock(int fd)
{
    close(fd);
}

/* Visits the regular files right in a folder. */
static int folder_files(const char *path,
                        int (*visit)(void *arg, const char *name, const char *full), void *arg,
                        sp_error *err)
{
    DIR *d = opendir(path);
    struct dirent *e;
    int code = 0;
    if (!d)
        return sp_fail(err, SP_EIO, "%.200s: %s", path, strerror(errno));
    while (code == 0 && (e = readdir(d)) != NULL) {
        struct stat st;
        char *full = path_join(path, e->d_name);
        if (!full)
            code = sp_fail(err, SP_ENOMEM, "out of memory");
        else if (e->d_name[0] != '.' && stat(full, &st) == 0 && S_ISREG(st.st_mode))
            code = visit(arg, e->d_name, full);
        sp_free(full);
    }
    closedir(d);
    return code;
}

struct description {
    json_t *files;
    uint64_t bytes;
    char only[256];
    size_t n;
    sp_error *err;
};

static int describe(void *arg, const char *name, const char *full)
{
    struct description *d = arg;
    char sum[65];
    if (strcmp(name, STORE_META) == 0)
        return 0;
    int code = sha256_file(full, sum, d->err);
    if (code < 0)
        return code;
    json_object_set_new(
        d->files, name,
        json_pack("{s:I,s:s}", "bytes", (json_int_t)file_size(full), "sha256", sum));
    d->bytes += (uint64_t)file_size(full);
    snprintf(d->only, sizeof d->only, "%s", name);
    d->n++;
    return 0;
}

static int write_meta(const char *folder, const char *name, const struct origin *from,
                      sp_error *err)
{
    struct description d = {.files = json_object(), .err = err};
    int code = folder_files(folder, describe, &d, err);
    char *path = path_join(folder, STORE_META), *text = NULL;
    json_t *meta = json_pack("{s:s,s:s,s:s*,s:s*,s:s?,s:I,s:I,s:o}", "name", name, "source",
                             from->source ? from->source : "", "revision", from->revision, "commit",
                             from->commit, "license", from->license, "bytes", (json_int_t)d.bytes,
                             "pulled", (json_int_t)clock_unix(), "files", d.files);
    if (code == 0 && d.n == 1 && str_ends(str_of(d.only), ".gguf"))
        json_object_set_new(meta, "file", json_string(d.only));
    if (code == 0 && (!path || !(text = json_dumps(meta, JSON_INDENT(2)))))
        code = sp_fail(err, SP_ENOMEM, "out of memory");
    if (code == 0)
        code = file_write_atomic(path, text, strlen(text), err);
    free(text); /* lib-owned: jansson's */
    json_decref(meta);
    sp_free(path);
    return code;
}

/* The model that a new pull replaces steps aside first, so that at no moment half of one is there. */
static int swap_in(const char *from, const char *to, const char *aside, sp_error *err)
{
    int code = file_is_dir(aside) ? file_remove_tree(aside, err) : 0;
    bool old = code == 0 && file_is_dir(to);
    if (old && rename(to, aside) != 0)
        code = sp_fail(err, SP_EIO, "%.200s: %s", to, strerror(errno));
    if (code == 0 && rename(from, to) != 0)
        code = sp_fail(err, SP_EIO, "%.200s: %s", to, strerror(errno));
    if (code == 0 && old)
        code = file_remove_tree(aside, err);
    return code;
}

/* Packed weights of the model that was there before would be of no use, only large. */
static void forget_packed(const hub *h, const char *folder)
{
    struct packed_place place;
    uint64_t freed;
    if (hub_packed(h, folder, &place, NULL) == 0)
        (void)packed_place_remove(&place, &freed, NULL);
    packed_place_free(&place);
}

int store_publish(const hub *h, const char *folder, const char *name, const struct origin *from,
                  sp_error *err)
{
    char old[160];
    snprintf(old, sizeof old, ".old-%s", name);
    char *source = store_path(h, "partial", folder), *to = store_path(h, "models", name),
         *models = store_path(h, "models", ""), *aside = store_path(h, "partial", old);
    int code = source && to && models && aside ? 0 : sp_fail(err, SP_ENOMEM, "out of memory");
    if (code == 0)
        code = write_meta(source, name, from, err);
    if (code == 0)
        code = file_mkdirs(models, err);
    if (code == 0)
        code = swap_in(source, to, aside, err);
    if (code == 0)
        forget_packed(h, to);
    sp_free(source);
    sp_free(to);
    sp_free(models);
    sp_free(aside);
    return code;
}

struct usage {
    uint64_t bytes;
};

static int add_usage(void *arg, const char *name, const char *full)
{
    struct usage *u = arg;
    struct stat st;
    (void)name;
    if (stat(full, &st) == 0)
        u->bytes += (uint64_t)st.st_blocks * 512;
    return 0;
}

int store_space(const hub *h, const char *folder, const char *name, uint64_t bytes, sp_error *err)
{
    struct usage u = {0};
    uint64_t left = file_space_free(folder);
    folder_files(folder, add_usage, &u, NULL);
    uint64_t need = (bytes > u.bytes ? bytes - u.bytes : 0) + SPARE_BYTES;
    if (bytes == 0 || left >= need)
        return 0;
    return sp_fail(err, SP_ENOSPACE,
                   "%s needs %.0f MB more on the disk of %.200s, where %.0f MB are free: make room "
                   "or set --store",
                   name, (double)need / 1e6, h->store, (double)left / 1e6);
}

int store_meta(const char *folder, json_t **out, sp_error *err)
{
    char *path = folder ? path_join(folder, STORE_META) : NULL, *text = NULL;
    size_t n;
    int code = path ? file_read(path, META_MAX, &text, &n, NULL) : SP_ENOMEM;
    *out = code == 0 ? json_loadb(text, n, 0, NULL) : NULL;
    sp_free(path);
    sp_free(text);
    return code == SP_ENOMEM ? sp_fail(err, code, "out of memory") : 0;
}

static char *copy_text(const json_t *j, const char *key)
{
    const char *s = json_string_value(json_object_get(j, key));
    return s ? sp_strdup(s) : NULL;
}

/* The path a checkpoint opens: the one GGUF file, or the folder. */
static char *checkpoint_of(const char *folder, const json_t *meta)
{
    const char *file = json_string_value(json_object_get(meta, "file"));
    return file ? path_join(folder, file) : sp_strdup(folder);
}

void stored_models_free(struct stored_model *m, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        sp_free(m[i].name);
        sp_free(m[i].path);
        sp_free(m[i].source);
        sp_free(m[i].sha256);
        sp_free(m[i].license);
        sp_free(m[i].commit);
    }
    sp_free(m);
}

static int fill_stored(const hub *h, struct stored_model *m, const char *name, const char *folder,
                       const json_t *meta, sp_error *err)
{
    struct packed_place place = {0};
    const char *file = json_string_value(json_object_get(meta, "file"));
    const json_t *one = file ? json_object_get(json_object_get(meta, "files"), file) : NULL;
    *m = (struct stored_model){.name = sp_strdup(name), .path = checkpoint_of(folder, meta)};
    m->source = copy_text(meta, "source");
    m->license = copy_text(meta, "license");
    m->commit = copy_text(meta, "commit");
    m->sha256 = copy_text(one, "sha256");
    m->bytes = (uint64_t)json_integer_value(json_object_get(meta, "bytes"));
    m->pulled = json_integer_value(json_object_get(meta, "pulled"));
    if (!m->name || !m->path)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    int code = hub_packed(h, m->path, &place, err);
    m->packed_bytes = packed_place_bytes(&place, NULL);
    packed_place_free(&place);
    return code;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct stored_model *)a)->name, ((const struct stored_model *)b)->name);
}

int hub_list(hub *h, struct stored_model **out, size_t *n, sp_error *err)
{
    char *models = store_path(h, "models", "");
    DIR *d = models ? opendir(models) : NULL;
    struct dirent *e;
    int code = models ? 0 : sp_fail(err, SP_ENOMEM, "out of memory");
    *out = NULL;
    *n = 0;
    while (code == 0 && d && (e = readdir(d)) != NULL) {
        if (e->d_name[0] == '.')
            continue;
        char *folder = store_path(h, "models", e->d_name);
        json_t *meta = NULL;
        code = store_meta(folder, &meta, err);
        if (meta) {
            struct stored_model *grown = sp_realloc_array(*out, *n + 1, sizeof *grown);
            if (grown) {
                *out = grown;
                code = fill_stored(h, &grown[(*n)++], e->d_name, folder, meta, err);
            } else {
                code = sp_fail(err, SP_ENOMEM, "out of memory");
            }
        }
        json_decref(meta);
        sp_free(folder);
    }
    if (d)
        closedir(d);
    sp_free(models);
    if (code < 0) {
        stored_models_free(*out, *n);
        *out = NULL;
        *n = 0;
    } else if (*n > 1) {
        qsort(*out, *n, sizeof **out, by_name);
    }
    return code;
}

int hub_remove(hub *h, const char *name, uint64_t *freed, sp_error *err)
{
    int code = store_name_check(name, err);
    char *folder = code == 0 ? store_path(h, "models", name) : NULL;
    json_t *meta = NULL;
    char *path = NULL;
    struct packed_place place = {0};
    uint64_t packed = 0;
    if (code == 0)
        code = store_meta(folder, &meta, err);
    if (code == 0 && !file_is_dir(folder))
        code = sp_fail(err, SP_ENOTFOUND,
                       "no model %s is on this machine: `sampan list` shows those that are", name);
    if (code == 0 && !(path = checkpoint_of(folder, meta)))
        code = sp_fail(err, SP_ENOMEM, "out of memory");
    if (code == 0)
        code = hub_packed(h, path, &place, err);
    if (code == 0)
        code = packed_place_remove(&place, &packed, err);
    if (code == 0) {
        *freed = (uint64_t)json_integer_value(json_object_get(meta, "bytes")) + packed;
        code = file_remove_tree(folder, err);
    }
    packed_place_free(&place);
    json_decref(meta);
    sp_free(path);
    sp_free(folder);
    return code;
}

int store_not_found(hub *h, const char *name, sp_error *err)
{
    size_t n, k;
    struct stored_model *m = NULL;
    const struct catalogue_entry *all = catalogue_all(&k);
    const char *near = NULL;
    size_t best = 4;
    if (catalogue_find(name))
        return sp_fail(err, SP_ENOTFOUND,
                       "model %.100s is not on this machine yet: `sampan pull %.100s` gets it",
                       name, name);
    if (hub_list(h, &m, &n, NULL) < 0)
        n = 0;
    for (size_t i = 0; i < n + k; i++) {
        const char *other = i < n ? m[i].name : all[i - n].name;
        size_t d = str_distance(str_of(name), str_of(other));
        if (d < best) {
            best = d;
            near = other;
        }
    }
    int code = near ? sp_fail(err, SP_ENOTFOUND,
                              "no model %.100s: did you mean %s? `sampan list` and `sampan pull` "
                              "show what there is",
                              name, near)
                    : sp_fail(err, SP_ENOTFOUND,
                              "no model %.100s: neither a file nor in the store: `sampan list` and "
                              "`sampan pull` show what there is",
                              name);
    stored_models_free(m, n);
    return code;
}

int hub_resolve(hub *h, const char *name_or_path, char **path, sp_error *err)
{
    char *folder = NULL;
    json_t *meta = NULL;
    int code = 0;
    *path = NULL;
    if (strchr(name_or_path, '/') || str_ends(str_of(name_or_path), ".gguf")) {
        if (!file_exists(name_or_path) && !file_is_dir(name_or_path))
            return sp_fail(err, SP_ENOTFOUND, "%.200s: no such file or folder", name_or_path);
        *path = sp_strdup(name_or_path);
    } else {
        if (store_name_check(name_or_path, NULL) == 0) {
            folder = store_path(h, "models", name_or_path);
            code = store_meta(folder, &meta, err);
        }
        if (code == 0 && meta)
            *path = checkpoint_of(folder, meta);
        else if (code == 0 && (file_exists(name_or_path) || file_is_dir(name_or_path)))
            *path = sp_strdup(name_or_path);
        else if (code == 0)
            code = store_not_found(h, name_or_path, err);
    }
    if (code == 0 && !*path)
        code = sp_fail(err, SP_ENOMEM, "out of memory");
    json_decref(meta);
    sp_free(folder);
    return code;
}

int hub_stored(hub *h, const char *name, char **path, sp_error *err)
{
    json_t *meta = NULL;
    *path = NULL;
    int code = store_name_check(name, err);
    char *folder = code == 0 ? store_path(h, "models", name) : NULL;
    if (code == 0)
        code = store_meta(folder, &meta, err);
    if (code == 0 && !meta)
        code = store_not_found(h, name, err);
    if (code == 0 && !(*path = checkpoint_of(folder, meta)))
        code = sp_fail(err, SP_ENOMEM, "out of memory");
    json_decref(meta);
    sp_free(folder);
    return code;
}

/* ---- is what lies here what came? ---- */

struct check {
    const json_t *files;
    struct verify_opts *o;
    struct verify_result *r;
    sp_error *err;
};

static void tell(const struct check *c, const char *name, const char *what)
{
    if (c->o->on_file)
        c->o->on_file(c->o->arg, name, what);
}

static int extra_file(void *arg, const char *name, const char *full)
{
    struct check *c = arg;
    (void)full;
    if (strcmp(name, STORE_META) != 0 && !json_object_get(c->files, name)) {
        tell(c, name, "not part of the model");
        c->r->bad++;
    }
    return 0;
}

static int check_file(struct check *c, const char *folder, const char *name, const json_t *want)
{
    const char *sum = json_string_value(json_object_get(want, "sha256"));
    json_int_t bytes = json_integer_value(json_object_get(want, "bytes"));
    char got[65], *path = path_join(folder, path_base(name));
    const char *what = "fine";
    int code = path ? 0 : sp_fail(c->err, SP_ENOMEM, "out of memory");
    if (code == 0 && !file_exists(path))
        what = "missing";
    else if (code == 0 && (int64_t)bytes != file_size(path))
        what = "has another size";
    else if (code == 0 && (code = sha256_file(path, got, c->err)) == 0)
        what = sum && strcmp(sum, got) == 0 ? "fine" : "damaged: its sha256 is another";
    if (code == 0) {
        tell(c, name, what);
        c->r->files++;
        c->r->bytes += (uint64_t)bytes;
        c->r->bad += strcmp(what, "fine") != 0;
    }
    sp_free(path);
    return code;
}

int hub_verify(hub *h, const char *name, struct verify_opts *o, struct verify_result *out,
               sp_error *err)
{
    int code = store_name_check(name, err);
    char *folder = code == 0 ? store_path(h, "models", name) : NULL;
    json_t *meta = NULL;
    const char *file;
    json_t *want;
    *out = (struct verify_result){0};
    if (code == 0)
        code = store_meta(folder, &meta, err);
    struct check c = {json_object_get(meta, "files"), o, out, err};
    if (code == 0 && !json_is_object(c.files))
        code = file_is_dir(folder)
                   ? sp_fail(err, SP_EFORMAT,
                             "%s: its " STORE_META " is gone or damaged: pull it again", name)
                   : store_not_found(h, name, err);
    if (code == 0)
        json_object_foreach((json_t *)(uintptr_t)c.files, file, want)
        {
            if (code == 0 && !(o->cancelled && o->cancelled(o->arg)))
                code = check_file(&c, folder, file, want);
        }
    if (code == 0)
        code = folder_files(folder, extra_file, &c, err);
    json_decref(meta);
    sp_free(folder);
    return code;
}
