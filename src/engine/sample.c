/* Choosing a token. Nothing here depends on other requests: the same logits, settings and position give
 * the same token, with every instruction set. Sources: nucleus sampling, Holtzman et al. 2019; min_p,
 * Nguyen et al. 2024; repetition penalty, Keskar et al. 2019, section 4.1; presence and frequency penalties
 * as OpenAI's API defines them.
 *
 * A vocabulary has some 150,000 tokens, of which few matter, so nothing sorts it and most of it is read
 * only twice: for the greatest logit of each block of 64 (blocks without a candidate are then skipped), and
 * for the weights exp((logit - greatest) / temperature) where the whole mass counts. A wide nucleus is not
 * even looked for: most draws from all fall into it, and whether one does is told by a sum. Where a set of
 * candidates is needed its end is found by dividing them into bins by logit and looking into one bin only. Few
 * candidates are taken out of the vocabulary; where many blocks have some, they stay in it and the others'
 * weights become 0. Either way they are in the order of ids, and the draw goes through them in that order. */
#include <float.h>
#include <math.h>
#include <string.h>
#include "base/rng.h"
#include "engine/engine_int.h"

#define BLOCK 64
#define LANES 8
#define BINS 1024
#define CROWDED 2        /* candidates in more than one of so many blocks stay in the vocabulary */
#define SORT_MOST 32     /* candidates that are sorted rather than divided */
#define NUCLEUS 8.0f     /* first guess: no token of it has a weight below exp(-8) */
#define WEIGHTLESS 90.0f /* below exp(-90) a weight is 0: kernel.h */
#define LIKELY 0.5f      /* from this top_p on a draw from all is tried first, */
#define TRIES 8          /* so many times */

/* ---- a sampler ---- */

uint64_t sampler_bytes(int64_t vocab)
{
    const struct sampler *s = NULL;
    return (uint64_t)vocab * (sizeof *s->work + sizeof *s->weight + sizeof *s->logit +
                              sizeof *s->token + sizeof *s->pick);
}

int sampler_init(struct sampler *s, const struct kernel_ops *ops, int64_t vocab)
{
    size_t n = (size_t)vocab, blocks = (n + BLOCK - 1) / BLOCK;
    *s = (struct sampler){.ops = ops, .vocab = vocab};
    s->work = sp_alloc_aligned(64, n * sizeof *s->work);
    s->weight = sp_alloc_aligned(64, n * sizeof *s->weight);
    s->logit = sp_alloc_aligned(64, n * sizeof *s->logit);
    s->token = sp_alloc_aligned(64, n * sizeof *s->token);
    s->pick = sp_alloc_aligned(64, n * sizeof *s->pick);
    s->block_max = sp_calloc(blocks, sizeof *s->block_max);
    s->block_sum = sp_calloc(blocks, sizeof *s->block_sum);
    bool made = s->work && s->weight && s->logit && s->token && s->pick;
    return made && s->block_max && s->block_sum ? 0 : SP_ENOMEM;
}

void sampler_done(struct sampler *s)
{
    sp_free(s->work);
    sp_free(s->weight);
    sp_free(s->logit);
    sp_free(s->token);
    sp_free(s->pick);
    sp_free(s->block_max);
    sp_free(s->block_sum);
}

/* ---- penalties ---- */

void token_counts_add(struct token_counts *c, int32_t token, bool answer)
{
    bool known = (c->seen && c->seen[token]) || (c->answer && c->answer[token]);
    if (!c->seen && !(c->answer && answer))
        return;
    if (!known)
        c->ids[c->n++] = token;
    if (c->seen)
        c->seen[token] = 1;
    if (c->answer && answer && c->answer[token] < UINT16_MAX)
        c->answer[token]++;
}

static bool penalized(const struct sampling *p, const struct token_counts *c)
{
    return c->n_banned || p->n_bias || p->repetition_penalty != 1.0f ||
           p->presence_penalty != 0.0f || p->frequency_penalty != 0.0f;
}

static void apply_penalties(float *x, const struct sampling *p, const struct token_counts *c)
{
    for (size_t i = 0; i < p->n_bias; i++)
        x[p->bias[i].token] += p->bias[i].bias;
    for (int64_t i = 0; i < c->n; i++) {
        int32_t t = c->ids[i];
        if (c->seen && c->seen[t] && p->repetition_penalty != 1.0f)
            x[t] = x[t] > 0 ? x[t] / p->repetition_penalty : x[t] * p->repetition_penalty;
        if (c->answer && c->answer[t])
            x[t] -= p->presence_penalty + p->frequency_penalty * (float)c->answer[t];
    }
    for (size_t i = 0; i < c->n_banned; i++)
        x[c->banned[i]] = -INFINITY;
}

/* ---- blocks ---- */

static int64_t blocks_of(int64_t n)
{
    return (n + BLOCK - 1) / BLOCK;
}

static int64_t block_end(int64_t block, int64_t n)
{
    return (block + 1) * BLOCK < n ? (block + 1) * BLOCK : n;
}

/* In lanes, so that the compiler can use vectors. NaN counts as nothing. */
static float greatest_of(const float *x, int64_t n)
{
    float lane[LANES], max = -INFINITY;
    int64_t i = 0;
    for (int l = 0; l < LANES; l++)
        lane[l] = -INFINITY;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++)
            lane[l] = x[i + l] > lane[l] ? x[i + l] : lane[l];
    for (int l = 0; l < LANES; l++)
        max = lane[l] > max ? lane[l] : max;
    for (; i < n; i++)
        max = x[i] > max ? x[i] : max;
    return max;
}

/* The greatest logit of each block, and of all. */
static float find_maxima(struct sampler *s, const float *x)
{
    for (int64_t b = 0; b < blocks_of(s->vocab); b++)
        s->block_max[b] = greatest_of(x + b * BLOCK, block_end(b, s->vocab) - b * BLOCK);
    return greatest_of(s->block_max, blocks_of(s->vocab));
}

/* The first token that has this logit, one of the vocabulary's. */
static int32_t first_with(const struct sampler *s, const float *x, float logit)
{
    int64_t b = 0;
    while (s->block_max[b] != logit)
        b++;
    int64_t i = b * BLOCK;
    while (x[i] != logit)
        i++;
    return (int32_t)i;
}

static float sum_lanes(const float lane[LANES])
{
    float sum = 0;
    for (int l = 0; l < LANES; l++)
        sum += lane[l];
    return sum;
}

/* The sum of up to a block of weights, in lanes. */
static float sum_block(const float *weight, int64_t n)
{
    float lane[LANES] = {0}, rest = 0;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++)
            lane[l] += weight[i + l];
    for (; i < n; i++)
        rest += weight[i];
    return rest + sum_lanes(lane);
}

/* The same of those whose logit is `least` or more. Weights are read before that is asked, so that nothing jumps. */
static float sum_block_from(const float *weight, const float *x, float least, int64_t n)
{
    float lane[LANES] = {0}, rest = 0;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) {
            const float w = weight[i + l];
            lane[l] += x[i + l] >= least ? w : 0;
        }
    for (; i < n; i++)
        rest += x[i] >= least ? weight[i] : 0;
    return rest + sum_lanes(lane);
}

/* The sum of n weights; that of each block stays in block_sum. */
static double sum_weights(struct sampler *s, int64_t n)
{
    double total = 0;
    for (int64_t b = 0; b < blocks_of(n); b++) {
        s->block_sum[b] = sum_block(s->weight + b * BLOCK, block_end(b, n) - b * BLOCK);
        total += (double)s->block_sum[b];
    }
    return total;
}

/* ---- candidates ---- */

/* In order of ids; their weights are weight[0 .. n), and 0 of one that is out. */
struct set {
    const float *x;       /* [n] logits */
    const int32_t *token; /* [n]; NULL: the whole vocabulary */
    int64_t n;
};

static struct set whole(const struct sampler *s, const float *x)
{
    return (struct set){.x = x, .n = s->vocab};
}

static int32_t token_at(const struct set *c, int64_t at)
{
    return c->token ? c->token[at] : (int32_t)at;
}

/* Whether so many blocks have logits of at least `least` that taking them out would be slower. */
static bool crowded(const struct sampler *s, float least)
{
    int64_t n = 0;
    for (int64_t b = 0; b < blocks_of(s->vocab); b++)
        n += s->block_max[b] >= least;
    return n * CROWDED > blocks_of(s->vocab);
}

/* Those with a logit of at least `least` (finite); with `weighed`, weight[] is that of the vocabulary and
 * becomes theirs. */
static struct set take_from(struct sampler *s, const float *x, float least, bool weighed)
{
    int64_t n = 0;
    for (int64_t b = 0; b < blocks_of(s->vocab); b++) {
        if (!(s->block_max[b] >= least))
            continue;
        for (int64_t i = b * BLOCK; i < block_end(b, s->vocab); i++) {
            /* n <= i: writing and then counting it or not spares a jump that nothing could foresee */
            s->logit[n] = x[i];
            s->token[n] = (int32_t)i;
            if (weighed)
                s->weight[n] = s->weight[i];
            n += x[i] >= least;
        }
    }
    return (struct set){s->logit, s->token, n};
}

/* What counts until enough candidates are together: their weights, or each as one. */
struct share {
    bool count;
    double want;
};

/* Candidates that the last one needed is among: places in the set, in order; NULL: all of it from `lo` on. */
struct part {
    const int32_t *place;
    int64_t n;
    float hi, lo; /* none is stronger, none is weaker */
};

static int64_t place_of(const struct part *p, int64_t i)
{
    return p->place ? p->place[i] : i;
}

static double mass_of(const struct sampler *s, int64_t at, const struct share *share)
{
    return share->count ? 1.0 : (double)s->weight[at];
}

/* (top - logit) * first * second is the number of the bin: one factor alone may be out of range. */
struct bins {
    float top, least, first, second;
    double mass[BINS + BLOCK]; /* behind BINS: of what is weaker than `least`, never used */
};

static void make_bins(struct bins *b, const struct part *p)
{
    *b = (struct bins){.top = p->hi < FLT_MAX ? p->hi : FLT_MAX, .least = p->lo};
    double scale = BINS / ((double)b->top - (double)b->least);
    b->first = scale > 0x1p60 ? 0x1p60f : 1.0f;
    b->second = (float)(scale / (double)b->first);
}

/* The bins of up to a block of the part's candidates, from the i-th on; how many. In two loops over whole blocks, so
 * that the compiler can use vectors. What is out gets places of its own: one place for all would make each sum wait
 * for the one before. */
static int64_t bin_block(const struct bins *b, const struct set *c, const struct part *p, int64_t i,
                         int32_t bin[BLOCK])
{
    const int64_t n = p->n - i < BLOCK ? p->n - i : BLOCK;
    float room[BLOCK];
    const float *x = p->place || n < BLOCK ? room : c->x + i;
    for (int64_t k = 0; k < BLOCK && x == room; k++)
        room[k] = k < n ? c->x[place_of(p, i + k)] : -INFINITY;
    for (int32_t k = 0; k < BLOCK; k++) {
        float v = (b->top - x[k]) * b->first * b->second;
        v = v < BINS - 1 ? v : BINS - 1;
        v = v > 0 ? v : 0;
        bin[k] = x[k] >= b->least ? (int32_t)v : BINS + k;
    }
    return n;
}

static void bound(const struct set *c, struct part *p)
{
    p->hi = -INFINITY;
    p->lo = INFINITY;
    for (int64_t i = 0; i < p->n; i++) {
        float v = c->x[place_of(p, i)];
        p->hi = v > p->hi ? v : p->hi;
        p->lo = v < p->lo ? v : p->lo;
    }
}

static bool any_equal(const int32_t bin[BLOCK], int32_t wanted)
{
    int32_t found = 0;
    for (int k = 0; k < BLOCK; k++)
        found |= bin[k] == wanted;
    return found;
}

/* Leaves the part that is in the bin in which the share is reached; the mass of the bins before is added
 * to *above. */
static void divide(struct sampler *s, const struct set *c, struct part *p,
                   const struct share *share, double *above)
{
    struct bins b;
    int32_t bin[BLOCK], reached = 0, last = BINS - 1;
    int64_t left = 0;
    make_bins(&b, p);
    for (int64_t i = 0; i < p->n; i += BLOCK) {
        int64_t n = bin_block(&b, c, p, i, bin);
        for (int64_t k = 0; k < n; k++)
            b.mass[bin[k]] += mass_of(s, place_of(p, i + k), share);
    }
    while (last > 0 && b.mass[last] == 0)
        last--;
    while (reached < last && *above + b.mass[reached] < share->want)
        *above += b.mass[reached++];
    for (int64_t i = 0; i < p->n; i += BLOCK) {
        int64_t n = bin_block(&b, c, p, i, bin);
        for (int64_t k = 0; any_equal(bin, reached) && k < n; k++) {
            s->pick[left] = (int32_t)place_of(p, i + k); /* left <= i + k: it has been read */
            left += bin[k] == reached;
        }
    }
    p->place = s->pick;
    p->n = left;
    bound(c, p);
}

/* Strongest first, ties to the lower id; cheap where there are few, or where they are in order already. */
static void sort_picked(struct sampler *s, const struct set *c, int64_t n)
{
    for (int64_t i = 1; i < n; i++) {
        int32_t at = s->pick[i];
        int64_t j = i;
        for (; j > 0 && c->x[s->pick[j - 1]] < c->x[at]; j--)
            s->pick[j] = s->pick[j - 1];
        s->pick[j] = at;
    }
}

/* The place of the weakest that is needed to reach the share, strongest first; of equals the lower id is. */
static int64_t find_last(struct sampler *s, const struct set *c, struct part p,
                         const struct share *share)
{
    double above = 0;
    int64_t i = 0;
    while (p.n > SORT_MOST && p.hi > p.lo)
        divide(s, c, &p, share, &above);
    for (int64_t k = 0; k < p.n && !p.place; k++)
        s->pick[k] = (int32_t)k;
    if (p.hi > p.lo)
        sort_picked(s, c, p.n);
    while (i < p.n - 1 && (above += mass_of(s, s->pick[i], share)) < share->want)
        i++;
    return s->pick[i];
}

/* Of candidates from `lo` to `hi`, the strongest that reach the share: the others' weights become 0. */
static void keep_share(struct sampler *s, const struct set *c, float hi, float lo,
                       const struct share *share)
{
    const int64_t last = find_last(s, c, (struct part){NULL, c->n, hi, lo}, share);
    const float least = c->x[last];
    for (int64_t i = 0; i <= last; i++)
        s->weight[i] = c->x[i] >= least ? s->weight[i] : 0;
    for (int64_t i = last + 1; i < c->n; i++)
        s->weight[i] = c->x[i] > least ? s->weight[i] : 0;
}

/* The k strongest, without weights. Each of the k strongest blocks has a candidate that is no weaker than
 * the greatest of the k-th. */
static struct set take_top(struct sampler *s, const float *x, float max, int64_t k)
{
    const struct share share = {.count = true, .want = (double)k};
    const struct set maxima = {.x = s->logit, .n = blocks_of(s->vocab)};
    float least = -FLT_MAX;
    if (k <= maxima.n) {
        struct part all = {.n = maxima.n};
        for (int64_t b = 0; b < maxima.n; b++)
            s->logit[b] = s->block_max[b] > -FLT_MAX ? s->block_max[b] : -FLT_MAX;
        bound(&maxima, &all);
        least = s->logit[find_last(s, &maxima, all, &share)];
    }
    struct set c = take_from(s, x, least, false);
    if (c.n <= k)
        return c;
    const int64_t last = find_last(s, &c, (struct part){NULL, c.n, max, least}, &share), n = c.n;
    least = c.x[last];
    c.n = 0;
    for (int64_t i = 0; i < n; i++) {
        const bool early = i <= last; /* of equals those */
        bool kept = c.x[i] > least || (early && c.x[i] == least);
        s->logit[c.n] = s->logit[i];
        s->token[c.n] = s->token[i];
        c.n += kept;
    }
    return c;
}

/* ---- weights ---- */

static float scale_of(const struct sampling *p)
{
    return p->temperature > 1e-30f ? 1.0f / p->temperature : 1e30f;
}

static void weigh(struct sampler *s, const struct set *c, float max, const struct sampling *p)
{
    s->ops->weights(c->x, max, scale_of(p), c->n, s->weight);
}

/* The mass of what is stronger than the token `place`, of equals those before it; of more than `enough` some part. */
static double mass_before(const struct sampler *s, const float *x, int64_t place, double enough)
{
    const float least = x[place], above = nextafterf(least, INFINITY);
    double mass = 0;
    for (int64_t b = 0; b < blocks_of(s->vocab) && mass < enough; b++) {
        const int64_t begin = b * BLOCK, end = block_end(b, s->vocab);
        const int64_t split = place < begin ? begin : place < end ? place : end;
        if (!(s->block_max[b] >= least))
            continue;
        mass += (double)sum_block_from(s->weight + begin, x + begin, least, split - begin) +
                (double)sum_block_from(s->weight + split, x + split, above, end - split);
    }
    return mass;
}

static double mass_from(const struct sampler *s, const float *x, float least)
{
    double mass = 0;
    for (int64_t b = 0; b < blocks_of(s->vocab); b++)
        if (s->block_max[b] >= least)
            mass += (double)sum_block_from(s->weight + b * BLOCK, x + b * BLOCK, least,
                                           block_end(b, s->vocab) - b * BLOCK);
    return mass;
}

static float below(float max, float width)
{
    return max - width > -FLT_MAX ? max - width : -FLT_MAX;
}

/* top_p of the whole vocabulary: a threshold is lowered until enough mass is above it. */
static struct set take_nucleus(struct sampler *s, const float *x, float max,
                               const struct sampling *p)
{
    struct set c = whole(s, x);
    weigh(s, &c, max, p);
    const struct share share = {.want = (double)p->top_p * sum_weights(s, s->vocab)};
    float width = NUCLEUS * p->temperature;
    while (width < WEIGHTLESS * p->temperature && mass_from(s, x, below(max, width)) < share.want)
        width *= 1.5f;
    float least = below(max, width);
    if (!crowded(s, least))
        c = take_from(s, x, least, true);
    keep_share(s, &c, max, least, &share);
    return c;
}

static void cut_top_p(struct sampler *s, const struct set *c, float max, const struct sampling *p)
{
    const struct share share = {.want = (double)p->top_p * sum_weights(s, c->n)};
    struct part all = {.n = c->n};
    bound(c, &all);
    keep_share(s, c, max, all.lo, &share);
}

static void cut_min_p(struct sampler *s, const struct set *c, const struct sampling *p)
{
    for (int64_t i = 0; i < c->n; i++)
        s->weight[i] = s->weight[i] >= p->min_p ? s->weight[i] : 0;
}

static struct set gather(struct sampler *s, const float *x, float max, const struct sampling *p)
{
    struct set c;
    if (p->top_k > 0 && p->top_k < s->vocab) {
        c = take_top(s, x, max, p->top_k);
        weigh(s, &c, max, p);
        if (p->top_p < 1)
            cut_top_p(s, &c, max, p);
    } else if (p->top_p < 1) {
        c = take_nucleus(s, x, max, p);
    } else {
        /* a little more than min_p asks for: its weights decide */
        float width = p->min_p > 0 ? 0.01f - 1.001f * logf(p->min_p) : INFINITY;
        float least = below(max, width * p->temperature);
        c = p->min_p > 0 && crowded(s, least) ? whole(s, x) : take_from(s, x, least, false);
        weigh(s, &c, max, p);
    }
    if (p->min_p > 0)
        cut_min_p(s, &c, p);
    return c;
}

/* The place among n weights, whose sums are in block_sum, that u falls on, which is less than the sum of all. */
static int64_t place_at(const struct sampler *s, int64_t n, double u)
{
    double at = 0, before = 0;
    int64_t block = 0, last = 0;
    for (int64_t b = 0; b < blocks_of(n) && at <= u; b++) {
        if (s->block_sum[b] == 0)
            continue;
        block = b;
        before = at;
        at += (double)s->block_sum[b];
    }
    at = before;
    for (int64_t i = block * BLOCK; i < block_end(block, n) && at <= u; i++) {
        if (s->weight[i] > 0)
            last = i; /* and the answer where rounding let u pass the end */
        at += (double)s->weight[i];
    }
    return last;
}

static int64_t draw(struct sampler *s, int64_t n, const struct sampling *p, int64_t position)
{
    return place_at(s, n, sum_weights(s, n) * rng_uniform(p->seed, (uint64_t)position, 0));
}

/* A draw from the whole vocabulary that happens to be of the nucleus is a draw from the nucleus. Most are, and whether
 * one is takes a sum, where finding the nucleus takes several and more. -1: too many were not. */
static int32_t draw_and_see(struct sampler *s, const float *x, float max, const struct sampling *p,
                            int64_t position)
{
    const struct set all = whole(s, x);
    weigh(s, &all, max, p);
    const double total = sum_weights(s, s->vocab), want = (double)p->top_p * total;
    for (uint64_t try = 1; try <= TRIES; try++) {
        double u = total * rng_uniform(p->seed, (uint64_t)position, try);
        int64_t place = place_at(s, s->vocab, u);
        if (s->weight[place] >= p->min_p && mass_before(s, x, place, want) < want)
            return (int32_t)place;
    }
    return -1;
}

static bool limited(const struct sampler *s, const struct sampling *p)
{
    return (p->top_k > 0 && p->top_k < s->vocab) || p->top_p < 1 || p->min_p > 0;
}

/* The logits after bias and penalties. */
static const float *penalize(struct sampler *s, const float *logits, const struct sampling *p,
                             const struct token_counts *counts)
{
    if (!penalized(p, counts))
        return logits;
    memcpy(s->work, logits, (size_t)s->vocab * sizeof *s->work);
    apply_penalties(s->work, p, counts);
    return s->work;
}

int32_t sample_token(struct sampler *s, const float *logits, const struct sampling *p,
                     const struct token_counts *counts, int64_t position)
{
    const float *x = penalize(s, logits, p, counts);
    float max = find_maxima(s, x);
    if (!(max > -INFINITY))
        return -1;
    if (p->temperature == 0 || max == INFINITY)
        return first_with(s, x, max);
    if (!limited(s, p)) {
        s->ops->weights(x, max, scale_of(p), s->vocab, s->weight);
        return (int32_t)draw(s, s->vocab, p, position);
    }
    bool wide = p->top_p >= LIKELY && p->top_p < 1 && !(p->top_k > 0 && p->top_k < s->vocab);
    int32_t token = wide ? draw_and_see(s, x, max, p, position) : -1;
    if (token >= 0)
        return token;
    const struct set c = gather(s, x, max, p);
    return token_at(&c, draw(s, c.n, p, position));
}

int64_t sample_candidates(struct sampler *s, const float *logits, const struct sampling *p,
                          const struct token_counts *counts)
{
    const float *x = penalize(s, logits, p, counts);
    float max = find_maxima(s, x);
    if (!(max > -INFINITY && max < INFINITY))
        return 0;
    const struct set c = gather(s, x, max, p);
    bool cut = p->top_p < 1 || p->min_p > 0;
    int64_t n = 0;
    for (int64_t i = 0; i < c.n; i++) {
        float weight = s->weight[i];
        s->token[n] = token_at(&c, i);
        s->weight[n] = weight;
        n += !cut || weight > 0;
    }
    return n;
}

int sample_top(struct sampler *s, const float *logits, float log_sum_exp, int n,
               struct token_logprob *out)
{
    float max = n > 0 ? find_maxima(s, logits) : -INFINITY;
    if (!(max > -INFINITY))
        return 0;
    const struct set c = take_top(s, logits, max, n);
    for (int i = 0; i < c.n; i++)
        s->pick[i] = i;
    sort_picked(s, &c, c.n);
    for (int i = 0; i < c.n; i++)
        out[i] = (struct token_logprob){s->token[s->pick[i]], s->logit[s->pick[i]] - log_sum_exp};
    return (int)c.n;
}
