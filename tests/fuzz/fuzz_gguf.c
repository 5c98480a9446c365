/* A GGUF file: opened, its metadata listed, its tensors read, its configuration and tokenizer taken from it. */
#include "format/config.h"
#include "fuzz.h"
#include "fuzz_text.h"

#define VALUES_MOST 1024 /* of one tensor */

static void read_tensor(const struct tensor_view *t, const uint8_t *data, size_t n)
{
    static float out[VALUES_MOST];
    int64_t count = tensor_count(t), block = dtype_get(t->dtype)->block;
    fuzz_check(t->data >= data && t->bytes <= n - (size_t)(t->data - data),
               "a tensor lies in the file");
    fuzz_touch(t->data, t->bytes);
    bool weights = t->dtype <= DT_BF16 || t->dtype >= DT_Q4_0;
    if (weights && count > 0 && count % block == 0)
        dtype_to_f32(t->dtype, t->data, count < VALUES_MOST ? count : VALUES_MOST, out);
}

static void use(const gguf *g, const uint8_t *data, size_t n)
{
    struct model_config config;
    sp_error err = {0};
    buf text;
    buf_init(&text, (size_t)1 << 20);
    for (size_t i = 0; i < gguf_key_count(g); i++) {
        str key;
        buf_clear(&text);
        gguf_key_text(g, i, &key, &text);
        fuzz_touch(key.p, key.n);
    }
    buf_free(&text);
    for (size_t i = 0; i < gguf_tensor_count(g); i++)
        read_tensor(gguf_tensor_at(g, i), data, n);
    fuzz_check_error(config_from_gguf(g, &config, &err), &err);
    err = (sp_error){0};
    tokenizer *t = NULL;
    int code = tokenizer_load_gguf(g, &t, &err);
    fuzz_check_error(code, &err);
    if (code == 0)
        fuzz_tokenizer(t, fuzz_some_text, sizeof fuzz_some_text - 1);
    tokenizer_free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    gguf *g = NULL;
    sp_error err = {0};
    int code = gguf_open_memory(data, n, "fuzz", &g, &err);
    fuzz_check_error(code, &err);
    if (code == 0)
        use(g, data, n);
    gguf_close(g);
    return 0;
}
