/* A SentencePiece tokenizer.model: a protocol buffer of pieces with scores and types, of the trainer's
 * and of the normalizer's settings (google/sentencepiece: sentencepiece_model.proto). BPE models whose
 * normalizer leaves text alone (Llama 2, Mistral, Gemma, InternLM2) are read; others are refused. */
#include <string.h>

#include "format/protobuf.h"
#include "text/tokenizer_int.h"

enum { MODEL_PIECES = 1, MODEL_TRAINER = 2, MODEL_NORMALIZER = 3 };
enum { PIECE_TEXT = 1, PIECE_SCORE = 2, PIECE_TYPE = 3 };
enum {
    TRAINER_MODEL_TYPE = 3,
    TRAINER_SPACE_AS_SUFFIX = 24,
    TRAINER_UNK_ID = 40,
    TRAINER_BOS_ID = 41,
    TRAINER_EOS_ID = 42
};
enum {
    NORMALIZER_CHARSMAP = 2,
    NORMALIZER_PREFIX = 3,
    NORMALIZER_EXTRA_SPACES = 4,
    NORMALIZER_ESCAPE = 5
};
#define MODEL_TYPE_BPE 2

/* With the proto file's defaults. */
struct spm_settings {
    uint64_t model_type;
    int32_t bos, eos;
    bool suffix, prefix, remove_extra_spaces, escape;
    size_t charsmap; /* bytes */
};

static int truncated(const struct proto_reader *r, sp_error *err)
{
    return r->bad ? sp_fail(err, SP_EFORMAT,
                            "tokenizer.model: truncated or no SentencePiece model: get it again")
                  : 0;
}

static int read_trainer(str message, struct spm_settings *s, sp_error *err)
{
    struct proto_reader r = proto_open(message);
    struct proto_field f;
    while (proto_next(&r, &f)) {
        if (f.wire != PROTO_VARINT)
            continue;
        if (f.number == TRAINER_MODEL_TYPE)
            s->model_type = f.value;
        else if (f.number == TRAINER_SPACE_AS_SUFFIX)
            s->suffix = f.value != 0;
        else if (f.number == TRAINER_BOS_ID)
            s->bos = (int32_t)(uint32_t)f.value; /* -1: none */
        else if (f.number == TRAINER_EOS_ID)
            s->eos = (int32_t)(uint32_t)f.value;
    }
    return truncated(&r, err);
}

static int read_normalizer(str message, struct spm_settings *s, sp_error *err)
{
    struct proto_reader r = proto_open(message);
    struct proto_field f;
    while (proto_next(&r, &f)) {
        if (f.wire == PROTO_BYTES && f.number == NORMALIZER_CHARSMAP)
            s->charsmap = f.bytes.n;
        if (f.wire != PROTO_VARINT)
            continue;
        if (f.number == NORMALIZER_PREFIX)
            s->prefix = f.value != 0;
        else if (f.number == NORMALIZER_EXTRA_SPACES)
            s->remove_extra_spaces = f.value != 0;
        else if (f.number == NORMALIZER_ESCAPE)
            s->escape = f.value != 0;
    }
    return truncated(&r, err);
}

/* The settings, and how many pieces there are. */
static int read_settings(str model, struct spm_settings *s, size_t *pieces, sp_error *err)
{
    struct proto_reader r = proto_open(model);
    struct proto_field f;
    int rc = 0;
    *s = (struct spm_settings){.model_type = 1,
                               .bos = 1,
                               .eos = 2,
                               .prefix = true,
                               .remove_extra_spaces = true,
                               .escape = true};
    *pieces = 0;
    while (rc == 0 && proto_next(&r, &f)) {
        if (f.wire != PROTO_BYTES)
            continue;
        if (f.number == MODEL_PIECES)
            ++*pieces;
        else if (f.number == MODEL_TRAINER)
            rc = read_trainer(f.bytes, s, err);
        else if (f.number == MODEL_NORMALIZER)
            rc = read_normalizer(f.bytes, s, err);
    }
    if (rc == 0)
        rc = truncated(&r, err);
    if (rc == 0 && (*pieces == 0 || *pieces > VOCAB_MAX))
        rc = sp_fail(err, SP_EFORMAT, "tokenizer.model: %zu pieces: 1 to %u are taken", *pieces,
                     VOCAB_MAX);
    return rc;
}

static int check_settings(const struct spm_settings *s, sp_error *err)
{
    const char *what = s->model_type != MODEL_TYPE_BPE ? "another model than BPE"
                       : s->charsmap > 0               ? "a normalizer that changes characters"
                       : s->remove_extra_spaces        ? "a normalizer that removes spaces"
                       : !s->escape                    ? "spaces that are not escaped"
                       : s->suffix                     ? "spaces at the end of words"
                                                       : NULL;
    return what ? sp_fail(err, SP_EUNSUPPORTED,
                          "tokenizer.model: %s: not supported: save the model with its fast "
                          "tokenizer (tokenizer.json)",
                          what)
                : 0;
}

static int read_piece(tokenizer *t, size_t id, str message, float *score, sp_error *err)
{
    struct proto_reader r = proto_open(message);
    struct proto_field f;
    str text = {"", 0};
    uint64_t type = PIECE_NORMAL;
    *score = 0;
    while (proto_next(&r, &f)) {
        if (f.number == PIECE_TEXT && f.wire == PROTO_BYTES)
            text = f.bytes;
        else if (f.number == PIECE_SCORE && f.wire == PROTO_FIXED32)
            *score = proto_float(&f);
        else if (f.number == PIECE_TYPE && f.wire == PROTO_VARINT)
            type = f.value;
    }
    if (r.bad)
        return truncated(&r, err);
    if (type < PIECE_NORMAL || type > PIECE_BYTE)
        return sp_fail(err, SP_EFORMAT, "tokenizer.model: piece %zu has the unknown type %llu", id,
                       (unsigned long long)type);
    return tokenizer_put_typed(t, id, text, (int64_t)type, err);
}

static int read_pieces(tokenizer *t, str model, float *scores, sp_error *err)
{
    struct proto_reader r = proto_open(model);
    struct proto_field f;
    int rc = 0;
    size_t id = 0;
    while (rc == 0 && proto_next(&r, &f))
        if (f.number == MODEL_PIECES && f.wire == PROTO_BYTES) {
            rc = read_piece(t, id, f.bytes, &scores[id], err);
            id++;
        }
    return rc;
}

/* tokenizer_config.json's added_tokens_decoder: further tokens, and names for unused pieces. */
static int read_added(tokenizer *t, const json_t *config, sp_error *err)
{
    json_t *list = json_object_get(config, "added_tokens_decoder"), *a;
    const char *key;
    json_object_foreach(list, key, a)
    {
        int64_t id;
        const json_t *content = json_object_get(a, "content");
        if (!str_to_i64(str_of(key), &id) || id < 0 || id >= VOCAB_MAX || !json_is_string(content))
            return sp_fail(err, SP_EFORMAT,
                           "tokenizer_config.json: added_tokens_decoder: '%.32s' is no id with a "
                           "content",
                           key);
        str s = {json_string_value(content), json_string_length(content)};
        struct added_token flags = {
            .id = (int32_t)id,
            .lstrip = json_is_true(json_object_get(a, "lstrip")),
            .rstrip = json_is_true(json_object_get(a, "rstrip")),
            .single_word = json_is_true(json_object_get(a, "single_word")),
        };
        bool special = json_is_true(json_object_get(a, "special"));
        int rc = s.n > 0 ? tokenizer_put_added(t, s, &flags, special, err) : 0;
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int make_merges(tokenizer *t, float **scores, size_t pieces, sp_error *err)
{
    float *all = sp_realloc_array(*scores, t->vocab.n, sizeof *all);
    if (all)
        *scores = all;
    if (!all || vocab_index(&t->vocab) < 0)
        return sp_fail(err, SP_ENOMEM, "tokenizer: out of memory");
    for (size_t id = pieces; id < t->vocab.n; id++)
        all[id] = 0;
    return tokenizer_score_merges(t, all, err);
}

static int load(tokenizer *t, str model, const json_t *config, sp_error *err)
{
    struct spm_settings s;
    size_t pieces;
    int rc = read_settings(model, &s, &pieces, err);
    if (rc == 0)
        rc = check_settings(&s, err);
    if (rc < 0)
        return rc;
    tokenizer_set_prefix(t, s.prefix, json_is_false(json_object_get(config, "legacy")));
    t->fuse_unk = true;
    if (vocab_reserve(&t->vocab, pieces, 8 * pieces) < 0)
        return sp_fail(err, SP_ENOMEM, "tokenizer: out of memory");
    float *scores = sp_calloc(pieces, sizeof *scores);
    if (!scores)
        return sp_fail(err, SP_ENOMEM, "tokenizer: out of memory");
    rc = read_pieces(t, model, scores, err);
    if (t->vocab.n < pieces)
        t->vocab.n = pieces;
    /* Before the merges, so that none of them makes what is now a special token. */
    if (rc == 0)
        rc = read_added(t, config, err);
    if (rc == 0)
        rc = make_merges(t, &scores, pieces, err);
    sp_free(scores);
    t->bos = s.bos;
    t->eos = s.eos;
    t->add_bos = t->bos >= 0;
    if (rc == 0)
        rc = tokenizer_read_config(t, config, err);
    return rc < 0 ? rc : tokenizer_finish(t, err);
}

int tokenizer_load_spm(const char *data, size_t n, const json_t *config, tokenizer **out,
                       sp_error *err)
{
    *out = NULL;
    tokenizer *t = tokenizer_new();
    if (!t)
        return sp_fail(err, SP_ENOMEM, "tokenizer: out of memory");
    int rc = load(t, (str){data, n}, config, err);
    if (rc < 0) {
        tokenizer_free(t);
        return rc;
    }
    *out = t;
    return 0;
}
