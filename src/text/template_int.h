/* Inside chat templates: tokens, the tree, values. A template's tree lives in the template's arena; all
 * values of a rendering live in the rendering's. */
#ifndef SP_TEXT_TEMPLATE_INT_H
#define SP_TEXT_TEMPLATE_INT_H

#include "base/base.h"
#include "text/template.h"

#define STEPS_MAX 1000000 /* evaluated nodes of one rendering */
#define STEP_BYTES 4096   /* so much text or list gone through counts as a step */
#define DEPTH_MAX 200     /* nested expressions, blocks and calls */
#define NESTING_MAX 500   /* lists in lists in lists */
#define OUTPUT_MAX ((size_t)64 << 20)
#define ARENA_MAX ((size_t)512 << 20)
#define RANGE_MAX 100000 /* Jinja's own limit in its sandbox */

/* ---- tokens ---- */

enum token_kind {
    T_END,
    T_TEXT,
    T_VAR_BEGIN,
    T_VAR_END,
    T_BLOCK_BEGIN,
    T_BLOCK_END,
    T_NAME,
    T_STRING,
    T_INT,
    T_FLOAT,
    T_OP
};
struct token {
    enum token_kind kind;
    str text; /* text, name, operator; a string's value with its escapes undone */
    int64_t i;
    double f;
    int line;
};
struct lexed {
    struct token *tokens;
    size_t n, cap;
    arena *arena;
};
int template_lex(arena *a, const char *src, size_t n, struct lexed *out, sp_error *err);

/* ---- the tree ---- */

enum node_kind {
    N_CONST,
    N_NAME,
    N_STAR,      /* *a among arguments */
    N_STAR_STAR, /* **a */
    N_LIST,
    N_DICT,
    N_ATTR,
    N_ITEM,
    N_SLICE,
    N_CALL,
    N_FILTER,
    N_TEST,
    N_UNARY,
    N_BINARY,
    N_COMPARE,
    N_AND,
    N_OR,
    N_NOT,
    N_COND,
    N_CONCAT,
    N_TEXT,
    N_OUTPUT,
    N_IF,
    N_FOR,
    N_SET,
    N_SET_BLOCK,
    N_FILTER_BLOCK,
    N_CALL_BLOCK,
    N_WITH,
    N_MACRO,
    N_BODY,
    N_BREAK,
    N_CONTINUE
};
enum op {
    OP_ADD,
    OP_SUB,
    OP_MUL,
    OP_DIV,
    OP_FLOORDIV,
    OP_MOD,
    OP_POW,
    OP_NEG,
    OP_POS,
    OP_EQ,
    OP_NE,
    OP_LT,
    OP_LE,
    OP_GT,
    OP_GE,
    OP_IN,
    OP_NOT_IN
};

struct value;
struct node {
    enum node_kind kind;
    int line;
    enum op op;
    str name; /* variable, attribute, filter, test, macro, keyword of an argument */
    const struct value *constant;
    struct node **kids; /* see template_parse.c for what each kind keeps where */
    size_t n, cap;
    struct node *a, *b, *c;
    struct node *
        *args; /* call, filter, test, macro parameters: N_CONST names in `name` of kwargs */
    size_t n_args, cap_args;
    bool negated;                 /* "is not" */
    bool recursive;               /* of a loop */
    bool varargs, kwargs, caller; /* names that a macro's body uses */
};

struct template
{
    arena *arena;
    struct node *root;
};
int template_parse(struct template *t, const struct lexed *lx, sp_error *err);

/* ---- values ---- */

enum value_kind {
    V_UNDEFINED,
    V_NONE,
    V_BOOL,
    V_INT,
    V_FLOAT,
    V_STRING,
    V_LIST,
    V_ITER, /* what map, select, reverse and others give: a list that can be gone through once */
    V_VIEW, /* what items(), keys() and values() of a dict give */
    V_RANGE,
    V_DICT,
    V_NAMESPACE,
    V_MACRO,
    V_BUILTIN,
    V_LOOP,
    V_METHOD
};

/* trust[i] is 1 for a byte that comes from the template or a trusted variable. */
struct tstr {
    const char *p;
    const uint8_t *trust;
    size_t n;
};
struct list;
struct dict;
struct loop_state;
struct macro;
struct value {
    enum value_kind kind;
    bool
        markup; /* a string marked "safe": what is added to it is escaped for HTML, as Jinja has it */
    union {
        bool b;
        int64_t i;
        double f;
        struct tstr s;
        struct list *list; /* also of an iterator, a view and a range */
        struct dict *dict; /* also of a namespace */
        struct macro *macro;
        struct loop_state *loop;
        struct method *method;
    } u;
    str name; /* of an undefined or a builtin; "dict_items" of a view; "range(0, 3)" */
};
struct list {
    struct value *items;
    size_t n, cap;
    int nesting; /* of what it holds; at most NESTING_MAX, so that going down it needs little stack */
    bool tuple;
    bool group; /* a pair of groupby, which has the attributes grouper and list */
};
struct dict {
    struct value *keys, *values; /* in the order of insertion */
    size_t n, cap;
    uint32_t *slots; /* a hash table of indexes + 1, when there are many */
    size_t n_slots;
    int nesting;
};
struct loop_state {
    const struct list *items;
    size_t index;
    const struct node *node;
    struct frame *home; /* where a recursive loop's body looks names up */
    int depth;
    struct value last; /* what changed() was given before */
};
struct frame {
    struct frame *up;
    struct dict vars;
};
struct macro {
    const struct node *node; /* N_MACRO, or the N_CALL_BLOCK whose body is `caller` */
    struct frame *home;
};
struct method {
    struct value self;
    str name;
};

struct output {
    char *p;
    uint8_t *trust;
    size_t n, cap;
};

/* A rendering. `code` is set with the first error, after which everything unwinds. */
struct render {
    arena *arena;
    sp_error *err;
    int code, line;
    long steps;
    int depth;
    struct frame *frame;
    struct output *out;
    bool breaking, continuing;
};
/* Sets the error with the line that is being evaluated; always returns an undefined value. */
struct value render_fail(struct render *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
struct value render_nomem(struct render *r);
void *render_alloc(struct render *r, size_t n); /* NULL: the error is set */
/* Counts the going through n bytes; false when there were too many steps. */
bool render_spend(struct render *r, size_t n);
size_t value_size(const struct value *v); /* bytes that an operation on it goes through, about */

/* template_value.c */
struct value value_none(void);
struct value value_bool(bool b);
struct value value_int(int64_t i);
struct value value_float(double f);
struct value value_string(struct tstr s);
struct value value_list(struct render *r);
struct value value_tuple(struct render *r, struct value a, struct value b);
struct value value_dict(struct render *r);
/* The list as an iterator (or as it is after an error). */
struct value value_iter(struct value list);
struct value value_text_of(struct render *r, const char *z); /* trusted */
struct value value_undefined(str name);
struct tstr tstr_make(struct render *r, const char *p, size_t n, bool trusted);
struct tstr tstr_slice(struct tstr s, size_t from, size_t to);
struct tstr tstr_concat(struct render *r, struct tstr a, struct tstr b);
bool list_push(struct render *r, struct list *l, struct value v);
bool dict_put(struct render *r, struct dict *d, struct value key, struct value v);
const struct value *dict_get(const struct dict *d, struct value key);
const struct value *dict_find(const struct dict *d, str key);
bool value_hashable(const struct value *v);
bool value_truth(const struct value *v);
bool value_equal(const struct value *a, const struct value *b);
/* -1, 0, 1; sets the error for kinds that have no order. */
int value_order(struct render *r, const struct value *a, const struct value *b);
const char *value_type(const struct value *v);
struct value value_from_json(struct render *r, const json_t *j, bool trusted);
/* What {{ v }} prints, and Python's repr of it. */
struct tstr value_text(struct render *r, const struct value *v);
struct tstr value_repr(struct render *r, const struct value *v); /* a string in quotes */
struct tstr value_json(struct render *r, const struct value *v, const struct value *indent,
                       const struct value *separators, bool ascii, bool sort);
bool output_add(struct render *r, struct output *o, struct tstr s);
bool output_addz(struct render *r, struct output *o, const char *z, bool trusted);
size_t text_length(struct tstr s);                     /* code points */
size_t text_offset(struct tstr s, size_t code_points); /* bytes before the i-th */

/* template_eval.c */
struct value eval(struct render *r, const struct node *n);
/* caller: the body of a call block, or NULL. */
struct value eval_call(struct render *r, const struct node *n, const struct value *caller);
/* The filter or test of node n (its arguments are evaluated) on a value. */
struct value eval_filter(struct render *r, const struct node *n, struct value self);
struct value call_value(struct render *r, const struct value *f, struct value *args, size_t n,
                        struct dict *kwargs);
/* What can be iterated, as a list; sets the error otherwise. Uses an iterator up. */
struct list *value_items(struct render *r, const struct value *v);
/* Python's arithmetic and its `in`. */
struct value binary(struct render *r, enum op op, const struct value *a, const struct value *b);
bool contains(struct render *r, const struct value *item, const struct value *in);
struct value get_attribute(struct render *r, const struct value *v, str name);
struct value get_item(struct render *r, const struct value *v, const struct value *key);

/* template_exec.c */
void exec(struct render *r, const struct node *n);
struct value call_macro(struct render *r, const struct macro *m, struct value *args, size_t n,
                        struct dict *kwargs);
bool frame_set(struct render *r, struct frame *f, str name, struct value v);
/* loop(items) in a recursive loop: what its body writes. */
struct value call_loop(struct render *r, const struct loop_state *l, const struct value *over);

/* A call of a filter, test, method or function. */
struct call {
    struct render *r;
    struct value self;
    struct value *args;
    size_t n;
    struct dict *kwargs;
};
/* Argument i or keyword `name`; NULL when not given. */
const struct value *call_arg(const struct call *c, size_t i, const char *name);
bool call_flag(const struct call *c, size_t i,
               const char *name); /* its truth; false when not given */
/* A whole number, `otherwise` when not given; another kind sets the error. */
int64_t call_int(const struct call *c, size_t i, const char *name, int64_t otherwise);
struct value call_fail(const struct call *c, const char *what);
typedef struct value (*call_fn)(struct call *c);
struct entry {
    const char *name;
    call_fn fn;
};
call_fn entry_find(const struct entry *entries, size_t n, str name); /* NULL: none */

/* template_filter.c, template_filter_list.c, template_test.c, template_function.c */
struct value apply_filter(struct call *c, str name);
call_fn list_filter(str name);
bool is_filter(str name);
struct value apply_test(struct call *c, str name);
bool is_test(str name);
struct value call_builtin(struct call *c, str name);
bool is_builtin(str name);
/* template_method.c */
struct value call_method(struct call *c, str name);
bool is_method(const struct value *self, str name);
/* template_format.c: "%s" % values, and "{}".format(...) */
struct tstr format_percent(struct render *r, struct tstr form, const struct value *values);
struct tstr format_braces(struct call *c, struct tstr form);
void float_text(double f, char out[64]); /* as Python's repr */
/* template_text.c: strings, each byte with its trust */
bool text_is_space(uint32_t c);
struct tstr text_strip(struct tstr s, const struct value *chars, bool left, bool right);
struct tstr text_replace(struct render *r, struct tstr s, struct tstr from, struct tstr to,
                         int64_t count);
/* 'u' upper, 'l' lower, 't' title, 'c' capitalize, 's' swapcase */
struct tstr text_case(struct render *r, struct tstr s, char how);
struct tstr text_join(struct render *r, struct tstr sep, const struct list *l);
struct tstr text_escape(struct render *r, struct tstr s); /* for HTML */
struct tstr text_repeat(struct render *r, struct tstr s, int64_t times);
/* With spaces, or what `fill` is, to `width` code points: '<', '>' or '^'. */
struct tstr text_pad(struct render *r, struct tstr s, int64_t width, char side, struct tstr fill);
void text_lines(struct render *r, struct tstr s, bool keep_ends, struct list *out);
const char *text_find(struct tstr s, size_t from, struct tstr what);
/* What was written to o, which is freed. */
struct tstr text_finish(struct render *r, struct output *o);

#endif
