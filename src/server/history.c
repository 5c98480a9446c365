/* The store of a server, and the thread that saves texts as they grow. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "base/log.h"
#include "server/jobs_int.h"

#define RETRY_SECONDS 2 /* after a disk that said no */
#define SAVED_AT_ONCE 64
#define DAY_SECONDS 86400.0
#define PURGE_SECONDS 3600.0

/* ---- the saver ---- */

struct batch {
    struct store_text texts[SAVED_AT_ONCE];
    char *copies[SAVED_AT_ONCE];
    char chats[SAVED_AT_ONCE][STORE_ID_BYTES];
    int64_t owners[SAVED_AT_ONCE];
    struct kept *of[SAVED_AT_ONCE]; /* valid under lock only, while linked */
    size_t n;
};

/* Under lock: the text as it is, so that the loop may go on while it is written. */
static bool take(struct batch *b, struct kept *k)
{
    size_t n = k->content.len, m = k->reasoning.len;
    char *copy = sp_malloc(n + m + 1);
    if (!copy)
        return false;
    if (n)
        memcpy(copy, k->content.data, n);
    if (m)
        memcpy(copy + n, k->reasoning.data, m);
    struct store_text *t = &b->texts[b->n];
    *t = (struct store_text){.content = {copy, n},
                             .reasoning = {copy + n, m},
                             .state = k->ended ? k->end : k->state,
                             .ended = k->ended,
                             .finish_reason = k->finish_reason,
                             .error = k->ended ? k->error : NULL,
                             .usage = k->ended ? k->usage : NULL,
                             .timings = k->ended ? k->timings : NULL};
    memcpy(t->message, k->message, sizeof t->message);
    memcpy(b->chats[b->n], k->chat, sizeof k->chat);
    b->owners[b->n] = k->call->owner;
    b->copies[b->n] = copy;
    b->of[b->n++] = k;
    k->dirty = false;
    return true;
}

static void take_all(struct history *h, struct batch *b)
{
    b->n = 0;
    for (struct kept *k = h->live; k && b->n < SAVED_AT_ONCE; k = k->next)
        if (k->dirty && !k->saved && !take(b, k))
            break;
}

/* Under lock. An answer stays in the list until its call has seen that it is saved. Waking happens under the lock, too:
 * once it is let go the loop may free both. */
static void settle(struct history *h, struct batch *b, const sp_error *err)
{
    for (size_t i = 0; i < b->n; i++) {
        struct kept *k = h->live;
        while (k && k != b->of[i])
            k = k->next;
        sp_free(b->copies[i]);
        if (!k)
            continue;
        k->dirty |= err->code != 0;
        k->save_error = *err;
        k->lost = b->texts[i].lost;
        k->saved = b->texts[i].ended && err->code == 0;
        if (b->texts[i].ended)
            call_wake(k->call);
    }
}

static bool wanted(const struct history *h, bool ended)
{
    for (const struct kept *k = h->live; k; k = k->next)
        if (k->dirty && !k->saved && (k->ended || !ended))
            return true;
    return false;
}

/* Until something has ended, or SAVE_SECONDS after the last time when something has grown, or there is time to look for
 * what is to be removed. false: the end. */
static bool wait_for_work(struct history *h, double not_before, double purge_at)
{
    for (;;) {
        double now = clock_seconds();
        if (wanted(h, true) && now >= not_before - SAVE_SECONDS)
            return true;
        if (wanted(h, false) && now >= not_before)
            return true;
        if (h->stop && !wanted(h, false))
            return false;
        bool idle = !wanted(h, false);
        if (idle && now >= purge_at)
            return true;
        double wait = (idle ? purge_at : not_before) - now;
        struct timespec until = clock_after(wait > 0.01 ? wait : 0.01);
        (void)pthread_cond_timedwait(&h->more, &h->lock, &until);
    }
}

static void tell_failure(const sp_error *err, bool *failing)
{
    if (err->code && !*failing)
        log_error("server", "answers can't be saved: %s", err->message);
    else if (!err->code && *failing)
        log_info("server", "answers are saved again");
    *failing = err->code != 0;
}

/* Chats that were deleted long ago go for ever, and files that were never sent: at start and then every hour. */
static void purge(struct server *s, double *next)
{
    double now = clock_seconds();
    sp_error failed = {0};
    if (now < *next)
        return;
    *next = now + PURGE_SECONDS;
    if (store_files_expire(s->history->store, &failed) < 0)
        log_warn("server", "files that were never sent are not removed yet: %s", failed.message);
    bool more = s->opts.keep_deleted_days > 0;
    while (more) {
        json_t *gone = NULL, *chat;
        sp_error err = {0};
        size_t i;
        if (store_purge(s->history->store, s->opts.keep_deleted_days * DAY_SECONDS, &gone, &err) <
            0)
            log_warn("server", "deleted chats are not removed yet: %s", err.message);
        json_array_foreach(gone, i, chat)
            events_publish(s, json_integer_value(json_object_get(chat, "owner")), "chat_deleted",
                           json_pack("{s:O}", "id", json_object_get(chat, "id")));
        more = json_array_size(gone) == STORE_PURGED_AT_ONCE;
        json_decref(gone);
    }
}

static void *saver_main(void *arg)
{
    struct server *s = arg;
    struct history *h = s->history;
    double not_before = 0, next_purge = 0;
    bool failing = false;
    struct batch *b = sp_calloc(1, sizeof *b);
    purge(s, &next_purge);
    pthread_mutex_lock(&h->lock);
    while (b && wait_for_work(h, not_before, next_purge)) {
        sp_error err = {0};
        take_all(h, b);
        pthread_mutex_unlock(&h->lock);
        if (b->n > 0)
            (void)store_texts(h->store, b->texts, b->n, &err);
        tell_failure(&err, &failing);
        for (size_t i = 0; i < b->n && err.code == 0; i++)
            if (b->texts[i].ended && !b->texts[i].lost)
                events_publish_chat(s, b->owners[i], b->chats[i]);
        purge(s, &next_purge);
        pthread_mutex_lock(&h->lock);
        settle(h, b, &err);
        not_before = clock_seconds() + (err.code ? RETRY_SECONDS : SAVE_SECONDS);
        if (err.code && h->stop)
            break;
    }
    pthread_mutex_unlock(&h->lock);
    sp_free(b);
    return NULL;
}

/* ---- opening and closing ---- */

static int start_saver(struct server *s, sp_error *err)
{
    struct history *h = s->history;
    if (pthread_create(&h->saver, NULL, saver_main, s) != 0)
        return sp_fail(err, SP_ENOMEM, "the thread that saves answers could not be started");
    h->saves = true;
    return 0;
}

int history_open(struct server *s, sp_error *err)
{
    struct store_opts o = {
        .path = s->opts.history, .writes = true, .unsent_bytes = s->opts.limits.unsent_bytes};
    sp_error why = {0};
    pthread_condattr_t monotonic;
    struct history *h = s->history = sp_calloc(1, sizeof *h);
    if (!h)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&h->more, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&h->lock, NULL);
    h->state = "off";
    if (!o.path)
        return 0;
    if (store_open(&o, &h->store, &why) < 0) {
        h->state = "unavailable";
        memcpy(h->reason, why.message, sizeof h->reason);
        log_warn("server", "no chats are kept: %s", why.message);
        return 0;
    }
    h->state = "on";
    page_jobs_open(s);
    return start_saver(s, err);
}

void history_close(struct server *s)
{
    struct history *h = s->history;
    if (!h)
        return;
    pthread_mutex_lock(&h->lock);
    h->stop = true;
    pthread_cond_broadcast(&h->more);
    pthread_mutex_unlock(&h->lock);
    if (h->saves)
        pthread_join(h->saver, NULL);
    store_close(h->store);
    pthread_cond_destroy(&h->more);
    pthread_mutex_destroy(&h->lock);
    sp_free(h);
    s->history = NULL;
}

const char *server_history(const server *s, const char **reason)
{
    *reason = s->history->reason;
    return s->history->state;
}

/* ---- for the endpoints ---- */

store *history_of(struct call *c)
{
    const struct history *h = c->s->history;
    if (h->store)
        return h->store;
    if (h->reason[0])
        reply_set_error(c, 503, "server_error", NULL, "history_unavailable",
                        "no chats are kept: %s", h->reason);
    else
        reply_set_error(c, 503, "server_error", NULL, "history_off",
                        "this server keeps no chats (--history off)");
    return NULL;
}

void page_fail(struct call *c, const sp_error *err)
{
    char param[32] = "";
    bool named =
        sscanf(err->message, "%31[a-z_]:", param) == 1 && err->message[strlen(param)] == ':';
    switch (err->code) {
    case SP_ENOTFOUND:
        reply_set_error(c, 404, "invalid_request_error", NULL, "not_found", "%s", err->message);
        break;
    case SP_EINVAL:
        reply_set_error(c, 400, "invalid_request_error", named ? param : NULL, NULL, "%s",
                        err->message);
        break;
    case SP_EFULL:
        reply_set_error(c, 409, "invalid_request_error", named ? param : NULL, "conflict", "%s",
                        err->message);
        break;
    case SP_EBUSY:
        reply_set_error(c, 503, "server_error", NULL, "history_busy", "%s", err->message);
        break;
    case SP_ENOSPACE:
        reply_set_error(c, 507, "server_error", NULL, "history_full", "%s", err->message);
        break;
    default:
        reply_set_error(c, 500, "server_error", NULL, "history_failed", "%s", err->message);
    }
}
