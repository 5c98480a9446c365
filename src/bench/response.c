#include "bench/response_int.h"

#include <string.h>
#include <strings.h>

enum state {
    AT_STATUS,
    AT_FIELD,
    AT_BODY,       /* of a known length */
    AT_BODY_CLOSE, /* to the end of the connection */
    AT_CHUNK_SIZE,
    AT_CHUNK,
    AT_CHUNK_END,
    AT_TRAILER,
    AT_END
};

void response_init(struct response *r)
{
    *r = (struct response){.state = AT_STATUS};
    buf_init(&r->line, RESPONSE_LINE_MAX);
}

void response_free(struct response *r)
{
    buf_free(&r->line);
}

static enum response_part bad(struct response *r, const char *why)
{
    r->why = why;
    return RESPONSE_BAD;
}

/* ---- the head ---- */

/* "HTTP/1.1 200 OK". */
static enum response_part status_line(struct response *r, str line)
{
    bool http = line.n >= 12 && memcmp(line.p, "HTTP/1.", 7) == 0 && line.p[8] == ' ';
    int status = 0;
    for (size_t i = 9; http && i < 12; i++) {
        http = line.p[i] >= '0' && line.p[i] <= '9';
        status = status * 10 + (line.p[i] - '0');
    }
    if (!http || status < 100 || (line.n > 12 && line.p[12] != ' '))
        return bad(r, "the first line is no status of HTTP/1");
    r->old = line.p[7] == '0';
    r->keep_alive = !r->old;
    r->status = status;
    r->chunked = r->has_length = r->event_stream = false;
    r->lines = 0;
    r->state = AT_FIELD;
    return RESPONSE_MORE;
}

static enum response_part read_length(struct response *r, str value)
{
    uint64_t n = 0;
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] < '0' || value.p[i] > '9' || i >= 18)
            return bad(r, "Content-Length is no number");
        n = n * 10 + (uint64_t)(value.p[i] - '0');
    }
    if (value.n == 0 || (r->has_length && n != r->left))
        return bad(r, "Content-Length is no number or stands there twice");
    r->left = n;
    r->has_length = true;
    return RESPONSE_MORE;
}

/* Whether `word` is in a list with commas, whatever its case. */
static bool has_word(str list, const char *word)
{
    while (list.n) {
        const char *comma = memchr(list.p, ',', list.n);
        size_t n = comma ? (size_t)(comma - list.p) : list.n;
        if (str_eqz_nocase(str_trim((str){list.p, n}), word))
            return true;
        n += comma != NULL;
        list = (str){list.p + n, list.n - n};
    }
    return false;
}

static enum response_part field(struct response *r, str line)
{
    static const char stream[] = "text/event-stream";
    const char *colon = memchr(line.p, ':', line.n);
    if (!colon || colon == line.p || line.p[0] == ' ' || line.p[0] == '\t')
        return bad(r, "a header line is not NAME: VALUE");
    str name = {line.p, (size_t)(colon - line.p)};
    str value = str_trim((str){colon + 1, line.n - name.n - 1});
    if (str_eqz_nocase(name, "Content-Length"))
        return read_length(r, value);
    if (str_eqz_nocase(name, "Transfer-Encoding")) {
        r->chunked = str_eqz_nocase(value, "chunked");
        return r->chunked ? RESPONSE_MORE : bad(r, "Transfer-Encoding is not chunked");
    }
    if (str_eqz_nocase(name, "Content-Type"))
        r->event_stream = value.n >= sizeof stream - 1 &&
                          strncasecmp(value.p, stream, sizeof stream - 1) == 0 &&
                          (value.n == sizeof stream - 1 || value.p[sizeof stream - 1] == ';' ||
                           value.p[sizeof stream - 1] == ' ');
    if (str_eqz_nocase(name, "Connection"))
        r->keep_alive = r->old ? has_word(value, "keep-alive") : !has_word(value, "close");
    return RESPONSE_MORE;
}

static enum response_part finished(struct response *r)
{
    r->state = AT_END;
    return RESPONSE_DONE;
}

/* How the body is framed (RFC 9112, 6.3). */
static enum response_part head_end(struct response *r)
{
    if (r->status < 200) {
        r->status = 0;
        r->state = AT_STATUS;
        return RESPONSE_MORE;
    }
    if (r->status == 204 || r->status == 304)
        return finished(r);
    if (r->chunked) {
        r->keep_alive &= !r->has_length; /* both: who knows what the next reader makes of it */
        r->state = AT_CHUNK_SIZE;
        return RESPONSE_MORE;
    }
    if (r->has_length) {
        r->state = AT_BODY;
        return r->left ? RESPONSE_MORE : finished(r);
    }
    r->keep_alive = false;
    r->state = AT_BODY_CLOSE;
    return RESPONSE_MORE;
}

/* ---- the body ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static enum response_part chunk_size(struct response *r, str line)
{
    size_t i = 0;
    r->left = 0;
    for (; i < line.n && i < 16 && hex_digit(line.p[i]) >= 0; i++)
        r->left = r->left << 4 | (uint64_t)hex_digit(line.p[i]);
    str rest = str_trim((str){line.p + i, line.n - i});
    if (i == 0 || i > 15 || (rest.n && rest.p[0] != ';'))
        return bad(r, "a chunk's size is no hexadecimal number");
    r->lines = 0;
    r->state = r->left ? AT_CHUNK : AT_TRAILER;
    return RESPONSE_MORE;
}

static enum response_part whole_line(struct response *r, str line)
{
    switch (r->state) {
    case AT_STATUS:
        return status_line(r, line);
    case AT_FIELD:
        if (++r->lines > RESPONSE_LINES_MOST)
            return bad(r, "the head has too many lines");
        return line.n ? field(r, line) : head_end(r);
    case AT_CHUNK_SIZE:
        return chunk_size(r, line);
    case AT_CHUNK_END:
        r->state = AT_CHUNK_SIZE;
        return line.n ? bad(r, "a chunk is longer than its size says") : RESPONSE_MORE;
    default:
        if (++r->lines > RESPONSE_LINES_MOST)
            return bad(r, "the trailer has too many lines");
        return line.n ? RESPONSE_MORE : finished(r);
    }
}

/* Adds bytes to the line that is being read, up to its end; *used of them. */
static enum response_part take_line(struct response *r, const char *p, size_t n, size_t *used)
{
    const char *lf = memchr(p, '\n', n);
    *used = lf ? (size_t)(lf - p) + 1 : n;
    if (buf_add(&r->line, p, *used) < 0)
        return bad(r, r->line.code == SP_ENOMEM ? "out of memory" : "a line is too long");
    if (!lf)
        return RESPONSE_MORE;
    str line = {r->line.data, r->line.len - 1};
    if (line.n && line.p[line.n - 1] == '\r')
        line.n--;
    enum response_part part = whole_line(r, line);
    buf_clear(&r->line);
    return part;
}

static enum response_part take_body(struct response *r, const char *p, size_t n,
                                    response_body *body, void *arg, size_t *used)
{
    bool bounded = r->state != AT_BODY_CLOSE;
    *used = bounded && r->left < n ? (size_t)r->left : n;
    body(arg, p, *used);
    if (!bounded)
        return RESPONSE_MORE;
    r->left -= *used;
    if (r->left)
        return RESPONSE_MORE;
    if (r->state == AT_BODY)
        return finished(r);
    r->state = AT_CHUNK_END;
    return RESPONSE_MORE;
}

enum response_part response_feed(struct response *r, const char *p, size_t n, response_body *body,
                                 void *arg, size_t *used)
{
    enum response_part part = r->why               ? RESPONSE_BAD
                              : r->state == AT_END ? RESPONSE_DONE
                                                   : RESPONSE_MORE;
    size_t at = 0;
    while (at < n && part == RESPONSE_MORE) {
        size_t took = 0;
        bool in_body = r->state == AT_BODY || r->state == AT_BODY_CLOSE || r->state == AT_CHUNK;
        part = in_body ? take_body(r, p + at, n - at, body, arg, &took)
                       : take_line(r, p + at, n - at, &took);
        at += took;
    }
    *used = at;
    return part;
}

enum response_part response_end(struct response *r)
{
    if (r->why)
        return RESPONSE_BAD;
    if (r->state == AT_END)
        return RESPONSE_DONE;
    return r->state == AT_BODY_CLOSE ? finished(r)
                                     : bad(r, "the connection was closed before the answer's end");
}

/* ---- events ---- */

void events_init(struct events *e)
{
    *e = (struct events){0};
    buf_init(&e->line, EVENT_MAX);
    buf_init(&e->data, EVENT_MAX);
}

void events_free(struct events *e)
{
    buf_free(&e->line);
    buf_free(&e->data);
}

static void dispatch(struct events *e, events_sink *sink, void *arg)
{
    if (e->has_data && !e->data.failed)
        sink(arg, e->data.data ? e->data.data : "", e->data.len);
    if (!e->data.failed)
        buf_clear(&e->data);
    e->has_data = false;
}

/* A line without its end: blank ends the event, "data: X" or "data:X" adds to it, all else means nothing here. */
static void event_line(struct events *e, str line, events_sink *sink, void *arg)
{
    if (!e->bom && line.n >= 3 && memcmp(line.p, "\xef\xbb\xbf", 3) == 0)
        line = (str){line.p + 3, line.n - 3};
    e->bom = true;
    if (line.n == 0) {
        dispatch(e, sink, arg);
        return;
    }
    if (line.n < 4 || memcmp(line.p, "data", 4) != 0 || (line.n > 4 && line.p[4] != ':'))
        return;
    str value = line.n > 4 ? (str){line.p + 5, line.n - 5} : (str){line.p + 4, 0};
    if (value.n && value.p[0] == ' ')
        value = (str){value.p + 1, value.n - 1};
    if (e->has_data)
        (void)buf_putc(&e->data, '\n');
    (void)buf_add(&e->data, value.p, value.n);
    e->has_data = true;
}

/* Bytes up to the next line end; n when there is none. */
static size_t line_length(const char *p, size_t n)
{
    size_t i = 0;
    while (i < n && p[i] != '\n' && p[i] != '\r')
        i++;
    return i;
}

int events_feed(struct events *e, const char *p, size_t n, events_sink *sink, void *arg)
{
    size_t at = 0;
    while (at < n) {
        if (e->after_cr && p[at] == '\n') { /* CR LF is one end */
            e->after_cr = false;
            at++;
            continue;
        }
        e->after_cr = false;
        size_t len = line_length(p + at, n - at);
        if (at + len == n)
            (void)buf_add(&e->line, p + at, len);
        else if (e->line.len) {
            (void)buf_add(&e->line, p + at, len);
            event_line(e, (str){e->line.data, e->line.len}, sink, arg);
            if (!e->line.failed)
                buf_clear(&e->line);
        } else {
            event_line(e, (str){p + at, len}, sink, arg);
        }
        at += len;
        if (at < n)
            e->after_cr = p[at++] == '\r';
        if (e->line.failed || e->data.failed)
            return e->line.failed ? e->line.code : e->data.code;
    }
    return 0;
}
