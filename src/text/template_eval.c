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

static struct value loop_attribute(struct render *r, const struct loop_state *l, str name)
{
    const struct {
        const char *name;
        int64_t value;
    } numbers[] = {{"index", (int64_t)l->index + 1},
                   {"index0", (int64_t)l->index},
                   {"length", (int64_t)l->items->n},
                   {"revindex", (int64_t)(l->items->n - l->index)},
                   {"revindex0", (int64_t)(l->items->n - l->index) - 1},
                   {"depth", 1},
                   {"depth0", 0}};
    for (size_t i = 0; i < SP_COUNT(numbers); i++)
        if (str_eqz(name, numbers[i].name))
            return value_int(numbers[i].value);
    if (str_eqz(name, "first"))
        return value_bool(l->index == 0);
    if (str_eqz(name, "last"))
        return value_bool(l->index + 1 == l->items->n);
    if (str_eqz(name, "previtem"))
        return l->index ? l->items->items[l->index - 1] : value_undefined(name);
    if (str_eqz(name, "nextitem"))
        return l->index + 1 < l->items->n ? l->items->items[l->index + 1] : value_undefined(name);
    (void)r;
    return value_undefined(name);
}

static struct value undefined_access(struct render *r, const struct value *v)
{
    return render_fail(r, "'%.*s' is undefined", (int)(v->name.n < 80 ? v->name.n : 80),
                       v->name.p ? v->name.p : "");
}

struct value get_attribute(struct render *r, const struct value *v, str name)
{
    if (v->kind == V_UNDEFINED)
        return undefined_access(r, v);
    if (v->kind == V_LOOP)
        return loop_attribute(r, v->u.loop, name);
    if (v->kind == V_NAMESPACE || v->kind == V_DICT) {
        /* Jinja asks the object's attributes (methods) first for "a.b". */
        if (v->kind == V_DICT && is_method(v, name) && !dict_find(v->u.dict, name)) {
            struct method *m = render_alloc(r, sizeof *m);
            if (m)
                *m = (struct method){*v, name};
            return m ? (struct value){.kind = V_METHOD, .u.method = m} : (struct value){0};
        }
        const struct value *found = dict_find(v->u.dict, name);
        return found ? *found : value_undefined(name);
    }
    if (is_method(v, name)) {
        struct method *m = render_alloc(r, sizeof *m);
        if (m)
            *m = (struct method){*v, name};
        return m ? (struct value){.kind = V_METHOD, .u.method = m} : (struct value){0};
    }
    return value_undefined(name);
}

struct value get_item(struct render *r, const struct value *v, const struct value *key)
{
    if (v->kind == V_UNDEFINED)
        return undefined_access(r, v);
    if (v->kind == V_DICT || v->kind == V_NAMESPACE) {
        const struct value *found = dict_get(v->u.dict, *key);
        return found ? *found
                     : value_undefined(key->kind == V_STRING ? (str){key->u.s.p, key->u.s.n}
                                                             : (str){"item", 4});
    }
    if (key->kind == V_STRING)
        return get_attribute(r, v, (str){key->u.s.p, key->u.s.n});
    if (key->kind != V_INT && key->kind != V_BOOL)
        return value_undefined((str){"item", 4});
    int64_t i = key->kind == V_INT ? key->u.i : key->u.b;
    if (v->kind == V_LIST) {
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
    struct value out;
    if (v->kind == V_LIST)
        return v->u.list;
    out = value_list(r);
    if (r->code < 0)
        return NULL;
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
    if (v->kind != V_LIST && v->kind != V_STRING)
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
    if (a->kind == V_FLOAT || b->kind == V_FLOAT || k < 0)
        return value_float(pow(x, y));
    bool overflow = false;
    for (; k > 0 && !overflow; k /= 2) { /* by squaring: an exponent is as large as it likes */
        overflow = k % 2 && __builtin_mul_overflow(out, i, &out);
        overflow |= k > 1 && __builtin_mul_overflow(i, i, &i);
    }
    return overflow ? render_fail(r, "a number too large") : value_int(out);
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
    default:
        return value_float(x - floor(x / y) * y);
    }
}

static struct value repeat(struct render *r, const struct value *v, int64_t times)
{
    struct value out =
        v->kind == V_STRING ? value_string(tstr_make(r, "", 0, true)) : value_list(r);
    size_t n = v->kind == V_STRING ? v->u.s.n : v->u.list->n;
    if (times > 0 && n > 0 && times > (int64_t)(OUTPUT_MAX / n))
        return render_fail(r, "a repetition that is too long");
    for (int64_t t = 0; t < times && r->code == 0; t++) {
        if (v->kind == V_STRING)
            out.u.s = tstr_concat(r, out.u.s, v->u.s);
        else
            for (size_t i = 0; i < n; i++)
                list_push(r, out.u.list, v->u.list->items[i]);
    }
    return out;
}

static struct value binary(struct render *r, enum op op, const struct value *a,
                           const struct value *b)
{
    bool sequence = a->kind == V_STRING || a->kind == V_LIST;
    if (op == OP_ADD && sequence && a->kind == b->kind) {
        if (a->kind == V_STRING)
            return value_string(tstr_concat(r, a->u.s, b->u.s));
        struct value out = value_list(r);
        for (size_t i = 0; r->code == 0 && i < a->u.list->n; i++)
            list_push(r, out.u.list, a->u.list->items[i]);
        for (size_t i = 0; r->code == 0 && i < b->u.list->n; i++)
            list_push(r, out.u.list, b->u.list->items[i]);
        return out;
    }
    if (op == OP_MUL && sequence && b->kind == V_INT && b->u.i <= 1000000)
        return repeat(r, a, b->u.i);
    return arithmetic(r, op, a, b);
}

static bool contains(struct render *r, const struct value *item, const struct value *in)
{
    if (in->kind == V_STRING && item->kind == V_STRING)
        return item->u.s.n == 0 || memmem(in->u.s.p, in->u.s.n, item->u.s.p, item->u.s.n) != NULL;
    if (in->kind == V_DICT)
        return dict_get(in->u.dict, *item) != NULL;
    if (in->kind == V_STRING || (in->kind != V_LIST && in->kind != V_UNDEFINED)) {
        render_fail(r, "'in' does not work on %s and %s", value_type(item), value_type(in));
        return false;
    }
    for (size_t i = 0; in->kind == V_LIST && i < in->u.list->n; i++)
        if (value_equal(item, &in->u.list->items[i]))
            return true;
    return false;
}

static bool compare(struct render *r, enum op op, const struct value *a, const struct value *b)
{
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

/* Evaluates arguments into args and kwargs; false after an error. */
static bool eval_arguments(struct render *r, const struct node *n, struct value **args,
                           size_t *count, struct dict *kwargs)
{
    *args = render_alloc(r, (n->n_args + 1) * sizeof **args);
    *count = 0;
    for (size_t i = 0; *args && i < n->n_args && r->code == 0; i++) {
        const struct node *a = n->args[i];
        if (a->kind == N_SET && a->a)
            dict_put(r, kwargs, value_string(tstr_make(r, a->name.p, a->name.n, true)),
                     eval(r, a->a));
        else
            (*args)[(*count)++] = eval(r, a);
    }
    return r->code == 0;
}

const struct value *call_arg(const struct call *c, size_t i, const char *name)
{
    if (i < c->n)
        return &c->args[i];
    return name && c->kwargs ? dict_find(c->kwargs, str_of(name)) : NULL;
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
        return call_method(&c, f->u.method->name);
    case V_BUILTIN:
        return call_builtin(&c, f->name);
    case V_UNDEFINED:
        return undefined_access(r, f);
    default:
        return render_fail(r, "a value of type %s cannot be called", value_type(f));
    }
}

static struct value eval_call(struct render *r, const struct node *n)
{
    struct value *args;
    size_t count;
    struct dict kwargs = {0};
    struct value f = eval(r, n->a);
    if (!eval_arguments(r, n, &args, &count, &kwargs))
        return (struct value){0};
    r->line = n->line;
    return call_value(r, &f, args, count, &kwargs);
}

static struct value eval_filter(struct render *r, const struct node *n, bool test)
{
    struct dict kwargs = {0};
    struct call c = {.r = r, .kwargs = &kwargs};
    c.self = eval(r, n->a);
    if (!eval_arguments(r, n, &c.args, &c.n, &kwargs))
        return (struct value){0};
    r->line = n->line;
    struct value v = test ? apply_test(&c, n->name) : apply_filter(&c, n->name);
    return test && n->negated ? value_bool(!value_truth(&v)) : v;
}

/* ---- the rest ---- */

static struct value eval_list(struct render *r, const struct node *n)
{
    struct value v = value_list(r);
    for (size_t i = 0; i < n->n && r->code == 0; i++)
        list_push(r, v.u.list, eval(r, n->kids[i]));
    if (r->code == 0)
        v.u.list->tuple = n->negated;
    return v;
}

static struct value eval_dict(struct render *r, const struct node *n)
{
    struct value v = value_dict(r);
    for (size_t i = 0; i + 1 < n->n && r->code == 0; i += 2) {
        struct value key = eval(r, n->kids[i]);
        dict_put(r, v.u.dict, key, eval(r, n->kids[i + 1]));
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
        return r->code < 0 ? a : slice(r, n, &a);
    case N_CALL:
        return eval_call(r, n);
    case N_FILTER:
    case N_TEST:
        return eval_filter(r, n, n->kind == N_TEST);
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

/* Who handles long values does more than a step: every operand passes here, so the work is bounded too. */
static long extra_steps(const struct value *v)
{
    return v->kind == V_STRING ? (long)(v->u.s.n / BYTES_PER_STEP)
           : v->kind == V_LIST ? (long)(v->u.list->n / BYTES_PER_STEP)
                               : 0;
}

struct value eval(struct render *r, const struct node *n)
{
    if (!step(r, n))
        return (struct value){0};
    if (++r->depth > DEPTH_MAX * 4)
        return render_fail(r, "calls nested too deep");
    struct value v = eval_node(r, n);
    r->depth--;
    if (r->code == 0)
        r->steps += extra_steps(&v);
    return v;
}
