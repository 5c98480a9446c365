/* A .docx: first byte 0, and then the zip itself; else the XML of its main part (1), of its styles (2), its lists (3)
 * or its footnotes (4), in a sound zip. What comes out is UTF-8 without NUL. */
#include <zip.h>
#include "fuzz.h"
#include "kb/parser_int.h"

#define TEXT_MAX ((size_t)1 << 20)

static const char body[] =
    "<w:document "
    "xmlns:w=\"http://schemas.openxmlformats.org/wordprocessingml/2006/main\"><w:p><w:pPr>"
    "<w:pStyle w:val=\"1\"/><w:numPr><w:numId "
    "w:val=\"3\"/></w:numPr></w:pPr><w:r><w:t>a</w:t></w:r>"
    "</w:p></w:document>";

static const char *const names[] = {"word/document.xml", "word/styles.xml", "word/numbering.xml",
                                    "word/footnotes.xml"};

/* The zip with data as part number `which`; free. */
static char *pack(size_t which, const uint8_t *data, size_t n, size_t *n_zip)
{
    zip_stat_t st;
    zip_source_t *to = zip_source_buffer_create(NULL, 0, 0, NULL);
    fuzz_check(to != NULL, "a zip is begun");
    zip_source_keep(to);
    zip_t *z = zip_open_from_source(to, ZIP_TRUNCATE, NULL);
    for (size_t i = 0; i < SP_COUNT(names); i++) {
        if (i != which && i > 0)
            continue;
        zip_source_t *from = i == which ? zip_source_buffer(z, data, n, 0)
                                        : zip_source_buffer(z, body, sizeof body - 1, 0);
        zip_int64_t at = zip_file_add(z, names[i], from, 0);
        fuzz_check(at >= 0 && zip_set_file_compression(z, (zip_uint64_t)at, ZIP_CM_STORE, 0) == 0,
                   "a part is put in");
    }
    fuzz_check(zip_close(z) == 0 && zip_source_open(to) == 0, "the zip is written");
    zip_stat_init(&st);
    fuzz_check(zip_source_stat(to, &st) == 0, "it has a size");
    char *out = malloc((size_t)st.size);
    fuzz_check(out && zip_source_read(to, out, st.size) == (zip_int64_t)st.size, "it is read");
    zip_source_close(to);
    zip_source_free(to);
    *n_zip = (size_t)st.size;
    return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char *packed = NULL;
    const void *zip = data + 1;
    sp_error err = {0};
    buf out;
    if (n < 1 || data[0] > SP_COUNT(names))
        return 0;
    size_t n_zip = n - 1;
    if (data[0] > 0)
        zip = packed = pack((size_t)data[0] - 1, data + 1, n - 1, &n_zip);
    buf_init(&out, TEXT_MAX);
    int code = docx_text(zip, n_zip, &out, &err);
    fuzz_check_error(code, &err);
    if (code == 0 && out.len) {
        fuzz_check(utf8_valid(out.data, out.len) && !memchr(out.data, '\0', out.len),
                   "the text is UTF-8 without NUL");
        fuzz_touch(out.data, out.len);
    }
    buf_free(&out);
    free(packed);
    return 0;
}
