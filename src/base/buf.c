#include "base/buf.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include "base/alloc.h"
#include "base/error.h"

#define FIRST_CAP 64

void buf_init(buf *b, size_t max)
{
    *b = (buf){.max = max};
}

void buf_free(buf *b)
{
    if (!b)
        return;
    sp_free(b->data);
    *b = (buf){.max = b->max};
}

void buf_clear(buf *b)
{
    b->len = 0;
    b->failed = false;
    b->code = SP_OK;
    if (b->data)
        b->data[0] = '\0';
}

static int fail(buf *b, int code)
{
    b->failed = true;
    b->code = code;
    return code;
}

int buf_reserve(buf *b, size_t extra)
{
    if (b->failed)
        return b->code;
    if (b->len > b->max || extra > b->max - b->len)
        return fail(b, SP_EFULL);
    size_t need = b->len + extra;
    if (need == SIZE_MAX)
        return fail(b, SP_ENOMEM);
    need++; /* the NUL */
    if (need <= b->cap)
        return 0;
    size_t cap = b->cap < FIRST_CAP ? FIRST_CAP : b->cap;
    while (cap < need)
        cap = cap > SIZE_MAX / 2 ? need : cap * 2;
    if (b->max < SIZE_MAX && cap > b->max + 1)
        cap = b->max + 1;
    char *data = sp_realloc(b->data, cap);
    if (!data)
        return fail(b, SP_ENOMEM);
    if (!b->data)
        data[0] = '\0';
    b->data = data;
    b->cap = cap;
    return 0;
}

int buf_add(buf *b, const void *p, size_t n)
{
    int rc = buf_reserve(b, n);
    if (rc)
        return rc;
    if (n)
        memcpy(b->data + b->len, p, n);
    b->len += n;
    b->data[b->len] = '\0';
    return 0;
}

int buf_puts(buf *b, const char *s)
{
    return buf_add(b, s, strlen(s));
}

int buf_putc(buf *b, char c)
{
    return buf_add(b, &c, 1);
}

int buf_printf(buf *b, const char *fmt, ...)
{
    if (b->failed)
        return b->code;
    char small[256];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(small, sizeof small, fmt, ap);
    va_end(ap);
    if (n < 0)
        return fail(b, SP_ENOMEM);
    if ((size_t)n < sizeof small)
        return buf_add(b, small, (size_t)n);
    int rc = buf_reserve(b, (size_t)n);
    if (rc)
        return rc;
    va_start(ap, fmt);
    (void)vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
    return 0;
}

char *buf_steal(buf *b)
{
    if (b->failed)
        return NULL;
    char *data = b->data;
    if (!data) {
        data = sp_strndup("", 0);
        if (!data)
            return NULL;
    }
    *b = (buf){.max = b->max};
    return data;
}
