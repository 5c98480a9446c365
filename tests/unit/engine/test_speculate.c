/* Speculation changes no bit of an answer: every kind of request with and without it, on tiny models; and it stops by
 * itself where it brings nothing. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include "../tiny_model.h"
#include "base/clock.h"
#include "engine/engine.h"

#define CROWD 8

static char *dir;
static engine *e;         /* of the test that runs */
static uint64_t kv_bytes; /* of its pool; 0: enough */

/* ---- what came of a request ---- */

struct result {
    pthread_mutex_t lock;
    pthread_cond_t over;
    bool done;
    buf events; /* all that was told, but for times and the number of guesses */
    int n;
    enum finish_reason reason;
    int64_t draft_tokens, accepted_tokens;
    int cancel_at; /* cancels itself at that token; 0: never */
};

static void on_event(const struct engine_event *ev)
{
    struct result *r = ev->user;
    pthread_mutex_lock(&r->lock);
    buf_printf(&r->events, "%d %d %lld %d %a %d|", (int)ev->kind, ev->token, (long long)ev->index,
               (int)ev->has_logprob, (double)ev->logprob, ev->n_top);
    for (int i = 0; i < ev->n_top; i++)
        buf_printf(&r->events, "%d %a ", ev->top[i].token, (double)ev->top[i].logprob);
    buf_add(&r->events, ev->text, ev->n_text);
    r->n += ev->kind == EVENT_TOKEN;
    if (ev->kind == EVENT_DONE) {
        buf_printf(&r->events, "|%d %s %lld %lld", (int)ev->reason, ev->stop ? ev->stop : "",
                   (long long)ev->prompt_tokens, (long long)ev->answer_tokens);
        r->reason = ev->reason;
        r->draft_tokens = ev->draft_tokens;
        r->accepted_tokens = ev->accepted_tokens;
        r->done = true;
        pthread_cond_signal(&r->over);
    }
    bool cancel = r->cancel_at && r->n == r->cancel_at && !r->done;
    pthread_mutex_unlock(&r->lock);
    if (cancel)
        engine_cancel(e, ev->id);
}

static void result_init(struct result *r)
{
    memset(r, 0, sizeof *r);
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->over, NULL);
    buf_init(&r->events, (size_t)1 << 22);
}

static void result_done(struct result *r)
{
    buf_free(&r->events);
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->over);
}

static uint64_t submit(struct engine_request q, struct result *r, int speculate)
{
    uint64_t id;
    sp_error err = {0};
    result_init(r);
    q.sink = on_event;
    q.user = r;
    q.speculate = speculate;
    assert_int_equal(engine_submit(e, &q, &id, &err), 0);
    return id;
}

static void wait_for(struct result *r)
{
    pthread_mutex_lock(&r->lock);
    while (!r->done)
        pthread_cond_wait(&r->over, &r->lock);
    pthread_mutex_unlock(&r->lock);
}

static void assert_same(const struct result *a, const struct result *b)
{
    assert_false(a->events.failed);
    assert_int_equal(a->events.len, b->events.len);
    assert_memory_equal(a->events.data, b->events.data, a->events.len);
}

/* ---- requests ---- */

static int32_t repeating[120], mixed[150];
static const struct logit_bias one_token[] = {{65, 100}};
static const char *const stops[] = {"AAAAAAAAAAAAAAAAAAAAAAA", "AAAB"};

enum { GREEDY, SAMPLED, PENALTIES, ONE_TOKEN, STOP, LOGPROBS, ENDS, KINDS };

static void make_prompts(void)
{
    for (int i = 0; i < 120; i++)
        repeating[i] = 40 + i * i % 12;
    for (int i = 0; i < 150; i++)
        mixed[i] = i % 50 < 25 ? (i * 37 + 11) % 250 : 60 + i % 50;
}

static struct engine_request request(int kind, bool repeats, int64_t max_tokens)
{
    struct engine_request q = engine_request_default(e);
    q.prompt = repeats ? repeating : mixed;
    q.n_prompt = repeats ? 120 : 150;
    q.max_tokens = max_tokens;
    q.ignore_end = kind != ENDS;
    q.logprobs = kind == LOGPROBS ? 5 : -1;
    q.sampling = (struct sampling){.top_p = 1, .repetition_penalty = 1, .seed = 11};
    if (kind == SAMPLED || kind == ENDS || kind == LOGPROBS)
        q.sampling.temperature = 0.6f;
    if (kind == PENALTIES) {
        q.sampling.repetition_penalty = 1.05f;
        q.sampling.presence_penalty = 0.2f;
        q.sampling.frequency_penalty = 0.02f;
    }
    if (kind == ONE_TOKEN || kind == STOP) {
        q.sampling.bias = one_token;
        q.sampling.n_bias = 1;
    }
    if (kind == STOP) {
        q.stop = stops;
        q.n_stop = 2;
    }
    return q;
}

static void open_engine(enum compute_mode compute, enum kv_type kv, int64_t step_rows)
{
    struct engine_opts o = engine_opts_default();
    sp_error err = {0};
    o.threads = 2;
    o.max_context = 0;
    o.max_seqs = CROWD;
    o.compute = compute;
    o.kv_type = kv;
    o.kv_given = true;
    o.step_rows = step_rows;
    o.kv_bytes = kv_bytes;
    assert_int_equal(engine_open(dir, &o, &e, &err), 0);
}

/* DONE comes a moment before the pages are free and the counts are told. */
static void settle(void)
{
    struct engine_info info = {.running = 1};
    for (int i = 0; i < 500 && info.running; i++) {
        engine_get_info(e, &info);
        clock_sleep(0.002);
    }
    assert_int_equal(info.running, 0);
}

static void get_stats(struct engine_stats *s)
{
    settle();
    engine_get_stats(e, s);
}

static void close_engine(void)
{
    struct engine_info info;
    settle();
    engine_get_info(e, &info);
    assert_int_equal(info.kv_pages_free, info.kv_pages);
    engine_close(e);
    e = NULL;
}

/* ---- tests ---- */

static void check_alone(int kind, bool repeats, int64_t max_tokens)
{
    struct engine_request q = request(kind, repeats, max_tokens);
    struct result plain, guessed;
    submit(q, &plain, 0);
    wait_for(&plain);
    submit(q, &guessed, -1);
    wait_for(&guessed);
    assert_same(&plain, &guessed);
    assert_int_equal(plain.draft_tokens, 0);
    assert_true(guessed.accepted_tokens <= guessed.draft_tokens);
    result_done(&plain);
    result_done(&guessed);
}

static void every_kind_of_request_gets_the_same_events(void **state)
{
    const int64_t lengths[] = {1, 2, 3, 17, 130, -1}; /* -1: until the context is full */
    (void)state;
    open_engine(COMPUTE_F32, KV_F32, 32);
    for (int kind = 0; kind < KINDS; kind++)
        for (size_t i = 0; i < SP_COUNT(lengths); i++)
            for (int repeats = 0; repeats < 2; repeats++)
                check_alone(kind, repeats, lengths[i]);
    struct engine_stats s;
    get_stats(&s);
    assert_true(s.accepted_tokens > 20); /* how many depends on what rows take */
    close_engine();
}

static void so_it_is_in_other_precisions(void **state)
{
    (void)state;
    for (int type = KV_F16; type <= KV_BF16; type++) {
        open_engine(COMPUTE_FAST, (enum kv_type)type, 5);
        for (int kind = 0; kind < KINDS; kind++)
            check_alone(kind, true, 90);
        close_engine();
    }
}

/* Requests of all kinds at once, with prompts that come while others decode; some speculate and some don't. */
static void check_crowd(int64_t step_rows, int64_t tokens)
{
    struct result alone[CROWD], crowd[CROWD];
    open_engine(COMPUTE_FAST, KV_F32, step_rows);
    for (int i = 0; i < CROWD; i++) {
        submit(request(i % KINDS, i % 3, tokens + 20 * i), &alone[i], 0);
        wait_for(&alone[i]);
    }
    for (int i = 0; i < CROWD; i++)
        submit(request(i % KINDS, i % 3, tokens + 20 * i), &crowd[i], i == 2 ? 0 : -1);
    for (int i = 0; i < CROWD; i++) {
        wait_for(&crowd[i]);
        assert_same(&alone[i], &crowd[i]);
        result_done(&alone[i]);
        result_done(&crowd[i]);
    }
}

static void a_mixed_crowd_gets_what_each_gets_alone(void **state)
{
    (void)state;
    for (int64_t rows = 8; rows <= 128; rows *= 4) {
        check_crowd(rows, 60);
        close_engine();
    }
}

/* A page has 64 positions x 2 layers x 2 heads x 8 numbers x 2 (key and value) x 4 bytes: there are twelve. */
static void so_it_does_where_pages_run_short(void **state)
{
    struct engine_stats s;
    (void)state;
    kv_bytes = 12 * 16384;
    check_crowd(64, 200);
    get_stats(&s);
    assert_int_equal(s.kv_pages, 12);
    assert_true(s.preemptions > 0);
    assert_true(s.accepted_tokens > 0);
    close_engine();
    kv_bytes = 0;
}

static void counts_add_up(void **state)
{
    struct engine_stats s;
    struct result r;
    uint64_t at = 0;
    (void)state;
    open_engine(COMPUTE_F32, KV_F32, 64);
    get_stats(&s);
    assert_int_equal(s.drafts + s.draft_tokens + s.accepted_tokens, 0);
    submit(request(ONE_TOKEN, true, 300), &r, -1);
    wait_for(&r);
    get_stats(&s);
    assert_int_equal(s.draft_tokens, r.draft_tokens);
    assert_int_equal(s.accepted_tokens, r.accepted_tokens);
    for (int i = 0; i < DRAFT_MOST; i++) {
        assert_true(i == 0 || s.accepted_at[i] <= s.accepted_at[i - 1]);
        at += s.accepted_at[i];
    }
    assert_int_equal(at, s.accepted_tokens);
    assert_int_equal(s.accepted_at[12], 0); /* draft_max */
    /* The same token again and again is guessed as soon as it has come twice. */
    assert_true(s.drafts < 200 && s.accepted_tokens > 100);
    assert_true(s.accepted_tokens * 10 >= s.draft_tokens * 9);
    result_done(&r);
    close_engine();
}

/* 64 tokens of equal chance: pairs come again, what follows them doesn't. */
static void it_stops_where_guesses_are_wrong(void **state)
{
    struct logit_bias bias[64];
    struct engine_stats first, all;
    struct result r;
    (void)state;
    for (int i = 0; i < 64; i++)
        bias[i] = (struct logit_bias){i + 40, 100};
    open_engine(COMPUTE_F32, KV_F32, 64);
    struct engine_request q = request(GREEDY, false, 350);
    q.sampling.temperature = 100;
    q.sampling.top_k = 64;
    q.sampling.bias = bias;
    q.sampling.n_bias = 64;
    submit(q, &r, -1);
    wait_for(&r);
    get_stats(&first);
    result_done(&r);
    assert_true(first.draft_tokens < 70 && first.accepted_tokens < 10);
    /* A request that may not speculate never does. */
    submit(request(ONE_TOKEN, true, 50), &r, 0);
    wait_for(&r);
    get_stats(&all);
    assert_int_equal(all.draft_tokens, first.draft_tokens);
    result_done(&r);
    close_engine();
}

static void an_engine_without_speculation_makes_no_guess(void **state)
{
    struct engine_opts o = engine_opts_default();
    struct engine_stats s;
    struct result r;
    sp_error err;
    (void)state;
    o.threads = 1;
    o.draft_max = DRAFT_MOST + 1;
    assert_int_equal(engine_open(dir, &o, &e, &err), SP_EINVAL);
    assert_non_null(strstr(err.message, "--draft-max"));
    o.draft_max = 1;
    o.speculate = SPECULATE_OFF;
    assert_int_equal(engine_open(dir, &o, &e, &err), 0);
    submit(request(ONE_TOKEN, true, 100), &r, -1);
    wait_for(&r);
    get_stats(&s);
    assert_int_equal(r.n, 100);
    assert_int_equal(s.draft_tokens, 0);
    result_done(&r);
    struct engine_request q = request(GREEDY, true, 5);
    q.sink = on_event;
    q.speculate = 1;
    uint64_t id;
    assert_int_equal(engine_submit(e, &q, &id, &err), SP_EINVAL);
    assert_non_null(strstr(err.message, "speculate"));
    engine_close(e);
}

/* Of the tokens that one step brings, none is told after the request was cancelled. */
static void cancelling_holds_within_a_step(void **state)
{
    struct result r;
    (void)state;
    open_engine(COMPUTE_F32, KV_F32, 64);
    for (int at = 1; at < 60; at += 7) {
        struct engine_request q = request(ONE_TOKEN, true, 300);
        uint64_t id;
        result_init(&r);
        r.cancel_at = at;
        q.sink = on_event;
        q.user = &r;
        assert_int_equal(engine_submit(e, &q, &id, NULL), 0);
        wait_for(&r);
        assert_int_equal(r.reason, FINISH_CANCELLED);
        assert_int_equal(r.n, at);
        result_done(&r);
    }
    close_engine();
}

static int setup(void **state)
{
    (void)state;
    make_prompts();
    dir = tiny_model_make();
    return dir ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    tiny_model_remove(dir);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_request_gets_the_same_events),
        cmocka_unit_test(so_it_is_in_other_precisions),
        cmocka_unit_test(a_mixed_crowd_gets_what_each_gets_alone),
        cmocka_unit_test(so_it_does_where_pages_run_short),
        cmocka_unit_test(counts_add_up),
        cmocka_unit_test(it_stops_where_guesses_are_wrong),
        cmocka_unit_test(an_engine_without_speculation_makes_no_guess),
        cmocka_unit_test(cancelling_holds_within_a_step),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
