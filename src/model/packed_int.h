/* Inside the model room: the packed form on disk (packed_file.h). packed_file.c reads, packed_keep.c writes. */
#ifndef SP_MODEL_PACKED_INT_H
#define SP_MODEL_PACKED_INT_H

#include "model/model_int.h"

#define PACKED_ALIGN ((size_t)2 << 20) /* of the data in the file, and of what is written at once */

struct packed_header {
    char magic[8];
    uint32_t byte_order; /* PACKED_ORDER as the writer's machine has it */
    uint32_t version;
    uint64_t data_at, data_bytes; /* bytes */
    uint64_t data_sum;
    char key[64]; /* hexadecimal */
    char sum[64]; /* sha256 of all before, hexadecimal */
};

/* Finds changed, lost and moved 64-bit words. Not against who wants to deceive: such a file isn't opened. */
struct packed_sum {
    uint64_t lane[8];
};
void packed_sum_init(struct packed_sum *s);
void packed_sum_add(struct packed_sum *s, const uint8_t *p, size_t n); /* n: multiple of 64 */
uint64_t packed_sum_end(const struct packed_sum *s);

/* Fills in what follows from the data's bytes, its sum and the key. SP_ENOMEM. */
int packed_header_make(struct packed_header *h, uint64_t bytes, uint64_t data_sum,
                       const char key[65]);

/* What a model keeps for it; one thread besides the loader's. */
struct packed_task;

/* Maps m->weights (m->weight_bytes, known) from a packed form that fits; false: there is none. Reading it goes on in a
 * thread of its own. Where the file system holds files in small pages only (ext4 before Linux 6.16), decoding from the
 * mapping would be 5 to 9% slower (bench/results/start.md): there it is copied into memory of 2 MB pages. */
bool packed_file_map(model *m);
/* After packing into m->weights: a thread writes them to the first place that takes them and then, where that costs
 * no speed, maps that file in their place, so that this process shares it, too. What goes wrong is logged; the weights
 * stay in memory then. */
void packed_file_keep(model *m);
/* Between steps: the file's pages in place of the memory, which goes back to the system; they are read again when they
 * are touched. False: there is no such file, and the weights stay in memory. */
bool packed_file_sleep(model *m);
/* Then: in memory again where that is faster, else read ahead. */
void packed_file_wake(model *m);
/* Before m->weights is unmapped. Waits for a write, for PATIENCE at most, then drops it. */
void packed_file_end(model *m);

/* Whether a mapping of a file has pages of 2 MB, by some of it, which is read. True, too, where memory has none. */
bool packed_large_pages(void *mapping, size_t bytes);

/* packed_keep.c, for packed_file.c */
struct packed_task *packed_task_new(const struct packed_opts *o,
                                    const char key[65]); /* NULL: out of memory */
void packed_task_read_ahead(struct packed_task *t, const model *m);
void packed_task_rest(struct packed_task *t); /* its thread has ended; packed_file_end's patience */
const char *packed_task_path(const struct packed_task *t, size_t i); /* NULL: none */
const char *packed_task_key(const struct packed_task *t);

#endif
