/* From the open socket to the end: loading, ready, reloads, draining. The loop thread, but for the loader. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "base/notify.h"
#include "server/access_int.h"
#include "server/jobs_int.h"
#include "server/models_int.h"
#include "server/page_int.h"
#include "server/stats_int.h"

#define KEYS_SAVED_EVERY 10 /* seconds: when they were used, and how much */

/* ---- the end ---- */

void stop_when_drained(struct server *s)
{
    const struct timeval flush = {0, 500000}; /* the last bytes are still on their way out */
    if (!s->draining || s->n_calls > events_listeners(s) || !server_close_posts(s))
        return;
    events_end(s); /* who listens may hear of all that was still running */
    if (s->n_calls == 0)
        event_base_loopexit(s->base, &flush);
}

/* What still runs ends within a step, and its client is told. */
static void cut(struct server *s)
{
    size_t running = s->n_calls - events_listeners(s);
    if (running > 0)
        log_warn("server", "%zu requests are cut", running);
    atomic_store(&s->cutting, true);
    for (struct call *c = s->calls; c; c = c->next)
        call_cancel(c);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    cut(arg);
}

/* The first signal lets running requests end, for a while; the second cuts them. The socket goes on listening, so that
 * whoever asks hears from /readyz that this server takes no more. */
static void on_signal(evutil_socket_t fd, short what, void *arg)
{
    struct server *s = arg;
    struct timeval limit = {s->opts.drain_seconds, 0};
    char state[128];
    (void)fd;
    (void)what;
    if (s->draining) {
        cut(s);
        return;
    }
    size_t running = s->n_calls - events_listeners(s);
    s->draining = true;
    if (s->jobs)
        jobs_drain(s->jobs);
    (void)snprintf(state, sizeof state, "STOPPING=1\nSTATUS=%zu requests are still running",
                   running);
    (void)notify_service(state);
    if (running > 0)
        log_info("server", "ending: %zu requests are still running, for at most %d s", running,
                 s->opts.drain_seconds);
    evtimer_add(s->deadline, &limit);
    stop_when_drained(s);
}

static void on_hangup(evutil_socket_t fd, short what, void *arg)
{
    struct server *s = arg;
    char state[96];
    (void)fd;
    (void)what;
    (void)snprintf(state, sizeof state, "RELOADING=1\nMONOTONIC_USEC=%lld",
                   (long long)(clock_seconds() * 1e6));
    (void)notify_service(state);
    if (s->opts.on_reload)
        s->opts.on_reload(s->opts.arg);
    if (!s->loading && !s->draining)
        (void)notify_service("READY=1");
}

static void on_second(evutil_socket_t fd, short what, void *arg)
{
    struct server *s = arg;
    double now = clock_seconds();
    (void)fd;
    (void)what;
    for (struct call *c = s->calls; c; c = c->next)
        generation_keep_alive(c, now);
    if ((int64_t)now % KEYS_SAVED_EVERY == 0)
        access_save_used(s);
    models_tick(s, now);
    models_tell(s);
    kept_tick(s);
    stats_tick(s, now);
    events_tick(s, now);
}

static void on_watchdog(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
    (void)notify_service("WATCHDOG=1");
}

/* ---- the start ---- */

static void become_ready(struct server *s)
{
    char state[512];
    const struct server_opts *o = &s->opts;
    s->loading = false;
    /* Until now they end the process as it stands: nothing runs yet. Once the loop has ended libevent puts back what it
     * finds here, and what is then still written down must not be cut. */
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    event_add(s->sigint, NULL);
    event_add(s->sigterm, NULL);
    page_jobs_start(s);
    if (o->on_ready)
        o->on_ready(o->arg, o->host, s->port);
    pthread_mutex_lock(&s->models->lock);
    (void)snprintf(state, sizeof state, "READY=1\nSTATUS=%.200s answers on %.64s port %d",
                   s->models->first->names[0], o->host, s->port);
    pthread_mutex_unlock(&s->models->lock);
    (void)notify_service(state);
}

void lifecycle_on_wake(struct server *s)
{
    if (s->loading && atomic_load(&s->load_over)) {
        if (s->load_code == 0)
            become_ready(s);
        else
            event_base_loopbreak(s->base);
    }
    if (atomic_load(&s->stop) && !s->draining)
        event_active(s->sigterm, EV_SIGNAL, 1);
    stop_when_drained(s);
}

int lifecycle_init(struct server *s)
{
    const struct timeval second = {1, 0};
    double watchdog = notify_watchdog_seconds() / 2;
    struct timeval every = {(time_t)watchdog,
                            (suseconds_t)((watchdog - (double)(time_t)watchdog) * 1e6)};
    s->sigint = evsignal_new(s->base, SIGINT, on_signal, s);
    s->sigterm = evsignal_new(s->base, SIGTERM, on_signal, s);
    s->sighup = evsignal_new(s->base, SIGHUP, on_hangup, s);
    s->deadline = evtimer_new(s->base, on_deadline, s);
    s->second = event_new(s->base, -1, EV_PERSIST, on_second, s);
    s->watchdog = event_new(s->base, -1, EV_PERSIST, on_watchdog, s);
    if (!s->sigint || !s->sigterm || !s->sighup || !s->deadline || !s->watchdog || !s->second ||
        event_add(s->second, &second) < 0)
        return SP_ENOMEM;
    event_add(s->sighup, NULL);
    if (watchdog > 0)
        event_add(s->watchdog, &every);
    return 0;
}

int server_run(server *s, sp_error *err)
{
    s->loading = true;
    server_loop_begins(s);
    int code = models_start(s, err);
    if (code < 0)
        return code;
    code = event_base_dispatch(s->base);
    if (s->load_code < 0)
        return sp_fail(err, s->load_code, "%s", s->load_error.message);
    if (code < 0)
        return sp_fail(err, SP_EIO, "the event loop failed: %s", strerror(errno));
    return 0;
}
