/* Values as text: Python's str and repr, and JSON as json.dumps writes it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "text/template_int.h"

bool output_add(struct render *r, struct output *o, struct tstr s)
{
    if (s.n > OUTPUT_MAX - o->n) {
        render_fail(r, "the text grows beyond %zu MB", OUTPUT_MAX >> 20);
        return false;
    }
    if (o->n + s.n + 1 > o->cap) {
        size_t cap = 2 * (o->n + s.n + 128);
        char *p = sp_realloc(o->p, cap);
        if (p)
            o->p = p;
        uint8_t *trust = p ? sp_realloc(o->trust, cap) : NULL;
        if (trust)
            o->trust = trust;
        if (!p || !trust) {
            render_nomem(r);
            return false;
        }
        o->cap = cap;
    }
    if (s.n) {
        memcpy(o->p + o->n, s.p, s.n);
        memcpy(o->trust + o->n, s.trust, s.n);
    }
    o->n += s.n;
    o->p[o->n] = '\0';
    return true;
}

bool output_addz(struct render *r, struct output *o, const char *z, bool trusted)
{
    uint8_t trust[128];
    size_t n = strlen(z);
    memset(trust, trusted ? 1 : 0, sizeof trust);
    for (size_t at = 0; at < n; at += sizeof trust) {
        size_t k = n - at < sizeof trust ? n - at : sizeof trust;
        if (!output_add(r, o, (struct tstr){z + at, trust, k}))
            return false;
    }
    return true;
}

/* The shortest decimal that reads back as the same double, in Python's layout. */
void float_text(double f, char out[64])
{
    char digits[32];
    int precision = 1;
    if (isnan(f) || isinf(f)) {
        snprintf(out, 64, "%s", isnan(f) ? "nan" : f > 0 ? "inf" : "-inf");
        return;
    }
    do
        snprintf(digits, sizeof digits, "%.*e", precision - 1, f);
    while (strtod(digits, NULL) != f && ++precision <= 17);
    int exponent = (int)strtol(strchr(digits, 'e') + 1, NULL, 10);
    if (exponent < -4 || exponent >= 16) {
        char *e = strchr(digits, 'e');
        *e = '\0';
        snprintf(out, 64, "%se%c%02d", digits, exponent < 0 ? '-' : '+', abs(exponent));
        return;
    }
    int decimals = precision - 1 - exponent;
    snprintf(out, 64, "%.*f", decimals > 0 ? decimals : 1, f);
}

struct printer {
    struct render *r;
    struct output *o;
    bool json, ascii, sort, trusted;
    int indent; /* -1: on one line */
    struct tstr item, pair;
    int level;
};

static void put(struct printer *p, const char *z)
{
    output_addz(p->r, p->o, z, p->trusted);
}

static void json_char(struct printer *p, uint32_t cp, struct tstr bytes)
{
    char text[16];
    static const char plain[] = "\b\f\n\r\t\"\\", letters[] = "bfnrt\"\\";
    const char *at = cp < 128 && cp ? strchr(plain, (int)cp) : NULL;
    if (at) {
        snprintf(text, sizeof text, "\\%c", letters[at - plain]);
        put(p, text);
    } else if (cp < 32 || (p->ascii && cp > 126 && cp < 0x10000)) {
        snprintf(text, sizeof text, "\\u%04x", cp);
        put(p, text);
    } else if (p->ascii && cp >= 0x10000) {
        snprintf(text, sizeof text, "\\u%04x\\u%04x", 0xd800 + ((cp - 0x10000) >> 10),
                 0xdc00 + ((cp - 0x10000) & 0x3ff));
        put(p, text);
    } else {
        output_add(p->r, p->o, bytes);
    }
}

static void repr_char(struct printer *p, uint32_t cp, struct tstr bytes, char quote)
{
    char text[16];
    if (cp == '\\' || cp == (uint32_t)quote)
        snprintf(text, sizeof text, "\\%c", (char)cp);
    else if (cp == '\n' || cp == '\r' || cp == '\t')
        snprintf(text, sizeof text, "\\%c", cp == '\n' ? 'n' : cp == '\r' ? 'r' : 't');
    else if (cp < 32 || cp == 127)
        snprintf(text, sizeof text, "\\x%02x", cp);
    else {
        output_add(p->r, p->o, bytes);
        return;
    }
    put(p, text);
}

static void print_string(struct printer *p, struct tstr s)
{
    char quote[2] = "\"";
    if (!p->json && !(memchr(s.p, '\'', s.n) && !memchr(s.p, '"', s.n)))
        quote[0] = '\'';
    put(p, quote);
    for (size_t i = 0; i < s.n && p->r->code == 0;) {
        uint32_t cp;
        size_t n = utf8_decode(s.p + i, s.n - i, &cp);
        if (n == 0) {
            cp = 0xfffd;
            n = 1;
        }
        if (p->json)
            json_char(p, cp, tstr_slice(s, i, i + n));
        else
            repr_char(p, cp, tstr_slice(s, i, i + n), quote[0]);
        i += n;
    }
    put(p, quote);
}

static void new_line(struct printer *p)
{
    if (p->indent < 0)
        return;
    put(p, "\n");
    for (int i = 0; i < p->level * p->indent; i++)
        put(p, " ");
}

static void print_value(struct printer *p, const struct value *v);

static void print_list(struct printer *p, const struct list *l)
{
    bool tuple = l->tuple && !p->json;
    put(p, tuple ? "(" : "[");
    p->level++;
    for (size_t i = 0; i < l->n && p->r->code == 0; i++) {
        if (i)
            output_add(p->r, p->o, p->item);
        new_line(p);
        print_value(p, &l->items[i]);
    }
    p->level--;
    if (l->n)
        new_line(p);
    put(p, tuple ? (l->n == 1 ? ",)" : ")") : "]");
}

/* JSON keys are strings; Python writes numbers, booleans and None as their JSON text. */
static void print_key(struct printer *p, const struct value *key)
{
    if (!p->json || key->kind == V_STRING) {
        print_value(p, key);
        return;
    }
    put(p, "\"");
    print_value(p, key);
    put(p, "\"");
}

static int by_key(const void *a, const void *b)
{
    const struct tstr *x = &(*(const struct value *const *)a)->u.s,
                      *y = &(*(const struct value *const *)b)->u.s;
    size_t n = x->n < y->n ? x->n : y->n;
    int c = n ? memcmp(x->p, y->p, n) : 0;
    return c ? c : x->n < y->n ? -1 : x->n > y->n;
}

static void print_dict(struct printer *p, const struct dict *d)
{
    const struct value **order = render_alloc(p->r, (d->n + 1) * sizeof *order);
    if (!order)
        return;
    bool strings = true;
    for (size_t i = 0; i < d->n; i++) {
        order[i] = &d->keys[i];
        strings &= d->keys[i].kind == V_STRING;
    }
    if (p->sort && strings && d->n > 1)
        qsort(order, d->n, sizeof *order, by_key);
    put(p, "{");
    p->level++;
    for (size_t i = 0; i < d->n && p->r->code == 0; i++) {
        if (i)
            output_add(p->r, p->o, p->item);
        new_line(p);
        print_key(p, order[i]);
        output_add(p->r, p->o, p->pair);
        print_value(p, &d->values[order[i] - d->keys]);
    }
    p->level--;
    if (d->n)
        new_line(p);
    put(p, "}");
}

/* range(0, 3), dict_items([...]): not JSON. */
static void print_named(struct printer *p, const struct value *v)
{
    if (p->json || v->name.n == 0) {
        render_fail(p->r, "a value of type %s cannot be written here", value_type(v));
        return;
    }
    output_add(p->r, p->o, tstr_make(p->r, v->name.p, v->name.n, p->trusted));
    if (v->kind == V_RANGE)
        return;
    put(p, "(");
    print_list(p, v->u.list);
    put(p, ")");
}

static void print_value(struct printer *p, const struct value *v)
{
    char text[64];
    if (++p->r->depth > DEPTH_MAX) {
        render_fail(p->r, "a value is nested too deep");
        return;
    }
    switch (v->kind) {
    case V_STRING:
        if (v->markup && !p->json)
            put(p, "Markup(");
        print_string(p, v->u.s);
        if (v->markup && !p->json)
            put(p, ")");
        break;
    case V_LIST:
        print_list(p, v->u.list);
        break;
    case V_RANGE:
    case V_VIEW:
        print_named(p, v);
        break;
    case V_DICT:
        print_dict(p, v->u.dict);
        break;
    case V_UNDEFINED:
        if (p->json)
            render_fail(p->r, "something undefined cannot be written as JSON");
        put(p, "Undefined");
        break;
    case V_NONE:
        put(p, p->json ? "null" : "None");
        break;
    case V_BOOL:
        put(p, p->json ? (v->u.b ? "true" : "false") : v->u.b ? "True" : "False");
        break;
    case V_INT:
        snprintf(text, sizeof text, "%lld", (long long)v->u.i);
        put(p, text);
        break;
    case V_FLOAT:
        float_text(v->u.f, text);
        if (p->json && !isfinite(v->u.f))
            snprintf(text, sizeof text, "%s",
                     isnan(v->u.f) ? "NaN"
                     : v->u.f > 0  ? "Infinity"
                                   : "-Infinity");
        put(p, text);
        break;
    default:
        render_fail(p->r, "a value of type %s cannot be written", value_type(v));
    }
    p->r->depth--;
}

/* Numbers and brackets say nothing that a user could misuse; only strings carry their own trust. */
struct tstr value_repr(struct render *r, const struct value *v)
{
    struct output o = {0};
    struct printer p = {.r = r, .o = &o, .indent = -1, .trusted = true};
    p.item = tstr_make(r, ", ", 2, true);
    p.pair = tstr_make(r, ": ", 2, true);
    print_value(&p, v);
    return text_finish(r, &o);
}

struct tstr value_text(struct render *r, const struct value *v)
{
    if (v->kind == V_STRING)
        return v->u.s;
    if (v->kind == V_UNDEFINED)
        return (struct tstr){"", (const uint8_t *)"", 0};
    return value_repr(r, v);
}

struct tstr value_json(struct render *r, const struct value *v, const struct value *indent,
                       const struct value *separators, bool ascii, bool sort)
{
    struct output o = {0};
    struct printer p = {.r = r, .o = &o, .json = true, .ascii = ascii, .sort = sort, .indent = -1};
    if (indent && indent->kind == V_INT && indent->u.i >= 0 && indent->u.i <= 16)
        p.indent = (int)indent->u.i;
    p.item = p.indent >= 0 ? tstr_make(r, ",", 1, false) : tstr_make(r, ", ", 2, false);
    p.pair = tstr_make(r, ": ", 2, false);
    if (separators && separators->kind == V_LIST && separators->u.list->n == 2 &&
        separators->u.list->items[0].kind == V_STRING &&
        separators->u.list->items[1].kind == V_STRING) {
        p.item = separators->u.list->items[0].u.s;
        p.pair = separators->u.list->items[1].u.s;
    }
    print_value(&p, v);
    return text_finish(r, &o);
}
