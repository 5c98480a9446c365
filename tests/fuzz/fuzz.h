/* What the fuzz targets share. A target reads the input as a parser's outside bytes, and whatever it accepts it also
 * uses. libFuzzer finds crashes, leaks, overreads (the input lies in a block of exactly its size) and hangs; what else
 * must hold is said with fuzz_check. */
#ifndef SP_TESTS_FUZZ_H
#define SP_TESTS_FUZZ_H

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/base.h"
#include "base/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static inline void fuzz_check(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "does not hold: %s\n", what);
    abort();
}

/* replay.c: whether an allocation is made to fail, and the codes of this run and of the sound one before. */
struct fuzz_state {
    bool failing;
    size_t n, n_sound;
    int codes[64], sound[64];
};
#ifdef FUZZ_REPLAY
extern struct fuzz_state fuzz_state;
#else
static struct fuzz_state fuzz_state;
#endif

/* With an allocation failing the same happens as without, or SP_ENOMEM, after which all may differ. */
static inline void fuzz_note(int code, const char *message)
{
    struct fuzz_state *s = &fuzz_state;
    if (s->n >= SP_COUNT(s->codes))
        return;
    if (s->failing && s->n < s->n_sound && code != s->sound[s->n]) {
        if (code != SP_ENOMEM)
            fprintf(stderr, "code %d (%s), soundly %d\n", code, message, s->sound[s->n]);
        fuzz_check(code == SP_ENOMEM, "a failing allocation gives SP_ENOMEM");
        s->n = SP_COUNT(s->codes);
        return;
    }
    s->codes[s->n++] = code;
}

/* Every failure has a code of the list and a message in UTF-8 without control characters. */
static inline void fuzz_check_error(int code, const sp_error *err)
{
    fuzz_check(code <= 0 && code >= SP_EINTERNAL, "the code is one of the list");
    fuzz_note(code, err->message);
    if (code == 0)
        return;
    fuzz_check(err->code == code, "the error has the code that was returned");
    fuzz_check(err->message[0] != '\0', "the error has a message");
    fuzz_check(utf8_valid(err->message, strlen(err->message)), "the message is UTF-8");
}

static volatile size_t fuzz_sink;

/* Reads every byte, so that a look beyond what is there is noticed. */
static inline void fuzz_touch(const void *p, size_t n)
{
    size_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += ((const uint8_t *)p)[i];
    fuzz_sink += sum;
}

/* Strict JSON as the program's readers take it; NULL when it is none. */
static inline json_t *fuzz_json(const void *p, size_t n)
{
    return json_loadb(p, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
}

#endif
