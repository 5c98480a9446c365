/* XML of a .docx, one node at a time: no tree, so its depth costs nothing, and libxml2's own limits on depth, on the
 * length of names and on how much entities may grow stay in force. Office's XML has no document type, so one that has
 * is refused before an entity of it is used; nothing outside of the text is loaded. */
#include <libxml/xmlreader.h>
#include <stdlib.h>
#include <string.h>
#include "kb/parser_int.h"

/* libxml2 tells of errors here; the first is the one that counts. */
static void note_error(void *arg, const char *message, xmlParserSeverities severity,
                       xmlTextReaderLocatorPtr where)
{
    char *first = arg;
    (void)severity;
    (void)where;
    if (first[0])
        return;
    size_t n = strcspn(message, "\n");
    n = n < 120 ? n : 120;
    memcpy(first, message, n);
    first[n] = '\0';
}

static int tell(xmlTextReaderPtr r, int (*each)(void *arg, const struct docx_node *n), void *arg,
                const char *part, sp_error *err)
{
    int type = xmlTextReaderNodeType(r);
    const char *uri = (const char *)xmlTextReaderConstNamespaceUri(r);
    struct docx_node n = {.name = "", .text = "", .reader = r};
    switch (type) {
    case XML_READER_TYPE_DOCUMENT_TYPE:
    case XML_READER_TYPE_ENTITY_REFERENCE:
        return sp_fail(err, SP_EFORMAT,
                       "this .docx is not Word's: %s declares entities of its own: refused", part);
    case XML_READER_TYPE_TEXT:
    case XML_READER_TYPE_CDATA:
    case XML_READER_TYPE_SIGNIFICANT_WHITESPACE:
    case XML_READER_TYPE_WHITESPACE:
        n.text = (const char *)xmlTextReaderConstValue(r);
        break;
    case XML_READER_TYPE_ELEMENT:
    case XML_READER_TYPE_END_ELEMENT:
        n.name = (const char *)xmlTextReaderConstLocalName(r);
        n.begins = type == XML_READER_TYPE_ELEMENT;
        n.ends = !n.begins || xmlTextReaderIsEmptyElement(r) == 1;
        n.word = uri && strstr(uri, "wordprocessingml");
        n.math = uri && strstr(uri, "officeDocument") && strstr(uri, "/math");
        break;
    default:
        return 0;
    }
    return n.name && n.text ? each(arg, &n) : sp_fail(err, SP_ENOMEM, "out of memory");
}

int docx_each(const buf *xml, const char *part, int (*each)(void *arg, const struct docx_node *n),
              void *arg, sp_error *err)
{
    char why[128] = "";
    int code = 0, got = 1;
    if (xml->len == 0)
        return sp_fail(err, SP_EFORMAT, "this .docx is damaged: %s is empty", part);
    xmlTextReaderPtr r = xmlReaderForMemory(xml->data, (int)xml->len, NULL, NULL,
                                            XML_PARSE_NONET | XML_PARSE_COMPACT |
                                                XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    if (!r)
        return sp_fail(err, SP_ENOMEM, "out of memory");
    xmlTextReaderSetErrorHandler(r, note_error, why);
    while (code == 0 && (got = xmlTextReaderRead(r)) == 1)
        code = tell(r, each, arg, part, err);
    if (code == 0 && got < 0)
        code = sp_fail(err, SP_EFORMAT, "this .docx is damaged: %s: %s", part,
                       why[0] ? why : "it is no XML");
    xmlFreeTextReader(r);
    return code;
}

bool docx_attribute(const struct docx_node *n, const char *name, char *out, size_t room)
{
    xmlTextReaderPtr r = n->reader;
    bool found = false;
    if (!n->begins)
        return false;
    for (int more = xmlTextReaderMoveToFirstAttribute(r); more == 1 && !found;
         more = found ? 0 : xmlTextReaderMoveToNextAttribute(r)) {
        const char *its = (const char *)xmlTextReaderConstLocalName(r),
                   *value = (const char *)xmlTextReaderConstValue(r);
        found = its && value && strcmp(its, name) == 0 && strlen(value) < room;
        if (found)
            memcpy(out, value, strlen(value) + 1);
    }
    (void)xmlTextReaderMoveToElement(r);
    return found;
}

int docx_attribute_int(const struct docx_node *n, const char *name, int otherwise)
{
    char text[24];
    int64_t value;
    bool is = docx_attribute(n, name, text, sizeof text) && str_to_i64(str_of(text), &value) &&
              value >= INT32_MIN && value <= INT32_MAX;
    return is ? (int)value : otherwise;
}
