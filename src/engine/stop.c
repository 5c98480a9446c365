#include <string.h>
#include "engine/engine_int.h"

#define HELD_MAX ((size_t)1 << 20)

int stopper_init(struct stopper *s, const char *const *stops, size_t n)
{
    *s = (struct stopper){0};
    buf_init(&s->held, HELD_MAX);
    if (n == 0)
        return 0;
    s->stops = sp_calloc(n, sizeof *s->stops);
    if (!s->stops)
        return SP_ENOMEM;
    for (; s->n < n; s->n++)
        if (!(s->stops[s->n] = sp_strdup(stops[s->n])))
            return SP_ENOMEM;
    return 0;
}

void stopper_done(struct stopper *s)
{
    for (size_t i = 0; i < s->n; i++)
        sp_free(s->stops[i]);
    sp_free(s->stops);
    buf_free(&s->held);
}

/* The stop string that begins first; of two at one place the longer. */
static const char *find_first(const struct stopper *s, size_t *at)
{
    const char *best = NULL;
    for (size_t i = 0; i < s->n; i++) {
        size_t n = strlen(s->stops[i]), from = s->skip >= n ? s->skip - n + 1 : 0;
        const char *p = memmem(s->held.data + from, s->held.len - from, s->stops[i], n);
        if (!p)
            continue;
        size_t where = (size_t)(p - s->held.data);
        if (!best || where < *at || (where == *at && n > strlen(best))) {
            best = s->stops[i];
            *at = where;
        }
    }
    return best;
}

/* Length of the longest end of the held text that begins some stop string. */
static size_t open_end(const struct stopper *s)
{
    size_t longest = 0;
    for (size_t i = 0; i < s->n; i++) {
        size_t n = strlen(s->stops[i]) - 1;
        if (n > s->held.len)
            n = s->held.len;
        for (; n > longest; n--)
            if (memcmp(s->held.data + s->held.len - n, s->stops[i], n) == 0)
                longest = n;
    }
    return longest;
}

const char *stopper_add(struct stopper *s, const char *text, size_t n, size_t *release)
{
    size_t at = 0;
    if (n)
        buf_add(&s->held, text, n);
    if (s->blind)
        s->skip = s->held.len;
    *release = s->held.len;
    if (s->n == 0 || s->held.len == 0)
        return NULL;
    const char *found = find_first(s, &at);
    *release = found ? at : s->held.len - open_end(s);
    return found;
}

void stopper_drop(struct stopper *s, size_t n)
{
    if (n == 0)
        return;
    s->held.len -= n;
    s->skip = s->skip > n ? s->skip - n : 0;
    memmove(s->held.data, s->held.data + n, s->held.len + 1);
}
