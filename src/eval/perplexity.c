/* Perplexity: exp of the mean negative log-likelihood of every token given those before it in its window. */
#include <math.h>
#include "base/clock.h"
#include "eval/eval_int.h"

struct sums {
    int64_t skip;
    double nll, squares;
    int64_t n;
};

static void add_token(void *arg, const struct engine_event *ev)
{
    struct sums *s = arg;
    double nll = -(double)ev->logprob;
    if (ev->index < s->skip)
        return;
    s->nll += nll;
    s->squares += nll * nll;
    s->n++;
}

int eval_perplexity(engine *e, const struct perplexity_opts *o, struct perplexity_result *out,
                    sp_error *err)
{
    struct token_list tokens = {0};
    struct sums s = {.skip = o->skip};
    size_t first = window_first(o);
    double begin = clock_seconds();
    int code = window_tokens(e, o, &tokens, err);
    *out = (struct perplexity_result){0};
    for (size_t at = 0; code == 0 && at + first < tokens.n; at += (size_t)o->context) {
        size_t n = tokens.n - at < (size_t)o->context ? tokens.n - at : (size_t)o->context;
        code = window_score(e, tokens.ids + at, n, false, add_token, &s, err);
        out->windows++;
        if (o->progress)
            o->progress(o->arg, (int64_t)(at + n), (int64_t)tokens.n);
    }
    if (code == 0) {
        double n = (double)s.n, variance = s.n > 1 ? (s.squares - s.nll * s.nll / n) / (n - 1) : 0;
        out->tokens = s.n;
        out->mean_nll = s.nll / n;
        out->stderr_nll = sqrt(fmax(variance, 0) / n);
        out->perplexity = exp(out->mean_nll);
        out->seconds = clock_seconds() - begin;
    }
    token_list_free(&tokens);
    return code;
}
