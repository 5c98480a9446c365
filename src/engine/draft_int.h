/* Where guesses at a request's next tokens come from. Each request that speculates has a source of its own, made at
 * submit by the thread that submits, then used by the engine thread alone. Nothing is allocated after that. A wrong
 * guess costs a row of a step and never changes the text, so a source may be as bold as its estimates are honest:
 * draft.c weighs them against the time that rows take. A draft model will be another source. */
#ifndef SP_ENGINE_DRAFT_INT_H
#define SP_ENGINE_DRAFT_INT_H

#include "engine/engine_int.h"

struct draft_source;
struct draft_source_ops {
    /* Guesses at what follows tokens [n], at most `most`, with their chances; out->n tells how many. Between two
     * calls n only grows, and the tokens before stay. */
    void (*propose)(struct draft_source *s, const int32_t *tokens, int64_t n, int most,
                    struct draft *out);
    /* Of the last proposal the first `right` guesses were drawn, and the one after them was not, if `wrong`. */
    void (*learn)(struct draft_source *s, int right, bool wrong);
    void (*free)(struct draft_source *s);
};
struct draft_source {
    const struct draft_source_ops *ops;
};

/* draft_ngram.c: what followed where the last tokens stood before. Longest agreement wins, of equals the latest. For
 * requests of at most `most` tokens; it looks back NGRAM_WINDOW tokens at most. NULL: out of memory. */
#define NGRAM_WINDOW ((int64_t)1 << 16)
struct draft_source *ngram_new(int64_t most);

#endif
