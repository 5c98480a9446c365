/* Small GGUF files for tests, byte by byte (ggml: docs/gguf.md): keys and tensors are gathered, then written. */
#ifndef SP_TESTS_GGUF_DRAFT_H
#define SP_TESTS_GGUF_DRAFT_H

#include <stdio.h>
#include <string.h>
#include "base/base.h"
#include "format/gguf.h"

struct gguf_draft {
    buf keys, table, data;
    uint64_t n_keys, n_tensors;
};

static inline void draft_bytes(buf *b, const void *p, size_t n)
{
    assert_int_equal(buf_add(b, p, n), 0);
}

static inline void draft_u32(buf *b, uint32_t v)
{
    draft_bytes(b, &v, sizeof v);
}

static inline void draft_u64(buf *b, uint64_t v)
{
    draft_bytes(b, &v, sizeof v);
}

static inline void draft_string(buf *b, const char *s)
{
    draft_u64(b, strlen(s));
    draft_bytes(b, s, strlen(s));
}

static inline struct gguf_draft draft_begin(void)
{
    struct gguf_draft d = {0};
    buf_init(&d.keys, SIZE_MAX / 2);
    buf_init(&d.table, SIZE_MAX / 2);
    buf_init(&d.data, SIZE_MAX / 2);
    return d;
}

static inline void draft_key(struct gguf_draft *d, const char *key, enum gguf_type type)
{
    draft_string(&d->keys, key);
    draft_u32(&d->keys, type);
    d->n_keys++;
}

static inline void draft_text(struct gguf_draft *d, const char *key, const char *value)
{
    draft_key(d, key, GGUF_STRING);
    draft_string(&d->keys, value);
}

static inline void draft_int(struct gguf_draft *d, const char *key, uint32_t value)
{
    draft_key(d, key, GGUF_U32);
    draft_u32(&d->keys, value);
}

static inline void draft_float(struct gguf_draft *d, const char *key, float value)
{
    draft_key(d, key, GGUF_F32);
    draft_bytes(&d->keys, &value, sizeof value);
}

static inline void draft_ints(struct gguf_draft *d, const char *key, const uint32_t *v, size_t n)
{
    draft_key(d, key, GGUF_ARRAY);
    draft_u32(&d->keys, GGUF_U32);
    draft_u64(&d->keys, n);
    draft_bytes(&d->keys, v, n * sizeof *v);
}

/* A float32 matrix of zeros, [rows, cols]. */
static inline void draft_matrix(struct gguf_draft *d, const char *name, uint64_t rows,
                                uint64_t cols)
{
    static const uint8_t zeros[4096];
    draft_string(&d->table, name);
    draft_u32(&d->table, 2);
    draft_u64(&d->table, cols);
    draft_u64(&d->table, rows);
    draft_u32(&d->table, 0);
    draft_u64(&d->table, d->data.len);
    assert_true(rows * cols * 4 % 32 == 0 && rows * cols * 4 <= sizeof zeros);
    draft_bytes(&d->data, zeros, (size_t)(rows * cols * 4));
    d->n_tensors++;
}

/* Writes the file and lets the draft go. */
static inline void draft_write(struct gguf_draft *d, const char *path)
{
    static const uint8_t zeros[32];
    buf file;
    buf_init(&file, SIZE_MAX / 2);
    draft_bytes(&file, "GGUF", 4);
    draft_u32(&file, 3);
    draft_u64(&file, d->n_tensors);
    draft_u64(&file, d->n_keys);
    draft_bytes(&file, d->keys.data, d->keys.len);
    draft_bytes(&file, d->table.data, d->table.len);
    draft_bytes(&file, zeros, (32 - file.len % 32) % 32);
    draft_bytes(&file, d->data.data, d->data.len);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(file.data, 1, file.len, f), file.len);
    assert_int_equal(fclose(f), 0);
    buf_free(&file);
    buf_free(&d->keys);
    buf_free(&d->table);
    buf_free(&d->data);
}

#endif
