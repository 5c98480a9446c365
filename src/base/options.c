#include "base/options.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/alloc.h"
#include "base/file.h"
#include "base/options_int.h"

#define MEMORY_MAX ((size_t)256 << 20) /* of all settings and arguments: over any ARG_MAX */
#define ENV_PREFIX "SAMPAN_"
#define SHOWN 60 /* bytes of a bad value in an error */

extern char **environ;

static int out_of_memory(sp_error *err)
{
    return sp_fail(err, SP_ENOMEM, "can't read the settings: out of memory: close other programs");
}

/* ---- the table ---- */

size_t options_find(const struct options *o, str name)
{
    size_t i = 0;
    while (i < o->n && !str_eqz(name, o->specs[i].name))
        i++;
    return i;
}

const char *options_nearest(const struct options *o, unsigned verbs, str name, size_t limit)
{
    const char *best = NULL;
    size_t nearest = limit + 1;
    for (size_t i = 0; i < o->n; i++) {
        size_t d = str_distance(name, str_of(o->specs[i].name));
        if ((o->specs[i].verbs & verbs) && d < nearest) {
            nearest = d;
            best = o->specs[i].name;
        }
    }
    return best;
}

const char *options_verb_name(unsigned verb)
{
    static const char *const names[] = {"run",   "chat",        "serve", "pull",        "list",
                                        "show",  "rm",          "eval",  "bench",       "config",
                                        "store", "bench serve", "key",   "healthcheck", "db"};
    size_t i = 0;
    while (i < sizeof names / sizeof names[0] - 1 && !(verb >> i & 1))
        i++;
    return names[i];
}

bool options_is_secret(const struct option_spec *s)
{
    return strcmp(s->name, "api-key") == 0 || strcmp(s->name, "admin-key") == 0 ||
           strcmp(s->name, "key") == 0;
}

/* ---- values ---- */

/* "--port=70000: why", "SAMPAN_PORT=70000: why", "FILE:3: port: 70000: why". */
static int bad_value(const struct option_spec *s, enum option_origin origin, const char *where,
                     str text, const char *why, sp_error *err)
{
    int n = (int)(text.n > SHOWN ? SHOWN : text.n);
    const char *more = text.n > SHOWN ? "..." : "";
    if (origin == ORIGIN_FILE)
        return sp_fail(err, SP_EUSAGE, "%s: %s: %.*s%s: %s", where, s->name, n, text.p, more, why);
    return sp_fail(err, SP_EUSAGE, "%s=%.*s%s: %s", where, n, text.p, more, why);
}

static bool parse_bool(const char *text, bool *out)
{
    static const char *const yes[] = {"true", "yes", "on", "1"};
    static const char *const no[] = {"false", "no", "off", "0"};
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++) {
        bool is_yes = strcasecmp(text, yes[i]) == 0;
        if (is_yes || strcasecmp(text, no[i]) == 0) {
            *out = is_yes;
            return true;
        }
    }
    return false;
}

static bool is_choice(const char *choices, str text)
{
    const char *at = choices;
    for (;;) {
        size_t n = strcspn(at, "|");
        if (str_eq((str){at, n}, text))
            return true;
        if (!at[n])
            return false;
        at += n + 1;
    }
}

/* Every number of the list must be in the range; the first becomes v->i. */
static bool parse_ints(const struct option_spec *s, struct option_value *v, char why[128])
{
    int64_t items[OPTIONS_INTS_MOST];
    size_t n = 0;
    if (!str_to_i64_list(str_of(v->text), items, OPTIONS_INTS_MOST, &n)) {
        (void)snprintf(why, 128,
                       "no list of whole numbers: use forms like 2 or 1,2,4 or 512-4096*2");
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (s->min < s->max && ((double)items[i] < s->min || (double)items[i] > s->max)) {
            (void)snprintf(why, 128, "%lld is out of range: use %.10g to %.10g",
                           (long long)items[i], s->min, s->max);
            return false;
        }
    }
    v->i = items[0];
    return true;
}

/* Fills the field of v that the type uses. Returns false with the reason in why. */
static bool parse_value(const struct option_spec *s, struct option_value *v, char why[128])
{
    str text = str_of(v->text);
    bool ok = true;
    const char *want = "";
    switch (s->type) {
    case OPT_INT:
        ok = str_to_i64(text, &v->i);
        v->f = (double)v->i;
        want = "not a whole number: give one";
        break;
    case OPT_INTS:
        return parse_ints(s, v, why);
    case OPT_FLOAT:
        ok = str_to_f64(text, &v->f);
        want = "not a number: give one";
        break;
    case OPT_BOOL:
        ok = parse_bool(v->text, &v->b);
        want = "neither true nor false: give one of them";
        break;
    case OPT_BYTES:
        ok = str_to_bytes(text, &v->bytes);
        want = "not a size: give bytes, or a number with K, M, G or T";
        break;
    case OPT_CHOICE:
        ok = is_choice(s->choices, text);
        (void)snprintf(why, 128, "no such choice: use %s", s->choices);
        return ok;
    case OPT_STRING:
    case OPT_LIST:
        break;
    }
    (void)snprintf(why, 128, "%s", want);
    bool ranged = (s->type == OPT_INT || s->type == OPT_FLOAT) && s->min < s->max;
    if (!ok || !ranged || (v->f >= s->min && v->f <= s->max))
        return ok;
    (void)snprintf(why, 128, "out of range: use %.10g to %.10g", s->min, s->max);
    return false;
}

static int append_item(struct options *o, struct option_value *v, const char *item, sp_error *err)
{
    if (v->n_items == v->cap_items) {
        size_t cap = v->cap_items ? v->cap_items * 2 : 4;
        const char **items = arena_array(o->memory, cap, sizeof *items);
        if (!items)
            return out_of_memory(err);
        if (v->n_items)
            memcpy(items, v->items, v->n_items * sizeof *items);
        v->items = items;
        v->cap_items = cap;
    }
    v->items[v->n_items++] = item;
    return 0;
}

int options_assign(struct options *o, size_t at, enum option_origin origin, const char *where,
                   str text, sp_error *err)
{
    const struct option_spec *s = &o->specs[at];
    char why[128];
    struct option_value v = {.set = true, .origin = origin, .where = where};
    if (text.n && memchr(text.p, '\0', text.n))
        return bad_value(s, origin, where, str_of(""), "holds a NUL byte: leave it out", err);
    const char *copy = arena_strndup(o->memory, text.p, text.n);
    if (!copy)
        return out_of_memory(err);
    v.text = copy;
    if (!parse_value(s, &v, why))
        return bad_value(s, origin, where, text, why, err);
    struct option_value *old = &o->values[at];
    if (old->set && old->origin > origin)
        return 0;
    if (s->type == OPT_LIST) {
        v.text = NULL;
        if (old->set && old->origin == origin) {
            v.items = old->items;
            v.n_items = old->n_items;
            v.cap_items = old->cap_items;
        }
        int rc = append_item(o, &v, copy, err);
        if (rc)
            return rc;
    }
    *old = v;
    return 0;
}

/* ---- flags ---- */

static int unknown_flag(const struct options *o, str name, sp_error *err)
{
    const char *verb = options_verb_name(o->verb);
    size_t limit = name.n / 3 > 2 ? name.n / 3 : 2;
    const char *near = options_nearest(o, o->verb, name, limit);
    int n = (int)(name.n > SHOWN ? SHOWN : name.n);
    if (near)
        return sp_fail(err, SP_EUSAGE, "unknown option --%.*s: did you mean --%s?", n, name.p,
                       near);
    return sp_fail(err, SP_EUSAGE, "unknown option --%.*s: `sampan %s --help` lists what there is",
                   n, name.p, verb);
}

/* A setting of the table that this verb does not take: says which do. */
static int foreign_flag(const struct options *o, const struct option_spec *s, sp_error *err)
{
    char verbs[128];
    size_t n = 0;
    verbs[0] = '\0';
    for (unsigned bit = 1; bit < VERB_ALL; bit <<= 1) {
        if (!(s->verbs & bit))
            continue;
        int put =
            snprintf(verbs + n, sizeof verbs - n, "%s%s", n ? ", " : "", options_verb_name(bit));
        if (put > 0)
            n += (size_t)put;
    }
    return sp_fail(err, SP_EUSAGE, "--%s: `sampan %s` does not take it: it belongs to %s", s->name,
                   options_verb_name(o->verb), verbs);
}

struct flag {
    size_t at;    /* in the table */
    bool negated; /* --no-name */
    bool joined;  /* --name=value */
    str value;
};

/* Finds the setting that argv[i] (it starts with "--") names. */
static int find_flag(const struct options *o, const char *arg, struct flag *f, sp_error *err)
{
    str name = {arg + 2, strcspn(arg + 2, "=")};
    f->joined = name.p[name.n] == '=';
    if (f->joined)
        f->value = str_of(name.p + name.n + 1);
    f->at = options_find(o, name);
    if (f->at == o->n && str_starts(name, "no-")) {
        f->at = options_find(o, (str){name.p + 3, name.n - 3});
        f->negated = f->at < o->n && o->specs[f->at].type == OPT_BOOL;
        if (!f->negated)
            f->at = o->n;
    }
    if (f->at == o->n)
        return unknown_flag(o, name, err);
    const struct option_spec *s = &o->specs[f->at];
    if (!(s->verbs & o->verb))
        return foreign_flag(o, s, err);
    return 0;
}

/* Takes the option at argv[*i], and its value if that is the next argument. */
static int take_flag(struct options *o, int argc, char **argv, int *i, sp_error *err)
{
    struct flag f = {0};
    int rc = find_flag(o, argv[*i], &f, err);
    if (rc)
        return rc;
    const struct option_spec *s = &o->specs[f.at];
    if (s->type == OPT_BOOL) {
        if (f.negated && f.joined)
            return sp_fail(err, SP_EUSAGE, "%s: --no-%s takes no value: leave it out", argv[*i],
                           s->name);
        if (!f.joined)
            f.value = str_of(f.negated ? "false" : "true");
    } else if (!f.joined) {
        const char *next = *i + 1 < argc ? argv[*i + 1] : NULL;
        if (!next || strncmp(next, "--", 2) == 0)
            return sp_fail(err, SP_EUSAGE, "--%s: its value is missing: write --%s=%s", s->name,
                           s->name, s->arg ? s->arg : s->choices);
        f.value = str_of(next);
        ++*i;
    }
    char where[64];
    (void)snprintf(where, sizeof where, "--%s", s->name);
    const char *kept = arena_strdup(o->memory, where);
    if (!kept)
        return out_of_memory(err);
    return options_assign(o, f.at, ORIGIN_FLAG, kept, f.value, err);
}

static int parse_flags(struct options *o, int argc, char **argv, sp_error *err)
{
    bool ended = false;
    o->args = arena_array(o->memory, argc > 0 ? (size_t)argc : 1, sizeof *o->args);
    if (!o->args)
        return out_of_memory(err);
    for (int i = 0; i < argc; i++) {
        const char *arg = argv[i];
        int rc = 0;
        if (ended || arg[0] != '-' || arg[1] == '\0') {
            const char *copy = arena_strdup(o->memory, arg);
            if (!copy)
                return out_of_memory(err);
            o->args[o->n_args++] = copy;
        } else if (strcmp(arg, "--") == 0) {
            ended = true;
        } else if (strcmp(arg, "-h") == 0) {
            rc = options_assign(o, options_find(o, str_of("help")), ORIGIN_FLAG, "--help",
                                str_of("true"), err);
        } else if (arg[1] != '-') {
            rc = sp_fail(
                err, SP_EUSAGE,
                "unknown option %.60s: options start with --: put -- before text that starts "
                "with a dash",
                arg);
        } else {
            rc = take_flag(o, argc, argv, &i, err);
        }
        if (rc)
            return rc;
    }
    return 0;
}

/* ---- environment ---- */

static void env_name(const char *name, char out[64])
{
    int n = snprintf(out, 64, ENV_PREFIX "%s", name);
    for (int i = (int)sizeof ENV_PREFIX - 1; i < n && i < 63; i++) {
        if (out[i] == '-')
            out[i] = '_';
        if (out[i] >= 'a' && out[i] <= 'z')
            out[i] = (char)(out[i] - 'a' + 'A');
    }
}

/* The value of one variable; commas divide a list. Empty counts as unset. */
static int read_variable(struct options *o, size_t at, sp_error *err)
{
    char name[64];
    env_name(o->specs[at].name, name);
    const char *text = getenv(name);
    if (!text || !*text)
        return 0;
    const char *where = arena_strdup(o->memory, name);
    if (!where)
        return out_of_memory(err);
    if (o->specs[at].type != OPT_LIST)
        return options_assign(o, at, ORIGIN_ENV, where, str_of(text), err);
    int rc = 0;
    while (!rc) {
        size_t n = strcspn(text, ",");
        if (n)
            rc = options_assign(o, at, ORIGIN_ENV, where, (str){text, n}, err);
        if (!text[n])
            break;
        text += n + 1;
    }
    return rc;
}

/* A variable that is no setting but looks like one misspelt is an error; others are not ours to judge. */
static int check_variable(const struct options *o, const char *entry, sp_error *err)
{
    const size_t prefix = sizeof ENV_PREFIX - 1;
    char name[64], full[64];
    if (strncmp(entry, ENV_PREFIX, prefix) != 0)
        return 0;
    size_t n = strcspn(entry + prefix, "=");
    if (n == 0 || n >= sizeof name)
        return 0;
    for (size_t i = 0; i < n; i++) {
        char c = entry[prefix + i];
        name[i] = c == '_' ? '-' : c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
    }
    str wanted = {name, n};
    if (options_find(o, wanted) < o->n || str_eqz(wanted, "isa"))
        return 0;
    const char *near = options_nearest(o, VERB_ALL, wanted, n < 8 ? 1 : 2);
    if (!near)
        return 0;
    env_name(near, full);
    return sp_fail(err, SP_EUSAGE, "unknown setting %.*s: did you mean %s?", (int)(prefix + n),
                   entry, full);
}

static int read_environment(struct options *o, sp_error *err)
{
    int rc = 0;
    for (char **e = environ; e && *e && !rc; e++)
        rc = check_variable(o, *e, err);
    for (size_t i = 0; i < o->n && !rc; i++) {
        if (strcmp(o->specs[i].name, "help") != 0)
            rc = read_variable(o, i, err);
    }
    return rc;
}

/* ---- file and defaults ---- */

/* The default file's path in *path (sp_free), NULL when there is no home to look in. */
static int default_file(char **path, sp_error *err)
{
    const char *xdg = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    *path = NULL;
    if (xdg && xdg[0] == '/')
        *path = path_join(xdg, "sampan/config.yaml");
    else if (home && *home)
        *path = path_join(home, ".config/sampan/config.yaml");
    else
        return 0;
    return *path ? 0 : out_of_memory(err);
}

static int read_config(struct options *o, sp_error *err)
{
    const char *given = options_str(o, "config");
    if (given)
        return options_read_file(o, given, err);
    char *path = NULL;
    int rc = default_file(&path, err);
    if (!rc && path && file_exists(path))
        rc = options_read_file(o, path, err);
    sp_free(path);
    return rc;
}

static int set_defaults(struct options *o, sp_error *err)
{
    int rc = 0;
    for (size_t i = 0; i < o->n && !rc; i++) {
        if (o->specs[i].value)
            rc = options_assign(o, i, ORIGIN_DEFAULT, "default", str_of(o->specs[i].value), err);
        else if (!o->values[i].set)
            o->values[i].where = "default";
    }
    return rc;
}

int options_parse(enum option_verb verb, int argc, char **argv, options **out, sp_error *err)
{
    *out = NULL;
    int rc = 0;
    options *o = sp_calloc(1, sizeof *o);
    if (!o)
        return out_of_memory(err);
    o->verb = verb;
    o->specs = options_table(&o->n);
    o->memory = arena_new(MEMORY_MAX);
    o->values = sp_calloc(o->n, sizeof *o->values);
    if (!o->memory || !o->values) {
        rc = out_of_memory(err);
        goto cleanup;
    }
    rc = parse_flags(o, argc, argv, err);
    if (!rc)
        rc = read_environment(o, err);
    if (!rc)
        rc = read_config(o, err);
    if (!rc)
        rc = set_defaults(o, err);
    if (!rc) {
        *out = o;
        o = NULL;
    }
cleanup:
    options_free(o);
    return rc;
}

void options_free(options *o)
{
    if (!o)
        return;
    arena_free(o->memory);
    sp_free(o->values);
    sp_free(o);
}

/* ---- reading ---- */

/* A name or type that the table does not have is a mistake in the program, not of its user. */
static const struct option_value *value_of(const options *o, const char *name)
{
    static const struct option_value nothing = {.where = "default"};
    size_t at = options_find(o, str_of(name));
    assert(at < o->n && "a setting that the table lacks");
    return at < o->n ? &o->values[at] : &nothing;
}

bool options_has(const options *o, const char *name)
{
    return value_of(o, name)->set;
}

const char *options_str(const options *o, const char *name)
{
    return value_of(o, name)->text;
}

int64_t options_int(const options *o, const char *name)
{
    return value_of(o, name)->i;
}

size_t options_ints(const options *o, const char *name, int64_t *out)
{
    const struct option_value *v = value_of(o, name);
    size_t n = 0;
    if (v->set) /* it was checked when it was set */
        (void)str_to_i64_list(str_of(v->text), out, OPTIONS_INTS_MOST, &n);
    return n;
}

double options_float(const options *o, const char *name)
{
    return value_of(o, name)->f;
}

bool options_bool(const options *o, const char *name)
{
    return value_of(o, name)->b;
}

uint64_t options_bytes(const options *o, const char *name)
{
    return value_of(o, name)->bytes;
}

size_t options_list(const options *o, const char *name, const char *const **items)
{
    const struct option_value *v = value_of(o, name);
    *items = v->items;
    return v->n_items;
}

enum option_origin options_origin(const options *o, const char *name, const char **where)
{
    const struct option_value *v = value_of(o, name);
    if (where)
        *where = v->where;
    return v->origin;
}

size_t options_args(const options *o, const char *const **items)
{
    *items = o->args;
    return o->n_args;
}
