/* Model files: the sound ones open; cut, twisted and lying ones are refused with a message, never a crash. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "../tiny_model.h"
#include "format/checkpoint.h"

#define MODELS TEST_DATA "/models/"

static char scratch[] = "/tmp/sampan-format-XXXXXX";

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

static char *put(const char *name, const void *data, size_t n)
{
    char *path = path_join(scratch, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    fclose(f);
    return path;
}

static int open_bytes(const char *name, const void *data, size_t n, sp_error *err)
{
    char *path = put(name, data, n);
    checkpoint *c = NULL;
    int code = checkpoint_open(path, &c, err);
    checkpoint_close(c);
    sp_free(path);
    return code;
}

static void all_tiny_models_open(void **state)
{
    static const char *const names[] = {"qwen2-tied",
                                        "qwen2-untied",
                                        "qwen2-yarn",
                                        "qwen2-window",
                                        "qwen3",
                                        "llama",
                                        "llama3",
                                        "llama-linear",
                                        "mistral",
                                        "qwen2-moe",
                                        "qwen3-moe",
                                        "qwen2-moe-gguf/model.gguf",
                                        "qwen2-gguf/model.gguf",
                                        "llama-gguf/model.gguf"};
    (void)state;
    for (size_t i = 0; i < SP_COUNT(names); i++) {
        char path[256], format[64], shape[96];
        checkpoint *c = NULL;
        sp_error err = {0};
        snprintf(path, sizeof path, MODELS "%s", names[i]);
        if (checkpoint_open(path, &c, &err) < 0)
            fail_msg("%s: %s", names[i], err.message);
        const struct model_config *m = checkpoint_config(c);
        assert_non_null(strstr(names[i], m->arch->name));
        assert_true(m->layers > 0 && m->heads % m->kv_heads == 0);
        assert_true(checkpoint_parameters(c) > 1000 && checkpoint_tensor_bytes(c) > 4000);
        assert_non_null(strchr(checkpoint_format_text(c, format), ' '));
        assert_int_equal(tensor_shape_text(checkpoint_tensor_at(c, 0), shape)[0], '[');
        assert_null(checkpoint_find(c, "no.such.tensor"));
        checkpoint_close(c);
    }
}

static void every_truncation_of_a_gguf_is_an_error(void **state)
{
    char *data;
    size_t n;
    sp_error err;
    (void)state;
    assert_int_equal(file_read(MODELS "qwen2-gguf/model.gguf", 1 << 24, &data, &n, NULL), 0);
    for (size_t cut = 0; cut < n; cut += cut < 6000 ? 13 : 997) {
        err.message[0] = '\0';
        assert_true(open_bytes("cut.gguf", data, cut, &err) < 0);
        assert_true(err.message[0] != '\0');
    }
    assert_int_equal(open_bytes("whole.gguf", data, n, &err), 0);
    sp_free(data);
}

static void twisted_headers_never_crash(void **state)
{
    char *data;
    size_t n;
    sp_error err;
    (void)state;
    assert_int_equal(file_read(MODELS "llama-gguf/model.gguf", 1 << 24, &data, &n, NULL), 0);
    for (uint64_t i = 0; i < 1500; i++) {
        size_t head = n < 8000 ? n : 8000, at = (size_t)(rng_uniform(5, i, 0) * (double)head);
        char old = data[at];
        data[at] = (char)(rng_uniform(5, i, 1) * 256);
        open_bytes("twisted.gguf", data, n, &err);
        data[at] = old;
    }
    sp_free(data);
}

static void versions_and_kinds_that_are_not_read(void **state)
{
    sp_error err;
    char v1[64] = "GGUF\x01\0\0\0", big[64] = "GGUF\0\0\0\x03", text[] = "hello, this is no model";
    char *path = path_join(scratch, "x.safetensors");
    checkpoint *c = NULL;
    (void)state;
    assert_int_equal(open_bytes("v1.gguf", v1, sizeof v1, &err), SP_EUNSUPPORTED);
    assert_non_null(strstr(err.message, "version 1"));
    assert_int_equal(open_bytes("big.gguf", big, sizeof big, &err), SP_EUNSUPPORTED);
    assert_non_null(strstr(err.message, "big-endian"));
    assert_int_equal(open_bytes("text.gguf", text, sizeof text, &err), SP_EFORMAT);
    assert_int_equal(open_bytes("x.safetensors", text, sizeof text, &err), SP_EUSAGE);
    assert_int_equal(checkpoint_open("/no/such/thing", &c, &err), SP_ENOTFOUND);
    assert_int_equal(checkpoint_open("/usr", &c, &err), SP_ENOTFOUND);
    sp_free(path);
}

static void metadata_is_typed(void **state)
{
    gguf *g = NULL;
    int64_t i;
    double d;
    bool b;
    str s;
    enum gguf_type type;
    size_t n;
    struct gguf_str_iter it;
    buf value;
    (void)state;
    assert_int_equal(gguf_open(MODELS "qwen2-gguf/model.gguf", &g, NULL), 0);
    assert_int_equal(gguf_get_str(g, "general.architecture", &s), 0);
    assert_true(str_eqz(s, "qwen2"));
    assert_int_equal(gguf_get_int(g, "general.architecture", &i), SP_EFORMAT);
    assert_int_equal(gguf_get_float(g, "general.architecture", &d), SP_EFORMAT);
    assert_int_equal(gguf_get_bool(g, "general.architecture", &b), SP_EFORMAT);
    assert_int_equal(gguf_get_int(g, "no.such.key", &i), SP_ENOTFOUND);
    assert_int_equal(gguf_get_str(g, "qwen2.block_count", &s), SP_EFORMAT);
    assert_int_equal(gguf_array_len(g, "qwen2.block_count", &type, &n), SP_EFORMAT);
    assert_int_equal(gguf_array_int(g, "no.such.key", 0, &i), SP_ENOTFOUND);
    assert_int_equal(gguf_array_float(g, "qwen2.block_count", 0, &d), SP_EFORMAT);
    assert_int_equal(gguf_array_strings(g, "qwen2.block_count", &it), SP_EFORMAT);
    buf_init(&value, 1 << 20);
    for (size_t k = 0; k < gguf_key_count(g); k++) {
        buf_clear(&value);
        gguf_key_text(g, k, &s, &value);
        assert_true(s.n > 0 && !value.failed);
    }
    buf_free(&value);
    gguf_close(g);
}

/* ---- safetensors ---- */

static int open_tensors(const char *head, size_t data, sp_error *err)
{
    size_t n = strlen(head);
    char *bytes = sp_calloc(8 + n + data, 1);
    safetensors *s = NULL;
    uint64_t n64 = n;
    memcpy(bytes, &n64, 8);
    memcpy(bytes + 8, head, n);
    char *path = put("t.safetensors", bytes, 8 + n + data);
    int code = safetensors_open(path, &s, err);
    safetensors_close(s);
    sp_free(path);
    sp_free(bytes);
    return code;
}

static void lying_safetensors_are_refused(void **state)
{
    sp_error err;
    static const struct {
        const char *head, *words;
    } bad[] = {
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,16]}}", "ends at byte"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", "shape and type need"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", "no range"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", "impossible"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2000000000,2000000000],\"data_offsets\":[0,4]}}",
         "impossible"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1],\"data_offsets\":[0,4]}}", "shape"},
        {"{\"a\":{\"dtype\":\"F33\",\"shape\":[1],\"data_offsets\":[0,4]}}", "number format"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"F32\","
         "\"shape\":[1],\"data_offsets\":[4,8]}}",
         "overlap"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"a\":{\"dtype\":\"F32\","
         "\"shape\":[1],\"data_offsets\":[4,8]}}",
         "JSON"},
        {"[1]", "JSON"},
        {"{", "JSON"},
    };
    (void)state;
    for (size_t i = 0; i < SP_COUNT(bad); i++) {
        assert_true(open_tensors(bad[i].head, 8, &err) < 0);
        if (!strstr(err.message, bad[i].words))
            fail_msg("%s: %s", bad[i].head, err.message);
    }
    assert_int_equal(open_tensors("{\"__metadata__\":{\"format\":\"pt\"},\"a\":{\"dtype\":\"F32\","
                                  "\"shape\":[2],\"data_offsets\":[0,8]}}",
                                  8, &err),
                     0);
    assert_true(open_bytes("huge.safetensors", "\xff\xff\xff\xff\xff\xff\xff\x7f{}", 10, &err) < 0);
}

static void a_missing_shard_is_named(void **state)
{
    static const char index[] = "{\"weight_map\":{\"a\":\"model-00001-of-00002.safetensors\"}}";
    static const char escape[] = "{\"weight_map\":{\"a\":\"../../etc/passwd\"}}";
    safetensors *s = NULL;
    sp_error err;
    char *path = put("model.safetensors.index.json", index, sizeof index - 1);
    (void)state;
    assert_int_equal(safetensors_open(scratch, &s, &err), SP_ENOTFOUND);
    assert_non_null(strstr(err.message, "model-00001-of-00002.safetensors"));
    sp_free(path);
    path = put("model.safetensors.index.json", escape, sizeof escape - 1);
    assert_int_equal(safetensors_open(scratch, &s, &err), SP_EFORMAT);
    unlink(path);
    sp_free(path);
    assert_int_equal(safetensors_open(scratch, &s, &err), SP_ENOTFOUND);
}

/* ---- config.json ---- */

static json_t *base_config(void)
{
    return json_pack("{s:[s],s:s,s:i,s:i,s:i,s:i,s:i,s:i}", "architectures", "Qwen2ForCausalLM",
                     "model_type", "qwen2", "vocab_size", 1000, "hidden_size", 64,
                     "num_hidden_layers", 4, "num_attention_heads", 8, "num_key_value_heads", 2,
                     "intermediate_size", 128);
}

static int read_with(const char *key, json_t *value, struct model_config *c, sp_error *err)
{
    json_t *j = base_config();
    if (value)
        json_object_set_new(j, key, value);
    else
        json_object_del(j, key);
    int code = config_from_json(j, c, err);
    json_decref(j);
    return code;
}

static void configs_are_checked(void **state)
{
    struct model_config c;
    sp_error err;
    static const char *const needed[] = {"vocab_size", "hidden_size", "num_hidden_layers",
                                         "num_attention_heads", "intermediate_size"};
    (void)state;
    assert_int_equal(read_with("x", json_null(), &c, &err), 0);
    assert_int_equal(c.head_dim, 8);
    assert_true(c.qkv_bias && !c.o_bias && !c.tied);
    for (size_t i = 0; i < SP_COUNT(needed); i++) {
        assert_int_equal(read_with(needed[i], NULL, &c, &err), SP_EFORMAT);
        assert_non_null(strstr(err.message, needed[i]));
        assert_int_equal(read_with(needed[i], json_integer(-4), &c, &err), SP_EFORMAT);
        assert_int_equal(read_with(needed[i], json_string("4"), &c, &err), SP_EFORMAT);
    }
    assert_int_equal(read_with("num_key_value_heads", json_integer(3), &c, &err), SP_EFORMAT);
    assert_int_equal(read_with("head_dim", json_integer(7), &c, &err), SP_EFORMAT);
    assert_int_equal(read_with("rms_norm_eps", json_integer(0), &c, &err), SP_EFORMAT);
    assert_int_equal(read_with("rope_theta", json_real(-1), &c, &err), SP_EFORMAT);
    assert_int_equal(read_with("tie_word_embeddings", json_integer(1), &c, &err), SP_EFORMAT);
    assert_int_equal(read_with("quantization_config", json_object(), &c, &err), SP_EUNSUPPORTED);
    assert_int_equal(read_with("architectures", json_pack("[s]", "NovelForCausalLM"), &c, &err),
                     SP_EUNSUPPORTED);
    assert_non_null(
        strstr(err.message, "qwen2, qwen2-moe, qwen3, qwen3-moe, qwen, llama, mistral, gemma3"));
}

static void experts_are_checked(void **state)
{
    static const struct {
        const char *key;
        int value;
        const char *says;
    } cases[] = {{"num_experts_per_tok", 7, "num_experts_per_tok = 7"},
                 {"num_experts_per_tok", 0, "num_experts_per_tok = 0"},
                 {"num_experts", 0, "num_experts = 0"},
                 {"num_experts", 5000, "num_experts = 5000"},
                 {"moe_intermediate_size", 0, "moe_intermediate_size = 0"},
                 {"decoder_sparse_step", 0, "decoder_sparse_step"}};
    struct model_config c;
    sp_error err;
    (void)state;
    json_t *j = base_config(), *arch = json_pack("[s]", "Qwen2MoeForCausalLM");
    json_object_set_new(j, "architectures", arch);
    json_object_update_new(j,
                           json_pack("{s:i,s:i,s:i,s:[i]}", "num_experts", 6, "num_experts_per_tok",
                                     2, "moe_intermediate_size", 16, "mlp_only_layers", 1));
    assert_int_equal(config_from_json(j, &c, &err), 0);
    assert_true(config_is_moe(&c, 0) && !config_is_moe(&c, 1));
    assert_true(c.moe.shared == 0 && !c.moe.normalize);
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        json_t *old = json_incref(json_object_get(j, cases[i].key));
        json_object_set_new(j, cases[i].key, json_integer(cases[i].value));
        assert_int_equal(config_from_json(j, &c, &err), SP_EFORMAT);
        assert_non_null(strstr(err.message, cases[i].says));
        if (old)
            json_object_set_new(j, cases[i].key, old);
        else
            json_object_del(j, cases[i].key);
    }
    json_object_set_new(j, "mlp_only_layers", json_pack("[i]", 99));
    assert_int_equal(config_from_json(j, &c, &err), SP_EFORMAT);
    json_decref(j);
}

static void rope_in_both_spellings(void **state)
{
    struct model_config c;
    sp_error err;
    (void)state;
    assert_int_equal(read_with("rope_scaling",
                               json_pack("{s:s,s:f}", "type", "linear", "factor", 4.0), &c, &err),
                     0);
    assert_true(c.rope.kind == ROPE_LINEAR && c.rope.factor > 3.9);
    assert_int_equal(
        read_with("rope_parameters",
                  json_pack("{s:s,s:f,s:f,s:i}", "rope_type", "yarn", "factor", 2.0, "rope_theta",
                            5e5, "original_max_position_embeddings", 2048),
                  &c, &err),
        0);
    assert_true(c.rope.kind == ROPE_YARN && c.rope.theta > 4e5 && c.rope.original_context < 2049);
    assert_int_equal(read_with("rope_scaling",
                               json_pack("{s:s,s:f}", "rope_type", "llama3", "factor", 8.0), &c,
                               &err),
                     0);
    assert_int_equal(c.rope.kind, ROPE_LLAMA3);
    assert_int_equal(read_with("rope_scaling", json_pack("{s:s}", "rope_type", "mrope"), &c, &err),
                     SP_EUNSUPPORTED);
    assert_non_null(strstr(err.message, "mrope"));
    assert_int_equal(read_with("rope_scaling",
                               json_pack("{s:s,s:f}", "rope_type", "linear", "factor", 0.1), &c,
                               &err),
                     SP_EFORMAT);
}

static void windows_by_layer(void **state)
{
    struct model_config c;
    sp_error err;
    (void)state;
    json_t *j = base_config();
    json_object_set_new(j, "use_sliding_window", json_true());
    json_object_set_new(j, "sliding_window", json_integer(16));
    json_object_set_new(j, "max_window_layers", json_integer(2));
    assert_int_equal(config_from_json(j, &c, &err), 0);
    assert_int_equal(c.sliding_window, 16);
    for (int i = 0; i < 4; i++)
        assert_int_equal(config_window(&c, i), i < 2 ? 0 : 16);
    json_object_set_new(j, "layer_types",
                        json_pack("[s,s,s,s]", "full_attention", "sliding_attention",
                                  "full_attention", "full_attention"));
    assert_int_equal(config_from_json(j, &c, &err), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(config_window(&c, i), i == 1 ? 16 : 0);
    json_object_set_new(j, "layer_types",
                        json_pack("[s,s,s,s]", "full_attention", "chunked_attention",
                                  "full_attention", "full_attention"));
    assert_int_equal(config_from_json(j, &c, &err), SP_EUNSUPPORTED);
    json_object_set_new(j, "layer_types", json_pack("[s]", "full_attention"));
    assert_int_equal(config_from_json(j, &c, &err), SP_EFORMAT);
    json_object_set_new(j, "use_sliding_window", json_false());
    assert_int_equal(config_from_json(j, &c, &err), 0);
    assert_int_equal(c.sliding_window, 0);
    json_decref(j);
}

static void generation_defaults(void **state)
{
    struct generation_config g;
    sp_error err;
    json_t *j =
        json_pack("{s:f,s:f,s:i,s:f,s:b,s:[i,i]}", "temperature", 0.7, "top_p", 0.8, "top_k", 20,
                  "repetition_penalty", 1.05, "do_sample", 1, "eos_token_id", 5, 6);
    (void)state;
    assert_int_equal(generation_config_from_json(j, &g, &err), 0);
    assert_true(g.has_temperature && g.has_top_k && g.do_sample && g.n_eos == 2 && g.eos[1] == 6);
    json_object_set_new(j, "eos_token_id", json_integer(9));
    assert_int_equal(generation_config_from_json(j, &g, &err), 0);
    assert_true(g.n_eos == 1 && g.eos[0] == 9);
    json_object_set_new(j, "eos_token_id", json_string("x"));
    assert_int_equal(generation_config_from_json(j, &g, &err), SP_EFORMAT);
    json_object_set_new(j, "eos_token_id", json_null());
    json_object_set_new(j, "temperature", json_string("hot"));
    assert_int_equal(generation_config_from_json(j, &g, &err), SP_EFORMAT);
    json_decref(j);
}

/* Every allocation fails in turn: an error each time, and no leak (the sanitizer tier tells). */
static void failing_allocations(void **state)
{
    static const char *const names[] = {"qwen2-gguf/model.gguf", "llama", "qwen2-tied"};
    (void)state;
    for (size_t i = 0; i < SP_COUNT(names); i++) {
        int code = -1;
        for (long nth = 1; code < 0 && nth < 5000; nth++) {
            char path[256];
            checkpoint *c = NULL;
            sp_error err;
            snprintf(path, sizeof path, MODELS "%s", names[i]);
            sp_alloc_fail_nth(nth);
            code = checkpoint_open(path, &c, &err);
            sp_alloc_fail_nth(0);
            checkpoint_close(c);
        }
        assert_int_equal(code, 0);
    }
}

static void templates_and_json_of_a_folder(void **state)
{
    char *dir = tiny_model_make(), *text = NULL;
    checkpoint *c = NULL;
    json_t *j = NULL;
    sp_error err;
    (void)state;
    assert_int_equal(checkpoint_open(dir, &c, &err), 0);
    assert_int_equal(checkpoint_chat_template(c, false, &text, &err), 0);
    assert_string_equal(text, tiny_template);
    sp_free(text);
    assert_int_equal(checkpoint_json(c, "tokenizer.json", &j, &err), 0);
    json_decref(j);
    assert_int_equal(checkpoint_json(c, "nothing.json", &j, &err), SP_ENOTFOUND);
    checkpoint_close(c);
    char *path = path_join(dir, "chat_template.jinja");
    assert_int_equal(file_write_atomic(path, "{{ 1 }}", 7, &err), 0);
    assert_int_equal(checkpoint_open(dir, &c, &err), 0);
    assert_int_equal(checkpoint_chat_template(c, true, &text, &err), 0);
    assert_string_equal(text, "{{ 1 }}");
    sp_free(text);
    checkpoint_close(c);
    unlink(path);
    sp_free(path);
    path = path_join(dir, "tokenizer_config.json");
    static const char named[] = "{\"chat_template\":[{\"name\":\"default\",\"template\":\"d\"},{"
                                "\"name\":\"tool_use\",\"template\":\"t\"}]}";
    assert_int_equal(file_write_atomic(path, named, sizeof named - 1, &err), 0);
    assert_int_equal(checkpoint_open(dir, &c, &err), 0);
    assert_int_equal(checkpoint_chat_template(c, true, &text, &err), 0);
    assert_string_equal(text, "t");
    sp_free(text);
    assert_int_equal(checkpoint_chat_template(c, false, &text, &err), 0);
    assert_string_equal(text, "d");
    sp_free(text);
    checkpoint_close(c);
    sp_free(path);
    tiny_model_remove(dir);
    assert_int_equal(checkpoint_open(MODELS "qwen2-gguf", &c, &err),
                     0); /* a folder with one GGUF file */
    assert_int_equal(checkpoint_chat_template(c, false, &text, &err), SP_ENOTFOUND);
    assert_int_equal(checkpoint_json(c, "x.json", &j, &err), SP_ENOTFOUND);
    checkpoint_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_tiny_models_open),
        cmocka_unit_test(every_truncation_of_a_gguf_is_an_error),
        cmocka_unit_test(twisted_headers_never_crash),
        cmocka_unit_test(versions_and_kinds_that_are_not_read),
        cmocka_unit_test(metadata_is_typed),
        cmocka_unit_test(lying_safetensors_are_refused),
        cmocka_unit_test(a_missing_shard_is_named),
        cmocka_unit_test(configs_are_checked),
        cmocka_unit_test(experts_are_checked),
        cmocka_unit_test(rope_in_both_spellings),
        cmocka_unit_test(windows_by_layer),
        cmocka_unit_test(generation_defaults),
        cmocka_unit_test(failing_allocations),
        cmocka_unit_test(templates_and_json_of_a_folder),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
