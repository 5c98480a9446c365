/* Many requests in few pages, with prefixes that they share: whatever is evicted, preempted, awaited or taken from the
 * cache, each gets the answer that it gets alone, and every page comes back. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include "../tiny_model.h"
#include "base/clock.h"
#include "pages_check.h"

enum { CASES = 12, ANSWER = 130, CONTEXT_PAGES = TINY_CONTEXT / KV_PAGE };

#ifdef __SANITIZE_THREAD__ /* each takes a hundred times as long */
#define STRIDE 2
#else
#define STRIDE 1
#endif

static char *dir;
static uint64_t page_bytes;
static int32_t shared[400]; /* the beginning of most prompts */

/* ---- engines ---- */

static engine *open_engine(int32_t pages, int64_t step_rows, bool cache)
{
    struct engine_opts o = engine_opts_default();
    engine *e = NULL;
    o.threads = 1;
    o.max_context = 0;
    o.max_seqs = 12;
    o.max_queue = 1000;
    o.step_rows = step_rows;
    o.prefix_cache = cache;
    o.kv_bytes = (uint64_t)pages * page_bytes;
    assert_int_equal(engine_open(dir, &o, &e, NULL), 0);
    assert_int_equal(e->pages.total, pages ? pages : 12 * CONTEXT_PAGES);
    return e;
}

static struct engine_stats stats_at_rest(engine *e)
{
    struct engine_info info = {0};
    struct engine_stats s = {0};
    for (int i = 0; i < 1000; i++) {
        engine_get_info(e, &info);
        engine_get_stats(e, &s);
        if (info.running + info.waiting == 0 && s.kv_pages_free + s.kv_pages_cached == s.kv_pages)
            return s;
        clock_sleep(0.01);
    }
    fail_msg("%d run, %d wait, of %d pages %d are free and %d cached", info.running, info.waiting,
             (int)s.kv_pages, (int)s.kv_pages_free, (int)s.kv_pages_cached);
    return s;
}

/* On the engine's thread only: the holders of pages are the running requests. */
static void check_engine(const engine *e)
{
    int32_t *holders = sp_calloc((size_t)e->pages.total, sizeof *holders);
    for (const struct request *q = e->running; q; q = q->next)
        for (int32_t i = 0; i < q->n_pages; i++)
            holders[q->pages[i]]++;
    check_pages(&e->pages, holders);
    sp_free(holders);
}

/* ---- requests ---- */

struct answer {
    engine *e;
    pthread_mutex_t lock;
    pthread_cond_t over;
    bool done;
    int dones, n, n_prompt;
    enum finish_reason reason;
    int32_t tokens[ANSWER];
    float logprobs[ANSWER], prompt_logprobs[TINY_CONTEXT];
    char text[4096];
    size_t n_text;
    int64_t cached;
    int32_t held;       /* pages that anybody held when it ended */
    uint64_t cancel_id; /* cancelled by this one's token number cancel_at */
    int cancel_at;
    atomic_bool *gate; /* holds the engine's thread at the first token until it opens */
};

static void take_token(struct answer *a, const struct engine_event *ev)
{
    a->tokens[a->n] = ev->token;
    a->logprobs[a->n++] = ev->logprob;
    while (a->gate && !atomic_load(a->gate))
        clock_sleep(0.001);
    if (a->cancel_at && a->n == a->cancel_at)
        engine_cancel(a->e, a->cancel_id);
}

static void on_event(const struct engine_event *ev)
{
    struct answer *a = ev->user;
    const struct pages *p = &a->e->pages;
    if (ev->kind == EVENT_PROMPT) {
        assert_int_equal(ev->index, a->n_prompt);
        a->prompt_logprobs[a->n_prompt++] = ev->logprob;
    }
    if (ev->kind == EVENT_TOKEN)
        take_token(a, ev);
    if (ev->n_text && a->n_text + ev->n_text < sizeof a->text) {
        memcpy(a->text + a->n_text, ev->text, ev->n_text);
        a->n_text += ev->n_text;
    }
    if (ev->kind != EVENT_DONE)
        return;
    check_engine(a->e);
    pthread_mutex_lock(&a->lock);
    a->done = true;
    a->dones++;
    a->reason = ev->reason;
    a->cached = ev->cached_tokens;
    a->held = p->total - p->n_free - p->n_idle;
    pthread_cond_signal(&a->over);
    pthread_mutex_unlock(&a->lock);
}

static void wait_for(struct answer *a)
{
    pthread_mutex_lock(&a->lock);
    while (!a->done)
        pthread_cond_wait(&a->over, &a->lock);
    pthread_mutex_unlock(&a->lock);
}

static struct engine_request request(engine *e, struct answer *a, const int32_t *prompt, size_t n,
                                     int64_t max_tokens)
{
    struct engine_request q = engine_request_default(e);
    memset(a, 0, sizeof *a);
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->over, NULL);
    a->e = e;
    q.prompt = prompt;
    q.n_prompt = n;
    q.max_tokens = max_tokens;
    q.logprobs = 0;
    q.ignore_end = true;
    q.sampling.temperature = 0;
    q.sink = on_event;
    q.user = a;
    return q;
}

static uint64_t submit(const struct engine_request *q)
{
    uint64_t id = 0;
    sp_error err = {0};
    struct answer *a = q->user;
    assert_int_equal(engine_submit(a->e, q, &id, &err), 0);
    return id;
}

/* A request whose first token comes when the gate opens, so that what is submitted meanwhile starts in one step. */
static void close_gate(engine *e, struct answer *a, atomic_bool *gate)
{
    static const int32_t one[] = {3};
    struct engine_info info = {0};
    struct engine_request q = request(e, a, one, 1, 1);
    atomic_store(gate, false);
    a->gate = gate;
    submit(&q);
    for (int i = 0; i < 1000 && info.running == 0; i++) {
        clock_sleep(0.001);
        engine_get_info(e, &info);
    }
}

/* ---- the same answers, whatever happens to the pages ---- */

/* Of all kinds: short and long, greedy and drawn, with penalties, with a prompt's logprobs. */
static struct engine_request make_case(engine *e, int i, struct answer *a, int32_t *prompt)
{
    static const int kept[] = {20, 64, 70, 128, 300, 0, 200, 65, 300, 190, 63, 300};
    size_t own = i % 4 == 0 ? 0 : (size_t)(7 * i), n = (size_t)kept[i];
    memcpy(prompt, shared, n * sizeof *prompt);
    for (size_t k = 0; k < own; k++)
        prompt[n++] = (int32_t)((k * 31 + (size_t)i * 17) % 250);
    struct engine_request q = request(e, a, prompt, n, ANSWER - 5 * i);
    q.sampling.temperature = i % 2 ? 1.0f : 0.0f;
    q.sampling.seed = (uint64_t)i + 1;
    q.sampling.repetition_penalty = i == 3 || i == 4 ? 1.3f : 1.0f;
    q.sampling.frequency_penalty = i == 5 ? 0.5f : 0.0f;
    q.prompt_logprobs = i == 6 || i == 8;
    q.tenant = i == 9 ? QUEUE_LINES : 0; /* in the same line: all go in order of arrival */
    return q;
}

static struct answer alone[CASES];

static void answer_alone(void)
{
    int32_t prompt[TINY_CONTEXT];
    engine *e = open_engine(0, 256, false);
    for (int i = 0; i < CASES; i++) {
        struct engine_request q = make_case(e, i, &alone[i], prompt);
        submit(&q);
        wait_for(&alone[i]);
        assert_int_equal(alone[i].n, ANSWER - 5 * i);
    }
    struct engine_stats s = stats_at_rest(e);
    assert_int_equal(s.kv_pages_cached + s.prefix_queries + s.prefix_hits + s.preemptions, 0);
    engine_close(e);
}

static void assert_same(const struct answer *a, const struct answer *b)
{
    assert_int_equal(a->dones, 1);
    assert_int_equal(a->reason, b->reason);
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->tokens, b->tokens, sizeof a->tokens);
    assert_memory_equal(a->logprobs, b->logprobs, sizeof a->logprobs);
    assert_int_equal(a->n_prompt, b->n_prompt);
    assert_memory_equal(a->prompt_logprobs, b->prompt_logprobs, sizeof a->prompt_logprobs);
    assert_int_equal(a->n_text, b->n_text);
    assert_memory_equal(a->text, b->text, a->n_text);
}

static void answer_together(engine *e, int rounds)
{
    static struct answer together[CASES];
    int32_t prompt[TINY_CONTEXT];
    for (int round = 0; round < rounds; round++) {
        struct answer plug;
        atomic_bool gate;
        close_gate(e, &plug, &gate);
        for (int i = 0; i < CASES; i++) {
            struct engine_request q = make_case(e, i, &together[i], prompt);
            submit(&q);
        }
        atomic_store(&gate, true);
        for (int i = 0; i < CASES; i++) {
            wait_for(&together[i]);
            assert_same(&together[i], &alone[i]);
        }
        wait_for(&plug);
        stats_at_rest(e);
    }
}

static void answers_are_the_same_in_chunks_of_any_size(void **state)
{
    static const int64_t rows[] = {16, 33, 64, 256, 2048};
    (void)state;
    for (size_t i = 0; i < SP_COUNT(rows); i += 2 * STRIDE - 1)
        for (int cache = 0; cache < 2; cache++) {
            engine *e = open_engine(0, rows[i], cache);
            answer_together(e, 1 + cache);
            struct engine_stats s = stats_at_rest(e);
            assert_int_equal(s.preemptions, 0);
            assert_int_equal(s.prefix_hits > 0, cache);
            assert_int_equal(s.kv_pages_cached > 0, cache);
            engine_close(e);
        }
}

static void answers_are_the_same_when_there_is_hardly_room(void **state)
{
    static const int32_t pages[] = {CONTEXT_PAGES, 10};
    (void)state;
    for (size_t i = 0; i < SP_COUNT(pages); i += STRIDE)
        for (int cache = 0; cache < 2; cache++) {
            engine *e = open_engine(pages[i], 64, cache);
            answer_together(e, 2);
            struct engine_stats s = stats_at_rest(e);
            assert_true(s.preemptions > 0);
            assert_int_equal(s.evictions > 0, cache);
            engine_close(e);
        }
}

static void answers_are_the_same_when_all_hashes_collide(void **state)
{
    engine *e = open_engine(17, 64, true);
    (void)state;
    e->pages.bucket_mask = 0; /* it waits for the first request */
    answer_together(e, 1);
    assert_true(stats_at_rest(e).prefix_hits > 0);
    engine_close(e);
}

/* Answers that outgrow the pool again and again. */
static void growing_answers_take_turns(void **state)
{
    enum { N = 10 };
    static struct answer a[N], b[N];
    static engine *e[2];
    uint64_t preemptions[2];
    (void)state;
    for (int small = 0; small < 2; small++) {
        struct answer *to = small ? b : a, plug;
        atomic_bool gate;
        e[small] = open_engine(small ? CONTEXT_PAGES : 0, 64, true);
        close_gate(e[small], &plug, &gate);
        for (int i = 0; i < N; i++) {
            struct engine_request q = request(e[small], &to[i], shared + i, 40, ANSWER);
            q.sampling.temperature = 0.9f;
            q.sampling.seed = (uint64_t)i;
            submit(&q);
        }
        atomic_store(&gate, true);
        for (int i = 0; i < N; i++)
            wait_for(&to[i]);
        wait_for(&plug);
        preemptions[small] = stats_at_rest(e[small]).preemptions;
    }
    for (int i = 0; i < N; i++)
        assert_same(&b[i], &a[i]);
    assert_int_equal(preemptions[0], 0);
    assert_true(preemptions[1] >= 3);
    engine_close(e[0]);
    engine_close(e[1]);
}

static void a_lone_request_may_fill_the_pool(void **state)
{
    struct answer a;
    engine *e = open_engine(CONTEXT_PAGES, 64, true);
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct engine_request q = request(e, &a, shared + i, TINY_CONTEXT - ANSWER - 30, ANSWER);
        submit(&q);
        wait_for(&a);
        assert_int_equal(a.n, ANSWER);
        assert_int_equal(a.reason, FINISH_LENGTH);
    }
    assert_int_equal(stats_at_rest(e).preemptions, 0);
    engine_close(e);
}

/* ---- the prefix cache ---- */

static void a_prompt_is_found_again(void **state)
{
    struct answer first, again, longer, other;
    engine *e = open_engine(0, 64, true);
    int32_t talk[TINY_CONTEXT];
    (void)state;
    struct engine_request q = request(e, &first, shared, 128, 70);
    submit(&q);
    wait_for(&first);
    assert_int_equal(first.cached, 0);
    q = request(e, &again, shared, 128, 70); /* the last token is computed, and so its page */
    submit(&q);
    wait_for(&again);
    assert_int_equal(again.cached, 64);
    assert_same(&again, &first);
    /* The next turn of a talk: the answer is in the cache, too, but for its last page. */
    memcpy(talk, shared, 128 * sizeof *talk);
    memcpy(talk + 128, first.tokens, 70 * sizeof *talk);
    q = request(e, &longer, talk, 198, 3);
    submit(&q);
    wait_for(&longer);
    assert_int_equal(longer.cached, 192);
    q = request(e, &other, shared, 128, 70);
    q.tenant = 1;
    submit(&q);
    wait_for(&other);
    assert_int_equal(other.cached, 0);
    assert_same(&other, &first);
    struct engine_stats s = stats_at_rest(e);
    assert_int_equal(s.prefix_queries, 128 + 128 + 198 + 128);
    assert_int_equal(s.prefix_hits, 64 + 192);
    engine_close(e);
}

/* What is asked for or timed is computed; it fills the cache for others. */
static void logprobs_and_times_of_prompts_are_computed(void **state)
{
    struct answer told[2], timed, after;
    engine *e = open_engine(0, 64, true);
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct engine_request q = request(e, &told[i], shared, 200, 4);
        q.prompt_logprobs = true;
        submit(&q);
        wait_for(&told[i]);
        assert_int_equal(told[i].cached, 0);
        assert_int_equal(told[i].n_prompt, 200);
    }
    assert_same(&told[1], &told[0]);
    struct engine_request q = request(e, &timed, shared, 200, 4);
    q.timed_from = 128;
    submit(&q);
    wait_for(&timed);
    assert_int_equal(timed.cached, 64);
    q = request(e, &after, shared, 200, 4);
    submit(&q);
    wait_for(&after);
    assert_int_equal(after.cached, 192);
    assert_memory_equal(after.tokens, told[0].tokens, sizeof after.tokens);
    stats_at_rest(e);
    engine_close(e);
}

/* n choices of one prompt: its full pages are computed and held once. */
static void choices_share_their_prompt(void **state)
{
    enum { N = 4 };
    static const int64_t rows[] = {32, 64, 512};
    (void)state;
    for (size_t k = 0; k < SP_COUNT(rows); k++) {
        struct answer plug, a[N];
        atomic_bool gate;
        engine *e = open_engine(0, rows[k], true);
        close_gate(e, &plug, &gate);
        for (int i = 0; i < N; i++) {
            struct engine_request q = request(e, &a[i], shared, 330, 40);
            q.sampling.temperature = 1;
            q.sampling.seed = (uint64_t)i;
            submit(&q);
        }
        atomic_store(&gate, true);
        for (int i = 0; i < N; i++) {
            wait_for(&a[i]);
            assert_int_equal(a[i].cached, i ? 329 : 0); /* all but the last token */
        }
        assert_int_equal(a[0].held, 5 + N);
        assert_int_equal(stats_at_rest(e).prefix_hits, 3 * 329);
        wait_for(&plug);
        engine_close(e);
    }
}

/* Who computes a prefix is cancelled in the middle, or who waits for it: the others go on. */
static void cancelling_one_of_those_who_share_hurts_nobody(void **state)
{
    struct answer quiet;
    engine *off = open_engine(0, 64, false);
    (void)state;
    struct engine_request alone_there = request(off, &quiet, shared, 300, 8);
    submit(&alone_there);
    wait_for(&quiet);
    engine_close(off);
    for (int victim = 1; victim <= 2; victim++)
        for (int at = 1; at < 25; at += 5) {
            static struct answer
                a[4]; /* one that decodes and cancels, one that computes, two that wait */
            atomic_bool gate;
            engine *e = open_engine(0, 16, true);
            struct answer plug;
            uint64_t ids[4];
            close_gate(e, &plug, &gate);
            for (int i = 0; i < 4; i++) {
                struct engine_request q =
                    request(e, &a[i], i ? shared : shared + 9, i ? 300 : 1, i ? 8 : 60);
                ids[i] = submit(&q);
            }
            a[0].cancel_id = ids[victim];
            a[0].cancel_at = at;
            atomic_store(&gate, true);
            for (int i = 0; i < 4; i++) {
                wait_for(&a[i]);
                assert_int_equal(a[i].dones, 1);
            }
            assert_int_equal(a[0].n, 60);
            assert_same(&a[3], &quiet);
            assert_same(&a[3 - victim], &quiet);
            wait_for(&plug);
            stats_at_rest(e);
            engine_close(e);
        }
}

/* ---- everything at once ---- */

struct crowd {
    engine *e;
    atomic_int dones, failures;
};

static void count_done(const struct engine_event *ev)
{
    struct crowd *c = ev->user;
    if (ev->kind != EVENT_DONE)
        return;
    check_engine(c->e);
    atomic_fetch_add(&c->dones, 1);
    atomic_fetch_add(&c->failures, ev->reason == FINISH_ERROR);
}

struct submitter {
    struct crowd *crowd;
    uint64_t seed;
};

static void *submit_some(void *arg)
{
    const struct submitter *s = arg;
    uint64_t ids[40];
    for (uint64_t i = 0; i < 40; i++) {
        struct engine_request q = engine_request_default(s->crowd->e);
        q.prompt = shared + 64 * (size_t)(rng_uniform(s->seed, i, 0) * 2);
        q.n_prompt = 1 + (size_t)(rng_uniform(s->seed, i, 1) * 250);
        q.max_tokens = 1 + (int64_t)(rng_uniform(s->seed, i, 2) * 80);
        q.ignore_end = true;
        q.prompt_logprobs = rng_uniform(s->seed, i, 3) < 0.1;
        q.sink = count_done;
        q.user = s->crowd;
        assert_int_equal(engine_submit(s->crowd->e, &q, &ids[i], NULL), 0);
        if (rng_uniform(s->seed, i, 4) < 0.4)
            engine_cancel(s->crowd->e,
                          ids[(uint64_t)(rng_uniform(s->seed, i, 5) * (double)(i + 1))]);
        if (i % 8 == 7)
            clock_sleep(0.002);
    }
    return NULL;
}

static void a_crowd_in_a_small_pool_is_served_once_each(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct crowd crowd = {.e = open_engine(CONTEXT_PAGES + 3 * (int32_t)seed, 48, seed != 3)};
        pthread_t threads[4];
        struct submitter s[4];
        for (int i = 0; i < 4; i++) {
            s[i] = (struct submitter){&crowd, seed * 100 + (uint64_t)i};
            pthread_create(&threads[i], NULL, submit_some, &s[i]);
        }
        for (int i = 0; i < 4; i++)
            pthread_join(threads[i], NULL);
        for (int i = 0; i < 12000 && atomic_load(&crowd.dones) < 160; i++)
            clock_sleep(0.01);
        stats_at_rest(crowd.e);
        assert_int_equal(atomic_load(&crowd.dones), 160);
        assert_int_equal(atomic_load(&crowd.failures), 0);
        engine_close(crowd.e);
    }
}

static int setup(void **state)
{
    struct engine_info info;
    (void)state;
    for (int i = 0; i < 400; i++)
        shared[i] = (i * 37 + i / 7 + 11) % 250;
    dir = tiny_model_make();
    if (!dir)
        return -1;
    engine *e = open_engine(0, 16, true);
    engine_get_info(e, &info);
    page_bytes = info.kv_bytes / (uint64_t)info.kv_pages;
    engine_close(e);
    answer_alone();
    return 0;
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
        cmocka_unit_test(answers_are_the_same_in_chunks_of_any_size),
        cmocka_unit_test(answers_are_the_same_when_there_is_hardly_room),
        cmocka_unit_test(answers_are_the_same_when_all_hashes_collide),
        cmocka_unit_test(growing_answers_take_turns),
        cmocka_unit_test(a_lone_request_may_fill_the_pool),
        cmocka_unit_test(a_prompt_is_found_again),
        cmocka_unit_test(logprobs_and_times_of_prompts_are_computed),
        cmocka_unit_test(choices_share_their_prompt),
        cmocka_unit_test(cancelling_one_of_those_who_share_hurts_nobody),
        cmocka_unit_test(a_crowd_in_a_small_pool_is_served_once_each),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
