/* `sampan bench machine`: what this machine can do at best, before any model runs on it. */
#ifndef SP_BENCH_MACHINE_H
#define SP_BENCH_MACHINE_H

#include <jansson.h>
#include "base/buf.h"
#include "base/machine.h"
#include "bench/limits.h"

#define MACHINE_ROWS_MOST 64

/* Reading more than any cache holds. */
struct machine_read {
    int threads;
    enum limits_pages pages;
    double huge;         /* share of the bytes that the system gave 2 MB pages for */
    double best, median; /* bytes/s, of `passes` */
};
/* One thread reading so few bytes that a cache holds them. */
struct machine_near {
    int level; /* of the cache; 0: memory */
    uint64_t bytes;
    double rate; /* bytes/s */
};
struct machine_peak {
    int threads;
    double int8, bf16, f32; /* operations/s; 0: the instruction set has none */
};
struct machine_report {
    char cpu[96];
    const char *isa;
    int cores; /* that this process may use */
    struct machine_topology cpus;
    uint64_t memory; /* bytes */
    struct machine_cache caches[MACHINE_CACHES_MOST];
    size_t n_caches;
    int passes;
    struct machine_read reads[2 * MACHINE_ROWS_MOST];
    size_t n_reads;
    struct machine_near near[MACHINE_CACHES_MOST + 1];
    size_t n_near;
    struct machine_peak peaks[MACHINE_ROWS_MOST];
    size_t n_peaks;
};

struct machine_opts {
    enum cpu_isa isa;
    const int *threads; /* [n_threads] to measure with */
    size_t n_threads;   /* 1 .. MACHINE_ROWS_MOST */
    enum pool_pin pin;
    int passes;                         /* over memory, and over each loop */
    void (*progress)(const char *what); /* may be NULL */
};

/* Every number of threads up to 8, then doubling, up to all cores; how many. */
size_t machine_threads(int cores, int out[MACHINE_ROWS_MOST]);
int machine_measure(const struct machine_opts *o, struct machine_report *out, sp_error *err);
void machine_print(const struct machine_report *r, buf *out);
json_t *machine_json(const struct machine_report *r); /* NULL: out of memory */

#endif
