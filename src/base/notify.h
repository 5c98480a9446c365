/* Words to the service manager that started this process, as sd_notify(3) describes them: a datagram to the socket that
 * $NOTIFY_SOCKET names. Any thread. */
#ifndef SP_BASE_NOTIFY_H
#define SP_BASE_NOTIFY_H

#include <stdbool.h>

/* "READY=1", "STOPPING=1\nSTATUS=..."; false: nobody wants to know, or it could not be told. */
bool notify_service(const char *state);
/* How long the manager waits for WATCHDOG=1 before it takes the process for hung; 0: it doesn't. */
double notify_watchdog_seconds(void);

#endif
