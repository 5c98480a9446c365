/* Choosing a token. Nothing here depends on other requests: the same logits, settings and position give
 * the same token, with every instruction set. Sources: nucleus sampling, Holtzman et al. 2019; min_p,
 * Nguyen et al. 2024; repetition penalty, Keskar et al. 2019, section 4.1; presence and frequency penalties
 * as OpenAI's API defines them.
 *
 * A vocabulary has some 150,000 tokens, of which few matter, so nothing sorts it and most of it is read
 * only twice: for the greatest logit of each block of 64 (blocks without a candidate are then skipped), and
 * for the weights exp((logit - greatest) / temperature) where the whole mass counts. Where a set of
 * candidates ends is found by dividing them into bins by logit and looking into one bin only. Candidates
 * stay in the order of ids; the draw goes through them in that order. */
#include <float.h>
#include <math.h>
#include <string.h>
#include "base/rng.h"
#include "engine/engine_int.h"

#define BLOCK 64
#define LANES 8
#define BINS 1024
#define SORT_MOST 32     /* candidates that are sorted rather than divided */
#define NUCLEUS 8.0f     /* first guess: no token of it has a weight below exp(-8) */
#define WEIGHTLESS 90.0f /* below exp(-90) a weight is 0: kernel.h */

/* ---- a sampler ---- */

int sampler_init(struct sampler *s, const struct kernel_ops *ops, int64_t vocab)
{
    size_t n = (size_t)vocab, blocks = (n + BLOCK - 1) / BLOCK;
    *s = (struct sampler){.ops = ops, .vocab = vocab};
    s->work = sp_alloc_aligned(64, n * sizeof *s->work);
    s->weight = sp_alloc_aligned(64, n * sizeof *s->weight);
    s->cand = sp_alloc_aligned(64, n * sizeof *s->cand);
    s->pick = sp_alloc_aligned(64, n * sizeof *s->pick);
    s->block_max = sp_calloc(blocks, sizeof *s->block_max);
    s->block_sum = sp_calloc(blocks, sizeof *s->block_sum);
    return s->work && s->weight && s->cand && s->pick && s->block_max && s->block_sum ? 0
                                                                                      : SP_ENOMEM;
}

void sampler_done(struct sampler *s)
{
    sp_free(s->work);
    sp_free(s->weight);
    sp_free(s->cand);
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

/* The same of those whose logit is `least` or more. */
static float sum_block_from(const float *weight, const float *x, float least, int64_t n)
{
    float lane[LANES] = {0}, rest = 0;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++)
            lane[l] += x[i + l] >= least ? weight[i + l] : 0;
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

/* Weaker: the one that leaves first when not all may stay. */
static bool weaker(struct candidate a, struct candidate b)
{
    return a.logit < b.logit || (a.logit == b.logit && a.token > b.token);
}

/* Those with a logit of at least `least` (finite); with `weighed`, weight[] is that of the vocabulary and
 * becomes theirs. How many. */
static int64_t take_from(struct sampler *s, const float *x, float least, bool weighed)
{
    int64_t n = 0;
    for (int64_t b = 0; b < blocks_of(s->vocab); b++) {
        if (!(s->block_max[b] >= least))
            continue;
        for (int64_t i = b * BLOCK; i < block_end(b, s->vocab); i++) {
            /* n <= i: writing and then counting it or not spares a jump that nothing could foresee */
            s->cand[n] = (struct candidate){x[i], (int32_t)i};
            if (weighed)
                s->weight[n] = s->weight[i];
            n += x[i] >= least;
        }
    }
    return n;
}

/* What counts until enough candidates are together: their weights, or each as one. */
struct share {
    bool count;
    double want;
};

/* Candidates that the last one needed is among: places in cand[], in order of ids; NULL: all n. */
struct part {
    const int32_t *place;
    int64_t n;
    float hi, lo; /* none is stronger, none is weaker */
};

static int32_t place_of(const struct part *p, int64_t i)
{
    return p->place ? p->place[i] : (int32_t)i;
}

static double mass_of(const struct sampler *s, int32_t at, const struct share *share)
{
    return share->count ? 1.0 : (double)s->weight[at];
}

struct bins {
    double top, scale; /* of the strongest logit; bins per unit */
    double mass[BINS];
};

static int bin_of(const struct bins *b, float logit)
{
    int i = (int)((b->top - (double)logit) * b->scale);
    return i < BINS - 1 ? i : BINS - 1;
}

static void bound(const struct sampler *s, struct part *p)
{
    p->hi = -INFINITY;
    p->lo = INFINITY;
    for (int64_t i = 0; i < p->n; i++) {
        float v = s->cand[place_of(p, i)].logit;
        p->hi = v > p->hi ? v : p->hi;
        p->lo = v < p->lo ? v : p->lo;
    }
}

/* Leaves the part that is in the bin in which the share is reached; the mass of the bins before is added
 * to *above. */
static void divide(struct sampler *s, struct part *p, const struct share *share, double *above)
{
    struct bins b = {.top = (double)p->hi, .scale = BINS / ((double)p->hi - (double)p->lo)};
    int64_t left = 0;
    int bin = 0, last = 0;
    for (int64_t i = 0; i < p->n; i++) {
        int32_t at = place_of(p, i);
        int to = bin_of(&b, s->cand[at].logit);
        b.mass[to] += mass_of(s, at, share);
        last = to > last ? to : last;
    }
    while (bin < last && *above + b.mass[bin] < share->want)
        *above += b.mass[bin++];
    for (int64_t i = 0; i < p->n; i++) {
        int32_t at = place_of(p, i);
        s->pick[left] = at;
        left += bin_of(&b, s->cand[at].logit) == bin;
    }
    p->place = s->pick;
    p->n = left;
    bound(s, p);
}

/* Strongest first; cheap where there are few, or where they are in order already. */
static void sort_picked(struct sampler *s, int64_t n)
{
    for (int64_t i = 1; i < n; i++) {
        int32_t at = s->pick[i];
        int64_t j = i;
        for (; j > 0 && weaker(s->cand[s->pick[j - 1]], s->cand[at]); j--)
            s->pick[j] = s->pick[j - 1];
        s->pick[j] = at;
    }
}

/* The weakest that is needed to reach the share, strongest first; ties go to the lower id. */
static struct candidate find_last(struct sampler *s, struct part p, const struct share *share)
{
    double above = 0;
    int64_t i = 0;
    while (p.n > SORT_MOST && p.hi > p.lo)
        divide(s, &p, share, &above);
    for (int64_t k = 0; k < p.n && !p.place; k++)
        s->pick[k] = (int32_t)k;
    sort_picked(s, p.n);
    while (i < p.n - 1 && (above += mass_of(s, s->pick[i], share)) < share->want)
        i++;
    return s->cand[s->pick[i]];
}

/* Of n candidates from `lo` to `hi`, the strongest that reach the share. */
static int64_t keep_share(struct sampler *s, int64_t n, float hi, float lo,
                          const struct share *share)
{
    const struct candidate last = find_last(s, (struct part){NULL, n, hi, lo}, share);
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++) {
        struct candidate c = s->cand[i];
        s->cand[kept] = c;
        if (!share->count)
            s->weight[kept] = s->weight[i];
        kept += (c.logit > last.logit) | ((c.logit == last.logit) & (c.token <= last.token));
    }
    return kept;
}

/* The k strongest, without weights. Each of the k strongest blocks has a candidate that is no weaker than
 * the greatest of the k-th. */
static int64_t take_top(struct sampler *s, const float *x, float max, int64_t k)
{
    const struct share share = {.count = true, .want = (double)k};
    int64_t blocks = blocks_of(s->vocab);
    float least = -FLT_MAX;
    for (int64_t b = 0; b < blocks && k <= blocks; b++)
        s->cand[b] =
            (struct candidate){s->block_max[b] > -FLT_MAX ? s->block_max[b] : -FLT_MAX, (int32_t)b};
    if (k <= blocks) {
        struct part all = {.n = blocks};
        bound(s, &all);
        least = find_last(s, all, &share).logit;
    }
    int64_t n = take_from(s, x, least, false);
    return n > k ? keep_share(s, n, max, least, &share) : n;
}

/* ---- weights ---- */

static float scale_of(const struct sampling *p)
{
    return p->temperature > 1e-30f ? 1.0f / p->temperature : 1e30f;
}

static void weigh_candidates(struct sampler *s, int64_t n, float max, const struct sampling *p)
{
    for (int64_t i = 0; i < n; i++)
        s->weight[i] = s->cand[i].logit;
    s->ops->weights(s->weight, max, scale_of(p), n, s->weight);
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
static int64_t take_nucleus(struct sampler *s, const float *x, float max, const struct sampling *p)
{
    s->ops->weights(x, max, scale_of(p), s->vocab, s->weight);
    const struct share share = {.want = (double)p->top_p * sum_weights(s, s->vocab)};
    float width = NUCLEUS * p->temperature;
    while (width < WEIGHTLESS * p->temperature && mass_from(s, x, below(max, width)) < share.want)
        width *= 2;
    float least = below(max, width);
    return keep_share(s, take_from(s, x, least, true), max, least, &share);
}

static int64_t cut_min_p(struct sampler *s, int64_t n, const struct sampling *p)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++) {
        s->cand[kept] = s->cand[i];
        s->weight[kept] = s->weight[i];
        kept += s->weight[i] >= p->min_p;
    }
    return kept;
}

static int64_t gather(struct sampler *s, const float *x, float max, const struct sampling *p)
{
    int64_t n;
    if (p->top_k > 0 && p->top_k < s->vocab) {
        n = take_top(s, x, max, p->top_k);
        weigh_candidates(s, n, max, p);
        if (p->top_p < 1) {
            const struct share share = {.want = (double)p->top_p * sum_weights(s, n)};
            struct part all = {.n = n};
            bound(s, &all);
            n = keep_share(s, n, max, all.lo, &share);
        }
    } else if (p->top_p < 1) {
        n = take_nucleus(s, x, max, p);
    } else {
        /* a little more than min_p asks for: its weights decide */
        float width = p->min_p > 0 ? 0.01f - 1.001f * logf(p->min_p) : INFINITY;
        n = take_from(s, x, below(max, width * p->temperature), false);
        weigh_candidates(s, n, max, p);
    }
    return p->min_p > 0 ? cut_min_p(s, n, p) : n;
}

/* The place among n weights that the draw of this position falls on. */
static int64_t draw(struct sampler *s, int64_t n, const struct sampling *p, int64_t position)
{
    double u = sum_weights(s, n) * rng_uniform(p->seed, (uint64_t)position, 0), at = 0, before = 0;
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
    int64_t n = gather(s, x, max, p);
    return s->cand[draw(s, n, p, position)].token;
}

int64_t sample_candidates(struct sampler *s, const float *logits, const struct sampling *p,
                          const struct token_counts *counts)
{
    const float *x = penalize(s, logits, p, counts);
    float max = find_maxima(s, x);
    return max > -INFINITY && max < INFINITY ? gather(s, x, max, p) : 0;
}

int sample_top(struct sampler *s, const float *logits, float log_sum_exp, int n,
               struct token_logprob *out)
{
    float max = n > 0 ? find_maxima(s, logits) : -INFINITY;
    if (!(max > -INFINITY))
        return 0;
    int got = (int)take_top(s, logits, max, n);
    for (int i = 0; i < got; i++)
        s->pick[i] = i;
    sort_picked(s, got);
    for (int i = 0; i < got; i++) {
        struct candidate c = s->cand[s->pick[i]];
        out[i] = (struct token_logprob){c.token, c.logit - log_sum_exp};
    }
    return got;
}
