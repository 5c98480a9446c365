/* tiktoken's ranks; the first byte says of which family. */
#include "fuzz.h"
#include "fuzz_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    tokenizer *t = NULL;
    sp_error err = {0};
    if (n == 0)
        return 0;
    int code =
        tokenizer_load_tiktoken((const char *)data + 1, n - 1,
                                data[0] & 1 ? TIKTOKEN_LLAMA3 : TIKTOKEN_QWEN, NULL, &t, &err);
    fuzz_check_error(code, &err);
    if (code == 0)
        fuzz_tokenizer(t, fuzz_some_text, sizeof fuzz_some_text - 1);
    tokenizer_free(t);
    return 0;
}
