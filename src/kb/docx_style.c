/* word/styles.xml and word/numbering.xml: which paragraphs are headings, and which lists have numbers. A Chinese Word
 * calls its first heading style "1" and names it "heading 1", so the name counts, not the id. */
#include <string.h>
#include "kb/parser_int.h"

#define STYLES_MOST 2000
#define LISTS_MOST 4000
#define HEADINGS 6

/* ---- styles ---- */

struct reading_styles {
    struct docx_styles *out;
    struct docx_style *now; /* NULL: outside of a paragraph's style */
};

static struct docx_style *add_style(struct reading_styles *r, const char *id)
{
    struct docx_styles *s = r->out;
    if (s->n_styles == STYLES_MOST)
        return NULL;
    struct docx_style *more = sp_realloc_array(s->styles, s->n_styles + 1, sizeof *more);
    if (!more)
        return NULL;
    s->styles = more;
    struct docx_style *now = &more[s->n_styles++];
    *now = (struct docx_style){0};
    memcpy(now->id, id, strlen(id) + 1);
    return now;
}

static int heading_named(const char *name)
{
    if (str_eqz_nocase(str_of(name), "title"))
        return 1;
    if (strlen(name) != 9 || !str_eqz_nocase((str){name, 8}, "heading "))
        return 0;
    int level = name[8] - '0';
    return level < 1 || level > 9 ? 0 : level > HEADINGS ? HEADINGS : level;
}

static int take_style(void *arg, const struct docx_node *n)
{
    struct reading_styles *r = arg;
    char value[64];
    if (!n->word)
        return 0;
    if (strcmp(n->name, "style") == 0) {
        bool takes = n->begins && !n->ends && docx_attribute(n, "styleId", value, sizeof value);
        r->now = takes ? add_style(r, value) : NULL;
        return takes && !r->now && r->out->n_styles < STYLES_MOST ? SP_ENOMEM : 0;
    }
    if (!r->now || !n->begins)
        return 0;
    if (strcmp(n->name, "name") == 0 && docx_attribute(n, "val", value, sizeof value)) {
        int heading = heading_named(value);
        r->now->heading = heading ? heading : r->now->heading;
    } else if (strcmp(n->name, "outlineLvl") == 0 && r->now->heading == 0) {
        int level = docx_attribute_int(n, "val", 9) + 1;
        r->now->heading = level >= 1 && level <= HEADINGS ? level : 0;
    } else if (strcmp(n->name, "numId") == 0) {
        r->now->list = docx_attribute_int(n, "val", 0);
    } else if (strcmp(n->name, "ilvl") == 0) {
        r->now->level = docx_attribute_int(n, "val", 0);
    }
    return 0;
}

const struct docx_style *docx_style_find(const struct docx_styles *s, const char *id)
{
    for (size_t i = 0; i < s->n_styles; i++)
        if (strcmp(s->styles[i].id, id) == 0)
            return &s->styles[i];
    return NULL;
}

/* ---- lists: a num refers to an abstractNum, whose levels have formats ---- */

struct reading_lists {
    struct docx_list *kinds; /* abstractNum; id is its own */
    size_t n_kinds;
    struct docx_styles *out;
    struct docx_list *kind, *list; /* at hand */
    int level;
};

static struct docx_list *add_list(struct docx_list **lists, size_t *n, int id)
{
    if (*n == LISTS_MOST)
        return NULL;
    struct docx_list *more = sp_realloc_array(*lists, *n + 1, sizeof *more);
    if (!more)
        return NULL;
    *lists = more;
    more[*n] = (struct docx_list){.id = id};
    return &more[(*n)++];
}

static int take_list(void *arg, const struct docx_node *n)
{
    struct reading_lists *r = arg;
    char format[32];
    if (!n->word || !n->begins)
        return 0;
    if (strcmp(n->name, "abstractNum") == 0) {
        r->kind = add_list(&r->kinds, &r->n_kinds, docx_attribute_int(n, "abstractNumId", -1));
        r->list = NULL;
        return r->kind || r->n_kinds == LISTS_MOST ? 0 : SP_ENOMEM;
    }
    if (strcmp(n->name, "num") == 0) {
        r->list = add_list(&r->out->lists, &r->out->n_lists, docx_attribute_int(n, "numId", -1));
        r->kind = NULL;
        return r->list || r->out->n_lists == LISTS_MOST ? 0 : SP_ENOMEM;
    }
    if (strcmp(n->name, "abstractNumId") == 0 && r->list) {
        r->list->abstract = docx_attribute_int(n, "val", -1);
    } else if (strcmp(n->name, "lvl") == 0) {
        r->level = docx_attribute_int(n, "ilvl", -1);
    } else if (strcmp(n->name, "numFmt") == 0 && r->kind && r->level >= 0 &&
               r->level < DOCX_LEVELS && docx_attribute(n, "val", format, sizeof format)) {
        r->kind->numbered[r->level] = strcmp(format, "bullet") != 0 && strcmp(format, "none") != 0;
    }
    return 0;
}

static void join_lists(struct reading_lists *r)
{
    for (size_t i = 0; i < r->out->n_lists; i++)
        for (size_t k = 0; k < r->n_kinds; k++)
            if (r->kinds[k].id == r->out->lists[i].abstract)
                memcpy(r->out->lists[i].numbered, r->kinds[k].numbered,
                       sizeof r->kinds[k].numbered);
}

struct docx_list *docx_list_find(struct docx_styles *s, int id)
{
    for (size_t i = 0; i < s->n_lists; i++)
        if (s->lists[i].id == id)
            return &s->lists[i];
    return NULL;
}

/* ---- both ---- */

static int read_part(struct docx_package *p, const char *name,
                     int (*each)(void *arg, const struct docx_node *n), void *arg, sp_error *err)
{
    buf xml;
    int code = docx_package_read(p, name, &xml, err);
    if (code < 0)
        return code == SP_ENOTFOUND ? 0 : code;
    code = docx_each(&xml, name, each, arg, err);
    buf_free(&xml);
    return code;
}

int docx_styles_read(struct docx_package *p, struct docx_styles *out, sp_error *err)
{
    *out = (struct docx_styles){0};
    struct reading_styles styles = {.out = out};
    struct reading_lists lists = {.out = out, .level = -1};
    int code = read_part(p, "word/styles.xml", take_style, &styles, err);
    if (code == 0)
        code = read_part(p, "word/numbering.xml", take_list, &lists, err);
    join_lists(&lists);
    sp_free(lists.kinds);
    if (code < 0)
        docx_styles_free(out);
    return code;
}

void docx_styles_free(struct docx_styles *s)
{
    sp_free(s->styles);
    sp_free(s->lists);
    *s = (struct docx_styles){0};
}
