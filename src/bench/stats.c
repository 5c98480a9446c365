#include "bench/stats.h"

#include <math.h>
#include <stdlib.h>

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Two passes: sums of squares about the mean lose nothing where values lie close together. */
struct stats stats_of(double *v, size_t n)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++)
        sum += v[i];
    struct stats s = {.mean = sum / (double)n};
    for (size_t i = 0; i < n; i++)
        squares += (v[i] - s.mean) * (v[i] - s.mean);
    s.deviation = n > 1 ? sqrt(squares / (double)(n - 1)) : 0;
    qsort(v, n, sizeof *v, compare);
    s.median = n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
    s.min = v[0];
    s.max = v[n - 1];
    return s;
}

double stats_percentile(const double *sorted, size_t n, double percent)
{
    double at = percent / 100 * (double)(n - 1);
    size_t below = (size_t)at, above = below + 1 < n ? below + 1 : below;
    double low = sorted[below], high = sorted[above], part = at - (double)below;
    return part < 0.5 ? low + (high - low) * part : high - (high - low) * (1 - part);
}

double stats_spread(const double *v, size_t n)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++)
        sum += v[i];
    for (size_t i = 0; i < n; i++)
        squares += (v[i] - sum / (double)n) * (v[i] - sum / (double)n);
    return sqrt(squares / (double)n);
}

/* Between the k-th smallest and the k-th largest the median lies with 1 - 2 P(Binomial(n, 1/2) < k). */
struct stats_interval stats_median_interval(const double *sorted, size_t n, double level)
{
    double outside = 0, chosen = 0, term = pow(0.5, (double)n); /* P(Binomial = k - 1) */
    size_t best = 1;
    for (size_t k = 1; k <= n / 2; k++) {
        outside += term;
        term *= (double)(n - k + 1) / (double)k;
        if (k > 1 && 1 - 2 * outside < level)
            break;
        best = k;
        chosen = outside;
    }
    if (n < 2)
        chosen = 0.5;
    return (struct stats_interval){sorted[best - 1], sorted[n - best], 1 - 2 * chosen};
}
