/* Loading: what is refused and how it is said, memory, progress, and allocations that fail. */
#include <unistd.h>
#include "model_test.h"
#include "model/model_int.h"

struct fixture {
    char dir[64];
    pool *pool;
};

static int setup(void **state)
{
    struct fixture *f = sp_calloc(1, sizeof *f);
    assert_non_null(f);
    snprintf(f->dir, sizeof f->dir, "/tmp/sampan-model-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    assert_int_equal(pool_new(2, &f->pool, NULL), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    pool_free(f->pool);
    assert_int_equal(file_remove_tree(f->dir, NULL), 0);
    sp_free(f);
    return 0;
}

static struct model_opts opts_for(const struct fixture *f)
{
    struct model_opts o = model_opts_default();
    o.pool = f->pool;
    o.max_rows = 8;
    o.max_context = 64;
    return o;
}

/* A file of tests/data/models; `find`, when given, is the text after which `from` becomes `to`. */
struct change {
    const char *find, *from, *to;
};

static void copy_file(const struct fixture *f, const char *name, const char *file,
                      const struct change *c)
{
    char path[512], *data = NULL;
    size_t size = 0;
    sp_error err = {0};
    snprintf(path, sizeof path, "%s/%s/%s", MODELS, name, file);
    expect_ok(file_read(path, 1 << 24, &data, &size, &err), &err);
    if (c && c->find) {
        char *at = memmem(data, size, c->find, strlen(c->find));
        assert_non_null(at);
        at = memmem(at, size - (size_t)(at - data), c->from, strlen(c->from));
        assert_non_null(at);
        assert_int_equal(strlen(c->from), strlen(c->to));
        memcpy(at, c->to, strlen(c->to));
    }
    snprintf(path, sizeof path, "%s/%s", f->dir, file);
    expect_ok(file_write_atomic(path, data, size, &err), &err);
    sp_free(data);
}

static int load(const char *path, const struct model_opts *o, sp_error *err)
{
    checkpoint *c = NULL;
    model *m = NULL;
    expect_ok(checkpoint_open(path, &c, err), err);
    int code = model_load(c, o, &m, err);
    model_free(m);
    checkpoint_close(c);
    return code;
}

static void expect_refused(const struct fixture *f, int code, const char *says)
{
    sp_error err = {0};
    struct model_opts o = opts_for(f);
    assert_int_equal(load(f->dir, &o, &err), code);
    if (!strstr(err.message, says))
        fail_msg("\"%s\" does not say \"%s\"", err.message, says);
}

static void test_shapes_that_do_not_fit(void **state)
{
    struct fixture *f = *state;
    static const struct {
        struct change config;
        const char *says;
    } cases[] = {
        {{"\"hidden_size\"", "32", "40"},
         "tensor model.embed_tokens.weight: wanted shape [200, 40], found [200, 32]"},
        {{"\"vocab_size\"", "200", "201"},
         "tensor model.embed_tokens.weight: wanted shape [201, 32], found [200, 32]"},
        {{"\"intermediate_size\"", "48", "49"},
         "tensor model.layers.0.mlp.gate_proj.weight: wanted shape [49, 32], found [48, 32]"},
        {{"\"num_key_value_heads\"", "2", "4"},
         "tensor model.layers.0.self_attn.k_proj.weight: wanted shape [32, 32], found [16, 32]"},
        {{"\"num_hidden_layers\"", "3", "4"},
         "tensor model.layers.3.input_layernorm.weight is missing"},
        {{"\"tie_word_embeddings\"", "true", "null"}, "tensor lm_head.weight is missing"},
    };
    copy_file(f, "qwen2-tied", "model.safetensors", NULL);
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        copy_file(f, "qwen2-tied", "config.json", &cases[i].config);
        expect_refused(f, SP_EFORMAT, cases[i].says);
    }
}

static void test_experts_that_do_not_fit(void **state)
{
    struct fixture *f = *state;
    static const struct {
        struct change config;
        const char *says;
    } cases[] = {
        {{"\"num_experts\"", "6", "7"}, "mlp.gate.weight: wanted shape [7, 32], found [6, 32]"},
        {{"\"moe_intermediate_size\"", "16", "18"},
         "experts.0.gate_proj.weight: wanted shape [18, 32]"},
        {{"\"shared_expert_intermediate_size\"", "24", "20"},
         "shared_expert.gate_proj.weight: wanted shape [20, 32]"},
        {{"\"decoder_sparse_step\"", "1", "2"}, "layers.0.mlp.gate_proj.weight is missing"},
    };
    copy_file(f, "qwen2-moe", "model.safetensors", NULL);
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        copy_file(f, "qwen2-moe", "config.json", &cases[i].config);
        expect_refused(f, SP_EFORMAT, cases[i].says);
    }
    copy_file(f, "qwen2-moe", "config.json", NULL);
    const struct change mixed = {"\"model.layers.2.mlp.experts.4.up_proj.weight\"", "\"BF16\"",
                                 "\"F16\" "};
    copy_file(f, "qwen2-moe", "model.safetensors", &mixed);
    expect_refused(f, SP_EUNSUPPORTED, "experts of one layer must have one type");
}

/* transformers 4 and 5 have named the text part of a model that sees differently. */
static void test_both_names_of_a_text_part(void **state)
{
    struct fixture *f = *state;
    static const char old[] = "language_model.model.", new[] = "model.language_model.";
    struct model_opts o = opts_for(f);
    char path[512], *data = NULL, *at;
    size_t size = 0, found = 0;
    sp_error err = {0};
    copy_file(f, "gemma3-vision", "config.json", NULL);
    copy_file(f, "gemma3-vision", "model.safetensors", NULL);
    expect_ok(load(f->dir, &o, &err), &err);
    snprintf(path, sizeof path, "%s/model.safetensors", f->dir);
    expect_ok(file_read(path, 1 << 24, &data, &size, &err), &err);
    for (at = data; (at = memmem(at, size - (size_t)(at - data), old, strlen(old))); found++)
        memcpy(at, new, strlen(new));
    assert_true(found > 20);
    expect_ok(file_write_atomic(path, data, size, &err), &err);
    sp_free(data);
    expect_ok(load(f->dir, &o, &err), &err);
}

/* One tensor for q, k and v, or for gate and up. */
static void test_fused_tensors_that_do_not_fit(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *model;
        struct change config;
        const char *says;
    } cases[] = {
        {"phi3",
         {"\"num_key_value_heads\"", "4", "2"},
         "self_attn.qkv_proj.weight: wanted shape [64, 32], found [96, 32]"},
        {"phi3",
         {"\"intermediate_size\"", "48", "40"},
         "mlp.gate_up_proj.weight: wanted shape [80, 32], found [96, 32]"},
        {"internlm2",
         {"\"num_key_value_heads\"", "2", "1"},
         "attention.wqkv.weight: wanted shape [48, 32], found [64, 32]"},
        {"qwen",
         {"\"intermediate_size\"", "96", "98"},
         "tensor transformer.h.0.mlp.w2.weight: wanted shape [49, 32], found [48, 32]"},
        {"qwen",
         {"\"kv_channels\"", "8", "6"},
         "tensor transformer.h.0.attn.c_attn.weight: wanted shape [72, 32], found [96, 32]"},
    };
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        copy_file(f, cases[i].model, "model.safetensors", NULL);
        copy_file(f, cases[i].model, "config.json", &cases[i].config);
        expect_refused(f, SP_EFORMAT, cases[i].says);
    }
}

static void test_types_that_hold_no_weights(void **state)
{
    struct fixture *f = *state;
    copy_file(f, "qwen2-tied", "config.json", NULL);
    const struct change matrix = {"\"model.layers.1.mlp.up_proj.weight\"", "F32", "I32"};
    copy_file(f, "qwen2-tied", "model.safetensors", &matrix);
    expect_refused(f, SP_EUNSUPPORTED, "tensor model.layers.1.mlp.up_proj.weight: weights of type");
    const struct change vector = {"\"model.norm.weight\"", "F32", "I32"};
    copy_file(f, "qwen2-tied", "model.safetensors", &vector);
    expect_refused(f, SP_EUNSUPPORTED, "tensor model.norm.weight: a vector of type");
}

static void test_vectors_of_wrong_length(void **state)
{
    struct fixture *f = *state;
    const struct change head = {"\"head_dim\"", "24", "20"};
    copy_file(f, "qwen3", "model.safetensors", NULL);
    copy_file(f, "qwen3", "config.json", &head);
    expect_refused(f, SP_EFORMAT, "q_norm.weight: wanted shape [20], found [24]");
}

static void test_divisors_that_make_no_sense(void **state)
{
    struct fixture *f = *state;
    char path[512], *data = NULL;
    size_t size = 0;
    sp_error err = {0};
    checkpoint *c = NULL;
    struct model_opts o = opts_for(f);
    copy_file(f, "llama-gguf", "model.gguf", NULL);
    snprintf(path, sizeof path, "%s/model.gguf", f->dir);
    expect_ok(checkpoint_open(path, &c, &err), &err);
    const struct tensor_view *t = checkpoint_find(c, "rope_freqs.weight");
    assert_non_null(t);
    size_t at = (size_t)(t->data - t->map->data);
    checkpoint_close(c);
    expect_ok(file_read(path, 1 << 24, &data, &size, &err), &err);
    memset(data + at + 4, 0, 4);
    expect_ok(file_write_atomic(path, data, size, &err), &err);
    sp_free(data);
    assert_int_equal(load(path, &o, &err), SP_EFORMAT);
    assert_non_null(strstr(err.message, "RoPE frequency 1 comes out as inf"));
}

static void test_options_out_of_range(void **state)
{
    struct fixture *f = *state;
    struct model_opts o = opts_for(f);
    struct model_memory mem;
    checkpoint *c = NULL;
    model *m = NULL;
    sp_error err = {0};
    expect_ok(checkpoint_open(MODELS "/llama", &c, &err), &err);
    const struct {
        int64_t rows, context;
    } cases[] = {{0, 64}, {-1, 64}, {INT64_MAX, 64}, {8, 0}, {8, -1}, {8, INT64_MAX}};
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        o.max_rows = cases[i].rows;
        o.max_context = cases[i].context;
        assert_int_equal(model_load(c, &o, &m, &err), SP_EINVAL);
        assert_int_equal(model_memory_plan(c, &o, &mem, &err), SP_EINVAL);
        assert_null(m);
    }
    checkpoint_close(c);
}

static void test_instruction_set(void **state)
{
    struct fixture *f = *state;
    struct model_opts o = opts_for(f);
    sp_error err = {0};
    o.isa_given = true;
    for (int isa = ISA_REF; isa <= ISA_AVX512; isa++) {
        o.isa = (enum cpu_isa)isa;
        int code = load(MODELS "/llama", &o, &err);
        assert_int_equal(code, kernel_get(o.isa) ? 0 : SP_EUNSUPPORTED);
    }
    o.isa_given = false;
    setenv("SAMPAN_ISA", "mmx", 1);
    assert_true(load(MODELS "/llama", &o, &err) < 0);
    assert_non_null(strstr(err.message, "mmx"));
    unsetenv("SAMPAN_ISA");
}

static void test_plan_is_what_is_taken(void **state)
{
    struct fixture *f = *state;
    struct model_opts o = opts_for(f);
    sp_error err = {0};
    static const struct {
        enum compute_mode compute;
        bool given;
        enum kv_type asked, type;
        size_t bytes;
    } cases[] = {{COMPUTE_FAST, false, KV_F32, KV_F16, 2},
                 {COMPUTE_F32, false, KV_F16, KV_F32, 4},
                 {COMPUTE_FAST, true, KV_BF16, KV_BF16, 2},
                 {COMPUTE_FAST, true, KV_F32, KV_F32, 4},
                 {COMPUTE_F32, true, KV_F16, KV_F16, 2}};
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        struct model_memory mem;
        checkpoint *c = NULL;
        model *m = NULL;
        kv_pool *kv = NULL;
        o.compute = cases[i].compute;
        o.kv_given = cases[i].given;
        o.kv_type = cases[i].asked;
        expect_ok(checkpoint_open(MODELS "/qwen2-gguf/model.gguf", &c, &err), &err);
        expect_ok(model_memory_plan(c, &o, &mem, &err), &err);
        expect_ok(model_load(c, &o, &m, &err), &err);
        expect_ok(kv_pool_new(m, 3, &kv, &err), &err);
        assert_int_equal(mem.weights, m->weight_bytes);
        assert_int_equal(mem.kv_page * 3, kv->bytes);
        /* 2 layers, 2 KV heads of 16, K and V of 64 positions */
        assert_int_equal(mem.kv_page, 2 * 2 * 16 * 2 * 64 * cases[i].bytes);
        assert_int_equal(kv_pool_type(kv), cases[i].type);
        assert_true(mem.scratch >= 32 * 200 * sizeof(float) + 64 * 16 * sizeof(float));
        assert_int_equal(model_compute(m), o.compute);
        assert_string_equal(model_isa(m), model_ops(m)->name);
        kv_pool_free(kv);
        model_free(m);
        o.pool = NULL; /* a plan needs none */
        expect_ok(model_memory_plan(c, &o, &mem, &err), &err);
        o.pool = f->pool;
        checkpoint_close(c);
    }
}

struct progress {
    int calls, stop_at;
    uint64_t last, total;
};

static int count_progress(void *arg, uint64_t done, uint64_t total)
{
    struct progress *p = arg;
    assert_true(done >= p->last && done <= total);
    p->last = done;
    p->total = total;
    return ++p->calls == p->stop_at;
}

static void test_progress_and_stopping(void **state)
{
    struct fixture *f = *state;
    struct model_opts o = opts_for(f);
    struct progress p = {0};
    sp_error err = {0};
    o.progress = count_progress;
    o.progress_arg = &p;
    expect_ok(load(MODELS "/llama", &o, &err), &err);
    assert_true(p.calls >= 1 && p.total > 0);
    assert_int_equal(p.last, p.total);
    p = (struct progress){.stop_at = 1};
    assert_int_equal(load(MODELS "/llama", &o, &err), SP_ECANCELLED);
}

static void test_failing_allocations(void **state)
{
    static const char *const paths[] = {MODELS "/llama-gguf/model.gguf", MODELS "/gemma3-vision",
                                        MODELS "/phi3-gguf/model.gguf", MODELS "/internlm2"};
    struct fixture *f = *state;
    struct model_opts o = opts_for(f);
    for (size_t i = 0; i < SP_COUNT(paths); i++) {
        checkpoint *c = NULL;
        model *m = NULL;
        sp_error err = {0};
        expect_ok(checkpoint_open(paths[i], &c, &err), &err);
        long n = 1;
        for (;; n++) {
            sp_alloc_fail_nth(n);
            int code = model_load(c, &o, &m, &err);
            sp_alloc_fail_nth(0);
            if (code == 0)
                break;
            assert_int_equal(code, SP_ENOMEM);
            assert_null(m);
        }
        assert_true(n > 5);
        model_free(m);
        checkpoint_close(c);
    }
    model_free(NULL);
}

#define LOAD_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOAD_TEST(test_shapes_that_do_not_fit),
        LOAD_TEST(test_experts_that_do_not_fit),
        LOAD_TEST(test_both_names_of_a_text_part),
        LOAD_TEST(test_fused_tensors_that_do_not_fit),
        LOAD_TEST(test_types_that_hold_no_weights),
        LOAD_TEST(test_vectors_of_wrong_length),
        LOAD_TEST(test_divisors_that_make_no_sense),
        LOAD_TEST(test_options_out_of_range),
        LOAD_TEST(test_instruction_set),
        LOAD_TEST(test_plan_is_what_is_taken),
        LOAD_TEST(test_progress_and_stopping),
        LOAD_TEST(test_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
