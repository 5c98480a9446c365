/* Encoding and decoding with a tokenizer that came from a hostile file. */
#ifndef SP_TESTS_FUZZ_TEXT_H
#define SP_TESTS_FUZZ_TEXT_H

#include "fuzz.h"
#include "text/detok.h"
#include "text/tokenizer.h"

static const char fuzz_some_text[] =
    "Hello, world! It's 12345  o'clock\r\n\t<|im_end|> \xe4\xbd\xa0\xe5\xa5\xbd e\xcc\x81 "
    "\xf0\x9f\x91\x8b\xff\xc3<s> a";

/* Token by token gives the same text as all at once. */
static inline void fuzz_detok(const tokenizer *t, const struct token_list *ids, const buf *whole)
{
    struct detok d;
    buf out;
    int code = 0;
    buf_init(&out, (size_t)64 << 20);
    detok_init(&d, t, false);
    d.at_start = true;
    for (size_t i = 0; i < ids->n && code == 0; i++)
        code = detok_add(&d, ids->ids[i], &out);
    if (code == 0)
        code = detok_end(&d, &out);
    fuzz_check(code < 0 || (out.len == whole->len &&
                            (out.len == 0 || memcmp(out.data, whole->data, out.len) == 0)),
               "detok equals tokenizer_decode");
    buf_free(&out);
}

static inline void fuzz_tokenizer(const tokenizer *t, const char *text, size_t n)
{
    const struct encode_opts opts[] = {{.special = SPECIAL_ALL, .add_bos = true},
                                       {.special = SPECIAL_NONE}};
    for (size_t k = 0; k < SP_COUNT(opts); k++) {
        struct token_list ids = {0};
        sp_error err = {0};
        buf out;
        buf_init(&out, (size_t)64 << 20);
        int code = tokenizer_encode(t, text, n, &opts[k], &ids, &err);
        fuzz_check_error(code, &err);
        for (size_t i = 0; code == 0 && i < ids.n; i++)
            fuzz_check(ids.ids[i] >= 0 && (size_t)ids.ids[i] < tokenizer_vocab(t),
                       "an id is below the vocabulary's size");
        if (code == 0)
            code = tokenizer_decode(t, ids.ids, ids.n, false, &out, &err);
        fuzz_check_error(code, &err);
        fuzz_check(code < 0 || utf8_valid(out.data ? out.data : "", out.len),
                   "decoded text is UTF-8");
        if (code == 0)
            fuzz_detok(t, &ids, &out);
        buf_free(&out);
        token_list_free(&ids);
    }
}

#endif
