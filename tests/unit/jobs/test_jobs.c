/* The queue, its states and what outlives the program. The work waits at gates: no test depends on its speed. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>
#include "base/clock.h"
#include "base/file.h"
#include "jobs/jobs.h"

#define SECONDS_MOST 20.0
#define EVENTS_MOST 4096

static char folder[] = "/tmp/sampan-jobs-XXXXXX";
static char path[128];
static store *s;
static jobs *js;

/* ---- what was told ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static json_t *events[EVENTS_MOST];
static size_t n_events;
static int running, running_most, gates_open;
static bool gated;
static char last_key[STORE_SHA_BYTES]; /* of the job that began last */

static void on_event(void *arg, int64_t owner, const char *event, json_t *data)
{
    (void)arg;
    assert_int_equal(owner, 0);
    pthread_mutex_lock(&lock);
    json_object_set_new(data, "event", json_string(event));
    if (n_events < EVENTS_MOST)
        events[n_events++] = data;
    else
        abort();
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static const char *get(const json_t *j, const char *name)
{
    return json_string_value(json_object_get(j, name));
}

static int64_t done_of(const json_t *job)
{
    return json_integer_value(json_object_get(json_object_get(job, "progress"), "done"));
}

/* Under lock: the last event of this job says so. */
static bool was_told(const char *id, const char *state)
{
    for (size_t i = n_events; i > 0; i--)
        if (strcmp(get(events[i - 1], "id"), id) == 0) {
            const char *is = get(events[i - 1], "state");
            return strcmp(is ? is : get(events[i - 1], "event"), state) == 0;
        }
    return false;
}

static void wait_a_bit(void)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec++;
    (void)pthread_cond_timedwait(&changed, &lock, &until);
}

static void wait_for(const char *id, const char *state)
{
    double end = clock_seconds() + SECONDS_MOST;
    pthread_mutex_lock(&lock);
    while (!was_told(id, state) && clock_seconds() < end)
        wait_a_bit();
    bool ok = was_told(id, state);
    pthread_mutex_unlock(&lock);
    if (!ok)
        print_error("%s never became %s\n", id, state);
    assert_true(ok);
}

static void wait_running(int n)
{
    double end = clock_seconds() + SECONDS_MOST;
    pthread_mutex_lock(&lock);
    while (running != n && clock_seconds() < end)
        wait_a_bit();
    bool ok = running == n;
    pthread_mutex_unlock(&lock);
    assert_true(ok);
}

/* ---- kinds ---- */

/* One step of the gated ones; false: it is to stop. */
static bool step(job_run *j)
{
    bool go = false;
    pthread_mutex_lock(&lock);
    while (!go && !job_stopping(j)) {
        go = !gated || gates_open > 0;
        if (go && gated)
            gates_open--;
        if (!go) {
            struct timespec until;
            clock_gettime(CLOCK_REALTIME, &until);
            until.tv_nsec += 20000000;
            until.tv_sec += until.tv_nsec / 1000000000;
            until.tv_nsec %= 1000000000;
            (void)pthread_cond_timedwait(&changed, &lock, &until);
        }
    }
    pthread_mutex_unlock(&lock);
    return go;
}

static void open_gates(int n)
{
    pthread_mutex_lock(&lock);
    gates_open += n;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void note_running(int change)
{
    pthread_mutex_lock(&lock);
    running += change;
    running_most = running > running_most ? running : running_most;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

/* Doubles the number that each part has. */
static int work(job_run *j, json_t **result, sp_error *err)
{
    int64_t all = 0, done = 0;
    struct store_part_query q = {.limit = 1, .open = true};
    const char *id = job_id(j);
    int code = store_parts_count(job_store(j), id, &all, &done, err);
    job_progress(j, done, all);
    while (code == 0 && done < all) {
        json_t *list = NULL;
        if (!step(j))
            return sp_fail(err, SP_ECANCELLED, "stopped");
        code = store_parts(job_store(j), id, &q, &list, err);
        const json_t *part = json_array_get(list, 0);
        int64_t n = json_integer_value(json_object_get(part, "source"));
        json_t *twice = json_integer(2 * n);
        if (code == 0 && n < 0)
            code = sp_fail(err, SP_EINVAL, "%lld can't be doubled", (long long)n);
        if (code == 0)
            code = store_part_done(job_store(j), id,
                                   json_integer_value(json_object_get(part, "number")), twice, err);
        json_decref(twice);
        json_decref(list);
        if (code == 0)
            job_progress(j, ++done, all);
    }
    if (code == 0)
        *result = json_pack("{s:I}", "doubled", (json_int_t)done);
    return code;
}

static int run(void *arg, job_run *j, json_t **result, sp_error *err)
{
    (void)arg;
    pthread_mutex_lock(&lock);
    (void)snprintf(last_key, sizeof last_key, "%s", job_key(j));
    pthread_mutex_unlock(&lock);
    note_running(1);
    int code = work(j, result, err);
    note_running(-1);
    return code;
}

static int run_fast(void *arg, job_run *j, json_t **result, sp_error *err)
{
    (void)arg;
    (void)result;
    (void)err;
    for (int64_t i = 0; i <= 20000; i++)
        job_progress(j, i, 20000);
    return 0;
}

/* ---- set-up ---- */

static void begin(bool threads)
{
    static const struct job_kind kinds[] = {
        {.name = "double", .unit = "items", .at_once = 2, .resumes = true, .run = run},
        {.name = "once", .unit = "items", .at_once = 1, .run = run},
        {.name = "fast", .unit = "bytes", .at_once = 1, .run = run_fast}};
    sp_error err = {0};
    struct store_opts so = {.path = path, .writes = true};
    assert_int_equal(store_open(&so, &s, &err), 0);
    struct jobs_opts o = {.store = s, .kinds = kinds, .n_kinds = SP_COUNT(kinds), .told = on_event};
    assert_int_equal(jobs_open(&o, &js, &err), 0);
    if (threads)
        assert_int_equal(jobs_start(js, &err), 0);
}

static void finish(void)
{
    jobs_close(js);
    store_close(s);
    js = NULL;
    s = NULL;
}

static int set_up(void **state)
{
    static int n;
    (void)state;
    (void)snprintf(path, sizeof path, "%s/%d.db", folder, n++);
    gated = true;
    gates_open = running_most = 0;
    begin(true);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    if (js)
        finish();
    for (size_t i = 0; i < n_events; i++)
        json_decref(events[i]);
    n_events = 0;
    return 0;
}

/* Its id, good until the 16th after it. */
static const char *add(const char *kind, int n, int first)
{
    static char ids[16][STORE_ID_BYTES];
    static size_t next;
    json_t *parts = json_array(), *params = json_pack("{s:i}", "n", n), *job = NULL;
    sp_error err = {0};
    for (int i = 0; i < n; i++)
        json_array_append_new(parts, json_integer(first + i));
    struct store_new_job new = {.kind = kind,
                                .title = "Numbers",
                                .params = params,
                                .parts = parts,
                                .total = n,
                                .key = "k1"};
    assert_int_equal(jobs_add(js, 0, &new, &job, &err), 0);
    assert_string_equal(get(job, "state"), "queued");
    char *id = ids[next++ % 16];
    (void)snprintf(id, STORE_ID_BYTES, "%s", get(job, "id"));
    json_decref(job);
    json_decref(params);
    json_decref(parts);
    return id;
}

typedef int (*asking)(jobs *, int64_t, const char *, json_t **, sp_error *);

static int resume(jobs *of, int64_t owner, const char *id, json_t **out, sp_error *err)
{
    return jobs_resume(of, owner, id, NULL, out, err);
}

static int ask(asking what, const char *id)
{
    json_t *job = NULL;
    sp_error err = {0};
    int code = what(js, 0, id, &job, &err);
    assert_true((code == 0) == (job != NULL));
    json_decref(job);
    return code;
}

static void assert_job(const char *id, const char *state, int64_t done)
{
    json_t *job = NULL;
    sp_error err = {0};
    assert_int_equal(jobs_get(js, 0, id, &job, &err), 0);
    assert_string_equal(get(job, "state"), state);
    assert_int_equal(done_of(job), done);
    json_decref(job);
}

/* ---- tests ---- */

static void test_from_queue_to_done(void **state)
{
    json_t *job = NULL, *parts = NULL;
    sp_error err = {0};
    (void)state;
    open_gates(3);
    const char *id = add("double", 3, 10);
    wait_for(id, "done");
    assert_int_equal(jobs_get(js, 0, id, &job, &err), 0);
    assert_string_equal(get(job, "kind"), "double");
    assert_string_equal(get(job, "title"), "Numbers");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(job, "result"), "doubled")),
                     3);
    assert_int_equal(done_of(job), 3);
    assert_true(json_is_null(json_object_get(job, "error")) &&
                json_is_null(json_object_get(job, "rate")) &&
                json_is_null(json_object_get(job, "stopping")) &&
                json_is_true(json_object_get(job, "resumable")));
    double created = json_number_value(json_object_get(job, "created"));
    double started = json_number_value(json_object_get(job, "started"));
    double finished = json_number_value(json_object_get(job, "finished"));
    assert_true(created > 1e9 && created <= started && started <= finished);
    json_decref(job);
    struct store_part_query q = {.from = 1, .limit = 10};
    assert_int_equal(store_parts(s, id, &q, &parts, &err), 0);
    assert_int_equal(json_array_size(parts), 2);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(parts, 1), "result")), 24);
    json_decref(parts);
    assert_int_equal(jobs_get(js, 1, id, &job, &err), SP_ENOTFOUND); /* another owner */
    assert_int_equal(ask(resume, id), SP_EBUSY);
    assert_int_equal(ask(jobs_pause, id), SP_EBUSY);
    assert_int_equal(ask(jobs_cancel, id), 0); /* changes nothing */
    assert_job(id, "done", 3);
}

static void test_pause_and_resume(void **state)
{
    (void)state;
    const char *id = add("double", 4, 0);
    open_gates(2);
    wait_running(1);
    pthread_mutex_lock(&lock);
    while (gates_open > 0)
        wait_a_bit();
    pthread_mutex_unlock(&lock);
    assert_int_equal(ask(jobs_pause, id), 0);
    wait_for(id, "paused");
    json_t *job = NULL;
    sp_error err = {0};
    assert_int_equal(jobs_get(js, 0, id, &job, &err), 0);
    int64_t kept = done_of(job);
    assert_true(kept <= 2);
    assert_string_equal(last_key, "k1"); /* and whose it was is in no object */
    assert_null(json_object_get(job, "key"));
    json_decref(job);
    assert_int_equal(ask(jobs_pause, id), 0); /* it is */
    open_gates(4);
    assert_int_equal(ask(resume, id), 0);
    wait_for(id, "done");
    assert_job(id, "done", 4);
    assert_string_equal(last_key, ""); /* whoever resumed it had none */
    id = add("once", 1, 0);            /* its kind can't go on */
    assert_int_equal(ask(jobs_pause, id), SP_EBUSY);
}

static void test_cancel(void **state)
{
    (void)state;
    const char *first = add("once", 2, 0), *second = add("once", 2, 0);
    wait_running(1);
    assert_int_equal(ask(jobs_cancel, second), 0); /* queued: at once */
    assert_job(second, "cancelled", 0);
    json_t *job = NULL;
    sp_error err = {0};
    assert_int_equal(jobs_cancel(js, 0, first, &job, &err), 0);
    assert_string_equal(get(job, "state"), "running");
    assert_string_equal(get(job, "stopping"), "cancel");
    json_decref(job);
    wait_for(first, "cancelled");
    assert_int_equal(ask(resume, first), SP_EBUSY);
    assert_int_equal(ask(jobs_cancel, "j_none"), SP_ENOTFOUND);
}

static void test_so_many_at_once(void **state)
{
    const char *ids[5];
    (void)state;
    for (size_t i = 0; i < 4; i++)
        ids[i] = add("double", 2, 0);
    ids[4] = add("once", 1, 0); /* another kind doesn't wait for them */
    wait_running(3);
    open_gates(9);
    for (size_t i = 0; i < 5; i++)
        wait_for(ids[i], "done");
    assert_int_equal(running_most, 3);
}

static void test_a_failure_says_why_and_can_be_tried_again(void **state)
{
    json_t *job = NULL;
    sp_error err = {0};
    (void)state;
    gated = false;
    const char *id = add("double", 3, -1);
    wait_for(id, "failed");
    assert_int_equal(jobs_get(js, 0, id, &job, &err), 0);
    assert_string_equal(get(json_object_get(job, "error"), "code"), "invalid_value");
    assert_string_equal(get(json_object_get(job, "error"), "message"), "-1 can't be doubled");
    json_decref(job);
    json_t *two = json_integer(2);
    assert_int_equal(store_part_done(s, id, 0, two, &err), 0);
    json_decref(two);
    assert_int_equal(ask(resume, id), 0);
    wait_for(id, "done");
    assert_int_equal(jobs_get(js, 0, id, &job, &err), 0);
    assert_true(json_is_null(json_object_get(job, "error")));
    json_decref(job);
}

static void test_the_end_of_the_program(void **state)
{
    (void)state;
    const char *a = add("double", 3, 0), *b = add("once", 1, 0), *c = add("once", 1, 0);
    wait_running(2);
    finish(); /* what ran is interrupted, what was queued stays so */
    begin(false);
    assert_job(a, "interrupted", 0);
    assert_job(b, "interrupted", 0);
    assert_job(c, "queued", 0);
    assert_int_equal(ask(resume, b), SP_EBUSY); /* its kind can't */
    assert_int_equal(ask(resume, a), 0);
    open_gates(4);
    sp_error err = {0};
    assert_int_equal(jobs_start(js, &err), 0);
    wait_for(a, "done");
    wait_for(c, "done");
}

/* As kill -9 leaves it: the row says that it runs. */
static void test_after_a_crash(void **state)
{
    sp_error err = {0};
    json_t *job = NULL;
    (void)state;
    finish();
    begin(false);
    const char *id = add("double", 3, 5);
    struct store_job_change to = {.state = "running", .starts = true, .done = 1, .total = 3};
    assert_int_equal(store_job_change(s, 0, id, &to, &job, &err), 0);
    json_decref(job);
    json_t *ten = json_integer(10);
    assert_int_equal(store_part_done(s, id, 0, ten, &err), 0);
    json_decref(ten);
    finish();
    begin(true);
    assert_job(id, "interrupted", 1);
    open_gates(2); /* as many as are left */
    assert_int_equal(ask(resume, id), 0);
    wait_for(id, "done");
    assert_job(id, "done", 3);
}

/* A kind that the program doesn't know (any more). */
static void test_an_unknown_kind(void **state)
{
    json_t *job = NULL, *params = json_object();
    sp_error err = {0};
    (void)state;
    struct store_new_job n = {.kind = "spin", .title = "", .unit = "items", .params = params};
    assert_int_equal(jobs_add(js, 0, &n, &job, &err), SP_EINVAL);
    assert_int_equal(store_job_add(s, 0, &n, &job, &err), 0);
    char id[STORE_ID_BYTES];
    (void)snprintf(id, sizeof id, "%s", get(job, "id"));
    json_decref(job);
    json_decref(params);
    finish();
    begin(true);
    assert_int_equal(jobs_get(js, 0, id, &job, &err), 0);
    assert_string_equal(get(job, "state"), "failed");
    assert_string_equal(get(json_object_get(job, "error"), "code"), "not_supported");
    json_decref(job);
}

static void test_the_queue_is_bounded(void **state)
{
    json_t *params = json_object(), *job = NULL;
    sp_error err = {0};
    (void)state;
    struct store_new_job n = {.kind = "once", .title = "", .params = params};
    finish();
    begin(false);
    for (size_t i = 0; i < JOBS_LIVE_MOST; i++) {
        assert_int_equal(jobs_add(js, 0, &n, &job, &err), 0);
        json_decref(job);
    }
    assert_int_equal(jobs_add(js, 0, &n, &job, &err), SP_EFULL);
    json_decref(params);
}

static void test_removing(void **state)
{
    json_t *job = NULL;
    sp_error err = {0};
    (void)state;
    const char *a = add("once", 1, 0), *b = add("once", 1, 0);
    wait_running(1);
    assert_int_equal(jobs_remove(js, 0, a, &err), SP_EBUSY);
    assert_int_equal(jobs_remove(js, 1, b, &err), SP_ENOTFOUND);
    assert_int_equal(jobs_remove(js, 0, b, &err), 0); /* queued: it never runs */
    wait_for(b, "job_deleted");
    assert_int_equal(jobs_get(js, 0, b, &job, &err), SP_ENOTFOUND);
    open_gates(1);
    wait_for(a, "done");
    assert_int_equal(jobs_remove(js, 0, a, &err), 0);
    int64_t all = 0, done = 0;
    assert_int_equal(store_parts_count(s, a, &all, &done, &err), 0);
    assert_int_equal(all, 0);
    assert_int_equal(jobs_remove(js, 0, a, &err), SP_ENOTFOUND);
}

/* 20,000 steps of progress are not 20,000 events, and the last one counts. */
static void test_progress_is_told_seldom(void **state)
{
    (void)state;
    double began = clock_seconds();
    const char *id = add("fast", 0, 0);
    wait_for(id, "done");
    double took = clock_seconds() - began;
    size_t n = 0;
    int64_t last = -1;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < n_events; i++) {
        if (strcmp(get(events[i], "id"), id) != 0)
            continue;
        assert_true(done_of(events[i]) >= last);
        last = done_of(events[i]);
        n++;
    }
    pthread_mutex_unlock(&lock);
    assert_int_equal(last, 20000);
    assert_true(n >= 3 && (double)n <= 4 + took / JOBS_TELL_SECONDS);
}

static void test_pages_of_jobs(void **state)
{
    json_t *page = NULL;
    sp_error err = {0};
    (void)state;
    finish();
    begin(false);
    const char *ids[5];
    for (size_t i = 0; i < 5; i++)
        ids[i] = add(i % 2 ? "once" : "double", 1, 0);
    struct store_job_query q = {.limit = 2};
    assert_int_equal(jobs_list(js, 0, &q, &page, &err), 0);
    const json_t *list = json_object_get(page, "data");
    assert_int_equal(json_array_size(list), 2);
    assert_string_equal(get(json_array_get(list, 0), "id"), ids[4]); /* newest first */
    q.cursor = get(page, "next");
    json_t *next = NULL;
    assert_int_equal(jobs_list(js, 0, &q, &next, &err), 0);
    assert_string_equal(get(json_array_get(json_object_get(next, "data"), 0), "id"), ids[2]);
    json_decref(page);
    json_decref(next);
    q = (struct store_job_query){.limit = 50, .kind = "once", .state = "queued"};
    assert_int_equal(jobs_list(js, 0, &q, &page, &err), 0);
    assert_int_equal(json_array_size(json_object_get(page, "data")), 2);
    assert_true(json_is_null(json_object_get(page, "next")));
    json_decref(page);
    q.cursor = "x";
    assert_int_equal(jobs_list(js, 0, &q, &page, &err), SP_EINVAL);
    q = (struct store_job_query){.limit = 50};
    assert_int_equal(jobs_list(js, 1, &q, &page, &err), 0);
    assert_int_equal(json_array_size(json_object_get(page, "data")), 0);
    json_decref(page);
}

static void test_input_and_parts(void **state)
{
    json_t *job = NULL, *params = json_object(), *parts = NULL;
    sp_error err = {0};
    char *text = NULL;
    size_t n = 0;
    (void)state;
    finish();
    begin(false);
    struct store_new_job new = {
        .kind = "double", .title = "", .params = params, .input = str_of("长江 and more")};
    assert_int_equal(jobs_add(js, 0, &new, &job, &err), 0);
    const char *id = get(job, "id");
    assert_int_equal(store_job_input(s, id, &text, &n, &err), 0);
    assert_string_equal(text, "长江 and more");
    assert_int_equal(n, strlen(text));
    sp_free(text);
    json_t *sources = json_pack("[s,s]", "长江", " and more");
    assert_int_equal(store_parts_add(s, id, sources, &err), 0);
    assert_int_equal(store_parts_add(s, id, sources, &err), 0); /* behind the others */
    json_decref(sources);
    assert_int_equal(store_job_input(s, id, &text, &n, &err), SP_ENOTFOUND);
    json_t *result = json_pack("{s:s%}", "text", "a\0b", (size_t)3);
    assert_int_equal(store_part_done(s, id, 2, result, &err), 0);
    struct store_part_query q = {.limit = 10, .open = true};
    assert_int_equal(store_parts(s, id, &q, &parts, &err), 0);
    assert_int_equal(json_array_size(parts), 3);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(parts, 2), "number")), 3);
    json_decref(parts);
    q = (struct store_part_query){.limit = 1, .from = 2};
    assert_int_equal(store_parts(s, id, &q, &parts, &err), 0);
    assert_true(json_equal(json_object_get(json_array_get(parts, 0), "result"), result));
    json_decref(parts);
    json_decref(result);
    int64_t all = 0, done = 0;
    assert_int_equal(store_parts_count(s, id, &all, &done, &err), 0);
    assert_true(all == 4 && done == 1);
    json_decref(job);
    json_decref(params);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
        TEST(test_from_queue_to_done),
        TEST(test_pause_and_resume),
        TEST(test_cancel),
        TEST(test_so_many_at_once),
        TEST(test_a_failure_says_why_and_can_be_tried_again),
        TEST(test_the_end_of_the_program),
        TEST(test_after_a_crash),
        TEST(test_an_unknown_kind),
        TEST(test_the_queue_is_bounded),
        TEST(test_removing),
        TEST(test_progress_is_told_seldom),
        TEST(test_pages_of_jobs),
        TEST(test_input_and_parts),
    };
    if (!mkdtemp(folder))
        return 1;
    int failed = cmocka_run_group_tests_name("jobs", tests, NULL, NULL);
    (void)file_remove_tree(folder, NULL);
    return failed;
}
