/* Documents as text: what people drop into a prompt becomes text that a model can read.
 *
 * Files come from anywhere, so whatever reads their insides runs in a process of its own: document_parse starts the
 * program at hand again as `PROGRAM parse-document KIND`, which limits itself (parser_int.h) before it reads a byte,
 * takes the file on descriptor 0 and gives the text on 1. It has an empty environment, no other descriptor, no folder
 * to write to, and ends with the caller's patience, with the caller, or after DOCUMENT_SECONDS.
 *
 * Ownership: what comes out is the caller's. Threads: any; each call has its own process.
 *
 *     struct document_type t;
 *     buf text;
 *     buf_init(&text, DOCUMENT_TEXT_MOST);
 *     if (document_type_of("report.docx", data, n, &t, &err) == 0)
 *         code = document_parse(&(struct document_order){.type = &t, .data = data, .n = n}, &text, &err);
 *
 * A program that calls document_parse must hand `parse-document` to document_parser_main, first thing in main. */
#ifndef SP_KB_DOCUMENTS_H
#define SP_KB_DOCUMENTS_H

#include "base/base.h"

#define DOCUMENT_TEXT_MOST ((size_t)32 << 20) /* bytes of text of one file */
#define DOCUMENT_NAME_MOST 255                /* bytes */
#define DOCUMENT_SECONDS 60                   /* of the clock, for one file */
#define DOCUMENT_VERB "parse-document"

enum document_kind { DOCUMENT_PLAIN, DOCUMENT_DOCX, DOCUMENT_PDF };

struct document_type {
    enum document_kind kind;
    const char *type; /* "text/markdown"; a literal */
};

/* What a file is, by its first bytes and its name. SP_EUNSUPPORTED: nothing that is read here, and *err says what to
 * do; SP_EFORMAT: it is not what its name says. */
int document_type_of(const char *name, const void *data, size_t n, struct document_type *out,
                     sp_error *err);

/* The last part of a path, valid UTF-8, without control characters, not empty, at most DOCUMENT_NAME_MOST bytes: fit to
 * be shown and to stand in a prompt. */
void document_name(const char *given, char out[DOCUMENT_NAME_MOST + 1]);

struct document_order {
    const struct document_type *type;
    const void *data;
    size_t n;
    const char *program;     /* that is started; NULL: this one again */
    bool (*stop)(void *arg); /* asked many times a second; NULL: never */
    void *arg;
    double seconds; /* 0: DOCUMENT_SECONDS */
};
/* Appends the text: UTF-8 without NUL, lines ended by \n. SP_EFORMAT: the file is damaged, encrypted or hostile;
 * SP_EFULL: more than text or the limits take; SP_ETIMEDOUT; SP_ECANCELLED: stop said so; SP_ENOTFOUND: pdftotext is
 * missing; SP_EIO: the process could not be started or limited. */
int document_parse(const struct document_order *o, buf *text, sp_error *err);

/* `PROGRAM parse-document KIND [PDFTOTEXT]`: never returns. */
void document_parser_main(int argc, char **argv) __attribute__((noreturn));

/* Appends text in a fence that nothing in it can end, under its name: how a file stands in a prompt. */
void document_frame(const char *name, str text, buf *out);

#endif
