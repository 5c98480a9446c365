/* What the files of the settings share. options.c owns the values; options_file.c reads YAML into them;
 * options_show.c prints them. */
#ifndef SP_BASE_OPTIONS_INT_H
#define SP_BASE_OPTIONS_INT_H

#include "base/arena.h"
#include "base/options.h"
#include "base/str.h"

struct option_value {
    bool set;
    enum option_origin origin;
    const char *where; /* "--port", "SAMPAN_PORT", "/etc/sampan.yaml:3" or "default" */
    const char *text;  /* as it was given; NULL for lists */
    int64_t i;
    double f;
    uint64_t bytes;
    bool b;
    const char **items;
    size_t n_items, cap_items;
};

struct options {
    enum option_verb verb;
    arena *memory; /* of all strings and lists */
    const struct option_spec *specs;
    size_t n;
    struct option_value *values; /* [n], in the order of specs */
    const char **args;
    size_t n_args;
};

/* The place of a name in the table, or o->n. */
size_t options_find(const struct options *o, str name);
/* The name nearest to `name` among settings that one of `verbs` takes, NULL when none is within `limit`. */
const char *options_nearest(const struct options *o, unsigned verbs, str name, size_t limit);

/* Checks text against the setting's type and range and, unless a stronger origin has set it already, keeps
 * it; lists of the same origin grow. SP_EUSAGE names `where` and the text. */
int options_assign(struct options *o, size_t at, enum option_origin origin, const char *where,
                   str text, sp_error *err);

/* Reads the YAML file at path. */
int options_read_file(struct options *o, const char *path, sp_error *err);

/* "run", "serve": the name of one verb's bit. */
const char *options_verb_name(unsigned verb);
bool options_is_secret(const struct option_spec *s); /* never shown */

#endif
