/* Strings by pointer and length, strict numbers, UTF-8. No ownership: a `str` only looks. */
#ifndef SP_BASE_STR_H
#define SP_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct str {
    const char *p;
    size_t n;
} str;

str str_of(const char *s); /* of a NUL-terminated string; NULL gives an empty one */
bool str_eq(str a, str b);
bool str_eqz(str a, const char *z);
bool str_eqz_nocase(str a, const char *z); /* ASCII letters without case */
str str_trim(str s);                       /* without the blanks and tabs at both ends */
bool str_starts(str s, const char *prefix);
bool str_ends(str s, const char *suffix);

/* Strict parsing of a whole string: no spaces, no rest, no overflow, no NaN or infinity.
 * Return false and leave *out alone otherwise. str_to_bytes takes "512", "64K", "2M", "3G", "1.5GB":
 * units K M G T, in either case, with or without B or iB, are powers of 1024. */
bool str_to_i64(str s, int64_t *out);
bool str_to_f64(str s, double *out);
bool str_to_bytes(str s, uint64_t *out);
/* A list of whole numbers with commas between: "512", "512,4096", and ranges: "1-4" (every number),
 * "128-512+128" (steps), "512-8192*2" (doubling). Writes the first `most` to out and tells in *n how
 * many there are. False for anything else, a range that falls, or more than `most`. */
bool str_to_i64_list(str s, int64_t *out, size_t most, size_t *n);

/* The n-byte text at p starts with one code point: its length in bytes (1..4) and *cp; 0 when the
 * bytes are not valid UTF-8 (overlong forms, surrogates and > U+10FFFF are invalid) or n is 0. */
size_t utf8_decode(const char *p, size_t n, uint32_t *cp);
size_t utf8_encode(uint32_t cp, char out[4]); /* bytes written; 0 for surrogates and > U+10FFFF */
bool utf8_valid(const char *p, size_t n);
/* Length of the longest prefix that ends on a code point border: what follows is the start of a
 * code point whose rest has not come yet. Invalid bytes count as whole (they will never complete). */
size_t utf8_complete(const char *p, size_t n);

/* Distance of two names for "did you mean"; small is near. Insertions, deletions, changes and swaps of
 * neighbours count 1; names over 64 bytes are as far as the longer one is long. */
size_t str_distance(str a, str b);

#endif
