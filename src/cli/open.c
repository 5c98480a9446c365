#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "cli/cli_int.h"

int cli_hub(const options *o, hub **out, sp_error *err)
{
    int code = hub_open(options_str(o, "store"), out, err);
    if (code == 0 && options_has(o, "packed-cache")) {
        code = hub_set_packed(*out, options_str(o, "packed-cache"), err);
        if (code < 0) {
            hub_close(*out);
            *out = NULL;
        }
    }
    return code;
}

enum compute_mode cli_compute(const options *o)
{
    const char *c = options_str(o, "compute");
    return c && strcmp(c, "f32") == 0 ? COMPUTE_F32 : COMPUTE_FAST;
}

bool cli_kv_type(const options *o, enum kv_type *out)
{
    return kv_type_named(options_str(o, "kv-type"), out);
}

/* The store's only model, or the starter among several. */
static int stored_choice(hub *h, char **name, sp_error *err)
{
    struct stored_model *models = NULL;
    size_t n = 0;
    int code = hub_list(h, &models, &n, err);
    if (code < 0)
        return code;
    const char *pick = n == 1 ? models[0].name : NULL;
    if (n == 0)
        code = sp_fail(err, SP_EUSAGE,
                       "no model: none is on this machine yet: `sampan pull qwen2.5-coder-0.5b` "
                       "gets a small one");
    else if (!pick)
        code = sp_fail(err, SP_EUSAGE,
                       "no model: %zu are on this machine: choose one with --model (`sampan list`)",
                       n);
    else if (!(*name = sp_strdup(pick)))
        code = sp_fail(err, SP_ENOMEM, "out of memory");
    stored_models_free(models, n);
    return code;
}

int cli_model_name(const options *o, char **name, sp_error *err)
{
    const char *const *models;
    size_t n = options_list(o, "model", &models);
    if (n > 1)
        return sp_fail(err, SP_EUSAGE, "--model: given %zu times: this verb takes one model", n);
    if (n == 1) {
        *name = sp_strdup(models[0]);
        return *name ? 0 : sp_fail(err, SP_ENOMEM, "out of memory");
    }
    hub *h = NULL;
    int code = cli_hub(o, &h, err);
    if (code == 0)
        code = stored_choice(h, name, err);
    hub_close(h);
    return code;
}

static int show_loading(void *arg, uint64_t done, uint64_t total)
{
    char line[96];
    snprintf(line, sizeof line, "loading %s: %d%%", (const char *)arg,
             total ? (int)(100.0 * (double)done / (double)total) : 0);
    term_status(line);
    return cli_interrupted;
}

int cli_threads(const options *o, int *threads, sp_error *err)
{
    int64_t list[OPTIONS_INTS_MOST];
    if (options_ints(o, "threads", list) > 1)
        return sp_fail(err, SP_EUSAGE, "--threads: %s: this verb takes one number",
                       options_str(o, "threads"));
    *threads = (int)options_int(o, "threads");
    return 0;
}

enum pool_pin cli_pin(const options *o)
{
    const char *p = options_str(o, "pin");
    return !p || strcmp(p, "auto") == 0 ? POOL_PIN_AUTO
           : strcmp(p, "on") == 0       ? POOL_PIN_ON
                                        : POOL_PIN_OFF;
}

static enum speculate cli_speculate(const options *o)
{
    const char *s = options_str(o, "speculate");
    return s && strcmp(s, "off") == 0 ? SPECULATE_OFF : SPECULATE_NGRAM;
}

int cli_one_word(const options *o, const char *verb, const char *choices, const char **out,
                 sp_error *err)
{
    const char *const *args;
    if (options_args(o, &args) != 1)
        return sp_fail(err, SP_EUSAGE, "%s takes one word: %s", verb, choices);
    *out = args[0];
    return 0;
}

void cli_print_json(json_t *j)
{
    json_dumpf(j, stdout, JSON_REAL_PRECISION(9) | JSON_COMPACT);
    printf("\n");
    json_decref(j);
}

/* On a terminal people see how far it is, and Ctrl-C ends it. */
static int open_shown(const char *path, const char *name, struct engine_opts *eo, engine **out,
                      sp_error *err)
{
    eo->progress = show_loading;
    eo->progress_arg = (void *)(uintptr_t)name;
    cli_catch_interrupt(true);
    int code = engine_open(path, eo, out, err);
    cli_catch_interrupt(false);
    term_status(NULL);
    eo->progress = NULL;
    return code;
}

int cli_engine_with(const options *o, const char *name, struct engine_opts *eo, engine **out,
                    sp_error *err)
{
    char *path = NULL;
    hub *h = NULL;
    struct packed_place place = {0};
    int code = cli_hub(o, &h, err);
    if (code == 0)
        code = hub_resolve(h, name, &path, err);
    if (code == 0)
        code = hub_packed(h, path, &place, err);
    if (code == 0) {
        eo->packed.paths[0] = place.paths[0];
        eo->packed.paths[1] = place.paths[1];
        if (options_has(o, "kv-memory"))
            eo->kv_bytes = options_bytes(o, "kv-memory");
        eo->pin = cli_pin(o);
        if (!eo->kv_given)
            eo->kv_given = cli_kv_type(o, &eo->kv_type);
        code =
            eo->progress ? engine_open(path, eo, out, err) : open_shown(path, name, eo, out, err);
        eo->packed.paths[0] = eo->packed.paths[1] = NULL;
    }
    packed_place_free(&place);
    sp_free(path);
    hub_close(h);
    return code;
}

int cli_engine_options(const options *o, struct engine_opts *eo, sp_error *err)
{
    eo->max_context = options_int(o, "max-context");
    eo->max_seqs = (int)options_int(o, "max-seqs");
    eo->max_queue = (int)options_int(o, "max-queue");
    eo->speculate = cli_speculate(o);
    eo->draft_max = (int)options_int(o, "draft-max");
    eo->max_queue_tokens = options_int(o, "max-queue-tokens");
    eo->step_rows = options_int(o, "step-tokens");
    eo->prefix_store = options_str(o, "prefix-store");
    eo->prefix_cache = strcmp(options_str(o, "prefix-cache"), "on") == 0;
    return cli_threads(o, &eo->threads, err);
}

/* What eo says of precision counts; the rest comes from the options. */
static int open_engine(const options *o, const char *name, struct engine_opts eo, engine **out,
                       sp_error *err)
{
    char *own = NULL;
    int code = name ? 0 : cli_model_name(o, &own, err);
    if (code == 0)
        code = cli_engine_options(o, &eo, err);
    if (code == 0)
        code = cli_engine_with(o, name ? name : own, &eo, out, err);
    sp_free(own);
    return code;
}

int cli_engine(const options *o, const char *name, engine **out, sp_error *err)
{
    struct engine_opts eo = engine_opts_default();
    eo.compute = cli_compute(o);
    return open_engine(o, name, eo, out, err);
}

int cli_engine_exact(const options *o, const char *name, engine **out, sp_error *err)
{
    struct engine_opts eo = engine_opts_default();
    eo.compute = COMPUTE_F32;
    eo.kv_type = KV_F32;
    eo.kv_given = true;
    return open_engine(o, name, eo, out, err);
}

int cli_sampling(const options *o, struct sampling *s, sp_error *err)
{
    const struct {
        const char *name;
        float *at;
    } floats[] = {{"temperature", &s->temperature},
                  {"top-p", &s->top_p},
                  {"min-p", &s->min_p},
                  {"repetition-penalty", &s->repetition_penalty},
                  {"presence-penalty", &s->presence_penalty},
                  {"frequency-penalty", &s->frequency_penalty}};
    (void)err;
    for (size_t i = 0; i < SP_COUNT(floats); i++)
        if (options_has(o, floats[i].name))
            *floats[i].at = (float)options_float(o, floats[i].name);
    if (options_has(o, "top-k"))
        s->top_k = (int32_t)options_int(o, "top-k");
    if (options_has(o, "seed"))
        s->seed = (uint64_t)options_int(o, "seed");
    return 0;
}
