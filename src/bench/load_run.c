/* A run: one server kept under load from the first request to the last answer.
 *
 * A slot holds one conversation, most often of one question. Slots are begun when there is something to ask (closed
 * loop: always; open loop: when an arrival is due) and fewer than the limit are at work. A question that fails at once
 * keeps its slot for a moment, so that a broken server is not flooded. */
#include <string.h>
#include "base/clock.h"
#include "bench/load_int.h"

#define TICK                                                                                       \
    0.1 /* seconds between looks at the clock, for limits of time and for the person who waits */
#define QUICK 0.05 /* an answer in less time that is a failure ... */
#define PAUSE 0.1  /* ... holds its slot so long */

struct run;
struct slot {
    struct run *run;
    struct load_call *call; /* NULL: pausing */
    struct load_record rec;
    struct load_place place;
    int64_t turn, turns;
    struct load_history history;
    buf said;
    struct event *pause;
    struct slot *next, **from; /* all slots of the run */
};

struct run {
    const struct load_run_opts *o;
    struct load_run *out;
    double epoch;
    double *due; /* [n_due] arrivals; NULL: closed loop */
    size_t n_due, arrived;
    size_t begun; /* conversations */
    int64_t sent; /* questions */
    int64_t at_work;
    int64_t done, failed, tokens;
    bool closing; /* no question is sent any more */
    bool stopped, finished;
    int code; /* SP_ENOMEM */
    struct slot *slots;
    struct event *arrival, *tick;
};

static double now_of(const struct run *r)
{
    return clock_seconds() - r->epoch;
}

static void finish(struct run *r)
{
    r->closing = r->finished = true;
    (void)event_base_loopbreak(r->o->base);
}

static void out_of_memory(struct run *r)
{
    r->code = SP_ENOMEM;
    finish(r);
}

/* ---- records ---- */

void load_run_free(struct load_run *r)
{
    for (size_t i = 0; i < r->n; i++) {
        sp_free(r->records[i].gaps);
        sp_free(r->records[i].why);
    }
    sp_free(r->records);
    *r = (struct load_run){0};
}

/* Takes the slot's record over. */
static void keep_record(struct slot *s)
{
    struct run *r = s->run;
    struct load_run *out = r->out;
    if (out->n == out->cap) {
        size_t cap = out->cap ? 2 * out->cap : 256;
        struct load_record *more = sp_realloc_array(out->records, cap, sizeof *more);
        if (!more) {
            out_of_memory(r);
            return; /* slot_free frees the record */
        }
        out->records = more;
        out->cap = cap;
    }
    out->records[out->n++] = s->rec;
    r->done += s->rec.outcome == LOAD_OK;
    r->failed += s->rec.outcome != LOAD_OK && s->rec.outcome != LOAD_UNFINISHED;
    r->tokens += s->rec.tokens_out;
    s->rec = (struct load_record){0};
}

/* ---- slots ---- */

static void slot_free(struct slot *s)
{
    *s->from = s->next;
    if (s->next)
        s->next->from = s->from;
    s->run->at_work--;
    load_call_free(s->call);
    load_history_clear(&s->history);
    buf_free(&s->said);
    if (s->pause)
        event_free(s->pause);
    sp_free(s->rec.gaps);
    sp_free(s->rec.why);
    sp_free(s);
}

static bool questions_left(const struct run *r)
{
    int64_t most = r->o->shape->requests;
    return !r->closing && r->code == 0 && (most == 0 || r->sent < most);
}

static bool conversations_left(const struct run *r)
{
    return questions_left(r) && (!r->due || r->begun < r->n_due);
}

static bool may_begin(const struct run *r)
{
    int64_t limit = r->o->level.concurrency;
    return questions_left(r) && (limit == 0 || r->at_work < limit) &&
           (!r->due || r->begun < r->arrived);
}

static void on_done(void *arg, struct load_call *c);
static void slot_over(struct slot *s);

/* Sends the slot's question of this turn. */
static void ask(struct slot *s)
{
    struct run *r = s->run;
    const struct load_run_opts *o = r->o;
    const json_t *messages = NULL;
    int64_t max_tokens = 0;
    struct load_call_opts co = {.prompts = &o->plan->prompts,
                                .model = o->server->model,
                                .client = o->client,
                                .epoch = r->epoch,
                                .keep_text = s->turns > 1,
                                .done = on_done,
                                .arg = s};
    int code = load_data_turn(o->data, &s->place, s->turn, &s->said, &messages, &max_tokens);
    s->rec.turn = s->turn;
    if (code == 0)
        s->call = load_call_start(&co, &s->history, (str){s->said.data, s->said.len}, messages,
                                  max_tokens, &s->rec);
    if (!s->call) {
        out_of_memory(r);
        return;
    }
    r->sent++;
    if (s->turn > 0 || !r->due)
        s->rec.arrival = s->rec.start;
    if (load_call_is_over(s->call))
        slot_over(s);
}

static void begin_slots(struct run *r)
{
    while (may_begin(r)) {
        struct slot *s = sp_calloc(1, sizeof *s);
        if (!s) {
            out_of_memory(r);
            return;
        }
        *s = (struct slot){.run = r, .next = r->slots, .from = &r->slots};
        if (s->next)
            s->next->from = &s->next;
        r->slots = s;
        r->at_work++;
        buf_init(&s->said, SIZE_MAX - 1);
        buf_init(&s->history.text, SIZE_MAX - 1);
        s->place = (struct load_place){r->o->stream, r->o->first + r->begun};
        s->turns = load_data_turns(r->o->data, &s->place);
        s->rec.arrival = r->due ? r->due[r->begun] : 0;
        r->begun++;
        ask(s);
    }
}

static void end_if_over(struct run *r)
{
    if (r->at_work == 0 && !conversations_left(r))
        finish(r);
}

static void after_pause(int fd, short what, void *arg)
{
    struct slot *s = arg;
    struct run *r = s->run;
    (void)fd;
    (void)what;
    slot_free(s);
    begin_slots(r);
    end_if_over(r);
}

static void pause_slot(struct slot *s)
{
    static const struct timeval pause = {0, (int)(1e6 * PAUSE)};
    s->pause = evtimer_new(s->run->o->base, after_pause, s);
    if (!s->pause || evtimer_add(s->pause, &pause) < 0)
        out_of_memory(s->run);
}

/* What was asked and answered, for the next turn. False: out of memory. */
static bool remember(struct slot *s)
{
    str answer = load_call_text(s->call);
    struct load_history *h = &s->history;
    if (!s->run->o->plan->prompts.chat) {
        (void)buf_add(&h->text, s->said.data, s->said.len);
        (void)buf_add(&h->text, answer.p, answer.n);
        (void)buf_putc(&h->text, '\n');
        return !h->text.failed;
    }
    if (!h->messages)
        h->messages = json_array();
    return json_array_append_new(h->messages, json_pack("{s:s,s:s%}", "role", "user", "content",
                                                        s->said.data, s->said.len)) == 0 &&
           json_array_append_new(h->messages, json_pack("{s:s,s:s%}", "role", "assistant",
                                                        "content", answer.p, answer.n)) == 0;
}

/* The slot's question has been answered, or never will be. */
static void slot_over(struct slot *s)
{
    struct run *r = s->run;
    bool ok = s->rec.outcome == LOAD_OK;
    bool quick = now_of(r) - s->rec.start < QUICK;
    bool goes_on = ok && s->turn + 1 < s->turns && questions_left(r);
    if (goes_on && !remember(s))
        out_of_memory(r);
    load_call_free(s->call);
    s->call = NULL;
    keep_record(s);
    if (goes_on) {
        s->turn++;
        ask(s);
        return;
    }
    if (!ok && quick && conversations_left(r)) {
        pause_slot(s);
        return;
    }
    slot_free(s);
    begin_slots(r);
    end_if_over(r);
}

static void on_done(void *arg, struct load_call *c)
{
    (void)c;
    slot_over(arg);
}

/* ---- time ---- */

static void wait_for_arrival(struct run *r)
{
    double wait = r->arrived < r->n_due ? r->due[r->arrived] - now_of(r) : 0;
    struct timeval t = {0};
    if (r->arrived == r->n_due || r->closing)
        return;
    if (wait > 0) {
        t.tv_sec = (time_t)wait;
        t.tv_usec = (suseconds_t)(1e6 * (wait - (double)t.tv_sec));
    }
    if (evtimer_add(r->arrival, &t) < 0)
        out_of_memory(r);
}

static void on_arrival(int fd, short what, void *arg)
{
    struct run *r = arg;
    double now = now_of(r);
    (void)fd;
    (void)what;
    while (r->arrived < r->n_due && r->due[r->arrived] <= now)
        r->arrived++;
    begin_slots(r);
    wait_for_arrival(r);
}

static void end_late_ones(struct run *r)
{
    static const char why[] = "no whole answer within the time limit (--answer-timeout)";
    double oldest = now_of(r) - r->o->shape->timeout;
    for (struct slot *s = r->slots, *next; s; s = next) {
        next = s->next;
        if (!s->call || s->rec.start > oldest)
            continue;
        load_call_give_up(s->call, LOAD_TIMEOUT, why);
        slot_over(s);
    }
}

/* Seconds until the run's end, as far as can be told; -1: not yet. */
static double time_left(const struct run *r, double now)
{
    const struct load_shape *s = r->o->shape;
    double left = -1;
    int64_t over = r->done + r->failed;
    if (s->requests && over)
        left = now * (double)(s->requests - over) / (double)over;
    if (r->due && r->n_due)
        left = r->due[r->n_due - 1] - now;
    if (s->seconds > 0 && (left < 0 || left > s->seconds - now))
        left = s->seconds - now;
    return r->closing && left < 0 ? 0 : left;
}

static void tell(struct run *r, double now)
{
    const struct load_watch *w = r->o->watch;
    struct load_progress p = r->o->progress;
    if (!w || !w->progress)
        return;
    p.done = r->done;
    p.failed = r->failed;
    p.running = r->at_work;
    p.requests = r->o->shape->requests;
    p.elapsed = now;
    p.left = time_left(r, now);
    p.tokens_per_second = now > 0 ? (double)r->tokens / now : 0;
    w->progress(w->arg, &p);
}

static void on_tick(int fd, short what, void *arg)
{
    struct run *r = arg;
    const struct load_watch *w = r->o->watch;
    double now = now_of(r);
    (void)fd;
    (void)what;
    if (w && w->stopped && w->stopped(w->arg)) {
        r->stopped = true;
        finish(r);
        return;
    }
    tell(r, now);
    end_late_ones(r);
    if (r->o->shape->seconds > 0 && now >= r->o->shape->seconds) {
        r->closing = true;
        end_if_over(r);
    }
}

/* ---- the run ---- */

/* Ends what still runs when the run was stopped. */
static void drop_slots(struct run *r)
{
    while (r->slots) {
        struct slot *s = r->slots;
        if (s->call && r->stopped) {
            load_call_give_up(s->call, LOAD_UNFINISHED, "the run was stopped");
            load_call_free(s->call);
            s->call = NULL;
            keep_record(s);
        }
        slot_free(s);
    }
}

static int start_timers(struct run *r)
{
    static const struct timeval tick = {0, (int)(1e6 * TICK)};
    r->tick = event_new(r->o->base, -1, EV_PERSIST, on_tick, r);
    r->arrival = evtimer_new(r->o->base, on_arrival, r);
    return r->tick && r->arrival && event_add(r->tick, &tick) == 0 ? 0 : SP_ENOMEM;
}

static void drive(struct run *r)
{
    r->epoch = clock_seconds();
    if (r->due)
        wait_for_arrival(r);
    else
        begin_slots(r);
    end_if_over(r);
    if (!r->finished)
        (void)event_base_dispatch(r->o->base);
    r->out->duration = now_of(r);
    r->out->conversations = r->begun;
    r->out->unsent = r->due ? (int64_t)(r->arrived - r->begun) : 0;
    drop_slots(r);
}

int load_run_once(const struct load_run_opts *o, struct load_run *out, sp_error *err)
{
    struct run r = {.o = o, .out = out};
    int code = 0;
    *out = (struct load_run){0};
    if (o->level.rate > 0)
        code = arrivals_times(o->shape, o->level.rate, o->plan->prompts.seed ^ o->stream, &r.due,
                              &r.n_due, err);
    if (code == 0 && start_timers(&r) < 0)
        code = sp_fail(err, SP_ENOMEM, "out of memory");
    if (code == 0)
        drive(&r);
    if (r.tick)
        event_free(r.tick);
    if (r.arrival)
        event_free(r.arrival);
    sp_free(r.due);
    if (code == 0 && r.code)
        code = sp_fail(err, r.code, "out of memory for the requests under way");
    if (code == 0 && r.stopped)
        code = sp_fail(err, SP_ECANCELLED, "stopped");
    return code;
}
