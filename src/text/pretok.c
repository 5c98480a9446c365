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

/* \p{N}{1,most}; 0: no number. */
static size_t numbers(const char *p, size_t n, int most)
{
    size_t pos = 0, len;
    for (int i = 0; i < most && pos < n && class_at(p + pos, &len) & UC_NUMBER; i++)
        pos += len;
    return pos;
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
    if (c & UC_NUMBER)
        return numbers(p, n, digits);
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

/* DeepSeek V3's first step, \p{N}{1,3}, and what is between. */
static size_t numbers_next(const char *p, size_t n)
{
    size_t len = numbers(p, n, 3), pos = 0;
    if (len > 0)
        return len;
    while (pos < n && !(class_at(p + pos, &len) & UC_NUMBER))
        pos += len;
    return pos;
}

static bool han_or_kana(const char *p, size_t *len)
{
    uint32_t cp;
    *len = unicode_at(p, &cp);
    return (cp >= 0x4e00 && cp <= 0x9fa5) || (cp >= 0x3040 && cp <= 0x30ff);
}

/* Its second, [\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+, and what is between. */
static size_t han_next(const char *p, size_t n)
{
    size_t len, pos = 0;
    bool inside = han_or_kana(p, &len);
    while (pos < n && han_or_kana(p + pos, &len) == inside)
        pos += len;
    return pos;
}

static bool ascii_letter(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* Its third at the start of a text: the match's length, or 0.
 * [!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+
 * | ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
static size_t deepseek_match(const char *p, size_t n)
{
    const unsigned word = UC_LETTER | UC_MARK;
    size_t len, next_len;
    unsigned c = class_at(p, &len), next = len < n ? class_at(p + len, &next_len) : 0;
    if (len == 1 && c & UC_SYMBOL && len < n && ascii_letter(p[1])) {
        size_t pos = 2;
        while (pos < n && ascii_letter(p[pos]))
            pos++;
        return pos;
    }
    if (c & word)
        return run_end(p, n, len, word);
    if (next & word && !(c & UC_SYMBOL) && p[0] != '\r' && p[0] != '\n')
        return run_end(p, n, len, word);
    size_t start = p[0] == ' ' ? 1 : 0;
    size_t end = start < n ? run_end(p, n, start, UC_SYMBOL) : start;
    if (end > start) {
        while (end < n && (p[end] == '\r' || p[end] == '\n'))
            end++;
        return end;
    }
    return c & UC_SPACE ? white_space(p, n, true) : 0;
}

/* What it doesn't match (numbers, controls) stays together up to the next match. */
static size_t deepseek_next(const char *p, size_t n)
{
    size_t end = deepseek_match(p, n), len;
    if (end > 0)
        return end;
    do {
        class_at(p + end, &len);
        end += len;
    } while (end < n && deepseek_match(p + end, n - end) == 0);
    return end;
}

/* Of the letters and marks at pos: capitals or neither, then small ones or neither (at least one if
 * `small`): [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+, or + and * if not. Returns its end, or
 * pos when there is no such word. */
static size_t cased_word(const char *p, size_t n, size_t pos, bool small)
{
    size_t end = pos, last_neither = pos, len;
    for (; end < n; end += len) {
        unsigned c = class_at(p + end, &len);
        if (!(c & (UC_LETTER | UC_MARK)) || c & UC_LOWER)
            break;
        if (!(c & UC_UPPER))
            last_neither = end + len;
    }
    bool follows = end < n && class_at(p + end, &len) & UC_LOWER;
    if (!follows)
        return small ? last_neither : end;
    for (; end < n; end += len) {
        unsigned c = class_at(p + end, &len);
        if (!(c & (UC_LETTER | UC_MARK)) || c & UC_UPPER)
            break;
    }
    return end;
}

/* [^\r\n\p{L}\p{N}]?WORD+|[^\r\n\p{L}\p{N}]?CAPITALS+|\p{N}{1,digits}| ?[^\s\p{L}\p{N}]+[\r\n/]*
 * |\s*[\r\n]+|\s+(?!\S)|\s+, the first two followed by an optional contraction (GPT-4o). */
static size_t cased_next(const char *p, size_t n, bool o200k)
{
    size_t len;
    unsigned c = class_at(p, &len);
    bool before = !(c & (UC_LETTER | UC_NUMBER)) && p[0] != '\r' && p[0] != '\n';
    for (int small = 1; small >= 0; small--) {
        size_t start = before ? len : 0, end = cased_word(p, n, start, small);
        if (end == start && before && c & UC_MARK)
            end = cased_word(p, n, start = 0, small);
        if (end > start)
            return o200k ? end + contraction(p + end, n - end, true) : end;
    }
    if (c & UC_NUMBER)
        return numbers(p, n, o200k ? 3 : 1);
    size_t start = p[0] == ' ' ? 1 : 0, end = run_end(p, n, start, 0);
    if (end == start)
        return white_space(p, n, true);
    while (end < n && (p[end] == '\r' || p[end] == '\n' || p[end] == '/'))
        end++;
    return end;
}

/* Up to the next space; of several spaces only the last begins a word. */
static size_t spaces_next(const char *p, size_t n)
{
    if (n == 1 || (p[0] == ' ' && p[1] == ' '))
        return 1;
    const char *space = memchr(p + 1, ' ', n - 1);
    return space ? (size_t)(space - p) : n;
}

static size_t lines_next(const char *p, size_t n)
{
    size_t pos = 0;
    while (pos < n && (p[pos] == '\n') == (p[0] == '\n'))
        pos++;
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
    case PRETOK_NUMBERS3:
        return numbers_next(p, n);
    case PRETOK_HAN_KANA:
        return han_next(p, n);
    case PRETOK_DEEPSEEK3:
        return deepseek_next(p, n);
    case PRETOK_TEKKEN:
        return cased_next(p, n, false);
    case PRETOK_O200K:
        return cased_next(p, n, true);
    case PRETOK_SPACES:
        return spaces_next(p, n);
    case PRETOK_LINES:
        return lines_next(p, n);
    case PRETOK_REGEX:
        break;
    }
    return n;
}
