/* That the guarded backend guards: whoever touches the memory of a model from outside is stopped. */
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include "../model/model_test.h"
#include "guarded_backend.h"
#include "model/model_int.h"

#define NAME "qwen2-tied"
#define ROWS 40

struct fixture {
    struct bench b;
    struct golden g;
};

static int setup(void **state)
{
    struct fixture *f = sp_calloc(1, sizeof *f);
    struct bench_opts o = {NAME, COMPUTE_FAST, NULL, 1, ROWS, 0};
    assert_non_null(f);
    golden_open(&f->g, NAME);
    bench_open(&f->b, &o);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    bench_close(&f->b);
    golden_close(&f->g);
    sp_free(f);
    return 0;
}

static void forward_once(const struct fixture *f)
{
    sp_free(run_chunks(&f->b, f->g.tokens, ROWS, ROWS));
}

enum touch { TOUCH_NOT, TOUCH_READ, TOUCH_WRITE };

/* What becomes of a process that does it: as waitpid has it. */
static int status_after(const struct fixture *f, enum touch touch, struct tensor t)
{
    int status = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)signal(SIGSEGV, SIG_DFL);
        (void)setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        volatile uint8_t *at = guarded_address(f->b.m->backend, t);
        if (touch == TOUCH_READ)
            (void)*at;
        if (touch == TOUCH_WRITE)
            *at = 1;
        if (touch == TOUCH_NOT)
            forward_once(f);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void expect_stopped(const struct fixture *f, const char *what, struct tensor t)
{
    for (enum touch touch = TOUCH_READ; touch <= TOUCH_WRITE; touch++) {
        int status = status_after(f, touch, t);
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSEGV)
            fail_msg("%s was %s", what, touch == TOUCH_READ ? "read" : "written to");
    }
}

static void expect_all_stopped(const struct fixture *f)
{
    const model *m = f->b.m;
    const struct layer *l = &m->layers[1];
    expect_stopped(f, "the residual stream", m->s.x);
    expect_stopped(f, "a normed row", m->s.norm);
    expect_stopped(f, "a query", m->s.q);
    expect_stopped(f, "a gate", m->s.gate);
    expect_stopped(f, "a page", kv_pool_layer(f->b.kv, &m->config, 1).at);
    expect_stopped(f, "a weight", l->down.data);
    expect_stopped(f, "a bias", l->q.bias.at);
    expect_stopped(f, "a norm's weight", l->attn_norm.at);
    expect_stopped(f, "the embedding", (struct tensor){m->embedding_at, 0});
    expect_stopped(f, "RoPE's table", m->rope.cos_at);
}

static void touching_is_a_fault(void **state)
{
    const struct fixture *f = *state;
    expect_all_stopped(f);
    forward_once(f);
    expect_all_stopped(f);
}

/* Even then: nothing has run yet. */
static void so_it_is_between_submit_and_sync(void **state)
{
    const struct fixture *f = *state;
    backend *b = f->b.m->backend;
    const struct op op = {
        .kind = OP_GATE, .rows = 1, .gate = {f->b.m->s.gate, f->b.m->s.up, f->b.m->config.ffn}};
    b->table->submit(b, &op);
    expect_all_stopped(f);
    assert_int_equal(b->table->sync(b, NULL), 0);
}

/* It is the touch that stops a process: without one the same process ends well. */
static void a_step_is_none(void **state)
{
    const struct fixture *f = *state;
    assert_int_equal(status_after(f, TOUCH_NOT, f->b.m->s.x), 0);
}

static void forget(void *arg, struct linear *l)
{
    (void)arg;
    l->w.data = NULL;
}

/* What was imported is used there and not where the host still has it. */
static void the_hosts_copies_are_not_used(void **state)
{
    const struct fixture *f = *state;
    model *m = f->b.m;
    float *cos = m->rope.cos, *sin = m->rope.sin;
    float *before = run_chunks(&f->b, f->g.tokens, ROWS, ROWS);
    bind_each(m, forget, NULL);
    m->rope.cos = m->rope.sin = NULL;
    float *after = run_chunks(&f->b, f->g.tokens, ROWS, ROWS);
    assert_memory_equal(before, after, (size_t)(ROWS * f->g.vocab) * sizeof(float));
    m->rope.cos = cos;
    m->rope.sin = sin;
    sp_free(before);
    sp_free(after);
}

#define BOUNDARY_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOUNDARY_TEST(touching_is_a_fault), BOUNDARY_TEST(so_it_is_between_submit_and_sync),
        BOUNDARY_TEST(a_step_is_none), BOUNDARY_TEST(the_hosts_copies_are_not_used)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
