/* The tokenizer that a GGUF file carries: tokens in GPT-2's alphabet, their types, merges, and the name
 * of a pre-tokenizer, from which the rest of Hugging Face's pipeline follows. */
#include <string.h>

#include "text/tokenizer_int.h"

/* The letters of DeepSeek LLM's pattern: \p{Lu} and \p{Ll} as its authors had them. */
#define DEEPSEEK_LETTERS                                                                           \
    "A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-"         \
    "\u02af\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1"     \
    "\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-"        \
    "\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15"         \
    "\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d"          \
    "\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb"         \
    "\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d"          \
    "\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183"     \
    "\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b"          \
    "\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-"        \
    "\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb"           \
    "\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943"
#define DIGITS_EACH "@digits" /* the Digits step of Hugging Face's */
#define HAN "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define QWEN2(digits)                                                                              \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits                           \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/* What each name of tokenizer.ggml.pre stands for: llama.cpp's list, with the steps of the models' own
 * tokenizer.json where the two differ. */
static const struct gguf_pipeline {
    const char *names[5];
    const char *steps[7];             /* patterns, one after the other */
    bool nfc, ignore_merges, add_bos; /* add_bos: when the file doesn't say */
} pipelines[] = {
    {.names = {"qwen2", "deepseek-r1-qwen", "megrez"}, .steps = {QWEN2("\\p{N}")}, .nfc = true},
    {.names = {"llama-bpe", "llama3", "llama-v3"},
     .steps = {QWEN2("\\p{N}{1,3}")},
     .ignore_merges = true,
     .add_bos = true},
    {.names = {"smollm", "starcoder", "refact", "command-r"}, .steps = {DIGITS_EACH, GPT2}},
    {.names = {"gpt-2", "phi-2"}, .steps = {GPT2}},
    {.names = {"deepseek-llm"},
     .steps = {"[\r\n]", "\\s?[" DEEPSEEK_LETTERS "]+",
               "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+", "\\s+$", HAN,
               "\\p{N}+"}},
    {.names = {"deepseek-coder"}, .steps = {"[\r\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", HAN, "\\p{N}"}},
    {.names = {"deepseek-v3"}, .steps = {PATTERN_NUMBERS3, PATTERN_HAN_KANA, PATTERN_DEEPSEEK3}},
    {.names = {"tekken"}, .steps = {PATTERN_TEKKEN}, .ignore_merges = true, .add_bos = true},
    {.names = {"gpt-4o", "llama4"}, .steps = {PATTERN_O200K}},
    {.names = {"default"},
     .steps = {"[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}},
};

static int unknown_pre(str pre, sp_error *err)
{
    buf known;
    buf_init(&known, 384);
    for (size_t i = 0; i < SP_COUNT(pipelines); i++)
        for (size_t k = 0; k < SP_COUNT(pipelines[i].names) && pipelines[i].names[k]; k++)
            buf_printf(&known, "%s%s", known.len ? ", " : "", pipelines[i].names[k]);
    int rc = sp_fail(err, SP_EUNSUPPORTED, "tokenizer.ggml.pre '%.*s': not supported: known are %s",
                     (int)(pre.n < 64 ? pre.n : 64), pre.p, known.data ? known.data : "");
    buf_free(&known);
    return rc;
}

static int find_pipeline(const gguf *g, const struct gguf_pipeline **out, sp_error *err)
{
    str pre, arch;
    if (gguf_get_str(g, "tokenizer.ggml.pre", &pre) < 0) {
        /* Files from before this key; all Qwen models split words the same way. */
        if (gguf_get_str(g, "general.architecture", &arch) < 0 || !str_starts(arch, "qwen"))
            return sp_fail(
                err, SP_EFORMAT,
                "tokenizer.ggml.pre: missing: convert the model again with a newer converter");
        pre = str_of("qwen2");
    }
    for (size_t i = 0; i < SP_COUNT(pipelines); i++)
        for (size_t k = 0; k < SP_COUNT(pipelines[i].names) && pipelines[i].names[k]; k++)
            if (str_eqz(pre, pipelines[i].names[k])) {
                *out = &pipelines[i];
                return 0;
            }
    return unknown_pre(pre, err);
}

static int set_pipeline(tokenizer *t, const gguf *g, sp_error *err)
{
    const struct gguf_pipeline *pipeline = NULL;
    int rc = find_pipeline(g, &pipeline, err);
    if (rc < 0 || !pipeline)
        return rc;
    t->nfc = pipeline->nfc;
    t->ignore_merges = pipeline->ignore_merges;
    t->add_bos = pipeline->add_bos;
    for (size_t i = 0; i < SP_COUNT(pipeline->steps) && pipeline->steps[i] && rc == 0; i++) {
        struct pretok_step step = {.kind = PRETOK_DIGITS_EACH};
        if (strcmp(pipeline->steps[i], DIGITS_EACH) != 0)
            rc = pretok_compile(pipeline->steps[i], false, &step, err);
        if (rc == 0)
            rc = tokenizer_add_step(t, step, err);
    }
    return rc;
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
        int64_t kind = PIECE_NORMAL;
        if (types && gguf_array_int(g, "tokenizer.ggml.token_type", id, &kind) < 0)
            return sp_fail(err, SP_EFORMAT, "tokenizer.ggml.token_type: no list of integers");
        int rc = tokenizer_put_typed(t, id, s, kind, err);
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
    if (n > MERGES_MAX)
        return sp_fail(err, SP_EFORMAT, "tokenizer.ggml.merges: %zu merges: at most %u are taken",
                       n, MERGES_MAX);
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

static int read_scores(tokenizer *t, const gguf *g, sp_error *err)
{
    static const char key[] = "tokenizer.ggml.scores";
    enum gguf_type type;
    size_t n;
    int rc = 0;
    if (gguf_array_len(g, key, &type, &n) < 0 || n != t->vocab.n)
        return sp_fail(err, SP_EFORMAT, "%s: missing or not one for each of %zu tokens", key,
                       t->vocab.n);
    float *scores = sp_malloc(n * sizeof *scores);
    if (!scores)
        return sp_fail(err, SP_ENOMEM, "tokenizer: out of memory");
    for (size_t i = 0; i < n && rc == 0; i++) {
        double score;
        if (gguf_array_float(g, key, i, &score) < 0)
            rc = sp_fail(err, SP_EFORMAT, "%s: no list of numbers", key);
        else
            scores[i] = (float)score;
    }
    if (rc == 0)
        rc = tokenizer_score_merges(t, scores, err);
    sp_free(scores);
    return rc;
}

/* An id from the metadata; *out stays when the key is missing. */
static int read_id(const tokenizer *t, const gguf *g, const char *key, int32_t *out, sp_error *err)
{
    int64_t id;
    int rc = gguf_get_int(g, key, &id);
    if (rc == SP_ENOTFOUND)
        return 0;
    if (rc < 0 || id < 0 || (uint64_t)id >= t->vocab.n)
        return sp_fail(err, SP_EFORMAT, "%s: no id of the vocabulary's %zu tokens", key,
                       t->vocab.n);
    *out = (int32_t)id;
    return 0;
}

static int read_bool(const gguf *g, const char *key, bool *out, sp_error *err)
{
    int rc = gguf_get_bool(g, key, out);
    return rc < 0 && rc != SP_ENOTFOUND ? sp_fail(err, SP_EFORMAT, "%s: no bool", key) : 0;
}

/* tokenizer.ggml.add_eos_token is not followed: a text that a model goes on with has no end. */
static int read_ids(tokenizer *t, const gguf *g, sp_error *err)
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
    t->add_bos = t->add_bos && t->bos >= 0;
    return read_bool(g, "tokenizer.ggml.add_bos_token", &t->add_bos, err);
}

/* "llama": SentencePiece's BPE by scores, with llama.cpp's defaults. */
static int load_scored(tokenizer *t, const gguf *g, sp_error *err)
{
    bool prefix = true;
    if (!gguf_has(g, "tokenizer.ggml.token_type"))
        return sp_fail(err, SP_EFORMAT,
                       "tokenizer.ggml.token_type: missing: byte tokens cannot be told");
    int rc = read_bool(g, "tokenizer.ggml.add_space_prefix", &prefix, err);
    if (rc < 0)
        return rc;
    tokenizer_set_prefix(t, prefix, false);
    t->fuse_unk = true;
    rc = read_tokens(t, g, err);
    if (rc == 0)
        rc = read_scores(t, g, err);
    t->add_bos = true;
    t->bos = t->vocab.n > 1 ? 1 : -1;
    t->eos = t->vocab.n > 2 ? 2 : -1;
    return rc;
}

/* "gemma4": a list of merges, in SentencePiece's alphabet. */
static int load_marked(tokenizer *t, const gguf *g, sp_error *err)
{
    tokenizer_set_prefix(t, false, false);
    t->fuse_unk = true;
    t->add_bos = true;
    int rc = tokenizer_add_step(t, (struct pretok_step){.kind = PRETOK_LINES}, err);
    if (rc == 0)
        rc = read_tokens(t, g, err);
    return rc < 0 ? rc : read_merges(t, g, err);
}

static int load_byte_level(tokenizer *t, const gguf *g, sp_error *err)
{
    int rc = set_pipeline(t, g, err);
    if (rc == 0)
        rc = read_tokens(t, g, err);
    return rc < 0 ? rc : read_merges(t, g, err);
}

static int load(tokenizer *t, const gguf *g, sp_error *err)
{
    str model;
    int rc;
    if (gguf_get_str(g, "tokenizer.ggml.model", &model) < 0)
        return sp_fail(err, SP_EFORMAT,
                       "tokenizer.ggml.model: missing: the file carries no tokenizer");
    if (str_eqz(model, "gpt2"))
        rc = load_byte_level(t, g, err);
    else if (str_eqz(model, "llama"))
        rc = load_scored(t, g, err);
    else if (str_eqz(model, "gemma4"))
        rc = load_marked(t, g, err);
    else
        return sp_fail(err, SP_EUNSUPPORTED,
                       "tokenizer.ggml.model '%.*s': not supported: known are gpt2 (byte-level "
                       "BPE), llama (SentencePiece), gemma4",
                       (int)(model.n < 64 ? model.n : 64), model.p);
    if (rc == 0)
        rc = read_ids(t, g, err);
    return rc < 0 ? rc : tokenizer_finish(t, err);
}

int tokenizer_load_gguf(const gguf *g, tokenizer **out, sp_error *err)
{
    *out = NULL;
    tokenizer *t = tokenizer_new();
    if (!t)
        return sp_fail(err, SP_ENOMEM, "tokenizer: out of memory");
    int rc = load(t, g, err);
    if (rc < 0) {
        tokenizer_free(t);
        return rc;
    }
    *out = t;
    return 0;
}
