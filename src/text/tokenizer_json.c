/* The tokenizer of a Hugging Face tokenizer.json. Each part of its pipeline is either done as
 * `tokenizers` does it or refused by name. */
#include <string.h>

#include "text/tokenizer_int.h"

static const char *type_of(const json_t *object)
{
    const char *type = json_string_value(json_object_get(object, "type"));
    return type ? type : "?";
}

static bool is_true(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

static bool is_empty_text(const json_t *value)
{
    return !value || json_is_null(value) || json_string_length(value) == 0;
}

static int unsupported(sp_error *err, const char *part, const char *what, const char *known)
{
    return sp_fail(err, SP_EUNSUPPORTED, "tokenizer.json: %s '%.64s': not supported: known are %s",
                   part, what, known);
}

static int bad_json(sp_error *err, const char *what)
{
    return sp_fail(err, SP_EFORMAT, "tokenizer.json: %s", what);
}

/* ---- normalizer ---- */

static int read_normalizer(tokenizer *t, const json_t *n, int depth, sp_error *err)
{
    if (!n || json_is_null(n))
        return 0;
    const char *type = type_of(n);
    if (strcmp(type, "NFC") == 0) {
        t->nfc = true;
        return 0;
    }
    if (strcmp(type, "Sequence") != 0 || depth > 4)
        return unsupported(err, "normalizer", type, "NFC, Sequence");
    size_t i;
    json_t *part;
    json_array_foreach(json_object_get(n, "normalizers"), i, part)
    {
        int rc = read_normalizer(t, part, depth + 1, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* ---- pre_tokenizer ---- */

struct pretok_read {
    bool byte_level; /* seen: the vocabulary's alphabet is GPT-2's */
};

static int read_split(tokenizer *t, const json_t *p, sp_error *err)
{
    const char *behavior = json_string_value(json_object_get(p, "behavior"));
    const json_t *pattern = json_object_get(p, "pattern");
    const json_t *regex = json_object_get(pattern, "Regex");
    const json_t *literal = json_object_get(pattern, "String");
    const json_t *source = regex ? regex : literal;
    if (!json_is_string(source))
        return bad_json(err, "pre_tokenizer: Split has no pattern");
    if (strlen(json_string_value(source)) != json_string_length(source))
        return bad_json(err, "pre_tokenizer: a pattern with NUL in it");
    if (!behavior)
        behavior = "?";
    bool invert = is_true(p, "invert"), removed = strcmp(behavior, "Removed") == 0;
    if (strcmp(behavior, "Isolated") != 0 && !(removed && invert))
        return unsupported(err, "pre_tokenizer: Split with behavior", behavior,
                           "Isolated, inverted Removed");
    struct pretok_step step;
    int rc = pretok_compile(json_string_value(source), regex == NULL, &step, err);
    if (rc < 0)
        return rc;
    step.only_hits = removed;
    return tokenizer_add_step(t, step, err);
}

static int read_byte_level(tokenizer *t, const json_t *p, struct pretok_read *r, sp_error *err)
{
    r->byte_level = true;
    if (is_true(p, "add_prefix_space"))
        return unsupported(err, "pre_tokenizer: ByteLevel with add_prefix_space", "true", "false");
    const json_t *use_regex = json_object_get(p, "use_regex");
    if (json_is_false(use_regex))
        return 0;
    return tokenizer_add_step(t, (struct pretok_step){.kind = PRETOK_GPT2}, err);
}

static int read_pretokenizer(tokenizer *t, const json_t *p, struct pretok_read *r, int depth,
                             sp_error *err)
{
    if (!p || json_is_null(p))
        return 0;
    const char *type = type_of(p);
    if (r->byte_level)
        return unsupported(err, "pre_tokenizer after ByteLevel", type, "none");
    if (strcmp(type, "Split") == 0)
        return read_split(t, p, err);
    if (strcmp(type, "ByteLevel") == 0)
        return read_byte_level(t, p, r, err);
    if (strcmp(type, "Digits") == 0) {
        enum pretok_kind kind =
            is_true(p, "individual_digits") ? PRETOK_DIGITS_EACH : PRETOK_DIGITS_RUN;
        return tokenizer_add_step(t, (struct pretok_step){.kind = kind}, err);
    }
    if (strcmp(type, "Sequence") != 0 || depth > 4)
        return unsupported(err, "pre_tokenizer", type, "Sequence, Split, ByteLevel, Digits");
    size_t i;
    json_t *part;
    json_array_foreach(json_object_get(p, "pretokenizers"), i, part)
    {
        int rc = read_pretokenizer(t, part, r, depth + 1, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* ---- model ---- */

static int read_vocab(tokenizer *t, const json_t *vocab, sp_error *err)
{
    uint8_t bytes[TOKEN_BYTES_MAX];
    size_t count = json_object_size(vocab);
    if (!json_is_object(vocab) || count == 0)
        return bad_json(err, "model.vocab: missing or empty");
    if (vocab_reserve(&t->vocab, count + 512, 8 * count) < 0)
        return sp_fail(err, SP_ENOMEM, "tokenizer: out of memory");
    void *it = json_object_iter((json_t *)(uintptr_t)vocab);
    for (; it; it = json_object_iter_next((json_t *)(uintptr_t)vocab, it)) {
        str key = {json_object_iter_key(it), json_object_iter_key_len(it)};
        const json_t *value = json_object_iter_value(it);
        json_int_t id = json_integer_value(value);
        if (!json_is_integer(value) || id < 0 || id >= VOCAB_MAX)
            return sp_fail(err, SP_EFORMAT,
                           "tokenizer.json: model.vocab: '%.*s' has no id from 0 to %u",
                           (int)(key.n < 64 ? key.n : 64), key.p, VOCAB_MAX - 1);
        if ((size_t)id < t->vocab.n && t->vocab.flags[id] & TOKEN_KNOWN)
            return sp_fail(err, SP_EFORMAT, "tokenizer.json: model.vocab: id %lld is given twice",
                           (long long)id);
        size_t n = 0;
        bool model = key.n <= TOKEN_BYTES_MAX && alphabet_decode(key, bytes, &n);
        int rc = model ? vocab_put(&t->vocab, (size_t)id, bytes, n, TOKEN_KNOWN | TOKEN_MODEL, err)
                       : vocab_put(&t->vocab, (size_t)id, key.p, key.n, TOKEN_KNOWN, err);
        if (rc < 0)
            return rc;
    }
    return vocab_index(&t->vocab) < 0 ? sp_fail(err, SP_ENOMEM, "tokenizer: out of memory") : 0;
}

/* One merge: "a b", or ["a", "b"]. */
static bool merge_sides(const json_t *merge, str *left, str *right)
{
    if (json_is_string(merge)) {
        str s = {json_string_value(merge), json_string_length(merge)};
        const char *space = s.n > 1 ? memchr(s.p, ' ', s.n) : NULL;
        if (!space)
            return false;
        size_t n = (size_t)(space - s.p);
        *left = (str){s.p, n};
        *right = (str){space + 1, s.n - n - 1};
        return true;
    }
    const json_t *a = json_array_get(merge, 0), *b = json_array_get(merge, 1);
    if (json_array_size(merge) != 2 || !json_is_string(a) || !json_is_string(b))
        return false;
    *left = (str){json_string_value(a), json_string_length(a)};
    *right = (str){json_string_value(b), json_string_length(b)};
    return true;
}

static int read_merges(tokenizer *t, const json_t *merges, sp_error *err)
{
    size_t n = json_array_size(merges);
    if (!json_is_array(merges) || n > VOCAB_MAX)
        return bad_json(err, "model.merges: no list of merges");
    if (merges_init(&t->merges, n) < 0)
        return sp_fail(err, SP_ENOMEM, "tokenizer: out of memory");
    for (size_t rank = 0; rank < n; rank++) {
        str left, right;
        if (!merge_sides(json_array_get(merges, rank), &left, &right))
            return sp_fail(err, SP_EFORMAT, "tokenizer.json: model.merges: entry %zu is no pair",
                           rank);
        int rc = tokenizer_put_merge(t, left, right, (uint32_t)rank, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int read_model(tokenizer *t, const json_t *m, sp_error *err)
{
    const json_t *type = json_object_get(m, "type");
    if (!json_is_object(m))
        return bad_json(err, "model: missing");
    if (type && strcmp(type_of(m), "BPE") != 0)
        return unsupported(err, "model", type_of(m), "BPE");
    if (is_true(m, "byte_fallback"))
        return unsupported(err, "model: BPE with byte_fallback", "true", "false (byte-level BPE)");
    if (!is_empty_text(json_object_get(m, "continuing_subword_prefix")) ||
        !is_empty_text(json_object_get(m, "end_of_word_suffix")))
        return sp_fail(
            err, SP_EUNSUPPORTED,
            "tokenizer.json: model: continuing_subword_prefix and end_of_word_suffix are not "
            "supported");
    if (json_number_value(json_object_get(m, "dropout")) > 0)
        return sp_fail(err, SP_EUNSUPPORTED, "tokenizer.json: model: dropout is not supported");
    t->ignore_merges = is_true(m, "ignore_merges");
    t->fuse_unk = is_true(m, "fuse_unk");
    int rc = read_vocab(t, json_object_get(m, "vocab"), err);
    if (rc == 0)
        rc = read_merges(t, json_object_get(m, "merges"), err);
    const json_t *unk = json_object_get(m, "unk_token");
    if (rc < 0 || is_empty_text(unk))
        return rc;
    const json_t *id = json_object_get(json_object_get(m, "vocab"), json_string_value(unk));
    if (id)
        t->unk = (int32_t)json_integer_value(id);
    return 0;
}

/* ---- added tokens ---- */

static int read_added(tokenizer *t, const json_t *list, sp_error *err)
{
    size_t i;
    json_t *a;
    json_array_foreach(list, i, a)
    {
        const json_t *content = json_object_get(a, "content"), *id = json_object_get(a, "id");
        json_int_t value = json_integer_value(id);
        if (!json_is_string(content) || !json_is_integer(id) || value < 0 || value >= VOCAB_MAX)
            return sp_fail(err, SP_EFORMAT,
                           "tokenizer.json: added_tokens: entry %zu lacks id or content", i);
        struct added_token flags = {.id = (int32_t)value,
                                    .lstrip = is_true(a, "lstrip"),
                                    .rstrip = is_true(a, "rstrip"),
                                    .single_word = is_true(a, "single_word"),
                                    .normalized = is_true(a, "normalized")};
        str s = {json_string_value(content), json_string_length(content)};
        if (s.n == 0)
            continue; /* Hugging Face's passes over these */
        int rc = tokenizer_put_added(t, s, &flags, is_true(a, "special"), err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* ---- post_processor, decoder, config ---- */

/* The template of a single text: at most one special token, before it. */
static int read_template(tokenizer *t, const json_t *p, sp_error *err)
{
    const json_t *single = json_object_get(p, "single");
    size_t i;
    json_t *piece;
    bool text = false;
    json_array_foreach(single, i, piece)
    {
        if (json_object_get(piece, "Sequence")) {
            text = true;
            continue;
        }
        const char *name =
            json_string_value(json_object_get(json_object_get(piece, "SpecialToken"), "id"));
        const json_t *token =
            name ? json_object_get(json_object_get(p, "special_tokens"), name) : NULL;
        const json_t *ids = json_object_get(token, "ids");
        if (text || t->bos >= 0 || json_array_size(ids) != 1)
            return unsupported(err, "post_processor: TemplateProcessing with", name ? name : "?",
                               "one BOS token before the text");
        json_int_t id = json_integer_value(json_array_get(ids, 0));
        if (id < 0 || id >= VOCAB_MAX)
            return bad_json(err, "post_processor: a BOS id out of range");
        t->bos = (int32_t)id;
        t->add_bos = true;
    }
    return 0;
}

static int read_postprocessor(tokenizer *t, const json_t *p, int depth, sp_error *err)
{
    if (!p || json_is_null(p))
        return 0;
    const char *type = type_of(p);
    if (strcmp(type, "ByteLevel") == 0)
        return 0; /* changes offsets only */
    if (strcmp(type, "TemplateProcessing") == 0)
        return read_template(t, p, err);
    if (strcmp(type, "Sequence") != 0 || depth > 4)
        return unsupported(err, "post_processor", type, "Sequence, ByteLevel, TemplateProcessing");
    size_t i;
    json_t *part;
    json_array_foreach(json_object_get(p, "processors"), i, part)
    {
        int rc = read_postprocessor(t, part, depth + 1, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* tokenizer_config.json gives a token as its text or as an object with a `content`. */
static int config_token(const tokenizer *t, const json_t *config, const char *key, int32_t *id,
                        sp_error *err)
{
    const json_t *value = json_object_get(config, key);
    if (json_is_object(value))
        value = json_object_get(value, "content");
    if (is_empty_text(value))
        return 0;
    const char *text = json_string_value(value);
    int32_t found = text ? tokenizer_find(t, text) : -1;
    if (found < 0)
        return sp_fail(err, SP_EFORMAT,
                       "tokenizer_config.json: %s '%.64s' is no token of tokenizer.json", key,
                       text ? text : "?");
    *id = found;
    return 0;
}

static int read_config(tokenizer *t, const json_t *config, sp_error *err)
{
    int rc = config_token(t, config, "bos_token", &t->bos, err);
    if (rc == 0)
        rc = config_token(t, config, "eos_token", &t->eos, err);
    const json_t *add_bos = json_object_get(config, "add_bos_token");
    if (json_is_boolean(add_bos))
        t->add_bos = json_is_true(add_bos) && t->bos >= 0;
    return rc;
}

static int load(tokenizer *t, const json_t *root, const json_t *config, sp_error *err)
{
    if (!json_is_object(root))
        return bad_json(err, "no object");
    struct pretok_read pretok = {false};
    int rc = read_normalizer(t, json_object_get(root, "normalizer"), 0, err);
    if (rc == 0)
        rc = read_pretokenizer(t, json_object_get(root, "pre_tokenizer"), &pretok, 0, err);
    if (rc < 0)
        return rc;
    if (!pretok.byte_level)
        return bad_json(err, "pre_tokenizer: has no ByteLevel: only byte-level BPE is supported");
    const json_t *decoder = json_object_get(root, "decoder");
    if (strcmp(type_of(decoder), "ByteLevel") != 0)
        return unsupported(err, "decoder", type_of(decoder), "ByteLevel");
    rc = read_model(t, json_object_get(root, "model"), err);
    if (rc == 0)
        rc = read_added(t, json_object_get(root, "added_tokens"), err);
    if (rc == 0)
        rc = read_postprocessor(t, json_object_get(root, "post_processor"), 0, err);
    if (rc < 0)
        return rc;
    added_sort(&t->raw);
    added_sort(&t->normalized);
    rc = read_config(t, config, err);
    return rc < 0 ? rc : tokenizer_finish(t, err);
}

int tokenizer_load_json(const json_t *tokenizer_json, const json_t *config, tokenizer **out,
                        sp_error *err)
{
    *out = NULL;
    tokenizer *t = tokenizer_new();
    if (!t)
        return sp_fail(err, SP_ENOMEM, "tokenizer: out of memory");
    int rc = load(t, tokenizer_json, config, err);
    if (rc < 0) {
        tokenizer_free(t);
        return rc;
    }
    *out = t;
    return 0;
}
