/* The list of served models: names, states, who holds what and who waits. What takes long is models_loader.c's. */
#include <stdio.h>
#include <string.h>
#include "base/log.h"
#include "server/access_int.h"
#include "server/metrics_int.h"
#include "server/models_int.h"
#include "server/page_int.h"

#define WAITING_DEFAULT 256
#define TRY_AGAIN_SECONDS 1.0 /* a load that failed isn't tried again sooner */

/* ---- rows ---- */

void served_model_free(struct served_model *m)
{
    for (size_t i = 0; i < m->n_names; i++)
        sp_free(m->names[i]);
    sp_free(m->names);
    sp_free(m->spec);
    sp_free(m->metrics);
    sp_free(m);
}

static struct served_model *row_new(const struct server_model *from)
{
    struct served_model *m = sp_calloc(1, sizeof *m);
    if (!m)
        return NULL;
    m->names = sp_calloc(from->n_names, sizeof(char *));
    m->spec = sp_strdup(from->spec);
    m->metrics = sp_calloc(1, sizeof *m->metrics);
    m->at_start = from->at_start;
    bool ok = m->names && m->spec && m->metrics;
    for (size_t i = 0; ok && i < from->n_names; i++) {
        m->names[i] = sp_strdup(from->names[i]);
        ok = m->names[i] != NULL;
        m->n_names += ok;
    }
    if (ok)
        return m;
    served_model_free(m);
    return NULL;
}

/* Engines of rows are closed, too. */
static void rows_free(struct served_model *m)
{
    while (m) {
        struct served_model *next = m->next;
        if (m->current) {
            engine_close(m->current->engine);
            sp_free(m->current);
        }
        served_model_free(m);
        m = next;
    }
}

/* NULL: out of memory (or an empty list). */
static struct served_model *rows_new(const struct server_model *list, size_t n)
{
    struct served_model *first = NULL, **end = &first;
    for (size_t i = 0; i < n; i++) {
        *end = row_new(&list[i]);
        if (!*end) {
            rows_free(first);
            return NULL;
        }
        end = &(*end)->next;
    }
    return first;
}

static bool has_name(const struct served_model *m, const char *name)
{
    for (size_t i = 0; i < m->n_names; i++)
        if (strcmp(m->names[i], name) == 0)
            return true;
    return false;
}

struct served_model *models_find(struct models *ms, const struct call *c, const char *name)
{
    for (struct served_model *m = ms->first; m; m = m->next)
        if ((!name || has_name(m, name)) && (!c || access_model(c, m)))
            return m;
    return NULL;
}

struct served_model *models_find_spec(struct models *ms, const char *spec)
{
    struct served_model *m = ms->first;
    while (m && strcmp(m->spec, spec) != 0)
        m = m->next;
    return m;
}

const char *model_state_text(const struct served_model *m)
{
    switch (m->state) {
    case MODEL_LOADING:
        return m->current ? "loaded" : "loading";
    case MODEL_LOADED:
        return "loaded";
    case MODEL_ASLEEP:
        return "asleep";
    case MODEL_FAILED:
        return "failed";
    default:
        return m->retired > 0 ? "unloading" : "unloaded";
    }
}

bool model_busy(const struct served_model *m)
{
    return (m->current && m->current->calls > 0) || m->n_waiting > 0;
}

uint64_t models_used(const struct models *ms)
{
    uint64_t sum = 0;
    for (const struct served_model *m = ms->first; m; m = m->next)
        sum += m->current ? m->current->bytes : 0;
    for (const struct loaded_model *l = ms->retired; l; l = l->next)
        sum += l->bytes;
    return sum;
}

void models_retire(struct models *ms, struct served_model *m)
{
    struct loaded_model *l = m->current;
    if (!l)
        return;
    m->current = NULL;
    m->retired++;
    m->unloads++;
    l->next = ms->retired;
    ms->retired = l;
    if (m->state == MODEL_LOADED || m->state == MODEL_ASLEEP)
        m->state = MODEL_UNLOADED;
}

/* ---- jobs ---- */

int models_post(struct models *ms, enum model_job kind, struct served_model *m, struct call *c,
                const char *why)
{
    struct job *j = sp_calloc(1, sizeof *j);
    if (!j)
        return SP_ENOMEM;
    *j = (struct job){.kind = kind, .m = m, .call = c, .why = why};
    m->users++;
    m->wanted = m->wanted || kind == JOB_LOAD;
    if (ms->jobs_last)
        ms->jobs_last->next = j;
    else
        ms->jobs = j;
    ms->jobs_last = j;
    pthread_cond_signal(&ms->more);
    return 0;
}

/* ---- calls ---- */

struct loaded_model *models_hold(struct call *c, struct loaded_model *l)
{
    l->calls++;
    c->model = l;
    return l;
}

static void not_served(struct call *c, const char *name)
{
    if (name)
        reply_set_error(c, 404, "invalid_request_error", "model", "model_not_found",
                        "model: '%.128s' is not served here: GET /v1/models lists what is", name);
    else
        reply_set_error(c, 404, "invalid_request_error", "model", "model_not_found",
                        "model: none that is served is for this key");
}

struct loaded_model *models_take(struct call *c, const char *name)
{
    struct models *ms = c->s->models;
    struct loaded_model *l = NULL;
    pthread_mutex_lock(&ms->lock);
    struct served_model *m = models_find(ms, c, name);
    if (m && !c->model) /* else it has waited, and the loop may still be reading it */
        (void)snprintf(c->model_name, sizeof c->model_name, "%s", name ? name : m->names[0]);
    if (m && c->model) { /* it has waited for it */
        l = c->model;
    } else if (m && m->current && m->state != MODEL_ASLEEP) {
        l = models_hold(c, m->current);
    } else if (m) {
        c->awaits = m;
        m->users++;
    }
    pthread_mutex_unlock(&ms->lock);
    if (!m)
        not_served(c, name);
    return l;
}

struct loaded_model *models_take_loaded(struct call *c, const char *name, const char **why)
{
    struct models *ms = c->s->models;
    struct loaded_model *l = NULL;
    pthread_mutex_lock(&ms->lock);
    struct served_model *m = models_find(ms, c, name);
    if (m)
        (void)snprintf(c->model_name, sizeof c->model_name, "%s", name ? name : m->names[0]);
    if (m && m->current && m->state != MODEL_ASLEEP)
        l = models_hold(c, m->current);
    *why = l || !m                    ? NULL
           : m->state == MODEL_ASLEEP ? "the model is asleep"
                                      : "the model is not loaded";
    pthread_mutex_unlock(&ms->lock);
    if (!m)
        not_served(c, name);
    return l;
}

void models_take_back(struct call *c)
{
    struct models *ms = c->s->models;
    pthread_mutex_lock(&ms->lock);
    c->awaits->users--;
    c->awaits = NULL;
    pthread_mutex_unlock(&ms->lock);
}

void models_ask(struct call *c, enum model_job kind, const char *name)
{
    struct models *ms = c->s->models;
    pthread_mutex_lock(&ms->lock);
    c->awaits = models_find(ms, NULL, name);
    c->job = (int)kind;
    if (c->awaits)
        c->awaits->users++;
    pthread_mutex_unlock(&ms->lock);
    if (!c->awaits)
        not_served(c, name);
}

static void wait_add(struct served_model *m, struct call *c)
{
    c->waits = c->waited = true;
    c->awaits = m;
    c->next_wait = NULL;
    c->prev_wait = m->waiting_last;
    if (m->waiting_last)
        m->waiting_last->next_wait = c;
    else
        m->waiting = c;
    m->waiting_last = c;
    m->n_waiting++;
}

static void wait_remove(struct served_model *m, struct call *c)
{
    if (c->prev_wait)
        c->prev_wait->next_wait = c->next_wait;
    else
        m->waiting = c->next_wait;
    if (c->next_wait)
        c->next_wait->prev_wait = c->prev_wait;
    else
        m->waiting_last = c->prev_wait;
    c->waits = false;
    c->awaits = NULL;
    m->n_waiting--;
}

struct call *models_take_waiting(struct served_model *m)
{
    struct call *list = m->waiting;
    for (struct call *c = list; c; c = c->next_wait) {
        c->waits = false;
        c->awaits = NULL;
    }
    m->waiting = m->waiting_last = NULL;
    m->n_waiting = 0;
    return list;
}

/* Under lock: why c can't wait for m, or 0. */
static int check_wait(struct call *c, const struct served_model *m, sp_error *err)
{
    int most = c->s->opts.waiting_most ? c->s->opts.waiting_most : WAITING_DEFAULT;
    if (atomic_load(&c->gone))
        return sp_fail(err, SP_ECANCELLED, "the client left");
    if (atomic_load(&c->stopped))
        return sp_fail(err, SP_ECANCELLED, "the answer was stopped");
    if (atomic_load(&c->s->cutting))
        return sp_fail(err, SP_ECANCELLED, SHUTTING_DOWN);
    if (m->removed)
        return sp_fail(err, SP_ENOTFOUND, "model: '%.128s' is not served any more", c->model_name);
    if (m->state == MODEL_FAILED && clock_seconds() - m->failed < TRY_AGAIN_SECONDS) {
        *err = m->error;
        return err->code;
    }
    if (m->n_waiting >= most)
        return sp_fail(err, SP_EFULL,
                       "%d requests wait for the model to be loaded: try again later",
                       m->n_waiting);
    return 0;
}

enum parked models_park(struct call *c)
{
    struct models *ms = c->s->models;
    struct served_model *m = c->awaits;
    enum model_job kind = (enum model_job)c->job;
    sp_error err = {0};
    int code = 0;
    pthread_mutex_lock(&ms->lock);
    m->users--;
    c->awaits = NULL;
    bool there = kind == JOB_NONE && m->current && m->state != MODEL_ASLEEP;
    bool failed = kind == JOB_NONE && m->state == MODEL_FAILED;
    if (!there && kind == JOB_NONE)
        code = check_wait(c, m, &err);
    if (!there && code == 0 && (kind != JOB_NONE || !m->wanted))
        code = models_post(ms, kind == JOB_NONE ? JOB_LOAD : kind, m, kind == JOB_NONE ? NULL : c,
                           "on request");
    if (!there && code == 0 && kind == JOB_NONE)
        wait_add(m, c);
    pthread_mutex_unlock(&ms->lock);
    if (there)
        return PARK_AGAIN;
    if (code == 0)
        return PARKED;
    if (failed && code != SP_EFULL && code != SP_ECANCELLED)
        reply_set_model_error(c, &err);
    else if (err.code == 0)
        reply_set_error(c, 500, "server_error", NULL, NULL, "out of memory");
    else
        reply_set_sp_error(c, &err, "model");
    return PARK_REFUSED;
}

bool models_waits(struct call *c)
{
    pthread_mutex_lock(&c->s->models->lock);
    bool waits = c->waits;
    pthread_mutex_unlock(&c->s->models->lock);
    return waits;
}

void models_release(struct call *c)
{
    struct models *ms = c->s->models;
    struct loaded_model *l = c->model;
    if (!l)
        return;
    pthread_mutex_lock(&ms->lock);
    l->of->used = clock_seconds();
    if (--l->calls == 0)
        pthread_cond_signal(&ms->more);
    pthread_mutex_unlock(&ms->lock);
    c->model = NULL;
}

/* False: it doesn't wait (any more). */
static bool stop_waiting(struct call *c)
{
    struct models *ms = c->s->models;
    pthread_mutex_lock(&ms->lock);
    bool waited = c->waits;
    if (waited)
        wait_remove(c->awaits, c);
    pthread_cond_signal(&ms->more); /* the loader may be making room for it */
    pthread_mutex_unlock(&ms->lock);
    return waited;
}

void models_forget(struct call *c)
{
    if (!stop_waiting(c))
        return;
    reply_set_error(c, 503, "server_error", NULL, "cancelled", "%s",
                    atomic_load(&c->s->cutting) ? SHUTTING_DOWN : "the request was cancelled");
    call_worked(c);
}

static void end_late(struct call *c, double now)
{
    const struct server_opts *o = &c->s->opts;
    double age = now - c->started;
    sp_error err = {0};
    if (o->request_seconds > 0 && age >= o->request_seconds)
        sp_fail(&err, SP_ETIMEDOUT, "the answer took longer than %g s, its limit",
                o->request_seconds);
    else if (o->queue_seconds > 0 && age >= o->queue_seconds)
        sp_fail(&err, SP_EBUSY,
                "the request waited longer than %g s, its limit, for its model: try again later",
                o->queue_seconds);
    if (err.code == 0 || c->ask || !stop_waiting(c))
        return;
    reply_set_sp_error(c, &err, NULL);
    call_worked(c);
}

void models_tick(struct server *s, double now)
{
    struct models *ms = s->models;
    double idle = s->opts.idle_seconds;
    for (struct call *c = s->calls, *next; c; c = next) {
        next = c->next;
        end_late(c, now);
    }
    if (idle <= 0)
        return;
    pthread_mutex_lock(&ms->lock);
    for (struct served_model *m = ms->first; m; m = m->next)
        if (m->current && !model_busy(m) && m->users == 0 && now - m->used >= idle)
            (void)models_post(ms, JOB_UNLOAD, m, NULL, "nobody used it");
    pthread_mutex_unlock(&ms->lock);
}

/* ---- the list ---- */

/* What was told to `from` of the same id goes over to `to`. */
static void update_row(struct models *ms, struct served_model *to, struct served_model *from)
{
    char **names = to->names, *spec = to->spec;
    size_t n = to->n_names;
    bool other = strcmp(to->spec, from->spec) != 0;
    to->names = from->names;
    to->n_names = from->n_names;
    to->spec = from->spec;
    to->at_start = from->at_start;
    to->added = false;
    from->names = names;
    from->n_names = n;
    from->spec = spec;
    if (other && to->current)
        (void)models_post(ms, JOB_REPLACE, to, NULL, "its place in the list is another");
}

static void remove_row(struct models *ms, struct served_model *m)
{
    m->removed = true;
    models_retire(ms, m);
    m->next = ms->gone;
    ms->gone = m;
    pthread_cond_signal(&ms->more);
    log_info("server", "%s: not served any more", m->names[0]);
}

int models_set(struct server *s, const struct server_model *list, size_t n, sp_error *err)
{
    struct models *ms = s->models;
    struct served_model *fresh = rows_new(list, n), *before, *row, **end;
    if (!fresh)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    pthread_mutex_lock(&ms->lock);
    before = ms->first;
    end = &ms->first;
    while ((row = fresh) != NULL) {
        struct served_model **old = &before;
        fresh = row->next;
        while (*old && strcmp((*old)->names[0], row->names[0]) != 0)
            old = &(*old)->next;
        struct served_model *same = *old;
        if (same) {
            *old = same->next;
            update_row(ms, same, row);
            served_model_free(row);
            row = same;
        } else {
            if (row->at_start)
                (void)models_post(ms, JOB_LOAD, row, NULL, "it is new in the list");
            log_info("server", "%s: served from now on", row->names[0]);
        }
        *end = row;
        end = &row->next;
    }
    *end = NULL;
    ms->n = n;
    struct call *waiting = NULL;
    while ((row = before) != NULL) {
        before = row->next;
        if (row->added) {
            row->next = NULL;
            *end = row;
            end = &row->next;
            ms->n++;
            continue;
        }
        struct call *mine = models_take_waiting(row);
        while (mine) {
            struct call *next = mine->next_wait;
            mine->next_wait = waiting;
            waiting = mine;
            mine = next;
        }
        remove_row(ms, row);
    }
    pthread_mutex_unlock(&ms->lock);
    for (struct call *c = waiting, *next; c; c = next) {
        next = c->next_wait;
        not_served(c, c->model_name);
        call_worked(c);
    }
    return 0;
}

int models_add(struct server *s, const char *spec, sp_error *err)
{
    struct models *ms = s->models;
    const struct server_model one = {.spec = spec, .names = &spec, .n_names = 1};
    struct served_model *row = row_new(&one), **end = &ms->first;
    if (!row)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    row->added = true;
    pthread_mutex_lock(&ms->lock);
    bool there = models_find_spec(ms, spec) != NULL, taken = models_find(ms, NULL, spec) != NULL;
    if (!there && !taken) {
        while (*end)
            end = &(*end)->next;
        *end = row;
        ms->n++;
        row = NULL;
        log_info("server", "%s: served from now on", spec);
    }
    pthread_mutex_unlock(&ms->lock);
    if (row)
        served_model_free(row);
    return there || !taken
               ? 0
               : sp_fail(err, SP_EBUSY, "%.128s: another model is served under that name", spec);
}

int models_drop(struct server *s, const char *spec, bool *dropped, sp_error *err)
{
    struct models *ms = s->models;
    struct served_model **at = &ms->first, *m;
    int code = 0;
    *dropped = false;
    pthread_mutex_lock(&ms->lock);
    while (*at && strcmp((*at)->spec, spec) != 0)
        at = &(*at)->next;
    m = *at;
    if (m && (model_busy(m) || m->users > 0))
        code = sp_fail(err, SP_EBUSY, "%.128s is in use: try again when its requests have ended",
                       spec);
    else if (m && (m->current || m->retired > 0))
        code = sp_fail(err, SP_EBUSY, "%.128s is loaded: unload it first", spec);
    else if (m && ms->n == 1)
        code = sp_fail(err, SP_EBUSY,
                       "%.128s is the only model that this server has: load another first", spec);
    if (m && code == 0) {
        *at = m->next;
        ms->n--;
        remove_row(ms, m);
        *dropped = true;
    }
    pthread_mutex_unlock(&ms->lock);
    return code;
}

/* Under lock: what the page is told of a model whose state, or progress, is another than it was told. NULL: neither. */
static json_t *news_of(struct served_model *m)
{
    const char *state = model_state_text(m);
    uint64_t done = m->state == MODEL_LOADING ? m->load_done : 0;
    if (state == m->told_state && done == m->told_done)
        return NULL;
    m->told_state = state; /* literals, each from one place */
    m->told_done = done;
    return json_pack("{s:s,s:s,s:o,s:s?}", "id", m->names[0], "state", state, "progress",
                     done && m->load_total ? json_real((double)done / (double)m->load_total)
                                           : json_null(),
                     "error", m->state == MODEL_FAILED ? m->error.message : NULL);
}

void models_tell(struct server *s)
{
    struct models *ms = s->models;
    json_t *list = json_array(), *one;
    size_t i;
    pthread_mutex_lock(&ms->lock);
    for (struct served_model *m = ms->first; m; m = m->next) {
        json_t *j = news_of(m);
        if (j)
            json_array_append_new(list, j);
    }
    pthread_mutex_unlock(&ms->lock);
    json_array_foreach(list, i, one) events_publish(s, EVERYBODY, "model", json_incref(one));
    json_decref(list);
}

int models_open(struct server *s, sp_error *err)
{
    struct models *ms = sp_calloc(1, sizeof *ms);
    if (!ms)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    s->models = ms;
    ms->s = s;
    pthread_mutex_init(&ms->lock, NULL);
    pthread_cond_init(&ms->more, NULL);
    ms->first = rows_new(s->opts.models, s->opts.n_models);
    ms->n = s->opts.n_models;
    s->opts.models = NULL; /* the caller's */
    for (struct served_model *m = ms->first; m; m = m->next)
        m->told_state = model_state_text(m);
    return ms->first ? 0 : sp_fail(err, SP_ENOMEM, "out of memory");
}

void models_close(struct server *s)
{
    struct models *ms = s->models;
    if (!ms)
        return;
    pthread_mutex_lock(&ms->lock);
    ms->stop = true;
    pthread_cond_signal(&ms->more);
    pthread_mutex_unlock(&ms->lock);
    if (ms->runs)
        pthread_join(ms->thread, NULL);
    for (struct loaded_model *l = ms->retired, *next; l; l = next) {
        next = l->next;
        engine_close(l->engine);
        sp_free(l);
    }
    for (struct job *j = ms->jobs, *next; j; j = next) {
        next = j->next;
        sp_free(j);
    }
    rows_free(ms->first);
    rows_free(ms->gone);
    pthread_cond_destroy(&ms->more);
    pthread_mutex_destroy(&ms->lock);
    sp_free(ms);
    s->models = NULL;
}
