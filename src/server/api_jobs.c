/* /api/jobs: long work, one list for all kinds. On a worker. */
#include <stdio.h>
#include <string.h>
#include "base/log.h"
#include "server/access_int.h"
#include "server/task_int.h"

#define INVALID "invalid_request_error"

/* All kinds there are, up to NULL. */
static const struct page_kind *const kinds[] = {
    &translate_kind, &summary_kind, &answer_kind, &template_kind, &batch_kind, &pull_kind, NULL};

static const struct page_kind *find_kind(const char *name)
{
    for (size_t i = 0; name && kinds[i]; i++)
        if (strcmp(kinds[i]->job.name, name) == 0)
            return kinds[i];
    return NULL;
}

/* ---- opening and closing ---- */

static void on_told(void *arg, int64_t owner, const char *event, json_t *data)
{
    events_publish(arg, owner, event, data);
}

void page_jobs_open(struct server *s)
{
    struct job_kind list[SP_COUNT(kinds)];
    sp_error err = {0};
    struct jobs_opts o = {.store = s->history->store, .kinds = list, .told = on_told, .arg = s};
    for (size_t i = 0; kinds[i]; i++) {
        list[i] = kinds[i]->job;
        list[i].arg = s;
        o.n_kinds++;
    }
    if (jobs_open(&o, &s->jobs, &err) < 0)
        log_error("server", "there are no jobs: %s", err.message);
}

void page_jobs_start(struct server *s)
{
    sp_error err = {0};
    if (s->jobs && jobs_start(s->jobs, &err) < 0)
        log_error("server", "not all jobs can run: %s", err.message);
}

void page_jobs_close(struct server *s)
{
    jobs_close(s->jobs);
    s->jobs = NULL;
}

struct jobs *jobs_of(struct call *c)
{
    if (history_of(c) && !c->s->jobs)
        reply_set_error(c, 503, "server_error", NULL, "jobs_unavailable",
                        "jobs could not be opened: the server's log says why");
    return c->s->jobs;
}

/* ---- answers ---- */

static void fail(struct call *c, const sp_error *err)
{
    if (err->code == SP_EBUSY)
        reply_set_error(c, 409, INVALID, NULL, "conflict", "%s", err->message);
    else if (err->code == SP_EFULL)
        reply_set_error(c, 429, "rate_limit_error", NULL, "jobs_full", "%s", err->message);
    else
        page_fail(c, err);
}

/* Takes j. */
static void answer(struct call *c, int status, int code, json_t *j, const sp_error *err)
{
    if (code == 0) {
        reply_set_json(c, status, j);
        return;
    }
    json_decref(j);
    fail(c, err);
}

static bool state_known(const char *state)
{
    static const char *const states[] = {"queued", "running",   "paused",     "done",
                                         "failed", "cancelled", "interrupted"};
    for (size_t i = 0; i < SP_COUNT(states); i++)
        if (strcmp(state, states[i]) == 0)
            return true;
    return false;
}

void api_jobs_list(struct call *c)
{
    int64_t limit = 50;
    json_t *page = NULL;
    sp_error err = {0};
    struct jobs *js = jobs_of(c);
    if (!js || !page_query_int(c, "limit", 1, STORE_PAGE_MOST, &limit))
        return;
    struct store_job_query q = {.state = page_query(c, "state"),
                                .kind = page_query(c, "kind"),
                                .cursor = page_query(c, "cursor"),
                                .limit = (int)limit};
    if (q.state && !state_known(q.state)) {
        reply_set_error(c, 400, INVALID, "state", NULL, "state: there is no state %.64s", q.state);
        return;
    }
    int code = jobs_list(js, c->owner, &q, &page, &err);
    answer(c, 200, code, page, &err);
}

/* ---- a new one ---- */

static bool read_new(struct call *c, const json_t *body, struct job_work *w)
{
    const json_t *title = json_object_get(body, "title"), *params = json_object_get(body, "params");
    const char *kind = json_string_value(json_object_get(body, "kind"));
    if (!find_kind(kind)) {
        reply_set_error(c, 400, INVALID, "kind", NULL, "kind: there is no kind of job %.64s",
                        kind ? kind : "");
        return false;
    }
    if (!json_is_object(params)) {
        reply_set_error(c, 400, INVALID, "params", NULL, "params: must be an object");
        return false;
    }
    if (title && !json_is_null(title) &&
        (!json_is_string(title) || json_string_length(title) > STORE_TITLE_MOST)) {
        reply_set_error(c, 400, INVALID, "title", NULL,
                        "title: must be a string of at most %d bytes", STORE_TITLE_MOST);
        return false;
    }
    if (json_is_string(title))
        (void)snprintf(w->title, sizeof w->title, "%s", json_string_value(title));
    return true;
}

static void add(struct call *c, struct jobs *js, json_t *body, struct job_work *w)
{
    json_t *params = json_object_get(body, "params"), *job = NULL;
    const struct page_kind *kind = find_kind(json_string_value(json_object_get(body, "kind")));
    sp_error err = {0};
    if (kind->prepare && !kind->prepare(c, params, w))
        return;
    struct store_new_job n = {.kind = kind->job.name,
                              .title = w->title,
                              .params = params,
                              .input = {w->input, w->n_input},
                              .parts = w->parts,
                              .total = w->total,
                              .key = access_key_hash(c)};
    int code = jobs_add(js, c->owner, &n, &job, &err);
    answer(c, 202, code, job, &err);
}

void api_jobs_add(struct call *c)
{
    struct job_work w = {.title = ""};
    struct jobs *js = jobs_of(c);
    json_t *body = js ? request_parse(c) : NULL;
    if (!body)
        return;
    if (read_new(c, body, &w))
        add(c, js, body, &w);
    sp_free(w.input);
    json_decref(w.parts);
    json_decref(body);
}

/* ---- one of them ---- */

/* The job that the address names goes to id. NULL: the error has been set. */
static struct jobs *named(struct call *c, char id[STORE_ID_BYTES])
{
    struct jobs *js = jobs_of(c);
    return js && page_id(c, 'j', id) ? js : NULL;
}

void api_jobs_remove(struct call *c)
{
    char id[STORE_ID_BYTES];
    sp_error err = {0};
    struct jobs *js = named(c, id);
    if (!js)
        return;
    int code = jobs_remove(js, c->owner, id, &err);
    answer(c, 200, code, json_pack("{s:s,s:b}", "id", id, "deleted", 1), &err);
}

static void ask(struct call *c, int (*what)(jobs *, int64_t, const char *, json_t **, sp_error *))
{
    char id[STORE_ID_BYTES];
    json_t *job = NULL;
    sp_error err = {0};
    struct jobs *js = named(c, id);
    if (!js)
        return;
    int code = what(js, c->owner, id, &job, &err);
    answer(c, 200, code, job, &err);
}

void api_jobs_get(struct call *c)
{
    ask(c, jobs_get);
}

void api_jobs_pause(struct call *c)
{
    ask(c, jobs_pause);
}

/* Whoever lets a job go on is who asks for it from then on. */
void api_jobs_resume(struct call *c)
{
    char id[STORE_ID_BYTES];
    json_t *job = NULL;
    sp_error err = {0};
    struct jobs *js = named(c, id);
    if (!js)
        return;
    int code = jobs_resume(js, c->owner, id, access_key_hash(c), &job, &err);
    answer(c, 200, code, job, &err);
}

void api_jobs_cancel(struct call *c)
{
    ask(c, jobs_cancel);
}

void api_jobs_result(struct call *c)
{
    char id[STORE_ID_BYTES];
    json_t *job = NULL;
    sp_error err = {0};
    struct jobs *js = named(c, id);
    if (!js)
        return;
    if (jobs_get(js, c->owner, id, &job, &err) < 0) {
        fail(c, &err);
        return;
    }
    const struct page_kind *kind = find_kind(json_string_value(json_object_get(job, "kind")));
    json_t *result = json_object_get(job, "result");
    if (kind && kind->download)
        kind->download(c, job);
    else if (json_is_null(result))
        reply_set_error(c, 409, INVALID, NULL, "conflict", "this job has no result (yet)");
    else
        reply_set_json(c, 200, json_incref(result));
    json_decref(job);
}

/* {"data": [part...], "next": number or null}; a part has its state, and, while it runs, its text so far. */
void api_jobs_parts(struct call *c)
{
    char id[STORE_ID_BYTES];
    int64_t from = 0, limit = 50;
    json_t *job = NULL, *list = NULL;
    sp_error err = {0};
    struct jobs *js = named(c, id);
    if (!js || !page_query_int(c, "from", 0, INT32_MAX, &from) ||
        !page_query_int(c, "limit", 1, STORE_PAGE_MOST, &limit))
        return;
    struct store_part_query q = {.from = from, .limit = (int)limit};
    int code = jobs_get(js, c->owner, id, &job, &err); /* it is this owner's */
    json_decref(job);
    if (code == 0)
        code = store_parts(c->s->history->store, id, &q, &list, &err);
    if (code < 0) {
        fail(c, &err);
        return;
    }
    task_overlay(c->s, id, list);
    size_t n = json_array_size(list);
    bool more = n == (size_t)limit;
    int64_t next =
        n ? json_integer_value(json_object_get(json_array_get(list, n - 1), "number")) + 1 : 0;
    reply_set_json(
        c, 200,
        json_pack("{s:o,s:o}", "data", list, "next", more ? json_integer(next) : json_null()));
}
