/* The zip that a .docx is. Nothing is unpacked to disk, so names in it lead nowhere: parts are asked for by their exact
 * names. How large a part is, is believed only up to a limit, and read up to what was said. */
#include <string.h>
#include <zip.h>
#include "kb/parser_int.h"

#define ENTRIES_MOST 10000
#define PART_MOST ((size_t)64 << 20)  /* bytes of one part */
#define PARTS_MOST ((size_t)96 << 20) /* of all that is read */
#define RATIO_MOST 200                /* bytes from one, of parts larger than RATIO_FROM */
#define RATIO_FROM ((size_t)4 << 20)
#define DAMAGED "this .docx is damaged"

int docx_package_open(const void *data, size_t n, struct docx_package *out, sp_error *err)
{
    zip_error_t why;
    *out = (struct docx_package){0};
    if (n == 0) /* which libzip takes for an archive without parts */
        return sp_fail(err, SP_EFORMAT, DAMAGED ": it is empty");
    zip_error_init(&why);
    zip_source_t *source = zip_source_buffer_create(data, n, 0, &why);
    zip_t *z = source ? zip_open_from_source(source, ZIP_RDONLY, &why) : NULL;
    int code = 0;
    if (!z) {
        zip_source_free(source);
        code = sp_fail(err, SP_EFORMAT, DAMAGED ": %s", zip_error_strerror(&why));
    } else if (zip_get_num_entries(z, 0) > ENTRIES_MOST) {
        code = sp_fail(err, SP_EFULL, "this .docx has more than %d parts", ENTRIES_MOST);
        zip_discard(z);
    } else {
        out->zip = z;
    }
    zip_error_fini(&why);
    return code;
}

void docx_package_close(struct docx_package *p)
{
    if (p->zip)
        zip_discard(p->zip);
    p->zip = NULL;
}

static int check_size(struct docx_package *p, const zip_stat_t *st, sp_error *err)
{
    const zip_uint64_t all = ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_INDEX;
    if ((st->valid & all) != all)
        return sp_fail(err, SP_EFORMAT, DAMAGED ": it doesn't say how large its parts are");
    if ((st->valid & ZIP_STAT_ENCRYPTION_METHOD) && st->encryption_method != ZIP_EM_NONE)
        return sp_fail(err, SP_EFORMAT, "this .docx is encrypted: save it without a password");
    if (st->size > PART_MOST || st->size > PARTS_MOST - p->read)
        return sp_fail(err, SP_EFULL, "this .docx unpacks to more than %zu MiB: refused",
                       PART_MOST >> 20);
    if (st->size > RATIO_FROM && st->size / RATIO_MOST > st->comp_size)
        return sp_fail(err, SP_EFULL,
                       "this .docx unpacks to more than %d times its size: refused as a zip bomb",
                       RATIO_MOST);
    return 0;
}

/* Exactly as many bytes as it was said to have. */
static int read_part(zip_file_t *f, size_t n, buf *out, sp_error *err)
{
    zip_int64_t got;
    char more;
    if (buf_reserve(out, n + 1) < 0)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    while (out->len < n && (got = zip_fread(f, out->data + out->len, n - out->len)) > 0)
        out->len += (size_t)got;
    if (out->len < n || zip_fread(f, &more, 1) != 0)
        return sp_fail(err, SP_EFORMAT, DAMAGED ": a part of it is not what was said");
    out->data[n] = '\0';
    return 0;
}

int docx_package_read(struct docx_package *p, const char *name, buf *out, sp_error *err)
{
    zip_stat_t st;
    zip_stat_init(&st);
    if (zip_stat(p->zip, name, 0, &st) != 0)
        return SP_ENOTFOUND;
    int code = check_size(p, &st, err);
    if (code < 0)
        return code;
    zip_file_t *f = zip_fopen_index(p->zip, st.index, 0);
    if (!f)
        return sp_fail(err, SP_EFORMAT, DAMAGED ": %s", zip_strerror(p->zip));
    buf_init(out, PART_MOST + 1);
    code = read_part(f, (size_t)st.size, out, err);
    zip_fclose(f);
    p->read += (size_t)st.size;
    if (code < 0)
        buf_free(out);
    return code;
}

/* ---- which part is the text ---- */

static int take_relation(void *arg, const struct docx_node *n)
{
    char *name = arg, type[256], target[256];
    if (!n->begins || strcmp(n->name, "Relationship") != 0 || name[0])
        return 0;
    if (!docx_attribute(n, "Type", type, sizeof type) ||
        !str_ends(str_of(type), "/officeDocument") ||
        !docx_attribute(n, "Target", target, sizeof target))
        return 0;
    const char *from = target[0] == '/' ? target + 1 : target;
    memcpy(name, from, strlen(from) + 1);
    return 0;
}

int docx_package_main(struct docx_package *p, char name[256], sp_error *err)
{
    buf relations;
    name[0] = '\0';
    int code = docx_package_read(p, "_rels/.rels", &relations, err);
    if (code == 0) {
        code = docx_each(&relations, "_rels/.rels", take_relation, name, err);
        buf_free(&relations);
    } else if (code == SP_ENOTFOUND) {
        code = 0;
    }
    if (code == 0 && !name[0])
        memcpy(name, "word/document.xml", sizeof "word/document.xml");
    return code;
}
