/* Recording, on the loop thread. */
#include "server/metrics_int.h"
#include "server/models_int.h"
#include "server/page_int.h"

#include <string.h>

static const double ttft_bounds[] = {.001, .005, .01, .02, .04, .06, .08, .1, .25, .5,  .75,
                                     1,    2.5,  5,   7.5, 10,  20,  40,  80, 160, 640, 2560};
static const double itl_bounds[] = {.01, .025, .05, .075, .1,  .15, .2, .3, .4, .5,
                                    .75, 1,    2.5, 5,    7.5, 10,  20, 40, 80};
static const double span_bounds[] = {.3, .5, .8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                                     30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680};
static const double token_bounds[] = {1,   2,    5,    10,   20,    50,    100,   200,
                                      500, 1000, 2000, 5000, 10000, 20000, 50000, 100000,
                                      2e5, 5e5,  1e6,  2e6,  5e6,   1e7};
static const double n_bounds[] = {1, 2, 5, 10, 20};

#define BOUNDS(list) (*bounds = (list), SP_COUNT(list))

size_t metrics_bounds(enum histogram_kind kind, int64_t context, const double **bounds)
{
    size_t n = 0;
    switch (kind) {
    case HIST_TTFT:
        return BOUNDS(ttft_bounds);
    case HIST_ITL:
        return BOUNDS(itl_bounds);
    case HIST_N:
        return BOUNDS(n_bounds);
    case HIST_PROMPT:
    case HIST_ANSWER:
    case HIST_MAX_TOKENS:
        *bounds = token_bounds;
        while (n < SP_COUNT(token_bounds) && token_bounds[n] <= (double)context)
            n++;
        return n;
    default:
        return BOUNDS(span_bounds);
    }
}

void metrics_observe(struct histogram *h, const double *bounds, size_t n, double value)
{
    size_t i = 0;
    while (i < n && value > bounds[i])
        i++;
    h->counts[i]++;
    h->sum += value;
}

/* In all bounds that there are: the context, which is shown up to, may be another after a replacement. */
static void observe(struct model_metrics *m, enum histogram_kind kind, double value)
{
    const double *bounds;
    size_t n = metrics_bounds(kind, INT64_MAX, &bounds);
    metrics_observe(&m->hist[kind], bounds, n, value);
}

/* Only answers that came to their end tell how long one takes. */
static void observe_done(const struct call *c, const struct choice *ch, struct model_metrics *m,
                         const struct call_event *e)
{
    const struct generation *g = c->gen;
    const struct engine_event *ev = &e->ev;
    if (ev->reason != FINISH_STOP && ev->reason != FINISH_LENGTH)
        return;
    observe(m, HIST_E2E, e->at - c->started);
    observe(m, HIST_QUEUE, ev->queue_seconds);
    observe(m, HIST_PROMPT, (double)ev->prompt_tokens);
    observe(m, HIST_ANSWER, (double)ev->answer_tokens);
    if (ev->answer_tokens > 0) {
        observe(m, HIST_PREFILL, ev->prefill_seconds);
        observe(m, HIST_DECODE, ev->decode_seconds);
        observe(m, HIST_INFERENCE, ev->prefill_seconds + ev->decode_seconds);
    }
    if (g->max_tokens >= 0)
        observe(m, HIST_MAX_TOKENS, (double)g->max_tokens);
    if (ch->index % g->per_prompt == 0)
        observe(m, HIST_N, (double)g->per_prompt);
}

void metrics_event(const struct call *c, struct choice *ch, const struct call_event *e)
{
    struct model_metrics *m = c->model->of->metrics;
    /* An end token has no event of its own: when it is the first, DONE tells of it. */
    bool token = e->ev.kind == EVENT_TOKEN;
    if (token && ch->token_at > 0)
        observe(m, HIST_ITL, e->at - ch->token_at);
    else if (token || (e->ev.kind == EVENT_DONE && e->ev.answer_tokens > 0 && ch->token_at <= 0))
        observe(m, HIST_TTFT, e->at - c->started);
    if (token)
        ch->token_at = e->at;
    if (e->ev.kind != EVENT_DONE)
        return;
    m->finished[e->ev.reason]++;
    observe_done(c, ch, m, e);
}

void model_view(const struct models *ms, const struct served_model *m, struct model_view *out)
{
    struct engine_stats now;
    *out = (struct model_view){.state = model_state_text(m),
                               .m = m->metrics,
                               .context = m->context,
                               .stats = m->past,
                               .loaded = m->current != NULL,
                               .loads = m->version,
                               .failures = m->failures,
                               .unloads = m->unloads,
                               .load_seconds = m->load_seconds,
                               .waiting = m->n_waiting};
    if (m->current) {
        engine_get_stats(m->current->engine, &now);
        engine_stats_add(&out->stats, &now);
        engine_get_info(m->current->engine, &out->info);
        out->bytes += m->current->bytes;
    }
    for (const struct loaded_model *l = ms->retired; l; l = l->next)
        if (l->of == m) {
            engine_get_stats(l->engine, &now);
            engine_stats_add(&out->stats, &now);
            out->bytes += l->bytes;
        }
}

/* ---- requests ---- */

/* In the order of libevent's bits; a request that was refused unread has none. */
const char *const metrics_methods[METRIC_METHODS] = {
    "GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH", "none"};

static size_t method_number(const struct call *c)
{
    size_t i = 0;
    for (unsigned bits = (unsigned)c->method; bits > 1 && i < METRIC_METHODS - 1; bits >>= 1)
        i++;
    return c->refused ? METRIC_METHODS - 1 : i;
}

static const char *reason_for(const struct call *c, int status)
{
    if (c->error_code)
        return c->error_code;
    switch (status) {
    case 408:
        return "too_slow";
    case 413:
        return "body_too_large";
    case 431:
        return "head_too_large";
    case 503:
        return "overloaded";
    default:
        return "invalid_request";
    }
}

static void count_rejection(struct metrics *m, const char *reason)
{
    for (size_t i = 0; i < METRIC_REASONS; i++) {
        if (!m->rejected[i].reason)
            m->rejected[i].reason = reason;
        if (strcmp(m->rejected[i].reason, reason) == 0) {
            m->rejected[i].n++;
            return;
        }
    }
}

void metrics_answer(const struct call *c, int status)
{
    struct metrics *m = c->s->metrics;
    size_t route = route_number(c->route);
    bool refusal = (status >= 400 && status < 500 && status != STATUS_CLIENT_LEFT) || status == 503;
    bool asked_much = c->refused || (c->route && c->route->work && !is_page_plain(c->route));
    m->http[route][method_number(c)][status / 100 % 6]++;
    if (refusal && asked_much)
        count_rejection(m, reason_for(c, status));
}

int metrics_init(struct server *s, sp_error *err)
{
    static const char *const expected[] = {
        "queue_full",      "overloaded",          "draining",
        "loading",         "invalid_api_key",     "invalid_request",
        "model_not_found", "insufficient_memory", "model_load_failed"};
    s->metrics = sp_calloc(1, sizeof *s->metrics);
    if (!s->metrics)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    for (size_t i = 0; i < SP_COUNT(expected); i++)
        s->metrics->rejected[i].reason = expected[i]; /* a rate needs the zero before the one */
    return 0;
}

void metrics_done(struct server *s)
{
    sp_free(s->metrics);
}
