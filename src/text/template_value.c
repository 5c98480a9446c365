/* Values: making, comparing, and turning JSON into them. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "text/template_int.h"

struct value render_fail(struct render *r, const char *fmt, ...)
{
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (r->code == 0)
        r->code = sp_fail(r->err, SP_ETEMPLATE, "chat template: line %d: %s", r->line, text);
    return (struct value){0};
}

struct value render_nomem(struct render *r)
{
    if (r->code == 0)
        r->code = sp_fail(r->err, SP_ENOMEM, "chat template: line %d: out of memory", r->line);
    return (struct value){0};
}

void *render_alloc(struct render *r, size_t n)
{
    if (n > ARENA_MAX - arena_used(r->arena)) {
        render_fail(r, "it needs more than %zu MB", ARENA_MAX >> 20);
        return NULL;
    }
    void *p = arena_alloc(r->arena, n ? n : 1);
    if (!p)
        render_nomem(r);
    return p;
}

bool render_spend(struct render *r, size_t n)
{
    r->steps += (long)(n / STEP_BYTES);
    if (r->code == 0 && r->steps > STEPS_MAX)
        render_fail(r, "it takes more than %d steps", STEPS_MAX);
    return r->code == 0;
}

size_t value_size(const struct value *v)
{
    return v->kind == V_STRING                           ? v->u.s.n
           : v->kind >= V_LIST && v->kind <= V_RANGE     ? v->u.list->n * sizeof(struct value)
           : v->kind == V_DICT || v->kind == V_NAMESPACE ? v->u.dict->n * 2 * sizeof(struct value)
                                                         : 0;
}

struct value value_none(void)
{
    return (struct value){.kind = V_NONE};
}

struct value value_bool(bool b)
{
    return (struct value){.kind = V_BOOL, .u.b = b};
}

struct value value_int(int64_t i)
{
    return (struct value){.kind = V_INT, .u.i = i};
}

struct value value_float(double f)
{
    return (struct value){.kind = V_FLOAT, .u.f = f};
}

struct value value_string(struct tstr s)
{
    return (struct value){.kind = V_STRING, .u.s = s};
}

struct value value_undefined(str name)
{
    return (struct value){.kind = V_UNDEFINED, .name = name};
}

struct value value_list(struct render *r)
{
    struct list *l = render_alloc(r, sizeof *l);
    return l ? (struct value){.kind = V_LIST, .u.list = l} : (struct value){0};
}

struct value value_tuple(struct render *r, struct value a, struct value b)
{
    struct value pair = value_list(r);
    list_push(r, pair.u.list, a);
    list_push(r, pair.u.list, b);
    if (r->code == 0)
        pair.u.list->tuple = true;
    return pair;
}

struct value value_iter(struct value list)
{
    if (list.kind == V_LIST)
        list.kind = V_ITER;
    return list;
}

struct value value_text_of(struct render *r, const char *z)
{
    return value_string(tstr_make(r, z, strlen(z), true));
}

struct value value_dict(struct render *r)
{
    struct dict *d = render_alloc(r, sizeof *d);
    return d ? (struct value){.kind = V_DICT, .u.dict = d} : (struct value){0};
}

struct tstr tstr_make(struct render *r, const char *p, size_t n, bool trusted)
{
    char *text = render_alloc(r, n + 1);
    uint8_t *trust = render_alloc(r, n + 1);
    if (!text || !trust)
        return (struct tstr){"", (const uint8_t *)"", 0};
    if (n)
        memcpy(text, p, n);
    memset(trust, trusted ? 1 : 0, n);
    return (struct tstr){text, trust, n};
}

struct tstr tstr_slice(struct tstr s, size_t from, size_t to)
{
    return (struct tstr){s.p + from, s.trust + from, to - from};
}

struct tstr tstr_concat(struct render *r, struct tstr a, struct tstr b)
{
    char *text = render_alloc(r, a.n + b.n + 1);
    uint8_t *trust = render_alloc(r, a.n + b.n + 1);
    if (!text || !trust)
        return a;
    if (a.n) {
        memcpy(text, a.p, a.n);
        memcpy(trust, a.trust, a.n);
    }
    if (b.n) {
        memcpy(text + a.n, b.p, b.n);
        memcpy(trust + a.n, b.trust, b.n);
    }
    return (struct tstr){text, trust, a.n + b.n};
}

static bool grow(struct render *r, struct value **items, size_t n, size_t cap)
{
    struct value *grown = render_alloc(r, cap * sizeof *grown);
    if (!grown)
        return false;
    if (n && *items)
        memcpy(grown, *items, n * sizeof *grown);
    *items = grown;
    return true;
}

static int nesting_of(const struct value *v)
{
    return v->kind >= V_LIST && v->kind <= V_RANGE ? v->u.list->nesting + 1
           : v->kind == V_DICT                     ? v->u.dict->nesting + 1
                                                   : 0;
}

static bool nest(struct render *r, int *nesting, const struct value *v)
{
    int n = nesting_of(v);
    if (n > NESTING_MAX)
        render_fail(r, "a value is nested too deep");
    *nesting = n > *nesting ? n : *nesting;
    return r->code == 0;
}

bool list_push(struct render *r, struct list *l, struct value v)
{
    if (!l || !nest(r, &l->nesting, &v))
        return false;
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 8;
        if (!grow(r, &l->items, l->n, cap))
            return false;
        l->cap = cap;
    }
    l->items[l->n++] = v;
    return true;
}

/* ---- dicts ---- */

#define SLOTS_FROM 16 /* fewer keys are looked through one by one */

/* Equal values have equal hashes: 1, 1.0 and true are equal. */
static uint64_t hash_value(const struct value *v)
{
    uint64_t h = 14695981039346656037u; /* FNV-1a */
    double f = v->kind == V_FLOAT ? v->u.f : v->kind == V_BOOL ? (double)v->u.b : 0;
    if (v->kind == V_INT)
        f = (double)v->u.i;
    f += 0.0; /* -0.0 is 0.0 */
    unsigned char number[sizeof f];
    memcpy(number, &f, sizeof f);
    bool text = v->kind == V_STRING;
    const unsigned char *p = text ? (const unsigned char *)v->u.s.p : number;
    for (size_t i = 0, n = text ? v->u.s.n : sizeof number; i < n; i++)
        h = (h ^ p[i]) * 1099511628211u;
    return h ^ h >> 29;
}

/* The slot of the key, or the empty one where it belongs. */
static uint32_t *slot_of(const struct dict *d, const struct value *key)
{
    size_t at = (size_t)hash_value(key) & (d->n_slots - 1);
    while (d->slots[at] && !value_equal(&d->keys[d->slots[at] - 1], key))
        at = (at + 1) & (d->n_slots - 1);
    return &d->slots[at];
}

static struct value *dict_at(const struct dict *d, const struct value *key)
{
    if (d->slots) {
        uint32_t i = *slot_of(d, key);
        return i ? &d->values[i - 1] : NULL;
    }
    for (size_t i = 0; d->values && i < d->n; i++)
        if (value_equal(&d->keys[i], key))
            return &d->values[i];
    return NULL;
}

static bool dict_grow(struct render *r, struct dict *d)
{
    size_t cap = d->cap ? 2 * d->cap : 8;
    if (!grow(r, &d->keys, d->n, cap) || !grow(r, &d->values, d->n, cap))
        return false;
    d->cap = cap;
    if (cap <= SLOTS_FROM)
        return true;
    uint32_t *slots = render_alloc(r, 2 * cap * sizeof *slots);
    if (!slots)
        return false;
    d->slots = slots;
    d->n_slots = 2 * cap;
    for (size_t i = 0; i < d->n; i++)
        *slot_of(d, &d->keys[i]) = (uint32_t)i + 1;
    return true;
}

bool dict_put(struct render *r, struct dict *d, struct value key, struct value v)
{
    struct value *at = d ? dict_at(d, &key) : NULL;
    if (!d || !nest(r, &d->nesting, &v))
        return false;
    if (at) {
        *at = v;
        return true;
    }
    if (!value_hashable(&key)) {
        render_fail(r, "a value of type %s cannot be a key", value_type(&key));
        return false;
    }
    if ((!d->values || d->n == d->cap) && !dict_grow(r, d))
        return false;
    if (d->slots)
        *slot_of(d, &key) = (uint32_t)d->n + 1;
    d->keys[d->n] = key;
    d->values[d->n++] = v;
    return true;
}

const struct value *dict_get(const struct dict *d, struct value key)
{
    return dict_at(d, &key);
}

bool value_hashable(const struct value *v)
{
    bool tuple = v->kind == V_LIST && v->u.list->tuple;
    for (size_t i = 0; tuple && i < v->u.list->n; i++)
        if (!value_hashable(&v->u.list->items[i]))
            return false;
    return tuple || (v->kind != V_LIST && v->kind != V_DICT && v->kind != V_VIEW);
}

const struct value *dict_find(const struct dict *d, str key)
{
    if (d->slots) {
        struct tstr text = {key.p, NULL, key.n};
        return dict_get(d, value_string(text));
    }
    for (size_t i = 0; i < d->n; i++) {
        const struct value *k = &d->keys[i];
        if (k->kind == V_STRING && k->u.s.n == key.n &&
            (key.n == 0 || memcmp(k->u.s.p, key.p, key.n) == 0))
            return &d->values[i];
    }
    return NULL;
}

bool value_truth(const struct value *v)
{
    switch (v->kind) {
    case V_UNDEFINED:
    case V_NONE:
        return false;
    case V_BOOL:
        return v->u.b;
    case V_INT:
        return v->u.i != 0;
    case V_FLOAT:
        return v->u.f < 0 || v->u.f > 0 || isnan(v->u.f);
    case V_STRING:
        return v->u.s.n > 0;
    case V_LIST:
    case V_VIEW:
    case V_RANGE:
        return v->u.list->n > 0;
    case V_DICT:
        return v->u.dict->n > 0;
    default:
        return true;
    }
}

static bool is_number(const struct value *v)
{
    return v->kind == V_INT || v->kind == V_FLOAT || v->kind == V_BOOL;
}

static double number(const struct value *v)
{
    return v->kind == V_FLOAT ? v->u.f : v->kind == V_BOOL ? (double)v->u.b : (double)v->u.i;
}

static bool lists_equal(const struct list *a, const struct list *b)
{
    if (a->n != b->n || a->tuple != b->tuple)
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (!value_equal(&a->items[i], &b->items[i]))
            return false;
    return true;
}

static bool dicts_equal(const struct dict *a, const struct dict *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++) {
        const struct value *other = dict_at(b, &a->keys[i]);
        if (!other || !value_equal(&a->values[i], other))
            return false;
    }
    return true;
}

bool value_equal(const struct value *a, const struct value *b)
{
    if (is_number(a) && is_number(b))
        return a->kind == V_INT && b->kind == V_INT
                   ? a->u.i == b->u.i
                   : !(number(a) < number(b)) && !(number(a) > number(b));
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case V_UNDEFINED:
    case V_NONE:
        return true;
    case V_STRING:
        return a->u.s.n == b->u.s.n && (a->u.s.n == 0 || memcmp(a->u.s.p, b->u.s.p, a->u.s.n) == 0);
    case V_LIST:
    case V_RANGE:
        return lists_equal(a->u.list, b->u.list);
    case V_DICT:
        return dicts_equal(a->u.dict, b->u.dict);
    default:
        return a->u.dict == b->u.dict && str_eq(a->name, b->name);
    }
}

int value_order(struct render *r, const struct value *a, const struct value *b)
{
    if (a->kind == V_INT && b->kind == V_INT)
        return a->u.i < b->u.i ? -1 : a->u.i > b->u.i;
    if (is_number(a) && is_number(b))
        return number(a) < number(b) ? -1 : number(a) > number(b);
    if (a->kind == V_STRING && b->kind == V_STRING) {
        size_t n = a->u.s.n < b->u.s.n ? a->u.s.n : b->u.s.n;
        int c = n ? memcmp(a->u.s.p, b->u.s.p, n) : 0; /* UTF-8 keeps the order of code points */
        return c ? (c < 0 ? -1 : 1) : a->u.s.n < b->u.s.n ? -1 : a->u.s.n > b->u.s.n;
    }
    if (a->kind == V_LIST && b->kind == V_LIST && a->u.list->tuple == b->u.list->tuple) {
        const struct list *x = a->u.list, *y = b->u.list;
        for (size_t i = 0; i < x->n && i < y->n; i++)
            if (!value_equal(&x->items[i], &y->items[i]))
                return value_order(r, &x->items[i], &y->items[i]);
        return x->n < y->n ? -1 : x->n > y->n;
    }
    render_fail(r, "%s and %s have no order", value_type(a), value_type(b));
    return 0;
}

const char *value_type(const struct value *v)
{
    static const char *const names[] = {
        "undefined", "none",  "bool", "int",       "float", "str",      "list", "iterator",
        "view",      "range", "dict", "namespace", "macro", "function", "loop", "method"};
    return v->kind == V_LIST && v->u.list->tuple ? "tuple" : names[v->kind];
}

static struct value list_from_json(struct render *r, const json_t *j, bool trusted)
{
    struct value v = value_list(r);
    for (size_t i = 0; i < json_array_size(j) && r->code == 0; i++)
        list_push(r, v.u.list, value_from_json(r, json_array_get(j, i), trusted));
    return v;
}

static struct value dict_from_json(struct render *r, const json_t *j, bool trusted)
{
    struct value v = value_dict(r);
    json_t *object = (json_t *)(uintptr_t)j;
    for (void *at = json_object_iter(object); at && r->code == 0;
         at = json_object_iter_next(object, at)) {
        const char *key = json_object_iter_key(at);
        struct value item = value_from_json(r, json_object_iter_value(at), trusted);
        dict_put(r, v.u.dict, value_string(tstr_make(r, key, strlen(key), trusted)), item);
    }
    return v;
}

struct value value_from_json(struct render *r, const json_t *j, bool trusted)
{
    switch (json_typeof(j)) {
    case JSON_STRING:
        return value_string(tstr_make(r, json_string_value(j), json_string_length(j), trusted));
    case JSON_INTEGER:
        return value_int(json_integer_value(j));
    case JSON_REAL:
        return value_float(json_real_value(j));
    case JSON_TRUE:
    case JSON_FALSE:
        return value_bool(json_is_true(j));
    case JSON_NULL:
        return value_none();
    case JSON_ARRAY:
        return list_from_json(r, j, trusted);
    default:
        return dict_from_json(r, j, trusted);
    }
}

size_t text_length(struct tstr s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
    return n;
}

size_t text_offset(struct tstr s, size_t code_points)
{
    size_t i = 0;
    for (; i < s.n; i++)
        if (((unsigned char)s.p[i] & 0xc0) != 0x80 && code_points-- == 0)
            return i;
    return i;
}
