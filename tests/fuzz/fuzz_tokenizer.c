/* tokenizer.json, then a NUL, then text to encode: {"tokenizer": ..., "config": ...} stands for both files. */
#include "fuzz.h"
#include "fuzz_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const uint8_t *end = n ? memchr(data, 0, n) : NULL;
    size_t n_json = end ? (size_t)(end - data) : n;
    json_t *j = fuzz_json(data, n_json);
    const json_t *inner = json_object_get(j, "tokenizer");
    tokenizer *t = NULL;
    sp_error err = {0};
    if (!j)
        return 0;
    int code = tokenizer_load_json(inner ? inner : j, json_object_get(j, "config"), &t, &err);
    fuzz_check_error(code, &err);
    if (code == 0) {
        fuzz_tokenizer(t, fuzz_some_text, sizeof fuzz_some_text - 1);
        if (end)
            fuzz_tokenizer(t, (const char *)end + 1, n - n_json - 1);
    }
    tokenizer_free(t);
    json_decref(j);
    return 0;
}
