/* Growable bytes with a hard maximum. The struct is the caller's; the memory is the buffer's.
 * `data` is always NUL-terminated once something was added (the NUL is not counted in `len`).
 * After the first failure (out of memory or over max) the buffer keeps `failed` set and ignores
 * further additions, so a caller may add many times and check once. Not thread-safe. */
#ifndef SP_BASE_BUF_H
#define SP_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>

typedef struct buf {
    char *data;
    size_t len, cap, max;
    bool failed;
    int code; /* why it failed: SP_ENOMEM or SP_EFULL */
} buf;

void buf_init(buf *b, size_t max);
void buf_free(buf *b);
void buf_clear(buf *b);                       /* keeps the memory, clears `failed` */
int buf_add(buf *b, const void *p, size_t n); /* 0 or b->code; p is not part of b */
int buf_puts(buf *b, const char *s);
int buf_putc(buf *b, char c);
int buf_printf(buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int buf_reserve(buf *b, size_t extra); /* room for `extra` more bytes */
char *buf_steal(buf *b); /* the caller owns it (sp_free) and b is empty; NULL if failed */

#endif
