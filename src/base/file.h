/* Files: mapping, whole reads, atomic writes, folders. Errors name the path. */
#ifndef SP_BASE_FILE_H
#define SP_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

/* What tells a file from another one, and from itself before a change. */
struct file_identity {
    uint64_t inode;
    int64_t changed_s, changed_ns; /* mtime */
    uint32_t owner;                /* user id; not part of the identity, but who could change it */
};

typedef struct file_map {
    const uint8_t *data;
    size_t size;   /* bytes; an empty file has data != NULL and size 0 */
    bool borrowed; /* the bytes are someone else's memory: closing and dropping leave them alone */
    struct file_identity id; /* of the file that is mapped; zeros when borrowed */
} file_map;

/* Maps a regular file read-only. The mapping outlives the descriptor. */
int file_map_open(const char *path, file_map *out, sp_error *err);
void file_map_close(file_map *m);
/* Tells the kernel that these bytes of the mapping are not needed again (their pages go back). */
void file_map_drop(const file_map *m, size_t offset, size_t n);

/* Reads a whole file of at most max bytes (else SP_EFULL); *data is NUL-terminated and the caller's (sp_free). */
int file_read(const char *path, size_t max, char **data, size_t *size, sp_error *err);
/* Writes to a temporary name beside path, syncs, renames: readers see the old or the new file. */
int file_write_atomic(const char *path, const void *data, size_t size, sp_error *err);
/* The last steps of such a write: what fd wrote to `name` is synced and takes the name `path` in the same folder,
 * to stay through a power cut. fd stays open. */
int file_publish(int fd, const char *name, const char *path, sp_error *err);

bool file_exists(const char *path);
bool file_is_dir(const char *path);
int64_t file_size(const char *path);              /* -1 when it can't be told */
int file_mkdirs(const char *path, sp_error *err); /* like mkdir -p */
/* A folder and all in it, or one file or link; follows no links. SP_ENOTFOUND when there is none. */
int file_remove_tree(const char *path, sp_error *err);
uint64_t file_space_free(const char *path); /* bytes for this user; UINT64_MAX if unknown */
/* "dir/name" in a new string (sp_free); NULL when out of memory. */
char *path_join(const char *dir, const char *name);
const char *path_base(const char *path); /* the part after the last '/' */

#endif
