/* A tensor as it lies in a file: a look, not a copy. Shape is row-major, outermost first, as PyTorch
 * prints it: a linear layer's weight is [out, in]. (GGUF writes its dimensions the other way round;
 * the reader turns them.) The bytes belong to the open file. */
#ifndef SP_FORMAT_TENSOR_H
#define SP_FORMAT_TENSOR_H

#include "base/file.h"
#include "format/dtype.h"

#define TENSOR_MAX_DIMS 4

struct tensor_view {
    const char *name; /* as in the file */
    enum dtype dtype;
    int n_dims;
    int64_t shape[TENSOR_MAX_DIMS];
    const uint8_t *data; /* unaligned in general */
    size_t bytes;
    const file_map *map; /* the mapping the bytes lie in, for file_map_drop */
};

/* Number of values; 0 for an empty tensor. */
int64_t tensor_count(const struct tensor_view *t);
/* "[896, 128]" into out; returns out. */
const char *tensor_shape_text(const struct tensor_view *t, char out[96]);

#endif
