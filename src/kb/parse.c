/* Starting a parser, taking its text, and ending it: by itself, in time, or because nobody wants the text any more. */
#include "kb/documents.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"

#define SELF "/proc/self/exe"
#define POLL_MS 50
#define SAYS_MOST 4096 /* bytes of what it says went wrong */

struct running {
    pid_t pid;
    int text, says; /* ends of pipes; -1: closed */
    buf said;
};

/* ---- starting ---- */

/* The file as a descriptor, without a file. */
static int hold(const struct document_order *o, int *fd, sp_error *err)
{
    const char *p = o->data;
    *fd = memfd_create("document", MFD_CLOEXEC);
    if (*fd < 0)
        return sp_fail(err, SP_EIO, "the file could not be handed on: %s", strerror(errno));
    for (size_t at = 0; at < o->n;) {
        ssize_t n = write(*fd, p + at, o->n - at);
        if (n < 0 && errno != EINTR)
            return sp_fail(err, SP_EIO, "the file could not be handed on: %s", strerror(errno));
        at += n > 0 ? (size_t)n : 0;
    }
    return lseek(*fd, 0, SEEK_SET) == 0 ? 0
                                        : sp_fail(err, SP_EIO, "the file could not be handed on");
}

/* Where PATH has it. */
static int find_pdftotext(char out[1024], sp_error *err)
{
    const char *path = getenv("PATH");
    for (const char *p = path ? path : "/usr/bin:/bin"; *p; p += *p == ':') {
        size_t n = strcspn(p, ":");
        if (n > 0 && p[0] == '/' &&
            (size_t)snprintf(out, 1024, "%.*s/pdftotext", (int)n, p) < 1024 &&
            access(out, X_OK) == 0)
            return 0;
        p += n;
    }
    return sp_fail(err, SP_ENOTFOUND,
                   "PDF needs pdftotext, which this server doesn't find: install the package "
                   "poppler-utils there (apt-get install poppler-utils)");
}

static void attributes(posix_spawnattr_t *a)
{
    sigset_t none, usual;
    sigemptyset(&none);
    sigemptyset(&usual);
    sigaddset(&usual, SIGPIPE);
    sigaddset(&usual, SIGXFSZ);
    sigaddset(&usual, SIGINT);
    sigaddset(&usual, SIGTERM);
    sigaddset(&usual, SIGHUP);
    posix_spawnattr_init(a);
    posix_spawnattr_setsigmask(a, &none);
    posix_spawnattr_setsigdefault(a, &usual);
    posix_spawnattr_setpgroup(a, 0);
    posix_spawnattr_setflags(a, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                    POSIX_SPAWN_SETPGROUP);
}

static int spawn(const char *program, char *const argv[], int in, const int text[2],
                 const int says[2], pid_t *pid)
{
    char *const none[] = {NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t a;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, in, 0);
    posix_spawn_file_actions_adddup2(&files, text[1], 1);
    posix_spawn_file_actions_adddup2(&files, says[1], 2);
    posix_spawn_file_actions_addclosefrom_np(&files, 3);
    attributes(&a);
    int rc = posix_spawn(pid, program, &files, &a, argv, none);
    posix_spawnattr_destroy(&a);
    posix_spawn_file_actions_destroy(&files);
    return rc;
}

static int start(const struct document_order *o, struct running *r, sp_error *err)
{
    static const char *const kinds[] = {"plain", "docx", "pdf"};
    char pdftotext[1024];
    int in = -1, text[2] = {-1, -1}, says[2] = {-1, -1};
    bool pdf = o->type->kind == DOCUMENT_PDF;
    char *const argv[] = {(char *)(uintptr_t) "sampan", (char *)(uintptr_t)DOCUMENT_VERB,
                          (char *)(uintptr_t)kinds[o->type->kind], pdf ? pdftotext : NULL, NULL};
    int code = pdf ? find_pdftotext(pdftotext, err) : 0;
    if (code == 0)
        code = hold(o, &in, err);
    if (code == 0 && (pipe2(text, O_CLOEXEC) != 0 || pipe2(says, O_CLOEXEC) != 0))
        code = sp_fail(err, SP_EIO, "the parser could not be started: %s", strerror(errno));
    int rc = code == 0 ? spawn(o->program ? o->program : SELF, argv, in, text, says, &r->pid) : 0;
    if (rc != 0)
        code = sp_fail(err, SP_EIO, "the parser could not be started: %s", strerror(rc));
    const int ours[] = {in, text[1], says[1], code < 0 ? text[0] : -1, code < 0 ? says[0] : -1};
    for (size_t i = 0; i < SP_COUNT(ours); i++)
        if (ours[i] >= 0)
            close(ours[i]);
    r->text = text[0];
    r->says = says[0];
    return code;
}

/* ---- taking what it says ---- */

/* Of what went wrong the beginning is enough, and the rest is dropped; of the text all counts. */
static int take(int *fd, buf *into, bool all, sp_error *err)
{
    char block[1 << 16];
    ssize_t n = read(*fd, block, all ? sizeof block : SAYS_MOST / 4);
    if (n < 0)
        return errno == EINTR || errno == EAGAIN ? 0 : sp_fail(err, SP_EIO, "%s", strerror(errno));
    if (n == 0) {
        close(*fd);
        *fd = -1;
        return 0;
    }
    int code = buf_add(into, block, (size_t)n);
    return code == 0 || !all ? 0
           : code == SP_EFULL
               ? sp_fail(err, code, "the file has more than %zu MiB of text", into->max >> 20)
               : sp_fail(err, code, "out of memory");
}

static int listen_to(struct running *r, const struct document_order *o, buf *text, sp_error *err)
{
    double until = clock_seconds() + (o->seconds > 0 ? o->seconds : DOCUMENT_SECONDS);
    int code = 0;
    while (code == 0 && (r->text >= 0 || r->says >= 0)) {
        struct pollfd fds[2] = {{.fd = r->text, .events = POLLIN},
                                {.fd = r->says, .events = POLLIN}};
        if (poll(fds, 2, POLL_MS) < 0 && errno != EINTR)
            code = sp_fail(err, SP_EIO, "the parser could not be listened to: %s", strerror(errno));
        else if (o->stop && o->stop(o->arg))
            code = sp_fail(err, SP_ECANCELLED, "the file was not wanted any more");
        else if (clock_seconds() > until)
            code = sp_fail(err, SP_ETIMEDOUT, "the file took too long to read: it was given up");
        if (code == 0 && fds[0].revents)
            code = take(&r->text, text, true, err);
        if (code == 0 && fds[1].revents)
            code = take(&r->says, &r->said, false, err);
    }
    return code;
}

/* ---- how it ended ---- */

static int why_pdf(const char *said, sp_error *err)
{
    if (strstr(said, "ncorrect password"))
        return sp_fail(err, SP_EFORMAT,
                       "this PDF is encrypted: save it without a password, then give it again");
    return sp_fail(err, SP_EFORMAT, "this PDF is damaged and can't be read (%.*s)",
                   (int)strcspn(said, "\n"), said);
}

static int ended(const struct running *r, const struct document_order *o, int status, sp_error *err)
{
    const char *said = r->said.data ? r->said.data : "";
    int code = WIFEXITED(status) ? -WEXITSTATUS(status) : 0;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU)
        return sp_fail(err, SP_ETIMEDOUT, "the file took too long to read: it was given up");
    if (WIFSIGNALED(status))
        return sp_fail(err, SP_EFORMAT,
                       "this file broke its reader (signal %d), which ran apart: "
                       "save it anew, or as text",
                       WTERMSIG(status));
    if (code == 0)
        return 0;
    if (o->type->kind == DOCUMENT_PDF && !strstr(said, "confined") && !strstr(said, "be started"))
        return why_pdf(said, err);
    return said[0] ? sp_fail(err, code, "%s", said)
                   : sp_fail(err, SP_EIO, "the parser ended with status %d", WEXITSTATUS(status));
}

static bool is_blank(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!strchr(" \t\n\r\f\v", p[i]) || !p[i])
            return false;
    return true;
}

/* Fonts of a PDF may map a glyph to anything. */
static void drop_controls(buf *text, size_t from)
{
    size_t to = from;
    for (size_t i = from; i < text->len; i++)
        if ((unsigned char)text->data[i] >= 0x20 || text->data[i] == '\n' || text->data[i] == '\t')
            text->data[to++] = text->data[i];
    while (to > from && strchr(" \t\n", text->data[to - 1])) /* of empty pages */
        to--;
    if (to > from && to < text->len)
        text->data[to++] = '\n';
    text->len = to;
    if (text->data)
        text->data[to] = '\0';
}

/* What came from outside of this process is looked at as such. */
static int check_text(const struct document_order *o, buf *text, size_t from, sp_error *err)
{
    if (o->type->kind == DOCUMENT_PDF)
        drop_controls(text, from);
    const char *p = text->data ? text->data + from : "";
    size_t n = text->len - from;
    if (!utf8_valid(p, n) || memchr(p, '\0', n))
        return sp_fail(err, SP_EFORMAT, "this file can't be read as text");
    if (!is_blank(p, n))
        return 0;
    return sp_fail(err, SP_EFORMAT,
                   o->type->kind == DOCUMENT_PDF
                       ? "there is no text in this PDF: its pages may be pictures, which take OCR"
                       : "there is no text in this file");
}

int document_parse(const struct document_order *o, buf *text, sp_error *err)
{
    struct running r = {.text = -1, .says = -1};
    size_t from = text->len;
    int status = 0;
    int code = start(o, &r, err);
    if (code < 0)
        return code;
    buf_init(&r.said, SAYS_MOST);
    code = listen_to(&r, o, text, err);
    if (code < 0)
        kill(-r.pid, SIGKILL); /* its group: it has nobody, but that costs nothing to say */
    while (waitpid(r.pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (r.text >= 0)
        close(r.text);
    if (r.says >= 0)
        close(r.says);
    if (code == 0)
        code = ended(&r, o, status, err);
    if (code == 0)
        code = check_text(o, text, from, err);
    buf_free(&r.said);
    return code;
}
