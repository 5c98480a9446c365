#include "base/json_int.h"

#include <stdio.h>
#include <string.h>
#include "base/str.h"

size_t json_char(const char *p, size_t n, char out[JSON_CHAR_MAX], bool *special)
{
    static const char from[] = "\"\\\n\r\t\b\f", to[] = "\"\\nrtbf";
    uint32_t cp = 0;
    size_t len = utf8_decode(p, n, &cp);
    const char *at = len == 1 && cp ? strchr(from, (int)cp) : NULL;
    *special = true;
    if (len == 0) {
        (void)snprintf(out, JSON_CHAR_MAX, "\\ufffd");
        return 1;
    }
    if (at) {
        (void)snprintf(out, JSON_CHAR_MAX, "\\%c", to[at - from]);
    } else if (cp < 0x20 || (cp >= 0x7f && cp < 0xa0)) {
        (void)snprintf(out, JSON_CHAR_MAX, "\\u%04x", (unsigned)cp & 0xff);
    } else {
        memcpy(out, p, len);
        out[len] = '\0';
        *special = false;
    }
    return len;
}
