/* Incremental detokenizing: give it tokens one at a time, get whole UTF-8 characters back. Bytes of an
 * unfinished character wait; bytes that can never become one come out as U+FFFD, so that the joined
 * output equals tokenizer_decode of all ids. One owner, one thread.
 *
 * Some tokenizers (Llama 2) put a space before every text, and a whole decoded text loses it again.
 * Tokens that go on from a prompt keep theirs: set at_start only where a text begins. */
#ifndef SP_TEXT_DETOK_H
#define SP_TEXT_DETOK_H

#include "text/tokenizer.h"

struct detok {
    const tokenizer *t;
    bool skip_special;
    bool at_start; /* the next bytes are a text's first; false after detok_init */
    char pending[8];
    size_t n_pending;
};

void detok_init(struct detok *d, const tokenizer *t, bool skip_special);
/* Appends what is whole now. 0 or SP_ENOMEM. */
int detok_add(struct detok *d, int32_t id, buf *out);
/* Appends U+FFFD for what stayed unfinished. 0 or SP_ENOMEM. */
int detok_end(struct detok *d, buf *out);

#endif
