/* The body of a request, from its bytes to the events of its generation: the first byte picks the endpoint. */
#include <poll.h>
#include <unistd.h>
#include "fuzz_model.h"

static server *s;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    s = fuzz_server();
    return 0;
}

static bool all_done(struct call *c)
{
    pthread_mutex_lock(&c->lock);
    bool done = c->pending == 0;
    pthread_mutex_unlock(&c->lock);
    return done;
}

/* Cancels what has begun and waits for its end, as when the client has left. */
static void settle(struct call *c)
{
    uint64_t count;
    for (size_t i = 0; c->gen && i < c->gen->n_choices; i++)
        if (c->gen->choices[i].submitted)
            engine_cancel(c->gen->engine, c->gen->choices[i].id);
    while (!all_done(c)) {
        struct pollfd p = {s->wake_fd, POLLIN, 0};
        (void)poll(&p, 1, 10);
        if (p.revents & POLLIN)
            fuzz_sink += (size_t)read(s->wake_fd, &count, sizeof count);
    }
    pthread_mutex_lock(&s->ready_lock);
    s->ready = NULL;
    pthread_mutex_unlock(&s->ready_lock);
}

static void check_reply(const struct call *c)
{
    if (!c->reply || fuzz_state.failing)
        return;
    json_t *j = fuzz_json(c->reply, strlen(c->reply));
    fuzz_check(j != NULL, "the answer is JSON");
    fuzz_check(c->status >= 200 && c->status < 500, "no body makes the server fail");
    fuzz_check((c->status != 200) == json_is_object(json_object_get(j, "error")),
               "what is not 200 says why");
    json_decref(j);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const paths[] = {"/v1/chat/completions", "/v1/completions", "/tokenize",
                                        "/detokenize"};
    char allow[ALLOW_MAX];
    if (n == 0)
        return 0;
    struct call c = {.s = s, .started = clock_seconds(), .n_body = n - 1};
    c.route = route_find(paths[data[0] % SP_COUNT(paths)], EVHTTP_REQ_POST, allow);
    c.body = sp_strndup((const char *)data + 1, n - 1);
    if (!c.body)
        return 0;
    atomic_init(&c.gone, false);
    pthread_mutex_init(&c.lock, NULL);
    c.route->work(&c);
    check_reply(&c);
    settle(&c);
    while (c.first) {
        struct call_event *e = c.first;
        c.first = e->next;
        generation_event(&c, e);
        sp_free(e);
    }
    generation_free(c.gen);
    models_release(&c);
    pthread_mutex_destroy(&c.lock);
    sp_free(c.body);
    sp_free(c.reply);
    return 0;
}
