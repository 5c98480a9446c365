/* From text to ids: repair -> added tokens -> normalize -> added tokens -> pre-tokenize -> BPE. Beside
 * the text runs a byte of trust for each of its bytes, when not all of it is trusted alike. */
#include <limits.h>
#include <string.h>

#include "text/tokenizer_int.h"
#include "text/unicode_int.h"

struct encoder {
    const tokenizer *t;
    struct bpe_work bpe;
    struct pretok_run runs[PRETOK_MAX_STEPS];
    struct nfc_text nfc;
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

/* Cuts a piece by the step-th pre-tokenizer, each of its pieces by the next, and encodes the words. */
static int encode_piece(struct encoder *e, size_t step, str piece)
{
    if (step == e->t->n_steps) {
        int rc = bpe_word(e->t, &e->bpe, piece.p, piece.n, e->out);
        return rc < 0 ? out_of_memory(e->err) : 0;
    }
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

static int encode_stage(struct encoder *e, enum stage stage, struct added_text text);

/* Splits text at the added tokens of a set; what is between them goes to the next stage. The places
 * follow Hugging Face's find_matches, its overlaps after an rstrip token included. */
static int encode_added(struct encoder *e, enum stage stage, struct added_text text)
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
                                                  begin - done});
        if (rc == 0 && token_list_add(e->out, found->id) < 0)
            rc = out_of_memory(e->err);
        done = end;
    }
    if (rc == 0 && done < text.n)
        rc = encode_stage(e, stage + 1,
                          (struct added_text){text.p + done, text.trust ? text.trust + done : NULL,
                                              text.n - done});
    return rc;
}

static int encode_stage(struct encoder *e, enum stage stage, struct added_text text)
{
    if (stage == STAGE_RAW && e->match_added && e->t->raw.n > 0)
        return encode_added(e, stage, text);
    if (stage <= STAGE_NORMALIZE && e->t->nfc && nfc_needed(text.p, text.n)) {
        bpe_work_forget(&e->bpe);
        int rc = nfc_apply(&text, &e->nfc);
        if (rc < 0)
            return sp_fail(e->err, rc, "tokenizer: NFC: %s", sp_code_text(rc));
        text = (struct added_text){e->nfc.p, text.trust ? e->nfc.trust : NULL, e->nfc.n};
    }
    if (stage < STAGE_WORDS && e->match_added && e->t->normalized.n > 0)
        return encode_added(e, STAGE_NORMALIZED, text);
    return encode_piece(e, 0, (str){text.p, text.n});
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
        rc = encode_stage(&e, STAGE_RAW, whole);
cleanup:
    if (rc < 0)
        out->n = before;
    bpe_work_free(&e.bpe);
    for (size_t i = 0; i < t->n_steps; i++)
        pretok_run_free(&e.runs[i]);
    nfc_free(&e.nfc);
    sp_free(e.repaired);
    sp_free(e.trust);
    return rc;
}
