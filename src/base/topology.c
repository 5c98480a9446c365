/* Sorting CPUs into kinds by what Linux says in /sys/devices. */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include "base/machine.h"
#include "base/machine_int.h"

enum kind { FAST, SLOW, SIBLING };

struct cpu {
    int number;
    enum kind kind;
};

static bool read_cpu(const char *root, int cpu, const char *name, char text[MACHINE_TEXT_MAX])
{
    char path[96];
    (void)snprintf(path, sizeof path, "sys/devices/system/cpu/cpu%d/%s", cpu, name);
    return machine_read_text(root, path, text);
}

/* A number of every CPU, 0 where one does not tell; false when none does. */
static bool read_speeds(const char *root, const struct cpu *cpus, int n, const char *name,
                        uint64_t *speed)
{
    char text[MACHINE_TEXT_MAX];
    bool any = false;
    for (int i = 0; i < n; i++) {
        speed[i] = 0;
        if (read_cpu(root, cpus[i].number, name, text))
            any |= machine_leading_number(text, &speed[i]);
    }
    return any;
}

/* Slow: below `share` of the fastest. */
static void mark_slow(struct cpu *cpus, int n, const uint64_t *speed, double share)
{
    uint64_t most = 0;
    for (int i = 0; i < n; i++)
        most = speed[i] > most ? speed[i] : most;
    for (int i = 0; i < n; i++)
        if (speed[i] && (double)speed[i] < share * (double)most)
            cpus[i].kind = SLOW;
}

static void find_slow(const char *root, struct cpu *cpus, int n)
{
    char text[MACHINE_TEXT_MAX];
    uint64_t speed[MACHINE_CPUS_MOST];
    if (machine_read_text(root, "sys/devices/cpu_atom/cpus", text)) {
        struct cpu_bits atoms;
        machine_read_list(text, &atoms);
        for (int i = 0; i < n; i++)
            if (atoms.has[cpus[i].number])
                cpus[i].kind = SLOW;
    } else if (read_speeds(root, cpus, n, "cpu_capacity", speed)) {
        mark_slow(cpus, n, speed, 0.5);
    } else if (read_speeds(root, cpus, n, "cpufreq/cpuinfo_max_freq", speed)) {
        mark_slow(cpus, n, speed, 0.75);
    }
}

/* All but the first usable CPU of a core. */
static void find_siblings(const char *root, const struct cpu_bits *usable, struct cpu *cpus, int n)
{
    char text[MACHINE_TEXT_MAX];
    struct cpu_bits core;
    for (int i = 0; i < n; i++) {
        if (!read_cpu(root, cpus[i].number, "topology/thread_siblings_list", text))
            continue;
        machine_read_list(text, &core);
        for (int k = 0; k < cpus[i].number; k++)
            if (core.has[k] && usable->has[k])
                cpus[i].kind = SIBLING;
    }
}

static int count_nodes(const char *root, const struct cpu_bits *usable)
{
    char text[MACHINE_TEXT_MAX], path[64];
    struct cpu_bits node;
    int nodes = 0;
    for (int d = 0; d < 64; d++) {
        bool any = false;
        (void)snprintf(path, sizeof path, "sys/devices/system/node/node%d/cpulist", d);
        if (!machine_read_text(root, path, text))
            continue;
        machine_read_list(text, &node);
        for (int i = 0; i < MACHINE_CPU_BITS; i++)
            any |= node.has[i] && usable->has[i];
        nodes += any;
    }
    return nodes > 0 ? nodes : 1;
}

/* x86: a flag in /proc/cpuinfo, from cpuid. Elsewhere nothing says so. */
static bool is_guest(const char *root)
{
    char text[MACHINE_TEXT_MAX];
    return machine_read_text(root, "proc/cpuinfo", text) && strstr(text, " hypervisor");
}

static int put_kind(const struct cpu *cpus, int n, enum kind kind, struct machine_topology *out)
{
    int found = 0;
    for (int i = 0; i < n; i++)
        if (cpus[i].kind == kind) {
            out->order[out->cpus++] = cpus[i].number;
            found++;
        }
    return found;
}

void machine_topology_at(const char *root, struct machine_topology *out)
{
    struct cpu cpus[MACHINE_CPUS_MOST];
    struct cpu_bits usable;
    int n = 0, quota = machine_quota_at(root);
    machine_usable_at(root, &usable);
    for (int i = 0; i < MACHINE_CPU_BITS && n < MACHINE_CPUS_MOST; i++)
        if (usable.has[i])
            cpus[n++] = (struct cpu){i, FAST};
    if (n == 0)
        cpus[n++] = (struct cpu){0, FAST};
    *out = (struct machine_topology){.nodes = count_nodes(root, &usable),
                                     .quota = quota == INT_MAX ? 0 : quota,
                                     .guest = is_guest(root)};
    find_slow(root, cpus, n);
    if (!out->guest)
        find_siblings(root, &usable, cpus, n);
    out->performance = put_kind(cpus, n, FAST, out);
    out->efficiency = put_kind(cpus, n, SLOW, out);
    out->siblings = put_kind(cpus, n, SIBLING, out);
    out->threads = out->performance ? out->performance : out->efficiency;
    if (quota < out->threads)
        out->threads = quota < 1 ? 1 : quota;
}

void machine_topology(struct machine_topology *out)
{
    machine_topology_at("/", out);
}
