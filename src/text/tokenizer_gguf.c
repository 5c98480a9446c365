/* The tokenizer that a GGUF file carries: tokens in GPT-2's alphabet, their types, merges, and the name
 * of a pre-tokenizer, from which the rest of Hugging Face's pipeline follows. */
#include <string.h>

#include "text/tokenizer_int.h"

static const struct gguf_pipeline {
    const char *name; /* tokenizer.ggml.pre */
    enum pretok_kind steps[2];
    size_t n_steps;
    bool nfc, ignore_merges, add_bos; /* add_bos: when the file doesn't say */
} pipelines[] = {
    {"qwen2", {PRETOK_QWEN2}, 1, true, false, false},
    {"llama-bpe", {PRETOK_LLAMA3}, 1, false, true, true},
    {"llama3", {PRETOK_LLAMA3}, 1, false, true, true},
    {"llama-v3", {PRETOK_LLAMA3}, 1, false, true, true},
    {"smollm", {PRETOK_DIGITS_EACH, PRETOK_GPT2}, 2, false, false, false},
    {"gpt-2", {PRETOK_GPT2}, 1, false, false, false},
    {"default", {PRETOK_GPT2}, 1, false, false, false},
};

enum { TYPE_NORMAL = 1, TYPE_UNKNOWN, TYPE_CONTROL, TYPE_USER, TYPE_UNUSED, TYPE_BYTE };

static int find_pipeline(const gguf *g, const struct gguf_pipeline **out, sp_error *err)
{
    str model, pre, arch;
    if (gguf_get_str(g, "tokenizer.ggml.model", &model) < 0)
        return sp_fail(err, SP_EFORMAT,
                       "tokenizer.ggml.model: missing: the file carries no tokenizer");
    if (!str_eqz(model, "gpt2"))
        return sp_fail(err, SP_EUNSUPPORTED,
                       "tokenizer.ggml.model '%.*s': not supported: known is gpt2 (byte-level BPE)",
                       (int)(model.n < 64 ? model.n : 64), model.p);
    if (gguf_get_str(g, "tokenizer.ggml.pre", &pre) < 0) {
        /* Files from before this key; all Qwen models split words the same way. */
        if (gguf_get_str(g, "general.architecture", &arch) < 0 ||
            !(str_eqz(arch, "qwen2") || str_eqz(arch, "qwen3")))
            return sp_fail(
                err, SP_EFORMAT,
                "tokenizer.ggml.pre: missing: convert the model again with a newer converter");
        pre = str_of("qwen2");
    }
    for (size_t i = 0; i < SP_COUNT(pipelines); i++) {
        if (str_eqz(pre, pipelines[i].name)) {
            *out = &pipelines[i];
            return 0;
        }
    }
    buf known;
    buf_init(&known, 256);
    for (size_t i = 0; i < SP_COUNT(pipelines); i++)
        buf_printf(&known, "%s%s", i ? ", " : "", pipelines[i].name);
    int rc = sp_fail(err, SP_EUNSUPPORTED, "tokenizer.ggml.pre '%.*s': not supported: known are %s",
                     (int)(pre.n < 64 ? pre.n : 64), pre.p, known.data ? known.data : "");
    buf_free(&known);
    return rc;
}

static int read_token(tokenizer *t, size_t id, str s, int64_t type, sp_error *err)
{
    uint8_t bytes[TOKEN_BYTES_MAX];
    size_t n = 0;
    if (type == TYPE_UNUSED)
        return 0;
    if (s.n > TOKEN_BYTES_MAX)
        return sp_fail(err, SP_EFORMAT,
                       "tokenizer.ggml.tokens: token %zu has %zu bytes: at most %u", id, s.n,
                       TOKEN_BYTES_MAX);
    bool model = alphabet_decode(s, bytes, &n);
    if (type == TYPE_CONTROL || type == TYPE_USER || type == TYPE_UNKNOWN) {
        struct added_token flags = {.id = (int32_t)id};
        if (s.n == 0)
            return 0;
        int rc = tokenizer_put_added(t, s, &flags, type != TYPE_USER, err);
        /* Merges may make a token that is also matched as it stands. */
        if (rc == 0 && model && n == s.n && type == TYPE_USER)
            t->vocab.flags[id] |= TOKEN_MODEL;
        return rc;
    }
    if (!model)
        return vocab_put(&t->vocab, id, s.p, s.n, TOKEN_KNOWN, err);
    return vocab_put(&t->vocab, id, bytes, n, TOKEN_KNOWN | TOKEN_MODEL, err);
}

static int read_tokens(tokenizer *t, const gguf *g, sp_error *err)
{
    enum gguf_type type;
    size_t n, n_types = 0;
    struct gguf_str_iter it;
    if (gguf_array_len(g, "tokenizer.ggml.tokens", &type, &n) < 0 || type != GGUF_STRING ||
        gguf_array_strings(g, "tokenizer.ggml.tokens", &it) < 0)
        return sp_fail(err, SP_EFORMAT, "tokenizer.ggml.tokens: missing or no list of strings");
    if (n == 0 || n > VOCAB_MAX)
        return sp_fail(err, SP_EFORMAT, "tokenizer.ggml.tokens: %zu tokens: 1 to %u are taken", n,
                       VOCAB_MAX);
    bool types = gguf_has(g, "tokenizer.ggml.token_type");
    if (types &&
        (gguf_array_len(g, "tokenizer.ggml.token_type", &type, &n_types) < 0 || n_types != n))
        return sp_fail(err, SP_EFORMAT, "tokenizer.ggml.token_type: %zu entries for %zu tokens",
                       n_types, n);
    if (vocab_reserve(&t->vocab, n, 8 * n) < 0)
        return sp_fail(err, SP_ENOMEM, "tokenizer: out of memory");
    str s;
    for (size_t id = 0; gguf_next_string(&it, &s); id++) {
        int64_t kind = TYPE_NORMAL;
        if (types && gguf_array_int(g, "tokenizer.ggml.token_type", id, &kind) < 0)
            return sp_fail(err, SP_EFORMAT, "tokenizer.ggml.token_type: no list of integers");
        int rc = read_token(t, id, s, kind, err);
        if (rc < 0)
            return rc;
    }
    t->vocab.n = n;
    return vocab_index(&t->vocab) < 0 ? sp_fail(err, SP_ENOMEM, "tokenizer: out of memory") : 0;
}

static int read_merges(tokenizer *t, const gguf *g, sp_error *err)
{
    enum gguf_type type;
    size_t n;
    struct gguf_str_iter it;
    if (gguf_array_len(g, "tokenizer.ggml.merges", &type, &n) < 0 || type != GGUF_STRING ||
        gguf_array_strings(g, "tokenizer.ggml.merges", &it) < 0)
        return sp_fail(err, SP_EFORMAT, "tokenizer.ggml.merges: missing or no list of strings");
    if (n > VOCAB_MAX)
        return sp_fail(err, SP_EFORMAT, "tokenizer.ggml.merges: %zu merges: at most %u are taken",
                       n, VOCAB_MAX);
    if (merges_init(&t->merges, n) < 0)
        return sp_fail(err, SP_ENOMEM, "tokenizer: out of memory");
    str s;
    for (uint32_t rank = 0; gguf_next_string(&it, &s); rank++) {
        const char *space = s.n > 1 ? memchr(s.p + 1, ' ', s.n - 1) : NULL;
        if (!space)
            return sp_fail(err, SP_EFORMAT, "tokenizer.ggml.merges: merge %u has no space in it",
                           rank);
        size_t left = (size_t)(space - s.p);
        int rc =
            tokenizer_put_merge(t, (str){s.p, left}, (str){space + 1, s.n - left - 1}, rank, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* An id from the metadata; -1 when the key is missing. */
static int read_id(const tokenizer *t, const gguf *g, const char *key, int32_t *out, sp_error *err)
{
    int64_t id;
    *out = -1;
    int rc = gguf_get_int(g, key, &id);
    if (rc == SP_ENOTFOUND)
        return 0;
    if (rc < 0 || id < 0 || (uint64_t)id >= t->vocab.n)
        return sp_fail(err, SP_EFORMAT, "%s: no id of the vocabulary's %zu tokens", key,
                       t->vocab.n);
    *out = (int32_t)id;
    return 0;
}

static int read_ids(tokenizer *t, const gguf *g, const struct gguf_pipeline *pipeline,
                    sp_error *err)
{
    int32_t eot = -1;
    int rc = read_id(t, g, "tokenizer.ggml.bos_token_id", &t->bos, err);
    if (rc == 0)
        rc = read_id(t, g, "tokenizer.ggml.eos_token_id", &t->eos, err);
    if (rc == 0)
        rc = read_id(t, g, "tokenizer.ggml.eot_token_id", &eot, err);
    if (rc < 0)
        return rc;
    if (t->eos >= 0)
        t->ends[t->n_ends++] = t->eos;
    if (eot >= 0 && eot != t->eos)
        t->ends[t->n_ends++] = eot;
    t->add_bos = pipeline->add_bos && t->bos >= 0;
    rc = gguf_get_bool(g, "tokenizer.ggml.add_bos_token", &t->add_bos);
    if (rc < 0 && rc != SP_ENOTFOUND)
        return sp_fail(err, SP_EFORMAT, "tokenizer.ggml.add_bos_token: no bool");
    return 0;
}

int tokenizer_load_gguf(const gguf *g, tokenizer **out, sp_error *err)
{
    const struct gguf_pipeline *pipeline = NULL;
    *out = NULL;
    int rc = find_pipeline(g, &pipeline, err);
    if (rc < 0 || !pipeline)
        return rc;
    tokenizer *t = tokenizer_new();
    if (!t)
        return sp_fail(err, SP_ENOMEM, "tokenizer: out of memory");
    t->nfc = pipeline->nfc;
    t->ignore_merges = pipeline->ignore_merges;
    for (size_t i = 0; i < pipeline->n_steps; i++)
        t->steps[t->n_steps++] = (struct pretok_step){.kind = pipeline->steps[i]};
    rc = read_tokens(t, g, err);
    if (rc == 0)
        rc = read_merges(t, g, err);
    if (rc == 0)
        rc = read_ids(t, g, pipeline, err);
    if (rc == 0)
        rc = tokenizer_finish(t, err);
    if (rc < 0) {
        tokenizer_free(t);
        return rc;
    }
    *out = t;
    return 0;
}
