/* Tiny models of every architecture against transformers, and the promise that a row's result depends on
 * its own sequence only. */
#include "model_test.h"

/* kl: how far the fast mode may be from f32: some three times what it is. Products of floats are the same
 * there, only K and V are rounded to f16; bf16 dot products round activations to 8 bits of precision, and
 * quantized products to int8 over 64 columns only. */
static const struct {
    const char *name;
    double kl;
} models[] = {{"qwen2-tied", 1e-5},
              {"qwen2-untied", 1.2e-3},
              {"qwen2-yarn", 1e-5},
              {"qwen2-window", 1e-5},
              {"qwen3", 1e-5},
              {"llama", 1e-5},
              {"llama-linear", 1e-5},
              {"llama3", 1e-5},
              {"mistral", 1e-5},
              {"qwen2-gguf", 1.2e-2},
              {"llama-gguf", 6e-3},
              {"qwen2-moe", 1.2e-3},
              {"qwen3-moe", 1e-5},
              {"qwen2-moe-gguf", 3e-2},
              {"gemma3", 1.2e-3},
              {"gemma3-vision", 1.2e-3},
              {"gemma3-gguf", 3e-3},
              {"qwen2-yarn-gguf", 3e-3},
              {"phi3", 1.2e-3},
              {"phi3-long", 1.2e-3},
              {"phi3-long-within", 1.2e-3},
              {"phi3-gguf", 1.6e-2},
              {"phi3-gguf-within", 1.6e-2},
              {"llama-dynamic", 1.2e-3},
              {"llama-dynamic-within", 1.2e-3},
              {"internlm2", 1.2e-3},
              {"internlm2-within", 1.2e-3},
              {"internlm2-gguf", 1e-5},
              {"qwen", 1.2e-3},
              {"qwen-within", 1.2e-3},
              {"qwen-gguf", 1e-5},
              {"smollm3", 1.2e-3},
              {"smollm3-gguf", 5e-3}};
static const enum cpu_isa isas[] = {ISA_REF, ISA_AVX2, ISA_AVXVNNI, ISA_AVX512};

static double worst_difference(const struct golden *g, const float *logits)
{
    double worst = 0;
    for (int i = 0; i < g->n_positions; i++)
        for (int64_t t = 0; t < g->vocab; t++)
            worst = fmax(worst, fabs((double)logits[g->positions[i] * g->vocab + t] -
                                     (double)g->logits[i * g->vocab + t]));
    return worst;
}

static void assert_same_bits(const char *what, const struct bench_opts *o, const float *a,
                             const float *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (memcmp(a + i, b + i, sizeof *a) != 0)
            fail_msg("%s, %s, %s: %s: value %lld is %.9g instead of %.9g", o->name,
                     o->isa ? cpu_isa_name(*o->isa) : "best",
                     o->compute == COMPUTE_F32 ? "f32" : "fast", what, (long long)i, (double)b[i],
                     (double)a[i]);
}

/* Among two other sequences that start, end and advance differently. */
static float *run_among_others(const struct bench *b, const struct golden *g)
{
    struct feed feeds[3];
    int32_t other[TOKENS_MAX];
    for (int i = 0; i < g->n; i++)
        other[i] = g->tokens[g->n - 1 - i];
    feed_start(&feeds[0], 1, other, g->n - 30, g->vocab);
    feed_start(&feeds[1], 0, g->tokens, g->n, g->vocab);
    feed_start(&feeds[2], 3, other + 20, g->n * 2 / 3, g->vocab);
    for (int step = 0; feeds[1].at < g->n; step++)
        feeds_step(b, feeds, (int[]){step < 3 ? 0 : 9, step % 3 * 10 + 1, step % 2 ? 17 : 1}, 3);
    sp_free(feeds[0].logits);
    sp_free(feeds[2].logits);
    return feeds[1].logits;
}

/* All ways to run the same tokens; returns the logits of the first. */
static float *run_all_ways(const struct bench_opts *o, const struct golden *g)
{
    struct bench b;
    bench_open(&b, o);
    assert_int_equal(model_get_config(b.m)->vocab, g->vocab);
    int64_t n = g->n * g->vocab;
    float *whole = run_chunks(&b, g->tokens, g->n, g->n);
    static const int chunks[] = {1, 7, 64};
    for (size_t i = 0; i < SP_COUNT(chunks); i++) {
        float *again = run_chunks(&b, g->tokens, g->n, chunks[i]);
        assert_same_bits("in chunks", o, whole, again, n);
        sp_free(again);
    }
    float *batched = run_among_others(&b, g);
    assert_same_bits("among other sequences", o, whole, batched, n);
    sp_free(batched);
    bench_close(&b);
    return whole;
}

/* f32 against transformers, fast against f32. */
static void check_model(const char *name, double most_kl, enum cpu_isa isa)
{
    struct golden g;
    golden_open(&g, name);
    struct bench_opts o = {g.model, COMPUTE_F32, &isa, 1, TOKENS_MAX, g.context};
    float *exact = run_all_ways(&o, &g);
    double worst = worst_difference(&g, exact);
    o.compute = COMPUTE_FAST;
    float *fast = run_all_ways(&o, &g);
    double kl = mean_kl(exact, fast, g.n, g.vocab);
    print_message("%-20s %-7s f32: off by %.1e at most; fast: KL %.1e\n", name, cpu_isa_name(isa),
                  worst, kl);
    assert_true(worst <= 1e-3);
    assert_true(kl >= -1e-7 && kl <= most_kl);
    sp_free(exact);
    sp_free(fast);
    golden_close(&g);
}

static void test_models_match_transformers(void **state)
{
    (void)state;
    for (size_t i = 0; i < SP_COUNT(isas); i++)
        for (size_t k = 0; isa_runs(isas[i]) && k < SP_COUNT(models); k++)
            check_model(models[k].name, models[k].kl, isas[i]);
}

static void test_threads_change_nothing(void **state)
{
    (void)state;
    for (size_t k = 0; k < SP_COUNT(models); k++) {
        struct golden g;
        golden_open(&g, models[k].name);
        float *one = NULL;
        for (int threads = 1; threads <= 5; threads += 2) {
            struct bench b;
            struct bench_opts o = {g.model, COMPUTE_FAST, NULL, threads, TOKENS_MAX, g.context};
            bench_open(&b, &o);
            float *logits = run_chunks(&b, g.tokens, g.n, 50);
            if (one)
                assert_same_bits("threads", &o, one, logits, g.n * g.vocab);
            bench_close(&b);
            if (one)
                sp_free(logits);
            else
                one = logits;
        }
        sp_free(one);
        golden_close(&g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_models_match_transformers),
                                       cmocka_unit_test(test_threads_change_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
