/* Random numbers without state: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as
 * 1, 2, 3", SC 2011), keyed by seed and counted by (position, choice), so that the same request draws
 * the same numbers whatever else runs. Pure functions. */
#ifndef SP_BASE_RNG_H
#define SP_BASE_RNG_H

#include <stdint.h>

void rng_philox(uint64_t key, uint64_t counter_hi, uint64_t counter_lo, uint32_t out[4]);
/* Uniform in [0, 1) with 53 bits. */
double rng_uniform(uint64_t seed, uint64_t position, uint64_t choice);
/* A seed from the operating system's generator. */
uint64_t rng_seed(void);

#endif
