/* Models split over several GGUF files, as llama.cpp's gguf-split writes them: NAME-00001-of-00003.gguf and so on. The
 * first holds the metadata; split.no, split.count and split.tensors.count tell a file's place. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "format/gguf_int.h"

#define PARTS_MOST 9999
#define TAIL_BYTES 20 /* of "-00002-of-00003.gguf" */

struct split {
    int64_t no, count, tensors;
};

/* Zeros when the file does not belong to a split model. */
static int read_split(const gguf *g, struct split *s, sp_error *err)
{
    *s = (struct split){0};
    if (!gguf_has(g, "split.count"))
        return 0;
    if (gguf_get_int(g, "split.count", &s->count) < 0 || gguf_get_int(g, "split.no", &s->no) < 0 ||
        gguf_get_int(g, "split.tensors.count", &s->tensors) < 0 || s->count < 0 ||
        s->count > PARTS_MOST || s->no < 0 || s->no >= (s->count ? s->count : 1) || s->tensors < 0)
        return sp_fail(err, SP_EFORMAT,
                       "%s: split.no, split.count and split.tensors.count make no sense", g->path);
    return 0;
}

typedef char tail_text[48];

/* "-00002-of-00003.gguf" for no = 1. Numbers are below PARTS_MOST, so that all tails are as long. */
static const char *tail_of(int64_t no, int64_t count, tail_text out)
{
    snprintf(out, sizeof(tail_text), "-%05d-of-%05d.gguf", (int)no + 1, (int)count);
    return out;
}

static bool is_part_name(const char *path, int64_t no, int64_t count)
{
    tail_text tail;
    return str_ends(str_of(path), tail_of(no, count, tail));
}

/* The name of part `no` (from 0), path being that of part `of`; NULL: out of memory. */
static char *part_path(const char *path, int64_t of, int64_t no, int64_t count)
{
    tail_text tail;
    char *out = sp_strdup(path);
    if (out && is_part_name(path, of, count))
        memcpy(out + strlen(out) - TAIL_BYTES, tail_of(no, count, tail), TAIL_BYTES);
    return out;
}

static int open_part(gguf *g, int64_t no, const struct split *s, sp_error *err)
{
    struct split own;
    if (!is_part_name(g->path, 0, s->count))
        return sp_fail(err, SP_EFORMAT,
                       "%s: the first of %" PRId64 " parts must be named NAME-00001-of-%05" PRId64
                       ".gguf: give it its name back",
                       g->path, s->count, s->count);
    char *path = part_path(g->path, 0, no, s->count);
    if (!path)
        return sp_fail(err, SP_ENOMEM, "%s: out of memory", g->path);
    int code = file_exists(path)
                   ? gguf_open_file(path, NULL, &g->parts[g->n_parts], err)
                   : sp_fail(err, SP_ENOTFOUND,
                             "%s: part %" PRId64 " of %" PRId64 " is missing: pull the model again",
                             path, no + 1, s->count);
    if (code == 0) {
        const gguf *part = g->parts[g->n_parts++];
        code = read_split(part, &own, err);
        if (code == 0 && (own.no != no || own.count != s->count))
            code = sp_fail(err, SP_EFORMAT, "%s: it says that it is part %" PRId64 " of %" PRId64,
                           path, own.no + 1, own.count);
    }
    sp_free(path);
    return code;
}

/* All parts' tensors in one list. */
static int join_tensors(gguf *g, const struct split *s, sp_error *err)
{
    size_t total = g->n_tensors;
    for (size_t i = 0; i < g->n_parts; i++)
        total += g->parts[i]->n_tensors;
    if (total != (uint64_t)s->tensors)
        return sp_fail(err, SP_EFORMAT,
                       "%s: its parts have %zu tensors, it says %" PRId64 ": pull the model again",
                       g->path, total, s->tensors);
    struct tensor_view *all = arena_array(g->arena, total + 1, sizeof *all);
    if (!all)
        return sp_fail(err, SP_ENOMEM, "%s: out of memory", g->path);
    memcpy(all, g->tensors, g->n_tensors * sizeof *all);
    g->tensors = all;
    for (size_t i = 0; i < g->n_parts; i++)
        for (size_t k = 0; k < g->parts[i]->n_tensors; k++) {
            const struct tensor_view *t = &g->parts[i]->tensors[k];
            int64_t other;
            if (map_get(g->names, t->name, strlen(t->name), &other))
                return sp_fail(err, SP_EFORMAT, "%s: tensor %s stands twice", g->parts[i]->path,
                               t->name);
            if (map_set(g->names, t->name, strlen(t->name), (int64_t)g->n_tensors) < 0)
                return sp_fail(err, SP_ENOMEM, "%s: out of memory", g->path);
            g->tensors[g->n_tensors++] = *t;
        }
    return 0;
}

static int open_parts(gguf *g, const struct split *s, sp_error *err)
{
    if (s->no != 0) {
        char *first = part_path(g->path, s->no, 0, s->count);
        int code = sp_fail(err, SP_EUSAGE,
                           "%s: this is part %" PRId64 " of %" PRId64 ": name the first one: %s",
                           g->path, s->no + 1, s->count, first ? first : "NAME-00001-of-...");
        sp_free(first);
        return code;
    }
    g->parts = arena_array(g->arena, (size_t)s->count, sizeof(gguf *));
    if (!g->parts)
        return sp_fail(err, SP_ENOMEM, "%s: out of memory", g->path);
    int code = 0;
    for (int64_t no = 1; no < s->count && code == 0; no++)
        code = open_part(g, no, s, err);
    return code == 0 ? join_tensors(g, s, err) : code;
}

static int open_whole(const char *path, const file_map *bytes, gguf **out, sp_error *err)
{
    gguf *g = NULL;
    struct split s;
    int code = gguf_open_file(path, bytes, &g, err);
    if (code < 0)
        return code;
    code = read_split(g, &s, err);
    if (code == 0 && s.count > 1)
        code = open_parts(g, &s, err);
    if (code < 0) {
        gguf_close(g);
        return code;
    }
    *out = g;
    return 0;
}

int gguf_open(const char *path, gguf **out, sp_error *err)
{
    return open_whole(path, NULL, out, err);
}

int gguf_open_memory(const void *data, size_t n, const char *name, gguf **out, sp_error *err)
{
    const file_map bytes = {.data = data, .size = n, .borrowed = true};
    return open_whole(name, &bytes, out, err);
}

bool gguf_is_later_part(const char *name)
{
    int64_t no, count;
    int used = 0;
    size_t n = strlen(name);
    return n >= TAIL_BYTES &&
           sscanf(name + n - TAIL_BYTES, "-%5" SCNd64 "-of-%5" SCNd64 ".gguf%n", &no, &count,
                  &used) == 2 &&
           used == TAIL_BYTES && no > 1;
}
