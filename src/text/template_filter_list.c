/* Filters of lists: sorting, grouping, map, select and their kin. */
#include <stdlib.h>
#include <string.h>
#include "text/template_int.h"

static struct value copy_list(struct call *c, const struct list *l)
{
    struct value out = value_list(c->r);
    for (size_t i = 0; l && i < l->n && c->r->code == 0; i++)
        list_push(c->r, out.u.list, l->items[i]);
    return out;
}

/* The filtered value as a list of its own; the error is set otherwise. */
static struct list *need_list(struct call *c)
{
    return value_items(c->r, &c->self);
}

static struct value nothing(const char *name)
{
    return value_undefined(str_of(name));
}

/* "a.b.0" of an item, step by step, as Jinja's attribute= does; also a number. */
static struct value attribute_of(struct render *r, struct value item, const struct value *path,
                                 const struct value *fallback)
{
    if (path->kind != V_STRING)
        return get_item(r, &item, path);
    struct tstr s = path->u.s;
    for (size_t at = 0; at <= s.n && r->code == 0;) {
        const char *dot = memchr(s.p + at, '.', s.n - at);
        size_t to = dot ? (size_t)(dot - s.p) : s.n;
        int64_t i;
        struct value key = value_string(tstr_slice(s, at, to));
        if (str_to_i64((str){s.p + at, to - at}, &i) && i >= 0)
            key = value_int(i);
        item = get_item(r, &item, &key);
        if (item.kind == V_UNDEFINED && fallback)
            item = *fallback;
        at = to + 1;
    }
    return item;
}

static struct value f_length(struct call *c)
{
    switch (c->self.kind) {
    case V_STRING:
        return value_int((int64_t)text_length(c->self.u.s));
    case V_LIST:
    case V_VIEW:
    case V_RANGE:
        return value_int((int64_t)c->self.u.list->n);
    case V_DICT:
        return value_int((int64_t)c->self.u.dict->n);
    case V_LOOP:
        return value_int((int64_t)c->self.u.loop->items->n);
    case V_UNDEFINED:
        return value_int(0);
    default:
        return render_fail(c->r, "a value of type %s has no length", value_type(&c->self));
    }
}

static struct value f_first(struct call *c)
{
    struct list *l = need_list(c), *all = c->self.u.list;
    if (!l || l->n == 0)
        return nothing("first");
    if (c->self.kind == V_ITER) { /* the others are still to come */
        all->items = l->items + 1;
        all->n = l->n - 1;
        all->cap = 0;
    }
    return l->items[0];
}

static struct value f_last(struct call *c)
{
    if (c->self.kind == V_ITER)
        return call_fail(c, "last of an iterator: make it a list first");
    struct list *l = need_list(c);
    return l && l->n ? l->items[l->n - 1] : nothing("last");
}

static struct value f_list(struct call *c)
{
    return copy_list(c, need_list(c));
}

static struct value f_reverse(struct call *c)
{
    struct list *l = need_list(c);
    struct value out = value_list(c->r);
    for (size_t i = l ? l->n : 0; i > 0 && c->r->code == 0; i--)
        list_push(c->r, out.u.list, l->items[i - 1]);
    if (c->r->code == 0 && c->self.kind == V_STRING)
        return value_string(text_join(c->r, tstr_make(c->r, "", 0, true), out.u.list));
    return value_iter(out);
}

static struct value f_join(struct call *c)
{
    const struct value *sep = call_arg(c, 0, "d"), *attribute = call_arg(c, 1, "attribute");
    struct value items = copy_list(c, need_list(c));
    bool named = attribute && attribute->kind != V_NONE;
    for (size_t i = 0; c->r->code == 0 && named && i < items.u.list->n; i++)
        items.u.list->items[i] = attribute_of(c->r, items.u.list->items[i], attribute, NULL);
    if (c->r->code < 0)
        return items;
    return value_string(
        text_join(c->r, sep ? value_text(c->r, sep) : tstr_make(c->r, "", 0, true), items.u.list));
}

static struct value f_items(struct call *c)
{
    if (c->self.kind == V_UNDEFINED)
        return value_iter(value_list(c->r));
    if (c->self.kind != V_DICT)
        return render_fail(c->r, "items of a value of type %s", value_type(&c->self));
    struct value v = call_method(c, (str){"items", 5});
    v.kind = v.kind == V_VIEW ? V_ITER : v.kind;
    return v;
}

/* ---- sorting ---- */

/* A value and what it is sorted by. */
struct keyed {
    struct value v, key;
};

static struct value fold(struct render *r, struct value key, bool exact)
{
    return !exact && key.kind == V_STRING ? value_string(text_case(r, key.u.s, 'l')) : key;
}

/* One attribute, or a list of the values of "a,b". */
static struct value sort_key(struct call *c, const struct value *v, const struct value *attribute,
                             const struct value *fallback, bool exact)
{
    if (!attribute || attribute->kind == V_NONE)
        return fold(c->r, *v, exact);
    if (attribute->kind != V_STRING || !memchr(attribute->u.s.p, ',', attribute->u.s.n))
        return fold(c->r, attribute_of(c->r, *v, attribute, fallback), exact);
    struct value out = value_list(c->r);
    struct tstr s = attribute->u.s;
    for (size_t at = 0; at <= s.n && c->r->code == 0;) {
        const char *comma = memchr(s.p + at, ',', s.n - at);
        size_t to = comma ? (size_t)(comma - s.p) : s.n;
        struct value one = value_string(tstr_slice(s, at, to));
        list_push(c->r, out.u.list, fold(c->r, attribute_of(c->r, *v, &one, fallback), exact));
        at = to + 1;
    }
    return out;
}

/* The items with their keys; NULL after an error. */
static struct keyed *keyed_items(struct call *c, const struct list *l,
                                 const struct value *attribute, const struct value *fallback,
                                 bool exact)
{
    struct keyed *out = l ? render_alloc(c->r, (l->n + 1) * sizeof *out) : NULL;
    for (size_t i = 0; out && i < l->n && c->r->code == 0; i++)
        out[i] = (struct keyed){l->items[i], sort_key(c, &l->items[i], attribute, fallback, exact)};
    return c->r->code == 0 ? out : NULL;
}

/* Stable, as Python's, also when reversed: merge by halves. */
static void merge_sort(struct render *r, struct keyed *v, struct keyed *tmp, size_t n, bool reverse)
{
    if (n < 2 || r->code < 0)
        return;
    size_t half = n / 2, i = 0, j = half, k = 0;
    merge_sort(r, v, tmp, half, reverse);
    merge_sort(r, v + half, tmp, n - half, reverse);
    while (r->code == 0 && (i < half || j < n)) {
        int order = i == half ? 1 : j == n ? -1 : 0;
        if (order == 0 && i < half && j < n)
            order = value_equal(&v[i].key, &v[j].key)
                        ? 0
                        : value_order(r, &v[i].key, &v[j].key) * (reverse ? -1 : 1);
        render_spend(r, sizeof *v);
        tmp[k++] = order <= 0 ? v[i++] : v[j++];
    }
    if (r->code == 0)
        memcpy(v, tmp, n * sizeof *v);
}

static struct keyed *sorted_keys(struct call *c, const struct list *l,
                                 const struct value *attribute, const struct value *fallback,
                                 bool exact, bool reverse)
{
    struct keyed *keys = keyed_items(c, l, attribute, fallback, exact);
    struct keyed *tmp = keys ? render_alloc(c->r, (l->n + 1) * sizeof *tmp) : NULL;
    if (tmp)
        merge_sort(c->r, keys, tmp, l->n, reverse);
    return c->r->code == 0 ? keys : NULL;
}

static struct value sorted(struct call *c, const struct list *l, const struct value *attribute,
                           bool exact, bool reverse)
{
    struct keyed *keys = sorted_keys(c, l, attribute, NULL, exact, reverse);
    struct value out = value_list(c->r);
    for (size_t i = 0; keys && i < l->n && c->r->code == 0; i++)
        list_push(c->r, out.u.list, keys[i].v);
    return out;
}

static struct value f_sort(struct call *c)
{
    return sorted(c, need_list(c), call_arg(c, 2, "attribute"), call_flag(c, 1, "case_sensitive"),
                  call_flag(c, 0, "reverse"));
}

static struct value f_dictsort(struct call *c)
{
    const struct value *by = call_arg(c, 1, "by");
    bool values = by && by->kind == V_STRING && str_eqz((str){by->u.s.p, by->u.s.n}, "value");
    if (c->self.kind != V_DICT)
        return render_fail(c->r, "dictsort of a value of type %s", value_type(&c->self));
    struct value items = call_method(c, (str){"items", 5}), at = value_int(values);
    return c->r->code < 0 ? items
                          : sorted(c, items.u.list, &at, call_flag(c, 0, "case_sensitive"),
                                   call_flag(c, 2, "reverse"));
}

/* The first of the smallest or the largest. */
static struct value extreme(struct call *c, int sign)
{
    struct list *l = need_list(c);
    struct keyed *keys =
        keyed_items(c, l, call_arg(c, 1, "attribute"), NULL, call_flag(c, 0, "case_sensitive"));
    size_t best = 0;
    for (size_t i = 1; keys && i < l->n && c->r->code == 0; i++)
        if (value_order(c->r, &keys[i].key, &keys[best].key) * sign < 0)
            best = i;
    return keys && l->n ? keys[best].v : nothing("the least or greatest of nothing");
}

static struct value f_min(struct call *c)
{
    return extreme(c, 1);
}

static struct value f_max(struct call *c)
{
    return extreme(c, -1);
}

static struct value f_unique(struct call *c)
{
    struct list *l = need_list(c);
    struct keyed *keys =
        keyed_items(c, l, call_arg(c, 1, "attribute"), NULL, call_flag(c, 0, "case_sensitive"));
    struct value out = value_list(c->r), seen = value_dict(c->r);
    for (size_t i = 0; keys && i < l->n && c->r->code == 0; i++) {
        if (value_hashable(&keys[i].key) && dict_get(seen.u.dict, keys[i].key))
            continue;
        dict_put(c->r, seen.u.dict, keys[i].key, value_none());
        list_push(c->r, out.u.list, keys[i].v);
    }
    return value_iter(out);
}

/* (key, items) for each run of equal keys after sorting. */
static struct value f_groupby(struct call *c)
{
    const struct value *attribute = call_arg(c, 0, "attribute"),
                       *fallback = call_arg(c, 1, "default");
    struct list *l = need_list(c);
    bool exact = call_flag(c, 2, "case_sensitive");
    if (!attribute)
        return call_fail(c, "groupby wants an attribute");
    struct keyed *keys = sorted_keys(c, l, attribute, fallback, exact, false);
    struct value out = value_list(c->r), group = value_none();
    for (size_t i = 0; keys && i < l->n && c->r->code == 0; i++) {
        if (i == 0 || !value_equal(&keys[i].key, &keys[i - 1].key)) {
            group = value_list(c->r);
            if (c->r->code == 0)
                group.u.list->nesting = l->nesting;
            struct value pair =
                value_tuple(c->r, attribute_of(c->r, keys[i].v, attribute, fallback), group);
            if (c->r->code == 0)
                pair.u.list->group = true;
            list_push(c->r, out.u.list, pair);
        }
        if (c->r->code == 0)
            list_push(c->r, group.u.list, keys[i].v);
    }
    return out;
}

static struct value f_sum(struct call *c)
{
    const struct value *attribute = call_arg(c, 0, "attribute"), *start = call_arg(c, 1, "start");
    struct list *l = need_list(c);
    struct value sum = start ? *start : value_int(0);
    for (size_t i = 0; l && i < l->n && c->r->code == 0; i++) {
        struct value v = l->items[i];
        if (attribute && attribute->kind != V_NONE)
            v = attribute_of(c->r, v, attribute, NULL);
        sum = binary(c->r, OP_ADD, &sum, &v);
    }
    return sum;
}

/* Lists of n items, the last filled up. */
static struct value f_batch(struct call *c)
{
    const struct value *fill = call_arg(c, 1, "fill_with");
    int64_t n = call_int(c, 0, "linecount", 0);
    struct list *l = need_list(c);
    struct value out = value_list(c->r);
    if (n < 1 || n > RANGE_MAX)
        return call_fail(c, "batch wants a number of items");
    for (size_t i = 0; l && i < l->n && c->r->code == 0; i += (size_t)n) {
        struct value row = value_list(c->r);
        for (size_t k = i; c->r->code == 0 && k < i + (size_t)n; k++)
            if (k < l->n || (fill && fill->kind != V_NONE))
                list_push(c->r, row.u.list, k < l->n ? l->items[k] : *fill);
        list_push(c->r, out.u.list, row);
    }
    return value_iter(out);
}

/* n lists of about equal length, the longer ones first; the shorter ones filled up. */
static struct value f_slice(struct call *c)
{
    const struct value *fill = call_arg(c, 1, "fill_with");
    int64_t n = call_int(c, 0, "slices", 0);
    struct list *l = need_list(c);
    struct value out = value_list(c->r);
    if (n < 1 || n > RANGE_MAX)
        return call_fail(c, "slice wants a number of lists");
    size_t at = 0, length = l ? l->n / (size_t)n : 0, longer = l ? l->n % (size_t)n : 0;
    for (size_t i = 0; l && i < (size_t)n && c->r->code == 0; i++) {
        struct value row = value_list(c->r);
        for (size_t k = 0; k < length + (i < longer) && c->r->code == 0; k++)
            list_push(c->r, row.u.list, l->items[at++]);
        if (fill && fill->kind != V_NONE && i >= longer)
            list_push(c->r, row.u.list, *fill);
        list_push(c->r, out.u.list, row);
    }
    return value_iter(out);
}

static struct value f_attr(struct call *c)
{
    const struct value *name = call_arg(c, 0, "name");
    if (!name || name->kind != V_STRING || c->self.kind == V_DICT)
        return value_undefined((str){"attr", 4}); /* a dict's keys are no attributes */
    return get_attribute(c->r, &c->self, (str){name->u.s.p, name->u.s.n});
}

/* ---- map, select, reject and their attribute forms ---- */

static struct value map_one(struct call *c, struct value item)
{
    const struct value *attribute = call_arg(c, 99, "attribute"), *name = call_arg(c, 0, NULL);
    if (!name && attribute)
        return attribute_of(c->r, item, attribute, call_arg(c, 99, "default"));
    if (!name || name->kind != V_STRING)
        return call_fail(c, "map wants a filter's name or attribute=");
    struct call inner = {
        .r = c->r, .self = item, .args = c->args + 1, .n = c->n - 1, .kwargs = c->kwargs};
    return apply_filter(&inner, (str){name->u.s.p, name->u.s.n});
}

/* What is false (none, "", nothing) gives nothing, as with all of these filters. */
static const struct list *need_list_or_none(struct call *c)
{
    static const struct list empty;
    return value_truth(&c->self) ? need_list(c) : &empty;
}

static struct value f_map(struct call *c)
{
    const struct list *l = need_list_or_none(c);
    struct value out = value_list(c->r);
    for (size_t i = 0; l && i < l->n && c->r->code == 0; i++)
        list_push(c->r, out.u.list, map_one(c, l->items[i]));
    return value_iter(out);
}

static struct value pick(struct call *c, bool by_attribute, bool wanted)
{
    const struct list *l = need_list_or_none(c);
    struct value out = value_list(c->r);
    size_t skip = by_attribute ? 1 : 0;
    if (by_attribute && c->n == 0)
        return call_fail(c, "selectattr and rejectattr want an attribute's name");
    for (size_t i = 0; l && i < l->n && c->r->code == 0; i++) {
        struct value v = l->items[i];
        if (by_attribute)
            v = attribute_of(c->r, v, &c->args[0], NULL);
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
    return value_iter(out);
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

static const struct entry filters[] = {
    {"length", f_length},
    {"count", f_length},
    {"first", f_first},
    {"last", f_last},
    {"list", f_list},
    {"reverse", f_reverse},
    {"join", f_join},
    {"items", f_items},
    {"sort", f_sort},
    {"dictsort", f_dictsort},
    {"min", f_min},
    {"max", f_max},
    {"sum", f_sum},
    {"unique", f_unique},
    {"groupby", f_groupby},
    {"batch", f_batch},
    {"slice", f_slice},
    {"attr", f_attr},
    {"map", f_map},
    {"select", f_select},
    {"reject", f_reject},
    {"selectattr", f_selectattr},
    {"rejectattr", f_rejectattr},
};

call_fn list_filter(str name)
{
    return entry_find(filters, SP_COUNT(filters), name);
}
