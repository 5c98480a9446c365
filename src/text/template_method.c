/* Methods of strings and dicts, as Python's. Everything that moves text keeps each byte's trust. */
#include <string.h>
#include <utf8proc.h>
#include "text/template_int.h"

/* ---- texts ---- */

static bool is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

static bool strips(uint32_t c, const struct value *chars)
{
    if (!chars || chars->kind != V_STRING)
        return is_space(c);
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

static const char *find(struct tstr s, size_t from, struct tstr what)
{
    return what.n && from + what.n <= s.n ? memmem(s.p + from, s.n - from, what.p, what.n) : NULL;
}

/* count < 0: all. */
struct tstr text_replace(struct render *r, struct tstr s, struct tstr from, struct tstr to,
                         int64_t count)
{
    struct tstr out = tstr_make(r, "", 0, true);
    size_t at = 0;
    const char *hit;
    if (from.n == 0)
        return s;
    if (to.n > from.n && s.n / from.n > OUTPUT_MAX / to.n) {
        render_fail(r, "a replacement that grows too long");
        return s;
    }
    struct output o = {0};
    while (count != 0 && (hit = find(s, at, from)) != NULL && r->code == 0) {
        size_t where = (size_t)(hit - s.p);
        output_add(r, &o, tstr_slice(s, at, where));
        output_add(r, &o, to);
        at = where + from.n;
        count--;
    }
    output_add(r, &o, tstr_slice(s, at, s.n));
    if (r->code == 0) {
        out = tstr_make(r, o.p, o.n, false);
        if (r->code == 0)
            memcpy((uint8_t *)(uintptr_t)out.trust, o.trust, o.n);
    }
    sp_free(o.p);
    sp_free(o.trust);
    return out;
}

static uint32_t map_case(uint32_t c, char how, bool start)
{
    bool upper = how == 'u' || ((how == 't' || how == 'c') && start);
    return (uint32_t)(upper ? utf8proc_toupper((utf8proc_int32_t)c)
                            : utf8proc_tolower((utf8proc_int32_t)c));
}

struct tstr text_case(struct render *r, struct tstr s, char how)
{
    struct output o = {0};
    bool start = true;
    for (size_t i = 0; i < s.n && r->code == 0;) {
        uint32_t c;
        char bytes[4];
        uint8_t trust[4];
        size_t n = utf8_decode(s.p + i, s.n - i, &c);
        if (n == 0)
            break;
        utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
        bool letter = category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
        memset(trust, s.trust[i], sizeof trust);
        output_add(r, &o, (struct tstr){bytes, trust, utf8_encode(map_case(c, how, start), bytes)});
        start = how == 't' ? !letter : false;
        i += n;
    }
    struct tstr out = tstr_make(r, o.p ? o.p : "", o.n, false);
    if (r->code == 0 && o.n)
        memcpy((uint8_t *)(uintptr_t)out.trust, o.trust, o.n);
    sp_free(o.p);
    sp_free(o.trust);
    return out;
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
    struct tstr out = tstr_make(r, o.p ? o.p : "", o.n, false);
    if (r->code == 0 && o.n)
        memcpy((uint8_t *)(uintptr_t)out.trust, o.trust, o.n);
    sp_free(o.p);
    sp_free(o.trust);
    return out;
}

/* ---- split ---- */

static void push_slice(struct render *r, struct list *l, struct tstr s, size_t from, size_t to)
{
    list_push(r, l, value_string(tstr_slice(s, from, to)));
}

static void split_spaces(struct render *r, struct tstr s, int64_t most, struct list *out)
{
    for (;;) {
        s = text_strip(s, NULL, true, false);
        if (s.n == 0 || r->code < 0)
            return;
        if (most == 0) {
            push_slice(r, out, s, 0, s.n);
            return;
        }
        size_t to = 0;
        uint32_t c;
        while (to < s.n) {
            size_t n = utf8_decode(s.p + to, s.n - to, &c);
            if (n == 0 || is_space(c))
                break;
            to += n;
        }
        push_slice(r, out, s, 0, to ? to : s.n);
        s = tstr_slice(s, to ? to : s.n, s.n);
        most--;
    }
}

static void split_at(struct render *r, struct tstr s, struct tstr sep, int64_t most,
                     struct list *out)
{
    size_t at = 0;
    const char *hit;
    while (most != 0 && (hit = find(s, at, sep)) != NULL && r->code == 0) {
        push_slice(r, out, s, at, (size_t)(hit - s.p));
        at = (size_t)(hit - s.p) + sep.n;
        most--;
    }
    push_slice(r, out, s, at, s.n);
}

/* From the right, at most `most` times: the pieces in reading order. */
static void rsplit_at(struct render *r, struct tstr s, struct tstr sep, int64_t most,
                      struct list *out)
{
    struct value back = value_list(r);
    size_t end = s.n;
    for (size_t i = s.n; r->code == 0 && most != 0 && i >= sep.n;) {
        if (memcmp(s.p + i - sep.n, sep.p, sep.n) == 0) {
            push_slice(r, back.u.list, s, i, end);
            end = i -= sep.n;
            most--;
        } else {
            i--;
        }
    }
    if (r->code < 0)
        return;
    push_slice(r, out, s, 0, end);
    for (size_t i = back.u.list->n; i > 0; i--)
        list_push(r, out, back.u.list->items[i - 1]);
}

static struct value method_split(struct call *c, bool right)
{
    const struct value *sep = call_arg(c, 0, "sep"), *most = call_arg(c, 1, "maxsplit");
    int64_t limit = most && most->kind == V_INT ? most->u.i : -1;
    struct value out = value_list(c->r);
    if (c->r->code < 0)
        return out;
    if (!sep || sep->kind == V_NONE)
        split_spaces(c->r, c->self.u.s, limit, out.u.list);
    else if (sep->kind != V_STRING || sep->u.s.n == 0)
        return render_fail(c->r, "split wants a string that is not empty");
    else if (right)
        rsplit_at(c->r, c->self.u.s, sep->u.s, limit, out.u.list);
    else
        split_at(c->r, c->self.u.s, sep->u.s, limit, out.u.list);
    return out;
}

/* ---- the methods ---- */

static bool affix(const struct tstr s, const struct value *a, bool start)
{
    if (a->kind != V_STRING || a->u.s.n > s.n)
        return false;
    return a->u.s.n == 0 || memcmp(start ? s.p : s.p + s.n - a->u.s.n, a->u.s.p, a->u.s.n) == 0;
}

/* startswith and endswith take a string or a tuple of them. */
static struct value method_affix(struct call *c, bool start)
{
    const struct value *a = call_arg(c, 0, NULL);
    if (!a || (a->kind != V_STRING && a->kind != V_LIST))
        return render_fail(c->r, "startswith and endswith want a string");
    if (a->kind == V_STRING)
        return value_bool(affix(c->self.u.s, a, start));
    for (size_t i = 0; i < a->u.list->n; i++)
        if (affix(c->self.u.s, &a->u.list->items[i], start))
            return value_bool(true);
    return value_bool(false);
}

static struct value method_replace(struct call *c)
{
    const struct value *from = call_arg(c, 0, "old"), *to = call_arg(c, 1, "new"),
                       *count = call_arg(c, 2, "count");
    if (!from || !to || from->kind != V_STRING || to->kind != V_STRING)
        return render_fail(c->r, "replace wants two strings");
    return value_string(text_replace(c->r, c->self.u.s, from->u.s, to->u.s,
                                     count && count->kind == V_INT ? count->u.i : -1));
}

static struct value method_find(struct call *c, bool counting)
{
    const struct value *what = call_arg(c, 0, NULL);
    size_t at = 0;
    int64_t n = 0;
    const char *hit;
    if (!what || what->kind != V_STRING)
        return render_fail(c->r, "find and count want a string");
    if (!counting) {
        hit = what->u.s.n ? find(c->self.u.s, 0, what->u.s) : c->self.u.s.p;
        return value_int(
            hit ? (int64_t)text_length(tstr_slice(c->self.u.s, 0, (size_t)(hit - c->self.u.s.p)))
                : -1);
    }
    while ((hit = find(c->self.u.s, at, what->u.s)) != NULL) {
        at = (size_t)(hit - c->self.u.s.p) + what->u.s.n;
        n++;
    }
    return value_int(n);
}

static struct value method_join(struct call *c)
{
    const struct value *items = call_arg(c, 0, NULL);
    const struct list *l = items ? value_items(c->r, items) : NULL;
    return l ? value_string(text_join(c->r, c->self.u.s, l))
             : render_fail(c->r, "join wants a list");
}

static struct value string_method(struct call *c, str name)
{
    const struct value *chars = call_arg(c, 0, "chars");
    struct tstr s = c->self.u.s;
    bool strip = str_eqz(name, "strip"), left = str_eqz(name, "lstrip"),
         right = str_eqz(name, "rstrip");
    if (strip || left || right)
        return value_string(text_strip(s, chars, strip || left, strip || right));
    if (str_eqz(name, "split") || str_eqz(name, "rsplit"))
        return method_split(c, name.p[0] == 'r');
    if (str_eqz(name, "startswith") || str_eqz(name, "endswith"))
        return method_affix(c, name.p[0] == 's');
    if (str_eqz(name, "replace"))
        return method_replace(c);
    if (str_eqz(name, "find") || str_eqz(name, "count"))
        return method_find(c, name.p[0] == 'c');
    if (str_eqz(name, "join"))
        return method_join(c);
    if (str_eqz(name, "splitlines")) {
        struct value out = value_list(c->r);
        if (c->r->code == 0)
            split_at(c->r, text_strip(s, NULL, false, false), tstr_make(c->r, "\n", 1, true), -1,
                     out.u.list);
        if (c->r->code == 0 && out.u.list->n && out.u.list->items[out.u.list->n - 1].u.s.n == 0)
            out.u.list->n--;
        return out;
    }
    return value_string(text_case(c->r, s, name.p[0])); /* upper, lower, title, capitalize */
}

static struct value dict_method(struct call *c, str name)
{
    const struct dict *d = c->self.u.dict;
    if (str_eqz(name, "get")) {
        const struct value *key = call_arg(c, 0, NULL), *fallback = call_arg(c, 1, "default");
        const struct value *found = key ? dict_get(d, *key) : NULL;
        return !key       ? render_fail(c->r, "get wants a key")
               : found    ? *found
               : fallback ? *fallback
                          : value_none();
    }
    struct value out = value_list(c->r);
    for (size_t i = 0; i < d->n && c->r->code == 0; i++) {
        if (name.p[0] == 'i') {
            struct value pair = value_list(c->r);
            list_push(c->r, pair.u.list, d->keys[i]);
            list_push(c->r, pair.u.list, d->values[i]);
            if (c->r->code == 0)
                pair.u.list->tuple = true;
            list_push(c->r, out.u.list, pair);
        } else {
            list_push(c->r, out.u.list, name.p[0] == 'k' ? d->keys[i] : d->values[i]);
        }
    }
    return out;
}

bool is_method(const struct value *self, str name)
{
    static const char *const text[] = {
        "strip", "lstrip", "rstrip", "split", "rsplit", "startswith", "endswith",   "replace",
        "find",  "count",  "join",   "upper", "lower",  "title",      "capitalize", "splitlines"};
    static const char *const dict[] = {"items", "keys", "values", "get"};
    const char *const *all = self->kind == V_STRING ? text : self->kind == V_DICT ? dict : NULL;
    size_t n = self->kind == V_STRING ? SP_COUNT(text) : SP_COUNT(dict);
    for (size_t i = 0; all && i < n; i++)
        if (str_eqz(name, all[i]))
            return true;
    return false;
}

struct value call_method(struct call *c, str name)
{
    return c->self.kind == V_STRING ? string_method(c, name) : dict_method(c, name);
}
