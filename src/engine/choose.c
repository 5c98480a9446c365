/* The tokens of a step: what its rows of logits are asked for, spread over the compute pool, one request a piece. The
 * rows of one request follow each other: a guess's row counts only if the token drawn before it is the guess, and
 * penalties and min_tokens count that token. Nothing else ties rows together, so who draws what, and beside whom,
 * changes no token. */
#include "engine/engine_int.h"

uint64_t chooser_bytes(int64_t vocab, int threads)
{
    return (uint64_t)threads * sampler_bytes(vocab);
}

int chooser_init(struct chooser *c, const struct kernel_ops *ops, int64_t vocab, int threads)
{
    *c = (struct chooser){.ops = ops, .vocab = vocab};
    c->choices = sp_calloc(MODEL_LOGIT_ROWS, sizeof *c->choices);
    c->samplers = sp_calloc((size_t)threads, sizeof *c->samplers);
    int code = c->choices && c->samplers ? 0 : SP_ENOMEM;
    for (; c->n_samplers < threads && code == 0; c->n_samplers++)
        code = sampler_init(&c->samplers[c->n_samplers], ops, vocab);
    return code;
}

void chooser_done(struct chooser *c)
{
    for (int i = 0; i < c->n_samplers; i++)
        sampler_done(&c->samplers[i]);
    sp_free(c->samplers);
    sp_free(c->choices);
}

/* Logprobs are of the raw logits. */
static void rank(const struct chooser *c, struct sampler *s, struct choice *choice)
{
    int n = choice->q->r.logprobs;
    if (n < 0)
        return;
    choice->log_sum_exp = c->ops->log_sum_exp(choice->logits, c->vocab);
    choice->n_top = sample_top(s, choice->logits, choice->log_sum_exp, n, choice->top);
}

/* Its number in the answer is `index`. */
static void choose(const struct chooser *c, struct sampler *s, struct choice *choice, int64_t index)
{
    struct request *q = choice->q;
    q->counts.banned = c->ends;
    q->counts.n_banned = index < q->r.min_tokens ? c->n_ends : 0;
    choice->token = sample_token(s, choice->logits, &q->r.sampling, &q->counts, choice->pos + 1);
    choice->drawn = true;
    if (choice->token >= 0)
        token_counts_add(&q->counts, choice->token, true);
}

static bool follows(const struct choice *before, const struct choice *next)
{
    return next->seq == before->seq && (!before->drawn || next->input == before->token);
}

/* The choices of one request, which begin at `at`. */
static void choose_run(const struct chooser *c, struct sampler *s, int at)
{
    struct request *q = c->choices[at].q;
    if (!q || c->choices[at].pos >= q->n_cached || atomic_load(&q->cancelled))
        return; /* behind a wrong guess of the block before, or of no use */
    int64_t index = q->n_answer;
    sp_alloc_guard_begin();
    for (int i = at; i < c->n && (i == at || follows(&c->choices[i - 1], &c->choices[i])); i++) {
        rank(c, s, &c->choices[i]);
        if (c->choices[i].pos + 1 >= q->n_prompt)
            choose(c, s, &c->choices[i], index++);
        c->choices[i].ready = true;
    }
    sp_alloc_guard_end();
}

static void choose_runs(void *arg, int worker, size_t begin, size_t end)
{
    struct chooser *c = arg;
    for (size_t i = begin; i < end; i++)
        choose_run(c, &c->samplers[worker], c->runs[i]);
}

void chooser_run(struct chooser *c, pool *p)
{
    size_t runs = 0;
    for (int i = 0; i < c->n; i++)
        if (i == 0 || c->choices[i].seq != c->choices[i - 1].seq)
            c->runs[runs++] = i;
    pool_run(p, runs, 1, choose_runs, c);
}
