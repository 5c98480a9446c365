/* The prefix cache on disk: found again after a restart, and only what is sound. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include "../tiny_model.h"
#include "base/clock.h"
#include "base/file.h"
#include "pages_check.h"

static char *dir;          /* the model */
static char store_dir[64]; /* "": none yet */
static int32_t prompt[300];

struct answer {
    pthread_mutex_t lock;
    pthread_cond_t over;
    bool done;
    int n;
    int32_t tokens[64];
    int64_t cached;
};

static void on_event(const struct engine_event *ev)
{
    struct answer *a = ev->user;
    if (ev->kind == EVENT_TOKEN)
        a->tokens[a->n++] = ev->token;
    if (ev->kind != EVENT_DONE)
        return;
    pthread_mutex_lock(&a->lock);
    a->done = true;
    a->cached = ev->cached_tokens;
    pthread_cond_signal(&a->over);
    pthread_mutex_unlock(&a->lock);
}

static struct engine_opts options(void)
{
    struct engine_opts o = engine_opts_default();
    o.threads = 1;
    o.max_context = 0;
    o.max_seqs = 2; /* 16 pages */
    o.prefix_store = store_dir;
    return o;
}

static engine *open_with(const struct engine_opts *o)
{
    engine *e = NULL;
    sp_error err = {0};
    if (engine_open(dir, o, &e, &err) < 0)
        fail_msg("%s", err.message);
    return e;
}

static engine *open_it(void)
{
    struct engine_opts o = options();
    return open_with(&o);
}

static struct answer ask(engine *e, size_t n, uint64_t tenant)
{
    static struct answer a;
    uint64_t id;
    struct engine_request q = engine_request_default(e);
    memset(&a, 0, sizeof a);
    pthread_mutex_init(&a.lock, NULL);
    pthread_cond_init(&a.over, NULL);
    q.prompt = prompt;
    q.n_prompt = n;
    q.max_tokens = 20;
    q.ignore_end = true;
    q.sampling.seed = 5;
    q.tenant = tenant;
    q.sink = on_event;
    q.user = &a;
    assert_int_equal(engine_submit(e, &q, &id, NULL), 0);
    pthread_mutex_lock(&a.lock);
    while (!a.done)
        pthread_cond_wait(&a.over, &a.lock);
    pthread_mutex_unlock(&a.lock);
    return a;
}

static void assert_same(const struct answer *a, const struct answer *b)
{
    assert_int_equal(a->n, 20);
    assert_memory_equal(a->tokens, b->tokens, sizeof a->tokens);
}

static int setup(void **state)
{
    (void)state;
    for (int i = 0; i < 300; i++)
        prompt[i] = (i * 29 + i / 5) % 250;
    snprintf(store_dir, sizeof store_dir, "/tmp/sampan-prefix-XXXXXX");
    dir = tiny_model_make();
    return dir && mkdtemp(store_dir) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    file_remove_tree(store_dir, NULL);
    tiny_model_remove(dir);
    return 0;
}

/* The one file in the store. */
static char *store_file(void)
{
    DIR *d = opendir(store_dir);
    char *path = NULL;
    assert_non_null(d);
    for (struct dirent *at = readdir(d); at; at = readdir(d))
        if (at->d_name[0] != '.') {
            assert_null(path);
            path = path_join(store_dir, at->d_name);
        }
    closedir(d);
    assert_non_null(path);
    return path;
}

/* 300 tokens: four full pages, and those of the answer. */
static struct answer fill_store(void)
{
    engine *e = open_it();
    struct answer a = ask(e, 300, 0);
    assert_int_equal(a.cached, 0);
    engine_close(e);
    return a;
}

static void a_restart_is_warm(void **state)
{
    struct answer cold = fill_store();
    (void)state;
    engine *e = open_it();
    int32_t holders[16] = {0};
    check_pages(&e->pages, holders); /* nothing runs yet */
    assert_int_equal(e->pages.n_idle, 4);
    struct answer warm = ask(e, 300, 0);
    assert_int_equal(warm.cached, 256);
    assert_same(&warm, &cold);
    struct answer other = ask(e, 300, 1);
    assert_int_equal(other.cached, 0);
    engine_close(e);
    e = open_it();
    assert_int_equal(e->pages.n_idle, 8);
    other = ask(e, 300, 1);
    assert_int_equal(other.cached, 256);
    assert_same(&other, &cold);
    engine_close(e);
}

/* Only its owner may read it, and one process at a time use it. */
static void it_belongs_to_one(void **state)
{
    struct engine_opts o = options();
    struct stat st;
    engine *second = NULL;
    sp_error err = {0};
    (void)state;
    fill_store();
    char *path = store_file();
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 077, 0);
    engine *e = open_it();
    assert_int_equal(engine_open(dir, &o, &second, &err), SP_EBUSY);
    assert_non_null(strstr(err.message, "another process"));
    engine_close(e);
    assert_int_equal(chmod(path, 0622), 0);
    assert_int_equal(engine_open(dir, &o, &second, &err), SP_EINVAL);
    o.prefix_cache = false;
    assert_int_equal(engine_open(dir, &o, &second, &err), SP_EINVAL);
    assert_non_null(strstr(err.message, "--prefix-cache"));
    sp_free(path);
}

/* What decides a page's bits decides the file: nothing is taken from another one. */
static void other_settings_begin_cold(void **state)
{
    struct engine_opts o = options();
    (void)state;
    fill_store();
    o.kv_given = true;
    o.kv_type = KV_F32;
    engine *e = open_with(&o);
    assert_int_equal(e->pages.n_idle, 0);
    engine_close(e);
    o = options();
    o.compute = COMPUTE_F32;
    e = open_with(&o);
    assert_int_equal(e->pages.n_idle, 0);
    engine_close(e);
    e = open_it();
    assert_int_equal(e->pages.n_idle, 4);
    engine_close(e);
}

static void flip(const char *path, off_t at)
{
    uint8_t byte = 0;
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

/* A flipped bit anywhere costs the page that it is in and what follows it, never an answer. */
static void damage_is_found(void **state)
{
    struct answer cold = fill_store();
    char *path = store_file(), *whole = NULL;
    size_t n = 0;
    (void)state;
    assert_int_equal(file_read(path, 1 << 24, &whole, &n, NULL), 0);
    for (size_t i = 0; i < 40; i++) {
        int fd = open(path, O_WRONLY | O_TRUNC);
        assert_int_equal(write(fd, whole, n), (ssize_t)n);
        close(fd);
        flip(path, (off_t)(rng_uniform(3, i, 0) * (double)n));
        if (i % 4 == 3)
            assert_int_equal(truncate(path, (off_t)(n - i * n / 50)), 0);
        engine *e = open_it();
        assert_in_range(e->pages.n_idle, 0, 3);
        struct answer a = ask(e, 300, 0);
        assert_true(a.cached < 256);
        assert_same(&a, &cold);
        engine_close(e);
        e = open_it(); /* mended */
        assert_int_equal(e->pages.n_idle, 4);
        engine_close(e);
    }
    sp_free(whole);
    sp_free(path);
}

/* Pages are evicted and their places used again, so that records lose their parents. */
static void a_file_of_many_lives_stays_right(void **state)
{
    struct answer once[5], now;
    struct engine_opts o = options();
    (void)state;
    o.prefix_store = NULL;
    o.prefix_cache = false;
    engine *plain = open_with(&o);
    for (size_t i = 0; i < 5; i++)
        once[i] = ask(plain, 100 + 50 * i, 0);
    engine_close(plain);
    int64_t cached = 0;
    for (size_t life = 0; life < 12; life++) {
        int32_t holders[16] = {0};
        engine *e = open_it();
        check_pages(&e->pages, holders);
        for (size_t i = 0; i < 8; i++) {
            size_t which = (size_t)(rng_uniform(life, i, 1) * 5);
            now = ask(e, 100 + 50 * which, (uint64_t)(rng_uniform(life, i, 2) * 4));
            assert_same(&now, &once[which]);
            cached += i == 0 ? now.cached : 0;
        }
        engine_close(e);
    }
    assert_true(cached > 0);
}

static int clean(void **state)
{
    (void)state;
    file_remove_tree(store_dir, NULL);
    return 0;
}

#define STORE_TEST(f) cmocka_unit_test_setup(f, clean)

/* ---- between two steps ---- */

static void sleeping_gives_pages_back_and_wakes_warm(void **state)
{
    struct engine_info info;
    uint64_t kept = 0;
    uint64_t id;
    sp_error err = {0};
    (void)state;
    engine *e = open_it();
    struct answer before = ask(e, 300, 3);
    assert_int_equal(engine_sleep(e, &kept, &err), 0);
    assert_int_equal(engine_sleep(e, &kept, &err), 0);
    engine_get_info(e, &info);
    assert_int_equal(info.kv_pages_free, 0);
    assert_true(kept >= info.weight_bytes); /* too small a model for a packed form on disk */
    struct engine_request q = engine_request_default(e);
    q.prompt = prompt;
    q.n_prompt = 10;
    q.sink = on_event;
    assert_int_equal(engine_submit(e, &q, &id, &err), SP_EBUSY);
    assert_int_equal(engine_wake(e, &err), 0);
    assert_int_equal(engine_wake(e, &err), 0);
    struct answer after = ask(e, 300, 3);
    assert_same(&before, &after);
    assert_int_equal(after.cached, 256);
    engine_close(e);
}

static void flushing_forgets_prefixes(void **state)
{
    struct engine_opts o = options();
    (void)state;
    o.prefix_store = NULL;
    engine *e = open_with(&o);
    struct answer first = ask(e, 300, 4), again = ask(e, 300, 4);
    assert_int_equal(again.cached, 256);
    assert_true(engine_flush_cache(e) >= 4);
    again = ask(e, 300, 4);
    assert_int_equal(again.cached, 0);
    assert_same(&first, &again);
    assert_true(engine_flush_cache(e) >= 4);
    assert_int_equal(engine_flush_cache(e), 0);
    engine_close(e);
}

/* As when a model is replaced while the old one goes on. */
static void a_store_is_handed_over(void **state)
{
    struct engine_opts o = options();
    engine *second = NULL;
    (void)state;
    engine *e = open_it();
    struct answer first = ask(e, 300, 5);
    assert_int_equal(engine_open(dir, &o, &second, NULL), SP_EBUSY);
    engine_leave_store(e);
    second = open_it();
    struct answer there = ask(second, 300, 5), here = ask(e, 300, 5);
    assert_int_equal(there.cached, 256);
    assert_int_equal(here.cached, 256);
    assert_same(&first, &there);
    assert_same(&first, &here);
    engine_close(e);
    engine_close(second);
}

struct both {
    engine *e;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t over;
    int n, done;
    int32_t tokens[30][20];
};

static void on_both(const struct engine_event *ev)
{
    struct both *b = ev->user;
    if (ev->kind == EVENT_TOKEN)
        b->tokens[b->done][b->n++] = ev->token;
    if (ev->kind != EVENT_DONE)
        return;
    pthread_mutex_lock(&b->lock);
    b->n = 0;
    b->done++;
    pthread_cond_signal(&b->over);
    pthread_mutex_unlock(&b->lock);
}

static void *ask_many(void *arg)
{
    struct both *b = arg;
    uint64_t id;
    struct engine_request q = engine_request_default(b->e);
    q.prompt = prompt;
    q.n_prompt = 300;
    q.max_tokens = 20;
    q.ignore_end = true;
    q.sampling.seed = 5;
    q.sink = on_both;
    q.user = b;
    for (int i = 0; i < 30; i++) {
        if (engine_submit(b->e, &q, &id, NULL) < 0)
            return NULL;
        pthread_mutex_lock(&b->lock);
        while (b->done <= i)
            pthread_cond_wait(&b->over, &b->lock);
        pthread_mutex_unlock(&b->lock);
    }
    return NULL;
}

/* Each step has the pool for itself, and the answers are those of an engine alone. */
static void engines_share_a_pool(void **state)
{
    struct engine_opts o = options();
    static struct both both[2];
    pool *p = NULL;
    (void)state;
    o.prefix_store = NULL;
    engine *e = open_with(&o);
    struct answer alone = ask(e, 300, 0);
    engine_close(e);
    assert_int_equal(pool_new(2, &p, NULL), 0);
    o.pool = p;
    for (int i = 0; i < 2; i++) {
        both[i].e = open_with(&o);
        pthread_mutex_init(&both[i].lock, NULL);
        pthread_cond_init(&both[i].over, NULL);
    }
    for (int i = 0; i < 2; i++)
        pthread_create(&both[i].thread, NULL, ask_many, &both[i]);
    for (int i = 0; i < 2; i++) {
        pthread_join(both[i].thread, NULL);
        assert_int_equal(both[i].done, 30);
        for (int k = 0; k < 30; k++)
            assert_memory_equal(both[i].tokens[k], alone.tokens, sizeof both[i].tokens[k]);
        engine_close(both[i].e);
    }
    pool_free(p);
}

static int note_fixed(void *arg, const struct engine_memory *plan)
{
    *(uint64_t *)arg = plan->weights + plan->scratch;
    return 0;
}

/* A packed form on disk stands in for the weights; awake they have the same bits. */
static void weights_sleep_where_a_file_has_them(void **state)
{
    struct engine_opts o = options();
    struct engine_info info;
    char file[96];
    uint64_t kept = 0, awake = 0;
    (void)state;
    o.planned = note_fixed;
    o.planned_arg = &awake;
    (void)snprintf(file, sizeof file, "%s/tiny.packed", store_dir);
    o.prefix_store = NULL;
    o.packed.paths[0] = file;
    o.packed.least = 1;
    for (int i = 0; i < 2; i++) { /* packed by this engine; mapped by the next */
        engine *e = open_with(&o);
        struct answer before = ask(e, 300, 7);
        for (int k = 0; k < 2; k++) {
            assert_int_equal(engine_sleep(e, &kept, NULL), 0);
            engine_get_info(e, &info);
            assert_true(file_exists(file));
            assert_true(kept + info.weight_bytes == awake);
            assert_int_equal(engine_wake(e, NULL), 0);
            struct answer after = ask(e, 300, 7);
            assert_same(&before, &after);
        }
        engine_close(e);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(a_restart_is_warm),
        STORE_TEST(it_belongs_to_one),
        STORE_TEST(other_settings_begin_cold),
        STORE_TEST(damage_is_found),
        STORE_TEST(a_file_of_many_lives_stays_right),
        cmocka_unit_test(sleeping_gives_pages_back_and_wakes_warm),
        cmocka_unit_test(flushing_forgets_prefixes),
        cmocka_unit_test(a_store_is_handed_over),
        cmocka_unit_test(engines_share_a_pool),
        cmocka_unit_test(weights_sleep_where_a_file_has_them),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
