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

/* The value that `percent` of the ascending v lie below, between two neighbours in proportion, as numpy's. n >= 1. */
double stats_percentile(const double *sorted, size_t n, double percent);
/* Standard deviation with n below the line, as numpy's std. n >= 1. */
double stats_spread(const double *v, size_t n);

/* The narrowest pair of order statistics, as many from below as from above, that holds the median of what the ascending
 * v are drawn from with at least `level`, whatever their distribution. Too few values (under 6 for 0.95): the smallest
 * and the largest. `coverage`: the probability that they really have; 0 for one value. n >= 1. */
struct stats_interval {
    double low, high, coverage;
};
struct stats_interval stats_median_interval(const double *sorted, size_t n, double level);

#endif
