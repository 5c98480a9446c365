/* The page's own API (/api/): chats that are kept, answers that go on when nobody listens, one stream of events.
 *
 * One kept answer's way: POST .../generate is a call like one for /v1/chat/completions. Its worker submits the request,
 * makes the message's row and answers 202; when the model has to be loaded first, it makes the row and answers before
 * (call_tell), and submits when the model is there. The call lives on without its client until the text is whole and
 * saved. The loop takes the engine's events, appends text to the answer and publishes deltas; the saver (one thread)
 * writes the texts that have grown, all of them in one transaction, at most every SAVE_SECONDS; when an ended one is on
 * the disk it wakes the call, and the loop publishes the whole message.
 *
 * Threads: database work is done by workers and the saver, never by the loop. Events may be published by any thread;
 * only the loop writes them to sockets. Lock order: history.lock, then call.lock, then server.ready_lock; events.lock
 * is taken last and holds nothing; models.lock is never held together with any of these. */
#ifndef SP_SERVER_PAGE_INT_H
#define SP_SERVER_PAGE_INT_H

#include "server/server_int.h"
#include "store/store.h"

#define SAVE_SECONDS 0.25
#define EVERYBODY INT64_MIN /* owner of events that all may hear */

/* ---- reasoning.c: what a model thinks, apart from what it says ---- */

/* Text that begins with <think> is reasoning up to </think>. A tag may come in pieces: what may be one is held back. */
struct reasoning {
    enum { REASONING_MAYBE, REASONING_INSIDE, REASONING_AFTER, REASONING_OVER } where;
    char held[64];
    size_t n_held;
};
typedef void (*reasoning_fn)(void *arg, bool reasoning, const char *text, size_t n);
void reasoning_feed(struct reasoning *r, const char *text, size_t n, reasoning_fn each, void *arg);
void reasoning_end(struct reasoning *r, reasoning_fn each, void *arg); /* what is held comes */

/* ---- kept.c: answers under way ---- */

struct kept {
    struct kept *next; /* history.live */
    struct call *call;
    char message[STORE_ID_BYTES], chat[STORE_ID_BYTES];
    json_t *request;        /* worker: as for /v1/chat/completions */
    buf before;             /* worker: text that the prompt ends with, of one that goes on */
    json_t *files;          /* worker: attachments of the messages in the prompt; NULL: none */
    json_t *row;            /* the message as it was made; loop, but a worker until it has worked */
    struct reasoning split; /* loop */
    int place;              /* in line, as it was told last; loop */
    const char *finish_reason; /* set by who sets `ended`, before, as the next three */
    json_t *error, *usage, *timings;

    /* under history.lock */
    buf content, reasoning; /* all of it */
    const char *state;      /* queued, streaming */
    const char *end;        /* the state to end in, when `ended` is set */
    struct call *stoppers;  /* who pressed stop, and hears when it is over; by next_stop */
    bool linked;            /* has a row, and is in history.live */
    bool stopping;          /* somebody pressed stop: no more text is taken */
    bool dirty, ended, saved;
    bool lost; /* the message was removed meanwhile */
    sp_error save_error;

    bool dropped;      /* it has no row; set by the worker before it has worked */
    bool failure_told; /* loop */
    bool first_told;   /* loop: how long the first token took */
};

/* Worker. Takes nothing; NULL: out of memory. The text is what is there already of a message that goes on. */
struct kept *kept_new(struct call *c, const char *chat, str content, str reasoning);
void kept_free(struct kept *k);
/* Worker: row (taken) has been made, so the answer is shown from now on. */
void kept_begin(struct kept *k, json_t *row);
void kept_event(struct call *c, const struct call_event *e); /* loop */
/* Who has the call: true when its client has been told already (call_tell): the answer ends with this error then. */
bool kept_refused(struct call *c, const char *code, const char *message);
/* Loop, when the call has been woken: true when nothing more will come of it. */
bool kept_over(struct call *c);
void kept_tick(struct server *s); /* loop, each second: places in line */
/* Any thread. Puts texts and states as they are now into messages (a list) of the store. */
void kept_overlay(struct server *s, json_t *messages);
bool kept_runs(struct server *s, const char *message);
/* Worker: the answer ends, and when the end is on the disk the loop answers the call with the message. false: it does
 * not run. */
bool kept_stop(struct call *c, const char *message);
void kept_stop_chat(struct server *s, const char *chat); /* all of one that is removed */

/* ---- history.c: the store and its saver ---- */

struct history {
    store *store;      /* NULL: there is none */
    const char *state; /* "on", "off", "unavailable" */
    char reason[SP_ERROR_MAX];
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct kept *live;
    pthread_t saver;
    bool saves, stop;
};

int history_open(struct server *s,
                 sp_error *err); /* SP_ENOMEM; a file that can't be used is no error */
void history_close(struct server *s);
/* Worker. NULL: the error has been set. */
store *history_of(struct call *c);
/* What the store says, as an answer. */
void page_fail(struct call *c, const sp_error *err);

/* ---- page_request.c: what all of /api/ have in common ---- */

bool is_page_api(const struct route *r);
bool is_page_plain(const struct route *r); /* no model has a part in it */
bool is_upload(const struct route *r);     /* for the threads of uploads */
/* Loop, before the call goes to a worker: whose page it is, what type the body has, and a copy of path and query, since
 * the request may be gone by then. false: the error has been set. */
bool page_prepare(struct call *c);
/* Worker: the id in the path, of that kind; false: the error has been set. */
bool page_id(struct call *c, char kind, char out[STORE_ID_BYTES]);
/* The part of the path behind the first (/api/models/NAME), decoded; to be freed by free(). NULL: out of memory. */
char *page_part(struct call *c);
/* Whose call may change the server, and see what others do; false: the error has been set. */
bool page_may_manage(struct call *c);
const char *page_query(struct call *c, const char *name); /* NULL: not given */
bool page_query_int(struct call *c, const char *name, int64_t min, int64_t max, int64_t *out);
/* Sampling parameters of a chat: all known, and in their ranges. */
int page_params(struct call *c, const json_t *params);

/* ---- api_events.c ---- */

struct events;
int events_open(struct server *s, sp_error *err);
void events_close(struct server *s);
/* Any thread; takes data. Who listens hears what is the owner's. */
void events_publish(struct server *s, int64_t owner, const char *name, json_t *data);
void events_publish_chat(struct server *s, int64_t owner,
                         const char *id);        /* worker or saver: reads it from the store */
void events_recheck(struct server *s);           /* loop: who may no longer listen is cut */
void events_flush(struct server *s);             /* loop */
void events_tick(struct server *s, double now);  /* loop, each second */
size_t events_listeners(const struct server *s); /* loop */
/* Loop: a listener asked for `stats` events; to those it goes, and into no ring. Takes data. */
bool events_want_stats(const struct server *s);
void events_tell_stats(struct server *s, json_t *data);
void events_end(struct server *s); /* loop: all streams */
void events_leave(struct call *c); /* loop: before it is freed */

/* ---- api_page.c ---- */
int page_open(struct server *s, sp_error *err); /* makes s->index where there is a --root-path */
void page_close(struct server *s);
const struct route *page_file_route(const struct server *s,
                                    const char *path); /* NULL: no file of the page */

/* ---- api_files.c ---- */
/* Appends the files of a message as they stand before its own text in a prompt. */
int files_put(store *s, int64_t owner, const json_t *message, buf *out, sp_error *err);
/* Of a kept answer's prompt that is too long: which files take how much of it. */
void files_tell_tokens(const struct call *c, const engine *e, buf *out);

/* ---- api_chat.c ---- */
/* Worker: as /v1/chat/completions does, with the request of the call's kept answer. Negative: the error has been set,
 * or the model is loaded first (call.awaits). */
int chat_start_kept(struct call *c);
/* The same with the request of the call's ask. */
int chat_start_ask(struct call *c);

#endif
