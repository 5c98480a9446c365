/* What a handful of measurements say. */
#ifndef SP_BENCH_STATS_H
#define SP_BENCH_STATS_H

#include <stddef.h>

struct stats {
    double mean, deviation; /* deviation: of the sample, n - 1 below the line; 0 for one value */
    double median;          /* of an even number: the mean of the two in the middle */
    double min, max;
};
/* n >= 1. `v` is sorted in place. */
struct stats stats_of(double *v, size_t n);

#endif
