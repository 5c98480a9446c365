/* Measuring speed through the engine's public header: what users get. */
#ifndef SP_BENCH_BENCH_H
#define SP_BENCH_BENCH_H

#include "engine/engine.h"

struct bench_opts {
    int64_t prompt; /* tokens of a prefill test; 0: none */
    int64_t gen;    /* tokens of a decode test; 0: none */
    int reps;       /* measured repetitions after one warm-up */
    uint64_t seed;
};
struct bench_result {
    char test[16];            /* "pp512", "tg128" */
    double tokens_per_second; /* mean over repetitions */
    double deviation;         /* standard deviation, tokens/s */
    double gb_per_second;     /* decode: packed weight bytes read per second */
    double gops;              /* 2 x weights x tokens per second / 1e9 */
    int reps;
};
/* *n results (at most 2) into out. */
int bench_model(engine *e, const struct bench_opts *o, struct bench_result out[2], size_t *n,
                sp_error *err);

#endif
