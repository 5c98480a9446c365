/* GGUF version 2 and 3, little-endian (ggml-org/ggml: docs/gguf.md). Everything is checked against the
 * file's size before it is believed: counts, string lengths, array lengths, offsets, alignment, shapes.
 * An open gguf is read-only and may be read by any thread. */
#ifndef SP_FORMAT_GGUF_H
#define SP_FORMAT_GGUF_H

#include "format/tensor.h"

typedef struct gguf gguf;

enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64
};

/* Of a model split over several files (llama.cpp's gguf-split) give the first; the others are found beside it. */
int gguf_open(const char *path, gguf **out, sp_error *err);
/* The same from the bytes of one whole file, which stay the caller's and must outlive g. `name` is for messages. */
int gguf_open_memory(const void *data, size_t n, const char *name, gguf **out, sp_error *err);
void gguf_close(gguf *g);
/* "model-00002-of-00003.gguf": a part of a split model, and not its first. */
bool gguf_is_later_part(const char *name);

size_t gguf_tensor_count(const gguf *g);
const struct tensor_view *gguf_tensor_at(const gguf *g, size_t i);
const struct tensor_view *gguf_tensor_find(const gguf *g, const char *name); /* NULL: none */

/* Metadata. The getters return SP_ENOTFOUND when the key is missing, SP_EFORMAT when it has another
 * kind (any integer width is taken by gguf_get_int, f32 and f64 by gguf_get_float). */
bool gguf_has(const gguf *g, const char *key);
int gguf_get_int(const gguf *g, const char *key, int64_t *out);
int gguf_get_float(const gguf *g, const char *key, double *out);
int gguf_get_bool(const gguf *g, const char *key, bool *out);
int gguf_get_str(const gguf *g, const char *key, str *out); /* into the file's bytes */

/* Arrays. Strings lie one after the other with different lengths, so they are walked: */
int gguf_array_len(const gguf *g, const char *key, enum gguf_type *type, size_t *n);
int gguf_array_int(const gguf *g, const char *key, size_t i, int64_t *out);
int gguf_array_float(const gguf *g, const char *key, size_t i, double *out);
struct gguf_str_iter {
    const uint8_t *p, *end;
    size_t left;
};
int gguf_array_strings(const gguf *g, const char *key, struct gguf_str_iter *it);
bool gguf_next_string(struct gguf_str_iter *it, str *out);

/* For `sampan show`: the i-th key and a short text of its value (long arrays and strings shortened). */
size_t gguf_key_count(const gguf *g);
void gguf_key_text(const gguf *g, size_t i, str *key, buf *value);

#endif
