/* Settings: one table for flags, environment, YAML file, defaults, --help and `sampan config show`.
 * Order: flag > environment > file > default; every value knows where it came from. Unknown names are
 * errors with a suggestion. An `options` is built once at start by one thread and then only read. */
#ifndef SP_BASE_OPTIONS_H
#define SP_BASE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"

enum option_type {
    OPT_STRING,
    OPT_INT,
    OPT_INTS, /* one whole number or several: "2", "1,2,4", "512-8192*2" (str_to_i64_list) */
    OPT_FLOAT,
    OPT_BOOL,
    OPT_BYTES,
    OPT_CHOICE,
    OPT_LIST
};
#define OPTIONS_INTS_MOST 256 /* numbers of one OPT_INTS */

/* The verbs an option belongs to, as bits; a verb refuses options of others. */
enum option_verb {
    VERB_RUN = 1 << 0,
    VERB_CHAT = 1 << 1,
    VERB_SERVE = 1 << 2,
    VERB_PULL = 1 << 3,
    VERB_LIST = 1 << 4,
    VERB_SHOW = 1 << 5,
    VERB_RM = 1 << 6,
    VERB_EVAL = 1 << 7,
    VERB_BENCH = 1 << 8,
    VERB_CONFIG = 1 << 9,
    VERB_STORE = 1 << 10,
    VERB_BENCH_SERVE = 1 << 11, /* a verb of two words */
    VERB_KEY = 1 << 12,
    VERB_HEALTHCHECK = 1 << 13,
    VERB_DB = 1 << 14,
    VERB_USER = 1 << 15,
    VERB_ALL = (1 << 16) - 1
};

struct option_spec {
    const char
        *name; /* "max-seqs": flag --max-seqs, environment SAMPAN_MAX_SEQS, YAML key max-seqs */
    enum option_type type;
    const char *value;   /* default as text; NULL: unset */
    const char *choices; /* OPT_CHOICE: "f32|fast" */
    double min, max;     /* numbers: inclusive range when min < max */
    unsigned verbs;      /* which verbs take it */
    const char *arg;     /* name of the value in --help: "N", "PATH"; NULL for a bool */
    const char *help;    /* one line, English, no full stop */
};

typedef struct options options;

enum option_origin { ORIGIN_DEFAULT, ORIGIN_FILE, ORIGIN_ENV, ORIGIN_FLAG };

const struct option_spec *options_table(size_t *n);

/* Reads environment and config file ($SAMPAN_CONFIG, else $XDG_CONFIG_HOME/sampan/config.yaml, else
 * ~/.config/sampan/config.yaml; a missing default file is fine), then argv after the verb. What is not
 * an option goes to the positional list; "--" ends options; "--name=value" and "--name value" both
 * work (a value that starts with "--" needs the first form); a bool is --name or --no-name. Commas
 * divide a list in the environment; an empty variable is unset; a variable that looks like a setting
 * misspelt is an error. SP_EUSAGE with a suggestion otherwise. */
int options_parse(enum option_verb verb, int argc, char **argv, options **out, sp_error *err);
void options_free(options *o);

/* The name must be in the table and of the type asked for. A number that is unset reads as 0. Strings
 * and lists live as long as o. options_str also gives numbers, as the text they came in. */
bool options_has(const options *o, const char *name);        /* set anywhere or having a default */
const char *options_str(const options *o, const char *name); /* NULL: unset */
int64_t options_int(const options *o, const char *name);     /* of several: the first */
/* The numbers of an OPT_INTS into out [OPTIONS_INTS_MOST]; how many. */
size_t options_ints(const options *o, const char *name, int64_t *out);
double options_float(const options *o, const char *name);
bool options_bool(const options *o, const char *name);
uint64_t options_bytes(const options *o, const char *name);
size_t options_list(const options *o, const char *name, const char *const **items);
/* *where (may be NULL): "--port", "SAMPAN_PORT", "FILE:LINE" or "default"; o's own. */
enum option_origin options_origin(const options *o, const char *name, const char **where);
size_t options_args(const options *o, const char *const **items); /* positional arguments */

/* The option part of `sampan VERB --help`, and the table of `sampan config show` (text or JSON: an array
 * of {"name", "value", "origin", "where"}). Keys are shown as "***". */
void options_help(enum option_verb verb, buf *out);
void options_show(const options *o, bool json, buf *out);

#endif
