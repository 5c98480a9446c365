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

static bool is_name(char c, bool first)
{
    return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (!first && c >= '0' && c <= '9');
}

/* ---- inside a tag ---- */

static char unescape(char c)
{
    switch (c) {
    case 'n':
        return '\n';
    case 't':
        return '\t';
    case 'r':
        return '\r';
    default:
        return c;
    }
}

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

/* \uXXXX and \xXX; the others are one character. Returns bytes read after the backslash, 0 when broken. */
static size_t escape(const char *p, const char *end, char *out, size_t *n)
{
    uint32_t cp;
    size_t digits = *p == 'u' ? 4 : *p == 'x' ? 2 : 0;
    if (digits) {
        if ((size_t)(end - p) < digits + 1 || hex_value(p + 1, digits, &cp) < 0)
            return 0;
        *n += utf8_encode(cp, out + *n);
        return digits + 1;
    }
    if (!strchr("ntr\\'\"", *p))
        out[(*n)++] = '\\';
    out[(*n)++] = unescape(*p);
    return 1;
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

static int lex_number(struct lexer *l)
{
    const char *p = l->p;
    bool is_float = false;
    while (p < l->end && ((*p >= '0' && *p <= '9') || *p == '_' ||
                          (*p == '.' && p + 1 < l->end && p[1] >= '0' && p[1] <= '9'))) {
        is_float |= *p == '.';
        p++;
    }
    if (p < l->end && (*p == 'e' || *p == 'E')) {
        is_float = true;
        p++;
        if (p < l->end && (*p == '+' || *p == '-'))
            p++;
        while (p < l->end && *p >= '0' && *p <= '9')
            p++;
    }
    struct token t = {.kind = is_float ? T_FLOAT : T_INT};
    str text = {l->p, (size_t)(p - l->p)};
    if (is_float ? !str_to_f64(text, &t.f) : !str_to_i64(text, &t.i))
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
    if (sign == '-') {
        while (p > from && is_space(p[-1]))
            p--;
        return p;
    }
    if (tag[1] == '{' || sign == '+')
        return tag;
    while (p > from && (p[-1] == ' ' || p[-1] == '\t'))
        p--;
    return (p == from && from == l->start) || (p > l->start && p[-1] == '\n') ? p : tag;
}

/* After a tag: '-' eats all white space, trim_blocks one line break. */
static void strip_after(struct lexer *l, char sign, bool block)
{
    if (sign == '-') {
        while (l->p < l->end && is_space(*l->p))
            l->line += *l->p++ == '\n';
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
        l.p += 2;
        code = tag[1] == '#' ? lex_comment(&l) : lex_one_tag(&l, tag[1]);
    }
    return code == 0 ? push(&l, (struct token){.kind = T_END}) : code;
}
