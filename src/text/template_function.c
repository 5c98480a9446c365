/* Global functions. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "text/template_int.h"

static struct value g_range(struct call *c)
{
    int64_t v[3] = {0, 0, 1};
    char text[96];
    struct value out = value_list(c->r);
    if (c->n < 1 || c->n > 3)
        return call_fail(c, "range takes one to three numbers");
    for (size_t i = 0; i < c->n; i++)
        v[c->n == 1 ? 1 : i] = call_int(c, i, NULL, 0);
    if (v[2] == 0)
        return call_fail(c, "range with a step of 0");
    for (int64_t i = v[0]; (v[2] > 0 ? i < v[1] : i > v[1]) && c->r->code == 0;) {
        if (out.u.list->n >= RANGE_MAX)
            return render_fail(c->r, "a range of more than %d numbers", RANGE_MAX);
        list_push(c->r, out.u.list, value_int(i));
        if (__builtin_add_overflow(i, v[2], &i))
            break;
    }
    if (c->r->code < 0)
        return out;
    snprintf(text, sizeof text, v[2] == 1 ? "range(%lld, %lld)" : "range(%lld, %lld, %lld)",
             (long long)v[0], (long long)v[1], (long long)v[2]);
    struct tstr name = tstr_make(c->r, text, strlen(text), true);
    return (struct value){.kind = V_RANGE, .u.list = out.u.list, .name = {name.p, name.n}};
}

/* A dict of another dict or of pairs, and of named values. */
static struct value g_dict(struct call *c)
{
    struct value out = value_dict(c->r);
    const struct value *from = call_arg(c, 0, NULL);
    if (c->n > 1)
        return call_fail(c, "dict and namespace take one dict and named values");
    const struct dict *d = from && from->kind == V_DICT ? from->u.dict : NULL;
    struct list *pairs = from && !d ? value_items(c->r, from) : NULL;
    for (size_t i = 0; d && i < d->n && c->r->code == 0; i++)
        dict_put(c->r, out.u.dict, d->keys[i], d->values[i]);
    for (size_t i = 0; pairs && i < pairs->n && c->r->code == 0; i++) {
        struct list *pair = value_items(c->r, &pairs->items[i]);
        if (pair && pair->n != 2)
            return call_fail(c, "dict wants pairs");
        if (pair)
            dict_put(c->r, out.u.dict, pair->items[0], pair->items[1]);
    }
    for (size_t i = 0; c->kwargs && i < c->kwargs->n && c->r->code == 0; i++)
        dict_put(c->r, out.u.dict, c->kwargs->keys[i], c->kwargs->values[i]);
    return out;
}

static struct value g_namespace(struct call *c)
{
    struct value out = g_dict(c);
    for (size_t i = 0; c->r->code == 0 && i < out.u.dict->n; i++) {
        const struct value *key = &out.u.dict->keys[i];
        if (key->kind == V_STRING && key->u.s.n && key->u.s.p[0] == '_')
            return call_fail(c, "a namespace takes no name that begins with '_'");
    }
    out.kind = c->r->code == 0 ? V_NAMESPACE : V_UNDEFINED;
    return out;
}

/* raise_exception("...") gives the template's own words, with the line. */
static struct value g_raise(struct call *c)
{
    const struct value *what = call_arg(c, 0, "message");
    struct tstr text = what ? value_text(c->r, what) : (struct tstr){"", NULL, 0};
    return render_fail(c->r, "%.*s", (int)(text.n < 300 ? text.n : 300), text.p);
}

static struct value g_strftime(struct call *c)
{
    const struct value *format = call_arg(c, 0, "format");
    char pattern[128], out[512];
    time_t now = time(NULL);
    struct tm tm;
    if (!format || format->kind != V_STRING || format->u.s.n >= sizeof pattern)
        return call_fail(c, "strftime_now wants a short format");
    memcpy(pattern, format->u.s.p, format->u.s.n);
    pattern[format->u.s.n] = '\0';
    localtime_r(&now, &tm);
    size_t n = strftime(out, sizeof out, pattern, &tm);
    return value_string(
        tstr_make(c->r, out, n, n == 0 || memchr(format->u.s.trust, 0, format->u.s.n) == NULL));
}

static const struct entry functions[] = {
    {"range", g_range},           {"dict", g_dict},
    {"namespace", g_namespace},   {"raise_exception", g_raise},
    {"strftime_now", g_strftime},
};

bool is_builtin(str name)
{
    return entry_find(functions, SP_COUNT(functions), name) != NULL;
}

struct value call_builtin(struct call *c, str name)
{
    return entry_find(functions, SP_COUNT(functions), name)(c);
}
