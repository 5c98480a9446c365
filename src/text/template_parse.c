/* Expressions: from tokens to a tree. */
#include <string.h>
#include "text/template_parse.h"

static struct node *parse_conditional(struct parser *p);
static struct node *parse_unary(struct parser *p, bool with_filter);

const struct token *parse_peek(const struct parser *p)
{
    return &p->lx->tokens[p->at];
}

struct node *parse_fail(struct parser *p, const char *what)
{
    if (!p->failed)
        sp_fail(p->err, SP_ETEMPLATE, "chat template: line %d: %s", parse_peek(p)->line, what);
    p->failed = true;
    return NULL;
}

struct node *parse_no_memory(struct parser *p)
{
    if (!p->failed)
        sp_fail(p->err, SP_ENOMEM, "chat template: out of memory");
    p->failed = true;
    return NULL;
}

struct node *parse_new(struct parser *p, enum node_kind kind)
{
    struct node *n = arena_alloc(p->t->arena, sizeof *n);
    if (!n)
        return parse_no_memory(p);
    n->kind = kind;
    n->line = parse_peek(p)->line;
    return n;
}

static bool push_to(struct parser *p, struct node ***list, size_t *n, size_t *cap, struct node *kid)
{
    if (!kid)
        return false;
    if (*n == *cap) {
        size_t grown_cap = *cap ? 2 * *cap : 4;
        struct node **grown = arena_array(p->t->arena, grown_cap, sizeof *grown);
        if (!grown)
            return parse_no_memory(p) != NULL;
        if (*n)
            memcpy(grown, *list, *n * sizeof *grown);
        *list = grown;
        *cap = grown_cap;
    }
    (*list)[(*n)++] = kid;
    return true;
}

bool parse_add_kid(struct parser *p, struct node *n, struct node *kid)
{
    return push_to(p, &n->kids, &n->n, &n->cap, kid);
}

bool parse_add_arg(struct parser *p, struct node *n, struct node *kid)
{
    return push_to(p, &n->args, &n->n_args, &n->cap_args, kid);
}

bool parse_is_op(const struct parser *p, const char *op)
{
    return parse_peek(p)->kind == T_OP && str_eqz(parse_peek(p)->text, op);
}

static bool is_word(const struct parser *p, const char *word)
{
    return parse_peek(p)->kind == T_NAME && str_eqz(parse_peek(p)->text, word);
}

bool parse_take_op(struct parser *p, const char *op)
{
    bool yes = parse_is_op(p, op);
    p->at += yes;
    return yes;
}

bool parse_take_word(struct parser *p, const char *word)
{
    bool yes = is_word(p, word);
    p->at += yes;
    return yes;
}

bool parse_need_op(struct parser *p, const char *op)
{
    char what[40] = "expected '";
    if (parse_take_op(p, op))
        return true;
    memcpy(what + 10, op, strlen(op));
    what[10 + strlen(op)] = '\'';
    return parse_fail(p, what) != NULL;
}

struct node *parse_need_name(struct parser *p)
{
    if (parse_peek(p)->kind != T_NAME)
        return parse_fail(p, "expected a name");
    struct node *n = parse_new(p, N_NAME);
    if (n)
        n->name = p->lx->tokens[p->at++].text;
    return n;
}

/* ---- expressions ---- */

static struct node *constant(struct parser *p, struct value v)
{
    struct node *n = parse_new(p, N_CONST);
    struct value *copy = arena_alloc(p->t->arena, sizeof *copy);
    if (!n || !copy)
        return parse_no_memory(p);
    *copy = v;
    n->constant = copy;
    return n;
}

static struct node *string_constant(struct parser *p)
{
    buf b;
    buf_init(&b, 1 << 20);
    while (parse_peek(p)->kind == T_STRING) { /* adjacent strings are one */
        buf_add(&b, parse_peek(p)->text.p, parse_peek(p)->text.n);
        p->at++;
    }
    char *text = arena_strndup(p->t->arena, b.data ? b.data : "", b.len);
    uint8_t *trust = arena_alloc(p->t->arena, b.len + 1);
    size_t n = b.len;
    bool ok = !b.failed && text && trust;
    buf_free(&b);
    if (!ok)
        return parse_no_memory(p);
    memset(trust, 1, n);
    return constant(p, (struct value){.kind = V_STRING, .u.s = {text, trust, n}});
}

static struct node *parse_list(struct parser *p, const char *close, bool tuple)
{
    struct node *n = parse_new(p, N_LIST);
    if (!n)
        return NULL;
    n->negated = tuple;
    while (!parse_is_op(p, close)) {
        if (!parse_add_kid(p, n, parse_expression(p)))
            return NULL;
        if (!parse_take_op(p, ","))
            break;
    }
    return parse_need_op(p, close) ? n : NULL;
}

static struct node *parse_dict(struct parser *p)
{
    struct node *n = parse_new(p, N_DICT);
    while (n && !parse_is_op(p, "}")) {
        if (!parse_add_kid(p, n, parse_expression(p)) || !parse_need_op(p, ":") ||
            !parse_add_kid(p, n, parse_expression(p)))
            return NULL;
        if (!parse_take_op(p, ","))
            break;
    }
    return n && parse_need_op(p, "}") ? n : NULL;
}

/* "(" has been read: a bracketed expression, or a tuple when a comma follows. */
static struct node *parse_bracketed(struct parser *p)
{
    if (parse_is_op(p, ")"))
        return parse_list(p, ")", true);
    struct node *first = parse_expression(p);
    if (!first || !parse_is_op(p, ","))
        return first && parse_need_op(p, ")") ? first : NULL;
    p->at++;
    struct node *rest = parse_list(p, ")", true);
    struct node *n = rest ? parse_new(p, N_LIST) : NULL;
    if (!n || !parse_add_kid(p, n, first))
        return NULL;
    n->negated = true;
    for (size_t i = 0; i < rest->n; i++)
        if (!parse_add_kid(p, n, rest->kids[i]))
            return NULL;
    return n;
}

static struct node *parse_word(struct parser *p)
{
    static const struct {
        const char *word;
        struct value v;
    } words[] = {{"true", {.kind = V_BOOL, .u.b = true}},
                 {"True", {.kind = V_BOOL, .u.b = true}},
                 {"false", {.kind = V_BOOL}},
                 {"False", {.kind = V_BOOL}},
                 {"none", {.kind = V_NONE}},
                 {"None", {.kind = V_NONE}}};
    for (size_t i = 0; i < SP_COUNT(words); i++)
        if (parse_take_word(p, words[i].word))
            return constant(p, words[i].v);
    str name = parse_peek(p)->text;
    p->varargs |= str_eqz(name, "varargs");
    p->kwargs |= str_eqz(name, "kwargs");
    p->caller |= str_eqz(name, "caller");
    return parse_need_name(p);
}

static struct node *parse_primary(struct parser *p)
{
    const struct token *t = parse_peek(p);
    switch (t->kind) {
    case T_STRING:
        return string_constant(p);
    case T_INT:
        p->at++;
        return constant(p, (struct value){.kind = V_INT, .u.i = t->i});
    case T_FLOAT:
        p->at++;
        return constant(p, (struct value){.kind = V_FLOAT, .u.f = t->f});
    case T_NAME:
        return parse_word(p);
    default:
        if (parse_take_op(p, "("))
            return parse_bracketed(p);
        if (parse_take_op(p, "["))
            return parse_list(p, "]", false);
        if (parse_take_op(p, "{"))
            return parse_dict(p);
        return parse_fail(p, "expected an expression");
    }
}

static struct node *parse_argument(struct parser *p)
{
    const struct token *next = &p->lx->tokens[p->at + 1];
    bool keyword = parse_peek(p)->kind == T_NAME && next->kind == T_OP && str_eqz(next->text, "=");
    enum node_kind star = parse_is_op(p, "*") ? N_STAR : N_STAR_STAR;
    if (!keyword && !parse_is_op(p, "*") && !parse_is_op(p, "**"))
        return parse_expression(p);
    struct node *arg = parse_new(p, keyword ? N_SET : star);
    if (!arg)
        return NULL;
    if (keyword)
        arg->name = parse_peek(p)->text;
    p->at += keyword ? 2 : 1;
    arg->a = parse_expression(p);
    return arg->a ? arg : NULL;
}

/* "(" has been read. */
static bool parse_arguments(struct parser *p, struct node *n)
{
    while (!parse_is_op(p, ")")) {
        if (!parse_add_arg(p, n, parse_argument(p)))
            return false;
        if (!parse_take_op(p, ","))
            break;
    }
    return parse_need_op(p, ")");
}

/* "[" has been read. */
static struct node *parse_subscript(struct parser *p, struct node *of)
{
    struct node *n = parse_new(p, N_ITEM);
    if (!n)
        return NULL;
    n->a = of;
    if (!parse_is_op(p, ":") && !(n->b = parse_expression(p)))
        return NULL;
    if (parse_take_op(p, ":")) {
        n->kind = N_SLICE;
        if (!parse_is_op(p, ":") && !parse_is_op(p, "]") && !(n->c = parse_expression(p)))
            return NULL;
        if (parse_take_op(p, ":") && !parse_is_op(p, "]") &&
            !parse_add_kid(p, n, parse_expression(p)))
            return NULL;
    }
    return parse_need_op(p, "]") ? n : NULL;
}

static struct node *parse_postfix(struct parser *p, struct node *n)
{
    while (n) {
        struct node *outer;
        if (parse_take_op(p, ".")) {
            outer = parse_new(p, N_ATTR);
            if (!outer)
                return NULL;
            if (parse_peek(p)->kind == T_INT) {
                outer->kind = N_ITEM;
                outer->b = parse_primary(p);
            } else {
                struct node *name = parse_need_name(p);
                if (!name)
                    return NULL;
                outer->name = name->name;
            }
            outer->a = n;
            n = outer;
        } else if (parse_take_op(p, "[")) {
            n = parse_subscript(p, n);
        } else if (parse_take_op(p, "(")) {
            outer = parse_new(p, N_CALL);
            if (!outer || !parse_arguments(p, outer))
                return NULL;
            outer->a = n;
            n = outer;
        } else {
            return n;
        }
    }
    return n;
}

struct node *parse_filter(struct parser *p, struct node *of)
{
    struct node *n = parse_new(p, N_FILTER), *name = parse_need_name(p);
    if (!n || !name)
        return NULL;
    n->name = name->name;
    n->a = of;
    if (parse_take_op(p, "(") && !parse_arguments(p, n))
        return NULL;
    return n;
}

static bool starts_argument(const struct parser *p)
{
    const struct token *t = parse_peek(p);
    if (t->kind == T_STRING || t->kind == T_INT || t->kind == T_FLOAT)
        return true;
    if (t->kind == T_NAME)
        return !is_word(p, "else") && !is_word(p, "or") && !is_word(p, "and") &&
               !is_word(p, "if") && !is_word(p, "is") && !is_word(p, "not") && !is_word(p, "in");
    return parse_is_op(p, "[") || parse_is_op(p, "{");
}

/* "is" has been read. */
static struct node *parse_test(struct parser *p, struct node *of)
{
    struct node *n = parse_new(p, N_TEST);
    if (!n)
        return NULL;
    n->negated = parse_take_word(p, "not");
    struct node *name = parse_need_name(p);
    if (!name)
        return NULL;
    n->name = name->name;
    n->a = of;
    if (parse_take_op(p, "(")) {
        if (!parse_arguments(p, n))
            return NULL;
    } else if (parse_peek(p)->kind == T_NAME && str_eqz(parse_peek(p)->text, "is")) {
        return parse_fail(p, "tests cannot be chained with 'is'");
    } else if (starts_argument(p) && !parse_add_arg(p, n, parse_postfix(p, parse_primary(p)))) {
        return NULL;
    }
    return n;
}

static struct node *parse_filters(struct parser *p, struct node *n)
{
    while (n) {
        if (parse_take_op(p, "|"))
            n = parse_filter(p, n);
        else if (parse_take_word(p, "is"))
            n = parse_test(p, n);
        else if (parse_take_op(p, "(")) {
            struct node *call = parse_new(p, N_CALL);
            if (!call || !parse_arguments(p, call))
                return NULL;
            call->a = n;
            n = call;
        } else
            return n;
    }
    return n;
}

static struct node *parse_unary(struct parser *p, bool with_filter)
{
    struct node *n;
    if (++p->depth > DEPTH_MAX)
        return parse_fail(p, "nested too deep");
    if (parse_is_op(p, "-") || parse_is_op(p, "+")) {
        n = parse_new(p, N_UNARY);
        if (!n)
            return NULL;
        n->op = parse_take_op(p, "-") ? OP_NEG : OP_POS;
        p->at += n->op == OP_POS;
        n->a = parse_unary(p, false);
        if (!n->a)
            return NULL;
    } else {
        n = parse_postfix(p, parse_primary(p));
    }
    p->depth--;
    return with_filter ? parse_filters(p, n) : n;
}

struct level {
    const char *words[5];
    enum op ops[5];
    size_t n;
};

static const struct level levels[] = {
    {{"+", "-"}, {OP_ADD, OP_SUB}, 2},
    {{"~"}, {OP_ADD}, 1}, /* becomes N_CONCAT */
    {{"*", "/", "//", "%"}, {OP_MUL, OP_DIV, OP_FLOORDIV, OP_MOD}, 4},
    {{"**"}, {OP_POW}, 1},
};

static struct node *parse_level(struct parser *p, size_t level)
{
    if (level == SP_COUNT(levels))
        return parse_unary(p, true);
    const struct level *lv = &levels[level];
    struct node *left = parse_level(p, level + 1);
    while (left) {
        size_t i = 0;
        while (i < lv->n && !parse_is_op(p, lv->words[i]))
            i++;
        if (i == lv->n)
            return left;
        p->at++;
        struct node *n = parse_new(p, level == 1 ? N_CONCAT : N_BINARY);
        if (!n)
            return NULL;
        n->op = lv->ops[i];
        n->a = left;
        n->b = parse_level(p, level + 1);
        if (!n->b)
            return NULL;
        left = n;
    }
    return left;
}

static bool compare_op(struct parser *p, enum op *op)
{
    static const struct {
        const char *word;
        enum op op;
    } ops[] = {{"==", OP_EQ}, {"!=", OP_NE}, {"<", OP_LT},
               {"<=", OP_LE}, {">", OP_GT},  {">=", OP_GE}};
    for (size_t i = 0; i < SP_COUNT(ops); i++)
        if (parse_take_op(p, ops[i].word)) {
            *op = ops[i].op;
            return true;
        }
    if (parse_take_word(p, "in")) {
        *op = OP_IN;
        return true;
    }
    const struct token *next = &p->lx->tokens[p->at + 1];
    if (is_word(p, "not") && next->kind == T_NAME && str_eqz(next->text, "in")) {
        p->at += 2;
        *op = OP_NOT_IN;
        return true;
    }
    return false;
}

static struct node *parse_compare(struct parser *p)
{
    struct node *left = parse_level(p, 0), *n = NULL;
    enum op op;
    while (left && compare_op(p, &op)) {
        if (!n && !(n = parse_new(p, N_COMPARE)))
            return NULL;
        struct node *right = parse_level(p, 0), *step = right ? parse_new(p, N_UNARY) : NULL;
        if (!step)
            return NULL;
        step->op = op;
        step->a = right;
        n->a = left;
        if (!parse_add_kid(p, n, step))
            return NULL;
    }
    return n ? n : left;
}

static struct node *parse_not(struct parser *p)
{
    if (!parse_take_word(p, "not"))
        return parse_compare(p);
    struct node *n = parse_new(p, N_NOT);
    if (!n || ++p->depth > DEPTH_MAX)
        return parse_fail(p, "nested too deep");
    n->a = parse_not(p);
    p->depth--;
    return n->a ? n : NULL;
}

static struct node *parse_logic(struct parser *p, bool is_or)
{
    struct node *left = is_or ? parse_logic(p, false) : parse_not(p);
    while (left && parse_take_word(p, is_or ? "or" : "and")) {
        struct node *n = parse_new(p, is_or ? N_OR : N_AND);
        if (!n)
            return NULL;
        n->a = left;
        n->b = is_or ? parse_logic(p, false) : parse_not(p);
        if (!n->b)
            return NULL;
        left = n;
    }
    return left;
}

static struct node *parse_conditional(struct parser *p)
{
    struct node *value = parse_logic(p, true);
    while (value && parse_take_word(p, "if")) {
        struct node *n = parse_new(p, N_COND);
        if (!n || !(n->b = parse_logic(p, true)))
            return NULL;
        n->a = value;
        if (parse_take_word(p, "else") && !(n->c = parse_conditional(p)))
            return NULL;
        value = n;
    }
    return value;
}

struct node *parse_expression(struct parser *p)
{
    if (++p->depth > DEPTH_MAX)
        return parse_fail(p, "nested too deep");
    struct node *n = parse_conditional(p);
    p->depth--;
    return n;
}

struct node *parse_unconditional(struct parser *p)
{
    return parse_logic(p, true);
}

struct node *parse_tuple_from(struct parser *p, struct node *first,
                              struct node *(*next)(struct parser *p))
{
    if (!first || !parse_is_op(p, ","))
        return first;
    struct node *tuple = parse_new(p, N_LIST);
    if (!tuple || !parse_add_kid(p, tuple, first))
        return NULL;
    tuple->negated = true;
    while (parse_take_op(p, ",")) {
        enum token_kind kind = parse_peek(p)->kind;
        if (kind == T_BLOCK_END || kind == T_VAR_END)
            break;
        if (!parse_add_kid(p, tuple, next(p)))
            return NULL;
    }
    return tuple;
}
