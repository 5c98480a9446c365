/* What the tokenizer asks about a code point. The classes are generated from the answers of Hugging
 * Face's `tokenizers` (tools/gen_unicode.py), whose Unicode versions differ from part to part. Pure
 * functions on constant tables. */
#ifndef SP_TEXT_UNICODE_INT_H
#define SP_TEXT_UNICODE_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum unicode_class {
    UC_LETTER = 1 << 0,      /* \p{L} of the pre-tokenizers' regular expressions */
    UC_NUMBER = 1 << 1,      /* \p{N} of them */
    UC_SPACE = 1 << 2,       /* \s of them: White_Space */
    UC_NUMERIC = 1 << 3,     /* what the Digits pre-tokenizer takes for a digit */
    UC_WORD = 1 << 4,        /* \w, for added tokens that are to be single words */
    UC_NFC_ACTIVE = 1 << 5,  /* NFC may change it, move it or join it with a neighbour */
    UC_NFC_TRIGGER = 1 << 6, /* a text without any of these is in NFC already */
    UC_MARK = 1 << 7,        /* \p{M} */
    UC_SYMBOL = 1 << 8,      /* \p{P} and \p{S} */
    UC_UPPER = 1 << 9,       /* \p{Lu} and \p{Lt} */
    UC_LOWER = 1 << 10,      /* \p{Ll} */
};
#define UC_BITS 11

extern const uint32_t unicode_ranges[];
extern const size_t unicode_range_count;
extern const uint16_t unicode_pages[512];
extern const uint16_t unicode_ascii[128];

/* Classes of cp >= 128; 0 for what is no code point. */
unsigned unicode_class_wide(uint32_t cp);

static inline unsigned unicode_class(uint32_t cp)
{
    return cp < 128 ? unicode_ascii[cp] : unicode_class_wide(cp);
}

/* The code point at p, in text that is known to be valid UTF-8; returns its length in bytes. */
static inline size_t unicode_at(const char *p, uint32_t *cp)
{
    const uint8_t *u = (const uint8_t *)p;
    if (u[0] < 0x80) {
        *cp = u[0];
        return 1;
    }
    if (u[0] < 0xe0) {
        *cp = (uint32_t)(u[0] & 0x1f) << 6 | (uint32_t)(u[1] & 0x3f);
        return 2;
    }
    if (u[0] < 0xf0) {
        *cp =
            (uint32_t)(u[0] & 0x0f) << 12 | (uint32_t)(u[1] & 0x3f) << 6 | (uint32_t)(u[2] & 0x3f);
        return 3;
    }
    *cp = (uint32_t)(u[0] & 0x07) << 18 | (uint32_t)(u[1] & 0x3f) << 12 |
          (uint32_t)(u[2] & 0x3f) << 6 | (uint32_t)(u[3] & 0x3f);
    return 4;
}

/* Length of the next piece of text that is maybe not UTF-8: a whole code point (*cp), or the longest
 * start of one that goes no further, which stands for one U+FFFD (*cp = 0xfffd, *bad = true); n > 0.
 * This is Unicode's "substitution of maximal subparts", as Python and Rust do it. */
size_t unicode_repair_at(const char *p, size_t n, uint32_t *cp, bool *bad);

#endif
