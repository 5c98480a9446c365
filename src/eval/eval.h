/* Measuring quality through the engine's public header: what users get. */
#ifndef SP_EVAL_EVAL_H
#define SP_EVAL_EVAL_H

#include "engine/engine.h"

struct perplexity_opts {
    const char *text; /* UTF-8 */
    size_t n_text;
    int64_t context; /* tokens per window; windows do not overlap */
    int64_t skip;    /* first tokens of each window that are read, not scored: < context; 0 is 1 */
    int64_t max_tokens; /* of the text; 0: all */
    void (*progress)(void *arg, int64_t done, int64_t total);
    void *arg;
};
struct perplexity_result {
    double perplexity, mean_nll, stderr_nll; /* stderr of the mean */
    int64_t tokens, windows;
    double seconds;
};
int eval_perplexity(engine *e, const struct perplexity_opts *o, struct perplexity_result *out,
                    sp_error *err);

/* Kullback-Leibler divergence of two engines' next-token distributions over the same tokens, from the
 * full logits of both: KL(reference || candidate). */
struct kl_result {
    double mean, stderr_mean, p50, p90, p99, max; /* nats */
    double top1; /* share of positions where both have the same best token */
    double perplexity_reference, perplexity_candidate;
    int64_t tokens;
};
int eval_kl(engine *reference, engine *candidate, const struct perplexity_opts *o,
            struct kl_result *out, sp_error *err);

#endif
