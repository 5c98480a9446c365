/* The verbs of the program. Each cmd_<verb>.c offers one function; main.c holds the table. A verb gets
 * its parsed options and returns 0 or an SP_E* code with *err filled; only main.c prints errors and
 * exits (0 done, 1 failed, 2 wrong usage). */
#ifndef SP_CLI_CLI_INT_H
#define SP_CLI_CLI_INT_H

#include <jansson.h>
#include "base/options.h"
#include "engine/engine.h"
#include "hub/hub.h"

extern const char *cli_program; /* how the program was called: "sampan", "build/release/sampan" */

int cmd_run(const options *o, sp_error *err);
int cmd_chat(const options *o, sp_error *err);
int cmd_serve(const options *o, sp_error *err);
int cmd_pull(const options *o, sp_error *err);
int cmd_list(const options *o, sp_error *err);
int cmd_show(const options *o, sp_error *err);
int cmd_rm(const options *o, sp_error *err);
int cmd_store(const options *o, sp_error *err);
int cmd_eval(const options *o, sp_error *err);
int cmd_bench(const options *o, sp_error *err);
int cmd_bench_serve(const options *o, sp_error *err);
int cmd_config(const options *o, sp_error *err);
int cmd_db(const options *o, sp_error *err);
int cmd_user(const options *o, sp_error *err);
int cmd_key(const options *o, sp_error *err);
int cmd_healthcheck(const options *o, sp_error *err);

/* main.c: the settings as they are now, from the command line that this process has, its environment and the file. */
int cli_options_again(options **out, sp_error *err);
void cli_set_up_log(const options *o);

/* open.c: the store and engines as the options ask for them. */
int cli_hub(const options *o, hub **out, sp_error *err);
/* name: a model of the store or a path; NULL takes --model, else the only or the starter model. */
int cli_engine(const options *o, const char *name, engine **out, sp_error *err);
/* Same in float32 throughout, whatever --compute and --kv-type say. */
int cli_engine_exact(const options *o, const char *name, engine **out, sp_error *err);
/* All but precision and memory, as the options say. */
int cli_engine_options(const options *o, struct engine_opts *eo, sp_error *err);
/* Same as cli_engine with everything but the KV cache as *eo says. Its progress, where there is one, takes the place of
 * what is shown on a terminal and of Ctrl-C. */
int cli_engine_with(const options *o, const char *name, struct engine_opts *eo, engine **out,
                    sp_error *err);
/* memory_plan.c: models that are all loaded at start and share --memory equally; `name` is the one that is planned. */
struct memory_shares {
    const char *name;
    size_t models_left;
    uint64_t used;
    bool json;
};
/* Its plan goes to stdout, and nothing is loaded. sharing: else it is planned as if no other were loaded. */
int memory_plan_told(const options *o, const char *name, bool sharing, struct memory_shares *s,
                     sp_error *err);
/* --history, or history.db in the store's folder; *path is the caller's, NULL: off. */
int cli_history(const options *o, char **path, sp_error *err);
enum compute_mode cli_compute(const options *o);
/* --kv-type; false: auto. */
bool cli_kv_type(const options *o, enum kv_type *out);
/* The number of threads for a verb that takes one. */
int cli_threads(const options *o, int *threads, sp_error *err);
enum pool_pin cli_pin(const options *o);
/* The only positional argument, one of `choices` (named in the error where there is none). */
int cli_one_word(const options *o, const char *verb, const char *choices, const char **out,
                 sp_error *err);
void cli_print_json(json_t *j); /* on a line of stdout; takes j */
/* The model that --model or the store's only model names; *name is the caller's. */
int cli_model_name(const options *o, char **name, sp_error *err);
/* Sampling flags over the model's own defaults. */
int cli_sampling(const options *o, struct sampling *s, sp_error *err);

/* serve_models.c: what serve serves. Rows and their texts live in the arena. */
struct server_model;
struct serve_list {
    arena *arena;
    struct server_model *rows;
    size_t n, cap;
};
int serve_list_read(const options *o, struct serve_list *out, sp_error *err);
void serve_list_free(struct serve_list *l);

/* answer.c: one request from this thread, its text as it comes. Ctrl-C cancels it. */
struct answer {
    buf text; /* the whole answer */
    enum finish_reason reason;
    sp_error error;
    int64_t prompt_tokens, answer_tokens, draft_tokens, accepted_tokens;
    double queue_seconds, prefill_seconds, decode_seconds;
};
/* to_stdout: write text as it comes. The caller frees with answer_free. SP_ECANCELLED after Ctrl-C (what
 * came is in *a), the engine's error, or 0. */
int answer_get(engine *e, struct engine_request *r, bool to_stdout, struct answer *a,
               sp_error *err);
void answer_free(struct answer *a);
void answer_stats(const struct answer *a, buf *out); /* "31 tokens in, 64 out, 45.1 tokens/s ..." */
extern volatile int cli_interrupted; /* set by SIGINT while an answer or a download runs */
void cli_catch_interrupt(bool on);

/* cmd_pull.c: how a download or a copy shows itself. */
struct pull_view {
    bool quiet, tty;
    int last_percent; /* printed off a terminal: one line per tenth */
};
/* Options that every pull, export and import shares; *v must outlive *out. */
void cli_pull_opts(const options *o, struct pull_view *v, struct pull_opts *out);

/* term.c: what the terminal is like. */
bool term_color(const options *o, int fd);
bool term_is_tty(int fd);
int term_width(void);
/* A status line on stderr, rewritten in place; only on a terminal. NULL clears it. */
void term_status(const char *line);
void term_bytes(uint64_t n, char out[24]);        /* "491 MB" */
void term_duration(double seconds, char out[24]); /* "1 min 12 s" */
int term_use_utf8(void); /* LC_CTYPE that knows UTF-8, whatever LANG says */

/* lineedit.c: one message from the person, with editing, history and pasted blocks. */
typedef struct lineedit lineedit;
int lineedit_new(const char *history_file, lineedit **out, sp_error *err);
void lineedit_free(lineedit *l);
/* *message is the caller's. 1: got one; 0: end of input; SP_ECANCELLED: Ctrl-C on the line. */
int lineedit_read(lineedit *l, const char *prompt, const char *more_prompt, char **message,
                  sp_error *err);

#endif
