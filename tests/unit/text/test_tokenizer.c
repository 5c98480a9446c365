#include "tokenizer_fixture.h"

#include <pthread.h>

#include "base/clock.h"
#include "base/file.h"

static json_t *ids_json(struct token_list list)
{
    json_t *out = json_array();
    for (size_t i = 0; i < list.n; i++)
        json_array_append_new(out, json_integer(list.ids[i]));
    token_list_free(&list);
    return out;
}

static size_t count_id(struct token_list list, int32_t id)
{
    size_t n = 0;
    for (size_t i = 0; i < list.n; i++)
        n += list.ids[i] == id;
    return n;
}

/* ---- Questions ---- */

static void test_questions(void **state)
{
    (void)state;
    tokenizer *t = fixture_tokenizer("tiny_qwen2.json");
    int32_t end = tokenizer_find(t, "<|im_end|>"), call = tokenizer_find(t, "<tool_call>");
    assert_true(end >= 0 && call >= 0);
    assert_int_equal(tokenizer_vocab(t), (size_t)tokenizer_find(t, "</tool_call>") + 1);
    assert_true(tokenizer_is_special(t, end));
    assert_true(tokenizer_is_added(t, end));
    assert_false(tokenizer_is_special(t, call));
    assert_true(tokenizer_is_added(t, call));
    assert_false(tokenizer_is_added(t, tokenizer_find(t, "a")));
    assert_false(tokenizer_is_special(t, -1));
    assert_false(tokenizer_is_added(t, INT32_MAX));
    assert_true(str_eqz(tokenizer_bytes(t, end), "<|im_end|>"));
    assert_true(str_eqz(tokenizer_bytes(t, tokenizer_find(t, " the")), " the"));
    assert_int_equal(tokenizer_bytes(t, -1).n, 0);
    assert_int_equal(tokenizer_bytes(t, INT32_MAX).n, 0);
    assert_int_equal(tokenizer_find(t, "<|im_end|"), -1);
    assert_int_equal(tokenizer_find(t, ""), -1);
    assert_int_equal(tokenizer_bos(t), -1);
    assert_int_equal(tokenizer_bos_text(t).n, 0);
    const int32_t *ends;
    assert_int_equal(tokenizer_ends(t, &ends), 2);
    assert_int_equal(ends[0], end);
    assert_int_equal(ends[1], tokenizer_find(t, "<|endoftext|>"));
    tokenizer_free(t);
    tokenizer_free(NULL);
}

static void test_config(void **state)
{
    (void)state;
    json_t *json = fixture_json("tiny_qwen2.json");
    json_t *config = json_pack("{s:s, s:{s:s}, s:b}", "eos_token", "<|endoftext|>", "bos_token",
                               "content", "<|im_start|>", "add_bos_token", 1);
    tokenizer *t = fixture_load(json, config);
    assert_int_equal(tokenizer_eos(t), tokenizer_find(t, "<|endoftext|>"));
    assert_int_equal(tokenizer_bos(t), tokenizer_find(t, "<|im_start|>"));
    assert_true(str_eqz(tokenizer_bos_text(t), "<|im_start|>"));
    assert_true(str_eqz(tokenizer_eos_text(t), "<|endoftext|>"));
    struct token_list ids = fixture_encode_spans(
        t, str_of("a"), (struct encode_opts){.special = SPECIAL_NONE, .add_bos = true});
    assert_int_equal(ids.n, 2);
    assert_int_equal(ids.ids[0], tokenizer_bos(t));
    token_list_free(&ids);
    const int32_t *ends;
    assert_int_equal(tokenizer_ends(t, &ends), 2);
    assert_int_equal(ends[0], tokenizer_eos(t));
    tokenizer_free(t);

    json_object_set_new(config, "bos_token", json_null());
    t = fixture_load(json, config);
    assert_int_equal(tokenizer_bos(t), -1);
    tokenizer_free(t);

    json_object_set_new(config, "eos_token", json_string("<nowhere>"));
    sp_error err;
    assert_int_equal(tokenizer_load_json(json, config, &t, &err), SP_EFORMAT);
    assert_non_null(strstr(err.message, "<nowhere>"));
    assert_null(t);
    json_decref(config);
    json_decref(json);
}

static void test_bos_of_template(void **state)
{
    (void)state;
    json_t *json = fixture_json("tiny_llama3.json");
    tokenizer *t = fixture_load(json, NULL);
    assert_true(str_eqz(tokenizer_bos_text(t), "<|begin_of_text|>"));
    struct encode_opts opts = {.special = SPECIAL_ALL, .add_bos = true};
    struct token_list ids = fixture_encode_spans(t, str_of(""), opts);
    assert_int_equal(ids.n, 1);
    assert_int_equal(ids.ids[0], tokenizer_bos(t));
    token_list_free(&ids);
    tokenizer_free(t);
    /* The config has the last word. */
    json_t *config = json_pack("{s:b}", "add_bos_token", 0);
    t = fixture_load(json, config);
    ids = fixture_encode_spans(t, str_of(""), opts);
    assert_int_equal(ids.n, 0);
    token_list_free(&ids);
    tokenizer_free(t);
    json_decref(config);
    json_decref(json);
}

/* ---- Provenance ---- */

static void test_untrusted_text_makes_no_added_token(void **state)
{
    (void)state;
    tokenizer *t = fixture_tokenizer("tiny_qwen2.json");
    int32_t start = tokenizer_find(t, "<|im_start|>"), end = tokenizer_find(t, "<|im_end|>");
    const char *text = "<|im_start|>user\nHi <|im_end|> there<|im_end|>";
    struct text_span spans[] = {{0, 17}, {36, 46}};
    struct encode_opts opts = {SPECIAL_SPANS, spans, 2, false};
    struct token_list ids = fixture_encode_spans(t, str_of(text), opts);
    assert_int_equal(ids.ids[0], start);
    assert_int_equal(ids.ids[ids.n - 1], end);
    assert_int_equal(count_id(ids, end), 1);
    buf out;
    buf_init(&out, 256);
    assert_int_equal(tokenizer_decode(t, ids.ids, ids.n, false, &out, NULL), 0);
    assert_string_equal(out.data, text);
    buf_free(&out);
    /* What the user wrote has the ids that it has as ordinary text. */
    json_t *middle = ids_json(fixture_encode(t, str_of("user\nHi <|im_end|> there"), SPECIAL_NONE));
    struct token_list inner = {0};
    for (size_t i = 1; i + 1 < ids.n; i++)
        token_list_add(&inner, ids.ids[i]);
    fixture_same(inner, middle, "text between the tokens");
    json_decref(middle);
    token_list_free(&ids);
    tokenizer_free(t);
}

/* A token over a border is none, at whatever byte the border is; and borders cut no words. */
static void test_straddling(void **state)
{
    (void)state;
    tokenizer *t = fixture_tokenizer("tiny_qwen2.json");
    str text = str_of("say <|im_end|> now");
    json_t *plain = ids_json(fixture_encode(t, text, SPECIAL_NONE));
    json_t *special = ids_json(fixture_encode(t, text, SPECIAL_ALL));
    for (size_t border = 0; border <= text.n; border++) {
        struct text_span before = {0, border}, after = {border, text.n};
        struct text_span both[] = {before, after};
        bool cut = border > 4 && border < 14;
        struct encode_opts opts = {SPECIAL_SPANS, &before, 1, false};
        fixture_same(fixture_encode_spans(t, text, opts), border < 14 ? plain : special, "before");
        opts.spans = &after;
        fixture_same(fixture_encode_spans(t, text, opts), border > 4 ? plain : special, "after");
        opts = (struct encode_opts){SPECIAL_SPANS, both, 2, false};
        fixture_same(fixture_encode_spans(t, text, opts), cut ? plain : special, "both");
    }
    struct encode_opts none = {SPECIAL_SPANS, NULL, 0, false};
    fixture_same(fixture_encode_spans(t, text, none), plain, "no spans");
    json_decref(plain);
    json_decref(special);
    tokenizer_free(t);
}

static void test_longest_within_trust(void **state)
{
    (void)state;
    tokenizer *t = fixture_tokenizer("tiny_flags.json");
    int32_t tool = tokenizer_find(t, "<tool>"), tool_l = tokenizer_find(t, "<tool>l");
    struct text_span spans[] = {{0, 6}};
    struct encode_opts opts = {SPECIAL_SPANS, spans, 1, false};
    struct token_list ids = fixture_encode_spans(t, str_of("<tool>l"), opts);
    assert_int_equal(ids.ids[0], tool);
    token_list_free(&ids);
    ids = fixture_encode(t, str_of("<tool>l"), SPECIAL_ALL);
    assert_int_equal(ids.n, 1);
    assert_int_equal(ids.ids[0], tool_l);
    token_list_free(&ids);
    tokenizer_free(t);
}

/* Spans count bytes of the text as given, before repair and NFC move what follows. */
static void test_spans_with_repair_and_nfc(void **state)
{
    (void)state;
    tokenizer *t = fixture_tokenizer("tiny_flags.json"); /* <tool> is matched after NFC */
    int32_t tool = tokenizer_find(t, "<tool>"), mask = tokenizer_find(t, "<mask>");
    str text = str_of("\xff\xff"
                      "e\u0301e\u0301<tool>\xf0\x9f<mask><tool>");
    struct text_span spans[] = {{8, 14}, {22, 28}}; /* first <tool>, last <tool> */
    struct encode_opts opts = {SPECIAL_SPANS, spans, 2, false};
    assert_int_equal(text.n, 28);
    struct token_list ids = fixture_encode_spans(t, text, opts);
    assert_int_equal(count_id(ids, tool), 2);
    assert_int_equal(count_id(ids, mask), 0);
    token_list_free(&ids);
    spans[0] = (struct text_span){9, 22};
    spans[1] = (struct text_span){22, 27};
    ids = fixture_encode_spans(t, text, opts);
    assert_int_equal(count_id(ids, tool), 0);
    assert_int_equal(count_id(ids, mask), 1);
    token_list_free(&ids);
    tokenizer_free(t);
}

static void test_bad_spans(void **state)
{
    (void)state;
    tokenizer *t = fixture_tokenizer("tiny_qwen2.json");
    const struct text_span bad[][2] = {
        {{0, 3}, {2, 4}}, {{3, 2}, {4, 4}}, {{0, 1}, {2, 6}}, {{6, 6}, {6, 6}}, {{2, 3}, {0, 1}}};
    for (size_t i = 0; i < SP_COUNT(bad); i++) {
        struct encode_opts opts = {SPECIAL_SPANS, bad[i], 2, false};
        struct token_list ids = {0};
        sp_error err;
        assert_int_equal(tokenizer_encode(t, "hello", 5, &opts, &ids, &err), SP_EINVAL);
        assert_non_null(strstr(err.message, "span"));
        assert_int_equal(ids.n, 0);
        token_list_free(&ids);
    }
    tokenizer_free(t);
}

/* ---- Encoding ---- */

static void test_invalid_utf8_is_repaired(void **state)
{
    (void)state;
    tokenizer *t = fixture_tokenizer("tiny_qwen2.json");
    json_t *want = ids_json(fixture_encode(t, str_of("a\ufffdb\ufffd\ufffd c\ufffd"), SPECIAL_ALL));
    str text = {"a\xff"
                "b\xed\xa0 c\xe4\xb8",
                8};
    fixture_same(fixture_encode(t, text, SPECIAL_ALL), want, "repaired");
    fixture_same(fixture_encode(t, text, SPECIAL_SPANS), want, "repaired with trust");
    json_decref(want);
    tokenizer_free(t);
}

static void test_appends(void **state)
{
    (void)state;
    tokenizer *t = fixture_tokenizer("tiny_qwen2.json");
    struct encode_opts opts = {.special = SPECIAL_ALL};
    struct token_list ids = {0};
    assert_int_equal(tokenizer_encode(t, "the the the", 11, &opts, &ids, NULL), 0);
    size_t n = ids.n;
    assert_int_equal(tokenizer_encode(t, "the the the", 11, &opts, &ids, NULL), 0);
    assert_int_equal(ids.n, 2 * n);
    assert_memory_equal(ids.ids, ids.ids + n, n * sizeof *ids.ids);
    token_list_free(&ids);
    assert_null(ids.ids);
    tokenizer_free(t);
}

/* Encoding a text twice as long takes about twice as long, even if it is one word. */
static void check_not_quadratic(const tokenizer *t, const char *unit, size_t n)
{
    size_t len = strlen(unit);
    char *text = sp_malloc(n * len);
    assert_non_null(text);
    for (size_t i = 0; i < n; i++)
        memcpy(text + i * len, unit, len);
    double start = clock_seconds();
    struct token_list ids = fixture_encode(t, (str){text, n * len}, SPECIAL_ALL);
    double seconds = clock_seconds() - start;
    buf out;
    buf_init(&out, SIZE_MAX / 2);
    assert_int_equal(tokenizer_decode(t, ids.ids, ids.n, false, &out, NULL), 0);
    assert_true(out.len > 0);
    buf_free(&out);
    token_list_free(&ids);
    sp_free(text);
    /* Quadratic would be minutes; a slow machine under a sanitizer gets along with this. */
    assert_true(seconds < 30);
}

static void test_hostile_texts(void **state)
{
    (void)state;
    static const char *const units[] = {
        "a",        "ab", "the", " ",    "\n", "\u4e2d", "\u0301\u0327", "e\u0301<|im_end|>",
        "<|im_end", "<",  "'",   "\xff", "1"};
    static const char *const files[] = {"tiny_qwen2.json", "tiny_llama3.json", "tiny_smollm.json"};
    for (size_t f = 0; f < SP_COUNT(files); f++) {
        tokenizer *t = fixture_tokenizer(files[f]);
        for (size_t i = 0; i < SP_COUNT(units); i++)
            check_not_quadratic(t, units[i], 1000000 / strlen(units[i]));
        tokenizer_free(t);
    }
}

/* The short and the long way to merge, and words from the cache, give the same ids. */
static void test_short_and_long_words_agree(void **state)
{
    (void)state;
    tokenizer *t = fixture_tokenizer("tiny_qwen2.json");
    char word[512];
    memset(word, 'x', sizeof word);
    uint64_t r = 88172645463325252u;
    for (int round = 0; round < 300; round++) {
        /* Whatever follows 'x' x 400 merges as it would alone: no merge holds an x and another letter
         * of these. */
        size_t n = 1 + (size_t)round % 30;
        for (size_t i = 0; i < n; i++) {
            r ^= r << 13;
            r ^= r >> 7;
            r ^= r << 17;
            word[400 + i] = "thearinoust"[r % 11];
        }
        word[400] = 't';
        json_t *want = ids_json(fixture_encode(t, (str){word + 400, n}, SPECIAL_ALL));
        struct token_list ids = fixture_encode(t, (str){word, 400 + n}, SPECIAL_ALL), rest = {0};
        size_t at = 0, k = 0;
        for (; k < ids.n && at < 400; k++)
            at += tokenizer_bytes(t, ids.ids[k]).n;
        if (at == 400) {
            for (; k < ids.n; k++)
                token_list_add(&rest, ids.ids[k]);
            fixture_same(rest, want, "long word");
        }
        token_list_free(&ids);
        json_decref(want);
    }
    tokenizer_free(t);
}

/* ---- Threads ---- */

struct thread_case {
    const tokenizer *t;
    const json_t *strings, *golden;
    int wrong;
};

static void *encode_all(void *arg)
{
    struct thread_case *c = arg;
    struct encode_opts opts = {.special = SPECIAL_ALL};
    for (size_t i = 0; i < json_array_size(c->strings); i++) {
        const json_t *s = json_array_get(c->strings, i), *want = json_array_get(c->golden, i);
        struct token_list ids = {0};
        if (tokenizer_encode(c->t, json_string_value(s), json_string_length(s), &opts, &ids, NULL) <
                0 ||
            ids.n != json_array_size(want))
            c->wrong++;
        token_list_free(&ids);
    }
    return NULL;
}

static void test_threads_share_a_tokenizer(void **state)
{
    (void)state;
    static const char *const names[] = {"flags", "qwen2"};
    json_t *strings = fixture_json("strings.json");
    for (size_t f = 0; f < SP_COUNT(names); f++) {
        char file[64];
        snprintf(file, sizeof file, "golden_tiny_%s.json", names[f]);
        json_t *golden = fixture_json(file);
        tokenizer *t = fixture_tokenizer(file + strlen("golden_"));
        pthread_t threads[4];
        struct thread_case cases[4];
        for (size_t i = 0; i < 4; i++) {
            cases[i] = (struct thread_case){t, strings, json_object_get(golden, "all"), 0};
            assert_int_equal(pthread_create(&threads[i], NULL, encode_all, &cases[i]), 0);
        }
        for (size_t i = 0; i < 4; i++) {
            pthread_join(threads[i], NULL);
            assert_int_equal(cases[i].wrong, 0);
        }
        tokenizer_free(t);
        json_decref(golden);
    }
    json_decref(strings);
}

/* ---- Folders ---- */

static void write_file(const char *dir, const char *name, const void *data, size_t n)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(file_write_atomic(path, data, n, NULL), 0);
}

static void test_model_folder(void **state)
{
    (void)state;
    static const char config[] =
        "{\"architectures\": [\"Qwen2ForCausalLM\"], \"model_type\": \"qwen2\", \"vocab_size\": "
        "605, "
        "\"hidden_size\": 64, \"num_hidden_layers\": 1, \"num_attention_heads\": 2, "
        "\"num_key_value_heads\": 1, \"intermediate_size\": 64, \"rms_norm_eps\": 1e-6, "
        "\"max_position_embeddings\": 64, \"rope_theta\": 10000.0}";
    static const char weights[] =
        "\x37\0\0\0\0\0\0\0"
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}} "
        "\0\0\0";
    static const char names[] = "{\"eos_token\": \"<|im_end|>\"}";
    char dir[] = "/tmp/sampan-test-XXXXXX";
    assert_non_null(mkdtemp(dir));
    write_file(dir, "config.json", config, sizeof config - 1);
    write_file(dir, "model.safetensors", weights, sizeof weights);
    checkpoint *c = NULL;
    tokenizer *t = NULL;
    sp_error err = {0};
    if (checkpoint_open(dir, &c, &err) < 0)
        fail_msg("%s", err.message);
    assert_int_equal(tokenizer_load(c, &t, &err), SP_ENOTFOUND);
    assert_non_null(strstr(err.message, "tokenizer.json"));
    assert_null(t);
    json_t *json = fixture_json("tiny_qwen2.json");
    char *text = json_dumps(json, 0);
    write_file(dir, "tokenizer.json", text, strlen(text));
    assert_int_equal(tokenizer_load(c, &t, &err), 0);
    assert_int_equal(tokenizer_eos(t), -1);
    tokenizer_free(t);
    write_file(dir, "tokenizer_config.json", names, sizeof names - 1);
    assert_int_equal(tokenizer_load(c, &t, &err), 0);
    assert_int_equal(tokenizer_eos(t), tokenizer_find(t, "<|im_end|>"));
    tokenizer_free(t);
    write_file(dir, "tokenizer_config.json", "{", 1);
    assert_true(tokenizer_load(c, &t, &err) < 0);
    assert_null(t);
    free(text);
    json_decref(json);
    checkpoint_close(c);
    assert_int_equal(file_remove_tree(dir, NULL), 0);
}

/* ---- Out of memory ---- */

static void test_out_of_memory(void **state)
{
    (void)state;
    tokenizer *t = fixture_tokenizer("tiny_flags.json");
    struct text_span span = {0, 12};
    struct encode_opts opts = {SPECIAL_SPANS, &span, 1, true};
    char text[200] = "<tool> e\u0301\xff <mask> ";
    memset(text + 22, 'a', sizeof text - 22);
    int rc = SP_ENOMEM;
    for (long n = 1; rc != 0; n++) {
        struct token_list ids = {0};
        sp_error err = {0};
        sp_alloc_fail_nth(n);
        rc = tokenizer_encode(t, text, sizeof text, &opts, &ids, &err);
        sp_alloc_fail_nth(0);
        assert_true(rc == 0 || (rc == SP_ENOMEM && ids.n == 0 && err.code == SP_ENOMEM));
        assert_true(n < 1000);
        token_list_free(&ids);
    }
    tokenizer_free(t);
}

static void test_load_out_of_memory(void **state)
{
    (void)state;
    static const char *const files[] = {"tiny_flags.json", "tiny_llama3.json"};
    for (size_t f = 0; f < SP_COUNT(files); f++) {
        json_t *json = fixture_json(files[f]);
        int rc = SP_ENOMEM;
        for (long n = 1; rc != 0; n++) {
            tokenizer *t = NULL;
            sp_error err = {0};
            sp_alloc_fail_nth(n);
            rc = tokenizer_load_json(json, NULL, &t, &err);
            sp_alloc_fail_nth(0);
            assert_true(rc == 0 || (rc == SP_ENOMEM && !t));
            assert_true(n < 10000);
            tokenizer_free(t);
        }
        json_decref(json);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_questions),
        cmocka_unit_test(test_config),
        cmocka_unit_test(test_bos_of_template),
        cmocka_unit_test(test_untrusted_text_makes_no_added_token),
        cmocka_unit_test(test_straddling),
        cmocka_unit_test(test_longest_within_trust),
        cmocka_unit_test(test_spans_with_repair_and_nfc),
        cmocka_unit_test(test_bad_spans),
        cmocka_unit_test(test_invalid_utf8_is_repaired),
        cmocka_unit_test(test_appends),
        cmocka_unit_test(test_hostile_texts),
        cmocka_unit_test(test_short_and_long_words_agree),
        cmocka_unit_test(test_threads_share_a_tokenizer),
        cmocka_unit_test(test_model_folder),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_load_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
