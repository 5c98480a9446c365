/* SentencePiece's tokenizer.model, a protocol buffer. */
#include "fuzz.h"
#include "fuzz_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    tokenizer *t = NULL;
    sp_error err = {0};
    int code = tokenizer_load_spm((const char *)data, n, NULL, &t, &err);
    fuzz_check_error(code, &err);
    if (code == 0)
        fuzz_tokenizer(t, fuzz_some_text, sizeof fuzz_some_text - 1);
    tokenizer_free(t);
    return 0;
}
