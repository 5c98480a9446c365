/* What a checkpoint is and what it would take of memory, without loading it.
 *
 *     struct model_facts f;
 *     if (model_facts_read("qwen.gguf", 0, NULL, &f, &err) == 0) ...
 *     model_facts_free(&f);
 *
 * Reads the head of the file on the caller's thread. */
#ifndef SP_ENGINE_FACTS_H
#define SP_ENGINE_FACTS_H

#include <jansson.h>
#include "model/model.h"

#define FACTS_CONTEXT 4096 /* tokens that memory is counted for unless somebody says else */

struct model_facts {
    checkpoint *checkpoint; /* what the rest points into */
    const struct model_config *config;
    char format[64];
    const char *chat_template; /* where it comes from; NULL: none */
    int64_t parameters;
    int64_t context; /* tokens that memory is counted for: at most the model's own */
    uint64_t tensor_bytes;
    struct model_memory memory;
    uint64_t need; /* bytes for weights, steps and one context of keys and values */
};
/* context: 0 for FACTS_CONTEXT. kv: type of keys and values; NULL: the usual one. */
int model_facts_read(const char *path, int64_t context, const enum kv_type *kv,
                     struct model_facts *out, sp_error *err);
json_t *model_facts_json(const struct model_facts *f); /* an object; NULL: out of memory */
void model_facts_free(struct model_facts *f);

#endif
