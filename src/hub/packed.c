/* Where the packed weights of a model are kept: beside the models of the store for its own, and in the user's cache for
 * models from elsewhere and where the store can't be written to.
 *
 *   STORE/packed/NAME.packed                    of models/NAME
 *   CACHE/NAME-SUM.packed                       of any model: SUM is of its real path
 * with ".tmp" behind while it is written. Which model it holds is told by the file itself (model/packed_file.h). */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/file.h"
#include "base/sha256.h"
#include "hub/hub_int.h"

#define ENDING ".packed"

int hub_set_packed(hub *h, const char *setting, sp_error *err)
{
    if (!strchr(setting, '/') && strcmp(setting, "on") != 0 && strcmp(setting, "off") != 0)
        return sp_fail(err, SP_EUSAGE,
                       "--packed-cache: '%.64s' is neither on, off nor a folder with a '/' in it",
                       setting);
    sp_free(h->packed);
    h->packed = strcmp(setting, "on") == 0 ? NULL : sp_strdup(setting);
    return h->packed || strcmp(setting, "on") == 0 ? 0 : sp_fail(err, SP_ENOMEM, "out of memory");
}

/* The user's cache, or the folder that was set; the caller's. NULL: out of memory. */
static char *cache_folder(const hub *h)
{
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (h->packed && strchr(h->packed, '/'))
        return sp_strdup(h->packed);
    if (xdg && *xdg)
        return path_join(xdg, "sampan/packed");
    return path_join(home && *home ? home : "/tmp", ".cache/sampan/packed");
}

/* "/x/qwen-q4.gguf" -> "DIR/qwen-q4.gguf-0123456789abcdef.packed" */
static char *cache_path(const hub *h, const char *real)
{
    buf b;
    char sum[65] = "";
    char *dir = cache_folder(h);
    sha256 *s = sha256_new();
    buf_init(&b, 1 << 16);
    if (s) {
        sha256_add(s, real, strlen(real));
        sha256_hex(s, sum);
    }
    sha256_free(s);
    if (dir && sum[0])
        buf_printf(&b, "%s/%.100s-%.16s" ENDING, dir, path_base(real), sum);
    sp_free(dir);
    return buf_steal(&b);
}

/* "STORE/packed/NAME.packed" for a path in STORE/models/NAME; "" for another one. NULL: out of memory. */
static char *store_place(const hub *h, const char *real)
{
    char *models = store_path(h, "models", "");
    char *root = models ? realpath(models, NULL) : NULL; /* lib-owned */
    size_t n = root ? strlen(root) : 0;
    buf b;
    buf_init(&b, 1 << 16);
    buf_puts(&b, "");
    if (n > 0 && strncmp(real, root, n) == 0 && real[n] == '/' && real[n + 1])
        buf_printf(&b, "%s/packed/%.*s" ENDING, h->store, (int)strcspn(real + n + 1, "/"),
                   real + n + 1);
    free(root); /* lib-owned: realpath's */
    bool known = models != NULL;
    sp_free(models);
    if (known)
        return buf_steal(&b);
    buf_free(&b);
    return NULL;
}

int hub_packed(const hub *h, const char *path, struct packed_place *out, sp_error *err)
{
    *out = (struct packed_place){{NULL, NULL}};
    if (h->packed && strcmp(h->packed, "off") == 0)
        return 0;
    char *real = realpath(path, NULL); /* lib-owned */
    if (!real)
        return errno == ENOMEM ? sp_fail(err, SP_ENOMEM, "out of memory") : 0;
    char *in_store = h->packed ? sp_strdup("") : store_place(h, real);
    char *in_cache = cache_path(h, real);
    free(real); /* lib-owned: realpath's */
    int n = 0;
    if (in_store && in_cache && in_store[0])
        out->paths[n++] = in_store;
    else
        sp_free(in_store);
    out->paths[n] = in_cache;
    if (!in_store || !in_cache) {
        packed_place_free(out);
        return sp_fail(err, SP_ENOMEM, "out of memory");
    }
    return 0;
}

void packed_place_free(struct packed_place *p)
{
    for (size_t i = 0; i < SP_COUNT(p->paths); i++)
        sp_free(p->paths[i]);
    *p = (struct packed_place){{NULL, NULL}};
}

static uint64_t bytes_on_disk(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0 && S_ISREG(st.st_mode) ? (uint64_t)st.st_blocks * 512 : 0;
}

uint64_t packed_place_bytes(const struct packed_place *p, const char **path)
{
    uint64_t all = 0;
    if (path)
        *path = NULL;
    for (size_t i = 0; i < SP_COUNT(p->paths); i++) {
        uint64_t bytes = p->paths[i] ? bytes_on_disk(p->paths[i]) : 0;
        if (bytes > 0 && path && !*path)
            *path = p->paths[i];
        all += bytes;
    }
    return all;
}

static int remove_one(const char *path, uint64_t *freed, sp_error *err)
{
    uint64_t bytes = bytes_on_disk(path);
    if (unlink(path) == 0)
        *freed += bytes;
    else if (errno != ENOENT && errno != ENOTDIR)
        return sp_fail(err, SP_EIO, "can't remove %.200s: %s", path, strerror(errno));
    return 0;
}

int packed_place_remove(const struct packed_place *p, uint64_t *freed, sp_error *err)
{
    int code = 0;
    *freed = 0;
    for (size_t i = 0; i < SP_COUNT(p->paths) && code == 0; i++) {
        buf b;
        buf_init(&b, 1 << 16);
        if (!p->paths[i])
            continue;
        code = buf_printf(&b, "%s.tmp", p->paths[i]) < 0 ? sp_fail(err, SP_ENOMEM, "out of memory")
                                                         : remove_one(b.data, freed, err);
        if (code == 0)
            code = remove_one(p->paths[i], freed, err);
        buf_free(&b);
    }
    return code;
}

static int clear_folder(const char *dir, uint64_t *freed, size_t *n, sp_error *err)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    int code = 0;
    while (d && code == 0 && (e = readdir(d)) != NULL) {
        if (!str_ends(str_of(e->d_name), ENDING) && !str_ends(str_of(e->d_name), ENDING ".tmp"))
            continue;
        char *path = path_join(dir, e->d_name);
        code = path ? remove_one(path, freed, err) : sp_fail(err, SP_ENOMEM, "out of memory");
        sp_free(path);
        *n += code == 0;
    }
    if (d)
        closedir(d);
    return code;
}

int hub_packed_clear(const hub *h, uint64_t *freed, size_t *n, sp_error *err)
{
    char *in_store = store_path(h, "packed", ""), *in_cache = cache_folder(h);
    int code = in_store && in_cache ? 0 : sp_fail(err, SP_ENOMEM, "out of memory");
    *freed = 0;
    *n = 0;
    if (code == 0)
        code = clear_folder(in_store, freed, n, err);
    if (code == 0)
        code = clear_folder(in_cache, freed, n, err);
    sp_free(in_store);
    sp_free(in_cache);
    return code;
}
