/* The limits of this machine, measured by the bare loops of kernel/probe.h: how fast memory is read and how
 * fast numbers are multiplied. Neighbours on the machine only take away, so a limit is the best of
 * everything that was seen; call limits_measure again between the runs that are compared with it.
 * One thread at a time; the loops run on a pool of their own.
 *
 *     limits *l;
 *     limits_open(&(struct limits_opts){.isa = isa, .threads = 2, .bytes = 400 << 20}, &l, &err);
 *     limits_measure(l);                    // some 0.1 s; again and again
 *     printf("%f GB/s\n", limits_best(l)->read / 1e9);
 *     limits_close(l); */
#ifndef SP_BENCH_LIMITS_H
#define SP_BENCH_LIMITS_H

#include <stdbool.h>
#include "base/pool.h"
#include "kernel/probe.h"

typedef struct limits limits;

enum limits_pages { PAGES_HUGE, PAGES_SMALL }; /* 2 MB where the system gives them; 4 KB */

struct limits_opts {
    enum cpu_isa isa;
    int threads; /* >= 1 */
    enum pool_pin pin;
    uint64_t bytes; /* that are read in turn; 0: more than any cache holds */
    enum limits_pages pages;
};

/* The best rates so far; 0: not measured, or the instruction set has none. */
struct rates {
    double read;            /* bytes/s */
    double int8, bf16, f32; /* operations/s, 2 for a multiplication and its addition */
};

int limits_open(const struct limits_opts *o, limits **out, sp_error *err);
void limits_close(limits *l);
void limits_measure(limits *l);        /* all rates once */
double limits_measure_read(limits *l); /* the read rate only; what it was this time */
const struct rates *limits_best(const limits *l);
uint64_t limits_bytes(const limits *l);      /* that are read in turn */
uint64_t limits_huge_bytes(const limits *l); /* of them in 2 MB pages */
uint64_t limits_cold_bytes(void);            /* no cache of this machine holds half of so many */

#endif
