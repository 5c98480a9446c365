/* Ids and texts equal those that Hugging Face's tokenizers gave (tests/reference). */
#include "tokenizer_fixture.h"

static void check_decoded(const tokenizer *t, const json_t *golden)
{
    json_t *strings = fixture_json("strings.json");
    const json_t *all = json_object_get(golden, "all");
    size_t i;
    json_t *ids;
    json_array_foreach(all, i, ids)
    {
        char key[24];
        snprintf(key, sizeof key, "%zu", i);
        const json_t *whole = json_array_get(json_object_get(golden, "decoded"), i);
        if (json_is_null(whole))
            whole = json_array_get(strings, i);
        const json_t *skipped = json_object_get(json_object_get(golden, "skipped"), key);
        for (int skip = 0; skip < 2; skip++) {
            const json_t *want = skip && skipped ? skipped : whole;
            struct token_list list = {0};
            for (size_t k = 0; k < json_array_size(ids); k++)
                token_list_add(&list, (int32_t)json_integer_value(json_array_get(ids, k)));
            buf text;
            buf_init(&text, 1 << 20);
            assert_int_equal(tokenizer_decode(t, list.ids, list.n, skip, &text, NULL), 0);
            assert_int_equal(text.len, json_string_length(want));
            if (text.len > 0)
                assert_memory_equal(text.data, json_string_value(want), text.len);
            buf_free(&text);
            token_list_free(&list);
        }
    }
    json_decref(strings);
}

static void check(const char *name)
{
    char file[64], golden_file[64];
    snprintf(file, sizeof file, "tiny_%s.json", name);
    snprintf(golden_file, sizeof golden_file, "golden_tiny_%s.json", name);
    tokenizer *t = fixture_tokenizer(file);
    json_t *golden = fixture_json(golden_file);
    fixture_golden(t, golden, "all", (struct encode_opts){.special = SPECIAL_ALL});
    fixture_golden(t, golden, "none", (struct encode_opts){.special = SPECIAL_NONE});
    fixture_golden(t, golden, "bos", (struct encode_opts){.special = SPECIAL_ALL, .add_bos = true});
    check_decoded(t, golden);
    json_decref(golden);
    tokenizer_free(t);
}

static void test_qwen2(void **state)
{
    (void)state;
    check("qwen2");
}

static void test_llama3(void **state)
{
    (void)state;
    check("llama3");
}

static void test_smollm(void **state)
{
    (void)state;
    check("smollm");
}

static void test_flags(void **state)
{
    (void)state;
    check("flags");
}

static void test_llama2(void **state)
{
    (void)state;
    check("llama2");
}

static void test_phi3(void **state)
{
    (void)state;
    check("phi3");
}

static void test_split(void **state)
{
    (void)state;
    check("split");
}

static void test_gemma(void **state)
{
    (void)state;
    check("gemma");
}

static void test_deepseek(void **state)
{
    (void)state;
    check("deepseek");
}

static void test_tekken(void **state)
{
    (void)state;
    check("tekken");
}

static void test_o200k(void **state)
{
    (void)state;
    check("o200k");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_qwen2),    cmocka_unit_test(test_llama3),
        cmocka_unit_test(test_smollm),   cmocka_unit_test(test_flags),
        cmocka_unit_test(test_o200k),    cmocka_unit_test(test_tekken),
        cmocka_unit_test(test_deepseek), cmocka_unit_test(test_gemma),
        cmocka_unit_test(test_split),    cmocka_unit_test(test_phi3),
        cmocka_unit_test(test_llama2),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
