/* The rules of a batch, and what a step may touch. */
#include "model_test.h"
#include "model/model_int.h"

#define NAME "qwen2-tied"
#define MAX_ROWS 40

struct fixture {
    struct bench b;
    struct golden g;
    int32_t pages[2][SEQ_PAGES];
    struct model_seq seqs[2];
    struct model_row rows[MAX_ROWS + 1];
};

static int setup(void **state)
{
    struct fixture *f = sp_calloc(1, sizeof *f);
    struct bench_opts o = {NAME, COMPUTE_F32, NULL, 1, MAX_ROWS, 0};
    assert_non_null(f);
    golden_open(&f->g, NAME);
    bench_open(&f->b, &o);
    for (int s = 0; s < 2; s++) {
        for (int i = 0; i < SEQ_PAGES; i++)
            f->pages[s][i] = s * SEQ_PAGES + i;
        f->seqs[s] = (struct model_seq){f->pages[s], SEQ_PAGES};
    }
    for (int i = 0; i <= MAX_ROWS; i++)
        f->rows[i] = (struct model_row){f->g.tokens[i], i, 0, true};
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

static int forward(struct fixture *f, int64_t n, int32_t n_seqs, sp_error *err)
{
    const struct model_batch b = {f->rows, n, f->seqs, n_seqs};
    return model_forward(f->b.m, &b, f->b.kv, err);
}

static void expect_refused(struct fixture *f, int64_t n, const char *says)
{
    sp_error err = {0};
    assert_int_equal(forward(f, n, 2, &err), SP_EINVAL);
    if (!strstr(err.message, says))
        fail_msg("\"%s\" does not say \"%s\"", err.message, says);
}

static void test_number_of_rows(void **state)
{
    struct fixture *f = *state;
    expect_refused(f, 0, "0 rows");
    expect_refused(f, -1, "-1 rows");
    expect_refused(f, MAX_ROWS + 1, "41 rows");
    assert_int_equal(forward(f, MAX_ROWS, 2, NULL), 0);
}

static void test_bad_rows(void **state)
{
    struct fixture *f = *state;
    static const struct {
        struct model_row row;
        const char *says;
    } cases[] = {{{-1, 2, 0, true}, "row 2: token -1"},
                 {{200, 2, 0, true}, "row 2: token 200"},
                 {{1, 2, 2, true}, "row 2: no sequence 2"},
                 {{1, 2, -1, true}, "row 2: no sequence -1"},
                 {{1, -1, 1, true}, "row 2: position -1"},
                 {{1, SEQ_PAGES * KV_PAGE, 1, true}, "row 2: position 256"},
                 {{1, INT32_MAX, 1, true}, "row 2: position 2147483647"},
                 {{1, 3, 0, true}, "row 2: position 3 after 1"},
                 {{1, 1, 0, true}, "row 2: position 1 after 1"}};
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        f->rows[2] = cases[i].row;
        expect_refused(f, 3, cases[i].says);
    }
}

static void test_position_without_page(void **state)
{
    struct fixture *f = *state;
    f->seqs[1].n_pages = 1;
    f->rows[2] = (struct model_row){1, KV_PAGE, 1, true};
    expect_refused(f, 3, "row 2: position 64");
    f->rows[2].pos = KV_PAGE - 1;
    assert_int_equal(forward(f, 3, 2, NULL), 0);
}

static void test_rows_not_adjacent(void **state)
{
    struct fixture *f = *state;
    f->rows[1] = (struct model_row){1, 0, 1, true};
    f->rows[2] = (struct model_row){1, 1, 0, true};
    expect_refused(f, 3, "row 2: the rows of sequence 0 are not adjacent");
}

static void test_bad_pages(void **state)
{
    struct fixture *f = *state;
    f->rows[1] = (struct model_row){1, KV_PAGE, 1, true};
    f->pages[1][0] = 4 * SEQ_PAGES;
    expect_refused(f, 2, "sequence 1: page 16");
    f->pages[1][0] = -1;
    expect_refused(f, 2, "sequence 1: page -1");
    f->pages[1][0] = SEQ_PAGES;
    f->pages[1][3] = -1; /* not reached */
    assert_int_equal(forward(f, 2, 2, NULL), 0);
}

static void test_page_of_two_writers(void **state)
{
    struct fixture *f = *state;
    f->rows[1] = (struct model_row){1, 0, 1, true};
    f->pages[1][0] = f->pages[0][0];
    expect_refused(f, 2, "sequence 1: page 0 is written twice");
    f->rows[1].pos = KV_PAGE; /* reads the shared page, writes its own */
    assert_int_equal(forward(f, 2, 2, NULL), 0);
}

/* Logits come for the wanted rows only, in their order; the others still leave K and V. */
static void test_wanted_rows(void **state)
{
    struct fixture *f = *state;
    int64_t vocab = f->g.vocab;
    float *all = run_chunks(&f->b, f->g.tokens, MAX_ROWS, MAX_ROWS);
    float *some = sp_calloc((size_t)(3 * vocab), sizeof *some);
    assert_non_null(some);
    for (int i = 0; i < MAX_ROWS; i++)
        f->rows[i].want_logits = i == 3 || i == 30 || i == 31;
    assert_int_equal(forward(f, MAX_ROWS, 1, NULL), 0);
    model_logits(f->b.m, 0, 3, some);
    assert_memory_equal(some, all + 3 * vocab, (size_t)vocab * sizeof(float));
    assert_memory_equal(some + vocab, all + 30 * vocab, (size_t)(2 * vocab) * sizeof(float));
    memset(some, 0, (size_t)vocab * sizeof(float));
    model_logits(f->b.m, 2, 1, some);
    assert_memory_equal(some, all + 31 * vocab, (size_t)vocab * sizeof(float));
    sp_free(some);
    sp_free(all);
}

static void test_no_rows_wanted(void **state)
{
    struct fixture *f = *state;
    int64_t vocab = f->g.vocab;
    float *all = run_chunks(&f->b, f->g.tokens, MAX_ROWS, MAX_ROWS);
    float *last = sp_calloc((size_t)vocab, sizeof *last);
    assert_non_null(last);
    for (int i = 0; i < MAX_ROWS; i++)
        f->rows[i].want_logits = false;
    f->seqs[0].pages = f->pages[1];
    assert_int_equal(forward(f, MAX_ROWS - 1, 1, NULL), 0);
    f->rows[0] = f->rows[MAX_ROWS - 1];
    f->rows[0].want_logits = true;
    assert_int_equal(forward(f, 1, 1, NULL), 0);
    model_logits(f->b.m, 0, 1, last);
    assert_memory_equal(last, all + (MAX_ROWS - 1) * vocab, (size_t)vocab * sizeof(float));
    sp_free(last);
    sp_free(all);
}

/* A sequence goes on from a copy of another's page as from its own. */
static void test_a_copied_page(void **state)
{
    struct fixture *f = *state;
    int64_t vocab = f->g.vocab;
    float *all = run_chunks(&f->b, f->g.tokens, MAX_ROWS, MAX_ROWS);
    float *last = sp_calloc((size_t)vocab, sizeof *last);
    assert_non_null(last);
    assert_int_equal(forward(f, MAX_ROWS - 1, 1, NULL), 0);
    f->pages[1][0] = 3 * SEQ_PAGES + 1; /* nobody has written there */
    kv_pool_copy(f->b.kv, f->pages[0][0], f->pages[1][0]);
    f->rows[0] = f->rows[MAX_ROWS - 1];
    f->rows[0].seq = 1;
    assert_int_equal(forward(f, 1, 2, NULL), 0);
    model_logits(f->b.m, 0, 1, last);
    assert_memory_equal(last, all + (MAX_ROWS - 1) * vocab, (size_t)vocab * sizeof(float));
    sp_free(last);
    sp_free(all);
}

/* The memory of a model is written to through its backend only. */
static void set(struct fixture *f, struct tensor to, const float *values, int64_t n)
{
    backend *b = f->b.m->backend;
    b->table->upload(b, to, values, (size_t)n * sizeof *values);
}

/* What other pages hold is never seen: not even NaN or infinity. */
static void test_foreign_pages_are_not_read(void **state)
{
    struct fixture *f = *state;
    float *before = run_chunks(&f->b, f->g.tokens, MAX_ROWS, 7);
    kv_pool *kv = f->b.kv;
    float *values = sp_malloc(kv->bytes);
    assert_non_null(values);
    for (size_t i = 0; i < kv->bytes / sizeof *values; i++)
        values[i] = i % 2 ? NAN : INFINITY;
    set(f, (struct tensor){kv->buffer, 0}, values, (int64_t)(kv->bytes / sizeof *values));
    sp_free(values);
    float *after = run_chunks(&f->b, f->g.tokens, MAX_ROWS, 7);
    assert_memory_equal(before, after, (size_t)(MAX_ROWS * f->g.vocab) * sizeof(float));
    sp_free(before);
    sp_free(after);
}

static void test_not_finite_names_the_layer(void **state)
{
    struct fixture *f = *state;
    sp_error err = {0};
    const struct tensor_view *norm =
        checkpoint_find(f->b.ckpt, "model.layers.1.input_layernorm.weight");
    assert_true(norm && norm->dtype == DT_F32);
    set(f, f->b.m->layers[1].attn_norm.at, (float[]){INFINITY}, 1);
    assert_int_equal(forward(f, 3, 1, &err), SP_EINTERNAL);
    assert_non_null(strstr(err.message, "layer 1 "));
    set(f, f->b.m->layers[1].attn_norm.at, (const float *)(const void *)norm->data, 1);
    assert_int_equal(forward(f, 3, 1, &err), 0);
    set(f, f->b.m->layers[2].ffn_norm.at, (float[]){NAN}, 1);
    assert_int_equal(forward(f, 3, 1, &err), SP_EINTERNAL);
    assert_non_null(strstr(err.message, "layer 2 "));
}

static void test_a_step_allocates_nothing(void **state)
{
    struct fixture *f = *state;
    float *logits = sp_calloc((size_t)(3 * f->g.vocab), sizeof *logits);
    sp_alloc_fail_nth(1);
    assert_int_equal(forward(f, 3, 1, NULL), 0);
    model_logits(f->b.m, 0, 3, logits);
    assert_int_equal(sp_alloc_count(), 0);
    sp_alloc_fail_nth(0);
    sp_free(logits);
}

static void test_pool_sizes(void **state)
{
    struct fixture *f = *state;
    sp_error err = {0};
    kv_pool *kv = NULL;
    assert_int_equal(kv_pool_pages(f->b.kv), 4 * SEQ_PAGES);
    assert_int_equal(kv_pool_new(f->b.m, 0, &kv, &err), SP_EINVAL);
    assert_int_equal(kv_pool_new(f->b.m, -5, &kv, &err), SP_EINVAL);
    for (int n = 1; n <= 3; n++) {
        sp_alloc_fail_nth(n);
        assert_int_equal(kv_pool_new(f->b.m, 4, &kv, &err), SP_ENOMEM);
        sp_alloc_fail_nth(0);
    }
    assert_null(kv);
    kv_pool_free(NULL);
}

#define STEP_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STEP_TEST(test_number_of_rows),
        STEP_TEST(test_bad_rows),
        STEP_TEST(test_position_without_page),
        STEP_TEST(test_rows_not_adjacent),
        STEP_TEST(test_bad_pages),
        STEP_TEST(test_page_of_two_writers),
        STEP_TEST(test_wanted_rows),
        STEP_TEST(test_no_rows_wanted),
        STEP_TEST(test_a_copied_page),
        STEP_TEST(test_foreign_pages_are_not_read),
        STEP_TEST(test_not_finite_names_the_layer),
        STEP_TEST(test_a_step_allocates_nothing),
        STEP_TEST(test_pool_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
