/* Finding added tokens: leftmost, and of those the longest, as Hugging Face's Aho-Corasick does. The
 * tokens are sorted, so those that start with the bytes read so far are a range that narrows byte by
 * byte; most bytes of a text start none and cost one look-up. */
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer_int.h"
#include "text/unicode_int.h"

int added_put(struct added_set *s, str content, const struct added_token *flags, sp_error *err)
{
    if (content.n == 0 || content.n > ADDED_BYTES_MAX)
        return sp_fail(err, SP_EFORMAT,
                       "tokenizer: added token %d has %zu bytes: 1 to %d are taken", (int)flags->id,
                       content.n, ADDED_BYTES_MAX);
    if (s->n == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 32;
        struct added_token *tokens = sp_realloc_array(s->tokens, cap, sizeof *tokens);
        if (!tokens)
            return sp_fail(err, SP_ENOMEM, "tokenizer: out of memory");
        s->tokens = tokens;
        s->cap = cap;
    }
    char *p = sp_strndup(content.p, content.n);
    if (!p)
        return sp_fail(err, SP_ENOMEM, "tokenizer: out of memory");
    s->tokens[s->n] = *flags;
    s->tokens[s->n].p = p;
    s->tokens[s->n].n = (uint32_t)content.n;
    s->n++;
    s->first[(uint8_t)content.p[0]] = true;
    return 0;
}

static int compare_content(const struct added_token *x, const struct added_token *y)
{
    int order = memcmp(x->p, y->p, x->n < y->n ? x->n : y->n);
    return order != 0 ? order : (x->n > y->n) - (x->n < y->n);
}

static int compare_added(const void *a, const void *b)
{
    const struct added_token *x = a, *y = b;
    int order = compare_content(x, y);
    return order != 0 ? order : (x->id > y->id) - (x->id < y->id);
}

void added_sort(struct added_set *s)
{
    if (s->n < 2)
        return;
    qsort(s->tokens, s->n, sizeof *s->tokens, compare_added);
    size_t kept = 1;
    for (size_t i = 1; i < s->n; i++) {
        if (compare_content(&s->tokens[i], &s->tokens[kept - 1]) == 0)
            sp_free((void *)(uintptr_t)s->tokens[i].p);
        else
            s->tokens[kept++] = s->tokens[i];
    }
    s->n = kept;
}

void added_free(struct added_set *s)
{
    for (size_t i = 0; i < s->n; i++)
        sp_free((void *)(uintptr_t)s->tokens[i].p);
    sp_free(s->tokens);
    *s = (struct added_set){0};
}

/* First token in [lo, hi) whose byte at depth is >= byte; all have the same bytes before depth, and
 * only the first can end there. */
static size_t first_at_least(const struct added_set *s, size_t lo, size_t hi, size_t depth,
                             int byte)
{
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        const struct added_token *t = &s->tokens[mid];
        int have = t->n > depth ? (uint8_t)t->p[depth] : -1;
        if (have >= byte)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

/* Longest token at p whose bytes are all trusted, by one span. */
static const struct added_token *longest_at(const struct added_set *s, const char *p, size_t n,
                                            const uint8_t *trust)
{
    const struct added_token *longest = NULL;
    size_t lo = 0, hi = s->n;
    for (size_t depth = 0; depth < n && lo < hi; depth++) {
        if (trust && (trust[depth] == 0 || trust[depth] != trust[0]))
            break;
        int byte = (uint8_t)p[depth];
        lo = first_at_least(s, lo, hi, depth, byte);
        hi = first_at_least(s, lo, hi, depth, byte + 1);
        if (lo < hi && s->tokens[lo].n == depth + 1)
            longest = &s->tokens[lo];
    }
    return longest;
}

const struct added_token *added_find(const struct added_set *s, const struct added_text *text,
                                     size_t pos, size_t *at)
{
    if (s->n == 0)
        return NULL;
    for (size_t i = pos; i < text->n; i++) {
        if (!s->first[(uint8_t)text->p[i]])
            continue;
        const struct added_token *found =
            longest_at(s, text->p + i, text->n - i, text->trust ? text->trust + i : NULL);
        if (found) {
            *at = i;
            return found;
        }
    }
    return NULL;
}

/* Classes of the last code point before pos > 0; *start: where it begins. */
static unsigned class_before(const char *p, size_t pos, size_t *start)
{
    size_t i = pos - 1;
    while (i > 0 && ((uint8_t)p[i] & 0xc0) == 0x80)
        i--;
    uint32_t cp;
    unicode_at(p + i, &cp);
    *start = i;
    return unicode_class(cp);
}

bool added_extent(const struct added_token *token, const struct added_text *text, size_t from,
                  size_t *begin, size_t *end)
{
    size_t start;
    uint32_t cp;
    if (token->single_word) {
        if (*begin > 0 && class_before(text->p, *begin, &start) & UC_WORD)
            return false;
        if (*end < text->n) {
            unicode_at(text->p + *end, &cp);
            if (unicode_class(cp) & UC_WORD)
                return false;
        }
    }
    while (token->lstrip && *begin > from && class_before(text->p, *begin, &start) & UC_SPACE)
        *begin = start;
    while (token->rstrip && *end < text->n) {
        size_t len = unicode_at(text->p + *end, &cp);
        if (!(unicode_class(cp) & UC_SPACE))
            break;
        *end += len;
    }
    return true;
}
