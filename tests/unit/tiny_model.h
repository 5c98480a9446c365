/* A tiny random Qwen2 in a folder of its own, for tests that need a whole model: byte-level tokenizer with
 * the 256 bytes and two control tokens, a chat template, and weights from a counter-based generator. */
#ifndef SP_TESTS_TINY_MODEL_H
#define SP_TESTS_TINY_MODEL_H

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/base.h"
#include "base/file.h"
#include "base/rng.h"

enum {
    TINY_VOCAB = 264,
    TINY_HIDDEN = 32,
    TINY_LAYERS = 2,
    TINY_HEADS = 4,
    TINY_KV = 2,
    TINY_FFN = 64,
    TINY_CONTEXT = 512,
    TINY_START = 256,
    TINY_END = 257
};

static const char tiny_template[] =
    "{%- for m in messages -%}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{%- if add_generation_prompt -%}<|im_start|>assistant\n{% endif %}";

/* GPT-2's printable stand-ins for bytes. */
static uint32_t tiny_byte_char(int b)
{
    int next = 256;
    for (int i = 0; i < 256; i++) {
        int plain = (i >= 33 && i <= 126) || (i >= 161 && i <= 172) || (i >= 174 && i <= 255);
        if (i == b)
            return (uint32_t)(plain ? i : next);
        next += !plain;
    }
    return 0;
}

static int tiny_write_json(const char *dir, const char *name, json_t *j)
{
    char *path = path_join(dir, name);
    int failed = json_dump_file(j, path, 0);
    json_decref(j);
    sp_free(path);
    return failed;
}

static int tiny_write_tokenizer(const char *dir)
{
    json_t *vocab = json_object();
    for (int i = 0; i < 256; i++) {
        char text[5] = {0};
        utf8_encode(tiny_byte_char(i), text);
        json_object_set_new(vocab, text, json_integer(i));
    }
    json_t *added = json_array();
    const char *const names[] = {"<|im_start|>", "<|im_end|>"};
    for (int i = 0; i < 2; i++)
        json_array_append_new(added,
                              json_pack("{s:i,s:s,s:b,s:b,s:b,s:b,s:b}", "id", TINY_START + i,
                                        "content", names[i], "single_word", 0, "lstrip", 0,
                                        "rstrip", 0, "normalized", 0, "special", 1));
    json_t *level = json_pack("{s:s,s:b,s:b,s:b}", "type", "ByteLevel", "add_prefix_space", 0,
                              "trim_offsets", 0, "use_regex", 1);
    json_t *model = json_pack("{s:s,s:o,s:[]}", "type", "BPE", "vocab", vocab, "merges");
    json_t *all = json_pack("{s:s,s:o,s:n,s:O,s:n,s:o,s:o}", "version", "1.0", "added_tokens",
                            added, "normalizer", "pre_tokenizer", level, "post_processor",
                            "decoder", level, "model", model);
    int failed = tiny_write_json(dir, "tokenizer.json", all);
    return failed | tiny_write_json(dir, "tokenizer_config.json",
                                    json_pack("{s:s,s:s,s:b}", "eos_token", "<|im_end|>",
                                              "chat_template", tiny_template, "add_bos_token", 0));
}

static int tiny_write_config(const char *dir)
{
    return tiny_write_json(
        dir, "config.json",
        json_pack("{s:[s],s:s,s:s,s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:b,s:f,s:i}", "architectures",
                  "Qwen2ForCausalLM", "model_type", "qwen2", "dtype", "float32", "vocab_size",
                  TINY_VOCAB, "hidden_size", TINY_HIDDEN, "num_hidden_layers", TINY_LAYERS,
                  "num_attention_heads", TINY_HEADS, "num_key_value_heads", TINY_KV,
                  "intermediate_size", TINY_FFN, "max_position_embeddings", TINY_CONTEXT,
                  "tie_word_embeddings", 1, "rope_theta", 10000.0, "eos_token_id", TINY_END));
}

struct tiny_writer {
    json_t *head;
    FILE *data;
    size_t offset;
    uint64_t seed;
};

static void tiny_tensor(struct tiny_writer *w, const char *name, int rows, int cols)
{
    size_t n = (size_t)(rows ? rows : 1) * (size_t)cols;
    json_t *shape = rows ? json_pack("[i,i]", rows, cols) : json_pack("[i]", cols);
    json_object_set_new(w->head, name,
                        json_pack("{s:s,s:o,s:[I,I]}", "dtype", "F32", "shape", shape,
                                  "data_offsets", (json_int_t)w->offset,
                                  (json_int_t)(w->offset + 4 * n)));
    w->seed++;
    for (size_t i = 0; i < n; i++) {
        float v =
            (float)(rng_uniform(w->seed, i, 0) - 0.5) * (rows ? 0.6f : 0.2f) + (rows ? 0.0f : 1.0f);
        fwrite(&v, sizeof v, 1, w->data);
    }
    w->offset += 4 * n;
}

static void tiny_layer(struct tiny_writer *w, int i)
{
    static const struct {
        const char *name;
        int rows, cols;
    } parts[] = {{"input_layernorm.weight", 0, TINY_HIDDEN},
                 {"post_attention_layernorm.weight", 0, TINY_HIDDEN},
                 {"self_attn.q_proj.weight", 32, TINY_HIDDEN},
                 {"self_attn.q_proj.bias", 0, 32},
                 {"self_attn.k_proj.weight", 16, TINY_HIDDEN},
                 {"self_attn.k_proj.bias", 0, 16},
                 {"self_attn.v_proj.weight", 16, TINY_HIDDEN},
                 {"self_attn.v_proj.bias", 0, 16},
                 {"self_attn.o_proj.weight", TINY_HIDDEN, 32},
                 {"mlp.gate_proj.weight", TINY_FFN, TINY_HIDDEN},
                 {"mlp.up_proj.weight", TINY_FFN, TINY_HIDDEN},
                 {"mlp.down_proj.weight", TINY_HIDDEN, TINY_FFN}};
    for (size_t k = 0; k < SP_COUNT(parts); k++) {
        char name[96];
        snprintf(name, sizeof name, "model.layers.%d.%s", i, parts[k].name);
        tiny_tensor(w, name, parts[k].rows, parts[k].cols);
    }
}

static int tiny_write_weights(const char *dir)
{
    char *path = path_join(dir, "model.safetensors"), *data = NULL;
    size_t n_data = 0;
    struct tiny_writer w = {
        .head = json_object(), .data = open_memstream(&data, &n_data), .seed = 7};
    tiny_tensor(&w, "model.embed_tokens.weight", TINY_VOCAB, TINY_HIDDEN);
    tiny_tensor(&w, "model.norm.weight", 0, TINY_HIDDEN);
    for (int i = 0; i < TINY_LAYERS; i++)
        tiny_layer(&w, i);
    fclose(w.data);
    char *head = json_dumps(w.head, JSON_COMPACT);
    uint64_t n = strlen(head);
    FILE *out = fopen(path, "wb");
    int failed = !out || fwrite(&n, 8, 1, out) != 1 || fwrite(head, 1, n, out) != n ||
                 fwrite(data, 1, n_data, out) != n_data || fclose(out) != 0;
    free(head);
    free(data);
    json_decref(w.head);
    sp_free(path);
    return failed;
}

/* A new folder with the model; the caller removes it with tiny_model_remove. NULL: failed. */
static char *tiny_model_make(void)
{
    char dir[] = "/tmp/sampan-tiny-XXXXXX";
    if (!mkdtemp(dir))
        return NULL;
    if (tiny_write_config(dir) || tiny_write_tokenizer(dir) || tiny_write_weights(dir))
        return NULL;
    return sp_strdup(dir);
}

static void tiny_model_remove(char *dir)
{
    file_remove_tree(dir, NULL);
    sp_free(dir);
}

#endif
