/* Work of models that takes more than one request: long texts (translate, summary, answer, template) and batches. A job
 * of these kinds consists of parts (store.h), each one chat completion:
 *
 *   prepare (worker)  checks the parameters; a text goes into the job's input, a batch's lines into its parts
 *   run (job thread)  cuts the input into parts that fit the model's context, asks for the open ones, some at a time
 *                     (ask_int.h), and writes each answer down when it is there; then parts that merge answers, as long
 *                     as there are more than one
 *   download          joins the results
 *
 * What is done stays done over pauses, restarts and kill -9, since a part with a result is never asked for again.
 *
 * A part's source: {"role": "segment" (translated or done one by one) | "section" (read one by one, then merged) |
 * "merge" | "final" | "line" (of a batch), ...}; "before", "text", "after": of the text, which is all of them joined,
 * in order; "of": [numbers] of the parts whose results are merged; of a line "line", "request" and more (task_batch.c).
 * Its result: {"text", "finish_reason", "prompt_tokens", "completion_tokens", "seconds"}, or {"error": {"code",
 * "message"}}.
 *
 * Events: "job_part" {"job", "number", "state": "running" | "done" | "failed", "result"}, and where texts are shown as
 * they grow "job_delta" {"job", "number", "offset" (bytes), "text"}. */
#ifndef SP_SERVER_TASK_INT_H
#define SP_SERVER_TASK_INT_H

#include "server/ask_int.h"
#include "server/jobs_int.h"

#define TASK_TEXT_MOST ((size_t)4 << 20) /* bytes of a text */
#define TASK_AT_ONCE 8                   /* requests of a job */
#define TASK_PRIORITY 20                 /* of its requests: others go first */
#define BATCH_PRIORITY 50

/* ---- task_run.c: the open parts of a job, some at a time ---- */

struct slot {
    enum { SLOT_FREE, SLOT_RUNS, SLOT_ENDED, SLOT_WAITS } state;
    struct task *task;
    struct ask *ask; /* while it runs */
    json_t *part;
    int64_t number;
    buf text;
    double began, again_at;               /* clock_seconds */
    char code[64], message[SP_ERROR_MAX]; /* "": it went well */
    char finish_reason[16];
    int64_t prompt_tokens, answer_tokens;
    int retry_after; /* seconds; 0: not known */
};

struct task {
    struct server *s;
    job_run *j;
    struct task *next; /* tasks that run: server.tasks */
    size_t at_once;
    int priority;
    bool tolerant; /* a part that fails is a result; else the job fails */
    bool shows;    /* its texts are told as they grow */
    /* The request of a part, as for a completion; NULL: *err. */
    json_t *(*request)(struct task *t, const json_t *part, sp_error *err);
    void *state; /* of who made it */

    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct slot slots[TASK_AT_ONCE];
    struct engine *engine; /* that it holds */
    int64_t done, total;   /* of its parts; the job thread's */
};

void task_open(struct task *t, struct server *s, job_run *j);
void task_close(struct task *t);
/* All parts that have no result yet. SP_ECANCELLED: the job was to stop. */
int task_do_parts(struct task *t, sp_error *err);
/* What came of all parts: {"parts", "failed", "truncated", "prompt_tokens", "completion_tokens"} */
int task_totals(struct task *t, json_t **out, sp_error *err);
/* Its model's engine, until task_let_go. */
int task_hold(struct task *t, const char *model, struct engine **out, sp_error *err);
void task_let_go(struct task *t);
/* Puts states and texts as they are now into parts of a job. */
void task_overlay(struct server *s, const char *id, json_t *parts);

/* ---- task_prompts.c ---- */

enum task_stage { STAGE_WHOLE, STAGE_SECTION, STAGE_MERGE };
str task_trim(str text); /* without blanks and line breaks at its ends */
/* {{name}} in text become values' (strings and numbers). SP_EINVAL: one has no value. */
int task_fill(const char *text, const json_t *values, buf *out, sp_error *err);
/* Each {{name}} of a text: a non-zero answer ends it and is returned. SP_EINVAL: a {{ without its end. */
int task_names(const char *text, int (*each)(void *arg, str name), void *arg, sp_error *err);
/* Messages of one request: text is what is read in this stage; section i of n, from 1. before: the part before, of a
 * translation (NULL: none). NULL: *err. */
struct task_place {
    enum task_stage stage;
    int64_t i, n;
    const json_t *before;
};
json_t *task_messages(const char *kind, const json_t *params, str text,
                      const struct task_place *place, sp_error *err);
int task_answer_tokens(const char *kind, const json_t *params); /* most of a whole answer */
bool text_is_chinese(str text);                                 /* mainly */

/* ---- task_template.c ---- */

/* A template as the user has it; false: the error has been set. */
bool template_check(struct call *c, const json_t *t);
/* Messages for these values: system, examples, prompt. */
json_t *template_messages(const json_t *t, const json_t *values, sp_error *err);
/* Values for all of its fields, defaults filled in. SP_EINVAL names the field. */
int template_values(const json_t *t, json_t *values, sp_error *err);
const char *template_long_field(const json_t *t); /* the first field of that type; NULL: none */

/* ---- task_text.c, task_batch.c, task_file.c ---- */

extern const struct page_kind translate_kind, summary_kind, answer_kind, template_kind, batch_kind;

/* Parameters that all of them have: "model" (one that is served; filled in when missing) and "params". false: the error
 * has been set. */
bool task_common(struct call *c, json_t *params);
void task_download(struct call *c, const json_t *job);  /* ?format=txt|md|json */
void batch_download(struct call *c, const json_t *job); /* ?format=jsonl|csv */

#endif
