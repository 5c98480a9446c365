#include "server/framing_int.h"

#include <string.h>
#include <strings.h>

static enum framing refuse(struct http_head *h, int status, const char *why)
{
    h->status = status;
    h->why = why;
    return FRAMING_REFUSED;
}

/* RFC 9110, 5.6.2: what names of methods and fields are made of. */
static bool is_token(str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!alnum && (c == '\0' || !strchr("!#$%&'*+-.^_`|~", c)))
            return false;
    }
    return s.n > 0;
}

/* Bytes that may stand in a field's value: no control characters but the tab. */
static bool is_value(str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

/* ---- where the head ends ---- */

/* The place behind the empty line, 0 when it has not come; every line must end in CR LF. */
static size_t head_end(const char *p, size_t n, size_t *scanned, struct http_head *h)
{
    size_t at = *scanned;
    const char *lf;
    while (at < n && (lf = memchr(p + at, '\n', n - at)) != NULL) {
        size_t i = (size_t)(lf - p);
        if (i == 0 || p[i - 1] != '\r') {
            refuse(h, 400, "a line ends without a carriage return");
            return 0;
        }
        if (i >= 3 && p[i - 2] == '\n')
            return i + 1;
        at = i + 1;
    }
    *scanned = n;
    return 0;
}

/* ---- the first line ---- */

static enum framing check_version(str v, struct http_head *h, bool *old)
{
    bool http = v.n == 8 && memcmp(v.p, "HTTP/", 5) == 0 && v.p[6] == '.';
    if (!http)
        return refuse(h, 400, "the first line is not METHOD TARGET HTTP/1.1");
    *old = v.p[7] == '0';
    if (v.p[5] != '1' || (v.p[7] != '0' && v.p[7] != '1'))
        return refuse(h, 505, "HTTP/1.1 and HTTP/1.0 are spoken here");
    return FRAMING_DONE;
}

/* "http://host:port/path" becomes "/path": this server is no proxy and has one host. */
static enum framing check_target(str t, struct http_head *h)
{
    static const char *const schemes[] = {"http://", "https://"};
    for (size_t i = 0; i < t.n; i++)
        if ((unsigned char)t.p[i] <= 0x20 || (unsigned char)t.p[i] >= 0x7f)
            return refuse(h, 400, "the target has a character that must be percent-encoded");
    for (size_t i = 0; i < SP_COUNT(schemes); i++) {
        size_t n = strlen(schemes[i]);
        if (t.n < n || strncasecmp(t.p, schemes[i], n) != 0)
            continue;
        const char *slash = memchr(t.p + n, '/', t.n - n);
        t = slash ? (str){slash, t.n - (size_t)(slash - t.p)} : (str){"/", 1};
        break;
    }
    h->target = t;
    if (t.n == 0 || t.p[0] != '/')
        return refuse(h, 400, "the target must begin with a slash");
    return FRAMING_DONE;
}

static enum framing check_method(str m, struct http_head *h)
{
    static const char *const known[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"};
    h->method = m;
    if (!is_token(m))
        return refuse(h, 400, "the method is no word");
    for (size_t i = 0; i < SP_COUNT(known); i++)
        if (str_eqz(m, known[i]))
            return FRAMING_DONE;
    return refuse(h, 501, "this method is unknown here");
}

static enum framing first_line(str line, struct http_head *h, bool *old)
{
    const char *a = memchr(line.p, ' ', line.n);
    const char *b = a ? memchr(a + 1, ' ', line.n - (size_t)(a + 1 - line.p)) : NULL;
    if (!b)
        return refuse(h, 400, "the first line is not METHOD TARGET HTTP/1.1");
    const char *end = line.p + line.n;
    enum framing f = check_version((str){b + 1, (size_t)(end - b) - 1}, h, old);
    if (f == FRAMING_DONE)
        f = check_target((str){a + 1, (size_t)(b - a) - 1}, h);
    if (f == FRAMING_DONE)
        f = check_method((str){line.p, (size_t)(a - line.p)}, h);
    return f;
}

/* ---- the fields ---- */

struct fields {
    size_t lines, lengths, encodings, hosts, origins;
};

static enum framing read_length(str value, struct http_head *h)
{
    uint64_t n = 0;
    for (size_t i = 0; i < value.n; i++)
        if (value.p[i] < '0' || value.p[i] > '9')
            return refuse(h, 400, "Content-Length is not one plain number");
    if (value.n == 0 || value.n > 18)
        return refuse(h, value.n ? 413 : 400, "Content-Length is no number that can be");
    for (size_t i = 0; i < value.n; i++)
        n = n * 10 + (uint64_t)(value.p[i] - '0');
    h->body = n;
    return FRAMING_DONE;
}

static enum framing one_field(str line, struct fields *f, struct http_head *h)
{
    const char *colon = memchr(line.p, ':', line.n);
    if (++f->lines > HEADERS_MOST)
        return refuse(h, 431, "too many header fields");
    if (line.p[0] == ' ' || line.p[0] == '\t')
        return refuse(h, 400, "a header field goes on in the next line");
    if (!colon || !is_token((str){line.p, (size_t)(colon - line.p)}))
        return refuse(h, 400, "a header line is not NAME: VALUE");
    str name = {line.p, (size_t)(colon - line.p)};
    str value = str_trim((str){colon + 1, line.n - name.n - 1});
    if (!is_value(value))
        return refuse(h, 400, "a header field has a control character");
    if (str_eqz_nocase(name, "Host") && ++f->hosts > 1)
        return refuse(h, 400, "Host stands there twice");
    if (str_eqz_nocase(name, "Origin") &&
        ++f->origins > 1) /* one of them would pass for the other */
        return refuse(h, 400, "Origin stands there twice");
    if (str_eqz_nocase(name, "Expect") && !str_eqz_nocase(value, "100-continue"))
        return refuse(h, 417, "Expect: only 100-continue is known");
    if (str_eqz_nocase(name, "Content-Length"))
        return ++f->lengths > 1 ? refuse(h, 400, "Content-Length stands there twice")
                                : read_length(value, h);
    if (!str_eqz_nocase(name, "Transfer-Encoding"))
        return FRAMING_DONE;
    if (++f->encodings > 1 || !str_eqz_nocase(value, "chunked"))
        return refuse(h, 501, "Transfer-Encoding: only chunked, once, is known");
    h->chunked = true;
    return FRAMING_DONE;
}

/* What the fields say together. */
static enum framing check_whole(const struct fields *f, bool old, struct http_head *h)
{
    if (f->lengths && f->encodings)
        return refuse(h, 400, "Content-Length and Transfer-Encoding together");
    if (old && f->encodings)
        return refuse(h, 400, "Transfer-Encoding is not of HTTP/1.0");
    if (!old && f->hosts == 0)
        return refuse(h, 400, "the Host field is missing");
    if (str_eqz(h->method, "HEAD") && (h->chunked || h->body))
        return refuse(h, 400, "HEAD takes no body");
    return FRAMING_DONE;
}

enum framing framing_head(const char *p, size_t n, size_t *scanned, struct http_head *out)
{
    struct fields f = {0};
    bool old = false;
    *out = (struct http_head){0};
    if (n == 0)
        return FRAMING_MORE;
    out->bytes = head_end(p, n, scanned, out);
    if (out->status)
        return FRAMING_REFUSED;
    if (out->bytes == 0 || out->bytes > HEADERS_MAX)
        return n > HEADERS_MAX ? refuse(out, 431, "the header fields are too long") : FRAMING_MORE;
    enum framing code = FRAMING_MORE;
    for (const char *at = p, *end = p + out->bytes - 2; at < end;) {
        const char *lf = memchr(at, '\n', (size_t)(end - at));
        str line = {at, (size_t)(lf - at) - 1};
        if (memchr(line.p, '\r', line.n))
            return refuse(out, 400, "a carriage return inside a line");
        code = at == p ? first_line(line, out, &old) : one_field(line, &f, out);
        if (code == FRAMING_REFUSED)
            return code;
        if (at == p) /* the blank before HTTP/1.1 */
            out->rest.p = line.p + line.n - strlen(" HTTP/1.1");
        at = lf + 1;
    }
    out->rest.n = (size_t)(p + out->bytes - out->rest.p);
    return check_whole(&f, old, out);
}

/* ---- chunks ---- */

/* A line with its CR LF in the first `most` bytes; its length without them. */
static enum framing find_line(const char *p, size_t n, size_t most, size_t *len)
{
    const char *lf = memchr(p, '\n', n < most ? n : most);
    if (!lf)
        return n >= most ? FRAMING_REFUSED : FRAMING_MORE;
    if (lf == p || lf[-1] != '\r')
        return FRAMING_REFUSED;
    *len = (size_t)(lf - p) - 1;
    return is_value((str){p, *len}) ? FRAMING_DONE : FRAMING_REFUSED;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

enum framing framing_chunk(const char *p, size_t n, uint64_t *size, size_t *used)
{
    size_t len = 0, i = 0;
    if (n == 0)
        return FRAMING_MORE;
    enum framing f = find_line(p, n, CHUNK_LINE_MAX, &len);
    if (f != FRAMING_DONE)
        return f;
    *size = 0;
    for (; i < len && hex_digit(p[i]) >= 0; i++)
        *size = *size << 4 | (uint64_t)hex_digit(p[i]);
    *used = len + 2;
    return i > 0 && i <= 15 && (i == len || p[i] == ';') ? FRAMING_DONE : FRAMING_REFUSED;
}

enum framing framing_trailer(const char *p, size_t n, size_t *used)
{
    for (size_t at = 0; at < n;) {
        size_t len = 0;
        enum framing f = find_line(p + at, n - at, TRAILER_MAX - at, &len);
        if (f != FRAMING_DONE)
            return f;
        *used = at += len + 2;
        if (len == 0)
            return FRAMING_DONE;
        const char *line = p + at - len - 2, *colon = memchr(line, ':', len);
        if (!colon || !is_token((str){line, (size_t)(colon - line)}) || at >= TRAILER_MAX)
            return FRAMING_REFUSED;
    }
    return FRAMING_MORE;
}
