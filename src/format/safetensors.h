/* safetensors (huggingface/safetensors README): one file, or a folder with `model.safetensors` or with
 * `model.safetensors.index.json` and its shards. Checked: header at most 100 MB and within the file,
 * known dtypes, begin <= end within the file, size == product of shape times item size, no overlap, no
 * duplicates, every tensor of the index present in the shard it names. Read-only, any thread. */
#ifndef SP_FORMAT_SAFETENSORS_H
#define SP_FORMAT_SAFETENSORS_H

#include "format/tensor.h"

typedef struct safetensors safetensors;

int safetensors_open(const char *path, safetensors **out, sp_error *err); /* a file or a folder */
/* The bytes of one whole file, which stay the caller's and must outlive s. `name` is for messages. */
int safetensors_open_memory(const void *data, size_t n, const char *name, safetensors **out,
                            sp_error *err);
void safetensors_close(safetensors *s);
size_t safetensors_count(const safetensors *s);
const struct tensor_view *safetensors_at(const safetensors *s, size_t i);
const struct tensor_view *safetensors_find(const safetensors *s, const char *name); /* NULL: none */

#endif
