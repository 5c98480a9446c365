/* The machine as this process may use it: cgroup v1/v2 limits count, not what the host has. */
#ifndef SP_BASE_MACHINE_H
#define SP_BASE_MACHINE_H

#include <stddef.h>
#include <stdint.h>

int machine_cores(void);             /* >= 1: min(affinity, cgroup cpu quota rounded up) */
uint64_t machine_memory_total(void); /* bytes: min(MemTotal, cgroup limit); 0: can't be told */
uint64_t machine_memory_free(void); /* bytes that could be had now: MemAvailable within the limit */
uint64_t machine_rss(void);         /* bytes resident in this process */

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
 * the cores then come from root/sys/devices/system/cpu/online, since affinity is the real machine's). */
int machine_cores_at(const char *root);
uint64_t machine_memory_total_at(const char *root);
uint64_t machine_memory_free_at(const char *root);
size_t machine_caches_at(const char *root, struct machine_cache out[MACHINE_CACHES_MOST]);

#endif
