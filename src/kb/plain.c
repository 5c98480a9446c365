/* Plain files: whichever of the usual encodings they have, UTF-8 comes out. */
#include <errno.h>
#include <string.h>
#include "kb/parser_int.h"

#define CHUNK 4096

/* What no text has; a tab, a form feed and an escape some do. */
static bool is_control(unsigned char c)
{
    return c < 0x20 && c != '\t' && c != '\n' && c != '\v' && c != '\f' && c != '\r' && c != 0x1b;
}

static int binary(sp_error *err)
{
    return sp_fail(
        err, SP_EFORMAT,
        "this file is not text: read are text, code, Markdown, CSV, JSON, .docx and PDF");
}

static int put(buf *out, const char *p, size_t n, sp_error *err)
{
    int code = buf_add(out, p, n);
    return code == SP_EFULL
               ? sp_fail(err, code, "the file has more than %zu MiB of text", out->max >> 20)
           : code < 0 ? sp_fail(err, code, "out of memory")
                      : 0;
}

/* Lines end with \n, whatever they ended with. */
static int put_lines(buf *out, const char *p, size_t n, sp_error *err)
{
    int code = 0;
    while (n > 0 && code == 0) {
        const char *cr = memchr(p, '\r', n);
        size_t before = cr ? (size_t)(cr - p) : n;
        code = put(out, p, before, err);
        if (cr && code == 0)
            code = put(out, "\n", 1, err);
        if (cr)
            before += before + 1 < n && cr[1] == '\n' ? 2 : 1;
        p += before;
        n -= before;
    }
    return code;
}

static bool has_controls(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (is_control((unsigned char)p[i]))
            return true;
    return false;
}

/* ---- UTF-16 ---- */

static int put_unit(buf *text, uint32_t cp, sp_error *err)
{
    char bytes[4];
    size_t n = utf8_encode(cp, bytes);
    if (n == 0)
        return sp_fail(err, SP_EFORMAT, "this file is damaged: it begins as UTF-16 and isn't");
    return cp == 0 ? binary(err) : put(text, bytes, n, err);
}

static int from_utf16(const uint8_t *p, size_t n, bool little, buf *out, sp_error *err)
{
    buf text;
    int code = 0;
    buf_init(&text, out->max);
    if (n % 2 != 0)
        code = sp_fail(err, SP_EFORMAT, "this file is cut: it is UTF-16 with half a character");
    for (size_t i = 0; i + 1 < n && code == 0; i += 2) {
        uint32_t cp = little ? p[i] | (uint32_t)p[i + 1] << 8 : p[i + 1] | (uint32_t)p[i] << 8;
        if (cp >= 0xd800 && cp < 0xdc00 && i + 3 < n) {
            uint32_t low =
                little ? p[i + 2] | (uint32_t)p[i + 3] << 8 : p[i + 3] | (uint32_t)p[i + 2] << 8;
            if (low >= 0xdc00 && low < 0xe000) {
                cp = 0x10000 + ((cp - 0xd800) << 10) + (low - 0xdc00);
                i += 2;
            }
        }
        code = put_unit(&text, cp, err);
    }
    if (code == 0 && text.len)
        code = put_lines(out, text.data, text.len, err);
    buf_free(&text);
    return code;
}

/* ---- GB18030 ---- */

static int from_gb18030(const char *p, size_t n, iconv_t cd, buf *out, sp_error *err)
{
    char *in = (char *)(uintptr_t)p;
    size_t left = n;
    int code = 0;
    buf text;
    if (cd == (iconv_t)-1)
        return sp_fail(err, SP_EFORMAT,
                       "this file is not UTF-8, and this system can't convert GB18030: save it as "
                       "UTF-8");
    if (has_controls(p, n))
        return binary(err);
    buf_init(&text, out->max);
    while (left > 0 && code == 0) {
        char chunk[CHUNK];
        char *to = chunk;
        size_t room = sizeof chunk;
        size_t done = iconv(cd, &in, &left, &to, &room);
        if (done == (size_t)-1 && errno != E2BIG)
            code = sp_fail(err, SP_EFORMAT,
                           "this file is neither UTF-8 nor UTF-16 nor GB18030 (at byte %zu): save "
                           "it as UTF-8",
                           n - left);
        if (code == 0)
            code = put(&text, chunk, (size_t)(to - chunk), err);
    }
    if (code == 0 && text.len)
        code = put_lines(out, text.data, text.len, err);
    buf_free(&text);
    return code;
}

int plain_text(const void *data, size_t n, iconv_t gb18030, buf *out, sp_error *err)
{
    const uint8_t *b = data;
    const char *p = data;
    if (n >= 2 && ((b[0] == 0xff && b[1] == 0xfe) || (b[0] == 0xfe && b[1] == 0xff)))
        return from_utf16(b + 2, n - 2, b[0] == 0xff, out, err);
    if (n >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0) {
        p += 3;
        n -= 3;
    }
    if (memchr(p, '\0', n))
        return binary(err);
    return utf8_valid(p, n) ? put_lines(out, p, n, err) : from_gb18030(p, n, gb18030, out, err);
}
