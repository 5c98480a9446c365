/* Memory. All of Sampan allocates through these, so that tests can make the n-th allocation fail and
 * so that a model step can be shown to allocate nothing. Thread-safe. The result is aligned to 16
 * bytes (sp_alloc_aligned: to `align`). Freeing NULL is fine. A count that would overflow fails. */
#ifndef SP_BASE_ALLOC_H
#define SP_BASE_ALLOC_H

#include <stddef.h>

void *sp_malloc(size_t n);
void *sp_calloc(size_t count, size_t size);
void *sp_realloc(void *p, size_t n);
void *sp_realloc_array(void *p, size_t count, size_t size);
void *sp_alloc_aligned(size_t align, size_t n); /* free with sp_free */
char *sp_strdup(const char *s);
char *sp_strndup(const char *s, size_t n); /* copies n bytes and adds a NUL */
void sp_free(void *p);
/* Programs that run for long, before their threads start: blocks of 256 KiB and more always come from the system and go
 * back to it. libc raises that bound to 32 MiB once such blocks are freed, and its arenas keep holes of that size. */
void sp_alloc_return_large(void);
/* What was freed goes back to the system, where libc keeps it in pieces: after something large has ended. Takes
 * milliseconds. */
void sp_alloc_trim(void);

/* Tests: the n-th allocation of this thread from now on (1 = the next) returns NULL, and all after
 * it succeed; 0 turns it off. sp_alloc_count() counts this thread's allocations since the call. */
void sp_alloc_fail_nth(long n);
long sp_alloc_count(void);

/* Between begin and end an allocation by this thread aborts the program in debug and test builds
 * (SP_ALLOC_GUARD defined); in release builds both do nothing. */
void sp_alloc_guard_begin(void);
void sp_alloc_guard_end(void);

#endif
