/* What the families' own settings become: config.json as published with Gemma 3, Phi-3.5, InternLM2, Qwen and
 * SmolLM3, and as it should not be. That the numbers are right is shown by the tiny models of tests/unit/model. */
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "format/config.h"

static json_t *parse(const char *text)
{
    json_error_t e;
    json_t *j = json_loads(text, 0, &e);
    if (!j)
        fail_msg("%s at %d", e.text, e.position);
    return j;
}

static void read_ok(json_t *j, struct model_config *c)
{
    sp_error err = {0};
    if (config_from_json(j, c, &err) < 0)
        fail_msg("%s", err.message);
}

static void expect_refused(json_t *j, int code, const char *says)
{
    struct model_config c;
    sp_error err = {0};
    assert_int_equal(config_from_json(j, &c, &err), code);
    if (!strstr(err.message, says))
        fail_msg("\"%s\" does not say \"%s\"", err.message, says);
}

/* ---- Gemma 3 ---- */

/* gemma-3-4b-it's, less what concerns pictures: the rest of it are Gemma3TextConfig's defaults. */
static const char gemma3_4b[] =
    "{\"architectures\":[\"Gemma3ForConditionalGeneration\"],\"model_type\":\"gemma3\",\"text_"
    "config\":{"
    "\"hidden_size\":2560,\"intermediate_size\":10240,\"model_type\":\"gemma3_text\","
    "\"num_hidden_layers\":34,\"rope_scaling\":{\"factor\":8.0,\"rope_type\":\"linear\"},"
    "\"sliding_window\":1024},\"torch_dtype\":\"bfloat16\"}";

static void gemma3_with_defaults(void **state)
{
    struct model_config c;
    json_t *j = parse(gemma3_4b);
    (void)state;
    read_ok(j, &c);
    assert_string_equal(c.arch->name, "gemma3");
    assert_true(c.vocab == 262208 && c.heads == 8 && c.kv_heads == 4 && c.head_dim == 256);
    assert_true(c.layers == 34 && c.ffn == 10240 && c.tied && c.qk_norm && c.context == 131072);
    for (int i = 0; i < 34; i++)
        assert_int_equal(config_window(&c, i), i % 6 == 5 ? 0 : 1024);
    assert_true(c.rope.kind == ROPE_LINEAR && fabs(c.rope.factor - 8) < 1e-9);
    assert_true(fabs(c.rope.theta - 1e6) < 1e-3);
    assert_true(c.rope_local.kind == ROPE_PLAIN && fabs(c.rope_local.theta - 1e4) < 1e-6);
    assert_true(fabs(c.attention_scale - 1.0 / 16) < 1e-9);
    assert_true(fabs(c.embedding_scale - sqrt(2560)) < 1e-9);
    assert_int_equal(c.dtype, DT_BF16);
    json_object_set_new(json_object_get(j, "text_config"), "rope_parameters",
                        json_pack("{s:s,s:f}", "rope_type", "default", "rope_theta", 5e5));
    read_ok(j, &c);
    assert_true(fabs(c.rope.theta - 5e5) < 1e-3);
    json_decref(j);
}

static void gemma3_what_is_refused(void **state)
{
    json_t *j = parse(gemma3_4b), *text = json_object_get(j, "text_config");
    static const char *const keys[] = {"attn_logit_softcapping", "final_logit_softcapping"};
    (void)state;
    for (size_t i = 0; i < SP_COUNT(keys); i++) {
        json_object_set_new(text, keys[i], json_real(30));
        expect_refused(j, SP_EUNSUPPORTED, keys[i]);
        json_object_set_new(text, keys[i], json_null());
    }
    json_object_set_new(text, "use_bidirectional_attention", json_true());
    expect_refused(j, SP_EUNSUPPORTED, "use_bidirectional_attention");
    json_object_del(text, "use_bidirectional_attention");
    json_object_set_new(text, "hidden_activation", json_string("relu"));
    expect_refused(j, SP_EUNSUPPORTED, "hidden_act 'relu'");
    json_object_del(text, "hidden_activation");
    json_object_set_new(text, "query_pre_attn_scalar", json_integer(0));
    expect_refused(j, SP_EFORMAT, "query_pre_attn_scalar");
    json_object_del(text, "query_pre_attn_scalar");
    json_object_set_new(text, "sliding_window_pattern", json_integer(0));
    expect_refused(j, SP_EFORMAT, "sliding_window_pattern");
    json_object_del(text, "sliding_window_pattern");
    json_object_set_new(text, "rope_local_base_freq", json_integer(-1));
    expect_refused(j, SP_EFORMAT, "rope_theta = -1");
    json_object_del(text, "rope_local_base_freq");
    json_object_set_new(text, "head_dim", json_integer(INT64_MAX));
    expect_refused(j, SP_EFORMAT, "head_dim = 9223372036854775807");
    json_object_del(text, "head_dim");
    json_object_set_new(text, "max_position_embeddings", json_integer(INT64_MIN));
    json_object_set_new(json_object_get(text, "rope_scaling"), "rope_type", json_string("dynamic"));
    expect_refused(j, SP_EFORMAT, "max_position_embeddings = -9223372036854775808");
    json_object_del(text, "max_position_embeddings");
    json_object_set_new(text, "num_hidden_layers", json_integer(1 << 20));
    expect_refused(j, SP_EFORMAT, "num_hidden_layers");
    json_decref(j);
}

/* ---- Phi-3 ---- */

/* Phi-4-mini-instruct's, with two factors of its 48 left. */
static const char phi4_mini[] =
    "{\"architectures\":[\"Phi3ForCausalLM\"],\"model_type\":\"phi3\",\"hidden_act\":\"silu\","
    "\"hidden_size\":3072,\"intermediate_size\":8192,\"max_position_embeddings\":131072,"
    "\"num_attention_heads\":24,\"num_hidden_layers\":32,\"num_key_value_heads\":8,"
    "\"original_max_position_embeddings\":4096,\"partial_rotary_factor\":0.03125,"
    "\"rms_norm_eps\":1e-05,\"rope_scaling\":{\"long_factor\":[1,1.118320672],"
    "\"short_factor\":[1.0,1.0],\"type\":\"longrope\"},\"rope_theta\":10000.0,"
    "\"sliding_window\":262144,\"tie_word_embeddings\":true,\"torch_dtype\":\"bfloat16\","
    "\"vocab_size\":200064}";

static void phi3_long_factors(void **state)
{
    struct model_config c;
    json_t *j = parse(phi4_mini), *rope = json_object_get(j, "rope_scaling");
    (void)state;
    read_ok(j, &c);
    assert_true(c.head_dim == 128 && c.rope_dim == 4 && c.sliding_window == 262144);
    assert_true(c.rope.kind == ROPE_LONG && c.rope.pairs == 2);
    assert_true(fabs(c.rope.original_context - 4096) < 1e-9 && fabs(c.rope.factor - 32) < 1e-9);
    assert_true(fabs((double)c.rope.long_factor[1] - 1.118320672) < 1e-6);
    json_object_set_new(rope, "factor", json_real(2));
    json_object_set_new(rope, "type", json_string("su"));
    read_ok(j, &c);
    assert_true(c.rope.kind == ROPE_LONG && fabs(c.rope.factor - 2) < 1e-9);
    json_decref(j);
}

static void phi3_factors_that_do_not_fit(void **state)
{
    json_t *j = parse(phi4_mini), *rope = json_object_get(j, "rope_scaling");
    json_t *many = json_array();
    (void)state;
    json_object_set_new(rope, "long_factor", json_pack("[f]", 1.0));
    expect_refused(j, SP_EFORMAT, "long_factor must be as long as the other");
    json_object_set_new(rope, "short_factor", json_pack("[f]", 1.0));
    expect_refused(j, SP_EFORMAT, "has 1 long RoPE factors, wanted 2");
    json_object_set_new(rope, "short_factor", json_pack("[f,s]", 1.0, "2"));
    expect_refused(j, SP_EFORMAT, "short_factor must be a list of positive numbers");
    json_object_set_new(rope, "short_factor", json_pack("[f,f]", 1.0, 0.0));
    expect_refused(j, SP_EFORMAT, "short_factor must be a list of positive numbers");
    for (int i = 0; i < 4000; i++)
        json_array_append_new(many, json_real(1));
    json_object_set_new(rope, "short_factor", many);
    expect_refused(j, SP_EFORMAT, "short_factor must be a list");
    json_object_del(rope, "short_factor");
    expect_refused(j, SP_EFORMAT, "short_factor must be a list");
    json_object_set_new(j, "partial_rotary_factor", json_real(1.5));
    expect_refused(j, SP_EFORMAT, "short_factor must be a list");
    json_object_del(j, "rope_scaling");
    expect_refused(j, SP_EFORMAT, "partial_rotary_factor");
    json_object_set_new(j, "partial_rotary_factor", json_real(0.9925));
    expect_refused(j, SP_EFORMAT, "rope.dimension_count = 127");
    json_decref(j);
}

/* ---- the original Qwen, InternLM2, Llama ---- */

static const char qwen_7b[] =
    "{\"architectures\":[\"QWenLMHeadModel\"],\"hidden_size\":4096,\"intermediate_size\":22016,"
    "\"kv_channels\":128,\"layer_norm_epsilon\":1e-06,\"max_position_embeddings\":32768,"
    "\"model_type\":\"qwen\",\"no_bias\":true,\"num_attention_heads\":32,\"num_hidden_layers\":32,"
    "\"rotary_emb_base\":10000,\"rotary_pct\":1.0,\"seq_length\":8192,\"tie_word_embeddings\":"
    "false,"
    "\"use_dynamic_ntk\":true,\"use_flash_attn\":\"auto\",\"use_logn_attn\":true,"
    "\"vocab_size\":151936}";

static void qwen_keys(void **state)
{
    struct model_config c;
    json_t *j = parse(qwen_7b);
    (void)state;
    read_ok(j, &c);
    assert_true(c.ffn == 11008 && c.head_dim == 128 && c.rope_dim == 128 && c.kv_heads == 32);
    assert_true(c.qkv_bias && !c.o_bias && !c.mlp_bias && !c.tied && c.context == 32768);
    assert_true(c.rope.kind == ROPE_QWEN && fabs(c.rope.original_context - 8192) < 1e-9);
    assert_true(fabs(c.logn_context - 8192) < 1e-9);
    json_object_set_new(j, "use_logn_attn", json_false());
    json_object_set_new(j, "use_dynamic_ntk", json_false());
    read_ok(j, &c);
    assert_true(c.rope.kind == ROPE_PLAIN && c.logn_context == 0);
    json_object_set_new(j, "seq_length", json_integer(1));
    expect_refused(j, SP_EFORMAT, "seq_length");
    json_object_set_new(j, "seq_length", json_integer(8192));
    json_object_set_new(j, "rotary_pct", json_integer(0));
    expect_refused(j, SP_EFORMAT, "rotary_pct");
    json_object_set_new(j, "rotary_pct", json_integer(1));
    json_object_set_new(j, "intermediate_size", json_integer(1));
    expect_refused(j, SP_EFORMAT, "intermediate_size = 0");
    json_decref(j);
}

static void internlm2_keys(void **state)
{
    struct model_config c;
    json_t *j =
        parse("{\"architectures\":[\"InternLM2ForCausalLM\"],\"bias\":false,\"hidden_size\":4096,"
              "\"intermediate_size\":14336,\"max_position_embeddings\":32768,"
              "\"num_attention_heads\":32,\"num_hidden_layers\":32,\"num_key_value_heads\":8,"
              "\"rms_norm_eps\":1e-05,\"rope_theta\":1000000,\"vocab_size\":92544,"
              "\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2.0}}");
    (void)state;
    read_ok(j, &c);
    assert_true(c.arch->qkv_grouped && !c.qkv_bias && !c.o_bias);
    assert_true(c.rope.kind == ROPE_DYNAMIC && fabs(c.rope.original_context - 32768) < 1e-9);
    assert_int_equal(c.context, 65536); /* what the factor is for */
    json_object_set_new(json_object_get(j, "rope_scaling"), "factor", json_real(1e9));
    expect_refused(j, SP_EFORMAT, "RoPE factor of 1e+09");
    json_object_del(j, "rope_scaling");
    json_object_set_new(j, "bias", json_true());
    read_ok(j, &c);
    assert_true(c.qkv_bias && c.o_bias && c.rope.kind == ROPE_PLAIN && c.context == 32768);
    json_decref(j);
}

/* ---- SmolLM3 ---- */

/* SmolLM3-3B's; what is left out are SmolLM3Config's defaults, no_rope_layers among them. */
static const char smollm3_3b[] =
    "{\"architectures\":[\"SmolLM3ForCausalLM\"],\"model_type\":\"smollm3\",\"hidden_act\":"
    "\"silu\","
    "\"hidden_size\":2048,\"intermediate_size\":11008,\"max_position_embeddings\":65536,"
    "\"num_attention_heads\":16,\"num_hidden_layers\":36,\"num_key_value_heads\":4,"
    "\"rms_norm_eps\":1e-06,\"rope_theta\":5000000.0,\"sliding_window\":null,"
    "\"torch_dtype\":\"bfloat16\",\"use_sliding_window\":false,\"vocab_size\":128256}";

static void smollm3_layers_without_rope(void **state)
{
    struct model_config c;
    json_t *j = parse(smollm3_3b), *list = json_array();
    (void)state;
    read_ok(j, &c);
    assert_true(c.tied && c.head_dim == 128 && c.rope_dim == 128 && !c.qkv_bias && !c.mlp_bias);
    assert_true(fabs(c.rope.theta - 5e6) < 1e-3);
    for (int i = 0; i < 36; i++)
        assert_true(config_has_rope(&c, i) == (i % 4 != 3) && config_window(&c, i) == 0);
    json_object_del(j, "rope_theta");
    json_object_set_new(j, "no_rope_layer_interval", json_integer(5));
    json_object_set_new(j, "use_sliding_window", json_true());
    json_object_set_new(j, "sliding_window", json_integer(512));
    read_ok(j, &c);
    assert_true(fabs(c.rope.theta - 2e6) < 1e-3);
    for (int i = 0; i < 36; i++)
        assert_true(config_has_rope(&c, i) == (i % 5 != 4) &&
                    config_window(&c, i) == (i % 5 == 4 ? 512 : 0));
    for (int i = 0; i < 40; i++) /* longer than the model, and before the interval */
        json_array_append_new(list, json_integer(i != 7));
    json_object_set_new(j, "no_rope_layers", list);
    read_ok(j, &c);
    for (int i = 0; i < 36; i++)
        assert_true(config_has_rope(&c, i) == (i != 7));
    json_decref(j);
}

static void smollm3_what_is_refused(void **state)
{
    json_t *j = parse(smollm3_3b), *list = json_array();
    (void)state;
    json_object_set_new(j, "no_rope_layer_interval", json_integer(0));
    expect_refused(j, SP_EFORMAT, "no_rope_layer_interval must be at least 1");
    json_object_set_new(j, "no_rope_layers", json_integer(1));
    expect_refused(j, SP_EFORMAT, "no_rope_layers must be a list as long");
    json_object_set(j, "no_rope_layers", list);
    for (int i = 0; i < 35; i++)
        json_array_append_new(list, json_integer(1));
    expect_refused(j, SP_EFORMAT, "no_rope_layers must be a list as long");
    json_array_append_new(list, json_integer(2));
    expect_refused(j, SP_EFORMAT, "no_rope_layers must be a list of 0 and 1");
    json_object_set_new(j, "num_hidden_layers", json_integer(INT64_MIN));
    expect_refused(j, SP_EFORMAT, "num_hidden_layers");
    json_decref(list);
    json_decref(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gemma3_with_defaults),
        cmocka_unit_test(gemma3_what_is_refused),
        cmocka_unit_test(phi3_long_factors),
        cmocka_unit_test(phi3_factors_that_do_not_fit),
        cmocka_unit_test(qwen_keys),
        cmocka_unit_test(internlm2_keys),
        cmocka_unit_test(smollm3_layers_without_rope),
        cmocka_unit_test(smollm3_what_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
