/* What the kernel says of this process. */
#ifndef SP_BASE_PROCESS_H
#define SP_BASE_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

struct process_usage {
    double cpu_seconds; /* user and system, all threads */
    double start_time;  /* seconds since 1970 */
    uint64_t virtual_bytes, resident_bytes;
    uint64_t open_fds, max_fds;
};
bool process_get_usage(struct process_usage *out); /* false: /proc can't be read */

#endif
