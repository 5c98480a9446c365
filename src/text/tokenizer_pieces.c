/* Vocabularies that come as typed, scored pieces: GGUF's and SentencePiece's. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer_int.h"

static int put_added_piece(tokenizer *t, size_t id, str s, int64_t type, sp_error *err)
{
    struct added_token flags = {.id = (int32_t)id};
    if (s.n == 0)
        return 0;
    /* As a token of the model first: merges may make a token that is also matched as it stands. */
    int rc = tokenizer_put_piece(t, id, s, err);
    bool model = rc == 0 && t->vocab.flags[id] & TOKEN_MODEL && t->vocab.tokens[id].n > 0;
    bool same = t->by_character || t->vocab.tokens[id].n == s.n;
    if (rc == 0 && model && !same)
        t->vocab.flags[id] = 0; /* "Ġ" as it stands is no space */
    if (rc == 0)
        rc = tokenizer_put_added(t, s, &flags, type != PIECE_USER, err);
    if (rc == 0 && type == PIECE_UNKNOWN && t->unk < 0)
        t->unk = (int32_t)id;
    return rc;
}

int tokenizer_put_typed(tokenizer *t, size_t id, str s, int64_t type, sp_error *err)
{
    uint8_t byte;
    if (id >= VOCAB_MAX)
        return sp_fail(err, SP_EFORMAT, "tokenizer: token id %zu: at most %u are taken", id,
                       VOCAB_MAX - 1);
    switch (type) {
    case PIECE_UNUSED:
        return 0;
    case PIECE_UNKNOWN:
    case PIECE_CONTROL:
    case PIECE_USER:
        return put_added_piece(t, id, s, type, err);
    case PIECE_BYTE:
        if (!byte_piece(s, &byte))
            return sp_fail(err, SP_EFORMAT, "tokenizer: token %zu: a byte token is no <0x00>", id);
        return tokenizer_put_byte(t, id, byte, err);
    default:
        return tokenizer_put_piece(t, id, s, err);
    }
}

struct scored {
    float score;
    uint32_t id;
};

static int compare_scored(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

int tokenizer_score_merges(tokenizer *t, const float *scores, sp_error *err)
{
    size_t n = t->vocab.n;
    struct scored *order = sp_malloc(n * sizeof *order);
    uint32_t *ranks = sp_malloc(n * sizeof *ranks), rank = 0;
    int rc = 0;
    if (!order || !ranks)
        rc = sp_fail(err, SP_ENOMEM, "tokenizer: out of memory");
    for (size_t id = 0; id < n && rc == 0; id++) {
        order[id] = (struct scored){scores[id], (uint32_t)id};
        if (!isfinite(scores[id]))
            rc = sp_fail(err, SP_EFORMAT, "tokenizer: the score of token %zu is no number", id);
    }
    if (rc == 0) {
        qsort(order, n, sizeof *order, compare_scored);
        for (size_t i = 0; i < n; i++) {
            if (i > 0 && order[i].score < order[i - 1].score)
                rank++;
            ranks[order[i].id] = rank;
        }
        rc = tokenizer_make_merges(t, ranks, err);
    }
    sp_free(order);
    sp_free(ranks);
    return rc;
}

void tokenizer_set_prefix(tokenizer *t, bool prefix, bool first_only)
{
    t->by_character = true;
    t->fold = !first_only;
    t->prepend = prefix && !first_only;
    t->metaspace = first_only;
    t->metaspace_prefix = prefix ? PREFIX_FIRST : PREFIX_NEVER;
    t->strip = prefix ? STRIP_SPACE : STRIP_NONE;
}
