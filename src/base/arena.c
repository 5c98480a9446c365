#include "base/arena.h"

#include <stdint.h>
#include <string.h>
#include "base/alloc.h"

#define ALIGN 16
#define FIRST_BLOCK 4096     /* a small request's worth */
#define LARGEST_BLOCK 262144 /* blocks double up to here; a bigger piece gets its own block */

struct block {
    struct block *next;
    size_t used, size; /* bytes of data */
    _Alignas(ALIGN) unsigned char data[];
};

struct arena {
    struct block *current; /* where the next piece goes; older blocks follow */
    size_t max, used;
    size_t next_size;
};

arena *arena_new(size_t max_bytes)
{
    arena *a = sp_calloc(1, sizeof *a);
    if (!a)
        return NULL;
    a->max = max_bytes;
    a->next_size = FIRST_BLOCK;
    return a;
}

void arena_free(arena *a)
{
    if (!a)
        return;
    struct block *b = a->current;
    while (b) {
        struct block *next = b->next;
        sp_free(b);
        b = next;
    }
    sp_free(a);
}

/* A block with room for n bytes. One that holds a single big piece goes behind the current block, so
 * that the rest of the current one is not lost. */
static struct block *add_block(arena *a, size_t n)
{
    size_t size = n > a->next_size ? n : a->next_size;
    if (size > SIZE_MAX - sizeof(struct block))
        return NULL;
    struct block *b = sp_calloc(1, sizeof *b + size);
    if (!b)
        return NULL;
    b->size = size;
    if (n > a->next_size && a->current) {
        b->next = a->current->next;
        a->current->next = b;
    } else {
        b->next = a->current;
        a->current = b;
        if (a->next_size < LARGEST_BLOCK)
            a->next_size *= 2;
    }
    return b;
}

void *arena_alloc(arena *a, size_t n)
{
    if (n > SIZE_MAX - ALIGN)
        return NULL;
    size_t room = n ? (n + ALIGN - 1) / ALIGN * ALIGN : ALIGN;
    if (a->used > a->max || room > a->max - a->used)
        return NULL;
    struct block *b = a->current;
    if (!b || room > b->size - b->used) {
        b = add_block(a, room);
        if (!b)
            return NULL;
    }
    void *p = b->data + b->used;
    b->used += room;
    a->used += room;
    return p;
}

void *arena_array(arena *a, size_t count, size_t size)
{
    size_t n = 0;
    if (__builtin_mul_overflow(count, size, &n))
        return NULL;
    return arena_alloc(a, n);
}

char *arena_strndup(arena *a, const char *s, size_t n)
{
    if (n == SIZE_MAX)
        return NULL;
    char *copy = arena_alloc(a, n + 1);
    if (copy && n)
        memcpy(copy, s, n);
    return copy;
}

char *arena_strdup(arena *a, const char *s)
{
    return arena_strndup(a, s, strlen(s));
}

size_t arena_used(const arena *a)
{
    return a->used;
}
