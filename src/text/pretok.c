/* Scanners for the patterns of the families we know. Each alternative of the pattern is tried in its
 * order at the start of the text; together they match any text, so a piece always begins where the
 * last one ended, and nothing looks further ahead than the end of the run it is in. */
#include <string.h>

#include "text/tokenizer_int.h"
#include "text/unicode_int.h"

static unsigned class_at(const char *p, size_t *len)
{
    uint32_t cp;
    *len = unicode_at(p, &cp);
    return unicode_class(cp);
}

/* End of the run of code points with a class in `any` (or, any == 0, without L, N, \s) from pos. */
static size_t run_end(const char *p, size_t n, size_t pos, unsigned any)
{
    while (pos < n) {
        size_t len;
        unsigned c = class_at(p + pos, &len);
        if (any ? !(c & any) : (c & (UC_LETTER | UC_NUMBER | UC_SPACE)) != 0)
            break;
        pos += len;
    }
    return pos;
}

/* 's 't 're 've 'm 'll 'd: the length, or 0. Without case, U+017F is an s too. */
static size_t contraction(const char *p, size_t n, bool fold)
{
    if (n < 2 || p[0] != '\'')
        return 0;
    char a = p[1], b = n > 2 ? p[2] : '\0';
    if (fold) {
        if ((uint8_t)a == 0xc5 && (uint8_t)b == 0xbf)
            return 3;
        a = a >= 'A' && a <= 'Z' ? (char)(a + 32) : a;
        b = b >= 'A' && b <= 'Z' ? (char)(b + 32) : b;
    }
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return 2;
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l'))
        return 3;
    return 0;
}

/* \s*[\r\n]+ (if lines), \s+(?!\S), \s+ at white space. */
static size_t white_space(const char *p, size_t n, bool lines)
{
    size_t pos = 0, last = 0, line_end = 0;
    while (pos < n) {
        size_t len;
        if (!(class_at(p + pos, &len) & UC_SPACE))
            break;
        last = pos;
        pos += len;
        if (p[last] == '\n' || p[last] == '\r')
            line_end = pos;
    }
    if (lines && line_end > 0)
        return line_end;
    return pos == n || last == 0 ? pos : last;
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,digits}| ?[^\s\p{L}\p{N}]+[\r\n]*
 * |\s*[\r\n]+|\s+(?!\S)|\s+ */
static size_t qwen_next(const char *p, size_t n, int digits)
{
    size_t len = contraction(p, n, true);
    if (len > 0)
        return len;
    unsigned c = class_at(p, &len);
    if (c & UC_LETTER)
        return run_end(p, n, len, UC_LETTER);
    if (c & UC_NUMBER) {
        size_t pos = len;
        for (int i = 1; i < digits && pos < n && class_at(p + pos, &len) & UC_NUMBER; i++)
            pos += len;
        return pos;
    }
    size_t next_len;
    unsigned next = len < n ? class_at(p + len, &next_len) : 0;
    if (next & UC_LETTER && p[0] != '\r' && p[0] != '\n')
        return run_end(p, n, len, UC_LETTER);
    size_t start = p[0] == ' ' ? 1 : 0;
    size_t end = run_end(p, n, start, 0);
    if (end == start)
        return white_space(p, n, true);
    while (end < n && (p[end] == '\r' || p[end] == '\n'))
        end++;
    return end;
}

/* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
static size_t gpt2_next(const char *p, size_t n)
{
    size_t len = contraction(p, n, false);
    if (len > 0)
        return len;
    size_t start = p[0] == ' ' && n > 1 ? 1 : 0;
    unsigned c = class_at(p + start, &len);
    if (c & UC_LETTER)
        return run_end(p, n, start + len, UC_LETTER);
    if (c & UC_NUMBER)
        return run_end(p, n, start + len, UC_NUMBER);
    if (c & UC_SPACE)
        return white_space(p, n, false);
    return run_end(p, n, start + len, 0);
}

static size_t digits_next(const char *p, size_t n, bool each)
{
    size_t len;
    if (class_at(p, &len) & UC_NUMERIC)
        return each ? len : run_end(p, n, len, UC_NUMERIC);
    size_t pos = len;
    while (pos < n && !(class_at(p + pos, &len) & UC_NUMERIC))
        pos += len;
    return pos;
}

size_t pretok_next(enum pretok_kind kind, const char *p, size_t n)
{
    switch (kind) {
    case PRETOK_QWEN2:
        return qwen_next(p, n, 1);
    case PRETOK_LLAMA3:
        return qwen_next(p, n, 3);
    case PRETOK_GPT2:
        return gpt2_next(p, n);
    case PRETOK_DIGITS_EACH:
        return digits_next(p, n, true);
    case PRETOK_DIGITS_RUN:
        return digits_next(p, n, false);
    case PRETOK_REGEX:
        break;
    }
    return n;
}
