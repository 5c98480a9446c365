/* tiktoken's files hold ranks only: any two neighbours whose joined bytes have a rank may merge, the
 * lowest rank first. Pattern and special tokens come from the code of each family: Qwen's
 * tokenization_qwen.py, llama-models' tokenizer.py. */
#include <stdio.h>
#include <string.h>

#include "text/tokenizer_int.h"

#define QWEN_EXTRAS 205
#define LLAMA3_SPECIALS 256

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Strict: whole groups of four, "=" only at the end. */
static bool base64_decode(str s, uint8_t *out, size_t *n)
{
    *n = 0;
    if (s.n == 0 || s.n % 4 != 0)
        return false;
    size_t pad = s.p[s.n - 1] != '=' ? 0 : s.p[s.n - 2] != '=' ? 1 : 2;
    uint32_t bits = 0;
    for (size_t i = 0; i < s.n; i++) {
        int value = i < s.n - pad ? base64_value(s.p[i]) : 0;
        if (value < 0)
            return false;
        bits = bits << 6 | (uint32_t)value;
        if (i % 4 != 3)
            continue;
        size_t bytes = i + 1 == s.n ? 3 - pad : 3;
        for (size_t b = 0; b < bytes; b++)
            out[(*n)++] = (uint8_t)(bits >> (16 - 8 * b));
        bits = 0;
    }
    return true;
}

static int read_line(tokenizer *t, str line, size_t number, sp_error *err)
{
    uint8_t bytes[TOKEN_BYTES_MAX];
    const char *space = memchr(line.p, ' ', line.n);
    size_t width = space ? (size_t)(space - line.p) : 0, n = 0;
    int64_t rank;
    if (width == 0 || width > TOKEN_BYTES_MAX || !base64_decode((str){line.p, width}, bytes, &n) ||
        !str_to_i64((str){space + 1, line.n - width - 1}, &rank) || rank < 0 || rank >= VOCAB_MAX)
        return sp_fail(err, SP_EFORMAT,
                       "tokenizer: line %zu of the ranks is no token in base64 and its rank: get "
                       "the file again",
                       number);
    if ((size_t)rank < t->vocab.n && t->vocab.flags[rank] & TOKEN_KNOWN)
        return sp_fail(err, SP_EFORMAT, "tokenizer: line %zu of the ranks: rank %lld again", number,
                       (long long)rank);
    return vocab_put(&t->vocab, (size_t)rank, bytes, n, TOKEN_KNOWN | TOKEN_MODEL, err);
}

static int read_ranks(tokenizer *t, str text, sp_error *err)
{
    size_t number = 0;
    for (size_t at = 0; at < text.n;) {
        const char *newline = memchr(text.p + at, '\n', text.n - at);
        size_t end = newline ? (size_t)(newline - text.p) : text.n;
        int rc = read_line(t, (str){text.p + at, end - at}, ++number, err);
        if (rc < 0)
            return rc;
        at = end + 1;
    }
    if (t->vocab.n != number)
        return sp_fail(err, SP_EFORMAT, "tokenizer: %zu ranks, the highest of them %zu", number,
                       t->vocab.n);
    return vocab_index(&t->vocab) < 0 ? sp_fail(err, SP_ENOMEM, "tokenizer: out of memory") : 0;
}

static int put_special(tokenizer *t, const char *name, sp_error *err)
{
    struct added_token flags = {.id = (int32_t)t->vocab.n};
    return tokenizer_put_added(t, str_of(name), &flags, true, err);
}

static int put_numbered(tokenizer *t, const char *format_start, int number, sp_error *err)
{
    char name[48];
    snprintf(name, sizeof name, "%s%d|>", format_start, number);
    return put_special(t, name, err);
}

static int put_qwen(tokenizer *t, sp_error *err)
{
    static const char *const names[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
    int rc = 0;
    t->nfc = true;
    t->eos = (int32_t)t->vocab.n;
    for (size_t i = 0; i < SP_COUNT(names) && rc == 0; i++)
        rc = put_special(t, names[i], err);
    for (int i = 0; i < QWEN_EXTRAS && rc == 0; i++)
        rc = put_numbered(t, "<|extra_", i, err);
    return rc < 0 ? rc : tokenizer_add_step(t, (struct pretok_step){.kind = PRETOK_QWEN2}, err);
}

static int put_llama3(tokenizer *t, sp_error *err)
{
    static const char *const names[] = {"<|begin_of_text|>",
                                        "<|end_of_text|>",
                                        "<|reserved_special_token_0|>",
                                        "<|reserved_special_token_1|>",
                                        "<|finetune_right_pad_id|>",
                                        "<|step_id|>",
                                        "<|start_header_id|>",
                                        "<|end_header_id|>",
                                        "<|eom_id|>",
                                        "<|eot_id|>",
                                        "<|python_tag|>",
                                        "<|image|>"};
    int rc = 0, named = (int)SP_COUNT(names);
    t->bos = (int32_t)t->vocab.n;
    t->eos = t->bos + 1;
    t->add_bos = true;
    for (int i = 0; i < LLAMA3_SPECIALS && rc == 0; i++)
        rc = i < named ? put_special(t, names[i], err)
                       : put_numbered(t, "<|reserved_special_token_", i - named + 2, err);
    return rc < 0 ? rc : tokenizer_add_step(t, (struct pretok_step){.kind = PRETOK_LLAMA3}, err);
}

static int load(tokenizer *t, str text, enum tiktoken_family family, const json_t *config,
                sp_error *err)
{
    int rc = read_ranks(t, text, err);
    for (int b = 0; b < 256 && rc == 0; b++) {
        uint8_t byte = (uint8_t)b;
        if (vocab_find(&t->vocab, &byte, 1) < 0)
            rc = sp_fail(err, SP_EFORMAT, "tokenizer: the ranks lack the byte %02x", b);
    }
    uint32_t *ranks = rc == 0 ? sp_malloc(t->vocab.n * sizeof *ranks) : NULL;
    for (size_t id = 0; ranks && id < t->vocab.n; id++)
        ranks[id] = (uint32_t)id;
    if (rc == 0)
        rc = ranks ? tokenizer_make_merges(t, ranks, err)
                   : sp_fail(err, SP_ENOMEM, "tokenizer: out of memory");
    sp_free(ranks);
    t->ignore_merges = true;
    if (rc == 0)
        rc = family == TIKTOKEN_QWEN ? put_qwen(t, err) : put_llama3(t, err);
    if (rc == 0)
        rc = tokenizer_read_config(t, config, err);
    return rc < 0 ? rc : tokenizer_finish(t, err);
}

int tokenizer_load_tiktoken(const char *data, size_t n, enum tiktoken_family family,
                            const json_t *config, tokenizer **out, sp_error *err)
{
    *out = NULL;
    tokenizer *t = tokenizer_new();
    if (!t)
        return sp_fail(err, SP_ENOMEM, "tokenizer: out of memory");
    int rc = load(t, (str){data, n}, family, config, err);
    if (rc < 0) {
        tokenizer_free(t);
        return rc;
    }
    *out = t;
    return 0;
}
