/* What a file is, what it may be called, and how its text stands in a prompt. */
#include <string.h>
#include "kb/documents.h"

#define READS "read are text, code, Markdown, CSV, JSON, .docx and PDF"
#define PDF_HEAD 1024 /* bytes in which readers look for %PDF- */

/* ---- names ---- */

static bool fit_to_show(uint32_t cp)
{
    bool control = cp < 0x20 || (cp >= 0x7f && cp < 0xa0);
    bool turns = cp == 0x061c || cp == 0x200e || cp == 0x200f || (cp >= 0x202a && cp <= 0x202e) ||
                 (cp >= 0x2066 && cp <= 0x2069); /* direction: a name that reads as another */
    return !control && !turns && cp != 0x2028 && cp != 0x2029 && cp != 0xfeff;
}

void document_name(const char *given, char out[DOCUMENT_NAME_MOST + 1])
{
    size_t n = strlen(given), at = 0, len = 0;
    for (size_t i = 0; i < n; i++)
        if (given[i] == '/' || given[i] == '\\')
            at = i + 1;
    while (at < n) {
        uint32_t cp = 0;
        size_t bytes = utf8_decode(given + at, n - at, &cp);
        bool shown = bytes > 0 && fit_to_show(cp);
        size_t more = shown ? bytes : 1;
        if (len + more > DOCUMENT_NAME_MOST)
            break;
        if (shown)
            memcpy(out + len, given + at, bytes);
        else
            out[len] = '_';
        len += more;
        at += bytes ? bytes : 1;
    }
    out[len] = '\0';
    str whole = str_trim((str){out, len});
    memmove(out, whole.p, whole.n);
    out[whole.n] = '\0';
    if (!out[0] || strcmp(out, ".") == 0 || strcmp(out, "..") == 0)
        memcpy(out, "file", 5);
}

/* ---- types ---- */

static const char *ending_of(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot ? dot + 1 : "";
}

static bool ends(const char *name, const char *ending)
{
    return str_eqz_nocase(str_of(ending_of(name)), ending);
}

static const char *plain_type(const char *name)
{
    static const struct {
        const char *ending, *type;
    } types[] = {{"md", "text/markdown"},
                 {"markdown", "text/markdown"},
                 {"csv", "text/csv"},
                 {"tsv", "text/tab-separated-values"},
                 {"json", "application/json"},
                 {"jsonl", "application/jsonl"},
                 {"ndjson", "application/jsonl"},
                 {"html", "text/html"},
                 {"htm", "text/html"},
                 {"xml", "application/xml"},
                 {"yaml", "application/yaml"},
                 {"yml", "application/yaml"}};
    for (size_t i = 0; i < SP_COUNT(types); i++)
        if (ends(name, types[i].ending))
            return types[i].type;
    return "text/plain";
}

static bool begins(const void *data, size_t n, const char *with, size_t n_with)
{
    return n >= n_with && memcmp(data, with, n_with) == 0;
}

static bool is_pdf(const void *data, size_t n)
{
    return memmem(data, n < PDF_HEAD ? n : PDF_HEAD, "%PDF-", 5) != NULL;
}

/* What people often have and is not read here: what it is, and what to do. NULL: none of these. */
static const char *known_otherwise(const char *name, const void *data, size_t n)
{
    static const struct {
        const char *begin;
        size_t n;
        const char *what;
    } known[] = {
        {"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 8,
         "an Office file of the old form, or an encrypted one: save it as .docx or PDF, without a "
         "password"},
        {"{\\rtf", 5, "RTF: save it as .docx or text"},
        {"\x89PNG", 4, "a picture: there is no text in it to read"},
        {"\xff\xd8\xff", 3, "a picture: there is no text in it to read"},
        {"GIF8", 4, "a picture: there is no text in it to read"},
        {"\x1f\x8b", 2, "compressed: unpack it first"},
        {"7z\xbc\xaf\x27\x1c", 6, "an archive: unpack it first"},
        {"Rar!", 4, "an archive: unpack it first"},
        {"\x7f"
         "ELF",
         4, "a program"},
    };
    for (size_t i = 0; i < SP_COUNT(known); i++)
        if (begins(data, n, known[i].begin, known[i].n))
            return known[i].what;
    if (!begins(data, n, "PK\3\4", 4) || ends(name, "docx") || ends(name, "docm"))
        return NULL;
    return ends(name, "xlsx")   ? "a spreadsheet: save it as CSV"
           : ends(name, "pptx") ? "slides: save them as PDF"
           : ends(name, "odt")  ? "an OpenDocument text: save it as .docx or PDF"
                                : "an archive: unpack it first";
}

int document_type_of(const char *name, const void *data, size_t n, struct document_type *out,
                     sp_error *err)
{
    const char *what = known_otherwise(name, data, n);
    if (n == 0)
        return sp_fail(err, SP_EFORMAT, "this file is empty");
    if (what)
        return sp_fail(err, SP_EUNSUPPORTED, "this file is %s (" READS ")", what);
    if (begins(data, n, "PK\3\4", 4))
        *out = (struct document_type){
            DOCUMENT_DOCX,
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document"};
    else if (is_pdf(data, n))
        *out = (struct document_type){DOCUMENT_PDF, "application/pdf"};
    else if (ends(name, "docx") || ends(name, "pdf"))
        return sp_fail(
            err, SP_EFORMAT,
            "this file is named .%s, but it is none: it may be damaged, or got on the way "
            "in part",
            ending_of(name));
    else
        *out = (struct document_type){DOCUMENT_PLAIN, plain_type(name)};
    return 0;
}

/* ---- in a prompt ---- */

/* More backticks than stand together anywhere in the text. */
static size_t fence_for(str text)
{
    size_t most = 2, run = 0;
    for (size_t i = 0; i < text.n; i++) {
        run = text.p[i] == '`' ? run + 1 : 0;
        if (run > most)
            most = run;
    }
    return most + 1;
}

static void put_fence(size_t n, buf *out)
{
    while (n-- > 0)
        buf_putc(out, '`');
}

void document_frame(const char *name, str text, buf *out)
{
    char shown[DOCUMENT_NAME_MOST + 1];
    size_t fence = fence_for(text);
    document_name(name, shown);
    buf_puts(out, "File \"");
    for (const char *p = shown; *p; p++)
        buf_putc(out, *p == '"' || *p == '`' ? '\'' : *p);
    buf_puts(out, "\":\n");
    put_fence(fence, out);
    buf_putc(out, '\n');
    buf_add(out, text.p, text.n);
    if (text.n == 0 || text.p[text.n - 1] != '\n')
        buf_putc(out, '\n');
    put_fence(fence, out);
    buf_puts(out, "\n\n");
}
