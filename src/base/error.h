/* Errors. A fallible function returns 0 or a negative SP_E* code and fills the caller's sp_error
 * with one sentence of the form "what: why: what to do". The caller owns the sp_error; passing
 * NULL is allowed and means "the code is enough". Safe from any thread. */
#ifndef SP_BASE_ERROR_H
#define SP_BASE_ERROR_H

#include <stdarg.h>

/* X(name, number, text): one list from which the enum and sp_code_text() are made. */
#define SP_ERROR_LIST(X)                                                                           \
    X(SP_ENOMEM, -1, "out of memory")                                                              \
    X(SP_EIO, -2, "input/output error")                                                            \
    X(SP_EFORMAT, -3, "malformed data")                                                            \
    X(SP_EINVAL, -4, "invalid value")                                                              \
    X(SP_ENOTFOUND, -5, "not found")                                                               \
    X(SP_EUNSUPPORTED, -6, "not supported")                                                        \
    X(SP_ECANCELLED, -7, "cancelled")                                                              \
    X(SP_EBUSY, -8, "busy")                                                                        \
    X(SP_ENETWORK, -9, "network error")                                                            \
    X(SP_ECHECKSUM, -10, "checksum mismatch")                                                      \
    X(SP_ENOSPACE, -11, "no space left")                                                           \
    X(SP_EFULL, -12, "limit reached")                                                              \
    X(SP_ETEMPLATE, -13, "template error")                                                         \
    X(SP_EUSAGE, -14, "wrong usage")                                                               \
    X(SP_EINTERNAL, -15, "internal error")                                                         \
    X(SP_ETIMEDOUT, -16, "timed out")

enum sp_code {
    SP_OK = 0,
#define SP_ERROR_ENUM(name, number, text) name = (number),
    SP_ERROR_LIST(SP_ERROR_ENUM)
#undef SP_ERROR_ENUM
};

#define SP_ERROR_MAX 512 /* bytes, including the final NUL; longer messages end in "..." */

typedef struct sp_error {
    int code;
    char message[SP_ERROR_MAX];
} sp_error;

/* Sets *err (when not NULL) and returns code, so that `return sp_fail(err, SP_EIO, ...)` reads well.
 * Invalid UTF-8 and control characters in the formatted text are replaced by '?'. */
#define sp_fail(err, code, ...) sp_pass(sp_fail_set((err), (code), __VA_ARGS__), (code))
int sp_fail_set(sp_error *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Lets compilers and analyzers see which code comes back. */
static inline int sp_pass(int set, int code)
{
    (void)set;
    return code;
}

/* Puts "prefix: " before the message that is already in *err and returns err->code, which becomes
 * `code` when it was still 0. With err NULL it only returns code. */
int sp_fail_within(sp_error *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The text of a code, for example "out of memory"; never NULL. */
const char *sp_code_text(int code);

#endif
