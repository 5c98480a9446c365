#include "base/str.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define NUMBER_MAX 400  /* longest decimal number taken, in bytes */
#define DISTANCE_MAX 64 /* longest name compared letter by letter */

str str_of(const char *s)
{
    return (str){s, s ? strlen(s) : 0};
}

bool str_eq(str a, str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool str_eqz(str a, const char *z)
{
    return str_eq(a, str_of(z));
}

bool str_eqz_nocase(str a, const char *z)
{
    return a.n == strlen(z) && strncasecmp(a.p, z, a.n) == 0;
}

str str_trim(str s)
{
    while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
        s = (str){s.p + 1, s.n - 1};
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

bool str_starts(str s, const char *prefix)
{
    size_t n = strlen(prefix);
    return s.n >= n && (n == 0 || memcmp(s.p, prefix, n) == 0);
}

bool str_ends(str s, const char *suffix)
{
    size_t n = strlen(suffix);
    return s.n >= n && (n == 0 || memcmp(s.p + s.n - n, suffix, n) == 0);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Digits from *i on, added into *value; false on overflow or when there is none. */
static bool digits_u64(str s, size_t *i, uint64_t *value)
{
    size_t start = *i;
    uint64_t v = 0;
    for (; *i < s.n && is_digit(s.p[*i]); ++*i) {
        if (__builtin_mul_overflow(v, 10, &v))
            return false;
        if (__builtin_add_overflow(v, (uint64_t)(s.p[*i] - '0'), &v))
            return false;
    }
    *value = v;
    return *i > start;
}

bool str_to_i64(str s, int64_t *out)
{
    size_t i = s.n && s.p[0] == '-';
    bool negative = i == 1;
    uint64_t v = 0;
    if (!digits_u64(s, &i, &v) || i != s.n)
        return false;
    uint64_t limit = (uint64_t)INT64_MAX + negative;
    if (v > limit)
        return false;
    *out = negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

static size_t skip_digits(str s, size_t i)
{
    while (i < s.n && is_digit(s.p[i]))
        i++;
    return i;
}

/* [-] digits [. digits] [e [+-] digits], with digits on at least one side of the point. */
static bool is_decimal(str s)
{
    size_t i = s.n && s.p[0] == '-';
    size_t whole = i;
    i = skip_digits(s, i);
    size_t digits = i - whole;
    if (i < s.n && s.p[i] == '.') {
        size_t fraction = ++i;
        i = skip_digits(s, i);
        digits += i - fraction;
    }
    if (digits == 0)
        return false;
    if (i < s.n && (s.p[i] == 'e' || s.p[i] == 'E')) {
        i++;
        if (i < s.n && (s.p[i] == '-' || s.p[i] == '+'))
            i++;
        size_t exponent = i;
        i = skip_digits(s, i);
        if (i == exponent)
            return false;
    }
    return i == s.n;
}

bool str_to_f64(str s, double *out)
{
    char text[NUMBER_MAX + 1];
    if (s.n > NUMBER_MAX || !is_decimal(s))
        return false;
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    double v = strtod(text, NULL); /* LC_NUMERIC stays "C" in this program */
    if (!isfinite(v))
        return false;
    *out = v;
    return true;
}

/* The power of 1024 that a unit stands for, 0 for "" and "B"; -1 when there is no such unit. */
static int unit_power(str unit)
{
    static const char letters[] = "KMGT";
    if (unit.n == 0)
        return 0;
    char c = unit.p[0];
    if (c >= 'a' && c <= 'z')
        c = (char)(c - 'a' + 'A');
    if (c == 'B')
        return unit.n == 1 ? 0 : -1;
    const char *at = strchr(letters, c);
    if (!at || c == '\0')
        return -1;
    str rest = {unit.p + 1, unit.n - 1};
    if (rest.n && !str_eqz(rest, "B") && !str_eqz(rest, "b") && !str_eqz(rest, "iB") &&
        !str_eqz(rest, "ib"))
        return -1;
    return (int)(at - letters) + 1;
}

bool str_to_bytes(str s, uint64_t *out)
{
    size_t i = 0;
    uint64_t whole = 0;
    double fraction = 0, place = 0.1;
    if (!digits_u64(s, &i, &whole))
        return false;
    bool point = i < s.n && s.p[i] == '.';
    if (point) {
        size_t start = ++i;
        for (; i < s.n && is_digit(s.p[i]); i++, place /= 10)
            fraction += place * (s.p[i] - '0');
        if (i == start)
            return false;
    }
    int power = unit_power((str){s.p + i, s.n - i});
    if (power < 0 || (point && power == 0))
        return false;
    uint64_t unit = (uint64_t)1 << (10 * power);
    uint64_t v = 0;
    if (__builtin_mul_overflow(whole, unit, &v))
        return false;
    if (__builtin_add_overflow(v, (uint64_t)(fraction * (double)unit + 0.5), &v))
        return false;
    *out = v;
    return true;
}

/* At s.p[*i]: "a", "a-b", "a-b+step" or "a-b*factor". */
struct range {
    int64_t first, last, step, factor;
};

static bool read_range(str s, size_t *i, struct range *r)
{
    uint64_t v[3] = {0, 0, 1};
    char how = '+';
    if (!digits_u64(s, i, &v[0]))
        return false;
    v[1] = v[0];
    if (*i < s.n && s.p[*i] == '-') {
        ++*i;
        if (!digits_u64(s, i, &v[1]))
            return false;
        if (*i < s.n && (s.p[*i] == '+' || s.p[*i] == '*')) {
            how = s.p[(*i)++];
            if (!digits_u64(s, i, &v[2]))
                return false;
        }
    }
    if (v[0] > INT64_MAX || v[1] > INT64_MAX || v[2] > INT64_MAX || v[1] < v[0])
        return false;
    *r = (struct range){(int64_t)v[0], (int64_t)v[1], how == '+' ? (int64_t)v[2] : 0,
                        how == '*' ? (int64_t)v[2] : 1};
    return how == '+' ? v[2] > 0 : v[2] > 1 && v[0] > 0;
}

bool str_to_i64_list(str s, int64_t *out, size_t most, size_t *n)
{
    size_t items = 0;
    for (size_t i = 0;;) {
        struct range r;
        if (!read_range(s, &i, &r))
            return false;
        for (int64_t v = r.first; v <= r.last;) {
            if (items == most)
                return false;
            out[items++] = v;
            if (__builtin_mul_overflow(v, r.factor, &v) || __builtin_add_overflow(v, r.step, &v))
                break;
        }
        if (i == s.n) {
            *n = items;
            return true;
        }
        if (s.p[i++] != ',')
            return false;
    }
}

/* Length that the first byte announces; 0 when no code point starts with it. */
static size_t utf8_length(unsigned char c)
{
    if (c < 0x80)
        return 1;
    if (c >= 0xc2 && c <= 0xdf)
        return 2;
    if (c >= 0xe0 && c <= 0xef)
        return 3;
    if (c >= 0xf0 && c <= 0xf4)
        return 4;
    return 0;
}

/* Whether c may follow first as the byte at place i (1..3): Unicode standard, table 3-7. */
static bool utf8_follows(unsigned char first, size_t i, unsigned char c)
{
    if (i == 1) {
        if (first == 0xe0)
            return c >= 0xa0 && c <= 0xbf;
        if (first == 0xed)
            return c >= 0x80 && c <= 0x9f;
        if (first == 0xf0)
            return c >= 0x90 && c <= 0xbf;
        if (first == 0xf4)
            return c >= 0x80 && c <= 0x8f;
    }
    return c >= 0x80 && c <= 0xbf;
}

size_t utf8_decode(const char *p, size_t n, uint32_t *cp)
{
    static const unsigned char mask[5] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    if (n == 0)
        return 0;
    const unsigned char *u = (const unsigned char *)p;
    size_t len = utf8_length(u[0]);
    if (len == 0 || len > n)
        return 0;
    uint32_t v = u[0] & mask[len];
    for (size_t i = 1; i < len; i++) {
        if (!utf8_follows(u[0], i, u[i]))
            return 0;
        v = v << 6 | (u[i] & 0x3f);
    }
    *cp = v;
    return len;
}

size_t utf8_encode(uint32_t cp, char out[4])
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xc0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3f));
        return 2;
    }
    if (cp < 0x10000) {
        if (cp >= 0xd800 && cp <= 0xdfff)
            return 0;
        out[0] = (char)(0xe0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3f));
        out[2] = (char)(0x80 | (cp & 0x3f));
        return 3;
    }
    if (cp > 0x10ffff)
        return 0;
    out[0] = (char)(0xf0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3f));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3f));
    out[3] = (char)(0x80 | (cp & 0x3f));
    return 4;
}

bool utf8_valid(const char *p, size_t n)
{
    uint32_t cp = 0;
    for (size_t i = 0; i < n;) {
        size_t len = utf8_decode(p + i, n - i, &cp);
        if (len == 0)
            return false;
        i += len;
    }
    return true;
}

size_t utf8_complete(const char *p, size_t n)
{
    const unsigned char *u = (const unsigned char *)p;
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        unsigned char first = u[n - back];
        if (first >= 0x80 && first <= 0xbf)
            continue;
        if (utf8_length(first) <= back)
            return n;
        for (size_t i = 1; i < back; i++) {
            if (!utf8_follows(first, i, u[n - back + i]))
                return n;
        }
        return n - back;
    }
    return n;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Optimal string alignment over three rows. */
size_t str_distance(str a, str b)
{
    size_t rows[3][DISTANCE_MAX + 1];
    if (a.n > DISTANCE_MAX || b.n > DISTANCE_MAX)
        return a.n > b.n ? a.n : b.n;
    for (size_t j = 0; j <= b.n; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= a.n; i++) {
        size_t *row = rows[i % 3], *above = rows[(i - 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= b.n; j++) {
            size_t change = above[j - 1] + (a.p[i - 1] != b.p[j - 1]);
            row[j] = least(change, least(above[j], row[j - 1]) + 1);
            bool swap = i > 1 && j > 1 && a.p[i - 1] == b.p[j - 2] && a.p[i - 2] == b.p[j - 1];
            if (swap)
                row[j] = least(row[j], rows[(i - 2) % 3][j - 2] + 1);
        }
    }
    return rows[a.n % 3][b.n];
}
