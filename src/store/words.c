/* What the search takes for words. In scripts that put no blanks between words (Chinese, Japanese, Korean, Thai, ...)
 * each character begins a pair with the next one, and is also a word of its own in the same place: "长江大桥" is
 * 长江/长 江大/江 大桥/大 桥. A search for 江大桥 asks for 江大 and 大桥 one after the other, one for 桥 for the single
 * character. All else: runs of letters, digits and marks, case-folded and in compatibility form, without the accents of
 * Latin, Greek and Cyrillic letters (U+0300 .. U+036F). */
#include <string.h>
#include <utf8proc.h>
#include "store/store_int.h"

#define WORD_BYTES 96 /* of a folded word; the rest of a longer one is passed over */

enum kind { KIND_OTHER, KIND_WORD, KIND_PAIRED };

static bool is_paired(uint32_t cp)
{
    static const uint32_t ranges[][2] = {
        {0x0e00, 0x0eff}, /* Thai, Lao */
        {0x1000, 0x109f}, /* Myanmar */
        {0x1100, 0x11ff}, /* Hangul Jamo */
        {0x1780, 0x17ff}, /* Khmer */
        {0x3005, 0x3007}, /* ideographic marks and zero */
        {0x3041, 0x312f}, /* Hiragana, Katakana, Bopomofo */
        {0x3130, 0x318f}, /* Hangul letters */
        {0x31a0, 0x31ff}, /* Bopomofo and Katakana, extended */
        {0x3400, 0x4dbf}, /* Han */
        {0x4e00, 0x9fff},   {0xa960, 0xa97f}, {0xac00, 0xd7ff}, /* Hangul syllables */
        {0xf900, 0xfaff},                                       /* Han, compatibility */
        {0xff66, 0xff9f},                                       /* Katakana, half width */
        {0x1b000, 0x1b16f},                                     /* Kana, supplements */
        {0x20000, 0x3ffff},                                     /* Han, extensions */
    };
    if (cp < ranges[0][0])
        return false;
    for (size_t i = 0; i < SP_COUNT(ranges); i++)
        if (cp >= ranges[i][0] && cp <= ranges[i][1])
            return true;
    return false;
}

static enum kind kind_of(uint32_t cp)
{
    if (cp < 128)
        return (cp >= '0' && cp <= '9') || (cp >= 'a' && cp <= 'z') || (cp >= 'A' && cp <= 'Z')
                   ? KIND_WORD
                   : KIND_OTHER;
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return is_paired(cp) ? KIND_PAIRED : KIND_WORD;
    default:
        return KIND_OTHER;
    }
}

struct scan {
    const char *text;
    size_t n, at;
    enum words_mode mode;
    int (*each)(void *arg, const struct word *w);
    void *arg;
    int place;
    size_t last_begin,
        last_end; /* QUERY: a run's last character, told only when a word follows; equal: none */
};

/* The next code point without taking it; *bytes of it. Bytes that are no UTF-8 count as one that is no word. */
static enum kind peek(const struct scan *s, uint32_t *cp, size_t *bytes)
{
    if (s->at >= s->n)
        return KIND_OTHER;
    *bytes = utf8_decode(s->text + s->at, s->n - s->at, cp);
    if (*bytes > 0)
        return kind_of(*cp);
    *bytes = 1;
    return KIND_OTHER;
}

static int tell(struct scan *s, int place, str folded, size_t begin, size_t end)
{
    struct word w = {place, folded.p, folded.n, begin, end};
    return s->each(s->arg, &w);
}

static int tell_last(struct scan *s)
{
    if (s->last_begin == s->last_end)
        return 0;
    str last = {s->text + s->last_begin, s->last_end - s->last_begin};
    size_t begin = s->last_begin, end = s->last_end;
    s->last_begin = s->last_end = 0;
    return tell(s, s->place++, last, begin, end);
}

/* ---- words ---- */

struct folded {
    char bytes[WORD_BYTES];
    size_t n;
};

static void fold(struct folded *f, uint32_t cp)
{
    utf8proc_int32_t parts[32];
    int boundary = 0;
    char utf8[4];
    if (cp < 128) {
        if (f->n < WORD_BYTES)
            f->bytes[f->n++] = (char)(cp >= 'A' && cp <= 'Z' ? cp + 32 : cp);
        return;
    }
    utf8proc_ssize_t n = utf8proc_decompose_char(
        (utf8proc_int32_t)cp, parts, (utf8proc_ssize_t)SP_COUNT(parts),
        UTF8PROC_CASEFOLD | UTF8PROC_COMPAT | UTF8PROC_DECOMPOSE, &boundary);
    for (utf8proc_ssize_t i = 0; i < n && i < (utf8proc_ssize_t)SP_COUNT(parts); i++) {
        size_t bytes =
            parts[i] >= 0x300 && parts[i] <= 0x36f ? 0 : utf8_encode((uint32_t)parts[i], utf8);
        if (f->n + bytes > WORD_BYTES)
            return;
        memcpy(f->bytes + f->n, utf8, bytes);
        f->n += bytes;
    }
}

static int scan_word(struct scan *s)
{
    struct folded f = {.n = 0};
    uint32_t cp = 0;
    size_t bytes = 0, begin = s->at;
    int code = tell_last(s);
    while (code == 0 && peek(s, &cp, &bytes) == KIND_WORD && s->at < s->n) {
        fold(&f, cp);
        s->at += bytes;
    }
    if (code == 0 && f.n > 0)
        code = tell(s, s->place++, (str){f.bytes, f.n}, begin, s->at);
    return code;
}

/* ---- pairs ---- */

static int tell_pair(struct scan *s, size_t begin, size_t middle, size_t end)
{
    int code = tell(s, s->place, (str){s->text + begin, end - begin}, begin, end);
    if (code == 0 && s->mode == WORDS_TEXT)
        code = tell(s, s->place, (str){s->text + begin, middle - begin}, begin, middle);
    s->place++;
    return code;
}

static int scan_pairs(struct scan *s)
{
    uint32_t cp = 0;
    size_t bytes = 0, begin = s->at, middle = s->at;
    int code = tell_last(s);
    for (size_t run = 0; code == 0 && s->at < s->n && peek(s, &cp, &bytes) == KIND_PAIRED; run++) {
        begin = middle;
        middle = s->at;
        s->at += bytes;
        if (run > 0)
            code = tell_pair(s, begin, middle, s->at);
    }
    bool single = begin == middle; /* a run of one character */
    if (code < 0 || code > 0)
        return code;
    if (s->mode == WORDS_TEXT || single)
        return tell(s, s->place++, (str){s->text + middle, s->at - middle}, middle, s->at);
    s->last_begin = middle;
    s->last_end = s->at;
    return 0;
}

int words_each(const char *text, size_t n, enum words_mode mode,
               int (*each)(void *arg, const struct word *w), void *arg)
{
    struct scan s = {.text = text, .n = n, .mode = mode, .each = each, .arg = arg};
    int code = 0;
    while (s.at < n && code == 0) {
        uint32_t cp = 0;
        size_t bytes = 1;
        enum kind k = peek(&s, &cp, &bytes);
        if (k == KIND_WORD)
            code = scan_word(&s);
        else if (k == KIND_PAIRED)
            code = scan_pairs(&s);
        else
            s.at += bytes;
    }
    return code;
}

/* ---- FTS5's side ---- */

struct fts_call {
    int (*token)(void *ctx, int flags, const char *text, int n, int begin, int end);
    void *ctx;
    int place; /* of the token before; -1: none */
};

static int to_fts(void *arg, const struct word *w)
{
    struct fts_call *f = arg;
    int flags = w->place == f->place ? FTS5_TOKEN_COLOCATED : 0;
    f->place = w->place;
    return f->token(f->ctx, flags, w->text, (int)w->n, (int)w->begin, (int)w->end);
}

static int fts_tokenize(Fts5Tokenizer *t, void *ctx, int flags, const char *text, int n,
                        int (*token)(void *, int, const char *, int, int, int))
{
    struct fts_call f = {token, ctx, -1};
    (void)t;
    return words_each(text ? text : "", text && n > 0 ? (size_t)n : 0,
                      flags & FTS5_TOKENIZE_QUERY ? WORDS_QUERY : WORDS_TEXT, to_fts, &f);
}

/* It has no state: any address will do. */
static int fts_create(void *arg, const char **args, int n_args, Fts5Tokenizer **out)
{
    static char one;
    (void)arg;
    (void)args;
    (void)n_args;
    *out = (Fts5Tokenizer *)(void *)&one;
    return SQLITE_OK;
}

static void fts_delete(Fts5Tokenizer *t)
{
    (void)t;
}

int words_register(struct conn *c, sp_error *err)
{
    fts5_api *api = NULL;
    sqlite3_stmt *st = NULL;
    fts5_tokenizer t = {fts_create, fts_delete, fts_tokenize};
    int code = sqlite3_prepare_v2(c->db, "SELECT fts5(?1)", -1, &st, NULL);
    if (code == SQLITE_OK) {
        sqlite3_bind_pointer(st, 1, (void *)&api, "fts5_api_ptr", NULL);
        (void)sqlite3_step(st);
    }
    sqlite3_finalize(st);
    if (code != SQLITE_OK || !api)
        return sp_fail(err, SP_EUNSUPPORTED, "this SQLite (%s) has no FTS5: the search needs it",
                       sqlite3_libversion());
    code = api->xCreateTokenizer(api, "sampan", NULL, &t, NULL);
    return code == SQLITE_OK ? 0 : db_fail(c, code, err);
}
