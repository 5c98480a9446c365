/* The loader: a thread that opens and closes models, puts them to sleep and wakes them, one job after the other.
 *
 * Room is made before anything is taken: when a model doesn't fit beside the others, those that nobody uses are
 * unloaded, the one that was used least lately first; if that is not enough, busy ones take no new calls (these wait in
 * line for their turn) and are unloaded when their last call has ended. So models that don't fit together take turns,
 * and no call is cut for it. */
#include <stdio.h>
#include <string.h>
#include "base/log.h"
#include "base/machine.h"
#include "server/models_int.h"

static double mb(uint64_t bytes)
{
    return (double)bytes / 1e6;
}

/* --kv-memory that holds no context gets room for one: then the engine says what is wrong with it. */
static uint64_t least_of(const struct engine_need *n)
{
    return n->fixed + (n->kv_given > n->kv_one ? n->kv_given : n->kv_one);
}

uint64_t server_model_share(const struct engine_need *n, uint64_t left, size_t sharers)
{
    uint64_t least = least_of(n);
    if (least > left)
        return 0;
    if (n->kv_given)
        return least;
    if (sharers)
        return left / sharers > least ? left / sharers : least;
    uint64_t half = (left - n->fixed) / 2;
    uint64_t kv = n->kv_wanted <= half ? n->kv_wanted : half;
    return n->fixed + (kv > n->kv_one ? kv : n->kv_one);
}

/* ---- closing ---- */

/* A row that left the list goes with the last that refers to it. */
static void free_gone(struct models *ms)
{
    struct served_model **at = &ms->gone;
    while (*at) {
        struct served_model *m = *at;
        if (m->retired > 0 || m->users > 0 || m->n_waiting > 0) {
            at = &m->next;
            continue;
        }
        *at = m->next;
        served_model_free(m);
    }
}

/* What the engine has counted stays with its row. */
static void keep_counts(struct loaded_model *l)
{
    struct engine_stats last;
    engine_get_stats(l->engine, &last);
    last.running = last.waiting = 0;
    last.kv_pages = last.kv_pages_free = last.kv_pages_cached = 0;
    engine_stats_add(&l->of->past, &last);
}

/* Under lock, which it lets go of meanwhile: closes those that are retired and that nobody uses. False: there
 * is none. */
static bool close_retired(struct models *ms)
{
    struct loaded_model *l = ms->retired, **at;
    while (l && l->calls > 0)
        l = l->next;
    if (!l)
        return false;
    l->of->users++;
    pthread_mutex_unlock(&ms->lock);
    engine_leave_store(l->engine); /* between two steps: what the last one did is counted then */
    pthread_mutex_lock(&ms->lock);
    for (at = &ms->retired; *at != l; at = &(*at)->next)
        ;
    *at = l->next;
    keep_counts(l);
    pthread_mutex_unlock(&ms->lock);
    engine_close(l->engine);
    sp_alloc_trim(); /* else models that take turns fill the arenas of all threads */
    pthread_mutex_lock(&ms->lock);
    log_info("server", "%s: unloaded: %.0f MB are free again", l->of->names[0], mb(l->bytes));
    l->of->users--;
    l->of->retired--;
    sp_free(l);
    return true;
}

/* ---- room ---- */

/* Who opens or wakes a model. */
struct loading {
    struct models *ms;
    struct job *job;
    uint64_t bytes; /* what it was given */
};

/* Under lock. */
static bool unwanted(const struct loading *l)
{
    const struct job *j = l->job;
    bool by_calls = !j->start && !j->call && j->kind == JOB_LOAD && !j->m->at_start;
    return l->ms->stop || atomic_load(&l->ms->s->cutting) || j->m->removed ||
           (by_calls && j->m->n_waiting == 0);
}

/* Under lock: what could be had by unloading others: of idle ones, of all. */
static uint64_t reclaimable(const struct models *ms, const struct served_model *self, bool busy)
{
    uint64_t sum = 0;
    for (const struct served_model *m = ms->first; m; m = m->next)
        if (m != self && m->current && (busy || !model_busy(m)))
            sum += m->current->bytes;
    for (const struct loaded_model *l = ms->retired; l; l = l->next)
        sum += l->bytes;
    return sum;
}

/* Under lock: the one that was used least lately, of the idle ones if there are any. */
static struct served_model *victim(const struct models *ms, const struct served_model *self,
                                   bool busy)
{
    struct served_model *best = NULL;
    for (struct served_model *m = ms->first; m; m = m->next) {
        if (m == self || !m->current || (!busy && model_busy(m)))
            continue;
        if (!best || (model_busy(best) && !model_busy(m)) ||
            (model_busy(best) == model_busy(m) && m->used < best->used))
            best = m;
    }
    return best;
}

static uint64_t left_of(const struct models *ms)
{
    uint64_t used = models_used(ms), left = ms->limit > used ? ms->limit - used : 0;
    uint64_t free = machine_memory_free();
    bool first = used == 0 && ms->starting > 0; /* of it the engine tells more */
    return !first && free < left ? free : left;
}

static int no_room(const struct models *ms, const struct job *j, uint64_t bytes, sp_error *err)
{
    const char *name = j->m->names[0];
    if (j->kind == JOB_REPLACE && j->m->current)
        return sp_fail(
            err, SP_ENOMEM,
            "%.150s needs %.0f MB beside the version that is loaded, and of the %.0f MB for all "
            "models %.0f MB are in use that can't be had now: unload it first (POST "
            "/admin/unload; the next request loads it as it is then), or allow more with --memory",
            name, mb(bytes), mb(ms->limit), mb(models_used(ms)));
    return sp_fail(
        err, SP_ENOMEM,
        "%.150s needs %.0f MB, and of the %.0f MB for all models others have %.0f MB that "
        "can't be unloaded now: allow more with --memory, or unload them",
        name, mb(bytes), mb(ms->limit), mb(models_used(ms)));
}

/* Under lock: until so many bytes are left. While the server starts, and for a replacement, nobody busy gives way. */
static int make_room(struct loading *l, uint64_t bytes, sp_error *err)
{
    struct models *ms = l->ms;
    const struct served_model *self = l->job->m;
    bool busy = !l->job->start && l->job->kind != JOB_REPLACE;
    while (left_of(ms) < bytes && models_used(ms) > 0) {
        if (unwanted(l))
            return sp_fail(err, SP_ECANCELLED, "nobody waits for it any more");
        if (close_retired(ms))
            continue;
        uint64_t left = left_of(ms);
        bool idle_do = left + reclaimable(ms, self, false) >= bytes;
        if (l->job->start || (!idle_do && (!busy || left + reclaimable(ms, self, true) < bytes)))
            return no_room(ms, l->job, bytes, err);
        uint64_t coming = 0;
        for (const struct loaded_model *r = ms->retired; r; r = r->next)
            coming += r->bytes;
        struct served_model *v = left + coming < bytes ? victim(ms, self, busy && !idle_do) : NULL;
        if (v) {
            log_info("server", "%s: %s to make room for %s", v->names[0],
                     model_busy(v) ? "takes no new requests" : "is unloaded", self->names[0]);
            models_retire(ms, v);
        } else {
            pthread_cond_wait(&ms->more, &ms->lock);
        }
    }
    return 0;
}

/* Under lock: where all are loaded at start they share what --memory says, else each leaves room for others. */
static size_t sharers(const struct models *ms, const struct job *j)
{
    size_t n = j->start && ms->s->opts.memory ? ms->starting : 0;
    for (const struct served_model *m = ms->first; m && n > 0; m = m->next)
        n = m->at_start ? n : 0;
    return n;
}

/* Loader, in engine_open. */
static int room(void *arg, const struct engine_need *need, uint64_t *memory, sp_error *err)
{
    struct loading *l = arg;
    struct models *ms = l->ms;
    uint64_t least = least_of(need);
    pthread_mutex_lock(&ms->lock);
    int code = make_room(l, least, err);
    if (code == 0) {
        uint64_t left = left_of(ms);
        l->bytes = server_model_share(need, left, sharers(ms, l->job));
        /* Alone it doesn't fit: what would, the engine says. */
        *memory = l->bytes ? l->bytes : left ? left : 1;
    }
    pthread_mutex_unlock(&ms->lock);
    return code;
}

static int planned(void *arg, const struct engine_memory *p)
{
    struct loading *l = arg;
    l->bytes = p->weights + p->scratch + p->kv;
    pthread_mutex_lock(&l->ms->lock);
    log_info("server",
             "%s: memory: weights %.0f MB, KV cache %.0f MB (%d pages, %lld tokens, %d contexts of "
             "%lld), steps %.0f MB, together %.0f MB; all models %.0f of %.0f MB",
             l->job->m->names[0], mb(p->weights), mb(p->kv), p->pages,
             (long long)p->pages * KV_PAGE, p->contexts, (long long)p->context, mb(p->scratch),
             mb(l->bytes), mb(models_used(l->ms) + l->bytes), mb(l->ms->limit));
    pthread_mutex_unlock(&l->ms->lock);
    return 0;
}

static int go_on(void *arg, uint64_t done, uint64_t total)
{
    const struct loading *l = arg;
    pthread_mutex_lock(&l->ms->lock);
    l->job->m->load_done = done;
    l->job->m->load_total = total;
    bool stop = l->ms->stop || atomic_load(&l->ms->s->cutting);
    pthread_mutex_unlock(&l->ms->lock);
    return stop;
}

/* ---- loading ---- */

/* Under lock: one that may still have its prefix store; NULL: none. */
static struct loaded_model *store_owner(const struct models *ms, const struct served_model *m)
{
    if (m->current && !m->current->left_store)
        return m->current;
    struct loaded_model *l = ms->retired;
    while (l && (l->of != m || l->left_store))
        l = l->next;
    return l;
}

/* All of m's engines give up their prefix stores, so that the next one has what they know. */
static void leave_stores(struct models *ms, const struct served_model *m)
{
    struct loaded_model *l;
    pthread_mutex_lock(&ms->lock);
    while ((l = store_owner(ms, m)) != NULL) {
        l->left_store = true;
        pthread_mutex_unlock(&ms->lock);
        engine_leave_store(l->engine); /* only this thread closes engines */
        pthread_mutex_lock(&ms->lock);
    }
    pthread_mutex_unlock(&ms->lock);
}

static void note_loaded(struct models *ms, struct served_model *m, struct loaded_model *l,
                        double seconds)
{
    models_retire(ms, m);
    m->current = l;
    m->state = MODEL_LOADED;
    m->version++;
    m->load_seconds += seconds;
    m->used = clock_seconds();
    m->context = engine_context(l->engine);
    (void)checkpoint_format_text(engine_checkpoint(l->engine), m->format);
    if (m->removed) /* meanwhile: nobody can ask for it */
        models_retire(ms, m);
}

static void note_failed(struct served_model *m, const sp_error *err)
{
    if (err->code == SP_ECANCELLED) {
        m->state = m->current ? m->state : MODEL_UNLOADED;
        return;
    }
    log_error("server", "%s: not loaded: %s", m->names[0], err->message);
    m->failures++;
    m->failed = clock_seconds();
    m->error = *err;
    m->state = m->current ? m->state : MODEL_FAILED;
}

/* Those that wait go on, and have the model from here: else the next one to be loaded could take its room before a
 * worker has come to them. After a failure they hear of it. */
static void end_waiting(struct models *ms, struct served_model *m, const sp_error *err)
{
    pthread_mutex_lock(&ms->lock);
    struct call *c = models_take_waiting(m);
    for (struct call *one = c; one && err->code == 0 && m->current; one = one->next_wait)
        (void)models_hold(one, m->current);
    pthread_mutex_unlock(&ms->lock);
    while (c) {
        struct call *next = c->next_wait;
        if (err->code < 0) {
            reply_set_model_error(c, err);
            call_worked(c);
        } else {
            call_work_again(c);
        }
        c = next;
    }
}

/* Another engine for m. */
static int load(struct models *ms, struct job *j, sp_error *err)
{
    struct server *s = ms->s;
    struct served_model *m = j->m;
    struct loading loading = {.ms = ms, .job = j};
    struct engine_opts with = engine_opts_default();
    struct loaded_model *l = sp_calloc(1, sizeof *l);
    double begin = clock_seconds();
    engine *e = NULL;
    with.pool = s->opts.pool;
    with.room = room;
    with.planned = planned;
    with.progress = go_on;
    with.room_arg = with.planned_arg = with.progress_arg = &loading;
    pthread_mutex_lock(&ms->lock);
    char *spec = sp_strdup(m->spec);
    m->state = m->current ? m->state : MODEL_LOADING;
    pthread_mutex_unlock(&ms->lock);
    leave_stores(ms, m);
    int code = l && spec ? s->opts.open(s->opts.arg, spec, &with, &e, err)
                         : sp_fail(err, SP_ENOMEM, "out of memory");
    sp_free(spec);
    sp_alloc_trim(); /* what only the loading needed */
    pthread_mutex_lock(&ms->lock);
    if (code == 0) {
        *l = (struct loaded_model){
            .of = m, .engine = e, .bytes = loading.bytes, .bytes_awake = loading.bytes};
        note_loaded(ms, m, l, clock_seconds() - begin);
    } else {
        note_failed(m, err);
        sp_free(l);
    }
    pthread_mutex_unlock(&ms->lock);
    return code;
}

static int wake(struct models *ms, struct job *j, sp_error *err)
{
    struct served_model *m = j->m;
    struct loading loading = {.ms = ms, .job = j};
    double begin = clock_seconds();
    pthread_mutex_lock(&ms->lock);
    struct loaded_model *l = m->current;
    int code = l ? make_room(&loading, l->bytes_awake - l->bytes, err) : 0;
    if (code == 0 && (!l || m->current != l))
        code = sp_fail(err, SP_ECANCELLED, "it was unloaded meanwhile");
    pthread_mutex_unlock(&ms->lock);
    if (code == 0)
        code = engine_wake(l->engine, err);
    pthread_mutex_lock(&ms->lock);
    if (code == 0) {
        l->bytes = l->bytes_awake;
        m->state = m->current == l ? MODEL_LOADED : m->state;
        m->used = clock_seconds();
        log_info("server", "%s: awake after %.2f s", m->names[0], m->used - begin);
    }
    pthread_mutex_unlock(&ms->lock);
    return code;
}

/* Calls wait from the moment on at which it is seen to be idle: they would wake it again. */
static int fall_asleep(struct models *ms, struct served_model *m, sp_error *err)
{
    uint64_t kept = 0;
    int code = 0;
    pthread_mutex_lock(&ms->lock);
    struct loaded_model *l = m->current;
    if (!l)
        code = sp_fail(err, SP_EBUSY, "%.128s is not loaded", m->names[0]);
    else if (model_busy(m))
        code = sp_fail(err, SP_EBUSY, "%d requests use the model: try again later", l->calls);
    bool asleep = m->state == MODEL_ASLEEP;
    if (code == 0)
        m->state = MODEL_ASLEEP;
    pthread_mutex_unlock(&ms->lock);
    if (code < 0 || asleep)
        return code;
    code = engine_sleep(l->engine, &kept, err);
    pthread_mutex_lock(&ms->lock);
    if (code == 0) {
        l->bytes = kept;
        log_info("server", "%s: asleep: %.0f of %.0f MB are free again", m->names[0],
                 mb(l->bytes_awake - kept), mb(l->bytes_awake));
    } else if (m->current == l) {
        m->state = MODEL_LOADED;
    }
    pthread_mutex_unlock(&ms->lock);
    return code;
}

/* ---- jobs ---- */

static json_t *model_json(const struct served_model *m)
{
    return json_pack("{s:s,s:s,s:I,s:I}", "id", m->names[0], "state", model_state_text(m),
                     "version", (json_int_t)m->version, "memory_bytes",
                     (json_int_t)(m->current ? m->current->bytes : 0));
}

/* The answer to whom the job was done for. */
static void answer(struct models *ms, const struct job *j, int32_t pages, const sp_error *err)
{
    struct call *c = j->call;
    if (!c)
        return;
    pthread_mutex_lock(&ms->lock);
    json_t *json = model_json(j->m);
    bool waits = j->kind == JOB_UNLOAD && j->m->retired > 0;
    pthread_mutex_unlock(&ms->lock);
    if (err->code < 0) {
        json_decref(json);
        reply_set_model_error(c, err);
    } else {
        if (j->kind == JOB_FLUSH)
            json_object_set_new(json, "pages", json_integer(pages));
        reply_set_json(c, waits ? 202 : 200, json);
    }
    call_worked(c);
}

/* Under lock: the model is as it is wanted. */
static bool is_there(const struct served_model *m)
{
    return m->current && m->state != MODEL_ASLEEP;
}

static int unload(struct models *ms, const struct job *j)
{
    struct served_model *m = j->m;
    pthread_mutex_lock(&ms->lock);
    bool mine = m->current && (j->call || !model_busy(m));
    if (mine) {
        log_info("server", "%s: is unloaded: %s%s", m->names[0], j->why,
                 m->current->calls > 0 ? ", when its requests have ended" : "");
        models_retire(ms, m);
        while (close_retired(ms))
            ;
    }
    pthread_mutex_unlock(&ms->lock);
    return 0;
}

static int do_job(struct models *ms, struct job *j, int32_t *pages, sp_error *err)
{
    struct served_model *m = j->m;
    pthread_mutex_lock(&ms->lock);
    bool there = is_there(m), asleep = m->current && !there, gone = m->removed;
    engine *e = there ? m->current->engine : NULL; /* which only this thread closes */
    pthread_mutex_unlock(&ms->lock);
    switch (j->kind) {
    case JOB_LOAD:
        return gone || there ? 0 : asleep ? wake(ms, j, err) : load(ms, j, err);
    case JOB_REPLACE:
        return gone ? 0 : load(ms, j, err);
    case JOB_UNLOAD:
        return unload(ms, j);
    case JOB_SLEEP:
        return fall_asleep(ms, m, err);
    case JOB_WAKE:
        return there    ? 0
               : asleep ? wake(ms, j, err)
                        : sp_fail(err, SP_EBUSY, "the model is not loaded");
    default:
        *pages = e ? engine_flush_cache(e) : 0;
        return 0;
    }
}

/* Of those at start: the first failure ends the server, the last success makes it ready. */
static void note_start(struct models *ms, const struct job *j, const sp_error *err)
{
    struct server *s = ms->s;
    if (!j->start)
        return;
    pthread_mutex_lock(&ms->lock);
    size_t left = --ms->starting;
    pthread_mutex_unlock(&ms->lock);
    if (err->code < 0 && s->load_code == 0) {
        s->load_code = err->code;
        s->load_error = *err;
    }
    if (left == 0 || err->code < 0) {
        atomic_store(&s->load_over, true);
        server_wake(s);
    }
}

/* A load was given up since nobody waited, and then somebody came. */
static bool again(struct models *ms, const struct job *j, const sp_error *err)
{
    bool yes = false;
    pthread_mutex_lock(&ms->lock);
    if (j->kind == JOB_LOAD)
        j->m->wanted = false;
    if (j->kind == JOB_LOAD && !j->call && !j->start && err->code == SP_ECANCELLED &&
        j->m->n_waiting > 0 && !ms->stop && !atomic_load(&ms->s->cutting) && !j->m->removed)
        yes = models_post(ms, JOB_LOAD, j->m, NULL, j->why) == 0;
    pthread_mutex_unlock(&ms->lock);
    return yes;
}

static void run_job(struct models *ms, struct job *j)
{
    sp_error err = {0};
    int32_t pages = 0;
    err.code = do_job(ms, j, &pages, &err);
    bool once_more = again(ms, j, &err);
    /* Those that wait have a load of their own in the queue: only that one's failure is theirs. */
    bool there = err.code == 0 && (j->kind == JOB_WAKE || j->kind == JOB_REPLACE);
    if (there || (j->kind == JOB_LOAD && !once_more))
        end_waiting(ms, j->m, &err);
    pthread_mutex_lock(&ms->lock);
    j->m->users--; /* whoever hears of it may do the next thing; only this thread frees rows */
    pthread_mutex_unlock(&ms->lock);
    if (once_more)
        return;
    answer(ms, j, pages, &err);
    note_start(ms, j, &err);
}

void *models_loader_main(void *arg)
{
    struct models *ms = arg;
    pthread_mutex_lock(&ms->lock);
    while (!ms->stop) {
        if (close_retired(ms))
            continue;
        free_gone(ms);
        struct job *j = ms->jobs;
        if (!j) {
            pthread_cond_wait(&ms->more, &ms->lock);
            continue;
        }
        ms->jobs = j->next;
        if (!ms->jobs)
            ms->jobs_last = NULL;
        pthread_mutex_unlock(&ms->lock);
        run_job(ms, j);
        sp_free(j);
        pthread_mutex_lock(&ms->lock);
    }
    pthread_mutex_unlock(&ms->lock);
    return NULL;
}

int models_start(struct server *s, sp_error *err)
{
    struct models *ms = s->models;
    int code = 0;
    ms->limit = s->opts.memory ? s->opts.memory : machine_memory_free();
    for (struct served_model *m = ms->first; m && code == 0; m = m->next)
        if (m->at_start) {
            code = models_post(ms, JOB_LOAD, m, NULL, "at start");
            if (code == 0)
                ms->jobs_last->start = true;
            ms->starting++;
        }
    if (code < 0)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    bool none = ms->starting == 0; /* the loader's from here */
    if (none)
        atomic_store(&s->load_over, true);
    if (pthread_create(&ms->thread, NULL, models_loader_main, ms) != 0)
        return sp_fail(err, SP_ENOMEM, "the thread that loads models could not be started");
    ms->runs = true;
    if (none)
        server_wake(s);
    return 0;
}
