/* An HTTP/1.1 response and the events in it, taken out of bytes that come in any pieces. Pure: no sockets, no clock.
 * Sources: RFC 9112 (messages), the HTML standard's section on server-sent events (lines, comments, data). */
#ifndef SP_BENCH_RESPONSE_INT_H
#define SP_BENCH_RESPONSE_INT_H

#include "base/base.h"

#define RESPONSE_LINE_MAX 65536      /* bytes of a line of the head or of a chunk's size */
#define RESPONSE_LINES_MOST 256      /* of a head, and of a trailer */
#define EVENT_MAX ((size_t)16 << 20) /* bytes of one event */

enum response_part { RESPONSE_MORE, RESPONSE_DONE, RESPONSE_BAD };

struct response {
    int status;        /* 0 until its line has come; 1xx are passed over */
    bool event_stream; /* Content-Type: text/event-stream */
    bool keep_alive;   /* when DONE: the connection can carry another request */
    const char *why;   /* when BAD */
    /* The rest is response.c's. */
    int state;
    bool chunked, has_length, old;
    uint64_t left; /* bytes of the body or of the chunk that are still to come */
    size_t lines;
    buf line;
};

void response_init(struct response *r);
void response_free(struct response *r);
/* Bytes of the body, in as many pieces as they came in; the status is known. */
typedef void response_body(void *arg, const char *p, size_t n);
/* Takes up to n bytes, *used of them: all, unless it is DONE or BAD before. */
enum response_part response_feed(struct response *r, const char *p, size_t n, response_body *body,
                                 void *arg, size_t *used);
/* The connection was closed: DONE when that is how the body ends, else BAD. */
enum response_part response_end(struct response *r);

/* Server-sent events. Only their data matters here. */
struct events {
    bool bom, after_cr, has_data; /* bom: the first line has been looked at */
    buf line, data;
};
void events_init(struct events *e);
void events_free(struct events *e);
/* The data of one event, its lines joined by line feeds; data[n] is NUL. */
typedef void events_sink(void *arg, const char *data, size_t n);
/* SP_EFULL: an event is longer than EVENT_MAX; SP_ENOMEM. */
int events_feed(struct events *e, const char *p, size_t n, events_sink *sink, void *arg);

#endif
