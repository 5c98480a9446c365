#include "base/alloc.h"

#include <errno.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local long fail_in; /* allocations until the one that fails; 0: off */
static _Thread_local long counted;

#ifdef SP_ALLOC_GUARD
static _Thread_local int guarded; /* depth of begin/end */
#endif

void sp_alloc_fail_nth(long n)
{
    fail_in = n > 0 ? n : 0;
    counted = 0;
}

long sp_alloc_count(void)
{
    return counted;
}

void sp_alloc_guard_begin(void)
{
#ifdef SP_ALLOC_GUARD
    guarded++;
#endif
}

void sp_alloc_guard_end(void)
{
#ifdef SP_ALLOC_GUARD
    guarded--;
#endif
}

/* Every allocation passes here first; false: this one is to fail. */
static bool allowed(void)
{
#ifdef SP_ALLOC_GUARD
    if (guarded > 0) {
        fputs("sampan: allocation inside a guarded step: size the scratch before it starts\n",
              stderr);
        abort();
    }
#endif
    counted++;
    bool due = fail_in == 1;
    if (fail_in > 0)
        fail_in--;
    if (due) {
        errno = ENOMEM;
        return false;
    }
    return true;
}

void *sp_malloc(size_t n)
{
    if (!allowed())
        return NULL;
    return malloc(n ? n : 1);
}

void *sp_calloc(size_t count, size_t size)
{
    if (!allowed())
        return NULL;
    if (count == 0 || size == 0)
        return calloc(1, 1);
    return calloc(count, size);
}

void *sp_realloc(void *p, size_t n)
{
    if (!allowed())
        return NULL;
    return realloc(p, n ? n : 1);
}

void *sp_realloc_array(void *p, size_t count, size_t size)
{
    size_t n = 0;
    if (__builtin_mul_overflow(count, size, &n)) {
        errno = ENOMEM;
        return NULL;
    }
    return sp_realloc(p, n);
}

void *sp_alloc_aligned(size_t align, size_t n)
{
    if (!allowed())
        return NULL;
    void *p = NULL;
    if (align < 16)
        align = 16;
    if (posix_memalign(&p, align, n ? n : 1) != 0)
        return NULL;
    return p;
}

char *sp_strndup(const char *s, size_t n)
{
    if (n == SIZE_MAX)
        return NULL;
    char *copy = sp_malloc(n + 1);
    if (!copy)
        return NULL;
    if (n)
        memcpy(copy, s, n);
    copy[n] = '\0';
    return copy;
}

char *sp_strdup(const char *s)
{
    return sp_strndup(s, strlen(s));
}

void sp_free(void *p)
{
    free(p);
}

void sp_alloc_return_large(void)
{
#ifdef __GLIBC__
    (void)mallopt(M_MMAP_THRESHOLD, 256 << 10);
#endif
}

void sp_alloc_trim(void)
{
#ifdef __GLIBC__
    (void)malloc_trim(0);
#endif
}
