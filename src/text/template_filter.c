/* Filters of strings and numbers, and the table of all filters. Those of lists: template_filter_list.c. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>
#include "text/template_int.h"

/* ---- arguments ---- */

const struct value *call_arg(const struct call *c, size_t i, const char *name)
{
    if (i < c->n)
        return &c->args[i];
    return name && c->kwargs ? dict_find(c->kwargs, str_of(name)) : NULL;
}

bool call_flag(const struct call *c, size_t i, const char *name)
{
    const struct value *v = call_arg(c, i, name);
    return v && value_truth(v);
}

int64_t call_int(const struct call *c, size_t i, const char *name, int64_t otherwise)
{
    const struct value *v = call_arg(c, i, name);
    if (!v)
        return otherwise;
    if (v->kind != V_INT && v->kind != V_BOOL)
        render_fail(c->r, "a whole number is wanted, not %s", value_type(v));
    return v->kind == V_INT ? v->u.i : v->kind == V_BOOL ? v->u.b : otherwise;
}

struct value call_fail(const struct call *c, const char *what)
{
    return render_fail(c->r, "%s", what);
}

call_fn entry_find(const struct entry *entries, size_t n, str name)
{
    for (size_t i = 0; i < n; i++)
        if (str_eqz(name, entries[i].name))
            return entries[i].fn;
    return NULL;
}

static struct tstr need_text(struct call *c)
{
    return value_text(c->r, &c->self);
}

/* ---- strings ---- */

static struct value f_trim(struct call *c)
{
    return value_string(text_strip(need_text(c), call_arg(c, 0, "chars"), true, true));
}

static struct value f_upper(struct call *c)
{
    return value_string(text_case(c->r, need_text(c), 'u'));
}

static struct value f_lower(struct call *c)
{
    return value_string(text_case(c->r, need_text(c), 'l'));
}

static struct value f_capitalize(struct call *c)
{
    return value_string(text_case(c->r, need_text(c), 'c'));
}

static bool starts_word(char c)
{
    return c != '\0' && (strchr("-({[<", c) || strchr(" \t\n\r\f\v", c));
}

/* Unlike str.title: words begin after white space and opening brackets only. */
static struct value f_title(struct call *c)
{
    struct tstr s = need_text(c);
    struct output o = {0};
    for (size_t at = 0; at < s.n && c->r->code == 0;) {
        size_t to, first = at;
        while (first < s.n && starts_word(s.p[first]))
            first++;
        for (to = first; to < s.n && !starts_word(s.p[to]);)
            to++;
        output_add(c->r, &o, tstr_slice(s, at, first));
        size_t second = first + text_offset(tstr_slice(s, first, to), 1);
        output_add(c->r, &o, text_case(c->r, tstr_slice(s, first, second), 'u'));
        output_add(c->r, &o, text_case(c->r, tstr_slice(s, second, to), 'l'));
        at = to;
    }
    return value_string(text_finish(c->r, &o));
}

static struct value f_string(struct call *c)
{
    return value_string(need_text(c));
}

static struct value f_replace(struct call *c)
{
    const struct value *from = call_arg(c, 0, "old"), *to = call_arg(c, 1, "new"),
                       *count = call_arg(c, 2, "count");
    if (!from || !to)
        return call_fail(c, "replace wants two strings");
    int64_t most = count && count->kind != V_NONE ? call_int(c, 2, "count", -1) : -1;
    return value_string(
        text_replace(c->r, need_text(c), value_text(c->r, from), value_text(c->r, to), most));
}

static struct value f_indent(struct call *c)
{
    const struct value *width = call_arg(c, 0, "width");
    bool first = call_flag(c, 1, "first"), blank = call_flag(c, 2, "blank");
    struct tstr space = tstr_make(c->r, " ", 1, true), line_end = tstr_make(c->r, "\n", 1, true);
    struct tstr pad = width && width->kind == V_STRING
                          ? width->u.s
                          : text_repeat(c->r, space, call_int(c, 0, "width", 4));
    struct value lines = value_list(c->r);
    struct output o = {0};
    if (c->self.kind != V_STRING)
        return render_fail(c->r, "indent of a value of type %s", value_type(&c->self));
    if (c->r->code < 0)
        return lines;
    text_lines(c->r, tstr_concat(c->r, need_text(c), line_end), false, lines.u.list);
    for (size_t i = 0; i < lines.u.list->n && c->r->code == 0; i++) {
        struct tstr line = lines.u.list->items[i].u.s;
        if (i)
            output_add(c->r, &o, line_end);
        if (i ? line.n || blank : first)
            output_add(c->r, &o, pad);
        output_add(c->r, &o, line);
    }
    return value_string(text_finish(c->r, &o));
}

static struct value f_center(struct call *c)
{
    return value_string(text_pad(c->r, need_text(c), call_int(c, 0, "width", 80), '^',
                                 tstr_make(c->r, " ", 1, true)));
}

/* Cut at `length`, at the last space before it unless killwords; a text that is only `leeway` longer stays. */
static struct value f_truncate(struct call *c)
{
    const struct value *end = call_arg(c, 2, "end");
    const struct value *leeway_arg = call_arg(c, 3, "leeway");
    struct tstr s = need_text(c),
                tail = end ? value_text(c->r, end) : tstr_make(c->r, "...", 3, true);
    int64_t length = call_int(c, 0, "length", 255), n = (int64_t)text_length(s),
            leeway = leeway_arg && leeway_arg->kind != V_NONE ? call_int(c, 3, "leeway", 5) : 5;
    int64_t keep = length - (int64_t)text_length(tail);
    if (c->self.kind != V_STRING)
        return render_fail(c->r, "truncate of a value of type %s", value_type(&c->self));
    if (c->r->code == 0 && (keep < 0 || leeway < 0))
        return call_fail(c, "truncate: the length is less than that of the end");
    if (c->r->code < 0 || n <= length + leeway)
        return value_string(s);
    struct tstr cut = tstr_slice(s, 0, text_offset(s, (size_t)keep));
    const char *space = call_flag(c, 1, "killwords") ? NULL : memrchr(cut.p, ' ', cut.n);
    if (space)
        cut = tstr_slice(cut, 0, (size_t)(space - cut.p));
    return value_string(tstr_concat(c->r, cut, tail));
}

/* Runs of letters, digits and "_". */
static struct value f_wordcount(struct call *c)
{
    struct tstr s = need_text(c);
    int64_t words = 0;
    bool inside = false;
    for (size_t i = 0; i < s.n;) {
        uint32_t cp = 0;
        size_t n = utf8_decode(s.p + i, s.n - i, &cp);
        utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)cp);
        bool word = cp == '_' ||
                    (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO) ||
                    (category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO);
        words += word && !inside;
        inside = word;
        i += n ? n : 1;
    }
    return value_int(words);
}

static struct value f_forceescape(struct call *c)
{
    struct value v = value_string(text_escape(c->r, need_text(c)));
    v.markup = true;
    return v;
}

static struct value f_escape(struct call *c)
{
    return c->self.markup ? c->self : f_forceescape(c);
}

static void url_text(struct render *r, struct output *o, struct tstr s, bool form)
{
    for (size_t i = 0; i < s.n && r->code == 0; i++) {
        char text[8];
        unsigned char b = (unsigned char)s.p[i];
        bool plain = (b >= '0' && b <= '9') || ((b | 32) >= 'a' && (b | 32) <= 'z' && b < 128) ||
                     (b && strchr("_.-~", b)) || (b == '/' && !form);
        snprintf(text, sizeof text, plain || (form && b == ' ') ? "%c" : "%%%02X",
                 form && b == ' ' ? '+' : b);
        output_addz(r, o, text, s.trust[i]);
    }
}

/* A string, or the pairs of a dict or list as in "a=1&b=2". */
static struct value f_urlencode(struct call *c)
{
    struct output o = {0};
    bool pairs = c->self.kind >= V_LIST && c->self.kind <= V_DICT;
    struct value items = c->self.kind == V_DICT ? call_method(c, str_of("items")) : c->self;
    const struct list *l = pairs && c->r->code == 0 ? value_items(c->r, &items) : NULL;
    if (!pairs)
        url_text(c->r, &o, need_text(c), false);
    for (size_t i = 0; l && i < l->n && c->r->code == 0; i++) {
        const struct list *pair = value_items(c->r, &l->items[i]);
        if (pair && pair->n != 2)
            call_fail(c, "urlencode wants pairs");
        if (i)
            output_addz(c->r, &o, "&", true);
        for (size_t k = 0; pair && k < 2 && c->r->code == 0; k++) {
            url_text(c->r, &o, value_text(c->r, &pair->items[k]), true);
            if (k == 0)
                output_addz(c->r, &o, "=", true);
        }
    }
    return value_string(text_finish(c->r, &o));
}

static struct value f_format(struct call *c)
{
    struct value values = value_list(c->r);
    if (c->n && c->kwargs && c->kwargs->n)
        return call_fail(c, "format wants values or names, not both");
    for (size_t i = 0; i < c->n && c->r->code == 0; i++)
        list_push(c->r, values.u.list, c->args[i]);
    if (c->r->code < 0)
        return values;
    values.u.list->tuple = true;
    if (c->kwargs && c->kwargs->n)
        values = (struct value){.kind = V_DICT, .u.dict = c->kwargs};
    return value_string(format_percent(c->r, need_text(c), &values));
}

static struct value f_tojson(struct call *c)
{
    const struct value *indent = call_arg(c, 1, "indent"),
                       *separators = call_arg(c, 2, "separators");
    if (c->self.kind == V_UNDEFINED)
        return call_fail(c, "tojson of something undefined");
    return value_string(value_json(c->r, &c->self, indent, separators,
                                   call_flag(c, 0, "ensure_ascii"), call_flag(c, 3, "sort_keys")));
}

static struct value f_default(struct call *c)
{
    const struct value *fallback = call_arg(c, 0, "default_value");
    bool missing =
        c->self.kind == V_UNDEFINED || (call_flag(c, 1, "boolean") && !value_truth(&c->self));
    return !missing ? c->self : fallback ? *fallback : value_text_of(c->r, "");
}

/* ---- numbers ---- */

/* Digits of a base from 2 to 36, with the prefix that Python allows for it ("0x1f"). */
static bool int_of_base(struct tstr s, int64_t base, int64_t *out)
{
    static const struct {
        char letter;
        int base;
    } prefixes[] = {{'x', 16}, {'o', 8}, {'b', 2}};
    char text[72], *end;
    size_t sign = s.n && (s.p[0] == '-' || s.p[0] == '+'), from = sign;
    for (size_t i = 0; i < SP_COUNT(prefixes) && s.n > sign + 2; i++)
        if (base == prefixes[i].base && s.p[sign] == '0' &&
            (s.p[sign + 1] | 32) == prefixes[i].letter)
            from = sign + 2;
    if (base < 2 || base > 36 || s.n - from == 0 || s.n - from > 64 ||
        text_is_space((uint32_t)s.p[from]) || s.p[from] == '-' || s.p[from] == '+')
        return false;
    text[0] = sign && s.p[0] == '-' ? '-' : '+';
    memcpy(text + 1, s.p + from, s.n - from);
    text[1 + s.n - from] = '\0';
    *out = strtoll(text, &end, (int)base);
    return *end == '\0' && *out != INT64_MAX && *out != INT64_MIN;
}

static struct value f_int(struct call *c)
{
    const struct value *fallback = call_arg(c, 0, "default");
    int64_t i, base = call_int(c, 1, "base", 10);
    double f;
    if (c->self.kind == V_INT)
        return c->self;
    if (c->self.kind == V_BOOL)
        return value_int(c->self.u.b);
    if (c->self.kind == V_FLOAT && fabs(c->self.u.f) < 9e18)
        return value_int((int64_t)c->self.u.f);
    if (c->self.kind == V_STRING) {
        struct tstr s = text_strip(c->self.u.s, NULL, true, true);
        if (int_of_base(s, base, &i))
            return value_int(i);
        if (str_to_f64((str){s.p, s.n}, &f) && fabs(f) < 9e18)
            return value_int((int64_t)f);
    }
    return fallback ? *fallback : value_int(0);
}

static struct value f_float(struct call *c)
{
    const struct value *fallback = call_arg(c, 0, "default");
    double f;
    if (c->self.kind == V_FLOAT)
        return c->self;
    if (c->self.kind == V_INT || c->self.kind == V_BOOL)
        return value_float(c->self.kind == V_INT ? (double)c->self.u.i : (double)c->self.u.b);
    if (c->self.kind == V_STRING) {
        struct tstr s = text_strip(c->self.u.s, NULL, true, true);
        if (str_to_f64((str){s.p, s.n}, &f))
            return value_float(f);
    }
    return fallback ? *fallback : value_float(0);
}

static struct value f_abs(struct call *c)
{
    if (c->self.kind == V_FLOAT)
        return value_float(fabs(c->self.u.f));
    if (c->self.kind == V_BOOL)
        return value_int(c->self.u.b);
    if (c->self.kind != V_INT || c->self.u.i == INT64_MIN)
        return render_fail(c->r, "abs of a value of type %s", value_type(&c->self));
    return value_int(c->self.u.i < 0 ? -c->self.u.i : c->self.u.i);
}

static struct value f_round(struct call *c)
{
    const struct value *method = call_arg(c, 1, "method");
    int64_t precision = call_int(c, 0, "precision", 0);
    bool common = !method || (method->kind == V_STRING && method->u.s.n == 6);
    char text[400];
    if (c->self.kind == V_BOOL)
        c->self = value_int(c->self.u.b);
    if ((c->self.kind != V_INT && c->self.kind != V_FLOAT) || precision > 30 || precision < -30)
        return render_fail(c->r, "round of a value of type %s to %lld digits", value_type(&c->self),
                           (long long)precision);
    if (common && c->self.kind == V_INT && precision >= 0)
        return c->self;
    double x = c->self.kind == V_INT ? (double)c->self.u.i : c->self.u.f;
    double unit = pow(10, (double)precision);
    if (!common)
        x = (method->kind == V_STRING && method->u.s.n == 4 ? ceil : floor)(x * unit) / unit;
    else if (precision < 0)
        x = rint(x * unit) / unit;
    else {
        snprintf(text, sizeof text, "%.*f", (int)precision, x); /* exact, half to even */
        x = strtod(text, NULL);
    }
    return common && c->self.kind == V_INT ? value_int((int64_t)x) : value_float(x);
}

static struct value f_safe(struct call *c)
{
    struct value v = value_string(need_text(c));
    v.markup = true;
    return v;
}

static const struct entry filters[] = {
    {"trim", f_trim},
    {"upper", f_upper},
    {"lower", f_lower},
    {"title", f_title},
    {"capitalize", f_capitalize},
    {"tojson", f_tojson},
    {"string", f_string},
    {"default", f_default},
    {"d", f_default},
    {"int", f_int},
    {"float", f_float},
    {"abs", f_abs},
    {"round", f_round},
    {"replace", f_replace},
    {"indent", f_indent},
    {"center", f_center},
    {"truncate", f_truncate},
    {"wordcount", f_wordcount},
    {"escape", f_escape},
    {"e", f_escape},
    {"forceescape", f_forceescape},
    {"urlencode", f_urlencode},
    {"format", f_format},
    {"safe", f_safe},
};

static call_fn filter_of(str name)
{
    call_fn fn = entry_find(filters, SP_COUNT(filters), name);
    return fn ? fn : list_filter(name);
}

bool is_filter(str name)
{
    return filter_of(name) != NULL;
}

static bool keeps_markup(str name)
{
    static const char *const names[] = {"trim",   "upper",  "lower", "capitalize",
                                        "string", "indent", "center"};
    for (size_t i = 0; i < SP_COUNT(names); i++)
        if (str_eqz(name, names[i]))
            return true;
    return false;
}

struct value apply_filter(struct call *c, str name)
{
    call_fn fn = filter_of(name);
    if (!fn)
        return render_fail(c->r, "no filter named '%.*s'", (int)(name.n < 60 ? name.n : 60),
                           name.p);
    if (!render_spend(c->r, value_size(&c->self)))
        return (struct value){0};
    struct value v = fn(c);
    v.markup |= v.kind == V_STRING && c->self.markup && keeps_markup(name);
    return v;
}
