#include "base/error.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include "base/str.h"

/* Room to format into before cleaning: a message that needs more is cut either way. */
#define RAW_MAX (2 * SP_ERROR_MAX)

const char *sp_code_text(int code)
{
    switch (code) {
    case SP_OK:
        return "no error";
#define SP_ERROR_TEXT(name, number, text)                                                          \
    case name:                                                                                     \
        return text;
        SP_ERROR_LIST(SP_ERROR_TEXT)
#undef SP_ERROR_TEXT
    default:
        return "unknown error";
    }
}

static bool is_control(uint32_t cp)
{
    return cp < 0x20 || (cp >= 0x7f && cp < 0xa0);
}

/* Copies text into out as clean UTF-8; what does not fit is cut at a code point and marked "...". */
static void set_message(char out[SP_ERROR_MAX], const char *text, bool cut)
{
    size_t n = strlen(text), used = 0,
           fits = 0; /* fits: longest prefix that leaves room for "..." */
    if (cut)
        n = utf8_complete(text, n);
    size_t i = 0;
    while (i < n) {
        uint32_t cp = 0;
        size_t len = utf8_decode(text + i, n - i, &cp);
        bool bad = len == 0 || is_control(cp);
        size_t width = bad ? 1 : len;
        if (used + width > SP_ERROR_MAX - 1)
            break;
        if (bad)
            out[used] = '?';
        else
            memcpy(out + used, text + i, len);
        used += width;
        if (used <= SP_ERROR_MAX - 4)
            fits = used;
        i += len ? len : 1;
    }
    if (i < n || cut) {
        memcpy(out + fits, "...", 3);
        used = fits + 3;
    }
    out[used] = '\0';
}

int sp_fail_set(sp_error *err, int code, const char *fmt, ...)
{
    if (!err)
        return code;
    char raw[RAW_MAX];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(raw, sizeof raw, fmt, ap);
    va_end(ap);
    if (n < 0)
        raw[0] = '\0';
    set_message(err->message, raw, n >= (int)sizeof raw);
    err->code = code;
    return code;
}

int sp_fail_within(sp_error *err, int code, const char *fmt, ...)
{
    if (!err)
        return code;
    char prefix[SP_ERROR_MAX], raw[RAW_MAX];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(prefix, sizeof prefix, fmt, ap);
    va_end(ap);
    if (n < 0)
        prefix[0] = '\0';
    if (err->code == 0)
        err->code = code;
    const char *rest = err->message[0] ? err->message : sp_code_text(err->code);
    n = snprintf(raw, sizeof raw, "%s: %s", prefix, rest);
    set_message(err->message, raw, n >= (int)sizeof raw);
    return err->code;
}
