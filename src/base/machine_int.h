/* Private to machine.c and topology.c: reading small files of /proc and /sys. */
#ifndef SP_BASE_MACHINE_INT_H
#define SP_BASE_MACHINE_INT_H

#include <stdbool.h>
#include <stdint.h>

#define MACHINE_TEXT_MAX 8192 /* more than any of these files has before what is sought */

/* The start of file dir/name as text; false when it can't be read. */
bool machine_read_text(const char *dir, const char *name, char text[MACHINE_TEXT_MAX]);
/* The number that text starts with; false for anything else ("max") or one over INT64_MAX. */
bool machine_leading_number(const char *text, uint64_t *out);
/* Whole CPUs' worth of time that the cgroups grant, rounded up; INT_MAX: no limit. */
int machine_quota_at(const char *root);

/* A set of CPU numbers, as the kernel's lists ("0-3,8") name them; what is not a list is empty. */
#define MACHINE_CPU_BITS 8192 /* NR_CPUS of the kernels that distributions build */
struct cpu_bits {
    unsigned char has[MACHINE_CPU_BITS];
};
void machine_read_list(const char *text, struct cpu_bits *out);
int machine_count(const struct cpu_bits *set);
/* Where the calling thread may run. With another root than the real one: Cpus_allowed_list of
 * root/proc/self/status within root/sys/devices/system/cpu/online, or what there is of the two; CPU 0 else. */
void machine_usable_at(const char *root, struct cpu_bits *out);

#endif
