/* From text to ids: repair -> added tokens -> normalize -> added tokens -> pre-tokenize -> BPE. (For
 * SentencePiece's vocabularies a space goes before text and their mark becomes a space on the way.) Beside
 * the text runs a byte of trust for each of its bytes, when not all of it is trusted alike. */
#include <limits.h>
#include <string.h>

#include "text/tokenizer_int.h"
#include "text/unicode_int.h"

struct encoder {
    const tokenizer *t;
    struct bpe_work bpe;
    struct pretok_run runs[PRETOK_MAX_STEPS];
    struct changed_text nfc, folded, spaced; /* by NFC, normalizer, Metaspace */
    char *repaired;
    uint8_t *trust;
    bool match_added;
    struct token_list *out;
    sp_error *err;
};

static int out_of_memory(sp_error *err)
{
    return sp_fail(err, SP_ENOMEM, "tokenizer: out of memory");
}

/* Trust for each byte of text from the spans: 1 and 2 in turn, so that a border shows. */
static int trust_from_spans(struct encoder *e, size_t n, const struct encode_opts *opts)
{
    e->trust = sp_calloc(n ? n : 1, 1);
    if (!e->trust)
        return out_of_memory(e->err);
    size_t last = 0;
    uint8_t mark = 1;
    for (size_t i = 0; i < opts->n_spans; i++) {
        struct text_span s = opts->spans[i];
        if (s.begin < last || s.end < s.begin || s.end > n)
            return sp_fail(
                e->err, SP_EINVAL,
                "tokenizer: span %zu is [%zu, %zu): spans have to ascend within %zu bytes", i,
                s.begin, s.end, n);
        memset(e->trust + s.begin, mark, s.end - s.begin);
        if (s.end > s.begin)
            mark = mark == 1 ? 2 : 1;
        last = s.end;
    }
    return 0;
}

/* Puts U+FFFD in place of what is not UTF-8; *text is then the encoder's copy. */
static int repair(struct encoder *e, struct added_text *text)
{
    if (utf8_valid(text->p, text->n))
        return 0;
    e->repaired = sp_malloc(3 * text->n);
    uint8_t *trust = e->trust ? sp_malloc(3 * text->n) : NULL;
    if (!e->repaired || (e->trust && !trust)) {
        sp_free(trust);
        return out_of_memory(e->err);
    }
    size_t n = 0;
    for (size_t i = 0; i < text->n;) {
        uint32_t cp;
        bool bad;
        size_t len = unicode_repair_at(text->p + i, text->n - i, &cp, &bad);
        size_t put = utf8_encode(cp, e->repaired + n);
        if (trust && bad)
            memset(trust + n, e->trust[i], put);
        if (trust && !bad)
            memcpy(trust + n, e->trust + i, put);
        i += len;
        n += put;
    }
    sp_free(e->trust);
    e->trust = trust;
    *text = (struct added_text){e->repaired, trust, n};
    return 0;
}

/* Encodes a word, cut where no merge reaches across. */
static int encode_word(struct encoder *e, str word)
{
    const uint8_t *inside = e->t->inside;
    size_t begin = 0;
    int rc = 0;
    for (size_t i = 1; inside && i < word.n && rc == 0; i++) {
        unsigned pair = (unsigned)(uint8_t)word.p[i - 1] << 8 | (uint8_t)word.p[i];
        if (((uint8_t)word.p[i] & 0xc0) == 0x80 || inside[pair / 8] >> pair % 8 & 1)
            continue;
        rc = bpe_word(e->t, &e->bpe, word.p + begin, i - begin, e->out);
        begin = i;
    }
    if (rc == 0)
        rc = bpe_word(e->t, &e->bpe, word.p + begin, word.n - begin, e->out);
    return rc < 0 ? out_of_memory(e->err) : 0;
}

/* Cuts a piece by the step-th pre-tokenizer, each of its pieces by the next, and encodes the words. */
static int encode_piece(struct encoder *e, size_t step, str piece)
{
    if (step == e->t->n_steps)
        return encode_word(e, piece);
    const struct pretok_step *s = &e->t->steps[step];
    int rc = 0;
    for (size_t pos = 0; pos < piece.n && rc == 0;) {
        size_t end;
        bool hit = true;
        if (s->kind == PRETOK_REGEX)
            rc = pretok_regex_next(s, &e->runs[step], piece, pos, &end, &hit, e->err);
        else
            end = pos + pretok_next(s->kind, piece.p + pos, piece.n - pos);
        if (rc == 0 && (hit || !s->only_hits))
            rc = encode_piece(e, step + 1, (str){piece.p + pos, end - pos});
        pos = end;
    }
    return rc;
}

enum stage { STAGE_RAW, STAGE_NORMALIZE, STAGE_NORMALIZED, STAGE_WORDS };

/* first: the text stands at the very start of what is encoded. */
static int encode_stage(struct encoder *e, enum stage stage, struct added_text text, bool first);

/* Splits text at the added tokens of a set; what is between them goes to the next stage. The places
 * follow Hugging Face's find_matches, its overlaps after an rstrip token included. */
static int encode_added(struct encoder *e, enum stage stage, struct added_text text, bool first)
{
    const struct added_set *set = stage == STAGE_RAW ? &e->t->raw : &e->t->normalized;
    size_t done = 0, search = 0, begin;
    int rc = 0;
    const struct added_token *found;
    while (rc == 0 && (found = added_find(set, &text, search, &begin)) != NULL) {
        size_t end = search = begin + found->n;
        if (!added_extent(found, &text, done, &begin, &end))
            continue;
        if (done < begin)
            rc = encode_stage(e, stage + 1,
                              (struct added_text){text.p + done,
                                                  text.trust ? text.trust + done : NULL,
                                                  begin - done},
                              first && done == 0);
        if (rc == 0 && token_list_add(e->out, found->id) < 0)
            rc = out_of_memory(e->err);
        done = end;
    }
    if (rc == 0 && done < text.n)
        rc = encode_stage(e, stage + 1,
                          (struct added_text){text.p + done, text.trust ? text.trust + done : NULL,
                                              text.n - done},
                          first && done == 0);
    return rc;
}

static int changed(struct encoder *e, int rc, const struct changed_text *to,
                   struct added_text *text)
{
    bpe_work_forget(&e->bpe);
    if (rc < 0)
        return sp_fail(e->err, rc, "tokenizer: normalizer: %s", sp_code_text(rc));
    *text = (struct added_text){to->p, text->trust ? to->trust : NULL, to->n};
    return 0;
}

static int normalize(struct encoder *e, struct added_text *text)
{
    const tokenizer *t = e->t;
    int rc = 0;
    if (t->nfc && nfc_needed(text->p, text->n))
        rc = changed(e, nfc_apply(text, &e->nfc), &e->nfc, text);
    if (rc == 0 && (t->prepend || (t->fold && fold_needed(text->p, text->n))))
        rc = changed(e, fold_apply(text, t->prepend, t->fold, &e->folded), &e->folded, text);
    return rc;
}

static int encode_words(struct encoder *e, struct added_text text, bool first)
{
    const tokenizer *t = e->t;
    int rc = 0;
    if (t->metaspace) {
        bool marked =
            str_starts((str){text.p, text.n}, " ") || str_starts((str){text.p, text.n}, SPACE_MARK);
        bool prefix = !marked && (t->metaspace_prefix == PREFIX_ALWAYS ||
                                  (t->metaspace_prefix == PREFIX_FIRST && first));
        if (prefix || fold_needed(text.p, text.n))
            rc = changed(e, fold_apply(&text, prefix, true, &e->spaced), &e->spaced, &text);
    }
    return rc < 0 ? rc : encode_piece(e, 0, (str){text.p, text.n});
}

static int encode_stage(struct encoder *e, enum stage stage, struct added_text text, bool first)
{
    if (stage == STAGE_RAW && e->match_added && e->t->raw.n > 0)
        return encode_added(e, stage, text, first);
    int rc = stage <= STAGE_NORMALIZE ? normalize(e, &text) : 0;
    if (rc < 0)
        return rc;
    if (stage < STAGE_WORDS && e->match_added && e->t->normalized.n > 0)
        return encode_added(e, STAGE_NORMALIZED, text, first);
    return encode_words(e, text, first);
}

int tokenizer_encode(const tokenizer *t, const char *text, size_t n, const struct encode_opts *opts,
                     struct token_list *out, sp_error *err)
{
    struct encoder e = {.t = t, .out = out, .err = err};
    size_t before = out->n;
    int rc = 0;
    if (n > INT32_MAX / 3)
        return sp_fail(err, SP_EINVAL, "tokenizer: a text of %zu bytes: at most %d are taken", n,
                       INT32_MAX / 3);
    e.match_added = opts->special != SPECIAL_NONE;
    if (bpe_work_init(&e.bpe, n) < 0) {
        rc = out_of_memory(err);
        goto cleanup;
    }
    if (opts->special == SPECIAL_SPANS)
        rc = trust_from_spans(&e, n, opts);
    struct added_text whole = {text, e.trust, n};
    if (rc == 0)
        rc = repair(&e, &whole);
    if (rc == 0 && opts->add_bos && t->add_bos && token_list_add(out, t->bos) < 0)
        rc = out_of_memory(err);
    if (rc == 0 && whole.n > 0)
        rc = encode_stage(&e, STAGE_RAW, whole, true);
cleanup:
    if (rc < 0)
        out->n = before;
    bpe_work_free(&e.bpe);
    for (size_t i = 0; i < t->n_steps; i++)
        pretok_run_free(&e.runs[i]);
    changed_text_free(&e.nfc);
    changed_text_free(&e.folded);
    changed_text_free(&e.spaced);
    sp_free(e.repaired);
    sp_free(e.trust);
    return rc;
}
