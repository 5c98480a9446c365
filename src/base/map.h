/* Hash map from byte strings to int64: keys are copied. Not thread-safe for writers; any number of
 * readers once built. Hash: a keyed function with a seed drawn at start, so that hostile keys from
 * outside cannot make it slow. */
#ifndef SP_BASE_MAP_H
#define SP_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct map map;

map *map_new(size_t expected);
void map_free(map *m);
size_t map_count(const map *m);
/* Sets key to value (replacing keeps its place). 0, or SP_ENOMEM with the map unchanged (also for keys
 * of 4 GiB and more, and the 2^32nd entry). */
int map_set(map *m, const void *key, size_t n, int64_t value);
bool map_get(const map *m, const void *key, size_t n, int64_t *value);
bool map_remove(map *m, const void *key, size_t n);
/* Visits all entries in insertion order (removed ones left out); *cursor starts at 0. The
 * map must not be set meanwhile; *key is good until the next map_set. Any output may be NULL. */
bool map_next(const map *m, size_t *cursor, const void **key, size_t *n, int64_t *value);

#endif
