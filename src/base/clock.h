/* Time. */
#ifndef SP_BASE_CLOCK_H
#define SP_BASE_CLOCK_H

#include <stdint.h>

double clock_seconds(void); /* monotonic, from an unspecified start */
int64_t clock_unix(void);   /* seconds since 1970 */
void clock_sleep(double seconds);

#endif
