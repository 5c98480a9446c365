/* Arena: many small allocations, one free. Owned by one thread at a time. Memory is zeroed and
 * aligned to 16 bytes. Used for a load, a request, a parsed template. */
#ifndef SP_BASE_ARENA_H
#define SP_BASE_ARENA_H

#include <stddef.h>

typedef struct arena arena;

/* max_bytes: the hard limit over which arena_alloc returns NULL. NULL when out of memory. */
arena *arena_new(size_t max_bytes);
void arena_free(arena *a);
void *arena_alloc(arena *a, size_t n); /* NULL: out of memory or over the limit */
void *arena_array(arena *a, size_t count, size_t size);
char *arena_strndup(arena *a, const char *s, size_t n); /* n bytes and a NUL */
char *arena_strdup(arena *a, const char *s);
size_t arena_used(const arena *a);

#endif
