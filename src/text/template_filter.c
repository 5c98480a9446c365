/* Filters, tests and global functions. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "text/template_int.h"

typedef struct value (*filter_fn)(struct call *c);

static struct value need_list(struct call *c, struct list **out)
{
    *out = value_items(c->r, &c->self);
    return *out ? c->self : (struct value){0};
}

static struct tstr need_text(struct call *c)
{
    return value_text(c->r, &c->self);
}

static struct value f_length(struct call *c)
{
    switch (c->self.kind) {
    case V_STRING:
        return value_int((int64_t)text_length(c->self.u.s));
    case V_LIST:
        return value_int((int64_t)c->self.u.list->n);
    case V_DICT:
        return value_int((int64_t)c->self.u.dict->n);
    case V_UNDEFINED:
        return value_int(0);
    default:
        return render_fail(c->r, "a value of type %s has no length", value_type(&c->self));
    }
}

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

static struct value f_title(struct call *c)
{
    return value_string(text_case(c->r, need_text(c), 't'));
}

static struct value f_capitalize(struct call *c)
{
    return value_string(text_case(c->r, need_text(c), 'c'));
}

static struct value f_tojson(struct call *c)
{
    const struct value *indent = call_arg(c, 1, "indent"),
                       *separators = call_arg(c, 2, "separators");
    const struct value *ascii = call_arg(c, 0, "ensure_ascii"), *sort = call_arg(c, 3, "sort_keys");
    if (c->self.kind == V_UNDEFINED)
        return render_fail(c->r, "tojson of something undefined");
    return value_string(value_json(c->r, &c->self, indent, separators, ascii && value_truth(ascii),
                                   sort && value_truth(sort)));
}

static struct value f_string(struct call *c)
{
    return value_string(need_text(c));
}

static struct value f_default(struct call *c)
{
    const struct value *fallback = call_arg(c, 0, "default_value"),
                       *boolean = call_arg(c, 1, "boolean");
    bool missing =
        c->self.kind == V_UNDEFINED || (boolean && value_truth(boolean) && !value_truth(&c->self));
    return !missing ? c->self : fallback ? *fallback : value_string(tstr_make(c->r, "", 0, true));
}

static struct value f_first(struct call *c)
{
    struct list *l;
    need_list(c, &l);
    return l && l->n ? l->items[0] : value_undefined((str){"first", 5});
}

static struct value f_last(struct call *c)
{
    struct list *l;
    need_list(c, &l);
    return l && l->n ? l->items[l->n - 1] : value_undefined((str){"last", 4});
}

static struct value copy_list(struct call *c, const struct list *l)
{
    struct value out = value_list(c->r);
    for (size_t i = 0; l && i < l->n && c->r->code == 0; i++)
        list_push(c->r, out.u.list, l->items[i]);
    return out;
}

static struct value f_list(struct call *c)
{
    struct list *l;
    need_list(c, &l);
    return copy_list(c, l);
}

static struct value f_reverse(struct call *c)
{
    struct list *l;
    struct value out = value_list(c->r);
    need_list(c, &l);
    for (size_t i = l ? l->n : 0; i > 0 && c->r->code == 0; i--)
        list_push(c->r, out.u.list, l->items[i - 1]);
    if (c->r->code == 0 && c->self.kind == V_STRING)
        return value_string(text_join(c->r, tstr_make(c->r, "", 0, true), out.u.list));
    return out;
}

static struct value f_join(struct call *c)
{
    const struct value *sep = call_arg(c, 0, "d"), *attribute = call_arg(c, 1, "attribute");
    struct list *l;
    need_list(c, &l);
    struct value items = copy_list(c, l);
    for (size_t i = 0;
         c->r->code == 0 && attribute && attribute->kind == V_STRING && i < items.u.list->n; i++)
        items.u.list->items[i] = get_item(c->r, &items.u.list->items[i], attribute);
    if (c->r->code < 0)
        return items;
    return value_string(
        text_join(c->r, sep ? value_text(c->r, sep) : tstr_make(c->r, "", 0, true), items.u.list));
}

static struct value f_int(struct call *c)
{
    const struct value *fallback = call_arg(c, 0, "default");
    int64_t i;
    double f;
    if (c->self.kind == V_INT)
        return c->self;
    if (c->self.kind == V_BOOL)
        return value_int(c->self.u.b);
    if (c->self.kind == V_FLOAT && fabs(c->self.u.f) < 9e18)
        return value_int((int64_t)c->self.u.f);
    if (c->self.kind == V_STRING) {
        struct tstr s = text_strip(c->self.u.s, NULL, true, true);
        if (str_to_i64((str){s.p, s.n}, &i))
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
    if (c->self.kind != V_INT || c->self.u.i == INT64_MIN)
        return render_fail(c->r, "abs of a value of type %s", value_type(&c->self));
    return value_int(c->self.u.i < 0 ? -c->self.u.i : c->self.u.i);
}

static struct value f_replace(struct call *c)
{
    const struct value *from = call_arg(c, 0, "old"), *to = call_arg(c, 1, "new"),
                       *count = call_arg(c, 2, "count");
    if (!from || !to)
        return render_fail(c->r, "replace wants two strings");
    return value_string(text_replace(c->r, need_text(c), value_text(c->r, from),
                                     value_text(c->r, to),
                                     count && count->kind == V_INT ? count->u.i : -1));
}

static struct value f_indent(struct call *c)
{
    const struct value *width = call_arg(c, 0, "width"), *first = call_arg(c, 1, "first"),
                       *blank = call_arg(c, 2, "blank");
    char spaces[65];
    int64_t n = width && width->kind == V_INT ? width->u.i : 4;
    if (n < 0 || n > 64)
        return render_fail(c->r, "indent of %lld", (long long)n);
    memset(spaces, ' ', (size_t)n);
    struct tstr pad =
        width && width->kind == V_STRING ? width->u.s : tstr_make(c->r, spaces, (size_t)n, true);
    struct tstr s = need_text(c), out = tstr_make(c->r, "", 0, true);
    bool indent_first = first && value_truth(first), indent_blank = blank && value_truth(blank);
    for (size_t at = 0; at <= s.n && c->r->code == 0;) {
        const char *end = at < s.n ? memchr(s.p + at, '\n', s.n - at) : NULL;
        size_t to = end ? (size_t)(end - s.p) + 1 : s.n;
        bool empty = to == at || (to == at + 1 && end);
        if ((at > 0 || indent_first) && (!empty || indent_blank))
            out = tstr_concat(c->r, out, pad);
        out = tstr_concat(c->r, out, tstr_slice(s, at, to));
        if (!end)
            break;
        at = to;
    }
    return value_string(out);
}

static struct value f_items(struct call *c)
{
    if (c->self.kind == V_UNDEFINED)
        return value_list(c->r);
    if (c->self.kind != V_DICT)
        return render_fail(c->r, "items of a value of type %s", value_type(&c->self));
    return call_method(c, (str){"items", 5});
}

/* ---- sorting ---- */

struct sorter {
    struct render *r;
    const struct value *attribute;
    bool fold;
};
static _Thread_local struct sorter *sorting;

static struct value sort_key(const struct value *v)
{
    struct render *r = sorting->r;
    struct value key = sorting->attribute ? get_item(r, v, sorting->attribute) : *v;
    return sorting->fold && key.kind == V_STRING ? value_string(text_case(r, key.u.s, 'l')) : key;
}

static int by_sort_key(const struct value *a, const struct value *b)
{
    struct value x = sort_key(a), y = sort_key(b);
    return sorting->r->code < 0 ? 0 : value_order(sorting->r, &x, &y);
}

/* Stable, as Python's: merge by halves. */
static void merge_sort(struct render *r, struct value *v, struct value *tmp, size_t n)
{
    if (n < 2 || r->code < 0)
        return;
    size_t half = n / 2, i = 0, j = half, k = 0;
    merge_sort(r, v, tmp, half);
    merge_sort(r, v + half, tmp, n - half);
    while (i < half || j < n)
        tmp[k++] = j == n || (i < half && by_sort_key(&v[i], &v[j]) <= 0) ? v[i++] : v[j++];
    memcpy(v, tmp, n * sizeof *v);
}

static struct value sorted(struct call *c, const struct value *attribute, bool fold, bool reverse,
                           const struct list *l)
{
    struct value out = copy_list(c, l);
    struct sorter s = {c->r, attribute, fold}, *outer = sorting;
    struct value *tmp = render_alloc(c->r, ((l ? l->n : 0) + 1) * sizeof *tmp);
    if (c->r->code < 0)
        return out;
    sorting = &s;
    merge_sort(c->r, out.u.list->items, tmp, out.u.list->n);
    sorting = outer;
    for (size_t i = 0, n = out.u.list->n; reverse && i < n / 2; i++) {
        struct value t = out.u.list->items[i];
        out.u.list->items[i] = out.u.list->items[n - 1 - i];
        out.u.list->items[n - 1 - i] = t;
    }
    return out;
}

static struct value f_sort(struct call *c)
{
    const struct value *reverse = call_arg(c, 0, "reverse"),
                       *exact = call_arg(c, 1, "case_sensitive");
    struct list *l;
    need_list(c, &l);
    return sorted(c, call_arg(c, 2, "attribute"), !(exact && value_truth(exact)),
                  reverse && value_truth(reverse), l);
}

static struct value f_dictsort(struct call *c)
{
    static const struct value zero = {.kind = V_INT};
    if (c->self.kind != V_DICT)
        return render_fail(c->r, "dictsort of a value of type %s", value_type(&c->self));
    struct value items = call_method(c, (str){"items", 5});
    return c->r->code < 0 ? items : sorted(c, &zero, true, false, items.u.list);
}

static struct value f_unique(struct call *c)
{
    struct list *l;
    struct value out = value_list(c->r);
    need_list(c, &l);
    for (size_t i = 0; l && i < l->n && c->r->code == 0; i++) {
        bool seen = false;
        for (size_t k = 0; k < out.u.list->n && !seen; k++)
            seen = value_equal(&out.u.list->items[k], &l->items[i]);
        if (!seen)
            list_push(c->r, out.u.list, l->items[i]);
    }
    return out;
}

/* ---- map, select, reject and their attribute forms ---- */

static struct value f_map(struct call *c)
{
    const struct value *attribute = call_arg(c, 99, "attribute"), *name = call_arg(c, 0, NULL),
                       *fallback = call_arg(c, 99, "default");
    struct list *l;
    struct value out = value_list(c->r);
    need_list(c, &l);
    for (size_t i = 0; l && i < l->n && c->r->code == 0; i++) {
        struct value v;
        if (attribute) {
            v = get_item(c->r, &l->items[i], attribute);
            v = v.kind == V_UNDEFINED && fallback ? *fallback : v;
        } else if (name && name->kind == V_STRING) {
            struct call inner = {.r = c->r,
                                 .self = l->items[i],
                                 .args = c->args + 1,
                                 .n = c->n - 1,
                                 .kwargs = c->kwargs};
            v = apply_filter(&inner, (str){name->u.s.p, name->u.s.n});
        } else {
            return render_fail(c->r, "map wants a filter's name or attribute=");
        }
        list_push(c->r, out.u.list, v);
    }
    return out;
}

static struct value pick(struct call *c, bool by_attribute, bool wanted)
{
    struct list *l;
    struct value out = value_list(c->r);
    size_t skip = by_attribute ? 1 : 0;
    need_list(c, &l);
    if (by_attribute && (c->n == 0 || c->args[0].kind != V_STRING))
        return render_fail(c->r, "selectattr and rejectattr want an attribute's name");
    for (size_t i = 0; l && i < l->n && c->r->code == 0; i++) {
        struct value v = by_attribute ? get_item(c->r, &l->items[i], &c->args[0]) : l->items[i];
        bool truth = value_truth(&v);
        if (c->n > skip && c->args[skip].kind == V_STRING) {
            struct call test = {
                .r = c->r, .self = v, .args = c->args + skip + 1, .n = c->n - skip - 1};
            struct value result =
                apply_test(&test, (str){c->args[skip].u.s.p, c->args[skip].u.s.n});
            truth = value_truth(&result);
        }
        if (truth == wanted)
            list_push(c->r, out.u.list, l->items[i]);
    }
    return out;
}

static struct value f_select(struct call *c)
{
    return pick(c, false, true);
}

static struct value f_reject(struct call *c)
{
    return pick(c, false, false);
}

static struct value f_selectattr(struct call *c)
{
    return pick(c, true, true);
}

static struct value f_rejectattr(struct call *c)
{
    return pick(c, true, false);
}

static struct value f_safe(struct call *c)
{
    return c->self;
}

static const struct {
    const char *name;
    filter_fn fn;
} filters[] = {
    {"length", f_length},
    {"count", f_length},
    {"trim", f_trim},
    {"upper", f_upper},
    {"lower", f_lower},
    {"title", f_title},
    {"capitalize", f_capitalize},
    {"tojson", f_tojson},
    {"string", f_string},
    {"default", f_default},
    {"d", f_default},
    {"first", f_first},
    {"last", f_last},
    {"list", f_list},
    {"reverse", f_reverse},
    {"join", f_join},
    {"int", f_int},
    {"float", f_float},
    {"abs", f_abs},
    {"replace", f_replace},
    {"indent", f_indent},
    {"items", f_items},
    {"sort", f_sort},
    {"dictsort", f_dictsort},
    {"unique", f_unique},
    {"map", f_map},
    {"select", f_select},
    {"reject", f_reject},
    {"selectattr", f_selectattr},
    {"rejectattr", f_rejectattr},
    {"safe", f_safe},
};

struct value apply_filter(struct call *c, str name)
{
    for (size_t i = 0; i < SP_COUNT(filters); i++)
        if (str_eqz(name, filters[i].name))
            return filters[i].fn(c);
    return render_fail(c->r, "no filter named '%.*s'", (int)(name.n < 60 ? name.n : 60), name.p);
}

/* ---- tests ---- */

static bool test_kind(const struct value *v, str name, bool *known)
{
    static const struct {
        const char *name;
        unsigned kinds;
    } kinds[] = {
        {"undefined", 1u << V_UNDEFINED},
        {"none", 1u << V_NONE},
        {"string", 1u << V_STRING},
        {"mapping", 1u << V_DICT},
        {"number", 1u << V_INT | 1u << V_FLOAT | 1u << V_BOOL},
        {"integer", 1u << V_INT},
        {"float", 1u << V_FLOAT},
        {"boolean", 1u << V_BOOL},
        {"sequence", 1u << V_LIST | 1u << V_STRING | 1u << V_DICT | 1u << V_UNDEFINED},
        {"iterable", 1u << V_LIST | 1u << V_STRING | 1u << V_DICT | 1u << V_UNDEFINED},
        {"callable", 1u << V_MACRO | 1u << V_BUILTIN | 1u << V_METHOD},
    };
    for (size_t i = 0; i < SP_COUNT(kinds); i++)
        if (str_eqz(name, kinds[i].name))
            return (kinds[i].kinds >> v->kind) & 1;
    *known = false;
    return false;
}

static bool test_compare(struct call *c, str name, bool *known)
{
    static const struct {
        const char *name;
        int low, high; /* the results of value_order that pass */
    } orders[] = {{"lt", -1, -1},        {"lessthan", -1, -1}, {"<", -1, -1}, {"gt", 1, 1},
                  {"greaterthan", 1, 1}, {">", 1, 1},          {"le", -1, 0}, {"<=", -1, 0},
                  {"ge", 0, 1},          {">=", 0, 1}};
    const struct value *other = call_arg(c, 0, NULL);
    *known = true;
    if (str_eqz(name, "eq") || str_eqz(name, "equalto") || str_eqz(name, "sameas") ||
        str_eqz(name, "=="))
        return other && value_equal(&c->self, other);
    if (str_eqz(name, "ne") || str_eqz(name, "!="))
        return other && !value_equal(&c->self, other);
    for (size_t i = 0; i < SP_COUNT(orders); i++)
        if (other && str_eqz(name, orders[i].name)) {
            int order = value_order(c->r, &c->self, other);
            return order >= orders[i].low && order <= orders[i].high;
        }
    *known = false;
    return false;
}

static bool test_in(struct call *c)
{
    const struct value *in = call_arg(c, 0, NULL);
    const struct list *l;
    if (in && in->kind == V_DICT)
        return dict_get(in->u.dict, c->self) != NULL;
    if (in && in->kind == V_STRING && c->self.kind == V_STRING)
        return c->self.u.s.n == 0 ||
               memmem(in->u.s.p, in->u.s.n, c->self.u.s.p, c->self.u.s.n) != NULL;
    l = in ? value_items(c->r, in) : NULL;
    for (size_t i = 0; l && i < l->n; i++)
        if (value_equal(&c->self, &l->items[i]))
            return true;
    return false;
}

static bool test_number(struct call *c, str name, bool *known)
{
    const struct value *by = call_arg(c, 0, NULL);
    *known = str_eqz(name, "odd") || str_eqz(name, "even") || str_eqz(name, "divisibleby");
    if (!*known)
        return false;
    if (c->self.kind != V_INT || (name.p[0] == 'd' && (!by || by->kind != V_INT || by->u.i == 0))) {
        render_fail(c->r, "test '%.*s' wants whole numbers", (int)name.n, name.p);
        return false;
    }
    return name.p[0] == 'd' ? c->self.u.i % by->u.i == 0
                            : (c->self.u.i % 2 != 0) == (name.p[0] == 'o');
}

struct value apply_test(struct call *c, str name)
{
    bool known = true;
    if (str_eqz(name, "defined"))
        return value_bool(c->self.kind != V_UNDEFINED);
    if (str_eqz(name, "true") || str_eqz(name, "false"))
        return value_bool(c->self.kind == V_BOOL && c->self.u.b == (name.p[0] == 't'));
    if (str_eqz(name, "in"))
        return value_bool(test_in(c));
    bool result = test_kind(&c->self, name, &known);
    if (!known)
        result = test_compare(c, name, &known);
    if (!known)
        result = test_number(c, name, &known);
    return known ? value_bool(result)
                 : render_fail(c->r, "no test named '%.*s'", (int)(name.n < 60 ? name.n : 60),
                               name.p);
}

/* ---- global functions ---- */

static struct value g_range(struct call *c)
{
    int64_t v[3] = {0, 0, 1};
    struct value out = value_list(c->r);
    if (c->n < 1 || c->n > 3)
        return render_fail(c->r, "range takes one to three numbers");
    for (size_t i = 0; i < c->n; i++) {
        if (c->args[i].kind != V_INT)
            return render_fail(c->r, "range wants whole numbers");
        v[c->n == 1 ? 1 : i] = c->args[i].u.i;
    }
    if (v[2] == 0)
        return render_fail(c->r, "range with a step of 0");
    for (int64_t i = v[0]; (v[2] > 0 ? i < v[1] : i > v[1]) && c->r->code == 0; i += v[2]) {
        if (out.u.list->n >= RANGE_MAX)
            return render_fail(c->r, "a range of more than %d numbers", RANGE_MAX);
        list_push(c->r, out.u.list, value_int(i));
    }
    return out;
}

static struct value g_dict(struct call *c, bool name_space)
{
    struct value out = value_dict(c->r);
    if (c->r->code < 0)
        return out;
    if (c->n == 1 && c->args[0].kind == V_DICT)
        for (size_t i = 0; i < c->args[0].u.dict->n; i++)
            dict_put(c->r, out.u.dict, c->args[0].u.dict->keys[i], c->args[0].u.dict->values[i]);
    for (size_t i = 0; c->kwargs && i < c->kwargs->n; i++)
        dict_put(c->r, out.u.dict, c->kwargs->keys[i], c->kwargs->values[i]);
    out.kind = name_space ? V_NAMESPACE : V_DICT;
    return out;
}

/* raise_exception("...") gives the template's own words, with the line. */
static struct value g_raise(struct call *c)
{
    const struct value *what = call_arg(c, 0, "message");
    struct tstr text = what ? value_text(c->r, what) : (struct tstr){"", NULL, 0};
    return render_fail(c->r, "%.*s", (int)(text.n < 300 ? text.n : 300), text.p);
}

static struct value g_strftime(struct call *c)
{
    const struct value *format = call_arg(c, 0, "format");
    char pattern[128], out[256];
    time_t now = time(NULL);
    struct tm tm;
    if (!format || format->kind != V_STRING || format->u.s.n >= sizeof pattern)
        return render_fail(c->r, "strftime_now wants a short format");
    memcpy(pattern, format->u.s.p, format->u.s.n);
    pattern[format->u.s.n] = '\0';
    localtime_r(&now, &tm);
    size_t n = strftime(out, sizeof out, pattern, &tm);
    return value_string(tstr_make(c->r, out, n, true));
}

bool is_builtin(str name)
{
    static const char *const names[] = {"range", "dict", "namespace", "raise_exception",
                                        "strftime_now"};
    for (size_t i = 0; i < SP_COUNT(names); i++)
        if (str_eqz(name, names[i]))
            return true;
    return false;
}

struct value call_builtin(struct call *c, str name)
{
    if (str_eqz(name, "range"))
        return g_range(c);
    if (str_eqz(name, "raise_exception"))
        return g_raise(c);
    if (str_eqz(name, "strftime_now"))
        return g_strftime(c);
    return g_dict(c, name.p[0] == 'n');
}
