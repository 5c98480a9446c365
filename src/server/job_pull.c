/* The kind of job that pulls a model into the store: from the catalogue, a hub or an address. What came before it was
 * stopped is kept, so it can be paused, and goes on after an end of the server. */
#include <stdio.h>
#include <string.h>
#include "base/log.h"
#include "base/options.h"
#include "server/jobs_int.h"
#include "server/models_int.h"

#define INVALID "invalid_request_error"

static const char *text_of(const json_t *params, const char *name)
{
    return json_string_value(json_object_get(params, name));
}

struct pulling {
    job_run *job;
    int64_t total; /* bytes; 0: not known yet */
};

static void on_progress(void *arg, const struct pull_progress *p)
{
    struct pulling *it = arg;
    it->total = (int64_t)p->total;
    job_progress(it->job, (int64_t)p->done, it->total);
}

static void on_note(void *arg, const char *line)
{
    const struct pulling *it = arg;
    log_info("server", "pull %s: %s", job_id(it->job), line);
}

static int stopping(void *arg)
{
    const struct pulling *it = arg;
    return job_stopping(it->job);
}

/* With --all-models what comes into the store is served at once; else when it is loaded. */
static void serve(struct server *s, const char *name)
{
    sp_error err = {0};
    const options *o = s->opts.settings;
    if (o && options_bool(o, "all-models") && models_add(s, name, &err) < 0)
        log_warn("server", "%s is pulled and not served: %s", name, err.message);
}

static int run(void *arg, job_run *j, json_t **result, sp_error *err)
{
    struct server *s = arg;
    const json_t *params = job_params(j);
    struct pulling it = {.job = j};
    char name[STORE_NAME_MAX], *path = NULL;
    const struct pull_opts o = {.spec = text_of(params, "spec"),
                                .name = text_of(params, "name"),
                                .offline = hub_offline_wanted(),
                                .on_progress = on_progress,
                                .on_note = on_note,
                                .cancelled = stopping,
                                .arg = &it};
    int code = hub_spec_name(o.spec, o.name, name,
                             err); /* again: what lies here may be another after a restart */
    if (code == 0)
        code = hub_pull(s->opts.hub, &o, &path, err);
    if (code == 0) {
        job_progress(j, it.total, it.total); /* the last step may have gone untold */
        serve(s, name);
        *result = json_pack("{s:s}", "name", name);
        log_info("server", "%s: pulled into the store", name);
    }
    sp_free(path);
    return code;
}

static bool prepare(struct call *c, json_t *params, struct job_work *w)
{
    const json_t *name = json_object_get(params, "name");
    const char *spec = text_of(params, "spec");
    char as[STORE_NAME_MAX];
    sp_error err = {0};
    if (!page_may_manage(c))
        return false;
    if (!c->s->opts.hub) {
        reply_set_error(c, 503, "server_error", NULL, "no_store", "this server has no model store");
    } else if (!spec || !spec[0] || strlen(spec) > 1000) {
        reply_set_error(c, 400, INVALID, "spec", NULL,
                        "spec: must be a name of the catalogue, hf:ORG/NAME, ms:ORG/NAME or an "
                        "address");
    } else if (name && !json_is_null(name) && !json_is_string(name)) {
        reply_set_error(c, 400, INVALID, "name", NULL, "name: must be a string");
    } else if (hub_spec_name(spec, json_string_value(name), as, &err) < 0) {
        reply_set_error(c, 400, INVALID, err.code == SP_EINVAL ? "name" : "spec", NULL, "%s",
                        err.message);
    } else {
        if (!w->title[0])
            (void)snprintf(w->title, sizeof w->title, "%s", as);
        return true;
    }
    return false;
}

const struct page_kind pull_kind = {
    .job = {.name = "pull", .unit = "bytes", .at_once = 2, .resumes = true, .run = run},
    .prepare = prepare};
