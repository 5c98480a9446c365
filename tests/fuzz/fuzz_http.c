/* What a client sends, over a real connection to the real server, whose loop runs here. The first byte says in which
 * pieces it comes. After it another client must still be answered. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "fuzz_model.h"

#define PIECES_MOST 40

static server *s;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    s = fuzz_server();
    return 0;
}

static void turn(int times)
{
    for (int i = 0; i < times; i++)
        event_base_loop(s->base, EVLOOP_NONBLOCK);
}

/* A reset at the end keeps no port waiting. */
static int dial(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)s->port)};
    struct linger reset = {1, 0};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    fuzz_check(fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0 &&
                   setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset) == 0 &&
                   fcntl(fd, F_SETFL, O_NONBLOCK) == 0,
               "the server takes connections");
    turn(1);
    return fd;
}

/* Throws the answers away; the first bytes ever must be a status line. */
static void drain(int fd, size_t *seen)
{
    char text[4096];
    ssize_t got;
    while ((got = read(fd, text, sizeof text)) > 0) {
        fuzz_check(*seen > 0 || got < 7 || memcmp(text, "HTTP/1.", 7) == 0,
                   "an answer begins with HTTP/1.");
        *seen += (size_t)got;
    }
}

static void until_quiet(int fd, size_t *seen)
{
    turn(2);
    for (int i = 0; s->n_calls > 0 && i < 2000; i++) {
        event_base_loop(s->base, EVLOOP_ONCE);
        drain(fd, seen);
    }
    turn(2);
    drain(fd, seen);
}

static void others_are_answered(void)
{
    static const char ask[] = "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    char text[64] = "";
    int fd = dial();
    fuzz_check(write(fd, ask, sizeof ask - 1) == (ssize_t)sizeof ask - 1, "a request is sent");
    turn(4);
    fuzz_check(read(fd, text, sizeof text - 1) > 12 && memcmp(text, "HTTP/1.1 200", 12) == 0,
               "another client is answered");
    close(fd);
    turn(2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static unsigned runs;
    size_t at = 1, seen = 0;
    if (n == 0)
        return 0;
    int fd = dial();
    for (int i = 0; at < n; i++) {
        size_t piece = data[0] && i < PIECES_MOST ? data[0] : n - at;
        if (piece > n - at)
            piece = n - at;
        if (send(fd, data + at, piece, MSG_NOSIGNAL) < 0)
            break;
        at += piece;
        turn(1);
        drain(fd, &seen);
    }
    until_quiet(fd, &seen);
    close(fd);
    turn(2);
    if (++runs % 64 == 0)
        others_are_answered();
    return 0;
}
