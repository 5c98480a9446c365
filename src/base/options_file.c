/* The settings file: one YAML mapping of names to values, lists for settings that may be given several
 * times. Read as libyaml's events; nothing else of YAML (anchors, tags, nesting) is taken. */
#include <stdio.h>
#include <string.h>
#include <yaml.h>
#include "base/alloc.h"
#include "base/file.h"
#include "base/options_int.h"

#define FILE_MAX ((size_t)1 << 20) /* bytes: far over any list of settings */

struct reader {
    yaml_parser_t parser;
    yaml_event_t event;
    bool has_event;
    struct options *o;
    const char *path;
    bool *seen; /* [o->n], names that the file had already */
    sp_error *err;
};

static size_t line_of(const struct reader *r)
{
    return r->event.start_mark.line + 1;
}

/* The next event into r->event. */
static int next(struct reader *r)
{
    if (r->has_event)
        yaml_event_delete(&r->event);
    r->has_event = false;
    if (yaml_parser_parse(&r->parser, &r->event)) {
        r->has_event = true;
        return 0;
    }
    if (r->parser.error == YAML_MEMORY_ERROR)
        return sp_fail(r->err, SP_ENOMEM, "can't read %s: out of memory: close other programs",
                       r->path);
    return sp_fail(r->err, SP_EUSAGE, "%s:%zu: %s: write `name: value` lines", r->path,
                   r->parser.problem_mark.line + 1,
                   r->parser.problem ? r->parser.problem : "not YAML");
}

static str scalar(const struct reader *r)
{
    return (str){(const char *)r->event.data.scalar.value, r->event.data.scalar.length};
}

/* An unquoted nothing ("port:") or null. */
static bool is_null(const struct reader *r)
{
    if (r->event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return false;
    str s = scalar(r);
    return s.n == 0 || str_eqz(s, "~") || str_eqz(s, "null");
}

static int take_scalar(struct reader *r, size_t at)
{
    const char *name = r->o->specs[at].name;
    if (is_null(r))
        return sp_fail(r->err, SP_EUSAGE, "%s:%zu: %s: has no value: give one or delete the line",
                       r->path, line_of(r), name);
    buf b;
    buf_init(&b, SIZE_MAX);
    (void)buf_printf(&b, "%s:%zu", r->path, line_of(r));
    const char *where = b.failed ? NULL : arena_strndup(r->o->memory, b.data, b.len);
    buf_free(&b);
    if (!where)
        return sp_fail(r->err, SP_ENOMEM, "can't read %s: out of memory: close other programs",
                       r->path);
    return options_assign(r->o, at, ORIGIN_FILE, where, scalar(r), r->err);
}

static int wrong_shape(struct reader *r, const char *name, const char *want)
{
    return sp_fail(r->err, SP_EUSAGE, "%s:%zu: %s: not a %s: write `%s: value`", r->path,
                   line_of(r), name, want, name);
}

/* The value of setting `at`: a scalar, or for lists a sequence of them. */
static int take_value(struct reader *r, size_t at)
{
    const struct option_spec *s = &r->o->specs[at];
    int rc = next(r);
    if (rc)
        return rc;
    if (r->event.type == YAML_SCALAR_EVENT)
        return take_scalar(r, at);
    if (r->event.type != YAML_SEQUENCE_START_EVENT || s->type != OPT_LIST)
        return wrong_shape(r, s->name, s->type == OPT_LIST ? "value or list" : "single value");
    for (;;) {
        rc = next(r);
        if (rc || r->event.type == YAML_SEQUENCE_END_EVENT)
            return rc;
        if (r->event.type != YAML_SCALAR_EVENT)
            return wrong_shape(r, s->name, "list of plain values");
        rc = take_scalar(r, at);
        if (rc)
            return rc;
    }
}

/* The setting that the key in r->event names. */
static int find_key(struct reader *r, size_t *at)
{
    if (r->event.type != YAML_SCALAR_EVENT)
        return sp_fail(r->err, SP_EUSAGE, "%s:%zu: not a name: write `name: value` lines", r->path,
                       line_of(r));
    str name = scalar(r);
    *at = options_find(r->o, name);
    bool flag_only = str_eqz(name, "config") || str_eqz(name, "help");
    if (*at < r->o->n && !flag_only) {
        if (r->seen[*at])
            return sp_fail(r->err, SP_EUSAGE, "%s:%zu: %s: is there twice: delete one", r->path,
                           line_of(r), r->o->specs[*at].name);
        r->seen[*at] = true;
        return 0;
    }
    size_t limit = name.n / 3 > 2 ? name.n / 3 : 2;
    const char *near = flag_only ? NULL : options_nearest(r->o, VERB_ALL, name, limit);
    int n = (int)(name.n > 60 ? 60 : name.n);
    if (near)
        return sp_fail(r->err, SP_EUSAGE, "%s:%zu: unknown setting %.*s: did you mean %s?", r->path,
                       line_of(r), n, name.p, near);
    return sp_fail(r->err, SP_EUSAGE,
                   "%s:%zu: unknown setting %.*s: `sampan config show` lists what there is",
                   r->path, line_of(r), n, name.p);
}

static int take_mapping(struct reader *r)
{
    for (;;) {
        size_t at = 0;
        int rc = next(r);
        if (rc || r->event.type == YAML_MAPPING_END_EVENT)
            return rc;
        rc = find_key(r, &at);
        if (!rc)
            rc = take_value(r, at);
        if (rc)
            return rc;
    }
}

/* The documents of the stream: at most one, a mapping or empty. */
static int take_stream(struct reader *r)
{
    bool had_one = false;
    for (;;) {
        int rc = next(r);
        if (rc)
            return rc;
        switch (r->event.type) {
        case YAML_STREAM_END_EVENT:
            return 0;
        case YAML_STREAM_START_EVENT:
        case YAML_DOCUMENT_END_EVENT:
            continue;
        case YAML_DOCUMENT_START_EVENT:
            if (had_one)
                return sp_fail(r->err, SP_EUSAGE, "%s:%zu: a second document: keep one", r->path,
                               line_of(r));
            had_one = true;
            continue;
        case YAML_MAPPING_START_EVENT:
            rc = take_mapping(r);
            if (rc)
                return rc;
            continue;
        case YAML_SCALAR_EVENT:
            if (is_null(r))
                continue;
            break;
        default:
            break;
        }
        return sp_fail(r->err, SP_EUSAGE, "%s:%zu: not a mapping: write `name: value` lines",
                       r->path, line_of(r));
    }
}

int options_read_file(struct options *o, const char *path, sp_error *err)
{
    struct reader r = {.o = o, .path = path, .err = err};
    char *text = NULL;
    size_t n = 0;
    bool parser = false;
    int rc = file_read(path, FILE_MAX, &text, &n, err);
    if (rc)
        return sp_fail_within(err, rc, "settings");
    r.seen = sp_calloc(o->n, sizeof *r.seen);
    parser = r.seen && yaml_parser_initialize(&r.parser);
    if (!parser) {
        rc = sp_fail(err, SP_ENOMEM, "can't read %s: out of memory: close other programs", path);
        goto cleanup;
    }
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, n);
    rc = take_stream(&r);
cleanup:
    if (r.has_event)
        yaml_event_delete(&r.event);
    if (parser)
        yaml_parser_delete(&r.parser);
    sp_free(r.seen);
    sp_free(text);
    return rc;
}
