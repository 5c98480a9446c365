/* KL(reference || candidate) of the next-token distributions, position by position, from whole rows of
 * logits. The reference's rows of one window are kept while the candidate goes over the same window. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "eval/eval_int.h"

#define WINDOW_MAX 512 /* positions whose logits are kept: 512 x 151,936 x 4 bytes are 311 MB */

struct kl_run {
    float *rows; /* [WINDOW_MAX, vocab] of the reference */
    int64_t vocab, skip, same_top;
    double *kl; /* every position's */
    size_t n, cap;
    double nll_reference, nll_candidate;
    bool failed;
};

static void keep_row(void *arg, const struct engine_event *ev)
{
    struct kl_run *k = arg;
    memcpy(k->rows + (ev->index - 1) * k->vocab, ev->logits, (size_t)k->vocab * sizeof(float));
    if (ev->index >= k->skip)
        k->nll_reference -= (double)ev->logprob;
}

struct stats {
    double max, log_sum;
    int64_t best;
};

static struct stats stats_of(const float *x, int64_t n)
{
    struct stats s = {-INFINITY, 0, 0};
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        if ((double)x[i] > s.max) {
            s.max = (double)x[i];
            s.best = i;
        }
    for (int64_t i = 0; i < n; i++)
        sum += exp((double)x[i] - s.max);
    s.log_sum = s.max + log(fmax(sum, 1)); /* the greatest alone adds 1 */
    return s;
}

static void compare_row(void *arg, const struct engine_event *ev)
{
    struct kl_run *k = arg;
    const float *p = k->rows + (ev->index - 1) * k->vocab, *q = ev->logits;
    double kl = 0;
    if (ev->index < k->skip)
        return;
    struct stats sp = stats_of(p, k->vocab), sq = stats_of(q, k->vocab);
    for (int64_t i = 0; i < k->vocab; i++) {
        double lp = (double)p[i] - sp.log_sum, lq = (double)q[i] - sq.log_sum;
        if (lp > -60)
            kl += exp(lp) * (lp - lq);
    }
    if (k->n == k->cap) {
        size_t cap = k->cap ? 2 * k->cap : 4096;
        double *grown = sp_realloc_array(k->kl, cap, sizeof *grown);
        k->failed |= !grown;
        if (!grown)
            return;
        k->kl = grown;
        k->cap = cap;
    }
    k->kl[k->n++] = fmax(kl, 0); /* rounding may leave a hair below zero */
    k->same_top += sp.best == sq.best;
    k->nll_candidate -= (double)ev->logprob;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void summarize(struct kl_run *k, struct kl_result *out)
{
    double sum = 0, squares = 0, n = (double)k->n;
    *out = (struct kl_result){0};
    for (size_t i = 0; i < k->n; i++) {
        sum += k->kl[i];
        squares += k->kl[i] * k->kl[i];
    }
    if (k->n == 0)
        return;
    qsort(k->kl, k->n, sizeof *k->kl, by_value);
    *out = (struct kl_result){.tokens = (int64_t)k->n, .mean = sum / n};
    out->stderr_mean = k->n > 1 ? sqrt(fmax(squares - sum * sum / n, 0) / (n - 1) / n) : 0;
    out->p50 = k->kl[k->n / 2];
    out->p90 = k->kl[k->n * 90 / 100];
    out->p99 = k->kl[k->n * 99 / 100];
    out->max = k->kl[k->n - 1];
    out->top1 = (double)k->same_top / n;
    out->perplexity_reference = exp(k->nll_reference / n);
    out->perplexity_candidate = exp(k->nll_candidate / n);
}

int eval_kl(engine *reference, engine *candidate, const struct perplexity_opts *o,
            struct kl_result *out, sp_error *err)
{
    struct token_list tokens = {0};
    struct kl_run k = {.vocab = checkpoint_config(engine_checkpoint(reference))->vocab,
                       .skip = o->skip};
    size_t window = o->context < WINDOW_MAX ? (size_t)o->context : WINDOW_MAX;
    size_t first = window_first(o);
    if (k.vocab != checkpoint_config(engine_checkpoint(candidate))->vocab)
        return sp_fail(err, SP_EINVAL, "the two models have different vocabularies");
    struct perplexity_opts windows = *o;
    windows.context = (int64_t)window;
    int code = window_tokens(reference, &windows, &tokens, err);
    k.rows = sp_malloc(window * (size_t)k.vocab * sizeof(float));
    if (code == 0 && !k.rows)
        code = sp_fail(err, SP_ENOMEM, "no %.0f MB for the reference's logits",
                       (double)window * (double)k.vocab * 4e-6);
    for (size_t at = 0; code == 0 && at + first < tokens.n; at += window) {
        size_t n = tokens.n - at < window ? tokens.n - at : window;
        code = window_score(reference, tokens.ids + at, n, true, keep_row, &k, err);
        if (code == 0)
            code = window_score(candidate, tokens.ids + at, n, true, compare_row, &k, err);
        if (code == 0 && k.failed)
            code = sp_fail(err, SP_ENOMEM, "out of memory");
        if (o->progress)
            o->progress(o->arg, (int64_t)(at + n), (int64_t)tokens.n);
    }
    if (code == 0)
        summarize(&k, out);
    sp_free(k.rows);
    sp_free(k.kl);
    token_list_free(&tokens);
    return code;
}
