/* The page: its files, built in or from --ui-dir, and what it asks first (/api/info). Paths that the page makes
 * itself (/chat/ID, ...) get its index. */
#include <stdio.h>
#include <string.h>
#include "base/file.h"
#include "base/sha256.h"
#include "server/access_int.h"
#include "server/models_int.h"
#include "server/page_int.h"

#define UI_FILE_MAX ((size_t)32 << 20)
#define INDEX "/index.html"

static const struct server_file *find(const char *path)
{
    for (size_t i = 0; i < n_page_files; i++)
        if (strcmp(page_files[i].name, path) == 0)
            return &page_files[i];
    return NULL;
}

static bool is_asset(const char *path)
{
    return strncmp(path, "/assets/", 8) == 0;
}

/* The page's first file names the others from the root of the site: with --root-path that is another one. (The rest of
 * the page finds its root by where its script was loaded from.) Allocated; NULL: out of memory. */
static char *with_root(const char *html, size_t n, const char *root, size_t *n_out)
{
    static const char mark[] = "=\"/";
    buf b;
    buf_init(&b, UI_FILE_MAX);
    buf_puts(&b, "");
    for (size_t i = 0; i < n; i++) {
        buf_putc(&b, html[i]);
        if (i >= 2 && memcmp(html + i - 2, mark, 3) == 0) {
            b.len--;
            buf_printf(&b, "%s/", root);
        }
    }
    *n_out = b.len;
    char *text = buf_steal(&b);
    buf_free(&b);
    return text;
}

static bool has_root(const struct server *s)
{
    return s->opts.root_path && *s->opts.root_path;
}

int page_open(struct server *s, sp_error *err)
{
    const struct server_file *plain = find(INDEX);
    char sum[65] = "";
    if (!plain || !has_root(s))
        return 0;
    struct server_file *f = s->index = sp_calloc(1, sizeof *f);
    char *etag = sp_calloc(1, 32);
    if (!f || !etag) {
        sp_free(etag);
        return sp_fail(err, SP_ENOMEM, "out of memory");
    }
    *f = *plain;
    f->etag = etag;
    f->data =
        (unsigned char *)with_root((const char *)plain->data, plain->n, s->opts.root_path, &f->n);
    sha256 *h = f->data ? sha256_new() : NULL;
    if (h) {
        sha256_add(h, f->data, f->n);
        sha256_hex(h, sum);
    }
    sha256_free(h);
    (void)snprintf(etag, 32, "\"%.16s\"", sum);
    return sum[0] ? 0 : sp_fail(err, SP_ENOMEM, "out of memory");
}

void page_close(struct server *s)
{
    if (!s->index)
        return;
    sp_free((void *)(uintptr_t)s->index->data);
    sp_free((void *)(uintptr_t)s->index->etag);
    sp_free(s->index);
    s->index = NULL;
}

/* ---- from a folder, while the page is worked on ---- */

static const char *type_of(const char *path)
{
    static const char *const types[][2] = {{".html", "text/html; charset=utf-8"},
                                           {".js", "text/javascript; charset=utf-8"},
                                           {".css", "text/css; charset=utf-8"},
                                           {".json", "application/json"},
                                           {".svg", "image/svg+xml"},
                                           {".png", "image/png"},
                                           {".ico", "image/x-icon"},
                                           {".woff2", "font/woff2"},
                                           {".wasm", "application/wasm"},
                                           {".webmanifest", "application/manifest+json"}};
    for (size_t i = 0; i < SP_COUNT(types); i++)
        if (str_ends(str_of(path), types[i][0]))
            return types[i][1];
    return "application/octet-stream";
}

/* No part of it begins with a dot, so it stays in the folder. */
static bool path_sound(const char *path)
{
    return path[0] == '/' && !strstr(path, "/.") && !strchr(path, '\\') && !strchr(path, '%');
}

/* Allocated; NULL: none. */
static char *path_in_folder(const struct server *s, const char *path)
{
    return s->opts.ui_dir && path_sound(path) ? path_join(s->opts.ui_dir, path + 1) : NULL;
}

const struct route *page_file_route(const struct server *s, const char *path)
{
    char allow[ALLOW_MAX], *full = path_in_folder(s, path);
    bool there = find(path) || (full && file_exists(full) && !file_is_dir(full));
    sp_free(full);
    return there ? route_find("/assets/any", EVHTTP_REQ_GET, allow) : NULL;
}

/* On the loop: this is for one developer's machine. false: there is no such file. */
static bool send_from_folder(struct call *c, const char *path)
{
    char *full = path_in_folder(c->s, path), *data = NULL;
    size_t n = 0;
    bool there = full && !file_is_dir(full) && file_read(full, UI_FILE_MAX, &data, &n, NULL) == 0;
    sp_free(full);
    if (there && strcmp(path, INDEX) == 0 && has_root(c->s)) {
        char *rooted = with_root(data, n, c->s->opts.root_path, &n);
        sp_free(data);
        data = rooted;
        there = data != NULL;
    }
    if (there)
        reply_page_bytes(c, type_of(path), data, n); /* takes data */
    return there;
}

/* ---- answers ---- */

/* What there is instead of the page, and how to get it. */
static void plain_page(struct call *c, const char *how)
{
    c->reply = docs_list_page(how);
    c->status = c->reply ? 200 : 500;
}

static bool takes_gzip(const struct call *c)
{
    const char *value = access_field(c, "Accept-Encoding");
    return value && strstr(value, "gzip");
}

void api_page(struct call *c)
{
    const struct server_file *index = c->s->index ? c->s->index : find(INDEX);
    if (send_from_folder(c, INDEX))
        return;
    if (!index) {
        plain_page(c, "<p><a href=\"docs\">Try it out</a></p>"
                      "<p>This build is without the page to chat on: run "
                      "<code>tools/web.py</code> (it brings its own Node.js where there is none "
                      "new enough), build again and restart.</p>"
                      "<p>在这里可以用 OpenAI 的接口与模型对话。<a href=\"docs\">试一试</a></p>"
                      "<p>这个版本没有内置聊天页面：运行 <code>tools/web.py</code>（没有够新的 "
                      "Node.js 时它会自带一个），重新编译并重启即可。</p>");
        return;
    }
    access_set_field(c, "Vary",
                     "Accept-Encoding"); /* for what the index names, if not for itself */
    if (takes_gzip(c)) {
        reply_page_file(c, index, false);
    } else {
        plain_page(c, "<p><a href=\"docs\">Try it out</a></p>"
                      "<p>The page to chat on is kept compressed: open this address in a browser, "
                      "or ask with <code>Accept-Encoding: gzip</code>.</p>"
                      "<p>聊天页面以压缩形式保存：请用浏览器打开本页地址，或者在请求里带上 "
                      "<code>Accept-Encoding: gzip</code>。<a href=\"docs\">试一试</a></p>");
    }
}

void api_root(struct call *c)
{
    api_page(c);
}

void api_page_file(struct call *c)
{
    const struct server_file *f = find(c->path);
    if (send_from_folder(c, c->path))
        return;
    if (f)
        reply_page_file(c, f, is_asset(c->path));
    else
        reply_set_error(c, 404, "invalid_request_error", NULL, NULL,
                        "%.128s: the page has no such file", c->path);
}

/* ---- /api/info ---- */

/* 0.7 is 0.7, not the float next to it. */
static json_t *number(float f)
{
    char text[32];
    double d = (double)f;
    (void)snprintf(text, sizeof text, "%.7g", d);
    (void)str_to_f64(str_of(text), &d);
    return json_real(d);
}

/* Of the first model, while it is loaded. */
static json_t *defaults_of(const struct call *c)
{
    struct models *ms = c->s->models;
    struct sampling s;
    pthread_mutex_lock(&ms->lock);
    const struct served_model *m = models_find(ms, c, NULL);
    bool known = m && m->current;
    if (known)
        s = engine_request_default(m->current->engine).sampling;
    pthread_mutex_unlock(&ms->lock);
    if (!known)
        return json_object();
    return json_pack("{s:o,s:i,s:o,s:o,s:o,s:o,s:o}", "temperature", number(s.temperature), "top_k",
                     (int)s.top_k, "top_p", number(s.top_p), "min_p", number(s.min_p),
                     "repetition_penalty", number(s.repetition_penalty), "presence_penalty",
                     number(s.presence_penalty), "frequency_penalty", number(s.frequency_penalty));
}

void api_page_info(struct call *c)
{
    const struct history *h = c->s->history;
    const char *auth = access_has_fixed_keys(c->s) ? "key" : "none";
    json_t *folders = NULL;
    sp_error err = {0};
    if (h->store && store_folders(h->store, c->owner, &folders, &err) < 0) {
        page_fail(c, &err);
        return;
    }
    reply_set_json(c, 200,
                   json_pack("{s:s,s:o,s:o,s:n,s:s,s:b,s:o,s:I,s:{s:s,s:s?}}", "version",
                             SAMPAN_VERSION, "models",
                             c->loading ? json_array() : models_entries(c), "defaults",
                             defaults_of(c), "language", "auth", auth, "loading", c->loading,
                             "folders", folders ? folders : json_array(), "upload_bytes",
                             (json_int_t)c->s->opts.limits.upload_bytes, "history", "state",
                             h->state, "reason", h->reason[0] ? h->reason : NULL));
}
