/* Tests: "is defined", "is string" and the others. */
#include <math.h>
#include <string.h>
#include "text/template_int.h"

#define KIND(k) (1u << (k))
#define WITH_ITEMS                                                                                 \
    (KIND(V_LIST) | KIND(V_RANGE) | KIND(V_STRING) | KIND(V_DICT) | KIND(V_UNDEFINED))

static const struct {
    const char *name;
    unsigned kinds;
} kinds[] = {
    {"undefined", KIND(V_UNDEFINED)},
    {"none", KIND(V_NONE)},
    {"string", KIND(V_STRING)},
    {"mapping", KIND(V_DICT)},
    {"number", KIND(V_INT) | KIND(V_FLOAT) | KIND(V_BOOL)},
    {"integer", KIND(V_INT)},
    {"float", KIND(V_FLOAT)},
    {"boolean", KIND(V_BOOL)},
    {"sequence", WITH_ITEMS},
    {"iterable", WITH_ITEMS | KIND(V_ITER) | KIND(V_VIEW) | KIND(V_LOOP)},
    {"callable",
     KIND(V_MACRO) | KIND(V_BUILTIN) | KIND(V_METHOD) | KIND(V_UNDEFINED) | KIND(V_LOOP)},
    {"escaped", 0},
};

/* Those that need more than the kind, or another value. */
static const char *const others[] = {"defined",  "true",        "false",  "in",          "eq",
                                     "equalto",  "==",          "ne",     "!=",          "lt",
                                     "lessthan", "<",           "gt",     "greaterthan", ">",
                                     "le",       "<=",          "ge",     ">=",          "odd",
                                     "even",     "divisibleby", "sameas", "lower",       "upper",
                                     "filter",   "test"};

static bool test_order(struct call *c, str name, const struct value *other)
{
    static const struct {
        const char *name;
        int low, high; /* the results of value_order that pass */
    } orders[] = {{"lt", -1, -1},        {"lessthan", -1, -1}, {"<", -1, -1}, {"gt", 1, 1},
                  {"greaterthan", 1, 1}, {">", 1, 1},          {"le", -1, 0}, {"<=", -1, 0},
                  {"ge", 0, 1},          {">=", 0, 1}};
    int order = value_order(c->r, &c->self, other);
    for (size_t i = 0; i < SP_COUNT(orders); i++)
        if (str_eqz(name, orders[i].name))
            return order >= orders[i].low && order <= orders[i].high;
    return false;
}

/* x % by == rest */
static bool test_rest(struct call *c, struct value by, int64_t rest)
{
    struct value want = value_int(rest);
    if (c->self.kind == V_STRING)
        render_fail(c->r, "odd, even and divisibleby want numbers");
    struct value got = binary(c->r, OP_MOD, &c->self, &by);
    return c->r->code == 0 && value_equal(&got, &want);
}

static bool is_same(const struct value *a, const struct value *b)
{
    return a->kind == b->kind &&
           (a->kind == V_LIST || a->kind == V_DICT ? a->u.list == b->u.list : value_equal(a, b));
}

static bool test_with(struct call *c, str name, const struct value *other)
{
    if (str_eqz(name, "in"))
        return contains(c->r, &c->self, other);
    if (str_eqz(name, "eq") || str_eqz(name, "equalto") || str_eqz(name, "=="))
        return value_equal(&c->self, other);
    if (str_eqz(name, "ne") || str_eqz(name, "!="))
        return !value_equal(&c->self, other);
    if (str_eqz(name, "sameas"))
        return is_same(&c->self, other);
    if (str_eqz(name, "divisibleby"))
        return test_rest(c, *other, 0);
    return test_order(c, name, other);
}

static bool test_alone(struct call *c, str name)
{
    const struct value *v = &c->self;
    str word = {v->kind == V_STRING ? v->u.s.p : "", v->kind == V_STRING ? v->u.s.n : 0};
    if (str_eqz(name, "defined"))
        return v->kind != V_UNDEFINED;
    if (str_eqz(name, "true") || str_eqz(name, "false"))
        return v->kind == V_BOOL && v->u.b == (name.p[0] == 't');
    if (str_eqz(name, "filter"))
        return is_filter(word);
    if (str_eqz(name, "test"))
        return is_test(word);
    if (str_eqz(name, "lower") || str_eqz(name, "upper")) {
        struct call text = {.r = c->r, .self = value_string(value_text(c->r, v))};
        struct value result = call_method(&text, str_of(name.p[0] == 'l' ? "islower" : "isupper"));
        return value_truth(&result);
    }
    return test_rest(c, value_int(2), str_eqz(name, "odd") ? 1 : 0);
}

bool is_test(str name)
{
    for (size_t i = 0; i < SP_COUNT(kinds); i++)
        if (str_eqz(name, kinds[i].name))
            return true;
    for (size_t i = 0; i < SP_COUNT(others); i++)
        if (str_eqz(name, others[i]))
            return true;
    return false;
}

static bool is_alone(str name)
{
    static const char *const alone[] = {"defined", "true",  "false", "filter", "test",
                                        "lower",   "upper", "odd",   "even"};
    for (size_t i = 0; i < SP_COUNT(alone); i++)
        if (str_eqz(name, alone[i]))
            return true;
    return false;
}

struct value apply_test(struct call *c, str name)
{
    const struct value *other = call_arg(c, 0, NULL);
    if (!is_test(name))
        return render_fail(c->r, "no test named '%.*s'", (int)(name.n < 60 ? name.n : 60), name.p);
    if (!render_spend(c->r, value_size(&c->self)))
        return (struct value){0};
    bool single = is_alone(name);
    for (size_t i = 0; i < SP_COUNT(kinds); i++)
        if (str_eqz(name, kinds[i].name))
            return c->n ? call_fail(c, "this test takes no value")
                        : value_bool((kinds[i].kinds >> c->self.kind) & 1);
    if (c->n != (single ? 0 : 1))
        return render_fail(c->r, "test '%.*s' takes %s value", (int)name.n, name.p,
                           single ? "no" : "one");
    return value_bool(single ? test_alone(c, name) : test_with(c, name, other));
}
