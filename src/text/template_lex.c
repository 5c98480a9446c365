/* Splitting a template into text and tags, with Jinja's white-space rules: trim_blocks (a line break right
 * after a block tag goes), lstrip_blocks (blanks between a line's start and a block tag go), '-' and '+'
 * signs, and no line break at the very end. Comments vanish here. */
#include <stdlib.h>
#include <string.h>
#include "text/template_int.h"

struct lexer {
    struct lexed *out;
    const char *p, *end, *start;
    int line;
    sp_error *err;
};

static int lex_fail(const struct lexer *l, const char *what)
{
    return sp_fail(l->err, SP_ETEMPLATE, "chat template: line %d: %s", l->line, what);
}

static int push(struct lexer *l, struct token t)
{
    struct lexed *o = l->out;
    if (o->n == o->cap) {
        size_t cap = o->cap ? 2 * o->cap : 256;
        struct token *grown = arena_array(o->arena, cap, sizeof *grown);
        if (!grown)
            return sp_fail(l->err, SP_ENOMEM, "chat template: out of memory");
        if (o->n)
            memcpy(grown, o->tokens, o->n * sizeof *grown);
        o->tokens = grown;
        o->cap = cap;
    }
    t.line = l->line;
    o->tokens[o->n++] = t;
    return 0;
}

static void count_lines(struct lexer *l, const char *from, const char *to)
{
    for (; from < to; from++)
        l->line += *from == '\n';
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

/* Where the white space (Unicode's) at p ends; where that before p, but not before from, begins. */
static const char *skip_space(const char *p, const char *end)
{
    uint32_t c;
    size_t n;
    while ((n = utf8_decode(p, (size_t)(end - p), &c)) > 0 && text_is_space(c))
        p += n;
    return p;
}

static const char *skip_space_back(const char *from, const char *p)
{
    struct tstr s = text_strip((struct tstr){from, (const uint8_t *)from, (size_t)(p - from)}, NULL,
                               false, true);
    return from + s.n;
}

static bool is_name(char c, bool first)
{
    return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (!first && c >= '0' && c <= '9');
}

/* ---- inside a tag ---- */

static int hex_value(const char *p, size_t n, uint32_t *out)
{
    *out = 0;
    for (size_t i = 0; i < n; i++) {
        char c = p[i];
        uint32_t d = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                     : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
                     : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10)
                                            : 16;
        if (d == 16)
            return -1;
        *out = *out * 16 + d;
    }
    return 0;
}

/* Python's escapes: \n and its kin, octal, \xXX, \uXXXX, \UXXXXXXXX; others stay as they are. p is after
 * the backslash. Returns the bytes read, 0 when broken. */
static size_t escape(const char *p, const char *end, char *out, size_t *n)
{
    static const char letters[] = "abfnrtv\\'\"", values[] = "\a\b\f\n\r\t\v\\'\"";
    uint32_t cp = 0;
    size_t digits = *p == 'U' ? 8 : *p == 'u' ? 4 : *p == 'x' ? 2 : 0, used = digits + 1, k;
    const char *at = strchr(letters, *p);
    if (*p == '\n')
        return 1;
    if (at) {
        out[(*n)++] = values[at - letters];
        return 1;
    }
    if (digits && ((size_t)(end - p) < used || hex_value(p + 1, digits, &cp) < 0))
        return 0;
    if (!digits && *p >= '0' && *p <= '7')
        for (used = 0; used < 3 && p + used < end && p[used] >= '0' && p[used] <= '7'; used++)
            cp = cp * 8 + (uint32_t)(p[used] - '0');
    else if (!digits) {
        out[(*n)++] = '\\';
        out[(*n)++] = *p;
        return *p == 'N' ? 0 : 1; /* named characters are not known here */
    }
    k = utf8_encode(cp, out + *n);
    *n += k;
    return k ? used : 0;
}

static int lex_string(struct lexer *l)
{
    char quote = *l->p++;
    const char *p = l->p;
    while (p < l->end && *p != quote)
        p += *p == '\\' && p + 1 < l->end ? 2 : 1;
    if (p >= l->end)
        return lex_fail(l, "a string is not closed");
    char *value = arena_alloc(l->out->arena, (size_t)(p - l->p) * 2 + 1);
    size_t n = 0;
    if (!value)
        return sp_fail(l->err, SP_ENOMEM, "chat template: out of memory");
    for (const char *q = l->p; q < p;) {
        if (*q != '\\') {
            value[n++] = *q++;
            continue;
        }
        size_t used = escape(q + 1, p, value, &n);
        if (!used)
            return lex_fail(l, "a broken escape in a string");
        q += 1 + used;
    }
    int code = push(l, (struct token){.kind = T_STRING, .text = {value, n}});
    count_lines(l, l->p, p);
    l->p = p + 1;
    return code;
}

/* 0x1f, 0o17, 0b11: whether that is what stands at p, and where it ends. */
static const char *lex_based(const char *p, const char *end, int64_t *out)
{
    unsigned base = end - p < 3 || *p != '0' ? 0
                    : (p[1] | 32) == 'x'     ? 16
                    : (p[1] | 32) == 'o'     ? 8
                    : (p[1] | 32) == 'b'     ? 2
                                             : 0;
    *out = 0;
    for (p += 2; base && p < end; p++) {
        uint32_t digit = 16;
        if (*p != '_' && (hex_value(p, 1, &digit) < 0 || digit >= base))
            break;
        if (*p != '_' && (__builtin_mul_overflow(*out, (int64_t)base, out) ||
                          __builtin_add_overflow(*out, (int64_t)digit, out)))
            return NULL;
    }
    return base ? p : NULL;
}

static int lex_number(struct lexer *l)
{
    const char *p = l->p;
    char text[64];
    size_t n = 0;
    bool is_float = false;
    struct token t = {.kind = T_INT};
    const char *end = lex_based(p, l->end, &t.i);
    if (end) {
        l->p = end;
        return push(l, t);
    }
    while (p < l->end &&
           ((*p >= '0' && *p <= '9') || *p == '_' ||
            (*p == '.' && !is_float && p + 1 < l->end && p[1] >= '0' && p[1] <= '9'))) {
        is_float |= *p == '.';
        p++;
    }
    if (p + 1 < l->end && (*p == 'e' || *p == 'E') && strchr("+-0123456789", p[1])) {
        is_float = true;
        p += 2;
        while (p < l->end && *p >= '0' && *p <= '9')
            p++;
    }
    for (const char *q = l->p; q < p; q++)
        if (*q != '_' && n + 1 < sizeof text)
            text[n++] = *q;
    t.kind = is_float ? T_FLOAT : T_INT;
    str digits = {text, n};
    if (n + 1 == sizeof text || (is_float ? !str_to_f64(digits, &t.f) : !str_to_i64(digits, &t.i)))
        return lex_fail(l, "a number that cannot be read");
    l->p = p;
    return push(l, t);
}

static int lex_operator(struct lexer *l)
{
    static const char *const two[] = {"==", "!=", "<=", ">=", "//", "**"};
    size_t n = 1;
    for (size_t i = 0; i < SP_COUNT(two) && l->p + 1 < l->end; i++)
        if (memcmp(l->p, two[i], 2) == 0)
            n = 2;
    if (!strchr("+-*/%~<>=!()[]{},:.|", *l->p))
        return lex_fail(l, "an unexpected character in a tag");
    int code = push(l, (struct token){.kind = T_OP, .text = {l->p, n}});
    l->p += n;
    return code;
}

/* Does the tag end here ("}}", "%}", with or without '-')? */
static bool tag_ends(const struct lexer *l, char close, size_t *n)
{
    size_t sign = *l->p == '-' || *l->p == '+' ? 1 : 0;
    if ((size_t)(l->end - l->p) < sign + 2 || l->p[sign] != close || l->p[sign + 1] != '}')
        return false;
    *n = sign + 2;
    return true;
}

static int lex_tag(struct lexer *l, char close, int depth_limit)
{
    int depth = 0;
    size_t n;
    while (l->p < l->end) {
        int code = 0;
        if (is_space(*l->p)) {
            l->line += *l->p++ == '\n';
            continue;
        }
        if (depth == 0 && tag_ends(l, close, &n))
            return 0;
        if (*l->p == '"' || *l->p == '\'') {
            code = lex_string(l);
        } else if (*l->p >= '0' && *l->p <= '9') {
            code = lex_number(l);
        } else if (is_name(*l->p, true)) {
            const char *from = l->p;
            while (l->p < l->end && is_name(*l->p, false))
                l->p++;
            code = push(l, (struct token){.kind = T_NAME, .text = {from, (size_t)(l->p - from)}});
        } else {
            depth += strchr("([{", *l->p) != NULL;
            depth -= strchr(")]}", *l->p) != NULL;
            code = depth < 0 ? lex_fail(l, "a bracket too many") : lex_operator(l);
        }
        if (code < 0)
            return code;
        if (depth > depth_limit)
            return lex_fail(l, "brackets nested too deep");
    }
    return lex_fail(l, "a tag is not closed");
}

/* ---- between tags ---- */

static const char *next_tag(const char *p, const char *end)
{
    for (; p + 1 < end; p++)
        if (*p == '{' && (p[1] == '{' || p[1] == '%' || p[1] == '#'))
            return p;
    return end;
}

/* Where the text before a tag ends, after '-' or lstrip_blocks. */
static const char *strip_before(const struct lexer *l, const char *from, const char *tag)
{
    const char *p = tag;
    char sign = tag + 2 < l->end ? tag[2] : '\0';
    if (sign == '-')
        return skip_space_back(from, tag);
    if (tag[1] == '{' || sign == '+')
        return tag;
    while (p > from && p[-1] != '\n' && is_space(p[-1]))
        p--;
    return (p == from && from == l->start) || (p > l->start && p[-1] == '\n') ? p : tag;
}

/* After a tag: '-' eats all white space, trim_blocks one line break. */
static void strip_after(struct lexer *l, char sign, bool block)
{
    if (sign == '-') {
        const char *to = skip_space(l->p, l->end);
        count_lines(l, l->p, to);
        l->p = to;
    } else if (block && sign != '+') {
        if (l->p < l->end && *l->p == '\n') {
            l->p++;
            l->line++;
        }
    }
}

static int lex_comment(struct lexer *l)
{
    const char *p = l->p;
    while (p + 1 < l->end && !(p[0] == '#' && p[1] == '}'))
        p++;
    if (p + 1 >= l->end)
        return lex_fail(l, "a comment is not closed");
    char sign = p > l->p ? p[-1] : ' ';
    count_lines(l, l->p, p);
    l->p = p + 2;
    strip_after(l, sign == '-' || sign == '+' ? sign : ' ', true);
    return 0;
}

/* Does "{%", word, "%}" with any signs and blanks stand at p? Then where it ends, and its two signs. */
static const char *whole_tag(const char *p, const char *end, const char *word, char signs[2])
{
    size_t n = strlen(word);
    if (end - p < 2 || p[0] != '{' || p[1] != '%')
        return NULL;
    p += 2;
    signs[0] = p < end && (*p == '-' || *p == '+') ? *p++ : ' ';
    p = skip_space(p, end);
    if ((size_t)(end - p) < n || memcmp(p, word, n) != 0)
        return NULL;
    p = skip_space(p + n, end);
    signs[1] = p < end && (*p == '-' || *p == '+') ? *p++ : ' ';
    return end - p >= 2 && p[0] == '%' && p[1] == '}' ? p + 2 : NULL;
}

/* l->p is after {% raw %}: all up to {% endraw %} is text. */
static int lex_raw(struct lexer *l, char sign)
{
    char signs[2];
    const char *from = sign == '-' ? skip_space(l->p, l->end) : l->p, *tag, *after = NULL;
    for (tag = from; tag < l->end && !after; tag += !after)
        after = whole_tag(tag, l->end, "endraw", signs);
    if (!after)
        return lex_fail(l, "{% raw %} is not closed");
    const char *to = strip_before(l, from, tag);
    int code = to > from
                   ? push(l, (struct token){.kind = T_TEXT, .text = {from, (size_t)(to - from)}})
                   : 0;
    count_lines(l, l->p, after);
    l->p = after;
    strip_after(l, signs[1], true);
    return code;
}

static int lex_one_tag(struct lexer *l, char kind)
{
    bool block = kind == '%';
    size_t n = 0;
    if (l->p < l->end && (*l->p == '-' || *l->p == '+'))
        l->p++;
    int code = push(l, (struct token){.kind = block ? T_BLOCK_BEGIN : T_VAR_BEGIN});
    if (code == 0)
        code = lex_tag(l, block ? '%' : '}', DEPTH_MAX);
    if (code < 0)
        return code;
    tag_ends(l, block ? '%' : '}', &n);
    char sign = *l->p;
    code = push(l, (struct token){.kind = block ? T_BLOCK_END : T_VAR_END});
    l->p += n;
    strip_after(l, sign == '-' || sign == '+' ? sign : ' ', block);
    return code;
}

int template_lex(arena *a, const char *src, size_t n, struct lexed *out, sp_error *err)
{
    *out = (struct lexed){.arena = a};
    if (n > 0 && src[n - 1] == '\n')
        n--;
    struct lexer l = {.out = out, .p = src, .start = src, .end = src + n, .line = 1, .err = err};
    int code = 0;
    while (l.p < l.end && code == 0) {
        const char *tag = next_tag(l.p, l.end);
        const char *text_end = tag < l.end ? strip_before(&l, l.p, tag) : tag;
        if (text_end > l.p)
            code =
                push(&l, (struct token){.kind = T_TEXT, .text = {l.p, (size_t)(text_end - l.p)}});
        count_lines(&l, l.p, tag);
        l.p = tag;
        if (code < 0 || tag == l.end)
            break;
        char signs[2];
        const char *raw = whole_tag(tag, l.end, "raw", signs);
        l.p = raw ? raw : tag + 2;
        code = raw             ? lex_raw(&l, signs[1])
               : tag[1] == '#' ? lex_comment(&l)
                               : lex_one_tag(&l, tag[1]);
    }
    return code == 0 ? push(&l, (struct token){.kind = T_END}) : code;
}
