#include "text/detok.h"

#include <string.h>

#include "text/tokenizer_int.h"
#include "text/unicode_int.h"

static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */

void detok_init(struct detok *d, const tokenizer *t, bool skip_special)
{
    *d = (struct detok){.t = t, .skip_special = skip_special};
}

/* The bytes of a text's first token without the space that encoding put there. */
static str without_prefix(const tokenizer *t, str s)
{
    for (bool more = t->strip != STRIP_NONE; more && s.n > 0 && s.p[0] == ' ';) {
        s = (str){s.p + 1, s.n - 1};
        more = t->strip == STRIP_TOKEN;
    }
    return s;
}

/* Appends bytes up to the start of a code point that the end cuts off; returns how many it took. */
static size_t put_whole(const char *p, size_t n, buf *out)
{
    size_t start = 0, i = 0;
    while (i < n) {
        if ((uint8_t)p[i] < 0x80) {
            i++;
            continue;
        }
        uint32_t cp;
        bool bad;
        size_t len = unicode_repair_at(p + i, n - i, &cp, &bad);
        if (bad && i + len == n && utf8_complete(p + i, n - i) == 0)
            break;
        if (bad) {
            buf_add(out, p + start, i - start);
            buf_puts(out, replacement);
            start = i + len;
        }
        i += len;
    }
    buf_add(out, p + start, i - start);
    return i;
}

int detok_add(struct detok *d, int32_t id, buf *out)
{
    if (d->skip_special && tokenizer_is_special(d->t, id))
        return 0;
    str s = tokenizer_bytes(d->t, id);
    if (d->at_start && s.n > 0) {
        s = without_prefix(d->t, s);
        d->at_start = false;
    }
    /* First the pending bytes with just enough of the token to settle them. */
    while (d->n_pending > 0 && s.n > 0) {
        d->pending[d->n_pending++] = *s.p++;
        s.n--;
        size_t taken = put_whole(d->pending, d->n_pending, out);
        d->n_pending -= taken;
        memmove(d->pending, d->pending + taken, d->n_pending);
    }
    size_t taken = put_whole(s.p, s.n, out);
    if (s.n > taken) {
        d->n_pending = s.n - taken;
        memcpy(d->pending, s.p + taken, d->n_pending);
    }
    return out->failed ? SP_ENOMEM : 0;
}

int detok_end(struct detok *d, buf *out)
{
    if (d->n_pending > 0)
        buf_puts(out, replacement);
    d->n_pending = 0;
    return out->failed ? SP_ENOMEM : 0;
}

int tokenizer_decode(const tokenizer *t, const int32_t *ids, size_t n, bool skip_special, buf *out,
                     sp_error *err)
{
    struct detok d;
    detok_init(&d, t, skip_special);
    d.at_start = true;
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = detok_add(&d, ids[i], out);
    if (rc == 0)
        rc = detok_end(&d, out);
    return rc < 0 ? sp_fail(err, rc, "tokenizer: decoded text: %s", sp_code_text(rc)) : 0;
}
