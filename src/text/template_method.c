/* Methods of strings, lists and dicts, as Python's; those that would change a list or a dict are not there,
 * as in Jinja's immutable sandbox. */
#include <string.h>
#include <utf8proc.h>
#include "text/template_int.h"

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
            if (n == 0 || text_is_space(c))
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
    while (most != 0 && (hit = text_find(s, at, sep)) != NULL && r->code == 0) {
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

/* From the right at white space: what is left over keeps its spaces, but for those at its end. */
static void rsplit_spaces(struct render *r, struct tstr s, int64_t most, struct list *out)
{
    struct value words = value_list(r);
    if (r->code < 0)
        return;
    split_spaces(r, s, -1, words.u.list);
    size_t n = words.u.list->n, rest = most >= 0 && n > (uint64_t)most ? n - (size_t)most : 0;
    if (rest && r->code == 0) {
        const struct tstr *last = &words.u.list->items[rest - 1].u.s;
        push_slice(r, out, s, 0, (size_t)(last->p + last->n - s.p));
    }
    for (size_t i = rest; i < n && r->code == 0; i++)
        list_push(r, out, words.u.list->items[i]);
}

static struct value method_split(struct call *c, bool right)
{
    const struct value *sep = call_arg(c, 0, "sep");
    int64_t limit = call_int(c, 1, "maxsplit", -1);
    struct value out = value_list(c->r);
    if (c->r->code < 0)
        return out;
    if (!sep || sep->kind == V_NONE)
        (right ? rsplit_spaces : split_spaces)(c->r, c->self.u.s, limit, out.u.list);
    else if (sep->kind != V_STRING || sep->u.s.n == 0)
        return render_fail(c->r, "split wants a string that is not empty");
    else if (right)
        rsplit_at(c->r, c->self.u.s, sep->u.s, limit, out.u.list);
    else
        split_at(c->r, c->self.u.s, sep->u.s, limit, out.u.list);
    return out;
}

/* ---- the methods of strings ---- */

static struct value s_strip(struct call *c)
{
    const struct value *chars = call_arg(c, 0, "chars");
    return chars && chars->kind != V_STRING && chars->kind != V_NONE
               ? call_fail(c, "strip wants a string")
               : value_string(text_strip(c->self.u.s, chars, true, true));
}

static struct value s_lstrip(struct call *c)
{
    return value_string(text_strip(c->self.u.s, call_arg(c, 0, "chars"), true, false));
}

static struct value s_rstrip(struct call *c)
{
    return value_string(text_strip(c->self.u.s, call_arg(c, 0, "chars"), false, true));
}

static struct value s_split(struct call *c)
{
    return method_split(c, false);
}

static struct value s_rsplit(struct call *c)
{
    return method_split(c, true);
}

static struct value s_splitlines(struct call *c)
{
    struct value out = value_list(c->r);
    if (c->r->code == 0)
        text_lines(c->r, c->self.u.s, call_flag(c, 0, "keepends"), out.u.list);
    return out;
}

/* (before, sep, after), or the whole with two empty strings at the side where nothing was found. */
static struct value partition(struct call *c, bool right)
{
    const struct value *sep = call_arg(c, 0, NULL);
    struct tstr s = c->self.u.s;
    struct value out = value_list(c->r), pieces = value_list(c->r);
    if (!sep || sep->kind != V_STRING || sep->u.s.n == 0)
        return call_fail(c, "partition wants a string that is not empty");
    (right ? rsplit_at : split_at)(c->r, s, sep->u.s, 1, pieces.u.list);
    if (c->r->code < 0)
        return out;
    out.u.list->tuple = true;
    struct value empty = value_string(tstr_slice(s, 0, 0)), *p = pieces.u.list->items;
    bool found = pieces.u.list->n == 2;
    list_push(c->r, out.u.list, found || !right ? p[0] : empty);
    list_push(c->r, out.u.list, found ? *sep : empty);
    list_push(c->r, out.u.list, found ? p[1] : right ? p[0] : empty);
    return out;
}

static struct value s_partition(struct call *c)
{
    return partition(c, false);
}

static struct value s_rpartition(struct call *c)
{
    return partition(c, true);
}

static bool affix(struct tstr s, const struct value *a, bool start)
{
    if (a->kind != V_STRING || a->u.s.n > s.n)
        return false;
    return a->u.s.n == 0 || memcmp(start ? s.p : s.p + s.n - a->u.s.n, a->u.s.p, a->u.s.n) == 0;
}

/* The part of the string that the arguments from, to (code points) at i and i + 1 name. */
static struct tstr part(struct call *c, size_t i)
{
    struct tstr s = c->self.u.s;
    if (c->n <= i)
        return s;
    int64_t length = (int64_t)text_length(s), from = call_int(c, i, NULL, 0),
            to = call_int(c, i + 1, NULL, length);
    from = from < 0 ? from + length : from;
    to = to < 0 ? to + length : to;
    from = from < 0 ? 0 : from > length ? length : from;
    to = to < from ? from : to > length ? length : to;
    return tstr_slice(s, text_offset(s, (size_t)from), text_offset(s, (size_t)to));
}

/* startswith and endswith take a string or a tuple of them. */
static struct value has_affix(struct call *c, bool start)
{
    const struct value *a = call_arg(c, 0, NULL);
    bool many = a && a->kind == V_LIST && a->u.list->tuple;
    if (!a || (a->kind != V_STRING && !many))
        return call_fail(c, "startswith and endswith want a string or a tuple of strings");
    struct tstr s = part(c, 1);
    if (!many)
        return value_bool(affix(s, a, start));
    for (size_t i = 0; i < a->u.list->n; i++)
        if (affix(s, &a->u.list->items[i], start))
            return value_bool(true);
    return value_bool(false);
}

static struct value s_startswith(struct call *c)
{
    return has_affix(c, true);
}

static struct value s_endswith(struct call *c)
{
    return has_affix(c, false);
}

static struct value s_removeprefix(struct call *c)
{
    const struct value *a = call_arg(c, 0, NULL);
    struct tstr s = c->self.u.s;
    if (!a || a->kind != V_STRING)
        return call_fail(c, "removeprefix wants a string");
    return affix(s, a, true) ? value_string(tstr_slice(s, a->u.s.n, s.n)) : c->self;
}

static struct value s_removesuffix(struct call *c)
{
    const struct value *a = call_arg(c, 0, NULL);
    struct tstr s = c->self.u.s;
    if (!a || a->kind != V_STRING)
        return call_fail(c, "removesuffix wants a string");
    return affix(s, a, false) ? value_string(tstr_slice(s, 0, s.n - a->u.s.n)) : c->self;
}

static struct value s_replace(struct call *c)
{
    const struct value *from = call_arg(c, 0, NULL), *to = call_arg(c, 1, NULL);
    int64_t count = call_int(c, 2, "count", -1);
    if (!from || !to || from->kind != V_STRING || to->kind != V_STRING)
        return call_fail(c, "replace wants two strings");
    return value_string(text_replace(c->r, c->self.u.s, from->u.s, to->u.s, count));
}

/* Where the first or the last one is, in code points; -1: nowhere. */
static int64_t position(struct call *c, bool last)
{
    const struct value *what = call_arg(c, 0, NULL);
    if (!what || what->kind != V_STRING) {
        call_fail(c, "this method wants a string");
        return -1;
    }
    struct tstr s = part(c, 1), w = what->u.s;
    const char *hit = w.n ? text_find(s, 0, w) : last ? s.p + s.n : s.p;
    for (const char *next = hit; last && w.n && next;) {
        hit = next;
        next = text_find(s, (size_t)(hit - s.p) + 1, w);
    }
    return hit ? (int64_t)text_length(tstr_slice(c->self.u.s, 0, (size_t)(hit - c->self.u.s.p)))
               : -1;
}

static struct value s_find(struct call *c)
{
    return value_int(position(c, false));
}

static struct value s_rfind(struct call *c)
{
    return value_int(position(c, true));
}

static struct value s_index(struct call *c)
{
    int64_t i = position(c, false);
    return i < 0 ? call_fail(c, "the string to find is not there") : value_int(i);
}

static struct value s_rindex(struct call *c)
{
    int64_t i = position(c, true);
    return i < 0 ? call_fail(c, "the string to find is not there") : value_int(i);
}

static struct value s_count(struct call *c)
{
    const struct value *what = call_arg(c, 0, NULL);
    const char *hit;
    size_t at = 0;
    int64_t n = 0;
    if (!what || what->kind != V_STRING)
        return call_fail(c, "count wants a string");
    struct tstr s = part(c, 1);
    if (what->u.s.n == 0)
        return value_int((int64_t)text_length(s) + 1);
    for (; (hit = text_find(s, at, what->u.s)) != NULL; n++)
        at = (size_t)(hit - s.p) + what->u.s.n;
    return value_int(n);
}

static struct value s_join(struct call *c)
{
    const struct value *items = call_arg(c, 0, NULL);
    const struct list *l = items ? value_items(c->r, items) : NULL;
    for (size_t i = 0; l && i < l->n; i++)
        if (l->items[i].kind != V_STRING)
            return render_fail(c->r, "join wants strings, not %s", value_type(&l->items[i]));
    return l ? value_string(text_join(c->r, c->self.u.s, l)) : call_fail(c, "join wants a list");
}

static struct value s_upper(struct call *c)
{
    return value_string(text_case(c->r, c->self.u.s, 'u'));
}

static struct value s_lower(struct call *c)
{
    return value_string(text_case(c->r, c->self.u.s, 'l'));
}

static struct value s_title(struct call *c)
{
    return value_string(text_case(c->r, c->self.u.s, 't'));
}

static struct value s_capitalize(struct call *c)
{
    return value_string(text_case(c->r, c->self.u.s, 'c'));
}

static struct value s_swapcase(struct call *c)
{
    return value_string(text_case(c->r, c->self.u.s, 's'));
}

static struct value pad(struct call *c, char side)
{
    const struct value *fill = call_arg(c, 1, NULL);
    int64_t width = call_int(c, 0, NULL, 0);
    if (c->n < 1 || (fill && (fill->kind != V_STRING || text_length(fill->u.s) != 1)))
        return call_fail(c, "it wants a width and one character");
    return value_string(
        text_pad(c->r, c->self.u.s, width, side, fill ? fill->u.s : tstr_make(c->r, " ", 1, true)));
}

static struct value s_center(struct call *c)
{
    return pad(c, '^');
}

static struct value s_ljust(struct call *c)
{
    return pad(c, '<');
}

static struct value s_rjust(struct call *c)
{
    return pad(c, '>');
}

static struct value s_zfill(struct call *c)
{
    struct tstr s = c->self.u.s, zero = tstr_make(c->r, "0", 1, true);
    size_t sign = s.n && (s.p[0] == '-' || s.p[0] == '+');
    if (c->n != 1)
        return call_fail(c, "zfill wants a width");
    struct tstr digits = text_pad(c->r, tstr_slice(s, sign, s.n),
                                  call_int(c, 0, NULL, 0) - (int64_t)sign, '>', zero);
    return value_string(sign ? tstr_concat(c->r, tstr_slice(s, 0, 1), digits) : digits);
}

static struct value s_format(struct call *c)
{
    return value_string(format_braces(c, c->self.u.s));
}

/* ---- what a string is made of ---- */

enum class { C_DIGIT, C_ALPHA, C_ALNUM, C_SPACE, C_ASCII, C_LOWER, C_UPPER };

static bool is_in_class(uint32_t c, enum class class)
{
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    bool alpha = category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
    bool number = category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO;
    switch (class) {
    case C_DIGIT:
        return category == UTF8PROC_CATEGORY_ND;
    case C_ALPHA:
        return alpha;
    case C_ALNUM:
        return alpha || number;
    case C_SPACE:
        return text_is_space(c);
    default:
        return c < 128;
    }
}

/* Of all characters, and (but for ASCII) at least one of them. */
static struct value all_in(struct call *c, enum class class)
{
    struct tstr s = c->self.u.s;
    for (size_t i = 0; i < s.n;) {
        uint32_t cp = 0;
        size_t n = utf8_decode(s.p + i, s.n - i, &cp);
        if (n == 0 || !is_in_class(cp, class))
            return value_bool(false);
        i += n;
    }
    return value_bool(s.n > 0 || class == C_ASCII);
}

/* At least one letter has a case, and all that have are of this one. */
static struct value all_cased(struct call *c, bool upper)
{
    struct tstr s = c->self.u.s;
    bool any = false;
    for (size_t i = 0; i < s.n;) {
        uint32_t cp = 0;
        size_t n = utf8_decode(s.p + i, s.n - i, &cp);
        if (n == 0 || (upper ? utf8proc_islower : utf8proc_isupper)((utf8proc_int32_t)cp) ||
            utf8proc_category((utf8proc_int32_t)cp) == UTF8PROC_CATEGORY_LT)
            return value_bool(false);
        any |= (upper ? utf8proc_isupper : utf8proc_islower)((utf8proc_int32_t)cp);
        i += n;
    }
    return value_bool(any);
}

static struct value s_isdigit(struct call *c)
{
    return all_in(c, C_DIGIT);
}

static struct value s_isalpha(struct call *c)
{
    return all_in(c, C_ALPHA);
}

static struct value s_isalnum(struct call *c)
{
    return all_in(c, C_ALNUM);
}

static struct value s_isspace(struct call *c)
{
    return all_in(c, C_SPACE);
}

static struct value s_isascii(struct call *c)
{
    return all_in(c, C_ASCII);
}

static struct value s_islower(struct call *c)
{
    return all_cased(c, false);
}

static struct value s_isupper(struct call *c)
{
    return all_cased(c, true);
}

static const struct entry string_methods[] = {
    {"strip", s_strip},
    {"lstrip", s_lstrip},
    {"rstrip", s_rstrip},
    {"split", s_split},
    {"rsplit", s_rsplit},
    {"splitlines", s_splitlines},
    {"partition", s_partition},
    {"rpartition", s_rpartition},
    {"startswith", s_startswith},
    {"endswith", s_endswith},
    {"removeprefix", s_removeprefix},
    {"removesuffix", s_removesuffix},
    {"replace", s_replace},
    {"find", s_find},
    {"rfind", s_rfind},
    {"index", s_index},
    {"rindex", s_rindex},
    {"count", s_count},
    {"join", s_join},
    {"upper", s_upper},
    {"lower", s_lower},
    {"casefold", s_lower},
    {"title", s_title},
    {"capitalize", s_capitalize},
    {"swapcase", s_swapcase},
    {"center", s_center},
    {"ljust", s_ljust},
    {"rjust", s_rjust},
    {"zfill", s_zfill},
    {"format", s_format},
    {"isdigit", s_isdigit},
    {"isdecimal", s_isdigit},
    {"isnumeric", s_isdigit},
    {"isalpha", s_isalpha},
    {"isalnum", s_isalnum},
    {"isspace", s_isspace},
    {"isascii", s_isascii},
    {"islower", s_islower},
    {"isupper", s_isupper},
};

/* ---- lists and dicts ---- */

static struct value l_index(struct call *c)
{
    const struct value *item = call_arg(c, 0, NULL);
    const struct list *l = c->self.u.list;
    for (size_t i = 0; item && i < l->n; i++)
        if (value_equal(&l->items[i], item))
            return value_int((int64_t)i);
    return call_fail(c, "the value to find is not in the list");
}

static struct value l_count(struct call *c)
{
    const struct value *item = call_arg(c, 0, NULL);
    int64_t n = 0;
    for (size_t i = 0; item && i < c->self.u.list->n; i++)
        n += value_equal(&c->self.u.list->items[i], item);
    return item ? value_int(n) : call_fail(c, "count wants a value");
}

/* Templates change neither lists nor dicts, so that a copy may be the thing itself. */
static struct value l_copy(struct call *c)
{
    return c->self;
}

static const struct entry list_methods[] = {
    {"index", l_index},
    {"count", l_count},
    {"copy", l_copy},
};

static struct value d_get(struct call *c)
{
    const struct value *key = call_arg(c, 0, NULL), *fallback = call_arg(c, 1, NULL);
    if (!key || !value_hashable(key))
        return call_fail(c, "get wants a key");
    const struct value *found = dict_get(c->self.u.dict, *key);
    return found ? *found : fallback ? *fallback : value_none();
}

static struct value view(struct call *c, const char *name, bool keys, bool values)
{
    const struct dict *d = c->self.u.dict;
    struct value out = value_list(c->r);
    for (size_t i = 0; i < d->n && c->r->code == 0; i++)
        list_push(c->r, out.u.list,
                  keys && values ? value_tuple(c->r, d->keys[i], d->values[i])
                  : keys         ? d->keys[i]
                                 : d->values[i]);
    out.kind = c->r->code == 0 ? V_VIEW : V_UNDEFINED;
    out.name = str_of(name);
    return out;
}

static struct value d_items(struct call *c)
{
    return view(c, "dict_items", true, true);
}

static struct value d_keys(struct call *c)
{
    return view(c, "dict_keys", true, false);
}

static struct value d_values(struct call *c)
{
    return view(c, "dict_values", false, true);
}

static const struct entry dict_methods[] = {
    {"get", d_get}, {"items", d_items}, {"keys", d_keys}, {"values", d_values}, {"copy", l_copy},
};

static call_fn method_of(const struct value *self, str name)
{
    switch (self->kind) {
    case V_STRING:
        return entry_find(string_methods, SP_COUNT(string_methods), name);
    case V_LIST:
        return self->u.list->tuple && str_eqz(name, "copy")
                   ? NULL
                   : entry_find(list_methods, SP_COUNT(list_methods), name);
    case V_DICT:
        return entry_find(dict_methods, SP_COUNT(dict_methods), name);
    default:
        return NULL;
    }
}

bool is_method(const struct value *self, str name)
{
    return method_of(self, name) != NULL;
}

struct value call_method(struct call *c, str name)
{
    call_fn fn = method_of(&c->self, name);
    bool markup = c->self.markup;
    if (markup && (str_eqz(name, "format") || str_eqz(name, "join") || str_eqz(name, "replace")))
        return call_fail(c, "this method does not work here on a string that is marked safe");
    struct value v = fn ? fn(c) : call_fail(c, "no such method");
    v.markup = markup && v.kind == V_STRING;
    for (size_t i = 0; markup && v.kind == V_LIST && i < v.u.list->n; i++)
        v.u.list->items[i].markup = true;
    return v;
}
