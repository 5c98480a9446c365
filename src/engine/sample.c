/* Choosing a token. Nothing here depends on other requests: the same logits, settings and position give
 * the same token. Sources: nucleus sampling, Holtzman et al. 2019; min_p, Nguyen et al. 2024; repetition
 * penalty, Keskar et al. 2019, section 4.1; presence and frequency penalties as OpenAI's API defines them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/rng.h"
#include "engine/engine_int.h"

static bool penalized(const struct sampling *p)
{
    return p->n_bias || p->repetition_penalty != 1.0f || p->presence_penalty != 0.0f ||
           p->frequency_penalty != 0.0f;
}

static void apply_penalties(float *x, int64_t vocab, const struct sampling *p,
                            const struct token_counts *c)
{
    for (size_t i = 0; i < p->n_bias; i++)
        x[p->bias[i].token] += p->bias[i].bias;
    for (int64_t i = 0; c->seen && p->repetition_penalty != 1.0f && i < vocab; i++)
        if (c->seen[i])
            x[i] = x[i] > 0 ? x[i] / p->repetition_penalty : x[i] * p->repetition_penalty;
    for (int64_t i = 0; c->answer && i < vocab; i++)
        if (c->answer[i])
            x[i] -= p->presence_penalty + p->frequency_penalty * (float)c->answer[i];
}

static int32_t greatest(const float *x, int64_t vocab)
{
    int32_t best = -1;
    float max = -INFINITY;
    for (int64_t i = 0; i < vocab; i++)
        if (x[i] > max) {
            max = x[i];
            best = (int32_t)i;
        }
    return best;
}

static int by_logit(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit > y->logit ? -1 : 1;
    return x->token < y->token ? -1 : x->token > y->token;
}

/* Weaker: the one that leaves first when only k may stay. */
static bool weaker(struct candidate a, struct candidate b)
{
    return a.logit < b.logit || (a.logit == b.logit && a.token > b.token);
}

static void sift_down(struct candidate *heap, int64_t n, int64_t i)
{
    for (;;) {
        int64_t least = i, l = 2 * i + 1, r = l + 1;
        if (l < n && weaker(heap[l], heap[least]))
            least = l;
        if (r < n && weaker(heap[r], heap[least]))
            least = r;
        if (least == i)
            return;
        struct candidate t = heap[i];
        heap[i] = heap[least];
        heap[least] = t;
        i = least;
    }
}

/* The k strongest into heap (weakest first), then sorted. Returns how many. */
static int64_t take_top(const float *x, int64_t vocab, int64_t k, struct candidate *heap)
{
    int64_t n = 0;
    for (int64_t i = 0; i < vocab; i++) {
        struct candidate c = {x[i], (int32_t)i};
        if (!(c.logit > -INFINITY))
            continue;
        if (n < k) {
            heap[n++] = c;
            for (int64_t j = n / 2; n == k && j >= 0; j--)
                sift_down(heap, n, j);
        } else if (weaker(heap[0], c)) {
            heap[0] = c;
            sift_down(heap, n, 0);
        }
    }
    qsort(heap, (size_t)n, sizeof *heap, by_logit);
    return n;
}

/* All candidates within `width` of the greatest, sorted; with width INFINITY, all that are finite. */
static int64_t take_near(const float *x, int64_t vocab, float max, float width,
                         struct candidate *out)
{
    int64_t n = 0;
    for (int64_t i = 0; i < vocab; i++)
        if (x[i] > -INFINITY && x[i] >= max - width)
            out[n++] = (struct candidate){x[i], (int32_t)i};
    return n;
}

static double weight_of(float logit, float max, float temperature)
{
    return exp(((double)logit - (double)max) / (double)temperature);
}

/* Without top_k: as many of the strongest as top_p and min_p can want, found by widening a threshold, so
 * that the whole vocabulary is never sorted. */
static int64_t take_nucleus(struct sampler *s, const float *x, float max, const struct sampling *p)
{
    double total = 0;
    int64_t n = 0;
    for (int64_t i = 0; i < s->vocab; i++)
        total += weight_of(x[i], max, p->temperature);
    for (float width = 8 * p->temperature;; width *= 2) {
        double mass = 0;
        n = take_near(x, s->vocab, max, width, s->cand);
        for (int64_t i = 0; i < n; i++)
            mass += weight_of(s->cand[i].logit, max, p->temperature);
        bool enough =
            (p->top_p < 1 && mass >= (double)p->top_p * total) ||
            (p->min_p > 0 && exp(-(double)width / (double)p->temperature) < (double)p->min_p);
        if (enough || n == s->vocab || !(width < 1e30f))
            break;
    }
    qsort(s->cand, (size_t)n, sizeof *s->cand, by_logit);
    /* top_p is a share of the whole mass, of which candidates not taken have the rest. */
    double want = (double)p->top_p * total, mass = 0;
    int64_t keep = 0;
    while (keep < n && (keep == 0 || mass < want))
        mass += weight_of(s->cand[keep++].logit, max, p->temperature);
    return p->top_p < 1 ? keep : n;
}

static int64_t cut_top_p(const struct candidate *c, int64_t n, const struct sampling *p)
{
    double total = 0, mass = 0;
    int64_t keep = 0;
    for (int64_t i = 0; i < n; i++)
        total += weight_of(c[i].logit, c[0].logit, p->temperature);
    while (keep < n && (keep == 0 || mass < (double)p->top_p * total))
        mass += weight_of(c[keep++].logit, c[0].logit, p->temperature);
    return keep;
}

static int64_t cut_min_p(const struct candidate *c, int64_t n, const struct sampling *p)
{
    int64_t keep = n;
    while (keep > 1 && weight_of(c[keep - 1].logit, c[0].logit, p->temperature) < (double)p->min_p)
        keep--;
    return keep;
}

/* Candidates, strongest first, that the draw is among. */
static int64_t gather(struct sampler *s, const float *x, const struct sampling *p)
{
    int32_t best = greatest(x, s->vocab);
    int64_t n;
    if (best < 0)
        return 0;
    if (p->top_k > 0 && p->top_k < s->vocab) {
        n = take_top(x, s->vocab, p->top_k, s->cand);
        if (p->top_p < 1)
            n = cut_top_p(s->cand, n, p);
    } else if (p->top_p < 1 || p->min_p > 0) {
        n = take_nucleus(s, x, x[best], p);
    } else {
        n = take_near(x, s->vocab, x[best], INFINITY,
                      s->cand); /* in order of ids: no sorting needed */
        return n;
    }
    return p->min_p > 0 ? cut_min_p(s->cand, n, p) : n;
}

static int32_t draw(const struct sampler *s, int64_t n, const struct sampling *p, int64_t position)
{
    double total = 0, at = 0;
    float max = -INFINITY;
    for (int64_t i = 0; i < n; i++)
        max = s->cand[i].logit > max ? s->cand[i].logit : max;
    for (int64_t i = 0; i < n; i++)
        total += weight_of(s->cand[i].logit, max, p->temperature);
    double u = rng_uniform(p->seed, (uint64_t)position, 0) * total;
    for (int64_t i = 0; i < n; i++) {
        at += weight_of(s->cand[i].logit, max, p->temperature);
        if (u < at)
            return s->cand[i].token;
    }
    return s->cand[n - 1].token;
}

int32_t sample_token(struct sampler *s, const float *logits, const struct sampling *p,
                     const struct token_counts *counts, int64_t position)
{
    const float *x = logits;
    if (penalized(p)) {
        memcpy(s->work, logits, (size_t)s->vocab * sizeof *s->work);
        apply_penalties(s->work, s->vocab, p, counts);
        x = s->work;
    }
    if (p->temperature == 0)
        return greatest(x, s->vocab);
    int64_t n = gather(s, x, p);
    return n ? draw(s, n, p, position) : -1;
}

void sample_top(const float *logits, int64_t vocab, float log_sum_exp, int n,
                struct token_logprob *out)
{
    struct candidate best[LOGPROBS_MAX];
    if (n <= 0)
        return;
    int64_t got = take_top(logits, vocab, n, best);
    for (int64_t i = 0; i < got; i++)
        out[i] = (struct token_logprob){best[i].token, best[i].logit - log_sum_exp};
}
