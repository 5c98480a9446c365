/* NFC by utf8proc's data, cut down to the code points that Hugging Face's NFC knows: a code point
 * that is newer than its Unicode version passes through there, and so it does here. Canonical order is
 * by our own stable sort, since utf8proc's is quadratic on a long row of marks. */
#include <string.h>

#include <utf8proc.h>

#include "text/tokenizer_int.h"
#include "text/unicode_int.h"

bool nfc_needed(const char *p, size_t n)
{
    for (size_t i = 0; i < n;) {
        if ((uint8_t)p[i] < 0x80) {
            i++;
            continue;
        }
        uint32_t cp;
        i += unicode_at(p + i, &cp);
        if (unicode_class(cp) & UC_NFC_TRIGGER)
            return true;
    }
    return false;
}

/* A run of code points in which NFC has something to do, decomposed. */
struct nfc_run {
    utf8proc_int32_t *cps, *sorted; /* [cap] each */
    size_t n, cap;
};

#define NFC_DECOMPOSED_MAX 32 /* code points; no canonical decomposition has more than 4 */

static int run_reserve(struct nfc_run *r, size_t cap)
{
    if (cap <= r->cap)
        return 0;
    cap = cap < 256 ? 256 : cap * 2;
    utf8proc_int32_t *cps = sp_realloc_array(r->cps, cap, sizeof *cps);
    if (!cps)
        return SP_ENOMEM;
    r->cps = cps;
    utf8proc_int32_t *sorted = sp_realloc_array(r->sorted, cap, sizeof *sorted);
    if (!sorted)
        return SP_ENOMEM;
    r->sorted = sorted;
    r->cap = cap;
    return 0;
}

static uint8_t combining_class(utf8proc_int32_t cp)
{
    return (uint8_t)utf8proc_get_property(cp)->combining_class;
}

/* Stable sort of n marks by combining class: counting, so that a long row costs no more a mark. */
static void sort_marks(utf8proc_int32_t *marks, size_t n, utf8proc_int32_t *scratch)
{
    if (n < 2)
        return;
    if (n <= 16) {
        for (size_t i = 1; i < n; i++) {
            utf8proc_int32_t cp = marks[i];
            uint8_t ccc = combining_class(cp);
            size_t j = i;
            for (; j > 0 && combining_class(marks[j - 1]) > ccc; j--)
                marks[j] = marks[j - 1];
            marks[j] = cp;
        }
        return;
    }
    size_t start[257] = {0};
    for (size_t i = 0; i < n; i++)
        start[combining_class(marks[i]) + 1]++;
    for (size_t c = 1; c < 257; c++)
        start[c] += start[c - 1];
    for (size_t i = 0; i < n; i++)
        scratch[start[combining_class(marks[i])]++] = marks[i];
    memcpy(marks, scratch, n * sizeof *marks);
}

/* Decomposes, orders and composes the text into r. */
static int run_normalize(struct nfc_run *r, const char *p, size_t n)
{
    r->n = 0;
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        i += unicode_at(p + i, &cp);
        if (run_reserve(r, r->n + NFC_DECOMPOSED_MAX) < 0)
            return SP_ENOMEM;
        int boundclass = 0;
        utf8proc_ssize_t got =
            utf8proc_decompose_char((utf8proc_int32_t)cp, r->cps + r->n, NFC_DECOMPOSED_MAX,
                                    UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, &boundclass);
        if (got < 0 || got > NFC_DECOMPOSED_MAX)
            return SP_EINTERNAL;
        r->n += (size_t)got;
    }
    for (size_t i = 0; i < r->n;) {
        size_t end = i;
        while (end < r->n && combining_class(r->cps[end]) != 0)
            end++;
        sort_marks(r->cps + i, end - i, r->sorted);
        i = end + 1;
    }
    utf8proc_ssize_t composed = utf8proc_normalize_utf32(r->cps, (utf8proc_ssize_t)r->n,
                                                         UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (composed < 0 || (size_t)composed > r->n)
        return SP_EINTERNAL;
    r->n = (size_t)composed;
    return 0;
}

static int out_copy(struct changed_text *out, const struct added_text *text, size_t begin,
                    size_t end)
{
    if (begin == end)
        return 0;
    if (changed_text_reserve(out, end - begin, text->trust != NULL) < 0)
        return SP_ENOMEM;
    memcpy(out->p + out->n, text->p + begin, end - begin);
    if (text->trust)
        memcpy(out->trust + out->n, text->trust + begin, end - begin);
    out->n += end - begin;
    return 0;
}

static int out_run(struct changed_text *out, const struct added_text *text, size_t begin,
                   size_t end, const struct nfc_run *r)
{
    uint8_t trust = text->trust ? text->trust[begin] : 0;
    for (size_t i = begin; text->trust && i < end; i++)
        if (text->trust[i] != trust)
            trust = 0;
    for (size_t i = 0; i < r->n; i++) {
        if (changed_text_reserve(out, 4, text->trust != NULL) < 0)
            return SP_ENOMEM;
        size_t len = utf8_encode((uint32_t)r->cps[i], out->p + out->n);
        if (text->trust)
            memset(out->trust + out->n, trust, len);
        out->n += len;
    }
    return 0;
}

static size_t triggers_end(const struct added_text *text, size_t pos)
{
    while (pos < text->n) {
        uint32_t cp;
        size_t len = unicode_at(text->p + pos, &cp);
        if (!(unicode_class(cp) & UC_NFC_TRIGGER))
            break;
        pos += len;
    }
    return pos;
}

/* NFC works on each row of triggers with the one active code point before it. */
int nfc_apply(const struct added_text *text, struct changed_text *out)
{
    struct nfc_run r = {0};
    int rc = 0;
    size_t copied = 0, from = 0; /* text before `copied` is in out; a row would begin at `from` */
    out->n = 0;
    for (size_t i = 0; rc == 0 && i < text->n;) {
        uint32_t cp;
        size_t len = unicode_at(text->p + i, &cp);
        unsigned classes = unicode_class(cp);
        if (!(classes & UC_NFC_TRIGGER)) {
            from = classes & UC_NFC_ACTIVE ? i : i + len;
            i += len;
            continue;
        }
        size_t end = triggers_end(text, i + len);
        rc = out_copy(out, text, copied, from);
        if (rc == 0)
            rc = run_normalize(&r, text->p + from, end - from);
        if (rc == 0)
            rc = out_run(out, text, from, end, &r);
        copied = from = i = end;
    }
    if (rc == 0)
        rc = out_copy(out, text, copied, text->n);
    sp_free(r.cps);
    sp_free(r.sorted);
    return rc;
}
