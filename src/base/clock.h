/* Time. */
#ifndef SP_BASE_CLOCK_H
#define SP_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

double clock_seconds(void); /* monotonic, from an unspecified start */
int64_t clock_unix(void);   /* seconds since 1970 */
void clock_sleep(double seconds);
/* The moment so many seconds from now, for pthread_cond_timedwait with a condition on CLOCK_MONOTONIC. */
struct timespec clock_after(double seconds);

#endif
