/* Tells what a model thinks (<think> ... </think> before the answer) from what it says, while it comes. */
#include <string.h>
#include "server/page_int.h"

static const char opens[] = "<think>", closes[] = "</think>";

static bool is_blank(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static void give(reasoning_fn each, void *arg, bool reasoning, const char *text, size_t n)
{
    if (n > 0)
        each(arg, reasoning, text, n);
}

/* The first text: white space and then the tag, or it is none. False: c is not taken, and is no part of it; what was
 * held has come out. */
static bool maybe(struct reasoning *r, char c, reasoning_fn each, void *arg)
{
    size_t blanks = 0;
    while (blanks < r->n_held && is_blank(r->held[blanks]))
        blanks++;
    size_t n = r->n_held - blanks;
    bool fits = (n == 0 && is_blank(c)) || opens[n] == c;
    if (!fits || r->n_held == sizeof r->held) {
        r->where = REASONING_OVER;
        give(each, arg, false, r->held, r->n_held);
        r->n_held = 0;
        return false;
    }
    r->held[r->n_held++] = c;
    if (n + 1 == sizeof opens - 1) {
        r->where = REASONING_INSIDE;
        r->n_held = 0;
    }
    return true;
}

/* Holds what may be the end of the tag; the bytes of a tag that turns out to be none come out again. */
static void inside(struct reasoning *r, char c, reasoning_fn each, void *arg)
{
    r->held[r->n_held++] = c;
    size_t at = 0;
    while (memcmp(r->held + at, closes, r->n_held - at) != 0)
        at++;
    give(each, arg, true, r->held, at);
    r->n_held -= at;
    memmove(r->held, r->held + at, r->n_held);
    if (r->n_held == sizeof closes - 1) {
        r->where = REASONING_AFTER;
        r->n_held = 0;
    }
}

void reasoning_feed(struct reasoning *r, const char *text, size_t n, reasoning_fn each, void *arg)
{
    size_t at = 0;
    while (at < n && r->where == REASONING_MAYBE)
        at += maybe(r, text[at], each, arg);
    while (at < n && r->where == REASONING_INSIDE) {
        if (r->n_held &&
            (unsigned char)text[at] >= 0x80) { /* no part of a tag, and not to be cut */
            give(each, arg, true, r->held, r->n_held);
            r->n_held = 0;
        }
        const char *tag = r->n_held ? NULL : memchr(text + at, closes[0], n - at);
        size_t plain = r->n_held ? 0 : tag ? (size_t)(tag - (text + at)) : n - at;
        give(each, arg, true, text + at, plain);
        at += plain;
        if (at < n)
            inside(r, text[at++], each, arg);
    }
    while (at < n && r->where == REASONING_AFTER) {
        if (is_blank(text[at]))
            at++;
        else
            r->where = REASONING_OVER;
    }
    give(each, arg, false, text + at, n - at);
}

void reasoning_end(struct reasoning *r, reasoning_fn each, void *arg)
{
    give(each, arg, r->where == REASONING_INSIDE, r->held, r->n_held);
    r->n_held = 0;
}
