/* One file's download: its segments (progress.c) and the lines that fill them (fetch.c). */
#ifndef SP_HUB_FETCH_INT_H
#define SP_HUB_FETCH_INT_H

#include "hub/http_int.h"

#define SEGMENTS_MAX 256

struct segment {
    uint64_t start,
        end;       /* bytes of the file; end is one past the last, UINT64_MAX: not known yet */
    uint64_t done; /* bytes that lie in the part file */
    bool taken;    /* a line is filling it */
};

/* What came of one file. On disk: the bytes in PATH.part, this in PATH.part.json, written after the bytes
 * are on disk, so that a cut of power or a kill never leaves it claiming what is not there. */
struct progress {
    char *part, *state;
    int fd;
    uint64_t size;                         /* of the whole file; 0: unknown */
    char etag[256], origin[2048], sum[65]; /* origin: the hub's address, or the file's */
    struct segment *segments;
    size_t n;
    double saved; /* clock_seconds of the last save */
};

/* Opens PATH.part and recalls what came of `file` from `origin`; nothing when it was another file. */
int progress_open(struct progress *p, const char *path, const struct remote_file *file,
                  const char *origin, sp_error *err);
int progress_save(struct progress *p, sp_error *err);
void progress_close(struct progress *p);
/* Divides a file of `size` bytes (0: unknown) into segments of which nothing has come. */
int progress_divide(struct progress *p, uint64_t size, sp_error *err);
/* Forgets all that came. */
int progress_reset(struct progress *p, uint64_t size, sp_error *err);
uint64_t progress_done(const struct progress *p);
bool progress_whole(const struct progress *p);
void progress_unlink(struct progress *p); /* the state file; the part file was renamed or is bad */

#endif
