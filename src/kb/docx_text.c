/* word/document.xml as Markdown, in one pass: paragraphs (headings, list items) and tables as they come, then the
 * footnotes. A table within a cell becomes text of that cell. What was deleted while changes were tracked is not text,
 * nor is what stands in the document twice for older readers (mc:Fallback). */
#include <string.h>
#include "kb/parser_int.h"

#define COLUMNS_MOST 64 /* that one cell may span */

struct writer {
    struct docx_styles styles;
    buf *out;
    buf paragraph; /* its text so far */
    buf cell;      /* of the table at hand */
    bool in_text;  /* within w:t or m:t */
    int skipping;  /* depth within what is passed over; 0: nothing is */
    int tables;    /* tables around this place */
    int rows;      /* of the outer table, so far */
    int cells;     /* of its row */
    int span;      /* columns of the cell at hand */
    /* of the paragraph at hand */
    int heading, list, level;
    bool list_set;
    bool in_list;  /* the block before was an item */
    char note[24]; /* footnote whose text this is; "": none */
};

/* ---- paragraphs ---- */

static void trim(buf *b)
{
    size_t from = 0, to = b->len;
    while (from < to && strchr(" \t\n", b->data[from]))
        from++;
    while (to > from && strchr(" \t\n", b->data[to - 1]))
        to--;
    if (from > 0)
        memmove(b->data, b->data + from, to - from);
    b->len = to - from;
    if (b->data)
        b->data[b->len] = '\0';
}

static void put_list_mark(struct writer *w)
{
    int level = w->level < 0 ? 0 : w->level < DOCX_LEVELS ? w->level : DOCX_LEVELS - 1;
    struct docx_list *l = docx_list_find(&w->styles, w->list);
    for (int i = 0; i < level; i++)
        buf_puts(w->out, "   ");
    if (!l || !l->numbered[level]) {
        buf_puts(w->out, "- ");
        return;
    }
    for (int i = level + 1; i < DOCX_LEVELS; i++)
        l->count[i] = 0;
    buf_printf(w->out, "%d. ", ++l->count[level]);
}

/* A blank line, or what follows would be part of the last item. */
static void leave_list(struct writer *w)
{
    if (w->in_list)
        buf_putc(w->out, '\n');
    w->in_list = false;
}

static void put_block(struct writer *w)
{
    bool item = w->list > 0 && w->heading == 0;
    if (!item)
        leave_list(w);
    w->in_list = item;
    if (w->note[0])
        buf_printf(w->out, "[^%s]: ", w->note);
    for (int i = 0; i < w->heading; i++)
        buf_putc(w->out, '#');
    if (w->heading)
        buf_putc(w->out, ' ');
    if (item)
        put_list_mark(w);
    buf_add(w->out, w->paragraph.data, w->paragraph.len);
    buf_puts(w->out, item ? "\n" : "\n\n");
    w->note[0] = '\0';
}

static void begin_paragraph(struct writer *w)
{
    w->heading = w->list = w->level = 0;
    w->list_set = false;
}

static void end_paragraph(struct writer *w)
{
    trim(&w->paragraph);
    if (w->paragraph.len == 0)
        return;
    if (w->tables == 0) {
        put_block(w);
    } else {
        if (w->cell.len)
            buf_puts(&w->cell, "<br>");
        buf_add(&w->cell, w->paragraph.data, w->paragraph.len);
    }
    buf_clear(&w->paragraph);
}

static void set_style(struct writer *w, const char *id)
{
    const struct docx_style *s = docx_style_find(&w->styles, id);
    if (!s)
        return;
    w->heading = s->heading;
    if (!w->list_set) {
        w->list = s->list;
        w->level = s->level;
    }
}

/* ---- tables ---- */

/* One line, and no bar of its own. */
static void put_cell(struct writer *w)
{
    buf_putc(w->out, ' ');
    for (size_t i = 0; i < w->cell.len; i++) {
        char c = w->cell.data[i];
        if (c == '|')
            buf_puts(w->out, "\\|");
        else if (c == '\n')
            buf_puts(w->out, "<br>");
        else
            buf_putc(w->out, c);
    }
    buf_puts(w->out, " |");
    for (int i = 1; i < w->span; i++)
        buf_puts(w->out, "  |");
    w->cells += w->span;
    buf_clear(&w->cell);
}

static void end_row(struct writer *w)
{
    buf_putc(w->out, '\n');
    if (w->rows++ > 0)
        return;
    buf_putc(w->out, '|');
    for (int i = 0; i < w->cells; i++)
        buf_puts(w->out, " --- |");
    buf_putc(w->out, '\n');
}

static void table_element(struct writer *w, const struct docx_node *n)
{
    if (strcmp(n->name, "tbl") == 0) {
        end_paragraph(w); /* one that a table stands in */
        if (n->begins && w->tables++ == 0) {
            leave_list(w);
            w->rows = 0;
        }
        if (n->ends && w->tables > 0 && --w->tables == 0)
            buf_putc(w->out, '\n');
    } else if (w->tables == 1 && strcmp(n->name, "tr") == 0) {
        if (n->begins) {
            w->cells = 0;
            buf_putc(w->out, '|');
        }
        if (n->ends)
            end_row(w);
    } else if (w->tables == 1 && strcmp(n->name, "tc") == 0) {
        if (n->begins) {
            buf_clear(&w->cell);
            w->span = 1;
        }
        if (n->ends)
            put_cell(w);
    } else if (w->tables == 1 && strcmp(n->name, "gridSpan") == 0 && n->begins) {
        int span = docx_attribute_int(n, "val", 1);
        w->span = span < 1 ? 1 : span < COLUMNS_MOST ? span : COLUMNS_MOST;
    }
}

/* ---- what stands in a paragraph ---- */

static void begin_element(struct writer *w, const struct docx_node *n)
{
    char value[64];
    if (strcmp(n->name, "p") == 0) {
        end_paragraph(w); /* one that this one stands in, in a text box */
        begin_paragraph(w);
    } else if (strcmp(n->name, "pStyle") == 0) {
        if (docx_attribute(n, "val", value, sizeof value))
            set_style(w, value);
    } else if (strcmp(n->name, "outlineLvl") == 0) {
        int level = docx_attribute_int(n, "val", 9) + 1;
        w->heading = level >= 1 && level <= 6 ? level : w->heading;
    } else if (strcmp(n->name, "numId") == 0) {
        w->list = docx_attribute_int(n, "val", 0);
        w->list_set = true;
    } else if (strcmp(n->name, "ilvl") == 0) {
        w->level = docx_attribute_int(n, "val", 0);
    } else if (strcmp(n->name, "t") == 0) {
        w->in_text = !n->ends;
    } else if (strcmp(n->name, "tab") == 0) {
        buf_putc(&w->paragraph, '\t');
    } else if (strcmp(n->name, "br") == 0 || strcmp(n->name, "cr") == 0) {
        buf_putc(&w->paragraph, '\n');
    } else if (strcmp(n->name, "noBreakHyphen") == 0) {
        buf_putc(&w->paragraph, '-');
    } else if ((strcmp(n->name, "footnoteReference") == 0 ||
                strcmp(n->name, "endnoteReference") == 0) &&
               docx_attribute(n, "id", value, 16)) {
        buf_printf(&w->paragraph, "[^%s%s]", n->name[0] == 'e' ? "e" : "", value);
    }
}

static void note_element(struct writer *w, const struct docx_node *n)
{
    char id[16], type[32];
    bool end = strcmp(n->name, "endnote") == 0;
    w->note[0] = '\0';
    if (!n->begins ||
        docx_attribute(n, "type", type, sizeof type) || /* a line between, as it is called */
        !docx_attribute(n, "id", id, sizeof id))
        return;
    w->note[0] = 'e';
    memcpy(w->note + end, id, strlen(id) + 1);
}

/* Tab stops of a paragraph's style are called as tabs in its text are. */
static bool passed_over(const struct docx_node *n)
{
    return strcmp(n->name, "Fallback") == 0 || (n->word && strcmp(n->name, "tabs") == 0);
}

static int take_node(void *arg, const struct docx_node *n)
{
    struct writer *w = arg;
    if (n->name[0] && passed_over(n)) {
        w->skipping += n->begins - n->ends;
        return 0;
    }
    if (w->skipping > 0)
        return 0;
    if (!n->name[0]) {
        if (w->in_text)
            buf_puts(&w->paragraph, n->text);
    } else if (n->math && strcmp(n->name, "t") == 0) {
        w->in_text = n->begins && !n->ends;
    } else if (n->word) {
        if (strcmp(n->name, "footnote") == 0 || strcmp(n->name, "endnote") == 0)
            note_element(w, n);
        table_element(w, n);
        if (n->begins)
            begin_element(w, n);
        if (n->ends && strcmp(n->name, "t") == 0)
            w->in_text = false;
        if (n->ends && strcmp(n->name, "p") == 0) {
            end_paragraph(w);
            begin_paragraph(w);
        }
    }
    return w->out->failed        ? w->out->code
           : w->paragraph.failed ? w->paragraph.code
           : w->cell.failed      ? w->cell.code
                                 : 0;
}

/* ---- all parts ---- */

static int put_part(struct writer *w, struct docx_package *p, const char *name, bool needed,
                    sp_error *err)
{
    buf xml;
    int code = docx_package_read(p, name, &xml, err);
    if (code == SP_ENOTFOUND)
        return needed ? sp_fail(err, SP_EFORMAT,
                                "this file is a zip, but no Word document: it has no %.200s", name)
                      : 0;
    if (code < 0)
        return code;
    code = docx_each(&xml, name, take_node, w, err);
    buf_free(&xml);
    end_paragraph(w);
    return code < 0 ? code : w->out->failed ? w->out->code : 0;
}

static int put_document(struct writer *w, struct docx_package *p, sp_error *err)
{
    static const char *const notes[] = {"word/footnotes.xml", "word/endnotes.xml"};
    char name[256];
    int code = docx_package_main(p, name, err);
    if (code == 0)
        code = docx_styles_read(p, &w->styles, err);
    if (code == 0)
        code = put_part(w, p, name, true, err);
    for (size_t i = 0; i < SP_COUNT(notes) && code == 0; i++)
        code = put_part(w, p, notes[i], false, err);
    return code;
}

int docx_text(const void *data, size_t n, buf *out, sp_error *err)
{
    struct writer w = {.out = out};
    struct docx_package p;
    sp_error own = {0};
    sp_error *e = err ? err : &own;
    e->code = 0;
    int code = docx_package_open(data, n, &p, e);
    if (code < 0)
        return code;
    buf_init(&w.paragraph, out->max);
    buf_init(&w.cell, out->max);
    code = put_document(&w, &p, e);
    buf_free(&w.paragraph);
    buf_free(&w.cell);
    docx_styles_free(&w.styles);
    docx_package_close(&p);
    if (code == 0)
        trim(out);
    if (code == 0 && out->len)
        buf_putc(out, '\n');
    if (code < 0 && e->code == 0)
        (void)(code == SP_EFULL
                   ? sp_fail(e, code, "the file has more than %zu MiB of text", out->max >> 20)
                   : sp_fail(e, code, "out of memory"));
    return code;
}
