/* sampan healthcheck: does the server that the settings describe take requests? For container images, which have no
 * other program to ask with. */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include "cli/cli_int.h"

#define TIMEOUT_SECONDS 5

/* A server that listens on every address is asked on this machine's own. */
static const char *own_address(const char *host)
{
    return strcmp(host, "0.0.0.0") == 0 ? "127.0.0.1" : strcmp(host, "::") == 0 ? "::1" : host;
}

static int dial(const char *host, const char *port, sp_error *err)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    const struct timeval limit = {TIMEOUT_SECONDS, 0};
    struct addrinfo *list = NULL;
    int fd = -1, why = 0;
    int found = getaddrinfo(host, port, &hints, &list);
    if (found != 0)
        return sp_fail(err, SP_EIO, "%s: %s", host, gai_strerror(found));
    for (const struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        if (fd < 0)
            continue;
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
        if (connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
            why = errno;
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(list);
    return fd >= 0 ? fd
                   : sp_fail(err, SP_EIO, "%s port %s: %s: is the server running?", host, port,
                             strerror(why));
}

/* The status and the body of GET /readyz, as far as they fit. */
static int ask(int fd, const char *host, char *answer, size_t size, sp_error *err)
{
    char request[512];
    size_t n = 0;
    ssize_t got = 0;
    int status = 0;
    int length =
        snprintf(request, sizeof request,
                 "GET /readyz HTTP/1.1\r\nHost: %.200s\r\nConnection: close\r\n\r\n", host);
    if (write(fd, request, (size_t)length) == length)
        while (n < size - 1 && (got = read(fd, answer + n, size - 1 - n)) > 0)
            n += (size_t)got;
    answer[n] = '\0';
    if (sscanf(answer, "HTTP/1.1 %d", &status) != 1)
        return sp_fail(err, SP_EIO, "%s: no answer within %d s", host, TIMEOUT_SECONDS);
    return status;
}

int cmd_healthcheck(const options *o, sp_error *err)
{
    const char *host = own_address(options_str(o, "host")), *const * args;
    char answer[4096];
    if (options_args(o, &args) > 0)
        return sp_fail(err, SP_EUSAGE, "healthcheck takes no bare argument, '%s' was given",
                       args[0]);
    int fd = dial(host, options_str(o, "port"), err);
    if (fd < 0)
        return fd;
    int status = ask(fd, host, answer, sizeof answer, err);
    close(fd);
    if (status < 0)
        return status;
    const char *body = strstr(answer, "\r\n\r\n");
    if (status != 200)
        return sp_fail(err, SP_EIO, "not ready: %d: %.300s", status, body ? body + 4 : "");
    printf("ready\n");
    return 0;
}
