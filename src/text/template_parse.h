/* Inside the parser of chat templates: template_parse.c reads expressions, template_parse_tag.c tags. What
 * the kinds of nodes keep where:
 *   ATTR a.name   ITEM a[b]   SLICE a[b:c:kids[0]]   CALL a(args)   FILTER a|name(args)   TEST a is name(args)
 *   UNARY op a   BINARY a op b   COMPARE a, then kids with their op   COND a if b else c
 *   LIST kids (negated: a tuple)   DICT kids: key, value, ...   CONCAT kids
 *   OUTPUT a   IF kids: condition, body, ... and c the else   FOR args: targets, a: over, b: body,
 *   c: else, kids[0]: the filter   SET args: targets (names, ns.attr or LIST of args), a: value
 *   SET_BLOCK args, a: filters, b: body   FILTER_BLOCK a: filters, b: body   CALL_BLOCK a: the call,
 *   args: parameters, b: body   WITH args: names (a: value), b: body
 *   MACRO name, args: parameters (a: default), b: body   BODY kids
 * Filters without a value to work on are FILTER nodes whose innermost a is NULL.
 * A keyword argument is a node with `name` set and the value in a, of kind N_SET; *x and **x are N_STAR
 * and N_STAR_STAR with x in a. */
#ifndef SP_TEXT_TEMPLATE_PARSE_H
#define SP_TEXT_TEMPLATE_PARSE_H

#include "text/template_int.h"

struct parser {
    struct template *t;
    const struct lexed *lx;
    size_t at;
    int depth;
    sp_error *err;
    bool failed;
    bool varargs, kwargs, caller; /* the names that were read since the macro began */
};

const struct token *parse_peek(const struct parser *p);
struct node *parse_fail(struct parser *p, const char *what); /* NULL */
struct node *parse_no_memory(struct parser *p);              /* NULL */
struct node *parse_new(struct parser *p, enum node_kind kind);
bool parse_add_kid(struct parser *p, struct node *n, struct node *kid); /* false: kid is NULL */
bool parse_add_arg(struct parser *p, struct node *n, struct node *kid);
bool parse_is_op(const struct parser *p, const char *op);
bool parse_take_op(struct parser *p, const char *op);
bool parse_take_word(struct parser *p, const char *word);
bool parse_need_op(struct parser *p, const char *op);
struct node *parse_need_name(struct parser *p);
struct node *parse_expression(struct parser *p);
/* An expression without "a if b else c" at its top, as after "in" of a loop. */
struct node *parse_unconditional(struct parser *p);
/* first, or the tuple that commas after it make. */
struct node *parse_tuple_from(struct parser *p, struct node *first,
                              struct node *(*next)(struct parser *p));
/* name(args), `of` is what it filters. */
struct node *parse_filter(struct parser *p, struct node *of);

#endif
