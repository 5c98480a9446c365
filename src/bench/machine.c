#include "bench/machine.h"

#include <stdio.h>
#include <string.h>
#include "base/base.h"
#include "bench/stats.h"

#define PASSES_MOST 100

static void say(const struct machine_opts *o, const char *what)
{
    if (o->progress)
        o->progress(what);
}

size_t machine_threads(int cores, int out[MACHINE_ROWS_MOST])
{
    size_t n = 0;
    for (int t = 1; t < cores && n < MACHINE_ROWS_MOST - 1; t = t < 8 ? t + 1 : 2 * t)
        out[n++] = t;
    out[n++] = cores;
    return n;
}

static int measure_read(const struct machine_opts *o, int threads, enum limits_pages pages,
                        struct machine_report *r, sp_error *err)
{
    double rates[PASSES_MOST];
    limits *l = NULL;
    int code = limits_open(
        &(struct limits_opts){.isa = o->isa, .threads = threads, .pin = o->pin, .pages = pages}, &l,
        err);
    if (code < 0)
        return code;
    for (int i = 0; i < o->passes; i++)
        rates[i] = limits_measure_read(l);
    struct stats s = stats_of(rates, (size_t)o->passes);
    r->reads[r->n_reads++] =
        (struct machine_read){.threads = threads,
                              .pages = pages,
                              .huge = (double)limits_huge_bytes(l) / (double)limits_bytes(l),
                              .best = s.max,
                              .median = s.median};
    limits_close(l);
    return 0;
}

static int measure_peak(const struct machine_opts *o, int threads, struct machine_report *r,
                        sp_error *err)
{
    limits *l = NULL; /* few bytes: only the loops matter here */
    int code = limits_open(
        &(struct limits_opts){.isa = o->isa, .threads = threads, .pin = o->pin, .bytes = 1 << 16},
        &l, err);
    if (code < 0)
        return code;
    for (int i = 0; i < o->passes; i++)
        limits_measure(l);
    const struct rates *best = limits_best(l);
    r->peaks[r->n_peaks++] = (struct machine_peak){threads, best->int8, best->bf16, best->f32};
    limits_close(l);
    return 0;
}

/* Half of each cache, so that nothing else pushes the bytes out; then memory. */
static int measure_near(const struct machine_opts *o, struct machine_report *r, sp_error *err)
{
    int code = 0;
    for (size_t i = 0; i <= r->n_caches && code == 0; i++) {
        limits *l = NULL;
        bool cache = i < r->n_caches;
        struct limits_opts lo = {.isa = o->isa, .threads = 1, .pin = o->pin};
        lo.bytes = cache ? r->caches[i].bytes / 2 : 0;
        code = limits_open(&lo, &l, err);
        for (int k = 0; k < o->passes && code == 0; k++)
            (void)limits_measure_read(l);
        if (code == 0)
            r->near[r->n_near++] = (struct machine_near){cache ? r->caches[i].level : 0,
                                                         limits_bytes(l), limits_best(l)->read};
        limits_close(l);
    }
    return code;
}

int machine_measure(const struct machine_opts *o, struct machine_report *out, sp_error *err)
{
    int code = 0;
    if (o->n_threads < 1 || o->n_threads > MACHINE_ROWS_MOST || o->passes < 1 ||
        o->passes > PASSES_MOST)
        return sp_fail(err, SP_EUSAGE, "bench machine: 1 to %d numbers of threads, 1 to %d passes",
                       MACHINE_ROWS_MOST, PASSES_MOST);
    *out = (struct machine_report){.isa = cpu_isa_name(o->isa),
                                   .cores = machine_cores(),
                                   .memory = machine_memory_total(),
                                   .passes = o->passes};
    machine_topology(&out->cpus);
    machine_cpu_name(out->cpu, sizeof out->cpu);
    out->n_caches = machine_caches(out->caches);
    for (size_t i = 0; i < o->n_threads && code == 0; i++) {
        say(o, "reading memory");
        code = measure_read(o, o->threads[i], PAGES_SMALL, out, err);
        if (code == 0)
            code = measure_read(o, o->threads[i], PAGES_HUGE, out, err);
        say(o, "multiplying");
        if (code == 0)
            code = measure_peak(o, o->threads[i], out, err);
    }
    say(o, "reading caches");
    return code < 0 ? code : measure_near(o, out, err);
}

/* ---- output ---- */

static void print_bytes(buf *out, uint64_t n)
{
    if (n >= (uint64_t)1 << 20)
        (void)buf_printf(out, "%.4g MiB", (double)n / (1 << 20));
    else
        (void)buf_printf(out, "%.4g KiB", (double)n / (1 << 10));
}

static void print_peak(buf *out, double rate)
{
    if (rate > 0)
        (void)buf_printf(out, " %12.1f", rate / 1e9);
    else
        (void)buf_printf(out, " %12s", "-");
}

/* How many threads compute by default, and what that follows from. */
static void print_threads(const struct machine_topology *t, buf *out)
{
    (void)buf_printf(out, "threads    %d by default: %d performance core%s", t->threads,
                     t->performance, t->performance == 1 ? "" : "s");
    if (t->guest)
        (void)buf_puts(out, " (each CPU of a virtual machine counts as one)");
    if (t->quota)
        (void)buf_printf(out, "; the cgroup grants %d", t->quota);
    if (t->efficiency)
        (void)buf_printf(out, "; %d efficiency core%s%s", t->efficiency,
                         t->efficiency == 1 ? "" : "s", t->performance ? " left out" : "");
    if (t->siblings)
        (void)buf_printf(out, "; %d sibling thread%s of these cores left out", t->siblings,
                         t->siblings == 1 ? "" : "s");
    if (t->nodes > 1)
        (void)buf_printf(out, "; %d NUMA nodes", t->nodes);
    (void)buf_putc(out, '\n');
}

static void print_facts(const struct machine_report *r, buf *out)
{
    (void)buf_printf(out, "processor  %s, %d core%s for this process, kernels: %s\n",
                     r->cpu[0] ? r->cpu : "unknown", r->cores, r->cores == 1 ? "" : "s", r->isa);
    print_threads(&r->cpus, out);
    (void)buf_printf(out, "memory     %.1f GB\ncaches     ", (double)r->memory / 1e9);
    for (size_t i = 0; i < r->n_caches; i++) {
        (void)buf_printf(out, "%sL%d ", i ? ", " : "", r->caches[i].level);
        print_bytes(out, r->caches[i].bytes);
        if (r->caches[i].shared_by > 1)
            (void)buf_printf(out, " (shared by %d)", r->caches[i].shared_by);
    }
    (void)buf_puts(out, r->n_caches ? "\n" : "unknown\n");
}

void machine_print(const struct machine_report *r, buf *out)
{
    bool no_huge = false;
    print_facts(r, out);
    (void)buf_printf(out, "\n%-22s %8s %6s %12s %12s\n", "reading memory", "threads", "pages",
                     "best GB/s", "median GB/s");
    for (size_t i = 0; i < r->n_reads; i++) {
        const struct machine_read *m = &r->reads[i];
        bool missed = m->pages == PAGES_HUGE && m->huge < 0.9;
        no_huge |= missed;
        (void)buf_printf(out, "%-22s %8d %6s %12.1f %12.1f%s\n", "", m->threads,
                         m->pages == PAGES_HUGE ? "2 MB" : "4 KB", m->best / 1e9, m->median / 1e9,
                         missed ? " *" : "");
    }
    if (no_huge)
        (void)buf_puts(out, "* the system gave 2 MB pages for only a part of it\n");
    (void)buf_printf(out, "\n%-22s %8s %12s %12s %12s\n", "multiplying", "threads", "int8 GOPS",
                     "bf16 GFLOPS", "f32 GFLOPS");
    for (size_t i = 0; i < r->n_peaks; i++) {
        (void)buf_printf(out, "%-22s %8d", "", r->peaks[i].threads);
        print_peak(out, r->peaks[i].int8);
        print_peak(out, r->peaks[i].bf16);
        print_peak(out, r->peaks[i].f32);
        (void)buf_putc(out, '\n');
    }
    (void)buf_printf(out, "\n%-22s %8s %12s\n", "one thread, reading", "from", "GB/s");
    for (size_t i = 0; i < r->n_near; i++) {
        char from[16] = "memory";
        if (r->near[i].level)
            (void)snprintf(from, sizeof from, "L%d", r->near[i].level);
        size_t start = out->len;
        print_bytes(out, r->near[i].bytes);
        for (size_t w = out->len - start; w < 22; w++)
            (void)buf_putc(out, ' ');
        (void)buf_printf(out, " %8s %12.1f\n", from, r->near[i].rate / 1e9);
    }
}

static json_t *rate_json(double rate)
{
    return rate > 0 ? json_real(rate / 1e9) : json_null();
}

static json_t *reads_json(const struct machine_report *r)
{
    json_t *out = json_array();
    for (size_t i = 0; i < r->n_reads; i++) {
        const struct machine_read *m = &r->reads[i];
        json_array_append_new(out, json_pack("{s:i,s:I,s:f,s:f,s:f}", "threads", m->threads,
                                             "page_bytes",
                                             (json_int_t)(m->pages == PAGES_HUGE ? 2 << 20 : 4096),
                                             "huge_share", m->huge, "gb_per_second", m->best / 1e9,
                                             "median_gb_per_second", m->median / 1e9));
    }
    return out;
}

static json_t *near_json(const struct machine_report *r)
{
    json_t *out = json_array();
    for (size_t i = 0; i < r->n_near; i++)
        json_array_append_new(out, json_pack("{s:i,s:I,s:f}", "level", r->near[i].level, "bytes",
                                             (json_int_t)r->near[i].bytes, "gb_per_second",
                                             r->near[i].rate / 1e9));
    return out;
}

static json_t *peaks_json(const struct machine_report *r)
{
    json_t *out = json_array();
    for (size_t i = 0; i < r->n_peaks; i++) {
        const struct machine_peak *p = &r->peaks[i];
        json_array_append_new(out, json_pack("{s:i,s:o,s:o,s:o}", "threads", p->threads,
                                             "int8_gops", rate_json(p->int8), "bf16_gflops",
                                             rate_json(p->bf16), "f32_gflops", rate_json(p->f32)));
    }
    return out;
}

static json_t *threads_json(const struct machine_topology *t)
{
    return json_pack("{s:i,s:i,s:i,s:i,s:i,s:b,s:o}", "default", t->threads, "performance_cores",
                     t->performance, "efficiency_cores", t->efficiency, "sibling_threads",
                     t->siblings, "numa_nodes", t->nodes, "virtual_machine", (int)t->guest,
                     "cgroup_cpus", t->quota ? json_integer(t->quota) : json_null());
}

json_t *machine_json(const struct machine_report *r)
{
    json_t *caches = json_array();
    for (size_t i = 0; i < r->n_caches; i++)
        json_array_append_new(caches, json_pack("{s:i,s:I,s:i}", "level", r->caches[i].level,
                                                "bytes", (json_int_t)r->caches[i].bytes,
                                                "shared_by", r->caches[i].shared_by));
    return json_pack("{s:s,s:s%,s:s,s:i,s:o,s:I,s:o,s:i,s:o,s:o,s:o}", "bench", "machine", "cpu",
                     r->cpu, strlen(r->cpu), "isa", r->isa, "cores", r->cores, "threads",
                     threads_json(&r->cpus), "memory_bytes", (json_int_t)r->memory, "caches",
                     caches, "passes", r->passes, "read", reads_json(r), "peak", peaks_json(r),
                     "one_thread", near_json(r));
}
