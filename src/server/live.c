/* Requests that are being answered, as people are shown them: /admin/requests and the page's dashboard. */
#include <string.h>
#include "server/access_int.h"
#include "server/models_int.h"
#include "server/page_int.h"
#include "server/stats_int.h"

/* Under the call's lock: the engine still has all its choices in the queue. */
static bool all_queued(const struct generation *g)
{
    for (size_t i = 0; i < g->n_choices; i++)
        if (!g->choices[i].submitted || !engine_is_queued(g->engine, g->choices[i].id))
            return false;
    return true;
}

static const char *chat_of(const struct call *c)
{
    return c->kept ? c->kept->chat : NULL;
}

/* NULL: it waits for no model. It has no id but its request's, and what it asks for will be read again. */
static json_t *waiting_json(struct call *c)
{
    if (!models_waits(c))
        return NULL;
    return json_pack("{s:s,s:s,s:s,s:s,s:b,s:i,s:i,s:i,s:f,s:n,s:s?,s:n,s:s?}", "id", c->id,
                     "endpoint", c->route->path, "model", c->model_name, "state",
                     "waiting_for_model", "stream", c->wants_stream, "choices", 0, "prompt_tokens",
                     0, "answer_tokens", 0, "age_seconds", clock_seconds() - c->started,
                     "first_token_seconds", "key", access_key_name(c), "user", "chat", chat_of(c));
}

json_t *live_json(struct call *c)
{
    json_t *waiting = waiting_json(c);
    if (waiting)
        return waiting;
    pthread_mutex_lock(&c->lock);
    const struct generation *g = c->worked && (!c->reply || c->kept) ? c->gen : NULL;
    g = g && g->n_done < g->n_choices ? g : NULL; /* a kept one may only wait to be saved */
    const char *state = !g                     ? NULL
                        : g->answer_tokens > 0 ? "decode"
                        : all_queued(g)        ? "queued"
                                               : "prefill";
    pthread_mutex_unlock(&c->lock);
    if (!g)
        return NULL;
    return json_pack("{s:s,s:s,s:s,s:s,s:b,s:i,s:I,s:I,s:f,s:o,s:s?,s:s?,s:s?}", "id", g->id,
                     "endpoint", c->route->path, "model", g->model, "state", state, "stream",
                     g->stream, "choices", (int)g->n_choices, "prompt_tokens",
                     (json_int_t)g->prompt_tokens, "answer_tokens", (json_int_t)g->answer_tokens,
                     "age_seconds", clock_seconds() - c->started, "first_token_seconds",
                     g->first_at > 0 ? json_real(g->first_at - c->started) : json_null(), "key",
                     access_key_name(c), "user", g->user, "chat", chat_of(c));
}

struct call *live_find(struct server *s, const char *id)
{
    struct call *found = NULL;
    for (struct call *c = s->calls; c && !found; c = c->next) {
        json_t *j = live_json(c);
        const char *its = json_string_value(json_object_get(j, "id"));
        if (its && strcmp(its, id) == 0)
            found = c;
        json_decref(j);
    }
    return found;
}
