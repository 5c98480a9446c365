#include "text/unicode_int.h"

#include "base/str.h"

/* Last range in [lo, hi) that starts at or before cp; range lo does. */
static size_t range_find(size_t lo, size_t hi, uint32_t cp)
{
    while (hi - lo > 1) {
        size_t mid = lo + (hi - lo) / 2;
        if (unicode_ranges[mid] >> UC_BITS <= cp)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

unsigned unicode_class_wide(uint32_t cp)
{
    if (cp > 0x10ffff)
        return 0;
    size_t page = cp >> 8;
    size_t lo = unicode_pages[page < 511 ? page : 511];
    size_t hi = page < 511 ? (size_t)unicode_pages[page + 1] + 1 : unicode_range_count;
    return unicode_ranges[range_find(lo, hi, cp)] & ((1u << UC_BITS) - 1);
}

/* Bytes that may follow a lead byte directly: narrower than 80..BF where overlong forms, surrogates
 * and what lies above U+10FFFF would begin. Returns the length of the whole form; 0: no lead byte. */
static size_t lead_byte(uint8_t lead, uint8_t *low, uint8_t *high)
{
    *low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    *high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (lead >= 0xc2 && lead <= 0xdf)
        return 2;
    if (lead >= 0xe0 && lead <= 0xef)
        return 3;
    if (lead >= 0xf0 && lead <= 0xf4)
        return 4;
    return 0;
}

size_t unicode_repair_at(const char *p, size_t n, uint32_t *cp, bool *bad)
{
    size_t whole = utf8_decode(p, n, cp);
    *bad = whole == 0;
    if (whole > 0)
        return whole;
    *cp = 0xfffd;
    const uint8_t *u = (const uint8_t *)p;
    uint8_t low, high;
    size_t want = lead_byte(u[0], &low, &high);
    size_t len = 1;
    while (len < want && len < n && u[len] >= low && u[len] <= high) {
        len++;
        low = 0x80;
        high = 0xbf;
    }
    return len;
}
