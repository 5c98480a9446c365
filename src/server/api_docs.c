/* The server's description of itself: /openapi.json, Swagger UI at /docs where it is built in, and plain pages that
 * list the endpoints. */
#include <string.h>
#include "server/server_int.h"

#define PAGE_MAX ((size_t)1 << 20)

const struct server_file *server_file_find(const char *name)
{
    for (size_t i = 0; i < n_server_files; i++)
        if (strcmp(server_files[i].name, name) == 0)
            return &server_files[i];
    return NULL;
}

static const char page_head[] =
    "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Sampan</title>"
    "<style>body{font:16px/1.5 sans-serif;max-width:42em;margin:3em auto;padding:0 1em}"
    "td{padding:.1em 1em .1em 0}</style>"
    "<h1>Sampan</h1><p>A language model answers here, with OpenAI's API.</p><table>";

/* One row an operation; openapi.json is ours and its words need no escapes. */
static void add_rows(buf *page, json_t *paths)
{
    const char *path, *method;
    json_t *item, *op;
    json_object_foreach(paths, path, item)
    {
        json_object_foreach(item, method, op)
        {
            buf_puts(page, "<tr><td><code>");
            for (const char *p = method; *p; p++)
                buf_putc(page, (char)(*p - 'a' + 'A'));
            buf_printf(page, " %s</code><td>%s\n", path,
                       json_string_value(json_object_get(op, "summary")));
        }
    }
}

char *docs_list_page(const char *end)
{
    const struct server_file *f = server_file_find("openapi.json");
    json_t *doc = json_loadb((const char *)f->data, f->n, 0, NULL);
    buf page;
    buf_init(&page, PAGE_MAX);
    buf_puts(&page, page_head);
    add_rows(&page, json_object_get(doc, "paths"));
    buf_printf(&page, "</table>%s</html>\n", end);
    char *text = doc ? buf_steal(&page) : NULL;
    buf_free(&page);
    json_decref(doc);
    return text;
}

static void answer_page(struct call *c, const char *end)
{
    c->reply = docs_list_page(end);
    c->status = c->reply ? 200 : 500;
}

void api_openapi(struct call *c)
{
    reply_file(c, server_file_find("openapi.json"));
}

void api_docs(struct call *c)
{
    const struct server_file *f = server_file_find("index.html");
    if (f)
        reply_file(c, f);
    else
        answer_page(c, "<p>This build is without Swagger UI, the page to try requests on: run "
                       "<code>tools/swagger_ui.py</code>, build again and restart. "
                       "<a href=\"openapi.json\">openapi.json</a> says all of it.</p>"
                       "<p>这个版本没有内置 Swagger UI：运行 <code>tools/swagger_ui.py</code>，"
                       "重新编译并重启即可。</p>");
}

void api_docs_file(struct call *c)
{
    const struct server_file *f = server_file_find(c->path + strlen("/docs/"));
    if (f)
        reply_file(c, f);
    else
        reply_set_error(c, 404, "invalid_request_error", NULL, NULL,
                        "%.128s: no such file: GET /docs is the page", c->path);
}
