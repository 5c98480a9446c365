/* "%s" % values and "{}".format(...), with Python's layouts. The pattern's own bytes and the values' texts
 * keep their trust; digits have that of the pattern. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "text/template_int.h"

#define WIDTH_MAX 10000
#define PRECISION_MAX 100

struct layout {
    struct tstr fill; /* n = 0: a space, or 0 with `zero` */
    char align;       /* '<' '>' '^' '=' or 0: as the kind of value has it */
    char sign;        /* '+', ' ' or 0: only minus */
    bool alternate, zero;
    int64_t width, precision; /* precision -1: not given */
    char grouping;            /* ',' '_' or 0 */
    char type;                /* 0: none */
};

/* ---- one value ---- */

/* The digits of |v| in base 8, 10 or 16, or with the letters of %c. */
static void int_digits(int64_t v, char type, char out[72])
{
    unsigned long long u = v < 0 ? 0ull - (unsigned long long)v : (unsigned long long)v;
    if (type == 'b') {
        size_t n = 0;
        for (int bit = 63; bit >= 0; bit--)
            if (n || (u >> bit & 1) || bit == 0)
                out[n++] = (u >> bit & 1) ? '1' : '0';
        out[n] = '\0';
    } else {
        snprintf(out, 72,
                 type == 'o'   ? "%llo"
                 : type == 'x' ? "%llx"
                 : type == 'X' ? "%llX"
                               : "%llu",
                 u);
    }
}

/* "1.5" without a type is Python's str; with a precision it is %g that keeps ".0". */
static void float_digits(double f, const struct layout *l, char *out, size_t room)
{
    char form[8] = "%.*f", short_text[64];
    double a = fabs(f);
    char type = l->type == '%' ? 'f' : l->type;
    if (l->type == '%')
        a *= 100;
    if (!type && l->precision < 0) {
        float_text(a, short_text);
        snprintf(out, room, "%s", short_text);
        return;
    }
    form[3] = type ? type : 'g';
    int precision = l->precision < 0 ? 6 : (int)l->precision;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(out, room, form, precision, a);
#pragma GCC diagnostic pop
    if (!type && !strpbrk(out, ".en") && strlen(out) + 3 < room)
        memcpy(out + strlen(out), ".0", 3);
    if (l->type == '%' && strlen(out) + 2 < room)
        memcpy(out + strlen(out), "%", 2);
}

/* Puts the separator after every third digit (fourth of hexadecimal) of the whole part. */
static void group(char *digits, size_t room, char separator, size_t by)
{
    size_t whole = strspn(digits, "0123456789abcdefABCDEF"), n = strlen(digits);
    for (size_t at = whole; at > by && n + 2 < room; n++) {
        at -= by;
        memmove(digits + at + 1, digits + at, n - at + 1);
        digits[at] = separator;
    }
}

static void put(struct render *r, struct output *o, const char *z, uint8_t trust)
{
    output_addz(r, o, z, trust);
}

/* Sign, prefix, digits, filled up to the width. */
static void put_number(struct render *r, struct output *o, const struct layout *l, const char *sign,
                       const char *digits, uint8_t trust)
{
    int64_t missing = l->width - (int64_t)strlen(sign) - (int64_t)strlen(digits);
    char align = l->align ? l->align : l->zero ? '=' : '>';
    struct tstr fill = l->fill.n ? l->fill : tstr_make(r, l->zero ? "0" : " ", 1, trust);
    int64_t left = missing <= 0 || align == '<' ? 0 : align == '^' ? missing / 2 : missing;
    struct tstr before = text_repeat(r, fill, left),
                after = text_repeat(r, fill, missing > 0 ? missing - left : 0);
    if (align != '=')
        output_add(r, o, before);
    put(r, o, sign, trust);
    if (align == '=')
        output_add(r, o, before);
    put(r, o, digits, trust);
    output_add(r, o, after);
}

static void put_text(struct render *r, struct output *o, const struct layout *l, struct tstr s,
                     uint8_t trust)
{
    if (l->precision >= 0 && l->precision < (int64_t)text_length(s))
        s = tstr_slice(s, 0, text_offset(s, (size_t)l->precision));
    char align = l->align && l->align != '=' ? l->align : '<';
    struct tstr fill = l->fill.n ? l->fill : tstr_make(r, " ", 1, trust);
    int64_t missing = l->width - (int64_t)text_length(s);
    int64_t left = missing <= 0 || align == '<' ? 0 : align == '^' ? missing / 2 : missing;
    output_add(r, o, text_repeat(r, fill, left));
    output_add(r, o, s);
    output_add(r, o, text_repeat(r, fill, missing > 0 ? missing - left : 0));
}

static void put_int(struct render *r, struct output *o, const struct layout *l, int64_t v,
                    uint8_t trust)
{
    char digits[160], sign[8] = "";
    char type = l->type ? l->type : 'd';
    if (l->precision >= 0) {
        render_fail(r, "a precision for a whole number");
        return;
    }
    int_digits(v, type, digits);
    if (l->grouping)
        group(digits, sizeof digits, l->grouping, type == 'd' ? 3 : 4);
    snprintf(sign, sizeof sign, "%s%s",
             v < 0     ? "-"
             : l->sign ? (l->sign == '+' ? "+" : " ")
                       : "",
             !l->alternate || type == 'd' ? ""
             : type == 'x'                ? "0x"
             : type == 'X'                ? "0X"
             : type == 'o'                ? "0o"
                                          : "0b");
    put_number(r, o, l, sign, digits, trust);
}

static void put_float(struct render *r, struct output *o, const struct layout *l, double f,
                      uint8_t trust)
{
    char digits[512], sign[4] = "";
    float_digits(f, l, digits, sizeof digits);
    if (l->grouping)
        group(digits, sizeof digits, l->grouping, 3);
    snprintf(sign, sizeof sign, "%s",
             signbit(f) && !isnan(f) ? "-"
             : l->sign               ? (l->sign == '+' ? "+" : " ")
                                     : "");
    put_number(r, o, l, sign, digits, trust);
}

static bool as_float(const struct value *v, double *f)
{
    *f = v->kind == V_FLOAT ? v->u.f : v->kind == V_BOOL ? (double)v->u.b : (double)v->u.i;
    return v->kind == V_FLOAT || v->kind == V_INT || v->kind == V_BOOL;
}

/* ---- "%" ---- */

struct percent {
    struct render *r;
    struct tstr form;
    size_t at;
    const struct value *values;
    size_t next; /* of a tuple */
    struct output out;
};

static char look(const struct percent *p)
{
    return p->at < p->form.n ? p->form.p[p->at] : '\0';
}

static const struct value *next_value(struct percent *p)
{
    static const struct value none = {0};
    bool tuple = p->values->kind == V_LIST && p->values->u.list->tuple;
    size_t n = tuple ? p->values->u.list->n : 1;
    if (p->next >= n) {
        render_fail(p->r, "a format with more places than values");
        return &none;
    }
    return tuple ? &p->values->u.list->items[p->next++] : (p->next++, p->values);
}

/* "%(name)s" takes a value of a dict. */
static const struct value *named_value(struct percent *p)
{
    static const struct value none = {0};
    size_t from = ++p->at;
    while (p->at < p->form.n && p->form.p[p->at] != ')')
        p->at++;
    struct tstr name = tstr_slice(p->form, from, p->at);
    p->at++;
    const struct value *v =
        p->values->kind == V_DICT ? dict_get(p->values->u.dict, value_string(name)) : NULL;
    if (!v)
        render_fail(p->r, "a format names '%.*s', which is not given",
                    (int)(name.n < 60 ? name.n : 60), name.p);
    p->next = 1;
    return v ? v : &none;
}

static int64_t number(struct percent *p, int64_t most)
{
    int64_t n = 0;
    if (look(p) == '*') {
        const struct value *v = next_value(p);
        p->at++;
        n = v->kind == V_INT ? v->u.i : -1;
    }
    for (; look(p) >= '0' && look(p) <= '9'; p->at++)
        n = n <= most ? 10 * n + (look(p) - '0') : n;
    if (n < 0 || n > most)
        render_fail(p->r, "a format with a width or precision that is too large");
    return n;
}

static struct layout percent_layout(struct percent *p)
{
    struct layout l = {.precision = -1};
    for (; look(p) && strchr("-+ #0", look(p)); p->at++) {
        char c = look(p);
        l.align = c == '-' ? '<' : l.align;
        l.sign = c == '+' ? '+' : c == ' ' && !l.sign ? ' ' : l.sign;
        l.alternate |= c == '#';
        l.zero |= c == '0';
    }
    l.zero &= l.align != '<';
    l.width = number(p, WIDTH_MAX);
    if (look(p) == '.') {
        p->at++;
        l.precision = number(p, PRECISION_MAX);
    }
    while (look(p) && strchr("hlL", look(p)))
        p->at++;
    l.type = look(p);
    p->at++;
    return l;
}

/* %d of a whole number or a float; a precision is the least number of digits. */
static void percent_int(struct percent *p, struct layout l, const struct value *v, uint8_t trust)
{
    double f;
    char digits[256];
    if (!as_float(v, &f) || (v->kind == V_FLOAT && strchr("xXo", l.type)) || fabs(f) > 9e18) {
        render_fail(p->r, "%%%c wants a number, not %s", l.type, value_type(v));
        return;
    }
    int64_t i = v->kind == V_FLOAT ? (int64_t)f : v->kind == V_BOOL ? v->u.b : v->u.i;
    l.type = strchr("iu", l.type) ? 'd' : l.type;
    int least = l.precision > 0 ? (int)l.precision : 0;
    l.precision = -1;
    if (least == 0) {
        put_int(p->r, &p->out, &l, i, trust);
        return;
    }
    char plain[72];
    int_digits(i, l.type, plain);
    int zeros = least > (int)strlen(plain) ? least - (int)strlen(plain) : 0;
    snprintf(digits, sizeof digits, "%.*s%s", zeros,
             "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
             "000000000000000",
             plain);
    put_number(p->r, &p->out, &l,
               i < 0           ? "-"
               : l.sign == '+' ? "+"
               : l.sign        ? " "
                               : "",
               digits, trust);
}

static void percent_one(struct percent *p, const struct value *v, struct layout l, uint8_t trust)
{
    double f;
    l.align = l.align ? l.align : l.zero && !strchr("sra", l.type) ? '=' : '>';
    if (l.type == 's' || l.type == 'r' || l.type == 'a') {
        struct tstr s = value_text(p->r, v);
        if (l.type != 's' && v->kind == V_STRING)
            s = value_repr(p->r, v);
        put_text(p->r, &p->out, &l, s, trust);
    } else if (l.type && strchr("diuxXo", l.type)) {
        percent_int(p, l, v, trust);
    } else if (l.type && strchr("eEfFgG", l.type)) {
        if (as_float(v, &f))
            put_float(p->r, &p->out, &l, f, trust);
        else
            render_fail(p->r, "%%%c wants a number, not %s", l.type, value_type(v));
    } else if (l.type == 'c' && v->kind == V_STRING && text_length(v->u.s) == 1) {
        put_text(p->r, &p->out, &l, v->u.s, trust);
    } else {
        render_fail(p->r, "a format with a place that is not understood");
    }
}

struct tstr format_percent(struct render *r, struct tstr form, const struct value *values)
{
    struct percent p = {.r = r, .form = form, .values = values};
    while (p.at < form.n && r->code == 0) {
        const char *sign = memchr(form.p + p.at, '%', form.n - p.at);
        size_t to = sign ? (size_t)(sign - form.p) : form.n;
        output_add(r, &p.out, tstr_slice(form, p.at, to));
        p.at = to + 1;
        if (!sign)
            break;
        if (look(&p) == '%') {
            output_add(r, &p.out, tstr_slice(form, p.at, p.at + 1));
            p.at++;
            continue;
        }
        const struct value *v = look(&p) == '(' ? named_value(&p) : NULL;
        struct layout l = percent_layout(&p);
        if (!v && r->code == 0)
            v = next_value(&p);
        if (r->code == 0)
            percent_one(&p, v, l, form.trust[to]);
    }
    bool tuple = values->kind == V_LIST && values->u.list->tuple;
    size_t n = tuple ? values->u.list->n : values->kind == V_DICT || values->kind == V_LIST ? 0 : 1;
    if (r->code == 0 && p.next < n)
        render_fail(r, "a format with fewer places than values");
    return text_finish(r, &p.out);
}

/* ---- "{}" ---- */

struct braces {
    struct call *c;
    struct tstr form;
    size_t next; /* of the places without a name */
    bool counted, numbered;
};

static size_t digits_of(struct tstr s, size_t at, int64_t most, int64_t *out)
{
    *out = 0;
    size_t n = 0;
    for (; at + n < s.n && s.p[at + n] >= '0' && s.p[at + n] <= '9'; n++)
        *out = *out <= most ? 10 * *out + (s.p[at + n] - '0') : *out;
    return n;
}

/* [[fill]align][sign][#][0][width][,][.precision][type] */
static bool read_spec(struct tstr s, struct layout *l)
{
    size_t at = 0, first = s.n ? text_offset(s, 1) : 0, n;
    *l = (struct layout){.precision = -1};
    if (first && first < s.n && strchr("<>^=", s.p[first])) {
        l->fill = tstr_slice(s, 0, first);
        l->align = s.p[first];
        at = first + 1;
    } else if (s.n && strchr("<>^=", s.p[0])) {
        l->align = s.p[0];
        at = 1;
    }
    if (at < s.n && strchr("+- ", s.p[at]))
        l->sign = s.p[at++];
    l->sign = l->sign == '-' ? 0 : l->sign;
    l->alternate = at < s.n && s.p[at] == '#';
    at += l->alternate;
    l->zero = at < s.n && s.p[at] == '0';
    at += l->zero;
    at += digits_of(s, at, WIDTH_MAX, &l->width);
    if (at < s.n && strchr(",_", s.p[at]))
        l->grouping = s.p[at++];
    if (at < s.n && s.p[at] == '.') {
        n = digits_of(s, at + 1, PRECISION_MAX, &l->precision);
        at += n + 1;
        if (n == 0)
            return false;
    }
    if (at < s.n)
        l->type = s.p[at++];
    return at == s.n && l->width <= WIDTH_MAX && l->precision <= PRECISION_MAX;
}

static void put_formatted(struct call *c, struct output *o, const struct value *v, struct tstr spec,
                          uint8_t trust)
{
    struct layout l;
    double f = 0;
    bool number = as_float(v, &f);
    if (!read_spec(spec, &l)) {
        render_fail(c->r, "a format that is not understood: '%.*s'",
                    (int)(spec.n < 40 ? spec.n : 40), spec.p);
    } else if (spec.n == 0 || (v->kind == V_STRING && (l.type == 's' || !l.type))) {
        if (l.align == '=' || l.sign || l.zero || l.grouping)
            render_fail(c->r, "a number's format for a string");
        else
            put_text(c->r, o, &l, value_text(c->r, v), trust);
    } else if (number && v->kind != V_FLOAT && (!l.type || strchr("dxXob", l.type))) {
        put_int(c->r, o, &l, v->kind == V_INT ? v->u.i : v->u.b, trust);
    } else if (number && (!l.type || strchr("eEfFgG%", l.type))) {
        put_float(c->r, o, &l, f, trust);
    } else {
        render_fail(c->r, "this format does not work on a value of type %s", value_type(v));
    }
}

/* "name", "0", "" with ".attribute" and "[item]" after it. */
static struct value field_value(struct braces *b, struct tstr field)
{
    struct call *c = b->c;
    size_t end = 0;
    int64_t i;
    while (end < field.n && field.p[end] != '.' && field.p[end] != '[')
        end++;
    struct tstr name = tstr_slice(field, 0, end);
    const struct value *found = NULL;
    bool number = end > 0 && digits_of(name, 0, 1000, &i) == end;
    b->counted |= end == 0;
    b->numbered |= number;
    if (b->counted && b->numbered)
        return call_fail(c, "a format with both {} and {0}");
    if (end == 0 || number) {
        size_t at = number ? (size_t)i : b->next++;
        found = at < c->n ? &c->args[at] : NULL;
    } else if (c->kwargs) {
        found = dict_find(c->kwargs, (str){name.p, name.n});
    }
    if (!found)
        return call_fail(c, "a format names a value that is not given");
    struct value v = *found;
    while (end < field.n && c->r->code == 0) {
        bool item = field.p[end] == '[';
        size_t from = ++end;
        while (end < field.n &&
               (item ? field.p[end] != ']' : field.p[end] != '.' && field.p[end] != '['))
            end++;
        struct tstr part = tstr_slice(field, from, end);
        struct value key = value_string(part);
        if (item && part.n && digits_of(part, 0, 1000000, &i) == part.n)
            key = value_int(i);
        v = item ? get_item(c->r, &v, &key) : get_attribute(c->r, &v, (str){part.p, part.n});
        end += item;
    }
    return v;
}

/* {field!conversion:spec}; spec may hold fields itself. */
static void put_field(struct braces *b, struct output *o, struct tstr inside, uint8_t trust)
{
    struct call *c = b->c;
    size_t name = 0, depth = 0;
    for (; name < inside.n && (depth || (inside.p[name] != '!' && inside.p[name] != ':')); name++)
        depth = depth + (inside.p[name] == '[') - (depth && inside.p[name] == ']');
    struct value v = field_value(b, tstr_slice(inside, 0, name));
    char how = name + 1 < inside.n && inside.p[name] == '!' ? inside.p[name + 1] : '\0';
    size_t spec = name + (how ? 2 : 0);
    if (spec < inside.n && inside.p[spec] != ':')
        call_fail(c, "a format with a place that is not understood");
    if (c->r->code < 0)
        return;
    struct tstr rest = tstr_slice(inside, spec < inside.n ? spec + 1 : inside.n, inside.n);
    if (how == 's' || how == 'r')
        v = value_string(how == 's' ? value_text(c->r, &v) : value_repr(c->r, &v));
    else if (how)
        call_fail(c, "a format's conversion is !s or !r");
    if (memchr(rest.p, '{', rest.n)) {
        struct output own = {0};
        const char *open = memchr(rest.p, '{', rest.n), *close = memchr(rest.p, '}', rest.n);
        if (!close || close < open) {
            call_fail(c, "a format with a place that is not understood");
            return;
        }
        size_t from = (size_t)(open - rest.p), to = (size_t)(close - rest.p);
        struct value width = field_value(b, tstr_slice(rest, from + 1, to));
        output_add(c->r, &own, tstr_slice(rest, 0, from));
        if (c->r->code == 0)
            output_add(c->r, &own, value_text(c->r, &width));
        output_add(c->r, &own, tstr_slice(rest, to + 1, rest.n));
        rest = text_finish(c->r, &own);
    }
    if (c->r->code == 0)
        put_formatted(c, o, &v, rest, trust);
}

struct tstr format_braces(struct call *c, struct tstr form)
{
    struct braces b = {.c = c, .form = form};
    struct output o = {0};
    for (size_t at = 0; at < form.n && c->r->code == 0;) {
        char here = form.p[at];
        if (here != '{' && here != '}') {
            size_t to = at;
            while (to < form.n && form.p[to] != '{' && form.p[to] != '}')
                to++;
            output_add(c->r, &o, tstr_slice(form, at, to));
            at = to;
        } else if (at + 1 < form.n && form.p[at + 1] == here) {
            output_add(c->r, &o, tstr_slice(form, at, at + 1));
            at += 2;
        } else {
            size_t end = at + 1, depth = 1;
            for (; end < form.n && depth; end++)
                depth = depth + (form.p[end] == '{') - (form.p[end] == '}');
            if (here == '}' || depth)
                call_fail(c, "a format with a bracket that stands alone");
            else
                put_field(&b, &o, tstr_slice(form, at + 1, end - 1), form.trust[at]);
            at = end;
        }
    }
    return text_finish(c->r, &o);
}
