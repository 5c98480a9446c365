/* tokenizer.json files that are wrong or ask for what Sampan doesn't do are refused by name; other
 * spellings of what it does are taken. */
#include "tokenizer_fixture.h"

/* Loads a fixture after `set`, a JSON object of members to replace; its "model" members go into
 * the model. Wants the code, and the words in the message. */
static void check_of(const char *name, const char *set, int code, const char *words)
{
    json_t *json = fixture_json(name);
    json_error_t error;
    json_t *change = json_loads(set, 0, &error);
    if (!change)
        fail_msg("%s: %s", set, error.text);
    json_t *model = json_object_get(change, "model");
    if (json_is_object(model)) {
        json_object_update(json_object_get(json, "model"), model);
        json_object_del(change, "model");
    }
    json_object_update(json, change);
    json_decref(change);
    tokenizer *t = NULL;
    sp_error err = {0};
    int rc = tokenizer_load_json(json, NULL, &t, &err);
    if (rc != code || (code < 0 && (t || !strstr(err.message, words))))
        fail_msg("%s gave %d: %s", set, rc, err.message);
    tokenizer_free(t);
    json_decref(json);
}

static void check(const char *set, int code, const char *words)
{
    check_of("tiny_qwen2.json", set, code, words);
}

/* SentencePiece's kind: vocabulary, normalizer and decoder have to fit together. */
static void test_marked(void **state)
{
    (void)state;
    static const char file[] = "tiny_llama2.json";
    check_of(file, "{}", 0, "");
    check_of(file, "{\"model\": {\"byte_fallback\": false}}", 0, "");
    check_of(file, "{\"decoder\": null}", SP_EUNSUPPORTED, "U+2581");
    check_of(file, "{\"decoder\": {\"type\": \"Fuse\"}}", SP_EUNSUPPORTED, "U+2581");
    check_of(file, "{\"decoder\": {\"type\": \"Metaspace\", \"replacement\": \"\u2581\"}}",
             SP_EUNSUPPORTED, "ByteFallback");
    check_of(file,
             "{\"decoder\": {\"type\": \"Strip\", \"content\": \" \", \"start\": 1, \"stop\": 0}}",
             SP_EUNSUPPORTED, "'Strip'");
    check_of(file, "{\"normalizer\": null}", SP_EFORMAT, "neither ByteLevel nor U+2581");
    check_of(file, "{\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"use_regex\": false}}",
             SP_EFORMAT, "both ByteLevel");
    check_of(file,
             "{\"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"Regex\": \"a\"}, "
             "\"behavior\": \"Isolated\"}}",
             SP_EUNSUPPORTED, "Split");
    check_of(
        file,
        "{\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Digits\"}, "
        "{\"type\": \"Metaspace\", \"replacement\": \"\u2581\"}]}}",
        SP_EUNSUPPORTED, "Metaspace");
    check_of(file, "{\"model\": {\"merges\": [[\"<0x0\", \"A>\"]]}}", SP_EFORMAT, "merge 0");
    check_of(file,
             "{\"model\": {\"vocab\": {\"\u2581\": 0, \" \": 1, \"<s>\": 2}, \"merges\": []}}", 0,
             "");
}

/* Merges that join to a special token are not taken: text would become one. */
static void test_merges_to_special(void **state)
{
    (void)state;
    json_t *json = fixture_json("tiny_llama2.json");
    json_t *model = json_object_get(json, "model");
    json_t *vocab = json_object_get(model, "vocab"), *merges = json_object_get(model, "merges");
    json_object_set_new(vocab, "<", json_integer(2000));
    json_object_set_new(vocab, "s>", json_integer(2001));
    json_object_set_new(vocab, ">", json_integer(2002));
    json_array_insert_new(merges, 0, json_pack("[s,s]", "s", ">"));
    json_array_insert_new(merges, 1, json_pack("[s,s]", "<", "s>"));
    for (int whole = 0; whole < 2; whole++) {
        json_object_set_new(model, "ignore_merges", json_boolean(whole));
        tokenizer *t = fixture_load(json, NULL);
        assert_true(tokenizer_is_special(t, tokenizer_find(t, "<s>")));
        struct token_list ids = fixture_encode(t, str_of("<s>"), SPECIAL_NONE);
        for (size_t i = 0; i < ids.n; i++)
            assert_false(tokenizer_is_special(t, ids.ids[i]));
        assert_int_equal(ids.ids[ids.n - 1], 2001);
        token_list_free(&ids);
        tokenizer_free(t);
    }
    json_decref(json);
}

static void test_taken(void **state)
{
    (void)state;
    check("{}", 0, "");
    check("{\"normalizer\": null}", 0, "");
    check("{\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFC\"}]}}", 0,
          "");
    check("{\"post_processor\": null}", 0, "");
    check("{\"added_tokens\": []}", 0, "");
    check("{\"model\": {\"unk_token\": \"!\", \"dropout\": null}}", 0, "");
    check("{\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false}}", 0, "");
}

static void test_unsupported(void **state)
{
    (void)state;
    check("{\"normalizer\": {\"type\": \"Lowercase\"}}", SP_EUNSUPPORTED, "'Lowercase'");
    check("{\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFKC\"}]}}",
          SP_EUNSUPPORTED, "'NFKC'");
    check("{\"pre_tokenizer\": {\"type\": \"Whitespace\"}}", SP_EUNSUPPORTED, "'Whitespace'");
    check("{\"pre_tokenizer\": {\"type\": \"Metaspace\", \"replacement\": \"_\"}}", SP_EUNSUPPORTED,
          "Metaspace");
    check("{\"normalizer\": {\"type\": \"Prepend\", \"prepend\": \"x\"}}", SP_EUNSUPPORTED,
          "'Prepend'");
    check("{\"normalizer\": {\"type\": \"Replace\", \"pattern\": {\"String\": \"a\"}, "
          "\"content\": \"b\"}}",
          SP_EUNSUPPORTED, "'Replace'");
    check("{\"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true}}",
          SP_EUNSUPPORTED, "add_prefix_space");
    check(
        "{\"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"Regex\": \"a\"}, \"behavior\": "
        "\"MergedWithNext\"}}",
        SP_EUNSUPPORTED, "'MergedWithNext'");
    check(
        "{\"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"Regex\": \"(\"}, \"behavior\": "
        "\"Isolated\"}}",
        SP_EUNSUPPORTED, "pattern");
    check("{\"pre_tokenizer\": null}", SP_EFORMAT, "ByteLevel");
    check("{\"decoder\": {\"type\": \"Metaspace\"}}", SP_EUNSUPPORTED, "'Metaspace'");
    check("{\"decoder\": null}", SP_EUNSUPPORTED, "decoder");
    check("{\"post_processor\": {\"type\": \"BertProcessing\"}}", SP_EUNSUPPORTED,
          "'BertProcessing'");
    check("{\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [{\"Sequence\": "
          "{\"id\": "
          "\"A\"}}, {\"SpecialToken\": {\"id\": \"<|endoftext|>\"}}], \"special_tokens\": "
          "{\"<|endoftext|>\": {\"ids\": [1]}}}}",
          SP_EUNSUPPORTED, "TemplateProcessing");
    check("{\"model\": {\"type\": \"Unigram\"}}", SP_EUNSUPPORTED, "'Unigram'");
    check("{\"model\": {\"byte_fallback\": true}}", SP_EUNSUPPORTED, "byte_fallback");
    check("{\"model\": {\"end_of_word_suffix\": \"</w>\"}}", SP_EUNSUPPORTED, "end_of_word_suffix");
    check("{\"model\": {\"dropout\": 0.1}}", SP_EUNSUPPORTED, "dropout");
}

static void test_malformed(void **state)
{
    (void)state;
    check("{\"model\": []}", SP_EFORMAT, "model: missing");
    check("{\"model\": {\"vocab\": {}}}", SP_EFORMAT, "model.vocab");
    check("{\"model\": {\"vocab\": [1]}}", SP_EFORMAT, "model.vocab");
    check("{\"model\": {\"vocab\": {\"a\": -1}}}", SP_EFORMAT, "'a'");
    check("{\"model\": {\"vocab\": {\"a\": 99999999999}}}", SP_EFORMAT, "'a'");
    check("{\"model\": {\"vocab\": {\"a\": 1.5}}}", SP_EFORMAT, "'a'");
    check("{\"model\": {\"vocab\": {\"a\": 1, \"b\": 1}}}", SP_EFORMAT, "twice");
    check("{\"model\": {\"merges\": {}}}", SP_EFORMAT, "model.merges");
    check("{\"model\": {\"merges\": [\"ab\"]}}", SP_EFORMAT, "entry 0");
    check("{\"model\": {\"merges\": [[\"a\"]]}}", SP_EFORMAT, "entry 0");
    check("{\"model\": {\"merges\": [[\"a\", 1]]}}", SP_EFORMAT, "entry 0");
    check("{\"model\": {\"merges\": [\"a qqqq\"]}}", SP_EFORMAT, "merge 0 joins 'a' and 'qqqq'");
    check("{\"added_tokens\": [{\"content\": \"x\"}]}", SP_EFORMAT, "entry 0");
    check("{\"added_tokens\": [{\"id\": 3}]}", SP_EFORMAT, "entry 0");
    check("{\"added_tokens\": [{\"id\": -3, \"content\": \"x\"}]}", SP_EFORMAT, "entry 0");
    check("{\"pre_tokenizer\": {\"type\": \"Split\", \"behavior\": \"Isolated\"}}", SP_EFORMAT,
          "pattern");
    check("{\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": [{\"SpecialToken\": "
          "{\"id\": \"x\"}}], \"special_tokens\": {\"x\": {\"ids\": [99999]}}}}",
          SP_EFORMAT, "BOS token 99999");
    tokenizer *t;
    sp_error err;
    json_t *list = json_array();
    assert_int_equal(tokenizer_load_json(list, NULL, &t, &err), SP_EFORMAT);
    assert_int_equal(tokenizer_load_json(NULL, NULL, &t, &err), SP_EFORMAT);
    json_decref(list);
}

static void test_limits(void **state)
{
    (void)state;
    char text[2048], set[4096];
    memset(text, 'x', sizeof text);
    text[1025] = '\0';
    snprintf(set, sizeof set, "{\"added_tokens\": [{\"id\": 3, \"content\": \"%s\"}]}", text);
    check(set, SP_EFORMAT, "1025 bytes");
    buf steps;
    buf_init(&steps, 8192);
    for (int i = 0; i < 12; i++)
        buf_puts(&steps, "{\"type\": \"Digits\"},");
    buf whole;
    buf_init(&whole, 8192);
    buf_printf(&whole,
               "{\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [%s {\"type\": "
               "\"ByteLevel\"}]}}",
               steps.data);
    check(whole.data, SP_EUNSUPPORTED, "steps");
    buf_free(&steps);
    buf_free(&whole);
}

/* Nested beyond reason: refused, not followed. */
static void test_deep_nesting(void **state)
{
    (void)state;
    buf s;
    buf_init(&s, 1 << 16);
    buf_puts(&s, "{\"normalizer\":");
    for (int i = 0; i < 100; i++)
        buf_puts(&s, "{\"type\":\"Sequence\",\"normalizers\":[");
    for (int i = 0; i < 100; i++)
        buf_puts(&s, "]}");
    buf_puts(&s, "}");
    check(s.data, SP_EUNSUPPORTED, "Sequence");
    buf_free(&s);
}

/* Bytes that the vocabulary lacks become the unknown token, fused or not; without one they vanish. */
static void test_unknown_token(void **state)
{
    (void)state;
    for (int fuse = 0; fuse < 3; fuse++) {
        json_t *json = fixture_json("tiny_smollm.json");
        json_t *model = json_object_get(json, "model");
        if (fuse < 2)
            json_object_set_new(model, "unk_token", json_string("<|endoftext|>"));
        json_object_set_new(model, "fuse_unk", json_boolean(fuse == 1));
        tokenizer *t = fixture_load(json, NULL);
        struct token_list ids = fixture_encode(t, (str){"\x01\x02", 2}, SPECIAL_ALL);
        assert_int_equal(ids.n, fuse == 0 ? 2 : fuse == 1 ? 1 : 0);
        for (size_t i = 0; i < ids.n; i++)
            assert_int_equal(ids.ids[i], tokenizer_find(t, "<|endoftext|>"));
        token_list_free(&ids);
        tokenizer_free(t);
        json_decref(json);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_marked),       cmocka_unit_test(test_merges_to_special),
        cmocka_unit_test(test_taken),        cmocka_unit_test(test_unsupported),
        cmocka_unit_test(test_malformed),    cmocka_unit_test(test_limits),
        cmocka_unit_test(test_deep_nesting), cmocka_unit_test(test_unknown_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
