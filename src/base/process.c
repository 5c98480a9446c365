#include "base/process.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include "base/machine_int.h"

static uint64_t count_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    uint64_t n = 0;
    if (!d)
        return 0;
    for (const struct dirent *e; (e = readdir(d)) != NULL;)
        n += e->d_name[0] != '.';
    closedir(d);
    return n > 0 ? n - 1 : 0; /* the folder itself was open */
}

static double seconds_of(clockid_t clock)
{
    struct timespec t = {0};
    (void)clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Fields of /proc/PID/stat as proc(5) numbers them; the name (2) may hold anything, so they are read from behind it. */
bool process_get_usage(struct process_usage *out)
{
    char text[MACHINE_TEXT_MAX];
    unsigned long long start, size;
    long long pages;
    double ticks = (double)sysconf(_SC_CLK_TCK);
    struct rlimit fds;
    if (!machine_read_text("/proc/self", "stat", text))
        return false;
    const char *rest = strrchr(text, ')');
    if (!rest || sscanf(rest + 1,
                        " %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
                        "%*s %llu %llu %lld",
                        &start, &size, &pages) != 3)
        return false;
    *out = (struct process_usage){.cpu_seconds = seconds_of(CLOCK_PROCESS_CPUTIME_ID),
                                  .virtual_bytes = size,
                                  .open_fds = count_fds()};
    out->resident_bytes = (uint64_t)(pages > 0 ? pages : 0) * (uint64_t)sysconf(_SC_PAGESIZE);
    out->start_time =
        seconds_of(CLOCK_REALTIME) - seconds_of(CLOCK_BOOTTIME) + (double)start / ticks;
    if (getrlimit(RLIMIT_NOFILE, &fds) == 0)
        out->max_fds = (uint64_t)fds.rlim_cur;
    return true;
}
