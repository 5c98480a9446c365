#include <string.h>
#include "base/alloc.h"
#include "text/cut.h"

/* How strong a place to cut is. */
enum strength { CUT_CHARACTER, CUT_WORD, CUT_CLAUSE, CUT_SENTENCE, CUT_LINE, CUT_PARAGRAPH };

struct atom {
    size_t begin, end;
    int64_t tokens;
    enum strength strength; /* of its end */
};

struct cutter {
    str text;
    struct cut_opts o;
    struct atom *atoms;
    size_t n, cap;
};

/* ---- where sentences end ---- */

static bool among(uint32_t cp, const uint32_t *list)
{
    while (*list && *list != cp)
        list++;
    return *list != 0;
}

static bool is_blank(uint32_t cp)
{
    static const uint32_t blanks[] = {' ', '\t', '\n', '\r', '\f', '\v', 0xa0, 0x3000, 0};
    return among(cp, blanks);
}

/* Ends of sentences and clauses that need no blank behind them: 。！？…； and ，、： */
static bool is_wide_end(uint32_t cp)
{
    static const uint32_t ends[] = {0x3002, 0xff01, 0xff1f, 0x2026, 0xff1b, 0xff61, 0};
    return among(cp, ends);
}

static bool is_wide_pause(uint32_t cp)
{
    static const uint32_t pauses[] = {0xff0c, 0x3001, 0xff1a, 0};
    return among(cp, pauses);
}

static bool is_closer(uint32_t cp)
{
    static const uint32_t closers[] = {'"',    '\'',   ')',    ']',    '}',
                                       0x2019, 0x201d, 0x300d, 0x300f, 0xff09,
                                       0x3011, 0x300b, 0x3009, 0xbb,   0};
    return among(cp, closers);
}

/* The character at `at`; an invalid byte counts as one. */
static uint32_t look(str text, size_t at, size_t *next)
{
    uint32_t cp = 0xfffd;
    size_t n = at < text.n ? utf8_decode(text.p + at, text.n - at, &cp) : 0;
    *next = at + (n ? n : at < text.n);
    return n ? cp : at < text.n ? 0xfffd : 0;
}

/* Behind the blanks at `at`; what they make of a cut of strength `now`. */
static size_t pass_blanks(str text, size_t at, enum strength *now)
{
    int lines = 0;
    size_t begin = at, next;
    for (;;) {
        uint32_t cp = look(text, at, &next);
        if (at >= text.n || !is_blank(cp))
            break;
        lines += cp == '\n';
        at = next;
    }
    enum strength found = lines > 1    ? CUT_PARAGRAPH
                          : lines > 0  ? CUT_LINE
                          : at > begin ? CUT_WORD
                                       : CUT_CHARACTER;
    *now = found > *now ? found : *now;
    return at;
}

static size_t pass_closers(str text, size_t at)
{
    size_t next;
    while (at < text.n) {
        uint32_t cp = look(text, at, &next);
        if (!is_closer(cp) && !is_wide_end(cp) && cp != '.' && cp != '!' && cp != '?')
            break;
        at = next;
    }
    return at;
}

/* "e.g. this" goes on. */
static bool goes_on(str text, size_t at)
{
    return at < text.n && text.p[at] >= 'a' && text.p[at] <= 'z';
}

/* The character at `at` is passed, with what belongs to it; *strength: of a cut there. */
static size_t pass(str text, size_t at, enum strength *strength)
{
    size_t next;
    uint32_t cp = look(text, at, &next);
    bool dot = cp == '.' || cp == '!' || cp == '?';
    *strength = CUT_CHARACTER;
    if (is_blank(cp))
        return pass_blanks(text, at, strength);
    if (!dot && !is_wide_end(cp) && !is_wide_pause(cp) && cp != ',' && cp != ';' && cp != ':')
        return pass_blanks(text, next, strength);
    size_t end = pass_closers(text, next);
    size_t after = pass_blanks(text, end, strength);
    if (is_wide_end(cp) || (dot && (after > end || end == text.n) && !goes_on(text, after)))
        *strength = *strength > CUT_SENTENCE ? *strength : CUT_SENTENCE;
    else if (is_wide_pause(cp) || (!dot && after > end))
        *strength = *strength > CUT_CLAUSE ? *strength : CUT_CLAUSE;
    return after;
}

/* The end of what begins at `at` and ends at a cut of at least `wanted`. */
static size_t pass_until(str text, size_t at, enum strength wanted, enum strength *strength)
{
    do
        at = pass(text, at, strength);
    while (at < text.n && *strength < wanted);
    return at;
}

/* ---- atoms: what is never cut, each within the limit ---- */

static int push(struct cutter *c, struct atom a, sp_error *err)
{
    if (c->n == c->cap) {
        size_t cap = c->cap ? 2 * c->cap : 64;
        struct atom *more = sp_realloc_array(c->atoms, cap, sizeof *more);
        if (!more)
            return sp_fail(err, SP_ENOMEM, "out of memory");
        c->atoms = more;
        c->cap = cap;
    }
    c->atoms[c->n++] = a;
    return 0;
}

static int measure(struct cutter *c, size_t begin, size_t end, int64_t *tokens, sp_error *err)
{
    return c->o.count(c->o.arg, (str){c->text.p + begin, end - begin}, tokens, err);
}

/* The end of a character in (low, high], about in the middle; 0: none ends there. */
static size_t middle_of(str text, size_t low, size_t high)
{
    size_t at = low + (high - low + 1) / 2, next;
    while (at > low && at < text.n && ((unsigned char)text.p[at] & 0xc0) == 0x80)
        at--;
    if (at > low)
        return at;
    (void)look(text, low, &next);
    return next <= high ? next : 0;
}

/* The longest beginning of [begin, end) that fits, one character at least. */
static int fit(struct cutter *c, size_t begin, size_t end, size_t *to, int64_t *tokens,
               sp_error *err)
{
    str text = {c->text.p, end};
    size_t low, high = end, middle;
    (void)look(text, begin, &low);
    int code = measure(c, begin, low, tokens, err);
    while (code == 0 && low < high && (middle = middle_of(text, low, high)) > 0) {
        int64_t n = 0;
        code = measure(c, begin, middle, &n, err);
        if (n <= c->o.most) {
            low = middle;
            *tokens = n;
        } else {
            high = middle - 1;
        }
    }
    *to = low;
    return code;
}

static int add_characters(struct cutter *c, size_t begin, size_t end, enum strength strength,
                          sp_error *err)
{
    int code = 0;
    while (code == 0 && begin < end) {
        struct atom a = {.begin = begin, .strength = CUT_CHARACTER};
        code = fit(c, begin, end, &a.end, &a.tokens, err);
        if (a.end == end)
            a.strength = strength;
        if (code == 0)
            code = push(c, a, err);
        begin = a.end;
    }
    return code;
}

/* What lies between cuts of at least `wanted`; where that is too long, the next weaker ones. `last`: of its end. */
static int add_atoms(struct cutter *c, size_t begin, size_t end, enum strength wanted,
                     enum strength last, sp_error *err)
{
    int code = 0;
    while (code == 0 && begin < end) {
        struct atom a = {.begin = begin};
        a.end = pass_until((str){c->text.p, end}, begin, wanted, &a.strength);
        if (a.end == end && last > a.strength)
            a.strength = last;
        code = measure(c, a.begin, a.end, &a.tokens, err);
        if (code < 0)
            return code;
        if (a.tokens <= c->o.most)
            code = push(c, a, err);
        else if (wanted > CUT_WORD)
            code = add_atoms(c, a.begin, a.end, (enum strength)(wanted - 1), a.strength, err);
        else
            code = add_characters(c, a.begin, a.end, a.strength, err);
        begin = a.end;
    }
    return code;
}

/* ---- pieces ---- */

static bool ends_paragraph(const struct cutter *c, size_t atom)
{
    return c->atoms[atom].strength == CUT_PARAGRAPH;
}

/* How many atoms from `first` on make the next piece: as many as fit, but back to a stronger place to cut where that
 * leaves it at least half full. */
static size_t take(const struct cutter *c, size_t first, int64_t *tokens)
{
    int64_t sum = 0;
    size_t end = first, best;
    while (end < c->n && (end == first || (sum + c->atoms[end].tokens <= c->o.most &&
                                           !(c->o.paragraphs && ends_paragraph(c, end - 1)))))
        sum += c->atoms[end++].tokens;
    best = end;
    *tokens = sum;
    if (end == c->n || (c->o.paragraphs && ends_paragraph(c, end - 1)))
        return end;
    int64_t part = sum;
    for (size_t i = end; i > first + 1; i--) {
        part -= c->atoms[i - 1].tokens;
        if (2 * part < c->o.most)
            break;
        if (c->atoms[i - 2].strength > c->atoms[best - 1].strength) {
            best = i - 1;
            *tokens = part;
        }
    }
    return best;
}

static int join(struct cutter *c, struct cut_piece **out, size_t *n, sp_error *err)
{
    size_t first = 0, made = 0;
    struct cut_piece *pieces = sp_calloc(c->n, sizeof *pieces);
    if (!pieces)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    while (first < c->n) {
        struct cut_piece *p = &pieces[made++];
        size_t end = take(c, first, &p->tokens);
        p->begin = c->atoms[first].begin;
        p->end = c->atoms[end - 1].end;
        first = end;
    }
    *out = pieces;
    *n = made;
    return 0;
}

int text_cut(str text, const struct cut_opts *o, struct cut_piece **out, size_t *n, sp_error *err)
{
    struct cutter c = {.text = text, .o = *o};
    *out = NULL;
    *n = 0;
    if (text.n == 0)
        return 0;
    int code = add_atoms(&c, 0, text.n, CUT_SENTENCE, CUT_PARAGRAPH, err);
    if (code == 0)
        code = join(&c, out, n, err);
    sp_free(c.atoms);
    return code;
}

int cut_count_tokens(void *t, str part, int64_t *tokens, sp_error *err)
{
    struct encode_opts eo = {.special = SPECIAL_NONE};
    struct token_list ids = {0};
    int code = tokenizer_encode(t, part.p, part.n, &eo, &ids, err);
    *tokens = (int64_t)ids.n;
    token_list_free(&ids);
    return code;
}
