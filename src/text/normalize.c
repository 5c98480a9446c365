/* Text that a normalizer changed, and the change that SentencePiece's vocabularies need: their mark for
 * a space is a space, and a text may get one before it. */
#include <string.h>

#include "text/tokenizer_int.h"

#define MARK_BYTES (sizeof SPACE_MARK - 1)

int changed_text_reserve(struct changed_text *t, size_t extra, bool trust)
{
    size_t need = t->n + extra;
    if (need <= t->cap)
        return 0;
    size_t cap = need < 256 ? 256 : need + need / 2;
    char *p = sp_realloc(t->p, cap);
    if (!p)
        return SP_ENOMEM;
    t->p = p;
    if (trust) {
        uint8_t *marks = sp_realloc(t->trust, cap);
        if (!marks)
            return SP_ENOMEM;
        t->trust = marks;
    }
    t->cap = cap;
    return 0;
}

void changed_text_free(struct changed_text *t)
{
    sp_free(t->p);
    sp_free(t->trust);
    *t = (struct changed_text){0};
}

bool fold_needed(const char *p, size_t n)
{
    return n >= MARK_BYTES && memmem(p, n, SPACE_MARK, MARK_BYTES) != NULL;
}

int fold_apply(const struct added_text *text, bool prefix, bool fold, struct changed_text *out)
{
    out->n = 0;
    if (changed_text_reserve(out, text->n + 1, text->trust != NULL) < 0)
        return SP_ENOMEM;
    size_t n = 0;
    if (prefix) {
        if (text->trust)
            out->trust[n] = 0;
        out->p[n++] = ' ';
    }
    for (size_t i = 0; i < text->n; n++) {
        bool mark =
            fold && text->n - i >= MARK_BYTES && memcmp(text->p + i, SPACE_MARK, MARK_BYTES) == 0;
        out->p[n] = mark ? ' ' : text->p[i];
        if (text->trust)
            out->trust[n] = text->trust[i];
        i += mark ? MARK_BYTES : 1;
    }
    out->n = n;
    return 0;
}

size_t fold_token(str s, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n;) {
        bool mark = s.n - i >= MARK_BYTES && memcmp(s.p + i, SPACE_MARK, MARK_BYTES) == 0;
        out[n++] = mark ? ' ' : s.p[i];
        i += mark ? MARK_BYTES : 1;
    }
    return n;
}
