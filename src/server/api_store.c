/* /api/models: the models on this machine and those that could be had, what they would take of memory, and what can be
 * done with one: load, unload, sleep, wake, delete. On a worker; loading and the like are the loader's (models_int.h).
 * A model of the store that the server was not started with joins its list when it is loaded from here. */
#include <stdlib.h>
#include <string.h>
#include "base/file.h"
#include "base/machine.h"
#include "base/options.h"
#include "engine/facts.h"
#include "server/models_int.h"
#include "server/page_int.h"

#define INVALID "invalid_request_error"

/* What there is for models, in bytes. */
struct room {
    uint64_t limit, used, free; /* for all of them; taken; of the machine */
    int64_t context;            /* tokens that a model is counted with */
    enum kv_type kv;
    bool kv_given;
};

static struct room room_of(const struct server *s)
{
    const options *o = s->opts.settings;
    struct room r = {.free = machine_memory_free(), .context = FACTS_CONTEXT};
    pthread_mutex_lock(&s->models->lock);
    r.limit = s->models->limit;
    r.used = models_used(s->models);
    pthread_mutex_unlock(&s->models->lock);
    if (o && options_has(o, "max-context"))
        r.context = options_int(o, "max-context");
    r.context = r.context > 0 ? r.context : INT64_MAX; /* 0: the model's own */
    r.kv_given = o && kv_type_named(options_str(o, "kv-type"), &r.kv);
    return r;
}

/* Beside what is loaded now; when others are unloaded for it; not at all. */
static const char *fit_of(const struct room *r, uint64_t need)
{
    uint64_t left = r->limit > r->used ? r->limit - r->used : 0, all = r->free + r->used;
    left = left < r->free ? left : r->free;
    all = all < r->limit ? all : r->limit;
    return need <= left ? "fits" : need <= all ? "tight" : "no";
}

static hub *hub_of(struct call *c)
{
    if (!c->s->opts.hub)
        reply_set_error(c, 503, "server_error", NULL, "no_store", "this server has no model store");
    return c->s->opts.hub;
}

/* ---- the list ---- */

/* Under models.lock. */
static void put_row(json_t *j, const struct served_model *m)
{
    json_t *names = json_array();
    for (size_t i = 1; i < m->n_names; i++)
        json_array_append_new(names, json_string(m->names[i]));
    json_t *row = json_pack("{s:s,s:s,s:o,s:b,s:I,s:o,s:i,s:i,s:s?}", "id", m->names[0], "state",
                            model_state_text(m), "aliases", names, "added", m->added,
                            "memory_bytes", (json_int_t)(m->current ? m->current->bytes : 0),
                            "context", m->context ? json_integer(m->context) : json_null(),
                            "requests", m->current ? m->current->calls : 0, "waiting", m->n_waiting,
                            "error", m->state == MODEL_FAILED ? m->error.message : NULL);
    json_object_set_new(row, "progress",
                        m->state == MODEL_LOADING && m->load_total
                            ? json_real((double)m->load_done / (double)m->load_total)
                            : json_null());
    json_object_update(j, row);
    json_decref(row);
}

static void put_unserved(json_t *j)
{
    json_t *row = json_pack("{s:n,s:s,s:[],s:b,s:i,s:n,s:i,s:i,s:n,s:n}", "id", "state",
                            "not_served", "aliases", "added", 0, "memory_bytes", 0, "context",
                            "requests", 0, "waiting", 0, "error", "progress");
    json_object_update(j, row);
    json_decref(row);
}

/* What the head of its file says; a file that can't be read says why. */
static void put_need(json_t *j, const struct room *r, const char *path)
{
    struct model_facts f;
    sp_error err = {0};
    if (model_facts_read(path, r->context, r->kv_given ? &r->kv : NULL, &f, &err) < 0) {
        json_object_set_new(j, "need_bytes", json_null());
        json_object_set_new(j, "fit", json_null());
        json_object_set_new(j, "damage", json_string(err.message));
        return;
    }
    json_object_set_new(j, "need_bytes", json_integer((json_int_t)f.need));
    json_object_set_new(j, "fit", json_string(fit_of(r, f.need)));
    json_object_set_new(j, "damage", json_null());
    json_object_set_new(j, "format", json_string(f.format));
    json_object_set_new(j, "parameters", json_integer(f.parameters));
    json_object_set_new(j, "max_context", json_integer(f.config->context));
    json_object_set_new(j, "need_context", json_integer(f.context));
    model_facts_free(&f);
}

static json_t *stored_json(struct server *s, const struct room *r, const struct stored_model *m)
{
    struct models *ms = s->models;
    json_t *j = json_pack("{s:s,s:s,s:I,s:I,s:s?,s:s?,s:s?,s:I,s:b}", "name", m->name, "path",
                          m->path, "bytes", (json_int_t)m->bytes, "packed_bytes",
                          (json_int_t)m->packed_bytes, "source", m->source, "commit", m->commit,
                          "license", m->license, "pulled", (json_int_t)m->pulled, "stored", 1);
    pthread_mutex_lock(&ms->lock);
    const struct served_model *row = models_find_spec(ms, m->name);
    if (row)
        put_row(j, row);
    else
        put_unserved(j);
    pthread_mutex_unlock(&ms->lock);
    put_need(j, r, m->path);
    return j;
}

/* Those that the server was given as a path. */
static void add_others(struct server *s, const struct room *r, json_t *list,
                       const struct stored_model *m, size_t n)
{
    struct models *ms = s->models;
    size_t first = json_array_size(list);
    pthread_mutex_lock(&ms->lock);
    for (const struct served_model *row = ms->first; row; row = row->next) {
        size_t i = 0;
        while (i < n && strcmp(m[i].name, row->spec) != 0)
            i++;
        if (i < n)
            continue;
        json_t *j = json_pack("{s:s,s:s,s:n,s:n,s:n,s:n,s:n,s:n,s:b}", "name", row->names[0],
                              "path", row->spec, "bytes", "packed_bytes", "source", "commit",
                              "license", "pulled", "stored", 0);
        put_row(j, row);
        json_array_append_new(list, j);
    }
    pthread_mutex_unlock(&ms->lock);
    for (size_t i = first; i < json_array_size(list); i++) {
        json_t *j = json_array_get(list, i);
        put_need(j, r, json_string_value(json_object_get(j, "path")));
    }
}

static bool is_stored(const struct stored_model *m, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(m[i].name, name) == 0)
            return true;
    return false;
}

static json_t *catalogue_json(const struct room *r, const struct stored_model *m, size_t n_stored)
{
    size_t n;
    const struct catalogue_entry *all = catalogue_all(&n);
    int64_t context = r->context < INT64_MAX ? r->context : FACTS_CONTEXT;
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        const struct catalogue_entry *e = &all[i];
        uint64_t need = catalogue_memory(e, context);
        json_t *sources = json_array();
        for (size_t k = 0; k < SP_COUNT(e->sources) && e->sources[k]; k++)
            json_array_append_new(sources, json_string(e->sources[k]));
        json_array_append_new(
            list, json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:I,s:b,s:I,s:s,s:b,s:b,s:b,s:o}", "name",
                            e->name, "title", e->title, "family", e->family, "license", e->license,
                            "languages", e->languages, "parameters", e->parameters, "quantization",
                            e->quantization, "bytes", (json_int_t)e->bytes, "bytes_estimated",
                            (int)e->about, "need_bytes", (json_int_t)need, "fit", fit_of(r, need),
                            "starter", e->starter, "newest", e->newest, "stored",
                            is_stored(m, n_stored, e->name), "sources", sources));
    }
    return list;
}

void api_store_list(struct call *c)
{
    hub *h = page_may_manage(c) ? hub_of(c) : NULL;
    struct stored_model *m = NULL;
    size_t n = 0;
    sp_error err = {0};
    if (!h)
        return;
    if (hub_list(h, &m, &n, &err) < 0) {
        reply_set_sp_error(c, &err, NULL);
        return;
    }
    struct room r = room_of(c->s);
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, stored_json(c->s, &r, &m[i]));
    add_others(c->s, &r, list, m, n);
    uint64_t disk = file_space_free(hub_store(h));
    uint64_t most = r.free + r.used < r.limit ? r.free + r.used : r.limit;
    reply_set_json(c, 200,
                   json_pack("{s:o,s:o,s:s,s:{s:s,s:o},s:{s:I,s:I,s:I,s:I}}", "data", list,
                             "catalogue", catalogue_json(&r, m, n), "best",
                             catalogue_best(most)->name, "store", "path", hub_store(h),
                             "free_bytes",
                             disk == UINT64_MAX ? json_null() : json_integer((json_int_t)disk),
                             "memory", "total_bytes", (json_int_t)machine_memory_total(),
                             "free_bytes", (json_int_t)r.free, "limit_bytes", (json_int_t)r.limit,
                             "used_bytes", (json_int_t)r.used));
    stored_models_free(m, n);
}

/* ---- one ---- */

/* What the name in the path is called in the store, or the path that it was given as. Allocated; NULL: the error has
 * been set. */
static char *spec_of(struct call *c, const char *name, bool *served)
{
    struct models *ms = c->s->models;
    pthread_mutex_lock(&ms->lock);
    const struct served_model *m = models_find(ms, NULL, name);
    char *spec = sp_strdup(m ? m->spec : name);
    pthread_mutex_unlock(&ms->lock);
    *served = m != NULL;
    if (!spec)
        reply_set_error(c, 500, "server_error", NULL, NULL, "out of memory");
    return spec;
}

/* Only what is served or in the store: a name must not be a path of this machine. */
static char *path_of(struct call *c, hub *h, const char *name)
{
    bool served = false;
    char *spec = spec_of(c, name, &served), *path = NULL;
    sp_error err = {0};
    int code = !spec    ? SP_ENOMEM
               : served ? hub_resolve(h, spec, &path, &err)
                        : hub_stored(h, spec, &path, &err);
    if (spec && code < 0)
        reply_set_error(c, code == SP_EIO || code == SP_ENOMEM ? 500 : 404, INVALID, NULL,
                        "model_not_found", "%s", err.message);
    sp_free(spec);
    return path;
}

static json_t *details_json(hub *h, const struct room *r, const char *path, sp_error *err)
{
    struct model_facts f;
    struct packed_place place = {0};
    const char *where = NULL;
    char *chat = NULL;
    int code = model_facts_read(path, r->context, r->kv_given ? &r->kv : NULL, &f, err);
    if (code < 0)
        return NULL;
    json_t *j = model_facts_json(&f);
    if (hub_packed(h, path, &place, NULL) == 0)
        (void)packed_place_bytes(&place, &where);
    if (checkpoint_chat_template(f.checkpoint, false, &chat, NULL) < 0)
        chat = NULL;
    json_object_set_new(j, "path", json_string(path));
    json_object_set_new(j, "packed", where ? json_string(where) : json_null());
    json_object_set_new(j, "template_text", chat ? json_string(chat) : json_null());
    json_object_set_new(j, "fit", json_string(fit_of(r, f.need)));
    sp_free(chat);
    packed_place_free(&place);
    model_facts_free(&f);
    return j;
}

void api_store_show(struct call *c)
{
    hub *h = page_may_manage(c) ? hub_of(c) : NULL;
    char *name = h ? page_part(c) : NULL, *path = name ? path_of(c, h, name) : NULL;
    sp_error err = {0};
    if (path) {
        struct room r = room_of(c->s);
        json_t *j = details_json(h, &r, path, &err);
        if (j)
            reply_set_json(c, 200, j);
        else
            reply_set_error(c, 422, INVALID, NULL, "model_unreadable", "%s", err.message);
    }
    sp_free(path);
    free(name); /* lib-owned: libevent's */
}

/* ---- what is done with one ---- */

/* One of the store that is not in the list joins it. */
static bool serve(struct call *c, hub *h, const char *name)
{
    sp_error err = {0};
    struct models *ms = c->s->models;
    pthread_mutex_lock(&ms->lock);
    bool there = models_find(ms, NULL, name) || models_find_spec(ms, name);
    pthread_mutex_unlock(&ms->lock);
    char *path = there ? NULL : path_of(c, h, name);
    if (!there && !path)
        return false;
    sp_free(path);
    if (there || models_add(c->s, name, &err) == 0)
        return true;
    reply_set_sp_error(c, &err, NULL);
    return false;
}

static void ask(struct call *c, enum model_job kind)
{
    hub *h = page_may_manage(c) ? hub_of(c) : NULL;
    char *name = h ? page_part(c) : NULL, id[256] = "";
    struct models *ms = c->s->models;
    if (name && (kind != JOB_LOAD || serve(c, h, name))) {
        pthread_mutex_lock(&ms->lock);
        const struct served_model *m = models_find(ms, NULL, name);
        m = m ? m : models_find_spec(ms, name);
        (void)snprintf(id, sizeof id, "%s", m ? m->names[0] : name);
        pthread_mutex_unlock(&ms->lock);
        models_ask(c, kind, id);
    }
    free(name); /* lib-owned: libevent's */
}

void api_store_load(struct call *c)
{
    ask(c, JOB_LOAD);
}

void api_store_unload(struct call *c)
{
    ask(c, JOB_UNLOAD);
}

void api_store_sleep(struct call *c)
{
    ask(c, JOB_SLEEP);
}

void api_store_wake(struct call *c)
{
    ask(c, JOB_WAKE);
}

/* It leaves the list first, so that nobody loads it meanwhile. */
void api_store_delete(struct call *c)
{
    hub *h = page_may_manage(c) ? hub_of(c) : NULL;
    bool served = false, dropped = false;
    char *name = h ? page_part(c) : NULL, *spec = name ? spec_of(c, name, &served) : NULL;
    sp_error err = {0};
    uint64_t freed = 0;
    if (spec && strchr(spec, '/'))
        sp_fail(&err, SP_EINVAL, "%.200s is not in the store: only what is there can be deleted",
                spec);
    else if (spec && models_drop(c->s, spec, &dropped, &err) == 0 &&
             hub_remove(h, spec, &freed, &err) < 0 && dropped)
        (void)models_add(c->s, spec, NULL);
    if (spec && err.code == 0) {
        events_publish(c->s, EVERYBODY, "model",
                       json_pack("{s:s,s:s}", "id", name, "state", "deleted"));
        reply_set_json(c, 200,
                       json_pack("{s:s,s:I}", "name", spec, "freed_bytes", (json_int_t)freed));
    } else if (spec) {
        reply_set_error(c,
                        err.code == SP_ENOTFOUND ? 404
                        : err.code == SP_EBUSY   ? 409
                        : err.code == SP_EINVAL  ? 400
                                                 : 500,
                        INVALID, NULL, err.code == SP_EBUSY ? "model_in_use" : NULL, "%s",
                        err.message);
    }
    sp_free(spec);
    free(name); /* lib-owned: libevent's */
}
