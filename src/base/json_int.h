/* JSON's way to write one character, for rooms that can't allocate (log) or need no parser (options). */
#ifndef SP_BASE_JSON_INT_H
#define SP_BASE_JSON_INT_H

#include <stdbool.h>
#include <stddef.h>

#define JSON_CHAR_MAX 8 /* bytes, including the NUL */

/* Writes the first character of the n-byte text at p (n > 0) as it stands inside a JSON string; an invalid
 * byte becomes \ufffd. Returns the bytes of p that it took; *special tells whether it needed escaping. */
size_t json_char(const char *p, size_t n, char out[JSON_CHAR_MAX], bool *special);

#endif
