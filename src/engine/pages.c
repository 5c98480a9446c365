#include <string.h>
#include "base/rng.h"
#include "engine/engine_int.h"

int pages_init(struct pages *p, int32_t total)
{
    size_t n = (size_t)total, buckets = 1;
    while (buckets < n)
        buckets *= 2;
    p->page = sp_calloc(n, sizeof *p->page);
    p->free = sp_calloc(n, sizeof *p->free);
    p->tokens = sp_calloc(n, KV_PAGE * sizeof *p->tokens);
    p->bucket = sp_calloc(buckets, sizeof *p->bucket);
    if (!p->page || !p->free || !p->tokens || !p->bucket)
        return SP_ENOMEM;
    p->total = total;
    p->oldest = p->newest = -1;
    p->seed = rng_seed();
    p->bucket_mask = buckets - 1;
    for (size_t i = 0; i < buckets; i++)
        p->bucket[i] = -1;
    pages_refill(p);
    return 0;
}

void pages_refill(struct pages *p)
{
    p->n_free = 0;
    for (int32_t i = p->total - 1; i >= 0; i--) /* the lowest page is taken first */
        if (p->page[i].holders == 0)
            p->free[p->n_free++] = i;
}

void pages_done(struct pages *p)
{
    sp_free(p->page);
    sp_free(p->free);
    sp_free(p->tokens);
    sp_free(p->bucket);
    *p = (struct pages){0};
}

/* ---- kept pages that nobody holds, in the order in which they were given back ---- */

static void idle_add(struct pages *p, int32_t page)
{
    p->page[page].older = p->newest;
    p->page[page].newer = -1;
    if (p->newest >= 0)
        p->page[p->newest].newer = page;
    else
        p->oldest = page;
    p->newest = page;
    p->n_idle++;
}

static void idle_remove(struct pages *p, int32_t page)
{
    const struct page *is = &p->page[page];
    if (is->older >= 0)
        p->page[is->older].newer = is->newer;
    else
        p->oldest = is->newer;
    if (is->newer >= 0)
        p->page[is->newer].older = is->older;
    else
        p->newest = is->older;
    p->n_idle--;
}

static void evict(struct pages *p, int32_t page)
{
    idle_remove(p, page);
    prefix_forget(p, page);
    p->free[p->n_free++] = page;
}

/* ---- holders ---- */

int32_t pages_take(struct pages *p)
{
    if (p->n_free == 0 && p->oldest >= 0) {
        evict(p, p->oldest);
        p->evictions++;
    }
    if (p->n_free == 0)
        return -1;
    int32_t page = p->free[--p->n_free];
    p->page[page].holders = 1;
    return page;
}

void pages_hold(struct pages *p, int32_t page)
{
    if (p->page[page].holders++ == 0)
        idle_remove(p, page);
}

void pages_give(struct pages *p, int32_t page)
{
    if (--p->page[page].holders > 0)
        return;
    if (p->page[page].kept)
        idle_add(p, page);
    else
        p->free[p->n_free++] = page;
}

int32_t pages_available(const struct pages *p)
{
    return p->n_free + p->n_idle;
}

int32_t pages_flush(struct pages *p)
{
    int32_t n = p->n_idle;
    while (p->oldest >= 0)
        evict(p, p->oldest);
    return n;
}
