#include "format/gguf_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define KEYS_MAX 65536
#define TENSORS_MAX 65536
#define NAME_MAX_BYTES 256 /* the format allows 64; some writers use more */
#define ALIGNMENT_DEFAULT 32
#define NESTING_MOST 4 /* arrays in arrays */

struct reader {
    const uint8_t *p, *end;
    const char *path;
    sp_error *err;
};

static const size_t type_bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

static int truncated(const struct reader *r, const char *what)
{
    return sp_fail(r->err, SP_EFORMAT,
                   "%s: the file ends inside %s: the download is incomplete: pull it again",
                   r->path, what);
}

static uint64_t load(const uint8_t *p, size_t n)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

static int take(struct reader *r, size_t n, const char *what, uint64_t *out)
{
    *out = 0;
    if ((size_t)(r->end - r->p) < n)
        return truncated(r, what);
    *out = load(r->p, n);
    r->p += n;
    return 0;
}

static int take_string(struct reader *r, const char *what, str *out)
{
    uint64_t n;
    int code = take(r, 8, what, &n);
    if (code < 0)
        return code;
    if (n > (uint64_t)(r->end - r->p))
        return truncated(r, what);
    *out = (str){(const char *)r->p, (size_t)n};
    r->p += n;
    return 0;
}

static int skip_strings(struct reader *r, uint64_t n)
{
    str s;
    for (uint64_t i = 0; i < n; i++) {
        int code = take_string(r, "a list of strings", &s);
        if (code < 0)
            return code;
    }
    return 0;
}

static int skip_fixed(struct reader *r, enum gguf_type type, uint64_t n)
{
    size_t size = type_bytes[type];
    if (n > (uint64_t)(r->end - r->p) / size)
        return truncated(r, "a metadata value");
    r->p += n * size;
    return 0;
}

static int bad_type(const struct reader *r, const struct entry *e, uint64_t type)
{
    return sp_fail(r->err, SP_EFORMAT, "%s: metadata %.*s has the unknown type %" PRIu64, r->path,
                   (int)(e->key.n < 64 ? e->key.n : 64), e->key.p, type);
}

/* Type, length and values of an array; `head` gets them. Arrays of arrays are passed over. */
static int skip_array(struct reader *r, const struct entry *e, int depth, struct entry *head)
{
    uint64_t item;
    int code = take(r, 4, "an array's type", &item);
    if (code == 0)
        code = take(r, 8, "an array's length", &head->n);
    if (code < 0)
        return code;
    if (item > GGUF_F64 || (item == GGUF_ARRAY && depth == NESTING_MOST))
        return bad_type(r, e, item);
    head->item = (enum gguf_type)item;
    head->value = r->p;
    if (item == GGUF_STRING)
        return skip_strings(r, head->n);
    if (item != GGUF_ARRAY)
        return skip_fixed(r, head->item, head->n);
    struct entry inner;
    for (uint64_t i = 0; i < head->n && code == 0; i++)
        code = skip_array(r, e, depth + 1, &inner);
    return code;
}

static int read_entry(struct reader *r, struct entry *e)
{
    uint64_t type = 0;
    str s;
    int code = take_string(r, "a metadata key", &e->key);
    if (code == 0)
        code = take(r, 4, "a metadata type", &type);
    if (code < 0)
        return code;
    if (type > GGUF_F64)
        return bad_type(r, e, type);
    e->type = (enum gguf_type)type;
    e->value = r->p;
    if (e->type == GGUF_ARRAY)
        return skip_array(r, e, 1, e);
    return e->type == GGUF_STRING ? take_string(r, "a metadata string", &s)
                                  : skip_fixed(r, e->type, 1);
}

static int read_entries(gguf *g, struct reader *r, uint64_t n)
{
    if (n > KEYS_MAX)
        return sp_fail(r->err, SP_EFORMAT, "%s: %" PRIu64 " metadata keys: not a sound GGUF file",
                       r->path, n);
    g->entries = arena_array(g->arena, (size_t)n + 1, sizeof *g->entries);
    if (!g->entries)
        return sp_fail(r->err, SP_ENOMEM, "%s: out of memory", r->path);
    for (uint64_t i = 0; i < n; i++) {
        struct entry *e = &g->entries[i];
        int64_t other;
        int code = read_entry(r, e);
        if (code < 0)
            return code;
        if (map_get(g->keys, e->key.p, e->key.n, &other))
            return sp_fail(r->err, SP_EFORMAT, "%s: metadata %.*s stands twice", r->path,
                           (int)(e->key.n < 64 ? e->key.n : 64), e->key.p);
        if (map_set(g->keys, e->key.p, e->key.n, (int64_t)i) < 0)
            return sp_fail(r->err, SP_ENOMEM, "%s: out of memory", r->path);
        g->n_entries++;
    }
    return 0;
}

/* Dimensions come innermost first; shape is outermost first. The number of values fits int64 with room. */
static int read_shape(struct reader *r, struct tensor_view *t)
{
    uint64_t n, dim, count = 1;
    int code = take(r, 4, "a tensor's shape", &n);
    if (code == 0 && n > TENSOR_MAX_DIMS)
        code = sp_fail(r->err, SP_EFORMAT,
                       "%s: tensor %s has %" PRIu64 " dimensions, at most %d are known", r->path,
                       t->name, n, TENSOR_MAX_DIMS);
    if (code < 0)
        return code;
    t->n_dims = (int)n;
    for (int i = t->n_dims - 1; i >= 0; i--) {
        code = take(r, 8, "a tensor's shape", &dim);
        if (code < 0)
            return code;
        if (dim > INT32_MAX || (dim && count > ((uint64_t)1 << 48) / dim))
            return sp_fail(r->err, SP_EFORMAT,
                           "%s: tensor %s: a dimension of %" PRIu64 " is too large", r->path,
                           t->name, dim);
        count *= dim;
        t->shape[i] = (int64_t)dim;
    }
    return 0;
}

static int tensor_size(const struct reader *r, struct tensor_view *t)
{
    int64_t cols = t->n_dims ? t->shape[t->n_dims - 1] : 1, count = tensor_count(t);
    size_t row = 0;
    if (dtype_row_bytes(t->dtype, cols, &row) < 0)
        return sp_fail(r->err, SP_EFORMAT,
                       "%s: tensor %s: rows of %lld values do not divide into %s blocks of %d",
                       r->path, t->name, (long long)cols, dtype_get(t->dtype)->name,
                       dtype_get(t->dtype)->block);
    t->bytes = cols ? (size_t)(count / cols) * row : 0;
    return 0;
}

/* One line of the tensor table. The offset stays in t->bytes' place until the data's start is known. */
static int read_tensor(gguf *g, struct reader *r, struct tensor_view *t, uint64_t *offset)
{
    str name;
    uint64_t type = 0;
    int64_t other;
    int code = take_string(r, "the tensor table", &name);
    if (code < 0)
        return code;
    if (name.n == 0 || name.n > NAME_MAX_BYTES || memchr(name.p, 0, name.n))
        return sp_fail(r->err, SP_EFORMAT, "%s: a tensor has a name of %zu bytes", r->path, name.n);
    t->name = arena_strndup(g->arena, name.p, name.n);
    if (!t->name)
        return sp_fail(r->err, SP_ENOMEM, "%s: out of memory", r->path);
    code = read_shape(r, t);
    if (code == 0)
        code = take(r, 4, "the tensor table", &type);
    if (code == 0)
        code = take(r, 8, "the tensor table", offset);
    if (code < 0)
        return code;
    if (type > UINT32_MAX || dtype_from_gguf((uint32_t)type, &t->dtype) < 0)
        return sp_fail(r->err, SP_EUNSUPPORTED,
                       "%s: tensor %s has the number format %" PRIu64
                       ", which Sampan does not read: use a Q4_K_M or Q8_0 file",
                       r->path, t->name, type);
    if (map_get(g->names, name.p, name.n, &other))
        return sp_fail(r->err, SP_EFORMAT, "%s: tensor %s stands twice", r->path, t->name);
    if (map_set(g->names, name.p, name.n, (int64_t)g->n_tensors) < 0)
        return sp_fail(r->err, SP_ENOMEM, "%s: out of memory", r->path);
    return tensor_size(r, t);
}

static int place_tensor(const gguf *g, const struct reader *r, struct tensor_view *t,
                        uint64_t start, uint64_t offset, uint64_t alignment)
{
    if (offset % alignment != 0)
        return sp_fail(r->err, SP_EFORMAT, "%s: tensor %s is not aligned to %" PRIu64 " bytes",
                       r->path, t->name, alignment);
    if (offset > g->map.size || start > g->map.size - offset ||
        t->bytes > g->map.size - offset - start)
        return sp_fail(r->err, SP_EFORMAT,
                       "%s: tensor %s ends at byte %" PRIu64
                       " but the file has %zu: the download is incomplete: pull it again",
                       r->path, t->name, start + offset + t->bytes, g->map.size);
    t->data = g->map.data + start + offset;
    t->map = &g->map;
    return 0;
}

static int read_tensors(gguf *g, struct reader *r, uint64_t n)
{
    int64_t alignment = ALIGNMENT_DEFAULT;
    if (n > TENSORS_MAX)
        return sp_fail(r->err, SP_EFORMAT, "%s: %" PRIu64 " tensors: not a sound GGUF file",
                       r->path, n);
    if (gguf_has(g, "general.alignment") &&
        (gguf_get_int(g, "general.alignment", &alignment) < 0 || alignment < 1 ||
         alignment > 65536 || (alignment & (alignment - 1))))
        return sp_fail(r->err, SP_EFORMAT, "%s: general.alignment is no power of two up to 65536",
                       r->path);
    uint64_t *offsets = sp_calloc((size_t)n + 1, sizeof *offsets);
    g->tensors = arena_array(g->arena, (size_t)n + 1, sizeof *g->tensors);
    int code = offsets && g->tensors ? 0 : sp_fail(r->err, SP_ENOMEM, "%s: out of memory", r->path);
    for (uint64_t i = 0; i < n && code == 0; i++) {
        code = read_tensor(g, r, &g->tensors[i], &offsets[i]);
        g->n_tensors++;
    }
    uint64_t start = (uint64_t)(r->p - g->map.data);
    start = (start + (uint64_t)alignment - 1) / (uint64_t)alignment * (uint64_t)alignment;
    for (uint64_t i = 0; i < n && code == 0; i++)
        code = place_tensor(g, r, &g->tensors[i], start, offsets[i], (uint64_t)alignment);
    sp_free(offsets);
    return code;
}

static int read_head(gguf *g, struct reader *r)
{
    uint64_t magic, version, n_tensors, n_keys;
    int code = take(r, 4, "the header", &magic);
    if (code == 0 && magic != 0x46554747)
        return sp_fail(r->err, SP_EFORMAT, "%s: not a GGUF file", r->path);
    if (code == 0)
        code = take(r, 4, "the header", &version);
    if (code == 0 && version != 2 && version != 3)
        return sp_fail(r->err, SP_EUNSUPPORTED,
                       version & 0xffff ? "%s: GGUF version %" PRIu64 ": versions 2 and 3 are read"
                                        : "%s: a big-endian GGUF file (version word %" PRIu64
                                          "): little-endian ones are read",
                       r->path, version);
    if (code == 0)
        code = take(r, 8, "the header", &n_tensors);
    if (code == 0)
        code = take(r, 8, "the header", &n_keys);
    if (code == 0)
        code = read_entries(g, r, n_keys);
    return code == 0 ? read_tensors(g, r, n_tensors) : code;
}

static int take_map(gguf *g, const char *path, const file_map *bytes, sp_error *err)
{
    if (!bytes)
        return file_map_open(path, &g->map, err);
    g->map = *bytes;
    return 0;
}

int gguf_open_file(const char *path, const file_map *bytes, gguf **out, sp_error *err)
{
    gguf *g = sp_calloc(1, sizeof *g);
    if (!g)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    g->path = sp_strdup(path);
    g->arena = arena_new((size_t)256 << 20);
    g->keys = map_new(64);
    g->names = map_new(512);
    int code = g->path && g->arena && g->keys && g->names
                   ? take_map(g, path, bytes, err)
                   : sp_fail(err, SP_ENOMEM, "%.200s: out of memory", path);
    if (code == 0) {
        struct reader r = {g->map.data, g->map.data + g->map.size, path, err};
        code = read_head(g, &r);
    }
    if (code < 0) {
        gguf_close(g);
        return code;
    }
    *out = g;
    return 0;
}

void gguf_close(gguf *g)
{
    if (!g)
        return;
    for (size_t i = 0; i < g->n_parts; i++)
        gguf_close(g->parts[i]);
    file_map_close(&g->map);
    map_free(g->keys);
    map_free(g->names);
    arena_free(g->arena);
    sp_free(g->path);
    sp_free(g);
}

size_t gguf_tensor_count(const gguf *g)
{
    return g->n_tensors;
}

const struct tensor_view *gguf_tensor_at(const gguf *g, size_t i)
{
    return &g->tensors[i];
}

const struct tensor_view *gguf_tensor_find(const gguf *g, const char *name)
{
    int64_t i;
    return map_get(g->names, name, strlen(name), &i) ? &g->tensors[i] : NULL;
}

/* ---- metadata ---- */

static const struct entry *find(const gguf *g, const char *key)
{
    int64_t i;
    return map_get(g->keys, key, strlen(key), &i) ? &g->entries[i] : NULL;
}

static int value_int(enum gguf_type type, const uint8_t *p, int64_t *out)
{
    if (type == GGUF_F32 || type == GGUF_F64 || type == GGUF_STRING || type == GGUF_ARRAY)
        return SP_EFORMAT;
    size_t n = type_bytes[type];
    if (n == 0)
        return SP_EFORMAT;
    uint64_t v = load(p, n);
    bool is_signed = type == GGUF_I8 || type == GGUF_I16 || type == GGUF_I32 || type == GGUF_I64;
    if (is_signed && n < 8 && (v >> (8 * n - 1)) & 1)
        v |= ~(uint64_t)0 << (8 * n);
    if (type == GGUF_U64 && v > INT64_MAX)
        return SP_EFORMAT;
    memcpy(out, &v, sizeof *out);
    return 0;
}

static int value_float(enum gguf_type type, const uint8_t *p, double *out)
{
    float f;
    if (type == GGUF_F32) {
        memcpy(&f, p, sizeof f);
        *out = (double)f;
        return 0;
    }
    if (type == GGUF_F64) {
        memcpy(out, p, sizeof *out);
        return 0;
    }
    int64_t i;
    int code = value_int(type, p, &i);
    if (code == 0)
        *out = (double)i;
    return code;
}

bool gguf_has(const gguf *g, const char *key)
{
    return find(g, key) != NULL;
}

int gguf_get_int(const gguf *g, const char *key, int64_t *out)
{
    const struct entry *e = find(g, key);
    return e ? value_int(e->type, e->value, out) : SP_ENOTFOUND;
}

int gguf_get_float(const gguf *g, const char *key, double *out)
{
    const struct entry *e = find(g, key);
    return e ? value_float(e->type, e->value, out) : SP_ENOTFOUND;
}

int gguf_get_bool(const gguf *g, const char *key, bool *out)
{
    const struct entry *e = find(g, key);
    if (!e)
        return SP_ENOTFOUND;
    if (e->type != GGUF_BOOL)
        return SP_EFORMAT;
    *out = e->value[0] != 0;
    return 0;
}

int gguf_get_str(const gguf *g, const char *key, str *out)
{
    const struct entry *e = find(g, key);
    if (!e)
        return SP_ENOTFOUND;
    if (e->type != GGUF_STRING)
        return SP_EFORMAT;
    *out = (str){(const char *)e->value + 8, (size_t)load(e->value, 8)};
    return 0;
}

int gguf_array_len(const gguf *g, const char *key, enum gguf_type *type, size_t *n)
{
    const struct entry *e = find(g, key);
    if (!e)
        return SP_ENOTFOUND;
    if (e->type != GGUF_ARRAY)
        return SP_EFORMAT;
    *type = e->item;
    *n = (size_t)e->n;
    return 0;
}

static const uint8_t *array_item(const gguf *g, const char *key, size_t i, const struct entry **e)
{
    *e = find(g, key);
    if (!*e || (*e)->type != GGUF_ARRAY || !type_bytes[(*e)->item] || i >= (*e)->n)
        return NULL;
    return (*e)->value + i * type_bytes[(*e)->item];
}

int gguf_array_int(const gguf *g, const char *key, size_t i, int64_t *out)
{
    const struct entry *e = NULL;
    const uint8_t *p = array_item(g, key, i, &e);
    if (!e)
        return SP_ENOTFOUND;
    return p ? value_int(e->item, p, out) : SP_EFORMAT;
}

int gguf_array_float(const gguf *g, const char *key, size_t i, double *out)
{
    const struct entry *e = NULL;
    const uint8_t *p = array_item(g, key, i, &e);
    if (!e)
        return SP_ENOTFOUND;
    return p ? value_float(e->item, p, out) : SP_EFORMAT;
}

int gguf_array_strings(const gguf *g, const char *key, struct gguf_str_iter *it)
{
    const struct entry *e = find(g, key);
    if (!e)
        return SP_ENOTFOUND;
    if (e->type != GGUF_ARRAY || e->item != GGUF_STRING)
        return SP_EFORMAT;
    *it = (struct gguf_str_iter){e->value, g->map.data + g->map.size, (size_t)e->n};
    return 0;
}

/* The strings' lengths were checked when the file was opened. */
bool gguf_next_string(struct gguf_str_iter *it, str *out)
{
    if (it->left == 0)
        return false;
    *out = (str){(const char *)it->p + 8, (size_t)load(it->p, 8)};
    it->p += 8 + out->n;
    it->left--;
    return true;
}

size_t gguf_key_count(const gguf *g)
{
    return g->n_entries;
}

static void scalar_text(enum gguf_type type, const uint8_t *p, buf *out)
{
    int64_t i;
    double d;
    if (type == GGUF_BOOL)
        buf_puts(out, p[0] ? "true" : "false");
    else if (value_int(type, p, &i) == 0)
        buf_printf(out, "%" PRId64, i);
    else if (value_float(type, p, &d) == 0)
        buf_printf(out, "%g", d);
}

void gguf_key_text(const gguf *g, size_t i, str *key, buf *value)
{
    const struct entry *e = &g->entries[i];
    *key = e->key;
    if (e->type == GGUF_STRING) {
        size_t n = (size_t)load(e->value, 8),
               shown = n < 100 ? n : utf8_complete((const char *)e->value + 8, 100);
        buf_add(value, e->value + 8, shown);
        if (shown < n)
            buf_printf(value, "... (%zu bytes)", n);
    } else if (e->type == GGUF_ARRAY) {
        buf_printf(value, "[%" PRIu64 " values]", e->n);
    } else {
        scalar_text(e->type, e->value, value);
    }
}
