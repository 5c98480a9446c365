/* Tags and the text between them: from tokens to a tree. */
#include <string.h>
#include "text/template_parse.h"

static struct node *parse_body(struct parser *p, const char *const *ends);

static bool need_end(struct parser *p)
{
    if (parse_peek(p)->kind != T_BLOCK_END)
        return parse_fail(p, "expected the end of the tag") != NULL;
    p->at++;
    return true;
}

/* Names up to "in" or "=": "a", "a, b", "(a, (b, c))", "ns.a". */
static struct node *parse_target(struct parser *p)
{
    if (parse_take_op(p, "(")) {
        struct node *group = parse_new(p, N_LIST);
        if (++p->depth > DEPTH_MAX)
            return parse_fail(p, "nested too deep");
        do {
            if (!group || !parse_add_arg(p, group, parse_target(p)))
                return NULL;
        } while (parse_take_op(p, ","));
        p->depth--;
        return parse_need_op(p, ")") ? group : NULL;
    }
    struct node *name = parse_need_name(p);
    if (!name || !parse_take_op(p, "."))
        return name;
    struct node *attr = parse_new(p, N_ATTR), *field = parse_need_name(p);
    if (!attr || !field)
        return NULL;
    attr->a = name;
    attr->name = field->name;
    return attr;
}

static bool parse_targets(struct parser *p, struct node *n)
{
    do {
        if (!parse_add_arg(p, n, parse_target(p)))
            return false;
    } while (parse_take_op(p, ","));
    if (n->n_args == 1 && n->args[0]->kind == N_LIST) { /* "(a, b)" is "a, b" */
        struct node *group = n->args[0];
        n->args = group->args;
        n->n_args = group->n_args;
        n->cap_args = group->cap_args;
    }
    return true;
}

static bool at_tag(const struct parser *p, const char *word)
{
    return parse_peek(p)->kind == T_BLOCK_BEGIN && p->lx->tokens[p->at + 1].kind == T_NAME &&
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
        return parse_fail(p, "a block is not closed") != NULL;
    return need_end(p);
}

static struct node *parse_if(struct parser *p)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    struct node *n = parse_new(p, N_IF);
    do {
        if (!n || !parse_add_kid(p, n, parse_expression(p)) || !need_end(p) ||
            !parse_add_kid(p, n, parse_body(p, ends)))
            return NULL;
    } while (take_tag(p, "elif"));
    if (take_tag(p, "else") && (!need_end(p) || !(n->c = parse_body(p, ends))))
        return NULL;
    return end_tag(p, "endif") ? n : NULL;
}

static struct node *parse_for(struct parser *p)
{
    static const char *const ends[] = {"else", "endfor", NULL};
    struct node *n = parse_new(p, N_FOR);
    if (!n || !parse_targets(p, n))
        return NULL;
    if (!parse_take_word(p, "in"))
        return parse_fail(p, "expected 'in'");
    n->a = parse_tuple_from(p, parse_unconditional(p), parse_unconditional);
    if (!n->a || (parse_take_word(p, "if") && !parse_add_kid(p, n, parse_expression(p))))
        return NULL;
    n->recursive = parse_take_word(p, "recursive");
    if (!need_end(p) || !(n->b = parse_body(p, ends)))
        return NULL;
    if (take_tag(p, "else") && (!need_end(p) || !(n->c = parse_body(p, ends))))
        return NULL;
    return end_tag(p, "endfor") ? n : NULL;
}

/* Filters after "|" for what a block writes, into n->a. */
static bool parse_filter_chain(struct parser *p, struct node *n)
{
    while (parse_take_op(p, "|"))
        if (!(n->a = parse_filter(p, n->a)))
            return false;
    return true;
}

static struct node *parse_set(struct parser *p)
{
    static const char *const ends[] = {"endset", NULL};
    struct node *n = parse_new(p, N_SET);
    if (!n || !parse_targets(p, n))
        return NULL;
    if (parse_take_op(p, "=")) {
        n->a = parse_tuple_from(p, parse_expression(p), parse_expression);
        return n->a && need_end(p) ? n : NULL;
    }
    n->kind = N_SET_BLOCK;
    if (!parse_filter_chain(p, n) || !need_end(p) || !(n->b = parse_body(p, ends)))
        return NULL;
    return end_tag(p, "endset") ? n : NULL;
}

static struct node *parse_filter_block(struct parser *p)
{
    static const char *const ends[] = {"endfilter", NULL};
    struct node *n = parse_new(p, N_FILTER_BLOCK);
    if (!n || !(n->a = parse_filter(p, NULL)) || !parse_filter_chain(p, n) || !need_end(p) ||
        !(n->b = parse_body(p, ends)))
        return NULL;
    return end_tag(p, "endfilter") ? n : NULL;
}

static struct node *parse_with(struct parser *p)
{
    static const char *const ends[] = {"endwith", NULL};
    struct node *n = parse_new(p, N_WITH);
    while (n && parse_peek(p)->kind != T_BLOCK_END) {
        struct node *name = parse_need_name(p);
        if (!name || !parse_need_op(p, "=") || !(name->a = parse_expression(p)) ||
            !parse_add_arg(p, n, name))
            return NULL;
        if (!parse_take_op(p, ","))
            break;
    }
    if (!n || !need_end(p) || !(n->b = parse_body(p, ends)))
        return NULL;
    return end_tag(p, "endwith") ? n : NULL;
}

/* "(" has been read: names with defaults. */
static bool parse_parameters(struct parser *p, struct node *n)
{
    while (!parse_is_op(p, ")")) {
        struct node *param = parse_need_name(p);
        if (!param || (parse_take_op(p, "=") && !(param->a = parse_expression(p))) ||
            !parse_add_arg(p, n, param))
            return false;
        if (!parse_take_op(p, ","))
            break;
    }
    return parse_need_op(p, ")");
}

/* The body of a macro or of a call, which may use varargs, kwargs and caller. */
static bool parse_macro_body(struct parser *p, struct node *n, const char *const *ends)
{
    bool varargs = p->varargs, kwargs = p->kwargs, caller = p->caller;
    p->varargs = p->kwargs = p->caller = false;
    n->b = need_end(p) ? parse_body(p, ends) : NULL;
    n->varargs = p->varargs;
    n->kwargs = p->kwargs;
    n->caller = p->caller;
    p->varargs = varargs;
    p->kwargs = kwargs;
    p->caller = caller;
    return n->b && end_tag(p, *ends);
}

static struct node *parse_call_block(struct parser *p)
{
    static const char *const ends[] = {"endcall", NULL};
    struct node *n = parse_new(p, N_CALL_BLOCK);
    if (!n || (parse_take_op(p, "(") && !parse_parameters(p, n)) || !(n->a = parse_expression(p)))
        return NULL;
    if (n->a->kind != N_CALL)
        return parse_fail(p, "expected a call");
    return parse_macro_body(p, n, ends) ? n : NULL;
}

static struct node *parse_macro(struct parser *p)
{
    static const char *const ends[] = {"endmacro", NULL};
    struct node *n = parse_new(p, N_MACRO), *name = parse_need_name(p);
    if (!n || !name || !parse_need_op(p, "(") || !parse_parameters(p, n))
        return NULL;
    n->name = name->name;
    return parse_macro_body(p, n, ends) ? n : NULL;
}

static struct node *parse_simple(struct parser *p, enum node_kind kind)
{
    struct node *n = parse_new(p, kind);
    return n && need_end(p) ? n : NULL;
}

/* {% generation %} marks the assistant's words for training; here it is only its body. */
static struct node *parse_generation(struct parser *p)
{
    static const char *const ends[] = {"endgeneration", NULL};
    struct node *body = need_end(p) ? parse_body(p, ends) : NULL;
    return body && end_tag(p, "endgeneration") ? body : NULL;
}

static struct node *parse_output(struct parser *p, enum token_kind end)
{
    struct node *n = parse_new(p, N_OUTPUT);
    if (!n || !(n->a = parse_tuple_from(p, parse_expression(p), parse_expression)))
        return NULL;
    if (parse_peek(p)->kind != end)
        return parse_fail(p, "expected the end of the tag");
    p->at++;
    return n;
}

static struct node *parse_print(struct parser *p)
{
    struct node *n = parse_output(p, T_BLOCK_END);
    bool tuple = n && n->a->kind == N_LIST && n->a->negated;
    return tuple ? parse_fail(p, "print takes one value here") : n;
}

static struct node *parse_statement(struct parser *p)
{
    static const struct {
        const char *word;
        struct node *(*parse)(struct parser *p);
    } tags[] = {
        {"if", parse_if},       {"for", parse_for},         {"set", parse_set},
        {"macro", parse_macro}, {"call", parse_call_block}, {"filter", parse_filter_block},
        {"with", parse_with},   {"print", parse_print},     {"generation", parse_generation}};
    for (size_t i = 0; i < SP_COUNT(tags); i++)
        if (parse_take_word(p, tags[i].word))
            return tags[i].parse(p);
    if (parse_take_word(p, "break"))
        return parse_simple(p, N_BREAK);
    if (parse_take_word(p, "continue"))
        return parse_simple(p, N_CONTINUE);
    return parse_fail(p, "a tag that is unknown here");
}

static struct node *text_node(struct parser *p)
{
    struct node *n = parse_new(p, N_TEXT);
    const struct token *t = &p->lx->tokens[p->at++];
    struct value *v = n ? arena_alloc(p->t->arena, sizeof *v) : NULL;
    uint8_t *trust = v ? arena_alloc(p->t->arena, t->text.n + 1) : NULL;
    if (!trust)
        return parse_no_memory(p);
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
    struct node *body = parse_new(p, N_BODY);
    if (++p->depth > DEPTH_MAX)
        return parse_fail(p, "nested too deep");
    while (body && parse_peek(p)->kind != T_END && !ends_here(p, ends)) {
        struct node *kid;
        if (parse_peek(p)->kind == T_TEXT) {
            kid = text_node(p);
        } else if (parse_peek(p)->kind == T_VAR_BEGIN) {
            p->at++;
            kid = parse_output(p, T_VAR_END);
        } else {
            p->at++;
            kid = parse_statement(p);
        }
        if (!parse_add_kid(p, body, kid))
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
