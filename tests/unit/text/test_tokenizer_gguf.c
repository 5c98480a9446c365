/* Tokenizers in GGUF files: those of the fixtures written as GGUF give the same ids; what is wrong or
 * unknown is refused by name; real models' ids, when their files are there. */
#include "tokenizer_fixture.h"

#include <math.h>

#include "base/file.h"

struct source {
    json_t *json;
    const char **tokens; /* [n], by id, in GPT-2's alphabet; added ones as they are */
    uint32_t *types;     /* [n] */
    size_t n;
};

static struct source source_open(const char *name)
{
    struct source s = {.json = fixture_json(name)};
    json_t *vocab = json_object_get(json_object_get(s.json, "model"), "vocab"), *id, *added;
    json_t *list = json_object_get(s.json, "added_tokens");
    const char *key;
    size_t i;
    s.n = json_object_size(vocab) + json_array_size(list);
    s.tokens = sp_calloc(s.n, sizeof *s.tokens);
    s.types = sp_calloc(s.n, sizeof *s.types);
    assert_non_null(s.tokens);
    assert_non_null(s.types);
    s.n = 0;
    json_object_foreach(vocab, key, id)
    {
        size_t at = (size_t)json_integer_value(id);
        s.tokens[at] = key;
        s.types[at] = 1;
        if (at >= s.n)
            s.n = at + 1;
    }
    json_array_foreach(list, i, added)
    {
        size_t at = (size_t)json_integer_value(json_object_get(added, "id"));
        s.tokens[at] = json_string_value(json_object_get(added, "content"));
        s.types[at] = json_is_true(json_object_get(added, "special")) ? 3 : 4;
        if (at >= s.n)
            s.n = at + 1;
    }
    return s;
}

static void source_close(struct source *s)
{
    json_decref(s->json);
    sp_free(s->tokens);
    sp_free(s->types);
}

static void draft_tokens(struct gguf_draft *d, const struct source *s)
{
    draft_array(d, "tokenizer.ggml.tokens", GGUF_STRING, s->n);
    for (size_t i = 0; i < s->n; i++)
        gguf_put_text(&d->body, s->tokens[i], strlen(s->tokens[i]));
    draft_array(d, "tokenizer.ggml.token_type", GGUF_I32, s->n);
    for (size_t i = 0; i < s->n; i++)
        gguf_put_u32(&d->body, s->types[i]);
}

static void draft_merges(struct gguf_draft *d, const struct source *s)
{
    json_t *merges = json_object_get(json_object_get(s->json, "model"), "merges"), *m;
    size_t i;
    draft_array(d, "tokenizer.ggml.merges", GGUF_STRING, json_array_size(merges));
    json_array_foreach(merges, i, m)
    {
        char text[256];
        if (json_is_string(m))
            snprintf(text, sizeof text, "%s", json_string_value(m));
        else
            snprintf(text, sizeof text, "%s %s", json_string_value(json_array_get(m, 0)),
                     json_string_value(json_array_get(m, 1)));
        gguf_put_text(&d->body, text, strlen(text));
    }
}

static struct gguf_draft draft_new(const char *model, const char *pre)
{
    struct gguf_draft d = {.keys = 0};
    buf_init(&d.body, SIZE_MAX / 2);
    if (model)
        draft_text(&d, "tokenizer.ggml.model", model);
    if (pre)
        draft_text(&d, "tokenizer.ggml.pre", pre);
    return d;
}

static void check_same_ids(const char *name, const char *pre)
{
    char file[64], golden_file[64];
    snprintf(file, sizeof file, "tiny_%s.json", name);
    snprintf(golden_file, sizeof golden_file, "golden_tiny_%s.json", name);
    struct source s = source_open(file);
    struct gguf_draft d = draft_new("gpt2", pre);
    draft_tokens(&d, &s);
    draft_merges(&d, &s);
    tokenizer *t = NULL;
    sp_error err = {0};
    if (draft_load(&d, &t, &err) < 0)
        fail_msg("%s", err.message);
    json_t *golden = fixture_json(golden_file);
    fixture_golden(t, golden, "all", (struct encode_opts){.special = SPECIAL_ALL});
    fixture_golden(t, golden, "none", (struct encode_opts){.special = SPECIAL_NONE});
    json_decref(golden);
    tokenizer_free(t);
    buf_free(&d.body);
    source_close(&s);
}

static void test_pipelines(void **state)
{
    (void)state;
    check_same_ids("qwen2", "qwen2");
    check_same_ids("llama3", "llama-bpe");
    check_same_ids("llama3", "llama3");
    check_same_ids("smollm", "smollm");
    check_same_ids("deepseek", "deepseek-v3");
    check_same_ids("o200k", "gpt-4o");
    check_same_ids("qwen2", "deepseek-r1-qwen");
}

/* SentencePiece's merges in GGUF's "gemma4", which cuts at lines besides: the texts of one line agree. */
static void test_marked(void **state)
{
    (void)state;
    struct source s = source_open("tiny_gemma.json");
    for (size_t i = 0; i < s.n; i++)
        if (strncmp(s.tokens[i], "<0x", 3) == 0)
            s.types[i] = 6;
    struct gguf_draft d = draft_new("gemma4", NULL);
    draft_tokens(&d, &s);
    draft_merges(&d, &s);
    draft_u32(&d, "tokenizer.ggml.bos_token_id", 1);
    tokenizer *t = NULL;
    sp_error err = {0};
    if (draft_load(&d, &t, &err) < 0)
        fail_msg("%s", err.message);
    json_t *golden = fixture_json("golden_tiny_gemma.json"),
           *strings = fixture_json("strings.json"), *text;
    size_t i, n = 0;
    json_array_foreach(strings, i, text)
    {
        json_t *want = json_array_get(json_object_get(golden, "none"), i);
        if (strchr(json_string_value(text), '\n') || json_is_null(want))
            continue;
        str one = {json_string_value(text), json_string_length(text)};
        fixture_same(fixture_encode(t, one, SPECIAL_NONE), want, one.p);
        n++;
    }
    assert_true(n > 5);
    json_decref(strings);
    json_decref(golden);
    tokenizer_free(t);
    buf_free(&d.body);
    source_close(&s);
}

static void test_ids_from_metadata(void **state)
{
    (void)state;
    struct source s = source_open("tiny_llama3.json");
    struct gguf_draft d = draft_new("gpt2", "llama-bpe");
    draft_tokens(&d, &s);
    draft_merges(&d, &s);
    uint32_t bos = 0, eot = 0, end = 0;
    for (uint32_t i = 0; i < s.n; i++) {
        if (strcmp(s.tokens[i], "<|begin_of_text|>") == 0)
            bos = i;
        if (strcmp(s.tokens[i], "<|eot_id|>") == 0)
            eot = i;
        if (strcmp(s.tokens[i], "<|im_end|>") == 0)
            end = i;
    }
    draft_u32(&d, "tokenizer.ggml.bos_token_id", bos);
    draft_u32(&d, "tokenizer.ggml.eos_token_id", 5);
    draft_u32(&d, "tokenizer.ggml.eot_token_id", eot);
    tokenizer *t;
    sp_error err = {0};
    assert_int_equal(draft_load(&d, &t, &err), 0);
    assert_int_equal(tokenizer_bos(t), bos);
    assert_int_equal(tokenizer_eos(t), 5);
    const int32_t *ends;
    assert_int_equal(tokenizer_ends(t, &ends), 3);
    assert_int_equal(ends[0], 5);
    assert_int_equal(ends[1], eot);
    assert_int_equal(ends[2], end);
    struct encode_opts opts = {.special = SPECIAL_NONE, .add_bos = true};
    struct token_list ids = fixture_encode_spans(t, str_of("a"), opts);
    assert_int_equal(ids.n, 2); /* this pre-tokenizer's models begin with BOS */
    assert_int_equal(ids.ids[0], bos);
    token_list_free(&ids);
    tokenizer_free(t);
    draft_bool(&d, "tokenizer.ggml.add_bos_token", false);
    assert_int_equal(draft_load(&d, &t, &err), 0);
    ids = fixture_encode_spans(t, str_of("a"), opts);
    assert_int_equal(ids.n, 1);
    token_list_free(&ids);
    tokenizer_free(t);
    draft_u32(&d, "tokenizer.ggml.padding_token_id", 3);
    buf_free(&d.body);
    source_close(&s);
}

static void test_unused_tokens(void **state)
{
    (void)state;
    struct source s = source_open("tiny_qwen2.json");
    int32_t last = (int32_t)s.n - 1; /* </tool_call> */
    s.types[last] = 5;
    struct gguf_draft d = draft_new("gpt2", "qwen2");
    draft_tokens(&d, &s);
    draft_merges(&d, &s);
    tokenizer *t;
    assert_int_equal(draft_load(&d, &t, NULL), 0);
    assert_int_equal(tokenizer_vocab(t), s.n);
    assert_int_equal(tokenizer_bytes(t, last).n, 0);
    assert_int_equal(tokenizer_find(t, "</tool_call>"), -1);
    tokenizer_free(t);
    buf_free(&d.body);
    source_close(&s);
}

static void test_missing_pre(void **state)
{
    (void)state;
    struct source s = source_open("tiny_qwen2.json");
    struct gguf_draft d = draft_new("gpt2", NULL);
    draft_tokens(&d, &s);
    draft_merges(&d, &s);
    tokenizer *t;
    sp_error err;
    assert_int_equal(draft_load(&d, &t, &err), SP_EFORMAT);
    assert_non_null(strstr(err.message, "tokenizer.ggml.pre"));
    draft_text(&d, "general.architecture", "qwen2");
    assert_int_equal(draft_load(&d, &t, &err), 0);
    tokenizer_free(t);
    buf_free(&d.body);
    source_close(&s);
}

/* Loads the draft, wants this code and these words in the message, and frees the draft. */
static void check_refused(struct gguf_draft *d, int code, const char *words)
{
    tokenizer *t;
    sp_error err = {0};
    int rc = draft_load(d, &t, &err);
    if (rc != code || !strstr(err.message, words))
        fail_msg("%d: %s", rc, err.message);
    assert_null(t);
    buf_free(&d->body);
}

static void test_refused(void **state)
{
    (void)state;
    struct source s = source_open("tiny_qwen2.json");
    struct gguf_draft d = draft_new(NULL, NULL);
    check_refused(&d, SP_EFORMAT, "tokenizer.ggml.model: missing");
    d = draft_new("t5", "default");
    check_refused(&d, SP_EUNSUPPORTED, "'t5'");
    d = draft_new("gpt2", "klingon");
    check_refused(&d, SP_EUNSUPPORTED, "'klingon': not supported: known are qwen2");
    d = draft_new("gpt2", "qwen2");
    check_refused(&d, SP_EFORMAT, "tokenizer.ggml.tokens");
    d = draft_new("gpt2", "qwen2");
    draft_u32(&d, "tokenizer.ggml.tokens", 1);
    check_refused(&d, SP_EFORMAT, "tokenizer.ggml.tokens");
    d = draft_new("gpt2", "qwen2");
    draft_array(&d, "tokenizer.ggml.tokens", GGUF_STRING, 0);
    check_refused(&d, SP_EFORMAT, "0 tokens");
    d = draft_new("gpt2", "qwen2");
    draft_tokens(&d, &s);
    check_refused(&d, SP_EFORMAT, "tokenizer.ggml.merges");
    source_close(&s);
}

/* A vocabulary of <unk>, <s>, </s>, "a", "b", "ab" in model "llama". */
static struct gguf_draft draft_scored(const uint32_t types[6], const float *scores, size_t n_scores)
{
    static const char *const tokens[] = {"<unk>", "<s>", "</s>", "a", "b", "ab"};
    struct gguf_draft d = draft_new("llama", NULL);
    draft_array(&d, "tokenizer.ggml.tokens", GGUF_STRING, 6);
    for (size_t i = 0; i < 6; i++)
        gguf_put_text(&d.body, tokens[i], strlen(tokens[i]));
    if (types)
        draft_array(&d, "tokenizer.ggml.token_type", GGUF_I32, 6);
    for (size_t i = 0; types && i < 6; i++)
        gguf_put_u32(&d.body, types[i]);
    draft_array(&d, "tokenizer.ggml.scores", GGUF_F32, n_scores);
    gguf_put(&d.body, scores, n_scores * sizeof *scores);
    return d;
}

static void test_scored(void **state)
{
    (void)state;
    static const uint32_t types[6] = {2, 3, 3, 1, 1, 1}, bytes[6] = {2, 3, 3, 6, 1, 1};
    static const float scores[6] = {0, 0, 0, -2, -3, -1};
    float bad[6] = {0, 0, 0, -1, -2, NAN};
    struct gguf_draft d = draft_scored(types, scores, 6);
    tokenizer *t;
    assert_int_equal(draft_load(&d, &t, NULL), 0);
    struct encode_opts opts = {.special = SPECIAL_ALL, .add_bos = true};
    struct token_list ids = fixture_encode_spans(t, str_of("ab</s>"), opts);
    /* BOS, the space that the vocabulary lacks, "ab", EOS */
    static const int32_t want[] = {1, 0, 5, 2};
    assert_int_equal(ids.n, 4);
    assert_memory_equal(ids.ids, want, sizeof want);
    token_list_free(&ids);
    tokenizer_free(t);
    draft_bool(&d, "tokenizer.ggml.add_space_prefix", false);
    assert_int_equal(draft_load(&d, &t, NULL), 0);
    ids = fixture_encode_spans(t, str_of("ab</s>"), opts);
    assert_int_equal(ids.n, 3);
    token_list_free(&ids);
    tokenizer_free(t);
    buf_free(&d.body);
    d = draft_scored(NULL, scores, 6);
    check_refused(&d, SP_EFORMAT, "token_type: missing");
    d = draft_scored(types, scores, 5);
    check_refused(&d, SP_EFORMAT, "tokenizer.ggml.scores");
    d = draft_scored(types, bad, 6);
    check_refused(&d, SP_EFORMAT, "score of token 5");
    d = draft_scored(bytes, scores, 6);
    check_refused(&d, SP_EFORMAT, "token 3: a byte token");
}

static void draft_one_merge(struct gguf_draft *d, const char *merge)
{
    draft_array(d, "tokenizer.ggml.merges", GGUF_STRING, 1);
    gguf_put_text(&d->body, merge, strlen(merge));
}

static void test_bad_contents(void **state)
{
    (void)state;
    static const char *const merges[] = {"ab", "", " ", "a nothinglikethis", "a ", "\xff\xfe a"};
    static const char *const keys[] = {"tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id",
                                       "tokenizer.ggml.eot_token_id"};
    struct source s = source_open("tiny_qwen2.json");
    for (size_t i = 0; i < SP_COUNT(merges); i++) {
        struct gguf_draft d = draft_new("gpt2", "qwen2");
        draft_tokens(&d, &s);
        draft_one_merge(&d, merges[i]);
        check_refused(&d, SP_EFORMAT, "merge");
    }
    for (size_t i = 0; i < SP_COUNT(keys); i++) {
        struct gguf_draft d = draft_new("gpt2", "qwen2");
        draft_tokens(&d, &s);
        draft_merges(&d, &s);
        draft_u32(&d, keys[i], (uint32_t)s.n);
        check_refused(&d, SP_EFORMAT, keys[i]);
    }
    struct gguf_draft d = draft_new("gpt2", "qwen2");
    draft_array(&d, "tokenizer.ggml.token_type", GGUF_I32, 1);
    gguf_put_u32(&d.body, 1);
    draft_array(&d, "tokenizer.ggml.tokens", GGUF_STRING, 2);
    gguf_put_text(&d.body, "a", 1);
    gguf_put_text(&d.body, "b", 1);
    check_refused(&d, SP_EFORMAT, "token_type");
    d = draft_new("gpt2", "qwen2");
    draft_tokens(&d, &s);
    draft_merges(&d, &s);
    draft_bool(&d, "tokenizer.ggml.add_bos_token", true);
    check_refused(&d, SP_EFORMAT, "BOS");
    source_close(&s);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    struct source s = source_open("tiny_qwen2.json");
    struct gguf_draft d = draft_new("gpt2", "qwen2");
    draft_tokens(&d, &s);
    draft_merges(&d, &s);
    tokenizer *t;
    char path[] = "/tmp/sampan-test-XXXXXX";
    assert_int_equal(draft_load(&d, &t, NULL), 0);
    tokenizer_free(t);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    buf file;
    buf_init(&file, SIZE_MAX / 2);
    gguf_put(&file, "GGUF\3\0\0\0\0\0\0\0\0\0\0\0", 16);
    gguf_put_u64(&file, d.keys);
    gguf_put(&file, d.body.data, d.body.len);
    assert_int_equal(write(fd, file.data, file.len), (ssize_t)file.len);
    close(fd);
    gguf *g = NULL;
    assert_int_equal(gguf_open(path, &g, NULL), 0);
    unlink(path);
    int rc = SP_ENOMEM;
    for (long n = 1; rc != 0; n++) {
        sp_alloc_fail_nth(n);
        rc = tokenizer_load_gguf(g, &t, NULL);
        sp_alloc_fail_nth(0);
        assert_true(rc == 0 || (rc == SP_ENOMEM && !t));
        assert_true(n < 10000);
    }
    tokenizer_free(t);
    gguf_close(g);
    buf_free(&file);
    buf_free(&d.body);
    source_close(&s);
}

/* The vocabularies of real models, when their files lie in the folder of SAMPAN_TEST_MODELS. */
static void check_real(const char *file, const char *golden_file)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", TEST_MODELS, file);
    if (!file_exists(path))
        skip();
    gguf *g = NULL;
    tokenizer *t = NULL;
    sp_error err = {0};
    if (gguf_open(path, &g, &err) < 0 || tokenizer_load_gguf(g, &t, &err) < 0)
        fail_msg("%s", err.message);
    json_t *golden = fixture_json(golden_file);
    fixture_golden(t, golden, "all", (struct encode_opts){.special = SPECIAL_ALL});
    fixture_golden(t, golden, "none", (struct encode_opts){.special = SPECIAL_NONE});
    json_decref(golden);
    tokenizer_free(t);
    gguf_close(g);
}

static void test_real_qwen(void **state)
{
    (void)state;
    check_real("qwen2.5-coder-0.5b-instruct-q4_k_m.gguf", "golden_qwen2.json");
}

static void test_real_smollm2(void **state)
{
    (void)state;
    check_real("SmolLM2-135M-Instruct.Q4_1.gguf", "golden_smollm2.json");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_marked),        cmocka_unit_test(test_scored),
        cmocka_unit_test(test_pipelines),     cmocka_unit_test(test_ids_from_metadata),
        cmocka_unit_test(test_unused_tokens), cmocka_unit_test(test_missing_pre),
        cmocka_unit_test(test_refused),       cmocka_unit_test(test_bad_contents),
        cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_real_qwen),
        cmocka_unit_test(test_real_smollm2),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
