#include "server/stats_int.h"

#include <stdio.h>
#include <string.h>
#include "base/machine.h"
#include "server/access_int.h"
#include "server/metrics_int.h"
#include "server/models_int.h"
#include "server/page_int.h"

#define LIVE_MOST 100 /* requests that one event shows */

/* Sums over all models. Counters are of all time, so rates are differences of two samples. */
struct sample {
    double at; /* clock_seconds */
    uint64_t prompt_tokens, answer_tokens, prefix_queries, prefix_hits;
    uint64_t pages, pages_used, resident, used;
    int running, waiting, waiting_for_model;
};

/* Without a word of what was asked or answered. */
struct ended {
    uint64_t number; /* from 1 */
    int64_t at;      /* Unix time */
    char id[REQUEST_ID_MAX], model[256], key[64], chat[STORE_ID_BYTES];
    const char *endpoint, *state; /* literals */
    char error[48];               /* a code; "": none */
    int status;                   /* 0: of an answer without a client */
    int64_t prompt_tokens, cached_tokens, answer_tokens;
    double total, queue; /* seconds */
    double first, speed; /* seconds, tokens a second; below 0: not known */
};

struct stats {
    struct sample samples[STATS_SECONDS + 1]; /* a ring, loop */
    size_t n, next;
    uint64_t told; /* loop: the number of the last that a `stats` event told of */

    pthread_mutex_t lock; /* of what follows; taken last */
    struct ended ended[ENDED_MOST];
    uint64_t n_ended; /* of all time */
};

int stats_open(struct server *s, sp_error *err)
{
    s->stats = sp_calloc(1, sizeof *s->stats);
    if (!s->stats)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    pthread_mutex_init(&s->stats->lock, NULL);
    return 0;
}

void stats_close(struct server *s)
{
    if (!s->stats)
        return;
    pthread_mutex_destroy(&s->stats->lock);
    sp_free(s->stats);
    s->stats = NULL;
}

/* ---- requests that ended ---- */

static bool asks_for_answer(const struct call *c)
{
    return c->route && (c->route->work == api_chat || c->route->work == api_completions ||
                        c->route->work == api_generate);
}

static const char *state_of(const struct generation *g, int status)
{
    if (status >= 400)
        return status == STATUS_CLIENT_LEFT ? "cancelled" : g ? "failed" : "refused";
    enum finish_reason worst = FINISH_STOP;
    for (size_t i = 0; i < g->n_choices; i++)
        if (g->choices[i].reason > worst)
            worst = g->choices[i].reason;
    return worst == FINISH_ERROR ? "failed" : worst == FINISH_CANCELLED ? "cancelled" : "complete";
}

static void fill(struct ended *e, const struct call *c, const struct generation *g,
                 const char *error)
{
    const char *key = access_key_name(c);
    (void)snprintf(e->id, sizeof e->id, "%s", g ? g->id : c->id);
    (void)snprintf(e->model, sizeof e->model, "%s", g ? g->model : c->model_name);
    (void)snprintf(e->key, sizeof e->key, "%.63s", key ? key : "");
    (void)snprintf(e->chat, sizeof e->chat, "%s", c->kept ? c->kept->chat : "");
    (void)snprintf(e->error, sizeof e->error, "%s", error ? error : "");
    e->endpoint = c->route->path;
    e->at = clock_unix();
    e->total = clock_seconds() - c->started;
    e->first = e->speed = -1;
    if (!g)
        return;
    e->prompt_tokens = g->prompt_tokens;
    e->cached_tokens = g->cached_tokens;
    e->answer_tokens = g->answer_tokens;
    e->queue = g->queue_seconds;
    if (g->first_at > 0)
        e->first = g->first_at - c->started;
    if (g->decode_seconds > 0)
        e->speed = (double)(g->answer_tokens - (int64_t)g->n_choices) / g->decode_seconds;
}

static void add(struct stats *st, struct ended *e)
{
    pthread_mutex_lock(&st->lock);
    e->number = ++st->n_ended;
    st->ended[e->number % ENDED_MOST] = *e;
    pthread_mutex_unlock(&st->lock);
}

void stats_answered(const struct call *c, int status)
{
    const struct generation *g = c->told ? NULL : c->gen; /* else a worker may be at it again */
    bool well = status < 400;
    if (!asks_for_answer(c) || (well && (c->kept || !g)))
        return; /* taken only, or it was before */
    struct ended e = {.state = state_of(g, status), .status = status};
    fill(&e, c, g, c->error_code);
    add(c->s->stats, &e);
}

void stats_ended(const struct call *c, const char *state, const char *error)
{
    struct ended e = {.state = state};
    fill(&e, c, c->gen, error);
    add(c->s->stats, &e);
}

static json_t *known(double v)
{
    return v < 0 ? json_null() : json_real(v);
}

static json_t *ended_json(const struct ended *e)
{
    json_t *j =
        json_pack("{s:I,s:I,s:s,s:s,s:s,s:s,s:s?,s:I,s:I,s:I}", "number", (json_int_t)e->number,
                  "ended", (json_int_t)e->at, "id", e->id, "model", e->model, "endpoint",
                  e->endpoint, "state", e->state, "error", e->error[0] ? e->error : NULL,
                  "prompt_tokens", (json_int_t)e->prompt_tokens, "cached_tokens",
                  (json_int_t)e->cached_tokens, "answer_tokens", (json_int_t)e->answer_tokens);
    json_t *more = json_pack("{s:o,s:f,s:f,s:o,s:o,s:s?,s:s?}", "status",
                             e->status ? json_integer(e->status) : json_null(), "total_seconds",
                             e->total, "queue_seconds", e->queue, "first_token_seconds",
                             known(e->first), "tokens_per_second", known(e->speed), "key",
                             e->key[0] ? e->key : NULL, "chat", e->chat[0] ? e->chat : NULL);
    json_object_update(j, more);
    json_decref(more);
    return j;
}

/* Those after number `after` that are still kept. */
static json_t *ended_after(struct stats *st, uint64_t after)
{
    json_t *list = json_array();
    pthread_mutex_lock(&st->lock);
    uint64_t first = st->n_ended > ENDED_MOST ? st->n_ended - ENDED_MOST + 1 : 1;
    for (uint64_t i = after + 1 > first ? after + 1 : first; i <= st->n_ended; i++)
        json_array_append_new(list, ended_json(&st->ended[i % ENDED_MOST]));
    pthread_mutex_unlock(&st->lock);
    return list;
}

json_t *stats_ended_list(struct server *s)
{
    return ended_after(s->stats, 0);
}

/* ---- samples ---- */

static const struct sample *sample_back(const struct stats *st, size_t back)
{
    return &st->samples[(st->next + SP_COUNT(st->samples) - 1 - back) % SP_COUNT(st->samples)];
}

static double rate(uint64_t now, uint64_t before, double seconds)
{
    return seconds > 0 && now > before ? (double)(now - before) / seconds : 0;
}

/* Under models.lock. */
static void add_model(struct sample *to, struct served_model *m, const struct model_view *v,
                      double seconds)
{
    bool asleep = m->state == MODEL_ASLEEP;
    const struct engine_stats *e = &v->stats;
    to->prompt_tokens += e->prompt_tokens;
    to->answer_tokens += e->answer_tokens;
    to->prefix_queries += e->prefix_queries;
    to->prefix_hits += e->prefix_hits;
    to->pages += asleep ? 0 : e->kv_pages;
    to->pages_used += asleep ? 0 : e->kv_pages - e->kv_pages_free - e->kv_pages_cached;
    to->running += e->running;
    to->waiting += e->waiting;
    to->waiting_for_model += v->waiting;
    m->seen.rate_in = rate(e->prompt_tokens, m->seen.prompt_tokens, seconds);
    m->seen.rate_out = rate(e->answer_tokens, m->seen.answer_tokens, seconds);
    m->seen.prompt_tokens = e->prompt_tokens;
    m->seen.answer_tokens = e->answer_tokens;
}

static void take_sample(struct server *s, double now)
{
    struct stats *st = s->stats;
    struct models *ms = s->models;
    struct model_view v;
    struct sample *to = &st->samples[st->next];
    double seconds = st->n > 0 ? now - sample_back(st, 0)->at : 0;
    *to = (struct sample){.at = now, .resident = machine_rss()};
    pthread_mutex_lock(&ms->lock);
    for (struct served_model *m = ms->first; m; m = m->next) {
        model_view(ms, m, &v);
        add_model(to, m, &v, seconds);
    }
    to->used = models_used(ms);
    pthread_mutex_unlock(&ms->lock);
    st->next = (st->next + 1) % SP_COUNT(st->samples);
    st->n += st->n < SP_COUNT(st->samples);
}

/* ---- what is told ---- */

/* Under models.lock. */
static json_t *model_json(const struct models *ms, const struct served_model *m)
{
    struct model_view v;
    model_view(ms, m, &v);
    const struct engine_stats *e = &v.stats;
    bool asleep = m->state == MODEL_ASLEEP;
    json_t *j = json_pack(
        "{s:s,s:s,s:i,s:i,s:i,s:I,s:I,s:I,s:f,s:f}", "id", m->names[0], "state", v.state, "running",
        e->running, "waiting", e->waiting, "waiting_for_model", v.waiting, "pages",
        (json_int_t)(asleep ? 0 : e->kv_pages), "pages_used",
        (json_int_t)(asleep ? 0 : e->kv_pages - e->kv_pages_free - e->kv_pages_cached),
        "pages_cached", (json_int_t)(asleep ? 0 : e->kv_pages_cached), "tokens_in_per_second",
        m->seen.rate_in, "tokens_out_per_second", m->seen.rate_out);
    json_t *more =
        json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "prompt_tokens", (json_int_t)e->prompt_tokens,
                  "answer_tokens", (json_int_t)e->answer_tokens, "prefix_queries",
                  (json_int_t)e->prefix_queries, "prefix_hits", (json_int_t)e->prefix_hits,
                  "weight_bytes", (json_int_t)(v.loaded && !asleep ? v.info.weight_bytes : 0),
                  "kv_bytes", (json_int_t)(v.loaded && !asleep ? v.info.kv_bytes : 0),
                  "memory_bytes", (json_int_t)v.bytes);
    json_object_update(j, more);
    json_decref(more);
    return j;
}

static json_t *models_json(const struct models *ms)
{
    json_t *list = json_array();
    for (const struct served_model *m = ms->first; m; m = m->next)
        if (m->current || m->retired > 0 || m->n_waiting > 0 || m->version > 0)
            json_array_append_new(list, model_json(ms, m));
    return list;
}

/* The newest first, so those at the end of a crowd are left out. */
static json_t *live_list(const struct server *s, int *left_out)
{
    json_t *list = json_array();
    *left_out = 0;
    for (struct call *c = s->calls; c; c = c->next) {
        json_t *j = live_json(c);
        if (j && json_array_size(list) < LIVE_MOST) {
            json_array_append_new(list, j);
        } else if (j) {
            json_decref(j);
            ++*left_out;
        }
    }
    return list;
}

json_t *stats_now(struct server *s)
{
    struct stats *st = s->stats;
    struct models *ms = s->models;
    int left_out = 0;
    if (st->n == 0)
        take_sample(s, clock_seconds());
    const struct sample *now = sample_back(st, 0), *before = st->n > 1 ? sample_back(st, 1) : now;
    double seconds = now->at - before->at;
    pthread_mutex_lock(&ms->lock);
    json_t *models = models_json(ms);
    uint64_t limit = ms->limit;
    pthread_mutex_unlock(&ms->lock);
    json_t *j = json_pack(
        "{s:I,s:i,s:i,s:i,s:f,s:f,s:I,s:I,s:I,s:I}", "at", (json_int_t)clock_unix(), "running",
        now->running, "waiting", now->waiting, "waiting_for_model", now->waiting_for_model,
        "tokens_in_per_second", rate(now->prompt_tokens, before->prompt_tokens, seconds),
        "tokens_out_per_second", rate(now->answer_tokens, before->answer_tokens, seconds), "pages",
        (json_int_t)now->pages, "pages_used", (json_int_t)now->pages_used, "prefix_queries",
        (json_int_t)now->prefix_queries, "prefix_hits", (json_int_t)now->prefix_hits);
    json_t *requests = live_list(s, &left_out);
    json_t *more = json_pack("{s:I,s:I,s:I,s:I,s:i,s:o,s:o,s:i}", "resident_bytes",
                             (json_int_t)now->resident, "memory_used_bytes", (json_int_t)now->used,
                             "memory_limit_bytes", (json_int_t)limit, "machine_free_bytes",
                             (json_int_t)machine_memory_free(), "connections", (int)s->n_guards,
                             "models", models, "requests", requests, "requests_left_out", left_out);
    json_object_update(j, more);
    json_decref(more);
    return j;
}

json_t *stats_history(const struct server *s)
{
    const struct stats *st = s->stats;
    json_t *in = json_array(), *out = json_array(), *running = json_array(),
           *waiting = json_array(), *pages = json_array(), *resident = json_array();
    for (size_t back = st->n > 0 ? st->n - 1 : 0; back-- > 0;) {
        const struct sample *now = sample_back(st, back), *before = sample_back(st, back + 1);
        double seconds = now->at - before->at;
        json_array_append_new(in,
                              json_real(rate(now->prompt_tokens, before->prompt_tokens, seconds)));
        json_array_append_new(out,
                              json_real(rate(now->answer_tokens, before->answer_tokens, seconds)));
        json_array_append_new(running, json_integer(now->running));
        json_array_append_new(waiting, json_integer(now->waiting + now->waiting_for_model));
        json_array_append_new(pages, json_integer((json_int_t)now->pages_used));
        json_array_append_new(resident, json_integer((json_int_t)now->resident));
    }
    return json_pack("{s:i,s:o,s:o,s:o,s:o,s:o,s:o}", "seconds", STATS_SECONDS,
                     "tokens_in_per_second", in, "tokens_out_per_second", out, "running", running,
                     "waiting", waiting, "pages_used", pages, "resident_bytes", resident);
}

void stats_tick(struct server *s, double now)
{
    struct stats *st = s->stats;
    take_sample(s, now);
    if (!events_want_stats(s))
        return;
    json_t *j = stats_now(s), *ended = ended_after(st, st->told);
    const json_t *last = json_array_get(ended, json_array_size(ended) - 1);
    if (last)
        st->told = (uint64_t)json_integer_value(json_object_get(last, "number"));
    json_object_set_new(j, "ended", ended);
    events_tell_stats(s, j);
}
