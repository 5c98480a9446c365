/* The catalogue: finding rows, and what they need of a machine. */
#include <string.h>
#include "hub/catalogue_int.h"

#define KV_BYTES 2    /* a key or value in the cache is F16 */
#define STEP_ROWS 512 /* rows of a prefill step, the engine's default */
#define LOGIT_ROWS 32 /* rows of logits at once */

const struct catalogue_entry *catalogue_all(size_t *n)
{
    *n = catalogue_count;
    return catalogue_entries;
}

const struct catalogue_entry *catalogue_find(const char *name)
{
    for (size_t i = 0; i < catalogue_count; i++)
        if (strcmp(catalogue_entries[i].name, name) == 0)
            return &catalogue_entries[i];
    return NULL;
}

/* weights: the file's bytes (the packed form holds as many bits)
 * keys and values: context x layers x 2 x kv_heads x head_dim x 2 bytes
 * scratch: rows x (5 hidden + 2 kv + 2 feed-forward floats and a quantized row of at most 3.4 bytes a
 *          column), and 32 rows of logits; see model/scratch.c */
uint64_t catalogue_memory(const struct catalogue_entry *e, int64_t context)
{
    uint64_t kv_row = (uint64_t)e->kv_heads * (uint64_t)e->head_dim;
    uint64_t hidden = (uint64_t)e->hidden, ffn = (uint64_t)e->ffn;
    uint64_t kv = (uint64_t)context * (uint64_t)e->layers * 2 * kv_row * KV_BYTES;
    uint64_t scratch = STEP_ROWS * (4 * (5 * hidden + 2 * kv_row + 2 * ffn) + ffn * 34 / 10) +
                       (uint64_t)LOGIT_ROWS * 4 * (uint64_t)e->vocab;
    return e->bytes + kv + scratch;
}

const struct catalogue_entry *catalogue_best(uint64_t memory)
{
    const struct catalogue_entry *best = NULL, *smallest = &catalogue_entries[0];
    for (size_t i = 0; i < catalogue_count; i++) {
        const struct catalogue_entry *e = &catalogue_entries[i];
        uint64_t need = catalogue_memory(e, 4096);
        if (need < catalogue_memory(smallest, 4096))
            smallest = e;
        if (e->newest && need <= memory && (!best || need > catalogue_memory(best, 4096)))
            best = e;
    }
    return best ? best : smallest;
}
