/* The tokenizer as an object: building (shared by the loaders), questions, freeing. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "text/tokenizer_int.h"

tokenizer *tokenizer_new(void)
{
    tokenizer *t = sp_calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->unk = t->bos = t->eos = -1;
    for (int b = 0; b < 256; b++)
        t->byte_ids[b] = -1;
    return t;
}

void tokenizer_free(tokenizer *t)
{
    if (!t)
        return;
    vocab_free(&t->vocab);
    merges_free(&t->merges);
    for (size_t i = 0; i < t->n_steps; i++)
        pretok_free(&t->steps[i]);
    added_free(&t->raw);
    added_free(&t->normalized);
    sp_free(t->inside);
    sp_free(t);
}

#define TOKENIZER_FILE_MAX ((size_t)64 << 20)

/* The file of a model folder; SP_ENOTFOUND when it isn't there. */
static int read_file(const checkpoint *c, const char *name, char **data, size_t *n, sp_error *err)
{
    char *path = path_join(checkpoint_path(c), name);
    if (!path)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    int rc = file_exists(path) ? file_read(path, TOKENIZER_FILE_MAX, data, n, err) : SP_ENOTFOUND;
    sp_free(path);
    return rc;
}

/* A folder without tokenizer.json: tokenizer.model (a protocol buffer of SentencePiece starts with the
 * tag of its first piece, tiktoken's lines with base64), or the original Qwen's ranks. */
static int load_older(const checkpoint *c, const json_t *config, tokenizer **out, sp_error *err)
{
    char *data = NULL;
    size_t n = 0;
    enum tiktoken_family family = TIKTOKEN_LLAMA3;
    int rc = read_file(c, "tokenizer.model", &data, &n, err);
    if (rc == SP_ENOTFOUND) {
        family = TIKTOKEN_QWEN;
        rc = read_file(c, "qwen.tiktoken", &data, &n, err);
    }
    if (rc == SP_ENOTFOUND)
        return sp_fail(err, rc,
                       "%s: tokenizer.json: missing, and so are tokenizer.model and qwen.tiktoken: "
                       "save the model with its fast tokenizer",
                       checkpoint_path(c));
    if (rc == 0)
        rc = n > 0 && data[0] == '\n' ? tokenizer_load_spm(data, n, config, out, err)
                                      : tokenizer_load_tiktoken(data, n, family, config, out, err);
    sp_free(data);
    return rc;
}

int tokenizer_load(const checkpoint *c, tokenizer **out, sp_error *err)
{
    *out = NULL;
    const gguf *g = checkpoint_gguf(c);
    if (g)
        return tokenizer_load_gguf(g, out, err);
    json_t *model = NULL, *config = NULL;
    int rc = checkpoint_json(c, "tokenizer_config.json", &config, err);
    if (rc < 0 && rc != SP_ENOTFOUND)
        goto cleanup;
    rc = checkpoint_json(c, "tokenizer.json", &model, err);
    if (rc == SP_ENOTFOUND)
        rc = load_older(c, config, out, err);
    else if (rc == 0)
        rc = tokenizer_load_json(model, config, out, err);
cleanup:
    json_decref(model);
    json_decref(config);
    return rc;
}

/* What the normalizer makes of an added token's content, as Hugging Face's has it, in *out; false: the
 * same. */
static int normalized_content(const tokenizer *t, str content, struct changed_text *out,
                              sp_error *err)
{
    struct changed_text nfc = {0};
    struct added_text text = {content.p, NULL, content.n};
    int rc = 0;
    if (t->nfc && nfc_needed(text.p, text.n)) {
        rc = nfc_apply(&text, &nfc);
        text = (struct added_text){nfc.p, NULL, nfc.n};
    }
    if (rc == 0)
        rc = fold_apply(&text, t->prepend, t->fold, out);
    changed_text_free(&nfc);
    return rc < 0 ? sp_fail(err, rc, "tokenizer: added token: %s", sp_code_text(rc)) : 0;
}

int tokenizer_put_added(tokenizer *t, str content, const struct added_token *flags, bool special,
                        sp_error *err)
{
    unsigned bits = TOKEN_KNOWN | TOKEN_ADDED | (special ? TOKEN_SPECIAL : 0u);
    struct changed_text changed = {0};
    if (!utf8_valid(content.p, content.n))
        return sp_fail(err, SP_EFORMAT, "tokenizer: added token %d is not UTF-8", (int)flags->id);
    if (!flags->normalized) {
        int rc = added_put(&t->raw, content, flags, err);
        if (rc < 0 || !t->by_character)
            return rc < 0
                       ? rc
                       : vocab_put(&t->vocab, (size_t)flags->id, content.p, content.n, bits, err);
    }
    int rc = normalized_content(t, content, &changed, err);
    str pattern = {changed.p, changed.n};
    if (rc == 0 && flags->normalized)
        rc = added_put(&t->normalized, pattern, flags, err);
    if (rc == 0 && t->by_character)
        pattern = (str){changed.p, fold_token(content, changed.p)};
    if (rc == 0)
        rc = vocab_put(&t->vocab, (size_t)flags->id, pattern.p, pattern.n, bits, err);
    changed_text_free(&changed);
    return rc;
}

bool byte_piece(str s, uint8_t *byte)
{
    static const char digits[] = "0123456789ABCDEF0123456789abcdef";
    const char *high = s.n == 6 ? memchr(digits, s.p[3], 32) : NULL;
    const char *low = s.n == 6 ? memchr(digits, s.p[4], 32) : NULL;
    if (!high || !low || memcmp(s.p, "<0x", 3) != 0 || s.p[5] != '>')
        return false;
    *byte = (uint8_t)((high - digits) % 16 << 4 | (low - digits) % 16);
    return true;
}

int tokenizer_put_byte(tokenizer *t, size_t id, uint8_t byte, sp_error *err)
{
    t->byte_ids[byte] = (int32_t)id;
    return vocab_put(&t->vocab, id, &byte, 1, TOKEN_KNOWN | TOKEN_BYTE, err);
}

/* The bytes that a piece of the vocabulary stands for, in out[s.n]; false when no text becomes it. */
static bool piece_bytes(const tokenizer *t, str s, uint8_t *out, size_t *n)
{
    if (!t->by_character)
        return alphabet_decode(s, out, n);
    *n = fold_token(s, (char *)out);
    return s.n > 0 && !memchr(s.p, ' ', s.n) && utf8_valid(s.p, s.n);
}

int tokenizer_put_piece(tokenizer *t, size_t id, str s, sp_error *err)
{
    uint8_t bytes[TOKEN_BYTES_MAX];
    size_t n = 0;
    if (s.n > TOKEN_BYTES_MAX)
        return sp_fail(err, SP_EFORMAT, "tokenizer: token %zu has %zu bytes: at most %u are taken",
                       id, s.n, TOKEN_BYTES_MAX);
    if (piece_bytes(t, s, bytes, &n))
        return vocab_put(&t->vocab, id, bytes, n, TOKEN_KNOWN | TOKEN_MODEL, err);
    return vocab_put(&t->vocab, id, s.p, s.n, TOKEN_KNOWN, err);
}

int tokenizer_put_merge(tokenizer *t, str left, str right, uint32_t rank, sp_error *err)
{
    uint8_t bytes[4 * MERGED_BYTES_MAX]; /* "Ġ" has two */
    size_t n_left = 0, n_right = 0;
    if (left.n + right.n <= sizeof bytes) {
        bool known =
            piece_bytes(t, left, bytes, &n_left) && piece_bytes(t, right, bytes + n_left, &n_right);
        int32_t a = known ? vocab_find(&t->vocab, bytes, n_left) : -1;
        int32_t b = known ? vocab_find(&t->vocab, bytes + n_left, n_right) : -1;
        int32_t joined = known ? vocab_find(&t->vocab, bytes, n_left + n_right) : -1;
        if (a >= 0 && b >= 0 && joined >= 0) {
            struct merge merge = {(uint32_t)a, (uint32_t)b, rank, (uint32_t)joined};
            bool special = t->vocab.flags[joined] & TOKEN_SPECIAL;
            if (special || merges_put(&t->merges, merge) == 0)
                return 0;
            return sp_fail(err, SP_ENOMEM, "tokenizer: out of memory");
        }
    }
    return sp_fail(
        err, SP_EFORMAT,
        "tokenizer: merge %u joins '%.*s' and '%.*s': not all of them and their joined form "
        "are in the vocabulary",
        rank, (int)(left.n < 64 ? left.n : 64), left.p, (int)(right.n < 64 ? right.n : 64),
        right.p);
}

/* All pairs of tokens that join to this one. */
static int make_merges_of(tokenizer *t, int32_t id, uint32_t rank)
{
    str s = vocab_bytes(&t->vocab, id);
    for (size_t i = 1; i < s.n; i++) {
        if (t->by_character && ((uint8_t)s.p[i] & 0xc0) == 0x80)
            continue;
        int32_t a = vocab_find(&t->vocab, s.p, i);
        int32_t b = a >= 0 ? vocab_find(&t->vocab, s.p + i, s.n - i) : -1;
        if (b < 0)
            continue;
        if (t->merges.n == MERGES_MAX)
            return SP_EFULL;
        struct merge merge = {(uint32_t)a, (uint32_t)b, rank, (uint32_t)id};
        if (merges_put(&t->merges, merge) < 0)
            return SP_ENOMEM;
    }
    return 0;
}

int tokenizer_make_merges(tokenizer *t, const uint32_t *ranks, sp_error *err)
{
    int rc = merges_init(&t->merges, t->vocab.n);
    for (size_t id = 0; id < t->vocab.n && rc == 0; id++) {
        unsigned flags = t->vocab.flags[id];
        if (!(flags & TOKEN_MODEL) || flags & TOKEN_SPECIAL || ranks[id] == UINT32_MAX)
            continue;
        if (t->vocab.tokens[id].n > MERGED_BYTES_MAX)
            return sp_fail(err, SP_EFORMAT,
                           "tokenizer: token %zu has %u bytes: without a list of merges at most "
                           "%d are taken",
                           id, t->vocab.tokens[id].n, MERGED_BYTES_MAX);
        rc = make_merges_of(t, (int32_t)id, ranks[id]);
    }
    return rc < 0 ? sp_fail(err, rc, "tokenizer: merges: %s", sp_code_text(rc)) : 0;
}

int tokenizer_add_step(tokenizer *t, struct pretok_step step, sp_error *err)
{
    if (t->n_steps == PRETOK_MAX_STEPS) {
        pretok_free(&step);
        return sp_fail(err, SP_EUNSUPPORTED, "tokenizer: pre_tokenizer: more than %d steps",
                       PRETOK_MAX_STEPS);
    }
    t->steps[t->n_steps++] = step;
    return 0;
}

static void add_end(tokenizer *t, int32_t id)
{
    for (size_t i = 0; i < t->n_ends; i++)
        if (t->ends[i] == id)
            return;
    if (id >= 0 && t->n_ends < SP_COUNT(t->ends))
        t->ends[t->n_ends++] = id;
}

static int32_t find_added(const tokenizer *t, str content)
{
    const struct added_set *sets[] = {&t->raw, &t->normalized};
    struct added_text text = {content.p, NULL, content.n};
    for (size_t i = 0; i < SP_COUNT(sets); i++) {
        size_t at = 0;
        const struct added_token *found = added_find(sets[i], &text, 0, &at);
        if (found && at == 0 && found->n == content.n)
            return found->id;
    }
    return -1;
}

/* Which bytes stand side by side in a token, unless a text has to be seen as a whole: for tokens that
 * it may be (ignore_merges), or for unknown characters that become one. */
static int find_inside(tokenizer *t)
{
    bool bytes = true;
    for (int b = 0; b < 256; b++)
        bytes = bytes && t->byte_ids[b] >= 0;
    if (!t->by_character || t->ignore_merges || (!bytes && t->unk >= 0 && t->fuse_unk))
        return 0;
    t->inside = sp_calloc(1 << 16 >> 3, 1);
    if (!t->inside)
        return SP_ENOMEM;
    for (size_t id = 0; id < t->vocab.n; id++) {
        str s = t->vocab.flags[id] & TOKEN_MODEL ? vocab_bytes(&t->vocab, (int32_t)id) : str_of("");
        for (size_t i = 1; i < s.n; i++) {
            unsigned pair = (unsigned)(uint8_t)s.p[i - 1] << 8 | (uint8_t)s.p[i];
            t->inside[pair / 8] |= (uint8_t)(1u << pair % 8);
        }
    }
    return 0;
}

int tokenizer_finish(tokenizer *t, sp_error *err)
{
    added_sort(&t->raw);
    added_sort(&t->normalized);
    for (int b = 0; b < 256 && !t->by_character; b++) {
        uint8_t byte = (uint8_t)b;
        int32_t id = vocab_find(&t->vocab, &byte, 1);
        t->byte_ids[b] = id >= 0 && t->vocab.flags[id] & TOKEN_SPECIAL ? -1 : id;
    }
    if (find_inside(t) < 0)
        return sp_fail(err, SP_ENOMEM, "tokenizer: out of memory");
    int32_t named[] = {t->bos, t->eos};
    for (size_t i = 0; i < SP_COUNT(named); i++)
        if (named[i] >= 0 && (size_t)named[i] >= t->vocab.n)
            return sp_fail(err, SP_EFORMAT,
                           "tokenizer: its %s token %d: the vocabulary has %zu tokens",
                           i == 0 ? "BOS" : "EOS", (int)named[i], t->vocab.n);
    if (t->add_bos && t->bos < 0)
        return sp_fail(err, SP_EFORMAT, "tokenizer: it wants a BOS token and names none");
    add_end(t, t->eos);
    static const char *const end_names[] = {"<|im_end|>", "<|eot_id|>", "<|endoftext|>", "<|end|>",
                                            "<end_of_turn>"};
    for (size_t i = 0; i < SP_COUNT(end_names); i++) {
        int32_t id = find_added(t, str_of(end_names[i]));
        if (tokenizer_is_special(t, id))
            add_end(t, id);
    }
    return 0;
}

size_t tokenizer_vocab(const tokenizer *t)
{
    return t->vocab.n;
}

str tokenizer_bytes(const tokenizer *t, int32_t id)
{
    return vocab_bytes(&t->vocab, id);
}

static bool has_flag(const tokenizer *t, int32_t id, unsigned flag)
{
    return id >= 0 && (size_t)id < t->vocab.n && (t->vocab.flags[id] & flag) != 0;
}

bool tokenizer_is_special(const tokenizer *t, int32_t id)
{
    return has_flag(t, id, TOKEN_SPECIAL);
}

bool tokenizer_is_added(const tokenizer *t, int32_t id)
{
    return has_flag(t, id, TOKEN_ADDED);
}

int32_t tokenizer_find(const tokenizer *t, const char *added_or_piece)
{
    str s = str_of(added_or_piece);
    int32_t id = find_added(t, s);
    return id >= 0 ? id : vocab_find(&t->vocab, s.p, s.n);
}

int32_t tokenizer_bos(const tokenizer *t)
{
    return t->bos;
}

int32_t tokenizer_eos(const tokenizer *t)
{
    return t->eos;
}

size_t tokenizer_ends(const tokenizer *t, const int32_t **ids)
{
    *ids = t->ends;
    return t->n_ends;
}

str tokenizer_bos_text(const tokenizer *t)
{
    return vocab_bytes(&t->vocab, t->bos);
}

str tokenizer_eos_text(const tokenizer *t)
{
    return vocab_bytes(&t->vocab, t->eos);
}

int token_list_add(struct token_list *l, int32_t id)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 64;
        int32_t *ids = sp_realloc_array(l->ids, cap, sizeof *ids);
        if (!ids)
            return SP_ENOMEM;
        l->ids = ids;
        l->cap = cap;
    }
    l->ids[l->n++] = id;
    return 0;
}

void token_list_free(struct token_list *l)
{
    sp_free(l->ids);
    *l = (struct token_list){0};
}
