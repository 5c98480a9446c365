/* The packed form of a model's weights on disk: what model_load makes of them, kept, so that the next start maps it
 * instead of packing again, and processes that run the same model share its memory.
 *
 * A file holds the weights of one model in the order of bind_each, as they lie in memory:
 *   at 0          struct packed_header (packed_int.h), the rest of its page unused
 *   at data_at    data_bytes of tiles (kernel/pack.h); data_at is a multiple of 2 MB, so that pages of 2 MB can be
 *                 mapped where the file system holds them; what lies before is a hole
 * It is trusted only if its header is sound and its key is the one that the model at hand has: the sum of PACK_LAYOUT,
 * of inode, length, time of change and first 64 KB of each of the model's files, and of every matrix's place in them,
 * type, shape and place here. The layout is the same for every instruction set, so that none is part of the key.
 * Anything else is as good as no file: it is written anew. So is a file that somebody else could have written: its
 * owner must be this user, root or the owner of the model's file, and nobody else may write to it.
 *
 * The data's own sum is made while writing and looked at by packed_file_check only: reading all of it would cost what
 * the file saves. A file appears by one rename after all of it is on disk. */
#ifndef SP_MODEL_PACKED_FILE_H
#define SP_MODEL_PACKED_FILE_H

#include "base/error.h"

/* Reads all of a packed form: 0 when it is as it was written, SP_ECHECKSUM or SP_EFORMAT when not, SP_ECANCELLED when
 * cancelled (may be NULL) answers non-zero. Whether it belongs to a model is not asked. */
int packed_file_check(const char *path, int (*cancelled)(void *arg), void *arg, sp_error *err);

#endif
