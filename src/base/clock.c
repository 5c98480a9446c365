#include "base/clock.h"

#include <errno.h>
#include <time.h>

#define NS 1000000000.0
#define SLEEP_MAX 1e9 /* seconds; more than 30 years is "for ever" */

double clock_seconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / NS;
}

int64_t clock_unix(void)
{
    return (int64_t)time(NULL);
}

void clock_sleep(double seconds)
{
    if (!(seconds > 0))
        return;
    if (seconds > SLEEP_MAX)
        seconds = SLEEP_MAX;
    struct timespec t = {.tv_sec = (time_t)seconds};
    t.tv_nsec = (long)((seconds - (double)t.tv_sec) * NS);
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &t) == EINTR) {
    }
}

struct timespec clock_after(double seconds)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    int64_t nanos = t.tv_nsec + (int64_t)(seconds * NS);
    t.tv_sec += (time_t)(nanos / (int64_t)NS);
    t.tv_nsec = (long)(nanos % (int64_t)NS);
    return t;
}
