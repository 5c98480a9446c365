/* A search as it is asked: its words for FTS5, and what of a text matches them. The snippet looks for itself, with the
 * same words, since FTS5's own knows only places of pairs, not which of two words in one place was meant. */
#include <string.h>
#include "store/store_int.h"

#define PHRASES_MOST 16
#define WORDS_MOST 64    /* of a phrase */
#define PREFIX_LETTERS 4 /* the last word matches longer ones from so many bytes on */
#define MATCH_MAX ((size_t)8 << 10)
#define BEFORE 40  /* bytes of text before the first match */
#define LENGTH 180 /* of a snippet */

struct phrase {
    size_t first, n; /* in terms.words */
    bool prefix;     /* its last word may go on */
};

struct terms {
    char text[STORE_QUERY_MOST + 1];
    char bytes[STORE_QUERY_MOST * 8]; /* of the words */
    size_t n_bytes;
    struct query_word {
        size_t at, n, end; /* end: in the piece that it came from */
    } words[WORDS_MOST * 4];
    size_t n_words;
    struct phrase phrases[PHRASES_MOST];
    size_t n_phrases;
    buf match;
};

/* ---- reading a query ---- */

static int take_word(void *arg, const struct word *w)
{
    struct terms *t = arg;
    if (t->n_words == SP_COUNT(t->words) || t->n_bytes + w->n > sizeof t->bytes)
        return 1;
    t->words[t->n_words++] = (struct query_word){t->n_bytes, w->n, w->end};
    memcpy(t->bytes + t->n_bytes, w->text, w->n);
    t->n_bytes += w->n;
    return 0;
}

static void put_phrase(struct terms *t, str piece, bool prefix)
{
    if (t->n_phrases > 1)
        buf_putc(&t->match, ' ');
    buf_putc(&t->match, '"');
    for (size_t i = 0; i < piece.n; i++) {
        buf_putc(&t->match, piece.p[i]);
        if (piece.p[i] == '"')
            buf_putc(&t->match, '"');
    }
    buf_puts(&t->match, prefix ? "\" *" : "\"");
}

/* `last`: somebody may still be typing it. */
static void add_phrase(struct terms *t, str piece, bool last)
{
    if (t->n_phrases == PHRASES_MOST)
        return;
    struct phrase *p = &t->phrases[t->n_phrases];
    *p = (struct phrase){.first = t->n_words};
    (void)words_each(piece.p, piece.n, WORDS_QUERY, take_word, t);
    p->n = t->n_words - p->first;
    if (p->n == 0)
        return;
    const struct query_word *w = &t->words[t->n_words - 1];
    p->prefix = last && w->end == piece.n && w->n >= PREFIX_LETTERS &&
                (unsigned char)t->bytes[w->at] < 0x80;
    t->n_phrases++;
    put_phrase(t, piece, p->prefix);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Pieces between blanks; what stands in quotes is one piece, and whole. */
static void read_query(struct terms *t)
{
    const char *p = t->text;
    while (*p) {
        while (is_blank(*p))
            p++;
        bool quoted = *p == '"';
        const char *begin = quoted ? ++p : p;
        while (*p && (quoted ? *p != '"' : !is_blank(*p) && *p != '"'))
            p++;
        if (p > begin)
            add_phrase(t, (str){begin, (size_t)(p - begin)}, !*p && !quoted);
        if (quoted && *p == '"')
            p++;
    }
}

int terms_new(const char *query, struct terms **out, sp_error *err)
{
    size_t n = strlen(query);
    if (n > STORE_QUERY_MOST)
        return sp_fail(err, SP_EINVAL, "q: at most %d bytes, not %zu", STORE_QUERY_MOST, n);
    struct terms *t = sp_calloc(1, sizeof *t);
    if (!t)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    memcpy(t->text, query, n);
    buf_init(&t->match, MATCH_MAX);
    read_query(t);
    if (t->match.failed) {
        terms_free(t);
        return sp_fail(err, SP_ENOMEM, "out of memory");
    }
    *out = t;
    return 0;
}

void terms_free(struct terms *t)
{
    if (t)
        buf_free(&t->match);
    sp_free(t);
}

const char *terms_match(const struct terms *t)
{
    return t->n_phrases ? t->match.data : NULL;
}

/* ---- looking through a text ---- */

#define SPANS_MOST 32

/* How far each phrase has matched, and at which place: a word goes on from what ended one place before. */
struct look {
    const struct terms *t;
    struct open {
        size_t phrase, n; /* words of it that have matched */
        int place;        /* of the last of them */
        size_t begin;
    } open[PHRASES_MOST * 8];
    size_t n_open;
    struct span {
        size_t begin, end;
    } spans[SPANS_MOST];
    size_t n_spans;
};

static void add_span(struct look *l, size_t begin, size_t end)
{
    struct span *last = l->n_spans ? &l->spans[l->n_spans - 1] : NULL;
    if (last && begin <= last->end) {
        last->end = end > last->end ? end : last->end;
        last->begin = begin < last->begin ? begin : last->begin;
    } else if (l->n_spans < SPANS_MOST) {
        l->spans[l->n_spans++] = (struct span){begin, end};
    }
}

static bool same_word(const struct look *l, size_t phrase, size_t at, const struct word *w)
{
    const struct phrase *p = &l->t->phrases[phrase];
    const struct query_word *q = &l->t->words[p->first + at];
    bool longer = p->prefix && at == p->n - 1 && w->n > q->n;
    return (w->n == q->n || longer) && memcmp(w->text, l->t->bytes + q->at, q->n) == 0;
}

static void advance(struct look *l, size_t phrase, size_t n, const struct word *w, size_t begin)
{
    if (n == l->t->phrases[phrase].n)
        add_span(l, begin, w->end);
    else if (l->n_open < SP_COUNT(l->open))
        l->open[l->n_open++] = (struct open){phrase, n, w->place, begin};
}

static int look_at(void *arg, const struct word *w)
{
    struct look *l = arg;
    if (l->n_spans && w->begin > l->spans[0].begin + LENGTH + BEFORE)
        return 1;
    size_t kept = 0, n = l->n_open;
    for (size_t i = 0; i < n; i++)
        if (l->open[i].place >= w->place - 1)
            l->open[kept++] = l->open[i];
    l->n_open = n = kept;
    for (size_t i = 0; i < n; i++) {
        struct open o = l->open[i];
        if (o.place == w->place - 1 && same_word(l, o.phrase, o.n, w))
            advance(l, o.phrase, o.n + 1, w, o.begin);
    }
    for (size_t p = 0; p < l->t->n_phrases; p++)
        if (same_word(l, p, 0, w))
            advance(l, p, 1, w, w->begin);
    return 0;
}

/* ---- writing ---- */

/* Control characters and runs of white space become one blank. */
static void put_text(buf *out, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bool blank = (unsigned char)text[i] <= ' ' || text[i] == 0x7f;
        if (!blank)
            buf_putc(out, text[i]);
        else if (out->len && out->data[out->len - 1] != ' ')
            buf_putc(out, ' ');
    }
}

static size_t to_border(const char *text, size_t n, size_t at)
{
    while (at > 0 && at < n && ((unsigned char)text[at] & 0xc0) == 0x80)
        at--;
    return at < n ? at : n;
}

int terms_snippet(const struct terms *t, const char *text, size_t n, buf *out)
{
    struct look *l = sp_calloc(1, sizeof *l);
    if (!l)
        return SP_ENOMEM;
    l->t = t;
    n = n < SNIPPET_TEXT_MOST ? n : to_border(text, n, SNIPPET_TEXT_MOST);
    (void)words_each(text, n, WORDS_TEXT, look_at, l);
    size_t first = l->n_spans ? l->spans[0].begin : 0;
    size_t begin = first > BEFORE ? to_border(text, n, first - BEFORE) : 0;
    size_t end = to_border(text, n, begin + LENGTH), at = begin;
    if (begin > 0)
        buf_puts(out, "…");
    for (size_t i = 0; i < l->n_spans && l->spans[i].begin < end; i++) {
        size_t from = l->spans[i].begin > at ? l->spans[i].begin : at;
        size_t to = l->spans[i].end < end ? l->spans[i].end : end;
        if (to <= from)
            continue;
        put_text(out, text + at, from - at);
        buf_putc(out, '\2');
        put_text(out, text + from, to - from);
        buf_putc(out, '\3');
        at = to;
    }
    put_text(out, text + at, end - at);
    if (end < n)
        buf_puts(out, "…");
    sp_free(l);
    return out->failed ? SP_ENOMEM : 0;
}
