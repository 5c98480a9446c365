/* The machine as this process may use it: cgroup v1/v2 limits count, not what the host has. */
#ifndef SP_BASE_MACHINE_H
#define SP_BASE_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int machine_cores(void);             /* >= 1: min(affinity, cgroup cpu quota rounded up) */
uint64_t machine_memory_total(void); /* bytes: min(MemTotal, cgroup limit); 0: can't be told */
uint64_t machine_memory_free(void); /* bytes that could be had now: MemAvailable within the limit */
uint64_t machine_rss(void);         /* bytes resident in this process */

/* The CPUs that this process may run on, by what they are good for in products of matrices, which keep the
 * arithmetic units or the memory busy by themselves:
 *   performance  physical cores of the fast kind, each once;
 *   efficiency   cores of a slow kind: Intel's E-cores (/sys/devices/cpu_atom), else those with less than half
 *                of the fastest one's cpu_capacity (ARM), else with less than three quarters of its highest
 *                frequency;
 *   siblings     further hardware threads of those cores, which share their units.
 * A virtual machine's CPUs count as cores, whatever it says of siblings: what is told there often is not
 * so, and using half of the CPUs by mistake costs half the speed, while a sibling used in vain costs little. */
#define MACHINE_CPUS_MOST 1024
struct machine_topology {
    int cpus; /* performance + efficiency + siblings */
    int performance, efficiency, siblings;
    int nodes;  /* of memory (NUMA) that these CPUs belong to, >= 1 */
    int quota;  /* CPUs' worth of time that the cgroup grants, rounded up; 0: no limit */
    bool guest; /* in a virtual machine, as far as the processor says so */
    int threads; /* to compute with by default: performance cores (or efficiency cores, without any), at
                   * most the quota, at least 1 */
    int order[MACHINE_CPUS_MOST]; /* [cpus] their numbers: performance, efficiency, siblings */
};
void machine_topology(struct machine_topology *out);

/* A cache that cpu 0 sees, for data: instruction caches are left out. */
struct machine_cache {
    int level;      /* 1, 2, 3 */
    uint64_t bytes; /* of one instance */
    int shared_by;  /* CPUs that use this instance */
};
#define MACHINE_CACHES_MOST 8
/* In the order of levels; how many. From sysfs, else (a container without it) what cpuid tells. */
size_t machine_caches(struct machine_cache out[MACHINE_CACHES_MOST]);
/* The processor's name ("AMD EPYC 9554"), "" when it can't be told. */
void machine_cpu_name(char *out, size_t n);

/* Same, with the files under `root` instead of "/" (for tests: root/proc/..., root/sys/fs/cgroup/...;
 * affinity then is Cpus_allowed_list of root/proc/self/status within root/sys/devices/system/cpu/online). */
int machine_cores_at(const char *root);
void machine_topology_at(const char *root, struct machine_topology *out);
uint64_t machine_memory_total_at(const char *root);
uint64_t machine_memory_free_at(const char *root);
size_t machine_caches_at(const char *root, struct machine_cache out[MACHINE_CACHES_MOST]);

#endif
