/* How HTTP/1 messages are cut out of a stream of bytes, strictly (RFC 9112): a request whose length two readers could
 * understand differently is refused, never guessed at. Pure functions over memory, no state, any thread. */
#ifndef SP_SERVER_FRAMING_INT_H
#define SP_SERVER_FRAMING_INT_H

#include "base/base.h"

#define HEADERS_MAX 65536 /* bytes of a request's head */
#define HEADERS_MOST 128  /* lines of it */
#define CHUNK_LINE_MAX 4096
#define TRAILER_MAX 8192

struct http_head {
    size_t bytes; /* of the whole head, with its empty line */
    str method;
    str target;      /* in origin-form, also when the request had an address in front */
    str rest;        /* " HTTP/1.1\r\n" and the fields, to the end of the head */
    bool chunked;    /* the body comes in chunks */
    uint64_t body;   /* bytes of it otherwise */
    int status;      /* why it is refused: an HTTP status, else 0 */
    const char *why; /* in words */
};

enum framing { FRAMING_MORE, FRAMING_DONE, FRAMING_REFUSED };

/* The head that begins at p. *scanned (0 for a new head) remembers what has been looked at, so that a head that comes
 * byte by byte is read once. MORE: it is not all there yet. REFUSED: status and why are set. */
enum framing framing_head(const char *p, size_t n, size_t *scanned, struct http_head *out);

/* A chunk's line "SIZE[;extension]\r\n": its size and *used bytes. Extensions mean nothing here and are passed over. */
enum framing framing_chunk(const char *p, size_t n, uint64_t *size, size_t *used);

/* The fields after the last chunk, to the empty line: *used bytes. */
enum framing framing_trailer(const char *p, size_t n, size_t *used);

#endif
