/* Several tiny models in one server: loaded once however many ask, within the limit, unloaded and replaced under
 * requests of which each is answered once. For the thread sanitizer, too. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/socket.h>
#include "../tiny_model.h"
#include "base/log.h"
#include "server/models_int.h"

#define CLIENTS 6
#define REQUESTS 12 /* of each */

static char *dir;
static server *s;
static pthread_t thread;
static int port;
static sem_t ready;
static atomic_int opened; /* engines */
static uint64_t one;      /* bytes of a model */
static pool *shared;
static atomic_int lists; /* which list comes next */

static const char *const a[] = {"a", "first"}, *const b[] = {"b"}, *const c[] = {"c"},
                         *const bad[] = {"bad"};
static const struct server_model many[] = {
    {"tiny", a, 2, true}, {"tiny", b, 1, false}, {"tiny", c, 1, false}, {"broken", bad, 1, false}};

static void on_ready(void *arg, const char *host, int p)
{
    (void)arg;
    (void)host;
    port = p;
    sem_post(&ready);
}

static int open_one(void *arg, const char *spec, struct engine_opts *with, engine **out,
                    sp_error *err)
{
    (void)arg;
    if (strcmp(spec, "broken") == 0)
        return sp_fail(err, SP_EFORMAT, "it is broken");
    with->max_context = 0;
    with->max_seqs = 2;
    atomic_fetch_add(&opened, 1);
    return engine_open(dir, with, out, err);
}

/* With b and without, in turn. */
static int next_list(void *arg, sp_error *err)
{
    const struct server_model fewer[] = {many[0], many[2], many[3]};
    (void)arg;
    return atomic_fetch_add(&lists, 1) % 2 ? server_set_models(s, many, SP_COUNT(many), err)
                                           : server_set_models(s, fewer, SP_COUNT(fewer), err);
}

static int note(void *arg, const struct engine_need *need, uint64_t *memory, sp_error *err)
{
    (void)arg;
    (void)err;
    one = server_model_share(need, (uint64_t)1 << 40, 0);
    *memory = one;
    return 0;
}

static void *loop(void *arg)
{
    (void)arg;
    server_run(s, NULL);
    return NULL;
}

static int start(uint64_t memory)
{
    struct server_opts so = {.host = "127.0.0.1",
                             .models = many,
                             .n_models = SP_COUNT(many),
                             .open = open_one,
                             .pool = shared,
                             .memory = memory,
                             .admin_key = "boss",
                             .on_models = next_list,
                             .on_ready = on_ready};
    sem_init(&ready, 0, 0);
    atomic_store(&opened, 0);
    if (server_new(&so, &s, NULL) < 0 || pthread_create(&thread, NULL, loop, NULL) != 0)
        return -1;
    sem_wait(&ready);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    server_stop(s);
    pthread_join(thread, NULL);
    server_free(s);
    return 0;
}

static int setup(void **state)
{
    struct engine_opts o = engine_opts_default();
    engine *e = NULL;
    (void)state;
    log_setup(LOG_OFF, LOG_TEXT);
    dir = tiny_model_make();
    o.threads = 1;
    o.max_context = 0;
    o.max_seqs = 2;
    o.room = note;
    if (!dir || pool_new(2, &shared, NULL) < 0 || engine_open(dir, &o, &e, NULL) < 0)
        return -1;
    engine_close(e);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    pool_free(shared);
    tiny_model_remove(dir);
    return 0;
}

static int roomy(void **state)
{
    (void)state;
    return start(one * 8);
}

/* The first gets all of it (it shares with nobody), the others make room. */
static int narrow(void **state)
{
    (void)state;
    return start(one * 3 / 2);
}

/* ---- asking ---- */

struct said {
    int status;
    char text[16384];
};

static void ask(struct said *r, const char *path, const char *body)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char text[1024];
    size_t n = 0;
    ssize_t got;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    int len = snprintf(text, sizeof text,
                       "%s %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer boss\r\n"
                       "Connection: close\r\nContent-Length: %zu\r\n\r\n%s",
                       body ? "POST" : "GET", path, body ? strlen(body) : 0, body ? body : "");
    assert_int_equal(write(fd, text, (size_t)len), len);
    while (n < sizeof r->text - 1 && (got = read(fd, r->text + n, sizeof r->text - 1 - n)) > 0)
        n += (size_t)got;
    close(fd);
    r->text[n] = '\0';
    assert_int_equal(sscanf(r->text, "HTTP/1.1 %d", &r->status), 1);
}

static int complete(struct said *r, const char *name)
{
    char body[256];
    snprintf(body, sizeof body,
             "{\"model\":\"%s\",\"prompt\":\"abcdef\",\"max_tokens\":8,\"ignore_eos\":true,"
             "\"temperature\":0}",
             name);
    ask(r, "/v1/completions", body);
    return r->status;
}

static int admin(struct said *r, const char *what, const char *name)
{
    char path[64], body[64];
    snprintf(path, sizeof path, "/admin/%s", what);
    snprintf(body, sizeof body, "{\"model\":\"%s\"%s}", name,
             strcmp(what, "load") == 0 ? ",\"replace\":true" : "");
    ask(r, path, body);
    return r->status;
}

/* ---- clients ---- */

struct client {
    pthread_t thread;
    int number, whole, others;
    bool (*fine)(const struct said *r);
};

static bool answered(const struct said *r)
{
    return r->status == 200 && strstr(r->text, "\"completion_tokens\":8") != NULL;
}

/* While the list changes, b may be gone. */
static bool answered_or_gone(const struct said *r)
{
    return answered(r) || r->status == 404;
}

static void *client_main(void *arg)
{
    static const char *const names[] = {"a", "b", "c", "first"};
    struct client *me = arg;
    struct said *r = sp_malloc(sizeof *r);
    for (int i = 0; i < REQUESTS; i++) {
        (void)complete(r, names[(me->number + i) % 4]);
        if (me->fine(r))
            me->whole++;
        else if (me->others++ == 0)
            print_message("%s\n", r->text);
    }
    sp_free(r);
    return NULL;
}

static void start_clients(struct client *list, bool (*fine)(const struct said *r))
{
    for (int i = 0; i < CLIENTS; i++) {
        list[i] = (struct client){.number = i, .fine = fine};
        pthread_create(&list[i].thread, NULL, client_main, &list[i]);
    }
}

static void join_clients(struct client *list)
{
    for (int i = 0; i < CLIENTS; i++) {
        pthread_join(list[i].thread, NULL);
        assert_int_equal(list[i].whole, REQUESTS);
    }
}

/* ---- tests ---- */

static void many_first_calls_load_once(void **state)
{
    struct client list[CLIENTS];
    (void)state;
    start_clients(list, answered);
    join_clients(list);
    assert_int_equal(atomic_load(&opened), 3);
}

/* What all have never exceeds the limit, whoever looks when. */
static void they_take_turns_within_the_limit(void **state)
{
    struct client list[CLIENTS];
    (void)state;
    start_clients(list, answered);
    for (int i = 0; i < 200; i++) {
        pthread_mutex_lock(&s->models->lock);
        uint64_t used = models_used(s->models), limit = s->models->limit;
        pthread_mutex_unlock(&s->models->lock);
        assert_true(used <= limit);
        clock_sleep(0.001);
    }
    join_clients(list);
    assert_true(atomic_load(&opened) > 3);
}

static void nothing_is_lost_while_models_come_and_go(void **state)
{
    static const char *const what[] = {"sleep", "wake", "load", "unload", "flush-cache", "load"};
    struct client list[CLIENTS];
    struct said *r = sp_malloc(sizeof *r);
    (void)state;
    start_clients(list, answered);
    for (int i = 0; i < 60; i++) {
        int status = admin(r, what[i % 6], many[i % 3].names[0]);
        assert_true(status == 200 || status == 202 || status == 409);
    }
    join_clients(list);
    sp_free(r);
}

static void the_list_changes_under_requests(void **state)
{
    struct client list[CLIENTS];
    struct said *r = sp_malloc(sizeof *r);
    (void)state;
    start_clients(list, answered_or_gone);
    for (int i = 0; i < 20; i++) { /* the last one has b again */
        ask(r, "/admin/reload", "{}");
        assert_int_equal(r->status, 200);
        clock_sleep(0.005);
    }
    join_clients(list);
    assert_int_equal(complete(r, "b"), 200);
    sp_free(r);
}

/* As the page does it: one more in the list, which outlives a reload of it, and out again. */
static void one_joins_and_leaves_under_requests(void **state)
{
    struct client list[CLIENTS];
    struct said *r = sp_malloc(sizeof *r);
    (void)state;
    start_clients(list, answered_or_gone);
    for (int i = 0; i < 8; i++) {
        sp_error err = {0};
        bool dropped = false;
        assert_int_equal(models_add(s, "fourth", &err), 0);
        assert_int_equal(models_add(s, "fourth", &err), 0); /* it is there */
        ask(r, "/admin/reload", "{}");
        assert_int_equal(complete(r, "fourth"), 200);
        assert_int_equal(models_drop(s, "fourth", &dropped, &err), SP_EBUSY); /* loaded */
        assert_false(dropped);
        (void)admin(r, "unload", "fourth");
        for (int k = 0; k < 1000 && !dropped; k++) {
            (void)models_drop(s, "fourth", &dropped, &err); /* its last call may be ending still */
            clock_sleep(0.005);
        }
        assert_true(dropped);
        assert_int_equal(complete(r, "fourth"), 404);
    }
    join_clients(list);
    sp_free(r);
}

static void names_and_the_last_one_are_kept(void **state)
{
    sp_error err = {0};
    bool dropped = true;
    (void)state;
    assert_int_equal(models_add(s, "b", &err), SP_EBUSY); /* a name of another */
    assert_int_equal(models_drop(s, "nobody", &dropped, &err), 0);
    assert_false(dropped);
    assert_int_equal(models_drop(s, "broken", &dropped, &err), 0);
    assert_true(dropped);
    assert_int_equal(models_drop(s, "tiny", &dropped, &err), SP_EBUSY); /* a, which is loaded */
    assert_false(dropped);
}

static void a_load_that_fails_is_told(void **state)
{
    struct said *r = sp_malloc(sizeof *r);
    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(complete(r, "bad"), 500);
        assert_non_null(strstr(r->text, "it is broken"));
        assert_non_null(strstr(r->text, "model_load_failed"));
    }
    assert_int_equal(admin(r, "load", "bad"), 500);
    assert_int_equal(admin(r, "sleep", "bad"), 409);
    assert_int_equal(admin(r, "load", "none"), 404);
    assert_int_equal(complete(r, "a"), 200);
    sp_free(r);
}

static void shares(void **state)
{
    const struct engine_need n = {.fixed = 100, .kv_one = 10, .kv_wanted = 80};
    struct engine_need given = n;
    (void)state;
    assert_int_equal(server_model_share(&n, 1000, 0), 180);
    assert_int_equal(server_model_share(&n, 200, 0), 150); /* half of the rest */
    assert_int_equal(server_model_share(&n, 112, 0), 110); /* one at least */
    assert_int_equal(server_model_share(&n, 109, 0), 0);
    assert_int_equal(server_model_share(&n, 1000, 4), 250);
    assert_int_equal(server_model_share(&n, 300, 4), 110);
    given.kv_given = 30;
    assert_int_equal(server_model_share(&given, 1000, 1), 130);
    assert_int_equal(server_model_share(&given, 129, 0), 0);
    given.kv_given = 5; /* the engine refuses it */
    assert_int_equal(server_model_share(&given, 1000, 0), 110);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares),
        cmocka_unit_test_setup_teardown(many_first_calls_load_once, roomy, stop),
        cmocka_unit_test_setup_teardown(they_take_turns_within_the_limit, narrow, stop),
        cmocka_unit_test_setup_teardown(nothing_is_lost_while_models_come_and_go, roomy, stop),
        cmocka_unit_test_setup_teardown(the_list_changes_under_requests, roomy, stop),
        cmocka_unit_test_setup_teardown(one_joins_and_leaves_under_requests, roomy, stop),
        cmocka_unit_test_setup_teardown(names_and_the_last_one_are_kept, roomy, stop),
        cmocka_unit_test_setup_teardown(a_load_that_fails_is_told, roomy, stop),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
