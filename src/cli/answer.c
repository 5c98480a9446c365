#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>
#include "cli/cli_int.h"

#define ANSWER_MAX ((size_t)64 << 20) /* bytes; far above what any context can hold */

volatile int cli_interrupted;

static void on_interrupt(int sig)
{
    (void)sig;
    cli_interrupted = 1;
}

void cli_catch_interrupt(bool on)
{
    struct sigaction sa = {0};
    sa.sa_handler = on ? on_interrupt : SIG_DFL;
    sigemptyset(&sa.sa_mask);
    sigaction(SIGINT, &sa, NULL);
    if (on)
        cli_interrupted = 0;
}

/* Events come on the engine's thread and are handed over here, so that a slow pipe never holds a step. */
struct mailbox {
    pthread_mutex_t lock;
    pthread_cond_t more;
    buf fresh; /* text not yet taken by the reader */
    bool done;
    struct answer *a;
};

static void on_event(const struct engine_event *ev)
{
    struct mailbox *m = ev->user;
    pthread_mutex_lock(&m->lock);
    if (ev->n_text)
        buf_add(&m->fresh, ev->text, ev->n_text);
    if (ev->kind == EVENT_DONE) {
        m->done = true;
        m->a->reason = ev->reason;
        m->a->error = ev->error;
        m->a->prompt_tokens = ev->prompt_tokens;
        m->a->answer_tokens = ev->answer_tokens;
        m->a->draft_tokens = ev->draft_tokens;
        m->a->accepted_tokens = ev->accepted_tokens;
        m->a->queue_seconds = ev->queue_seconds;
        m->a->prefill_seconds = ev->prefill_seconds;
        m->a->decode_seconds = ev->decode_seconds;
    }
    pthread_cond_signal(&m->more);
    pthread_mutex_unlock(&m->lock);
}

static int write_all(const char *p, size_t n, sp_error *err)
{
    while (n > 0) {
        ssize_t put = write(STDOUT_FILENO, p, n);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return sp_fail(
                err, SP_EIO,
                "standard output: writing failed: nobody reads it any more, or the disk is full");
        p += put;
        n -= (size_t)put;
    }
    return 0;
}

/* Waits up to 50 ms for news, then moves fresh text to `chunk`. Returns whether the answer has ended. */
static bool take(struct mailbox *m, buf *chunk)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 50000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    buf_clear(chunk);
    pthread_mutex_lock(&m->lock);
    if (m->fresh.len == 0 && !m->done)
        pthread_cond_timedwait(&m->more, &m->lock, &until);
    if (m->fresh.len)
        buf_add(chunk, m->fresh.data, m->fresh.len);
    buf_clear(&m->fresh);
    bool done = m->done;
    pthread_mutex_unlock(&m->lock);
    return done;
}

static int pump(engine *e, uint64_t id, struct mailbox *m, bool to_stdout, sp_error *err)
{
    int code = 0;
    bool cancelled = false, done = false;
    buf chunk;
    buf_init(&chunk, ANSWER_MAX);
    while (!done) {
        done = take(m, &chunk);
        if (chunk.len) {
            buf_add(&m->a->text, chunk.data, chunk.len);
            if (to_stdout && code == 0)
                code = write_all(chunk.data, chunk.len, err);
        }
        if ((cli_interrupted || code < 0) && !cancelled) {
            engine_cancel(e, id);
            cancelled = true;
        }
    }
    if (code == 0 && (chunk.failed || m->a->text.failed || m->fresh.failed))
        code = sp_fail(err, SP_ENOMEM, "out of memory for the answer: ask for fewer tokens");
    buf_free(&chunk);
    return code;
}

int answer_get(engine *e, struct engine_request *r, bool to_stdout, struct answer *a, sp_error *err)
{
    struct mailbox m = {.a = a};
    uint64_t id = 0;
    *a = (struct answer){0};
    buf_init(&a->text, ANSWER_MAX);
    buf_init(&m.fresh, ANSWER_MAX);
    pthread_mutex_init(&m.lock, NULL);
    pthread_cond_init(&m.more, NULL);
    r->sink = on_event;
    r->user = &m;
    cli_catch_interrupt(true);
    int code = engine_submit(e, r, &id, err);
    if (code == 0)
        code = pump(e, id, &m, to_stdout, err);
    cli_catch_interrupt(false);
    if (code == 0 && a->reason == FINISH_ERROR) {
        if (err)
            *err = a->error;
        code = a->error.code;
    }
    if (code == 0 && a->reason == FINISH_CANCELLED)
        code = sp_fail(err, SP_ECANCELLED, "stopped");
    buf_free(&m.fresh);
    pthread_cond_destroy(&m.more);
    pthread_mutex_destroy(&m.lock);
    return code;
}

void answer_free(struct answer *a)
{
    buf_free(&a->text);
}

void answer_stats(const struct answer *a, buf *out)
{
    buf_printf(out, "%lld tokens in (%.1f tokens/s), %lld out", (long long)a->prompt_tokens,
               a->prefill_seconds > 0 ? (double)a->prompt_tokens / a->prefill_seconds : 0.0,
               (long long)a->answer_tokens);
    if (a->answer_tokens > 1 && a->decode_seconds > 0)
        buf_printf(out, " (%.1f tokens/s)", (double)(a->answer_tokens - 1) / a->decode_seconds);
    if (a->draft_tokens > 0)
        buf_printf(out, ", %lld of %lld guesses right", (long long)a->accepted_tokens,
                   (long long)a->draft_tokens);
    buf_printf(out, ", first after %.2f s", a->queue_seconds + a->prefill_seconds);
}
