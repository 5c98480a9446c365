#include <string.h>
#include "engine/engine_int.h"

int pages_init(struct pages *p, int32_t total)
{
    p->free = sp_calloc((size_t)total, sizeof *p->free);
    if (!p->free)
        return SP_ENOMEM;
    p->total = p->n_free = total;
    for (int32_t i = 0; i < total; i++)
        p->free[i] = total - 1 - i; /* the lowest page is taken first */
    return 0;
}

void pages_done(struct pages *p)
{
    sp_free(p->free);
    p->free = NULL;
}

bool pages_take(struct pages *p, int32_t n, int32_t *out)
{
    if (n > p->n_free)
        return false;
    for (int32_t i = 0; i < n; i++)
        out[i] = p->free[--p->n_free];
    return true;
}

void pages_give(struct pages *p, const int32_t *pages, int32_t n)
{
    for (int32_t i = n; i > 0; i--)
        p->free[p->n_free++] = pages[i - 1];
}
