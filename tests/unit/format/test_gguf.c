/* GGUF to the edge: split models, odd and old metadata. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>
#include "../gguf_draft.h"
#include "base/file.h"
#include "format/checkpoint.h"

static char scratch[] = "/tmp/sampan-gguf-XXXXXX";

static int setup(void **state)
{
    (void)state;
    return mkdtemp(scratch) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    return file_remove_tree(scratch, NULL);
}

/* The least that the configuration of a Llama wants. */
static struct gguf_draft llama_draft(void)
{
    struct gguf_draft d = draft_begin();
    draft_text(&d, "general.architecture", "llama");
    draft_int(&d, "llama.embedding_length", 16);
    draft_int(&d, "llama.block_count", 2);
    draft_int(&d, "llama.attention.head_count", 2);
    draft_int(&d, "llama.context_length", 64);
    return d;
}

static void finish_llama(struct gguf_draft *d)
{
    draft_int(d, "llama.feed_forward_length", 32);
    draft_matrix(d, "token_embd.weight", 8, 16);
}

static int write_and_open(struct gguf_draft *d, const char *name, checkpoint **c, sp_error *err)
{
    char *path = path_join(scratch, name);
    draft_write(d, path);
    *c = NULL;
    int code = checkpoint_open(path, c, err);
    sp_free(path);
    return code;
}

/* ---- split models ---- */

struct part {
    uint32_t no, count, tensors;
    const char *tensor;
};

static void write_part(const char *name, const struct part *p)
{
    struct gguf_draft d = draft_begin();
    if (p->no == 0) {
        buf_free(&d.keys);
        buf_free(&d.table);
        buf_free(&d.data);
        d = llama_draft();
        finish_llama(&d);
    }
    draft_int(&d, "split.no", p->no);
    draft_int(&d, "split.count", p->count);
    draft_int(&d, "split.tensors.count", p->tensors);
    if (p->tensor)
        draft_matrix(&d, p->tensor, 4, 16);
    char *path = path_join(scratch, name);
    draft_write(&d, path);
    sp_free(path);
}

static int open_named(const char *name, checkpoint **c, sp_error *err)
{
    char *path = path_join(scratch, name);
    *c = NULL;
    int code = checkpoint_open(path, c, err);
    sp_free(path);
    return code;
}

static void parts_are_one_model(void **state)
{
    checkpoint *c;
    sp_error err;
    (void)state;
    char *dir = path_join(scratch, "split");
    assert_int_equal(file_mkdirs(dir, NULL), 0);
    write_part("split/out-of-00001-of-00003.gguf", &(struct part){0, 3, 3, NULL});
    write_part("split/out-of-00002-of-00003.gguf", &(struct part){1, 3, 3, "a"});
    write_part("split/out-of-00003-of-00003.gguf", &(struct part){2, 3, 3, "b"});
    assert_int_equal(open_named("split/out-of-00001-of-00003.gguf", &c, &err), 0);
    assert_int_equal(checkpoint_tensor_count(c), 3);
    assert_int_equal(checkpoint_parameters(c), 8 * 16 + 2 * 4 * 16);
    const struct tensor_view *b = checkpoint_find(c, "b");
    assert_non_null(b);
    assert_true(b->data > b->map->data && b->data + b->bytes <= b->map->data + b->map->size);
    checkpoint_close(c);
    assert_int_equal(checkpoint_open(dir, &c, &err), 0); /* the folder holds one model */
    assert_non_null(checkpoint_find(c, "a"));
    checkpoint_close(c);
    assert_int_equal(open_named("split/out-of-00002-of-00003.gguf", &c, &err), SP_EUSAGE);
    assert_non_null(strstr(err.message, "out-of-00001-of-00003.gguf"));
    sp_free(dir);
}

static void broken_splits_are_refused(void **state)
{
    checkpoint *c;
    sp_error err;
    (void)state;
    write_part("m-00001-of-00002.gguf", &(struct part){0, 2, 2, NULL});
    assert_int_equal(open_named("m-00001-of-00002.gguf", &c, &err), SP_ENOTFOUND);
    assert_non_null(strstr(err.message, "m-00002-of-00002.gguf: part 2 of 2 is missing"));
    write_part("m-00002-of-00002.gguf", &(struct part){0, 2, 2, NULL});
    assert_int_equal(open_named("m-00001-of-00002.gguf", &c, &err), SP_EFORMAT);
    write_part("m-00002-of-00002.gguf", &(struct part){1, 2, 2, "token_embd.weight"});
    assert_int_equal(open_named("m-00001-of-00002.gguf", &c, &err), SP_EFORMAT);
    assert_non_null(strstr(err.message, "twice"));
    write_part("m-00002-of-00002.gguf", &(struct part){1, 2, 2, NULL}); /* one tensor short */
    assert_int_equal(open_named("m-00001-of-00002.gguf", &c, &err), SP_EFORMAT);
    assert_non_null(strstr(err.message, "it says 2"));
    write_part("renamed.gguf", &(struct part){0, 2, 2, NULL});
    assert_int_equal(open_named("renamed.gguf", &c, &err), SP_EFORMAT);
    write_part("lies.gguf", &(struct part){7, 2, 2, NULL});
    assert_int_equal(open_named("lies.gguf", &c, &err), SP_EFORMAT);
    write_part("alone.gguf", &(struct part){0, 1, 1, NULL}); /* split into one */
    assert_int_equal(open_named("alone.gguf", &c, &err), 0);
    checkpoint_close(c);
}

static void split_allocations_fail_cleanly(void **state)
{
    checkpoint *c = NULL;
    int code = SP_ENOMEM;
    (void)state;
    write_part("n-00001-of-00002.gguf", &(struct part){0, 2, 2, NULL});
    write_part("n-00002-of-00002.gguf", &(struct part){1, 2, 2, "a"});
    char *path = path_join(scratch, "n-00001-of-00002.gguf");
    for (long n = 1; code == SP_ENOMEM && n < 10000; n++) {
        sp_alloc_fail_nth(n);
        code = checkpoint_open(path, &c, NULL);
        sp_alloc_fail_nth(0);
    }
    assert_int_equal(code, 0);
    checkpoint_close(c);
    sp_free(path);
}

/* ---- metadata ---- */

static void numbers_for_each_layer(void **state)
{
    checkpoint *c;
    sp_error err;
    (void)state;
    struct gguf_draft d = llama_draft();
    draft_ints(&d, "llama.feed_forward_length", (const uint32_t[]){32, 32}, 2);
    draft_matrix(&d, "token_embd.weight", 8, 16);
    assert_int_equal(write_and_open(&d, "same.gguf", &c, &err), 0);
    assert_int_equal(checkpoint_config(c)->ffn, 32);
    checkpoint_close(c);
    d = llama_draft();
    draft_ints(&d, "llama.feed_forward_length", (const uint32_t[]){32, 64}, 2);
    draft_matrix(&d, "token_embd.weight", 8, 16);
    assert_int_equal(write_and_open(&d, "differ.gguf", &c, &err), SP_EFORMAT);
    assert_non_null(strstr(err.message, "llama.feed_forward_length is not one whole number"));
}

static void arrays_in_arrays_are_passed_over(void **state)
{
    checkpoint *c;
    sp_error err;
    gguf *g = NULL;
    int64_t i;
    (void)state;
    struct gguf_draft d = llama_draft();
    draft_key(&d, "odd.nested", GGUF_ARRAY);
    draft_u32(&d.keys, GGUF_ARRAY);
    draft_u64(&d.keys, 2);
    for (uint32_t k = 0; k < 2; k++) {
        draft_u32(&d.keys, GGUF_U32);
        draft_u64(&d.keys, 1);
        draft_u32(&d.keys, k);
    }
    finish_llama(&d);
    assert_int_equal(write_and_open(&d, "nested.gguf", &c, &err), 0);
    checkpoint_close(c);
    char *path = path_join(scratch, "nested.gguf");
    assert_int_equal(gguf_open(path, &g, &err), 0);
    assert_int_equal(gguf_array_int(g, "odd.nested", 0, &i), SP_EFORMAT);
    gguf_close(g);
    sp_free(path);
    d = llama_draft();
    draft_key(&d, "odd.deep", GGUF_ARRAY);
    for (int k = 0; k < 40; k++) {
        draft_u32(&d.keys, GGUF_ARRAY);
        draft_u64(&d.keys, 1);
    }
    finish_llama(&d);
    assert_int_equal(write_and_open(&d, "deep.gguf", &c, &err), SP_EFORMAT);
}

/* llama.cpp multiplies attn_factor on top of YaRN's own factor; yarn_attn_factor is transformers' attention_factor. */
static void yarn_factors(void **state)
{
    static const struct {
        float yarn, times;
        double want; /* 0: derived when the tables are made */
    } cases[] = {{0, 0, 0}, {0, 1, 0}, {1.25f, 0, 1.25}, {1.25f, 2, 2.5}, {0, 2, 2 * 1.1386294361}};
    (void)state;
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        checkpoint *c;
        sp_error err;
        struct gguf_draft d = llama_draft();
        draft_text(&d, "llama.rope.scaling.type", "yarn");
        draft_float(&d, "llama.rope.scaling.factor", 4);
        if (cases[i].yarn > 0)
            draft_float(&d, "llama.rope.scaling.yarn_attn_factor", cases[i].yarn);
        if (cases[i].times > 0)
            draft_float(&d, "llama.rope.scaling.attn_factor", cases[i].times);
        finish_llama(&d);
        assert_int_equal(write_and_open(&d, "yarn.gguf", &c, &err), 0);
        assert_true(fabs(checkpoint_config(c)->rope.attention_factor - cases[i].want) < 1e-6);
        checkpoint_close(c);
    }
}

/* A number for a draft; name NULL: none. */
struct number {
    const char *name;
    float value;
};

static void draft_number(struct gguf_draft *d, const struct number *n)
{
    char key[96];
    snprintf(key, sizeof key, "llama.rope.%s", n->name);
    if (n->name)
        draft_float(d, key, n->value);
}

/* Kinds of scaling as llama.cpp reads them: without a type it is linear, and the key of old files is scale_linear. */
static void rope_scaling_kinds(void **state)
{
    static const struct {
        const char *type;
        struct number a, b;
        enum rope_kind kind;
        double factor;
        const char *refused;
    } cases[] = {
        {NULL, {NULL, 0}, {NULL, 0}, ROPE_PLAIN, 1, NULL},
        {NULL, {"scaling.factor", 4}, {NULL, 0}, ROPE_LINEAR, 4, NULL},
        {NULL, {"scale_linear", 2}, {NULL, 0}, ROPE_LINEAR, 2, NULL},
        {NULL, {"scale_linear", 2}, {"scaling.factor", 4}, ROPE_LINEAR, 4, NULL},
        {"linear", {"scaling.factor", 0}, {NULL, 0}, ROPE_PLAIN, 1, NULL},
        {"none", {"scaling.factor", 4}, {NULL, 0}, ROPE_PLAIN, 4, NULL},
        {"yarn", {"scaling.factor", 4}, {"scaling.yarn_ext_factor", 1}, ROPE_YARN, 4, NULL},
        {"yarn", {"scaling.factor", 4}, {"scaling.yarn_ext_factor", 0.5f}, 0, 0, "yarn_ext_factor"},
        {"yarn", {"scaling.factor", 0.5f}, {NULL, 0}, 0, 0, "RoPE factor of 0.5"},
        {"longrope", {"scaling.factor", 4}, {NULL, 0}, 0, 0, "type longrope is unknown"},
    };
    (void)state;
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        checkpoint *c;
        sp_error err = {0};
        struct gguf_draft d = llama_draft();
        if (cases[i].type)
            draft_text(&d, "llama.rope.scaling.type", cases[i].type);
        draft_number(&d, &cases[i].a);
        draft_number(&d, &cases[i].b);
        finish_llama(&d);
        int code = write_and_open(&d, "rope.gguf", &c, &err);
        if (cases[i].refused) {
            assert_true(code < 0);
            assert_non_null(strstr(err.message, cases[i].refused));
            continue;
        }
        assert_int_equal(code, 0);
        assert_int_equal(checkpoint_config(c)->rope.kind, cases[i].kind);
        assert_true(fabs(checkpoint_config(c)->rope.factor - cases[i].factor) < 1e-6);
        checkpoint_close(c);
    }
}

static void yarn_corrections(void **state)
{
    checkpoint *c;
    sp_error err = {0};
    struct gguf_draft d = llama_draft();
    (void)state;
    draft_text(&d, "llama.rope.scaling.type", "yarn");
    draft_float(&d, "llama.rope.scaling.factor", 4);
    draft_float(&d, "llama.rope.scaling.yarn_beta_fast", 20);
    draft_float(&d, "llama.rope.scaling.yarn_beta_slow", 2);
    finish_llama(&d);
    assert_int_equal(write_and_open(&d, "yarn.gguf", &c, &err), 0);
    const struct rope_config *r = &checkpoint_config(c)->rope;
    assert_true(fabs(r->beta_fast - 20) < 1e-6 && fabs(r->beta_slow - 2) < 1e-6);
    checkpoint_close(c);
}

/* LongRoPE's factors are tensors, of as many values as RoPE has pairs. */
static void long_factors_that_do_not_fit(void **state)
{
    checkpoint *c;
    sp_error err = {0};
    struct gguf_draft d = llama_draft();
    (void)state;
    draft_int(&d, "llama.rope.dimension_count", 6);
    draft_matrix(&d, "rope_factors_long.weight", 1, 8);
    finish_llama(&d);
    assert_int_equal(write_and_open(&d, "long.gguf", &c, &err), SP_EFORMAT);
    assert_non_null(strstr(err.message, "rope_factors_short.weight: wanted shape [3]"));
    d = llama_draft();
    draft_int(&d, "llama.rope.dimension_count", 20);
    finish_llama(&d);
    assert_int_equal(write_and_open(&d, "wide.gguf", &c, &err), SP_EFORMAT);
    assert_non_null(strstr(err.message, "rope.dimension_count = 20"));
}

static void softcapping_is_refused(void **state)
{
    checkpoint *c;
    sp_error err = {0};
    struct gguf_draft d = draft_begin();
    (void)state;
    draft_text(&d, "general.architecture", "gemma3");
    draft_int(&d, "gemma3.embedding_length", 16);
    draft_int(&d, "gemma3.block_count", 2);
    draft_int(&d, "gemma3.attention.head_count", 2);
    draft_int(&d, "gemma3.context_length", 64);
    draft_int(&d, "gemma3.feed_forward_length", 32);
    draft_float(&d, "gemma3.final_logit_softcapping", 30);
    draft_matrix(&d, "token_embd.weight", 8, 16);
    assert_int_equal(write_and_open(&d, "cap.gguf", &c, &err), SP_EUNSUPPORTED);
    assert_non_null(strstr(err.message, "final_logit_softcapping"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_are_one_model),
        cmocka_unit_test(broken_splits_are_refused),
        cmocka_unit_test(split_allocations_fail_cleanly),
        cmocka_unit_test(numbers_for_each_layer),
        cmocka_unit_test(arrays_in_arrays_are_passed_over),
        cmocka_unit_test(yarn_factors),
        cmocka_unit_test(rope_scaling_kinds),
        cmocka_unit_test(yarn_corrections),
        cmocka_unit_test(long_factors_that_do_not_fit),
        cmocka_unit_test(softcapping_is_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
