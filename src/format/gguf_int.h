/* Private to the GGUF readers: an open file, and the parts of a split one. */
#ifndef SP_FORMAT_GGUF_INT_H
#define SP_FORMAT_GGUF_INT_H

#include "base/map.h"
#include "format/gguf.h"

struct entry {
    str key;
    enum gguf_type type, item; /* item: of an array */
    uint64_t n;                /* values of an array */
    const uint8_t *value;
};

struct gguf {
    char *path;
    file_map map;
    arena *arena;
    struct entry *entries;
    size_t n_entries;
    struct tensor_view *tensors;
    size_t n_tensors;
    map *keys, *names;
    gguf **
        parts; /* the other files of a split model, in order; their tensors stand in `tensors` too */
    size_t n_parts;
};

/* One file, split or not: `bytes`, or with NULL the file at path. */
int gguf_open_file(const char *path, const file_map *bytes, gguf **out, sp_error *err);

#endif
