/* From tokens to a tree. What the kinds keep where:
 *   ATTR a.name   ITEM a[b]   SLICE a[b:c:kids[0]]   CALL a(args)   FILTER a|name(args)   TEST a is name(args)
 *   UNARY op a   BINARY a op b   COMPARE a, then kids with their op   COND a if b else c
 *   LIST kids (negated: a tuple)   DICT kids: key, value, ...   CONCAT kids
 *   OUTPUT a   IF kids: condition, body, ... and c the else   FOR args: targets, a: over, b: body,
 *   c: else, kids[0]: the filter   SET args: targets (names or ns.attr), a: value   SET_BLOCK args, b: body
 *   MACRO name, args: parameters (a: default), b: body   BODY kids
 * A keyword argument is a node with `name` set and the value in a, of kind N_SET. */
#include <string.h>
#include "text/template_int.h"

struct parser {
    struct template *t;
    const struct lexed *lx;
    size_t at;
    int depth;
    sp_error *err;
    bool failed;
};

static struct node *parse_expression(struct parser *p);
static struct node *parse_conditional(struct parser *p);
static struct node *parse_unary(struct parser *p, bool with_filter);
static struct node *parse_body(struct parser *p, const char *const *ends);

static const struct token *peek(const struct parser *p)
{
    return &p->lx->tokens[p->at];
}

static struct node *fail(struct parser *p, const char *what)
{
    if (!p->failed)
        sp_fail(p->err, SP_ETEMPLATE, "chat template: line %d: %s", peek(p)->line, what);
    p->failed = true;
    return NULL;
}

static struct node *no_memory(struct parser *p)
{
    if (!p->failed)
        sp_fail(p->err, SP_ENOMEM, "chat template: out of memory");
    p->failed = true;
    return NULL;
}

static struct node *new_node(struct parser *p, enum node_kind kind)
{
    struct node *n = arena_alloc(p->t->arena, sizeof *n);
    if (!n)
        return no_memory(p);
    n->kind = kind;
    n->line = peek(p)->line;
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
            return no_memory(p) != NULL;
        if (*n)
            memcpy(grown, *list, *n * sizeof *grown);
        *list = grown;
        *cap = grown_cap;
    }
    (*list)[(*n)++] = kid;
    return true;
}

static bool add_kid(struct parser *p, struct node *n, struct node *kid)
{
    return push_to(p, &n->kids, &n->n, &n->cap, kid);
}

static bool add_arg(struct parser *p, struct node *n, struct node *kid)
{
    return push_to(p, &n->args, &n->n_args, &n->cap_args, kid);
}

static bool is_op(const struct parser *p, const char *op)
{
    return peek(p)->kind == T_OP && str_eqz(peek(p)->text, op);
}

static bool is_word(const struct parser *p, const char *word)
{
    return peek(p)->kind == T_NAME && str_eqz(peek(p)->text, word);
}

static bool take_op(struct parser *p, const char *op)
{
    bool yes = is_op(p, op);
    p->at += yes;
    return yes;
}

static bool take_word(struct parser *p, const char *word)
{
    bool yes = is_word(p, word);
    p->at += yes;
    return yes;
}

static bool need_op(struct parser *p, const char *op)
{
    char what[40] = "expected '";
    if (take_op(p, op))
        return true;
    memcpy(what + 10, op, strlen(op));
    what[10 + strlen(op)] = '\'';
    return fail(p, what) != NULL;
}

static bool need_end(struct parser *p)
{
    if (peek(p)->kind != T_BLOCK_END)
        return fail(p, "expected the end of the tag") != NULL;
    p->at++;
    return true;
}

static struct node *need_name(struct parser *p)
{
    if (peek(p)->kind != T_NAME)
        return fail(p, "expected a name");
    struct node *n = new_node(p, N_NAME);
    if (n)
        n->name = p->lx->tokens[p->at++].text;
    return n;
}

/* ---- expressions ---- */

static struct node *constant(struct parser *p, struct value v)
{
    struct node *n = new_node(p, N_CONST);
    struct value *copy = arena_alloc(p->t->arena, sizeof *copy);
    if (!n || !copy)
        return no_memory(p);
    *copy = v;
    n->constant = copy;
    return n;
}

static struct node *string_constant(struct parser *p)
{
    buf b;
    buf_init(&b, 1 << 20);
    while (peek(p)->kind == T_STRING) { /* adjacent strings are one */
        buf_add(&b, peek(p)->text.p, peek(p)->text.n);
        p->at++;
    }
    char *text = arena_strndup(p->t->arena, b.data ? b.data : "", b.len);
    uint8_t *trust = arena_alloc(p->t->arena, b.len + 1);
    size_t n = b.len;
    bool ok = !b.failed && text && trust;
    buf_free(&b);
    if (!ok)
        return no_memory(p);
    memset(trust, 1, n);
    return constant(p, (struct value){.kind = V_STRING, .u.s = {text, trust, n}});
}

static struct node *parse_list(struct parser *p, const char *close, bool tuple)
{
    struct node *n = new_node(p, N_LIST);
    if (!n)
        return NULL;
    n->negated = tuple;
    while (!is_op(p, close)) {
        if (!add_kid(p, n, parse_expression(p)))
            return NULL;
        if (!take_op(p, ","))
            break;
    }
    return need_op(p, close) ? n : NULL;
}

static struct node *parse_dict(struct parser *p)
{
    struct node *n = new_node(p, N_DICT);
    while (n && !is_op(p, "}")) {
        if (!add_kid(p, n, parse_expression(p)) || !need_op(p, ":") ||
            !add_kid(p, n, parse_expression(p)))
            return NULL;
        if (!take_op(p, ","))
            break;
    }
    return n && need_op(p, "}") ? n : NULL;
}

/* "(" has been read: a bracketed expression, or a tuple when a comma follows. */
static struct node *parse_bracketed(struct parser *p)
{
    if (is_op(p, ")"))
        return parse_list(p, ")", true);
    struct node *first = parse_expression(p);
    if (!first || !is_op(p, ","))
        return first && need_op(p, ")") ? first : NULL;
    p->at++;
    struct node *rest = parse_list(p, ")", true);
    struct node *n = rest ? new_node(p, N_LIST) : NULL;
    if (!n || !add_kid(p, n, first))
        return NULL;
    n->negated = true;
    for (size_t i = 0; i < rest->n; i++)
        if (!add_kid(p, n, rest->kids[i]))
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
        if (take_word(p, words[i].word))
            return constant(p, words[i].v);
    return need_name(p);
}

static struct node *parse_primary(struct parser *p)
{
    const struct token *t = peek(p);
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
        if (take_op(p, "("))
            return parse_bracketed(p);
        if (take_op(p, "["))
            return parse_list(p, "]", false);
        if (take_op(p, "{"))
            return parse_dict(p);
        return fail(p, "expected an expression");
    }
}

/* "(" has been read. */
static bool parse_arguments(struct parser *p, struct node *n)
{
    while (!is_op(p, ")")) {
        struct node *arg;
        bool keyword = peek(p)->kind == T_NAME && p->lx->tokens[p->at + 1].kind == T_OP &&
                       str_eqz(p->lx->tokens[p->at + 1].text, "=");
        if (keyword) {
            arg = new_node(p, N_SET);
            if (!arg)
                return false;
            arg->name = peek(p)->text;
            p->at += 2;
            arg->a = parse_expression(p);
            if (!arg->a)
                return false;
        } else {
            arg = parse_expression(p);
        }
        if (!add_arg(p, n, arg))
            return false;
        if (!take_op(p, ","))
            break;
    }
    return need_op(p, ")");
}

/* "[" has been read. */
static struct node *parse_subscript(struct parser *p, struct node *of)
{
    struct node *n = new_node(p, N_ITEM);
    if (!n)
        return NULL;
    n->a = of;
    if (!is_op(p, ":") && !(n->b = parse_expression(p)))
        return NULL;
    if (take_op(p, ":")) {
        n->kind = N_SLICE;
        if (!is_op(p, ":") && !is_op(p, "]") && !(n->c = parse_expression(p)))
            return NULL;
        if (take_op(p, ":") && !is_op(p, "]") && !add_kid(p, n, parse_expression(p)))
            return NULL;
    }
    return need_op(p, "]") ? n : NULL;
}

static struct node *parse_postfix(struct parser *p, struct node *n)
{
    while (n) {
        struct node *outer;
        if (take_op(p, ".")) {
            outer = new_node(p, N_ATTR);
            if (!outer)
                return NULL;
            if (peek(p)->kind == T_INT) {
                outer->kind = N_ITEM;
                outer->b = parse_primary(p);
            } else {
                struct node *name = need_name(p);
                if (!name)
                    return NULL;
                outer->name = name->name;
            }
            outer->a = n;
            n = outer;
        } else if (take_op(p, "[")) {
            n = parse_subscript(p, n);
        } else if (take_op(p, "(")) {
            outer = new_node(p, N_CALL);
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

static struct node *parse_filter(struct parser *p, struct node *of)
{
    struct node *n = new_node(p, N_FILTER), *name = need_name(p);
    if (!n || !name)
        return NULL;
    n->name = name->name;
    n->a = of;
    if (take_op(p, "(") && !parse_arguments(p, n))
        return NULL;
    return n;
}

static bool starts_argument(const struct parser *p)
{
    const struct token *t = peek(p);
    if (t->kind == T_STRING || t->kind == T_INT || t->kind == T_FLOAT)
        return true;
    if (t->kind == T_NAME)
        return !is_word(p, "else") && !is_word(p, "or") && !is_word(p, "and") &&
               !is_word(p, "if") && !is_word(p, "is") && !is_word(p, "not") && !is_word(p, "in");
    return is_op(p, "[") || is_op(p, "{");
}

/* "is" has been read. */
static struct node *parse_test(struct parser *p, struct node *of)
{
    struct node *n = new_node(p, N_TEST);
    if (!n)
        return NULL;
    n->negated = take_word(p, "not");
    struct node *name = need_name(p);
    if (!name)
        return NULL;
    n->name = name->name;
    n->a = of;
    if (take_op(p, "(")) {
        if (!parse_arguments(p, n))
            return NULL;
    } else if (starts_argument(p) && !add_arg(p, n, parse_postfix(p, parse_primary(p)))) {
        return NULL;
    }
    return n;
}

static struct node *parse_filters(struct parser *p, struct node *n)
{
    while (n) {
        if (take_op(p, "|"))
            n = parse_filter(p, n);
        else if (take_word(p, "is"))
            n = parse_test(p, n);
        else if (take_op(p, "(")) {
            struct node *call = new_node(p, N_CALL);
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
        return fail(p, "nested too deep");
    if (is_op(p, "-") || is_op(p, "+")) {
        n = new_node(p, N_UNARY);
        if (!n)
            return NULL;
        n->op = take_op(p, "-") ? OP_NEG : OP_POS;
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
        while (i < lv->n && !is_op(p, lv->words[i]))
            i++;
        if (i == lv->n)
            return left;
        p->at++;
        struct node *n = new_node(p, level == 1 ? N_CONCAT : N_BINARY);
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
        if (take_op(p, ops[i].word)) {
            *op = ops[i].op;
            return true;
        }
    if (take_word(p, "in")) {
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
        if (!n && !(n = new_node(p, N_COMPARE)))
            return NULL;
        struct node *right = parse_level(p, 0), *step = right ? new_node(p, N_UNARY) : NULL;
        if (!step)
            return NULL;
        step->op = op;
        step->a = right;
        n->a = left;
        if (!add_kid(p, n, step))
            return NULL;
    }
    return n ? n : left;
}

static struct node *parse_not(struct parser *p)
{
    if (!take_word(p, "not"))
        return parse_compare(p);
    struct node *n = new_node(p, N_NOT);
    if (!n || ++p->depth > DEPTH_MAX)
        return fail(p, "nested too deep");
    n->a = parse_not(p);
    p->depth--;
    return n->a ? n : NULL;
}

static struct node *parse_logic(struct parser *p, bool is_or)
{
    struct node *left = is_or ? parse_logic(p, false) : parse_not(p);
    while (left && take_word(p, is_or ? "or" : "and")) {
        struct node *n = new_node(p, is_or ? N_OR : N_AND);
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
    while (value && take_word(p, "if")) {
        struct node *n = new_node(p, N_COND);
        if (!n || !(n->b = parse_logic(p, true)))
            return NULL;
        n->a = value;
        if (take_word(p, "else") && !(n->c = parse_conditional(p)))
            return NULL;
        value = n;
    }
    return value;
}

static struct node *parse_expression(struct parser *p)
{
    if (++p->depth > DEPTH_MAX)
        return fail(p, "nested too deep");
    struct node *n = parse_conditional(p);
    p->depth--;
    return n;
}

/* ---- statements ---- */

/* Names up to `stop` or "=": "a", "a, b", "(a, b)", "ns.a". */
static bool parse_targets(struct parser *p, struct node *n)
{
    bool bracket = take_op(p, "(");
    do {
        struct node *name = need_name(p);
        if (!name)
            return false;
        if (take_op(p, ".")) {
            struct node *attr = new_node(p, N_ATTR), *field = need_name(p);
            if (!attr || !field)
                return false;
            attr->a = name;
            attr->name = field->name;
            name = attr;
        }
        if (!add_arg(p, n, name))
            return false;
    } while (take_op(p, ","));
    return !bracket || need_op(p, ")");
}

static bool at_tag(const struct parser *p, const char *word)
{
    return peek(p)->kind == T_BLOCK_BEGIN && p->lx->tokens[p->at + 1].kind == T_NAME &&
           str_eqz(p->lx->tokens[p->at + 1].text, word);
}

static bool take_tag(struct parser *p, const char *word)
{
    if (!at_tag(p, word))
        return false;
    p->at += 2;
    return true;
}

static bool end_tag(struct parser *p, const char *word)
{
    if (!take_tag(p, word))
        return fail(p, "a block is not closed") != NULL;
    return need_end(p);
}

static struct node *parse_if(struct parser *p)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    struct node *n = new_node(p, N_IF);
    do {
        if (!n || !add_kid(p, n, parse_expression(p)) || !need_end(p) ||
            !add_kid(p, n, parse_body(p, ends)))
            return NULL;
    } while (take_tag(p, "elif"));
    if (take_tag(p, "else") && (!need_end(p) || !(n->c = parse_body(p, ends))))
        return NULL;
    return end_tag(p, "endif") ? n : NULL;
}

static struct node *parse_for(struct parser *p)
{
    static const char *const ends[] = {"else", "endfor", NULL};
    struct node *n = new_node(p, N_FOR);
    if (!n || !parse_targets(p, n))
        return NULL;
    if (!take_word(p, "in"))
        return fail(p, "expected 'in'");
    n->a = parse_logic(p, true);
    if (!n->a || (take_word(p, "if") && !add_kid(p, n, parse_expression(p))))
        return NULL;
    take_word(p, "recursive");
    if (!need_end(p) || !(n->b = parse_body(p, ends)))
        return NULL;
    if (take_tag(p, "else") && (!need_end(p) || !(n->c = parse_body(p, ends))))
        return NULL;
    return end_tag(p, "endfor") ? n : NULL;
}

static struct node *parse_set(struct parser *p)
{
    static const char *const ends[] = {"endset", NULL};
    struct node *n = new_node(p, N_SET);
    if (!n || !parse_targets(p, n))
        return NULL;
    if (take_op(p, "=")) {
        n->a = parse_expression(p);
        if (n->a && is_op(p, ",")) {
            struct node *tuple = new_node(p, N_LIST);
            if (!tuple || !add_kid(p, tuple, n->a))
                return NULL;
            tuple->negated = true;
            while (take_op(p, ","))
                if (!add_kid(p, tuple, parse_expression(p)))
                    return NULL;
            n->a = tuple;
        }
        return n->a && need_end(p) ? n : NULL;
    }
    n->kind = N_SET_BLOCK;
    if (!need_end(p) || !(n->b = parse_body(p, ends)))
        return NULL;
    return end_tag(p, "endset") ? n : NULL;
}

static struct node *parse_macro(struct parser *p)
{
    static const char *const ends[] = {"endmacro", NULL};
    struct node *n = new_node(p, N_MACRO), *name = need_name(p);
    if (!n || !name || !need_op(p, "("))
        return NULL;
    n->name = name->name;
    while (!is_op(p, ")")) {
        struct node *param = need_name(p);
        if (!param || (take_op(p, "=") && !(param->a = parse_expression(p))) ||
            !add_arg(p, n, param))
            return NULL;
        if (!take_op(p, ","))
            break;
    }
    if (!need_op(p, ")") || !need_end(p) || !(n->b = parse_body(p, ends)))
        return NULL;
    return end_tag(p, "endmacro") ? n : NULL;
}

static struct node *parse_simple(struct parser *p, enum node_kind kind)
{
    struct node *n = new_node(p, kind);
    return n && need_end(p) ? n : NULL;
}

/* {% generation %} marks the assistant's words for training; here it is only its body. */
static struct node *parse_generation(struct parser *p)
{
    static const char *const ends[] = {"endgeneration", NULL};
    struct node *body = need_end(p) ? parse_body(p, ends) : NULL;
    return body && end_tag(p, "endgeneration") ? body : NULL;
}

static struct node *parse_statement(struct parser *p)
{
    static const struct {
        const char *word;
        struct node *(*parse)(struct parser *p);
    } tags[] = {{"if", parse_if},
                {"for", parse_for},
                {"set", parse_set},
                {"macro", parse_macro},
                {"generation", parse_generation}};
    for (size_t i = 0; i < SP_COUNT(tags); i++)
        if (take_word(p, tags[i].word))
            return tags[i].parse(p);
    if (take_word(p, "break"))
        return parse_simple(p, N_BREAK);
    if (take_word(p, "continue"))
        return parse_simple(p, N_CONTINUE);
    return fail(p, "a tag that is unknown here");
}

static struct node *parse_output(struct parser *p)
{
    struct node *n = new_node(p, N_OUTPUT);
    if (!n || !(n->a = parse_expression(p)))
        return NULL;
    if (peek(p)->kind != T_VAR_END)
        return fail(p, "expected '}}'");
    p->at++;
    return n;
}

static struct node *text_node(struct parser *p)
{
    struct node *n = new_node(p, N_TEXT);
    const struct token *t = &p->lx->tokens[p->at++];
    struct value *v = n ? arena_alloc(p->t->arena, sizeof *v) : NULL;
    uint8_t *trust = v ? arena_alloc(p->t->arena, t->text.n + 1) : NULL;
    if (!trust)
        return no_memory(p);
    memset(trust, 1, t->text.n);
    *v = (struct value){.kind = V_STRING, .u.s = {t->text.p, trust, t->text.n}};
    n->constant = v;
    return n;
}

static bool ends_here(const struct parser *p, const char *const *ends)
{
    for (; ends && *ends; ends++)
        if (at_tag(p, *ends))
            return true;
    return false;
}

static struct node *parse_body(struct parser *p, const char *const *ends)
{
    struct node *body = new_node(p, N_BODY);
    if (++p->depth > DEPTH_MAX)
        return fail(p, "nested too deep");
    while (body && peek(p)->kind != T_END && !ends_here(p, ends)) {
        struct node *kid;
        if (peek(p)->kind == T_TEXT) {
            kid = text_node(p);
        } else if (peek(p)->kind == T_VAR_BEGIN) {
            p->at++;
            kid = parse_output(p);
        } else {
            p->at++;
            kid = parse_statement(p);
        }
        if (!add_kid(p, body, kid))
            return NULL;
    }
    p->depth--;
    return body;
}

int template_parse(struct template *t, const struct lexed *lx, sp_error *err)
{
    sp_error own = {0};
    struct parser p = {.t = t, .lx = lx, .err = err ? err : &own};
    t->root = parse_body(&p, NULL);
    if (!t->root || p.failed)
        return p.err->code ? p.err->code : SP_ETEMPLATE;
    return 0;
}
