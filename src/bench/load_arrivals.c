/* When requests arrive. */
#include <math.h>
#include "base/rng.h"
#include "bench/load_int.h"

/* Standard normal by Box and Muller. */
static double normal(uint64_t seed, uint64_t n, uint64_t attempt)
{
    double u = 1 - rng_uniform(seed, n, 3 * attempt), v = rng_uniform(seed, n, 3 * attempt + 1);
    return sqrt(-2 * log(u)) * cos(2 * acos(-1) * v);
}

/* Marsaglia and Tsang, "A simple method for generating gamma variables", 2000; below 1 by their remark on boosting. */
double arrivals_gamma(uint64_t seed, uint64_t n, double shape)
{
    double d = (shape < 1 ? shape + 1 : shape) - 1.0 / 3, c = 1 / sqrt(9 * d);
    for (uint64_t attempt = 1;; attempt++) {
        double x = normal(seed, n, attempt), v = pow(1 + c * x, 3);
        double u = 1 - rng_uniform(seed, n, 3 * attempt + 2);
        if (v <= 0 || log(u) >= 0.5 * x * x + d - d * v + d * log(v))
            continue;
        double boost = shape < 1 ? pow(1 - rng_uniform(seed, n, 0), 1 / shape) : 1;
        return d * v * boost;
    }
}

/* The rate of the i-th arrival, which comes some time after t. */
static double rate_at(const struct load_shape *s, double rate, size_t i, double t)
{
    if (s->ramp == RAMP_NONE)
        return rate;
    double part = s->requests > 1 ? (double)i / (double)(s->requests - 1) : 0;
    if (!s->requests)
        part = t / s->seconds;
    if (s->ramp == RAMP_LINEAR)
        return rate + (s->ramp_to - rate) * part;
    return rate * pow(s->ramp_to / rate, part);
}

int arrivals_times(const struct load_shape *s, double rate, uint64_t seed, double **out, size_t *n,
                   sp_error *err)
{
    size_t most = (size_t)(s->requests ? s->requests : LOAD_REQUESTS_MOST), cap = 0;
    double *times = NULL, t = 0;
    *n = 0;
    while (*n < most) {
        double r = rate_at(s, rate, *n, t);
        t += arrivals_gamma(seed, *n, s->burstiness) / (r * s->burstiness);
        if (!s->requests && t > s->seconds)
            break;
        if (*n == cap) {
            cap = cap ? 2 * cap : 64;
            double *more = sp_realloc_array(times, cap, sizeof *times);
            if (!more) {
                sp_free(times);
                return sp_fail(err, SP_ENOMEM, "out of memory for %zu arrivals", cap);
            }
            times = more;
        }
        times[(*n)++] = t;
    }
    double stretch = s->ramp == RAMP_NONE && s->requests && t > 0 ? (double)most / rate / t : 1;
    for (size_t i = 0; i < *n; i++)
        times[i] *= stretch;
    while (s->seconds > 0 && *n && times[*n - 1] > s->seconds)
        --*n;
    *out = times;
    return 0;
}
