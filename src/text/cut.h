/* Long texts in pieces, cut where a reader would pause: at the end of a paragraph, line, sentence, clause, word;
 * within a word or a run of CJK characters only where nothing else fits. Pieces joined are the text, byte for byte: the
 * blanks after a piece belong to it. Immutable; any thread. */
#ifndef SP_TEXT_CUT_H
#define SP_TEXT_CUT_H

#include "text/tokenizer.h"

struct cut_piece {
    size_t begin, end; /* bytes */
    int64_t tokens;    /* at least as many as it has */
};

/* How many tokens (or whatever pieces are measured in) a part of a text has: 0 or a negative code. */
typedef int (*cut_count)(void *arg, str part, int64_t *tokens, sp_error *err);

struct cut_opts {
    int64_t most; /* tokens of a piece */
    bool
        paragraphs; /* no piece goes over the end of a paragraph; without it they are joined while they fit */
    cut_count count;
    void *arg; /* count's */
};
/* *out is the caller's (sp_free), NULL for an empty text. A single character that has more than `most` is a piece of its
 * own. SP_ENOMEM, or what count says. */
int text_cut(str text, const struct cut_opts *o, struct cut_piece **out, size_t *n, sp_error *err);

/* A cut_count whose arg is a tokenizer. */
int cut_count_tokens(void *t, str part, int64_t *tokens, sp_error *err);

#endif
