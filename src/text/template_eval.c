/* Expressions. */
#include <math.h>
#include <string.h>
#include "text/template_int.h"

static bool step(struct render *r, const struct node *n)
{
    r->line = n->line;
    if (r->code < 0)
        return false;
    if (++r->steps > STEPS_MAX) {
        render_fail(r, "it takes more than %d steps", STEPS_MAX);
        return false;
    }
    return true;
}

static struct value lookup(struct render *r, str name)
{
    for (const struct frame *f = r->frame; f; f = f->up) {
        const struct value *v = dict_find(&f->vars, name);
        if (v)
            return *v;
    }
    if (is_builtin(name))
        return (struct value){.kind = V_BUILTIN, .name = name};
    return value_undefined(name);
}

/* ---- attributes and items ---- */

static struct value method_value(struct render *r, const struct value *self, str name)
{
    struct method *m = render_alloc(r, sizeof *m);
    if (m)
        *m = (struct method){*self, name};
    return m ? (struct value){.kind = V_METHOD, .u.method = m} : (struct value){0};
}

static struct value loop_attribute(struct render *r, struct loop_state *l, str name)
{
    const struct {
        const char *name;
        int64_t value;
    } numbers[] = {{"index", (int64_t)l->index + 1},
                   {"index0", (int64_t)l->index},
                   {"length", (int64_t)l->items->n},
                   {"revindex", (int64_t)(l->items->n - l->index)},
                   {"revindex0", (int64_t)(l->items->n - l->index) - 1},
                   {"depth", l->depth + 1},
                   {"depth0", l->depth}};
    for (size_t i = 0; i < SP_COUNT(numbers); i++)
        if (str_eqz(name, numbers[i].name))
            return value_int(numbers[i].value);
    if (str_eqz(name, "first"))
        return value_bool(l->index == 0);
    if (str_eqz(name, "last"))
        return value_bool(l->index + 1 == l->items->n);
    if (str_eqz(name, "cycle") || str_eqz(name, "changed"))
        return method_value(r, &(struct value){.kind = V_LOOP, .u.loop = l}, name);
    if (str_eqz(name, "previtem"))
        return l->index ? l->items->items[l->index - 1] : value_undefined(name);
    if (str_eqz(name, "nextitem"))
        return l->index + 1 < l->items->n ? l->items->items[l->index + 1] : value_undefined(name);
    return value_undefined(name);
}

/* loop.cycle(a, b) and loop.changed(x). */
static struct value loop_method(struct call *c, str name)
{
    struct loop_state *l = c->self.u.loop;
    if (name.p[1] == 'y')
        return c->n ? c->args[l->index % c->n] : call_fail(c, "cycle wants values");
    struct value now = value_list(c->r);
    for (size_t i = 0; i < c->n && c->r->code == 0; i++)
        list_push(c->r, now.u.list, c->args[i]);
    bool changed = l->last.kind != V_LIST || !value_equal(&l->last, &now);
    l->last = now;
    return value_bool(changed);
}

static struct value undefined_access(struct render *r, const struct value *v)
{
    return render_fail(r, "'%.*s' is undefined", (int)(v->name.n < 80 ? v->name.n : 80),
                       v->name.p ? v->name.p : "");
}

static bool changes_dict(str name)
{
    static const char *const names[] = {"clear", "pop", "popitem", "setdefault", "update"};
    for (size_t i = 0; i < SP_COUNT(names); i++)
        if (str_eqz(name, names[i]))
            return true;
    return false;
}

struct value get_attribute(struct render *r, const struct value *v, str name)
{
    if (v->kind == V_UNDEFINED)
        return undefined_access(r, v);
    if (v->kind == V_LOOP)
        return loop_attribute(r, v->u.loop, name);
    /* Python's attributes come before a dict's keys: "d.items" is the method even when there is a key.
     * Those that change a dict are undefined, as the sandbox has it. */
    if (is_method(v, name))
        return method_value(r, v, name);
    if (v->kind == V_LIST && v->u.list->group &&
        (str_eqz(name, "grouper") || str_eqz(name, "list")))
        return v->u.list->items[name.p[0] == 'l'];
    if (v->kind == V_NAMESPACE || (v->kind == V_DICT && !changes_dict(name))) {
        const struct value *found = dict_find(v->u.dict, name);
        return found ? *found : value_undefined(name);
    }
    return value_undefined(name);
}

struct value get_item(struct render *r, const struct value *v, const struct value *key)
{
    if (v->kind == V_UNDEFINED)
        return undefined_access(r, v);
    if (v->kind == V_DICT && value_hashable(key)) {
        const struct value *found = dict_get(v->u.dict, *key);
        if (found)
            return *found;
    }
    if (key->kind == V_STRING) {
        /* Not the keys again, but methods: "d['items']" without such a key. */
        str name = {key->u.s.p, key->u.s.n};
        return v->kind == V_DICT && !is_method(v, name) ? value_undefined(name)
                                                        : get_attribute(r, v, name);
    }
    if (key->kind != V_INT && key->kind != V_BOOL)
        return value_undefined((str){"item", 4});
    int64_t i = key->kind == V_INT ? key->u.i : key->u.b;
    if (v->kind == V_LIST || v->kind == V_RANGE) {
        int64_t n = (int64_t)v->u.list->n;
        i = i < 0 ? i + n : i;
        return i >= 0 && i < n ? v->u.list->items[i] : value_undefined((str){"item", 4});
    }
    if (v->kind == V_STRING) {
        int64_t n = (int64_t)text_length(v->u.s);
        i = i < 0 ? i + n : i;
        if (i < 0 || i >= n)
            return value_undefined((str){"item", 4});
        return value_string(
            tstr_slice(v->u.s, text_offset(v->u.s, (size_t)i), text_offset(v->u.s, (size_t)i + 1)));
    }
    return value_undefined((str){"item", 4});
}

struct list *value_items(struct render *r, const struct value *v)
{
    if (v->kind == V_LIST || v->kind == V_VIEW || v->kind == V_RANGE)
        return v->u.list;
    struct value out = value_list(r);
    if (r->code < 0)
        return NULL;
    if (v->kind == V_ITER) {
        *out.u.list = *v->u.list;
        *v->u.list = (struct list){0};
        return out.u.list;
    }
    if (v->kind == V_DICT) {
        for (size_t i = 0; i < v->u.dict->n; i++)
            list_push(r, out.u.list, v->u.dict->keys[i]);
    } else if (v->kind == V_STRING) {
        for (size_t i = 0; i < v->u.s.n && r->code == 0;) {
            uint32_t cp;
            size_t n = utf8_decode(v->u.s.p + i, v->u.s.n - i, &cp);
            n = n ? n : 1;
            list_push(r, out.u.list, value_string(tstr_slice(v->u.s, i, i + n)));
            i += n;
        }
    } else if (v->kind != V_UNDEFINED) {
        render_fail(r, "a value of type %s cannot be gone through", value_type(v));
    }
    return r->code < 0 ? NULL : out.u.list;
}

struct range {
    int64_t from, to, by;
};

/* Python's rules for slices with missing and negative ends. */
static bool slice_range(struct render *r, const struct node *n, int64_t length, struct range *out)
{
    struct value from = n->b ? eval(r, n->b) : value_none(),
                 to = n->c ? eval(r, n->c) : value_none();
    struct value by = n->n ? eval(r, n->kids[0]) : value_none();
    const struct value *all[] = {&from, &to, &by};
    for (size_t i = 0; i < 3; i++)
        if (all[i]->kind != V_NONE && all[i]->kind != V_INT)
            render_fail(r, "a slice wants whole numbers, not %s", value_type(all[i]));
    if (r->code < 0)
        return false;
    out->by = by.kind == V_INT ? by.u.i : 1;
    if (out->by == 0) {
        render_fail(r, "a slice's step is 0");
        return false;
    }
    bool back = out->by < 0;
    int64_t low = back ? -1 : 0, high = back ? length - 1 : length;
    const struct value *ends[] = {&from, &to};
    int64_t *targets[] = {&out->from, &out->to};
    for (size_t i = 0; i < 2; i++) {
        int64_t v;
        if (ends[i]->kind == V_NONE)
            v = (i == 0) == back ? high : low;
        else
            v = ends[i]->u.i < 0 ? ends[i]->u.i + length : ends[i]->u.i;
        *targets[i] = v < low ? low : v > high ? high : v;
    }
    return true;
}

static struct value slice(struct render *r, const struct node *n, const struct value *v)
{
    struct range range;
    struct value out = value_list(r);
    if (v->kind != V_LIST && v->kind != V_STRING && v->kind != V_RANGE)
        return v->kind == V_UNDEFINED
                   ? undefined_access(r, v)
                   : render_fail(r, "a value of type %s cannot be sliced", value_type(v));
    bool text = v->kind == V_STRING;
    int64_t length = text ? (int64_t)text_length(v->u.s) : (int64_t)v->u.list->n;
    if (r->code < 0 || !slice_range(r, n, length, &range))
        return (struct value){0};
    if (text && range.by == 1)
        return value_string(range.from >= range.to
                                ? tstr_slice(v->u.s, 0, 0)
                                : tstr_slice(v->u.s, text_offset(v->u.s, (size_t)range.from),
                                             text_offset(v->u.s, (size_t)range.to)));
    const struct list *items = value_items(r, v);
    for (int64_t i = range.from; items && (range.by > 0 ? i < range.to : i > range.to);
         i += range.by)
        if (!list_push(r, out.u.list, items->items[i]))
            break;
    if (r->code < 0)
        return (struct value){0};
    out.u.list->tuple = v->kind == V_LIST && v->u.list->tuple;
    out.kind = v->kind == V_RANGE ? V_RANGE : V_LIST; /* without the text that it is printed as */
    return text ? value_string(text_join(r, tstr_make(r, "", 0, true), out.u.list)) : out;
}

/* ---- operators ---- */

static bool numeric(const struct value *v, double *f, int64_t *i)
{
    if (v->kind != V_INT && v->kind != V_FLOAT && v->kind != V_BOOL)
        return false;
    *i = v->kind == V_INT ? v->u.i : v->kind == V_BOOL ? v->u.b : 0;
    *f = v->kind == V_FLOAT ? v->u.f : (double)*i;
    return true;
}

static struct value no_operator(struct render *r, const struct value *a, const struct value *b)
{
    if (a->kind == V_UNDEFINED || b->kind == V_UNDEFINED)
        return undefined_access(r, a->kind == V_UNDEFINED ? a : b);
    return render_fail(r, "this operator does not work on %s and %s", value_type(a), value_type(b));
}

static struct value int_arithmetic(struct render *r, enum op op, int64_t a, int64_t b)
{
    int64_t out = 0;
    if ((op == OP_FLOORDIV || op == OP_MOD) && b == 0)
        return render_fail(r, "a division by zero");
    if ((op == OP_FLOORDIV || op == OP_MOD) && b == -1)
        return op == OP_MOD     ? value_int(0)
               : a == INT64_MIN ? render_fail(r, "a number too large")
                                : value_int(-a);
    bool overflow = false;
    switch (op) {
    case OP_ADD:
        overflow = __builtin_add_overflow(a, b, &out);
        break;
    case OP_SUB:
        overflow = __builtin_sub_overflow(a, b, &out);
        break;
    case OP_MUL:
        overflow = __builtin_mul_overflow(a, b, &out);
        break;
    case OP_FLOORDIV:
        out = a / b - ((a % b != 0) && ((a % b < 0) != (b < 0)));
        break;
    default: /* OP_MOD: the sign of the divisor, as Python has it */
        out = a % b;
        out += out != 0 && (out < 0) != (b < 0) ? b : 0;
    }
    return overflow ? render_fail(r, "a number too large") : value_int(out);
}

static struct value power(struct render *r, const struct value *a, const struct value *b)
{
    double x = 0, y = 0;
    int64_t i = 0, k = 0, out = 1;
    numeric(a, &x, &i);
    numeric(b, &y, &k);
    if (!(x < 0 || x > 0) && y < 0)
        return render_fail(r, "a division by zero");
    if (a->kind == V_FLOAT || b->kind == V_FLOAT || k < 0)
        return value_float(pow(x, y));
    if (i == 0 || i == 1 || i == -1)
        return value_int(k == 0 ? 1 : i == -1 ? (k % 2 ? -1 : 1) : i);
    for (; k > 0; k--)
        if (__builtin_mul_overflow(out, i, &out))
            return render_fail(r, "a number too large");
    return value_int(out);
}

static struct value arithmetic(struct render *r, enum op op, const struct value *a,
                               const struct value *b)
{
    double x = 0, y = 0;
    int64_t i = 0, k = 0;
    if (!numeric(a, &x, &i) || !numeric(b, &y, &k))
        return no_operator(r, a, b);
    bool whole = a->kind != V_FLOAT && b->kind != V_FLOAT;
    if (op == OP_POW)
        return power(r, a, b);
    if (op == OP_DIV)
        return y < 0 || y > 0 ? value_float(x / y) : render_fail(r, "a division by zero");
    if (whole)
        return int_arithmetic(r, op, i, k);
    if ((op == OP_FLOORDIV || op == OP_MOD) && !(y < 0 || y > 0))
        return render_fail(r, "a division by zero");
    switch (op) {
    case OP_ADD:
        return value_float(x + y);
    case OP_SUB:
        return value_float(x - y);
    case OP_MUL:
        return value_float(x * y);
    case OP_FLOORDIV:
        return value_float(floor(x / y));
    default: /* the sign of the divisor, also of a zero */
        x = fmod(x, y);
        return value_float(x < 0 || x > 0 ? ((x < 0) != (y < 0) ? x + y : x) : copysign(0, y));
    }
}

static struct value repeat(struct render *r, const struct value *v, int64_t times)
{
    if (v->kind == V_STRING) {
        struct value s = value_string(text_repeat(r, v->u.s, times));
        s.markup = v->markup;
        return s;
    }
    struct value out = value_list(r);
    size_t n = v->u.list->n;
    if (times > 0 && n > 0 && (uint64_t)times > OUTPUT_MAX / n)
        return render_fail(r, "a repetition of more than %zu values", OUTPUT_MAX);
    for (int64_t t = 0; t < times && n && r->code == 0; t++)
        for (size_t i = 0; i < n && r->code == 0; i++)
            list_push(r, out.u.list, v->u.list->items[i]);
    if (r->code == 0)
        out.u.list->tuple = v->u.list->tuple;
    return out;
}

static struct value add_lists(struct render *r, const struct value *a, const struct value *b)
{
    struct value out = value_list(r);
    if (a->u.list->tuple != b->u.list->tuple)
        return no_operator(r, a, b);
    for (size_t i = 0; r->code == 0 && i < a->u.list->n; i++)
        list_push(r, out.u.list, a->u.list->items[i]);
    for (size_t i = 0; r->code == 0 && i < b->u.list->n; i++)
        list_push(r, out.u.list, b->u.list->items[i]);
    if (r->code == 0)
        out.u.list->tuple = a->u.list->tuple;
    return out;
}

static struct value add_strings(struct render *r, const struct value *a, const struct value *b)
{
    bool markup = a->markup || b->markup;
    struct value v =
        value_string(tstr_concat(r, markup && !a->markup ? text_escape(r, a->u.s) : a->u.s,
                                 markup && !b->markup ? text_escape(r, b->u.s) : b->u.s));
    v.markup = markup;
    return v;
}

static bool is_sequence(const struct value *v)
{
    return v->kind == V_STRING || v->kind == V_LIST;
}

struct value binary(struct render *r, enum op op, const struct value *a, const struct value *b)
{
    if (!render_spend(r, value_size(a) + value_size(b)))
        return (struct value){0};
    if (op == OP_ADD && a->kind == V_STRING && b->kind == V_STRING)
        return add_strings(r, a, b);
    if (op == OP_ADD && a->kind == V_LIST && b->kind == V_LIST)
        return add_lists(r, a, b);
    if (op == OP_MUL && is_sequence(a) && (b->kind == V_INT || b->kind == V_BOOL))
        return repeat(r, a, b->kind == V_INT ? b->u.i : b->u.b);
    if (op == OP_MUL && is_sequence(b) && (a->kind == V_INT || a->kind == V_BOOL))
        return repeat(r, b, a->kind == V_INT ? a->u.i : a->u.b);
    if (op == OP_MOD && a->markup)
        return render_fail(r, "'%%' does not work here on a string that is marked safe");
    if (op == OP_MOD && a->kind == V_STRING)
        return value_string(format_percent(r, a->u.s, b));
    return arithmetic(r, op, a, b);
}

bool contains(struct render *r, const struct value *item, const struct value *in)
{
    if (!render_spend(r, value_size(in)))
        return false;
    if (in->kind == V_STRING && item->kind == V_STRING)
        return item->u.s.n == 0 || memmem(in->u.s.p, in->u.s.n, item->u.s.p, item->u.s.n) != NULL;
    if (in->kind == V_DICT && value_hashable(item))
        return dict_get(in->u.dict, *item) != NULL;
    if (in->kind == V_STRING || in->kind == V_DICT) {
        render_fail(r, "'in' does not work on %s and %s", value_type(item), value_type(in));
        return false;
    }
    if (in->kind == V_VIEW && str_eqz(in->name, "dict_keys") && !value_hashable(item)) {
        render_fail(r, "a value of type %s cannot be a key", value_type(item));
        return false;
    }
    const struct list *l = value_items(r, in);
    for (size_t i = 0; l && i < l->n; i++)
        if (value_equal(item, &l->items[i]))
            return true;
    return false;
}

static bool compare(struct render *r, enum op op, const struct value *a, const struct value *b)
{
    if (!render_spend(r, value_size(a)))
        return false;
    switch (op) {
    case OP_EQ:
        return value_equal(a, b);
    case OP_NE:
        return !value_equal(a, b);
    case OP_IN:
        return contains(r, a, b);
    case OP_NOT_IN:
        return !contains(r, a, b);
    case OP_LT:
        return value_order(r, a, b) < 0;
    case OP_LE:
        return value_order(r, a, b) <= 0;
    case OP_GT:
        return value_order(r, a, b) > 0;
    default:
        return value_order(r, a, b) >= 0;
    }
}

/* a < b < c: every link must hold; what comes after the first that doesn't is not evaluated. */
static struct value eval_compare(struct render *r, const struct node *n)
{
    struct value left = eval(r, n->a);
    for (size_t i = 0; i < n->n && r->code == 0; i++) {
        struct value right = eval(r, n->kids[i]->a);
        if (r->code < 0 || !compare(r, n->kids[i]->op, &left, &right))
            return value_bool(false);
        left = right;
    }
    return value_bool(true);
}

static struct value eval_unary(struct render *r, const struct node *n)
{
    struct value v = eval(r, n->a), zero = value_int(0);
    if (r->code < 0)
        return v;
    if (n->op == OP_NEG && v.kind == V_FLOAT)
        return value_float(-v.u.f);
    return arithmetic(r, n->op == OP_NEG ? OP_SUB : OP_ADD, &zero, &v);
}

/* ---- calls ---- */

struct arguments {
    struct value list; /* of positional ones */
    struct dict kwargs;
};

static void add_keyword(struct render *r, struct dict *kwargs, struct value name, struct value v)
{
    if (name.kind != V_STRING || dict_get(kwargs, name))
        render_fail(r, "a named value that is given twice or has no name");
    else
        dict_put(r, kwargs, name, v);
}

static void add_argument(struct render *r, const struct node *a, struct arguments *out)
{
    struct value v =
        eval(r, a->kind == N_SET || a->kind == N_STAR || a->kind == N_STAR_STAR ? a->a : a);
    if (r->code < 0)
        return;
    if (a->kind == N_SET) {
        add_keyword(r, &out->kwargs, value_string(tstr_make(r, a->name.p, a->name.n, true)), v);
    } else if (a->kind == N_STAR) {
        const struct list *l = value_items(r, &v);
        for (size_t i = 0; l && i < l->n && r->code == 0; i++)
            list_push(r, out->list.u.list, l->items[i]);
    } else if (a->kind == N_STAR_STAR) {
        if (v.kind != V_DICT)
            render_fail(r, "** wants a dict, not %s", value_type(&v));
        for (size_t i = 0; r->code == 0 && i < v.u.dict->n; i++)
            add_keyword(r, &out->kwargs, v.u.dict->keys[i], v.u.dict->values[i]);
    } else {
        list_push(r, out->list.u.list, v);
    }
}

/* false after an error. */
static bool eval_arguments(struct render *r, const struct node *n, struct arguments *out)
{
    *out = (struct arguments){.list = value_list(r)};
    for (size_t i = 0; i < n->n_args && r->code == 0; i++)
        add_argument(r, n->args[i], out);
    return r->code == 0;
}

struct value call_value(struct render *r, const struct value *f, struct value *args, size_t n,
                        struct dict *kwargs)
{
    struct call c = {.r = r, .args = args, .n = n, .kwargs = kwargs};
    switch (f->kind) {
    case V_MACRO:
        return call_macro(r, f->u.macro, args, n, kwargs);
    case V_METHOD:
        c.self = f->u.method->self;
        if (!render_spend(r, value_size(&c.self)))
            return (struct value){0};
        return c.self.kind == V_LOOP ? loop_method(&c, f->u.method->name)
                                     : call_method(&c, f->u.method->name);
    case V_LOOP:
        return n == 1 ? call_loop(r, f->u.loop, args)
                      : render_fail(r, "loop() takes what to go through");
    case V_BUILTIN:
        return call_builtin(&c, f->name);
    case V_UNDEFINED:
        return undefined_access(r, f);
    default:
        return render_fail(r, "a value of type %s cannot be called", value_type(f));
    }
}

struct value eval_call(struct render *r, const struct node *n, const struct value *caller)
{
    struct arguments args;
    struct value f = eval(r, n->a);
    if (r->code < 0 || !eval_arguments(r, n, &args))
        return (struct value){0};
    if (caller)
        add_keyword(r, &args.kwargs, value_text_of(r, "caller"), *caller);
    if (r->code < 0)
        return (struct value){0};
    r->line = n->line;
    return call_value(r, &f, args.list.u.list->items, args.list.u.list->n, &args.kwargs);
}

/* The filter or test of node n on a value. */
struct value eval_filter(struct render *r, const struct node *n, struct value self)
{
    struct arguments args;
    if (r->code < 0 || !eval_arguments(r, n, &args))
        return (struct value){0};
    struct call c = {r, self, args.list.u.list->items, args.list.u.list->n, &args.kwargs};
    r->line = n->line;
    if (n->kind == N_FILTER)
        return apply_filter(&c, n->name);
    struct value v = apply_test(&c, n->name);
    return n->negated ? value_bool(!value_truth(&v)) : v;
}

/* ---- the rest ---- */

static struct value eval_list(struct render *r, const struct node *n)
{
    struct value v = value_list(r);
    for (size_t i = 0; i < n->n && r->code == 0; i++) {
        struct value item = eval(r, n->kids[i]);
        if (r->code == 0)
            list_push(r, v.u.list, item);
    }
    if (r->code == 0)
        v.u.list->tuple = n->negated;
    return v;
}

static struct value eval_dict(struct render *r, const struct node *n)
{
    struct value v = value_dict(r);
    for (size_t i = 0; i + 1 < n->n && r->code == 0; i += 2) {
        struct value key = eval(r, n->kids[i]);
        struct value item = eval(r, n->kids[i + 1]);
        if (r->code == 0)
            dict_put(r, v.u.dict, key, item);
    }
    return v;
}

static struct value eval_concat(struct render *r, const struct node *n)
{
    struct value a = eval(r, n->a), b = eval(r, n->b);
    if (r->code < 0)
        return a;
    return value_string(tstr_concat(r, value_text(r, &a), value_text(r, &b)));
}

static struct value eval_logic(struct render *r, const struct node *n)
{
    struct value v = eval(r, n->a);
    if (n->kind == N_NOT)
        return value_bool(!value_truth(&v));
    return r->code < 0 || value_truth(&v) == (n->kind == N_OR) ? v : eval(r, n->b);
}

/* The chosen branch alone is evaluated. */
static struct value eval_condition(struct render *r, const struct node *n)
{
    struct value test = eval(r, n->b);
    if (r->code < 0)
        return test;
    return value_truth(&test) ? eval(r, n->a) : n->c ? eval(r, n->c) : value_undefined((str){0});
}

static struct value eval_node(struct render *r, const struct node *n)
{
    struct value a, b;
    switch (n->kind) {
    case N_CONST:
        return *n->constant;
    case N_NAME:
        return lookup(r, n->name);
    case N_LIST:
        return eval_list(r, n);
    case N_DICT:
        return eval_dict(r, n);
    case N_ATTR:
        a = eval(r, n->a);
        return r->code < 0 ? a : get_attribute(r, &a, n->name);
    case N_ITEM:
        a = eval(r, n->a);
        b = eval(r, n->b);
        return r->code < 0 ? a : get_item(r, &a, &b);
    case N_SLICE:
        a = eval(r, n->a);
        b = r->code < 0 ? a : slice(r, n, &a);
        b.markup = a.markup && b.kind == V_STRING;
        return b;
    case N_CALL:
        return eval_call(r, n, NULL);
    case N_FILTER:
    case N_TEST:
        return eval_filter(r, n, eval(r, n->a));
    case N_UNARY:
        return eval_unary(r, n);
    case N_BINARY:
        a = eval(r, n->a);
        b = eval(r, n->b);
        r->line = n->line;
        return r->code < 0 ? a : binary(r, n->op, &a, &b);
    case N_COMPARE:
        return eval_compare(r, n);
    case N_COND:
        return eval_condition(r, n);
    case N_CONCAT:
        return eval_concat(r, n);
    default:
        return eval_logic(r, n);
    }
}

struct value eval(struct render *r, const struct node *n)
{
    if (!step(r, n))
        return (struct value){0};
    if (++r->depth > DEPTH_MAX * 4)
        return render_fail(r, "calls nested too deep");
    struct value v = eval_node(r, n);
    r->depth--;
    return v;
}
