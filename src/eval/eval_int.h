/* Shared by the measures: one request over a window of tokens, waited for. */
#ifndef SP_EVAL_EVAL_INT_H
#define SP_EVAL_EVAL_INT_H

#include "eval/eval.h"

/* Called on the engine's thread for every prompt token after the first. */
typedef void (*window_fn)(void *arg, const struct engine_event *ev);

/* Scores tokens[0..n): one request with prompt logprobs (logits: whole rows too), returns when it is over. */
int window_score(engine *e, const int32_t *tokens, size_t n, bool logits, window_fn fn, void *arg,
                 sp_error *err);

/* The text's tokens as the model wants them, at most max_tokens (0: all). */
int window_tokens(engine *e, const struct perplexity_opts *o, struct token_list *out,
                  sp_error *err);

/* The first token of a window that is scored. */
static inline size_t window_first(const struct perplexity_opts *o)
{
    return o->skip > 1 ? (size_t)o->skip : 1;
}

#endif
