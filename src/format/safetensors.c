#include "format/safetensors.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/map.h"

#define HEADER_MAX ((uint64_t)100 << 20) /* bytes; the format's own limit */
#define INDEX_MAX ((size_t)64 << 20)
#define SHARDS_MAX 4096

struct safetensors {
    arena *arena;
    file_map *maps;
    size_t n_maps;
    struct tensor_view *views;
    size_t n, cap;
    map *names;
};

static int add_view(safetensors *s, const struct tensor_view *v, const char *path, sp_error *err)
{
    int64_t other;
    if (map_get(s->names, v->name, strlen(v->name), &other))
        return sp_fail(err, SP_EFORMAT, "%.200s: tensor %s stands in two places", path, v->name);
    if (s->n == s->cap) {
        size_t cap = s->cap ? 2 * s->cap : 256;
        struct tensor_view *grown = sp_realloc_array(s->views, cap, sizeof *grown);
        if (!grown)
            return sp_fail(err, SP_ENOMEM, "%.200s: out of memory", path);
        s->views = grown;
        s->cap = cap;
    }
    if (map_set(s->names, v->name, strlen(v->name), (int64_t)s->n) < 0)
        return sp_fail(err, SP_ENOMEM, "%.200s: out of memory", path);
    s->views[s->n++] = *v;
    return 0;
}

static int read_shape(const json_t *shape, struct tensor_view *v, const char *path, sp_error *err)
{
    size_t i;
    const json_t *d;
    int64_t count = 1;
    if (!json_is_array(shape) || json_array_size(shape) > TENSOR_MAX_DIMS)
        return sp_fail(err, SP_EFORMAT,
                       "%.200s: tensor %s: its shape is no list of at most %d numbers", path,
                       v->name, TENSOR_MAX_DIMS);
    v->n_dims = (int)json_array_size(shape);
    json_array_foreach((json_t *)(uintptr_t)shape, i, d)
    {
        json_int_t n = json_is_integer(d) ? json_integer_value(d) : -1;
        if (n < 0 || n > INT32_MAX || (n && count > ((int64_t)1 << 48) / n))
            return sp_fail(err, SP_EFORMAT, "%.200s: tensor %s: its shape is impossible", path,
                           v->name);
        count *= n;
        v->shape[i] = n;
    }
    return 0;
}

static int read_range(const json_t *range, const file_map *m, uint64_t start, struct tensor_view *v,
                      const char *path, sp_error *err)
{
    const json_t *from = json_array_get(range, 0), *to = json_array_get(range, 1);
    uint64_t room = m->size - start,
             want = (uint64_t)tensor_count(v) * (uint64_t)dtype_get(v->dtype)->bytes;
    json_int_t begin = json_is_integer(from) ? json_integer_value(from) : -1;
    json_int_t end = json_is_integer(to) ? json_integer_value(to) : -1;
    if (json_array_size(range) != 2 || begin < 0 || end < begin)
        return sp_fail(err, SP_EFORMAT, "%.200s: tensor %s: its data_offsets are no range", path,
                       v->name);
    if ((uint64_t)end > room)
        return sp_fail(err, SP_EFORMAT,
                       "%.200s: tensor %s ends at byte %llu but the file has %zu: the download is "
                       "incomplete: pull it again",
                       path, v->name, (unsigned long long)start + (unsigned long long)end, m->size);
    if ((uint64_t)(end - begin) != want)
        return sp_fail(err, SP_EFORMAT,
                       "%.200s: tensor %s has %lld bytes, its shape and type need %llu", path,
                       v->name, (long long)(end - begin), (unsigned long long)want);
    v->data = m->data + start + begin;
    v->bytes = (size_t)want;
    return 0;
}

static int read_entry(safetensors *s, const file_map *m, uint64_t start, const char *name,
                      const json_t *e, const char *path, sp_error *err)
{
    struct tensor_view v = {.map = m};
    const json_t *type = json_object_get(e, "dtype");
    v.name = arena_strdup(s->arena, name);
    if (!v.name)
        return sp_fail(err, SP_ENOMEM, "%.200s: out of memory", path);
    if (!json_is_string(type) ||
        dtype_from_safetensors(str_of(json_string_value(type)), &v.dtype) < 0)
        return sp_fail(err, SP_EUNSUPPORTED,
                       "%.200s: tensor %s has the number format %.20s, which Sampan does not read",
                       path, name, json_is_string(type) ? json_string_value(type) : "(none)");
    int code = read_shape(json_object_get(e, "shape"), &v, path, err);
    if (code == 0)
        code = read_range(json_object_get(e, "data_offsets"), m, start, &v, path, err);
    return code == 0 ? add_view(s, &v, path, err) : code;
}

static int by_place(const void *a, const void *b)
{
    const struct tensor_view *x = *(const struct tensor_view *const *)a,
                             *y = *(const struct tensor_view *const *)b;
    return x->data < y->data ? -1 : x->data > y->data;
}

static int check_overlap(const safetensors *s, size_t first, const char *path, sp_error *err)
{
    size_t n = s->n - first;
    const struct tensor_view **order = n ? sp_malloc(n * sizeof *order) : NULL;
    int code = n && !order ? sp_fail(err, SP_ENOMEM, "%.200s: out of memory", path) : 0;
    for (size_t i = 0; code == 0 && i < n; i++)
        order[i] = &s->views[first + i];
    if (code == 0 && n > 1)
        qsort(order, n, sizeof *order, by_place);
    for (size_t i = 1; code == 0 && i < n; i++)
        if (order[i - 1]->data + order[i - 1]->bytes > order[i]->data)
            code = sp_fail(err, SP_EFORMAT, "%.200s: tensors %s and %s overlap", path,
                           order[i - 1]->name, order[i]->name);
    sp_free(order);
    return code;
}

/* maps[i] has been opened; the views point into it. */
static int read_file(safetensors *s, const file_map *m, const char *path, sp_error *err)
{
    json_error_t je;
    const char *name;
    json_t *entry;
    uint64_t n = 0;
    size_t first = s->n;
    if (m->size < 8)
        return sp_fail(
            err, SP_EFORMAT,
            "%.200s: too short for a safetensors file: the download is incomplete: pull it again",
            path);
    for (size_t i = 0; i < 8; i++)
        n |= (uint64_t)m->data[i] << (8 * i);
    if (n > HEADER_MAX || n > m->size - 8)
        return sp_fail(err, SP_EFORMAT,
                       "%.200s: its header should have %llu bytes, the file has %zu: not a "
                       "safetensors file, or incomplete: pull it again",
                       path, (unsigned long long)n, m->size);
    json_t *head = json_loadb((const char *)m->data + 8, (size_t)n, JSON_REJECT_DUPLICATES, &je);
    int code = json_is_object(head)
                   ? 0
                   : sp_fail(err, SP_EFORMAT, "%.200s: the header is no JSON object: %s", path,
                             head ? "" : je.text);
    if (code == 0) {
        json_object_foreach(head, name, entry)
        {
            if (code == 0 && strcmp(name, "__metadata__") != 0)
                code = read_entry(s, m, 8 + n, name, entry, path, err);
        }
    }
    json_decref(head);
    return code == 0 ? check_overlap(s, first, path, err) : code;
}

static int open_files(safetensors *s, char *const *paths, size_t n, sp_error *err)
{
    s->maps = sp_calloc(n, sizeof *s->maps);
    int code = s->maps ? 0 : sp_fail(err, SP_ENOMEM, "out of memory");
    for (size_t i = 0; i < n && code == 0; i++) {
        code = file_map_open(paths[i], &s->maps[i], err);
        if (code == 0) {
            s->n_maps++;
            code = read_file(s, &s->maps[i], paths[i], err);
        }
    }
    return code;
}

/* ---- the index of a sharded model ---- */

struct shards {
    char *paths[SHARDS_MAX];
    size_t n;
};

static int shard_path(struct shards *sh, const char *dir, const char *file, sp_error *err)
{
    if (strchr(file, '/') || file[0] == '.' || file[0] == '\0')
        return sp_fail(err, SP_EFORMAT,
                       "%.200s: the index names a shard '%.60s': not a plain file name", dir, file);
    char *path = path_join(dir, file);
    if (!path)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    for (size_t i = 0; i < sh->n; i++)
        if (strcmp(sh->paths[i], path) == 0) {
            sp_free(path);
            return 0;
        }
    if (sh->n == SHARDS_MAX || !file_exists(path)) {
        int code = sh->n == SHARDS_MAX
                       ? sp_fail(err, SP_EFORMAT, "%.200s: more than %d shards", dir, SHARDS_MAX)
                       : sp_fail(err, SP_ENOTFOUND,
                                 "%.200s: this shard is missing: pull the model again", path);
        sp_free(path);
        return code;
    }
    sh->paths[sh->n++] = path;
    return 0;
}

static const json_t *weight_map(const char *path, json_t **root, sp_error *err)
{
    char *text = NULL;
    size_t n;
    json_error_t je;
    if (file_read(path, INDEX_MAX, &text, &n, err) < 0)
        return NULL;
    *root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &je);
    sp_free(text);
    const json_t *m = json_object_get(*root, "weight_map");
    if (!json_is_object(m)) {
        sp_fail(err, SP_EFORMAT, "%.200s: no weight_map in it: %s", path, *root ? "" : je.text);
        return NULL;
    }
    return m;
}

/* Every tensor of the index must lie in the shard that it names. */
static int check_index(const safetensors *s, const json_t *m, const char *dir, sp_error *err)
{
    const char *name;
    json_t *file;
    json_object_foreach((json_t *)(uintptr_t)m, name, file)
    {
        if (!safetensors_find(s, name))
            return sp_fail(err, SP_EFORMAT, "%.200s: tensor %.100s should be in %.60s but is not",
                           dir, name, json_string_value(file));
    }
    return 0;
}

static int collect_shards(struct shards *sh, const char *dir, const char *index, const json_t *m,
                          sp_error *err)
{
    const char *name;
    json_t *file;
    json_object_foreach((json_t *)(uintptr_t)m, name, file)
    {
        int code =
            json_is_string(file)
                ? shard_path(sh, dir, json_string_value(file), err)
                : sp_fail(err, SP_EFORMAT, "%.200s: weight_map: %.100s names no file", index, name);
        if (code < 0)
            return code;
    }
    return 0;
}

static int open_index(safetensors *s, const char *dir, const char *index, sp_error *err)
{
    struct shards *sh = sp_calloc(1, sizeof *sh);
    json_t *root = NULL;
    const json_t *m = sh ? weight_map(index, &root, err) : NULL;
    int code = !sh   ? sp_fail(err, SP_ENOMEM, "out of memory")
               : m   ? 0
               : err ? err->code
                     : SP_EFORMAT;
    if (code == 0)
        code = collect_shards(sh, dir, index, m, err);
    if (code == 0)
        code = open_files(s, sh->paths, sh->n, err);
    if (code == 0)
        code = check_index(s, m, dir, err);
    for (size_t i = 0; sh && i < sh->n; i++)
        sp_free(sh->paths[i]);
    sp_free(sh);
    json_decref(root);
    return code;
}

static int open_folder(safetensors *s, const char *dir, sp_error *err)
{
    char *one = path_join(dir, "model.safetensors"),
         *index = path_join(dir, "model.safetensors.index.json");
    int code = one && index ? 0 : sp_fail(err, SP_ENOMEM, "out of memory");
    if (code == 0 && file_exists(index))
        code = open_index(s, dir, index, err);
    else if (code == 0 && file_exists(one))
        code = open_files(s, &one, 1, err);
    else if (code == 0)
        code = sp_fail(
            err, SP_ENOTFOUND,
            "%.200s: neither model.safetensors nor model.safetensors.index.json is there", dir);
    sp_free(one);
    sp_free(index);
    return code;
}

static int open_path(safetensors *s, const char *path, sp_error *err)
{
    if (file_is_dir(path))
        return open_folder(s, path, err);
    char *single = sp_strdup(path);
    int code = single ? open_files(s, &single, 1, err) : sp_fail(err, SP_ENOMEM, "out of memory");
    sp_free(single);
    return code;
}

static int open_bytes(safetensors *s, const char *name, const file_map *bytes, sp_error *err)
{
    s->maps = sp_calloc(1, sizeof *s->maps);
    if (!s->maps)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    s->maps[s->n_maps++] = *bytes;
    return read_file(s, s->maps, name, err);
}

/* `bytes` of one file, or with NULL what is at path. */
static int open_any(const char *path, const file_map *bytes, safetensors **out, sp_error *err)
{
    safetensors *s = sp_calloc(1, sizeof *s);
    if (!s)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    s->arena = arena_new((size_t)256 << 20);
    s->names = map_new(512);
    int code = s->arena && s->names ? 0 : sp_fail(err, SP_ENOMEM, "out of memory");
    if (code == 0)
        code = bytes ? open_bytes(s, path, bytes, err) : open_path(s, path, err);
    if (code < 0) {
        safetensors_close(s);
        return code;
    }
    *out = s;
    return 0;
}

int safetensors_open(const char *path, safetensors **out, sp_error *err)
{
    return open_any(path, NULL, out, err);
}

int safetensors_open_memory(const void *data, size_t n, const char *name, safetensors **out,
                            sp_error *err)
{
    const file_map bytes = {.data = data, .size = n, .borrowed = true};
    return open_any(name, &bytes, out, err);
}

void safetensors_close(safetensors *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n_maps; i++)
        file_map_close(&s->maps[i]);
    sp_free(s->maps);
    sp_free(s->views);
    map_free(s->names);
    arena_free(s->arena);
    sp_free(s);
}

size_t safetensors_count(const safetensors *s)
{
    return s->n;
}

const struct tensor_view *safetensors_at(const safetensors *s, size_t i)
{
    return &s->views[i];
}

const struct tensor_view *safetensors_find(const safetensors *s, const char *name)
{
    int64_t i;
    return map_get(s->names, name, strlen(name), &i) ? &s->views[i] : NULL;
}
