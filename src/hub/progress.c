/* Which bytes of a file have come, kept on disk between pulls. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/file.h"
#include "hub/fetch_int.h"

#define SEGMENT_MIN ((uint64_t)4 << 20)
#define SEGMENT_USUAL ((uint64_t)64 << 20)
#define STATE_MAX ((size_t)64 << 10)

int progress_divide(struct progress *p, uint64_t size, sp_error *err)
{
    uint64_t step = size / 64 < SEGMENT_MIN     ? SEGMENT_MIN
                    : size / 64 > SEGMENT_USUAL ? SEGMENT_USUAL
                                                : size / 64;
    if (size / step >= SEGMENTS_MAX)
        step = size / SEGMENTS_MAX + 1;
    p->size = size;
    p->n = size ? (size_t)((size + step - 1) / step) : 1;
    if (!p->segments && !(p->segments = sp_calloc(SEGMENTS_MAX, sizeof *p->segments)))
        return sp_fail(err, SP_ENOMEM, "out of memory");
    for (size_t i = 0; i < p->n; i++) {
        uint64_t end = (i + 1) * step;
        p->segments[i] = (struct segment){.start = i * step,
                                          .end = size == 0    ? UINT64_MAX
                                                 : end < size ? end
                                                              : size};
    }
    return 0;
}

int progress_reset(struct progress *p, uint64_t size, sp_error *err)
{
    p->etag[0] = '\0';
    unlink(p->state);
    if (ftruncate(p->fd, 0) != 0)
        return sp_fail(err, SP_EIO, "%.200s: %s", p->part, strerror(errno));
    return progress_divide(p, size, err);
}

uint64_t progress_done(const struct progress *p)
{
    uint64_t done = 0;
    for (size_t i = 0; i < p->n; i++)
        done += p->segments[i].done;
    return done;
}

bool progress_whole(const struct progress *p)
{
    return p->size > 0 && progress_done(p) == p->size;
}

static const char *text_of(const json_t *j, const char *key)
{
    const char *s = json_string_value(json_object_get(j, key));
    return s ? s : "";
}

static uint64_t number_of(const json_t *j)
{
    json_int_t n = json_integer_value(j);
    return n > 0 ? (uint64_t)n : 0;
}

/* Whether the bytes belong to the file that is wanted now: the sum decides where both know it; else size
 * and hub must be the same, and If-Range with the ETag lets the hub decide. */
static bool same_file(const json_t *j, const struct remote_file *file, const char *origin)
{
    const char *sum = text_of(j, "sum");
    const char *want = file->sha256[0] ? file->sha256 : file->blob;
    if (file->bytes && number_of(json_object_get(j, "size")) != file->bytes)
        return false;
    if (*sum && *want)
        return strcasecmp(sum, want) == 0;
    return *text_of(j, "etag") && strcmp(text_of(j, "origin"), origin) == 0;
}

/* Takes the state only if every number in it can be true of the part file. */
static bool recall(struct progress *p, const json_t *j)
{
    const json_t *done = json_object_get(j, "done");
    uint64_t size = number_of(json_object_get(j, "size"));
    int64_t have = file_size(p->part);
    if (size == 0 || have < 0 || progress_divide(p, size, NULL) < 0 ||
        json_array_size(done) != p->n)
        return false;
    for (size_t i = 0; i < p->n; i++) {
        struct segment *s = &p->segments[i];
        s->done = number_of(json_array_get(done, i));
        if (s->done > s->end - s->start || (s->done && s->start + s->done > (uint64_t)have))
            return false;
    }
    return true;
}

int progress_open(struct progress *p, const char *path, const struct remote_file *file,
                  const char *origin, sp_error *err)
{
    buf a, b;
    char *text = NULL;
    size_t n;
    buf_init(&a, 8192);
    buf_init(&b, 8192);
    buf_printf(&a, "%s.part", path);
    buf_printf(&b, "%s.part.json", path);
    p->part = buf_steal(&a);
    p->state = buf_steal(&b);
    p->fd = -1;
    if (!p->part || !p->state)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    p->fd = open(p->part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (p->fd < 0)
        return sp_fail(err, SP_EIO, "%.200s: %s", p->part, strerror(errno));
    json_t *j =
        file_read(p->state, STATE_MAX, &text, &n, NULL) == 0 ? json_loadb(text, n, 0, NULL) : NULL;
    bool known = j && same_file(j, file, origin) && recall(p, j);
    if (known && strcmp(text_of(j, "origin"), origin) == 0)
        snprintf(p->etag, sizeof p->etag, "%s", text_of(j, "etag"));
    snprintf(p->origin, sizeof p->origin, "%s", origin);
    snprintf(p->sum, sizeof p->sum, "%s", file->sha256[0] ? file->sha256 : file->blob);
    json_decref(j);
    sp_free(text);
    return known ? 1 : progress_reset(p, file->bytes, err);
}

int progress_save(struct progress *p, sp_error *err)
{
    p->saved = clock_seconds();
    if (p->size == 0)
        return 0;
    json_t *done = json_array();
    for (size_t i = 0; i < p->n; i++)
        json_array_append_new(done, json_integer((json_int_t)p->segments[i].done));
    json_t *j = json_pack("{s:s,s:s,s:s,s:I,s:o}", "origin", p->origin, "etag", p->etag, "sum",
                          p->sum, "size", (json_int_t)p->size, "done", done);
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    int code = text ? 0 : sp_fail(err, SP_ENOMEM, "out of memory");
    if (code == 0 && fdatasync(p->fd) != 0)
        code = sp_fail(err, errno == ENOSPC ? SP_ENOSPACE : SP_EIO, "%.200s: %s", p->part,
                       strerror(errno));
    if (code == 0)
        code = file_write_atomic(p->state, text, strlen(text), err);
    free(text); /* lib-owned: jansson's */
    json_decref(j);
    return code;
}

void progress_unlink(struct progress *p)
{
    unlink(p->state);
}

void progress_close(struct progress *p)
{
    if (p->fd >= 0)
        close(p->fd);
    sp_free(p->part);
    sp_free(p->state);
    sp_free(p->segments);
    *p = (struct progress){.fd = -1};
}
