/* A safetensors file. */
#include "format/safetensors.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    safetensors *s = NULL;
    sp_error err = {0};
    char text[96];
    int code = safetensors_open_memory(data, n, "fuzz", &s, &err);
    fuzz_check_error(code, &err);
    if (code < 0)
        return 0;
    for (size_t i = 0; i < safetensors_count(s); i++) {
        const struct tensor_view *t = safetensors_at(s, i);
        fuzz_check(safetensors_find(s, t->name) == t, "every tensor is found by its name");
        fuzz_check(t->data >= data && t->bytes <= n - (size_t)(t->data - data),
                   "a tensor lies in the file");
        fuzz_touch(t->data, t->bytes);
        fuzz_touch(tensor_shape_text(t, text), 1);
    }
    safetensors_close(s);
    return 0;
}
