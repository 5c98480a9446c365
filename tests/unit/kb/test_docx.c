/* Word's files: what becomes of their text, and what becomes of those that were made to do harm. */
#include "kb_test.h"

static const char types[] = "<Types/>";

static void assert_text(const struct part *parts, size_t n_parts, const char *want)
{
    size_t n;
    sp_error err = {0};
    char *data = make_zip(parts, n_parts, &n);
    buf out;
    buf_init(&out, DOCUMENT_TEXT_MOST);
    if (docx_text(data, n, &out, &err) != 0)
        fail_msg("%s", err.message);
    assert_string_equal(out.data ? out.data : "", want);
    buf_free(&out);
    free(data);
}

static void assert_bytes_refused(const char *data, size_t n, int code, const char *why)
{
    sp_error err = {0};
    buf out;
    buf_init(&out, DOCUMENT_TEXT_MOST);
    assert_int_equal(docx_text(data, n, &out, &err), code);
    if (!strstr(err.message, why))
        fail_msg("'%s' is not in '%s'", why, err.message);
    buf_free(&out);
}

static void assert_refused(const struct part *parts, size_t n_parts, int code, const char *why)
{
    size_t n;
    char *data = make_zip(parts, n_parts, &n);
    assert_bytes_refused(data, n, code, why);
    free(data);
}

static void assert_body(const char *body, const char *want)
{
    const struct part parts[] = {{"[Content_Types].xml", types, 0}, {"word/document.xml", body, 0}};
    assert_text(parts, SP_COUNT(parts), want);
}

/* ---- text ---- */

static void test_paragraphs(void **state)
{
    (void)state;
    assert_body(BODY(P("长江有多长？") P("  two &amp; three &lt;b&gt;  ") "<w:p/>" P("end")),
                "长江有多长？\n\ntwo & three <b>\n\nend\n");
    assert_body(BODY("<w:p><w:pPr><w:tabs><w:tab w:val=\"left\"/></w:tabs></w:pPr><w:r><w:t>a</w:t>"
                     "<w:tab/><w:t>b</w:t><w:br/><w:t>c</w:t></w:r>"
                     "<w:hyperlink><w:r><w:t>link</w:t></w:r></w:hyperlink></w:p>"),
                "a\tb\nclink\n");
}

static void test_what_is_not_text(void **state)
{
    (void)state;
    assert_body(BODY("<w:p><w:del><w:r><w:delText>old</w:delText></w:r></w:del><w:ins><w:r><w:t>new"
                     "</w:t></w:r></w:ins><w:r><w:instrText>PAGE</w:instrText></w:r></w:p>"),
                "new\n");
    assert_body(BODY("<w:p><w:r><mc:AlternateContent><mc:Choice><w:t>one</w:t></mc:Choice>"
                     "<mc:Fallback><w:t>twice</w:t></mc:Fallback></mc:AlternateContent></w:r></w:p>"
                     "<other>nothing</other>"),
                "one\n");
    assert_body(BODY("<w:p><m:oMath><m:r><m:t>x+1</m:t></m:r></m:oMath></w:p>"), "x+1\n");
}

static void test_a_text_box_in_a_paragraph(void **state)
{
    (void)state;
    assert_body(BODY("<w:p><w:r><w:t>before</w:t><w:txbxContent>" P(
                    "inside") "</w:txbxContent>"
                              "<w:t>after</w:t></w:r></w:p>"),
                "before\n\ninside\n\nafter\n");
}

static void test_headings_and_lists(void **state)
{
    static const char styles[] = "<w:styles xmlns:w=\"" WORD "\">"
                                 "<w:style w:styleId=\"1\"><w:name w:val=\"heading 1\"/></w:style>"
                                 "<w:style w:styleId=\"h3\"><w:name "
                                 "w:val=\"mine\"/><w:pPr><w:outlineLvl w:val=\"2\"/></w:pPr>"
                                 "</w:style><w:style w:styleId=\"ListBullet\"><w:name w:val=\"List "
                                 "Bullet\"/><w:pPr><w:numPr>"
                                 "<w:numId w:val=\"7\"/></w:numPr></w:pPr></w:style></w:styles>";
    static const char numbering[] =
        "<w:numbering xmlns:w=\"" WORD
        "\"><w:abstractNum w:abstractNumId=\"0\"><w:lvl w:ilvl=\"0\">"
        "<w:numFmt w:val=\"decimal\"/></w:lvl><w:lvl w:ilvl=\"1\"><w:numFmt "
        "w:val=\"bullet\"/></w:lvl>"
        "</w:abstractNum><w:num w:numId=\"3\"><w:abstractNumId w:val=\"0\"/></w:num></w:numbering>";
#define ITEM(level, text)                                                                          \
    "<w:p><w:pPr><w:numPr><w:ilvl w:val=\"" level                                                  \
    "\"/><w:numId w:val=\"3\"/></w:numPr></w:pPr><w:r>"                                            \
    "<w:t>" text "</w:t></w:r></w:p>"
#define STYLED(style, text)                                                                        \
    "<w:p><w:pPr><w:pStyle w:val=\"" style "\"/></w:pPr><w:r><w:t>" text "</w:t></w:r></w:p>"
    static const char body[] = BODY(STYLED("1", "题目") P("x") STYLED("h3", "Small") ITEM(
        "0", "one") ITEM("1", "deep") ITEM("0", "two") STYLED("ListBullet", "dot"));
    const struct part parts[] = {{"word/document.xml", body, 0},
                                 {"word/styles.xml", styles, 0},
                                 {"word/numbering.xml", numbering, 0}};
    (void)state;
    assert_text(parts, SP_COUNT(parts),
                "# 题目\n\nx\n\n### Small\n\n1. one\n   - deep\n2. two\n- dot\n");
}

static void test_tables(void **state)
{
#define CELL(inside) "<w:tc>" inside "</w:tc>"
    (void)state;
    assert_body(BODY(P("a") "<w:tbl><w:tr>" CELL(P("River"))
                         CELL(P("km | mi")) "</w:tr><w:tr>" CELL(P("长江") P("Yangtze"))
                             CELL(P("6300")) "</w:tr><w:tr>"
                                             "<w:tc><w:tcPr><w:gridSpan w:val=\"2\"/></w:tcPr>" P(
                                                 "both") "</w:tc></w:tr>"
                                                         "</w:tbl>" P("b")),
                "a\n\n| River | km \\| mi |\n| --- | --- |\n| 长江<br>Yangtze | 6300 |\n| both |  "
                "|\n\nb\n");
    assert_body(BODY("<w:tbl><w:tr>" CELL(P("out") "<w:tbl><w:tr>" CELL(P("in"))
                                              CELL(P("side")) "</w:tr></w:tbl>") "</w:tr></w:tbl>"),
                "| out<br>in<br>side |\n| --- |\n");
}

static void test_footnotes(void **state)
{
    static const char notes[] =
        "<w:footnotes xmlns:w=\"" WORD "\"><w:footnote w:type=\"separator\" w:id=\"-1\">" P(
            "") "</w:footnote><w:footnote w:id=\"2\">" P("A note.") "</w:footnote></w:footnotes>";
    const struct part parts[] = {
        {"word/document.xml",
         BODY("<w:p><w:r><w:t>Text</w:t></w:r><w:r><w:footnoteReference w:id=\"2\"/></w:r></w:p>"),
         0},
        {"word/footnotes.xml", notes, 0}};
    (void)state;
    assert_text(parts, SP_COUNT(parts), "Text[^2]\n\n[^2]: A note.\n");
}

static void test_a_main_part_of_another_name(void **state)
{
    static const char relations[] =
        "<Relationships><Relationship Id=\"r1\" Type=\"http://x/relationships/officeDocument\" "
        "Target=\"/word/document2.xml\"/></Relationships>";
    const struct part parts[] = {{"_rels/.rels", relations, 0},
                                 {"word/document2.xml", BODY(P("here")), 0}};
    (void)state;
    assert_text(parts, SP_COUNT(parts), "here\n");
}

/* ---- harm ---- */

static void test_no_word_document(void **state)
{
    const struct part parts[] = {{"hello.txt", "hello", 0}};
    (void)state;
    assert_refused(parts, 1, SP_EFORMAT, "no Word document");
    assert_bytes_refused("PK\3\4 and no more", 16, SP_EFORMAT, "damaged");
    assert_bytes_refused("", 0, SP_EFORMAT, "damaged");
}

static void test_truncated(void **state)
{
    const struct part parts[] = {{"word/document.xml", BODY(P("here")), 0}};
    size_t n;
    char *data = make_zip(parts, 1, &n);
    (void)state;
    for (size_t cut = 0; cut < n; cut++) {
        char *copy = malloc(cut + 1); /* of its size, so that a look beyond is noticed */
        memcpy(copy, data, cut);
        assert_bytes_refused(copy, cut, SP_EFORMAT, "damaged");
        free(copy);
    }
    free(data);
}

static void test_sizes_that_lie(void **state)
{
    const struct part parts[] = {{"word/document.xml", BODY(P("here")), 0}};
    size_t n;
    char *data = make_zip(parts, 1, &n);
    (void)state;
    for (size_t i = 0; i + 30 < n; i++)
        if (memcmp(data + i, "PK\1\2", 4) == 0) {
            data[i + 24] = (char)(data[i + 24] + 9); /* the central directory's length */
            break;
        }
    assert_bytes_refused(data, n, SP_EFORMAT, "damaged");
    free(data);
}

static void test_bombs(void **state)
{
    size_t n = (size_t)70 << 20;
    char *blanks = malloc(n);
    struct part part = {"word/document.xml", blanks, (size_t)8 << 20};
    (void)state;
    memset(blanks, ' ', n);
    assert_refused(&part, 1, SP_EFULL, "zip bomb");
    part.n = n;
    assert_refused(&part, 1, SP_EFULL, "64 MiB");
    free(blanks);
}

static void test_entities(void **state)
{
    static const char *const bodies[] = {
        "<!DOCTYPE l [<!ENTITY a \"lol\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;\"><!ENTITY c "
        "\"&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;\"><!ENTITY d \"&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;\">]>"
        "<w:document xmlns:w=\"" WORD "\"><w:p><w:t>&d;</w:t></w:p></w:document>",
        "<!DOCTYPE l [<!ENTITY a SYSTEM \"file:///etc/passwd\">]><w:document xmlns:w=\"" WORD
        "\"><w:p><w:t>&a;</w:t></w:p></w:document>",
        "<!DOCTYPE l SYSTEM \"http://127.0.0.1:9/x.dtd\"><w:document xmlns:w=\"" WORD "\"/>"};
    (void)state;
    for (size_t i = 0; i < SP_COUNT(bodies); i++) {
        const struct part part = {"word/document.xml", bodies[i], 0};
        assert_refused(&part, 1, SP_EFORMAT, "this .docx is"); /* by us, or by libxml2 before */
    }
}

static void test_deep_nesting(void **state)
{
    size_t deep = 100000, at = 0;
    char *xml = malloc(deep * 12 + 1024);
    static const char head[] = "<w:document xmlns:w=\"" WORD "\">";
    (void)state;
    memcpy(xml, head, sizeof head - 1);
    at = sizeof head - 1;
    for (size_t i = 0; i < deep; i++, at += 7)
        memcpy(xml + at, "<w:tbl>", 7);
    xml[at] = '\0';
    const struct part part = {"word/document.xml", xml, 0};
    assert_refused(&part, 1, SP_EFORMAT, "damaged");
    free(xml);
}

/* Names lead nowhere: nothing is unpacked, and only parts that are asked for are read. */
static void test_paths(void **state)
{
    static const char up[] = "<Relationships><Relationship Type=\"x/officeDocument\" "
                             "Target=\"../../../../../../etc/passwd\"/></Relationships>";
    const struct part sound[] = {{"../../../../tmp/sampan-was-here", "x", 0},
                                 {"/etc/passwd", "x", 0},
                                 {"word/document.xml", BODY(P("here")), 0}};
    const struct part wrong[] = {{"_rels/.rels", up, 0}, {"word/document.xml", BODY(P("x")), 0}};
    (void)state;
    assert_text(sound, SP_COUNT(sound), "here\n");
    assert_refused(wrong, SP_COUNT(wrong), SP_EFORMAT, "no Word document");
}

static void test_broken_xml(void **state)
{
    static const char *const bodies[] = {"text", "<w:document", BODY("<w:p>"),
                                         "<?xml version=\"1.0\" encoding=\"KLINGON\"?><a>\xff</a>",
                                         "<a>\xff\xfe</a>"};
    (void)state;
    for (size_t i = 0; i < SP_COUNT(bodies); i++) {
        const struct part part = {"word/document.xml", bodies[i], 0};
        assert_refused(&part, 1, SP_EFORMAT, "damaged");
    }
}

static void test_numbers_out_of_range(void **state)
{
    (void)state;
    assert_body(BODY("<w:p><w:pPr><w:outlineLvl w:val=\"99999999999999\"/><w:numPr><w:ilvl "
                     "w:val=\"-7\"/><w:numId w:val=\"2147483647\"/></w:numPr></w:pPr><w:r><w:t>a"
                     "</w:t></w:r></w:p>"),
                "- a\n");
    assert_body(BODY("<w:tbl><w:tr><w:tc><w:tcPr><w:gridSpan w:val=\"-3\"/></w:tcPr>" P(
                    "x") "</w:tc></w:tr></w:tbl>"),
                "| x |\n| --- |\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paragraphs),
        cmocka_unit_test(test_what_is_not_text),
        cmocka_unit_test(test_a_text_box_in_a_paragraph),
        cmocka_unit_test(test_headings_and_lists),
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_footnotes),
        cmocka_unit_test(test_a_main_part_of_another_name),
        cmocka_unit_test(test_no_word_document),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_sizes_that_lie),
        cmocka_unit_test(test_bombs),
        cmocka_unit_test(test_entities),
        cmocka_unit_test(test_deep_nesting),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_broken_xml),
        cmocka_unit_test(test_numbers_out_of_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
