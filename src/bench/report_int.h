/* What the reports share. */
#ifndef SP_BENCH_REPORT_INT_H
#define SP_BENCH_REPORT_INT_H

#include "bench/bench.h"

/* "pp512", and model and number of threads where they are not the same in all of `r`. */
void report_label(const struct bench_result *r, size_t n, size_t i, char out[224]);
/* "85% of 31.2 GB/s"; a share over 1 says that the limit is wrong. */
void report_share(const struct bench_result *r, char out[80]);
json_t *report_json(const struct bench_result *r); /* NULL: out of memory */

#endif
