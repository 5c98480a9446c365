/* Byte-pair encoding of one word: again and again the pair of neighbours with the lowest rank, the
 * leftmost of equals, becomes one token. Short words are scanned for it; long ones keep their pairs in
 * a heap, so that a word of n bytes costs O(n log n) whatever it holds. */
#include <string.h>

#include "text/tokenizer_int.h"
#include "text/unicode_int.h"

#define SHORT_WORD 40  /* symbols */
#define CACHED_WORD 48 /* bytes */

int bpe_work_init(struct bpe_work *w, size_t text_bytes)
{
    *w = (struct bpe_work){.epoch = 1};
    size_t entries = 64;
    while (entries < 16384 && entries * 16 < text_bytes)
        entries *= 2;
    w->cache = sp_calloc(entries, sizeof *w->cache);
    if (!w->cache)
        return SP_ENOMEM;
    w->cache_mask = entries - 1;
    return 0;
}

void bpe_work_forget(struct bpe_work *w)
{
    w->epoch++; /* one a normalized segment: 32 bits outlast any text */
}

void bpe_work_free(struct bpe_work *w)
{
    sp_free(w->symbols);
    sp_free(w->heap);
    sp_free(w->cache);
    *w = (struct bpe_work){0};
}

static struct bpe_cached *cache_slot(const struct bpe_work *w, const char *p, size_t n)
{
    uint64_t h = n;
    while (n >= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        h = (h ^ word) * 0x9e3779b97f4a7c15u;
        h ^= h >> 29;
        p += 8;
        n -= 8;
    }
    uint64_t rest = 0;
    memcpy(&rest, p, n);
    h = (h ^ rest) * 0x9e3779b97f4a7c15u;
    return &w->cache[(h >> 40) & w->cache_mask];
}

static uint32_t pair_rank(const tokenizer *t, int32_t left, int32_t right, int32_t *joined)
{
    const struct merge *m = merges_find(&t->merges, (uint32_t)left, (uint32_t)right);
    if (!m)
        return UINT32_MAX;
    *joined = (int32_t)m->joined;
    return m->rank;
}

/* ids[n] in, merged in place; returns how many are left. n <= SHORT_WORD. */
static size_t merge_short(const tokenizer *t, int32_t *ids, size_t n)
{
    uint32_t rank[SHORT_WORD];
    int32_t joined[SHORT_WORD];
    for (size_t i = 0; i + 1 < n; i++)
        rank[i] = pair_rank(t, ids[i], ids[i + 1], &joined[i]);
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (rank[i] < rank[best])
                best = i;
        if (rank[best] == UINT32_MAX)
            break;
        ids[best] = joined[best];
        n--;
        size_t rest = n - best - 1;
        memmove(ids + best + 1, ids + best + 2, rest * sizeof *ids);
        memmove(rank + best, rank + best + 1, rest * sizeof *rank);
        memmove(joined + best, joined + best + 1, rest * sizeof *joined);
        if (best + 1 < n)
            rank[best] = pair_rank(t, ids[best], ids[best + 1], &joined[best]);
        if (best > 0)
            rank[best - 1] = pair_rank(t, ids[best - 1], ids[best], &joined[best - 1]);
    }
    return n;
}

static bool pair_before(const struct bpe_pair *a, const struct bpe_pair *b)
{
    return a->rank < b->rank || (a->rank == b->rank && a->at < b->at);
}

static void heap_down(struct bpe_work *w, size_t i)
{
    struct bpe_pair moved = w->heap[i];
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= w->heap_n)
            break;
        if (child + 1 < w->heap_n && pair_before(&w->heap[child + 1], &w->heap[child]))
            child++;
        if (!pair_before(&w->heap[child], &moved))
            break;
        w->heap[i] = w->heap[child];
        i = child;
    }
    w->heap[i] = moved;
}

static int heap_push(struct bpe_work *w, struct bpe_pair pair)
{
    if (w->heap_n == w->heap_cap) {
        size_t cap = w->heap_cap ? w->heap_cap * 2 : 256;
        struct bpe_pair *heap = sp_realloc_array(w->heap, cap, sizeof *heap);
        if (!heap)
            return SP_ENOMEM;
        w->heap = heap;
        w->heap_cap = cap;
    }
    size_t i = w->heap_n++;
    while (i > 0 && pair_before(&pair, &w->heap[(i - 1) / 2])) {
        w->heap[i] = w->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    w->heap[i] = pair;
    return 0;
}

static struct bpe_pair heap_pop(struct bpe_work *w)
{
    struct bpe_pair top = w->heap[0];
    w->heap[0] = w->heap[--w->heap_n];
    if (w->heap_n > 0)
        heap_down(w, 0);
    return top;
}

static int push_pair(const tokenizer *t, struct bpe_work *w, int32_t at)
{
    int32_t next = w->symbols[at].next;
    if (next < 0)
        return 0;
    const struct merge *m =
        merges_find(&t->merges, (uint32_t)w->symbols[at].id, (uint32_t)w->symbols[next].id);
    return m ? heap_push(w, (struct bpe_pair){m->rank, (uint32_t)at, m->joined}) : 0;
}

/* Merges the n symbols of w; those that are left are linked from symbol 0. Every merge takes one symbol
 * away and adds at most two pairs, so the heap never holds more than 3n. */
static int merge_long(const tokenizer *t, struct bpe_work *w, size_t n)
{
    struct bpe_symbol *s = w->symbols;
    w->heap_n = 0;
    int rc = 0;
    for (size_t i = 0; i + 1 < n && rc == 0; i++)
        rc = push_pair(t, w, (int32_t)i);
    while (w->heap_n > 0 && rc == 0) {
        struct bpe_pair top = heap_pop(w);
        struct bpe_symbol *left = &s[top.at];
        if (left->id < 0 || left->next < 0)
            continue;
        struct bpe_symbol *right = &s[left->next];
        const struct merge *m = merges_find(&t->merges, (uint32_t)left->id, (uint32_t)right->id);
        if (!m || m->rank != top.rank || m->joined != top.joined)
            continue; /* one of the two has changed since */
        left->id = (int32_t)top.joined;
        right->id = -1;
        left->next = right->next;
        if (left->next >= 0)
            s[left->next].prev = (int32_t)top.at;
        if (left->prev >= 0)
            rc = push_pair(t, w, left->prev);
        if (rc == 0)
            rc = push_pair(t, w, (int32_t)top.at);
    }
    return rc;
}

static int work_reserve(struct bpe_work *w, size_t n)
{
    if (n <= w->symbols_cap)
        return 0;
    struct bpe_symbol *symbols = sp_realloc_array(w->symbols, n, sizeof *symbols);
    if (!symbols)
        return SP_ENOMEM;
    w->symbols = symbols;
    w->symbols_cap = n;
    return 0;
}

/* The symbols that a word starts as: one for each byte or character, or the character's byte tokens. An
 * unknown one waits for the next symbol, to be one with further unknown ones (fuse_unk); that byte
 * tokens pass it by is how Hugging Face's does it. */
struct first_symbols {
    struct bpe_symbol *out;
    size_t n;
    bool unknown;
};

static void first_flush(const tokenizer *t, struct first_symbols *f)
{
    if (f->unknown)
        f->out[f->n++].id = t->unk;
    f->unknown = false;
}

static void first_unknown(const tokenizer *t, struct first_symbols *f)
{
    if (t->unk < 0)
        return;
    if (!t->fuse_unk)
        first_flush(t, f);
    f->unknown = true;
}

static void first_put(const tokenizer *t, struct first_symbols *f, int32_t id)
{
    first_flush(t, f);
    f->out[f->n++].id = id;
}

static void first_character(const tokenizer *t, struct first_symbols *f, const char *p, size_t n)
{
    int32_t id = vocab_find(&t->vocab, p, n);
    bool bytes = true;
    if (id >= 0 && !(t->vocab.flags[id] & TOKEN_SPECIAL)) {
        first_put(t, f, id);
        return;
    }
    for (size_t i = 0; i < n; i++)
        bytes = bytes && t->byte_ids[(uint8_t)p[i]] >= 0;
    if (!bytes)
        first_unknown(t, f);
    for (size_t i = 0; bytes && i < n; i++)
        f->out[f->n++].id = t->byte_ids[(uint8_t)p[i]];
}

/* Fills out[n at most] and links it; returns how many. */
static size_t first_fill(const tokenizer *t, const char *p, size_t n, struct bpe_symbol *out)
{
    struct first_symbols f = {.out = out};
    for (size_t i = 0; i < n;) {
        if (t->by_character) {
            uint32_t cp;
            size_t len = unicode_at(p + i, &cp);
            first_character(t, &f, p + i, len);
            i += len;
            continue;
        }
        int32_t id = t->byte_ids[(uint8_t)p[i++]];
        if (id >= 0)
            first_put(t, &f, id);
        else
            first_unknown(t, &f);
    }
    first_flush(t, &f);
    for (size_t i = 0; i < f.n; i++) {
        out[i].prev = (int32_t)i - 1;
        out[i].next = i + 1 < f.n ? (int32_t)i + 1 : -1;
    }
    return f.n;
}

static int encode_short(const tokenizer *t, const char *p, size_t n, struct token_list *out)
{
    struct bpe_symbol symbols[SHORT_WORD];
    int32_t ids[SHORT_WORD];
    size_t count = first_fill(t, p, n, symbols);
    for (size_t i = 0; i < count; i++)
        ids[i] = symbols[i].id;
    count = merge_short(t, ids, count);
    for (size_t i = 0; i < count; i++)
        if (token_list_add(out, ids[i]) < 0)
            return SP_ENOMEM;
    return 0;
}

static int encode_long(const tokenizer *t, struct bpe_work *w, const char *p, size_t n,
                       struct token_list *out)
{
    if (work_reserve(w, n) < 0)
        return SP_ENOMEM;
    size_t count = first_fill(t, p, n, w->symbols);
    if (merge_long(t, w, count) < 0)
        return SP_ENOMEM;
    for (int32_t i = count > 0 ? 0 : -1; i >= 0; i = w->symbols[i].next)
        if (token_list_add(out, w->symbols[i].id) < 0)
            return SP_ENOMEM;
    return 0;
}

int bpe_word(const tokenizer *t, struct bpe_work *w, const char *p, size_t n,
             struct token_list *out)
{
    if (n == 1 && !t->by_character && t->byte_ids[(uint8_t)p[0]] >= 0)
        return token_list_add(out, t->byte_ids[(uint8_t)p[0]]);
    struct bpe_cached *cached = n <= CACHED_WORD ? cache_slot(w, p, n) : NULL;
    if (cached && cached->epoch == w->epoch && cached->n == n && memcmp(cached->p, p, n) == 0) {
        for (uint32_t i = 0; i < cached->count; i++)
            if (token_list_add(out, out->ids[cached->first + i]) < 0)
                return SP_ENOMEM;
        return 0;
    }
    size_t first = out->n;
    int32_t whole = t->ignore_merges ? vocab_find(&t->vocab, p, n) : -1;
    int rc;
    if (whole >= 0 && !(t->vocab.flags[whole] & TOKEN_SPECIAL))
        rc = token_list_add(out, whole);
    else
        rc = n <= SHORT_WORD ? encode_short(t, p, n, out) : encode_long(t, w, p, n, out);
    if (rc == 0 && cached && first <= UINT32_MAX)
        *cached = (struct bpe_cached){p, (uint32_t)n, w->epoch, (uint32_t)first,
                                      (uint32_t)(out->n - first)};
    return rc;
}
