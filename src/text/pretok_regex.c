/* Pre-tokenizer patterns of tokenizer.json: known ones go to the scanners of pretok.c, others to PCRE2
 * (JIT, UTF, UCP). The patterns are written for Oniguruma, in which ^ and $ stand for lines. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

#include "text/tokenizer_int.h"

static const struct known_pattern {
    enum pretok_kind kind;
    const char *pattern;
} known_patterns[] = {
    {PRETOK_QWEN2, "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|"
                   " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
    {PRETOK_LLAMA3, "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"
                    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
    {PRETOK_NUMBERS3, PATTERN_NUMBERS3},
    {PRETOK_HAN_KANA, PATTERN_HAN_KANA},
    {PRETOK_DEEPSEEK3, PATTERN_DEEPSEEK3},
    {PRETOK_TEKKEN, PATTERN_TEKKEN},
    {PRETOK_O200K, PATTERN_O200K},
    {PRETOK_GPT2, "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+|"
                  " ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"},
};

#define PATTERN_BYTES_MAX 16384
#define MATCH_LIMIT 10000000 /* steps of one match, so that a hostile pattern ends */

/* PCRE2's \s takes U+180E for white space; the property does as everyone else. */
static int rewrite_spaces(const char *pattern, buf *out)
{
    for (const char *p = pattern; *p; p++) {
        if (*p != '\\' || p[1] == '\0') {
            buf_putc(out, *p);
            continue;
        }
        p++;
        if (*p == 's' || *p == 'S')
            buf_puts(out, *p == 's' ? "\\p{White_Space}" : "\\P{White_Space}");
        else
            buf_printf(out, "\\%c", *p);
    }
    return out->failed ? SP_ENOMEM : 0;
}

int pretok_compile(const char *pattern, bool literal, struct pretok_step *out, sp_error *err)
{
    *out = (struct pretok_step){.kind = PRETOK_REGEX};
    for (size_t i = 0; !literal && i < SP_COUNT(known_patterns); i++) {
        if (strcmp(pattern, known_patterns[i].pattern) == 0) {
            out->kind = known_patterns[i].kind;
            return 0;
        }
    }
    size_t n = strlen(pattern);
    if (n > PATTERN_BYTES_MAX)
        return sp_fail(err, SP_EFORMAT, "tokenizer: a pattern of %zu bytes: at most %d are taken",
                       n, PATTERN_BYTES_MAX);
    buf source;
    buf_init(&source, PATTERN_BYTES_MAX * 16);
    if ((literal ? buf_puts(&source, pattern) : rewrite_spaces(pattern, &source)) < 0) {
        buf_free(&source);
        return sp_fail(err, SP_ENOMEM, "tokenizer: out of memory");
    }
    int code = 0;
    PCRE2_SIZE at = 0;
    uint32_t options = PCRE2_UTF | (literal ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_MULTILINE);
    pcre2_code *regex =
        pcre2_compile((PCRE2_SPTR)source.data, source.len, options, &code, &at, NULL);
    buf_free(&source);
    if (!regex) {
        char why[128] = "";
        pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
        return sp_fail(
            err, SP_EUNSUPPORTED,
            "tokenizer: pre-tokenizer pattern: %s at byte %zu: this pattern cannot be used", why,
            (size_t)at);
    }
    /* Without JIT (no memory that may be executed) matching is slower and the same. */
    (void)pcre2_jit_compile(regex, PCRE2_JIT_COMPLETE);
    out->regex = regex;
    return 0;
}

void pretok_free(struct pretok_step *s)
{
    pcre2_code_free(s->regex);
    s->regex = NULL;
}

void pretok_run_free(struct pretok_run *r)
{
    pcre2_match_data_free(r->match);
    pcre2_match_context_free(r->context);
    *r = (struct pretok_run){0};
}

static int run_start(const struct pretok_step *s, struct pretok_run *r, sp_error *err)
{
    if (!r->match)
        r->match = pcre2_match_data_create_from_pattern(s->regex, NULL);
    if (!r->context)
        r->context = pcre2_match_context_create(NULL);
    if (!r->match || !r->context)
        return sp_fail(err, SP_ENOMEM, "tokenizer: out of memory");
    pcre2_set_match_limit(r->context, MATCH_LIMIT);
    return 0;
}

/* Finds the next hit that is not empty at or after pos. */
static int find_hit(const struct pretok_step *s, struct pretok_run *r, str text, size_t pos,
                    sp_error *err)
{
    int rc = run_start(s, r, err);
    if (rc < 0)
        return rc;
    PCRE2_SPTR subject = (PCRE2_SPTR)text.p;
    uint32_t options = PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY;
    rc = pcre2_match(s->regex, subject, text.n, pos, options, r->match, r->context);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {
        options |= PCRE2_NO_JIT;
        rc = pcre2_match(s->regex, subject, text.n, pos, options, r->match, r->context);
    }
    r->begin = r->end = text.n;
    if (rc == PCRE2_ERROR_NOMATCH) {
        r->found = true;
        return 0;
    }
    if (rc < 0) {
        char why[128] = "";
        pcre2_get_error_message(rc, (PCRE2_UCHAR *)why, sizeof why);
        return sp_fail(err, SP_EUNSUPPORTED,
                       "tokenizer: pre-tokenizer pattern: %s at byte %zu of the text", why, pos);
    }
    PCRE2_SIZE *hit = pcre2_get_ovector_pointer(r->match);
    if (hit[0] < pos || hit[1] <= hit[0])
        return sp_fail(err, SP_EUNSUPPORTED,
                       "tokenizer: pre-tokenizer pattern: \\K cannot be used");
    r->begin = hit[0];
    r->end = hit[1];
    r->found = true;
    return 0;
}

int pretok_regex_next(const struct pretok_step *s, struct pretok_run *r, str text, size_t pos,
                      size_t *end, bool *hit, sp_error *err)
{
    if (pos == 0)
        r->found = false;
    if (!r->found || r->begin < pos) {
        int rc = find_hit(s, r, text, pos, err);
        if (rc < 0)
            return rc;
    }
    *hit = r->begin == pos && r->begin < text.n;
    *end = *hit ? r->end : r->begin;
    return 0;
}
