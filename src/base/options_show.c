/* --help and `sampan config show`. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/json_int.h"
#include "base/options_int.h"

#define LEFT 28  /* column where help texts start */
#define WIDTH 96 /* of help: two halves of a wide terminal, one of a narrow one wraps by itself */

static void pad(buf *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        (void)buf_putc(out, ' ');
}

/* Words of text from column LEFT on, broken before WIDTH. */
static void put_wrapped(buf *out, const char *text)
{
    size_t column = LEFT;
    while (*text) {
        size_t n = strcspn(text, " ");
        if (column > LEFT && column + 1 + n > WIDTH) {
            (void)buf_putc(out, '\n');
            pad(out, LEFT);
            column = LEFT;
        } else if (column > LEFT) {
            (void)buf_putc(out, ' ');
            column++;
        }
        (void)buf_add(out, text, n);
        column += n;
        text += n + (text[n] == ' ');
    }
    (void)buf_putc(out, '\n');
}

static void put_option(buf *out, const struct option_spec *s)
{
    char text[512];
    size_t start = out->len;
    (void)buf_printf(out, "  --%s", s->name);
    const char *arg = s->type == OPT_CHOICE ? s->choices : s->arg;
    if (arg)
        (void)buf_printf(out, " %s", arg);
    size_t used = out->len - start;
    if (used + 2 > LEFT) {
        (void)buf_putc(out, '\n');
        used = 0;
    }
    pad(out, LEFT - used);
    if (s->value && s->type != OPT_BOOL)
        (void)snprintf(text, sizeof text, "%s (default %s)", s->help, s->value);
    else
        (void)snprintf(text, sizeof text, "%s", s->help);
    put_wrapped(out, text);
}

void options_help(enum option_verb verb, buf *out)
{
    size_t n = 0;
    const struct option_spec *specs = options_table(&n);
    for (size_t i = 0; i < n; i++) {
        if ((specs[i].verbs & (unsigned)verb) && specs[i].verbs != VERB_ALL)
            put_option(out, &specs[i]);
    }
    (void)buf_puts(out, "\noptions of every verb:\n");
    for (size_t i = 0; i < n; i++) {
        if (specs[i].verbs == VERB_ALL)
            put_option(out, &specs[i]);
    }
}

/* text as a JSON string, or for people: only what would break the line is escaped. */
static void put_string(buf *out, const char *text, bool json)
{
    char c[JSON_CHAR_MAX];
    bool special = false;
    if (json)
        (void)buf_putc(out, '"');
    for (size_t n = strlen(text); n;) {
        size_t took = json_char(text, n, c, &special);
        bool quote = !json && (*text == '"' || *text == '\\');
        if (quote)
            (void)buf_add(out, text, took);
        else
            (void)buf_puts(out, c);
        text += took;
        n -= took;
    }
    if (json)
        (void)buf_putc(out, '"');
}

static void put_list(buf *out, const struct option_value *v, bool secret, bool json)
{
    if (json)
        (void)buf_putc(out, '[');
    for (size_t i = 0; i < v->n_items; i++) {
        if (i)
            (void)buf_puts(out, ", ");
        put_string(out, secret ? "***" : v->items[i], json);
    }
    if (json)
        (void)buf_putc(out, ']');
}

/* A double in the shortest form that reads back the same. */
static void put_float(buf *out, double f)
{
    char text[32];
    for (int digits = 1; digits <= 17; digits++) {
        double back = 0;
        (void)snprintf(text, sizeof text, "%.*g", digits, f);
        if (str_to_f64(str_of(text), &back) && !(back < f) && !(back > f))
            break;
    }
    (void)buf_puts(out, text);
}

static void put_value(buf *out, const struct option_spec *s, const struct option_value *v,
                      bool json)
{
    if (!v->set) {
        (void)buf_puts(out, json ? "null" : "-");
        return;
    }
    switch (s->type) {
    case OPT_LIST:
        put_list(out, v, options_is_secret(s), json);
        break;
    case OPT_STRING:
    case OPT_CHOICE:
        put_string(out, options_is_secret(s) ? "***" : v->text, json);
        break;
    case OPT_INTS: /* one is a number, several are text */
        if (strspn(v->text, "0123456789") < strlen(v->text)) {
            put_string(out, v->text, json);
            break;
        }
        /* fall through */
    case OPT_INT:
        (void)buf_printf(out, "%lld", (long long)v->i);
        break;
    case OPT_FLOAT:
        put_float(out, v->f);
        break;
    case OPT_BOOL:
        (void)buf_puts(out, v->b ? "true" : "false");
        break;
    case OPT_BYTES:
        (void)buf_printf(out, "%llu", (unsigned long long)v->bytes);
        break;
    }
}

static const char *origin_name(enum option_origin origin)
{
    static const char *const names[] = {"default", "file", "environment", "flag"};
    return names[origin];
}

static void show_json(const options *o, buf *out)
{
    (void)buf_puts(out, "[");
    const char *gap = "\n";
    for (size_t i = 0; i < o->n; i++) {
        const struct option_value *v = &o->values[i];
        if (strcmp(o->specs[i].name, "help") == 0)
            continue;
        (void)buf_printf(out, "%s  {\"name\": \"%s\", \"value\": ", gap, o->specs[i].name);
        put_value(out, &o->specs[i], v, true);
        (void)buf_printf(out, ", \"origin\": \"%s\", \"where\": ", origin_name(v->origin));
        put_string(out, v->where, true);
        (void)buf_putc(out, '}');
        gap = ",\n";
    }
    (void)buf_puts(out, "\n]\n");
}

/* name, value, origin; a long value pushes its origin to the right. */
static void show_text(const options *o, buf *out)
{
    for (size_t i = 0; i < o->n; i++) {
        const struct option_value *v = &o->values[i];
        if (strcmp(o->specs[i].name, "help") == 0)
            continue;
        (void)buf_printf(out, "%-20s ", o->specs[i].name);
        size_t start = out->len;
        put_value(out, &o->specs[i], v, false);
        size_t used = out->len - start;
        pad(out, used < 24 ? 24 - used : 0);
        (void)buf_printf(out, "  %s", origin_name(v->origin));
        if (v->origin == ORIGIN_ENV || v->origin == ORIGIN_FILE) {
            (void)buf_putc(out, ' ');
            put_string(out, v->where, false);
        }
        (void)buf_putc(out, '\n');
    }
}

void options_show(const options *o, bool json, buf *out)
{
    if (json)
        show_json(o, out);
    else
        show_text(o, out);
}
