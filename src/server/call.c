/* The life of a call, on the loop, and what other threads may do to it: wake it, stop it, be done with it. A call comes
 * from a request (server.c), or is posted by the server itself, for a job's part, and has none. */
#include <errno.h>
#include <unistd.h>
#include "server/access_int.h"
#include "server/ask_int.h"
#include "server/models_int.h"
#include "server/page_int.h"

/* ---- any thread ---- */

void server_wake(struct server *s)
{
    uint64_t one = 1;
    while (write(s->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

void call_wake(struct call *c)
{
    struct server *s = c->s;
    pthread_mutex_lock(&s->ready_lock);
    bool first = s->ready == NULL;
    if (!c->in_ready) {
        c->in_ready = true;
        c->next_ready = s->ready;
        s->ready = c;
    }
    pthread_mutex_unlock(&s->ready_lock);
    if (first)
        server_wake(s);
}

/* Under its lock. */
static void cancel_choices(struct call *c)
{
    for (size_t i = 0; c->gen && i < c->gen->n_choices; i++)
        if (c->gen->choices[i].submitted && !c->gen->choices[i].done)
            engine_cancel(c->gen->engine, c->gen->choices[i].id);
}

void call_cancel(struct call *c)
{
    pthread_mutex_lock(&c->lock);
    cancel_choices(c);
    pthread_mutex_unlock(&c->lock);
    models_forget(c);
}

/* A worker that submits looks at `stopped` afterwards, one that lets it wait looks before; the loop takes it out of
 * where it waits. */
void call_stop(struct call *c)
{
    atomic_store(&c->stopped, true);
    pthread_mutex_lock(&c->lock);
    cancel_choices(c);
    call_wake(c);
    pthread_mutex_unlock(&c->lock);
}

void call_tell(struct call *c)
{
    pthread_mutex_lock(&c->lock);
    c->told = true;
    call_wake(c);
    pthread_mutex_unlock(&c->lock);
}

void call_worked(struct call *c)
{
    pthread_mutex_lock(&c->lock);
    c->worked = true;
    c->pending--;
    call_wake(c); /* under the lock: see call_unused */
    pthread_mutex_unlock(&c->lock);
}

/* ---- beginning and end ---- */

void call_init(struct call *c, struct server *s)
{
    c->s = s;
    c->started = c->wrote_at = clock_seconds();
    atomic_init(&c->gone, false);
    atomic_init(&c->stopped, false);
    pthread_mutex_init(&c->lock, NULL);
}

void call_link(struct call *c)
{
    struct server *s = c->s;
    c->next = s->calls;
    if (s->calls)
        s->calls->prev = c;
    s->calls = c;
    s->n_calls++;
}

/* What a call has that the loop knows only by its list. */
static void call_clear(struct call *c)
{
    generation_free(c->gen);
    kept_free(c->kept);
    ask_free(c->ask);
    models_release(c);
    access_release(c);
    if (c->query)
        evhttp_clear_headers(c->query);
    sp_free(c->query);
    sp_free(c->target);
    pthread_mutex_destroy(&c->lock);
    sp_free(c->body);
    sp_free(c->reply);
    sp_free(c);
}

void call_free(struct call *c)
{
    struct server *s = c->s;
    if (c->prev)
        c->prev->next = c->next;
    else
        s->calls = c->next;
    if (c->next)
        c->next->prev = c->prev;
    s->n_calls--;
    /* A request whose connection broke is ours to free; libevent has taken leave of it. */
    if (c->req && !evhttp_request_get_connection(c->req))
        evhttp_request_free(c->req);
    while (c->first) {
        struct call_event *e = c->first;
        c->first = e->next;
        sp_free(e);
    }
    events_leave(c);
    call_clear(c);
}

/* ---- progress ---- */

/* Whoever takes `pending` down wakes the call before letting go of its lock, so once pending has been seen
 * as 0 no other thread knows the call, and only a place in the ready list can still refer to it. */
static bool call_unused(struct call *c, int pending)
{
    pthread_mutex_lock(&c->s->ready_lock);
    bool queued = c->in_ready;
    pthread_mutex_unlock(&c->s->ready_lock);
    return pending == 0 && !queued;
}

/* Once, when it has been let in. */
static void charge_prompt(struct call *c)
{
    bool let_in = c->kept ? !c->kept->dropped : !c->answered;
    if (c->gen && let_in && !c->charged)
        access_charge(c, c->gen->prompt_tokens);
    c->charged = true;
}

/* Loop: takes what came for a call, answers, and frees the call when nothing is left to come. */
static void call_progress(struct call *c)
{
    struct call_event *e = NULL;
    pthread_mutex_lock(&c->lock);
    bool worked = c->worked, told = c->told;
    if (worked) { /* until then the worker may still find out that the answer is an error */
        e = c->first;
        c->first = c->last = NULL;
    }
    int pending = c->pending;
    pthread_mutex_unlock(&c->lock);
    if (atomic_load(&c->gone))
        call_cancel(c);
    if (told || (worked && c->reply))
        reply_send(c);
    if (!worked && atomic_load(&c->stopped))
        models_forget(c);
    if (!worked)
        return;
    charge_prompt(c);
    while (e) {
        struct call_event *next = e->next;
        generation_event(c, e);
        sp_free(e);
        e = next;
    }
    if (!kept_over(c) || !call_unused(c, pending))
        return;
    if (c->ask) {
        ask_over(c);
    } else if (!c->answered && !atomic_load(&c->gone)) {
        reply_set_error(c, 500, "server_error", NULL, NULL, "out of memory");
        reply_send(c);
    }
    call_free(c);
}

/* One at a time: a call may be put into the list again as soon as it has left it. */
static struct call *ready_take(struct server *s)
{
    pthread_mutex_lock(&s->ready_lock);
    struct call *c = s->ready;
    if (c) {
        s->ready = c->next_ready;
        c->in_ready = false;
    }
    pthread_mutex_unlock(&s->ready_lock);
    return c;
}

void calls_progress(struct server *s)
{
    struct call *c;
    while ((c = ready_take(s)) != NULL)
        call_progress(c);
}

/* ---- calls without a request ---- */

struct call *call_make(struct server *s, const struct route *route)
{
    struct call *c = sp_calloc(1, sizeof *c);
    if (!c)
        return NULL;
    call_init(c, s);
    c->route = route;
    c->method = EVHTTP_REQ_POST;
    return c;
}

bool call_post(struct call *c)
{
    struct server *s = c->s;
    struct call **last = &s->posted;
    pthread_mutex_lock(&s->ready_lock);
    bool open = !s->closed;
    while (*last)
        last = &(*last)->next;
    if (open)
        *last = c;
    pthread_mutex_unlock(&s->ready_lock);
    if (open)
        server_wake(s);
    else
        call_clear(c);
    return open;
}

static struct call *posted_calls(struct server *s, bool close)
{
    pthread_mutex_lock(&s->ready_lock);
    struct call *list = s->posted;
    s->posted = NULL;
    s->closed = s->closed || close;
    pthread_mutex_unlock(&s->ready_lock);
    return list;
}

void calls_take_posted(struct server *s)
{
    struct call *next;
    for (struct call *c = posted_calls(s, false); c; c = next) {
        next = c->next;
        call_link(c);
        c->pending = 1;
        if (!ask_let_in(c)) {
            call_worked(c);
        } else if (!work_push(s, c)) {
            reply_set_error(c, 503, "server_error", NULL, "overloaded",
                            "too many requests wait: try again in a second");
            call_worked(c);
        }
    }
}

bool server_close_posts(struct server *s)
{
    pthread_mutex_lock(&s->ready_lock);
    bool none = !s->posted;
    s->closed = s->closed || none;
    pthread_mutex_unlock(&s->ready_lock);
    return none;
}

void calls_end_asks(struct server *s)
{
    struct call *next;
    for (struct call *c = posted_calls(s, true); c; c = next) {
        next = c->next;
        call_link(c);
    }
    for (struct call *c = s->calls; c; c = c->next)
        if (c->ask) {
            ask_refused(c, 503, "draining", SHUTTING_DOWN);
            ask_over(c);
        }
}
