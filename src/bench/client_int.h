/* A small HTTP client on an event loop, made to cost the machine little: the server that is measured shares its cores.
 * Connections are kept for the next request where the server allows it, as the usual clients do. One that turns out to
 * have been closed meanwhile, before a byte of the answer came, is replaced once without a word.
 * One thread, the loop's. */
#ifndef SP_BENCH_CLIENT_INT_H
#define SP_BENCH_CLIENT_INT_H

#include <event2/event.h>
#include "bench/response_int.h"

typedef struct client client;           /* of one server */
typedef struct client_call client_call; /* a request that is under way */

struct client_opts {
    const char
        *url; /* http(s)://HOST[:PORT][/PREFIX]; "/v1" is added unless the prefix ends with it */
    const char *key; /* NULL: none */
    bool insecure;
};

enum client_end {
    CLIENT_DONE,     /* the answer is whole */
    CLIENT_CONNECT,  /* no connection */
    CLIENT_CLOSED,   /* it ended before the answer */
    CLIENT_MALFORMED /* no HTTP */
};

/* What a call tells, from within the loop. A call may not be cancelled from its own body. */
struct client_sink {
    void (*body)(void *arg, const struct response *head, const char *p, size_t n);
    /* The last word; `why` is good until it returns. Other calls may be made and cancelled from here. */
    void (*end)(void *arg, enum client_end end, const struct response *head, const char *why);
    void *arg;
};

/* Looks the address up (this may take a while). */
int client_new(struct event_base *base, const struct client_opts *o, client **out, sp_error *err);
/* There must be no call under way. */
void client_free(client *c);
/* path: below /v1, as in "/models". body NULL: GET, else POST of JSON; it is copied. NULL with errno: no memory
 * or no socket. */
client_call *client_start(client *c, const char *path, const char *body, size_t n,
                          const struct client_sink *sink);
/* Ends it without a word to its sink. */
void client_cancel(client_call *call);
/* Lets the process open as many connections as it may. */
void client_raise_limits(void);

#endif
