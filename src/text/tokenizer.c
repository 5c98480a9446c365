/* The tokenizer as an object: building (shared by the loaders), questions, freeing. */
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer_int.h"

tokenizer *tokenizer_new(void)
{
    tokenizer *t = sp_calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->unk = t->bos = t->eos = -1;
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
    sp_free(t);
}

int tokenizer_load(const checkpoint *c, tokenizer **out, sp_error *err)
{
    *out = NULL;
    const gguf *g = checkpoint_gguf(c);
    if (g)
        return tokenizer_load_gguf(g, out, err);
    json_t *model = NULL, *config = NULL;
    int rc = checkpoint_json(c, "tokenizer.json", &model, err);
    if (rc == SP_ENOTFOUND)
        sp_fail(err, rc, "%s: tokenizer.json: missing: save the model with its fast tokenizer",
                checkpoint_path(c));
    if (rc < 0)
        goto cleanup;
    rc = checkpoint_json(c, "tokenizer_config.json", &config, err);
    if (rc < 0 && rc != SP_ENOTFOUND)
        goto cleanup;
    rc = tokenizer_load_json(model, config, out, err);
cleanup:
    json_decref(model);
    json_decref(config);
    return rc;
}

int tokenizer_put_added(tokenizer *t, str content, const struct added_token *flags, bool special,
                        sp_error *err)
{
    struct added_set *set = flags->normalized ? &t->normalized : &t->raw;
    struct nfc_text nfc = {0};
    str pattern = content;
    int rc = 0;
    if (!utf8_valid(content.p, content.n))
        return sp_fail(err, SP_EFORMAT, "tokenizer: added token %d is not UTF-8", (int)flags->id);
    if (flags->normalized && t->nfc && nfc_needed(content.p, content.n)) {
        struct added_text text = {content.p, NULL, content.n};
        rc = nfc_apply(&text, &nfc);
        if (rc < 0) {
            sp_fail(err, rc, "tokenizer: added token %d: %s", (int)flags->id, sp_code_text(rc));
            goto cleanup;
        }
        pattern = (str){nfc.p, nfc.n};
    }
    rc = added_put(set, pattern, flags, err);
    if (rc == 0)
        rc = vocab_put(&t->vocab, (size_t)flags->id, pattern.p, pattern.n,
                       TOKEN_KNOWN | TOKEN_ADDED | (special ? TOKEN_SPECIAL : 0u), err);
cleanup:
    nfc_free(&nfc);
    return rc;
}

int tokenizer_put_merge(tokenizer *t, str left, str right, uint32_t rank, sp_error *err)
{
    uint8_t bytes[512];
    size_t n_left = 0, n_right = 0;
    if (left.n + right.n <= sizeof bytes) {
        bool known = alphabet_decode(left, bytes, &n_left) &&
                     alphabet_decode(right, bytes + n_left, &n_right);
        int32_t a = known ? vocab_find(&t->vocab, bytes, n_left) : -1;
        int32_t b = known ? vocab_find(&t->vocab, bytes + n_left, n_right) : -1;
        int32_t joined = known ? vocab_find(&t->vocab, bytes, n_left + n_right) : -1;
        if (a >= 0 && b >= 0 && joined >= 0) {
            merges_put(&t->merges,
                       (struct merge){(uint32_t)a, (uint32_t)b, rank, (uint32_t)joined});
            return 0;
        }
    }
    return sp_fail(
        err, SP_EFORMAT,
        "tokenizer: merge %u joins '%.*s' and '%.*s': not all of them and their joined form "
        "are in the vocabulary",
        rank, (int)(left.n < 64 ? left.n : 64), left.p, (int)(right.n < 64 ? right.n : 64),
        right.p);
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

int tokenizer_finish(tokenizer *t, sp_error *err)
{
    added_sort(&t->raw);
    added_sort(&t->normalized);
    for (int b = 0; b < 256; b++) {
        uint8_t byte = (uint8_t)b;
        t->byte_ids[b] = vocab_find(&t->vocab, &byte, 1);
    }
    int32_t named[] = {t->bos, t->eos};
    for (size_t i = 0; i < SP_COUNT(named); i++)
        if (named[i] >= 0 && (size_t)named[i] >= t->vocab.n)
            return sp_fail(err, SP_EFORMAT,
                           "tokenizer: its %s token %d: the vocabulary has %zu tokens",
                           i == 0 ? "BOS" : "EOS", (int)named[i], t->vocab.n);
    if (t->add_bos && t->bos < 0)
        return sp_fail(err, SP_EFORMAT, "tokenizer: it wants a BOS token and names none");
    add_end(t, t->eos);
    static const char *const end_names[] = {"<|im_end|>", "<|eot_id|>", "<|endoftext|>"};
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
