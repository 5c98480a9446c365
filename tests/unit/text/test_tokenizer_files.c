/* Tokenizers in files of their own: SentencePiece's tokenizer.model and tiktoken's ranks. Ids equal those
 * of their libraries (tests/reference); what is cut short, wrong or unknown is refused. */
#include "tokenizer_fixture.h"

#include "base/file.h"
#include "text/detok.h"

static str fixture_file(const char *name)
{
    char path[1024];
    str s = {NULL, 0};
    char *data = NULL;
    snprintf(path, sizeof path, "%s/text/%s", TEST_DATA, name);
    assert_int_equal(file_read(path, 1 << 24, &data, &s.n, NULL), 0);
    s.p = data;
    return s;
}

static void file_free(str s)
{
    sp_free((void *)(uintptr_t)s.p);
}

static tokenizer *load_spm(str s, const json_t *config)
{
    tokenizer *t = NULL;
    sp_error err = {0};
    if (tokenizer_load_spm(s.p, s.n, config, &t, &err) < 0)
        fail_msg("%s", err.message);
    return t;
}

static tokenizer *fixture_spm(const json_t *config)
{
    str s = fixture_file("tiny.model");
    tokenizer *t = load_spm(s, config);
    file_free(s);
    return t;
}

static tokenizer *fixture_tiktoken(enum tiktoken_family family)
{
    str s = fixture_file("tiny.tiktoken");
    tokenizer *t = NULL;
    sp_error err = {0};
    if (tokenizer_load_tiktoken(s.p, s.n, family, NULL, &t, &err) < 0)
        fail_msg("%s", err.message);
    file_free(s);
    return t;
}

static void check_decoded(const tokenizer *t, const json_t *ids, str want)
{
    struct token_list list = {0};
    for (size_t i = 0; i < json_array_size(ids); i++)
        token_list_add(&list, (int32_t)json_integer_value(json_array_get(ids, i)));
    buf whole, parts;
    buf_init(&whole, 1 << 20);
    buf_init(&parts, 1 << 20);
    assert_int_equal(tokenizer_decode(t, list.ids, list.n, false, &whole, NULL), 0);
    assert_int_equal(whole.len, want.n);
    if (want.n > 0)
        assert_memory_equal(whole.data, want.p, want.n);
    struct detok d;
    detok_init(&d, t, false);
    d.at_start = true;
    for (size_t i = 0; i < list.n; i++)
        assert_int_equal(detok_add(&d, list.ids[i], &parts), 0);
    assert_int_equal(detok_end(&d, &parts), 0);
    assert_int_equal(parts.len, whole.len);
    if (parts.len > 0)
        assert_memory_equal(parts.data, whole.data, parts.len);
    buf_free(&whole);
    buf_free(&parts);
    token_list_free(&list);
}

/* SentencePiece's own answers, for ordinary text. */
static void check_spm_golden(const tokenizer *t)
{
    json_t *strings = fixture_json("strings.json"), *golden = fixture_json("golden_tiny_spm.json");
    const json_t *list = json_object_get(golden, "ids");
    size_t i, n = 0;
    json_t *want;
    json_array_foreach(list, i, want)
    {
        const json_t *s = json_array_get(strings, i);
        const json_t *back = json_array_get(json_object_get(golden, "decoded"), i);
        if (json_is_null(want))
            continue;
        str text = {json_string_value(s), json_string_length(s)};
        fixture_same(fixture_encode(t, text, SPECIAL_NONE), want, text.p);
        if (json_is_string(back))
            text = (str){json_string_value(back), json_string_length(back)};
        check_decoded(t, want, text);
        n++;
    }
    assert_true(n > 200);
    json_decref(strings);
    json_decref(golden);
}

static void test_spm(void **state)
{
    (void)state;
    tokenizer *t = fixture_spm(NULL);
    check_spm_golden(t);
    assert_int_equal(tokenizer_bos(t), tokenizer_find(t, "<s>"));
    assert_int_equal(tokenizer_eos(t), tokenizer_find(t, "</s>"));
    tokenizer_free(t);
}

/* The same vocabulary in GGUF. */
static void test_spm_gguf(void **state)
{
    (void)state;
    char path[1024];
    snprintf(path, sizeof path, "%s/text/tiny_spm.gguf", TEST_DATA);
    gguf *g = NULL;
    tokenizer *t = NULL;
    sp_error err = {0};
    if (gguf_open(path, &g, &err) < 0 || tokenizer_load_gguf(g, &t, &err) < 0)
        fail_msg("%s", err.message);
    check_spm_golden(t);
    assert_int_equal(tokenizer_bos(t), 1);
    assert_int_equal(tokenizer_eos(t), 2);
    tokenizer_free(t);
    gguf_close(g);
}

static bool holds(const struct token_list *ids, int32_t id)
{
    for (size_t i = 0; i < ids->n; i++)
        if (ids->ids[i] == id)
            return true;
    return false;
}

/* Control tokens and bytes that a user spells out are text; the program's are tokens. */
static void test_spm_provenance(void **state)
{
    (void)state;
    tokenizer *t = fixture_spm(NULL);
    static const char text[] = "<s>a</s><|im_end|><unk><0x41><|im_end|>";
    struct token_list none = fixture_encode(t, str_of(text), SPECIAL_NONE);
    struct token_list all = fixture_encode(t, str_of(text), SPECIAL_ALL);
    static const char *const names[] = {"<s>", "</s>", "<|im_end|>", "<unk>"};
    for (size_t i = 0; i < SP_COUNT(names); i++) {
        assert_true(tokenizer_is_special(t, tokenizer_find(t, names[i])));
        assert_false(holds(&none, tokenizer_find(t, names[i])));
        assert_true(holds(&all, tokenizer_find(t, names[i])));
    }
    for (size_t i = 0; i < none.n; i++)
        assert_false(str_eqz(tokenizer_bytes(t, none.ids[i]), "A"));
    struct text_span span = {sizeof text - 1 - 10, sizeof text - 1};
    struct encode_opts opts = {.special = SPECIAL_SPANS, .spans = &span, .n_spans = 1};
    struct token_list last = fixture_encode_spans(t, str_of(text), opts);
    size_t seen = 0;
    for (size_t i = 0; i < last.n; i++)
        seen += tokenizer_is_special(t, last.ids[i]);
    assert_int_equal(seen, 1);
    assert_int_equal(last.ids[last.n - 1], tokenizer_find(t, "<|im_end|>"));
    token_list_free(&none);
    token_list_free(&all);
    token_list_free(&last);
    tokenizer_free(t);
}

/* A tokenizer_config.json names tokens anew; text that spelled a piece's old name stays text. */
static void test_spm_config(void **state)
{
    (void)state;
    tokenizer *t = fixture_spm(NULL);
    int32_t unit = tokenizer_find(t, " the");
    assert_true(unit > 0);
    tokenizer_free(t);
    json_t *config =
        json_pack("{s:{s:{s:s,s:b}}, s:s, s:b, s:b}", "added_tokens_decoder", "9", "content", "x",
                  "special", 1, "eos_token", "<|end|>", "add_bos_token", 0, "legacy", 0);
    char key[16];
    snprintf(key, sizeof key, "%d", (int)unit);
    json_t *decoder = json_object_get(config, "added_tokens_decoder");
    json_object_clear(decoder);
    json_object_set_new(decoder, key, json_pack("{s:s,s:b}", "content", "<|end|>", "special", 1));
    json_object_set_new(decoder, "1200", json_pack("{s:s}", "content", "<extra>"));
    t = fixture_spm(config);
    assert_int_equal(tokenizer_eos(t), unit);
    assert_int_equal(tokenizer_find(t, "<extra>"), 1200);
    assert_int_equal(tokenizer_vocab(t), 1201);
    struct encode_opts opts = {.special = SPECIAL_ALL, .add_bos = true};
    struct token_list ids = fixture_encode_spans(t, str_of("see the<|end|>the"), opts);
    size_t ends = 0;
    for (size_t i = 0; i < ids.n; i++)
        ends += ids.ids[i] == unit;
    assert_int_equal(ends, 1);
    assert_true(ids.ids[0] != tokenizer_bos(t));
    /* legacy: false puts a space before the whole text only */
    buf text;
    buf_init(&text, 256);
    assert_int_equal(tokenizer_decode(t, ids.ids, ids.n, false, &text, NULL), 0);
    assert_string_equal(text.data, "see the<|end|>the");
    buf_free(&text);
    token_list_free(&ids);
    tokenizer_free(t);
    json_object_set_new(decoder, "x1", json_pack("{s:s}", "content", "<extra>"));
    str s = fixture_file("tiny.model");
    sp_error err;
    assert_int_equal(tokenizer_load_spm(s.p, s.n, config, &t, &err), SP_EFORMAT);
    assert_non_null(strstr(err.message, "'x1'"));
    file_free(s);
    json_decref(config);
}

/* What goes on from a prompt keeps its space; a text's beginning loses the one that encoding put there. */
static void test_start(void **state)
{
    (void)state;
    tokenizer *t = fixture_spm(NULL);
    struct token_list ids = fixture_encode(t, str_of("the"), SPECIAL_NONE);
    for (int start = 0; start < 2; start++) {
        struct detok d;
        buf out;
        buf_init(&out, 64);
        detok_init(&d, t, true);
        d.at_start = start == 1;
        for (size_t i = 0; i < ids.n; i++)
            assert_int_equal(detok_add(&d, ids.ids[i], &out), 0);
        assert_string_equal(out.data, start ? "the" : " the");
        buf_free(&out);
    }
    token_list_free(&ids);
    tokenizer_free(t);
}

/* Every cut of the file: refused, or (between two fields) a smaller vocabulary; never a crash. */
static void test_spm_truncated(void **state)
{
    (void)state;
    str s = fixture_file("tiny.model");
    for (size_t n = 0; n < s.n; n += n < 200 || n + 400 > s.n ? 1 : 37) {
        char *cut = sp_malloc(n ? n : 1);
        assert_non_null(cut);
        memcpy(cut, s.p, n);
        tokenizer *t = NULL;
        sp_error err = {0};
        int rc = tokenizer_load_spm(cut, n, NULL, &t, &err);
        assert_true(rc == 0 ? t != NULL : t == NULL && err.message[0]);
        tokenizer_free(t);
        sp_free(cut);
    }
    file_free(s);
}

static void check_spm_refused(const char *bytes, size_t n, int code, const char *words)
{
    tokenizer *t;
    sp_error err = {0};
    int rc = tokenizer_load_spm(bytes, n, NULL, &t, &err);
    if (rc != code || !strstr(err.message, words))
        fail_msg("%d: %s", rc, err.message);
    assert_null(t);
}
#define SPM_REFUSED(bytes, code, words) check_spm_refused(bytes, sizeof(bytes) - 1, code, words)

static void test_spm_refused(void **state)
{
    (void)state;
    SPM_REFUSED("", SP_EFORMAT, "0 pieces");
    SPM_REFUSED("\n\3\n\1a", SP_EUNSUPPORTED, "another model than BPE");
    SPM_REFUSED("\n\3\n\1a\x12\2\x18\2", SP_EUNSUPPORTED, "removes spaces");
    SPM_REFUSED("\n\3\n\1a\x12\2\x18\2\x1a\5\x12\1x\x20\0", SP_EUNSUPPORTED, "changes characters");
    SPM_REFUSED("\n\3\n\1a\x12\2\x18\2\x1a\4\x20\0\x28\0", SP_EUNSUPPORTED, "not escaped");
    /* from here on BPE that keeps spaces, and no BOS or EOS */
#define SPM_BPE                                                                                    \
    "\x12\x15\x18\2\xc8\2\xff\xff\xff\xff\xff\xff\xff\xff\xff\1\xd0\2\xff\xff\xff\xff\x0f"
#define SPM_KEEP "\x1a\2\x20\0"
    SPM_REFUSED("\n\5\n\1a\x18\7" SPM_BPE SPM_KEEP, SP_EFORMAT, "unknown type");
    SPM_REFUSED("\n\5\n\1a\x18\6" SPM_BPE SPM_KEEP, SP_EFORMAT, "byte token");
    SPM_REFUSED("\n\10\n\1a\x15\0\0\xc0\x7f" SPM_BPE SPM_KEEP, SP_EFORMAT, "score"); /* NaN */
    SPM_REFUSED("\n\3\n\1a\x12\2\x18\2" SPM_KEEP, SP_EFORMAT, "BOS");
    SPM_REFUSED("\n\3\n\5a" SPM_BPE SPM_KEEP, SP_EFORMAT, "truncated");
}

/* One score for all: the leftmost pair first; and pieces given twice. */
static void test_spm_ties(void **state)
{
    (void)state;
    static const char bytes[] =
        "\n\3\n\1a\n\4\n\2aa\n\4\n\2aa\n\6\n\4aaaa\n\5\n\3aaa" SPM_BPE "\x1a\4\x18\0\x20\0";
    str s = {bytes, sizeof bytes - 1};
    tokenizer *t = load_spm(s, NULL);
    struct token_list ids = fixture_encode(t, str_of("aaaaa"), SPECIAL_NONE);
    size_t total = 0;
    for (size_t i = 0; i < ids.n; i++)
        total += tokenizer_bytes(t, ids.ids[i]).n;
    assert_int_equal(total, 5);
    token_list_free(&ids);
    tokenizer_free(t);
}

static void test_tiktoken(void **state)
{
    (void)state;
    tokenizer *t = fixture_tiktoken(TIKTOKEN_QWEN);
    json_t *golden = fixture_json("golden_tiny_tiktoken.json");
    fixture_golden(t, golden, "all", (struct encode_opts){.special = SPECIAL_ALL});
    fixture_golden(t, golden, "none", (struct encode_opts){.special = SPECIAL_NONE});
    json_decref(golden);
    int32_t end = tokenizer_find(t, "<|endoftext|>");
    assert_int_equal(tokenizer_eos(t), end);
    assert_int_equal(tokenizer_find(t, "<|im_start|>"), end + 1);
    assert_int_equal(tokenizer_find(t, "<|extra_204|>"), end + 207);
    assert_int_equal(tokenizer_vocab(t), end + 208);
    const int32_t *ends;
    assert_int_equal(tokenizer_ends(t, &ends), 2);
    tokenizer_free(t);
    t = fixture_tiktoken(TIKTOKEN_LLAMA3);
    assert_int_equal(tokenizer_bos(t), end);
    assert_int_equal(tokenizer_find(t, "<|eot_id|>"), end + 9);
    assert_int_equal(tokenizer_find(t, "<|reserved_special_token_245|>"), end + 255);
    assert_int_equal(tokenizer_vocab(t), end + 256);
    tokenizer_free(t);
}

static void check_tiktoken_refused(const char *text, const char *words)
{
    tokenizer *t;
    sp_error err = {0};
    size_t n = strlen(text);
    char *exact = sp_malloc(n ? n : 1);
    assert_non_null(exact);
    memcpy(exact, text, n);
    int rc = tokenizer_load_tiktoken(exact, n, TIKTOKEN_QWEN, NULL, &t, &err);
    if (rc != SP_EFORMAT || !strstr(err.message, words))
        fail_msg("'%s' gave %d: %s", text, rc, err.message);
    assert_null(t);
    sp_free(exact);
}

static void test_tiktoken_refused(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "IQ==",     "IQ== ",     "IQ==  0", "IQ== 0\n\nIg== 1",
        "IQ== -1",  "IQ= 0",     "I=== 0",  "==== 0",
        "I!== 0",   "IQ== 0x",   "IQ==\t0", "IQ== 99999999999999999999",
        "IQ== 0 0", "IQ==IQ== 0"};
    for (size_t i = 0; i < SP_COUNT(lines); i++)
        check_tiktoken_refused(lines[i], "line");
    check_tiktoken_refused("IQ== 0\nIg== 0", "rank 0 again");
    check_tiktoken_refused("IQ== 0\nIg== 5", "highest");
    check_tiktoken_refused("IQ== 0\nIg== 1\n", "lack the byte 00");
    check_tiktoken_refused("", "lack the byte");
}

static void link_file(const char *dir, const char *room, const char *file, const char *name)
{
    char from[1024], to[1024];
    snprintf(from, sizeof from, "%s/%s/%s", TEST_DATA, room, file);
    snprintf(to, sizeof to, "%s/%s", dir, name);
    assert_int_equal(symlink(from, to), 0);
}

/* Opens the model folder and loads its tokenizer; NULL: it was refused with err. */
static tokenizer *load_folder(const char *dir, sp_error *err)
{
    checkpoint *c = NULL;
    tokenizer *t = NULL;
    if (checkpoint_open(dir, &c, err) < 0)
        fail_msg("%s", err->message);
    int rc = tokenizer_load(c, &t, err);
    assert_true(rc == 0 ? t != NULL : t == NULL);
    checkpoint_close(c);
    return t;
}

/* A model's folder without tokenizer.json gives what older files it has. */
static void test_folder(void **state)
{
    (void)state;
    static const char *const model[] = {"config.json", "model-00001-of-00002.safetensors",
                                        "model-00002-of-00002.safetensors",
                                        "model.safetensors.index.json"};
    static const struct {
        const char *file, *name, *has, *lacks;
    } kinds[] = {
        {"tiny.model", "tokenizer.model", "</s>", "<|eot_id|>"},
        {"tiny.tiktoken", "tokenizer.model", "<|eot_id|>", "</s>"},
        {"tiny.tiktoken", "qwen.tiktoken", "<|extra_7|>", "<|eot_id|>"},
        {"tiny_gemma.json", "tokenizer.json", "<tool_call>", "<|extra_7|>"},
    };
    char dir[] = "/tmp/sampan-test-XXXXXX", path[1024];
    assert_non_null(mkdtemp(dir));
    for (size_t i = 0; i < SP_COUNT(model); i++)
        link_file(dir, "models/llama", model[i], model[i]);
    sp_error err = {0};
    assert_null(load_folder(dir, &err));
    assert_int_equal(err.code, SP_ENOTFOUND);
    assert_non_null(strstr(err.message, "tokenizer.json: missing, and so are"));
    for (size_t i = 0; i < SP_COUNT(kinds); i++) {
        link_file(dir, "text", kinds[i].file, kinds[i].name);
        tokenizer *t = load_folder(dir, &err);
        if (!t)
            fail_msg("%s", err.message);
        assert_true(tokenizer_find(t, kinds[i].has) >= 0);
        assert_int_equal(tokenizer_find(t, kinds[i].lacks), -1);
        tokenizer_free(t);
        snprintf(path, sizeof path, "%s/%s", dir, kinds[i].name);
        assert_int_equal(unlink(path), 0);
    }
    for (size_t i = 0; i < SP_COUNT(model); i++) {
        snprintf(path, sizeof path, "%s/%s", dir, model[i]);
        assert_int_equal(unlink(path), 0);
    }
    assert_int_equal(rmdir(dir), 0);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    str files[] = {fixture_file("tiny.model"), fixture_file("tiny.tiktoken")};
    for (int k = 0; k < 2; k++) {
        int rc = SP_ENOMEM;
        for (long n = 1; rc != 0; n++) {
            tokenizer *t = NULL;
            sp_alloc_fail_nth(n);
            rc = k == 0 ? tokenizer_load_spm(files[k].p, files[k].n, NULL, &t, NULL)
                        : tokenizer_load_tiktoken(files[k].p, files[k].n, TIKTOKEN_LLAMA3, NULL, &t,
                                                  NULL);
            struct token_list ids = {0};
            struct encode_opts opts = {.special = SPECIAL_ALL};
            static const char text[] =
                "a \xe2\x96\x81 long enough text: \xe4\xb8\xad\xe6\x96\x87"
                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
            if (rc == 0)
                rc = tokenizer_encode(t, text, sizeof text - 1, &opts, &ids, NULL);
            sp_alloc_fail_nth(0);
            assert_true(rc == 0 || rc == SP_ENOMEM);
            assert_true(n < 20000);
            token_list_free(&ids);
            tokenizer_free(t);
        }
        file_free(files[k]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spm),
        cmocka_unit_test(test_spm_gguf),
        cmocka_unit_test(test_spm_provenance),
        cmocka_unit_test(test_spm_config),
        cmocka_unit_test(test_start),
        cmocka_unit_test(test_spm_truncated),
        cmocka_unit_test(test_spm_refused),
        cmocka_unit_test(test_spm_ties),
        cmocka_unit_test(test_tiktoken),
        cmocka_unit_test(test_tiktoken_refused),
        cmocka_unit_test(test_folder),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
