/* Bytes right before a page that may not be touched: whoever reads one too many dies at once, in every build. */
#ifndef SP_TESTS_GUARD_PAGE_H
#define SP_TESTS_GUARD_PAGE_H

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct guard_page {
    uint8_t *map;
    size_t mapped;
    uint8_t *data; /* n bytes, the last one right before the guard */
    size_t n;
};

static inline int guard_page_make(struct guard_page *g, const void *data, size_t n)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (n + page - 1) / page * page;
    g->n = n;
    g->mapped = room + page;
    g->map = mmap(NULL, g->mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (g->map == MAP_FAILED)
        return -1;
    g->data = g->map + room - n;
    if (n)
        memcpy(g->data, data, n);
    return mprotect(g->map + room, page, PROT_NONE);
}

static inline void guard_page_free(struct guard_page *g)
{
    (void)munmap(g->map, g->mapped);
}

#endif
