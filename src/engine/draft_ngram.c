/* Prompt lookup. Every pair of adjacent tokens is in a hash table by its latest place, and each place has a link to
 * the one before with the same hash, as in LZ77 compressors (RFC 1951, section 4); so the latest places that agree
 * with the last pair are found without searching, and the one whose longer past agrees best is taken.
 *
 * How likely a guess is depends most on how long the agreement is: two tokens say little, a dozen mean that a text is
 * being quoted. So the share of right guesses is kept by length of agreement. It is learned at every token, also when
 * no guess was verified, since the token that comes tells whether the first guess was right: trying costs nothing, and
 * a request that begins to quote is noticed by itself. */
#include <string.h>
#include "engine/draft_int.h"

#define LEAST 2       /* tokens that must agree */
#define AGREE_MOST 16 /* tokens that are compared */
#define LOOK_MOST 32  /* places that are looked at */
#define CLASSES 8
#define FIRST_WEIGHT 4.0f /* what the estimates below count as, in guesses */
#define LAST_WEIGHT 16.0f /* how many guesses an estimate remembers */
#define CHANCE_MOST 0.99f

/* Shares of right guesses before anything was seen, by class_of. */
static const float first_chance[CLASSES] = {0.15f, 0.25f, 0.35f, 0.5f, 0.65f, 0.75f, 0.85f, 0.9f};

struct ngram {
    struct draft_source source; /* first */
    int64_t window;             /* a power of two */
    int64_t known;              /* pairs that end before this place are in the table */
    int32_t *latest; /* [window] by hash: the place where such a pair ended last; -1: none */
    int32_t *before; /* [window] by place % window: the place before it with the same hash */
    float chance[CLASSES], weight[CLASSES];
    int agree; /* of the last proposal */
};

static int class_of(int agree)
{
    static const int longest[CLASSES - 1] = {2, 3, 4, 6, 8, 12, 15};
    int c = 0;
    while (c < CLASSES - 1 && agree > longest[c])
        c++;
    return c;
}

static size_t pair_hash(const struct ngram *g, const int32_t *tokens, int64_t at)
{
    uint64_t pair = (uint64_t)(uint32_t)tokens[at - 1] << 32 | (uint32_t)tokens[at];
    return (size_t)((pair * 0x9E3779B97F4A7C15u) >> 32) & (size_t)(g->window - 1);
}

static void add_pairs(struct ngram *g, const int32_t *tokens, int64_t n)
{
    for (int64_t at = g->known; at < n; at++) {
        int32_t *latest = &g->latest[pair_hash(g, tokens, at)];
        g->before[at & (g->window - 1)] = *latest;
        *latest = (int32_t)at;
    }
    g->known = n;
}

/* How many tokens up to and with place `at` equal those that end the list. */
static int agreement(const int32_t *tokens, int64_t n, int64_t at)
{
    int agree = 0;
    while (agree < AGREE_MOST && at - agree >= 0 && tokens[at - agree] == tokens[n - 1 - agree])
        agree++;
    return agree;
}

/* The place that agrees best with the end of the list; -1: none. */
static int64_t find(struct ngram *g, const int32_t *tokens, int64_t n)
{
    int64_t at = g->before[(n - 1) & (g->window - 1)], best = -1;
    g->agree = LEAST - 1;
    for (int looked = 0; looked < LOOK_MOST && at >= 0 && at > n - 1 - g->window; looked++) {
        int agree = agreement(tokens, n, at);
        if (agree > g->agree) {
            g->agree = agree;
            best = at;
        }
        if (agree == AGREE_MOST)
            break;
        at = g->before[at & (g->window - 1)];
    }
    return best;
}

static void ngram_propose(struct draft_source *s, const int32_t *tokens, int64_t n, int most,
                          struct draft *out)
{
    struct ngram *g = (struct ngram *)s;
    float chance = 1;
    out->n = 0;
    add_pairs(g, tokens, n);
    int64_t at = n >= LEAST ? find(g, tokens, n) : -1;
    if (at < 0)
        return;
    for (int i = 0; i < most; i++) {
        /* A text that repeats itself goes on into its own guesses. */
        int64_t from = at + 1 + i;
        out->token[i] = from < n ? tokens[from] : out->token[from - n];
        chance *= g->chance[class_of(g->agree + i)];
        out->chance[i] = chance;
    }
    out->n = most;
}

static void count(struct ngram *g, int agree, bool right)
{
    int c = class_of(agree);
    float chance = g->chance[c] + ((right ? 1.0f : 0.0f) - g->chance[c]) / (g->weight[c] + 1);
    g->chance[c] = chance < CHANCE_MOST ? chance : CHANCE_MOST;
    g->weight[c] = g->weight[c] + 1 < LAST_WEIGHT ? g->weight[c] + 1 : LAST_WEIGHT;
}

static void ngram_learn(struct draft_source *s, int right, bool wrong)
{
    struct ngram *g = (struct ngram *)s;
    for (int i = 0; i < right; i++)
        count(g, g->agree + i, true);
    if (wrong)
        count(g, g->agree + right, false);
}

static void ngram_free(struct draft_source *s)
{
    struct ngram *g = (struct ngram *)s;
    sp_free(g->latest);
    sp_free(g->before);
    sp_free(g);
}

static const struct draft_source_ops ngram_ops = {ngram_propose, ngram_learn, ngram_free};

struct draft_source *ngram_new(int64_t most)
{
    struct ngram *g = sp_calloc(1, sizeof *g);
    if (!g)
        return NULL;
    g->source.ops = &ngram_ops;
    for (g->window = 1; g->window < most && g->window < NGRAM_WINDOW;)
        g->window *= 2;
    g->known = 1; /* the first token ends no pair */
    g->latest = sp_malloc((size_t)g->window * sizeof *g->latest);
    g->before = sp_malloc((size_t)g->window * sizeof *g->before);
    if (!g->latest || !g->before) {
        ngram_free(&g->source);
        return NULL;
    }
    memset(g->latest, 0xff, (size_t)g->window * sizeof *g->latest);
    for (int i = 0; i < CLASSES; i++) {
        g->chance[i] = first_chance[i];
        g->weight[i] = FIRST_WEIGHT;
    }
    return &g->source;
}
