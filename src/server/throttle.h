/* Wrong passwords cost time: after some free tries each one doubles the wait before the next, for the address that they
 * come from and for the name that they are for, whether or not there is such a name. A table of each kind, bounded:
 * when it is full, what was tried least lately is forgotten. Any thread. */
#ifndef SP_SERVER_THROTTLE_H
#define SP_SERVER_THROTTLE_H

#include "base/base.h"

#define THROTTLE_FREE 5        /* tries without a wait */
#define THROTTLE_MOST 60.0     /* seconds of a wait */
#define THROTTLE_FORGET 3600.0 /* seconds after the last try */

struct throttle;
struct throttle *throttle_new(void); /* NULL: out of memory */
void throttle_free(struct throttle *t);
/* 0: try, and it counts as a wrong one until throttle_forgive. Else: seconds to wait; it does not count.
 * now: clock_seconds. */
double throttle_take(struct throttle *t, const char *address, const char *name, double now);
void throttle_forgive(struct throttle *t, const char *address, const char *name);

#endif
