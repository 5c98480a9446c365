/* What stands between the sockets and libevent's HTTP parser, which is lenient about where a message ends and waits for
 * heads without limit of time or number. The guard holds every connection's bytes back until framing_int.h has found
 * them sound, and hands on one message at a time, in a plain form. A request that it refuses reaches on_request as an
 * empty one with guard_refusal set, is answered in its turn, and is the connection's last.
 *
 * Limits: those of server_limits; a body must also move every BODY_STALL_SECONDS; all bodies together have BODIES_MAX
 * bytes. There are at most server.connections_max
 * connections: a new one beyond them takes the place of the one that has waited longest without a request;
 * when all are at work the listening socket rests.
 * A connection that libevent closes is read on for a moment (RFC 9112, 9.6), so that the answer is not lost by a reset.
 * The loop thread only. */
#ifndef SP_SERVER_GUARD_INT_H
#define SP_SERVER_GUARD_INT_H

#include "server/server_int.h"

#define HEAD_SECONDS 15  /* the defaults of server_limits */
#define FIRST_SECONDS 60 /* without any byte since the connection was made */
#define KEEP_SECONDS 300 /* between requests */
#define BODY_STALL_SECONDS 30
#define BODY_SECONDS 600
#define LINGER_SECONDS 3
#define CONNECTIONS_MOST 4096
#define BODIES_MAX ((size_t)256 << 20) /* of all requests that are not answered yet */
#define FDS_RESERVED 256 /* of the process's limit: models, logs, connections that close */

/* Before the socket is bound; raises the process's limit of open files as far as it may. */
int guard_open(struct server *s, sp_error *err);
void guard_close(struct server *s); /* after evhttp_free */
void guard_loop(struct server *s);  /* this thread is about to run the loop of s */
/* The socket that s->socket listens on: rested while the server is full, also after EMFILE. */
void guard_listen(struct server *s);

struct guard *guard_of(struct server *s, struct evhttp_request *req);
/* on_request: this request is the server's now; the guard goes on when it has been answered. Returns the status with
 * which it must be refused, else 0. */
int guard_request(struct guard *g, struct evhttp_request *req, const char **why);

#endif
