/* The parts of a job: which are open, who is at them, what came of them. On the job's thread, but for what comes of the
 * asks, on the loop. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "base/log.h"
#include "server/task_int.h"

#define POLL_SECONDS 0.1  /* how soon a job hears that it is to stop */
#define AGAIN_SECONDS 1.0 /* after a queue that was full, if nothing else is said */

/* ---- what comes of an ask: on the loop ---- */

static void on_text(void *arg, const char *text, size_t n)
{
    struct slot *s = arg;
    struct task *t = s->task;
    pthread_mutex_lock(&t->lock);
    size_t at = s->text.len;
    bool taken = buf_add(&s->text, text, n) == 0;
    pthread_mutex_unlock(&t->lock);
    if (taken && t->shows)
        events_publish(t->s, job_owner(t->j), "job_delta",
                       json_pack("{s:s,s:I,s:I,s:s%}", "job", job_id(t->j), "number",
                                 (json_int_t)s->number, "offset", (json_int_t)at, "text", text, n));
}

static void on_end(void *arg, const struct ask_end *e)
{
    struct slot *s = arg;
    struct task *t = s->task;
    pthread_mutex_lock(&t->lock);
    s->ask = NULL;
    s->state = SLOT_ENDED;
    (void)snprintf(s->code, sizeof s->code, "%s", e->code ? e->code : "");
    (void)snprintf(s->message, sizeof s->message, "%s", e->message ? e->message : "");
    (void)snprintf(s->finish_reason, sizeof s->finish_reason, "%s",
                   e->finish_reason ? e->finish_reason : "");
    s->prompt_tokens = e->prompt_tokens;
    s->answer_tokens = e->answer_tokens;
    s->retry_after = e->retry_after;
    pthread_cond_signal(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

/* ---- opening and closing ---- */

void task_open(struct task *t, struct server *s, job_run *j)
{
    pthread_condattr_t monotonic;
    t->s = s;
    t->j = j;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&t->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&t->lock, NULL);
    for (size_t i = 0; i < TASK_AT_ONCE; i++) {
        t->slots[i].task = t;
        buf_init(&t->slots[i].text, STORE_TEXT_MOST);
    }
    pthread_mutex_lock(&s->tasks_lock);
    t->next = s->tasks;
    s->tasks = t;
    pthread_mutex_unlock(&s->tasks_lock);
}

void task_close(struct task *t)
{
    struct server *s = t->s;
    struct task **at = &s->tasks;
    pthread_mutex_lock(&s->tasks_lock);
    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    pthread_mutex_unlock(&s->tasks_lock);
    for (size_t i = 0; i < TASK_AT_ONCE; i++) {
        json_decref(t->slots[i].part);
        buf_free(&t->slots[i].text);
    }
    pthread_mutex_destroy(&t->lock);
    pthread_cond_destroy(&t->changed);
}

/* Under lock: until something came, or it is time to look whether to stop. */
static void wait(struct task *t)
{
    struct timespec until = clock_after(POLL_SECONDS);
    (void)pthread_cond_timedwait(&t->changed, &t->lock, &until);
}

/* ---- one part ---- */

static void tell_part(struct task *t, int64_t number, const char *state, json_t *result)
{
    events_publish(t->s, job_owner(t->j), "job_part",
                   json_pack("{s:s,s:I,s:s,s:o}", "job", job_id(t->j), "number", (json_int_t)number,
                             "state", state, "result", result ? result : json_null()));
}

static json_t *result_of(const struct slot *s)
{
    if (s->code[0])
        return json_pack("{s:{s:s,s:s}}", "error", "code", s->code, "message", s->message);
    return json_pack("{s:s%,s:s,s:I,s:I,s:f}", "text", s->text.data ? s->text.data : "",
                     s->text.len, "finish_reason", s->finish_reason, "prompt_tokens",
                     (json_int_t)s->prompt_tokens, "completion_tokens",
                     (json_int_t)s->answer_tokens, "seconds", clock_seconds() - s->began);
}

/* Under lock. */
static void set_free(struct slot *s)
{
    json_decref(s->part);
    s->part = NULL;
    s->state = SLOT_FREE;
}

/* Those that others have caused, or the limits of a key, and that will pass. */
static bool passes(const char *code)
{
    return strcmp(code, "queue_full") == 0 || strcmp(code, "overloaded") == 0 ||
           strcmp(code, "queue_timeout") == 0 || strcmp(code, "rate_limit_exceeded") == 0;
}

/* What would be the same for every part of the job. */
static bool is_fatal(const char *code)
{
    return strcmp(code, "model_not_found") == 0 || strcmp(code, "model_load_failed") == 0 ||
           strcmp(code, "insufficient_memory") == 0 || strcmp(code, "draining") == 0 ||
           strcmp(code, "invalid_api_key") == 0;
}

static int write_down(struct task *t, struct slot *s, sp_error *err)
{
    json_t *result = result_of(s);
    int code = result ? store_part_done(job_store(t->j), job_id(t->j), s->number, result, err)
                      : sp_fail(err, SP_ENOMEM, "out of memory");
    if (code == 0) {
        tell_part(t, s->number, s->code[0] ? "failed" : "done", result);
        job_progress(t->j, ++t->done, t->total);
    } else {
        json_decref(result);
    }
    return code;
}

static int settle(struct task *t, struct slot *s, sp_error *err)
{
    int code = 0;
    bool again = s->code[0] && passes(s->code);
    if (again)
        s->again_at = clock_seconds() + (s->retry_after ? s->retry_after : AGAIN_SECONDS);
    else if (s->code[0] && job_stopping(t->j))
        code = sp_fail(err, SP_ECANCELLED, "stopped");
    else if (s->code[0] && (!t->tolerant || is_fatal(s->code)))
        code = sp_fail(err, SP_EINVAL, "part %lld: %s", (long long)s->number + 1, s->message);
    else
        code = write_down(t, s, err);
    pthread_mutex_lock(&t->lock);
    if (again)
        s->state = SLOT_WAITS;
    else
        set_free(s);
    pthread_mutex_unlock(&t->lock);
    return code;
}

static int ask(struct task *t, struct slot *s, sp_error *err)
{
    json_t *request = t->request(t, s->part, err);
    if (!request)
        return err->code ? err->code : sp_fail(err, SP_ENOMEM, "out of memory");
    json_object_set_new(request, "priority", json_integer(t->priority)); /* whatever a line says */
    struct ask_opts o = {
        .key = job_key(t->j), .request = request, .text = on_text, .end = on_end, .arg = s};
    pthread_mutex_lock(&t->lock); /* `end` may come at once */
    buf_clear(&s->text);
    s->state = SLOT_RUNS;
    s->began = clock_seconds();
    int code = ask_begin(t->s, &o, &s->ask, err);
    if (code < 0)
        set_free(s);
    pthread_mutex_unlock(&t->lock);
    json_decref(request);
    if (code == 0 && t->shows)
        tell_part(t, s->number, "running", NULL);
    return code;
}

/* ---- all of them ---- */

struct feed {
    json_t *list; /* open parts */
    size_t at;
    int64_t from;
    bool over;
};

/* The next open part (a new reference), or NULL. */
static int next_part(struct task *t, struct feed *f, json_t **out, sp_error *err)
{
    struct store_part_query q = {.from = f->from, .limit = 32, .open = true};
    *out = NULL;
    if (!f->over && f->at == json_array_size(f->list)) {
        json_decref(f->list);
        f->list = NULL;
        f->at = 0;
        int code = store_parts(job_store(t->j), job_id(t->j), &q, &f->list, err);
        if (code < 0)
            return code;
        f->over = json_array_size(f->list) == 0;
    }
    if (f->over)
        return 0;
    *out = json_incref(json_array_get(f->list, f->at++));
    f->from = json_integer_value(json_object_get(*out, "number")) + 1;
    return 0;
}

static int begin_some(struct task *t, struct feed *f, sp_error *err)
{
    int code = 0;
    for (size_t i = 0; i < t->at_once && code == 0; i++) {
        struct slot *s = &t->slots[i];
        pthread_mutex_lock(&t->lock);
        bool is_free = s->state == SLOT_FREE;
        bool again = s->state == SLOT_WAITS && clock_seconds() >= s->again_at;
        pthread_mutex_unlock(&t->lock);
        if (is_free) {
            json_t *part = NULL;
            code = next_part(t, f, &part, err);
            if (!part)
                continue;
            pthread_mutex_lock(&t->lock);
            s->part = part;
            s->number = json_integer_value(json_object_get(part, "number"));
            pthread_mutex_unlock(&t->lock);
        }
        if (code == 0 && (is_free || again))
            code = ask(t, s, err);
    }
    return code;
}

/* What has ended. *busy: some have not. */
static int collect(struct task *t, bool *busy, sp_error *err)
{
    int code = 0;
    *busy = false;
    for (size_t i = 0; i < TASK_AT_ONCE; i++) {
        struct slot *s = &t->slots[i];
        pthread_mutex_lock(&t->lock);
        bool ended = s->state == SLOT_ENDED;
        pthread_mutex_unlock(&t->lock);
        if (ended) {
            int one = settle(t, s, code == 0 ? err : NULL);
            code = code == 0 ? one : code;
        }
        pthread_mutex_lock(&t->lock);
        *busy |= s->state != SLOT_FREE;
        pthread_mutex_unlock(&t->lock);
    }
    return code;
}

/* The answers that are on their way are dropped, all but those that have just ended well. */
static void stop_all(struct task *t)
{
    bool runs = true;
    pthread_mutex_lock(&t->lock);
    for (size_t i = 0; i < TASK_AT_ONCE; i++)
        if (t->slots[i].state == SLOT_RUNS)
            ask_stop(t->slots[i].ask);
    while (runs) {
        runs = false;
        for (size_t i = 0; i < TASK_AT_ONCE; i++)
            runs |= t->slots[i].state == SLOT_RUNS;
        if (runs)
            wait(t);
    }
    pthread_mutex_unlock(&t->lock);
    for (size_t i = 0; i < TASK_AT_ONCE; i++) {
        struct slot *s = &t->slots[i];
        sp_error err = {0};
        if (s->state == SLOT_ENDED && !s->code[0] && write_down(t, s, &err) < 0)
            log_warn("server", "an answer for %s is lost: %s", job_id(t->j), err.message);
        pthread_mutex_lock(&t->lock);
        set_free(s);
        pthread_mutex_unlock(&t->lock);
    }
}

int task_do_parts(struct task *t, sp_error *err)
{
    struct feed f = {.list = NULL};
    bool busy = true;
    int code = store_parts_count(job_store(t->j), job_id(t->j), &t->total, &t->done, err);
    if (code == 0)
        job_progress(t->j, t->done, t->total);
    while (code == 0) {
        if (job_stopping(t->j))
            code = sp_fail(err, SP_ECANCELLED, "stopped");
        if (code == 0)
            code = begin_some(t, &f, err);
        pthread_mutex_lock(&t->lock);
        bool any = false;
        for (size_t i = 0; i < TASK_AT_ONCE; i++)
            any |= t->slots[i].state == SLOT_ENDED;
        if (code == 0 && !any)
            wait(t);
        pthread_mutex_unlock(&t->lock);
        int one = collect(t, &busy, code == 0 ? err : NULL);
        code = code == 0 ? one : code;
        if (code == 0 && !busy && f.over)
            break;
    }
    stop_all(t);
    json_decref(f.list);
    return code;
}

/* ---- the model itself ---- */

/* Slot 0 stands for it: nothing else is asked meanwhile. */
static void on_ready(void *arg, struct engine *e)
{
    struct slot *s = arg;
    struct task *t = s->task;
    pthread_mutex_lock(&t->lock);
    t->engine = e;
    pthread_cond_signal(&t->changed);
    pthread_mutex_unlock(&t->lock);
}

int task_hold(struct task *t, const char *name, struct engine **out, sp_error *err)
{
    struct slot *s = &t->slots[0];
    struct ask_opts o = {.key = job_key(t->j),
                         .model = name,
                         .ready = on_ready,
                         .text = on_text,
                         .end = on_end,
                         .arg = s};
    pthread_mutex_lock(&t->lock);
    t->engine = NULL;
    s->state = SLOT_RUNS;
    int code = ask_begin(t->s, &o, &s->ask, err);
    bool stopped = false;
    while (code == 0 && !t->engine && s->state == SLOT_RUNS) {
        if (job_stopping(t->j) && !stopped) {
            ask_stop(s->ask);
            stopped = true;
        }
        wait(t);
    }
    *out = t->engine;
    if (!*out)
        s->state = SLOT_FREE;
    pthread_mutex_unlock(&t->lock);
    if (code == 0 && !*out)
        code = stopped ? sp_fail(err, SP_ECANCELLED, "stopped")
                       : sp_fail(err, SP_EINVAL, "%s", s->message);
    return code;
}

void task_let_go(struct task *t)
{
    struct slot *s = &t->slots[0];
    pthread_mutex_lock(&t->lock);
    if (s->ask)
        ask_release(s->ask);
    while (s->state == SLOT_RUNS)
        wait(t);
    s->state = SLOT_FREE;
    s->code[0] = '\0';
    pthread_mutex_unlock(&t->lock);
}

/* ---- as seen from outside ---- */

static void show(struct task *t, json_t *part)
{
    int64_t number = json_integer_value(json_object_get(part, "number"));
    for (size_t i = 0; i < TASK_AT_ONCE; i++) {
        const struct slot *s = &t->slots[i];
        if (s->state == SLOT_FREE || !s->part || s->number != number)
            continue;
        json_object_set_new(part, "state", json_string("running"));
        json_object_set_new(part, "text",
                            json_stringn(s->text.data ? s->text.data : "", s->text.len));
    }
}

void task_overlay(struct server *s, const char *id, json_t *parts)
{
    size_t i;
    json_t *part;
    pthread_mutex_lock(&s->tasks_lock);
    struct task *t = s->tasks;
    while (t && strcmp(job_id(t->j), id) != 0)
        t = t->next;
    if (t)
        pthread_mutex_lock(&t->lock);
    json_array_foreach(parts, i, part)
    {
        const json_t *result = json_object_get(part, "result");
        const char *state = json_is_null(result)               ? "waiting"
                            : json_object_get(result, "error") ? "failed"
                                                               : "done";
        json_object_set_new(part, "state", json_string(state));
        if (t && json_is_null(result))
            show(t, part);
    }
    if (t)
        pthread_mutex_unlock(&t->lock);
    pthread_mutex_unlock(&s->tasks_lock);
}

/* ---- what came of all ---- */

static int64_t number_of(const json_t *j, const char *name)
{
    return json_integer_value(json_object_get(j, name));
}

struct totals {
    int64_t parts, failed, truncated, prompt, answer;
};

static void add_totals(struct totals *all, const json_t *parts)
{
    size_t i;
    const json_t *part;
    json_array_foreach((json_t *)(uintptr_t)parts, i, part)
    {
        const json_t *result = json_object_get(part, "result");
        const char *reason = json_string_value(json_object_get(result, "finish_reason"));
        all->parts++;
        all->failed += json_object_get(result, "error") != NULL;
        all->truncated += reason && strcmp(reason, "length") == 0;
        all->prompt += number_of(result, "prompt_tokens");
        all->answer += number_of(result, "completion_tokens");
    }
}

int task_totals(struct task *t, json_t **out, sp_error *err)
{
    struct totals all = {0};
    struct store_part_query q = {.limit = STORE_PAGE_MOST};
    size_t n = STORE_PAGE_MOST;
    int code = 0;
    while (code == 0 && n == STORE_PAGE_MOST) {
        json_t *list = NULL;
        code = store_parts(job_store(t->j), job_id(t->j), &q, &list, err);
        n = json_array_size(list);
        add_totals(&all, list);
        q.from = n ? number_of(json_array_get(list, n - 1), "number") + 1 : 0;
        json_decref(list);
    }
    if (code == 0)
        *out = json_pack("{s:I,s:I,s:I,s:I,s:I}", "parts", (json_int_t)all.parts, "failed",
                         (json_int_t)all.failed, "truncated", (json_int_t)all.truncated,
                         "prompt_tokens", (json_int_t)all.prompt, "completion_tokens",
                         (json_int_t)all.answer);
    return code;
}
