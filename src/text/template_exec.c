/* Statements, frames of variables, and the rendering as a whole. */
#include <string.h>
#include "text/template_int.h"

bool frame_set(struct render *r, struct frame *f, str name, struct value v)
{
    return dict_put(r, &f->vars,
                    value_string((struct tstr){name.p, (const uint8_t *)name.p, name.n}), v);
}

static struct frame *push_frame(struct render *r, struct frame *up)
{
    struct frame *f = render_alloc(r, sizeof *f);
    if (f)
        f->up = up;
    return f;
}

/* ---- assignment ---- */

static void assign(struct render *r, const struct node *n, struct value v);

static void assign_one(struct render *r, const struct node *target, struct value v)
{
    if (target->kind == N_NAME) {
        frame_set(r, r->frame, target->name, v);
        return;
    }
    if (target->kind == N_LIST) {
        assign(r, target, v);
        return;
    }
    struct value object = eval(r, target->a);
    if (r->code < 0)
        return;
    if (object.kind != V_NAMESPACE)
        render_fail(r, "only a namespace takes an attribute");
    else if (target->name.n && target->name.p[0] == '_')
        render_fail(r, "a namespace takes no name that begins with '_'");
    else
        dict_put(r, object.u.dict, value_string(tstr_make(r, target->name.p, target->name.n, true)),
                 v);
}

static void assign(struct render *r, const struct node *n, struct value v)
{
    if (n->n_args == 1 && n->kind != N_LIST) {
        assign_one(r, n->args[0], v);
        return;
    }
    const struct list *items = value_items(r, &v);
    if (items && items->n != n->n_args)
        render_fail(r, "%zu values for %zu names", items->n, n->n_args);
    for (size_t i = 0; items && i < n->n_args && r->code == 0; i++)
        assign_one(r, n->args[i], items->items[i]);
}

/* What a body writes, as a string. */
static struct value capture(struct render *r, const struct node *body)
{
    struct output own = {0}, *outer = r->out;
    r->out = &own;
    exec(r, body);
    r->out = outer;
    return value_string(text_finish(r, &own));
}

/* Filters of a block's text. */
static struct value filter_text(struct render *r, const struct node *filter, struct value text)
{
    if (!filter)
        return text;
    if (++r->depth > DEPTH_MAX * 4)
        return render_fail(r, "filters nested too deep");
    struct value v = eval_filter(r, filter, filter_text(r, filter->a, text));
    r->depth--;
    return v;
}

static bool is_parameter(const struct node *n, str name)
{
    for (size_t i = 0; i < n->n_args; i++)
        if (str_eq(n->args[i]->name, name))
            return true;
    return false;
}

/* What the parameters leave over: varargs, kwargs and caller, where the body uses them. */
static void bind_rest(struct render *r, const struct node *node, struct frame *f,
                      struct value *args, size_t n, struct dict *kwargs)
{
    struct value rest = value_list(r), named = value_dict(r),
                 caller = value_undefined(str_of("caller"));
    for (size_t i = node->n_args; i < n && r->code == 0; i++)
        list_push(r, rest.u.list, args[i]);
    for (size_t i = 0; kwargs && i < kwargs->n && r->code == 0; i++) {
        str name = {kwargs->keys[i].u.s.p, kwargs->keys[i].u.s.n};
        if (is_parameter(node, name))
            continue;
        if (node->caller && str_eqz(name, "caller"))
            caller = kwargs->values[i];
        else if (node->kwargs)
            dict_put(r, named.u.dict, kwargs->keys[i], kwargs->values[i]);
        else
            render_fail(r, "macro %.*s takes no argument '%.*s'", (int)node->name.n,
                        node->name.p ? node->name.p : "", (int)(name.n < 60 ? name.n : 60), name.p);
    }
    if (r->code == 0 && n > node->n_args && !node->varargs)
        render_fail(r, "macro %.*s takes %zu arguments, %zu were given", (int)node->name.n,
                    node->name.p ? node->name.p : "", node->n_args, n);
    if (r->code < 0)
        return;
    rest.u.list->tuple = true;
    if (node->varargs)
        frame_set(r, f, str_of("varargs"), rest);
    if (node->kwargs)
        frame_set(r, f, str_of("kwargs"), named);
    if (node->caller && !is_parameter(node, str_of("caller")))
        frame_set(r, f, str_of("caller"), caller);
}

struct value call_macro(struct render *r, const struct macro *m, struct value *args, size_t n,
                        struct dict *kwargs)
{
    const struct node *node = m->node;
    struct frame *caller = r->frame, *f = push_frame(r, m->home);
    if (!f || ++r->depth > DEPTH_MAX)
        return render_fail(r, "macros nested too deep");
    bind_rest(r, node, f, args, n, kwargs);
    r->frame = f;
    for (size_t i = 0; i < node->n_args && r->code == 0; i++) {
        const struct node *p = node->args[i];
        const struct value *named = kwargs ? dict_find(kwargs, p->name) : NULL;
        if (named && i < n) {
            render_fail(r, "argument '%.*s' is given twice", (int)p->name.n, p->name.p);
            break;
        }
        struct value v = i < n   ? args[i]
                         : named ? *named
                         : p->a  ? eval(r, p->a)
                                 : value_undefined(p->name);
        frame_set(r, f, p->name, v);
    }
    struct value out = r->code == 0 ? capture(r, node->b) : (struct value){0};
    r->frame = caller;
    r->depth--;
    return out;
}

static struct value new_macro(struct render *r, const struct node *n)
{
    struct macro *m = render_alloc(r, sizeof *m);
    if (!m)
        return (struct value){0};
    *m = (struct macro){n, r->frame};
    return (struct value){.kind = V_MACRO, .u.macro = m};
}

static void write_value(struct render *r, struct value v)
{
    struct tstr text = r->code == 0 ? value_text(r, &v) : (struct tstr){0};
    if (r->code == 0)
        output_add(r, r->out, text);
}

static void exec_with(struct render *r, const struct node *n)
{
    struct frame *outer = r->frame, *f = push_frame(r, outer);
    for (size_t i = 0; f && i < n->n_args && r->code == 0; i++)
        frame_set(r, f, n->args[i]->name, eval(r, n->args[i]->a));
    if (r->code < 0)
        return;
    r->frame = f;
    exec(r, n->b);
    r->frame = outer;
}

/* ---- loops ---- */

/* The items that pass the loop's own condition. */
static const struct list *filtered(struct render *r, const struct node *n, const struct list *items)
{
    struct value kept = value_list(r);
    struct frame *outer = r->frame;
    for (size_t i = 0; items && i < items->n && r->code == 0; i++) {
        r->frame = push_frame(r, outer);
        if (!r->frame)
            break;
        assign(r, n, items->items[i]);
        struct value pass = r->code == 0 ? eval(r, n->kids[0]) : (struct value){0};
        if (value_truth(&pass))
            list_push(r, kept.u.list, items->items[i]);
    }
    r->frame = outer;
    return r->code == 0 ? kept.u.list : NULL;
}

static void run_loop(struct render *r, const struct node *n, const struct value *over, int depth)
{
    const struct list *items = value_items(r, over);
    struct frame *outer = r->frame;
    if (items && n->n)
        items = filtered(r, n, items);
    struct loop_state *loop = render_alloc(r, sizeof *loop);
    if (!items || !loop)
        return;
    *loop = (struct loop_state){.items = items, .node = n, .home = outer, .depth = depth};
    for (size_t i = 0; i < items->n && r->code == 0 && !r->breaking; i++) {
        r->frame = push_frame(r, outer);
        if (!r->frame)
            break;
        loop->index = i;
        frame_set(r, r->frame, (str){"loop", 4}, (struct value){.kind = V_LOOP, .u.loop = loop});
        assign(r, n, items->items[i]);
        exec(r, n->b);
        r->continuing = false;
    }
    r->breaking = false;
    r->frame = outer;
    if (items->n == 0 && n->c && r->code == 0)
        exec(r, n->c);
}

struct value call_loop(struct render *r, const struct loop_state *l, const struct value *over)
{
    struct output own = {0}, *outer = r->out;
    struct frame *caller = r->frame;
    if (!l->node->recursive)
        return render_fail(r, "only a recursive loop can be called");
    if (++r->depth > DEPTH_MAX)
        return render_fail(r, "loops nested too deep");
    r->out = &own;
    r->frame = l->home;
    run_loop(r, l->node, over, l->depth + 1);
    r->out = outer;
    r->frame = caller;
    r->depth--;
    return value_string(text_finish(r, &own));
}

static void exec_if(struct render *r, const struct node *n)
{
    for (size_t i = 0; i + 1 < n->n; i += 2) {
        struct value test = eval(r, n->kids[i]);
        if (r->code < 0)
            return;
        if (value_truth(&test)) {
            exec(r, n->kids[i + 1]);
            return;
        }
    }
    if (n->c)
        exec(r, n->c);
}

static void exec_body(struct render *r, const struct node *n)
{
    if (++r->depth > DEPTH_MAX * 4)
        render_fail(r, "blocks nested too deep");
    for (size_t i = 0; i < n->n && r->code == 0 && !r->breaking && !r->continuing; i++)
        exec(r, n->kids[i]);
    r->depth--;
}

void exec(struct render *r, const struct node *n)
{
    r->line = n->line;
    if (r->code == 0 && ++r->steps > STEPS_MAX)
        render_fail(r, "it takes more than %d steps", STEPS_MAX);
    if (r->code < 0)
        return;
    struct value v;
    switch (n->kind) {
    case N_TEXT:
        output_add(r, r->out, n->constant->u.s);
        break;
    case N_OUTPUT:
        v = eval(r, n->a);
        r->line = n->line;
        write_value(r, v);
        break;
    case N_IF:
        exec_if(r, n);
        break;
    case N_FOR:
        v = eval(r, n->a);
        if (r->code == 0)
            run_loop(r, n, &v, 0);
        break;
    case N_SET:
        v = eval(r, n->a);
        if (r->code == 0)
            assign(r, n, v);
        break;
    case N_SET_BLOCK:
        v = filter_text(r, n->a, capture(r, n->b));
        if (r->code == 0)
            assign(r, n, v);
        break;
    case N_FILTER_BLOCK:
        v = filter_text(r, n->a, capture(r, n->b));
        if (r->code == 0 && v.kind != V_STRING)
            render_fail(r, "the filters of a block give a value of type %s", value_type(&v));
        write_value(r, v);
        break;
    case N_CALL_BLOCK:
        v = new_macro(r, n);
        write_value(r, eval_call(r, n->a, &v));
        break;
    case N_WITH:
        exec_with(r, n);
        break;
    case N_MACRO:
        v = new_macro(r, n);
        if (r->code == 0)
            frame_set(r, r->frame, n->name, v);
        break;
    case N_BREAK:
        r->breaking = true;
        break;
    case N_CONTINUE:
        r->continuing = true;
        break;
    default:
        exec_body(r, n);
    }
}

/* ---- compiling and rendering ---- */

/* Jinja reads "\r\n" and "\r" as line breaks. */
static char *with_line_feeds(arena *a, const char *source, size_t *n)
{
    char *copy = arena_alloc(a, *n + 1);
    size_t k = 0;
    for (size_t i = 0; copy && i < *n; i++) {
        if (source[i] == '\r' && i + 1 < *n && source[i + 1] == '\n')
            continue;
        copy[k++] = source[i] == '\r' ? '\n' : source[i];
    }
    *n = k;
    return copy;
}

int template_compile(const char *source, size_t n, template **out, sp_error *err)
{
    struct lexed lx;
    if (!utf8_valid(source, n))
        return sp_fail(err, SP_ETEMPLATE, "chat template: it is not UTF-8 text");
    template *t = sp_calloc(1, sizeof *t);
    if (t)
        t->arena = arena_new(ARENA_MAX);
    char *copy = t && t->arena ? with_line_feeds(t->arena, source, &n) : NULL;
    int code = copy ? template_lex(t->arena, copy, n, &lx, err)
                    : sp_fail(err, SP_ENOMEM, "chat template: out of memory");
    if (code == 0)
        code = template_parse(t, &lx, err);
    if (code < 0) {
        template_free(t);
        return code;
    }
    *out = t;
    return 0;
}

void template_free(template *t)
{
    if (t)
        arena_free(t->arena);
    sp_free(t);
}

void rendered_free(struct rendered *r)
{
    buf_free(&r->text);
    sp_free(r->spans);
    r->spans = NULL;
    r->n_spans = 0;
}

static bool is_trusted(const char *const *trusted, const char *name)
{
    for (; trusted && *trusted; trusted++)
        if (strcmp(*trusted, name) == 0)
            return true;
    return false;
}

static void set_globals(struct render *r, const json_t *vars, const char *const *trusted)
{
    const char *name;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)vars, name, v)
    {
        struct tstr key = tstr_make(r, name, strlen(name), true);
        struct value value = value_from_json(r, v, is_trusted(trusted, name));
        if (r->code < 0)
            return;
        frame_set(r, r->frame, (str){key.p, key.n}, value);
    }
}

/* The output's text and its trusted runs. */
static int hand_over(struct render *r, const struct output *o, struct rendered *out)
{
    size_t spans = 0;
    for (size_t i = 0; i < o->n; i++)
        spans += o->trust[i] && (i == 0 || !o->trust[i - 1]);
    out->spans = sp_calloc(spans + 1, sizeof *out->spans);
    if (!out->spans || buf_add(&out->text, o->p ? o->p : "", o->n) < 0) {
        render_nomem(r);
        return r->code;
    }
    for (size_t i = 0; i < o->n; i++) {
        if (!o->trust[i])
            continue;
        if (i == 0 || !o->trust[i - 1])
            out->spans[out->n_spans++].begin = i;
        out->spans[out->n_spans - 1].end = i + 1;
    }
    return 0;
}

int template_render(const template *t, const json_t *vars, const char *const *trusted,
                    struct rendered *out, sp_error *err)
{
    struct output o = {0};
    struct render r = {.err = err, .out = &o, .line = 1};
    *out = (struct rendered){0};
    buf_init(&out->text, OUTPUT_MAX + 1);
    r.arena = arena_new(ARENA_MAX);
    if (!r.arena)
        render_nomem(&r);
    r.frame = r.code == 0 ? push_frame(&r, NULL) : NULL;
    if (r.code == 0)
        set_globals(&r, vars, trusted);
    if (r.code == 0)
        exec(&r, t->root);
    if (r.code == 0)
        hand_over(&r, &o, out);
    sp_free(o.p);
    sp_free(o.trust);
    arena_free(r.arena);
    if (r.code < 0)
        rendered_free(out);
    return r.code;
}
