/* What the tests of documents share: zips made in memory. */
#ifndef SP_TESTS_KB_H
#define SP_TESTS_KB_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zip.h>
#include "kb/parser_int.h"

#define WORD "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
#define MATH "http://schemas.openxmlformats.org/officeDocument/2006/math"
#define BODY(inside)                                                                               \
    "<?xml version=\"1.0\"?><w:document xmlns:w=\"" WORD "\" xmlns:m=\"" MATH                      \
    "\" xmlns:mc=\"x\"><w:body>" inside "</w:body></w:document>"
#define P(inside) "<w:p><w:r><w:t>" inside "</w:t></w:r></w:p>"

struct part {
    const char *name, *data;
    size_t n; /* 0: of the string */
};

/* The caller's (free). */
__attribute__((unused)) static char *make_zip(const struct part *parts, size_t n_parts, size_t *n)
{
    zip_error_t e;
    zip_stat_t st;
    zip_error_init(&e);
    zip_source_t *to = zip_source_buffer_create(NULL, 0, 0, &e);
    assert_non_null(to);
    zip_source_keep(to);
    zip_t *z = zip_open_from_source(to, ZIP_TRUNCATE, &e);
    assert_non_null(z);
    for (size_t i = 0; i < n_parts; i++) {
        size_t bytes = parts[i].n ? parts[i].n : strlen(parts[i].data);
        zip_source_t *from = zip_source_buffer(z, parts[i].data, bytes, 0);
        assert_true(zip_file_add(z, parts[i].name, from, ZIP_FL_ENC_UTF_8) >= 0);
    }
    assert_int_equal(zip_close(z), 0);
    assert_int_equal(zip_source_open(to), 0);
    zip_stat_init(&st);
    assert_int_equal(zip_source_stat(to, &st), 0);
    char *data = malloc((size_t)st.size);
    assert_non_null(data);
    assert_int_equal(zip_source_read(to, data, st.size), (zip_int64_t)st.size);
    zip_source_close(to);
    zip_source_free(to);
    zip_error_fini(&e);
    *n = (size_t)st.size;
    return data;
}

#endif
