#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "cli/cli_int.h"

struct chat {
    const options *options;
    engine *engine;
    char *model;
    json_t *messages; /* the conversation, system message first if there is one */
    struct sampling sampling;
    int64_t max_tokens; /* -1: until the context is full */
    bool color;
    buf last_stats;
};

struct command {
    const char *name;
    int (*run)(struct chat *c, const char *arg, sp_error *err);
    const char *help;
};

static int cmd_help(struct chat *c, const char *arg, sp_error *err);

static int new_messages(struct chat *c, const char *system)
{
    json_decref(c->messages);
    c->messages = json_array();
    if (system && *system)
        json_array_append_new(c->messages,
                              json_pack("{s:s,s:s}", "role", "system", "content", system));
    return c->messages ? 0 : SP_ENOMEM;
}

static const char *system_text(const struct chat *c)
{
    const json_t *first = json_array_get(c->messages, 0);
    const char *role = json_string_value(json_object_get(first, "role"));
    return role && strcmp(role, "system") == 0
               ? json_string_value(json_object_get(first, "content"))
               : NULL;
}

static int do_system(struct chat *c, const char *arg, sp_error *err)
{
    (void)err;
    if (!*arg) {
        printf("%s\n", system_text(c) ? system_text(c) : "No system message.");
        return 0;
    }
    new_messages(c, arg);
    printf("System message set; the conversation starts anew.\n");
    return 0;
}

static int do_clear(struct chat *c, const char *arg, sp_error *err)
{
    char *system = system_text(c) ? sp_strdup(system_text(c)) : NULL;
    (void)arg;
    (void)err;
    new_messages(c, system);
    sp_free(system);
    printf("The conversation starts anew.\n");
    return 0;
}

static int do_model(struct chat *c, const char *arg, sp_error *err)
{
    if (!*arg) {
        printf("%s\n", c->model);
        return 0;
    }
    engine *next = NULL;
    char *name = sp_strdup(arg);
    if (!name)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    int code = cli_engine(c->options, arg, &next, err);
    if (code == 0 && !engine_chat(next)) {
        code =
            sp_fail(err, SP_EINVAL, "%s has no chat template: use `sampan run --raw` with it", arg);
        engine_close(next);
    }
    if (code < 0) {
        sp_free(name);
        return code;
    }
    engine_close(c->engine);
    sp_free(c->model);
    c->engine = next;
    c->model = name;
    c->sampling = engine_request_default(next).sampling;
    printf("Talking with %s now; the conversation goes on.\n", name);
    return cli_sampling(c->options, &c->sampling, err);
}

static int do_save(struct chat *c, const char *arg, sp_error *err)
{
    if (!*arg)
        return sp_fail(err, SP_EUSAGE, "/save needs a file name");
    char *text = json_dumps(c->messages, JSON_INDENT(2));
    if (!text)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    int code = file_write_atomic(arg, text, strlen(text), err);
    free(text); /* lib-owned: jansson's */
    if (code == 0)
        printf("Saved %zu messages to %s.\n", json_array_size(c->messages), arg);
    return code;
}

static bool is_conversation(const json_t *j)
{
    size_t i;
    const json_t *m;
    if (!json_is_array(j))
        return false;
    json_array_foreach((json_t *)(uintptr_t)j, i, m)
    {
        if (!json_is_string(json_object_get(m, "role")) ||
            !json_is_string(json_object_get(m, "content")))
            return false;
    }
    return true;
}

static int do_load(struct chat *c, const char *arg, sp_error *err)
{
    json_error_t je;
    if (!*arg)
        return sp_fail(err, SP_EUSAGE, "/load needs a file name");
    json_t *j = json_load_file(arg, JSON_REJECT_DUPLICATES, &je);
    if (!j)
        return sp_fail(err, SP_EFORMAT, "%s: line %d: %s", arg, je.line, je.text);
    if (!is_conversation(j)) {
        json_decref(j);
        return sp_fail(err, SP_EFORMAT, "%s: not a list of messages with role and content", arg);
    }
    json_decref(c->messages);
    c->messages = j;
    printf("Loaded %zu messages.\n", json_array_size(j));
    return 0;
}

struct knob {
    const char *name;
    double min, max;
};

static const struct knob knobs[] = {
    {"temperature", 0, 100},
    {"top-p", 0, 1},
    {"min-p", 0, 1},
    {"repetition-penalty", 0.01, 100},
    {"presence-penalty", -2, 2},
    {"frequency-penalty", -2, 2},
};

static float *knob_at(struct chat *c, size_t i)
{
    struct sampling *s = &c->sampling;
    float *const all[] = {
        &s->temperature,      &s->top_p, &s->min_p, &s->repetition_penalty, &s->presence_penalty,
        &s->frequency_penalty};
    return all[i];
}

static void show_knobs(struct chat *c)
{
    for (size_t i = 0; i < SP_COUNT(knobs); i++)
        printf("  %-20s %g\n", knobs[i].name, (double)*knob_at(c, i));
    printf("  %-20s %d\n  %-20s %llu\n  %-20s %lld\n", "top-k", c->sampling.top_k, "seed",
           (unsigned long long)c->sampling.seed, "max-tokens", (long long)c->max_tokens);
}

static int set_whole(struct chat *c, const char *name, str value, sp_error *err)
{
    int64_t n;
    if (!str_to_i64(value, &n) || n < -1 || n > 1000000000)
        return sp_fail(err, SP_EUSAGE, "/set %s: a whole number from -1 to 1000000000 is needed",
                       name);
    if (strcmp(name, "top-k") == 0)
        c->sampling.top_k = n < 0 ? 0 : (int32_t)n;
    else if (strcmp(name, "seed") == 0)
        c->sampling.seed = (uint64_t)n;
    else
        c->max_tokens = n;
    return 0;
}

static int do_set(struct chat *c, const char *arg, sp_error *err)
{
    char name[32];
    const char *space = strchr(arg, ' ');
    double v;
    if (!*arg) {
        show_knobs(c);
        return 0;
    }
    snprintf(name, sizeof name, "%.*s", space ? (int)(space - arg) : (int)strlen(arg), arg);
    str value = str_of(space ? space + 1 : "");
    if (strcmp(name, "top-k") == 0 || strcmp(name, "seed") == 0 || strcmp(name, "max-tokens") == 0)
        return set_whole(c, name, value, err);
    for (size_t i = 0; i < SP_COUNT(knobs); i++) {
        if (strcmp(name, knobs[i].name) != 0)
            continue;
        if (!str_to_f64(value, &v) || v < knobs[i].min || v > knobs[i].max)
            return sp_fail(err, SP_EUSAGE, "/set %s: a number from %g to %g is needed", name,
                           knobs[i].min, knobs[i].max);
        *knob_at(c, i) = (float)v;
        return 0;
    }
    return sp_fail(err, SP_EUSAGE, "/set: no '%s': /set alone shows them all", name);
}

static int do_stats(struct chat *c, const char *arg, sp_error *err)
{
    (void)arg;
    (void)err;
    printf("%s\n", c->last_stats.len ? c->last_stats.data : "No answer yet.");
    return 0;
}

static const struct command commands[] = {
    {"/help", cmd_help, "this list"},
    {"/system", do_system, "[TEXT]  show or set the system message (starts anew)"},
    {"/model", do_model, "[NAME]  show or change the model"},
    {"/clear", do_clear, "forget the conversation"},
    {"/save", do_save, "FILE  write the conversation as JSON"},
    {"/load", do_load, "FILE  go on with a saved conversation"},
    {"/set", do_set, "[NAME VALUE]  show or set temperature, top-p, top-k, seed, max-tokens, ..."},
    {"/stats", do_stats, "tokens and speed of the last answer"},
    {"/bye", NULL, "leave (Ctrl-D does too)"},
};

static int cmd_help(struct chat *c, const char *arg, sp_error *err)
{
    (void)c;
    (void)arg;
    (void)err;
    for (size_t i = 0; i < SP_COUNT(commands); i++)
        printf("  %-8s %s\n", commands[i].name, commands[i].help);
    printf("A line that ends in \\ goes on; so does a block between two lines of \"\"\". A pasted "
           "block\n"
           "is one message. Ctrl-C stops an answer, not the program.\n");
    return 0;
}

/* 1: leave the chat; 0: done; an error has been printed. */
static int run_command(struct chat *c, const char *line)
{
    size_t n = strcspn(line, " \n");
    const char *arg = line + n + strspn(line + n, " \n");
    for (size_t i = 0; i < SP_COUNT(commands); i++) {
        if (strlen(commands[i].name) != n || strncmp(line, commands[i].name, n) != 0)
            continue;
        if (!commands[i].run)
            return 1;
        sp_error err = {0};
        if (commands[i].run(c, arg, &err) < 0)
            fprintf(stderr, "sampan: %s\n", err.message);
        return 0;
    }
    fprintf(stderr, "sampan: no command %.*s: /help lists them\n", (int)n, line);
    return 0;
}

static int encode_messages(struct chat *c, struct token_list *ids, sp_error *err)
{
    struct chat_opts co = {.add_generation_prompt = true,
                           .allow_special = options_bool(c->options, "allow-special")};
    return chat_encode(engine_chat(c->engine), c->messages, &co, ids, err);
}

/* Sends the conversation, prints the answer as it comes and appends it. What failed is taken back. */
static int say(struct chat *c, const char *text, sp_error *err)
{
    struct token_list ids = {0};
    struct answer a = {0};
    json_t *user = json_string(text);
    if (!user)
        return sp_fail(err, SP_EINVAL, "that is not UTF-8 text");
    json_array_append_new(c->messages, json_pack("{s:s,s:o}", "role", "user", "content", user));
    struct engine_request r = engine_request_default(c->engine);
    int code = encode_messages(c, &ids, err);
    if (code == 0) {
        r.prompt = ids.ids;
        r.n_prompt = ids.n;
        r.sampling = c->sampling;
        r.max_tokens = c->max_tokens;
        code = answer_get(c->engine, &r, true, &a, err);
        printf("\n");
    }
    if (code == 0 || (code == SP_ECANCELLED && a.text.len > 0)) {
        json_array_append_new(c->messages, json_pack("{s:s,s:s%}", "role", "assistant", "content",
                                                     a.text.data ? a.text.data : "", a.text.len));
        buf_clear(&c->last_stats);
        answer_stats(&a, &c->last_stats);
    } else {
        json_array_remove(c->messages, json_array_size(c->messages) - 1);
    }
    if (code == SP_ECANCELLED) {
        fprintf(stderr, "(stopped)\n");
        code = 0;
    }
    answer_free(&a);
    token_list_free(&ids);
    return code;
}

static int talk(struct chat *c, lineedit *l, sp_error *err)
{
    for (;;) {
        char *line = NULL;
        fflush(stdout);
        int got = lineedit_read(l, ">>> ", "... ", &line, err);
        if (got == SP_ECANCELLED) {
            fprintf(stderr, "(Ctrl-D or /bye leaves)\n");
            continue;
        }
        if (got <= 0)
            return got;
        int leave = 0;
        if (line[0] == '/') {
            leave = run_command(c, line);
        } else if (line[strspn(line, " \t\n")]) {
            sp_error said = {0};
            if (say(c, line, &said) < 0)
                fprintf(stderr, "sampan: %s\n", said.message);
        }
        sp_free(line);
        if (leave)
            return 0;
    }
}

static char *history_path(const options *o)
{
    hub *h = NULL;
    char *path = NULL;
    if (cli_hub(o, &h, NULL) == 0 && file_is_dir(hub_store(h)))
        path = path_join(hub_store(h), "chat_history");
    hub_close(h);
    return path;
}

int cmd_chat(const options *o, sp_error *err)
{
    struct chat c = {.options = o, .max_tokens = -1, .color = term_color(o, 1)};
    lineedit *l = NULL;
    char *history = NULL;
    if (term_use_utf8() < 0)
        return sp_fail(
            err, SP_EUNSUPPORTED,
            "this system has no UTF-8 locale: install the package libc-bin or set LANG=C.UTF-8");
    buf_init(&c.last_stats, 4096);
    int code = cli_model_name(o, &c.model, err);
    if (code == 0)
        code = cli_engine(o, c.model, &c.engine, err);
    if (code == 0 && !engine_chat(c.engine))
        code = sp_fail(err, SP_EINVAL, "%s has no chat template: use `sampan run --raw` with it",
                       c.model);
    if (code == 0) {
        c.sampling = engine_request_default(c.engine).sampling;
        if (options_has(o, "max-tokens"))
            c.max_tokens = options_int(o, "max-tokens");
        code = cli_sampling(o, &c.sampling, err);
    }
    if (code == 0)
        code = new_messages(&c, options_str(o, "system")) < 0
                   ? sp_fail(err, SP_ENOMEM, "out of memory")
                   : 0;
    if (code == 0) {
        history = history_path(o);
        code = lineedit_new(history, &l, err);
    }
    if (code == 0) {
        if (term_is_tty(1))
            printf("Talking with %s. /help lists the commands, Ctrl-D leaves.\n", c.model);
        code = talk(&c, l, err);
    }
    lineedit_free(l);
    sp_free(history);
    engine_close(c.engine);
    json_decref(c.messages);
    buf_free(&c.last_stats);
    sp_free(c.model);
    return code;
}
