/* sampan key: the file of API keys. A secret is shown once, when it is made. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>
#include "base/file.h"
#include "cli/cli_int.h"
#include "server/keyfile.h"

static int need_file(const options *o, const char **path, sp_error *err)
{
    *path = options_str(o, "keys");
    return *path ? 0 : sp_fail(err, SP_EUSAGE, "which file? say --keys FILE");
}

/* Two that change the file at the same time come one after the other. The lock is on the folder, since the file is
 * replaced as a whole. */
static int lock_beside(const char *path, sp_error *err)
{
    const char *base = path_base(path);
    char *dir = base == path ? sp_strdup(".") : sp_strndup(path, (size_t)(base - path));
    int fd = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    int bad = fd < 0 || flock(fd, LOCK_EX) != 0 ? errno : 0;
    sp_free(dir);
    if (bad) {
        if (fd >= 0)
            close(fd);
        return sp_fail(err, SP_EIO, "%s: its folder cannot be locked: %s", path, strerror(bad));
    }
    return fd;
}

static int64_t limit_of(const options *o, const char *name)
{
    return options_has(o, name) ? options_int(o, name) : 0;
}

static int key_new(const options *o, const char *path, const char *name, sp_error *err)
{
    struct keyfile f = {0};
    struct key_entry e = {.requests_per_minute = limit_of(o, "requests-per-minute"),
                          .tokens_per_minute = limit_of(o, "tokens-per-minute"),
                          .concurrent = limit_of(o, "concurrent"),
                          .page = options_bool(o, "page")};
    const char *const *models;
    char secret[KEY_SECRET_MAX];
    if (strlen(name) > KEY_NAME_MAX)
        return sp_fail(err, SP_EUSAGE, "a key's name has at most %d characters", KEY_NAME_MAX);
    (void)snprintf(e.name, sizeof e.name, "%s", name);
    e.n_models = options_list(o, "allow-model", &models);
    e.models = (char **)(uintptr_t)models; /* copied */
    int code = file_exists(path) ? keyfile_read(path, &f, err) : 0;
    if (code == 0)
        code = keyfile_add(&f, &e, secret, err);
    if (code == 0)
        code = keyfile_write(path, &f, err);
    if (code == 0) {
        printf("%s\n", secret);
        fprintf(stderr, "%s: this is the only time that the secret of %s is shown\n", path, name);
    }
    keyfile_free(&f);
    return code;
}

static int key_revoke(const char *path, const char *name, sp_error *err)
{
    struct keyfile f = {0};
    int code = keyfile_read(path, &f, err);
    if (code == 0 && !keyfile_remove(&f, name))
        code = sp_fail(err, SP_ENOTFOUND, "%s has no key %s: `%s key list --keys %s` shows them",
                       path, name, cli_program, path);
    if (code == 0)
        code = keyfile_write(path, &f, err);
    if (code == 0)
        fprintf(stderr, "%s: %s is revoked; a running server knows it after a reload\n", path,
                name);
    keyfile_free(&f);
    return code;
}

static void put_limit(int64_t n)
{
    if (n)
        printf(" %10lld", (long long)n);
    else
        printf(" %10s", "-");
}

static void print_table(const struct keyfile *f)
{
    printf("%-20s %-20s %10s %10s %10s  %s\n", "NAME", "CREATED", "REQ/MIN", "TOKENS/MIN",
           "AT ONCE", "MODELS");
    for (size_t i = 0; i < f->n; i++) {
        const struct key_entry *e = &f->entries[i];
        printf("%-20s %-20s", e->name, e->created);
        put_limit(e->requests_per_minute);
        put_limit(e->tokens_per_minute);
        put_limit(e->concurrent);
        printf("  %s", e->n_models ? "" : "all");
        for (size_t k = 0; k < e->n_models; k++)
            printf("%s%s", k ? "," : "", e->models[k]);
        printf("\n");
    }
}

static int key_list(const options *o, const char *path, sp_error *err)
{
    struct keyfile f;
    int code = keyfile_read(path, &f, err);
    if (code < 0)
        return code;
    if (options_bool(o, "json")) {
        json_t *list = json_array();
        for (size_t i = 0; i < f.n; i++) {
            const struct key_entry *e = &f.entries[i];
            json_t *models = e->n_models ? json_array() : json_null();
            for (size_t k = 0; k < e->n_models; k++)
                json_array_append_new(models, json_string(e->models[k]));
            json_array_append_new(
                list, json_pack("{s:s,s:s,s:o,s:I,s:I,s:I,s:b}", "name", e->name, "created",
                                e->created, "models", models, "requests_per_minute",
                                (json_int_t)e->requests_per_minute, "tokens_per_minute",
                                (json_int_t)e->tokens_per_minute, "concurrent",
                                (json_int_t)e->concurrent, "page", e->page));
        }
        cli_print_json(list);
    } else {
        print_table(&f);
    }
    keyfile_free(&f);
    return 0;
}

int cmd_key(const options *o, sp_error *err)
{
    const char *const *args, *path;
    size_t n = options_args(o, &args);
    int code = need_file(o, &path, err);
    if (code < 0)
        return code;
    bool list = n == 1 && strcmp(args[0], "list") == 0;
    bool make = n == 2 && strcmp(args[0], "new") == 0;
    bool revoke = n == 2 && strcmp(args[0], "revoke") == 0;
    if (list)
        return key_list(o, path, err);
    if (!make && !revoke)
        return sp_fail(err, SP_EUSAGE, "say `key new NAME`, `key list` or `key revoke NAME`");
    int lock = lock_beside(path, err);
    if (lock < 0)
        return lock;
    code = make ? key_new(o, path, args[1], err) : key_revoke(path, args[1], err);
    close(lock);
    return code;
}
