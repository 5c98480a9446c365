/* The engine end to end on a tiny model: events, limits, invariance, cancelling, errors. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include "../tiny_model.h"
#include "base/clock.h"
#include "engine/engine.h"

static char *dir;
static engine *e;

struct result {
    pthread_mutex_t lock;
    pthread_cond_t over;
    bool done;
    enum finish_reason reason;
    int32_t tokens[600];
    float logprobs[600];
    int n, n_prompt_events, dones;
    char text[4096];
    size_t n_text;
    int64_t prompt_tokens, answer_tokens;
    double prefill_seconds;
    sp_error error;
    int64_t progress[16], progress_of; /* EVENT_PROGRESS: its places, and the whole */
    int n_progress;
    size_t text_after[600]; /* bytes of text with so many tokens */
    int cancel_at_progress; /* cancels itself at that EVENT_PROGRESS; 0: never */
    int cancel_at;          /* cancels itself at that token; 0: never */
};

static void on_event(const struct engine_event *ev)
{
    struct result *r = ev->user;
    pthread_mutex_lock(&r->lock);
    if (ev->kind == EVENT_PROMPT)
        r->n_prompt_events++;
    if (ev->kind == EVENT_TOKEN && r->n < 600) {
        r->tokens[r->n] = ev->token;
        r->logprobs[r->n++] = ev->logprob;
    }
    if (ev->kind == EVENT_PROGRESS && r->n_progress < 16) {
        r->progress[r->n_progress++] = ev->index;
        r->progress_of = ev->prompt_tokens;
    }
    if (ev->n_text && r->n_text + ev->n_text < sizeof r->text) {
        memcpy(r->text + r->n_text, ev->text, ev->n_text);
        r->n_text += ev->n_text;
    }
    if (r->n < 600)
        r->text_after[r->n] = r->n_text;
    if (ev->kind == EVENT_DONE) {
        r->done = true;
        r->dones++;
        r->reason = ev->reason;
        r->prompt_tokens = ev->prompt_tokens;
        r->answer_tokens = ev->answer_tokens;
        r->prefill_seconds = ev->prefill_seconds;
        r->error = ev->error;
        pthread_cond_signal(&r->over);
    }
    bool cancel = r->cancel_at && r->n == r->cancel_at && !r->done;
    cancel |= ev->kind == EVENT_PROGRESS && r->n_progress == r->cancel_at_progress;
    pthread_mutex_unlock(&r->lock);
    if (cancel)
        engine_cancel(e, ev->id);
}

static void result_init(struct result *r)
{
    memset(r, 0, sizeof *r);
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->over, NULL);
}

static void wait_for(struct result *r)
{
    pthread_mutex_lock(&r->lock);
    while (!r->done)
        pthread_cond_wait(&r->over, &r->lock);
    pthread_mutex_unlock(&r->lock);
}

static struct engine_request request(struct result *r, const int32_t *prompt, size_t n,
                                     int64_t max_tokens)
{
    struct engine_request q = engine_request_default(e);
    q.prompt = prompt;
    q.n_prompt = n;
    q.max_tokens = max_tokens;
    q.logprobs = 3;
    q.sampling.temperature = 0;
    q.ignore_end = true;
    q.sink = on_event;
    q.user = r;
    return q;
}

static void run(struct engine_request *q, struct result *r)
{
    uint64_t id;
    sp_error err = {0};
    assert_int_equal(engine_submit(e, q, &id, &err), 0);
    wait_for(r);
}

static int32_t prompt[200];

static int setup(void **state)
{
    struct engine_opts o = engine_opts_default();
    sp_error err = {0};
    (void)state;
    for (int i = 0; i < 200; i++)
        prompt[i] = (i * 37 + 11) % 250;
    dir = tiny_model_make();
    o.threads = 2;
    o.max_context = 0;
    o.max_seqs = 8;
    o.max_queue = 400;
    o.step_rows = 32;
    return dir ? engine_open(dir, &o, &e, &err) : -1;
}

static int teardown(void **state)
{
    (void)state;
    engine_close(e);
    tiny_model_remove(dir);
    return 0;
}

static void answers_with_the_right_number_of_tokens(void **state)
{
    struct result r;
    (void)state;
    result_init(&r);
    struct engine_request q = request(&r, prompt, 70, 25);
    run(&q, &r);
    assert_int_equal(r.reason, FINISH_LENGTH);
    assert_int_equal(r.n, 25);
    assert_int_equal(r.prompt_tokens, 70);
    assert_int_equal(r.answer_tokens, 25);
    for (int i = 0; i < r.n; i++)
        assert_true(r.logprobs[i] <= 0 && isfinite(r.logprobs[i]));
}

static void a_request_is_the_same_alone_and_among_others(void **state)
{
    struct result alone, many[8];
    uint64_t id;
    (void)state;
    for (int sampled = 0; sampled < 2; sampled++) {
        result_init(&alone);
        struct engine_request q = request(&alone, prompt, 90, 40);
        q.sampling.temperature = sampled ? 1.0f : 0.0f;
        q.sampling.top_p = 0.9f;
        q.sampling.seed = 42;
        run(&q, &alone);
        for (int i = 0; i < 8; i++) {
            result_init(&many[i]);
            struct engine_request other =
                request(&many[i], prompt + i, i ? (size_t)(20 + 17 * i) : 90, 40);
            other.sampling = q.sampling;
            other.sampling.seed = i ? (uint64_t)i : 42;
            assert_int_equal(engine_submit(e, &other, &id, NULL), 0);
        }
        for (int i = 0; i < 8; i++)
            wait_for(&many[i]);
        assert_int_equal(alone.n, many[0].n);
        assert_memory_equal(alone.tokens, many[0].tokens, sizeof(int32_t) * (size_t)alone.n);
        assert_memory_equal(alone.logprobs, many[0].logprobs, sizeof(float) * (size_t)alone.n);
    }
}

static void prompt_logprobs_come_for_every_token(void **state)
{
    struct result r;
    (void)state;
    result_init(&r);
    struct engine_request q = request(&r, prompt, 100, 0);
    q.prompt_logprobs = true;
    run(&q, &r);
    assert_int_equal(r.n_prompt_events, 100);
    assert_int_equal(r.n, 0);
    assert_int_equal(r.reason, FINISH_LENGTH);
}

static void a_stop_string_ends_the_text_before_it(void **state)
{
    struct result whole, cut;
    (void)state;
    result_init(&whole);
    struct engine_request q = request(&whole, prompt, 30, 60);
    run(&q, &whole);
    size_t at = utf8_complete(whole.text, 12), end = at;
    while (end < whole.n_text && end < at + 3)
        end++;
    end = utf8_complete(whole.text, end) > at ? utf8_complete(whole.text, end) : end;
    char stop[16] = {0};
    memcpy(stop, whole.text + at, end - at);
    if (!utf8_valid(stop, strlen(stop)) || !stop[0])
        snprintf(stop, sizeof stop, "\xef\xbf\xbd"); /* invalid bytes come out as U+FFFD */
    const char *stops[] = {stop, "never to be seen in this text"};
    result_init(&cut);
    q = request(&cut, prompt, 30, 60);
    q.stop = stops;
    q.n_stop = 2;
    run(&q, &cut);
    const char *first = memmem(whole.text, whole.n_text, stop, strlen(stop));
    assert_non_null(first);
    assert_int_equal(cut.reason, FINISH_STOP);
    assert_int_equal(cut.n_text, (size_t)(first - whole.text));
    assert_memory_equal(cut.text, whole.text, cut.n_text);
}

static void an_end_token_ends_the_answer(void **state)
{
    struct result r;
    struct logit_bias bias = {TINY_END, 100};
    (void)state;
    result_init(&r);
    struct engine_request q = request(&r, prompt, 20, 50);
    q.ignore_end = false;
    q.sampling.bias = &bias;
    q.sampling.n_bias = 1;
    run(&q, &r);
    assert_int_equal(r.reason, FINISH_STOP);
    assert_int_equal(r.n, 0);
    assert_int_equal(r.answer_tokens, 1);
}

static void min_tokens_hold_off_end_tokens(void **state)
{
    struct result r;
    struct logit_bias bias = {TINY_END, 100};
    (void)state;
    for (int i = 0; i < 4; i++) {
        result_init(&r);
        struct engine_request q = request(&r, prompt, 20, 50);
        q.ignore_end = false;
        q.sampling.bias = &bias;
        q.sampling.n_bias = 1;
        q.sampling.temperature = i % 2 ? 1.0f : 0.0f;
        q.sampling.top_k = i > 1 ? 5 : 0;
        q.sampling.top_p = 1;
        q.min_tokens = 7;
        run(&q, &r);
        assert_int_equal(r.reason, FINISH_STOP);
        assert_int_equal(r.n, 7);
        assert_int_equal(r.answer_tokens, 8);
        for (int k = 0; k < 7; k++)
            assert_int_not_equal(r.tokens[k], TINY_END);
    }
}

/* A stop string that ends in the text of the first min_tokens does not count; one that ends later does, wherever it
 * begins. */
static void min_tokens_hold_off_stop_strings(void **state)
{
    struct result whole, cut;
    int counted = 0;
    (void)state;
    result_init(&whole);
    struct engine_request q = request(&whole, prompt, 30, 80);
    run(&q, &whole);
    for (int64_t least = 0; least < 60; least += 6) {
        size_t from = least ? whole.text_after[least] : 0;
        size_t at = utf8_complete(whole.text, least ? from : whole.n_text / 2), n = 1;
        while (at > 0 && !utf8_valid(whole.text + at, n) && n < 4)
            n++;
        char stop[8] = {0};
        memcpy(stop, whole.text + at, n);
        if (!utf8_valid(stop, n) || !stop[0])
            continue;
        const char *stops[] = {stop}, *want = whole.text + (from >= n ? from - n + 1 : 0);
        want = memmem(want, (size_t)(whole.text + whole.n_text - want), stop, n);
        result_init(&cut);
        q = request(&cut, prompt, 30, 80);
        q.stop = stops;
        q.n_stop = 1;
        q.min_tokens = least;
        run(&q, &cut);
        assert_non_null(want);
        assert_int_equal(cut.reason, FINISH_STOP);
        assert_true(cut.answer_tokens > least);
        assert_int_equal(cut.n_text, (size_t)(want - whole.text));
        assert_memory_equal(cut.text, whole.text, cut.n_text);
        counted++;
    }
    assert_true(counted > 4);
}

static void progress_is_told_after_each_chunk(void **state)
{
    const int64_t want[] = {0, 32, 64, 96, 128, 150};
    struct result r;
    (void)state;
    result_init(&r);
    struct engine_request q = request(&r, prompt + 40, 150, 3); /* others left no prefix of this */
    q.progress = true;
    q.tenant = 7; /* whose prefixes nobody has computed */
    run(&q, &r);
    assert_int_equal(r.n_progress, SP_COUNT(want));
    assert_memory_equal(r.progress, want, sizeof want);
    assert_int_equal(r.progress_of, 150);
    assert_int_equal(r.n, 3);
    result_init(&r);
    q = request(&r, prompt, 150, 3);
    run(&q, &r);
    assert_int_equal(r.n_progress, 0);
}

static void bias_and_penalties_change_the_choice(void **state)
{
    struct result plain, biased, penalized;
    (void)state;
    result_init(&plain);
    struct engine_request q = request(&plain, prompt, 20, 30);
    run(&q, &plain);
    struct logit_bias ban = {plain.tokens[0], -100};
    result_init(&biased);
    q = request(&biased, prompt, 20, 30);
    q.sampling.bias = &ban;
    q.sampling.n_bias = 1;
    run(&q, &biased);
    for (int i = 0; i < biased.n; i++)
        assert_int_not_equal(biased.tokens[i], plain.tokens[0]);
    result_init(&penalized);
    q = request(&penalized, prompt, 20, 30);
    q.sampling.repetition_penalty = 5;
    q.sampling.presence_penalty = 2;
    q.sampling.frequency_penalty = 2;
    run(&q, &penalized);
    assert_int_equal(penalized.n, 30);
}

/* Where the time of a prompt begins divides it into other chunks, never into another answer. */
static void timing_a_part_of_the_prompt_changes_no_bit(void **state)
{
    struct result whole, part;
    (void)state;
    result_init(&whole);
    struct engine_request q = request(&whole, prompt, 150, 12);
    run(&q, &whole);
    for (int64_t from = 1; from < 150; from += 37) {
        result_init(&part);
        q = request(&part, prompt, 150, 12);
        q.timed_from = from;
        run(&q, &part);
        assert_int_equal(part.n, 12);
        assert_memory_equal(part.tokens, whole.tokens, sizeof whole.tokens);
        assert_memory_equal(part.logprobs, whole.logprobs, sizeof whole.logprobs);
        assert_true(part.prefill_seconds > 0);
    }
}

static void cancelling_ends_it_within_a_step(void **state)
{
    struct result r;
    struct engine_info info;
    (void)state;
    result_init(&r);
    r.cancel_at = 3;
    struct engine_request q = request(&r, prompt, 20, 400);
    run(&q, &r);
    assert_int_equal(r.reason, FINISH_CANCELLED);
    assert_in_range(r.n, 3, 4);
    engine_cancel(e, 123456789); /* unknown: fine */
    for (int i = 0; i < 100; i++) {
        engine_get_info(e, &info);
        if (info.running == 0)
            break;
        clock_sleep(0.01);
    }
    assert_int_equal(info.kv_pages_free, info.kv_pages);
}

static void cancelling_amid_the_prompt_ends_it_within_a_step(void **state)
{
    struct result r;
    struct engine_info info;
    (void)state;
    result_init(&r);
    r.cancel_at_progress = 3; /* 64 of 200 tokens are in the pages */
    struct engine_request q = request(&r, prompt, 200, 400);
    q.progress = true;
    run(&q, &r);
    assert_int_equal(r.reason, FINISH_CANCELLED);
    assert_int_equal(r.n_progress, 3);
    assert_int_equal(r.n, 0);
    for (int i = 0; i < 100; i++) {
        engine_get_info(e, &info);
        if (info.running == 0)
            break;
        clock_sleep(0.01);
    }
    assert_int_equal(info.kv_pages_free, info.kv_pages);
}

/* One that waits is gone while those before it go on. */
static void cancelling_in_the_queue_waits_for_nobody(void **state)
{
    struct result before[8], r;
    uint64_t id, ids[8];
    sp_error err;
    (void)state;
    for (int i = 0; i < 8; i++) {
        result_init(&before[i]);
        struct engine_request q = request(&before[i], prompt, 20, 450);
        assert_int_equal(engine_submit(e, &q, &ids[i], &err), 0);
    }
    result_init(&r);
    struct engine_request q = request(&r, prompt, 20, 5);
    q.progress = true;
    assert_int_equal(engine_submit(e, &q, &id, &err), 0);
    assert_true(engine_is_queued(e, id));
    engine_cancel(e, id);
    wait_for(&r);
    assert_int_equal(r.reason, FINISH_CANCELLED);
    assert_int_equal(r.n_progress + r.n, 0);
    assert_false(engine_is_queued(e, id));
    for (int i = 0; i < 8; i++) {
        wait_for(&before[i]);
        assert_int_equal(before[i].n, 450);
    }
}

static void bad_values_are_refused_by_name(void **state)
{
    struct result r;
    uint64_t id;
    sp_error err;
    struct logit_bias bias = {0, 101}, none = {TINY_VOCAB, 0};
    const char *empty[] = {""};
    (void)state;
    result_init(&r);
#define REFUSED(change, word)                                                                      \
    do {                                                                                           \
        struct engine_request q = request(&r, prompt, 20, 5);                                      \
        change;                                                                                    \
        assert_int_equal(engine_submit(e, &q, &id, &err), SP_EINVAL);                              \
        assert_non_null(strstr(err.message, word));                                                \
    } while (0)
    REFUSED(q.sampling.temperature = -1, "temperature");
    REFUSED(q.sampling.temperature = NAN, "temperature");
    REFUSED(q.sampling.temperature = 1e9f, "temperature");
    REFUSED(q.sampling.top_p = 1.5f, "top_p");
    REFUSED(q.sampling.min_p = -0.1f, "min_p");
    REFUSED(q.sampling.top_k = -2, "top_k");
    REFUSED(q.sampling.repetition_penalty = 0, "repetition_penalty");
    REFUSED(q.sampling.presence_penalty = 3, "presence_penalty");
    REFUSED(q.sampling.frequency_penalty = -3, "frequency_penalty");
    REFUSED((q.sampling.bias = &bias, q.sampling.n_bias = 1), "logit_bias");
    REFUSED((q.sampling.bias = &none, q.sampling.n_bias = 1), "logit_bias");
    REFUSED(q.max_tokens = 0, "max_tokens");
    REFUSED(q.max_tokens = -7, "max_tokens");
    REFUSED(q.min_tokens = -1, "min_tokens");
    REFUSED(q.min_tokens = 6, "min_tokens");
    REFUSED(q.logprobs = 21, "logprobs");
    REFUSED((q.stop = empty, q.n_stop = 1), "stop");
    REFUSED(q.timed_from = -1, "timed_from");
    REFUSED(q.timed_from = (int64_t)q.n_prompt, "timed_from");
    REFUSED(q.n_prompt = 0, "prompt");
    static int32_t long_prompt[TINY_CONTEXT + 1];
    REFUSED((q.prompt = long_prompt, q.n_prompt = TINY_CONTEXT), "512");
    long_prompt[3] = TINY_VOCAB;
    REFUSED((q.prompt = long_prompt, q.n_prompt = 10), "token");
#undef REFUSED
}

static void the_context_is_a_limit(void **state)
{
    struct result r;
    (void)state;
    result_init(&r);
    struct engine_request q = request(&r, prompt, 200, -1);
    run(&q, &r);
    assert_int_equal(r.reason, FINISH_LENGTH);
    assert_int_equal(r.n, TINY_CONTEXT - 200);
}

/* Many threads submit and cancel: every request gets one DONE, every page comes back. */
static atomic_int dones;

static void count_done(const struct engine_event *ev)
{
    if (ev->kind == EVENT_DONE)
        atomic_fetch_add(&dones, 1);
}

static void *submitter(void *arg)
{
    uint64_t seed = (uint64_t)(uintptr_t)arg, id;
    for (uint64_t i = 0; i < 50; i++) {
        struct engine_request q = engine_request_default(e);
        q.prompt = prompt;
        q.n_prompt = 1 + (size_t)(rng_uniform(seed, i, 0) * 90);
        q.max_tokens = 1 + (int64_t)(rng_uniform(seed, i, 1) * 12);
        q.sink = count_done;
        assert_int_equal(engine_submit(e, &q, &id, NULL), 0);
        if (rng_uniform(seed, i, 2) < 0.4)
            engine_cancel(e, id);
    }
    return NULL;
}

static void a_crowd_is_served_once_each(void **state)
{
    pthread_t threads[4];
    struct engine_info info = {0};
    (void)state;
    atomic_store(&dones, 0);
    for (uintptr_t i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, submitter, (void *)(i + 1));
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 6000 && atomic_load(&dones) < 200; i++)
        clock_sleep(0.01);
    clock_sleep(0.05);
    assert_int_equal(atomic_load(&dones), 200);
    engine_get_info(e, &info);
    assert_int_equal(info.kv_pages_free, info.kv_pages);
    assert_int_equal(info.running + info.waiting, 0);
}

static void closing_cancels_what_is_left(void **state)
{
    struct engine_opts o = engine_opts_default();
    engine *other = NULL, *kept = e;
    struct result r[3];
    uint64_t id;
    (void)state;
    o.threads = 1;
    o.max_seqs = 1;
    o.max_queue = 2;
    assert_int_equal(engine_open(dir, &o, &other, NULL), 0);
    e = other;
    sp_error err = {0};
    int full = 0;
    for (int i = 0; i < 3; i++) {
        result_init(&r[i]);
        struct engine_request q = request(&r[i], prompt, 20, 490);
        int code = engine_submit(other, &q, &id, &err);
        if (code == SP_EFULL)
            full++, r[i].dones = 1;
    }
    struct result extra;
    for (int i = 0; i < 3 && !full; i++) {
        result_init(&extra);
        struct engine_request q = request(&extra, prompt, 20, 490);
        full = engine_submit(other, &q, &id, &err) == SP_EFULL;
        if (!full)
            break;
    }
    engine_close(other);
    e = kept;
    for (int i = 0; i < 3; i++)
        assert_int_equal(r[i].dones, 1);
}

static void engines_that_cannot_open_say_why(void **state)
{
    struct engine_opts o = engine_opts_default();
    engine *none = NULL;
    sp_error err = {0};
    (void)state;
    assert_int_equal(engine_open("/no/such/model", &o, &none, &err), SP_ENOTFOUND);
    o.max_seqs = 0;
    assert_int_equal(engine_open(dir, &o, &none, &err), SP_EINVAL);
    o.max_seqs = 1;
    o.kv_bytes = (uint64_t)1 << 60;
    assert_int_equal(engine_open(dir, &o, &none, &err), SP_ENOMEM);
    assert_non_null(strstr(err.message, "--kv-memory"));
    o.kv_bytes = 1;
    assert_int_equal(engine_open(dir, &o, &none, &err), SP_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_with_the_right_number_of_tokens),
        cmocka_unit_test(a_request_is_the_same_alone_and_among_others),
        cmocka_unit_test(prompt_logprobs_come_for_every_token),
        cmocka_unit_test(a_stop_string_ends_the_text_before_it),
        cmocka_unit_test(an_end_token_ends_the_answer),
        cmocka_unit_test(min_tokens_hold_off_end_tokens),
        cmocka_unit_test(min_tokens_hold_off_stop_strings),
        cmocka_unit_test(progress_is_told_after_each_chunk),
        cmocka_unit_test(bias_and_penalties_change_the_choice),
        cmocka_unit_test(timing_a_part_of_the_prompt_changes_no_bit),
        cmocka_unit_test(cancelling_ends_it_within_a_step),
        cmocka_unit_test(cancelling_amid_the_prompt_ends_it_within_a_step),
        cmocka_unit_test(cancelling_in_the_queue_waits_for_nobody),
        cmocka_unit_test(bad_values_are_refused_by_name),
        cmocka_unit_test(the_context_is_a_limit),
        cmocka_unit_test(a_crowd_is_served_once_each),
        cmocka_unit_test(closing_cancels_what_is_left),
        cmocka_unit_test(engines_that_cannot_open_say_why),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
