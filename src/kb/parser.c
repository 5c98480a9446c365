/* The parser's process: takes the file, confines itself, and then reads it. Its text goes to descriptor 1; what went
 * wrong goes to descriptor 2, with the error's number as the status. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "kb/parser_int.h"

static bool write_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t wrote = write(fd, p, n);
        if (wrote < 0 && errno != EINTR)
            return false;
        if (wrote > 0) {
            p += wrote;
            n -= (size_t)wrote;
        }
    }
    return true;
}

/* Ends without what else a process does at its end: that may need calls that are not allowed any more. */
static void __attribute__((noreturn)) end(int code, const sp_error *err)
{
    if (code < 0)
        (void)write_all(2, err->message, strlen(err->message));
    _exit(code < 0 ? -code : 0);
}

static int take_file(const void **data, size_t *n, sp_error *err)
{
    struct stat st;
    if (fstat(0, &st) != 0 || st.st_size <= 0)
        return sp_fail(err, SP_EUSAGE, "descriptor 0 must be a file that is not empty");
    *n = (size_t)st.st_size;
    *data = mmap(NULL, *n, PROT_READ, MAP_PRIVATE, 0, 0);
    return *data == MAP_FAILED ? sp_fail(err, SP_ENOMEM, "out of memory") : 0;
}

/* Here, while files may be opened, it loads its tables. */
static int read_here(bool docx, buf *out, sp_error *err)
{
    const void *data = NULL;
    size_t n = 0;
    iconv_t gb18030 = docx ? (iconv_t)-1 : iconv_open("UTF-8", "GB18030");
    int code = take_file(&data, &n, err);
    if (code == 0)
        code = sandbox_limits(err);
    if (code == 0)
        code = sandbox_enter(err);
    if (code == 0)
        code = docx ? docx_text(data, n, out, err) : plain_text(data, n, gb18030, out, err);
    return code;
}

static int read_by(const char *program, sp_error *err)
{
    char *const argv[] = {
        (char *)(uintptr_t) "pdftotext", (char *)(uintptr_t) "-nopgbrk", (char *)(uintptr_t) "-enc",
        (char *)(uintptr_t) "UTF-8",     (char *)(uintptr_t) "-eol",     (char *)(uintptr_t) "unix",
        (char *)(uintptr_t) "-",         (char *)(uintptr_t) "-",        NULL};
    char *const none[] = {NULL};
    int code = sandbox_limits(err);
    if (code == 0)
        code = sandbox_enter_for_exec(program, err);
    if (code < 0)
        return code;
    execve(program, argv, none);
    return sp_fail(err, SP_EIO, "%.200s: could not be started: %s", program, strerror(errno));
}

void document_parser_main(int argc, char **argv)
{
    sp_error err = {0};
    const char *kind = argc > 2 ? argv[2] : "";
    buf out;
    int code;
    buf_init(&out, DOCUMENT_TEXT_MOST);
    if (strcmp(kind, "plain") == 0 || strcmp(kind, "docx") == 0)
        code = read_here(kind[0] == 'd', &out, &err);
    else if (strcmp(kind, "pdf") == 0 && argc > 3)
        code = read_by(argv[3], &err);
    else
        code = sp_fail(&err, SP_EUSAGE, "%s takes plain, docx or pdf", DOCUMENT_VERB);
    if (code == 0 && out.failed)
        code = sp_fail(&err, out.code, "%s", sp_code_text(out.code));
    if (code == 0 && out.len && !write_all(1, out.data, out.len))
        code = sp_fail(&err, SP_EIO, "the text could not be handed over: %s", strerror(errno));
    end(code, &err);
}
