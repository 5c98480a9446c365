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

/* Whether object[key] is this text. */
static bool is_text(const json_t *object, const char *key, const char *text)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value && strcmp(value, text) == 0;
}

/* A {"pattern": {"String": from}, "content": to}. */
static bool is_replace(const json_t *part, const char *from, const char *to)
{
    return is_text(json_object_get(part, "pattern"), "String", from) &&
           is_text(part, "content", to);
}

/* A part of the pipeline and what reads it, for Sequences of them. */
struct reading {
    tokenizer *t;
    sp_error *err;
    bool byte_level; /* pre-tokenizer ByteLevel: the vocabulary's alphabet is GPT-2's */
    bool decodes_marks, decodes_bytes, fused;
};
typedef int (*part_reader)(struct reading *r, const json_t *part, const char *type);

/* Reads a part, or those of a Sequence under `list`. */
static int read_parts(struct reading *r, const json_t *part, const char *list, part_reader read,
                      int depth)
{
    if (!part || json_is_null(part))
        return 0;
    if (depth > 4 || strcmp(type_of(part), "Sequence") != 0)
        return read(r, part, type_of(part));
    size_t i;
    json_t *one;
    json_array_foreach(json_object_get(part, list), i, one)
    {
        int rc = read_parts(r, one, list, read, depth + 1);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* ---- normalizer ---- */

static int read_normalizer(struct reading *r, const json_t *n, const char *type)
{
    tokenizer *t = r->t;
    if (strcmp(type, "NFC") == 0)
        t->nfc = true;
    else if (strcmp(type, "Prepend") == 0 && is_text(n, "prepend", SPACE_MARK) && !t->prepend)
        t->prepend = true;
    else if (strcmp(type, "Replace") == 0 && is_replace(n, " ", SPACE_MARK))
        t->fold = true;
    else
        return unsupported(r->err, "normalizer", type,
                           "NFC, Prepend of U+2581, Replace of a space by it, Sequence");
    return 0;
}

/* ---- pre_tokenizer ---- */

static int read_split(struct reading *r, const json_t *p)
{
    const char *behavior = json_string_value(json_object_get(p, "behavior"));
    const json_t *pattern = json_object_get(p, "pattern");
    const json_t *regex = json_object_get(pattern, "Regex");
    const json_t *literal = json_object_get(pattern, "String");
    const json_t *source = regex ? regex : literal;
    if (!json_is_string(source))
        return bad_json(r->err, "pre_tokenizer: Split has no pattern");
    if (strlen(json_string_value(source)) != json_string_length(source))
        return bad_json(r->err, "pre_tokenizer: a pattern with NUL in it");
    if (!behavior)
        behavior = "?";
    if (r->t->fold && is_text(pattern, "String", " "))
        return 0; /* the normalizer has left no space to split at (Gemma) */
    if (r->t->fold || r->t->metaspace)
        return unsupported(r->err, "pre_tokenizer: after spaces became U+2581", "Split",
                           "Split at a space, Digits");
    bool invert = is_true(p, "invert"), removed = strcmp(behavior, "Removed") == 0;
    if (strcmp(behavior, "Isolated") != 0 && !(removed && invert))
        return unsupported(r->err, "pre_tokenizer: Split with behavior", behavior,
                           "Isolated, inverted Removed");
    struct pretok_step step;
    int rc = pretok_compile(json_string_value(source), regex == NULL, &step, r->err);
    if (rc < 0)
        return rc;
    step.only_hits = removed;
    return tokenizer_add_step(r->t, step, r->err);
}

static int read_byte_level(struct reading *r, const json_t *p)
{
    r->byte_level = true;
    if (is_true(p, "add_prefix_space"))
        return unsupported(r->err, "pre_tokenizer: ByteLevel with add_prefix_space", "true",
                           "false");
    const json_t *use_regex = json_object_get(p, "use_regex");
    if (json_is_false(use_regex))
        return 0;
    return tokenizer_add_step(r->t, (struct pretok_step){.kind = PRETOK_GPT2}, r->err);
}

/* Whether a Metaspace puts a space before a text; files older than prepend_scheme: add_prefix_space. */
static bool metaspace_prefix(const json_t *p, enum prefix_mode *out)
{
    static const char *const schemes[] = {"never", "first", "always"};
    const json_t *scheme = json_object_get(p, "prepend_scheme");
    *out = json_is_false(json_object_get(p, "add_prefix_space")) ? PREFIX_NEVER : PREFIX_ALWAYS;
    if (!scheme)
        return true;
    for (int i = 0; i < 3; i++) {
        *out = (enum prefix_mode)i;
        if (is_text(p, "prepend_scheme", schemes[i]))
            return true;
    }
    return false;
}

static int read_metaspace(struct reading *r, const json_t *p)
{
    tokenizer *t = r->t;
    if (t->n_steps > 0 || t->metaspace)
        return unsupported(r->err, "pre_tokenizer: after another one", "Metaspace", "Digits");
    if (!is_text(p, "replacement", SPACE_MARK) || !metaspace_prefix(p, &t->metaspace_prefix))
        return unsupported(r->err, "pre_tokenizer: Metaspace with replacement, prepend_scheme",
                           "other", "U+2581; always, first, never");
    t->metaspace = true;
    if (json_is_false(json_object_get(p, "split")))
        return 0;
    return tokenizer_add_step(t, (struct pretok_step){.kind = PRETOK_SPACES}, r->err);
}

static int read_pretokenizer(struct reading *r, const json_t *p, const char *type)
{
    if (r->byte_level)
        return unsupported(r->err, "pre_tokenizer after ByteLevel", type, "none");
    if (strcmp(type, "Split") == 0)
        return read_split(r, p);
    if (strcmp(type, "ByteLevel") == 0)
        return read_byte_level(r, p);
    if (strcmp(type, "Metaspace") == 0)
        return read_metaspace(r, p);
    if (strcmp(type, "Digits") == 0) {
        enum pretok_kind kind =
            is_true(p, "individual_digits") ? PRETOK_DIGITS_EACH : PRETOK_DIGITS_RUN;
        return tokenizer_add_step(r->t, (struct pretok_step){.kind = kind}, r->err);
    }
    return unsupported(r->err, "pre_tokenizer", type,
                       "Sequence, Split, ByteLevel, Metaspace, Digits");
}

/* ---- decoder ---- */

static int read_decoder(struct reading *r, const json_t *d, const char *type)
{
    json_int_t start = json_integer_value(json_object_get(d, "start"));
    json_int_t stop = json_integer_value(json_object_get(d, "stop"));
    if (strcmp(type, "Replace") == 0 && is_replace(d, SPACE_MARK, " "))
        r->decodes_marks = true;
    else if (strcmp(type, "ByteFallback") == 0)
        r->decodes_bytes = true;
    else if (strcmp(type, "Fuse") == 0)
        r->fused = true;
    else if (strcmp(type, "Strip") == 0 && is_text(d, "content", " ") && r->fused && stop == 0 &&
             (start == 0 || start == 1))
        r->t->strip = start == 1 ? STRIP_SPACE : STRIP_NONE;
    else if (strcmp(type, "Metaspace") == 0 && is_text(d, "replacement", SPACE_MARK)) {
        enum prefix_mode prefix;
        r->decodes_marks = metaspace_prefix(d, &prefix);
        r->t->strip = prefix != PREFIX_NEVER ? STRIP_TOKEN : STRIP_NONE;
    } else
        return unsupported(r->err, "decoder", type,
                           "ByteLevel; Replace of U+2581 by a space, ByteFallback, Fuse, Strip of "
                           "one space at the start, Metaspace, Sequence");
    return 0;
}

/* What kind of vocabulary it is: GPT-2's bytes, or SentencePiece's characters; all parts have to say
 * the same. */
static int read_pipeline(tokenizer *t, const json_t *root, sp_error *err)
{
    struct reading r = {.t = t, .err = err};
    const json_t *decoder = json_object_get(root, "decoder");
    int rc = read_parts(&r, json_object_get(root, "normalizer"), "normalizers", read_normalizer, 0);
    if (rc == 0)
        rc = read_parts(&r, json_object_get(root, "pre_tokenizer"), "pretokenizers",
                        read_pretokenizer, 0);
    if (rc < 0)
        return rc;
    bool marks = t->fold || t->metaspace;
    if (r.byte_level && marks)
        return bad_json(err, "both ByteLevel and U+2581 for spaces");
    if (r.byte_level)
        return strcmp(type_of(decoder), "ByteLevel") == 0
                   ? 0
                   : unsupported(err, "decoder of a ByteLevel vocabulary", type_of(decoder),
                                 "ByteLevel");
    if (!marks)
        return bad_json(err, "pre_tokenizer: neither ByteLevel nor U+2581 for spaces: no other "
                             "kind of BPE is supported");
    t->by_character = true;
    rc = read_parts(&r, decoder, "decoders", read_decoder, 0);
    if (rc == 0 && !r.decodes_marks)
        rc = unsupported(err, "decoder", type_of(decoder),
                         "those that make spaces of U+2581 as this vocabulary needs it");
    if (rc == 0 && !r.decodes_bytes && is_true(json_object_get(root, "model"), "byte_fallback"))
        rc = unsupported(err, "decoder", type_of(decoder), "those with ByteFallback, as model has");
    return rc;
}

/* ---- model ---- */

static int read_vocab(tokenizer *t, const json_t *vocab, bool byte_fallback, sp_error *err)
{
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
        uint8_t byte;
        if (!json_is_integer(value) || id < 0 || id >= VOCAB_MAX)
            return sp_fail(err, SP_EFORMAT,
                           "tokenizer.json: model.vocab: '%.*s' has no id from 0 to %u",
                           (int)(key.n < 64 ? key.n : 64), key.p, VOCAB_MAX - 1);
        if ((size_t)id < t->vocab.n && t->vocab.flags[id] & TOKEN_KNOWN)
            return sp_fail(err, SP_EFORMAT, "tokenizer.json: model.vocab: id %lld is given twice",
                           (long long)id);
        int rc = byte_fallback && byte_piece(key, &byte)
                     ? tokenizer_put_byte(t, (size_t)id, byte, err)
                     : tokenizer_put_piece(t, (size_t)id, key, err);
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
    if (!json_is_array(merges) || n > MERGES_MAX)
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

static int read_model(tokenizer *t, const json_t *root, sp_error *err)
{
    const json_t *m = json_object_get(root, "model");
    const json_t *type = json_object_get(m, "type");
    if (!json_is_object(m))
        return bad_json(err, "model: missing");
    if (type && strcmp(type_of(m), "BPE") != 0)
        return unsupported(err, "model", type_of(m), "BPE");
    bool byte_fallback = is_true(m, "byte_fallback");
    if (byte_fallback && !t->by_character)
        return unsupported(err, "model: BPE with byte_fallback", "true", "false with ByteLevel");
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
    int rc = read_vocab(t, json_object_get(m, "vocab"), byte_fallback, err);
    if (rc == 0)
        rc = read_added(t, json_object_get(root, "added_tokens"), err);
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

/* ---- post_processor, config ---- */

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

static int read_postprocessor(struct reading *r, const json_t *p, const char *type)
{
    if (strcmp(type, "ByteLevel") == 0)
        return 0; /* changes offsets only */
    if (strcmp(type, "TemplateProcessing") == 0)
        return read_template(r->t, p, r->err);
    return unsupported(r->err, "post_processor", type, "Sequence, ByteLevel, TemplateProcessing");
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

int tokenizer_read_config(tokenizer *t, const json_t *config, sp_error *err)
{
    added_sort(&t->raw); /* to find tokens by name */
    added_sort(&t->normalized);
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
    int rc = read_pipeline(t, root, err);
    if (rc == 0)
        rc = read_model(t, root, err);
    struct reading r = {.t = t, .err = err};
    if (rc == 0)
        rc = read_parts(&r, json_object_get(root, "post_processor"), "processors",
                        read_postprocessor, 0);
    if (rc < 0)
        return rc;
    rc = tokenizer_read_config(t, config, err);
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
