/* What the server asks of its own models: a chat completion without a client, for jobs. It is a call like one for
 * /v1/chat/completions and goes the same way: the same checks, the same template, the same queue, its model loaded when
 * it isn't there. The limits of time that requests from outside have don't hold for it; those of the key that its work
 * was asked for with do.
 *
 * Ownership: the ask is its call's, freed after `end`. Threads: any may begin and stop; `ready` comes on a worker,
 * `text`
 * and `end` on the loop. Lock order: a lock of who asks, then call.lock, then server.ready_lock; `end` and `text` are
 * called with no lock held. */
#ifndef SP_SERVER_ASK_INT_H
#define SP_SERVER_ASK_INT_H

#include "server/page_int.h"

struct engine;

struct ask_end {
    const char *code; /* NULL: it went well; else as in OpenAI's error object */
    const char *message;
    const char *finish_reason; /* "stop" or "length" */
    int64_t prompt_tokens, answer_tokens;
    int retry_after; /* seconds, where `code` is of a limit; 0: not known */
};

struct ask_opts {
    json_t *
        request; /* of a completion, not streamed; the ask takes a reference. NULL: only `model` is held */
    const char *key;   /* hash of the key whose request it is (access_int.h), or ""; copied */
    const char *model; /* then: its name, NULL: the first; copied */
    void (*ready)(void *arg, struct engine *e);          /* then: it is held until ask_release */
    void (*text)(void *arg, const char *text, size_t n); /* more of the answer, without reasoning */
    void (*end)(void *arg, const struct ask_end *e);     /* once, whatever happens */
    void *arg;
};

struct ask {
    struct call *call;
    struct ask_opts o;
    char key[STORE_SHA_BYTES], model[256];
    struct reasoning split;               /* worker, then loop */
    char code[64], message[SP_ERROR_MAX]; /* what was wrong; set by who has the call */
    bool ended, kept_out;                 /* loop; it was not let in */
};

/* *out is good until `end` has been called. SP_ECANCELLED: the server is ending; then `end` is not called. */
int ask_begin(struct server *s, const struct ask_opts *o, struct ask **out, sp_error *err);
void ask_stop(struct ask *a);
void ask_release(struct ask *a); /* of a model that is held, once */

/* For the server's own files. */
void ask_free(struct ask *a);
bool ask_let_in(struct call *c); /* loop: by its key; false: it has been refused */
void ask_refused(struct call *c, int status, const char *code,
                 const char *message);                      /* who has the call */
void ask_event(struct call *c, const struct call_event *e); /* loop */
void ask_over(struct call *c);                              /* loop: nothing more will come of it */

#endif
