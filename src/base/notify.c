#include "base/notify.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/str.h"

bool notify_service(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    size_t n = path ? strlen(path) : 0;
    if (n < 2 || n > sizeof a.sun_path || (path[0] != '/' && path[0] != '@'))
        return false;
    memcpy(a.sun_path, path, n);
    if (path[0] == '@') /* an abstract name */
        a.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
    ssize_t sent =
        sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&a, size);
    (void)close(fd);
    return sent >= 0;
}

double notify_watchdog_seconds(void)
{
    int64_t usec, pid;
    const char *who = getenv("WATCHDOG_PID");
    if (!str_to_i64(str_of(getenv("WATCHDOG_USEC")), &usec) || usec <= 0)
        return 0;
    if (who && (!str_to_i64(str_of(who), &pid) || pid != (int64_t)getpid()))
        return 0;
    return (double)usec / 1e6;
}
