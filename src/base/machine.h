/* The machine as this process may use it: cgroup v1/v2 limits count, not what the host has. */
#ifndef SP_BASE_MACHINE_H
#define SP_BASE_MACHINE_H

#include <stdint.h>

int machine_cores(void);             /* >= 1: min(affinity, cgroup cpu quota rounded up) */
uint64_t machine_memory_total(void); /* bytes: min(MemTotal, cgroup limit); 0: can't be told */
uint64_t machine_memory_free(void); /* bytes that could be had now: MemAvailable within the limit */
uint64_t machine_rss(void);         /* bytes resident in this process */

/* Same, with the files under `root` instead of "/" (for tests: root/proc/..., root/sys/fs/cgroup/...;
 * the cores then come from root/sys/devices/system/cpu/online, since affinity is the real machine's). */
int machine_cores_at(const char *root);
uint64_t machine_memory_total_at(const char *root);
uint64_t machine_memory_free_at(const char *root);

#endif
