/* Inside the parsers' process, and what it may do.
 *
 * sandbox_enter is called after everything that needs files (the converter of GB18030, the file itself) has been
 * taken and before a byte of the file is looked at. From then on a call of the system that is not listed fails with
 * EPERM; there is none for sockets, processes, memory that can be executed, or for any file.
 *
 * pdftotext is a program of its own and has to be started, so it gets a wider list (sandbox_enter_for_exec): files
 * may be opened for reading (the loader wants libraries, poppler its tables of CJK encodings) and a program may be
 * executed, which gains nothing: filter, limits and the empty environment stay. It can't open a file for writing or
 * make one, has no sockets, no new processes or threads, no ptrace, no mounts. Where the kernel has Landlock (5.13),
 * it reads nothing but the system's programs and libraries; where it has not, it could read what the server's user
 * may read, but the text on descriptor 1, which whoever sent the file gets, is its only way out. */
#ifndef SP_KB_PARSER_INT_H
#define SP_KB_PARSER_INT_H

#include <iconv.h>
#include "kb/documents.h"

#define PARSER_CPU_SECONDS 40
#define PARSER_MEMORY_BYTES ((size_t)1 << 30) /* address space */
#define PARSER_FILES 64                       /* descriptors */

/* Limits of time, memory and files; no core, no new rights, ends with its parent. */
int sandbox_limits(sp_error *err);
int sandbox_enter(sp_error *err);
int sandbox_enter_for_exec(const char *program, sp_error *err);

/* The text of a plain file in UTF-8 (with or without a byte order mark), UTF-16 with one, or GB18030, for which
 * `gb18030` converts; (iconv_t)-1: there is no converter. SP_EFORMAT: it is none of them, or binary. */
int plain_text(const void *data, size_t n, iconv_t gb18030, buf *out, sp_error *err);

/* Word's .docx: headings, lists, tables, footnotes as Markdown. */
int docx_text(const void *data, size_t n, buf *out, sp_error *err);

/* ---- docx_package.c: the zip ---- */

struct zip;
struct docx_package {
    struct zip *zip;
    size_t read; /* bytes so far, of all parts */
};
int docx_package_open(const void *data, size_t n, struct docx_package *out, sp_error *err);
void docx_package_close(struct docx_package *p);
/* A part by its name, into out (its memory: DOCX_PART_MOST). SP_ENOTFOUND without an error: there is none. */
int docx_package_read(struct docx_package *p, const char *name, buf *out, sp_error *err);
/* The name of the main part, word/document.xml nearly always. */
int docx_package_main(struct docx_package *p, char name[256], sp_error *err);

/* ---- docx_style.c: what styles and lists mean ---- */

#define DOCX_LEVELS 9
struct docx_style {
    char id[64];
    int heading; /* 1 .. 6; 0: none */
    int list;    /* its numId; 0: none */
    int level;   /* of the list */
};
struct docx_list {
    int id, abstract;
    bool numbered[DOCX_LEVELS];
    int count[DOCX_LEVELS]; /* so far */
};
struct docx_styles {
    struct docx_style *styles;
    size_t n_styles;
    struct docx_list *lists;
    size_t n_lists;
};
/* Both parts may be missing. */
int docx_styles_read(struct docx_package *p, struct docx_styles *out, sp_error *err);
void docx_styles_free(struct docx_styles *s);
const struct docx_style *docx_style_find(const struct docx_styles *s, const char *id);
struct docx_list *docx_list_find(struct docx_styles *s, int id);

/* ---- docx_xml.c: one element after the other ---- */

struct docx_node {
    const char *name; /* without its prefix; "" for text */
    const char *text; /* of text */
    bool word, math;  /* whose element it is */
    bool begins, ends;
    void *reader;
};
/* each: a negative answer ends it and is returned, with *err filled. */
int docx_each(const buf *xml, const char *part, int (*each)(void *arg, const struct docx_node *n),
              void *arg, sp_error *err);
/* An attribute of the element at hand, by its name without prefix, into out; false: it has none. */
bool docx_attribute(const struct docx_node *n, const char *name, char *out, size_t room);
int docx_attribute_int(const struct docx_node *n, const char *name, int otherwise);

#endif
