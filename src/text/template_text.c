/* Strings of chat templates. Everything that moves text keeps each byte's trust. */
#include <string.h>
#include <utf8proc.h>
#include "text/template_int.h"

bool text_is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

static bool strips(uint32_t c, const struct value *chars)
{
    if (!chars || chars->kind != V_STRING)
        return text_is_space(c);
    for (size_t i = 0; i < chars->u.s.n;) {
        uint32_t other;
        size_t n = utf8_decode(chars->u.s.p + i, chars->u.s.n - i, &other);
        if (n == 0 || other == c)
            return n != 0;
        i += n;
    }
    return false;
}

struct tstr text_strip(struct tstr s, const struct value *chars, bool left, bool right)
{
    size_t from = 0, to = s.n;
    uint32_t c;
    while (left && from < to) {
        size_t n = utf8_decode(s.p + from, to - from, &c);
        if (n == 0 || !strips(c, chars))
            break;
        from += n;
    }
    while (right && to > from) {
        size_t n = 1;
        while (n < 4 && n < to - from && ((unsigned char)s.p[to - n] & 0xc0) == 0x80)
            n++;
        if (utf8_decode(s.p + to - n, n, &c) != n || !strips(c, chars))
            break;
        to -= n;
    }
    return tstr_slice(s, from, to);
}

const char *text_find(struct tstr s, size_t from, struct tstr what)
{
    return what.n && from + what.n <= s.n ? memmem(s.p + from, s.n - from, what.p, what.n) : NULL;
}

/* Between all code points too when `from` is empty, as Python's. */
static void replace_empty(struct render *r, struct tstr s, struct tstr to, int64_t count,
                          struct output *o)
{
    size_t at = 0;
    for (; count != 0 && r->code == 0; count--) {
        output_add(r, o, to);
        if (at == s.n)
            return;
        size_t next = at + text_offset(tstr_slice(s, at, s.n), 1);
        output_add(r, o, tstr_slice(s, at, next));
        at = next;
    }
    output_add(r, o, tstr_slice(s, at, s.n));
}

/* count < 0: all. */
struct tstr text_replace(struct render *r, struct tstr s, struct tstr from, struct tstr to,
                         int64_t count)
{
    struct output o = {0};
    size_t at = 0;
    const char *hit;
    if (from.n == 0)
        replace_empty(r, s, to, count, &o);
    while (from.n && count != 0 && r->code == 0 && (hit = text_find(s, at, from)) != NULL) {
        size_t where = (size_t)(hit - s.p);
        output_add(r, &o, tstr_slice(s, at, where));
        output_add(r, &o, to);
        at = where + from.n;
        count--;
    }
    if (from.n)
        output_add(r, &o, tstr_slice(s, at, s.n));
    return text_finish(r, &o);
}

/* Whether c takes part in words as str.title sees them. */
static bool is_cased(uint32_t c)
{
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LT
               ? true
               : (uint32_t)utf8proc_toupper((utf8proc_int32_t)c) != c ||
                     (uint32_t)utf8proc_tolower((utf8proc_int32_t)c) != c;
}

/* One code point as up to three; the sharp s is the one common letter whose capital has two. */
static size_t map_case(uint32_t c, char how, bool start, char out[16])
{
    utf8proc_int32_t cp = (utf8proc_int32_t)c;
    bool title = (how == 't' || how == 'c') && start;
    bool up = how == 'u' || (how == 's' && utf8proc_islower(cp));
    if (c == 0xdf && (up || title)) {
        memcpy(out, title ? "Ss" : "SS", 2);
        return 2;
    }
    if (c == 0x130 && !up && !title && how != 's') { /* the dotted capital I */
        memcpy(out, "i\xcc\x87", 3);
        return 3;
    }
    return utf8_encode((uint32_t)(title ? utf8proc_totitle(cp)
                                  : up  ? utf8proc_toupper(cp)
                                        : utf8proc_tolower(cp)),
                       out);
}

/* A sigma that ends a word: after a cased letter, with no letter behind it. */
static bool is_final_sigma(struct tstr s, size_t at, bool after_letter)
{
    uint32_t next = 0;
    bool sigma = s.n - at >= 2 && memcmp(s.p + at, "\xce\xa3", 2) == 0;
    return sigma && after_letter &&
           !(utf8_decode(s.p + at + 2, s.n - at - 2, &next) && is_cased(next));
}

struct tstr text_case(struct render *r, struct tstr s, char how)
{
    struct output o = {0};
    bool start = true, after_letter = false;
    for (size_t i = 0; i < s.n && r->code == 0;) {
        uint32_t c;
        char bytes[16];
        uint8_t trust[16];
        size_t n = utf8_decode(s.p + i, s.n - i, &c), k;
        if (n == 0)
            break;
        bool lower = how == 'l' || ((how == 't' || how == 'c' || how == 's') && !start);
        if (lower && is_final_sigma(s, i, after_letter))
            k = utf8_encode(0x3c2, bytes);
        else
            k = map_case(c, how, start, bytes);
        memset(trust, s.trust[i], sizeof trust);
        output_add(r, &o, (struct tstr){bytes, trust, k});
        after_letter = is_cased(c);
        start = how == 't' ? !after_letter : false;
        i += n;
    }
    return text_finish(r, &o);
}

struct tstr text_join(struct render *r, struct tstr sep, const struct list *l)
{
    struct output o = {0};
    for (size_t i = 0; i < l->n && r->code == 0; i++) {
        if (i)
            output_add(r, &o, sep);
        struct tstr text = value_text(r, &l->items[i]);
        if (r->code == 0)
            output_add(r, &o, text);
    }
    return text_finish(r, &o);
}

struct tstr text_escape(struct render *r, struct tstr s)
{
    static const struct {
        char c;
        const char *text;
    } escapes[] = {{'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'"', "&#34;"}, {'\'', "&#39;"}};
    struct output o = {0};
    for (size_t i = 0; i < s.n && r->code == 0; i++) {
        size_t k = 0;
        while (k < SP_COUNT(escapes) && escapes[k].c != s.p[i])
            k++;
        if (k < SP_COUNT(escapes))
            output_addz(r, &o, escapes[k].text, s.trust[i]);
        else
            output_add(r, &o, tstr_slice(s, i, i + 1));
    }
    return text_finish(r, &o);
}

struct tstr text_repeat(struct render *r, struct tstr s, int64_t times)
{
    if (times <= 0 || s.n == 0)
        return tstr_slice(s, 0, 0);
    if ((uint64_t)times > OUTPUT_MAX / s.n) {
        render_fail(r, "a repetition of more than %zu MB", OUTPUT_MAX >> 20);
        return s;
    }
    size_t n = s.n * (size_t)times;
    char *text = render_alloc(r, n + 1);
    uint8_t *trust = text ? render_alloc(r, n + 1) : NULL;
    for (size_t i = 0; trust && i < n; i += s.n) {
        memcpy(text + i, s.p, s.n);
        memcpy(trust + i, s.trust, s.n);
    }
    return trust ? (struct tstr){text, trust, n} : s;
}

struct tstr text_pad(struct render *r, struct tstr s, int64_t width, char side, struct tstr fill)
{
    int64_t missing = width - (int64_t)text_length(s);
    if (missing <= 0)
        return s;
    /* Python's str.center puts the odd one left when the width is odd, right otherwise. */
    int64_t left = side == '>' ? missing : side == '<' ? 0 : missing / 2 + (missing & width & 1);
    struct tstr before = text_repeat(r, fill, left), after = text_repeat(r, fill, missing - left);
    return r->code < 0 ? s : tstr_concat(r, tstr_concat(r, before, s), after);
}

static bool is_line_end(uint32_t c)
{
    return (c >= 10 && c <= 13) || (c >= 28 && c <= 30) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

/* Python's splitlines. */
void text_lines(struct render *r, struct tstr s, bool keep_ends, struct list *out)
{
    size_t from = 0;
    for (size_t i = 0; i < s.n && r->code == 0;) {
        uint32_t c;
        size_t n = utf8_decode(s.p + i, s.n - i, &c), end = i;
        if (n == 0)
            break;
        i += n;
        if (!is_line_end(c))
            continue;
        i += c == '\r' && i < s.n && s.p[i] == '\n';
        list_push(r, out, value_string(tstr_slice(s, from, keep_ends ? i : end)));
        from = i;
    }
    if (from < s.n && r->code == 0)
        list_push(r, out, value_string(tstr_slice(s, from, s.n)));
}

struct tstr text_finish(struct render *r, struct output *o)
{
    struct tstr s = {"", (const uint8_t *)"", 0};
    if (r->code == 0)
        s = tstr_make(r, o->p ? o->p : "", o->n, false);
    if (r->code == 0 && o->n)
        memcpy((uint8_t *)(uintptr_t)s.trust, o->trust, o->n);
    sp_free(o->p);
    sp_free(o->trust);
    return s;
}
